/* SPDX-License-Identifier: Apache-2.0 */
/* The original's state file: what is taken, what is left, and what is refused with its place. */
#include "cm.h"
#include "import.h"

#define NOW INT64_C(1800000000)
#define ID_A "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
#define ID_B "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
#define NODE_1 "11111111-1111-4111-8111-111111111111"
#define NODE_2 "22222222-2222-4222-8222-222222222222"

/* The original's words, with ' for ". */
#define UUID(id) "{'$__class__$':'UUID','hex':'" id "'}"
#define PMAP(pairs) "{'$__class__$':'PMap','values':[" pairs "]}"
#define DATASET_MORE(id, deleted, size, metadata, more)                                          \
	"{'$__class__$':'Dataset','dataset_id':'" id "','deleted':" deleted ",'maximum_size':" size \
	",'metadata':" PMAP(metadata) more "}"
#define DATASET(id, deleted, size) DATASET_MORE(id, deleted, size, "", "")
#define FILED(id, dataset) "['" id "',{'$__class__$':'Manifestation','primary':true,'dataset':" dataset "}]"
#define NODE(id, filed)                                                                    \
	"[" UUID(id) ",{'$__class__$':'Node','uuid':" UUID(id) ",'manifestations':" PMAP(filed) \
	",'applications':" PMAP("") "}]"
#define FILE_OF(version, nodes, leases, owned)                                                      \
	"{'$__class__$':'Configuration','version':" version ",'deployment':{'$__class__$':'Deployment'," \
	"'nodes':" PMAP(nodes) ",'leases':" PMAP(leases) ",'persistent_state':"                       \
	"{'$__class__$':'PersistentState','blockdevice_ownership':" PMAP(owned) "}}}"
#define LEASE(id, node, expiration)                                                          \
	"[" UUID(id) ",{'$__class__$':'Lease','dataset_id':" UUID(id) ",'node_id':" UUID(node) \
	",'expiration':" expiration "}]"

static char *quoted(const char *text)
{
	char *copy = strdup(text);

	assert_non_null(copy);
	for (char *p = copy; *p; p++)
		if (*p == '\'')
			*p = '"';
	return copy;
}

static int parse(const char *text, struct import *ret, char error[IMPORT_ERROR_MAX])
{
	_cleanup_free_ char *json = quoted(text);

	error[0] = '\0';
	return import_parse(json, strlen(json), NOW, ret, error);
}

static void parse_ok(const char *text, struct import *ret)
{
	char error[IMPORT_ERROR_MAX];
	int r = parse(text, ret, error);

	if (r < 0)
		print_message("%s\n", error);
	assert_int_equal(r, 0);
}

static bool says(const struct import *im, const char *a, const char *b)
{
	for (size_t i = 0; i < im->n_lines; i++)
		if (strstr(im->lines[i], a) && strstr(im->lines[i], b))
			return true;
	return false;
}

static const struct ds_record *one_dataset(const struct import *im)
{
	assert_int_equal(im->n_datasets, 1);
	return &im->datasets[0];
}

static void what_the_original_made_is_never_made_anew(void **state)
{
	struct import im;
	const struct ds_record *ds;

	parse_ok(FILE_OF("6", NODE(NODE_1, FILED(ID_A, DATASET(ID_A, "false", "134217728"))), "",
		"[" UUID(ID_A) ",'vol-1']"), &im);
	ds = one_dataset(&im);
	assert_int_equal(ds->format_state, FORMAT_DONE);
	assert_string_equal(ID128_STR(ds->primary), NODE_1);
	assert_string_equal(ID128_STR(ds->volume_id), ID_A);
	assert_string_equal(ID128_STR(ds->fs_uuid), ID_A);
	assert_int_equal(ds->size_bytes, 134217728);
	assert_true(id128_is_nil(ds->owner));
	assert_true(ds->epoch > ds->born_epoch); /* a deletion has something to destroy */
	assert_true(says(&im, "taken", "'vol-1'"));
	assert_non_null(strstr(json_object_to_json_string(ds->extra), "vol-1"));
	import_done(&im);
}

