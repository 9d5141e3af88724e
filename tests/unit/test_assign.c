/* SPDX-License-Identifier: Apache-2.0 */
/* Who is granted what, one behaviour a test. Whole histories are the simulator's. */
#include "assign_rig.h"
#include "cmocka_all.h"

static void a_dataset_is_granted_when_its_primary_connects(void **state)
{
	assert_int_equal(create(node_a), 0);
	assert_true(id128_is_nil(record()->owner));
	hello(node_a, NULL, 0);
	assert_true(id128_equal(record()->owner, node_a));
	assert_int_equal(record()->epoch, 1);
	assert_int_equal(sent(node_a)->wish, WISH_HOLD);
	assert_int_equal(res.sends[res.n_sends - 1].after_txn, res.txn); /* never before it is durable */
}

static void an_id_is_used_once(void **state)
{
	assert_int_equal(create(node_a), 0);
	assert_int_equal(create(node_a), -EEXIST);
}

static void a_move_waits_for_the_release_and_is_one_commit(void **state)
{
	uint64_t sa = hello(node_a, NULL, 0);

	hello(node_b, NULL, 0);
	create(node_a);
	assert_int_equal(move(node_b), 0);
	assert_true(id128_equal(record()->owner, node_a));
	assert_int_equal(sent(node_a)->wish, WISH_RELEASE);
	assert_int_equal(sent(node_b)->wish, WISH_WAIT);
	report(node_a, sa, REPORT_RELEASED, 1);
	assert_int_equal(res.n_changes, 1);
	assert_true(id128_equal(record()->owner, node_b));
	assert_int_equal(record()->epoch, 2);
	assert_int_equal(sent(node_b)->wish, WISH_HOLD);
}

static void orders_and_records_name_the_request_that_led_to_them(void **state)
{
	struct assign_event ev = { .type = ASSIGN_MOVE, .dataset_id = dataset, .primary = node_b, .request = "one" };

	hello(node_a, NULL, 0);
	create(node_a);
	assert_string_equal(record()->request, "");
	assert_int_equal(decide(ev), 0);
	assert_string_equal(sent(node_a)->request, "one");
	assert_string_equal(record()->request, "one");
	ev.request = "two"; /* changes nothing, so it led to nothing */
	assert_int_equal(decide(ev), 0);
	assert_int_equal(res.n_changes, 0);
	assert_string_equal(record()->request, "one");
}

static void a_release_is_not_recalled_and_the_same_node_needs_a_new_epoch(void **state)
{
	uint64_t sa = hello(node_a, NULL, 0);

	create(node_a);
	move(node_b);
	move(node_a);
	assert_true(!sent(node_a) || sent(node_a)->wish == WISH_RELEASE);
	report(node_a, sa, REPORT_RELEASED, 1);
	assert_true(id128_equal(record()->owner, node_a));
	assert_int_equal(record()->epoch, 2);
}

static void reports_of_old_epochs_and_old_sessions_have_no_effect(void **state)
{
	uint64_t old = hello(node_a, NULL, 0), sa;
	struct wire_status held = { .dataset_id = dataset, .epoch = 1 };

	hello(node_b, NULL, 0);
	create(node_a);
	held.volume_id = record()->volume_id;
	sa = hello(node_a, &held, 1);
	move(node_b);
	report(node_a, old, REPORT_RELEASED, 1);
	assert_true(id128_equal(record()->owner, node_a));
	report(node_b, session, REPORT_RELEASED, 1);
	assert_true(id128_equal(record()->owner, node_a));
	report(node_a, sa, REPORT_RELEASED, 0);
	assert_true(id128_equal(record()->owner, node_a));
}

static void a_hello_that_does_not_name_a_grant_uses_it_up(void **state)
{
	hello(node_a, NULL, 0);
	create(node_a);
	assert_int_equal(record()->epoch, 1);
	hello(node_a, NULL, 0);
	assert_true(id128_equal(record()->owner, node_a));
	assert_int_equal(record()->epoch, 2);
}

static void what_a_partial_hello_does_not_name_is_not_given_back(void **state)
{
	struct wire_hello h = { .host = node_a, .boot = node_a, .shared = true, .partial = true };

	hello(node_a, NULL, 0);
	create(node_a);
	decide((struct assign_event){ .type = ASSIGN_HELLO, .node = node_a, .session = ++session,
		.hello = &h, .address = "x" });
	assert_true(id128_equal(record()->owner, node_a));
	assert_int_equal(record()->epoch, 1);
	assert_int_equal(sent(node_a)->wish, WISH_HOLD); /* its storage decides how far that gets */
}

