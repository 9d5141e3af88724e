/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fstree_table.c - finding objects: by inode number, by dataset id, by the name of their link.
 * Owns which of the datasets that share a name is shown plain.
 */
#include "fstree_private.h"

#define SLOTS_MAX (1u << SLOT_BITS)
#define CHAINS_MIN 64

static size_t link_chain(const struct fstree *t, const char *link)
{
	uint64_t h = 5381;

	for (; *link; link++)
		h = h * 33 + (uint8_t)*link;
	return (h ^ h >> 29) & (t->n_chains - 1);
}

static size_t id_chain(const struct fstree *t, struct id128 id)
{
	return id128_hash(id) & (t->n_chains - 1);
}

struct fs_object *fs_find(struct fstree *t, struct id128 dataset_id)
{
	for (struct fs_object *o = t->ids[id_chain(t, dataset_id)]; o; o = o->next_id)
		if (id128_equal(o->view->dataset_id, dataset_id))
			return o;
	return NULL;
}

struct fs_object *fs_find_link(struct fstree *t, const char *name)
{
	size_t len = strlen(name);
	char full[FSTREE_NAME_MAX + 1];
	struct fs_object *o;
	struct id128 id;

	for (o = t->links[link_chain(t, name)]; o; o = o->next_link)
		if (o->plain && STREQ(o->link, name))
			return o;
	if (len < ID128_TEXT || id128_parse(name + len - (ID128_TEXT - 1), &id) < 0)
		return NULL;
	o = fs_find(t, id);
	if (!o || !o->link || o->plain)
		return NULL;
	fs_link_name(o, full);
	return STREQ(full, name) ? o : NULL;
}

struct fs_object *fs_object_of(struct fstree *t, uint64_t ino)
{
	unsigned int slot = fs_slot_of(ino);
	struct fs_object *o = slot < t->n_slots ? t->slots[slot] : NULL;

	return o && o->base == (ino & ~((UINT64_C(1) << IDX_BITS) - 1)) ? o : NULL;
}

struct fs_key *fs_key_of(struct fs_object *o, unsigned int idx)
{
	for (size_t i = 0; i < o->n_keys; i++)
		if (o->keys[i].idx == idx)
			return &o->keys[i];
	return NULL;
}

int64_t fs_changed(struct fs_object *o, unsigned int idx)
{
	const struct fs_key *k;

	if (idx < ARRAY_SIZE(o->changed))
		return o->changed[idx];
	k = fs_key_of(o, idx);
	return k ? k->changed : 0;
}

void fs_link_name(const struct fs_object *o, char ret[FSTREE_NAME_MAX + 1])
{
	if (o->plain)
		strcpy(ret, o->link);
	else
		fs_name_add_id(o->link, o->view->dataset_id, ret);
}

/* Both tables grow together; a failure is no harm but longer chains. */
static void grow_chains(struct fstree *t)
{
	size_t n = MAX(t->n_chains * 2, (size_t)CHAINS_MIN);
	struct fs_object **ids = calloc(n, sizeof(void *)), **links = calloc(n, sizeof(void *));

	if (!ids || !links) {
		free(ids);
		free(links);
		return;
	}
	free(t->ids);
	free(t->links);
	t->ids = ids;
	t->links = links;
	t->n_chains = n;
	for (size_t i = 1; i < t->n_slots; i++) {
		struct fs_object *o = t->slots[i], **chain;

		if (!o)
			continue;
		chain = &ids[id_chain(t, o->view->dataset_id)];
		o->next_id = *chain;
		*chain = o;
		if (!o->link)
			continue;
		chain = &links[link_chain(t, o->link)];
		o->next_link = *chain;
		*chain = o;
	}
}

static bool is_older(const struct fs_object *a, const struct fs_object *b)
{
	if (a->view->created_at != b->view->created_at)
		return a->view->created_at < b->view->created_at;
	return id128_compare(a->view->dataset_id, b->view->dataset_id) < 0;
}

