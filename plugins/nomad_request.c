/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>

#include "jsonin.h"
#include "nomad_request.h"
#include "text.h"

#define PARAMETERS "dataset, filesystem, failover, profile, on_remove, uid, gid, mode"

static int _printf_(2, 3) refuse(char error[NOMAD_ERROR_MAX], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error, NOMAD_ERROR_MAX, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* ---- parameters ---- */

static int read_dataset(struct nomad_request *q, const char *text, char error[NOMAD_ERROR_MAX])
{
	q->dataset = text;
	return *text ? 0 :
		refuse(error, "parameter dataset: must be the name or the UUID of a dataset");
}

static int read_on_remove(struct nomad_request *q, const char *text, char error[NOMAD_ERROR_MAX])
{
	if (docker_options_take(&q->options, "on-remove", text, error) == 0)
		return 0;
	return refuse(error, "parameter on_remove: must be keep or delete, not '%.64s'", text);
}

static int read_owner(const char *key, const char *text, int64_t *ret, char error[NOMAD_ERROR_MAX])
{
	uint64_t n;

	if (text_number(text, 0, INT32_MAX, &n) < 0)
		return refuse(error, "parameter %s: must be a number, not '%.64s'", key, text);
	*ret = (int64_t)n;
	return 0;
}

static int read_uid(struct nomad_request *q, const char *text, char error[NOMAD_ERROR_MAX])
{
	return read_owner("uid", text, &q->uid, error);
}

static int read_gid(struct nomad_request *q, const char *text, char error[NOMAD_ERROR_MAX])
{
	return read_owner("gid", text, &q->gid, error);
}

static int read_mode(struct nomad_request *q, const char *text, char error[NOMAD_ERROR_MAX])
{
	size_t n = strspn(text, "01234567");

	if (text[n] || n < 3 || n > 5 || strtol(text, NULL, 8) > 07777)
		return refuse(error, "parameter mode: must be a mode such as 0750, not '%.64s'",
			text);
	q->mode = strtol(text, NULL, 8);
	return 0;
}

static const struct {
	const char *name;
	int (*read)(struct nomad_request *q, const char *text, char error[NOMAD_ERROR_MAX]);
} known[] = {
	{ "dataset", read_dataset }, { "on_remove", read_on_remove }, { "uid", read_uid },
	{ "gid", read_gid },	     { "mode", read_mode },
};

static bool is_of_docker(const char *key)
{
	return STREQ(key, "filesystem") || STREQ(key, "failover") || STREQ(key, "profile");
}

static int read_one(struct nomad_request *q, const char *key, const char *text,
	char error[NOMAD_ERROR_MAX])
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (STREQ(key, known[i].name))
			return known[i].read(q, text, error);
	if (is_of_docker(key))
		return docker_options_take(&q->options, key, text, error);
	return refuse(error, "there is no parameter '%.64s'; there are: " PARAMETERS, key);
}

