/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vdevice.h - open the device that was meant, and no other. Private to mount/; calls block.
 *
 * Two descriptors, for two reasons: a plain one that stays open around a mount and pins the disk,
 * so that its number and diskseq can be read again after; and an exclusive one, which proves that
 * no filesystem is on it in any mount namespace, and which has to be closed before mounting.
 */
#pragma once

#include <sys/types.h>

#include "vwhy.h"

/**
 * vdevice_open() - open a device node read-only and check who it is
 * @devno: what it must be
 * @diskseq: what the kernel must say of it; 0: not compared
 *
 * Returns: 0, -ENODEV, -ESTALE (another device), or the errno of open(2).
 */
int vdevice_open(const char *path, dev_t devno, uint64_t diskseq, struct vwhy *why, int *ret_fd);

/* A second descriptor of the same device with O_EXCL. -EBUSY while anybody else uses it so. */
int vdevice_open_exclusive(int fd, struct vwhy *why, int *ret_fd);

/* 0 or -ESTALE: is the disk behind @fd still the same one? 0 for @diskseq: not known. */
int vdevice_check_diskseq(int fd, uint64_t diskseq, struct vwhy *why);

/*
 * 0 when nobody uses the device exclusively or there is no such device, -EBUSY otherwise: then a
 * filesystem, a mapping or a program is on it. Finds the node through sysfs.
 */
int vdevice_is_free(dev_t devno);
