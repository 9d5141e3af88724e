/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vformat.h - make the one filesystem of a new volume, and judge an interrupted attempt.
 * Both calls run a program and wait for it, so they belong on a worker, never on the loop. They
 * keep nothing open and nothing mounted: the fresh filesystem is settled through a mount that is
 * attached nowhere, so no path, no other process and no other mount namespace ever sees it.
 *
 * "Settled" is how users find a new dataset: no lost+found, and a root directory of mode 0777.
 */
#pragma once

#include <sys/types.h>

#include "id128.h"
#include "types.h"

struct vformat_request {
	const char *device;  /* path of the device node */
	dev_t devno;	     /* what @device must be */
	uint64_t diskseq;    /* the kernel's number of this very disk; 0: not known */
	uint64_t size_bytes; /* what the device must measure; 0: not known */
	enum fs_kind fs;
	struct id128 fs_uuid; /* chosen by control; not nil */
	unsigned int limit_s; /* how long mkfs, or the check, may run */
};

/**
 * vformat_make() - mkfs, once, on a device proven empty; then settle the filesystem
 * @why: one line for people on failure, cut to @size
 *
 * Returns: 0, or
 *  -EEXIST    the device is not empty (or nobody can tell): @why names what was found
 *  -EBUSY     somebody has the device open exclusively, or an earlier mkfs still runs on it
 *  -ENODEV    there is no such device (any more)
 *  -ESTALE    @device is another disk than the one meant, or has another size
 *  -ENOENT    the mkfs program is missing; @why names it and its Debian package
 *  -ETIMEDOUT mkfs was killed after limit_s
 *  -EINVAL    the device is too small, or the request is incomplete
 *  -EIO       the device cannot be read, or mkfs failed: @why has its last line
 * After -ETIMEDOUT, -EIO from mkfs or a crash the volume is in the hands of vformat_verify().
 */
int vformat_make(const struct vformat_request *rq, char *why, size_t size);

/**
 * vformat_available() - could vformat_make() run? For asking before a format is promised
 * Returns: 0, or -ENOENT with @why naming the missing program and its Debian package.
 */
int vformat_available(enum fs_kind fs, char *why, size_t size);

/**
 * vformat_verify() - after a crash in format_state "started": is the filesystem whole?
 *
 * Settles the root again where that was interrupted, and has the filesystem checked read-only.
 *
 * Returns: 0 when the right filesystem with fs_uuid is there, clean and settled, or
 *  -EUCLEAN  anything else is there, or nothing: the volume is to be destroyed, never used
 *  -EBUSY    somebody still has the device: perhaps the mkfs of a daemon that was killed
 *  -EIO      the device cannot be read: says nothing about the filesystem
 *  -ENODEV -ESTALE -ENOENT -ETIMEDOUT -EINVAL as above
 */
int vformat_verify(const struct vformat_request *rq, char *why, size_t size);
