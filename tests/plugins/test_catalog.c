/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "catalog.h"
#include "jsonin.h"

#define ID_A "aaaaaaaa-0000-4000-8000-000000000000"
#define ID_B "bbbbbbbb-0000-4000-8000-000000000000"
#define ID_C "cccccccc-0000-4000-8000-000000000000"

static int setup(void **state)
{
	return catalog_new((struct catalog **)state);
}

static int teardown(void **state)
{
	catalog_free(*state);
	return 0;
}

static struct id128 id_of(const char *text)
{
	struct id128 id;

	assert_int_equal(id128_parse(text, &id), 0);
	return id;
}

static int put(struct catalog *c, const char *text)
{
	_cleanup_json_ struct json_object *o = NULL;
	char error[JSONIN_ERROR_MAX];
	struct id128 id;

	assert_int_equal(jsonin_parse(text, strlen(text), &o, error), 0);
	return json_object_object_get_ex(o, "uuid", NULL) ? catalog_put_node(c, o) : catalog_put(c, o, &id);
}

static void put_named(struct catalog *c, const char *id, const char *name, const char *created)
{
	char text[512];

	snprintf(text, sizeof(text),
		"{\"dataset_id\":\"%s\",\"name\":%s%s%s,\"created_at\":\"%s\"}", id,
		name ? "\"" : "", name ?: "null", name ? "\"" : "", created);
	assert_int_equal(put(c, text), 0);
}

static void of_a_name_that_repeats_the_oldest_has_it(void **state)
{
	struct catalog *c = *state;

	put_named(c, ID_B, "db", "2026-01-02T00:00:00.000Z");
	put_named(c, ID_C, "db", "2026-01-03T00:00:00.000Z");
	put_named(c, ID_A, "db", "2026-01-01T00:00:00.000Z");
	assert_true(id128_equal(catalog_by_name(c, "db")->id, id_of(ID_A)));
	catalog_drop(c, id_of(ID_A));
	assert_true(id128_equal(catalog_by_name(c, "db")->id, id_of(ID_B)));
	put_named(c, ID_B, "other", "2026-01-02T00:00:00.000Z");
	assert_true(id128_equal(catalog_by_name(c, "db")->id, id_of(ID_C)));
	assert_true(id128_equal(catalog_by_name(c, "other")->id, id_of(ID_B)));
	put_named(c, ID_C, NULL, "2026-01-03T00:00:00.000Z");
	assert_null(catalog_by_name(c, "db"));
}

static void deleted_datasets_are_not_in_it(void **state)
{
	struct catalog *c = *state;

	put_named(c, ID_A, "db", "x");
	assert_int_equal(put(c, "{\"dataset_id\":\"" ID_A "\",\"name\":\"db\",\"deleted\":true}"), 0);
	assert_null(catalog_by_name(c, "db"));
	assert_null(catalog_by_id(c, id_of(ID_A)));
}

static void what_is_no_dataset_is_refused(void **state)
{
	assert_int_equal(put(*state, "{}"), -EBADMSG);
	assert_int_equal(put(*state, "[]"), -EBADMSG);
	assert_int_equal(put(*state, "{\"dataset_id\":\"x\",\"name\":\"db\"}"), -EBADMSG);
}

static void values_of_any_type_do_no_harm(void **state)
{
	const struct volume *v;

	assert_int_equal(put(*state, "{\"dataset_id\":\"" ID_A
				     "\",\"name\":\"db\",\"lease\":7,\"metadata\":[],\"node\":{},"
				     "\"failover\":null,\"last_error\":{\"holders\":[1,null]},"
				     "\"size\":\"big\",\"state\":null}"),
		0);
	v = catalog_by_name(*state, "db");
	assert_non_null(v);
	assert_true(id128_is_nil(v->leased));
	assert_false(v->delete_on_remove);
}

