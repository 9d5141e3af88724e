/* SPDX-License-Identifier: Apache-2.0 */
/* What comes between the start and the end of a step. Whole histories are the simulator's. */
#include "cmocka_all.h"
#include "roster.h"

static const struct id128 dataset = { 0x1111111111114111, 0x8111111111111111 };
static const struct id128 volume = { 0x2222222222224222, 0x8222222222222222 };

static struct wire_assign order(enum wish_kind kind, uint64_t epoch)
{
	return (struct wire_assign){ .dataset_id = dataset, .wish = kind, .epoch = epoch,
		.volume_id = volume, .size_bytes = 64 * MIB, .format_state = FORMAT_DONE,
		.fs_uuid = volume };
}

static void take_order(struct roster *r, enum wish_kind kind, uint64_t epoch)
{
	struct wire_assign o = order(kind, epoch);

	assert_int_equal(roster_order(r, 1000, &o), 0);
}

/* Plans; the one step that starts, or STEP_NONE. */
static enum ds_step plan(struct roster *r, uint64_t *ret_ticket)
{
	enum ds_step step = STEP_NONE;
	struct roster_out out;

	roster_run(r, 1000, &out);
	assert_in_range(out.n_starts, 0, 1);
	if (out.n_starts) {
		step = out.starts[0].step;
		*ret_ticket = out.starts[0].ticket;
	}
	roster_out_done(&out);
	return step;
}

static void saw(struct roster *r, uint64_t ticket, int error, struct converge_seen seen)
{
	struct roster_extra nothing = { 0 };

	assert_int_equal(roster_done(r, 1000, dataset, ticket, error, error ? "?" : NULL,
		error ? NULL : &seen, &nothing), 0);
}

static enum ds_state state_of(struct roster *r)
{
	struct roster_view v;

	assert_int_equal(roster_view(r, dataset, &v), 0);
	return v.status.state;
}

/* A look at what another node still had says nothing of what is here after the grant. */
static void what_was_seen_before_a_grant_is_looked_at_again(int error)
{
	struct roster *r;
	uint64_t ticket;

	assert_int_equal(roster_new(&r), 0);
	roster_connected(r, 1000);
	take_order(r, WISH_WAIT, 0);
	assert_int_equal(plan(r, &ticket), STEP_OBSERVE);
	take_order(r, WISH_HOLD, 2);
	saw(r, ticket, error, (struct converge_seen){ .known = true });
	assert_int_equal(plan(r, &ticket), STEP_OBSERVE);
	assert_int_not_equal(state_of(r), DS_LOST);
	saw(r, ticket, 0, (struct converge_seen){ .known = true, .volume = true, .place = PLACE_FREE });
	assert_int_equal(plan(r, &ticket), STEP_ATTACH);
	roster_free(r);
}

static void a_volume_not_seen_before_its_grant_is_not_lost(void **state)
{
	what_was_seen_before_a_grant_is_looked_at_again(0);
}

static void a_look_that_failed_before_a_grant_delays_nothing(void **state)
{
	what_was_seen_before_a_grant_is_looked_at_again(EIO);
}

static void a_claim_seen_before_the_next_grant_is_looked_at_again(void **state)
{
	struct roster *r;
	uint64_t ticket;

	assert_int_equal(roster_new(&r), 0);
	roster_connected(r, 1000);
	take_order(r, WISH_HOLD, 1);
	assert_int_equal(plan(r, &ticket), STEP_OBSERVE);
	take_order(r, WISH_HOLD, 3);
	saw(r, ticket, 0, (struct converge_seen){ .known = true, .volume = true,
		.place = PLACE_ELSEWHERE, .claim_epoch = 2 });
	assert_int_equal(plan(r, &ticket), STEP_OBSERVE);
	assert_int_not_equal(state_of(r), DS_BLOCKED);
	roster_free(r);
}

static size_t reports(struct roster *r)
{
	struct roster_out out;
	size_t n;

	roster_run(r, 1000, &out);
	n = out.n_sends;
	roster_out_done(&out);
	return n;
}

/* Control answers the report of an old claim with the same order: one of the two has to be silent. */
static void an_order_that_repeats_the_last_one_is_not_answered(void **state)
{
	struct roster *r;

	assert_int_equal(roster_new(&r), 0);
	roster_adopt(r, 1000, dataset, volume, 3, false);
	roster_connected(r, 1000);
	take_order(r, WISH_RELEASE, 3);
	assert_int_equal(reports(r), 1);
	take_order(r, WISH_RELEASE, 3);
	assert_int_equal(reports(r), 0);
	roster_free(r);
}

