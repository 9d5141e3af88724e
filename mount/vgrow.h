/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgrow.h - a mounted filesystem fills its device, which has become larger. By the filesystem's own
 * ioctl, while it is used. Waits for the kernel and the disk, so it belongs on a worker.
 */
#pragma once

#include <sys/types.h>

#include "types.h"

struct vgrow_request {
	const char *device;	/* path of the device node */
	dev_t devno;		/* what @device must be */
	uint64_t diskseq;	/* the kernel's number of this very disk; 0: not known */
	uint64_t size_bytes;	/* what the device must measure at least */
	const char *mount_root; /* as of vmount_mount() */
	const char *name;
	enum fs_kind fs;
};

/**
 * vgrow() - the filesystem mounted at mount_root/name fills the device
 * @why: one line for people on failure, cut to @size
 *
 * Durable when this returns 0: ext4 flushes its journal, xfs and btrfs commit. An interrupted one has
 * grown by a part, is whole, and goes on when this is repeated. It may stay smaller than the device by
 * what is too little for one more group of blocks. Never makes anything smaller.
 *
 * Returns: 0, also when it fills the device already, or
 *  -ENOENT    nothing is mounted there
 *  -EEXIST    something else is
 *  -ENODEV -ESTALE as of vmount_mount(); also -ESTALE: the device is smaller than @size_bytes
 *  -EROFS     it is mounted read-only
 *  -EBUSY     it is being resized, or balanced, by somebody else
 *  -EPERM     ext4 has recorded errors, and has to be checked first: unmount it; or CAP_SYS_RESOURCE is
 *	       missing
 *  -ENOTSUP   this filesystem cannot grow by so much, or has several devices
 *  -EINVAL    a bad name; or too small to be resized, see fs_minimum_grown()
 *  -ENOSPC -EIO ... what the kernel says
 */
int vgrow(const struct vgrow_request *rq, char *why, size_t size);
