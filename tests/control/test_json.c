/* SPDX-License-Identifier: Apache-2.0 */
#include "cm.h"
#include "jsonin.h"
#include "jsonout.h"

static int parse(const char *text, struct json_object **ret)
{
	char error[JSONIN_ERROR_MAX] = "";
	int r = jsonin_parse(text, strlen(text), ret, error);

	assert_true(r == 0 || error[0]);
	return r;
}

static void good(const char *text, const char *plain)
{
	_cleanup_json_ struct json_object *v = NULL;

	if (parse(text, &v) != 0)
		fail_msg("refused: %s", text);
	assert_string_equal(json_object_to_json_string_ext(
				    v, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
		plain);
}

static void what_the_grammar_allows_is_read(void **state)
{
	good("null", "null");
	good(" \t\r\n{ } ", "{}");
	good("[1, -2,true,false,null,\"x\",{\"a\":[]}]", "[1,-2,true,false,null,\"x\",{\"a\":[]}]");
	good("\"\\u0041\\n\\/\\\"\"", "\"A\\n/\\\"\"");
	good("\"\\ud834\\udd1e\"", "\"\xf0\x9d\x84\x9e\"");
	good("0", "0");
	good("-0", "0");
	good("1.50", "1.50");
	good("1e9", "1e9");
	good("18446744073709551615", "18446744073709551615");
	good("18446744073709551616", "18446744073709551616");
	good("-9223372036854775808", "-9223372036854775808");
}

static void what_it_does_not_allow_is_refused(void **state)
{
	static const char *const bad[] = { "", " ", "nul", "nulL", "tru", "01", "-", "+1", "1.",
		".5", "1e", "1e+", "0x1", "NaN", "Infinity", "-Infinity", "[", "]", "[1", "[1,",
		"[1,]", "[1 2]", "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,}", "{a:1}",
		"{\"a\" 1}", "{'a':1}", "{1:2}", "\"", "\"a", "\"\\", "\"\\x\"", "\"\\u12\"",
		"\"\\u123g\"", "\"\t\"", "1 2", "{} x", "\xef\xbb\xbf{}", "\"\xff\"",
		"\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\"",
		"\"\\u0000\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"",
		"{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}", "/**/1" };
	struct json_object *v = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (parse(bad[i], &v) != -EBADMSG)
			fail_msg("accepted: %s", bad[i]);
		assert_null(v);
	}
}

static void a_byte_string_may_end_anywhere(void **state)
{
	static const char text[] = "{\"a\": [1.5e3, \"\\ud834\\udd1e \xf0\x9d\x84\x9e\", true, "
				   "null]}";
	char error[JSONIN_ERROR_MAX];
	struct json_object *v = NULL;

	for (size_t n = 0; n < sizeof(text) - 1; n++) {
		char *exact = malloc(n ?: 1); /* so that a sanitizer sees one byte too far */

		memcpy(exact, text, n);
		assert_int_equal(jsonin_parse(exact, n, &v, error), -EBADMSG);
		free(exact);
	}
}

static void depth_is_limited(void **state)
{
	_cleanup_json_ struct json_object *v = NULL;
	char text[2 * JSONIN_DEPTH_MAX + 3];
	struct json_object *none = NULL;

	for (size_t levels = JSONIN_DEPTH_MAX; levels <= JSONIN_DEPTH_MAX + 1; levels++) {
		memset(text, '[', levels);
		memset(text + levels, ']', levels);
		text[2 * levels] = '\0';
		if (levels == JSONIN_DEPTH_MAX)
			assert_int_equal(parse(text, &v), 0);
		else
			assert_int_equal(parse(text, &none), -EBADMSG);
	}
}

static void numbers_keep_how_they_were_written(void **state)
{
	static const struct {
		const char *text;
		enum json_type type;
	} rows[] = { { "67108864", json_type_int }, { "67108864.0", json_type_double },
		{ "1e9", json_type_double }, { "99999999999999999999", json_type_double } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_json_ struct json_object *v = NULL;

		assert_int_equal(parse(rows[i].text, &v), 0);
		assert_int_equal(json_object_get_type(v), rows[i].type);
		assert_string_equal(json_object_get_string(v), rows[i].text);
	}
}

