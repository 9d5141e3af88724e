/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workers.h - a fixed set of threads that stop datasets.
 *
 * Threads and not processes: all of them are there before anything fires, in memory that is locked,
 * at the price of a stack each; a fork at the deadline would need memory when there may be none.
 * One that hangs in the kernel holds up nobody else, and leaves the descriptor table first, so that
 * it keeps neither the connection nor the lock of a helper that was killed. Each has a second one
 * beside it, for quiesce.h.
 */
#pragma once

#include "stop.h"

#define FENCE_WORKERS 32

struct fence_job {
	uint16_t index; /* the caller's */
	struct fence_target target;
	int result;
};

/**
 * fence_workers_start() - all threads, once in a process; they never end
 * @root_fd: of the mount root; each thread has its own copy
 *
 * Returns: a descriptor that is readable when a job is done, or negative errno.
 */
int fence_workers_start(int root_fd);

/* Never waits. At most FENCE_DATASETS_MAX may be under way. */
void fence_workers_submit(const struct fence_job *job);

/* One that is done. False when there is none. */
bool fence_workers_take(struct fence_job *ret);
