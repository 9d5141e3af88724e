/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include "terms.h"

static char path[] = "/tmp/flocker-test-terms-XXXXXX";

static void put(const char *text)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void what_was_written_is_read(void **state)
{
	const struct terms list[] = { { 1, 2 }, { UINT64_MAX, UINT64_MAX }, { 12345678, 6000 },
		{ 0, 0 } };
	struct terms t;

	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		assert_int_equal(terms_write(path, &list[i]), 0);
		assert_int_equal(terms_read(path, &t), 0);
		assert_int_equal(t.renewed_ms, list[i].renewed_ms);
		assert_int_equal(t.term_ms, list[i].term_ms);
	}
}

static void what_is_no_such_file_is_told(void **state)
{
	static const char *const texts[] = { "\n", "1 2\n", "00000000000000000001 0000000000000000002\n",
		"0000000000000000000x 00000000000000000002\n", "00000000000000000001x00000000000000000002\n",
		"00000000000000000001 00000000000000000002 \n" };
	struct terms t = { 7, 8 };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		put(texts[i]);
		assert_int_equal(terms_read(path, &t), -EBADMSG);
	}
	assert_int_equal(terms_read("/nonexistent/terms", &t), -ENOENT);
	assert_int_equal(t.renewed_ms, 7);
}

static void half_a_term_is_its_users(void **state)
{
	const struct terms t = { .renewed_ms = 10000, .term_ms = 6000 };

	assert_int_equal(terms_left(&t, 6000, 0, 10000), 3000);
	assert_int_equal(terms_left(&t, 6000, 0, 12999), 1);
	assert_int_equal(terms_left(&t, 6000, 0, 13000), 0);
	assert_int_equal(terms_left(&t, 6000, 0, 99000), 0);
	/* A dataset with a longer term than the shortest here; and one that control has
	 * extended. */
	assert_int_equal(terms_left(&t, 60000, 0, 13000), 27000);
	assert_int_equal(terms_left(&(struct terms){ 10000, 300000 }, 6000, 0, 13000), 147000);
	/* What was told before it had a term says nothing of it. */
	assert_int_equal(terms_left(&t, 6000, 90000, 91000), 2000);
}

static int begin(void **state)
{
	int fd = mkstemp(path);

	return fd < 0 ? -1 : close(fd);
}

static int end(void **state)
{
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_written_is_read),
		cmocka_unit_test(what_is_no_such_file_is_told),
		cmocka_unit_test(half_a_term_is_its_users),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