static void what_is_written_is_ascii_and_reads_back(void **state)
{
	static const char text[] = "caf\xc3\xa9 \xf0\x9d\x84\x9e \"\\/\b\f\n\r\t\x01\x7f";
	_cleanup_json_ struct json_object *v = NULL;
	struct jsonout o = { 0 };
	_cleanup_free_ char *out = NULL;
	size_t size;

	jsonout_open(&o, NULL, '{');
	jsonout_text(&o, text, text);
	jsonout_open(&o, "list", '[');
	jsonout_u64(&o, NULL, UINT64_MAX);
	jsonout_bool(&o, NULL, false);
	jsonout_null(&o, NULL);
	jsonout_close(&o, ']');
	jsonout_id(&o, "nil", ID128_NIL);
	jsonout_time(&o, "time", 1767225599123);
	jsonout_close(&o, '}');
	assert_int_equal(jsonout_finish(&o, &out, &size), 0);
	assert_int_equal(strlen(out), size);
	for (size_t i = 0; i < size; i++)
		assert_in_range(out[i], 0x20, 0x7e);
	assert_int_equal(parse(out, &v), 0);
	assert_string_equal(json_object_get_string(json_object_object_get(v, text)), text);
	assert_string_equal(json_object_get_string(json_object_object_get(v, "time")),
		"2025-12-31T23:59:59.123Z");
}

static void what_is_no_utf8_is_replaced(void **state)
{
	struct jsonout o = { 0 };
	_cleanup_free_ char *out = NULL;
	size_t size;

	jsonout_text(&o, NULL, "a\xff\xc3");
	assert_int_equal(jsonout_finish(&o, &out, &size), 0);
	assert_string_equal(out, "\"a\\ufffd\\ufffd\"");
}

static void an_error_says_where(void **state)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{ "", "/: the text is cut off at byte 0" },
		{ "{} x", "/: something after the end of the value at byte 3" },
		{ "{\"a\": [1, {\"b\": tru}]}", "/a/1/b: no JSON value at byte 16" },
		{ "{\"a/~\": \"\\ud800\"}", "/a~1~0: a surrogate without its other half at byte 15" },
		{ "{\"a\": 1, \"a\": 2}", "/a: the key 'a' appears twice at byte 12" },
		{ "[[], [0, 01]]", "/1: no ',' between two values at byte 10" },
	};
	struct json_object *v;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char error[JSONIN_ERROR_MAX];

		assert_int_equal(jsonin_parse(cases[i].text, strlen(cases[i].text), &v, error), -EBADMSG);
		assert_string_equal(error, cases[i].error);
	}
}

static void of_a_long_pointer_the_end_is_told(void **state)
{
	char text[4096] = "", error[JSONIN_ERROR_MAX];
	struct json_object *v;

	for (int i = 0; i < 30; i++)
		strcat(text, "{\"a key of many letters\":");
	strcat(text, "x");
	assert_int_equal(jsonin_parse(text, strlen(text), &v, error), -EBADMSG);
	assert_true(strncmp(error, "...", 3) == 0);
	assert_non_null(strstr(error, "/a key of many letters: no JSON value at byte 750"));
}

static void levels_are_counted(void **state)
{
	_cleanup_json_ struct json_object *v = NULL;
	char error[JSONIN_ERROR_MAX];

	assert_int_equal(jsonin_parse_deep("[{}]", 4, 2, &v, error), 0);
	assert_int_equal(jsonin_parse_deep("[[{}]]", 6, 2, &v, error), -EBADMSG);
	assert_non_null(strstr(error, "more than 2 levels"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_grammar_allows_is_read),
		cmocka_unit_test(what_it_does_not_allow_is_refused),
		cmocka_unit_test(a_byte_string_may_end_anywhere),
		cmocka_unit_test(depth_is_limited),
		cmocka_unit_test(numbers_keep_how_they_were_written),
		cmocka_unit_test(what_is_written_is_ascii_and_reads_back),
		cmocka_unit_test(what_is_no_utf8_is_replaced),
		cmocka_unit_test(an_error_says_where),
		cmocka_unit_test(of_a_long_pointer_the_end_is_told),
		cmocka_unit_test(levels_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