static void a_lost_owner_keeps_its_dataset(void **state)
{
	uint64_t sa = hello(node_a, NULL, 0);
	char why[256];

	hello(node_b, NULL, 0);
	create(node_a);
	decide((struct assign_event){ .type = ASSIGN_GONE, .node = node_a, .session = sa });
	move(node_b);
	assert_true(id128_equal(record()->owner, node_a));
	assert_non_null(strstr(assign_why(a, now_ms, dataset, why, sizeof(why)), "not connected"));
}

static void the_format_state_goes_forward_with_what_the_owner_says(void **state)
{
	uint64_t sa = hello(node_a, NULL, 0);
	struct id128 first_volume;

	create(node_a);
	report(node_a, sa, REPORT_FORMATTED, 1);
	assert_int_equal(record()->format_state, FORMAT_NEVER); /* not before it was started */
	report(node_a, sa, REPORT_READY, 1);
	assert_int_equal(record()->format_state, FORMAT_STARTED);
	first_volume = record()->volume_id;
	report(node_a, sa, REPORT_DISCARDED, 1);
	assert_int_equal(record()->format_state, FORMAT_NEVER);
	assert_false(id128_equal(record()->volume_id, first_volume));
	report(node_a, sa, REPORT_READY, 1);
	report(node_a, sa, REPORT_FORMATTED, 1);
	assert_int_equal(record()->format_state, FORMAT_DONE);
	report(node_a, sa, REPORT_DISCARDED, 1);
	assert_int_equal(record()->format_state, FORMAT_DONE);
}

static void a_delete_is_a_release_then_a_grant_to_destroy(void **state)
{
	uint64_t sa = hello(node_a, NULL, 0);

	create(node_a);
	decide((struct assign_event){ .type = ASSIGN_DELETE, .dataset_id = dataset });
	assert_int_equal(sent(node_a)->wish, WISH_RELEASE);
	report(node_a, sa, REPORT_RELEASED, 1);
	assert_int_equal(record()->grant, GRANT_DESTROY);
	assert_int_equal(sent(node_a)->wish, WISH_DESTROY);
	assert_false(id128_is_nil(record()->volume_id)); /* not forgotten before it is destroyed */
	report(node_a, sa, REPORT_DESTROYED, 2);
	assert_true(id128_is_nil(record()->volume_id));
	assert_true(record()->deleted);
	assert_int_equal(move(node_b), -EOWNERDEAD);
	assert_int_equal(create(node_a), -EEXIST);
}

static void a_failed_commit_is_undone_and_its_step_found_again(void **state)
{
	uint64_t sa = hello(node_a, NULL, 0);
	struct wire_report r = { .kind = REPORT_RELEASED, .status = { .dataset_id = dataset, .epoch = 1 } };
	struct assign_event ev = { .type = ASSIGN_REPORT, .node = node_a, .session = sa, .report = &r };

	hello(node_b, NULL, 0);
	create(node_a);
	move(node_b);
	r.status.volume_id = record()->volume_id;
	assign_result_done(&res);
	assign_decide(a, now_ms++, &ev, &res);
	assert_int_equal(res.n_changes, 1);
	assign_failed(a, now_ms, res.txn);
	assert_true(id128_equal(record()->owner, node_a));
	now_ms = assign_next_wake(a);
	assert_true(now_ms != UINT64_MAX);
	decide((struct assign_event){ .type = ASSIGN_TICK });
	assert_true(id128_equal(record()->owner, node_b));
}

static void one_identity_is_one_machine(void **state)
{
	struct wire_hello h = { .host = node_b, .boot = node_b };
	struct assign_event ev = { .type = ASSIGN_HELLO, .node = node_a, .hello = &h, .address = "x" };
	uint64_t first = hello(node_a, NULL, 0);
	struct assign_node_view v;

	ev.session = ++session;
	decide(ev);
	assert_true(res.sends[res.n_sends - 1].close && res.sends[res.n_sends - 1].session == session);
	assert_true(res.sends[res.n_sends - 1].msg.bye.refused);
	assert_int_equal(decide((struct assign_event){ .type = ASSIGN_REPLACE, .node = node_a }), -EBUSY);
	decide((struct assign_event){ .type = ASSIGN_GONE, .node = node_a, .session = first });
	ev.session = ++session;
	decide(ev);
	assert_true(res.sends[res.n_sends - 1].msg.bye.refused); /* it waits for an operator */
	assert_int_equal(decide((struct assign_event){ .type = ASSIGN_REPLACE, .node = node_a }), 0);
	ev.session = ++session;
	decide(ev);
	assert_int_equal(assign_node(a, now_ms, node_a, &v), 0);
	assert_true(v.live && v.session == session);
}

