/* SPDX-License-Identifier: Apache-2.0 */
/* How a dataset leaves a node that is lost, and where it goes. */
#include "assign_rig.h"
#include "cmocka_all.h"
#include "failover_to.h"

/* ---- fences ---- */

static void a_fence_frees_what_a_node_owns_once_it_is_not_connected(void **state)
{
	uint64_t sa = hello(node_a, NULL, 0);

	hello(node_b, NULL, 0);
	create(node_a);
	move(node_b);
	assert_int_equal(fence(node_a), -EBUSY);
	assert_int_equal(fence(dataset), -ENOENT);
	gone(node_a, sa);
	assert_true(id128_equal(record()->owner, node_a));
	assert_int_equal(fence(node_a), 0);
	assert_true(id128_equal(record()->owner, node_b));
	assert_int_equal(record()->epoch, 2);
	assert_int_equal(record()->proof, PROOF_OPERATOR);
	assert_true(fenced_covers(sent(node_b)->fenced, 1));
	assert_false(fenced_covers(sent(node_b)->fenced, 2));
}

static void a_fenced_node_cleans_up_before_it_can_have_it_again(void **state)
{
	uint64_t sa = hello(node_a, NULL, 0);
	struct wire_status held = { .dataset_id = dataset, .epoch = 1 };

	create(node_a);
	held.volume_id = record()->volume_id;
	gone(node_a, sa);
	fence(node_a);
	assert_true(id128_is_nil(record()->owner));
	sa = hello(node_a, &held, 1);
	assert_int_equal(sent(node_a)->wish, WISH_WAIT);
	assert_true(id128_is_nil(record()->owner));
	report(node_a, sa, REPORT_RELEASED, 1);
	assert_true(id128_equal(record()->owner, node_a));
	assert_int_equal(record()->epoch, 2);
}

/* The node's last request, and a commit that has to be tried again, must not make it an owner again. */
static void a_late_word_does_not_take_a_fence_back(void **state)
{
	struct assign_event ev = { .type = ASSIGN_FENCE, .node = node_a };
	uint64_t sa = hello(node_a, NULL, 0);
	struct wire_status held = { .dataset_id = dataset, .epoch = 1 };

	create(node_a);
	held.volume_id = record()->volume_id;
	gone(node_a, sa);
	assign_result_done(&res);
	assign_decide(a, now_ms++, &ev, &res);
	assert_true(res.n_changes > 0);
	assign_failed(a, now_ms, res.txn);
	sa = hello(node_a, &held, 1);
	report(node_a, sa, REPORT_READY, 1);
	assert_true(id128_is_nil(record()->owner));
	assert_int_equal(record()->format_state, FORMAT_NEVER);
}

/* After a restore others may have claims that are older than the fenced one, and not be fenced. */
static void a_fence_after_a_restore_voids_the_one_claim_that_is_known(void **state)
{
	struct ds_record r = { .dataset_id = dataset, .primary = node_b, .volume_id = node_a,
		.owner = node_a, .epoch = 7, .format_state = FORMAT_DONE, .incarnation = 1 };
	struct node_record na = { .uuid = node_a, .host = node_a };

	a = assign_free(a);
	assert_int_equal(assign_new(2, 0, &a), 0);
	assign_load_dataset(a, &r, 0);
	assign_load_node(a, &na);
	hello(node_b, NULL, 0);
	assert_true(id128_equal(record()->owner, node_a)); /* not heard yet */
	assert_int_equal(fence(node_a), 0);
	assert_true(id128_equal(record()->owner, node_b));
	assert_true(fenced_covers(record()->fenced, 7));
	assert_false(fenced_covers(record()->fenced, 6));
}

/* ---- terms ---- */

#define TERM_MS 6000

static int create_leased(struct id128 primary)
{
	struct ds_record r = { .dataset_id = dataset, .primary = primary, .size_bytes = 64 * MIB,
		.backend = "default", .failover = { FAILOVER_LEASE, TERM_MS } };

	return decide((struct assign_event){ .type = ASSIGN_CREATE, .record = &r });
}

static void tick_at(uint64_t at_ms)
{
	now_ms = at_ms;
	decide((struct assign_event){ .type = ASSIGN_TICK });
}

