/* SPDX-License-Identifier: Apache-2.0 */
/* What v1 cannot ask for: changes in one, no place, placement, undeletion, draining. */
#include <json-c/json.h>

#include "assign_rig.h"
#include "cmocka_all.h"
#include "failover_to.h"

static const struct id128 other = { 0x2222222222224222, 0x8222222222222222 };
static const struct id128 node_c = { 0xcccccccccccc4ccc, 0x8ccccccccccccccc };

static struct json_object *named(const char *name)
{
	struct json_object *map = json_object_new_object();

	if (name)
		json_object_object_add(map, RECORD_NAME_KEY, json_object_new_string(name));
	return map;
}

static int create_as(struct id128 id, const char *name, struct assign_event ev, struct id128 primary)
{
	struct ds_record r = { .dataset_id = id, .primary = primary, .size_bytes = 64 * MIB, .backend = "default",
		.metadata = named(name) };
	int status;

	ev.type = ASSIGN_CREATE;
	ev.record = &r;
	status = decide(ev);
	json_object_put(r.metadata);
	return status;
}

static int create_strict(struct id128 id, const char *name)
{
	return create_as(id, name, (struct assign_event){ .strict = true }, node_a);
}

static int patch(struct assign_patch p)
{
	int status = decide((struct assign_event){ .type = ASSIGN_PATCH, .dataset_id = dataset, .strict = true,
		.patch = &p });

	json_object_put(p.metadata);
	return status;
}

static int say(enum assign_event_type type, uint64_t keep_ms)
{
	return decide((struct assign_event){ .type = type, .dataset_id = dataset, .now_s = 1000, .keep_ms = keep_ms });
}

static int say_node(enum assign_event_type type, struct id128 node)
{
	return decide((struct assign_event){ .type = type, .node = node, .now_s = 1000 });
}

static void tick_after(uint64_t ms)
{
	now_ms += ms;
	decide((struct assign_event){ .type = ASSIGN_TICK });
}

static uint64_t hello_with(struct id128 node, uint64_t free_bytes)
{
	struct wire_hello h = { .host = node, .boot = node, .shared = true, .free_bytes = free_bytes };

	session++;
	decide((struct assign_event){ .type = ASSIGN_HELLO, .node = node, .session = session, .hello = &h,
		.address = "192.0.2.1" });
	return session;
}

/* On its way to be formatted, so that it may not go to a backend that others do not share. */
static uint64_t mounted_on_a(void)
{
	uint64_t sa = hello(node_a, NULL, 0);

	assert_int_equal(create_strict(dataset, "one"), 0);
	report(node_a, sa, REPORT_READY, record()->epoch);
	report(node_a, sa, REPORT_FORMATTED, record()->epoch);
	assert_int_equal(record()->format_state, FORMAT_DONE);
	return sa;
}

static const char *why(void)
{
	static char text[512];

	return assign_why(a, now_ms, dataset, text, sizeof(text));
}

/* ---- names ---- */

static void a_name_belongs_to_one_living_dataset(void **state)
{
	struct id128 id;

	assert_int_equal(create_strict(dataset, "one"), 0);
	assert_int_equal(create_strict(other, "one"), -EADDRINUSE);
	assert_int_equal(create_strict(other, "two"), 0);
	assert_int_equal(patch((struct assign_patch){ .metadata = named("two") }), -EADDRINUSE);
	assert_int_equal(patch((struct assign_patch){ .metadata = named("one") }), 0); /* its own */
	assert_int_equal(assign_find_name(a, "one", &id), 0);
	assert_true(id128_equal(id, dataset));
	assert_int_equal(patch((struct assign_patch){ .metadata = named("three") }), 0);
	assert_int_equal(assign_find_name(a, "one", &id), -ENOENT);
	assert_int_equal(say(ASSIGN_DELETE, 0), 0);
	assert_int_equal(assign_find_name(a, "three", &id), -ENOENT);
}

static void v1_gives_a_name_twice_and_the_older_one_is_found(void **state)
{
	struct id128 id;

	assert_int_equal(create_as(other, "one", (struct assign_event){ 0 }, node_a), 0);
	assert_int_equal(create_as(dataset, "one", (struct assign_event){ 0 }, node_a), 0);
	assert_int_equal(assign_find_name(a, "one", &id), 0);
	assert_true(id128_equal(id, dataset)); /* of one second the smaller id */
}