static void of_two_claims_of_one_dataset_the_newer_is_named(void **state)
{
	struct wire_hello hello = { 0 };
	struct roster *r;

	assert_int_equal(roster_new(&r), 0);
	roster_adopt(r, 1000, dataset, dataset, 3, false);
	roster_adopt(r, 1000, dataset, volume, 7, false);
	roster_adopt(r, 1000, dataset, dataset, 5, false);
	assert_int_equal(roster_hello(r, &hello), 0);
	assert_int_equal(hello.n_holds, 1);
	assert_int_equal(hello.holds[0].epoch, 7);
	assert_true(id128_equal(hello.holds[0].volume_id, volume));
	free(hello.holds);
	roster_free(r);
}

static void an_order_for_another_volume_waits_for_the_step_at_work(void **state)
{
	struct wire_assign o = order(WISH_HOLD, 9);
	struct roster *r;
	uint64_t ticket;

	assert_int_equal(roster_new(&r), 0);
	roster_connected(r, 1000);
	take_order(r, WISH_HOLD, 3);
	assert_int_equal(plan(r, &ticket), STEP_OBSERVE);
	saw(r, ticket, 0, (struct converge_seen){ .known = true, .volume = true });
	assert_int_equal(plan(r, &ticket), STEP_ATTACH);
	o.volume_id = dataset;
	assert_int_equal(roster_order(r, 1000, &o), -EPROTO);
	roster_free(r);
}

/* ---- terms ---- */

#define TERM_MS 6000

static void take_leased(struct roster *r, uint64_t now_ms, uint64_t epoch)
{
	struct wire_assign o = order(WISH_HOLD, epoch);

	o.failover = (struct failover){ FAILOVER_LEASE, TERM_MS };
	o.failover_rev = 1;
	assert_int_equal(roster_order(r, now_ms, &o), 0);
}

struct asked {
	uint64_t stamp_ms;	/* of a renewal; 0: none */
	struct roster_arm arm;	/* until_ms UINT64_MAX: none */
	enum ds_step step;
	uint64_t ticket;
};

static struct asked run_at(struct roster *r, uint64_t now_ms)
{
	struct asked a = { .arm = { .until_ms = UINT64_MAX } };
	struct roster_out out;

	roster_run(r, now_ms, &out);
	for (size_t i = 0; i < out.n_sends; i++)
		if (out.sends[i].type == WIRE_PING)
			a.stamp_ms = out.sends[i].ping.stamp_ms;
	if (out.n_arms)
		a.arm = out.arms[0];
	if (out.n_starts) {
		a.step = out.starts[0].step;
		a.ticket = out.starts[0].ticket;
	}
	roster_out_done(&out);
	return a;
}

/* A leased dataset whose volume is there and not attached, looked at and ready for its term. */
static struct roster *leased(void)
{
	struct converge_seen here = { .known = true, .volume = true };
	struct roster_extra nothing = { 0 };
	struct roster *r;
	struct asked a;

	assert_int_equal(roster_new(&r), 0);
	roster_connected(r, 1000);
	take_leased(r, 1000, 5);
	a = run_at(r, 1000);
	assert_int_equal(a.step, STEP_OBSERVE);
	assert_int_equal(roster_done(r, 1000, dataset, a.ticket, 0, NULL, &here, &nothing), 0);
	return r;
}

static void nothing_is_attached_before_its_term_is_armed(void **state)
{
	struct roster *r = leased();
	struct asked a = run_at(r, 1001);

	assert_int_equal(a.step, STEP_NONE);
	roster_renewed(r, 1100, 1000);
	a = run_at(r, 1100);
	assert_int_equal(a.step, STEP_NONE);
	assert_int_equal(a.arm.until_ms, 1000 + TERM_MS); /* from when it was asked */
	roster_armed(r, 1101, dataset, a.arm.until_ms, a.arm.rev);
	assert_int_equal(run_at(r, 1101).step, STEP_ATTACH);
	roster_free(r);
}

/* Nothing was leased here for long, so nothing was renewed. */
static void a_term_does_not_begin_with_an_answer_of_old(void **state)
{
	struct roster *r = leased();
	struct asked a;

	roster_renewed(r, 1100, 1000);
	(void)run_at(r, 1100);
	take_leased(r, 1000 + TERM_MS, 6);
	a = run_at(r, 1000 + TERM_MS);
	assert_int_equal(a.arm.until_ms, UINT64_MAX);
	assert_int_equal(a.stamp_ms, 1000 + TERM_MS);
	roster_renewed(r, 1010 + TERM_MS, a.stamp_ms);
	assert_int_equal(run_at(r, 1010 + TERM_MS).arm.until_ms, 1000 + 2 * TERM_MS);
	roster_free(r);
}

