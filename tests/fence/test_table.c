/* SPDX-License-Identifier: Apache-2.0 */
/* test_table.c - who is due, who has to be stopped, who is fenced: without threads or devices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "table.h"

#define MS UINT64_C(1000000)
#define LIMIT (1000 * MS)
#define ID ((struct id128){ 1, 2 })
#define OTHER ((struct id128){ 3, 4 })

static struct fence_table t;

static int setup(void **state)
{
	fence_table_init(&t, LIMIT);
	return 0;
}

static void arm(struct id128 id, uint64_t deadline_ms)
{
	assert_int_equal(fence_arm(&t, id, deadline_ms * MS, FS_EXT4), 0);
}

/* Fires everything that is due and takes every job. The number of jobs. */
static unsigned fire(uint64_t now_ms)
{
	struct fence_entry *e = NULL;
	unsigned n = 0;

	while ((e = fence_fire(&t, e, now_ms * MS)))
		;
	while ((e = fence_next_job(&t, e, now_ms * MS)))
		n++;
	return n;
}

static enum fence_state state_of(struct id128 id)
{
	struct fence_entry *e = fence_find(&t, id);

	return e ? e->state : FENCE_NONE;
}

static bool stopped(struct id128 id, int r, uint64_t now_ms)
{
	return fence_stopped(&t, fence_find(&t, id), r, now_ms * MS);
}

static void a_dataset_fires_at_its_deadline_and_is_fenced_once_stopped(void **state)
{
	arm(ID, 100);
	assert_true(fence_next_wake(&t, 0) == 100 * MS);
	assert_int_equal(fire(99), 0);
	assert_int_equal(fire(100), 1);
	assert_int_equal(fire(101), 0);
	assert_int_equal(state_of(ID), FENCE_FIRED);
	assert_int_equal(t.n_guarded, 1);
	assert_true(stopped(ID, 0, 110));
	assert_int_equal(state_of(ID), FENCE_FENCED);
	assert_int_equal(t.n_guarded, 0);
	assert_true(fence_next_wake(&t, 110 * MS) == FENCE_NEVER);
}

static void arming_again_revives_nobody(void **state)
{
	arm(ID, 100);
	arm(ID, 200);
	assert_int_equal(fire(199), 0);
	assert_int_equal(fire(200), 1);
	assert_int_equal(fence_set_device(&t, ID, 7, 8), -ESTALE);
	assert_int_equal(fence_set_device(&t, OTHER, 7, 8), -ENOENT);
	assert_int_equal(fence_arm(&t, ID, 900 * MS, FS_EXT4), -ESTALE);
	assert_true(stopped(ID, 0, 210));
	assert_int_equal(fence_arm(&t, ID, 900 * MS, FS_EXT4), -ESTALE);
	assert_int_equal(fence_disarm(&t, ID), 0);
	assert_int_equal(fence_arm(&t, ID, 900 * MS, FS_EXT4), 0);
}

static void a_deadline_that_is_over_is_armed_and_fires_at_once(void **state)
{
	arm(ID, 100);
	assert_true(fence_next_wake(&t, 5000 * MS) == 100 * MS);
	assert_int_equal(fence_step_begin(&t, ID, 0, 5000 * MS), -ESTALE);
	assert_int_equal(fire(5000), 1);
	assert_int_equal(fence_arm(&t, ID, 9000 * MS, FS_EXT4), -ESTALE);
	assert_true(stopped(ID, 0, 5001));
	assert_int_equal(fence_disarm(&t, ID), 0);
}

/* Its helper was killed, and the next one is told when the time is over. */
static void a_step_of_before_has_its_grace_and_then_its_daemon_dies(void **state)
{
	assert_int_equal(fence_step_goes_on(&t, ID, 1), -ENOENT);
	arm(ID, 100);
	assert_int_equal(fence_step_goes_on(&t, ID, 1), 0);
	assert_int_equal(fire(5000), 1);
	assert_int_equal(fence_step_goes_on(&t, ID, 2), -ESTALE);
	assert_false(stopped(ID, 0, 5001)); /* the step may still do something */
	assert_false(fence_must_die(&t, 1, (5000 + FENCE_GRACE_MS) * MS - 1));
	assert_true(fence_must_die(&t, 1, (5000 + FENCE_GRACE_MS) * MS));
	assert_false(fence_must_die(&t, 2, (5000 + FENCE_GRACE_MS) * MS));
	fence_session_ended(&t, 1);
	assert_int_equal(fire(5300), 1);
	assert_true(stopped(ID, 0, 5301));
}

