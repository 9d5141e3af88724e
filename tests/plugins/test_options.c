/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "docker_options.h"
#include "jsonin.h"

static int read_options(const char *text, struct docker_options *o, struct json_object **ret, char *error)
{
	char why[JSONIN_ERROR_MAX];

	assert_int_equal(jsonin_parse(text, strlen(text), ret, why), 0);
	return docker_options_read(*ret, o, error);
}

static void without_options_nothing_is_said(void **state)
{
	char error[DOCKER_ERROR_MAX];
	struct docker_options o;

	assert_int_equal(docker_options_read(NULL, &o, error), 0);
	assert_false(docker_options_differ(&o, &(struct volume){ .name = (char[]){ "v" }, .size_bytes = 7 }, error));
}

static void a_body_says_what_was_said_and_no_more(void **state)
{
	static const struct {
		const char *options, *body;
	} cases[] = {
		{"{}", "{\"name\":\"v\",\"node\":null}"},
		{"{\"size\":\"1G\",\"on-remove\":\"keep\"}",
			"{\"name\":\"v\",\"size\":1073741824,\"node\":null}"},
		{"{\"profile\":\"p\",\"on-remove\":\"delete\",\"failover\":\"lease\","
		 "\"filesystem\":\"btrfs\"}",
			"{\"name\":\"v\",\"metadata\":{\"clusterhq:flocker:profile\":\"p\","
			"\"flocker:on-remove\":\"delete\"},"
			"\"failover\":{\"policy\":\"lease\"},\"filesystem\":\"btrfs\",\"node\":"
			"null}"},
	};
	char error[DOCKER_ERROR_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_json_ struct json_object *from = NULL, *body = NULL;
		struct docker_options o;

		assert_int_equal(read_options(cases[i].options, &o, &from, error), 0);
		body = docker_options_body(&o, "v", ID128_NIL);
		assert_string_equal(json_object_to_json_string_ext(body, JSON_C_TO_STRING_PLAIN), cases[i].body);
	}
}

static void the_first_difference_is_told(void **state)
{
	struct volume v = { .name = (char[]){ "v" }, .size_bytes = GIB, .filesystem = (char[]){ "xfs" },
		.failover = (char[]){ "lease" }, .delete_on_remove = true };
	_cleanup_json_ struct json_object *from = NULL, *same = NULL;
	char error[DOCKER_ERROR_MAX];
	struct docker_options o;

	assert_int_equal(read_options("{\"size\":\"1024M\",\"filesystem\":\"xfs\",\"failover\":"
				      "\"lease\",\"on-remove\":\"delete\","
				      "\"node\":\"anywhere\"}",
				 &o, &same, error),
		0);
	assert_false(docker_options_differ(&o, &v, error));
	assert_int_equal(read_options("{\"on-remove\":\"keep\"}", &o, &from, error), 0);
	assert_true(docker_options_differ(&o, &v, error));
	assert_non_null(strstr(error, "on-remove is delete, not keep"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_options_nothing_is_said),
		cmocka_unit_test(a_body_says_what_was_said_and_no_more),
		cmocka_unit_test(the_first_difference_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
