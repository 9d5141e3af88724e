/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <wchar.h>

#include "jsonin.h"
#include "say.h"

/* As utf8_length() of jsonin.h, but 0 also for U+0080 to U+009F, which some terminals obey. */
static size_t printable_length(const char *p, const char *end)
{
	bool c1 = (unsigned char)p[0] == 0xc2 && (unsigned char)p[1] < 0xa0;

	return c1 ? 0 : utf8_length(p, end);
}

static bool is_control(unsigned char c)
{
	return c < 0x20 || c == 0x7f;
}

void say_text(FILE *out, const char *text)
{
	const char *end = text ? text + strlen(text) : NULL;

	while (text != end) {
		size_t n = printable_length(text, end);

		if (n == 0 || is_control((unsigned char)*text)) {
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
		size_t n = printable_length(text, end);

		if (n == 0 || is_control((unsigned char)*text))
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
