/* SPDX-License-Identifier: Apache-2.0 */
/* One dataset's plans, one behaviour a test. Whole histories are the simulator's. */
#include "cmocka_all.h"
#include "converge.h"

static const struct id128 dataset = { 0x1111111111114111, 0x8111111111111111 };
static const struct id128 volume = { 0x2222222222224222, 0x8222222222222222 };
static const struct id128 other = { 0x3333333333334333, 0x8333333333333333 };

struct fixture {
	struct converge_wish wish;
	struct converge_seen seen;
	struct converge_last last;
	struct converge_running running;
	struct converge_out out;
	uint64_t now;
	bool connected, no_term;
};

static struct wire_assign order(enum wish_kind kind, uint64_t epoch, enum format_state format)
{
	return (struct wire_assign){ .dataset_id = dataset, .wish = kind, .epoch = epoch,
		.volume_id = volume, .size_bytes = 64 * MIB, .format_state = format, .fs_uuid = other };
}

static int take_order(struct fixture *f, enum wish_kind kind, uint64_t epoch, enum format_state format)
{
	struct wire_assign o = order(kind, epoch, format);

	return converge_accept(&f->wish, &f->seen, &o);
}

static struct fixture held(enum format_state format)
{
	struct fixture f = { .now = 1000000, .connected = true };

	assert_int_equal(take_order(&f, WISH_HOLD, 5, format), 0);
	f.seen = (struct converge_seen){ .known = true, .at_ms = f.now };
	return f;
}

static void plan(struct fixture *f)
{
	struct converge_in in = { dataset, f->now, f->connected, !f->no_term, &f->wish, &f->seen, &f->last,
		f->running };

	converge_plan(&in, &f->out);
}

#define assert_step(f, s)                                                                          \
	do {                                                                                       \
		plan(f);                                                                           \
		assert_string_equal(ds_step_name((f)->out.step), ds_step_name(s));                 \
	} while (0)
#define assert_state(f, s) assert_string_equal(ds_state_name((f)->out.state), ds_state_name(s))

static void book(struct fixture *f, enum ds_step step, int error)
{
	struct converge_seen now = f->seen;

	converge_book(&f->wish, &f->seen, &f->last, step, error, NULL, &now, f->now);
}

static void a_new_dataset_is_made_attached_and_probed(void **state)
{
	struct fixture f = held(FORMAT_NEVER);

	assert_step(&f, STEP_CREATE);
	f.seen.volume = true;
	assert_step(&f, STEP_ATTACH);
	f.seen.attached = true;
	f.seen.place = PLACE_HERE;
	f.seen.claim_epoch = 5;
	assert_step(&f, STEP_PROBE);
	book(&f, STEP_PROBE, 0);
	assert_step(&f, STEP_NONE);
	assert_int_equal(f.out.report, REPORT_READY);
}

static struct fixture attached(enum format_state format)
{
	struct fixture f = held(format);

	f.seen.volume = f.seen.attached = true;
	f.seen.place = PLACE_HERE;
	f.seen.claim_epoch = 5;
	return f;
}

static void mkfs_runs_only_with_the_permit_of_this_process(void **state)
{
	struct fixture f = attached(FORMAT_STARTED);

	assert_step(&f, STEP_VERIFY); /* after a restart nobody knows whether mkfs ran */
	converge_reported(&f.wish, REPORT_READY);
	assert_step(&f, STEP_FORMAT);
	book(&f, STEP_FORMAT, EIO);
	assert_step(&f, STEP_VERIFY); /* it may have written: never twice on one volume */
	book(&f, STEP_VERIFY, EUCLEAN);
	assert_step(&f, STEP_DISCARD);
	f.seen.volume = f.seen.attached = false;
	f.seen.place = PLACE_FREE;
	book(&f, STEP_DISCARD, 0);
	assert_step(&f, STEP_NONE);
	assert_int_equal(f.out.report, REPORT_DISCARDED);
}

static void a_formatted_volume_that_is_missing_is_lost_and_never_made(void **state)
{
	struct fixture f = held(FORMAT_DONE);

	assert_step(&f, STEP_NONE);
	assert_state(&f, DS_LOST);
	assert_non_null(strstr(f.out.why, ID128_STR(volume)));
	f.now = f.out.again_ms;
	assert_step(&f, STEP_OBSERVE); /* it may come back */
	assert_int_equal(f.out.retry_ms, 0);
}

