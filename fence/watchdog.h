/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watchdog.h - how long the machine may live without hearing from the helper. Decides only: no I/O
 * and no clock, as table.h.
 *
 * A watchdog resets the machine once its timeout has passed since the last kick. So datasets are
 * stopped also when the helper and its daemon both do not run, or the kernel does not, if no kick
 * reaches beyond the time at which another node may have one of them:
 *
 *	limit = the earliest deadline of a guarded dataset + WATCHDOG_SLACK_NS
 *	a kick with the timeout T is allowed when now + T + 2 % <= limit
 *
 * Control grants a dataset anew 1.1 terms + 0.5 s after it answered, the deadline is one term after
 * the question was sent: the slack is the 0.5 s, and the tenth of a term is for clocks that differ.
 * The 2 % are for devices that count slower than they say (i6300esb: 1024 ticks are a second).
 *
 * Within the rule the machine lives as long as it can: the timeout is the longest that fits, and it
 * is kicked again, with ever shorter ones, at the last moments at which one fits. So it ends just
 * before the limit and never before a deadline, however late a renewal comes.
 *
 * Timeouts are whole seconds, and a device may take none that is short enough for a term. Then it
 * is kicked with its shortest one, but only when the limit has advanced since the last kick: late,
 * and not later than one such timeout after the last renewal.
 *
 * A dataset that is being stopped counts until it is fenced. A helper that may not restart the
 * machine gives up on one a little before the limit: it lives, and has said that the storage hangs.
 */
#pragma once

#include "table.h"

#define WATCHDOG_SLACK_NS UINT64_C(500000000)
#define WATCHDOG_GIVE_UP_NS UINT64_C(350000000) /* after the deadline; less than the slack */
#define WATCHDOG_MAX_S 60 /* longer ones would only let a machine hang longer */

struct watchdog {
	unsigned min_s, max_s; /* timeouts that the device takes, max_s at most WATCHDOG_MAX_S */
	/* Of the last kick: what it was for, and when the machine is gone by an exact and by a slow
	 * device. */
	uint64_t limit_ns, exact_ns, slow_ns;
};

/**
 * watchdog_limit() - when the machine has to be gone should nobody stop its datasets
 * @forgive: give up on what cannot be stopped
 *
 * Returns: FENCE_NEVER when there is nothing to stop: the watchdog is switched off.
 */
uint64_t watchdog_limit(const struct fence_table *t, uint64_t now, bool forgive);

/* When that gives up on a dataset next; FENCE_NEVER. */
uint64_t watchdog_next_give_up(const struct fence_table *t, uint64_t now);

/* The timeout to kick with now, in seconds; 0: none, since it gained nothing or is not allowed. */
unsigned watchdog_timeout(const struct watchdog *w, uint64_t limit, uint64_t now);

/* Kicked with @timeout_s at the latest at @now. */
void watchdog_kicked(struct watchdog *w, unsigned timeout_s, uint64_t limit, uint64_t now);

/* By how much the last kick breaks the rule, in ns; 0: it keeps it. */
uint64_t watchdog_late(const struct watchdog *w);

/* When to ask watchdog_timeout() again while the limit stays as it is; FENCE_NEVER. */
uint64_t watchdog_next(const struct watchdog *w, uint64_t limit, uint64_t now);
