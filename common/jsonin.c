/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>

#include "jsonin.h"

#define WHAT_MAX 128
#define KEY_SHOWN_MAX 40

struct reader {
	const char *start, *p, *end;
	char *scratch; /* decoded strings; no longer than the text */
	unsigned int depth, depth_max;
	char what[WHAT_MAX]; /* is wrong */
	char pointer[JSONIN_ERROR_MAX - WHAT_MAX - 4]; /* to the place, made from its end as the readers return */
};

static int read_value(struct reader *in, struct json_object **ret);

unsigned int utf8_length(const char *p, const char *end)
{
	const unsigned char *s = (const unsigned char *)p;
	size_t left = (size_t)(end - p);

	if (left >= 1 && s[0] < 0x80)
		return 1;
	if (left >= 2 && s[0] >= 0xc2 && s[0] <= 0xdf && (s[1] & 0xc0) == 0x80)
		return 2;
	if (left >= 3 && (s[0] & 0xf0) == 0xe0 && (s[1] & 0xc0) == 0x80 && (s[2] & 0xc0) == 0x80) {
		bool overlong = s[0] == 0xe0 && s[1] < 0xa0;
		bool surrogate = s[0] == 0xed && s[1] > 0x9f;

		return overlong || surrogate ? 0 : 3;
	}
	if (left >= 4 && s[0] >= 0xf0 && s[0] <= 0xf4 && (s[1] & 0xc0) == 0x80 &&
		(s[2] & 0xc0) == 0x80 && (s[3] & 0xc0) == 0x80) {
		bool overlong = s[0] == 0xf0 && s[1] < 0x90;
		bool beyond = s[0] == 0xf4 && s[1] > 0x8f;

		return overlong || beyond ? 0 : 4;
	}
	return 0;
}

unsigned int utf8_printable(const char *p, const char *end)
{
	const unsigned char *s = (const unsigned char *)p;
	unsigned int n = utf8_length(p, end);

	if (n == 1 && (s[0] < 0x20 || s[0] == 0x7f))
		return 0;
	return n == 2 && s[0] == 0xc2 && s[1] < 0xa0 ? 0 : n;
}

size_t utf8_fit(const char *text, size_t max)
{
	size_t n = strnlen(text, max + 1);

	if (n <= max)
		return n;
	for (n = max; n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80;)
		n--;
	return n;
}

size_t utf8_count(const char *text, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < size; i++)
		n += ((unsigned char)text[i] & 0xc0) != 0x80;
	return n;
}

static int _printf_(2, 3) bad(struct reader *in, const char *fmt, ...)
{
	char what[96];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(in->what, sizeof(in->what), "%s at byte %zu", what, (size_t)(in->p - in->start));
	return -EBADMSG;
}

static void point_at(struct reader *in, const char *text)
{
	size_t n = strlen(text), have = strlen(in->pointer);

	if (have + n >= sizeof(in->pointer) - 3) { /* its beginning is left out */
		if (strncmp(in->pointer, "...", 3) == 0)
			return;
		text = "...";
		n = 3;
	}
	memmove(in->pointer + n, in->pointer, have + 1);
	memcpy(in->pointer, text, n);
}

static void point_at_key(struct reader *in, const char *key)
{
	char text[2 * KEY_SHOWN_MAX + 2] = "/", *out = text + 1;

	for (size_t i = 0, n = utf8_fit(key, KEY_SHOWN_MAX); i < n; i++) {
		bool escaped = key[i] == '~' || key[i] == '/';

		if (escaped)
			*out++ = '~';
		*out++ = key[i] == '~' ? '0' : key[i] == '/' ? '1' : key[i];
	}
	*out = '\0';
	point_at(in, text);
}

static void skip_blanks(struct reader *in)
{
	while (in->p < in->end &&
		(*in->p == ' ' || *in->p == '\t' || *in->p == '\n' || *in->p == '\r'))
		in->p++;
}

static bool take(struct reader *in, char c)
{
	if (in->p >= in->end || *in->p != c)
		return false;
	in->p++;
	return true;
}

static int read_word(struct reader *in, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(in->end - in->p) < len || memcmp(in->p, word, len) != 0)
		return bad(in, "no JSON value");
	in->p += len;
	return 0;
}

static int read_hex4(struct reader *in, uint32_t *ret)
{
	uint32_t v = 0;

	if (in->end - in->p < 4)
		return bad(in, "an escape sequence is cut off");
	for (int i = 0; i < 4; i++) {
		char c = in->p[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint32_t)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			v = v << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
		else
			return bad(in, "an escape sequence without four hexadecimal digits");
	}
	in->p += 4;
	*ret = v;
	return 0;
}

