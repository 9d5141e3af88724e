/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fstree.c - the objects that the status tree shows, and everything that changes them.
 */
#include <time.h>

#include "fstree_private.h"

#define KEY_IDX_MAX (1u << IDX_BITS)

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Also tells one content from the next, so it grows even when the clock does not. */
static void stamp(int64_t *changed)
{
	*changed = MAX(now_ns(), *changed + 1);
}

static void wake_readers(struct fs_object *o, unsigned int idx)
{
	struct fs_handle *h;

	LIST_FOREACH(h, &o->handles, list) {
		if (h->idx == idx)
			fs_wake(h);
	}
}

void fs_touch(struct fstree *t, struct fs_object *o, unsigned int idx)
{
	stamp(&o->changed[idx]);
	fs_notify_attr(t, o, idx);
	wake_readers(o, idx);
}

static void touch_files(struct fstree *t, struct fs_object *o, uint32_t mask)
{
	for (unsigned int i = 0; mask >> i != 0; i++)
		if (mask >> i & 1)
			fs_touch(t, o, IDX_FILE + i);
}

/* ---- metadata ---- */

static void touch_key(struct fstree *t, struct fs_object *o, struct fs_key *k)
{
	stamp(&k->changed);
	fs_notify_attr(t, o, k->idx);
	wake_readers(o, k->idx);
}

static struct fs_key *key_by_name(struct fs_object *o, const char *key)
{
	for (size_t i = 0; i < o->n_keys; i++)
		if (STREQ(o->keys[i].key, key))
			return &o->keys[i];
	return NULL;
}

/*
 * The keys of @metadata as files. A key that was there keeps its inode. @ret is newly allocated,
 * NULL for none, and ordered by idx, as a listing that goes on needs it.
 */
static int keys_new(struct fs_object *o, struct json_object *metadata, struct fs_key **ret,
	size_t *ret_n)
{
	size_t n = metadata ? (size_t)json_object_object_length(metadata) : 0, kept = 0, i = 0;
	struct fs_key *keys;

	*ret = NULL;
	*ret_n = n;
	if (n == 0)
		return 0;
	if (n > KEY_IDX_MAX - o->next_key)
		return -ENOSPC; /* a million keys came and went: no number is left */
	keys = calloc(n, sizeof(*keys));
	if (!keys)
		return -ENOMEM;
	for (size_t j = 0; j < o->n_keys; j++) {
		struct json_object *value;

		if (!json_object_object_get_ex(metadata, o->keys[j].key, &value))
			continue;
		keys[kept] = o->keys[j];
		keys[kept++].value = fs_metadata_text(value);
	}
	i = kept;
	json_object_object_foreach(metadata, key, value) {
		const struct fs_key *old = key_by_name(o, key);

		if (!old)
			keys[i++] = (struct fs_key){ .key = key, .value = fs_metadata_text(value) };
		else
			/* The key's text, too, is now the new object's: the old one goes. */
			for (size_t j = 0; j < kept; j++)
				if (keys[j].idx == old->idx)
					keys[j].key = key;
	}
	assert(i == n);
	*ret = keys;
	return 0;
}

/* Says what differs between the object's keys and the @n new ones, which then are the object's. */
static void keys_set(struct fstree *t, struct fs_object *o, struct fs_key *keys, size_t n)
{
	struct fs_key *old = o->keys;
	size_t n_old = o->n_keys, j = 0;
	char name[FSTREE_NAME_MAX + 1];
	bool changed = false;

	o->keys = keys;
	o->n_keys = n;
	for (size_t i = 0; i < n_old; i++) { /* both are ordered, so the kept ones come in step */
		if (j < n && keys[j].idx == old[i].idx) {
			if (!STREQ(keys[j].value, old[i].value))
				touch_key(t, o, &keys[j]);
			j++;
			continue;
		}
		fs_name_escape(old[i].key, name);
		fs_notify_entry(t, o->base + IDX_METADATA, name);
		wake_readers(o, old[i].idx);
		changed = true;
	}
	for (; j < n; j++) {
		keys[j].idx = o->next_key++;
		stamp(&keys[j].changed);
		changed = true;
	}
	if (changed)
		fs_touch(t, o, IDX_METADATA);
	free(old);
}

/* ---- datasets ---- */