static void foreign_data_blocks_and_is_never_formatted(void **state)
{
	struct fixture f = attached(FORMAT_NEVER);

	book(&f, STEP_PROBE, EEXIST);
	assert_step(&f, STEP_NONE);
	assert_state(&f, DS_BLOCKED);
	assert_int_equal(f.out.report, REPORT_STATUS);
	assert_true(f.out.again_ms > f.now + 40000);
	assert_int_equal(f.out.retry_ms, f.out.again_ms);
}

static void a_release_is_proven_by_a_detach_under_its_epoch(void **state)
{
	struct fixture f = attached(FORMAT_DONE);

	f.seen.mounted = true;
	assert_int_equal(take_order(&f, WISH_RELEASE, 5, FORMAT_DONE), 0);
	assert_step(&f, STEP_UNMOUNT);
	f.seen.mounted = false;
	assert_step(&f, STEP_DETACH);
	f.seen.attached = false;
	f.seen.place = PLACE_FREE;
	assert_step(&f, STEP_DETACH); /* that nothing is seen is no proof */
	book(&f, STEP_DETACH, 0);
	assert_step(&f, STEP_NONE);
	assert_int_equal(f.out.report, REPORT_RELEASED);
	converge_reported(&f.wish, REPORT_RELEASED);
	assert_int_equal(take_order(&f, WISH_HOLD, 5, FORMAT_DONE), -ESTALE); /* used once */
	assert_int_equal(take_order(&f, WISH_HOLD, 6, FORMAT_DONE), 0);
}

static void old_epochs_and_recalled_releases_are_refused(void **state)
{
	struct fixture f = held(FORMAT_DONE);
	struct converge_wish before;

	assert_int_equal(take_order(&f, WISH_RELEASE, 4, FORMAT_DONE), -ESTALE);
	assert_int_equal(take_order(&f, WISH_HOLD, 5, FORMAT_NEVER), -EPROTO);
	assert_int_equal(take_order(&f, WISH_RELEASE, 5, FORMAT_DONE), 0);
	before = f.wish;
	assert_int_equal(take_order(&f, WISH_HOLD, 5, FORMAT_DONE), -ESTALE);
	assert_int_equal(take_order(&f, WISH_WAIT, 0, FORMAT_DONE), -ESTALE);
	assert_memory_equal(&before, &f.wish, sizeof(before));
}

static void a_permit_to_format_ends_with_its_epoch(void **state)
{
	struct fixture f = attached(FORMAT_NEVER);

	converge_reported(&f.wish, REPORT_READY);
	assert_int_equal(take_order(&f, WISH_RELEASE, 5, FORMAT_NEVER), 0);
	converge_reported(&f.wish, REPORT_RELEASED);
	/* Another node had it meanwhile, and its mkfs may have begun. */
	assert_int_equal(take_order(&f, WISH_HOLD, 7, FORMAT_STARTED), 0);
	f.seen.known = true;
	assert_step(&f, STEP_VERIFY);
}

static void a_release_of_what_another_was_granted_since_is_done(void **state)
{
	struct fixture f = held(FORMAT_DONE);

	f.seen.volume = true;
	f.seen.place = PLACE_ELSEWHERE;
	f.seen.claim_epoch = 9;
	assert_int_equal(take_order(&f, WISH_RELEASE, 5, FORMAT_DONE), 0);
	assert_step(&f, STEP_DETACH);
	book(&f, STEP_DETACH, ESTALE);
	assert_step(&f, STEP_NONE);
	assert_int_equal(f.out.report, REPORT_RELEASED);
	f.seen.attached = true;
	plan(&f);
	assert_int_not_equal(f.out.report, REPORT_RELEASED);
	assert_state(&f, DS_BLOCKED);
}

static void another_volume_does_not_take_the_place_of_one_that_is_here(void **state)
{
	struct fixture f = attached(FORMAT_DONE);
	struct wire_assign o = order(WISH_HOLD, 6, FORMAT_NEVER);
	struct converge_wish before = f.wish;

	f.seen.mounted = true;
	o.volume_id = other;
	assert_int_equal(converge_accept(&f.wish, &f.seen, &o), -EPROTO);
	assert_memory_equal(&before, &f.wish, sizeof(before));
	assert_true(f.seen.mounted);
	f.seen.mounted = f.seen.attached = false;
	f.seen.place = PLACE_FREE;
	assert_int_equal(converge_accept(&f.wish, &f.seen, &o), 0);
}