static void a_name_is_free_again_when_its_commit_failed(void **state)
{
	struct ds_record r = { .dataset_id = dataset, .primary = node_a, .size_bytes = 64 * MIB,
		.backend = "default", .metadata = named("one") };
	struct assign_event ev = { .type = ASSIGN_CREATE, .record = &r, .random = { 1, 2 } };
	struct id128 id;

	assign_decide(a, now_ms, &ev, &res);
	assert_int_equal(assign_find_name(a, "one", &id), 0);
	assign_failed(a, now_ms, res.txn);
	assert_int_equal(assign_find_name(a, "one", &id), -ENOENT);
	json_object_put(r.metadata);
}

static void a_key_of_idempotency_finds_what_it_made(void **state)
{
	struct ds_record r = { .dataset_id = dataset, .primary = node_a, .size_bytes = 64 * MIB,
		.backend = "default", .idempotency = json_object_new_string("key.1 0123") };
	struct id128 id;

	assert_int_equal(decide((struct assign_event){ .type = ASSIGN_CREATE, .record = &r }), 0);
	assert_int_equal(assign_find_idempotency(a, "key.1", &id), 0);
	assert_true(id128_equal(id, dataset));
	assert_int_equal(assign_find_idempotency(a, "key", &id), -ENOENT);
	assert_int_equal(assign_find_idempotency(a, "key.1 0123", &id), -ENOENT);
	say(ASSIGN_DELETE, 0);
	assert_int_equal(assign_find_idempotency(a, "key.1", &id), 0); /* a late retry makes no second one */
	json_object_put(r.idempotency);
}

/* ---- patches ---- */

static void a_patch_is_taken_whole_or_not_at_all(void **state)
{
	mounted_on_a();
	assert_int_equal(patch((struct assign_patch){ .metadata = named("two"), .want_bytes = MIB, .move = true,
		.primary = node_b }), -EFBIG);
	assert_string_equal(ds_record_text(record(), RECORD_NAME_KEY), "one");
	assert_true(id128_equal(record()->primary, node_a));
	assert_int_equal(patch((struct assign_patch){ .metadata = named("two"), .want_bytes = 128 * MIB, .move = true,
		.primary = node_b, .has_failover = true, .failover = { FAILOVER_LEASE, 4000 } }), 0);
	assert_int_equal(res.n_changes, 1);
	assert_string_equal(ds_record_text(record(), RECORD_NAME_KEY), "two");
	assert_true(id128_equal(record()->primary, node_b));
	assert_int_equal(record()->want_bytes, 128 * MIB);
	assert_int_equal(record()->size_bytes, 64 * MIB);
	assert_int_equal(record()->failover.kind, FAILOVER_LEASE);
	assert_int_equal(sent(node_a)->wish, WISH_RELEASE);
}

static void null_takes_a_key_away_and_others_stay(void **state)
{
	struct json_object *more = named(NULL), *less = named(NULL);

	create_strict(dataset, "one");
	json_object_object_add(more, "owner", json_object_new_string("me"));
	assert_int_equal(patch((struct assign_patch){ .metadata = more }), 0);
	assert_string_equal(ds_record_text(record(), "owner"), "me");
	assert_string_equal(ds_record_text(record(), RECORD_NAME_KEY), "one");
	json_object_object_add(less, RECORD_NAME_KEY, NULL);
	assert_int_equal(patch((struct assign_patch){ .metadata = less }), 0);
	assert_null(ds_record_text(record(), RECORD_NAME_KEY));
	assert_string_equal(ds_record_text(record(), "owner"), "me");
}

static void metadata_have_a_limit_also_when_they_are_merged(void **state)
{
	struct json_object *many = named(NULL), *renamed;
	char key[16];

	for (int i = 0; i < RECORD_METADATA_MAX - 1; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		json_object_object_add(many, key, json_object_new_string("v"));
	}
	create_strict(dataset, "one");
	assert_int_equal(patch((struct assign_patch){ .metadata = many }), 0);
	renamed = named("two");
	json_object_object_add(renamed, "new", json_object_new_string("v"));
	assert_int_equal(patch((struct assign_patch){ .metadata = json_object_get(renamed) }), -E2BIG);
	json_object_object_add(renamed, "k0", NULL);
	assert_int_equal(patch((struct assign_patch){ .metadata = renamed }), 0);
}

