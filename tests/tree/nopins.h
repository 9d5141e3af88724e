/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nopins.h - a new mount namespace has a copy of every mount, and so keeps the datasets of any node
 * on this machine busy. Call this in it, once its mounts are private.
 */
#pragma once

#include <libmount/libmount.h>
#include <sys/mount.h>

#include "macro.h"

static inline void detach_copies(void)
{
	struct libmnt_table *tb = mnt_new_table_from_file("/proc/self/mountinfo");
	struct libmnt_iter *it = mnt_new_iter(MNT_ITER_BACKWARD);
	struct libmnt_fs *fs;

	while (tb && it && mnt_table_next_fs(tb, it, &fs) == 0) {
		const char *source = mnt_fs_get_source(fs), *type = mnt_fs_get_fstype(fs);

		if ((source && strncmp(source, "/dev/loop", 9) == 0) ||
			(type && STREQ(type, "fuse.flocker")))
			umount2(mnt_fs_get_target(fs), MNT_DETACH);
	}
	mnt_free_iter(it);
	mnt_unref_table(tb);
}