static void only_a_registry_that_knows_volumes_says_that_there_is_none(void **state)
{
	struct import im;

	parse_ok(FILE_OF("6", NODE(NODE_1, FILED(ID_A, DATASET(ID_A, "false", "null"))), "",
		"[" UUID(ID_B) ",'vol-1']"), &im);
	assert_int_equal(one_dataset(&im)->format_state, FORMAT_NEVER);
	assert_int_equal(one_dataset(&im)->size_bytes, DATASET_DEFAULT_SIZE);
	assert_int_equal(one_dataset(&im)->maximum_size, 0);
	assert_true(says(&im, "left", "vol-1"));
	import_done(&im);

	parse_ok(FILE_OF("6", NODE(NODE_1, FILED(ID_A, DATASET(ID_A, "false", "null"))), "", ""), &im);
	assert_int_equal(one_dataset(&im)->format_state, FORMAT_DONE);
	import_done(&im);
}

static void a_deleted_dataset_stays_deleted_and_nothing_is_destroyed(void **state)
{
	struct import im;
	const struct ds_record *ds;

	parse_ok(FILE_OF("6", NODE(NODE_1, FILED(ID_A, DATASET(ID_A, "true", "134217728"))), "",
		"[" UUID(ID_A) ",'vol-1']"), &im);
	ds = one_dataset(&im);
	assert_true(ds->deleted && id128_is_nil(ds->volume_id) && ds->deleted_at == NOW);
	assert_true(says(&im, "deleted", "'vol-1' is not destroyed"));
	import_done(&im);
}

static void of_two_places_the_living_one_counts(void **state)
{
	struct import im;

	parse_ok(FILE_OF("6",
		NODE(NODE_1, FILED(ID_A, DATASET(ID_A, "true", "134217728"))) ","
		NODE(NODE_2, FILED(ID_A, DATASET(ID_A, "false", "134217728"))), "", ""), &im);
	assert_false(one_dataset(&im)->deleted);
	assert_string_equal(ID128_STR(one_dataset(&im)->primary), NODE_2);
	assert_true(says(&im, "left   dataset " ID_A, NODE_1 " as deleted"));
	import_done(&im);
}

static void leases_keep_their_ends_and_those_that_ended_are_left(void **state)
{
	struct import im;

	parse_ok(FILE_OF("6", "", LEASE(ID_A, NODE_1, "{'$__class__$':'datetime','seconds':1800000001}") ","
		LEASE(ID_B, NODE_2, "{'$__class__$':'datetime','seconds':1799999999}"), ""), &im);
	assert_int_equal(im.n_pins, 1);
	assert_string_equal(ID128_STR(im.pins[0].dataset_id), ID_A);
	assert_true(im.pins[0].expires_ms == INT64_C(1800000001000));
	assert_true(says(&im, "left   lease on dataset " ID_B, "2027-01-15T07:59:59Z"));
	import_done(&im);

	parse_ok(FILE_OF("6", "", LEASE(ID_A, NODE_1, "null"), ""), &im);
	assert_true(im.pins[0].expires_ms == PIN_ENDLESS);
	import_done(&im);
}

