/* SPDX-License-Identifier: Apache-2.0 */
#include "cm.h"
#include "jsonin.h"
#include "record.h"

static struct ds_record sample(void)
{
	struct ds_record r = { .maximum_size = UINT64_C(1) << 40, .size_bytes = UINT64_C(1) << 40,
		.growing_bytes = UINT64_C(3) << 39, .want_bytes = UINT64_C(1) << 41,
		.fs_bytes = UINT64_C(1) << 39, .created_at = 1700000000, .deleted = true,
		.deleted_in = 4, .undelete_until = 1700000100, .backend = "loopback",
		.filesystem = FS_BTRFS, .format_state = FORMAT_STARTED, .epoch = UINT64_MAX,
		.grant = GRANT_DESTROY, .incarnation = 3,
		.failover = { FAILOVER_LEASE, 2000 }, .failover_rev = 4,
		.in_force = { FAILOVER_LEASE, 6000 }, .sure_from = 5, .fenced = { 6, 7 },
		.proof = PROOF_TERM, .request = "0a-B.c_9" };

	r.dataset_id = id128_make_v4(1, 2);
	r.primary = id128_make_v4(3, 4);
	r.volume_id = id128_make_v4(5, 6);
	r.fs_uuid = id128_make_v4(7, 8);
	r.owner = id128_make_v4(9, 10);
	r.chosen = json_object_new_string("the emptiest");
	r.idempotency = json_object_new_string("key 1");
	r.metadata = json_object_new_object();
	json_object_object_add(r.metadata, "name", json_object_new_string("caf\xc3\xa9/\""));
	return r;
}

/* Texts are equal by pointer. */
static void take_texts(struct ds_record *r, const struct ds_record *from)
{
	assert_true(json_object_equal(r->metadata, from->metadata));
	json_object_put(r->metadata);
	json_object_put(r->chosen);
	json_object_put(r->idempotency);
	r->metadata = json_object_get(from->metadata);
	r->chosen = json_object_get(from->chosen);
	r->idempotency = json_object_get(from->idempotency);
}

static void a_dataset_survives_its_stored_form(void **state)
{
	struct ds_record r = sample(), back;
	_cleanup_free_ char *text = ds_record_to_json(&r);

	assert_non_null(text);
	assert_int_equal(ds_record_from_json(text, &back), 0);
	assert_string_equal(json_object_get_string(back.chosen), "the emptiest");
	assert_string_equal(json_object_get_string(back.idempotency), "key 1");
	take_texts(&back, &r);
	assert_true(ds_record_equal(&r, &back));
	assert_null(back.extra);
	ds_record_done(&back);
	ds_record_done(&r);
}

/* There was one size, and it had it. */
static void a_record_from_before_growth_is_grown(void **state)
{
	struct ds_record r = sample(), back;
	_cleanup_free_ char *text = ds_record_to_json(&r);
	_cleanup_json_ struct json_object *o = json_tokener_parse(text);

	json_object_object_del(o, "want");
	json_object_object_del(o, "growing");
	json_object_object_del(o, "fs_size");
	assert_int_equal(ds_record_from_json(json_object_to_json_string(o), &back), 0);
	assert_int_equal(back.want_bytes, r.size_bytes);
	assert_int_equal(back.growing_bytes, r.size_bytes);
	assert_int_equal(back.fs_bytes, r.size_bytes);
	assert_true(ds_record_is_grown(&back));
	assert_false(ds_record_is_grown(&r));
	ds_record_done(&back);
	ds_record_done(&r);
}

static void nobody_and_nothing_stay_so(void **state)
{
	struct ds_record r = sample(), back;
	_cleanup_free_ char *text = NULL;

	r.owner = r.volume_id = r.fs_uuid = ID128_NIL;
	text = ds_record_to_json(&r);
	assert_int_equal(ds_record_from_json(text, &back), 0);
	assert_true(id128_is_nil(back.owner) && id128_is_nil(back.volume_id));
	ds_record_done(&back);
	ds_record_done(&r);
}