static void what_changes_nothing_is_not_written(void **state)
{
	create_strict(dataset, "one");
	assert_int_equal(patch((struct assign_patch){ .metadata = named("one"), .want_bytes = 64 * MIB, .move = true,
		.primary = node_a }), 0);
	assert_int_equal(res.n_changes, 0);
}

static void asking_changes_nothing(void **state)
{
	struct assign_patch p = { .move = true, .primary = node_b };
	struct assign_event ev = { .type = ASSIGN_PATCH, .dataset_id = dataset, .patch = &p };

	mounted_on_a();
	assert_int_equal(assign_check(a, &ev), 0);
	assert_true(id128_equal(record()->primary, node_a));
	ev.dataset_id = other;
	assert_int_equal(assign_check(a, &ev), -ENOENT);
}

/* ---- no place ---- */

static void what_is_wanted_nowhere_is_released_and_waits(void **state)
{
	uint64_t sa = mounted_on_a();

	assert_int_equal(patch((struct assign_patch){ .move = true }), 0);
	assert_int_equal(sent(node_a)->wish, WISH_RELEASE);
	report(node_a, sa, REPORT_RELEASED, record()->epoch);
	assert_true(id128_is_nil(record()->owner));
	hello(node_b, NULL, 0);
	assert_true(id128_is_nil(record()->owner));
	assert_non_null(strstr(why(), "wanted at none"));
	assert_int_equal(patch((struct assign_patch){ .move = true, .primary = node_b }), 0);
	assert_true(id128_equal(record()->owner, node_b));
}

static void what_is_wanted_nowhere_does_not_fail_over(void **state)
{
	struct json_object *any = named(NULL);
	uint64_t sa = mounted_on_a();

	json_object_object_add(any, FAILOVER_TO_KEY, json_object_new_string(FAILOVER_TO_ANY));
	assert_int_equal(patch((struct assign_patch){ .metadata = any, .move = true }), 0);
	gone(node_a, sa);
	hello(node_b, NULL, 0);
	assert_int_equal(fence(node_a), 0);
	assert_true(id128_is_nil(record()->owner) && id128_is_nil(record()->primary));
}

/* ---- placement ---- */

static void it_is_placed_where_there_is_the_most_room(void **state)
{
	struct assign_event place = { .strict = true, .place = true };

	assert_int_equal(create_as(dataset, NULL, place, ID128_NIL), -EHOSTUNREACH);
	hello_with(node_a, 100 * MIB);
	hello_with(node_b, 190 * MIB);
	hello_with(node_c, 120 * MIB);
	assert_int_equal(create_as(dataset, NULL, place, ID128_NIL), 0);
	assert_true(id128_equal(record()->owner, node_b));
	assert_non_null(strstr(json_object_get_string(record()->chosen), "190.00 MiB"));
	/* What is promised there counts: 126 MiB are left, then 62. */
	assert_int_equal(create_as(other, NULL, place, ID128_NIL), 0);
	assert_true(id128_equal(res.changes[0].ds.primary, node_b));
	assert_int_equal(create_as(node_a, NULL, place, ID128_NIL), 0);
	assert_true(id128_equal(res.changes[0].ds.primary, node_c));
	assert_int_equal(move(node_a), 0);
	assert_null(record()->chosen); /* a client's word now */
}

static void what_fits_nowhere_is_placed_with_a_warning(void **state)
{
	struct assign_event place = { .strict = true, .place = true };

	hello_with(node_a, 100 * MIB);
	assert_int_equal(create_as(dataset, NULL, place, ID128_NIL), 0);
	assert_null(strstr(json_object_get_string(record()->chosen), "less than"));
	assert_int_equal(create_as(other, NULL, place, ID128_NIL), 0);
	assert_true(id128_equal(res.changes[0].ds.primary, node_a));
	assert_non_null(strstr(json_object_get_string(res.changes[0].ds.chosen), "less than the 64.00 MiB"));
}

