/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vprobe.h - what is on a block device (libblkid, and the bytes at both ends).
 * The call reads the disk, so it belongs on a worker, never on the loop. It writes nothing.
 */
#pragma once

#include "id128.h"
#include "types.h"

enum vprobe_kind {
	VPROBE_EMPTY,	   /* no signature at all, and the first and last MiB read as zeros */
	VPROBE_FILESYSTEM, /* one filesystem and nothing else; of any type, ours or not */
	VPROBE_FOREIGN,	   /* a partition table, LVM, LUKS, RAID, swap, or bytes nobody knows */
	VPROBE_AMBIVALENT, /* more than one signature: nobody can say which one is meant */
};

struct vprobe_result {
	enum vprobe_kind kind;
	char type[32];	      /* libblkid's word ("ext4", "LVM2_member", "gpt"), or "" */
	struct id128 fs_uuid; /* valid when has_uuid */
	bool has_uuid;	      /* only with VPROBE_FILESYSTEM */
	char what[256];	      /* for people: "a GPT partition table", "nothing" */
};

/**
 * vprobe_device() - look at a whole device
 * @fd: opened by the caller with O_RDONLY | O_EXCL, so that nobody changes it meanwhile; its page
 *	cache is dropped first, so what is read comes from the disk
 * @ret: set on success only
 *
 * Returns: 0 with any kind above, or negative errno. Whatever cannot be read is -EIO and never
 * VPROBE_EMPTY. -ENOTBLK when @fd is no block device.
 */
int vprobe_device(int fd, struct vprobe_result *ret);

/* True when @p is one filesystem of @fs with @fs_uuid, and nothing else. */
bool vprobe_matches(const struct vprobe_result *p, enum fs_kind fs, struct id128 fs_uuid);
