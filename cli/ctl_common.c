/* SPDX-License-Identifier: Apache-2.0 */
#include <time.h>

#include "ctl.h"
#include "say.h"

#define SECONDS_MAX 253402300799.0 /* the end of the year 9999 */

int ctl_no_memory(void)
{
	return say_error(CTL_USAGE, "out of memory");
}

struct json_object *ctl_member(struct json_object *o, const char *key, enum json_type type)
{
	struct json_object *v;

	if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, key, &v) ||
		!json_object_is_type(v, type))
		return NULL;
	return v;
}

const char *ctl_text(struct json_object *o, const char *key)
{
	struct json_object *v = ctl_member(o, key, json_type_string);

	return v ? json_object_get_string(v) : NULL;
}

bool ctl_flag(struct json_object *o, const char *key)
{
	struct json_object *v = ctl_member(o, key, json_type_boolean);

	return v && json_object_get_boolean(v);
}

bool ctl_number(struct json_object *o, const char *key, int64_t *ret)
{
	struct json_object *v = ctl_member(o, key, json_type_int);

	if (v)
		*ret = json_object_get_int64(v);
	return v != NULL;
}

const char *ctl_dataset_name(struct json_object *dataset)
{
	return ctl_text(dataset, "name");
}

static bool same_reason(struct json_object *node, const char *reason)
{
	const char *other = ctl_text(node, "refused");

	return other && STREQ(other, reason);
}

static void warn_refused(struct json_object *nodes, size_t first, const char *reason)
{
	size_t count = 0, length = json_object_array_length(nodes);
	const char *uuid = ctl_text(json_object_array_get_idx(nodes, first), "uuid");

	for (size_t i = 0; i < first; i++)
		if (same_reason(json_object_array_get_idx(nodes, i), reason))
			return; /* said */
	for (size_t i = first; i < length; i++)
		count += same_reason(json_object_array_get_idx(nodes, i), reason);
	fprintf(stderr, "Warning: node %.8s ", uuid && say_is_clean(uuid) ? uuid : "?");
	if (count > 1)
		fprintf(stderr, "and %zu more are refused: ", count - 1);
	else
		fputs("is refused: ", stderr);
	say_text(stderr, reason);
	fputc('\n', stderr);
}

static void warn_unknown(struct json_object *node)
{
	struct json_object *ids = ctl_member(node, "unknown_datasets", json_type_array);
	const char *uuid = ctl_text(node, "uuid");

	for (size_t i = 0; ids && i < json_object_array_length(ids); i++) {
		fprintf(stderr, "Warning: node %.8s has dataset ", uuid && say_is_clean(uuid) ? uuid : "?");
		say_text(stderr, json_object_get_string(json_object_array_get_idx(ids, i)));
		fputs(", which control has no record of; it is left alone\n", stderr);
	}
}

void ctl_warn_unknown(struct json_object *nodes)
{
	for (size_t i = 0; i < json_object_array_length(nodes); i++)
		warn_unknown(json_object_array_get_idx(nodes, i));
}

void ctl_warn_backends(struct json_object *nodes)
{
	for (size_t i = 0; i < json_object_array_length(nodes); i++) {
		struct json_object *node = json_object_array_get_idx(nodes, i);
		struct json_object *backends = ctl_member(node, "backends", json_type_array);
		const char *uuid = ctl_text(node, "uuid");

		for (size_t k = 0; backends && k < json_object_array_length(backends); k++) {
			struct json_object *b = json_object_array_get_idx(backends, k);

			if (!ctl_text(b, "warning"))
				continue;
			fprintf(stderr, "Warning: node %.8s, backend ", uuid && say_is_clean(uuid) ? uuid : "?");
			say_text(stderr, ctl_text(b, "name"));
			fputs(": ", stderr);
			say_text(stderr, ctl_text(b, "warning"));
			fputc('\n', stderr);
		}
	}
}

void ctl_warn_refused(struct json_object *nodes)
{
	for (size_t i = 0; nodes && i < json_object_array_length(nodes); i++) {
		const char *reason = ctl_text(json_object_array_get_idx(nodes, i), "refused");

		if (reason)
			warn_refused(nodes, i, reason);
	}
}

void ctl_print_json(struct json_object *o)
{
	const char *text = json_object_to_json_string_ext(o,
		JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);

	say_json(stdout, text ? text : "null");
	fputc('\n', stdout);
}

static const char *colour_code(const char *state)
{
	static const char *const good[] = { "mounted", "destroyed", "live" };
	static const char *const bad[] = { "failed", "blocked", "lost", "faulty", "gone",
		"refused" };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		if (STREQ(state, good[i]))
			return "\033[32m";
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (STREQ(state, bad[i]))
			return "\033[31m";
	return "\033[33m";
}

const char *ctl_colour_of(const struct ctl *c, const char *state)
{
	return c->colour ? colour_code(state) : "";
}

const char *ctl_colour_off(const struct ctl *c)
{
	return c->colour ? "\033[0m" : "";
}

/* ".5", ".123456" as milliseconds; leaves @text behind it. */
static int take_fraction(const char **text)
{
	int ms = 0, scale = 100;

	if (**text != '.')
		return 0;
	for ((*text)++; **text >= '0' && **text <= '9'; (*text)++) {
		ms += (**text - '0') * scale;
		scale /= 10;
	}
	return ms;
}