static void a_restored_control_gives_nothing_away_before_all_have_spoken(void **state)
{
	struct ds_record r = { .dataset_id = dataset, .primary = node_b, .volume_id = node_a,
		.owner = node_b, .epoch = 2, .format_state = FORMAT_DONE, .incarnation = 1 };
	struct node_record na = { .uuid = node_a, .host = node_a }, nb = { .uuid = node_b, .host = node_b };
	struct wire_status held = { .dataset_id = dataset, .volume_id = node_a, .epoch = 5 };

	a = assign_free(a);
	assert_int_equal(assign_new(2, 0, &a), 0);
	assign_load_dataset(a, &r, 0);
	assign_load_node(a, &na);
	assign_load_node(a, &nb);
	hello(node_b, NULL, 0); /* the recorded owner does not have it */
	assert_true(id128_is_nil(record()->owner));
	hello(node_a, &held, 1); /* since the backup it went to another */
	assert_true(id128_equal(record()->owner, node_a));
	assert_int_equal(record()->epoch, 5);
	assert_int_equal(sent(node_a)->wish, WISH_RELEASE); /* the wish is still node_b */
}

static void a_node_that_saw_a_newer_state_ends_all_decisions(void **state)
{
	struct wire_hello h = { .host = node_a, .boot = node_a, .incarnation = 1, .version_seen = 8 };
	struct assign_event ev = { .type = ASSIGN_HELLO, .node = node_a, .hello = &h, .address = "x",
		.revision = 7 };
	struct assign_node_view v;
	uint64_t sb = hello(node_b, NULL, 0);

	create(node_a);
	decide((struct assign_event){ .type = ASSIGN_GONE, .node = node_a,
		.session = hello(node_a, NULL, 0) });
	assert_false(assign_outdated(a));
	ev.session = ++session;
	decide(ev);
	assert_true(res.sends[0].msg.bye.refused);
	assert_true(assign_outdated(a));
	assert_int_equal(assign_node(a, now_ms, node_a, &v), 0);
	assert_non_null(strstr(v.refused, "flocker-control recover"));

	/* It is not believed to have released, and nothing else is decided on this state. */
	assert_int_equal(record()->epoch, 1);
	assert_int_equal(move(node_b), -ESTALE);
	assert_int_equal(fence(node_a), -ESTALE);
	report(node_b, sb, REPORT_RELEASED, 1);
	assert_int_equal(res.n_changes + res.n_sends, 0);
	hello(node_b, NULL, 0);
	assert_int_equal(res.n_changes, 0);
	assert_true(res.sends[0].msg.bye.refused);
	now_ms += 100000;
	decide((struct assign_event){ .type = ASSIGN_TICK });
	assert_int_equal(res.n_changes + res.n_sends, 0);

	/* Whose session was there before has its terms renewed. */
	decide((struct assign_event){ .type = ASSIGN_RENEW, .node = node_b, .session = sb, .stamp_ms = 7 });
	assert_int_equal(res.n_sends, 1);
}

static void a_node_that_saw_this_state_is_served(void **state)
{
	struct wire_hello h = { .host = node_a, .boot = node_a, .incarnation = 1, .version_seen = 8 };

	decide((struct assign_event){ .type = ASSIGN_HELLO, .node = node_a, .session = ++session,
		.hello = &h, .address = "x", .revision = 8 });
	assert_false(assign_outdated(a));
	assert_int_equal(res.sends[0].msg.type, WIRE_WELCOME);
}