static void a_term_that_is_not_renewed_ends_after_more_than_itself(void **state)
{
	uint64_t sa = hello(node_a, NULL, 0), base, record_txn;

	create_leased(node_a);
	record_txn = res.txn;
	base = now_ms;
	decide((struct assign_event){ .type = ASSIGN_RENEW, .node = node_a, .session = sa, .stamp_ms = 77 });
	assert_int_equal(res.n_sends, 1);
	assert_int_equal(res.sends[0].msg.type, WIRE_PONG);
	assert_int_equal(res.sends[0].msg.ping.stamp_ms, 77);
	assert_true(res.sends[0].after_txn < record_txn); /* behind no commit but its own welcome's */
	tick_at(base + TERM_MS * 11 / 10 + 499);
	assert_true(id128_equal(record()->owner, node_a));
	tick_at(base + TERM_MS * 11 / 10 + 500);
	assert_true(id128_is_nil(record()->owner));
	assert_int_equal(record()->proof, PROOF_TERM);
	decide((struct assign_event){ .type = ASSIGN_RENEW, .node = node_a, .session = sa, .stamp_ms = 78 });
	assert_int_equal(res.n_sends, 0); /* its session is over */
}

static void a_restarted_control_waits_for_terms_it_never_answered(void **state)
{
	struct ds_record r = { .dataset_id = dataset, .primary = node_b, .volume_id = node_a,
		.owner = node_a, .epoch = 7, .format_state = FORMAT_DONE, .incarnation = 1,
		.failover = { FAILOVER_LEASE, TERM_MS }, .in_force = { FAILOVER_LEASE, TERM_MS } };

	a = assign_free(a);
	now_ms += 1000000;
	assert_int_equal(assign_new(1, now_ms, &a), 0);
	assign_load_dataset(a, &r, 0);
	hello(node_b, NULL, 0);
	assert_int_equal(assign_next_wake(a), now_ms - 1 + TERM_MS * 11 / 10 + 500);
	tick_at(assign_next_wake(a) - 1);
	assert_true(id128_equal(record()->owner, node_a));
	tick_at(assign_next_wake(a));
	assert_true(id128_equal(record()->owner, node_b));
}

static int want_failover(enum failover_kind kind, uint32_t term_ms)
{
	return decide((struct assign_event){ .type = ASSIGN_PATCH, .dataset_id = dataset,
		.patch = &(struct assign_patch){ .has_failover = true, .failover = { kind, term_ms } } });
}

static void a_failover_is_in_force_when_the_owner_says_so(void **state)
{
	uint64_t sa = hello(node_a, NULL, 0);
	struct wire_report r = { .status = { .dataset_id = dataset, .epoch = 1 } };
	struct assign_event ev = { .type = ASSIGN_REPORT, .node = node_a, .session = sa, .report = &r };

	create(node_a);
	r.status.volume_id = record()->volume_id;
	assert_int_equal(want_failover(FAILOVER_LEASE, TERM_MS), 0);
	assert_int_equal(record()->in_force.kind, FAILOVER_MANUAL);
	assert_int_equal(sent(node_a)->failover.kind, FAILOVER_LEASE);
	r.status.failover_rev = sent(node_a)->failover_rev;
	decide(ev);
	assert_int_equal(record()->in_force.kind, FAILOVER_LEASE);
	want_failover(FAILOVER_LEASE, TERM_MS / 2);
	assert_int_equal(record()->in_force.term_ms, TERM_MS); /* it may still act by that */
	want_failover(FAILOVER_MANUAL, 0);
	assert_int_equal(record()->in_force.kind, FAILOVER_MANUAL);
	want_failover(FAILOVER_LEASE, TERM_MS);
	decide(ev); /* of the first change: says nothing about this one */
	assert_int_equal(record()->in_force.kind, FAILOVER_MANUAL);
}

static void a_planned_stop_extends_terms_until_all_are_back(void **state)
{
	uint64_t sa = hello(node_a, NULL, 0);
	struct wire_report r = { .status = { .dataset_id = dataset, .epoch = 1 } };
	struct assign_event said = { .type = ASSIGN_REPORT, .node = node_a, .session = sa, .report = &r };
	struct wire_status held = { .dataset_id = dataset, .epoch = 1 };
	struct ds_record kept;

	create_leased(node_a);
	held.volume_id = r.status.volume_id = record()->volume_id;
	decide((struct assign_event){ .type = ASSIGN_EXTEND, .extension_ms = TERM_MS / 2 });
	assert_int_equal(res.n_changes, 0);
	decide((struct assign_event){ .type = ASSIGN_EXTEND, .extension_ms = 10 * TERM_MS });
	assert_int_equal(sent(node_a)->failover.term_ms, 10 * TERM_MS);
	assert_int_equal(record()->failover.term_ms, TERM_MS);
	assert_int_equal(record()->in_force.term_ms, 10 * TERM_MS); /* it may act by that from now on */
	assert_int_equal(assign_n_extending(a), 1);
	r.status.failover_rev = held.failover_rev = sent(node_a)->failover_rev;
	decide(said);
	assert_int_equal(assign_n_extending(a), 0);

	ds_record_copy(record(), &kept);
	a = assign_free(a);
	assert_int_equal(assign_new(1, now_ms, &a), 0);
	assign_load_dataset(a, &kept, 0);
	ds_record_done(&kept);
	said.session = hello(node_a, &held, 1);
	assert_int_equal(sent(node_a)->failover.term_ms, TERM_MS);
	assert_int_equal(record()->in_force.term_ms, 10 * TERM_MS); /* until it says otherwise */
	r.status.failover_rev = sent(node_a)->failover_rev;
	decide(said);
	assert_int_equal(record()->in_force.term_ms, TERM_MS);
}