static void a_term_is_renewed_six_times_while_it_lasts(void **state)
{
	struct roster *r = leased();

	assert_int_equal(run_at(r, 1999).stamp_ms, 0);
	assert_int_equal(run_at(r, 2000).stamp_ms, 2000);
	assert_int_equal(run_at(r, 2999).stamp_ms, 0);
	assert_int_equal(run_at(r, 3000).stamp_ms, 3000);
	roster_free(r);
}

static void an_answer_of_another_session_renews_nothing(void **state)
{
	struct roster *r = leased();

	roster_disconnected(r, 1500);
	roster_connected(r, 2000);
	roster_renewed(r, 2001, 1000);
	assert_int_equal(run_at(r, 2001).arm.until_ms, UINT64_MAX);
	roster_renewed(r, 2010, 2000); /* control has not said in this session that it is still ours */
	assert_int_equal(run_at(r, 2010).arm.until_ms, UINT64_MAX);
	take_leased(r, 2020, 5);
	assert_int_equal(run_at(r, 2020).arm.until_ms, 2000 + TERM_MS);
	roster_free(r);
}

static void a_term_that_is_over_is_given_back(void **state)
{
	struct roster *r = leased();
	struct wire_hello hello = { 0 };
	struct wire_assign again = order(WISH_HOLD, 5);

	roster_renewed(r, 1100, 1000);
	roster_armed(r, 1101, dataset, run_at(r, 1100).arm.until_ms, 1);
	assert_int_equal(roster_next_wake(r), 1101);
	assert_int_equal(run_at(r, 1101).step, STEP_ATTACH); /* under way when its time is over */
	roster_term_over(r, 1000 + TERM_MS, dataset);
	assert_int_equal(roster_order(r, 1000 + TERM_MS, &again), -ESTALE);
	assert_int_equal(roster_hello(r, &hello), 0);
	assert_true(hello.n_holds == 1 && hello.holds[0].releasing);
	free(hello.holds);
	roster_free(r);
}

/* Orders of another epoch each, so that all of them have something to be said. */
static struct roster *with_many(size_t n)
{
	struct roster *r;

	assert_int_equal(roster_new(&r), 0);
	roster_connected(r, 1000);
	for (size_t i = 0; i < n; i++) {
		struct wire_assign o = order(WISH_HOLD, 5);

		o.dataset_id = id128_make_v4(100 + i, 1);
		o.volume_id = id128_make_v4(100 + i, 2);
		assert_int_equal(roster_order(r, 1000, &o), 0);
	}
	return r;
}

static void look_at_all(struct roster *r, const struct roster_out *out)
{
	struct converge_seen gone = { .known = true, .volume = true, .place = PLACE_ELSEWHERE, .claim_epoch = 4 };

	for (size_t i = 0; i < out->n_starts; i++)
		assert_int_equal(roster_done(r, 1000, out->starts[i].dataset_id, out->starts[i].ticket, 0, NULL,
					 &gone, &(struct roster_extra){ 0 }), 0);
}

static size_t reports_in(const struct roster_out *out)
{
	size_t n = 0;

	for (size_t i = 0; i < out->n_sends; i++)
		n += out->sends[i].type == WIRE_REPORT;
	return n;
}

static void reports_wait_for_control_to_have_answered_those_before(void **state)
{
	struct roster *r = with_many(100);
	struct roster_out out;
	size_t told = 0, most = 0;

	roster_run(r, 1000, &out);
	look_at_all(r, &out);
	for (uint64_t now = 1001; told < 200 && now < 1100; now++) {
		told += reports_in(&out);
		most = MAX(most, reports_in(&out));
		if (out.n_sends > 0 && out.sends[out.n_sends - 1].type == WIRE_PING)
			roster_renewed(r, now, out.sends[out.n_sends - 1].ping.stamp_ms);
		roster_out_done(&out);
		roster_run(r, now, &out);
	}
	roster_out_done(&out);
	assert_true(most < 40);
	assert_true(told >= 100);
	roster_free(r);
}

