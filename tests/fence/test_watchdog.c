/* SPDX-License-Identifier: Apache-2.0 */
/* test_watchdog.c - when the machine may be kicked, over whole terms and without a machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "watchdog.h"

#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define SLACK WATCHDOG_SLACK_NS
#define ID ((struct id128){ 1, 2 })
#define OTHER ((struct id128){ 3, 4 })

static struct fence_table t;

static int setup(void **state)
{
	fence_table_init(&t, S);
	return 0;
}

static void arm(struct id128 id, uint64_t deadline)
{
	assert_int_equal(fence_arm(&t, id, deadline, FS_EXT4), 0);
}

static void the_earliest_deadline_sets_the_limit_until_it_is_fenced(void **state)
{
	struct fence_entry *e;

	assert_true(watchdog_limit(&t, 0, true) == FENCE_NEVER);
	arm(ID, 9 * S);
	arm(OTHER, 4 * S);
	assert_true(watchdog_limit(&t, 0, true) == 4 * S + SLACK);
	e = fence_fire(&t, NULL, 4 * S);
	assert_non_null(e);
	assert_true(fence_next_job(&t, NULL, 4 * S) == e);
	assert_true(watchdog_limit(&t, 4 * S + 1, true) == 4 * S + SLACK);
	assert_true(fence_stopped(&t, e, 0, 4 * S + 100 * MS));
	assert_true(watchdog_limit(&t, 4 * S + 100 * MS, true) == 9 * S + SLACK);
}

static void only_a_helper_that_may_not_restart_the_machine_gives_up(void **state)
{
	uint64_t end = 4 * S + WATCHDOG_GIVE_UP_NS;

	arm(ID, 4 * S);
	assert_true(watchdog_next_give_up(&t, 0) == FENCE_NEVER);
	assert_non_null(fence_fire(&t, NULL, 4 * S));
	assert_true(watchdog_next_give_up(&t, 4 * S) == end);
	assert_true(watchdog_limit(&t, end - 1, true) == 4 * S + SLACK);
	assert_true(watchdog_limit(&t, end, true) == FENCE_NEVER);
	assert_true(watchdog_next_give_up(&t, end) == FENCE_NEVER);
	assert_true(watchdog_limit(&t, end, false) == 4 * S + SLACK);
}

/* An armed dataset counts, however late the helper is: it has not acted. */
static void nobody_gives_up_on_what_was_not_fired(void **state)
{
	arm(ID, 4 * S);
	assert_true(watchdog_limit(&t, 5 * S, true) == 4 * S + SLACK);
}

/* ---- a machine with a watchdog ---- */

struct machine {
	struct watchdog w;
	uint64_t limit, next;
	uint64_t gone_min, gone_max; /* when the device resets it, exact or slow */
	uint64_t worst_late;
};

static struct machine machine(unsigned min_s, unsigned max_s, uint64_t now)
{
	struct machine m = { .w = { .min_s = min_s, .max_s = max_s }, .next = now };

	watchdog_kicked(&m.w, max_s, 0, now);
	m.gone_min = now + max_s * S;
	return m;
}

static void look(struct machine *m, uint64_t now)
{
	unsigned timeout_s = watchdog_timeout(&m->w, m->limit, now);

	assert_true(now < m->gone_min);
	if (timeout_s) {
		assert_in_range(timeout_s, m->w.min_s, m->w.max_s);
		watchdog_kicked(&m->w, timeout_s, m->limit, now);
		m->gone_min = now + timeout_s * S;
		m->gone_max = now + timeout_s * (S + S / 50);
		if (m->gone_max > m->limit)
			m->worst_late = MAX(m->worst_late, m->gone_max - m->limit);
	}
	m->next = watchdog_next(&m->w, m->limit, now);
}

/* Until @end, with timers that fire up to @jitter late. */
static void live(struct machine *m, uint64_t *now, uint64_t end, uint64_t jitter)
{
	while (m->next < end) {
		assert_true(m->next > *now);
		*now = m->next + (*now * 7919 % (jitter + 1));
		look(m, *now);
	}
	*now = MAX(*now, end);
}

