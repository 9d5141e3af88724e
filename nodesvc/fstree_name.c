/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fstree_name.c - any name as a file name.
 *
 * Percent-escaped are: "/", control characters (C0, DEL, C1), bytes that are no UTF-8, a leading
 * dot, a "%" that would read as an escape, and the "@" of a name that ends like one with an id. So
 * two names never become one file name, and an escaped name can be read back. A name beyond 255
 * bytes is cut and ends in "~" and 16 digits of its hash; an empty one becomes "%00".
 */
#include <ctype.h>

#include "fstree_private.h"
#include "jsonin.h"

#define HASH_SIZE 17 /* "~" and the digits */
#define ID_SIZE 37   /* "@" and the id */

static uint64_t hash_of(const char *s)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a: stable from one version to the next */

	for (; *s; s++)
		h = (h ^ (uint8_t)*s) * UINT64_C(0x100000001b3);
	return h;
}

/* How much of an escaped name fits into @room bytes without cutting a character or an escape. */
static size_t cut_before(const char *escaped, size_t room)
{
	size_t n = room;

	while (n > 0 && ((uint8_t)escaped[n] & 0xc0) == 0x80)
		n--;
	if (n >= 1 && escaped[n - 1] == '%')
		return n - 1;
	if (n >= 2 && escaped[n - 2] == '%')
		return n - 2;
	return n;
}

/* Bytes of the character at @p that may stay as they are, or 0. */
static unsigned int plain_length(const char *name, const char *p, const char *end)
{
	struct id128 id;

	switch (*p) {
	case '/':
		return 0;
	case '.':
		return p == name ? 0 : 1;
	case '%':
		return isxdigit((uint8_t)p[1]) && isxdigit((uint8_t)p[2]) ? 0 : 1;
	case '@':
		return id128_parse(p + 1, &id) == 0 ? 0 : 1;
	}
	return utf8_printable(p, end);
}

void fs_name_escape(const char *name, char ret[FSTREE_NAME_MAX + 1])
{
	const char *end = name + strlen(name);
	char out[FSTREE_NAME_MAX + 8];
	size_t len = 0;

	for (const char *p = name; p < end && len <= FSTREE_NAME_MAX;) {
		unsigned int n = plain_length(name, p, end);

		if (n > 0) {
			memcpy(out + len, p, n);
			len += n;
			p += n;
		} else {
			/* The second byte of a C1 character follows: it is no UTF-8 by itself. */
			len += (size_t)sprintf(out + len, "%%%02X", (uint8_t)*p++);
		}
	}
	if (len == 0)
		len = (size_t)sprintf(out, "%%00");
	if (len > FSTREE_NAME_MAX) {
		len = cut_before(out, FSTREE_NAME_MAX - HASH_SIZE);
		len += (size_t)sprintf(out + len, "~%016llx", (unsigned long long)hash_of(name));
	}
	memcpy(ret, out, len);
	ret[len] = '\0';
}

void fs_name_add_id(const char *escaped, struct id128 id, char ret[FSTREE_NAME_MAX + 1])
{
	size_t len = strlen(escaped);

	memcpy(ret, escaped, len + 1);
	if (len + ID_SIZE > FSTREE_NAME_MAX) {
		len = cut_before(escaped, FSTREE_NAME_MAX - ID_SIZE - HASH_SIZE);
		len += (size_t)sprintf(ret + len, "~%016llx", (unsigned long long)hash_of(escaped));
	}
	sprintf(ret + len, "@%s", ID128_STR(id));
}
