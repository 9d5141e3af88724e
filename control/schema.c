/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdarg.h>
#include <time.h>

#include "failover_to.h"
#include "jsonin.h"
#include "schema_private.h"
#include "text.h"

void schema_errors_done(struct schema_errors *e)
{
	for (size_t i = 0; i < e->n; i++)
		free(e->list[i]);
	e->n = 0;
}

void dataset_create_done(struct dataset_create *d)
{
	json_object_put(d->metadata);
	d->metadata = NULL;
}

void schema_violation(struct schema_errors *e, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (e->n == SCHEMA_ERRORS_MAX)
		return;
	va_start(ap, fmt);
	n = vasprintf(&e->list[e->n], fmt, ap);
	va_end(ap);
	if (n >= 0)
		e->n++;
}

bool schema_is_object(struct json_object *v, const char *pointer, struct schema_errors *e)
{
	if (json_object_is_type(v, json_type_object))
		return true;
	schema_violation(e, "%s: must be an object", *pointer ? pointer : "/");
	return false;
}

const char *schema_pointer(const char *base, const char *key, char *buf, size_t size)
{
	size_t n = (size_t)snprintf(buf, size, "%s/", base);

	for (const char *p = key; *p && n + 3 < size; p++) {
		if (*p == '~' || *p == '/') {
			buf[n++] = '~';
			buf[n++] = *p == '~' ? '0' : '1';
		} else {
			buf[n++] = *p;
		}
	}
	buf[n] = '\0';
	return buf;
}

void schema_read_uuid(struct json_object *v, const char *pointer, struct id128 *ret,
	struct schema_errors *e)
{
	if (!json_object_is_type(v, json_type_string))
		schema_violation(e, "%s: must be a string holding a version-4 UUID", pointer);
	else if (id128_parse_v4(json_object_get_string(v), ret) < 0)
		schema_violation(e, "%s: must be a version-4 UUID of 36 characters such as "
			"12345678-90ab-4cde-8f01-234567890abc", pointer);
}

static void read_size(struct json_object *v, uint64_t *ret, struct schema_errors *e)
{
	bool negative = v && json_object_get_int64(v) < 0;

	if (!v) /* null: as if it were not there */
		return;
	if (json_object_is_type(v, json_type_double) &&
		!strpbrk(json_object_get_string(v), ".eE")) {
		schema_violation(e, "/maximum_size: must be below 2^63");
		return;
	}
	if (!json_object_is_type(v, json_type_int)) {
		schema_violation(e, "/maximum_size: must be an integer number of bytes, written without "
			     "fraction "
			     "or exponent, or null");
		return;
	}
	*ret = negative ? 0 : json_object_get_uint64(v);
	if (*ret > INT64_MAX) {
		schema_violation(e, "/maximum_size: must be below 2^63");
		return;
	}
	if (*ret < DATASET_MINIMUM_SIZE)
		schema_violation(e, "/maximum_size: must be at least %" PRIu64, DATASET_MINIMUM_SIZE);
	if (json_object_get_int64(v) % (int64_t)DATASET_SIZE_UNIT != 0)
		schema_violation(e, "/maximum_size: must be a multiple of %" PRIu64, DATASET_SIZE_UNIT);
}

void schema_check_metadata_key(const char *key, struct schema_errors *e)
{
	size_t size = strlen(key), n;

	/* Python's "$" let one line feed at the end pass in the original, and clients may rely on
	 * it. */
	if (size > 0 && key[size - 1] == '\n')
		size--;
	n = utf8_count(key, size);
	if (n == 0 || n > SCHEMA_TEXT_MAX || memchr(key, '\n', size))
		schema_violation(e, "/metadata: a key must have 1 to %d characters and no line feed",
			SCHEMA_TEXT_MAX);
}