static void nothing_new_is_taken_while_control_is_away(void **state)
{
	struct fixture f = held(FORMAT_DONE);

	f.connected = false;
	f.seen.volume = true;
	assert_step(&f, STEP_NONE);
	f = attached(FORMAT_DONE);
	f.connected = false;
	assert_step(&f, STEP_MOUNT); /* what it has it brings to its end */
}

static void a_claim_found_at_start_waits_for_control(void **state)
{
	struct fixture f = { .now = 5, .connected = true };

	converge_adopt(&f.wish, 7, volume);
	f.seen = (struct converge_seen){ .known = true, .volume = true, .place = PLACE_HERE,
		.claim_epoch = 7, .attached = true };
	assert_step(&f, STEP_NONE);
	assert_state(&f, DS_ATTACHED);
	assert_true(converge_holds(&f.wish, &f.seen, STEP_NONE));
	assert_int_equal(take_order(&f, WISH_HOLD, 6, FORMAT_DONE), -ESTALE);
	assert_int_equal(take_order(&f, WISH_HOLD, 7, FORMAT_DONE), 0);
	assert_step(&f, STEP_MOUNT);
}

static void failures_back_off_and_a_new_order_does_not_wait_for_them(void **state)
{
	struct fixture f = attached(FORMAT_DONE);
	uint64_t first, later;

	book(&f, STEP_MOUNT, EIO);
	assert_step(&f, STEP_NONE);
	assert_state(&f, DS_FAILED);
	first = f.out.again_ms - f.now;
	for (int i = 0; i < 20; i++)
		book(&f, STEP_MOUNT, EIO);
	assert_step(&f, STEP_NONE);
	later = f.out.again_ms - f.now;
	assert_in_range(first, 80, 120);
	assert_in_range(later, 8000, 12000);
	assert_int_equal(take_order(&f, WISH_RELEASE, 5, FORMAT_DONE), 0);
	assert_step(&f, STEP_DETACH);
}

static void a_busy_unmount_is_tried_often_and_says_who(void **state)
{
	struct fixture f = attached(FORMAT_DONE);
	struct converge_seen now;

	f.seen.mounted = true;
	assert_int_equal(take_order(&f, WISH_RELEASE, 5, FORMAT_DONE), 0);
	for (int i = 0; i < 20; i++) {
		now = f.seen;
		converge_book(&f.wish, &f.seen, &f.last, STEP_UNMOUNT, EBUSY, "busy: held by pid 7 (sh)",
			&now, f.now);
	}
	assert_step(&f, STEP_NONE);
	assert_state(&f, DS_UNMOUNTING);
	assert_string_equal(f.out.why, "busy: held by pid 7 (sh)");
	assert_true(f.out.again_ms <= f.now + 600);
}

static void a_step_that_does_not_return_is_said_to_hang(void **state)
{
	struct fixture f = attached(FORMAT_DONE);

	f.running = (struct converge_running){ STEP_MOUNT, f.now };
	plan(&f);
	assert_state(&f, DS_MOUNTING);
	assert_false(f.out.stuck);
	f.now += converge_limit_ms(STEP_MOUNT);
	assert_step(&f, STEP_NONE);
	assert_true(f.out.stuck);
	assert_state(&f, DS_FAILED);
	assert_non_null(strstr(f.out.why, "hangs"));
}

static void a_volume_that_another_node_claims_is_left_alone(void **state)
{
	struct fixture f = held(FORMAT_DONE);

	f.seen.volume = true;
	f.seen.place = PLACE_ELSEWHERE;
	f.seen.holder = other;
	assert_step(&f, STEP_NONE);
	assert_state(&f, DS_BLOCKED);
	assert_non_null(strstr(f.out.why, ID128_STR(other)));
}

static void a_destroyed_volume_is_reported_after_the_step_not_after_a_look(void **state)
{
	struct fixture f = { .now = 9, .connected = true };

	assert_int_equal(take_order(&f, WISH_DESTROY, 8, FORMAT_DONE), 0);
	f.seen = (struct converge_seen){ .known = true }; /* a listing that lags says: no volume */
	assert_step(&f, STEP_DESTROY);
	book(&f, STEP_DESTROY, 0);
	assert_step(&f, STEP_NONE);
	assert_int_equal(f.out.report, REPORT_DESTROYED);
}

