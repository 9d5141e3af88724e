/* SPDX-License-Identifier: Apache-2.0 */
/* Names of links and metadata keys as file names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "fstree_private.h"

#define ID "0af1e4b0-1b7d-4d53-9cb2-6a2a6a3b0c11"

static void names_are_escaped_as_little_as_needed(void **state)
{
	static const char *const pairs[][2] = {
		{ "demo", "demo" },
		{ "my data (old), 100%", "my data (old), 100%" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80" },
		{ "a/b", "a%2Fb" },
		{ "a%2Fb", "a%252Fb" },
		{ "%/", "%%2F" },
		{ "%2/", "%2%2F" },
		{ ".", "%2E" },
		{ "..", "%2E." },
		{ ".hidden.", "%2Ehidden." },
		{ "a\nb\x01\x7f", "a%0Ab%01%7F" },
		{ "\xc2\x85\xc2\xa0", "%C2%85\xc2\xa0" },
		{ "\xff\xc3", "%FF%C3" },
		{ "\xc0\xaf", "%C0%AF" },	 /* "/" in two bytes */
		{ "\xed\xa0\x80", "%ED%A0%80" }, /* half of a surrogate pair */
		{ "x@y", "x@y" },
		{ "x@" ID, "x%40" ID },
		{ "x@" ID "z", "x@" ID "z" },
		{ "", "%00" },
	};
	char escaped[FSTREE_NAME_MAX + 1];

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		fs_name_escape(pairs[i][0], escaped);
		assert_string_equal(escaped, pairs[i][1]);
	}
}

static int digit(char c)
{
	return c <= '9' ? c - '0' : c - 'A' + 10;
}

static bool is_digit(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F');
}

static void unescape(const char *s, char *ret)
{
	for (; *s; s++) {
		if (*s == '%' && is_digit(s[1]) && is_digit(s[2])) {
			*ret++ = (char)(digit(s[1]) << 4 | digit(s[2]));
			s += 2;
		} else {
			*ret++ = *s;
		}
	}
	*ret = '\0';
}

static void escaped_names_can_be_read_back(void **state)
{
	static const char alphabet[] = "%%/.@AF09af\n\xc3\xa4\xff\xc2\x85";
	char name[32], escaped[FSTREE_NAME_MAX + 1], back[FSTREE_NAME_MAX + 1];
	unsigned int random = 1;

	for (int round = 0; round < 200000; round++) {
		size_t n = 0;

		for (n = 0; n < 1 + (random >> 16) % 8; n++) {
			random = random * 1103515245 + 12345;
			name[n] = alphabet[(random >> 16) % (sizeof(alphabet) - 1)];
		}
		name[n] = '\0';
		fs_name_escape(name, escaped);
		assert_null(strchr(escaped, '/'));
		assert_int_not_equal(escaped[0], '.');
		unescape(escaped, back);
		assert_string_equal(back, name);
	}
}

static void long_names_end_in_a_hash(void **state)
{
	char name[1100], other[FSTREE_NAME_MAX + 1], escaped[FSTREE_NAME_MAX + 1];

	memset(name, 'x', sizeof(name));
	name[255] = '\0';
	fs_name_escape(name, escaped);
	assert_string_equal(escaped, name);
	name[255] = 'y';
	name[256] = '\0';
	fs_name_escape(name, escaped);
	assert_int_equal(strlen(escaped), 255);
	assert_int_equal(escaped[255 - 17], '~');
	name[255] = 'z';
	fs_name_escape(name, other);
	assert_string_not_equal(escaped, other);
}

static void no_cut_goes_through_a_character_or_an_escape(void **state)
{
	static const char *const pieces[] = { "/", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80" };
	char name[1100], escaped[FSTREE_NAME_MAX + 1], with_id[FSTREE_NAME_MAX + 1];
	struct id128 id;

	id128_parse(ID, &id);
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		const char *piece = i == 0 ? "%2F" : pieces[i];

		for (size_t shift = 0; shift < 4; shift++) {
			strcpy(name, &"xxxx"[shift]);
			while (strlen(name) < 900)
				strcat(name, pieces[i]);
			fs_name_escape(name, escaped);
			assert_in_range(strlen(escaped), 240, 255);
			*strchr(escaped, '~') = '\0';
			assert_string_equal(escaped + strlen(escaped) - strlen(piece), piece);
			fs_name_escape(name, escaped);
			fs_name_add_id(escaped, id, with_id);
			assert_in_range(strlen(with_id), 240, 255);
			assert_string_equal(with_id + strlen(with_id) - 37, "@" ID);
		}
	}
}

static void an_id_is_added_whole(void **state)
{
	char with_id[FSTREE_NAME_MAX + 1];
	struct id128 id;

	id128_parse(ID, &id);
	fs_name_add_id("demo", id, with_id);
	assert_string_equal(with_id, "demo@" ID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_escaped_as_little_as_needed),
		cmocka_unit_test(escaped_names_can_be_read_back),
		cmocka_unit_test(long_names_end_in_a_hash),
		cmocka_unit_test(no_cut_goes_through_a_character_or_an_escape),
		cmocka_unit_test(an_id_is_added_whole),
	};

	return cmocka_run_group_tests_name("tree names", tests, NULL, NULL);
}
