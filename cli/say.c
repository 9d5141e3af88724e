/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <wchar.h>

#include "jsonin.h"
#include "say.h"

void say_text(FILE *out, const char *text)
{
	const char *end = text ? text + strlen(text) : NULL;

	while (text != end) {
		size_t n = utf8_printable(text, end);

		if (n == 0) {
			fputc('?', out);
			text++;
			continue;
		}
		fwrite(text, 1, n, out);
		text += n;
	}
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
	mbstate_t shift = { 0 };
	int width = 0;

	while (*text) {
		wchar_t c;
		size_t n = mbrtowc(&c, text, MB_CUR_MAX, &shift);
		int columns = n == (size_t)-1 || n == (size_t)-2 ? -1 : wcwidth(c);

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
