/* SPDX-License-Identifier: Apache-2.0 */
/* test_text.c - numbers of options, and lines of small files. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "text.h"

static void a_number_is_digits_within_its_range(void **state)
{
	uint64_t v = 0;

	assert_int_equal(text_number("7", 7, 9, &v), 0);
	assert_int_equal(v, 7);
	assert_int_equal(text_number("0009", 7, 9, &v), 0);
	assert_int_equal(v, 9);
	assert_int_equal(text_number("18446744073709551615", 0, UINT64_MAX, &v), 0);
	assert_true(v == UINT64_MAX);
}

static void what_is_no_number_in_range_is_refused(void **state)
{
	static const char *const bad[] = { "", " 7", "7 ", "+7", "-7", "0x7", "7s", "7.0", "6", "10",
		"18446744073709551616", "99999999999999999999999" };
	uint64_t v = 1;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(text_number(bad[i], 7, 9, &v), -EINVAL);
	assert_int_equal(text_number("18446744073709551616", 0, UINT64_MAX, &v), -EINVAL);
	assert_int_equal(v, 1);
}

static void a_line_is_read_without_what_follows(void **state)
{
	char path[] = "/tmp/flocker-text.XXXXXX", buf[8];
	int fd = mkstemp(path);

	assert_int_equal(write(fd, "one\ntwo\n", 8), 8);
	assert_int_equal(text_read_line(AT_FDCWD, path, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "one");
	assert_int_equal(text_read_line(AT_FDCWD, path, buf, 3), 0);
	assert_string_equal(buf, "on");
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(text_read_line(AT_FDCWD, path, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "");
	close(fd);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(text_read_line(AT_FDCWD, path, buf, sizeof(buf)), -ENOENT);
}

static void bytes_are_told_in_the_largest_unit_that_fits(void **state)
{
	assert_string_equal(TEXT_BYTES(0), "0 bytes");
	assert_string_equal(TEXT_BYTES(1023), "1023 bytes");
	assert_string_equal(TEXT_BYTES(1536 * MIB), "1.50 GiB");
	assert_string_equal(TEXT_BYTES(UINT64_MAX), "16384.00 PiB");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_number_is_digits_within_its_range),
		cmocka_unit_test(what_is_no_number_in_range_is_refused),
		cmocka_unit_test(bytes_are_told_in_the_largest_unit_that_fits),
		cmocka_unit_test(a_line_is_read_without_what_follows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
