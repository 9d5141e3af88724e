/* SPDX-License-Identifier: Apache-2.0 */
#include <search.h>
#include <strings.h>

#include "catalog.h"
#include "jsonin.h"

struct node {
	struct id128 uuid;
	char *host;
	struct node *next;
	bool stale;
};

struct catalog {
	void *by_id, *by_name; /* tsearch(3): all; and the first of each name */
	struct node *nodes;
	bool all;
};

/* ---- values out of JSON ---- */

static struct json_object *member(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	(void)json_object_object_get_ex(o, key, &v);
	return v;
}

static const char *text_of(struct json_object *o, const char *key)
{
	struct json_object *v = member(o, key);

	return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
}

static struct id128 id_of(struct json_object *o, const char *key)
{
	const char *text = text_of(o, key);
	struct id128 id;

	return text && id128_parse(text, &id) == 0 ? id : ID128_NIL;
}

/* False: there was no memory. NULL stays NULL. */
static bool copy(char **to, const char *text)
{
	*to = text ? strdup(text) : NULL;
	return *to || !text;
}

/* "mount: No space left on device; pid 12 (sh): cwd ..." */
static int error_text(struct json_object *error, char **ret)
{
	struct json_object *holders = member(error, "holders");
	char buf[1024];
	size_t n;

	if (!error)
		return 0;
	n = (size_t)snprintf(buf, sizeof(buf), "%s: %s", text_of(error, "step") ?: "?",
		text_of(error, "message") ?: "?");
	for (size_t i = 0; json_object_is_type(holders, json_type_array) && i < json_object_array_length(holders) &&
		n < sizeof(buf); i++)
		n += (size_t)snprintf(buf + n, sizeof(buf) - n, "; %s",
			json_object_get_string(json_object_array_get_idx(holders, i)) ?: "?");
	*ret = strdup(buf);
	return *ret ? 0 : -ENOMEM;
}

/* ---- one dataset ---- */

static void volume_free(struct volume *v)
{
	if (!v)
		return;
	char *texts[] = { v->name, v->state, v->why, v->created_at, v->mountpoint, v->device, v->last_error,
		v->filesystem, v->failover, v->profile, v->used_by, v->nomad_volume,
		v->nomad_name };
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		free(texts[i]);
	json_object_put(v->used);
	json_object_put(v->available);
	free(v);
}
static inline void volume_freep(struct volume **v)
{
	volume_free(*v);
}

static int volume_new(struct json_object *o, const char *name, struct volume **ret)
{
	_cleanup_(volume_freep) struct volume *v = calloc(1, sizeof(*v));
	struct json_object *metadata = member(o, "metadata");
	const char *remove = text_of(metadata, CATALOG_ON_REMOVE_KEY);

	if (!v || !copy(&v->name, name) || !copy(&v->state, text_of(o, "state") ?: "") ||
		!copy(&v->why, text_of(o, "why") ?: "") || !copy(&v->created_at, text_of(o, "created_at")) ||
		!copy(&v->mountpoint, text_of(o, "mountpoint")) || !copy(&v->device, text_of(o, "device")) ||
		!copy(&v->filesystem, text_of(o, "filesystem") ?: "") ||
		!copy(&v->failover, text_of(member(o, "failover"), "policy") ?: "") ||
		!copy(&v->profile, text_of(metadata, CATALOG_PROFILE_KEY)) ||
		!copy(&v->used_by, text_of(metadata, CATALOG_USED_BY_KEY)) ||
		!copy(&v->nomad_volume, text_of(metadata, CATALOG_NOMAD_VOLUME_KEY)) ||
		!copy(&v->nomad_name, text_of(metadata, CATALOG_NOMAD_NAME_KEY)) ||
		error_text(member(o, "last_error"), &v->last_error) < 0)
		return -ENOMEM;
	v->delete_on_remove = remove && STREQ(remove, "delete");
	v->node = id_of(o, "node");
	v->owner = id_of(o, "owner");
	v->leased = id_of(member(o, "lease"), "node");
	v->term_ms = (uint64_t)(json_object_get_double(member(member(o, "failover"), "term")) * 1000);
	v->size_bytes = json_object_get_uint64(member(o, "size"));
	v->volume_bytes = json_object_get_uint64(member(o, "volume_size"));
	v->used = json_object_get(member(o, "used"));
	v->available = json_object_get(member(o, "available"));
	*ret = TAKE_PTR(v);
	return 0;
}