static void a_vanished_device_and_a_read_only_turn_are_states_of_their_own(void **state)
{
	struct fixture f = attached(FORMAT_DONE);

	f.seen.mounted = f.seen.read_only = true;
	plan(&f);
	assert_state(&f, DS_FAULTY);
	f.seen.read_only = f.seen.attached = false;
	plan(&f);
	assert_state(&f, DS_FAULTY);
	assert_non_null(strstr(f.out.why, "vanished"));
}

/* ---- growth ---- */

#define SIZE (64 * MIB)

static void order_sizes(struct fixture *f, uint64_t size, uint64_t growing, uint64_t fs)
{
	struct wire_assign o = order(WISH_HOLD, 5, FORMAT_DONE);

	o.size_bytes = size;
	o.growing_bytes = growing;
	o.fs_bytes = fs;
	assert_int_equal(converge_accept(&f->wish, &f->seen, &o), 0);
}

static struct fixture mounted(void)
{
	struct fixture f = attached(FORMAT_DONE);

	f.seen.mounted = true;
	f.seen.size_bytes = SIZE;
	return f;
}

static void what_is_mounted_grows_in_two_halves_and_stays_mounted(void **state)
{
	struct fixture f = mounted();

	order_sizes(&f, SIZE, 2 * SIZE, SIZE);
	assert_step(&f, STEP_EXPAND);
	assert_state(&f, DS_MOUNTED);
	assert_string_equal(f.out.why, "growing the volume to 128.00 MiB");
	f.seen.size_bytes = 2 * SIZE + 4096; /* the backend rounds up */
	book(&f, STEP_EXPAND, 0);
	assert_step(&f, STEP_NONE); /* the filesystem waits for the record */
	assert_int_equal(f.out.report, REPORT_EXPANDED);
	assert_int_equal(f.out.grown_bytes, 2 * SIZE);
	order_sizes(&f, 2 * SIZE, 2 * SIZE, SIZE);
	assert_step(&f, STEP_GROW);
	assert_state(&f, DS_MOUNTED);
	assert_string_equal(f.out.why, "growing the filesystem to 128.00 MiB");
	book(&f, STEP_GROW, 0);
	assert_step(&f, STEP_NONE);
	assert_int_equal(f.out.report, REPORT_GROWN);
	assert_int_equal(f.out.grown_bytes, 2 * SIZE);
	order_sizes(&f, 2 * SIZE, 2 * SIZE, 2 * SIZE);
	assert_step(&f, STEP_NONE);
	assert_int_equal(f.out.report, REPORT_STATUS);
	assert_string_equal(f.out.why, "as wished");
}

static void an_expand_is_proven_by_the_step_not_by_a_look(void **state)
{
	struct fixture f = mounted();

	order_sizes(&f, SIZE, 2 * SIZE, SIZE);
	f.seen.size_bytes = 2 * SIZE; /* by a daemon that died: is it durable? */
	assert_step(&f, STEP_EXPAND);
	converge_book(&f.wish, &f.seen, &f.last, STEP_EXPAND, 0, NULL, NULL, f.now); /* and nobody looked */
	f.seen.known = true;
	assert_step(&f, STEP_EXPAND);
	book(&f, STEP_EXPAND, EIO);
	f.now += 20000;
	assert_step(&f, STEP_EXPAND);
	assert_int_equal(f.out.report, REPORT_STATUS);
}

static void a_growth_that_fails_is_told_and_the_dataset_stays_of_use(void **state)
{
	struct fixture f = mounted();

	order_sizes(&f, SIZE, 2 * SIZE, SIZE);
	book(&f, STEP_EXPAND, ENOSPC);
	assert_step(&f, STEP_NONE);
	assert_state(&f, DS_MOUNTED);
	assert_string_equal(f.out.why, "expand failed 1 time: No space left on device");
	assert_in_range(f.out.again_ms, f.now + 1, f.now + 1000);
	f.now = f.out.again_ms;
	assert_step(&f, STEP_EXPAND);
	f.running = (struct converge_running){ STEP_EXPAND, f.now };
	f.now += converge_limit_ms(STEP_EXPAND) + 1;
	plan(&f);
	assert_state(&f, DS_MOUNTED);
	assert_true(f.out.stuck);
}

static void the_filesystem_fills_the_volume_before_it_grows_again(void **state)
{
	struct fixture f = mounted();

	f.seen.size_bytes = 2 * SIZE;
	order_sizes(&f, 2 * SIZE, 3 * SIZE, SIZE);
	assert_step(&f, STEP_GROW);
	book(&f, STEP_GROW, 0);
	order_sizes(&f, 2 * SIZE, 3 * SIZE, 2 * SIZE);
	assert_step(&f, STEP_EXPAND);
}

