/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conformance.c - what every driver has to do, whatever its backend.
 *
 * The first part is the original Flocker's suite for its storage drivers in the words of driver.h,
 * in its order. Where the contract differs (what is done already is a success and not an error,
 * because an order may be repeated), the test's name says what holds now. The rest is what the
 * original had no notion of: epochs, claims, hosts, boots. Cuts and fences are in conformance_cut.c.
 */
#include <linux/close_range.h>
#include <pthread.h>
#include <sys/stat.h>

#include "harness.h"

#define OPS(w) ((w)->ops)

static size_t count(struct world *w, struct driver *d)
{
	struct driver_volume *v;
	size_t n;

	assert_ok(world_list(w, d, &v, &n));
	free(v);
	return n;
}

/* 1 */
static void the_table_has_no_gap(void **state)
{
	const struct driver_ops *ops = ((struct world *)*state)->ops;

	assert_true(ops->name && *ops->name);
	assert_true(ops->open && ops->close && ops->describe && ops->list && ops->tidy && ops->lookup);
	assert_true(ops->create && ops->destroy && ops->attach && ops->detach && ops->device);
}

/* 2, 3 */
static void the_backend_describes_itself(void **state)
{
	struct world *w = *state;
	struct driver_desc desc;

	assert_ok(OPS(w)->describe(w->a, &desc));
	assert_string_equal(desc.name, OPS(w)->name);
	assert_true(desc.allocation_unit > 0);
	assert_true(desc.capacity_bytes >= desc.free_bytes);
}

static void what_was_promised_is_the_sum_of_all_sizes(void **state)
{
	struct world *w = *state;
	uint64_t bytes = 1;
	struct id128 id;

	if (!OPS(w)->promised)
		skip();
	assert_ok(OPS(w)->promised(w->a, &bytes));
	assert_int_equal(bytes, 0);
	id = make_volume(w);
	(void)make_volume(w);
	attach(w, w->b, id, 1);
	assert_ok(OPS(w)->promised(w->a, &bytes));
	assert_int_equal(bytes, 2 * SIZE);
	assert_ok(OPS(w)->detach(w->b, id, 1));
	assert_ok(OPS(w)->destroy(w->b, id, 2));
	assert_ok(OPS(w)->promised(w->a, &bytes));
	assert_int_equal(bytes, SIZE);
}

/* 4 */
static void a_fresh_backend_lists_nothing(void **state)
{
	struct world *w = *state;

	assert_int_equal(count(w, w->a), 0);
}

/* 5, 6, 7 */
static void a_created_volume_is_listed_with_dataset_and_size(void **state)
{
	struct world *w = *state;
	struct id128 id = new_id(), dataset = new_id();
	struct driver_volume v;

	assert_ok(OPS(w)->create(w->a, id, dataset, SIZE, 1));
	v = seen(w, w->a, id);
	assert_true(id128_equal(v.dataset_id, dataset));
	assert_int_equal(v.size_bytes, SIZE);
	assert_int_equal(v.place, DRIVER_FREE);
	assert_true(id128_is_nil(v.holder));
	assert_false(v.attached);
	assert_int_equal(count(w, w->a), 1);
	assert_volume_equal(v, seen(w, w->b, id));
}

/* 8 */
static void attach_of_an_unknown_volume_is_enoent(void **state)
{
	struct world *w = *state;
	struct driver_volume v;

	assert_int_equal(OPS(w)->attach(w->a, new_id(), 1, SIZE, 0), -ENOENT);
	assert_int_equal(OPS(w)->lookup(w->a, new_id(), &v), -ENOENT);
}

/* 9 */
static void sizes_are_rounded_up_and_the_device_has_them(void **state)
{
	struct world *w = *state;
	struct id128 id = new_id();
	struct driver_desc desc;
	uint64_t size;

	assert_ok(OPS(w)->describe(w->a, &desc));
	size = (SIZE + 1 + desc.allocation_unit - 1) / desc.allocation_unit * desc.allocation_unit;
	assert_ok(OPS(w)->create(w->a, id, new_id(), SIZE + 1, 1));
	assert_ok(OPS(w)->create(w->a, id, look(w, w->a, id).dataset_id, SIZE + 1, 1));
	assert_ok(OPS(w)->attach(w->a, id, 1, SIZE + 1, 0));
	assert_size(w, w->a, id, size);
}