/* ---- where they are found ---- */

static int by_id(const void *a, const void *b)
{
	return id128_compare(((const struct volume *)a)->id, ((const struct volume *)b)->id);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct volume *)a)->name, ((const struct volume *)b)->name);
}

static struct volume *found(void *const *node)
{
	return node ? *node : NULL;
}

static struct volume *find(const struct catalog *c, struct id128 id)
{
	return found(tfind(&(struct volume){ .id = id }, &c->by_id, by_id));
}

static bool is_older(const struct volume *a, const struct volume *b)
{
	int order = strcmp(a->created_at ?: "", b->created_at ?: "");

	if (a->deleted != b->deleted)
		return b->deleted;
	return order < 0 || (order == 0 && id128_compare(a->id, b->id) < 0);
}

/* The first of a name is in the tree: whoever becomes it takes the other's place there. */
static int link_name(struct catalog *c, struct volume *v)
{
	struct volume **node = tsearch(v, &c->by_name, by_name), *p;

	if (!node)
		return -ENOMEM;
	p = *node;
	if (p == v)
		return 0;
	if (is_older(v, p)) {
		v->next = p;
		*node = v;
		return 0;
	}
	while (p->next && is_older(p->next, v))
		p = p->next;
	v->next = p->next;
	p->next = v;
	return 0;
}

static void unlink_name(struct catalog *c, struct volume *v)
{
	struct volume **node = tfind(v, &c->by_name, by_name), *p;

	if (!node)
		return;
	p = *node;
	if (p == v && v->next) {
		*node = v->next;
	} else if (p == v) {
		(void)tdelete(v, &c->by_name, by_name);
	} else {
		while (p->next != v)
			p = p->next;
		p->next = v->next;
	}
}

void catalog_drop(struct catalog *c, struct id128 id)
{
	struct volume *v = find(c, id);

	if (!v)
		return;
	unlink_name(c, v);
	(void)tdelete(v, &c->by_id, by_id);
	volume_free(v);
}

static int add(struct catalog *c, struct volume *v)
{
	if (!tsearch(v, &c->by_id, by_id))
		return -ENOMEM;
	if (link_name(c, v) < 0) {
		(void)tdelete(v, &c->by_id, by_id);
		return -ENOMEM;
	}
	return 0;
}

void catalog_keep_all(struct catalog *c)
{
	c->all = true;
}

int catalog_put(struct catalog *c, struct json_object *dataset, struct id128 *ret_id)
{
	struct id128 id = id_of(dataset, "dataset_id");
	const char *name = text_of(dataset, "name") ?: (c->all ? ID128_STR(id) : NULL);
	bool deleted = json_object_get_boolean(member(dataset, "deleted"));
	struct volume *v = NULL;
	int r = 0;

	if (id128_is_nil(id))
		return -EBADMSG;
	if (name && (c->all || !deleted))
		r = volume_new(dataset, name, &v);
	if (r < 0)
		return r;
	catalog_drop(c, id);
	if (v) {
		v->id = id;
		v->deleted = deleted;
		r = add(c, v);
	}
	if (r < 0)
		volume_free(v);
	else
		*ret_id = id;
	return r;
}

const struct volume *catalog_by_name(const struct catalog *c, const char *name)
{
	struct volume key = { .name = (char *)(uintptr_t)name };

	return found(tfind(&key, &c->by_name, by_name));
}

const struct volume *catalog_by_id(const struct catalog *c, struct id128 id)
{
	return find(c, id);
}

struct walk {
	void (*fn)(const struct volume *v, void *userdata);
	void *userdata;
};

static void on_node(const void *node, VISIT which, void *userdata)
{
	const struct walk *w = userdata;

	if (which == postorder || which == leaf)
		w->fn(*(struct volume *const *)node, w->userdata);
}