static void nothing_grows_that_may_not_be_written_to(void **state)
{
	struct fixture f = mounted();

	order_sizes(&f, SIZE, 2 * SIZE, SIZE);
	f.no_term = true;
	assert_step(&f, STEP_NONE);
	f.no_term = false;
	f.connected = false;
	assert_step(&f, STEP_NONE);
	f.connected = true;
	f.seen.read_only = true;
	assert_step(&f, STEP_NONE);
	f.seen.read_only = false;
	f.seen.cut = true;
	assert_step(&f, STEP_UNMOUNT);
	f.seen.cut = false;
	f.wish.term_over = true;
	assert_step(&f, STEP_CUT);
	f.wish.term_over = false;
	f.wish.fenced = (struct fenced){ 5, 5 };
	assert_step(&f, STEP_CUT);
	f.wish.fenced = (struct fenced){ 0 };
	f.seen.mounted = false;
	assert_step(&f, STEP_MOUNT); /* first, at its old size */
	f.seen.mounted = true;
	take_order(&f, WISH_RELEASE, 5, FORMAT_DONE);
	assert_step(&f, STEP_UNMOUNT);
}

/* After a restore of control the same volume_id may be made again. */
static void what_another_device_had_is_not_reported(void **state)
{
	struct fixture f = mounted();

	order_sizes(&f, SIZE, 2 * SIZE, SIZE);
	assert_step(&f, STEP_EXPAND);
	f.seen.size_bytes = 2 * SIZE;
	book(&f, STEP_EXPAND, 0);
	f.seen.attached = f.seen.mounted = false;
	f.seen.size_bytes = SIZE;
	book(&f, STEP_OBSERVE, 0);
	f.seen.attached = f.seen.mounted = true;
	book(&f, STEP_OBSERVE, 0);
	assert_step(&f, STEP_EXPAND);
}

static void control_of_an_earlier_version_wishes_no_growth(void **state)
{
	struct fixture f = mounted();

	order_sizes(&f, SIZE, 2 * SIZE, SIZE);
	order_sizes(&f, SIZE, 0, 0);
	assert_step(&f, STEP_NONE);
	assert_string_equal(f.out.why, "as wished");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_dataset_is_made_attached_and_probed),
		cmocka_unit_test(mkfs_runs_only_with_the_permit_of_this_process),
		cmocka_unit_test(a_formatted_volume_that_is_missing_is_lost_and_never_made),
		cmocka_unit_test(foreign_data_blocks_and_is_never_formatted),
		cmocka_unit_test(a_release_is_proven_by_a_detach_under_its_epoch),
		cmocka_unit_test(old_epochs_and_recalled_releases_are_refused),
		cmocka_unit_test(a_permit_to_format_ends_with_its_epoch),
		cmocka_unit_test(a_release_of_what_another_was_granted_since_is_done),
		cmocka_unit_test(another_volume_does_not_take_the_place_of_one_that_is_here),
		cmocka_unit_test(nothing_new_is_taken_while_control_is_away),
		cmocka_unit_test(a_claim_found_at_start_waits_for_control),
		cmocka_unit_test(failures_back_off_and_a_new_order_does_not_wait_for_them),
		cmocka_unit_test(a_busy_unmount_is_tried_often_and_says_who),
		cmocka_unit_test(a_step_that_does_not_return_is_said_to_hang),
		cmocka_unit_test(a_volume_that_another_node_claims_is_left_alone),
		cmocka_unit_test(a_destroyed_volume_is_reported_after_the_step_not_after_a_look),
		cmocka_unit_test(a_vanished_device_and_a_read_only_turn_are_states_of_their_own),
		cmocka_unit_test(what_is_mounted_grows_in_two_halves_and_stays_mounted),
		cmocka_unit_test(an_expand_is_proven_by_the_step_not_by_a_look),
		cmocka_unit_test(a_growth_that_fails_is_told_and_the_dataset_stays_of_use),
		cmocka_unit_test(the_filesystem_fills_the_volume_before_it_grows_again),
		cmocka_unit_test(nothing_grows_that_may_not_be_written_to),
		cmocka_unit_test(what_another_device_had_is_not_reported),
		cmocka_unit_test(control_of_an_earlier_version_wishes_no_growth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
