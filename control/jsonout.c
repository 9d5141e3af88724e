/* SPDX-License-Identifier: Apache-2.0 */
#include <time.h>

#include "jsonin.h"
#include "jsonout.h"

void jsonout_done(struct jsonout *o)
{
	free(o->data);
	*o = (struct jsonout){ 0 };
}

/* Room for @more bytes, or NULL once anything has failed. */
static char *reserve(struct jsonout *o, size_t more)
{
	size_t room = o->room ?: 512;
	char *data;

	if (o->failed)
		return NULL;
	if (o->room - o->size >= more)
		return o->data + o->size;
	while (room - o->size < more)
		room *= 2;
	data = realloc(o->data, room);
	if (!data) {
		o->failed = true;
		return NULL;
	}
	o->data = data;
	o->room = room;
	return o->data + o->size;
}

static void put(struct jsonout *o, const char *bytes, size_t size)
{
	char *to = reserve(o, size);

	if (!to)
		return;
	memcpy(to, bytes, size);
	o->size += size;
}

static uint32_t decode(const unsigned char *p, unsigned int n)
{
	switch (n) {
	case 2:
		return (uint32_t)(p[0] & 0x1f) << 6 | (p[1] & 0x3f);
	case 3:
		return (uint32_t)(p[0] & 0x0f) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
	default:
		return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3f) << 12 |
		       (uint32_t)(p[2] & 0x3f) << 6 | (p[3] & 0x3f);
	}
}

static void put_escape(struct jsonout *o, uint32_t c)
{
	char text[16];
	int n;

	if (c >= 0x10000)
		n = snprintf(text, sizeof(text), "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
			0xdc00 + ((c - 0x10000) & 0x3ff));
	else
		n = snprintf(text, sizeof(text), "\\u%04x", c);
	put(o, text, (size_t)n);
}

static bool is_plain(char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static void put_special(struct jsonout *o, const char **p, const char *end)
{
	static const char controls[] = "\b\f\n\r\t\"\\", names[] = "bfnrt\"\\";
	const char *at = **p ? strchr(controls, **p) : NULL;
	unsigned int n;

	if (at) {
		put(o, (char[]){ '\\', names[at - controls] }, 2);
		(*p)++;
		return;
	}
	n = utf8_length(*p, end);
	if (n == 1)
		put_escape(o, (unsigned char)**p);
	else
		put_escape(o, n ? decode((const unsigned char *)*p, n) : 0xfffd);
	*p += n ?: 1;
}

static void put_quoted(struct jsonout *o, const char *text, size_t size)
{
	const char *end = text + size;

	put(o, "\"", 1);
	while (text < end) {
		const char *run = text;

		while (text < end && is_plain(*text))
			text++;
		put(o, run, (size_t)(text - run));
		if (text < end)
			put_special(o, &text, end);
	}
	put(o, "\"", 1);
}

static void put_key(struct jsonout *o, const char *key)
{
	if (o->comma)
		put(o, ", ", 2);
	o->comma = true;
	if (key) {
		put_quoted(o, key, strlen(key));
		put(o, ": ", 2);
	}
}

void jsonout_open(struct jsonout *o, const char *key, char bracket)
{
	put_key(o, key);
	put(o, &bracket, 1);
	o->comma = false;
}

void jsonout_close(struct jsonout *o, char bracket)
{
	put(o, &bracket, 1);
	o->comma = true;
}

void jsonout_reopen(struct jsonout *o)
{
	if (o->failed)
		return;
	o->size--;
	o->comma = o->data[o->size - 1] != '{';
}

void jsonout_text(struct jsonout *o, const char *key, const char *text)
{
	put_key(o, key);
	if (text)
		put_quoted(o, text, strlen(text));
	else
		put(o, "null", 4);
}

void jsonout_null(struct jsonout *o, const char *key)
{
	jsonout_text(o, key, NULL);
}

void jsonout_id(struct jsonout *o, const char *key, struct id128 id)
{
	jsonout_text(o, key, id128_is_nil(id) ? NULL : ID128_STR(id));
}

void jsonout_u64(struct jsonout *o, const char *key, uint64_t v)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)v);

	put_key(o, key);
	put(o, text, (size_t)n);
}

void jsonout_number(struct jsonout *o, const char *key, double v)
{
	char text[40];
	int n = snprintf(text, sizeof(text), "%.15g", v);

	if (!strpbrk(text, ".e"))
		n += snprintf(text + n, sizeof(text) - (size_t)n, ".0");
	put_key(o, key);
	put(o, text, (size_t)n);
}

void jsonout_bool(struct jsonout *o, const char *key, bool v)
{
	put_key(o, key);
	put(o, v ? "true" : "false", v ? 4 : 5);
}

void jsonout_time(struct jsonout *o, const char *key, int64_t ms)
{
	time_t seconds = (time_t)(ms / 1000);
	char date[32], text[48];
	struct tm tm;

	if (ms == 0 || !gmtime_r(&seconds, &tm) || !strftime(date, sizeof(date), "%FT%T", &tm)) {
		jsonout_null(o, key);
		return;
	}
	snprintf(text, sizeof(text), "%s.%03dZ", date, (int)(ms % 1000));
	jsonout_text(o, key, text);
}

void jsonout_strings(struct jsonout *o, const char *key, struct json_object *map)
{
	jsonout_open(o, key, '{');
	if (map) {
		json_object_object_foreach(map, name, value) {
			put_key(o, name);
			put_quoted(o, json_object_get_string(value),
				(size_t)json_object_get_string_len(value));
		}
	}
	jsonout_close(o, '}');
}

int jsonout_finish(struct jsonout *o, char **ret, size_t *ret_size)
{
	char *end = reserve(o, 1);

	if (!end) {
		jsonout_done(o);
		return -ENOMEM;
	}
	*end = '\0';
	*ret_size = o->size;
	*ret = TAKE_PTR(o->data);
	*o = (struct jsonout){ 0 };
	return 0;
}
