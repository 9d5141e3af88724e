/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator says of a node that is gone, and for how long it counts. */
#include "assign_rig.h"
#include "cmocka_all.h"

static int forget(struct id128 node)
{
	return decide((struct assign_event){ .type = ASSIGN_FORGET, .node = node });
}

static const struct wire_bye *refused(struct id128 node)
{
	for (size_t i = 0; i < res.n_sends; i++)
		if (id128_equal(res.sends[i].node, node) && res.sends[i].msg.type == WIRE_BYE &&
			res.sends[i].msg.bye.refused)
			return &res.sends[i].msg.bye;
	return NULL;
}

/* Control starts anew on what the last decision made durable of a node, and on the dataset's record. */
static void restart(uint64_t incarnation)
{
	struct node_record node = { 0 };
	struct ds_record r;

	for (size_t i = 0; i < res.n_changes; i++)
		if (res.changes[i].kind == CHANGE_NODE)
			node = res.changes[i].node;
	assert_false(id128_is_nil(node.uuid));
	ds_record_copy(record(), &r);
	a = assign_free(a);
	assert_int_equal(assign_new(incarnation, now_ms, &a), 0);
	assign_load_dataset(a, &r, 0);
	assign_load_node(a, &node);
	ds_record_done(&r);
}

static void lose_and_fence(void)
{
	uint64_t sa = hello(node_a, NULL, 0);

	create(node_a);
	gone(node_a, sa);
	fence(node_a);
}

static void a_forgotten_node_loses_what_it_owns_and_is_refused_for_ever(void **state)
{
	uint64_t sa = hello(node_a, NULL, 0);

	hello(node_b, NULL, 0);
	create(node_a);
	move(node_b);
	assert_int_equal(forget(node_a), -EBUSY);
	assert_int_equal(forget(dataset), -ENOENT);
	gone(node_a, sa);
	assert_int_equal(forget(node_a), 0);
	assert_true(id128_equal(record()->owner, node_b));
	hello(node_a, NULL, 0);
	assert_non_null(refused(node_a));
	assert_non_null(strstr(refused(node_a)->reason, "forgotten"));
	assert_int_equal(decide((struct assign_event){ .type = ASSIGN_REPLACE, .node = node_a }), -ENOENT);
	move(node_a);
	hello(node_a, NULL, 0);
	assert_true(id128_equal(record()->owner, node_b) || id128_is_nil(record()->owner));
}

static void a_forgotten_node_that_comes_back_is_told_to_let_go(void **state)
{
	struct wire_status held = { .dataset_id = dataset, .epoch = 1 };
	uint64_t sa = hello(node_a, NULL, 0);

	create(node_a);
	held.volume_id = record()->volume_id;
	gone(node_a, sa);
	forget(node_a);
	hello(node_a, &held, 1);
	assert_non_null(refused(node_a));
	assert_int_equal(sent(node_a)->wish, WISH_RELEASE);
	assert_true(fenced_covers(sent(node_a)->fenced, 1));
}

static void it_stays_forgotten_when_control_starts_again_or_is_restored(void **state)
{
	uint64_t sa = hello(node_a, NULL, 0);

	create(node_a);
	gone(node_a, sa);
	forget(node_a);
	restart(2);
	hello(node_a, NULL, 0);
	assert_non_null(refused(node_a));
}

static void a_node_that_was_given_up_is_not_waited_for_by_a_restarted_control(void **state)
{
	struct assign_node_view v;

	lose_and_fence();
	restart(1);
	assert_int_equal(assign_node(a, now_ms, node_a, &v), 0);
	assert_false(v.awaited);
}

/* The node may have come back after the backup was made, and have something. */
static void a_restored_control_waits_for_a_node_that_was_given_up_before(void **state)
{
	struct assign_node_view v;

	lose_and_fence();
	restart(2);
	assert_int_equal(assign_node(a, now_ms, node_a, &v), 0);
	assert_true(v.awaited);
}

static void who_is_heard_again_is_not_given_up_any_more(void **state)
{
	struct assign_node_view v;

	lose_and_fence();
	hello(node_a, NULL, 0);
	restart(1);
	assert_int_equal(assign_node(a, now_ms, node_a, &v), 0);
	assert_true(v.awaited);
}

/* Who was fenced and cleans up finds a claim of one that is gone for good in its way. */
static void a_claim_that_is_found_while_cleaning_up_is_void_as_well(void **state)
{
	const struct id128 node_c = { 0xcccccccccccc4ccc, 0x8ccccccccccccccc };
	struct ds_record old = { .dataset_id = dataset, .primary = node_a, .volume_id = node_b, .epoch = 7,
		.format_state = FORMAT_DONE, .incarnation = 1 };
	struct node_record nc = { .uuid = node_c, .host = node_c };
	struct wire_status held = { .dataset_id = dataset, .volume_id = node_b };
	struct wire_report r = { .kind = REPORT_STATUS };
	uint64_t sa;

	a = assign_free(a);
	assert_int_equal(assign_new(2, now_ms, &a), 0);
	assign_load_dataset(a, &old, 0);
	assign_load_node(a, &nc);
	fence(node_c);
	sa = hello(node_a, NULL, 0);
	assert_true(id128_equal(record()->owner, node_a));
	held.epoch = record()->epoch;
	gone(node_a, sa);
	fence(node_a);
	sa = hello(node_a, &held, 1);
	r.status = held;
	r.status.claimant = node_c;
	r.status.claim_epoch = 8; /* which the backup did not know */
	decide((struct assign_event){ .type = ASSIGN_REPORT, .node = node_a, .session = sa, .report = &r });
	assert_int_equal(sent(node_a)->fenced.also, 8);
	assert_true(fenced_covers(sent(node_a)->fenced, held.epoch));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_forgotten_node_loses_what_it_owns_and_is_refused_for_ever),
		TEST(a_forgotten_node_that_comes_back_is_told_to_let_go),
		TEST(it_stays_forgotten_when_control_starts_again_or_is_restored),
		TEST(a_node_that_was_given_up_is_not_waited_for_by_a_restarted_control),
		TEST(a_restored_control_waits_for_a_node_that_was_given_up_before),
		TEST(a_claim_that_is_found_while_cleaning_up_is_void_as_well),
		TEST(who_is_heard_again_is_not_given_up_any_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
