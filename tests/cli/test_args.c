/* SPDX-License-Identifier: Apache-2.0 */
/* What people type at flockerctl: sizes, metadata, prefixes, times; and what may reach a terminal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "args.h"
#include "say.h"
#include "text.h"

static void sizes_are_binary_and_rounded_up_to_1024(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "10G", 10 * GIB },
		{ "1.5G", 3 * GIB / 2 },
		{ "500MiB", 500 * MIB },
		{ "500mb", 500 * MIB },
		{ "64m", 64 * MIB },
		{ "1K", 1024 },
		{ "1", 1024 },
		{ "1b", 1024 },
		{ "1025", 2048 },
		{ "1.0001K", 2048 },
		{ "0.1K", 1024 },
		{ "1.1G", 1181116416 }, /* 1181116006.4, up to the next 1024 */
		{ "2T", 2048 * GIB },
		{ "1P", 1024 * 1024 * GIB },
		{ "0000000000000000000000000000001K", 1024 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		uint64_t bytes = 0;

		assert_int_equal(text_size(good[i].text, &bytes), 0);
		assert_int_equal(bytes, good[i].bytes);
	}
}

static void what_is_no_size_is_refused(void **state)
{
	static const char *const bad[] = { "", "G", "-1G", "+1G", " 1G", "1 G", "1.G", ".5G", "1.5",
		"1.5.5G", "1,5G", "10X", "10GG", "10Gi", "10iB", "1e3", "0x10", "0", "0.0G", "10G ",
		"1.00000000000000000000001G", "10Kb/s" };
	static const char *const huge[] = { "8192P", "9223372036854775807", "99999999999999999999",
		"99999999999999999999999999999999999999999999999999999999999" };
	uint64_t bytes = 42;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(text_size(bad[i], &bytes), -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(huge); i++)
		assert_int_equal(text_size(huge[i], &bytes), -ERANGE);
	assert_int_equal(bytes, 42);
}

static void metadata_is_pairs(void **state)
{
	struct json_object *o = json_object_new_object();
	const char *problem = NULL;

	assert_int_equal(args_metadata("a=b,c=d=e,f=", o, &problem), 0);
	assert_int_equal(args_metadata("g=h", o, &problem), 0);
	assert_string_equal(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN),
		"{\"a\":\"b\",\"c\":\"d=e\",\"f\":\"\",\"g\":\"h\"}");
	assert_int_equal(args_metadata("a=x", o, &problem), -EEXIST);
	assert_int_equal(args_metadata("", o, &problem), -EINVAL);
	assert_int_equal(args_metadata("word", o, &problem), -EINVAL);
	assert_int_equal(args_metadata("=x", o, &problem), -EINVAL);
	assert_int_equal(args_metadata("i=j,", o, &problem), -EINVAL);
	assert_int_equal(args_metadata("k=\033[31m", o, &problem), -EINVAL);
	assert_int_equal(args_metadata("l=\xff", o, &problem), -EINVAL);
	json_object_put(o);
}

static void a_prefix_or_a_whole_name_means_one(void **state)
{
	static const struct candidate c[] = {
		{ "11111111-0000-4000-8000-000000000000", "127.0.0.1" },
		{ "11112222-0000-4000-8000-000000000000", "127.0.0.2" },
		{ "abcd0000-0000-4000-8000-000000000000", "1111" },
		{ "abcd1111-0000-4000-8000-000000000000", NULL },
		{ "ef000000-0000-4000-8000-000000000000", "twice" },
		{ "ef110000-0000-4000-8000-000000000000", "twice" },
	};

	assert_int_equal(args_match("11111", c, ARRAY_SIZE(c)), 0);
	assert_int_equal(args_match("11112222-0000-4000-8000-000000000000", c, ARRAY_SIZE(c)), 1);
	assert_int_equal(args_match("127.0.0.2", c, ARRAY_SIZE(c)), 1);
	assert_int_equal(args_match("ABCD1", c, ARRAY_SIZE(c)), 3);
	assert_int_equal(args_match("127.0.0", c, ARRAY_SIZE(c)), -ENOENT);
	assert_int_equal(args_match("1111", c, ARRAY_SIZE(c)), -ENOTUNIQ); /* two ids and a name */
	assert_int_equal(args_match("twice", c, ARRAY_SIZE(c)), -ENOTUNIQ);
	assert_int_equal(args_match("", c, ARRAY_SIZE(c)), -ENOENT);
	assert_int_equal(
		args_match("ef000000-0000-4000-8000-0000000000000", c, ARRAY_SIZE(c)), -ENOENT);
	assert_int_equal(args_match("1", c, 0), -ENOENT);
}

static void seconds_are_plain_numbers(void **state)
{
	uint64_t ms = 42;

	assert_int_equal(args_seconds("0.5", &ms), 0);
	assert_int_equal(ms, 500);
	assert_int_equal(args_seconds("120", &ms), 0);
	assert_int_equal(ms, 120000);
	assert_int_equal(args_seconds("", &ms), -EINVAL);
	assert_int_equal(args_seconds("-1", &ms), -EINVAL);
	assert_int_equal(args_seconds("2m", &ms), -EINVAL);
	assert_int_equal(args_seconds("0x10", &ms), -EINVAL);
	assert_int_equal(args_seconds("nan", &ms), -EINVAL);
	assert_int_equal(args_seconds("99999999999", &ms), -ERANGE);
}

static void foreign_text_cannot_drive_a_terminal(void **state)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	say_text(f,
		"a\033[31m\r\nb\xc2\x9b"
		"c\xff\xc3\xa9");
	fclose(f);
	assert_string_equal(text, "a?[31m??b??c?\xc3\xa9");
	free(text);
}

static void durations_have_units(void **state)
{
	static const struct {
		const char *text;
		uint64_t seconds;
	} good[] = { { "0", 0 }, { "90", 90 }, { "90s", 90 }, { "15m", 900 }, { "2h", 7200 },
		{ "7d", 604800 }, { "1w", 604800 } };
	static const char *const bad[] = { "", "s", "-1", "1.5h", "1x", "1hm", "1 h", "h1" };
	uint64_t s;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(args_duration(good[i].text, &s), 0);
		assert_int_equal(s, good[i].seconds);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(args_duration(bad[i], &s), -EINVAL);
	assert_int_equal(args_duration("99999999999999999999", &s), -ERANGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations_have_units),
		cmocka_unit_test(sizes_are_binary_and_rounded_up_to_1024),
		cmocka_unit_test(what_is_no_size_is_refused),
		cmocka_unit_test(metadata_is_pairs),
		cmocka_unit_test(a_prefix_or_a_whole_name_means_one),
		cmocka_unit_test(seconds_are_plain_numbers),
		cmocka_unit_test(foreign_text_cannot_drive_a_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