void schema_check_metadata_text(const char *key, struct json_object *value, struct schema_errors *e)
{
	char pointer[SCHEMA_POINTER_MAX];

	schema_pointer("/metadata", key, pointer, sizeof(pointer));
	if (!json_object_is_type(value, json_type_string))
		schema_violation(e, "%s: must be a string", pointer);
	else if (utf8_count(json_object_get_string(value),
			(size_t)json_object_get_string_len(value)) > SCHEMA_TEXT_MAX)
		schema_violation(e, "%s: must have at most %d characters", pointer, SCHEMA_TEXT_MAX);
}

static void check_metadata(struct json_object *map, struct schema_errors *e)
{
	if (json_object_object_length(map) > RECORD_METADATA_MAX)
		schema_violation(e, "/metadata: must have at most %d keys", RECORD_METADATA_MAX);
	json_object_object_foreach(map, key, value) {
		schema_check_metadata_key(key, e);
		schema_check_metadata_text(key, value, e);
	}
}

static const char *metadata_text(struct json_object *map, const char *key)
{
	struct json_object *v;

	if (!json_object_object_get_ex(map, key, &v) || !json_object_is_type(v, json_type_string))
		return NULL;
	return json_object_get_string(v);
}

static void read_failover(struct json_object *map, struct failover *ret, struct schema_errors *e)
{
	const char *kind = metadata_text(map, SCHEMA_FAILOVER_KEY), *term = metadata_text(map, SCHEMA_TERM_KEY);
	int k = kind ? failover_kind_parse(kind) : (int)ret->kind;
	uint64_t s;

	if (k < 0)
		schema_violation(e, "/metadata/%s: must be manual or lease", SCHEMA_FAILOVER_KEY);
	else
		ret->kind = (enum failover_kind)k;
	if (!term)
		return;
	if (text_number(term, SCHEMA_TERM_MIN_S, SCHEMA_TERM_MAX_S, &s) < 0)
		schema_violation(e, "/metadata/%s: must be a number of seconds from %d to %d", SCHEMA_TERM_KEY,
			SCHEMA_TERM_MIN_S, SCHEMA_TERM_MAX_S);
	else
		ret->term_ms = (uint32_t)s * 1000;
}

static void check_failover_to(struct json_object *map, struct schema_errors *e)
{
	const char *text = metadata_text(map, FAILOVER_TO_KEY);

	if (text && failover_to_check(text) < 0)
		schema_violation(e, "/metadata/%s: must be %s, or UUIDs of nodes separated by spaces", FAILOVER_TO_KEY,
			FAILOVER_TO_ANY);
}

static void read_filesystem(struct json_object *map, enum fs_kind *ret, struct schema_errors *e)
{
	struct json_object *v;
	int kind;

	if (!json_object_object_get_ex(map, SCHEMA_FILESYSTEM_KEY, &v) ||
		!json_object_is_type(v, json_type_string))
		return;
	kind = fs_kind_parse(json_object_get_string(v));
	if (kind < 0)
		schema_violation(e, "/metadata/%s: must be ext4, xfs or btrfs", SCHEMA_FILESYSTEM_KEY);
	else
		*ret = (enum fs_kind)kind;
}

static void read_metadata(struct json_object *v, struct dataset_create *d, struct schema_errors *e)
{
	if (!schema_is_object(v, "/metadata", e))
		return;
	check_metadata(v, e);
	read_filesystem(v, &d->filesystem, e);
	read_failover(v, &d->failover, e);
	check_failover_to(v, e);
	d->metadata = json_object_get(v);
}

static void check_room(const struct dataset_create *d, struct schema_errors *e)
{
	uint64_t least = fs_minimum_size(d->filesystem);

	if (e->n == 0 && d->maximum_size && d->maximum_size < least)
		schema_violation(e,
			"/maximum_size: must be at least %" PRIu64 " for a filesystem of kind %s",
			least, fs_kind_name(d->filesystem));
}

static void unknown_key(const char *key, struct schema_errors *e)
{
	char pointer[SCHEMA_POINTER_MAX];

	schema_violation(e, "%s: is not allowed here", schema_pointer("", key, pointer, sizeof(pointer)));
}

