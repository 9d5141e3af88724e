/* SPDX-License-Identifier: Apache-2.0 */
/* The tables and lists of assign, and the way of a change to the disk and back. */
#include "assign_private.h"
#include "text.h"

void *assign_alloc(size_t size)
{
	void *p = calloc(1, size);

	if (!p)
		abort(); /* half a decision is worse than a restart, which finds everything again */
	return p;
}

char *assign_strdup(const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	if (text && !copy)
		abort();
	return copy;
}

/* ---- lists ---- */

void link_init(struct link *l)
{
	l->prev = l->next = l;
}

bool link_empty(const struct link *l)
{
	return l->next == l;
}

void link_append(struct link *head, struct link *l)
{
	l->prev = head->prev;
	l->next = head;
	head->prev->next = l;
	head->prev = l;
}

void link_remove(struct link *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	link_init(l);
}

/* ---- tables: chained through the first member of what they hold ---- */

struct chained {
	struct chained *next;
};

static void table_grow(struct table *t, size_t (*slot_of)(const struct table *, const void *))
{
	struct table bigger = { .n_slots = t->n_slots ? t->n_slots * 2 : 64, .n = t->n };

	bigger.slots = assign_alloc(bigger.n_slots * sizeof(void *));
	for (size_t i = 0; i < t->n_slots; i++)
		for (struct chained *c = t->slots[i], *next; c; c = next) {
			size_t slot = slot_of(&bigger, c);

			next = c->next;
			c->next = bigger.slots[slot];
			bigger.slots[slot] = c;
		}
	free(t->slots);
	*t = bigger;
}

static void table_add(struct table *t, void *item,
	size_t (*slot_of)(const struct table *, const void *))
{
	struct chained *c = item;
	size_t slot;

	if (t->n >= t->n_slots)
		table_grow(t, slot_of);
	slot = slot_of(t, item);
	c->next = t->slots[slot];
	t->slots[slot] = c;
	t->n++;
}

static size_t ads_slot(const struct table *t, const void *item)
{
	const struct ads *ds = item;

	return id128_hash(ds->now.dataset_id) & (t->n_slots - 1);
}

static size_t node_slot(const struct table *t, const void *item)
{
	const struct node *n = item;

	return id128_hash(n->now.uuid) & (t->n_slots - 1);
}

static size_t pin_slot(const struct table *t, const void *item)
{
	const struct pin *p = item;

	return id128_hash(p->now.record.dataset_id) & (t->n_slots - 1);
}

static void table_remove(struct table *t, void *item, size_t slot)
{
	struct chained **p = (struct chained **)&t->slots[slot];

	while (*p != item)
		p = &(*p)->next;
	*p = (*p)->next;
	t->n--;
}

struct ads *assign_find(const struct assign *a, struct id128 id)
{
	struct ads *ds;

	if (!a->datasets.n)
		return NULL;
	ds = a->datasets.slots[id128_hash(id) & (a->datasets.n_slots - 1)];
	while (ds && !id128_equal(ds->now.dataset_id, id))
		ds = ds->hash_next;
	return ds;
}

struct node *assign_find_node(const struct assign *a, struct id128 uuid)
{
	struct node *n;

	if (!a->nodes.n)
		return NULL;
	n = a->nodes.slots[id128_hash(uuid) & (a->nodes.n_slots - 1)];
	while (n && !id128_equal(n->now.uuid, uuid))
		n = n->hash_next;
	return n;
}

struct node *assign_get_node(struct assign *a, struct id128 uuid)
{
	struct node *n = assign_find_node(a, uuid);

	if (n)
		return n;
	n = assign_alloc(sizeof(*n));
	n->now.uuid = uuid;
	link_init(&n->owned);
	link_init(&n->wished);
	table_add(&a->nodes, n, node_slot);
	n->list_next = a->first_node;
	a->first_node = n;
	return n;
}

struct pin *assign_find_pin(const struct assign *a, struct id128 dataset_id)
{
	struct pin *p;

