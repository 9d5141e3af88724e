/* SPDX-License-Identifier: Apache-2.0 */
/* How a dataset grows, as control records it. Whole histories are the simulator's. */
#include "assign_rig.h"

#include "cmocka_all.h"

#define SIZE (64 * MIB)

static bool a_grows = true;

static uint64_t hello_grows(struct id128 node, struct wire_status *holds, size_t n)
{
	struct wire_backend b = { .name = "default" };
	struct wire_hello h = { .host = node, .boot = node, .shared = true, .backends = &b,
		.n_backends = 1, .holds = holds, .n_holds = n, .version = (char *)(uintptr_t)"1.9" };

	strcpy(b.capabilities, a_grows ? "take growling grow" : "take growling");
	session++;
	decide((struct assign_event){ .type = ASSIGN_HELLO, .node = node, .session = session,
		.hello = &h, .address = "192.0.2.1" });
	return session;
}

static int want(uint64_t bytes)
{
	struct assign_patch patch = { .want_bytes = bytes };

	return decide((struct assign_event){ .type = ASSIGN_PATCH, .dataset_id = dataset, .patch = &patch });
}

static void tell(uint64_t in_session, enum report_kind kind, uint64_t size, uint64_t grown)
{
	struct wire_report r = { .kind = kind,
		.status = { .dataset_id = dataset, .epoch = record()->epoch, .volume_id = record()->volume_id,
			.state = DS_MOUNTED, .mounted = true, .size_bytes = size, .grown_bytes = grown, .why = "as wished" } };

	decide((struct assign_event){ .type = ASSIGN_REPORT, .node = node_a, .session = in_session, .report = &r });
}

/* Mounted on node a; the session. */
static uint64_t mounted(void)
{
	uint64_t sa = hello_grows(node_a, NULL, 0);

	assert_int_equal(create(node_a), 0);
	tell(sa, REPORT_STATUS, SIZE, 0);
	assert_int_equal(record()->format_state, FORMAT_DONE);
	return sa;
}

static void assert_sizes(uint64_t size, uint64_t growing, uint64_t want_bytes, uint64_t fs)
{
	assert_int_equal(record()->size_bytes, size);
	assert_int_equal(record()->growing_bytes, growing);
	assert_int_equal(record()->want_bytes, want_bytes);
	assert_int_equal(record()->fs_bytes, fs);
}

static void volume_and_filesystem_are_two_recorded_halves(void **state)
{
	uint64_t sa = mounted();

	assert_int_equal(want(2 * SIZE), 0);
	assert_sizes(SIZE, 2 * SIZE, 2 * SIZE, SIZE);
	assert_int_equal(sent(node_a)->size_bytes, SIZE);
	assert_int_equal(sent(node_a)->growing_bytes, 2 * SIZE);
	assert_int_equal(res.sends[res.n_sends - 1].after_txn, res.txn); /* never before it is durable */
	tell(sa, REPORT_EXPANDED, 2 * SIZE, 2 * SIZE);
	assert_sizes(2 * SIZE, 2 * SIZE, 2 * SIZE, SIZE);
	assert_int_equal(sent(node_a)->fs_bytes, SIZE);
	assert_false(ds_record_is_grown(record()));
	tell(sa, REPORT_GROWN, 2 * SIZE, 2 * SIZE);
	assert_sizes(2 * SIZE, 2 * SIZE, 2 * SIZE, 2 * SIZE);
	assert_true(ds_record_is_grown(record()));
}

static void one_size_at_a_time_is_under_way(void **state)
{
	uint64_t sa = mounted();

	want(2 * SIZE);
	want(3 * SIZE);
	assert_sizes(SIZE, 2 * SIZE, 3 * SIZE, SIZE);
	tell(sa, REPORT_EXPANDED, 2 * SIZE, 2 * SIZE);
	assert_sizes(2 * SIZE, 3 * SIZE, 3 * SIZE, SIZE);
	tell(sa, REPORT_EXPANDED, 2 * SIZE, 2 * SIZE); /* said again, late */
	assert_sizes(2 * SIZE, 3 * SIZE, 3 * SIZE, SIZE);
	tell(sa, REPORT_GROWN, 2 * SIZE, 2 * SIZE);
	assert_int_equal(record()->fs_bytes, 2 * SIZE);
}