/* 10 */
static void attach_where_it_is_attached_already_changes_nothing(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct driver_device one, two;

	attach(w, w->a, id, 1);
	assert_ok(OPS(w)->device(w->a, id, &one));
	attach(w, w->a, id, 1);
	assert_ok(OPS(w)->device(w->a, id, &two));
	assert_string_equal(one.path, two.path);
	assert_int_equal(one.diskseq, two.diskseq);
	if (w->backend->real)
		assert_int_equal(loops_on(w->where), 1);
}

/* 11 */
static void attach_elsewhere_is_refused_and_steals_nothing(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct driver_volume v;

	attach(w, w->a, id, 1);
	assert_int_equal(OPS(w)->attach(w->b, id, 1, SIZE, 0), -EBUSY);
	assert_int_equal(OPS(w)->attach(w->b, id, 2, SIZE, 0), -EBUSY);
	assert_int_equal(OPS(w)->detach(w->b, id, 2), -EBUSY);
	assert_int_equal(OPS(w)->destroy(w->b, id, 2), -EBUSY);
	v = seen(w, w->b, id);
	assert_int_equal(v.place, DRIVER_ELSEWHERE);
	assert_true(id128_equal(v.holder, w->node_a.node));
	assert_int_equal(v.epoch, 1);
	assert_false(v.attached);
	assert_true(seen(w, w->a, id).attached);
}

/* 12, 13 */
static void an_attached_volume_is_ours_and_else_unchanged(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct driver_volume before = seen(w, w->a, id), after;

	attach(w, w->a, id, 1);
	after = seen(w, w->a, id);
	assert_int_equal(after.place, DRIVER_HERE);
	assert_true(id128_equal(after.holder, w->node_a.node));
	assert_true(after.attached);
	after.place = before.place;
	after.holder = before.holder;
	after.attached = before.attached;
	assert_volume_equal(before, after);
}

/* 14, 15 */
static void attached_and_free_volumes_are_listed_side_by_side(void **state)
{
	struct world *w = *state;
	struct id128 one = make_volume(w), two = make_volume(w), three = make_volume(w);

	attach(w, w->a, one, 1);
	attach(w, w->a, three, 1);
	assert_true(seen(w, w->a, one).attached);
	assert_false(seen(w, w->a, two).attached);
	assert_true(seen(w, w->a, three).attached);
	assert_int_equal(count(w, w->a), 3);
}

/* 16, 17 */
static void there_is_no_device_of_unknown_or_free_volumes(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct driver_device dev;

	assert_int_equal(OPS(w)->device(w->a, new_id(), &dev), -ENOENT);
	assert_int_equal(OPS(w)->device(w->a, id, &dev), -ENODEV);
	attach(w, w->a, id, 1);
	assert_int_equal(OPS(w)->device(w->b, id, &dev), -ENODEV);
}

/* 18, 19 */
static void the_device_is_a_block_device_and_stays_the_same(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct driver_device one, two;
	struct stat st;

	attach(w, w->a, id, 1);
	assert_ok(OPS(w)->device(w->a, id, &one));
	assert_ok(OPS(w)->device(w->a, id, &two));
	assert_string_equal(one.path, two.path);
	assert_int_equal(one.devno, two.devno);
	assert_int_equal(one.diskseq, two.diskseq);
	if (!w->backend->real)
		return;
	assert_ok(stat(one.path, &st));
	assert_true(S_ISBLK(st.st_mode));
	assert_int_equal(st.st_rdev, one.devno);
	assert_true(one.diskseq > 0);
}

/* 20, 22 */
static void destroy_of_what_is_not_there_is_done(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);

	assert_ok(OPS(w)->destroy(w->a, new_id(), 1));
	assert_ok(OPS(w)->destroy(w->a, id, 1));
	assert_ok(OPS(w)->destroy(w->a, id, 1));
	assert_int_equal(count(w, w->a), 0);
}

/* 21 */
static void destroy_spares_the_others(void **state)
{
	struct world *w = *state;
	struct id128 one = make_volume(w), two = make_volume(w);
	struct driver_volume v;

	assert_ok(OPS(w)->destroy(w->a, one, 1));
	assert_false(listed(w, w->a, one, &v));
	assert_true(listed(w, w->a, two, &v));
}

/* 23 */
static void detach_of_an_unknown_volume_is_enoent(void **state)
{
	struct world *w = *state;

	assert_int_equal(OPS(w)->detach(w->a, new_id(), 1), -ENOENT);
}