static void unknown_keys_are_kept(void **state)
{
	struct ds_record r = sample(), back, copy;
	_cleanup_free_ char *text = NULL, *again = NULL;

	r.extra = json_object_new_object();
	json_object_object_add(r.extra, "tomorrow", json_object_new_int(7));
	text = ds_record_to_json(&r);
	assert_int_equal(ds_record_from_json(text, &back), 0);
	assert_int_equal(json_object_get_int(json_object_object_get(back.extra, "tomorrow")), 7);
	ds_record_copy(&back, &copy);
	assert_true(ds_record_equal(&back, &copy));
	ds_record_done(&back);
	again = ds_record_to_json(&copy);
	assert_non_null(strstr(again, "\"tomorrow\":7"));
	ds_record_done(&copy);
	ds_record_done(&r);
}

/* Each key in turn: missing, or of a wrong type. */
static void a_damaged_dataset_is_refused(void **state)
{
	struct ds_record r = sample(), back;
	_cleanup_free_ char *text = ds_record_to_json(&r);
	static const char *const required[] = { "version", "dataset_id", "metadata", "maximum_size",
		"size", "created_at", "deleted", "backend", "filesystem", "format_state", "epoch",
		"grant", "incarnation" };

	for (size_t i = 0; i < ARRAY_SIZE(required); i++)
		for (int wrong = 0; wrong < 2; wrong++) {
			_cleanup_json_ struct json_object *o = json_tokener_parse(text);

			json_object_object_del(o, required[i]);
			if (wrong)
				json_object_object_add(o, required[i], json_object_new_array());
			if (ds_record_from_json(json_object_to_json_string(o), &back) != -EBADMSG)
				fail_msg("accepted with a %s '%s'", wrong ? "wrong" : "missing",
					required[i]);
		}
	ds_record_done(&r);
}

static void a_request_is_optional_and_has_its_form(void **state)
{
	struct ds_record r = sample(), back;
	char *text;

	*r.request = '\0';
	text = ds_record_to_json(&r);
	assert_null(strstr(text, "request"));
	assert_int_equal(ds_record_from_json(text, &back), 0);
	assert_string_equal(back.request, "");
	ds_record_done(&back);
	free(text);
	strcpy(r.request, "two words");
	text = ds_record_to_json(&r);
	assert_int_equal(ds_record_from_json(text, &back), -EBADMSG);
	free(text);
	ds_record_done(&r);
}

static void texts_that_are_no_record_are_refused(void **state)
{
	static const char *const bad[] = { "", "{}", "[]", "null", "{\"version\":2}",
		"{\"version\":1}", "{\"version\":1,\"dataset_id\":\"x\"}", "{\"version\":1} x",
		"{\"version\":1.0}" };
	struct ds_record ds;
	struct node_record node;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(ds_record_from_json(bad[i], &ds), -EBADMSG);
		assert_int_equal(node_record_from_json(bad[i], &node), -EBADMSG);
	}
}

static void a_node_survives_its_stored_form(void **state)
{
	struct node_record r = { .uuid = id128_make_v4(1, 2), .host = id128_make_v4(3, 4) }, back;
	_cleanup_free_ char *text = NULL, *free_text = NULL;

	text = node_record_to_json(&r);
	assert_int_equal(node_record_from_json(text, &back), 0);
	assert_true(id128_equal(r.uuid, back.uuid) && id128_equal(r.host, back.host));
	node_record_done(&back);
	r.host = ID128_NIL;
	free_text = node_record_to_json(&r);
	assert_int_equal(node_record_from_json(free_text, &back), 0);
	assert_true(id128_is_nil(back.host));
	node_record_done(&back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dataset_survives_its_stored_form),
		cmocka_unit_test(a_record_from_before_growth_is_grown),
		cmocka_unit_test(nobody_and_nothing_stay_so),
		cmocka_unit_test(unknown_keys_are_kept),
		cmocka_unit_test(a_damaged_dataset_is_refused),
		cmocka_unit_test(a_request_is_optional_and_has_its_form),
		cmocka_unit_test(texts_that_are_no_record_are_refused),
		cmocka_unit_test(a_node_survives_its_stored_form),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