int schema_dataset_create(struct json_object *body, enum fs_kind filesystem, struct failover failover,
	struct dataset_create *ret, struct schema_errors *e)
{
	struct dataset_create d = { .filesystem = filesystem, .failover = failover };

	if (!schema_is_object(body, "", e))
		return -EINVAL;
	json_object_object_foreach(body, key, value) {
		if (STREQ(key, "primary"))
			schema_read_uuid(value, "/primary", &d.primary, e);
		else if (STREQ(key, "dataset_id"))
			schema_read_uuid(value, "/dataset_id", &d.dataset_id, e);
		else if (STREQ(key, "maximum_size"))
			read_size(value, &d.maximum_size, e);
		else if (STREQ(key, "metadata"))
			read_metadata(value, &d, e);
		else
			unknown_key(key, e);
	}
	if (!json_object_object_get_ex(body, "primary", NULL))
		schema_violation(e, "/primary: is required: the UUID of the node that shall hold the "
			     "dataset");
	check_room(&d, e);
	if (!d.metadata)
		d.metadata = json_object_new_object();
	if (e->n > 0 || !d.metadata) {
		dataset_create_done(&d);
		return e->n > 0 ? -EINVAL : -ENOMEM;
	}
	*ret = d;
	return 0;
}

/* The original asks for no version here. */
static void read_any_uuid(struct json_object *v, const char *pointer, struct id128 *ret, struct schema_errors *e)
{
	if (!json_object_is_type(v, json_type_string) || id128_parse(json_object_get_string(v), ret) < 0)
		schema_violation(e, "%s: must be a string holding a UUID of 36 characters", pointer);
}

#define CALENDAR_END_S 253402300800.0 /* 10000-01-01 */

static void read_expires(struct json_object *v, bool *ret_endless, double *ret_seconds, struct schema_errors *e)
{
	double now = (double)time(NULL);

	*ret_endless = !v;
	*ret_seconds = json_object_get_double(v);
	if (v && !json_object_is_type(v, json_type_int) && !json_object_is_type(v, json_type_double))
		schema_violation(e, "/expires: must be a number of seconds, or null for a lease without end");
	else if (v && !(now + *ret_seconds < CALENDAR_END_S && now + *ret_seconds > 0))
		schema_violation(e, "/expires: must be a number of seconds that ends between the years 1970 and 9999");
}

int schema_lease(struct json_object *body, struct id128 *ret_dataset, struct id128 *ret_node, bool *ret_endless,
	double *ret_seconds, struct schema_errors *e)
{
	static const char *const required[] = { "dataset_id", "node_uuid", "expires" };

	if (!schema_is_object(body, "", e))
		return -EINVAL;
	json_object_object_foreach(body, key, value) {
		if (STREQ(key, "dataset_id"))
			read_any_uuid(value, "/dataset_id", ret_dataset, e);
		else if (STREQ(key, "node_uuid"))
			schema_read_uuid(value, "/node_uuid", ret_node, e);
		else if (STREQ(key, "expires"))
			read_expires(value, ret_endless, ret_seconds, e);
		else
			unknown_key(key, e);
	}
	for (size_t i = 0; i < ARRAY_SIZE(required); i++)
		if (!json_object_object_get_ex(body, required[i], NULL))
			schema_violation(e, "/%s: is required", required[i]);
	return e->n > 0 ? -EINVAL : 0;
}

int schema_dataset_update(struct json_object *body, struct id128 *ret_primary,
	struct schema_errors *e)
{
	struct id128 primary = ID128_NIL;

	if (!schema_is_object(body, "", e))
		return -EINVAL;
	json_object_object_foreach(body, key, value) {
		if (STREQ(key, "primary"))
			schema_read_uuid(value, "/primary", &primary, e);
		else
			unknown_key(key, e);
	}
	if (e->n > 0)
		return -EINVAL;
	*ret_primary = primary;
	return 0;
}