static void of_equal_nodes_that_with_fewer_datasets_is_chosen(void **state)
{
	hello(node_a, NULL, 0);
	hello(node_b, NULL, 0);
	assert_int_equal(create(node_b), 0);
	assert_int_equal(create_as(other, NULL, (struct assign_event){ .place = true }, ID128_NIL), 0);
	assert_true(id128_equal(res.changes[0].ds.primary, node_a));
}

/* ---- undeletion ---- */

static void what_was_deleted_is_kept_for_the_window_and_comes_back(void **state)
{
	uint64_t sa = mounted_on_a(), epoch = record()->epoch;
	struct id128 volume = record()->volume_id;

	assert_int_equal(say(ASSIGN_DELETE, 60000), 0);
	assert_int_equal(sent(node_a)->wish, WISH_RELEASE);
	assert_int_equal(record()->undelete_until, 1061);
	report(node_a, sa, REPORT_RELEASED, epoch);
	assert_true(id128_is_nil(record()->owner)); /* nobody destroys it */
	assert_non_null(strstr(why(), "kept until 1970-01-01T00:17:41Z"));
	tick_after(59000);
	assert_true(id128_is_nil(record()->owner));
	assert_int_equal(say(ASSIGN_UNDELETE, 0), 0);
	assert_true(id128_equal(record()->owner, node_a));
	assert_true(id128_equal(record()->volume_id, volume));
	assert_int_equal(record()->grant, GRANT_HOLD);
	tick_after(60000);
	assert_int_equal(record()->grant, GRANT_HOLD);
	assert_int_equal(say(ASSIGN_UNDELETE, 0), -EALREADY);
}

static void at_the_end_of_the_window_it_is_destroyed(void **state)
{
	uint64_t sa = mounted_on_a();

	assert_int_equal(say(ASSIGN_DELETE, 60000), 0);
	report(node_a, sa, REPORT_RELEASED, record()->epoch);
	assert_true(assign_next_wake(a) <= now_ms + 60000);
	tick_after(60000);
	assert_int_equal(record()->grant, GRANT_DESTROY);
	assert_true(id128_equal(record()->owner, node_a));
	assert_int_equal(say(ASSIGN_UNDELETE, 0), -EOWNERDEAD);
}

static void a_purge_ends_the_window(void **state)
{
	uint64_t sa = mounted_on_a();

	assert_int_equal(say(ASSIGN_PURGE, 0), -EALREADY);
	assert_int_equal(say(ASSIGN_DELETE, 60000), 0);
	report(node_a, sa, REPORT_RELEASED, record()->epoch);
	assert_int_equal(say(ASSIGN_DELETE, 0), 0); /* said again, it changes nothing */
	assert_true(id128_is_nil(record()->owner));
	assert_int_equal(say(ASSIGN_PURGE, 0), 0);
	assert_int_equal(record()->grant, GRANT_DESTROY);
}

static void a_window_outlives_control(void **state)
{
	uint64_t sa = mounted_on_a();
	struct ds_record r;

	say(ASSIGN_DELETE, 60000);
	report(node_a, sa, REPORT_RELEASED, record()->epoch);
	ds_record_copy(record(), &r);
	a = assign_free(a);
	assert_int_equal(assign_new(1, now_ms, &a), 0);
	assign_load_dataset(a, &r, 5000);
	ds_record_done(&r);
	assign_loaded(a);
	hello(node_a, NULL, 0);
	tick_after(4000);
	assert_true(id128_is_nil(record()->owner));
	tick_after(1000);
	assert_int_equal(record()->grant, GRANT_DESTROY);
}