static void object_free(struct fs_object *o)
{
	fs_ds_view_free(o->view);
	free(o->link);
	free(o->events);
	free(o->keys);
	free(o);
}

static int object_add(struct fstree *t, const struct ds_view *v, struct fs_object **ret)
{
	struct fs_object *o;
	int r;

	o = calloc(1, sizeof(*o));
	if (!o)
		return -ENOMEM;
	LIST_INIT(&o->handles);
	o->next_key = IDX_KEY;
	for (size_t i = IDX_DIR; i < ARRAY_SIZE(o->changed); i++)
		stamp(&o->changed[i]);
	/* Nothing but the id: the rest comes as a change, as it does ever after. */
	o->view = fs_ds_view_copy(&(struct ds_view){ .dataset_id = v->dataset_id });
	r = o->view ? fs_table_add(t, o) : -ENOMEM;
	if (r < 0) {
		object_free(o);
		return r;
	}
	fs_touch(t, &t->node, IDX_ROOT);
	*ret = o;
	return 0;
}

static void object_remove(struct fstree *t, struct fs_object *o)
{
	struct fs_handle *h;

	fs_name_remove(t, o);
	fs_table_remove(t, o);
	fs_notify_forget(t, o);
	fs_notify_entry(t, IDX_ROOT, ID128_STR(o->view->dataset_id));
	fs_touch(t, &t->node, IDX_ROOT);
	while ((h = LIST_FIRST(&o->handles))) {
		LIST_REMOVE(h, list);
		h->object = NULL;
		LIST_INSERT_HEAD(&t->orphans, h, list);
		fs_wake(h);
	}
	object_free(o);
}

static char *link_of(const struct ds_view *v)
{
	char escaped[FSTREE_NAME_MAX + 1];

	fs_name_escape(v->name, escaped);
	return strdup(escaped);
}

/* Nothing can fail here: all three were made before. Takes them over. */
static void object_update(struct fstree *t, struct fs_object *o, struct ds_view *v, char *link,
	struct fs_key *keys, size_t n_keys)
{
	bool renamed = (o->link == NULL) != (link == NULL) || (link && !STREQ(o->link, link));
	bool aged = o->view->created_at != v->created_at;
	struct ds_view *old = o->view;
	uint32_t mask = fs_ds_differences(old, v);

	if (renamed)
		fs_name_remove(t, o);
	o->view = v;
	if (renamed)
		fs_name_add(t, o, TAKE_PTR(link));
	else if (aged && o->link)
		fs_name_settle(t, o->link);
	keys_set(t, o, keys, n_keys);
	touch_files(t, o, mask);
	fs_ds_view_free(old);
	free(link);
}

int fstree_set(struct fstree *t, const struct ds_view *v)
{
	_cleanup_(fs_ds_view_freep) struct ds_view *copy = fs_ds_view_copy(v);
	_cleanup_free_ char *link = NULL;
	struct fs_object *o = fs_find(t, v->dataset_id);
	struct fs_key *keys;
	size_t n_keys;
	bool added = false;
	int r;

	if (!copy)
		return -ENOMEM;
	if (v->name && *v->name) {
		link = link_of(v);
		if (!link)
			return -ENOMEM;
	}
	if (!o) {
		r = object_add(t, v, &o);
		if (r < 0)
			return r;
		added = true;
	}
	r = keys_new(o, copy->metadata, &keys, &n_keys);
	if (r < 0) {
		if (added)
			object_remove(t, o);
		return r;
	}
	object_update(t, o, TAKE_PTR(copy), TAKE_PTR(link), keys, n_keys);
	fs_notify_pump(t);
	return 0;
}

/* Bytes of the oldest lines that have to go before @line_size bytes come. */
static size_t events_surplus(const struct fs_object *o, size_t line_size)
{
	size_t lines = 1, at = 0;

	for (size_t i = 0; i < o->events_size; i++)
		lines += o->events[i] == '\n';
	while (at < o->events_size &&
		(lines > FSTREE_EVENTS_MAX ||
			o->events_size - at + line_size > FSTREE_EVENTS_SIZE)) {
		const char *end = memchr(o->events + at, '\n', o->events_size - at);

		at = (size_t)(end - o->events) + 1;
		lines--;
	}
	return at;
}

