/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vtrim.h - room that files no longer need goes back to the device (FITRIM), a piece at a time.
 * Waits for the kernel and the disk, so it belongs on a worker.
 */
#pragma once

#include <sys/types.h>

#include "types.h"

/**
 * vtrim_slice() - trim what is free within a part of a mounted filesystem
 * @devno: of the device that is mounted at mount_root/name, or nothing is done
 * @start: bytes from the beginning, as the filesystem counts them: ext4 and xfs from 0 to the size of the
 *	device, btrfs, which counts on whenever it moves data, from 0 to anywhere
 * @ret_bytes: of which the device was told, of @length at most: also of what no file ever had, and, by xfs of
 *	newer kernels, of all that was looked at
 *
 * The filesystem is open no longer than the call takes, so one that came between two calls can unmount it.
 * One call cannot be interrupted. xfs of newer kernels does not wait for the device: what it discards may be
 * under way when this returns, and who unmounts it, detaches the device or cuts it waits for that.
 *
 * Returns: 0; -ERANGE: it ends before @start; -ENOTSUP: filesystem or device cannot; -ENOENT: nothing, or
 * something else, is mounted there; -EROFS; -EIO and others of the device.
 */
int vtrim_slice(const char *mount_root, const char *name, dev_t devno, uint64_t start, uint64_t length,
	uint64_t *ret_bytes);