/* What a store as of before the incarnation in use says of one dataset; known nodes: a and b. */
static void restore(struct id128 owner, uint64_t epoch, enum format_state format_state)
{
	struct ds_record r = { .dataset_id = dataset, .primary = node_b, .volume_id = node_a,
		.owner = owner, .epoch = epoch, .format_state = format_state, .incarnation = 1 };
	struct node_record na = { .uuid = node_a, .host = node_a }, nb = { .uuid = node_b, .host = node_b };

	a = assign_free(a);
	assert_int_equal(assign_new(2, 0, &a), 0);
	assign_load_dataset(a, &r, 0);
	assign_load_node(a, &na);
	assign_load_node(a, &nb);
}

static void a_replaced_machine_speaks_for_its_identity_after_a_restore(void **state)
{
	restore(ID128_NIL, 2, FORMAT_DONE);
	assert_int_equal(decide((struct assign_event){ .type = ASSIGN_REPLACE, .node = node_a }), 0);
	hello(node_b, NULL, 0);
	assert_true(id128_is_nil(record()->owner));
	hello(node_a, NULL, 0);
	assert_true(id128_equal(record()->owner, node_b));
}

static void a_format_that_a_restored_record_calls_started_is_not_discarded(void **state)
{
	struct wire_status held = { .dataset_id = dataset, .volume_id = node_a, .epoch = 2 };

	restore(node_b, 2, FORMAT_STARTED);
	hello(node_b, &held, 1);
	assert_int_equal(record()->format_state, FORMAT_DONE);
	assert_int_equal(sent(node_b)->format_state, FORMAT_DONE);

	restore(ID128_NIL, 2, FORMAT_STARTED);
	hello(node_a, NULL, 0);
	hello(node_b, NULL, 0);
	assert_true(id128_equal(record()->owner, node_b));
	assert_int_equal(sent(node_b)->format_state, FORMAT_DONE);
}

/* Nodes and backends have seen epochs that the backup has not, and refuse what is not above them. */
static void epochs_of_a_new_incarnation_begin_above_all_that_were_granted(void **state)
{
	struct wire_status held = { .dataset_id = dataset, .volume_id = node_a, .epoch = 5 };
	const struct id128 node_c = { 0xcccccccccccc4ccc, 0x8ccccccccccccccc };
	uint64_t epoch;

	restore(ID128_NIL, 2, FORMAT_DONE);
	hello(node_a, NULL, 0);
	hello(node_b, NULL, 0);
	assert_true(id128_equal(record()->owner, node_b));
	epoch = record()->epoch;
	assert_true(epoch > 1000);
	hello(node_c, &held, 1); /* it joined after the backup: nobody waited for it */
	assert_true(id128_equal(record()->owner, node_b));
	assert_int_equal(sent(node_c)->wish, WISH_RELEASE);
	assert_int_equal(sent(node_c)->epoch, 5);
	hello(node_b, NULL, 0);
	assert_int_equal(record()->epoch, epoch + 1);
}

static void a_volume_that_was_destroyed_after_the_backup_is_not_waited_for(void **state)
{
	struct wire_status held = { .dataset_id = dataset, .volume_id = node_a, .epoch = 5 };
	uint64_t sb;

	restore(ID128_NIL, 2, FORMAT_DONE);
	sb = hello(node_b, &held, 1);
	assert_int_equal(record()->epoch, 5);
	report(node_b, sb, REPORT_DESTROYED, 5);
	assert_true(record()->epoch > 5);
	assert_int_equal(record()->format_state, FORMAT_DONE); /* lost, and never made anew */
	assert_false(id128_is_nil(record()->volume_id));
}

static void what_is_too_small_for_the_filesystem_of_a_node_gets_ext4(void **state)
{
	static const struct {
		uint64_t size_bytes;
		enum fs_kind want;
	} sizes[] = { { 64 * MIB, FS_EXT4 }, { 300 * MIB - 1024, FS_EXT4 }, { 300 * MIB, FS_XFS } };
	struct wire_hello h = { .host = node_a, .boot = node_a, .filesystem = FS_XFS };
	struct assign_view v;

	decide((struct assign_event){ .type = ASSIGN_HELLO, .node = node_a, .session = ++session, .hello = &h,
		.address = "192.0.2.1" });
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct ds_record r = { .dataset_id = { 1, i + 1 }, .primary = node_a, .size_bytes = sizes[i].size_bytes };

		assert_int_equal(decide((struct assign_event){ .type = ASSIGN_CREATE, .record = &r }), 0);
		assert_int_equal(assign_dataset(a, now_ms, r.dataset_id, &v), 0);
		assert_int_equal(v.record->filesystem, sizes[i].want);
	}
}

