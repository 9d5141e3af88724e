/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmountinfo.h - the kernel's mount table, read through libmount. Private to mount/.
 * Reads procfs only; touches no mounted filesystem.
 */
#pragma once

#include <libmount.h>
#include <sys/types.h>

#include "macro.h"

DEFINE_CLEANUP(struct libmnt_table *, mnt_unref_table);
DEFINE_CLEANUP(struct libmnt_iter *, mnt_free_iter);

/**
 * vmountinfo_read() - parse a mountinfo file
 * @path: "/proc/self/mountinfo", or another process's
 * @under: only lines with this path in them, or below it; NULL: all. With thousands of mounts most
 *	   of the time goes into parsing, so the others are not parsed at all.
 * @ret: ended with mnt_unref_table()
 *
 * Returns: 0 or negative errno; -ESRCH or -ENOENT for a process that is gone.
 */
int vmountinfo_read(const char *path, const char *under, struct libmnt_table **ret);

/*
 * The device a filesystem is on. btrfs shows an anonymous number in the table, so its source is
 * looked up in /dev and sysfs; 0 when that is gone.
 */
dev_t vmountinfo_devno(struct libmnt_fs *fs);

/* The mount or the filesystem takes no writes: by option, or after an error. */
bool vmountinfo_read_only(struct libmnt_fs *fs);