static void renewals_go_first_and_what_others_wait_for_comes_next(void **state)
{
	struct roster *r = with_many(20);
	struct converge_seen here = { .known = true, .volume = true };
	struct wire_assign leave = order(WISH_RELEASE, 5);
	struct roster_out out;

	roster_run(r, 1000, &out);
	look_at_all(r, &out);
	roster_out_done(&out);
	take_leased(r, 1000, 5);
	leave.dataset_id = id128_make_v4(100 + 19, 1);
	leave.volume_id = id128_make_v4(100 + 19, 2);
	assert_int_equal(roster_order(r, 1000, &leave), 0);
	roster_run(r, 1001, &out); /* it is detached meanwhile */
	for (size_t i = 0; i < out.n_starts; i++)
		assert_int_equal(roster_done(r, 1001, out.starts[i].dataset_id, out.starts[i].ticket, 0, NULL, &here,
					 &(struct roster_extra){ 0 }), 0);
	roster_out_done(&out);
	roster_connected(r, 1002);
	roster_run(r, 1002, &out);
	assert_true(out.n_sends > 10);
	assert_int_equal(out.sends[0].type, WIRE_PING);
	assert_int_equal(out.sends[1].type, WIRE_REPORT);
	assert_int_equal(out.sends[1].report.kind, REPORT_RELEASED);
	assert_int_equal(out.n_urgent, 2);
	roster_out_done(&out);
	roster_free(r);
}

/* Of two neighbouring versions: control that orders no growth does not know the word for its failure. */
static void control_that_orders_no_growth_does_not_hear_that_it_failed(void **state)
{
	struct converge_seen here = { .known = true, .volume = true, .attached = true, .mounted = true,
		.place = PLACE_HERE, .claim_epoch = 1, .size_bytes = 64 * MIB };
	struct wire_assign o = order(WISH_HOLD, 1);
	struct roster_view v;
	struct roster *r;
	uint64_t ticket;

	assert_int_equal(roster_new(&r), 0);
	roster_connected(r, 1000);
	o.growing_bytes = 128 * MIB;
	assert_int_equal(roster_order(r, 1000, &o), 0);
	assert_int_equal(plan(r, &ticket), STEP_OBSERVE);
	saw(r, ticket, 0, here);
	assert_int_equal(plan(r, &ticket), STEP_EXPAND);
	saw(r, ticket, ENOSPC, here);
	(void)plan(r, &ticket);
	assert_int_equal(roster_view(r, dataset, &v), 0);
	assert_int_equal(v.status.step, STEP_EXPAND);
	assert_int_equal(v.status.error, ENOSPC);

	roster_disconnected(r, 1000);
	roster_connected(r, 1000); /* who that is nobody knows yet */
	assert_int_equal(roster_view(r, dataset, &v), 0);
	assert_int_equal(v.status.step, STEP_NONE);
	assert_int_equal(v.status.error, 0);
	take_order(r, WISH_HOLD, 1);
	assert_int_equal(roster_view(r, dataset, &v), 0);
	assert_int_equal(v.status.step, STEP_NONE);
	roster_free(r);
}

/* The daemon before this one was killed between a detach and telling the helper. */
static void what_the_helper_has_is_let_go_when_the_dataset_comes_without_a_lease(void **state)
{
	struct roster_out out;
	struct roster *r;

	assert_int_equal(roster_new(&r), 0);
	roster_inherit(r, dataset, 5000);
	roster_connected(r, 1000);
	take_order(r, WISH_HOLD, 5);
	roster_run(r, 1000, &out);
	assert_int_equal(out.n_arms, 1);
	assert_true(id128_equal(out.arms[0].dataset_id, dataset));
	assert_int_equal(out.arms[0].until_ms, 0);
	roster_out_done(&out);
	roster_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_volume_not_seen_before_its_grant_is_not_lost),
		cmocka_unit_test(a_look_that_failed_before_a_grant_delays_nothing),
		cmocka_unit_test(a_claim_seen_before_the_next_grant_is_looked_at_again),
		cmocka_unit_test(of_two_claims_of_one_dataset_the_newer_is_named),
		cmocka_unit_test(an_order_for_another_volume_waits_for_the_step_at_work),
		cmocka_unit_test(an_order_that_repeats_the_last_one_is_not_answered),
		cmocka_unit_test(nothing_is_attached_before_its_term_is_armed),
		cmocka_unit_test(a_term_does_not_begin_with_an_answer_of_old),
		cmocka_unit_test(a_term_is_renewed_six_times_while_it_lasts),
		cmocka_unit_test(an_answer_of_another_session_renews_nothing),
		cmocka_unit_test(a_term_that_is_over_is_given_back),
		cmocka_unit_test(reports_wait_for_control_to_have_answered_those_before),
		cmocka_unit_test(renewals_go_first_and_what_others_wait_for_comes_next),
		cmocka_unit_test(control_that_orders_no_growth_does_not_hear_that_it_failed),
		cmocka_unit_test(what_the_helper_has_is_let_go_when_the_dataset_comes_without_a_lease),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