/* The backup is of before the undeletion. */
static void a_restored_control_destroys_nothing_that_may_have_been_undeleted(void **state)
{
	uint64_t sa = mounted_on_a();
	struct wire_status held;
	struct node_record na = { .uuid = node_a, .host = node_a };
	struct ds_record r;
	char text[256];

	say(ASSIGN_DELETE, 60000);
	report(node_a, sa, REPORT_RELEASED, record()->epoch);
	ds_record_copy(record(), &r);
	for (int undeleted = 0; undeleted < 2; undeleted++) {
		held = (struct wire_status){ .dataset_id = dataset, .volume_id = r.volume_id, .epoch = r.epoch + 1,
			.state = DS_MOUNTED, .mounted = true };
		a = assign_free(a);
		assert_int_equal(assign_new(1000, now_ms, &a), 0);
		assign_load_node(a, &na);
		assign_load_dataset(a, &r, -5000);
		assign_loaded(a);
		hello(node_a, &held, (size_t)undeleted);
		tick_after(120000);
		assert_int_equal(record()->grant, GRANT_HOLD);
		if (undeleted) {
			assert_false(record()->deleted);
			assert_true(id128_equal(record()->owner, node_a));
		}
	}
	a = assign_free(a);
	assert_int_equal(assign_new(1000, now_ms, &a), 0);
	assign_load_node(a, &na);
	assign_load_dataset(a, &r, -5000);
	hello(node_a, NULL, 0);
	assert_non_null(strstr(assign_why(a, now_ms, dataset, text, sizeof(text)), "until somebody purges it"));
	/* Who deletes it once more knows what he says. */
	assert_int_equal(say(ASSIGN_DELETE, 60000), 0);
	assert_int_equal(record()->grant, GRANT_HOLD);
	tick_after(62000);
	assert_int_equal(record()->grant, GRANT_DESTROY);
	ds_record_done(&r);
}

static void a_drain_tells_that_it_may_not_go_where_it_could(void **state)
{
	struct json_object *only_a = named(NULL);
	char text[256];

	mounted_on_a();
	hello(node_b, NULL, 0);
	json_object_object_add(only_a, FAILOVER_TO_KEY, json_object_new_string(ID128_STR(node_a)));
	assert_int_equal(patch((struct assign_patch){ .metadata = only_a }), 0);
	say_node(ASSIGN_DRAIN, node_a);
	assert_true(id128_equal(record()->primary, node_a));
	assert_non_null(strstr(assign_drain_why(a, now_ms, dataset, text, sizeof(text)), "flocker:failover-to names"));
}

static void a_name_that_was_taken_meanwhile_is_in_the_way_of_an_undeletion(void **state)
{
	create_strict(dataset, "one");
	say(ASSIGN_DELETE, 60000);
	assert_int_equal(create_strict(other, "one"), 0);
	assert_int_equal(say(ASSIGN_UNDELETE, 0), -EADDRINUSE);
}

/* ---- draining ---- */

static void a_drain_moves_everything_away_and_places_nothing(void **state)
{
	uint64_t sa = mounted_on_a();

	hello(node_b, NULL, 0);
	assert_int_equal(say_node(ASSIGN_DRAIN, node_c), -ENOENT);
	assert_int_equal(say_node(ASSIGN_DRAIN, node_a), 0);
	assert_true(id128_equal(record()->primary, node_b));
	assert_non_null(strstr(json_object_get_string(record()->chosen), "drains"));
	assert_int_equal(sent(node_a)->wish, WISH_RELEASE);
	report(node_a, sa, REPORT_RELEASED, record()->epoch);
	assert_true(id128_equal(record()->owner, node_b));
	assert_int_equal(create_strict(other, "two"), -EHOSTDOWN);
	assert_int_equal(patch((struct assign_patch){ .move = true, .primary = node_a }), -EHOSTDOWN);
	assert_int_equal(create_as(other, NULL, (struct assign_event){ .place = true }, ID128_NIL), 0);
	assert_true(id128_equal(res.changes[0].ds.primary, node_b));
	assert_int_equal(say_node(ASSIGN_UNDRAIN, node_a), 0);
	assert_true(id128_equal(record()->owner, node_b)); /* it stays */
	assert_int_equal(patch((struct assign_patch){ .move = true, .primary = node_a }), 0);
}

static void what_cannot_leave_a_draining_node_says_why_and_goes_when_it_can(void **state)
{
	struct pin_record pin = { .dataset_id = dataset, .node = node_a, .expires_ms = PIN_ENDLESS };
	char text[256];

	mounted_on_a();
	assert_int_equal(say_node(ASSIGN_DRAIN, node_a), 0);
	assert_true(id128_equal(record()->primary, node_a));
	assert_non_null(strstr(assign_drain_why(a, now_ms, dataset, text, sizeof(text)), "no other node"));
	decide((struct assign_event){ .type = ASSIGN_PIN, .pin = &pin, .pin_ms = PIN_ENDLESS });
	hello(node_b, NULL, 0);
	assert_true(id128_equal(record()->primary, node_a));
	assert_non_null(strstr(assign_drain_why(a, now_ms, dataset, text, sizeof(text)), "lease"));
	decide((struct assign_event){ .type = ASSIGN_UNPIN, .dataset_id = dataset });
	assert_true(id128_equal(record()->primary, node_b));
}