/* ---- where to ---- */

static int create_that_goes(const char *to)
{
	struct ds_record r = { .dataset_id = dataset, .primary = node_a, .size_bytes = 64 * MIB,
		.backend = "default", .metadata = json_object_new_object() };
	int status;

	json_object_object_add(r.metadata, FAILOVER_TO_KEY, json_object_new_string(to));
	status = decide((struct assign_event){ .type = ASSIGN_CREATE, .record = &r });
	json_object_put(r.metadata);
	return status;
}

static void tell_free(struct id128 node, uint64_t in_session, uint64_t free_bytes)
{
	decide((struct assign_event){ .type = ASSIGN_HEARD, .node = node, .session = in_session,
		.free_bytes = free_bytes });
}

static const struct id128 node_c = { 0xcccccccccccc4ccc, 0x8ccccccccccccccc };

static void what_may_go_anywhere_goes_where_there_is_the_most_room(void **state)
{
	uint64_t sa = hello(node_a, NULL, 0), sb = hello(node_b, NULL, 0), sc = hello(node_c, NULL, 0);

	tell_free(node_b, sb, 100 * MIB);
	tell_free(node_c, sc, 150 * MIB);
	create_that_goes(FAILOVER_TO_ANY);
	gone(node_a, sa);
	assert_true(id128_equal(record()->primary, node_a)); /* it may come back: nothing was fenced */
	fence(node_a);
	assert_true(id128_equal(record()->primary, node_c));
	assert_true(id128_equal(record()->owner, node_c));
	assert_true(record()->failed_over);
	move(node_b);
	assert_false(record()->failed_over);
}

static void what_may_go_to_some_waits_for_them(void **state)
{
	uint64_t sa = hello(node_a, NULL, 0), sb;
	char list[80];

	hello(node_c, NULL, 0);
	snprintf(list, sizeof(list), "%s %s", ID128_STR(node_a), ID128_STR(node_b));
	create_that_goes(list);
	gone(node_a, sa);
	fence(node_a);
	assert_true(id128_equal(record()->primary, node_a));
	sb = hello(node_b, NULL, 0);
	assert_true(id128_equal(record()->owner, node_b));
	gone(node_b, sb);
	hello(node_a, NULL, 0);
	assert_true(id128_equal(record()->primary, node_b)); /* fenced is who had it, not who has it */
}

/* It was given back to go to a node that is lost: nobody had it, so nobody is fenced. */
static void what_was_given_back_to_go_to_a_lost_node_goes_elsewhere(void **state)
{
	uint64_t sa = hello(node_a, NULL, 0), sb = hello(node_b, NULL, 0), lost;

	create_that_goes(FAILOVER_TO_ANY);
	want_failover(FAILOVER_LEASE, TERM_MS);
	move(node_b);
	gone(node_b, sb);
	lost = now_ms;
	report(node_a, sa, REPORT_RELEASED, 1);
	assert_true(id128_is_nil(record()->owner));
	assert_true(id128_equal(record()->primary, node_b)); /* away for a moment is not lost */
	tick_at(assign_next_wake(a));
	tick_at(assign_next_wake(a));
	assert_true(now_ms > lost + TERM_MS);
	assert_true(id128_equal(record()->owner, node_a));
	assert_true(record()->failed_over);
}

static void a_manual_one_goes_elsewhere_at_an_operators_word(void **state)
{
	uint64_t sa = hello(node_a, NULL, 0), sb = hello(node_b, NULL, 0);

	create_that_goes(FAILOVER_TO_ANY);
	move(node_b);
	gone(node_b, sb);
	report(node_a, sa, REPORT_RELEASED, 1);
	tick_at(now_ms + 100 * TERM_MS);
	assert_true(id128_equal(record()->primary, node_b));
	fence(node_b);
	assert_true(id128_equal(record()->owner, node_a));
}