static void event_line(struct fs_text *b, const char *line)
{
	fs_text_time(b, now_ns() / 1000000);
	fs_text_put(b, " ", 1);
	fs_text_put(b, line, MIN(strlen(line), FSTREE_EVENTS_SIZE / 4));
	for (size_t i = 0; i < b->len; i++)
		if (b->s[i] == '\n')
			b->s[i] = ' ';
	fs_text_put(b, "\n", 1);
}

int fstree_event(struct fstree *t, struct id128 dataset_id, const char *line)
{
	struct fs_object *o = fs_find(t, dataset_id);
	struct fs_text b = { 0 };
	size_t surplus, kept;
	char *events;

	if (!o)
		return -ENOENT;
	event_line(&b, line);
	surplus = events_surplus(o, b.len);
	kept = o->events_size - surplus;
	events = b.failed ? NULL : malloc(kept + b.len);
	if (!events) {
		fs_text_done(&b);
		return -ENOMEM;
	}
	if (kept > 0)
		memcpy(events, o->events + surplus, kept);
	memcpy(events + kept, b.s, b.len);
	free(o->events);
	o->events = events;
	o->events_size = kept + b.len;
	fs_text_done(&b);
	fs_touch(t, o, IDX_FILE + FILE_EVENTS);
	fs_notify_pump(t);
	return 0;
}

void fstree_remove(struct fstree *t, struct id128 dataset_id)
{
	struct fs_object *o = fs_find(t, dataset_id);

	if (!o)
		return;
	object_remove(t, o);
	fs_notify_pump(t);
}

int fstree_set_node(struct fstree *t, const struct node_view *v)
{
	struct node_view *copy = fs_node_view_copy(v), *old = t->node_view;
	uint32_t mask;

	if (!copy)
		return -ENOMEM;
	mask = fs_node_differences(old, copy);
	t->node_view = copy;
	free(old);
	touch_files(t, &t->node, mask);
	fs_notify_pump(t);
	return 0;
}

void fs_handle_free(struct fstree *t, struct fs_handle *h)
{
	LIST_REMOVE(h, list);
	if (h->poll)
		fuse_pollhandle_destroy(h->poll);
	free(h->text);
	free(h);
	t->n_open--;
}

static void close_handles(struct fstree *t, struct fs_handles *handles)
{
	struct fs_handle *h;

	while ((h = LIST_FIRST(handles)))
		fs_handle_free(t, h);
}

static void object_forget(struct fstree *t, struct fs_object *o)
{
	close_handles(t, &o->handles);
	fs_notify_forget(t, o);
	o->known = o->dirty = 0;
	for (size_t i = 0; i < o->n_keys; i++)
		o->keys[i].known = o->keys[i].dirty = false;
}

void fs_forget_kernel(struct fstree *t)
{
	for (size_t i = 0; i < t->n_slots; i++)
		if (t->slots[i])
			object_forget(t, t->slots[i]);
	close_handles(t, &t->orphans);
}

/* ---- the tree ---- */

static int objects_init(struct fstree *t)
{
	STAILQ_INIT(&t->dirty);
	STAILQ_INIT(&t->gone);
	LIST_INIT(&t->orphans);
	LIST_INIT(&t->node.handles);
	for (size_t i = IDX_ROOT; i < IDX_FILE + NODE_FILE_MAX; i++)
		stamp(&t->node.changed[i]);
	t->node_view = fs_node_view_copy(&(struct node_view){ 0 });
	return t->node_view ? fs_table_init(t) : -ENOMEM;
}

int fstree_new(struct event_base *base, const struct fstree_config *c, struct fstree **ret,
	char *why, size_t size)
{
	_cleanup_(fstree_freep) struct fstree *t = NULL;
	int r;

	snprintf(why, size, "out of memory");
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->base = base;
	t->priority = c->priority;
	t->on_gone = c->on_gone;
	t->userdata = c->userdata;
	r = objects_init(t);
	if (r < 0)
		return r;
	r = fs_places_init(t, c, why, size);
	if (r < 0)
		return r;

	*ret = TAKE_PTR(t);
	return 0;
}

struct fstree *fstree_free(struct fstree *t)
{
	if (!t)
		return NULL;
	fs_unmount(t);
	for (size_t i = 1; i < t->n_slots; i++)
		if (t->slots[i])
			object_free(t->slots[i]);
	fs_table_done(t);
	fs_places_done(t);
	free(t->node_view);
	free(t);
	return NULL;
}