/* 24 */
static void detach_of_a_free_volume_ends_the_epoch(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);

	assert_ok(OPS(w)->detach(w->a, id, 3));
	assert_ok(OPS(w)->detach(w->a, id, 3));
	assert_int_equal(seen(w, w->a, id).epoch, 3);
	assert_int_equal(OPS(w)->attach(w->a, id, 3, SIZE, 0), -ESTALE);
	attach(w, w->a, id, 4);
}

/* 25 */
static void a_detached_device_is_gone_and_the_others_stay(void **state)
{
	struct world *w = *state;
	struct id128 one = make_volume(w), two = make_volume(w);
	struct driver_volume other;
	struct driver_device dev;

	attach(w, w->a, one, 1);
	attach(w, w->a, two, 1);
	other = seen(w, w->a, two);
	assert_ok(OPS(w)->device(w->a, one, &dev));
	assert_ok(OPS(w)->detach(w->a, one, 1));
	assert_int_equal(seen(w, w->a, one).place, DRIVER_FREE);
	assert_int_equal(seen(w, w->a, one).epoch, 1);
	assert_volume_equal(seen(w, w->a, two), other);
	assert_int_equal(OPS(w)->device(w->a, one, &dev), -ENODEV);
	if (w->backend->real) {
		assert_int_equal(loops_on(w->where), 1);
		device_expect(w, w->a, two, 0, "");
	}
}

/* 26 */
static void a_detached_volume_can_be_attached_again(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct driver_volume first, second;

	attach(w, w->a, id, 1);
	first = seen(w, w->a, id);
	assert_ok(OPS(w)->detach(w->a, id, 1));
	attach(w, w->a, id, 2);
	second = seen(w, w->a, id);
	assert_int_equal(second.epoch, 2);
	second.epoch = first.epoch;
	assert_volume_equal(first, second);
}

/* 27 */
static void attach_of_a_destroyed_volume_is_enoent(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);

	assert_ok(OPS(w)->destroy(w->a, id, 1));
	assert_int_equal(OPS(w)->attach(w->a, id, 2, SIZE, 0), -ENOENT);
	assert_int_equal(OPS(w)->detach(w->a, id, 2), -ENOENT);
}

/* ---- create ---- */

static void create_repeated_is_the_same_volume(void **state)
{
	struct world *w = *state;
	struct id128 id = new_id(), dataset = new_id();

	assert_ok(OPS(w)->create(w->a, id, dataset, SIZE, 2));
	assert_ok(OPS(w)->create(w->a, id, dataset, SIZE, 2));
	assert_ok(OPS(w)->create(w->b, id, dataset, SIZE, 3));
	assert_int_equal(count(w, w->a), 1);
	assert_int_equal(OPS(w)->create(w->a, id, new_id(), SIZE, 2), -EEXIST);
	assert_int_equal(OPS(w)->create(w->a, id, dataset, 2 * SIZE, 2), -EEXIST);
	assert_int_equal(OPS(w)->create(w->a, id, dataset, SIZE, 1), -ESTALE);
	attach(w, w->a, id, 2);
	assert_ok(OPS(w)->create(w->a, id, dataset, SIZE, 2));
	assert_true(seen(w, w->a, id).attached);
}

static void nonsense_is_einval(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);

	assert_int_equal(OPS(w)->create(w->a, new_id(), new_id(), 0, 1), -EINVAL);
	assert_int_equal(OPS(w)->create(w->a, new_id(), new_id(), UINT64_MAX, 1), -EINVAL);
	assert_int_equal(OPS(w)->create(w->a, new_id(), new_id(), SIZE, 0), -EINVAL);
	assert_int_equal(OPS(w)->attach(w->a, id, 0, SIZE, 0), -EINVAL);
	assert_int_equal(OPS(w)->attach(w->a, id, DRIVER_EPOCH_MAX + 1, SIZE, 0), -EINVAL);
	assert_int_equal(OPS(w)->detach(w->a, id, 0), -EINVAL);
	assert_int_equal(OPS(w)->destroy(w->a, id, 0), -EINVAL);
	attach(w, w->a, id, DRIVER_EPOCH_MAX);
}

/* ---- epochs and claims ---- */