int ctl_time(struct json_object *value, int64_t *ret_ms)
{
	struct tm tm = { 0 };
	const char *end;
	double s;
	int ms;

	if (json_object_is_type(value, json_type_int) ||
		json_object_is_type(value, json_type_double)) {
		s = json_object_get_double(value);
		if (!(s >= 0 && s <= SECONDS_MAX))
			return -EINVAL;
		*ret_ms = (int64_t)(s * 1000);
		return 0;
	}
	if (!json_object_is_type(value, json_type_string))
		return -EINVAL;
	end = strptime(json_object_get_string(value), "%Y-%m-%dT%H:%M:%S", &tm);
	if (!end)
		return -EINVAL;
	ms = take_fraction(&end);
	if (!STREQ(end, "Z"))
		return -EINVAL;
	*ret_ms = (int64_t)timegm(&tm) * 1000 + ms;
	return 0;
}

void ctl_format_moment(struct json_object *value, char *buf, size_t size)
{
	char date[32];
	time_t moment;
	struct tm tm;
	int64_t ms;

	if (ctl_time(value, &ms) == 0) {
		moment = ms / 1000;
		if (gmtime_r(&moment, &tm) && strftime(date, sizeof(date), "%F %T", &tm) > 0) {
			snprintf(buf, size, "%s.%03d UTC", date, (int)(ms % 1000));
			return;
		}
	}
	snprintf(buf, size, "%s", value ? json_object_get_string(value) : "-");
}

/* In the server's own words: {"code", "description", "errors"}, of v1 without the code, or a bare string. Of
 * its own failures its log tells more. */
int ctl_say_refusal(const struct api_answer *a)
{
	struct json_object *errors = ctl_member(a->body, "errors", json_type_array);
	const char *text = ctl_text(a->body, "description"), *code = ctl_text(a->body, "code");

	if (!text && json_object_is_type(a->body, json_type_string))
		text = json_object_get_string(a->body);
	say_error(0, "the control service %s (%d%s%s): %s", a->status < 500 ? "refused" : "failed",
		a->status, code ? " " : "", code ? code : "", text ? text : "it gave no reason");
	for (size_t i = 0; errors && i < json_object_array_length(errors); i++) {
		fputs("  ", stderr);
		say_text(stderr, json_object_get_string(json_object_array_get_idx(errors, i)));
		fputc('\n', stderr);
	}
	if (a->status >= 500 && a->request_id[0]) {
		fputs("  its log has more about request ", stderr);
		say_text(stderr, a->request_id);
		fputc('\n', stderr);
	}
	return a->status >= 500 ? CTL_SERVER : a->status == 404 ? CTL_NOT_FOUND : CTL_REFUSED;
}

int ctl_ask(struct ctl *c, const struct api_request *q, struct api_answer *ret)
{
	int r = api_call(c->api, q, ret);

	if (r == -ENOMEM)
		return ctl_no_memory();
	return r < 0 ? say_error(CTL_CONNECT, "%s", api_error(c->api)) : CTL_OK;
}

int ctl_call(struct ctl *c, const char *method, const char *path, struct json_object *body,
	enum json_type type, struct json_object **ret)
{
	const struct api_request q = { .method = method, .path = path, .body = body };
	struct api_answer a = { 0 };
	int r = ctl_ask(c, &q, &a);

	if (r != CTL_OK)
		return r;
	if (a.status >= 200 && a.status < 300 &&
		(type == json_type_null || json_object_is_type(a.body, type))) {
		*ret = a.body;
		return CTL_OK;
	}
	if (a.status < 300)
		r = say_error(CTL_CONNECT,
			"the control service's answer to %s %s makes no sense; is it of this "
			"version?",
			method, path);
	else
		r = ctl_say_refusal(&a);
	api_answer_done(&a);
	return r;
}

int ctl_say_unknown_fate(const struct ctl *c, int r, const char *command, const char *argument)
{
	if (r == CTL_CONNECT && !c->args->plan && api_was_sent(c->api))
		fprintf(stderr,
			"Whether the request was recorded is not known; flockerctl %s%s%s tells.\n",
			command, argument[0] ? " " : "", argument);
	return r;
}

struct json_object *ctl_index(struct json_object *array, const char *key)
{
	struct json_object *map = json_object_new_object();

	for (size_t i = 0; map && i < json_object_array_length(array); i++) {
		struct json_object *o = json_object_array_get_idx(array, i);
		const char *text = ctl_text(o, key);

		if (text && json_object_object_add(map, text, json_object_get(o)) < 0) {
			json_object_put(o);
			json_object_put(TAKE_PTR(map));
		}
	}
	return map;
}

void ctl_format_node(struct json_object *nodes, const char *uuid, bool long_form, char *buf,
	size_t size)
{
	struct json_object *node = uuid ? ctl_member(nodes, uuid, json_type_object) : NULL;
	const char *host = ctl_text(node, "host");

	if (node)
		snprintf(buf, size, "%.*s (%s)", long_form ? ID128_TEXT - 1 : CTL_SHORT_ID, uuid,
			host ? host : "?");
	else
		snprintf(buf, size, "<missing>");
}
