/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper.h - the thread that has the machine's watchdog: opens it when there is something to guard,
 * kicks it as watchdog.h allows, and switches it off when there is nothing.
 *
 * A thread of its own, since a watchdog may be slow and whoever stops datasets must not wait for
 * it. It knows nothing but the limit that it was given last, so it kicks no further when the
 * helper's loop hangs either. It runs before that loop does, so when a dataset is armed the
 * watchdog is asked before the answer leaves; that is not waited for.
 *
 * A helper that is killed leaves the watchdog running, and the kernel kicks it a last time. The
 * next helper takes it over; without one the machine is reset.
 */
#pragma once

#include "proto.h"

/**
 * keeper_start() - its thread, once in a process; opens nothing
 * @device: "auto" for the first that is free of /dev/watchdog0 to 9, or a path; borrowed
 *
 * Returns: a descriptor that is readable when there is news, or negative errno.
 */
int keeper_start(const char *device);

/* Never waits. @limit: of watchdog_limit(); FENCE_NEVER switches it off. */
void keeper_set(uint64_t limit);
void keeper_lower(uint64_t limit); /* only to an earlier one */

struct keeper_news {
	enum fence_watchdog state;
	int error;	  /* FENCE_WATCHDOG_FAILED: negative errno */
	uint64_t late_ns; /* FENCE_WATCHDOG_LATE */
};

/* What there is to tell the daemon; empties the descriptor. */
struct keeper_news keeper_news(void);

/* Before the process ends: switches it off, and waits a while for that. */
void keeper_end(void);