	if (!a->pins.n)
		return NULL;
	p = a->pins.slots[id128_hash(dataset_id) & (a->pins.n_slots - 1)];
	while (p && !id128_equal(p->now.record.dataset_id, dataset_id))
		p = p->hash_next;
	return p;
}

struct pin *assign_get_pin(struct assign *a, struct id128 dataset_id)
{
	struct pin *p = assign_find_pin(a, dataset_id);

	if (p)
		return p;
	p = assign_alloc(sizeof(*p));
	p->now.record.dataset_id = p->kept.record.dataset_id = dataset_id;
	table_add(&a->pins, p, pin_slot);
	link_append(&a->all_pins, &p->all);
	return p;
}

void assign_drop_pin(struct assign *a, struct pin *p)
{
	table_remove(&a->pins, p, pin_slot(&a->pins, p));
	link_remove(&p->all);
	pin_record_done(&p->now.record);
	free(p);
}

/* ---- datasets by a text ---- */

static size_t named_slot(const struct table *t, const void *item)
{
	const struct named *n = item;

	return n->hash & (t->n_slots - 1);
}

static void unname(struct table *t, struct named *n)
{
	if (n->ds)
		table_remove(t, n, named_slot(t, n));
	n->ds = NULL;
}

/* @size: of the text's part that counts. NULL: it has none. */
static void name(struct table *t, struct named *n, struct ads *ds, const char *text, size_t size)
{
	uint64_t hash = text ? text_hash(text, size) : 0;

	if (text && n->ds && n->hash == hash)
		return;
	unname(t, n);
	if (!text)
		return;
	*n = (struct named){ .hash = hash, .ds = ds };
	table_add(t, n, named_slot);
}

static const char *name_of(const struct ds_record *r)
{
	return r->deleted ? NULL : ds_record_text(r, RECORD_NAME_KEY);
}

static const char *key_of(const struct ds_record *r)
{
	return r->idempotency ? json_object_get_string(r->idempotency) : NULL;
}

static void rename_ds(struct assign *a, struct ads *ds)
{
	const char *text = name_of(&ds->now), *key = key_of(&ds->now);

	name(&a->names, &ds->by_name, ds, text, text ? strlen(text) : 0);
	name(&a->keys, &ds->by_key, ds, key, key ? strcspn(key, " ") : 0);
}

static const struct named *first_named(const struct table *t, uint64_t hash)
{
	return t->n ? t->slots[hash & (t->n_slots - 1)] : NULL;
}

/* Of several the oldest, which v1 allows. */
int assign_find_name(const struct assign *a, const char *text, struct id128 *ret)
{
	const struct ads *oldest = NULL;

	for (const struct named *n = first_named(&a->names, text_hash(text, strlen(text))); n; n = n->next)
		if (!n->ds->dropping && STREQ(name_of(&n->ds->now), text) &&
			(!oldest || ds_record_is_older(&n->ds->now, &oldest->now)))
			oldest = n->ds;
	if (!oldest)
		return -ENOENT;
	*ret = oldest->now.dataset_id;
	return 0;
}

int assign_find_idempotency(const struct assign *a, const char *key, struct id128 *ret)
{
	size_t size = strlen(key);

	for (const struct named *n = first_named(&a->keys, text_hash(key, size)); n; n = n->next) {
		const char *has = key_of(&n->ds->now);

		if (!n->ds->dropping && strcspn(has, " ") == size && memcmp(has, key, size) == 0) {
			*ret = n->ds->now.dataset_id;
			return 0;
		}
	}
	return -ENOENT;
}

const char *assign_idempotency(const struct assign *a, struct id128 id)
{
	const struct ads *ds = assign_find(a, id);

	return (ds ? key_of(&ds->now) : NULL) ?: "";
}

/* ---- datasets ---- */

static void own(struct ads *ds, struct node *n)
{
	if (ds->owned_by)
		ds->owned_by->n_owned--;
	link_remove(&ds->owned);
	ds->owned_by = n;
	if (!n)
		return;
	link_append(&n->owned, &ds->owned);
	n->n_owned++;
}