static void sizes_of_early_releases_become_whole_units(void **state)
{
	static const struct {
		const char *text;
		uint64_t asked, size;
	} all[] = {
		{ FILE_OF("6", NODE(NODE_1, FILED(ID_A, DATASET(ID_A, "false", "1e9"))), "", ""), 1000000000,
			1000000512 },
		{ FILE_OF("6", NODE(NODE_1, FILED(ID_A, DATASET(ID_A, "false", "67108865"))), "", ""), 67108865,
			67109888 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct import im;

		parse_ok(all[i].text, &im);
		assert_int_equal(one_dataset(&im)->maximum_size, all[i].asked);
		assert_int_equal(one_dataset(&im)->size_bytes, all[i].size);
		import_done(&im);
	}
}

static void what_is_not_known_is_named(void **state)
{
	struct import im;

	parse_ok(FILE_OF("6", NODE(NODE_1, FILED(ID_A, DATASET_MORE(ID_A, "false", "null", "", ",'x\\u001by':1"))),
		"", ""), &im);
	assert_true(says(&im, "left   /deployment/nodes/values/0/1/manifestations/values/0/1/dataset/x?y",
		"not known"));
	import_done(&im);
}

static void a_mistake_is_told_with_its_place(void **state)
{
	static const struct {
		const char *text, *error;
	} all[] = {
		{ "[]", "/: must be an object of class Configuration" },
		{ "{'a':", "byte" },
		{ "{'$__class__$':'Configuration','version':7,'deployment':{}}", "/version: format 7 is newer" },
		{ "{'$__class__$':'Configuration','version':1,'deployment':{}}", "/version: must be" },
		{ "{'$__class__$':'Configuration','version':6}", "/: the key deployment is missing" },
		{ "{'$__class__$':'Configuration','version':6,'deployment':{'$__class__$':'Node'}}",
			"/deployment: must be of class Deployment, and not of Node" },
		{ "{'$__class__$':'Deployment','nodes':{}}", "/nodes: must be a list" },
		{ FILE_OF("4", "", "", ""), "/deployment/nodes: must be a list" },
		{ FILE_OF("6", "[1]", "", ""), "/deployment/nodes/values/0: must be a pair" },
		{ FILE_OF("6", NODE(NODE_1, FILED(ID_A, DATASET(ID_B, "false", "null"))), "", ""),
			"/deployment/nodes/values/0/1/manifestations/values/0/0: the dataset that is filed here" },
		{ FILE_OF("6", NODE(NODE_1, FILED(ID_A, DATASET(ID_A, "false", "0"))), "", ""),
			"/dataset/maximum_size: must be null or" },
		{ FILE_OF("6", NODE(NODE_1, FILED(ID_A, DATASET(ID_A, "false", "1.5"))), "", ""),
			"/dataset/maximum_size: must be null or" },
		{ FILE_OF("6", NODE(NODE_1, FILED(ID_A, DATASET(ID_A, "false", "1e300"))), "", ""),
			"/dataset/maximum_size: must be null or" },
		{ FILE_OF("6", NODE(NODE_1, FILED(ID_A, DATASET(ID_A, "0", "null"))), "", ""),
			"/dataset/deleted: must be true or false" },
		{ FILE_OF("6", NODE(NODE_1, FILED("x", DATASET(ID_A, "false", "null"))), "", ""),
			"/manifestations/values/0/0: must be the 36 characters" },
		{ FILE_OF("6", NODE(NODE_1, FILED(ID_A, DATASET_MORE(ID_A, "false", "null", "['a',1]", ""))), "", ""),
			"/metadata/values/0/1: must be a string" },
		{ FILE_OF("6", NODE(NODE_1, FILED(ID_A, DATASET_MORE(ID_A, "false", "null", "['a','b'],['a','c']",
			""))), "", ""), "/metadata/values/1/0: this key appears twice" },
		{ FILE_OF("6", "", LEASE(ID_A, NODE_1, "{'$__class__$':'datetime','seconds':1e99}"), ""),
			"/expiration/seconds: must be whole seconds" },
		{ FILE_OF("6", "", LEASE(ID_A, NODE_1, "null") "," LEASE(ID_A, NODE_2, "null"), ""),
			"/deployment/leases/values/1/0: this dataset has a second lease" },
		{ FILE_OF("6", "", "", "[" UUID(ID_A) ",'a'],[" UUID(ID_A) ",'b']"),
			"/blockdevice_ownership/values/1/0: this dataset has a second volume" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		char error[IMPORT_ERROR_MAX];
		struct import im;

		assert_int_equal(parse(all[i].text, &im, error), -EBADMSG);
		if (!strstr(error, all[i].error))
			print_message("wanted \"%s\", got \"%s\"\n", all[i].error, error);
		assert_non_null(strstr(error, all[i].error));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_original_made_is_never_made_anew),
		cmocka_unit_test(only_a_registry_that_knows_volumes_says_that_there_is_none),
		cmocka_unit_test(a_deleted_dataset_stays_deleted_and_nothing_is_destroyed),
		cmocka_unit_test(of_two_places_the_living_one_counts),
		cmocka_unit_test(leases_keep_their_ends_and_those_that_ended_are_left),
		cmocka_unit_test(sizes_of_early_releases_become_whole_units),
		cmocka_unit_test(what_is_not_known_is_named),
		cmocka_unit_test(a_mistake_is_told_with_its_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