static char *put_utf8(char *out, uint32_t c)
{
	if (c < 0x80) {
		*out++ = (char)c;
	} else if (c < 0x800) {
		*out++ = (char)(0xc0 | c >> 6);
		*out++ = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		*out++ = (char)(0xe0 | c >> 12);
		*out++ = (char)(0x80 | (c >> 6 & 0x3f));
		*out++ = (char)(0x80 | (c & 0x3f));
	} else {
		*out++ = (char)(0xf0 | c >> 18);
		*out++ = (char)(0x80 | (c >> 12 & 0x3f));
		*out++ = (char)(0x80 | (c >> 6 & 0x3f));
		*out++ = (char)(0x80 | (c & 0x3f));
	}
	return out;
}

/* After "\u": one character, or two escapes that are one. */
static int read_unicode(struct reader *in, char **out)
{
	uint32_t c, low;
	int r;

	r = read_hex4(in, &c);
	if (r < 0)
		return r;
	if (c == 0)
		return bad(in, "a NUL character in a string");
	if (c >= 0xdc00 && c <= 0xdfff)
		return bad(in, "a surrogate without its other half");
	if (c >= 0xd800 && c <= 0xdbff) {
		if (!take(in, '\\') || !take(in, 'u'))
			return bad(in, "a surrogate without its other half");
		r = read_hex4(in, &low);
		if (r < 0)
			return r;
		if (low < 0xdc00 || low > 0xdfff)
			return bad(in, "a surrogate without its other half");
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	}
	*out = put_utf8(*out, c);
	return 0;
}

static int read_escape(struct reader *in, char **out)
{
	static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
	const char *at;

	if (in->p >= in->end)
		return bad(in, "a string is cut off");
	if (take(in, 'u'))
		return read_unicode(in, out);
	at = *in->p ? strchr(names, *in->p) : NULL;
	if (!at)
		return bad(in, "an unknown escape sequence");
	in->p++;
	*(*out)++ = values[at - names];
	return 0;
}

/* Decodes into the scratch buffer, which the next string overwrites. */
static int read_string(struct reader *in, size_t *ret_size)
{
	char *out = in->scratch;
	int r;

	if (!take(in, '"'))
		return bad(in, "no string");
	for (;;) {
		unsigned int n;

		if (in->p >= in->end)
			return bad(in, "a string is cut off");
		if (take(in, '"'))
			break;
		if (take(in, '\\')) {
			r = read_escape(in, &out);
			if (r < 0)
				return r;
			continue;
		}
		if ((unsigned char)*in->p < 0x20)
			return bad(in, "a control character in a string");
		n = utf8_length(in->p, in->end);
		if (n == 0)
			return bad(in, "text that is not UTF-8");
		memcpy(out, in->p, n);
		out += n;
		in->p += n;
	}
	*out = '\0';
	*ret_size = (size_t)(out - in->scratch);
	return 0;
}

static int read_digits(struct reader *in)
{
	const char *first = in->p;

	while (in->p < in->end && *in->p >= '0' && *in->p <= '9')
		in->p++;
	return in->p > first ? 0 : bad(in, "a number without digits");
}

static struct json_object *make_number(const char *text, bool integer)
{
	char *end;

	errno = 0;
	if (integer && *text == '-') {
		int64_t v = strtoll(text, &end, 10);

		if (errno == 0)
			return json_object_new_int64(v);
	} else if (integer) {
		uint64_t v = strtoull(text, &end, 10);

		if (errno == 0)
			return v <= INT64_MAX ? json_object_new_int64((int64_t)v)
					      : json_object_new_uint64(v);
	}
	return json_object_new_double_s(strtod(text, &end), text);
}

static int read_number(struct reader *in, struct json_object **ret)
{
	const char *first = in->p;
	bool integer = true;
	size_t size;
	int r;

	take(in, '-');
	if (!take(in, '0') && (r = read_digits(in)) < 0)
		return r;
	if (take(in, '.')) {
		integer = false;
		if ((r = read_digits(in)) < 0)
			return r;
	}
	if (take(in, 'e') || take(in, 'E')) {
		integer = false;
		if (!take(in, '+'))
			take(in, '-');
		if ((r = read_digits(in)) < 0)
			return r;
	}
	size = (size_t)(in->p - first);
	memcpy(in->scratch, first, size);
	in->scratch[size] = '\0';
	*ret = make_number(in->scratch, integer);
	return *ret ? 0 : -ENOMEM;
}