static void wish(struct ads *ds, struct node *n)
{
	if (ds->wished_by)
		ds->wished_by->n_wished--;
	link_remove(&ds->wished);
	ds->wished_by = n;
	if (!n)
		return;
	link_append(&n->wished, &ds->wished);
	n->n_wished++;
}

static struct node *node_or_null(struct assign *a, struct id128 uuid)
{
	return id128_is_nil(uuid) ? NULL : assign_get_node(a, uuid);
}

static void relink(struct assign *a, struct ads *ds)
{
	const struct ds_record *r = &ds->now;

	own(ds, node_or_null(a, r->owner));
	wish(ds, node_or_null(a, r->primary));
	link_remove(&ds->anywhere);
	link_remove(&ds->window);
	rename_ds(a, ds);
	if (r->deleted && r->undelete_until) {
		link_append(&a->windows, &ds->window);
		a->windows_at_ms = MIN(a->windows_at_ms, ds->keep_until_ms);
	}
	if (assign_may_fail_over(r) ||
		(r->deleted && !id128_is_nil(r->volume_id) && id128_is_nil(r->owner)))
		link_append(&a->anywhere, &ds->anywhere);
}

/* A new one is nearly always the last. */
static void add_by_age(struct assign *a, struct ads *ds)
{
	struct link *next = &a->all;

	while (!a->loading && next->prev != &a->all &&
		ds_record_is_older(&ds->now, &LINK_ITEM(next->prev, struct ads, all)->now))
		next = next->prev;
	link_append(next, &ds->all);
}

static int compare_ages(const void *a, const void *b)
{
	const struct ads *one = *(const struct ads *const *)a, *other = *(const struct ads *const *)b;

	return ds_record_is_older(&one->now, &other->now) ? -1 : 1;
}

void assign_loaded(struct assign *a)
{
	struct ads **sorted = assign_alloc((a->datasets.n + 1) * sizeof(*sorted));
	size_t n = 0;

	list_for_each(l, &a->all)
		sorted[n++] = LINK_ITEM(l, struct ads, all);
	qsort(sorted, n, sizeof(*sorted), compare_ages);
	for (size_t i = 0; i < n; i++) {
		link_remove(&sorted[i]->all);
		link_append(&a->all, &sorted[i]->all);
	}
	free(sorted);
	a->loading = false;
}

struct ads *assign_add(struct assign *a, const struct ds_record *r)
{
	struct ads *ds = assign_alloc(sizeof(*ds));

	ds_record_copy(r, &ds->now);
	link_init(&ds->all);
	link_init(&ds->owned);
	link_init(&ds->wished);
	link_init(&ds->retry);
	link_init(&ds->anywhere);
	link_init(&ds->window);
	table_add(&a->datasets, ds, ads_slot);
	add_by_age(a, ds);
	relink(a, ds);
	return ds;
}

void assign_drop(struct assign *a, struct ads *ds)
{
	table_remove(&a->datasets, ds, ads_slot(&a->datasets, ds));
	unname(&a->names, &ds->by_name);
	unname(&a->keys, &ds->by_key);
	own(ds, NULL);
	wish(ds, NULL);
	link_remove(&ds->all);
	link_remove(&ds->retry);
	link_remove(&ds->anywhere);
	link_remove(&ds->window);
	wire_status_done(&ds->status);
	ds_record_done(&ds->now);
	if (ds->durable)
		ds_record_done(&ds->kept);
	free(ds);
}

void assign_set_now(struct assign *a, struct ads *ds, const struct ds_record *r)
{
	struct ds_record copy;

	ds_record_copy(r, &copy);
	ds_record_done(&ds->now);
	ds->now = copy;
	relink(a, ds);
}

/* ---- changes ---- */

static void add_pending(struct assign *a, struct pending *p)
{
	*a->last_pending = p;
	a->last_pending = &p->next;
}