/* After a restart of control its nodes come one by one: the first is not given what others wait to have. */
static void a_restarted_control_waits_for_its_nodes(void **state)
{
	struct ds_record r = { .dataset_id = dataset, .primary = node_a, .volume_id = node_a, .epoch = 3,
		.fenced = { 0, 3 }, .format_state = FORMAT_DONE, .incarnation = 1,
		.metadata = json_object_new_object() };

	json_object_object_add(r.metadata, FAILOVER_TO_KEY, json_object_new_string(FAILOVER_TO_ANY));
	a = assign_free(a);
	assert_int_equal(assign_new(1, now_ms, &a), 0);
	assign_load_dataset(a, &r, 0);
	json_object_put(r.metadata);
	hello(node_b, NULL, 0);
	assert_true(id128_equal(record()->primary, node_a));
	tick_at(assign_next_wake(a));
	assert_true(id128_equal(record()->owner, node_b));
}

static void the_list_of_nodes_is_any_or_uuids(void **state)
{
	static const char *const wrong[] = { "", " ", "all", "any ", "Any", "0", " any", "any any",
		"aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa ", " aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa",
		"aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa any",
		"aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa,bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb",
		"aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa  bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb" };
	const char *two = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb";

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(failover_to_check(wrong[i]), -EINVAL);
	assert_int_equal(failover_to_check(FAILOVER_TO_ANY), 0);
	assert_int_equal(failover_to_check(two), 0);
	assert_true(failover_to_names(two, node_a));
	assert_true(failover_to_names(two, node_b));
	assert_false(failover_to_names(two, node_c));
	assert_true(failover_to_names(FAILOVER_TO_ANY, node_c));
}

/* ---- claims that control does not know ---- */

static void report_blocked(uint64_t in_session, struct id128 claimant, uint64_t claim_epoch)
{
	struct wire_report r = { .kind = REPORT_STATUS, .status = { .dataset_id = dataset,
		.epoch = record()->epoch, .volume_id = record()->volume_id, .state = DS_BLOCKED,
		.claimant = claimant, .claim_epoch = claim_epoch } };

	decide((struct assign_event){ .type = ASSIGN_REPORT, .node = node_b, .session = in_session, .report = &r });
}

/* Its hello did not name what it has claimed, as after a restore, or when its backend hid it. */
static void a_claim_of_a_node_that_is_given_up_is_void(void **state)
{
	uint64_t sb = hello(node_b, NULL, 0), sa = hello(node_a, NULL, 0);

	create(node_a);
	move(node_b);
	gone(node_a, sa);
	sa = hello(node_a, NULL, 0);
	assert_int_equal(record()->epoch, 2);
	gone(node_a, sa);
	report_blocked(sb, node_a, 1);
	assert_false(fenced_covers(record()->fenced, 1)); /* it may come back */
	fence(node_a);
	assert_int_equal(sent(node_b)->fenced.also, 1);
}

static void it_is_void_also_when_it_is_found_later_and_not_when_the_node_came_back(void **state)
{
	uint64_t sb = hello(node_b, NULL, 0), sa = hello(node_a, NULL, 0);

	create(node_b);
	gone(node_b, sb);
	sb = hello(node_b, NULL, 0); /* a used grant: epoch 2 */
	gone(node_a, sa);
	fence(node_a);
	report_blocked(sb, node_c, 1);
	assert_int_equal(record()->fenced.also, 0);
	report_blocked(sb, node_a, 2);
	assert_int_equal(record()->fenced.also, 0); /* that is its own grant */
	sa = hello(node_a, NULL, 0);
	gone(node_a, sa);
	report_blocked(sb, node_a, 1);
	assert_int_equal(record()->fenced.also, 0);
	fence(node_a);
	assert_int_equal(record()->fenced.also, 1);
}

/* ---- where several of these meet ---- */

static void an_acknowledgement_is_not_lost_with_its_commit(void **state)
{
	struct wire_report r = { .status = { .dataset_id = dataset, .epoch = 1 } };
	struct assign_event ev = { .type = ASSIGN_REPORT, .node = node_a, .report = &r };

	ev.session = hello(node_a, NULL, 0);
	create(node_a);
	want_failover(FAILOVER_LEASE, TERM_MS);
	r.status.volume_id = record()->volume_id;
	r.status.failover_rev = record()->failover_rev;
	assign_result_done(&res);
	assign_decide(a, now_ms++, &ev, &res);
	assert_int_equal(res.n_changes, 1);
	assign_failed(a, now_ms, res.txn);
	tick_at(now_ms + 2000);
	assert_int_equal(record()->in_force.kind, FAILOVER_LEASE);
}

