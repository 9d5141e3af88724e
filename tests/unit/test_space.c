/* SPDX-License-Identifier: Apache-2.0 */
/* When little room is told, which dataset is trimmed when, and what the node's metrics look like. */
#include "cmocka_all.h"
#include "metrics.h"
#include "space.h"
#include "trims.h"

static const struct driver_ops ops = { .name = "loopback" };

static struct space new_space(unsigned int percent)
{
	struct driver_desc d = { .name = "loopback", .shared = true, .discards = true, .allocation_unit = 512 };
	struct space s;

	space_init(&s, percent, &ops, &d);
	return s;
}

/* Is it a crossing? */
static bool look(struct space *s, uint64_t free_bytes, bool full)
{
	return space_look(s, &(struct driver_desc){ .name = "loopback", .capacity_bytes = 1000 * GIB,
		.free_bytes = free_bytes, .full = full });
}

static void each_crossing_is_told_once(void **state)
{
	struct space s = new_space(10);

	assert_false(look(&s, 100 * GIB, false));
	assert_string_equal(s.told.warning, "");
	assert_true(look(&s, 99 * GIB, false));
	assert_int_equal(s.level, SPACE_LOW);
	assert_non_null(strstr(s.told.warning, "less than 10 %"));
	assert_false(look(&s, 50 * GIB, false));
	assert_true(look(&s, 0, true));
	assert_int_equal(s.level, SPACE_FULL);
	assert_non_null(strstr(s.told.warning, "is full"));
	assert_true(look(&s, 110 * GIB, false)); /* it ends above where it began */
	assert_int_equal(s.level, SPACE_LOW);
	assert_true(look(&s, 120 * GIB, false));
	assert_int_equal(s.level, SPACE_FINE);
	assert_string_equal(s.told.warning, "");
}

static void without_a_limit_only_a_full_backend_is_told(void **state)
{
	struct space s = new_space(0);

	assert_false(look(&s, 1, false));
	assert_true(look(&s, 0, true));
	assert_true(look(&s, 1, false));
	assert_int_equal(s.level, SPACE_FINE);
}

static void what_was_promised_stands_beside_what_there_is(void **state)
{
	struct space s = new_space(10);

	(void)look(&s, 5 * GIB, false);
	space_promised(&s, 3000 * GIB);
	assert_non_null(strstr(s.told.warning, "of its 1000.00 GiB free"));
	assert_non_null(strstr(s.told.warning, "2.93 TiB are promised"));
	assert_int_equal(s.told.promised_bytes, 3000 * GIB);
	assert_string_equal(s.told.name, "default");
	assert_true(wire_backend_can(&s.told, "discard"));
	assert_false(wire_backend_can(&s.told, "cut"));
}

/* ---- trims ---- */

static bool nobody(struct id128 dataset_id, void *userdata)
{
	return false;
}

static void first_trims_are_spread_over_a_week(void **state)
{
	unsigned int days[7] = { 0 };
	struct trims t = { 0 };

	for (uint64_t i = 0; i < 700; i++) {
		int64_t due = trims_due(&t, id128_make_v4(i * 77, i), 1000000);

		assert_in_range(due, 1000000, 1000000 + TRIMS_PERIOD_S);
		days[MIN((due - 1000000) / 86400, INT64_C(6))]++;
	}
	for (size_t i = 0; i < ARRAY_SIZE(days); i++)
		assert_in_range(days[i], 50, 160);
	trims_done(&t);
}

static void a_trim_is_remembered_and_comes_a_week_later(void **state)
{
	struct id128 id = id128_make_v4(5, 6), other = id128_make_v4(7, 8);
	struct trims t = { 0 }, again = { 0 };
	char *text;

	(void)trims_due(&t, id, 1000000);
	trims_trimmed(&t, id, 2000000, 4711);
	(void)trims_due(&t, other, 1000000);
	trims_put_off(&t, other, 2000000, 86400);
	assert_true(t.dirty);
	text = trims_text(&t);
	assert_false(t.dirty);
	assert_int_equal(trims_parse(&again, text), 0);
	assert_false(again.dirty);
	assert_int_equal(trims_find(&again, id)->bytes, 4711);
	assert_int_equal(trims_find(&again, id)->at_s, 2000000);
	assert_int_equal(trims_due(&again, id, 2000100), 2000000 + TRIMS_PERIOD_S);
	assert_int_equal(trims_find(&again, other)->at_s, 0);
	assert_int_equal(trims_due(&again, other, 2000100), 2000000 + 86400);
	free(text);
	trims_done(&t);
	trims_done(&again);
}

