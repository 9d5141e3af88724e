/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "docker_mounts.h"
#include "jsonin.h"

static const struct id128 v1 = { 1, 1 }, v2 = { 2, 2 }, boot = { 3, 3 };

static int setup(void **state)
{
	return mounts_new((struct mounts **)state);
}

static int teardown(void **state)
{
	mounts_free(*state);
	return 0;
}

static void each_volume_and_id_has_a_count(void **state)
{
	struct mounts *m = *state;

	assert_int_equal(mounts_add(m, v1, "name", "a"), 0);
	assert_int_equal(mounts_add(m, v1, "name", "a"), 0);
	assert_int_equal(mounts_add(m, v1, "name", ""), 0);
	assert_int_equal(mounts_add(m, v2, "name", "a"), 0);
	assert_int_equal(mounts_count(m, v1), 3);
	assert_false(mounts_drop(m, v1, "name", "a"));
	assert_false(mounts_drop(m, v1, "name", "never"));
	assert_int_equal(mounts_count(m, v1), 2);
	assert_false(mounts_drop(m, v1, "name", "a"));
	assert_false(mounts_drop(m, v1, "name", ""));
	assert_int_equal(mounts_count(m, v1), 0);
	assert_int_equal(mounts_count(m, v2), 1);
}

static void an_old_count_is_taken_over_by_its_id_once(void **state)
{
	struct mounts *m = *state;

	assert_int_equal(mounts_add(m, v1, "name", "a"), 0);
	assert_int_equal(mounts_add(m, v1, "name", "a"), 0);
	mounts_activate(m);
	assert_int_equal(mounts_count_old(m, v1), 2);
	assert_int_equal(mounts_add(m, v1, "name", "a"), 0);
	assert_int_equal(mounts_count(m, v1), 1);
	assert_int_equal(mounts_count_old(m, v1), 0);
	assert_false(mounts_look(m, v1, false));
	assert_false(mounts_look(m, v1, false));
	assert_int_equal(mounts_count(m, v1), 1); /* its container may be about to start, and have nothing yet */
	assert_int_equal(mounts_add(m, v1, "name", "a"), 0);
	assert_int_equal(mounts_count(m, v1), 2);
	assert_false(mounts_drop(m, v1, "name", "a"));
	assert_true(mounts_drop(m, v1, "name", "a")); /* it may be that its container lives on */
	assert_int_equal(mounts_doubt(m, v1, "name", "a"), 0);
	assert_int_equal(mounts_count(m, v1), 1);
	assert_int_equal(mounts_count_old(m, v1), 1);
	assert_false(mounts_look(m, v1, false));
	assert_true(mounts_look(m, v1, false));
	assert_int_equal(mounts_count(m, v1), 0);
}

static void what_is_given_up_is_only_what_is_old(void **state)
{
	struct mounts *m = *state;

	assert_int_equal(mounts_add(m, v1, "name", "old"), 0);
	mounts_activate(m);
	assert_int_equal(mounts_add(m, v1, "name", "new"), 0);
	assert_false(mounts_look(m, v1, false));
	assert_true(mounts_look(m, v1, false));
	assert_int_equal(mounts_count(m, v1), 1);
	assert_false(mounts_drop(m, v1, "name", "new"));
}

static void one_look_in_vain_gives_nothing_up(void **state)
{
	struct mounts *m = *state;

	assert_int_equal(mounts_add(m, v1, "name", "a"), 0);
	mounts_age(m, v1);
	assert_false(mounts_look(m, v1, false));
	assert_false(mounts_look(m, v1, true));
	assert_false(mounts_look(m, v1, false));
	assert_int_equal(mounts_add(m, v1, "name", "b"), 0);
	assert_false(mounts_look(m, v1, false));
	assert_int_equal(mounts_count(m, v1), 2);
	assert_true(mounts_look(m, v1, false));
	assert_int_equal(mounts_count(m, v1), 1);
}

static void what_was_mounted_is_found_by_the_name_of_then(void **state)
{
	struct mounts *m = *state;
	struct id128 found = { 0 };

	assert_int_equal(mounts_add(m, v1, "old", "a"), 0);
	assert_int_equal(mounts_add(m, v2, "old", "b"), 0);
	assert_true(mounts_find(m, "old", "b", &found) && id128_equal(found, v2));
	assert_false(mounts_find(m, "new", "a", &found));
	assert_false(mounts_find(m, "old", "c", &found));
	assert_int_equal(mounts_add(m, v1, "new", "a"), 0);
	assert_true(mounts_find(m, "new", "a", &found) && id128_equal(found, v1));
	assert_true(mounts_find(m, "new", NULL, &found) && id128_equal(found, v1));
	assert_false(mounts_find(m, "none", NULL, &found));
}

static void a_lease_that_may_be_released_is_counted_on_again_with_the_next_mount(void **state)
{
	struct mounts *m = *state;

	assert_int_equal(mounts_set_leased(m, v1, true), 0);
	mounts_set_ending(m, v1, true);
	assert_true(mounts_ending(m, v1));
	assert_int_equal(mounts_add(m, v1, "name", "a"), 0);
	assert_false(mounts_ending(m, v1));
}

static void podmans_one_id_counts_once(void **state)
{
	struct mounts *m = *state;

	assert_int_equal(mounts_add(m, v1, "name", MOUNTS_PODMAN_ID), 0);
	mounts_activate(m);
	assert_int_equal(mounts_add(m, v1, "name", MOUNTS_PODMAN_ID), 0);
	assert_int_equal(mounts_count(m, v1), 1);
	assert_int_equal(mounts_count_old(m, v1), 0);
	assert_false(mounts_drop(m, v1, "name", MOUNTS_PODMAN_ID));
}