static void what_matters_of_a_dataset_is_kept(void **state)
{
	const struct volume *v;

	assert_int_equal(put(*state, "{\"dataset_id\":\"" ID_A "\",\"name\":\"db\",\"node\":\"" ID_B
				     "\",\"owner\":\"" ID_C "\",\"lease\":{\"node\":\"" ID_B
				     "\",\"expires\":null},\"size\":1073741824,\"metadata\":"
				     "{\"flocker:on-remove\":\"delete\",\"clusterhq:flocker:"
				     "profile\":\"gold\"},\"state\":\"failed\",\"last_error\":"
				     "{\"step\":\"mount\",\"message\":\"No "
				     "space\",\"holders\":[\"pid 1 (sh)\"]}}"),
		0);
	v = catalog_by_id(*state, id_of(ID_A));
	assert_true(id128_equal(v->node, id_of(ID_B)));
	assert_true(id128_equal(v->owner, id_of(ID_C)));
	assert_true(id128_equal(v->leased, id_of(ID_B)));
	assert_int_equal(v->size_bytes, 1073741824);
	assert_true(v->delete_on_remove);
	assert_string_equal(v->profile, "gold");
	assert_string_equal(v->last_error, "mount: No space; pid 1 (sh)");
}

static void a_whole_list_drops_what_is_not_in_it(void **state)
{
	struct catalog *c = *state;
	struct id128 id;

	put_named(c, ID_A, "a", "1");
	put_named(c, ID_B, "b", "1");
	put_named(c, ID_C, "b", "2");
	assert_int_equal(put(c, "{\"uuid\":\"" ID_A "\",\"host\":\"one\"}"), 0);
	assert_int_equal(put(c, "{\"uuid\":\"" ID_B "\",\"host\":\"two\"}"), 0);
	catalog_begin(c);
	put_named(c, ID_C, "b", "2");
	assert_int_equal(put(c, "{\"uuid\":\"" ID_B "\",\"host\":\"two\"}"), 0);
	catalog_end(c);
	assert_null(catalog_by_name(c, "a"));
	assert_true(id128_equal(catalog_by_name(c, "b")->id, id_of(ID_C)));
	assert_int_equal(catalog_find_node(c, "one", &id), -ENOENT);
	assert_int_equal(catalog_find_node(c, "two", &id), 0);
}

static void a_node_is_meant_by_its_host_or_the_beginning_of_its_uuid(void **state)
{
	struct catalog *c = *state;
	struct id128 id;

	assert_int_equal(put(c, "{\"uuid\":\"" ID_A "\",\"host\":\"192.0.2.1\"}"), 0);
	assert_int_equal(put(c, "{\"uuid\":\"aaaabbbb-0000-4000-8000-000000000000\",\"host\":null}"), 0);
	assert_int_equal(catalog_find_node(c, "aaaaaa", &id), 0);
	assert_true(id128_equal(id, id_of(ID_A)));
	assert_int_equal(catalog_find_node(c, "192.0.2.1", &id), 0);
	assert_int_equal(catalog_find_node(c, "aaaa", &id), -ENOTUNIQ);
	assert_int_equal(catalog_find_node(c, "", &id), -ENOENT);
	assert_int_equal(catalog_find_node(c, "192.0.2", &id), -ENOENT);
}

static void join(const struct volume *v, void *userdata)
{
	strcat(userdata, v->name);
}

static void names_are_told_in_order_and_once(void **state)
{
	char names[32] = "";

	put_named(*state, ID_B, "b", "1");
	put_named(*state, ID_C, "b", "2");
	put_named(*state, ID_A, "a", "3");
	catalog_each(*state, join, names);
	assert_string_equal(names, "ab");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			of_a_name_that_repeats_the_oldest_has_it, setup, teardown),
		cmocka_unit_test_setup_teardown(deleted_datasets_are_not_in_it, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_dataset_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(values_of_any_type_do_no_harm, setup, teardown),
		cmocka_unit_test_setup_teardown(what_matters_of_a_dataset_is_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_whole_list_drops_what_is_not_in_it, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_node_is_meant_by_its_host_or_the_beginning_of_its_uuid, setup, teardown),
		cmocka_unit_test_setup_teardown(names_are_told_in_order_and_once, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