static void orders_of_an_old_epoch_are_refused(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);

	attach(w, w->a, id, 5);
	assert_int_equal(OPS(w)->attach(w->a, id, 4, SIZE, 0), -ESTALE);
	assert_int_equal(OPS(w)->attach(w->b, id, 4, SIZE, 0), -ESTALE);
	assert_int_equal(OPS(w)->detach(w->a, id, 4), -ESTALE);
	assert_int_equal(OPS(w)->destroy(w->a, id, 4), -ESTALE);
	assert_true(seen(w, w->a, id).attached);
	assert_ok(OPS(w)->detach(w->a, id, 5));
	assert_int_equal(OPS(w)->detach(w->a, id, 4), -ESTALE);
	assert_int_equal(OPS(w)->destroy(w->a, id, 4), -ESTALE);
}

static void a_grant_is_used_once(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);

	attach(w, w->a, id, 1);
	assert_ok(OPS(w)->detach(w->a, id, 1));
	assert_ok(OPS(w)->detach(w->a, id, 1));
	assert_int_equal(OPS(w)->attach(w->a, id, 1, SIZE, 0), -ESTALE);
	assert_int_equal(OPS(w)->attach(w->b, id, 1, SIZE, 0), -ESTALE);
	assert_int_equal(OPS(w)->destroy(w->b, id, 1), -ESTALE);
	attach(w, w->b, id, 2);
	assert_int_equal(OPS(w)->detach(w->a, id, 1), -ESTALE);
	assert_true(seen(w, w->b, id).attached);
}

static void who_gave_it_back_may_still_destroy_it(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);

	attach(w, w->a, id, 1);
	assert_int_equal(OPS(w)->destroy(w->a, id, 1), -EBUSY);
	assert_ok(OPS(w)->detach(w->a, id, 1));
	assert_ok(OPS(w)->destroy(w->a, id, 1));
	assert_int_equal(count(w, w->b), 0);
}

static void a_higher_epoch_goes_over_to_what_is_attached(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct driver_device one, two;

	attach(w, w->a, id, 1);
	assert_ok(OPS(w)->device(w->a, id, &one));
	attach(w, w->a, id, 7);
	assert_int_equal(seen(w, w->a, id).epoch, 7);
	assert_ok(OPS(w)->device(w->a, id, &two));
	assert_string_equal(one.path, two.path);
	assert_int_equal(one.diskseq, two.diskseq);
	assert_int_equal(OPS(w)->detach(w->a, id, 6), -ESTALE);
	assert_ok(OPS(w)->detach(w->a, id, 8));
	assert_int_equal(OPS(w)->attach(w->a, id, 8, SIZE, 0), -ESTALE);
}

static void our_name_on_another_machine_is_somebody_else(void **state)
{
	struct world *w = *state;
	struct driver_node twin = { w->node_a.node, new_id(), w->node_a.boot };
	struct driver *d = world_open(w, &twin);
	struct id128 id = make_volume(w);

	attach(w, w->a, id, 1);
	assert_int_equal(seen(w, d, id).place, DRIVER_ELSEWHERE);
	assert_int_equal(OPS(w)->attach(d, id, 1, SIZE, 0), -EBUSY);
	assert_int_equal(OPS(w)->attach(d, id, 2, SIZE, 0), -EBUSY);
	assert_int_equal(OPS(w)->detach(d, id, 1), -EBUSY);
	assert_int_equal(OPS(w)->destroy(d, id, 2), -EBUSY);
	assert_true(seen(w, w->a, id).attached);
	OPS(w)->close(d);
}

static void a_restarted_node_finds_what_it_holds(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct driver_device one, two;

	attach(w, w->a, id, 1);
	assert_ok(OPS(w)->device(w->a, id, &one));
	OPS(w)->close(w->a);
	w->a = world_open(w, &w->node_a);
	assert_true(seen(w, w->a, id).attached);
	attach(w, w->a, id, 1);
	assert_ok(OPS(w)->device(w->a, id, &two));
	assert_int_equal(one.diskseq, two.diskseq);
}

static void another_size_than_recorded_is_euclean(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);

	assert_int_equal(OPS(w)->attach(w->a, id, 1, SIZE + MIB, 0), -EUCLEAN);
	assert_int_equal(OPS(w)->attach(w->a, id, 1, SIZE - MIB, 0), -EUCLEAN);
	assert_int_equal(seen(w, w->a, id).place, DRIVER_FREE);
	attach(w, w->a, id, 1);
}