static void wishes_change_the_configuration_and_what_nodes_do_does_not(void **state)
{
	uint64_t sa = hello(node_a, NULL, 0), changes = assign_changes(a);

	create(node_a);
	assert_int_equal(assign_changes(a), changes + 1);
	report(node_a, sa, REPORT_READY, 1);
	report(node_a, sa, REPORT_FORMATTED, 1);
	assert_int_equal(record()->format_state, FORMAT_DONE);
	hello(node_b, NULL, 0);
	assert_int_equal(assign_changes(a), changes + 1);
	move(node_b);
	assert_int_equal(assign_changes(a), changes + 2);
	move(node_b);
	report(node_a, sa, REPORT_RELEASED, 1);
	assert_int_equal(record()->epoch, 2);
	assert_int_equal(assign_changes(a), changes + 2);
	decide((struct assign_event){ .type = ASSIGN_PATCH, .dataset_id = dataset,
		.patch = &(struct assign_patch){ .has_failover = true, .failover = { FAILOVER_LEASE, 6000 } } });
	assert_int_equal(assign_changes(a), changes + 3);
	decide((struct assign_event){ .type = ASSIGN_DELETE, .dataset_id = dataset });
	assert_int_equal(assign_changes(a), changes + 4);
	decide((struct assign_event){ .type = ASSIGN_DELETE, .dataset_id = dataset });
	assert_int_equal(assign_changes(a), changes + 4);
}

static void what_is_mounted_was_formatted(void **state)
{
	struct wire_status held = { .dataset_id = dataset, .volume_id = node_a, .epoch = 2, .mounted = true };

	restore(node_b, 2, FORMAT_NEVER);
	hello(node_b, &held, 1);
	assert_int_equal(record()->format_state, FORMAT_DONE);
}

static void what_control_does_not_know_is_kept_and_counted_once(void **state)
{
	struct wire_report again = { .status = { .dataset_id = dataset, .volume_id = node_a, .epoch = 5 } };
	struct wire_status held = { .dataset_id = dataset, .volume_id = node_a, .epoch = 5 };
	struct assign_node_view v;

	hello(node_a, &held, 1);
	assert_int_equal(sent(node_a)->wish, WISH_KEEP);
	decide((struct assign_event){ .type = ASSIGN_REPORT, .node = node_a, .session = session,
		.report = &again });
	assert_int_equal(assign_node(a, now_ms, node_a, &v), 0);
	assert_int_equal(v.n_unknown, 1);
	assert_true(id128_equal(v.unknown[0], dataset));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_dataset_is_granted_when_its_primary_connects),
		TEST(an_id_is_used_once),
		TEST(a_move_waits_for_the_release_and_is_one_commit),
		TEST(orders_and_records_name_the_request_that_led_to_them),
		TEST(a_release_is_not_recalled_and_the_same_node_needs_a_new_epoch),
		TEST(reports_of_old_epochs_and_old_sessions_have_no_effect),
		TEST(a_hello_that_does_not_name_a_grant_uses_it_up),
		TEST(what_a_partial_hello_does_not_name_is_not_given_back),
		TEST(a_lost_owner_keeps_its_dataset),
		TEST(the_format_state_goes_forward_with_what_the_owner_says),
		TEST(a_delete_is_a_release_then_a_grant_to_destroy),
		TEST(a_failed_commit_is_undone_and_its_step_found_again),
		TEST(one_identity_is_one_machine),
		TEST(a_restored_control_gives_nothing_away_before_all_have_spoken),
		TEST(a_node_that_saw_a_newer_state_ends_all_decisions),
		TEST(a_node_that_saw_this_state_is_served),
		TEST(a_replaced_machine_speaks_for_its_identity_after_a_restore),
		TEST(a_format_that_a_restored_record_calls_started_is_not_discarded),
		TEST(epochs_of_a_new_incarnation_begin_above_all_that_were_granted),
		TEST(a_volume_that_was_destroyed_after_the_backup_is_not_waited_for),
		TEST(what_is_too_small_for_the_filesystem_of_a_node_gets_ext4),
		TEST(wishes_change_the_configuration_and_what_nodes_do_does_not),
		TEST(what_is_mounted_was_formatted),
		TEST(what_control_does_not_know_is_kept_and_counted_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
