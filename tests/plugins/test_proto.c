/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "docker_proto.h"
#include "engine.h"
#include "jsonin.h"

static void calls_are_found_by_their_paths(void **state)
{
	char error[DOCKER_ERROR_MAX], path[64];

	for (int i = 0; i < DOCKER_CALL_MAX; i++) {
		static const char body[] = "{\"Name\":\"v\",\"ID\":\"x\",\"Opts\":null,\"Other\":[]}\n";
		struct docker_request q;

		snprintf(path, sizeof(path), "/%s", docker_call_name((enum docker_call)i));
		assert_int_equal(docker_request_read(path, body, strlen(body), &q, error), 0);
		assert_int_equal(q.call, i);
		docker_request_done(&q);
	}
	assert_int_equal(
		docker_request_read("/volumedriver.get", "", 0, &(struct docker_request){0}, error),
		-ENOENT);
}

static void a_mount_may_have_no_id(void **state)
{
	static const char body[] = "{\"Name\":\"v\"}";
	char error[DOCKER_ERROR_MAX];
	struct docker_request q;

	assert_int_equal(docker_request_read("/VolumeDriver.Mount", body, strlen(body), &q, error), 0);
	assert_string_equal(q.name, "v");
	assert_string_equal(q.id, "");
	docker_request_done(&q);
}

static void a_name_is_one_that_engines_can_say(void **state)
{
	static const char *const good[] = { "a", "0", "pg_data-1.2", "0000000000000000000000000000000000000000" };
	static const char *const bad[] = { "", ".", "..", ".a", "-a", "_a", "a/b", "a b", "a\n", "\xc3\xa4", "a:b" };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(docker_name_valid(good[i]));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(docker_name_valid(bad[i]));
}

/* And freed. */
static void expect(char *text, const char *wanted)
{
	assert_non_null(text);
	assert_string_equal(text, wanted);
	free(text);
}

static void answers_have_the_words_of_the_protocol(void **state)
{
	_cleanup_json_ struct json_object *status = json_object_new_object();
	struct docker_volume v = { "v", "/flocker/x", "2026-01-01T00:00:00.000Z", status };
	struct json_object *list = docker_list_begin();

	expect(docker_activated(), "{\"Implements\":[\"VolumeDriver\"]}\n");
	expect(docker_capabilities(), "{\"Capabilities\":{\"Scope\":\"global\"}}\n");
	expect(docker_done(), "{\"Err\":\"\"}\n");
	expect(docker_error("no \"x\""), "{\"Err\":\"no \\\"x\\\"\"}\n");
	expect(docker_mountpoint("/flocker/x"), "{\"Mountpoint\":\"/flocker/x\",\"Err\":\"\"}\n");
	expect(docker_got(&v), "{\"Volume\":{\"Name\":\"v\",\"Mountpoint\":\"/flocker/x\",\"CreatedAt\":"
		"\"2026-01-01T00:00:00.000Z\",\"Status\":{}},\"Err\":\"\"}\n");
	v.created_at = NULL, v.status = NULL, v.mountpoint = "";
	assert_int_equal(docker_list_add(list, &v), 0);
	expect(docker_list_end(list), "{\"Volumes\":[{\"Name\":\"v\",\"Mountpoint\":\"\"}],\"Err\":\"\"}\n");
}

static void names_of_containers_are_those_of_their_engine(void **state)
{
	static const char list[] =
		"[{\"Names\":[\"/web\",\"/other/web\"]},{\"Names\":[]},{},7,{\"Names\":[\"/a b\"]},"
		"{\"Names\":[\"db-1\"]}]";
	char names[ENGINE_NAMES_MAX + 1], many[8192] = "[{\"Names\":[\"/a\"]}";

	engine_names(list, strlen(list), names);
	assert_string_equal(names, "web, db-1");
	engine_names("{}", 2, names);
	assert_string_equal(names, "");
	engine_names("", 0, names);
	assert_string_equal(names, "");
	for (int i = 0; i < 100; i++)
		strcat(many, ",{\"Names\":[\"/container-of-many\"]}");
	strcat(many, "]");
	engine_names(many, strlen(many), names);
	assert_int_equal(strncmp(names, "a, container-of-many, ", 22), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_are_found_by_their_paths),
		cmocka_unit_test(a_mount_may_have_no_id),
		cmocka_unit_test(a_name_is_one_that_engines_can_say),
		cmocka_unit_test(names_of_containers_are_those_of_their_engine),
		cmocka_unit_test(answers_have_the_words_of_the_protocol),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