/* What users configure, and not what becomes of it. */
static bool same_configuration(const struct ds_record *a, const struct ds_record *b)
{
	return id128_equal(a->primary, b->primary) && a->deleted == b->deleted &&
	       a->maximum_size == b->maximum_size && a->want_bytes == b->want_bytes && a->metadata == b->metadata &&
	       failover_equal(a->failover, b->failover);
}

/* @configures: readers of the configuration see another one afterwards. */
static struct assign_change *add_change(struct decision *d, bool configures)
{
	struct assign_result *r = d->result;

	if (!r->n_changes)
		r->txn = ++d->a->last_txn;
	d->a->n_changes += configures;
	r->changes = realloc(r->changes, (r->n_changes + 1) * sizeof(*r->changes));
	if (!r->changes)
		abort();
	memset(&r->changes[r->n_changes], 0, sizeof(*r->changes));
	return &r->changes[r->n_changes++];
}

void decision_change_ds(struct decision *d, struct ads *ds, const struct ds_record *next)
{
	bool is_new = !ds->durable && !ds->txn;
	struct assign_change *change;
	struct pending *p;

	if (ds->dropping)
		return; /* it would come back in the store, and is freed when the drop is durable */
	change = add_change(d, is_new || !same_configuration(&ds->now, next));
	p = assign_alloc(sizeof(*p));
	ds_record_copy(next, &change->ds);
	ds_record_copy(next, &p->ds_record);
	p->txn = ds->txn = d->result->txn;
	p->ds = ds;
	add_pending(d->a, p);
	assign_set_now(d->a, ds, next);
	assign_watch_term(d->a, d->now_ms, next);
}

/* All but what is counted. */
static void set_node(struct node_record *r, const struct node_record *from)
{
	r->host = from->host;
	r->given_up = from->given_up;
	r->forgotten = from->forgotten;
	r->draining_since = from->draining_since;
}

static void copy_node_record(const struct node_record *r, struct node_record *ret)
{
	*ret = *r;
	json_object_get(ret->extra);
}

void decision_change_node(struct decision *d, struct node *n, const struct node_record *next)
{
	struct assign_change *change = add_change(d, false);
	struct pending *p = assign_alloc(sizeof(*p));

	change->kind = CHANGE_NODE;
	copy_node_record(next, &change->node);
	copy_node_record(next, &p->node_record);
	p->txn = n->txn = d->result->txn;
	p->node = n;
	add_pending(d->a, p);
	set_node(&n->now, next);
}

void decision_drop_ds(struct decision *d, struct ads *ds)
{
	struct assign_change *change = add_change(d, true);
	struct pending *p = assign_alloc(sizeof(*p));

	change->drop = p->drop = ds->dropping = true;
	ds_record_copy(&ds->now, &change->ds);
	p->txn = ds->txn = d->result->txn;
	p->ds = ds;
	add_pending(d->a, p);
}

void decision_raise_floor(struct decision *d, uint64_t floor)
{
	struct assign_change *change = add_change(d, false);
	struct pending *p = assign_alloc(sizeof(*p));

	change->kind = CHANGE_FLOOR;
	change->floor = p->floor = d->a->floor = floor;
	p->txn = d->result->txn;
	add_pending(d->a, p);
}

/* What is not known of it is kept once, by the newest form. */
static void set_pin(struct pin_form *form, const struct pin_form *from)
{
	struct json_object *extra = form->record.extra;

	*form = *from;
	form->record.extra = extra;
}

void decision_change_pin(struct decision *d, struct pin *p, const struct pin_form *next, const char *why)
{
	struct assign_change *change = add_change(d, true);
	struct pending *w = assign_alloc(sizeof(*w));

	change->kind = CHANGE_PIN;
	change->drop = !next->held;
	change->why = why;
	set_pin(&p->now, next);
	change->pin = p->now.record;
	json_object_get(change->pin.extra);
	w->pin_form = *next;
	w->pin_form.record.extra = NULL;
	w->txn = p->txn = d->result->txn;
	w->pin = p;
	p->n_pending++;
	add_pending(d->a, w);
	if (next->held)
		d->a->pins_at_ms = MIN(d->a->pins_at_ms, next->sweep_ms);
}

