/* SPDX-License-Identifier: Apache-2.0 */
/* What the API calls a lease: what it holds, until when; and what is kept of deleted datasets. */
#include "assign_rig.h"
#include "cmocka_all.h"

static int pin(struct id128 node, int64_t left_ms)
{
	struct pin_record r = { .dataset_id = dataset, .node = node,
		.expires_ms = left_ms == PIN_ENDLESS ? PIN_ENDLESS : left_ms };

	return decide((struct assign_event){ .type = ASSIGN_PIN, .pin = &r, .pin_ms = left_ms });
}

static int unpin(void)
{
	return decide((struct assign_event){ .type = ASSIGN_UNPIN, .dataset_id = dataset });
}

static void delete_at(int64_t now_s)
{
	assert_int_equal(decide((struct assign_event){ .type = ASSIGN_DELETE, .dataset_id = dataset,
		.now_s = now_s }), 0);
}

static void expire(int64_t now_s, uint64_t retention_s)
{
	decide((struct assign_event){ .type = ASSIGN_EXPIRE, .now_s = now_s, .retention_s = retention_s });
}

static void a_leased_dataset_stays_until_the_lease_is_released(void **state)
{
	char why[256];

	hello(node_a, NULL, 0);
	hello(node_b, NULL, 0);
	create(node_a);
	assert_int_equal(pin(node_a, PIN_ENDLESS), 0);
	assert_int_equal(move(node_b), 0);
	assert_int_equal(sent(node_a)->wish, WISH_HOLD);
	assert_non_null(strstr(sent(node_a)->lease, "until it is released"));
	assert_non_null(strstr(assign_why(a, now_ms, dataset, why, sizeof(why)), "a lease keeps it there"));
	assert_int_equal(unpin(), 0);
	assert_int_equal(sent(node_a)->wish, WISH_RELEASE);
	assert_string_equal(sent(node_a)->lease, "");
	assert_int_equal(unpin(), -ENOENT);
}

static void a_lease_ends_by_itself(void **state)
{
	hello(node_a, NULL, 0);
	create(node_a);
	pin(node_a, 5000);
	delete_at(1);
	assert_null(sent(node_a));
	assert_true(assign_next_wake(a) <= now_ms + 6000);
	now_ms += 4000;
	decide((struct assign_event){ .type = ASSIGN_TICK });
	assert_null(sent(node_a));
	now_ms += 2000;
	decide((struct assign_event){ .type = ASSIGN_TICK });
	assert_int_equal(sent(node_a)->wish, WISH_RELEASE);
}

static void a_lease_for_another_node_holds_nothing(void **state)
{
	hello(node_a, NULL, 0);
	create(node_a);
	pin(node_b, PIN_ENDLESS);
	assert_int_equal(pin(node_a, PIN_ENDLESS), -EBUSY);
	move(node_b);
	assert_int_equal(sent(node_a)->wish, WISH_RELEASE);
}

static void a_lease_that_comes_after_the_release_order_recalls_nothing(void **state)
{
	hello(node_a, NULL, 0);
	create(node_a);
	move(node_b);
	assert_int_equal(sent(node_a)->wish, WISH_RELEASE);
	pin(node_a, PIN_ENDLESS);
	assert_true(!sent(node_a) || sent(node_a)->wish == WISH_RELEASE);
}

static void a_fence_ends_the_leases_of_its_node(void **state)
{
	struct assign_pin_view v;
	uint64_t sa = hello(node_a, NULL, 0);

	create(node_a);
	pin(node_a, PIN_ENDLESS);
	gone(node_a, sa);
	fence(node_a);
	assert_int_equal(assign_pin(a, now_ms, dataset, false, &v), -ENOENT);
}

/* The order that waited for the commit was dropped with it. */
static void a_lease_whose_end_could_not_be_stored_ends_later(void **state)
{
	struct assign_event tick = { .type = ASSIGN_TICK };

	hello(node_a, NULL, 0);
	create(node_a);
	pin(node_a, 5000);
	move(node_b);
	now_ms += 6000;
	assign_result_done(&res);
	assign_decide(a, now_ms, &tick, &res);
	assert_true(res.n_changes > 0);
	assign_failed(a, now_ms, res.txn);
	now_ms += 2000;
	decide(tick);
	assert_int_equal(sent(node_a)->wish, WISH_RELEASE);
}

static void what_was_deleted_long_ago_is_dropped_and_its_epochs_are_not_used_again(void **state)
{
	struct assign_view v;
	uint64_t sa = hello(node_a, NULL, 0);

	create(node_a);
	delete_at(1000);
	report(node_a, sa, REPORT_RELEASED, 1);
	report(node_a, sa, REPORT_DESTROYED, 2);
	assert_true(id128_is_nil(record()->volume_id));
	expire(1000 + 60, 60);
	assert_int_equal(assign_dataset(a, now_ms, dataset, &v), 0);
	expire(1000 + 61, 60);
	assert_int_equal(assign_dataset(a, now_ms, dataset, &v), -ENOENT);
	assert_int_equal(create(node_a), 0);
	assert_int_equal(record()->epoch, 3);
}

/* Its record is gone as soon as that is stored, so nothing may be on its way to the store behind it. */
static void what_is_being_dropped_changes_no_more(void **state)
{
	struct assign_event expires = { .type = ASSIGN_EXPIRE, .now_s = 2000, .retention_s = 60 };
	struct wire_report late = { .kind = REPORT_STATUS, .status = { .dataset_id = dataset, .epoch = 2,
		.claimant = node_b, .claim_epoch = 1 } };
	uint64_t sa = hello(node_a, NULL, 0), sb = hello(node_b, NULL, 0);
	struct assign_event reports = { .type = ASSIGN_REPORT, .node = node_a, .session = sa, .report = &late };
	struct assign_result drop;
	struct assign_view v;

	gone(node_b, sb);
	fence(node_b);
	create(node_a);
	delete_at(1000);
	report(node_a, sa, REPORT_RELEASED, 1);
	report(node_a, sa, REPORT_DESTROYED, 2);
	assign_decide(a, now_ms, &expires, &drop);
	assert_true(drop.n_changes > 0);
	decide(reports);
	assert_int_equal(res.n_changes, 0);
	assign_committed(a, drop.txn);
	assert_int_equal(assign_dataset(a, now_ms, dataset, &v), -ENOENT);
	assign_result_done(&drop);
}

static void what_is_not_destroyed_is_never_dropped(void **state)
{
	struct assign_view v;

	hello(node_a, NULL, 0);
	create(node_a);
	delete_at(1000);
	expire(1000000, 1);
	assert_int_equal(assign_dataset(a, now_ms, dataset, &v), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_leased_dataset_stays_until_the_lease_is_released),
		TEST(a_lease_ends_by_itself),
		TEST(a_lease_for_another_node_holds_nothing),
		TEST(a_lease_that_comes_after_the_release_order_recalls_nothing),
		TEST(a_fence_ends_the_leases_of_its_node),
		TEST(a_lease_whose_end_could_not_be_stored_ends_later),
		TEST(what_was_deleted_long_ago_is_dropped_and_its_epochs_are_not_used_again),
		TEST(what_is_being_dropped_changes_no_more),
		TEST(what_is_not_destroyed_is_never_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
