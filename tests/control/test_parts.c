/* SPDX-License-Identifier: Apache-2.0 */
/* The small parts: endpoints, schema readers, histories. */
#include "cm.h"
#include "endpoint.h"
#include "history.h"
#include "jsonin.h"
#include "schema.h"

static void endpoints_are_read_as_the_original_writes_them(void **state)
{
	static const struct {
		const char *text, *address;
		uint16_t port;
	} rows[] = {
		{ "tcp:4523", "0.0.0.0", 4523 },
		{ "tcp:1:interface=127.0.0.1", "127.0.0.1", 1 },
		{ "tcp:65535:interface=::1", "::1", 65535 },
		{ "tcp:4523:interface=[fe80::1]", "fe80::1", 4523 },
		{ "tcp:4523:interface=\\:\\:1", "::1", 4523 },
	};
	struct endpoint e;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(endpoint_parse(rows[i].text, &e), 0);
		assert_string_equal(e.address, rows[i].address);
		assert_int_equal(e.port, rows[i].port);
	}
}

static void other_texts_are_no_endpoints(void **state)
{
	static const char *const bad[] = { "", "4523", "tcp", "tcp:", "tcp:0", "tcp:65536",
		"tcp:-1", "tcp:4523x", "tcp: 4523",
		"tcp:4523:", "tcp:4523:interface=", "tcp:4523:interface=host", "tcp:4523:backlog=5",
		"tcp:4523:interface=1.2.3.4:x", "ssl:4523", "tcp:000004523",
		("tcp:4523:interface="
		 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") };
	struct endpoint e;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (endpoint_parse(bad[i], &e) != -EINVAL)
			fail_msg("accepted: %s", bad[i]);
}

#define NODE "\"11111111-1111-4111-8111-111111111111\""

static int create(const char *text, struct dataset_create *ret, struct schema_errors *e)
{
	_cleanup_json_ struct json_object *body = NULL;
	char error[JSONIN_ERROR_MAX];

	assert_int_equal(jsonin_parse(text, strlen(text), &body, error), 0);
	return schema_dataset_create(body, FS_EXT4, (struct failover){ FAILOVER_MANUAL, 6000 }, ret, e);
}

static void a_whole_body_is_read(void **state)
{
	struct schema_errors e = { 0 };
	struct dataset_create d;

	assert_int_equal(create("{\"primary\": " NODE ", \"maximum_size\": 1073741824,"
				" \"dataset_id\": \"CCCCCCCC-CCCC-4CCC-8CCC-CCCCCCCCCCCC\","
				" \"metadata\": {\"flocker:filesystem\": \"xfs\", \"name\": "
				"\"db\"}}",
				 &d, &e),
		0);
	assert_int_equal(d.maximum_size, GIB);
	assert_int_equal(d.filesystem, FS_XFS);
	assert_string_equal(ID128_STR(d.dataset_id), "cccccccc-cccc-4ccc-8ccc-cccccccccccc");
	assert_int_equal(json_object_object_length(d.metadata), 2);
	dataset_create_done(&d);
}

static void what_is_absent_has_its_default(void **state)
{
	struct schema_errors e = { 0 };
	struct dataset_create d;

	assert_int_equal(create("{\"primary\": " NODE ", \"maximum_size\": null}", &d, &e), 0);
	assert_int_equal(d.maximum_size, 0);
	assert_int_equal(d.filesystem, FS_EXT4);
	assert_true(id128_is_nil(d.dataset_id));
	assert_int_equal(json_object_object_length(d.metadata), 0);
	dataset_create_done(&d);
}

static void every_violation_is_told(void **state)
{
	struct schema_errors e = { 0 };
	struct dataset_create d;

	assert_int_equal(create("{\"x\": 1, \"dataset_id\": null, \"maximum_size\": -1025,"
				" \"metadata\": {\"\": 1, \"a/b\": 2}}", &d, &e), -EINVAL);
	assert_int_equal(e.n, 8);
	schema_errors_done(&e);
	assert_int_equal(create("[]", &d, &e), -EINVAL);
	assert_string_equal(e.list[0], "/: must be an object");
	schema_errors_done(&e);
}

static void many_violations_end_somewhere(void **state)
{
	struct schema_errors e = { 0 };
	struct dataset_create d;
	char text[4096] = "{";

	for (int i = 0; i < 200; i++)
		snprintf(text + strlen(text), 32, "\"k%d\": 1, ", i);
	strcat(text, "\"primary\": 1}");
	assert_int_equal(create(text, &d, &e), -EINVAL);
	assert_int_equal(e.n, SCHEMA_ERRORS_MAX);
	schema_errors_done(&e);
}

static struct history_step step(int i, const char *state)
{
	static char what[32];

	snprintf(what, sizeof(what), "step %d", i);
	return (struct history_step){ .time_ms = 1000 + i, .state = state, .what = what };
}

static void the_last_steps_are_kept(void **state)
{
	struct history *h = history_new();
	struct id128 id = id128_make_v4(1, 1);

	for (int i = 0; i < 100; i++) {
		struct history_step s = step(i, "mounted");

		assert_true(history_add(h, id, &s));
		assert_false(history_add(h, id, &s));
		assert_int_equal(history_count(h, id), MIN(i + 1, HISTORY_STEPS_MAX));
		assert_string_equal(history_get(h, id, history_count(h, id) - 1)->what, s.what);
	}
	assert_string_equal(history_get(h, id, 0)->what, "step 68");
	assert_null(history_get(h, id, HISTORY_STEPS_MAX));
	assert_int_equal(history_count(h, id128_make_v4(2, 2)), 0);
	history_free(h);
}

static void since_is_when_the_state_began(void **state)
{
	struct history *h = history_new();
	struct id128 id = id128_make_v4(1, 1);
	struct history_step s;

	assert_int_equal(history_since(h, id), 0);
	s = step(0, "mounting"), history_add(h, id, &s);
	s = step(1, "mounted"), history_add(h, id, &s);
	s = step(2, "mounted"), history_add(h, id, &s);
	assert_int_equal(history_since(h, id), 1001);
	history_free(h);
}

static void many_datasets_have_their_own_history(void **state)
{
	struct history *h = history_new();

	for (int i = 0; i < 5000; i++) {
		struct history_step s = step(i, "mounted");

		history_add(h, id128_make_v4(0, (uint64_t)i), &s);
	}
	for (int i = 0; i < 5000; i++) {
		struct history_step s = step(i, "mounted");

		assert_string_equal(history_get(h, id128_make_v4(0, (uint64_t)i), 0)->what, s.what);
	}
	history_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(endpoints_are_read_as_the_original_writes_them),
		cmocka_unit_test(other_texts_are_no_endpoints),
		cmocka_unit_test(a_whole_body_is_read),
		cmocka_unit_test(what_is_absent_has_its_default),
		cmocka_unit_test(every_violation_is_told),
		cmocka_unit_test(many_violations_end_somewhere),
		cmocka_unit_test(the_last_steps_are_kept),
		cmocka_unit_test(since_is_when_the_state_began),
		cmocka_unit_test(many_datasets_have_their_own_history),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