static void a_node_that_comes_takes_what_drains_elsewhere(void **state)
{
	mounted_on_a();
	say_node(ASSIGN_DRAIN, node_a);
	hello(node_b, NULL, 0);
	assert_true(id128_equal(record()->primary, node_b));
}

static void a_drain_that_is_asked_for_again_changes_nothing(void **state)
{
	uint64_t drained;

	mounted_on_a();
	say_node(ASSIGN_DRAIN, node_a);
	drained = res.txn;
	say_node(ASSIGN_DRAIN, node_a);
	assert_int_equal(res.n_changes, 0);
	assert_int_equal(res.txn, drained); /* the answer waits for it all the same */
}

static void a_node_that_drains_no_more_takes_what_drains_elsewhere(void **state)
{
	mounted_on_a();
	hello(node_b, NULL, 0);
	say_node(ASSIGN_DRAIN, node_b);
	say_node(ASSIGN_DRAIN, node_a);
	assert_true(id128_equal(record()->primary, node_a));
	say_node(ASSIGN_UNDRAIN, node_b);
	assert_true(id128_equal(record()->primary, node_b));
}

static void v1_is_not_refused_by_a_drain_but_moved_on(void **state)
{
	hello(node_a, NULL, 0);
	hello(node_b, NULL, 0);
	say_node(ASSIGN_DRAIN, node_a);
	assert_int_equal(create(node_a), 0);
	assert_true(id128_equal(record()->owner, node_b));
}

static void datasets_of_a_node_are_counted_and_told(void **state)
{
	struct assign_node_view v;

	mounted_on_a();
	assert_int_equal(assign_node(a, now_ms, node_a, &v), 0);
	assert_int_equal(v.n_owned, 1);
	assert_int_equal(v.n_wished, 1);
	move(node_b);
	assert_int_equal(assign_node(a, now_ms, node_a, &v), 0);
	assert_int_equal(v.n_owned, 1);
	assert_int_equal(v.n_wished, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_name_belongs_to_one_living_dataset),
		TEST(v1_gives_a_name_twice_and_the_older_one_is_found),
		TEST(a_name_is_free_again_when_its_commit_failed),
		TEST(a_key_of_idempotency_finds_what_it_made),
		TEST(a_patch_is_taken_whole_or_not_at_all),
		TEST(null_takes_a_key_away_and_others_stay),
		TEST(metadata_have_a_limit_also_when_they_are_merged),
		TEST(what_changes_nothing_is_not_written),
		TEST(asking_changes_nothing),
		TEST(what_is_wanted_nowhere_is_released_and_waits),
		TEST(what_is_wanted_nowhere_does_not_fail_over),
		TEST(it_is_placed_where_there_is_the_most_room),
		TEST(what_fits_nowhere_is_placed_with_a_warning),
		TEST(of_equal_nodes_that_with_fewer_datasets_is_chosen),
		TEST(what_was_deleted_is_kept_for_the_window_and_comes_back),
		TEST(at_the_end_of_the_window_it_is_destroyed),
		TEST(a_purge_ends_the_window),
		TEST(a_window_outlives_control),
		TEST(a_restored_control_destroys_nothing_that_may_have_been_undeleted),
		TEST(a_drain_tells_that_it_may_not_go_where_it_could),
		TEST(a_name_that_was_taken_meanwhile_is_in_the_way_of_an_undeletion),
		TEST(a_drain_moves_everything_away_and_places_nothing),
		TEST(what_cannot_leave_a_draining_node_says_why_and_goes_when_it_can),
		TEST(a_node_that_comes_takes_what_drains_elsewhere),
		TEST(a_drain_that_is_asked_for_again_changes_nothing),
		TEST(a_node_that_drains_no_more_takes_what_drains_elsewhere),
		TEST(v1_is_not_refused_by_a_drain_but_moved_on),
		TEST(datasets_of_a_node_are_counted_and_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
