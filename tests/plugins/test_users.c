/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <sys/stat.h>

#include "users.h"

static const struct id128 DATASET = { 0x6b1c2e1e7c524be3, 0xa7d31c6f0ea7a0aa }, OTHER = { 1, 2 };
static char dir[] = "/tmp/flocker-test-users-XXXXXX";

static bool is_empty(void)
{
	struct stat st;

	return stat(dir, &st) == 0 && st.st_nlink == 2;
}

static void the_last_one_releases(void **state)
{
	int lock;

	assert_int_equal(users_join(dir, DATASET, "a", NULL), 0);
	assert_int_equal(users_join(dir, DATASET, "b", NULL), 0);
	assert_int_equal(users_join(dir, OTHER, "c", NULL), 0);
	assert_int_equal(users_leave(dir, DATASET, "a", &lock), 0);
	assert_int_equal(users_leave(dir, DATASET, "b", &lock), 1);
	users_left(dir, DATASET, "b", lock, true);
	users_forget(dir, OTHER, "c");
	assert_true(is_empty());
}

static void nobody_joins_while_the_last_one_leaves(void **state)
{
	int lock, again;

	assert_int_equal(users_join(dir, DATASET, "a", NULL), 0);
	assert_int_equal(users_leave(dir, DATASET, "a", &lock), 1);
	assert_int_equal(users_join(dir, DATASET, "b", NULL), -EAGAIN);
	assert_int_equal(users_leave(dir, DATASET, "a", &again), -EAGAIN);
	users_left(dir, DATASET, "a", lock, false); /* control was away: it is still a user */
	assert_int_equal(users_join(dir, DATASET, "b", NULL), 0);
	assert_int_equal(users_leave(dir, DATASET, "b", &lock), 0);
	assert_int_equal(users_leave(dir, DATASET, "a", &lock), 1);
	users_left(dir, DATASET, "a", lock, true);
	assert_true(is_empty());
}

static void a_user_is_one_process_and_its_successor_goes_on(void **state)
{
	struct id128 id;
	int fd, other, lock;

	assert_int_equal(users_find(dir, "a", &id), -ENOENT);
	assert_int_equal(users_join(dir, DATASET, "a", &fd), 0);
	assert_int_equal(users_join(dir, DATASET, "a", &other), -EBUSY);
	close(fd); /* as when it is killed */
	assert_int_equal(users_find(dir, "a", &id), 0);
	assert_true(id128_equal(id, DATASET));
	assert_int_equal(users_join(dir, DATASET, "b", NULL), 0);
	assert_int_equal(users_leave(dir, DATASET, "b", &lock), 0); /* who was killed still counts */
	assert_int_equal(users_join(dir, DATASET, "a", &fd), 0);
	assert_int_equal(users_leave(dir, DATASET, "a", &lock), 1);
	users_left(dir, DATASET, "a", lock, true);
	close(fd);
	assert_true(is_empty());
}

static void one_that_was_never_told_of_releases_as_well(void **state)
{
	int lock;

	assert_int_equal(users_leave(dir, DATASET, "a", &lock), 1);
	assert_int_equal(users_join(dir, DATASET, "b", NULL), -EAGAIN);
	users_left(dir, DATASET, "a", lock, true);
	assert_true(is_empty());
}

static void one_that_is_killed_as_it_releases_keeps_nobody_from_it(void **state)
{
	int lock;

	assert_int_equal(users_leave(dir, DATASET, "a", &lock), 1);
	close(lock); /* as when it is killed */
	assert_int_equal(users_join(dir, DATASET, "b", NULL), 0);
	assert_int_equal(users_leave(dir, DATASET, "b", &lock), 1);
	users_left(dir, DATASET, "b", lock, true);
	assert_true(is_empty());
}

static int begin(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int end(void **state)
{
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_last_one_releases),
		cmocka_unit_test(nobody_joins_while_the_last_one_leaves),
		cmocka_unit_test(a_user_is_one_process_and_its_successor_goes_on),
		cmocka_unit_test(one_that_was_never_told_of_releases_as_well),
		cmocka_unit_test(one_that_is_killed_as_it_releases_keeps_nobody_from_it),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
