/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>

#include "import_json.h"
#include "jsonin.h"

#define CLASS_KEY "$__class__$"

static void append(char *buf, size_t size, size_t *n, char c)
{
	if (*n + 1 < size)
		buf[(*n)++] = c;
}

static void append_key(const char *key, char *buf, size_t size, size_t *n)
{
	append(buf, size, n, '/');
	for (; *key; key++) {
		if (*key == '~' || *key == '/') {
			append(buf, size, n, '~');
			append(buf, size, n, *key == '~' ? '0' : '1');
		} else {
			append(buf, size, n, *key);
		}
	}
}

static void append_place(const struct place *p, char *buf, size_t size, size_t *n)
{
	char number[24];

	if (!p->up)
		return;
	append_place(p->up, buf, size, n);
	snprintf(number, sizeof(number), "%zu", p->index);
	append_key(p->key ?: number, buf, size, n);
}

const char *place_text(const struct place *p, char *buf, size_t size)
{
	size_t n = 0;

	append_place(p, buf, size, &n);
	if (n == 0)
		append(buf, size, &n, '/');
	buf[n] = '\0';
	return buf;
}

void printable(const char *text, char *buf, size_t size)
{
	const char *end = text + strlen(text);
	size_t n = 0;

	while (text < end) {
		unsigned int length = utf8_printable(text, end);

		if (n + MAX(length, 1U) >= size)
			break;
		if (length == 0) {
			buf[n++] = '?';
			text += MAX(utf8_length(text, end), 1U);
			continue;
		}
		memcpy(buf + n, text, length);
		n += length;
		text += length;
	}
	buf[n] = '\0';
}

int place_wrong(const struct place *p, char error[IMPORT_ERROR_MAX], const char *fmt, ...)
{
	char pointer[256], raw[IMPORT_ERROR_MAX];
	va_list ap;
	size_t n;

	n = (size_t)snprintf(raw, sizeof(raw), "%s: ", place_text(p, pointer, sizeof(pointer)));
	va_start(ap, fmt);
	vsnprintf(raw + n, sizeof(raw) - n, fmt, ap);
	va_end(ap);
	printable(raw, error, IMPORT_ERROR_MAX);
	return -EBADMSG;
}

static struct json_object *find(const struct place *p, const char *key)
{
	struct json_object *v = NULL;

	(void)json_object_object_get_ex(p->value, key, &v);
	return v;
}

int place_is_class(const struct place *p, const char *name, char error[IMPORT_ERROR_MAX])
{
	struct json_object *class;

	if (!json_object_is_type(p->value, json_type_object))
		return place_wrong(p, error, "must be an object of class %s", name);
	class = find(p, CLASS_KEY);
	if (!json_object_is_type(class, json_type_string))
		return place_wrong(p, error, "must have the key " CLASS_KEY " with the value %s", name);
	if (!STREQ(json_object_get_string(class), name))
		return place_wrong(p, error, "must be of class %s, and not of %s", name,
			json_object_get_string(class));
	return 0;
}

int place_member(const struct place *p, const char *key, struct place *ret, char error[IMPORT_ERROR_MAX])
{
	struct json_object *v;

	if (!json_object_object_get_ex(p->value, key, &v))
		return place_wrong(p, error, "the key %s is missing", key);
	*ret = (struct place){ .up = p, .key = key, .value = v };
	return 0;
}

int place_string(const struct place *p, const char **ret, char error[IMPORT_ERROR_MAX])
{
	if (!json_object_is_type(p->value, json_type_string))
		return place_wrong(p, error, "must be a string");
	*ret = json_object_get_string(p->value);
	return 0;
}

int place_bool(const struct place *p, bool *ret, char error[IMPORT_ERROR_MAX])
{
	if (!json_object_is_type(p->value, json_type_boolean))
		return place_wrong(p, error, "must be true or false");
	*ret = json_object_get_boolean(p->value);
	return 0;
}

int place_uuid_text(const struct place *p, struct id128 *ret, char error[IMPORT_ERROR_MAX])
{
	struct id128 id;

	if (!json_object_is_type(p->value, json_type_string) ||
		id128_parse(json_object_get_string(p->value), &id) < 0 || id128_is_nil(id))
		return place_wrong(p, error, "must be the 36 characters of a UUID");
	*ret = id;
	return 0;
}

int place_uuid(const struct place *p, struct id128 *ret, char error[IMPORT_ERROR_MAX])
{
	struct place hex;
	int r = place_is_class(p, "UUID", error);

	if (r == 0)
		r = place_member(p, "hex", &hex, error);
	return r < 0 ? r : place_uuid_text(&hex, ret, error);
}

int place_items(const struct place *p, int (*fn)(const struct place *item, void *userdata), void *userdata,
	char error[IMPORT_ERROR_MAX])
{
	if (!json_object_is_type(p->value, json_type_array))
		return place_wrong(p, error, "must be a list");
	for (size_t i = 0; i < json_object_array_length(p->value); i++) {
		struct place item = { .up = p, .index = i,
			.value = json_object_array_get_idx(p->value, i) };
		int r = fn(&item, userdata);

		if (r < 0)
			return r;
	}
	return 0;
}

struct pairs {
	int (*fn)(const struct place *key, const struct place *value, void *userdata);
	void *userdata;
	char *error;
};

static int on_pair(const struct place *item, void *userdata)
{
	const struct pairs *pairs = userdata;
	struct place part[2];

	if (!json_object_is_type(item->value, json_type_array) || json_object_array_length(item->value) != 2)
		return place_wrong(item, pairs->error, "must be a pair: a key and its value");
	for (size_t i = 0; i < 2; i++)
		part[i] = (struct place){ .up = item, .index = i,
			.value = json_object_array_get_idx(item->value, i) };
	return pairs->fn(&part[0], &part[1], pairs->userdata);
}

int place_pairs(const struct place *p,
	int (*fn)(const struct place *key, const struct place *value, void *userdata), void *userdata,
	char error[IMPORT_ERROR_MAX])
{
	struct pairs pairs = { fn, userdata, error };
	struct place values;
	int r = place_is_class(p, "PMap", error);

	if (r == 0)
		r = place_member(p, "values", &values, error);
	return r < 0 ? r : place_items(&values, on_pair, &pairs, error);
}