static void link_changed(struct fstree *t, struct fs_object *o)
{
	char name[FSTREE_NAME_MAX + 1];

	fs_link_name(o, name);
	fs_notify_entry(t, IDX_BY_NAME, name);
}

static void set_plain(struct fstree *t, struct fs_object *o, bool plain)
{
	if (o->plain == plain)
		return;
	link_changed(t, o); /* the name that it has no more */
	o->plain = plain;
}

void fs_name_settle(struct fstree *t, const char *link)
{
	struct fs_object *chain = t->links[link_chain(t, link)], *oldest = NULL, *o;

	for (o = chain; o; o = o->next_link)
		if (STREQ(o->link, link) && (!oldest || is_older(o, oldest)))
			oldest = o;
	for (o = chain; o; o = o->next_link)
		if (STREQ(o->link, link))
			set_plain(t, o, o == oldest);
}

void fs_name_remove(struct fstree *t, struct fs_object *o)
{
	_cleanup_free_ char *link = TAKE_PTR(o->link);
	struct fs_object **p;

	if (!link)
		return;
	o->link = link;
	link_changed(t, o);
	o->link = NULL;
	o->plain = false;
	for (p = &t->links[link_chain(t, link)]; *p != o; p = &(*p)->next_link)
		assert(*p);
	*p = o->next_link;
	fs_name_settle(t, link);
	fs_touch(t, &t->node, IDX_BY_NAME);
}

void fs_name_add(struct fstree *t, struct fs_object *o, char *link)
{
	struct fs_object **chain;

	if (!link)
		return;
	chain = &t->links[link_chain(t, link)];
	o->link = link;
	o->next_link = *chain;
	*chain = o;
	fs_name_settle(t, link);
	fs_touch(t, &t->node, IDX_BY_NAME);
}

static int slot_new(struct fstree *t, size_t *ret)
{
	struct fs_object **grown;
	size_t n;

	while (t->low_free < t->n_slots && t->slots[t->low_free])
		t->low_free++;
	if (t->low_free >= SLOTS_MAX)
		return -ENOSPC;
	if (t->low_free == t->n_slots) {
		n = MIN(MAX(t->n_slots * 2, (size_t)CHAINS_MIN), (size_t)SLOTS_MAX);
		grown = realloc(t->slots, n * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		memset(grown + t->n_slots, 0, (n - t->n_slots) * sizeof(*grown));
		t->slots = grown;
		t->n_slots = n;
	}
	*ret = t->low_free;
	return 0;
}

int fs_table_add(struct fstree *t, struct fs_object *o)
{
	struct fs_object **chain;
	size_t slot;
	int r;

	r = slot_new(t, &slot);
	if (r < 0)
		return r;
	if (t->n_used >= t->n_chains)
		grow_chains(t);
	t->generation = (t->generation + 1) & ((1u << GEN_BITS) - 1);
	o->base = (uint64_t)t->generation << (SLOT_BITS + IDX_BITS) | slot << IDX_BITS;
	t->slots[slot] = o;
	t->n_used++;
	chain = &t->ids[id_chain(t, o->view->dataset_id)];
	o->next_id = *chain;
	*chain = o;
	return 0;
}

void fs_table_remove(struct fstree *t, struct fs_object *o)
{
	size_t slot = fs_slot_of(o->base);
	struct fs_object **p;

	for (p = &t->ids[id_chain(t, o->view->dataset_id)]; *p != o; p = &(*p)->next_id)
		assert(*p);
	*p = o->next_id;
	t->slots[slot] = NULL;
	t->low_free = MIN(t->low_free, slot);
	t->n_used--;
}

int fs_table_init(struct fstree *t)
{
	t->slots = calloc(CHAINS_MIN, sizeof(*t->slots));
	grow_chains(t);
	if (!t->slots || !t->ids)
		return -ENOMEM; /* fs_table_done() frees either */
	t->slots[0] = &t->node;
	t->n_slots = CHAINS_MIN;
	t->low_free = 1;
	return 0;
}

void fs_table_done(struct fstree *t)
{
	free(t->slots);
	free(t->ids);
	free(t->links);
}
