/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>

#include "say.h"

/*
 * The length in bytes of the character at @s, 0 where it is no UTF-8. Also 0 for C1 controls
 * (U+0080 to U+009F), which some terminals obey.
 */
static size_t utf8_length(const unsigned char *s)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t c;
	size_t n;

	if (s[0] < 0x80)
		return 1;
	n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	c = s[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = (c << 6) | (s[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) || c < 0xa0)
		return 0;
	return n;
}

static bool is_control(unsigned char c)
{
	return c < 0x20 || c == 0x7f;
}

void say_text(FILE *out, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	while (p && *p) {
		size_t n = utf8_length(p);

		if (n == 0 || is_control(*p)) {
			fputc('?', out);
			p++;
			continue;
		}
		fwrite(p, 1, n, out);
		p += n;
	}
}

bool say_is_clean(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	while (*p) {
		size_t n = utf8_length(p);

		if (n == 0 || is_control(*p))
			return false;
		p += n;
	}
	return true;
}

int say_width(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	int width = 0;

	while (*p) {
		p += MAX(utf8_length(p), (size_t)1);
		width++;
	}
	return width;
}

int say_error(int result, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	fflush(stdout);
	fputs("Error: ", stderr);
	if (n < 0) {
		text = NULL;
		fputs("out of memory", stderr);
	} else {
		say_text(stderr, text);
	}
	fputc('\n', stderr);
	return result;
}
