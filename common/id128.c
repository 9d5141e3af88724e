/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/random.h>

#include "id128.h"

int id128_compare(struct id128 a, struct id128 b)
{
	if (a.hi != b.hi)
		return a.hi < b.hi ? -1 : 1;
	if (a.lo != b.lo)
		return a.lo < b.lo ? -1 : 1;
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -EINVAL;
}

static bool is_dash_place(int i)
{
	return i == 8 || i == 13 || i == 18 || i == 23;
}

int id128_parse(const char *text, struct id128 *ret)
{
	uint64_t half[2] = { 0, 0 };
	int digits = 0;

	for (int i = 0; i < 36; i++) {
		int d;

		if (is_dash_place(i)) {
			if (text[i] != '-')
				return -EINVAL;
			continue;
		}
		d = hex_digit(text[i]); /* the closing NUL is no digit, so this never runs past it */
		if (d < 0)
			return -EINVAL;
		half[digits / 16] = half[digits / 16] << 4 | (uint64_t)d;
		digits++;
	}
	if (text[36] != '\0')
		return -EINVAL;

	*ret = (struct id128){ half[0], half[1] };
	return 0;
}

int id128_parse_v4(const char *text, struct id128 *ret)
{
	struct id128 id;
	int r;

	r = id128_parse(text, &id);
	if (r < 0)
		return r;
	if ((id.hi >> 12 & 0xf) != 4 || id.lo >> 62 != 2)
		return -EINVAL;

	*ret = id;
	return 0;
}

int id128_parse_loose(const char *text, struct id128 *ret)
{
	uint64_t half[2] = { 0, 0 };
	int digits = 0;

	for (; *text; text++) {
		int d = hex_digit(*text);

		if (*text == '-')
			continue;
		if (d < 0 || digits == 32)
			return -EINVAL;
		half[digits / 16] = half[digits / 16] << 4 | (uint64_t)d;
		digits++;
	}
	if (digits != 32)
		return -EINVAL;

	*ret = (struct id128){ half[0], half[1] };
	return 0;
}

char *id128_format(struct id128 id, char buf[ID128_TEXT])
{
	static const char hex[] = "0123456789abcdef";
	int digit = 0;

	for (int i = 0; i < 36; i++) {
		uint64_t half = digit < 16 ? id.hi : id.lo;

		if (is_dash_place(i)) {
			buf[i] = '-';
			continue;
		}
		buf[i] = hex[half >> (60 - 4 * (digit % 16)) & 0xf];
		digit++;
	}
	buf[36] = '\0';
	return buf;
}

struct id128 id128_make_v4(uint64_t hi, uint64_t lo)
{
	hi = (hi & ~UINT64_C(0xf000)) | UINT64_C(0x4000);
	lo = (lo & ~(UINT64_C(3) << 62)) | UINT64_C(2) << 62;
	return (struct id128){ hi, lo };
}

int id128_random(struct id128 *ret)
{
	uint64_t bits[2];

	if (getrandom(bits, sizeof(bits), 0) != sizeof(bits))
		return -errno;
	*ret = id128_make_v4(bits[0], bits[1]);
	return 0;
}