static int read_member(struct reader *in, struct json_object *object)
{
	_cleanup_json_ struct json_object *value = NULL;
	_cleanup_free_ char *key = NULL;
	size_t size;
	int r;

	skip_blanks(in);
	r = read_string(in, &size);
	if (r < 0)
		return r;
	if (json_object_object_get_ex(object, in->scratch, NULL)) {
		point_at_key(in, in->scratch);
		return bad(in, "the key '%.*s' appears twice", (int)utf8_fit(in->scratch, KEY_SHOWN_MAX),
			in->scratch);
	}
	key = strdup(in->scratch);
	if (!key)
		return -ENOMEM;
	skip_blanks(in);
	r = take(in, ':') ? read_value(in, &value) : bad(in, "no ':' after a key");
	if (r < 0) {
		point_at_key(in, key);
		return r;
	}
	if (json_object_object_add_ex(object, key, value, JSON_C_OBJECT_ADD_KEY_IS_NEW) < 0)
		return -ENOMEM;
	(void)TAKE_PTR(value);
	return 0;
}

static int read_element(struct reader *in, struct json_object *array)
{
	_cleanup_json_ struct json_object *value = NULL;
	char index[24];
	int r;

	r = read_value(in, &value);
	if (r < 0) {
		snprintf(index, sizeof(index), "/%zu", json_object_array_length(array));
		point_at(in, index);
		return r;
	}
	if (json_object_array_add(array, value) < 0)
		return -ENOMEM;
	(void)TAKE_PTR(value);
	return 0;
}

/* After the opening bracket, up to and with the closing one. */
static int read_items(struct reader *in, struct json_object *into, char close,
	int (*item)(struct reader *in, struct json_object *into))
{
	int r;

	if (++in->depth > in->depth_max)
		return bad(in, "more than %u levels", in->depth_max);
	skip_blanks(in);
	if (!take(in, close))
		for (;;) {
			r = item(in, into);
			if (r < 0)
				return r;
			skip_blanks(in);
			if (take(in, close))
				break;
			if (!take(in, ','))
				return bad(in, in->p >= in->end ? "the text is cut off"
								: "no ',' between two values");
		}
	in->depth--;
	return 0;
}

static int read_container(struct reader *in, struct json_object *made, char close,
	int (*item)(struct reader *in, struct json_object *into), struct json_object **ret)
{
	_cleanup_json_ struct json_object *into = made;
	int r;

	if (!into)
		return -ENOMEM;
	in->p++;
	r = read_items(in, into, close, item);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(into);
	return 0;
}

static int read_text(struct reader *in, struct json_object **ret)
{
	size_t size;
	int r;

	r = read_string(in, &size);
	if (r < 0)
		return r;
	*ret = json_object_new_string_len(in->scratch, (int)size);
	return *ret ? 0 : -ENOMEM;
}

static int read_bool(struct reader *in, const char *word, bool v, struct json_object **ret)
{
	int r;

	r = read_word(in, word);
	if (r < 0)
		return r;
	*ret = json_object_new_boolean(v);
	return *ret ? 0 : -ENOMEM;
}

static int read_value(struct reader *in, struct json_object **ret)
{
	skip_blanks(in);
	if (in->p >= in->end)
		return bad(in, "the text is cut off");
	switch (*in->p) {
	case '{':
		return read_container(in, json_object_new_object(), '}', read_member, ret);
	case '[':
		return read_container(in, json_object_new_array(), ']', read_element, ret);
	case '"':
		return read_text(in, ret);
	case 't':
		return read_bool(in, "true", true, ret);
	case 'f':
		return read_bool(in, "false", false, ret);
	case 'n':
		return read_word(in, "null"); /* json-c's null is NULL */
	case '-':
	case '0' ... '9':
		return read_number(in, ret);
	default:
		return bad(in, "no JSON value");
	}
}

static int parse(struct reader *in, struct json_object **ret)
{
	_cleanup_json_ struct json_object *value = NULL;
	int r;

	r = read_value(in, &value);
	if (r < 0)
		return r;
	skip_blanks(in);
	if (in->p < in->end)
		return bad(in, "something after the end of the value");
	*ret = TAKE_PTR(value);
	return 0;
}

int jsonin_parse_deep(const char *text, size_t size, unsigned int depth_max, struct json_object **ret,
	char error[JSONIN_ERROR_MAX])
{
	_cleanup_free_ char *scratch = malloc(size + 1);
	struct reader in = { .start = text, .p = text, .end = text + size, .scratch = scratch,
		.depth_max = depth_max };
	int r;

	if (!scratch || size > INT32_MAX)
		return -ENOMEM;
	r = parse(&in, ret);
	if (r == -EBADMSG)
		snprintf(error, JSONIN_ERROR_MAX, "%s: %s", *in.pointer ? in.pointer : "/", in.what);
	return r;
}

int jsonin_parse(const char *text, size_t size, struct json_object **ret,
	char error[JSONIN_ERROR_MAX])
{
	return jsonin_parse_deep(text, size, JSONIN_DEPTH_MAX, ret, error);
}
