/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "failover_to.h"
#include "jsonin.h"
#include "schema_private.h"
#include "schema_v2.h"

/* What is read of a dataset's body, be it a new one or a change of one. */
struct reader {
	struct schema_errors *e;
	struct json_object *metadata; /* made with the first that goes there */
	bool patching;		      /* null removes */
	bool has_node, has_size, has_failover, has_filesystem, no_memory;
	struct id128 node, dataset_id;
	uint64_t size_bytes;
	enum fs_kind filesystem;
	struct failover failover;
};

/* ---- what is kept among the metadata ---- */

/* Takes @value over. */
static void keep(struct reader *r, const char *key, struct json_object *value)
{
	if (!r->metadata)
		r->metadata = json_object_new_object();
	if (!r->metadata || json_object_object_add(r->metadata, key, value) < 0) {
		json_object_put(value);
		r->no_memory = true;
	}
}

static void keep_text(struct reader *r, const char *key, const char *text)
{
	struct json_object *v = text ? json_object_new_string(text) : NULL;

	r->no_memory |= text && !v;
	keep(r, key, v);
}

static bool is_printable(const char *text)
{
	const char *end = text + strlen(text);

	while (text < end) {
		unsigned int n = utf8_printable(text, end);

		if (!n)
			return false;
		text += n;
	}
	return true;
}

static void check_name(const char *pointer, struct json_object *v, struct schema_errors *e)
{
	const char *text = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
	size_t n = text ? utf8_count(text, strlen(text)) : 0;

	if (!text)
		schema_violation(e, "%s: must be a string, or null for none", pointer);
	else if (n < 1 || n > SCHEMA_NAME_MAX || !is_printable(text))
		schema_violation(e, "%s: must have 1 to %d characters, and none of control", pointer,
			SCHEMA_NAME_MAX);
}

static void read_name(struct reader *r, struct json_object *v)
{
	if (v)
		check_name("/name", v, r->e);
	if (v || r->patching)
		keep(r, RECORD_NAME_KEY, json_object_get(v));
}

