/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conformance_grow.c - what every driver that can make volumes larger has to do.
 */
#include <fcntl.h>

#include "harness.h"

#define OPS(w) ((w)->ops)
#define LARGER (2 * SIZE)

static void skip_without_expand(struct world *w)
{
	if (!OPS(w)->expand)
		skip();
}

static void only_what_is_attached_here_grows(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);

	skip_without_expand(w);
	assert_int_equal(OPS(w)->expand(w->a, new_id(), 1, LARGER), -ENOENT);
	assert_int_equal(OPS(w)->expand(w->a, id, 1, LARGER), -ENODEV);
	attach(w, w->a, id, 1);
	assert_int_equal(OPS(w)->expand(w->b, id, 1, LARGER), -EBUSY);
	assert_int_equal(OPS(w)->expand(w->b, id, 2, LARGER), -EBUSY);
	assert_size(w, w->a, id, SIZE);
	assert_ok(OPS(w)->detach(w->a, id, 1));
	assert_int_equal(OPS(w)->expand(w->a, id, 1, LARGER), -ENODEV);
	assert_int_equal(seen(w, w->b, id).size_bytes, SIZE);
}

static void a_volume_grows_while_it_is_used(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct driver_device one, two;

	skip_without_expand(w);
	attach(w, w->a, id, 1);
	assert_ok(OPS(w)->device(w->a, id, &one));
	assert_ok(OPS(w)->expand(w->a, id, 1, LARGER));
	assert_size(w, w->a, id, LARGER);
	assert_ok(OPS(w)->device(w->a, id, &two));
	assert_string_equal(one.path, two.path);
	assert_int_equal(one.diskseq, two.diskseq);
	assert_int_equal(seen(w, w->b, id).size_bytes, LARGER);
}

static void data_stays_and_what_is_new_is_empty(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	char zeros[512] = "", got[512];
	struct driver_device dev;
	int fd;

	attach(w, w->a, id, 1);
	device_write(w, w->a, id, SIZE - 512, "the last block");
	assert_ok(OPS(w)->device(w->a, id, &dev));
	fd = open(dev.path, O_RDWR | O_CLOEXEC); /* held open, as by a filesystem */
	assert_true(fd >= 0);
	assert_ok(OPS(w)->expand(w->a, id, 1, LARGER));
	device_expect(w, w->a, id, SIZE - 512, "the last block");
	assert_int_equal(pread(fd, got, sizeof(got), SIZE), sizeof(got));
	assert_memory_equal(got, zeros, sizeof(got));
	device_write(w, w->a, id, LARGER - 512, "behind it");
	close(fd);
	assert_ok(OPS(w)->detach(w->a, id, 1));
	assert_ok(OPS(w)->attach(w->b, id, 2, LARGER, 0));
	device_expect(w, w->b, id, SIZE - 512, "the last block");
	device_expect(w, w->b, id, LARGER - 512, "behind it");
}

static void an_expand_may_be_repeated_and_takes_nothing_away(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);

	skip_without_expand(w);
	attach(w, w->a, id, 1);
	assert_ok(OPS(w)->expand(w->a, id, 1, SIZE)); /* as it is */
	assert_size(w, w->a, id, SIZE);
	assert_ok(OPS(w)->expand(w->a, id, 1, LARGER));
	assert_ok(OPS(w)->expand(w->a, id, 1, LARGER));
	assert_int_equal(OPS(w)->expand(w->a, id, 1, SIZE), -EUCLEAN);
	assert_int_equal(OPS(w)->expand(w->a, id, 1, LARGER - MIB), -EUCLEAN);
	assert_size(w, w->a, id, LARGER);
	assert_ok(OPS(w)->expand(w->a, id, 1, 2 * LARGER));
	assert_size(w, w->a, id, 2 * LARGER);
}

static void nothing_grows_under_another_epoch(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);

	skip_without_expand(w);
	attach(w, w->a, id, 5);
	assert_int_equal(OPS(w)->expand(w->a, id, 4, LARGER), -ESTALE);
	assert_int_equal(OPS(w)->expand(w->a, id, 6, LARGER), -ENODEV);
	assert_int_equal(OPS(w)->expand(w->a, id, 0, LARGER), -EINVAL);
	assert_int_equal(OPS(w)->expand(w->a, id, 5, 0), -EINVAL);
	assert_int_equal(OPS(w)->expand(w->a, id, 5, UINT64_MAX), -EINVAL);
	assert_size(w, w->a, id, SIZE);
}

