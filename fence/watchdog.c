/* SPDX-License-Identifier: Apache-2.0 */
#include "watchdog.h"

#define SECOND UINT64_C(1000000000)
#define AHEAD (SECOND / 50) /* a kick is meant this much before its last moment */

/* From a kick until the machine is surely gone. */
static uint64_t reach(unsigned timeout_s)
{
	return timeout_s * (SECOND + SECOND / 50);
}

static bool is_given_up(const struct fence_entry *e, uint64_t now)
{
	return e->state == FENCE_FIRED && e->deadline_ns + WATCHDOG_GIVE_UP_NS <= now;
}

uint64_t watchdog_limit(const struct fence_table *t, uint64_t now, bool forgive)
{
	uint64_t limit = FENCE_NEVER;

	for (const struct fence_entry *e = t->entries; e < t->entries + t->high; e++) {
		if (e->state != FENCE_ARMED && e->state != FENCE_FIRED)
			continue;
		if (!forgive || !is_given_up(e, now))
			limit = MIN(limit, e->deadline_ns + WATCHDOG_SLACK_NS);
	}
	return limit;
}

uint64_t watchdog_next_give_up(const struct fence_table *t, uint64_t now)
{
	uint64_t next = FENCE_NEVER;

	for (const struct fence_entry *e = t->entries; e < t->entries + t->high; e++)
		if (e->state == FENCE_FIRED && !is_given_up(e, now))
			next = MIN(next, e->deadline_ns + WATCHDOG_GIVE_UP_NS);
	return next;
}

/* The longest that ends before the limit; 0 when none does. */
static unsigned longest(const struct watchdog *w, uint64_t limit, uint64_t now)
{
	uint64_t n = limit > now ? (limit - now) / reach(1) : 0;

	return n < w->min_s ? 0 : (unsigned)MIN(n, (uint64_t)w->max_s);
}

unsigned watchdog_timeout(const struct watchdog *w, uint64_t limit, uint64_t now)
{
	unsigned timeout_s = longest(w, limit, now);

	if (timeout_s)
		return w->slow_ns > limit || now + timeout_s * SECOND > w->exact_ns ? timeout_s : 0;
	/* None fits: as little late as can be, and only when something was renewed or stopped. */
	if (limit > w->limit_ns || now + reach(w->min_s) < w->slow_ns)
		return w->min_s;
	return 0;
}

void watchdog_kicked(struct watchdog *w, unsigned timeout_s, uint64_t limit, uint64_t now)
{
	w->exact_ns = now + timeout_s * SECOND;
	w->slow_ns = now + reach(timeout_s);
	w->limit_ns = limit;
}

uint64_t watchdog_late(const struct watchdog *w)
{
	return w->slow_ns > w->limit_ns ? w->slow_ns - w->limit_ns : 0;
}

uint64_t watchdog_next(const struct watchdog *w, uint64_t limit, uint64_t now)
{
	unsigned timeout_s;
	uint64_t next;

	if (limit <= now + AHEAD)
		return FENCE_NEVER;
	timeout_s = longest(w, limit - AHEAD, now + 1);
	if (timeout_s == 0)
		return FENCE_NEVER;
	next = limit - AHEAD - reach(timeout_s);
	return timeout_s < w->max_s ? next : MIN(next, now + MIN(SECOND, timeout_s * SECOND / 3));
}