static void a_lease_is_over_when_its_last_mount_is(void **state)
{
	struct mounts *m = *state;

	assert_int_equal(mounts_set_leased(m, v1, true), 0);
	assert_false(mounts_is_over(m, v1, 0));
	assert_int_equal(mounts_add(m, v1, "name", "a"), 0);
	assert_false(mounts_is_over(m, v1, 1));
	(void)mounts_drop(m, v1, "name", "a");
	assert_true(mounts_is_over(m, v1, 0));
	assert_int_equal(mounts_set_leased(m, v1, false), 0);
	assert_false(mounts_leased(m, v1));
	assert_false(mounts_is_over(m, v1, 1));
}

static void a_lease_that_nobody_counted_on_is_kept_for_a_while(void **state)
{
	struct mounts *m = *state;

	assert_int_equal(mounts_set_leased(m, v1, true), 0);
	assert_false(mounts_is_over(m, v1, 3));
	assert_false(mounts_is_over(m, v1, 3));
	assert_false(mounts_is_over(m, v1, 0));
	assert_true(mounts_is_over(m, v1, 3));
}

static struct mounts *copy_of(struct mounts *m, struct id128 now)
{
	_cleanup_json_ struct json_object *o = mounts_write(m, boot);
	struct mounts *copy;

	assert_non_null(o);
	assert_int_equal(mounts_new(&copy), 0);
	assert_int_equal(mounts_read(copy, o, now), 0);
	return copy;
}

static void they_are_written_and_read(void **state)
{
	struct mounts *m = *state, *copy;

	assert_int_equal(mounts_set_leased(m, v1, true), 0);
	assert_int_equal(mounts_add(m, v1, "name", "old"), 0);
	mounts_activate(m);
	assert_int_equal(mounts_add(m, v1, "name", "new"), 0);
	assert_int_equal(mounts_add(m, v1, "name", "new"), 0);
	assert_int_equal(mounts_add(m, v2, "name", MOUNTS_PODMAN_ID), 0);
	copy = copy_of(m, boot);
	assert_int_equal(mounts_count(copy, v1), 3);
	assert_true(mounts_leased(copy, v1));
	assert_false(mounts_leased(copy, v2));
	mounts_free(copy);
}

static void what_is_read_is_in_doubt_but_for_podmans(void **state)
{
	struct mounts *m = *state, *copy;
	struct id128 found;

	assert_int_equal(mounts_set_leased(m, v1, true), 0);
	assert_int_equal(mounts_add(m, v1, "name", "a"), 0);
	assert_int_equal(mounts_add(m, v2, "name", MOUNTS_PODMAN_ID), 0);
	copy = copy_of(m, boot);
	assert_int_equal(mounts_count_old(copy, v1), 1);
	assert_int_equal(mounts_count_old(copy, v2), 0);
	assert_true(mounts_find(copy, "name", "a", &found) && id128_equal(found, v1));
	assert_false(mounts_is_over(copy, v1, 0));
	mounts_free(copy);
	(void)mounts_drop(m, v1, "name", "a");
	copy = copy_of(m, boot);
	assert_true(mounts_is_over(copy, v1, 0) && mounts_ending(copy, v1));
	mounts_free(copy);
}

static void after_a_reboot_nothing_is_mounted_and_leases_are_over(void **state)
{
	struct mounts *m = *state, *copy;

	assert_int_equal(mounts_set_leased(m, v1, true), 0);
	assert_int_equal(mounts_add(m, v1, "name", "a"), 0);
	copy = copy_of(m, (struct id128){ 4, 4 });
	assert_int_equal(mounts_count(copy, v1), 0);
	assert_true(mounts_is_over(copy, v1, 0));
	mounts_free(copy);
}

static void what_they_did_not_write_is_refused_as_a_whole(void **state)
{
	static const char *const bad[] = {"{}", "[]", "{\"boot\":\"x\"}",
		"{\"boot\":\"x\",\"volumes\":[7]}",
		"{\"boot\":\"x\",\"volumes\":[{\"dataset\":\"x\",\"mounts\":[]}]}",
		"{\"boot\":\"00000000-0000-0003-0000-000000000003\",\"volumes\":[{\"dataset\":"
		"\"00000000-0000-0001-0000-000000000001\",\"leased\":true,\"mounts\":[{\"id\":"
		"\"a\",\"count\":0}]}]}"};
	char error[JSONIN_ERROR_MAX];
	struct mounts *m = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_json_ struct json_object *o = NULL;

		assert_int_equal(jsonin_parse(bad[i], strlen(bad[i]), &o, error), 0);
		assert_int_equal(mounts_read(m, o, boot), -EBADMSG);
		assert_int_equal(mounts_count(m, (struct id128){ 1, 1 }), 0);
		assert_false(mounts_leased(m, v1));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_volume_and_id_has_a_count, setup, teardown),
		cmocka_unit_test_setup_teardown(
			an_old_count_is_taken_over_by_its_id_once, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_is_given_up_is_only_what_is_old, setup, teardown),
		cmocka_unit_test_setup_teardown(one_look_in_vain_gives_nothing_up, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_was_mounted_is_found_by_the_name_of_then, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_lease_that_may_be_released_is_counted_on_again_with_the_next_mount, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_is_read_is_in_doubt_but_for_podmans, setup, teardown),
		cmocka_unit_test_setup_teardown(podmans_one_id_counts_once, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_lease_is_over_when_its_last_mount_is, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_lease_that_nobody_counted_on_is_kept_for_a_while, setup, teardown),
		cmocka_unit_test_setup_teardown(they_are_written_and_read, setup, teardown),
		cmocka_unit_test_setup_teardown(
			after_a_reboot_nothing_is_mounted_and_leases_are_over, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_they_did_not_write_is_refused_as_a_whole, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