/* Control may not know yet that an expand has come to its end. */
static void what_grows_is_attached_with_either_size_and_no_other(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);

	skip_without_expand(w);
	assert_ok(OPS(w)->attach(w->a, id, 1, SIZE, LARGER)); /* it has not begun */
	assert_size(w, w->a, id, SIZE);
	assert_ok(OPS(w)->expand(w->a, id, 1, LARGER));
	assert_ok(OPS(w)->detach(w->a, id, 1));
	assert_int_equal(OPS(w)->attach(w->b, id, 2, SIZE, 0), -EUCLEAN);
	assert_int_equal(OPS(w)->attach(w->b, id, 2, SIZE, LARGER - MIB), -EUCLEAN);
	assert_int_equal(OPS(w)->attach(w->b, id, 2, SIZE, LARGER + MIB), -EUCLEAN);
	assert_int_equal(OPS(w)->attach(w->b, id, 2, LARGER + MIB, 0), -EUCLEAN);
	assert_int_equal(seen(w, w->a, id).place, DRIVER_FREE);
	assert_ok(OPS(w)->attach(w->b, id, 2, SIZE, LARGER)); /* done, and not recorded */
	assert_size(w, w->b, id, LARGER);
	assert_ok(OPS(w)->expand(w->b, id, 2, LARGER));
}

static void a_size_between_two_units_is_rounded_up(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct driver_device dev;

	skip_without_expand(w);
	attach(w, w->a, id, 1);
	assert_ok(OPS(w)->expand(w->a, id, 1, SIZE + 1));
	assert_ok(OPS(w)->device(w->a, id, &dev));
	assert_in_range(dev.size_bytes, SIZE + 512, SIZE + 4096);
	assert_ok(OPS(w)->expand(w->a, id, 1, SIZE + 1));
	assert_ok(OPS(w)->detach(w->a, id, 1));
	assert_ok(OPS(w)->attach(w->a, id, 2, SIZE, SIZE + 1));
	assert_ok(OPS(w)->detach(w->a, id, 2));
	assert_ok(OPS(w)->attach(w->a, id, 3, SIZE + 1, 0));
	assert_size(w, w->a, id, dev.size_bytes);
}

static void what_was_cut_stays_cut(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct driver_device dev;

	skip_without_expand(w);
	if (!OPS(w)->cut)
		skip();
	attach(w, w->a, id, 1);
	assert_ok(OPS(w)->cut(w->a, id));
	assert_int_equal(OPS(w)->expand(w->a, id, 1, LARGER), -ENODEV);
	assert_ok(OPS(w)->device(w->a, id, &dev));
	assert_true(dev.cut);
	assert_int_equal(seen(w, w->a, id).size_bytes, SIZE);
}

#define T(f) cmocka_unit_test_prestate_setup_teardown(f, world_setup, world_teardown, backend)

static int conformance(const char *name, const struct backend *b)
{
	void *backend = (void *)(uintptr_t)b;
	const struct CMUnitTest tests[] = {
		T(only_what_is_attached_here_grows),
		T(a_volume_grows_while_it_is_used),
		T(an_expand_may_be_repeated_and_takes_nothing_away),
		T(nothing_grows_under_another_epoch),
		T(what_grows_is_attached_with_either_size_and_no_other),
		T(a_size_between_two_units_is_rounded_up),
		T(what_was_cut_stays_cut),
	};
	const struct CMUnitTest tests_of_devices[] = {
		T(data_stays_and_what_is_new_is_empty),
	};
	int r;

	r = cmocka_run_group_tests_name(name, tests, NULL, NULL);
	if (b->real && b->ops->expand)
		r |= cmocka_run_group_tests_name(name, tests_of_devices, NULL, NULL);
	return r;
}

int main(int argc, char **argv)
{
	return conformance_main(argc, argv, conformance);
}
