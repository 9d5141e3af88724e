/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback_cut.h - a loop device of this machine takes no more writes, whoever has it open.
 *
 * A library of its own, for the driver and for the fence helper: no allocation, no log, no file
 * of the backend is opened. Nothing but LOOP_CLR_FD undoes a cut: the device is given back, and
 * made anew.
 *
 * How: the device gets a size limit (LOOP_SET_STATUS64) that leaves no sector of it, or one where
 * the kernel is older than 6.5, and the kernel refuses what lies beyond with EIO. What it had let
 * through before is waited for: each LOOP_SET_STATUS64 freezes the request queue, which drains it,
 * and that is repeated until nothing trickles in any more. At last the image is flushed through the
 * device, so that no page of it waits to be written.
 *
 * What the kernel does besides, and callers have to know:
 * - Before the limit comes into force it writes what is dirty in the device's own page cache
 *   (ext4's metadata in place, all of which is in its journal already; writes past a filesystem).
 *   That takes as long as the storage does. A filesystem that was shut down before adds nothing.
 * - Filesystems learn of it by errors, and an fsync that is under way then is not always told: with
 *   several processes at it, ext4 said 0 to one of them in one cut of nine, and had kept nothing.
 * - Any of these calls waits as long as the storage lets it, beyond all signals and limits.
 * - A request that a cgroup's io.max holds back on this very device was let through before, is no
 *   part of the queue, and is written when its time comes. Put no such limit on a volume's device.
 * - Where a first sector is left it stays writable, and xfs has its superblock there: shut it down
 *   before.
 */
#pragma once

#include <sys/types.h>

#include "macro.h"

/* How long what was let through may take to trickle in, beyond what the kernel waits for itself. */
#define LOOPBACK_CUT_LIMIT_NS UINT64_C(5000000000)

/**
 * loopback_cut_open() - this use of a loop device
 * @diskseq: the kernel's serial of it; 0 takes any
 *
 * Returns: a descriptor, which keeps the device from going away; -ENODEV when that use is over or
 * the device is no loop device; -EIO when /dev leads to another device.
 */
int loopback_cut_open(dev_t devno, uint64_t diskseq);

/**
 * loopback_cut() - end all writing through the device
 * @fd: of the loop device, for reading at least; needs CAP_SYS_ADMIN
 *
 * May be repeated, also after a failure. When it returns 0 nothing is in flight, nothing waits in
 * memory, and nothing is let through.
 *
 * Returns: 0; -ENODEV when it has no image any more; -ETIMEDOUT when writes went on arriving;
 * -EIO when a flush of the image failed each time: what was written before may still reach it.
 */
int loopback_cut(int fd);