void catalog_each(const struct catalog *c, void (*fn)(const struct volume *v, void *userdata), void *userdata)
{
	struct walk w = { fn, userdata };

	twalk_r(c->by_name, on_node, &w);
}

/* ---- nodes ---- */

static struct node **find_node(const struct catalog *c, struct id128 uuid)
{
	struct node **p = (struct node **)(uintptr_t)&c->nodes;

	while (*p && !id128_equal((*p)->uuid, uuid))
		p = &(*p)->next;
	return p;
}

int catalog_put_node(struct catalog *c, struct json_object *node)
{
	struct id128 uuid = id_of(node, "uuid");
	struct node **p = find_node(c, uuid), *n = *p;
	char *host;

	if (id128_is_nil(uuid))
		return -EBADMSG;
	if (!copy(&host, text_of(node, "host")))
		return -ENOMEM;
	if (!n) {
		n = calloc(1, sizeof(*n));
		if (!n) {
			free(host);
			return -ENOMEM;
		}
		n->uuid = uuid;
		*p = n;
	}
	free(n->host);
	n->host = host;
	n->stale = false;
	return 0;
}

void catalog_drop_node(struct catalog *c, struct id128 uuid)
{
	struct node **p = find_node(c, uuid), *n = *p;

	if (!n)
		return;
	*p = n->next;
	free(n->host);
	free(n);
}

const char *catalog_node_text(const struct catalog *c, struct id128 uuid, char buf[CATALOG_NODE_SIZE])
{
	const struct node *n = *find_node(c, uuid);

	if (n && n->host)
		snprintf(buf, CATALOG_NODE_SIZE, "node %s (%.100s)", ID128_STR(uuid), n->host);
	else
		snprintf(buf, CATALOG_NODE_SIZE, "node %s", ID128_STR(uuid));
	return buf;
}

int catalog_find_node(const struct catalog *c, const char *text, struct id128 *ret)
{
	const struct node *only = NULL;

	for (const struct node *n = c->nodes; n; n = n->next) {
		if (!*text || (strncasecmp(ID128_STR(n->uuid), text, strlen(text)) != 0 &&
			(!n->host || !STREQ(n->host, text))))
			continue;
		if (only)
			return -ENOTUNIQ;
		only = n;
	}
	if (!only)
		return -ENOENT;
	*ret = only->uuid;
	return 0;
}

/* ---- whole lists ---- */

static void mark_stale(const void *node, VISIT which, void *userdata)
{
	if (which == postorder || which == leaf)
		(*(struct volume *const *)node)->stale = true;
}

void catalog_begin(struct catalog *c)
{
	twalk_r(c->by_id, mark_stale, NULL);
	for (struct node *n = c->nodes; n; n = n->next)
		n->stale = true;
}

/* They cannot leave the tree while it is walked. */
static void find_stale(const void *node, VISIT which, void *userdata)
{
	struct volume *v = *(struct volume *const *)node, **first = userdata;

	if ((which == postorder || which == leaf) && v->stale) {
		v->doomed = *first;
		*first = v;
	}
}

void catalog_end(struct catalog *c)
{
	struct volume *doomed = NULL, *v;
	struct node *next;

	twalk_r(c->by_id, find_stale, &doomed);
	while ((v = doomed)) {
		doomed = v->doomed;
		catalog_drop(c, v->id);
	}
	for (struct node *n = c->nodes; n; n = next) {
		next = n->next;
		if (n->stale)
			catalog_drop_node(c, n->uuid);
	}
}

/* ---- beginning and end ---- */

int catalog_new(struct catalog **ret)
{
	struct catalog *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	*ret = c;
	return 0;
}

static void free_item(void *item)
{
	volume_free(item);
}

static void keep_item(void *item)
{
}

struct catalog *catalog_free(struct catalog *c)
{
	if (!c)
		return NULL;
	tdestroy(c->by_name, keep_item);
	tdestroy(c->by_id, free_item);
	while (c->nodes)
		catalog_drop_node(c, c->nodes->uuid);
	free(c);
	return NULL;
}
