/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any name as a file name, and with an id behind it. The input is two names with a NUL between:
 * different ones must not become one file.
 */
#include "fstree_private.h"
#include "fuzz.h"
#include "jsonin.h"

static void check(const char *file)
{
	size_t n = strnlen(file, FSTREE_NAME_MAX + 1);
	const char *end = file + n;

	PROMISE(n > 0 && n <= FSTREE_NAME_MAX && n <= 255 && file[0] != '.');
	for (const char *p = file; p < end;) {
		unsigned int length = utf8_length(p, end);

		PROMISE(length > 0 && *p != '/' && (unsigned char)*p >= 0x20 && *p != 0x7f);
		PROMISE(length != 2 || (unsigned char)p[0] != 0xc2 || (unsigned char)p[1] >= 0xa0);
		p += length;
	}
}

static void with_ids(const char *plain)
{
	static const struct id128 one = { 1, 2 }, other = { 1, 3 };
	char a[FSTREE_NAME_MAX + 1], b[FSTREE_NAME_MAX + 1];

	fs_name_add_id(plain, one, a);
	fs_name_add_id(plain, other, b);
	check(a);
	check(b);
	PROMISE(!STREQ(a, b) && !STREQ(a, plain));
	PROMISE(strlen(a) > 37 && STREQ(a + strlen(a) - 36, ID128_STR(one)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char a[FSTREE_NAME_MAX + 1], b[FSTREE_NAME_MAX + 1], with_id[FSTREE_NAME_MAX + 1];
	_cleanup_free_ char *text = fuzz_text(data, size);
	size_t n = strlen(text);
	const char *other = n < size ? text + n + 1 : "other";

	fs_name_escape(text, a);
	fs_name_escape(other, b);
	check(a);
	check(b);
	with_ids(a);
	PROMISE(STREQ(a, b) == STREQ(text, other));
	/* A plain name never stands where another's name with an id would. */
	fs_name_add_id(b, (struct id128){ 1, 2 }, with_id);
	PROMISE(!STREQ(a, with_id));
	return 0;
}
