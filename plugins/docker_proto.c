/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>

#include "docker_proto.h"
#include "jsonin.h"
#include "jsonput.h"

static const struct {
	const char *name;
	bool named; /* its body says a volume's name */
} calls[] = {
	[DOCKER_ACTIVATE] = { "Plugin.Activate", false },
	[DOCKER_CREATE] = { "VolumeDriver.Create", true },
	[DOCKER_REMOVE] = { "VolumeDriver.Remove", true },
	[DOCKER_MOUNT] = { "VolumeDriver.Mount", true },
	[DOCKER_UNMOUNT] = { "VolumeDriver.Unmount", true },
	[DOCKER_PATH] = { "VolumeDriver.Path", true },
	[DOCKER_GET] = { "VolumeDriver.Get", true },
	[DOCKER_LIST] = { "VolumeDriver.List", false },
	[DOCKER_CAPABILITIES] = { "VolumeDriver.Capabilities", false },
};
static_assert(ARRAY_SIZE(calls) == DOCKER_CALL_MAX, "the last call has no row");

const char *docker_call_name(enum docker_call call)
{
	return calls[call].name;
}

static int _printf_(3, 4) refuse(char error[DOCKER_ERROR_MAX], int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error, DOCKER_ERROR_MAX, fmt, ap);
	va_end(ap);
	return err;
}

static bool is_plain(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

bool docker_name_valid(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n > DOCKER_NAME_MAX || !is_plain(*name))
		return false;
	for (const char *p = name; *p; p++)
		if (!is_plain(*p) && !strchr("_.-", *p))
			return false;
	return true;
}

/* ---- requests ---- */

/* The text of a member: NULL when it is not there, or null. */
static int text_of(struct json_object *body, const char *key, const char **ret, char error[DOCKER_ERROR_MAX])
{
	struct json_object *v = NULL;

	(void)json_object_object_get_ex(body, key, &v);
	if (v && !json_object_is_type(v, json_type_string))
		return refuse(error, -EBADMSG, "/%s: must be a string", key);
	*ret = v ? json_object_get_string(v) : NULL;
	return 0;
}

static int check_options(struct json_object *options, char error[DOCKER_ERROR_MAX])
{
	if (!json_object_is_type(options, json_type_object))
		return refuse(error, -EBADMSG, "/Opts: must be an object or null");
	json_object_object_foreach(options, key, value)
		if (!json_object_is_type(value, json_type_string))
			return refuse(error, -EBADMSG, "/Opts/%.64s: must be a string", key);
	return 0;
}

static int read_named(struct docker_request *q, char error[DOCKER_ERROR_MAX])
{
	struct json_object *options = NULL;
	int r;

	if (!json_object_is_type(q->body, json_type_object))
		return refuse(error, -EBADMSG, "%s needs a JSON object as its body", calls[q->call].name);
	r = text_of(q->body, "Name", &q->name, error);
	if (r == 0)
		r = text_of(q->body, "ID", &q->id, error);
	if (r < 0)
		return r;
	if (!q->name || !docker_name_valid(q->name))
		return refuse(error, -EBADMSG,
			"'%.64s' is no name of a volume: it has to begin with a letter or digit, and "
			"have letters, digits and _.- only, %d at most",
			q->name ?: "", DOCKER_NAME_MAX);
	q->id = q->id ?: "";
	if (strlen(q->id) > DOCKER_NAME_MAX)
		return refuse(error, -EBADMSG, "/ID: must have %d bytes at most", DOCKER_NAME_MAX);
	(void)json_object_object_get_ex(q->body, "Opts", &options);
	if (q->call == DOCKER_CREATE)
		q->options = options;
	return q->options ? check_options(q->options, error) : 0;
}

