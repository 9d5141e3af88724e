/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conformance_cut.c - what every driver that can cut has to do: nothing is written through a device
 * that was cut, and what a fenced node claims stands in nobody's way.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>

#include "harness.h"

#define OPS(w) ((w)->ops)

static void skip_without_cut(struct world *w)
{
	if (!OPS(w)->cut)
		skip();
}

static void there_is_nothing_to_cut_of_unknown_or_free_volumes(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);

	skip_without_cut(w);
	assert_int_equal(OPS(w)->cut(w->a, new_id()), -ENOENT);
	assert_int_equal(OPS(w)->cut(w->a, id), -ENODEV);
	attach(w, w->a, id, 1);
	assert_int_equal(OPS(w)->cut(w->b, id), -ENODEV);
}

static void a_cut_leaves_claim_and_device_and_can_be_repeated(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct driver_device one, two;
	struct driver_volume before;

	skip_without_cut(w);
	attach(w, w->a, id, 1);
	before = seen(w, w->a, id);
	assert_ok(OPS(w)->device(w->a, id, &one));
	assert_false(one.cut);
	assert_ok(OPS(w)->cut(w->a, id));
	assert_ok(OPS(w)->cut(w->a, id));
	assert_volume_equal(seen(w, w->a, id), before);
	assert_ok(OPS(w)->device(w->a, id, &two));
	assert_true(two.cut);
	assert_int_equal(one.diskseq, two.diskseq);
	assert_ok(OPS(w)->detach(w->a, id, 1));
	assert_int_equal(seen(w, w->a, id).place, DRIVER_FREE);
	assert_int_equal(OPS(w)->attach(w->a, id, 1, SIZE, 0), -ESTALE);
}

static void an_attach_after_a_cut_makes_a_new_device(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct driver_device one, two;

	skip_without_cut(w);
	attach(w, w->a, id, 1);
	assert_ok(OPS(w)->device(w->a, id, &one));
	assert_ok(OPS(w)->cut(w->a, id));
	attach(w, w->a, id, 2);
	assert_ok(OPS(w)->device(w->a, id, &two));
	assert_false(two.cut);
	assert_int_not_equal(one.diskseq, two.diskseq);
	assert_int_equal(two.size_bytes, SIZE);
}

static void nothing_is_written_through_a_cut_device(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct driver_device dev;
	char block[4096] = "late";
	int fd;

	skip_without_cut(w);
	attach(w, w->a, id, 1);
	device_write(w, w->a, id, 4096, "in time");
	assert_ok(OPS(w)->device(w->a, id, &dev));
	fd = open(dev.path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, block, sizeof(block), 8192), sizeof(block)); /* only in memory */
	assert_ok(OPS(w)->cut(w->a, id));
	assert_true(pwrite(fd, block, sizeof(block), 4096) < 0 || fsync(fd) < 0);
	close(fd);
	attach(w, w->a, id, 2);
	device_expect(w, w->a, id, 4096, "in time");
}

/* Who trims it, and goes on when it was cut. */
struct trimmer {
	int fd;
	_Atomic bool cut;
	_Atomic unsigned int done, late; /* discards before, and after the cut */
};

static void *trim_on_and_on(void *userdata)
{
	struct trimmer *t = userdata;
	uint64_t range[2] = { 8192, SIZE - 8192 };

	for (unsigned int after = 0; after < 200;) {
		bool was_cut = t->cut;

		if (ioctl(t->fd, BLKDISCARD, range) == 0)
			(*(was_cut ? &t->late : &t->done))++;
		else if (!was_cut && errno != EIO)
			break;
		after += was_cut;
	}
	return NULL;
}

/* A discard that comes late would take away what the next owner wrote. */
static void nothing_is_discarded_through_a_cut_device(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct trimmer t = { 0 };
	struct driver_device dev;
	pthread_t thread;

	skip_without_cut(w);
	attach(w, w->a, id, 1);
	assert_ok(OPS(w)->device(w->a, id, &dev));
	t.fd = open(dev.path, O_RDWR | O_CLOEXEC);
	assert_true(t.fd >= 0);
	assert_int_equal(pthread_create(&thread, NULL, trim_on_and_on, &t), 0);
	while (t.done < 10)
		sched_yield();
	assert_ok(OPS(w)->cut(w->a, id));
	t.cut = true;
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(t.late, 0);
	close(t.fd);
}

