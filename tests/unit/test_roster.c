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
	roster_adopt(r, 1000, dataset, volume, 3);
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
	roster_adopt(r, 1000, dataset, dataset, 3);
	roster_adopt(r, 1000, dataset, volume, 7);
	roster_adopt(r, 1000, dataset, dataset, 5);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_volume_not_seen_before_its_grant_is_not_lost),
		cmocka_unit_test(a_look_that_failed_before_a_grant_delays_nothing),
		cmocka_unit_test(a_claim_seen_before_the_next_grant_is_looked_at_again),
		cmocka_unit_test(of_two_claims_of_one_dataset_the_newer_is_named),
		cmocka_unit_test(an_order_for_another_volume_waits_for_the_step_at_work),
		cmocka_unit_test(an_order_that_repeats_the_last_one_is_not_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