static void data_moves_with_the_volume(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);

	for (uint64_t epoch = 1; epoch <= 8; epoch++) {
		struct driver *d = epoch % 2 ? w->a : w->b;

		attach(w, d, id, epoch);
		if (epoch > 1) {
			device_expect(w, d, id, 0, "the first block");
			device_expect(w, d, id, SIZE - 512, "the last block");
		}
		device_write(w, d, id, 0, "the first block");
		device_write(w, d, id, SIZE - 512, "the last block");
		assert_ok(OPS(w)->detach(d, id, epoch));
	}
}

/* ---- many at once ---- */

#define THREADS 8
#define ROUNDS 12

struct worker {
	struct world *w;
	struct driver *d;
	struct id128 id;
	int r;
};

static void *on_worker(void *userdata)
{
	struct worker *me = userdata;
	struct driver_volume v;
	struct driver_device dev;
	struct id128 *all;
	size_t n;

	/* As the node's workers do: a driver that kept a descriptor from before would notice. */
	if (close_range(3, ~0U, CLOSE_RANGE_UNSHARE) < 0)
		me->r = -errno;
	for (uint64_t epoch = 1; epoch <= ROUNDS && me->r == 0; epoch++) {
		me->r = OPS(me->w)->attach(me->d, me->id, epoch, SIZE, 0);
		me->r = me->r ?: OPS(me->w)->device(me->d, me->id, &dev);
		me->r = me->r ?: OPS(me->w)->list(me->d, &all, &n);
		if (me->r == 0)
			free(all);
		me->r = me->r ?: OPS(me->w)->lookup(me->d, me->id, &v);
		if (me->r == 0 && !v.attached)
			me->r = -ENODEV;
		me->r = me->r ?: OPS(me->w)->detach(me->d, me->id, epoch);
	}
	return NULL;
}

static void different_volumes_do_not_meet(void **state)
{
	struct world *w = *state;
	struct worker workers[THREADS];
	pthread_t threads[THREADS];

	for (size_t i = 0; i < THREADS; i++)
		workers[i] = (struct worker){ w, i % 2 ? w->a : w->b, make_volume(w), 0 };
	for (size_t i = 0; i < THREADS; i++)
		assert_ok(pthread_create(&threads[i], NULL, on_worker, &workers[i]));
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < THREADS; i++)
		assert_ok(workers[i].r);
}

#define T(f) cmocka_unit_test_prestate_setup_teardown(f, world_setup, world_teardown, backend)

static int conformance(const char *name, const struct backend *b)
{
	void *backend = (void *)(uintptr_t)b;
	const struct CMUnitTest tests[] = {
		T(the_table_has_no_gap),
		T(the_backend_describes_itself),
		T(what_was_promised_is_the_sum_of_all_sizes),
		T(a_fresh_backend_lists_nothing),
		T(a_created_volume_is_listed_with_dataset_and_size),
		T(attach_of_an_unknown_volume_is_enoent),
		T(sizes_are_rounded_up_and_the_device_has_them),
		T(attach_where_it_is_attached_already_changes_nothing),
		T(attach_elsewhere_is_refused_and_steals_nothing),
		T(an_attached_volume_is_ours_and_else_unchanged),
		T(attached_and_free_volumes_are_listed_side_by_side),
		T(there_is_no_device_of_unknown_or_free_volumes),
		T(the_device_is_a_block_device_and_stays_the_same),
		T(destroy_of_what_is_not_there_is_done),
		T(destroy_spares_the_others),
		T(detach_of_an_unknown_volume_is_enoent),
		T(detach_of_a_free_volume_ends_the_epoch),
		T(a_detached_device_is_gone_and_the_others_stay),
		T(a_detached_volume_can_be_attached_again),
		T(attach_of_a_destroyed_volume_is_enoent),
		T(create_repeated_is_the_same_volume),
		T(nonsense_is_einval),
		T(orders_of_an_old_epoch_are_refused),
		T(a_grant_is_used_once),
		T(who_gave_it_back_may_still_destroy_it),
		T(a_higher_epoch_goes_over_to_what_is_attached),
		T(our_name_on_another_machine_is_somebody_else),
		T(a_restarted_node_finds_what_it_holds),
		T(another_size_than_recorded_is_euclean),
		T(different_volumes_do_not_meet),
	};
	const struct CMUnitTest tests_of_devices[] = {
		T(data_moves_with_the_volume),
	};
	int r;

	r = cmocka_run_group_tests_name(name, tests, NULL, NULL);
	if (b->real)
		r |= cmocka_run_group_tests_name(name, tests_of_devices, NULL, NULL);
	return r;
}

int main(int argc, char **argv)
{
	return conformance_main(argc, argv, conformance);
}
