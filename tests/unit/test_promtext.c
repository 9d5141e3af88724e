/* SPDX-License-Identifier: Apache-2.0 */
/* test_promtext.c - the text that monitors read, to the byte. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

#include "promtext.h"

static void is_written(struct promtext *p, const char *expected)
{
	_cleanup_free_ char *text = NULL;
	size_t size;

	assert_int_equal(promtext_close(p, &text, &size), 0);
	assert_string_equal(text, expected);
	assert_int_equal(size, strlen(expected));
}

static void a_family_has_its_head_and_its_values(void **state)
{
	struct promtext p;

	assert_int_equal(promtext_open(&p), 0);
	promtext_family(&p, "flocker_nodes", "gauge", "Nodes.");
	promtext_value(&p, "flocker_nodes", 3, NULL);
	promtext_value(&p, "flocker_nodes", 0.25, "state", "live", "zone", "", NULL);
	is_written(&p, "# HELP flocker_nodes Nodes.\n# TYPE flocker_nodes gauge\nflocker_nodes 3\n"
		       "flocker_nodes{state=\"live\",zone=\"\"} 0.25\n");
}

static void values_of_labels_are_escaped(void **state)
{
	struct promtext p;

	assert_int_equal(promtext_open(&p), 0);
	promtext_value(&p, "a", 1, "b", "\"\\\n} \xc3\xa9 \xff\xc3", NULL);
	is_written(&p, "a{b=\"\\\"\\\\\\n} \xc3\xa9 ??\"} 1\n");
}

static void numbers_are_exact_or_close(void **state)
{
	struct promtext p;

	assert_int_equal(promtext_open(&p), 0);
	promtext_value(&p, "a", 9007199254740992., NULL);
	promtext_value(&p, "a", 1795406400.125, NULL);
	promtext_value(&p, "a", -1, NULL);
	promtext_value(&p, "a", 1e300, NULL);
	promtext_value(&p, "a", INFINITY, NULL);
	is_written(&p, "a 9007199254740992\na 1795406400.125\na -1\na 1e+300\na +Inf\n");
}

static void buckets_of_durations_add_up(void **state)
{
	static const double taken[] = { 0, .001, .0011, 10, 10.5, 3600 };
	struct promtext_durations d = { 0 };
	_cleanup_free_ char *text = NULL;
	struct promtext p;
	size_t size;

	for (size_t i = 0; i < ARRAY_SIZE(taken); i++)
		promtext_observe(&d, taken[i]);
	assert_int_equal(promtext_open(&p), 0);
	promtext_histogram(&p, "t", "T.", &d);
	assert_int_equal(promtext_close(&p, &text, &size), 0);
	for (const char *line = text, *const *w = (const char *const[]){ "t_bucket{le=\"0.001\"} 2\n",
		     "t_bucket{le=\"0.0025\"} 3\n", "t_bucket{le=\"5\"} 3\n", "t_bucket{le=\"10\"} 4\n",
		     "t_bucket{le=\"+Inf\"} 6\nt_sum 3620.5021\nt_count 6\n", NULL }; *w; w++) {
		line = strstr(line, *w);
		assert_non_null(line);
	}
}

static void a_process_knows_itself(void **state)
{
	_cleanup_free_ char *text = NULL;
	struct promtext p;
	const char *at;
	double began;
	size_t size;
	int fds;

	assert_int_equal(promtext_open(&p), 0);
	promtext_process(&p);
	assert_int_equal(promtext_close(&p, &text, &size), 0);
	at = strstr(text, "\nprocess_open_fds ");
	assert_non_null(at);
	assert_int_equal(sscanf(at, " process_open_fds %d", &fds), 1);
	assert_in_range(fds, 3, 64);
	at = strstr(text, "\nprocess_start_time_seconds ");
	assert_non_null(at);
	assert_int_equal(sscanf(at, " process_start_time_seconds %lf", &began), 1);
	assert_true(fabs(began - (double)time(NULL)) < 60);
	assert_non_null(strstr(text, "\nprocess_resident_memory_bytes "));
	assert_non_null(strstr(text, "\nprocess_max_fds "));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_family_has_its_head_and_its_values),
		cmocka_unit_test(values_of_labels_are_escaped),
		cmocka_unit_test(numbers_are_exact_or_close),
		cmocka_unit_test(buckets_of_durations_add_up),
		cmocka_unit_test(a_process_knows_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