/* ---- fences ---- */

static void the_claim_of_a_fenced_node_is_void(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct driver_volume v;

	skip_without_cut(w);
	attach(w, w->a, id, 3);
	device_write(w, w->a, id, 4096, "in time");
	assert_ok(OPS(w)->fence(w->b, id, 0, 2)); /* others than this one */
	assert_ok(OPS(w)->fence(w->b, id, 4, 9));
	assert_int_equal(OPS(w)->attach(w->b, id, 10, SIZE, 0), -EBUSY);
	assert_ok(OPS(w)->cut(w->a, id));
	assert_ok(OPS(w)->fence(w->b, id, 0, 3));
	v = seen(w, w->b, id);
	assert_int_equal(v.place, DRIVER_FREE);
	assert_int_equal(v.epoch, 3);
	assert_ok(OPS(w)->attach(w->b, id, 4, SIZE, 0));
	device_expect(w, w->b, id, 4096, "in time");
	assert_int_equal(OPS(w)->attach(w->a, id, 3, SIZE, 0), -ESTALE);
	assert_int_equal(OPS(w)->detach(w->a, id, 3), -ESTALE);
	device_write(w, w->b, id, 8192, "taken over");
	assert_ok(OPS(w)->detach(w->b, id, 4));
}

/* A fenced machine that is gone has no device any more; its claim is all that is left. */
static void what_a_fenced_node_claims_can_be_destroyed(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);

	skip_without_cut(w);
	attach(w, w->a, id, 1);
	assert_ok(OPS(w)->cut(w->a, id));
	assert_int_equal(OPS(w)->destroy(w->b, id, 2), -EBUSY);
	assert_ok(OPS(w)->fence(w->b, id, 0, 1));
	assert_ok(OPS(w)->destroy(w->b, id, 2));
	assert_ok(OPS(w)->fence(w->b, id, 0, 1)); /* there is nothing to void */
	assert_int_equal(OPS(w)->detach(w->a, id, 1), -ENOENT);
	assert_ok(OPS(w)->tidy(w->a));
}

/* As on a machine with several nodes, of which the fenced one has it mounted a little longer. */
static void a_cut_device_goes_also_after_its_volume(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct driver_device dev;
	int fd;

	skip_without_cut(w);
	attach(w, w->a, id, 1);
	assert_ok(OPS(w)->device(w->a, id, &dev));
	assert_ok(OPS(w)->cut(w->a, id));
	fd = open(dev.path, O_RDONLY | O_EXCL | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_ok(OPS(w)->fence(w->b, id, 0, 1));
	assert_ok(OPS(w)->destroy(w->b, id, 2));
	assert_int_equal(OPS(w)->detach(w->a, id, 1), -EBUSY);
	assert_int_equal(loops_on(ID128_STR(id)), 1);
	assert_ok(OPS(w)->destroy(w->b, id, 2));
	close(fd);
	assert_int_equal(OPS(w)->detach(w->a, id, 1), -ENOENT);
	assert_int_equal(loops_on(ID128_STR(id)), 0);
}

#define T(f) cmocka_unit_test_prestate_setup_teardown(f, world_setup, world_teardown, backend)

static int conformance(const char *name, const struct backend *b)
{
	void *backend = (void *)(uintptr_t)b;
	const struct CMUnitTest tests[] = {
		T(there_is_nothing_to_cut_of_unknown_or_free_volumes),
		T(a_cut_leaves_claim_and_device_and_can_be_repeated),
		T(an_attach_after_a_cut_makes_a_new_device),
	};
	const struct CMUnitTest tests_of_devices[] = {
		T(nothing_is_written_through_a_cut_device),
		T(nothing_is_discarded_through_a_cut_device),
		T(the_claim_of_a_fenced_node_is_void),
		T(what_a_fenced_node_claims_can_be_destroyed),
		T(a_cut_device_goes_also_after_its_volume),
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
