/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stop.h - end all writing to one dataset. Waits for the kernel and the storage, beyond all
 * signals.
 */
#pragma once

#include <sys/types.h>

#include "quiesce.h"
#include "types.h"

struct fence_target {
	struct id128 dataset_id;
	enum fs_kind fs;
	dev_t devno; /* 0: not known */
	uint64_t diskseq;
};

/**
 * fence_stop() - cut the device, having brought its filesystem to rest where that is needed
 * @root_fd: of the mount root, O_PATH
 * @q: of this thread
 *
 * May be repeated. Opens what it needs for as long as it runs, so that nothing is pinned.
 *
 * Returns: 0 when nothing is in flight and nothing will be, also when that use of the device is
 * over; else negative errno, see loopback_cut().
 */
int fence_stop(int root_fd, struct quiesce *q, const struct fence_target *t);