/* The fence of an earlier grant says nothing of a claim that is found after it. */
static void a_void_claim_is_told_whatever_was_fenced_before(void **state)
{
	struct ds_record r = { .dataset_id = dataset, .primary = node_b, .volume_id = node_a, .owner = node_a,
		.epoch = 7, .format_state = FORMAT_DONE, .incarnation = 1, .fenced = { 1, 6 } };
	struct node_record na = { .uuid = node_a, .host = node_a };
	uint64_t sb;

	a = assign_free(a);
	assert_int_equal(assign_new(2, 0, &a), 0);
	assign_load_dataset(a, &r, 0);
	assign_load_node(a, &na);
	sb = hello(node_b, NULL, 0);
	fence(node_a);
	assert_true(id128_equal(record()->owner, node_b));
	assert_int_equal(fence(node_c), -ENOENT);
	report_blocked(sb, node_c, 6); /* of a node that joined after the backup */
	assert_int_equal(fence(node_c), 0);
	assert_int_equal(sent(node_b)->fenced.also, 6);
}

static void a_wish_for_a_node_that_is_away_for_a_moment_stands(void **state)
{
	uint64_t sa = hello(node_a, NULL, 0), sb = hello(node_b, NULL, 0);

	hello(node_c, NULL, 0);
	create_that_goes(FAILOVER_TO_ANY);
	want_failover(FAILOVER_LEASE, TERM_MS);
	move(node_b);
	gone(node_b, sb);
	gone(node_a, sa);
	fence(node_a);
	assert_true(id128_is_nil(record()->owner));
	assert_true(id128_equal(record()->primary, node_b));
	hello(node_b, NULL, 0);
	assert_true(id128_equal(record()->owner, node_b));
}

static void nothing_is_granted_during_a_planned_stop(void **state)
{
	uint64_t sa = hello(node_a, NULL, 0);

	hello(node_b, NULL, 0);
	create_leased(node_a);
	move(node_b);
	decide((struct assign_event){ .type = ASSIGN_EXTEND, .extension_ms = 10 * TERM_MS });
	report(node_a, sa, REPORT_RELEASED, 1);
	assert_true(id128_is_nil(record()->owner));
}

/* Somebody with a copy of a certificate does not stop the cluster by what he says he has seen. */
static void a_stranger_who_has_seen_more_is_only_refused_himself(void **state)
{
	struct wire_hello h = { .host = node_c, .boot = node_c, .incarnation = 9 };

	hello(node_a, NULL, 0);
	decide((struct assign_event){ .type = ASSIGN_HELLO, .node = node_a, .session = ++session, .hello = &h });
	assert_true(res.sends[0].msg.bye.refused);
	assert_false(assign_outdated(a));
	assert_int_equal(create(node_a), 0);
	h.host = h.boot = node_a;
	decide((struct assign_event){ .type = ASSIGN_HELLO, .node = node_a, .session = ++session, .hello = &h });
	assert_true(assign_outdated(a));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_fence_frees_what_a_node_owns_once_it_is_not_connected),
		TEST(a_fenced_node_cleans_up_before_it_can_have_it_again),
		TEST(a_late_word_does_not_take_a_fence_back),
		TEST(a_fence_after_a_restore_voids_the_one_claim_that_is_known),
		TEST(a_term_that_is_not_renewed_ends_after_more_than_itself),
		TEST(a_restarted_control_waits_for_terms_it_never_answered),
		TEST(a_failover_is_in_force_when_the_owner_says_so),
		TEST(a_planned_stop_extends_terms_until_all_are_back),
		TEST(what_may_go_anywhere_goes_where_there_is_the_most_room),
		TEST(what_may_go_to_some_waits_for_them),
		TEST(what_was_given_back_to_go_to_a_lost_node_goes_elsewhere),
		TEST(a_manual_one_goes_elsewhere_at_an_operators_word),
		TEST(a_restarted_control_waits_for_its_nodes),
		TEST(the_list_of_nodes_is_any_or_uuids),
		TEST(a_claim_of_a_node_that_is_given_up_is_void),
		TEST(it_is_void_also_when_it_is_found_later_and_not_when_the_node_came_back),
		TEST(an_acknowledgement_is_not_lost_with_its_commit),
		TEST(a_void_claim_is_told_whatever_was_fenced_before),
		TEST(a_wish_for_a_node_that_is_away_for_a_moment_stands),
		TEST(nothing_is_granted_during_a_planned_stop),
		TEST(a_stranger_who_has_seen_more_is_only_refused_himself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