static void a_damaged_file_is_as_good_as_none_for_what_it_does_not_say(void **state)
{
	struct id128 id = id128_make_v4(5, 6);
	struct trims t = { 0 };
	char text[512];

	snprintf(text, sizeof(text), "garbage\n\n%s 12 x 0\nffff\n%s 5 6 7\n%s 8 9 10\n%s", ID128_STR(id128_make_v4(1, 1)),
		ID128_STR(id), ID128_STR(id), ID128_STR(id128_make_v4(2, 2)));
	assert_int_equal(trims_parse(&t, text), 0);
	assert_int_equal(t.n, 1);
	assert_int_equal(trims_find(&t, id)->bytes, 7);
	trims_done(&t);
}

static void a_clock_that_was_wrong_puts_no_trim_off_for_ever(void **state)
{
	struct id128 id = id128_make_v4(5, 6);
	struct trims t = { 0 };

	(void)trims_due(&t, id, 1000000);
	trims_trimmed(&t, id, INT64_C(9000000000), 1);
	assert_int_equal(trims_due(&t, id, 2000000), 2000000 + TRIMS_PERIOD_S);
	trims_done(&t);
}

static void who_is_gone_for_long_is_forgotten(void **state)
{
	struct id128 id = id128_make_v4(5, 6);
	struct trims t = { 0 };

	(void)trims_due(&t, id, 1000000);
	trims_drop_strangers(&t, 1000000 + TRIMS_PERIOD_S, nobody, NULL);
	assert_non_null(trims_find(&t, id));
	trims_drop_strangers(&t, 1000000 + 6 * TRIMS_PERIOD_S, nobody, NULL);
	assert_null(trims_find(&t, id));
	trims_done(&t);
}

/* ---- metrics ---- */

static void metrics_tell_what_was_counted(void **state)
{
	struct wire_backend b = { .name = "a\"b\\c", .driver = "loopback", .capacity_bytes = 10, .free_bytes = 3,
		.warning = "low" };
	struct node_view v = { .version = "2.0.0", .connected = true, .connected_since_ms = 1700000000123 };
	struct metrics_now now = { .node = &v, .backends = &b, .n_backends = 1, .states[DS_MOUNTED] = 4 };
	struct metrics m = { 0 };
	char *text;

	metrics_count(&m, STEP_MOUNT, 4, 0);
	metrics_count(&m, STEP_MOUNT, 30, EIO);
	metrics_count(&m, STEP_MOUNT, 700000, 0);
	text = metrics_text(&m, &now);
	assert_non_null(strstr(text, "\nflocker_node_datasets{state=\"mounted\"} 4\n"));
	assert_non_null(strstr(text, "\nflocker_node_datasets{state=\"lost\"} 0\n"));
	assert_non_null(strstr(text, "{backend=\"a\\\"b\\\\c\",driver=\"loopback\"} 3\n"));
	assert_non_null(strstr(text, "flocker_node_steps_total{step=\"mount\",result=\"failed\"} 1\n"));
	assert_non_null(strstr(text, "flocker_node_step_seconds_bucket{step=\"mount\",le=\"0.005\"} 1\n"));
	assert_non_null(strstr(text, "flocker_node_step_seconds_bucket{step=\"mount\",le=\"0.1\"} 2\n"));
	assert_non_null(strstr(text, "flocker_node_step_seconds_bucket{step=\"mount\",le=\"600\"} 2\n"));
	assert_non_null(strstr(text, "flocker_node_step_seconds_bucket{step=\"mount\",le=\"+Inf\"} 3\n"));
	assert_non_null(strstr(text, "flocker_node_step_seconds_sum{step=\"mount\"} 700.034\n"));
	assert_non_null(strstr(text, "flocker_node_control_connected 1\n"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_crossing_is_told_once),
		cmocka_unit_test(without_a_limit_only_a_full_backend_is_told),
		cmocka_unit_test(what_was_promised_stands_beside_what_there_is),
		cmocka_unit_test(first_trims_are_spread_over_a_week),
		cmocka_unit_test(a_trim_is_remembered_and_comes_a_week_later),
		cmocka_unit_test(a_damaged_file_is_as_good_as_none_for_what_it_does_not_say),
		cmocka_unit_test(a_clock_that_was_wrong_puts_no_trim_off_for_ever),
		cmocka_unit_test(who_is_gone_for_long_is_forgotten),
		cmocka_unit_test(metrics_tell_what_was_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