/* How a key has to be said that has a member of its own; NULL when it has none. */
static const char *member_of(const char *key)
{
	static const struct {
		const char *key, *member;
	} members[] = {
		{ SCHEMA_FILESYSTEM_KEY, "/filesystem" }, { SCHEMA_FAILOVER_KEY, "/failover/policy" },
		{ SCHEMA_TERM_KEY, "/failover/term" }, { FAILOVER_TO_KEY, "/failover/to" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		if (STREQ(key, members[i].key))
			return members[i].member;
	return NULL;
}

static void read_pair(struct reader *r, const char *key, struct json_object *value)
{
	char pointer[SCHEMA_POINTER_MAX];
	const char *member = member_of(key);

	schema_pointer("/metadata", key, pointer, sizeof(pointer));
	schema_check_metadata_key(key, r->e);
	if (member)
		schema_violation(r->e, "%s: is said as %s", pointer, member);
	else if (STREQ(key, RECORD_NAME_KEY) && value)
		check_name(pointer, value, r->e);
	else if (value || !r->patching)
		schema_check_metadata_text(key, value, r->e);
	keep(r, key, json_object_get(value));
}

static void read_metadata(struct reader *r, struct json_object *v)
{
	if (!schema_is_object(v, "/metadata", r->e))
		return;
	json_object_object_foreach(v, key, value)
		read_pair(r, key, value);
}

static void check_metadata_whole(struct reader *r, struct json_object *body)
{
	struct json_object *v;

	if (json_object_object_get_ex(body, "metadata", &v) && json_object_is_type(v, json_type_object) &&
		json_object_object_get_ex(v, RECORD_NAME_KEY, NULL) &&
		json_object_object_get_ex(body, "name", NULL))
		schema_violation(r->e, "/name: is said twice, here and in the metadata: leave one away");
	if (!r->patching && r->metadata && json_object_object_length(r->metadata) > RECORD_METADATA_MAX)
		schema_violation(r->e, "/metadata: must have at most %d keys, and name, filesystem and "
			"failover/to are kept there as well", RECORD_METADATA_MAX);
}

/* ---- the other members ---- */

static void read_size(struct reader *r, struct json_object *v)
{
	uint64_t size;

	if (!v && !r->patching)
		return;
	if (json_object_is_type(v, json_type_double) && !strpbrk(json_object_get_string(v), ".eE")) {
		schema_violation(r->e, "/size: must be below 2^63");
		return;
	}
	if (!json_object_is_type(v, json_type_int)) {
		schema_violation(r->e, "/size: must be an integer number of bytes, written without fraction or "
			"exponent");
		return;
	}
	size = json_object_get_int64(v) < 0 ? 0 : json_object_get_uint64(v);
	if (size > INT64_MAX) {
		schema_violation(r->e, "/size: must be below 2^63");
		return;
	}
	if (size < DATASET_MINIMUM_SIZE)
		schema_violation(r->e, "/size: must be at least %" PRIu64 " bytes", DATASET_MINIMUM_SIZE);
	else if (size % DATASET_SIZE_UNIT != 0)
		schema_violation(r->e, "/size: must be a multiple of %" PRIu64 " bytes, such as %" PRIu64,
			DATASET_SIZE_UNIT, (size / DATASET_SIZE_UNIT + 1) * DATASET_SIZE_UNIT);
	r->size_bytes = size;
	r->has_size = true;
}

static void read_filesystem(struct reader *r, struct json_object *v)
{
	int kind;

	if (!v)
		return;
	kind = json_object_is_type(v, json_type_string) ? fs_kind_parse(json_object_get_string(v)) : -1;
	if (kind < 0) {
		schema_violation(r->e, "/filesystem: must be ext4, xfs or btrfs");
		return;
	}
	r->filesystem = (enum fs_kind)kind;
	r->has_filesystem = true;
	keep_text(r, SCHEMA_FILESYSTEM_KEY, fs_kind_name(r->filesystem));
}

static void read_node(struct reader *r, struct json_object *v)
{
	r->has_node = true;
	if (v)
		schema_read_uuid(v, "/node", &r->node, r->e);
}

/* ---- failover ---- */

static void read_policy(struct reader *r, struct json_object *v)
{
	int kind = json_object_is_type(v, json_type_string) ? failover_kind_parse(json_object_get_string(v)) : -1;

	if (kind < 0)
		schema_violation(r->e, "/failover/policy: must be manual or lease");
	else
		r->failover.kind = (enum failover_kind)kind;
}

static void read_term(struct reader *r, struct json_object *v)
{
	int64_t s = json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : 0;

	if (!v)
		return;
	if (s < SCHEMA_TERM_MIN_S || s > SCHEMA_TERM_MAX_S)
		schema_violation(r->e, "/failover/term: must be a whole number of seconds from %d to %d",
			SCHEMA_TERM_MIN_S, SCHEMA_TERM_MAX_S);
	else
		r->failover.term_ms = (uint32_t)s * 1000;
}

/* A list of nodes as the metadata have it: separated by blanks. */
static void read_nodes(struct reader *r, struct json_object *list)
{
	char text[SCHEMA_TEXT_MAX + 1] = "", pointer[64];
	size_t n = json_object_array_length(list), max = SCHEMA_TEXT_MAX / ID128_TEXT;

	if (n < 1 || n > max) {
		schema_violation(r->e, "/failover/to: must name 1 to %zu nodes, or be \"any\" or null", max);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		struct id128 id = ID128_NIL;

		snprintf(pointer, sizeof(pointer), "/failover/to/%zu", i);
		schema_read_uuid(json_object_array_get_idx(list, i), pointer, &id, r->e);
		strcat(text, i > 0 ? " " : "");
		strcat(text, ID128_STR(id));
	}
	keep_text(r, FAILOVER_TO_KEY, text);
}

static void read_to(struct reader *r, struct json_object *v)
{
	if (json_object_is_type(v, json_type_array))
		read_nodes(r, v);
	else if (json_object_is_type(v, json_type_string) && STREQ(json_object_get_string(v), FAILOVER_TO_ANY))
		keep_text(r, FAILOVER_TO_KEY, FAILOVER_TO_ANY);
	else if (v)
		schema_violation(r->e, "/failover/to: must be \"any\", a list of the UUIDs of nodes, or null");
	else if (r->patching)
		keep_text(r, FAILOVER_TO_KEY, NULL);
}

static void unknown_member(struct reader *r, const char *base, const char *key, const char *known)
{
	char pointer[SCHEMA_POINTER_MAX];

	schema_violation(r->e, "%s: is not known here; there are %s",
		schema_pointer(base, key, pointer, sizeof(pointer)), known);
}

static void read_failover(struct reader *r, struct json_object *v)
{
	if (!schema_is_object(v, "/failover", r->e))
		return;
	json_object_object_foreach(v, key, value) {
		if (STREQ(key, "policy"))
			read_policy(r, value);
		else if (STREQ(key, "term"))
			read_term(r, value);
		else if (STREQ(key, "to"))
			read_to(r, value);
		else
			unknown_member(r, "/failover", key, "policy, term, to");
	}
	r->has_failover = true;
}

/* ---- whole bodies ---- */

/* What both bodies have. */
static bool read_member(struct reader *r, const char *key, struct json_object *value)
{
	static const struct {
		const char *key;
		void (*read)(struct reader *r, struct json_object *value);
	} members[] = {
		{ "name", read_name }, { "metadata", read_metadata }, { "size", read_size },
		{ "node", read_node }, { "failover", read_failover },
	};

	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		if (STREQ(key, members[i].key)) {
			members[i].read(r, value);
			return true;
		}
	return false;
}

static int reader_end(struct reader *r)
{
	if (r->e->n == 0 && !r->no_memory)
		return 0;
	json_object_put(r->metadata);
	return r->e->n > 0 ? -EINVAL : -ENOMEM;
}

static void check_room(struct reader *r)
{
	uint64_t least = fs_minimum_size(r->filesystem);

	if (r->e->n == 0 && r->has_size && r->has_filesystem && r->size_bytes < least)
		schema_violation(r->e, "/size: must be at least %" PRIu64 " bytes for a filesystem of kind %s",
			least, fs_kind_name(r->filesystem));
}

int schema_create_v2(struct json_object *body, struct failover failover, struct create_v2 *ret,
	struct schema_errors *e)
{
	struct reader r = { .e = e, .failover = failover, .filesystem = FS_EXT4,
		.metadata = json_object_new_object() };
	int rc;

	r.no_memory = !r.metadata;
	if (schema_is_object(body, "", e)) {
		json_object_object_foreach(body, key, value) {
			if (STREQ(key, "filesystem"))
				read_filesystem(&r, value);
			else if (STREQ(key, "dataset_id") && value)
				schema_read_uuid(value, "/dataset_id", &r.dataset_id, e);
			else if (!STREQ(key, "dataset_id") && !read_member(&r, key, value))
				unknown_member(&r, "", key, "name, metadata, size, filesystem, failover, node, "
					"dataset_id");
		}
		check_metadata_whole(&r, body);
		check_room(&r);
	}
	rc = reader_end(&r);
	if (rc < 0)
		return rc;
	*ret = (struct create_v2){ r.metadata, r.size_bytes, r.filesystem, r.failover, !r.has_node, r.node,
		r.dataset_id };
	return 0;
}

int schema_patch_v2(struct json_object *body, struct failover failover, struct patch_v2 *ret,
	struct schema_errors *e)
{
	struct reader r = { .e = e, .failover = failover, .patching = true };
	int rc;

	if (schema_is_object(body, "", e)) {
		json_object_object_foreach(body, key, value)
			if (!read_member(&r, key, value))
				unknown_member(&r, "", key, "name, metadata, node, size, failover");
		check_metadata_whole(&r, body);
	}
	rc = reader_end(&r);
	if (rc < 0)
		return rc;
	*ret = (struct patch_v2){ r.metadata, r.has_node, r.has_size, r.has_failover, r.node, r.size_bytes,
		r.failover };
	return 0;
}

void create_v2_done(struct create_v2 *c)
{
	json_object_put(c->metadata);
	c->metadata = NULL;
}

void patch_v2_done(struct patch_v2 *p)
{
	json_object_put(p->metadata);
	p->metadata = NULL;
}

/* ---- leases ---- */

static void read_seconds(struct json_object *v, uint64_t *ret, struct schema_errors *e)
{
	int64_t s = json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : 0;

	if (v && (s < 1 || s > SCHEMA_LEASE_MAX_S))
		schema_violation(e, "/seconds: must be a whole number of seconds from 1 to %lld, or null for a "
			"lease without end", SCHEMA_LEASE_MAX_S);
	else
		*ret = (uint64_t)s;
}

int schema_lease_v2(struct json_object *body, struct id128 *ret_node, uint64_t *ret_seconds,
	struct schema_errors *e)
{
	struct reader r = { .e = e };
	uint64_t seconds = 0;

	if (!schema_is_object(body, "", e))
		return -EINVAL;
	json_object_object_foreach(body, key, value) {
		if (STREQ(key, "node"))
			schema_read_uuid(value, "/node", &r.node, e);
		else if (STREQ(key, "seconds"))
			read_seconds(value, &seconds, e);
		else
			unknown_member(&r, "", key, "node, seconds");
	}
	if (!json_object_object_get_ex(body, "node", NULL))
		schema_violation(e, "/node: is required: the UUID of the node that shall keep the dataset");
	if (e->n > 0)
		return -EINVAL;
	*ret_node = r.node;
	*ret_seconds = seconds;
	return 0;
}