static void renew(struct machine *m, uint64_t *now, uint64_t deadline)
{
	m->limit = deadline + SLACK;
	look(m, *now);
}

static void without_a_renewal_the_machine_ends_between_deadline_and_limit(void **state)
{
	static const struct {
		unsigned min_s, max_s;
		uint64_t term;
	} cases[] = { { 1, 60, 6 * S }, { 1, 60, 2 * S }, { 1, 60, S }, { 1, 60, 300 * S }, { 5, 39, 6 * S },
		{ 1, 2, 20 * S }, { 2, 30, 5 * S }, { 1, 60, 1700 * MS }, { 1, 60, 600 * MS } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t now = 1000 * S, deadline = now + cases[i].term;
		struct machine m = machine(cases[i].min_s, cases[i].max_s, now);

		renew(&m, &now, deadline);
		live(&m, &now, deadline + SLACK, 15 * MS);
		assert_true(m.gone_max <= deadline + SLACK);
		assert_true(m.gone_min > deadline + WATCHDOG_GIVE_UP_NS);
		assert_true(watchdog_late(&m.w) == 0);
	}
}

/* Answers that take almost the whole term: renewed in time, so nothing may happen. */
static void a_renewed_term_never_ends_the_machine(void **state)
{
	for (uint64_t answer = 0; answer < 5900; answer += 100) {
		uint64_t now = 1000 * S, asked = now;
		struct machine m = machine(1, 60, now);

		renew(&m, &now, now + 6 * S - 100 * MS);
		for (unsigned i = 0; i < 200; i++) {
			uint64_t came = asked + answer * MS;

			if (came + S > asked + 6 * S) /* every second is asked anew */
				break;
			live(&m, &now, came, 15 * MS);
			renew(&m, &now, asked + 6 * S);
			asked += S;
		}
		assert_true(m.worst_late == 0);
	}
}

static void an_earlier_deadline_takes_effect_at_once(void **state)
{
	uint64_t now = 1000 * S;
	struct machine m = machine(1, 60, now);

	renew(&m, &now, now + 300 * S);
	assert_true(m.gone_min == now + 60 * S);
	renew(&m, &now, now + 2 * S);
	live(&m, &now, now + 3 * S - SLACK, 0);
	assert_true(m.gone_max <= 1002 * S + SLACK);
}

static void a_device_with_long_timeouts_is_late_by_less_than_one_of_them(void **state)
{
	uint64_t now = 1000 * S, first;
	struct machine m = machine(5, 60, now);

	for (unsigned i = 0; i < 30; i++) {
		renew(&m, &now, now + 2 * S);
		live(&m, &now, now + S / 3, 15 * MS);
	}
	/* Renewed for the last time just now. */
	renew(&m, &now, now + 2 * S);
	first = m.gone_max;
	assert_true(watchdog_late(&m.w) > 0);
	live(&m, &now, now + 2 * S, 15 * MS);
	look(&m, now);
	assert_true(m.gone_max == first);
	assert_true(m.worst_late <= 5 * S + 5 * S / 50 - 2 * S - SLACK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(
			the_earliest_deadline_sets_the_limit_until_it_is_fenced, setup),
		cmocka_unit_test_setup(
			only_a_helper_that_may_not_restart_the_machine_gives_up, setup),
		cmocka_unit_test_setup(nobody_gives_up_on_what_was_not_fired, setup),
		cmocka_unit_test(without_a_renewal_the_machine_ends_between_deadline_and_limit),
		cmocka_unit_test(a_renewed_term_never_ends_the_machine),
		cmocka_unit_test(an_earlier_deadline_takes_effect_at_once),
		cmocka_unit_test(a_device_with_long_timeouts_is_late_by_less_than_one_of_them),
	};

	return cmocka_run_group_tests_name("watchdog", tests, NULL, NULL);
}