static int read_body(struct docker_request *q, const char *body, size_t size, char error[DOCKER_ERROR_MAX])
{
	char why[JSONIN_ERROR_MAX];
	int r;

	if (size == 0)
		return refuse(error, -EBADMSG,
			"the request is empty, as it is when it was sent again after its connection broke; "
			"please repeat the command");
	r = jsonin_parse(body, size, &q->body, why);
	if (r == -EBADMSG)
		return refuse(error, r, "the request is no JSON: %s", why);
	return r < 0 ? r : read_named(q, error);
}

int docker_request_read(const char *path, const char *body, size_t size, struct docker_request *ret,
	char error[DOCKER_ERROR_MAX])
{
	struct docker_request q = { 0 };
	int r;

	path += *path == '/';
	while (q.call < DOCKER_CALL_MAX && !STREQ(path, calls[q.call].name))
		q.call++;
	if (q.call == DOCKER_CALL_MAX)
		return refuse(error, -ENOENT, "there is no call /%.64s", path);
	r = calls[q.call].named ? read_body(&q, body, size, error) : 0;
	if (r < 0)
		docker_request_done(&q);
	else
		*ret = q;
	return r;
}

void docker_request_done(struct docker_request *q)
{
	json_object_put(q->body);
	*q = (struct docker_request){ 0 };
}

/* ---- answers ---- */

static int put_text(struct json_object *o, const char *key, const char *text)
{
	return json_put_member(o, key, json_object_new_string(text));
}

/* As dockerd's own: with a newline at the end. */
static char *text_and_free(struct json_object *o, int r)
{
	const char *text = r == 0 ? json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
								       JSON_C_TO_STRING_NOSLASHESCAPE)
				  : NULL;
	char *copy = NULL;

	if (text && asprintf(&copy, "%s\n", text) < 0)
		copy = NULL;
	json_object_put(o);
	return copy;
}

char *docker_error(const char *text)
{
	struct json_object *o = json_object_new_object();

	return text_and_free(o, put_text(o, "Err", text));
}

char *docker_done(void)
{
	return docker_error("");
}

char *docker_activated(void)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();
	struct json_object *word = json_object_new_string("VolumeDriver");

	if (!list || !word || json_object_array_add(list, word) < 0) {
		json_object_put(word);
		json_object_put(list);
		list = NULL;
	}
	return text_and_free(o, json_put_member(o, "Implements", list));
}

char *docker_capabilities(void)
{
	struct json_object *o = json_object_new_object(), *scope = json_object_new_object();
	int r = put_text(scope, "Scope", "global");

	if (r < 0) {
		json_object_put(scope);
		scope = NULL;
	}
	return text_and_free(o, json_put_member(o, "Capabilities", scope));
}

char *docker_mountpoint(const char *path)
{
	struct json_object *o = json_object_new_object();
	int r = put_text(o, "Mountpoint", path);

	return text_and_free(o, r == 0 ? put_text(o, "Err", "") : r);
}

static struct json_object *volume_new(const struct docker_volume *v)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();

	if (put_text(o, "Name", v->name) < 0 || put_text(o, "Mountpoint", v->mountpoint) < 0 ||
		(v->created_at && put_text(o, "CreatedAt", v->created_at) < 0) ||
		(v->status && json_put_member(o, "Status", json_object_get(v->status)) < 0))
		return NULL;
	return TAKE_PTR(o);
}

char *docker_got(const struct docker_volume *v)
{
	struct json_object *o = json_object_new_object();
	int r = json_put_member(o, "Volume", volume_new(v));

	return text_and_free(o, r == 0 ? put_text(o, "Err", "") : r);
}

struct json_object *docker_list_begin(void)
{
	return json_object_new_array();
}

int docker_list_add(struct json_object *list, const struct docker_volume *v)
{
	struct json_object *o = volume_new(v);

	if (o && json_object_array_add(list, o) == 0)
		return 0;
	json_object_put(o);
	return -ENOMEM;
}

char *docker_list_end(struct json_object *list)
{
	struct json_object *o = json_object_new_object();
	int r = json_put_member(o, "Volumes", list);

	return text_and_free(o, r == 0 ? put_text(o, "Err", "") : r);
}