static void arming_again_keeps_the_device_and_takes_the_new_deadline(void **state)
{
	arm(ID, 100);
	assert_int_equal(fence_set_device(&t, ID, 7, 8), 0);
	arm(ID, 150);
	assert_int_equal(fence_find(&t, ID)->devno, 7);
	assert_int_equal(fire(149), 0);
	arm(ID, 149);
	assert_int_equal(fire(149), 1);
	assert_int_equal(fence_set_device(&t, ID, 7, 8), -ESTALE);
	assert_int_equal(fence_set_device(&t, OTHER, 7, 8), -ENOENT);
}

static void no_step_begins_once_the_time_is_over(void **state)
{
	assert_int_equal(fence_step_begin(&t, ID, 0, 0), -ENOENT);
	arm(ID, 100);
	assert_int_equal(fence_step_begin(&t, ID, 0, 99 * MS), 0);
	assert_int_equal(fence_step_end(&t, ID, 0), 0);
	/* due, and not fired yet */
	assert_int_equal(fence_step_begin(&t, ID, 0, 100 * MS), -ESTALE);
	assert_int_equal(fire(100), 1);
	assert_int_equal(fence_step_begin(&t, ID, 0, 100 * MS), -ESTALE);
}

static void only_who_has_a_step_of_a_fired_dataset_dies_and_not_at_once(void **state)
{
	arm(ID, 100);
	arm(OTHER, 100);
	assert_int_equal(fence_step_begin(&t, ID, 1, 0), 0);
	assert_false(fence_must_die(&t, 1, 99 * MS));
	assert_int_equal(fire(100), 2);
	assert_false(fence_must_die(&t, 1, 100 * MS));
	assert_true(fence_next_wake(&t, 100 * MS) == (100 + FENCE_GRACE_MS) * MS);
	assert_true(fence_must_die(&t, 1, (100 + FENCE_GRACE_MS) * MS));
	assert_false(fence_must_die(&t, 0, (100 + FENCE_GRACE_MS) * MS));
}

static void a_step_that_ends_in_time_saves_its_daemon(void **state)
{
	arm(ID, 100);
	assert_int_equal(fence_step_begin(&t, ID, 1, 0), 0);
	assert_int_equal(fire(100), 1);
	assert_int_equal(fence_step_end(&t, ID, 1), 0);
	assert_false(fence_must_die(&t, 1, (100 + FENCE_GRACE_MS) * MS));
}

static void what_a_last_step_left_is_stopped_once_more(void **state)
{
	arm(ID, 100);
	assert_int_equal(fence_step_begin(&t, ID, 1, 0), 0);
	assert_int_equal(fire(100), 1);
	assert_false(stopped(ID, 0, 110)); /* the step may still do something */
	assert_int_equal(fire(120), 0);
	fence_session_ended(&t, 1);
	assert_int_equal(fire(130), 1);
	assert_true(stopped(ID, 0, 140));
}

static void a_step_that_ends_while_it_is_being_stopped_counts_too(void **state)
{
	arm(ID, 100);
	assert_int_equal(fence_step_begin(&t, ID, 1, 0), 0);
	assert_int_equal(fire(100), 1);
	assert_int_equal(fence_step_end(&t, ID, 1), 0);
	assert_int_equal(fire(105), 0);
	assert_false(stopped(ID, 0, 110));
	assert_int_equal(fire(110), 1);
	assert_true(stopped(ID, 0, 120));
}

static void two_daemons_steps_are_told_apart(void **state)
{
	arm(ID, 100);
	assert_int_equal(fence_step_begin(&t, ID, 0, 0), 0);
	assert_int_equal(fence_step_begin(&t, ID, 7, 0), 0);
	assert_int_equal(fence_step_end(&t, ID, 7), 0);
	assert_int_equal(fence_disarm(&t, ID), -EBUSY);
	fence_session_ended(&t, 0);
	assert_int_equal(fence_disarm(&t, ID), 0);
}