int nomad_parameters_read(const char *text, struct nomad_request *ret, char error[NOMAD_ERROR_MAX])
{
	char why[JSONIN_ERROR_MAX];

	ret->options = DOCKER_OPTIONS_NONE;
	ret->uid = ret->gid = ret->mode = -1;
	if (!text || !*text)
		return 0;
	if (jsonin_parse(text, strlen(text), &ret->parameters, why) < 0)
		return refuse(error, "DHV_PARAMETERS is no JSON: %s", why);
	if (!ret->parameters) /* null */
		return 0;
	if (!json_object_is_type(ret->parameters, json_type_object))
		return refuse(error, "DHV_PARAMETERS must be an object");
	json_object_object_foreach(ret->parameters, key, value) {
		int r;

		if (!json_object_is_type(value, json_type_string))
			return refuse(error, "parameter %.64s: must be a text", key);
		r = read_one(ret, key, json_object_get_string(value), error);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- environment ---- */

static int read_capacity(const char *key, uint64_t *ret, char error[NOMAD_ERROR_MAX])
{
	const char *text = getenv(key);

	*ret = 0;
	if (text && *text && text_number(text, 0, INT64_MAX - DATASET_SIZE_UNIT, ret) < 0)
		return refuse(error, "%s must be a number of bytes, not '%.64s'", key, text);
	return 0;
}

static int read_size(struct nomad_request *q, char error[NOMAD_ERROR_MAX])
{
	int r = read_capacity("DHV_CAPACITY_MIN_BYTES", &q->min_bytes, error);

	if (r == 0)
		r = read_capacity("DHV_CAPACITY_MAX_BYTES", &q->max_bytes, error);
	if (r < 0)
		return r;
	if (q->max_bytes && q->max_bytes < q->min_bytes)
		return refuse(error, "capacity_max is less than capacity_min");
	if (nomad_size(q) && nomad_size(q) < DATASET_MINIMUM_SIZE)
		return refuse(error, "a capacity of %llu bytes is too small; the least is %s",
			(unsigned long long)(q->min_bytes ?: q->max_bytes),
			TEXT_BYTES(DATASET_MINIMUM_SIZE));
	return 0;
}

static int read_volume(struct nomad_request *q, char error[NOMAD_ERROR_MAX])
{
	const char *id = getenv("DHV_VOLUME_ID");

	if (!id || id128_parse(id, &q->id) < 0)
		return refuse(error, "DHV_VOLUME_ID must be the UUID of a volume, not '%.64s'",
			id ?: "");
	q->name = getenv("DHV_VOLUME_NAME") ?: "";
	q->space = getenv("DHV_NAMESPACE") ?: "";
	if (q->operation == NOMAD_CREATE && !*q->name)
		return refuse(error, "DHV_VOLUME_NAME must not be empty");
	if (q->operation == NOMAD_CREATE && !*q->space)
		q->space = "default";
	return nomad_parameters_read(getenv("DHV_PARAMETERS"), q, error);
}

int nomad_request_read(const char *operation, struct nomad_request *ret,
	char error[NOMAD_ERROR_MAX])
{
	*ret = (struct nomad_request){ .operation = NOMAD_FINGERPRINT };
	if (STREQ(operation, "fingerprint"))
		return 0;
	if (STREQ(operation, "create"))
		ret->operation = NOMAD_CREATE;
	else if (STREQ(operation, "delete"))
		ret->operation = NOMAD_DELETE;
	else
		return refuse(error, "'%.64s' is no operation; there are: fingerprint, create, delete", operation);
	if (read_volume(ret, error) < 0)
		return -EINVAL;
	return ret->operation == NOMAD_CREATE ? read_size(ret, error) : 0;
}

void nomad_request_done(struct nomad_request *q)
{
	json_object_put(q->parameters);
	q->parameters = NULL;
}

/* ---- what follows from it ---- */

char *nomad_dataset_name(const struct nomad_request *q)
{
	char *name;

	if (q->dataset)
		return strdup(q->dataset);
	if (STREQ(q->space, "default") || !*q->space)
		return strdup(q->name);
	return asprintf(&name, "%s.%s", q->space, q->name) < 0 ? NULL : name;
}

/* A character is at least one byte, and control counts characters. */
static void join(const char *first, const char *between, const char *last,
	char buf[NOMAD_NAME_MAX + 1])
{
	char text[NOMAD_NAME_MAX + 2]; /* by a byte more it is seen that a character may be cut */

	snprintf(text, sizeof(text), "%s%s%s", first, between, last);
	text[utf8_fit(text, NOMAD_NAME_MAX)] = '\0';
	memcpy(buf, text, NOMAD_NAME_MAX + 1);
}

void nomad_full_name(const struct nomad_request *q, char buf[NOMAD_NAME_MAX + 1])
{
	join(q->space, "/", q->name, buf);
}

void nomad_user_text(const struct nomad_request *q, char buf[NOMAD_NAME_MAX + 1])
{
	join(NOMAD_USER, "", q->name, buf);
}

uint64_t nomad_size(const struct nomad_request *q)
{
	uint64_t size = q->min_bytes ?: q->max_bytes;

	return (size + DATASET_SIZE_UNIT - 1) / DATASET_SIZE_UNIT * DATASET_SIZE_UNIT;
}

uint64_t nomad_size_told(const struct nomad_request *q, uint64_t size_bytes)
{
	return q->max_bytes && size_bytes > q->max_bytes && size_bytes - q->max_bytes < DATASET_SIZE_UNIT
		       ? q->max_bytes
		       : size_bytes;
}