static void nothing_grows_before_it_is_mounted(void **state)
{
	uint64_t sa = hello_grows(node_a, NULL, 0);

	create(node_a);
	want(2 * SIZE);
	assert_sizes(SIZE, SIZE, 2 * SIZE, SIZE);
	assert_int_equal(sent(node_a)->growing_bytes, SIZE);
	tell(sa, REPORT_STATUS, SIZE, 0);
	assert_sizes(SIZE, 2 * SIZE, 2 * SIZE, SIZE);
}

static void what_nobody_made_yet_is_made_larger(void **state)
{
	assert_int_equal(create(node_a), 0); /* which is not connected */
	assert_int_equal(want(2 * SIZE), 0);
	assert_sizes(2 * SIZE, 2 * SIZE, 2 * SIZE, 2 * SIZE);
	hello_grows(node_a, NULL, 0);
	assert_int_equal(sent(node_a)->size_bytes, 2 * SIZE);
	want(3 * SIZE); /* it may be made by now */
	assert_int_equal(record()->size_bytes, 2 * SIZE);
}

static void a_node_that_cannot_grow_it_is_not_told_to(void **state)
{
	char why[512];

	a_grows = false;
	mounted();
	want(2 * SIZE);
	assert_sizes(SIZE, SIZE, 2 * SIZE, SIZE);
	assign_why(a, now_ms, dataset, why, sizeof(why));
	assert_non_null(strstr(why, "as wished; it is to be grown to 128.00 MiB, and its node cannot do that (version 1.9)"));
	a_grows = true;
	hello_grows(node_a, (struct wire_status[]){ { .dataset_id = dataset, .epoch = 1, .mounted = true,
		.volume_id = record()->volume_id } }, 1);
	assert_sizes(SIZE, 2 * SIZE, 2 * SIZE, SIZE);
}

static void nothing_shrinks(void **state)
{
	mounted();
	assert_int_equal(want(2 * SIZE), 0);
	assert_int_equal(want(2 * SIZE - MIB), -EFBIG);
	assert_int_equal(want(2 * SIZE), 0);
	assert_sizes(SIZE, 2 * SIZE, 2 * SIZE, SIZE);
}

static void a_btrfs_is_not_grown_to_what_the_kernel_refuses(void **state)
{
	struct json_object *map = json_tokener_parse("{\"flocker:filesystem\": \"btrfs\"}");
	struct ds_record r = { .dataset_id = dataset, .primary = node_a, .size_bytes = 128 * MIB,
		.filesystem = FS_BTRFS, .metadata = map };
	uint64_t sa = hello_grows(node_a, NULL, 0);

	assert_int_equal(decide((struct assign_event){ .type = ASSIGN_CREATE, .record = &r }), 0);
	tell(sa, REPORT_STATUS, 128 * MIB, 0);
	assert_int_equal(want(200 * MIB), -EINVAL);
	assert_int_equal(want(256 * MIB), 0);
	assert_int_equal(record()->growing_bytes, 256 * MIB);
	json_object_put(map);
}

/* An owner that died before it could say so, or that was told to release it meanwhile. */
static void a_device_that_has_the_ordered_size_is_proof_enough(void **state)
{
	uint64_t sa = mounted();

	want(2 * SIZE);
	tell(sa, REPORT_STATUS, SIZE + MIB, 0); /* the backend rounds up: that is no growth */
	assert_int_equal(record()->size_bytes, SIZE);
	tell(sa, REPORT_STATUS, 2 * SIZE + MIB, 0);
	assert_sizes(2 * SIZE, 2 * SIZE, 2 * SIZE, SIZE);
}

static void the_next_owner_hears_what_the_last_may_have_done(void **state)
{
	uint64_t sa = mounted();

	hello_grows(node_b, NULL, 0);
	want(2 * SIZE);
	move(node_b);
	report(node_a, sa, REPORT_RELEASED, 1);
	assert_true(id128_equal(record()->owner, node_b));
	assert_int_equal(sent(node_b)->size_bytes, SIZE);
	assert_int_equal(sent(node_b)->growing_bytes, 2 * SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(volume_and_filesystem_are_two_recorded_halves),
		TEST(one_size_at_a_time_is_under_way),
		TEST(nothing_grows_before_it_is_mounted),
		TEST(what_nobody_made_yet_is_made_larger),
		TEST(a_node_that_cannot_grow_it_is_not_told_to),
		TEST(nothing_shrinks),
		TEST(a_btrfs_is_not_grown_to_what_the_kernel_refuses),
		TEST(a_device_that_has_the_ordered_size_is_proof_enough),
		TEST(the_next_owner_hears_what_the_last_may_have_done),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
