/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fstree_view.c - the tree's own copies of the views, and which files two views show differently.
 */
#include "fstree_private.h"

/* One block for the struct and its strings, since there may be thousands. */
static const char *pack(char **at, const char *s)
{
	char *copy = *at;

	if (!s)
		return NULL;
	strcpy(copy, s);
	*at += strlen(s) + 1;
	return copy;
}

static void *pack_new(const void *head, size_t head_size, const char *const *strings, size_t n,
	char **ret_at)
{
	size_t size = head_size;
	char *block;

	for (size_t i = 0; i < n; i++)
		size += strings[i] ? strlen(strings[i]) + 1 : 0;
	block = malloc(size);
	if (!block)
		return NULL;
	memcpy(block, head, head_size);
	*ret_at = block + head_size;
	return block;
}

struct ds_view *fs_ds_view_copy(const struct ds_view *v)
{
	const char *const strings[] = { v->name, v->why, v->device, v->filesystem, v->mountpoint,
		v->lease, v->holders, v->last_error };
	struct ds_view *c;
	char *at;

	c = pack_new(v, sizeof(*v), strings, ARRAY_SIZE(strings), &at);
	if (!c)
		return NULL;
	c->name = pack(&at, v->name);
	c->why = pack(&at, v->why);
	c->device = pack(&at, v->device);
	c->filesystem = pack(&at, v->filesystem);
	c->mountpoint = pack(&at, v->mountpoint);
	c->lease = pack(&at, v->lease);
	c->holders = pack(&at, v->holders);
	c->last_error = pack(&at, v->last_error);
	c->metadata = v->metadata ? json_object_get(v->metadata) : NULL;
	return c;
}

void fs_ds_view_free(struct ds_view *v)
{
	if (!v)
		return;
	json_object_put(v->metadata);
	free(v);
}

struct node_view *fs_node_view_copy(const struct node_view *v)
{
	const char *const strings[] = { v->control, v->version, v->backend, v->last_error,
		v->watchdog, v->warnings, v->metrics };
	struct node_view *c;
	char *at;

	c = pack_new(v, sizeof(*v), strings, ARRAY_SIZE(strings), &at);
	if (!c)
		return NULL;
	c->control = pack(&at, v->control);
	c->version = pack(&at, v->version);
	c->backend = pack(&at, v->backend);
	c->last_error = pack(&at, v->last_error);
	c->watchdog = pack(&at, v->watchdog);
	c->warnings = pack(&at, v->warnings);
	c->metrics = pack(&at, v->metrics);
	return c;
}

static bool text_equal(const struct fs_text *a, const struct fs_text *b)
{
	return !a->failed && !b->failed && a->len == b->len &&
	       (a->len == 0 || memcmp(a->s, b->s, a->len) == 0);
}

uint32_t fs_ds_differences(const struct ds_view *old, const struct ds_view *new)
{
	struct fs_text a = { 0 }, b = { 0 };
	uint32_t mask = 0;

	static_assert(FILE_STATUS == FILE_EVENTS - 1,
		"status.json is compared after what it tells");
	for (enum ds_file i = 0; i < FILE_EVENTS; i++) {
		a.len = b.len = 0;
		if (i == FILE_STATUS && mask != 0) {
			mask |= 1u << i; /* it tells all of them */
			break;
		}
		fs_render_ds(old, i, &a);
		fs_render_ds(new, i, &b);
		if (!text_equal(&a, &b))
			mask |= 1u << i;
	}
	fs_text_done(&a);
	fs_text_done(&b);
	return mask;
}

uint32_t fs_node_differences(const struct node_view *old, const struct node_view *new)
{
	struct fs_text a = { 0 }, b = { 0 };
	uint32_t mask = 0;

	for (enum node_file i = 0; i < NODE_FILE_MAX; i++) {
		a.len = b.len = 0;
		fs_render_node(old, i, &a);
		fs_render_node(new, i, &b);
		if (!text_equal(&a, &b))
			mask |= 1u << i;
	}
	fs_text_done(&a);
	fs_text_done(&b);
	return mask;
}
