/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>

#include "docker_options.h"
#include "jsonin.h"
#include "jsonput.h"
#include "text.h"

#define PROFILE_MAX 256

static int _printf_(2, 3) refuse(char error[DOCKER_ERROR_MAX], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error, DOCKER_ERROR_MAX, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int read_size(struct docker_options *o, const char *text, char error[DOCKER_ERROR_MAX])
{
	uint64_t size;

	if (text_size(text, &size) < 0)
		return refuse(error, "option size: '%.64s' is no size; write one " TEXT_SIZE_FORM, text);
	if (size < DATASET_MINIMUM_SIZE)
		return refuse(error, "option size: '%.64s' is too small; the least is %s", text,
			TEXT_BYTES(DATASET_MINIMUM_SIZE));
	o->size_bytes = size;
	return 0;
}

static int read_profile(struct docker_options *o, const char *text, char error[DOCKER_ERROR_MAX])
{
	if (!*text || utf8_count(text, strlen(text)) > PROFILE_MAX)
		return refuse(error, "option profile: must have 1 to %d characters", PROFILE_MAX);
	o->profile = text;
	return 0;
}

static int read_filesystem(struct docker_options *o, const char *text, char error[DOCKER_ERROR_MAX])
{
	o->filesystem = fs_kind_parse(text);
	return o->filesystem >= 0
		       ? 0
		       : refuse(error, "option filesystem: must be ext4, xfs or btrfs, not '%.64s'",
				 text);
}

static int read_failover(struct docker_options *o, const char *text, char error[DOCKER_ERROR_MAX])
{
	o->failover = failover_kind_parse(text);
	return o->failover >= 0 ? 0 : refuse(error, "option failover: must be manual or lease, not '%.64s'", text);
}

static int read_node(struct docker_options *o, const char *text, char error[DOCKER_ERROR_MAX])
{
	o->node = text;
	return *text ? 0 : refuse(error, "option node: must be the UUID or the host of a node");
}

static int read_on_remove(struct docker_options *o, const char *text, char error[DOCKER_ERROR_MAX])
{
	if (!STREQ(text, "keep") && !STREQ(text, "delete"))
		return refuse(error, "option on-remove: must be keep or delete, not '%.64s'", text);
	o->delete_on_remove = STREQ(text, "delete");
	return 0;
}

static const struct {
	const char *name;
	int (*read)(struct docker_options *o, const char *text, char error[DOCKER_ERROR_MAX]);
} known[] = {
	{ "size", read_size },	       { "profile", read_profile }, { "filesystem", read_filesystem },
	{ "failover", read_failover }, { "node", read_node },	    { "on-remove", read_on_remove },
};

int docker_options_take(struct docker_options *o, const char *key, const char *text,
	char error[DOCKER_ERROR_MAX])
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (STREQ(key, known[i].name))
			return known[i].read(o, text, error);
	return -ENOENT;
}

int docker_options_read(struct json_object *o, struct docker_options *ret, char error[DOCKER_ERROR_MAX])
{
	struct docker_options read = DOCKER_OPTIONS_NONE;

	if (o) {
		json_object_object_foreach(o, key, value) {
			int r = docker_options_take(&read, key, json_object_get_string(value),
				error);

			if (r == -ENOENT)
				return refuse(error,
					"there is no option '%.64s'; there are: size, profile, filesystem, failover, "
					"node, on-remove",
					key);
			if (r < 0)
				return r;
		}
	}
	*ret = read;
	return 0;
}

static const char *word(bool deletes)
{
	return deletes ? "delete" : "keep";
}

bool docker_options_differ(const struct docker_options *o, const struct volume *v, char error[DOCKER_ERROR_MAX])
{
	const char *option = NULL, *said = NULL, *is = NULL;
	char size_said[64], size_is[64];

	if (o->size_bytes && o->size_bytes != v->size_bytes) {
		snprintf(size_said, sizeof(size_said), "%s (%llu bytes)", TEXT_BYTES(o->size_bytes),
			(unsigned long long)o->size_bytes);
		snprintf(size_is, sizeof(size_is), "%s (%llu bytes)", TEXT_BYTES(v->size_bytes),
			(unsigned long long)v->size_bytes);
		option = "size", said = size_said, is = size_is;
	} else if (o->filesystem >= 0 && !STREQ(fs_kind_name((enum fs_kind)o->filesystem), v->filesystem)) {
		option = "filesystem", said = fs_kind_name((enum fs_kind)o->filesystem), is = v->filesystem;
	} else if (o->failover >= 0 && !STREQ(failover_kind_name((enum failover_kind)o->failover), v->failover)) {
		option = "failover", said = failover_kind_name((enum failover_kind)o->failover), is = v->failover;
	} else if (o->profile && (!v->profile || !STREQ(o->profile, v->profile))) {
		option = "profile", said = o->profile, is = v->profile ?: "none";
	} else if (o->delete_on_remove >= 0 && o->delete_on_remove != v->delete_on_remove) {
		option = "on-remove", said = word(o->delete_on_remove), is = word(v->delete_on_remove);
	}
	if (!option)
		return false;
	(void)refuse(error,
		"there is a volume %s already, and it is different: its %s is %.128s, not %.128s; leave the option "
		"away to use it as it is",
		v->name, option, is, said);
	return true;
}

static int put_text(struct json_object *o, const char *key, const char *text)
{
	return text ? json_put_member(o, key, json_object_new_string(text)) : 0;
}

static int put_metadata(struct json_object *body, const struct docker_options *o)
{
	struct json_object *metadata;

	if (!o->profile && o->delete_on_remove < 1)
		return 0;
	metadata = json_object_new_object();
	if (json_put_member(body, "metadata", metadata) < 0)
		return -ENOMEM;
	if (put_text(metadata, CATALOG_PROFILE_KEY, o->profile) < 0)
		return -ENOMEM;
	return o->delete_on_remove == 1 ? put_text(metadata, CATALOG_ON_REMOVE_KEY, "delete") : 0;
}

static int put_failover(struct json_object *body, const struct docker_options *o)
{
	struct json_object *failover;

	if (o->failover < 0)
		return 0;
	failover = json_object_new_object();
	if (json_put_member(body, "failover", failover) < 0)
		return -ENOMEM;
	return put_text(failover, "policy", failover_kind_name((enum failover_kind)o->failover));
}

struct json_object *docker_options_body(const struct docker_options *o, const char *name, struct id128 node)
{
	_cleanup_json_ struct json_object *body = json_object_new_object();

	if (put_text(body, "name", name) < 0 || put_metadata(body, o) < 0 || put_failover(body, o) < 0 ||
		(o->size_bytes && json_put_member(body, "size", json_object_new_int64((int64_t)o->size_bytes)) < 0) ||
		(o->filesystem >= 0 && put_text(body, "filesystem", fs_kind_name((enum fs_kind)o->filesystem)) < 0))
		return NULL;
	/* Null means nowhere; without it control would choose a node. */
	if (id128_is_nil(node) ? json_object_object_add(body, "node", NULL) < 0
			       : put_text(body, "node", ID128_STR(node)) < 0)
		return NULL;
	return TAKE_PTR(body);
}
