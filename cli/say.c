/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <wchar.h>

#include "jsonin.h"
#include "say.h"

/* The code point of the character of @n bytes at @p. */
static unsigned int code_point(const char *p, size_t n)
{
	static const unsigned char first_bits[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
	unsigned int c = (unsigned char)p[0] & first_bits[n];

	for (size_t i = 1; i < n; i++)
		c = c << 6 | ((unsigned char)p[i] & 0x3f);
	return c;
}

/* Characters that hide or turn round what stands beside them; the web page has the same ones. */
static bool deceives(unsigned int c)
{
	return c == 0xad || c == 0x61c || c == 0x200b || c == 0x200e || c == 0x200f ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff;
}

void say_text(FILE *out, const char *text)
{
	const char *end = text ? text + strlen(text) : NULL;

	while (text != end) {
		size_t n = utf8_printable(text, end);

		if (n == 0 || deceives(code_point(text, n)))
			fputc('?', out);
		else
			fwrite(text, 1, n, out);
		text += MAX(n, 1u);
	}
}

void say_json(FILE *out, const char *text)
{
	const char *end = text + strlen(text), *from = text;

	while (text != end) {
		size_t n = utf8_length(text, end);
		unsigned int c = n > 0 ? code_point(text, n) : '?';

		/* Those below are escaped already, but for the line ends between the members. */
		if (n > 0 && (c < 0x7f || c > 0x9f) && !deceives(c)) {
			text += n;
			continue;
		}
		fwrite(from, 1, (size_t)(text - from), out);
		if (n > 0)
			fprintf(out, "\\u%04x", c);
		else
			fputc('?', out);
		text += MAX(n, 1u);
		from = text;
	}
	fwrite(from, 1, (size_t)(end - from), out);
}

bool say_is_clean(const char *text)
{
	const char *end = text + strlen(text);

	while (text != end) {
		size_t n = utf8_printable(text, end);

		if (n == 0)
			return false;
		text += n;
	}
	return true;
}

int say_width(const char *text)
{
	const char *end = text + strlen(text);
	mbstate_t shift = { 0 };
	int width = 0;

	while (*text) {
		size_t length = utf8_length(text, end), n;
		wchar_t c;
		int columns;

		if (length > 0 && deceives(code_point(text, length))) {
			text += length;
			width++;
			continue;
		}
		n = mbrtowc(&c, text, MB_CUR_MAX, &shift);
		columns = n == (size_t)-1 || n == (size_t)-2 ? -1 : wcwidth(c);

		/* What is no character here prints as one '?' a byte. */
		if (columns < 0) {
			shift = (mbstate_t){ 0 };
			n = 1;
			columns = 1;
		}
		text += n;
		width += columns;
	}
	return width;
}

void say_format(FILE *out, const char *fmt, va_list ap)
{
	_cleanup_free_ char *text = NULL;

	if (vasprintf(&text, fmt, ap) < 0) {
		text = NULL;
		fputs("out of memory", out);
	} else {
		say_text(out, text);
	}
}

int say_error(int result, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("Error: ", stderr);
	va_start(ap, fmt);
	say_format(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return result;
}