static void a_failed_attempt_is_repeated_after_a_while(void **state)
{
	arm(ID, 100);
	assert_int_equal(fire(100), 1);
	assert_false(stopped(ID, -EIO, 110));
	assert_int_equal(fence_find(&t, ID)->error, -EIO);
	assert_int_equal(fire(111), 0);
	assert_true(fence_next_wake(&t, 111 * MS) == 100 * MS + LIMIT); /* late before that */
	assert_int_equal(fire(110 + FENCE_RETRY_NS / MS), 1);
	assert_true(stopped(ID, 0, 1200));
	assert_int_equal(fence_find(&t, ID)->error, 0);
}

static void who_is_late_is_told_of_once(void **state)
{
	struct fence_entry *e;

	arm(ID, 100);
	arm(OTHER, 150);
	assert_int_equal(fire(200), 2);
	assert_true(stopped(OTHER, 0, 210));
	assert_null(fence_next_late(&t, NULL, 1199 * MS));
	e = fence_next_late(&t, NULL, 1200 * MS);
	assert_non_null(e);
	assert_true(id128_equal(e->dataset_id, ID));
	assert_null(fence_next_late(&t, e, 1200 * MS));
	assert_null(fence_next_late(&t, NULL, 1300 * MS));
}

static void a_fired_dataset_is_not_disarmed_before_it_is_fenced(void **state)
{
	arm(ID, 100);
	assert_int_equal(fire(100), 1);
	assert_int_equal(fence_disarm(&t, ID), -EBUSY);
	assert_true(stopped(ID, 0, 110));
	assert_int_equal(fence_disarm(&t, ID), 0);
	assert_int_equal(fence_disarm(&t, ID), 0);
}

static unsigned untold(void)
{
	struct fence_entry *e = NULL;
	unsigned n = 0;

	while ((e = fence_next_untold(&t, e))) {
		e->tell = false;
		n++;
	}
	return n;
}

static void what_happens_to_a_dataset_is_told_once(void **state)
{
	arm(ID, 100);
	arm(OTHER, 900);
	assert_int_equal(untold(), 0); /* whoever armed it knows */
	assert_int_equal(fire(100), 1);
	assert_int_equal(untold(), 1);
	assert_true(stopped(ID, 0, 110));
	assert_int_equal(untold(), 1);
	assert_int_equal(untold(), 0);
	fence_tell_all(&t);
	assert_int_equal(untold(), 2);
}

static void the_table_holds_as_many_as_promised_and_places_are_used_again(void **state)
{
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < FENCE_DATASETS_MAX; i++)
			arm((struct id128){ round, i }, 100 + i);
		assert_int_equal(fence_arm(&t, OTHER, 100 * MS, FS_XFS), -ENOSPC);
		assert_int_equal(t.n_guarded, FENCE_DATASETS_MAX);
		for (unsigned i = FENCE_DATASETS_MAX; i-- > 0;) {
			assert_int_equal(state_of((struct id128){ round, i }), FENCE_ARMED);
			assert_int_equal(fence_disarm(&t, (struct id128){ round, i }), 0);
			assert_int_equal(state_of((struct id128){ round, i }), FENCE_NONE);
		}
		assert_int_equal(t.n_guarded, 0);
	}
}

#define T(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_dataset_fires_at_its_deadline_and_is_fenced_once_stopped),
		T(arming_again_revives_nobody),
		T(a_deadline_that_is_over_is_armed_and_fires_at_once),
		T(a_step_of_before_has_its_grace_and_then_its_daemon_dies),
		T(arming_again_keeps_the_device_and_takes_the_new_deadline),
		T(no_step_begins_once_the_time_is_over),
		T(only_who_has_a_step_of_a_fired_dataset_dies_and_not_at_once),
		T(a_step_that_ends_in_time_saves_its_daemon),
		T(what_a_last_step_left_is_stopped_once_more),
		T(a_step_that_ends_while_it_is_being_stopped_counts_too),
		T(two_daemons_steps_are_told_apart),
		T(a_failed_attempt_is_repeated_after_a_while),
		T(who_is_late_is_told_of_once),
		T(a_fired_dataset_is_not_disarmed_before_it_is_fenced),
		T(what_happens_to_a_dataset_is_told_once),
		T(the_table_holds_as_many_as_promised_and_places_are_used_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