static void pending_free(struct pending *p)
{
	ds_record_done(&p->ds_record);
	node_record_done(&p->node_record);
	free(p);
}

static struct pending *pop_pending(struct assign *a)
{
	struct pending *p = a->first_pending;

	a->first_pending = p->next;
	if (!a->first_pending)
		a->last_pending = &a->first_pending;
	return p;
}

void assign_committed(struct assign *a, uint64_t txn)
{
	while (a->first_pending && a->first_pending->txn <= txn) {
		struct pending *p = pop_pending(a);

		if (p->ds && p->drop) {
			assign_drop(a, p->ds); /* nothing changes it behind that, so nothing else is pending */
		} else if (p->ds) {
			if (p->ds->durable)
				ds_record_done(&p->ds->kept);
			ds_record_copy(&p->ds_record, &p->ds->kept);
			p->ds->durable = true;
		} else if (p->node) {
			set_node(&p->node->kept, &p->node_record);
			p->node->durable = true;
		} else if (p->pin) {
			set_pin(&p->pin->kept, &p->pin_form);
			if (--p->pin->n_pending == 0 && !p->pin->now.held)
				assign_drop_pin(a, p->pin);
		} else {
			a->kept_floor = p->floor;
		}
		pending_free(p);
	}
}

/* What it was told may not have left: it is looked at again. */
static void untell(struct assign *a, struct ads *ds)
{
	ds->told.session = 0;
	ds->waiter.session = 0;
	ds->releasing = false;
	if (link_empty(&ds->retry))
		link_append(&a->retry, &ds->retry);
}

/* Back to what is durable. What nodes said stays known as facts, so a retry finds it again. */
static void roll_back_ds(struct assign *a, struct ads *ds)
{
	if (!ds->durable) {
		assign_drop(a, ds);
		return;
	}
	assign_set_now(a, ds, &ds->kept);
	ds->txn = 0;
	ds->dropping = false;
	untell(a, ds);
}

/* The orders that waited for it are dropped as well. */
static void roll_back_pin(struct assign *a, struct pin *p)
{
	struct ads *ds = assign_find(a, p->now.record.dataset_id);

	set_pin(&p->now, &p->kept);
	p->txn = p->n_pending = 0;
	if (ds)
		untell(a, ds);
}

/* Its welcome went down with it: it dials again. */
static void roll_back_node(struct node *n)
{
	set_node(&n->now, &n->kept);
	n->txn = 0;
}

void assign_failed(struct assign *a, uint64_t now_ms, uint64_t txn)
{
	struct pending *voided = a->first_pending;

	assert(!voided || voided->txn >= txn);
	a->first_pending = NULL;
	a->last_pending = &a->first_pending;
	a->retry_at_ms = now_ms + RETRY_MS;
	a->terms_at_ms = MIN(a->terms_at_ms, a->retry_at_ms);
	a->pins_at_ms = MIN(a->pins_at_ms, a->retry_at_ms);
	a->windows_at_ms = MIN(a->windows_at_ms, a->retry_at_ms);
	a->n_changes++;
	a->floor = a->kept_floor;
	while (voided) {
		struct pending *p = voided;

		voided = p->next;
		/* A dataset may stand in several: the first turn rolls it back, or drops it. */
		for (struct pending *q = voided; q && p->ds && !p->ds->durable; q = q->next)
			if (q->ds == p->ds)
				q->ds = NULL;
		if (p->ds)
			roll_back_ds(a, p->ds);
		else if (p->node)
			roll_back_node(p->node);
		else if (p->pin)
			roll_back_pin(a, p->pin);
		pending_free(p);
	}
	list_for_each(l, &a->all_pins) {
		struct pin *p = LINK_ITEM(l, struct pin, all);

		if (!p->now.held)
			assign_drop_pin(a, p);
	}
}
