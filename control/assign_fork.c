/* SPDX-License-Identifier: Apache-2.0 */
/* A copy of the cluster in memory, to try on it what would come of something. */
#include "assign_private.h"

static void copy_node(struct assign *b, const struct node *from)
{
	struct node *n = assign_get_node(b, from->now.uuid), *hash_next = n->hash_next, *list_next = n->list_next;

	*n = *from;
	n->hash_next = hash_next;
	n->list_next = list_next;
	link_init(&n->owned);
	link_init(&n->wished);
	n->durable = true;
	n->txn = n->welcome_txn = 0;
	json_object_get(n->now.extra);
	n->kept = n->now;
	n->kept.extra = NULL;
	n->address = assign_strdup(from->address);
	n->backend = assign_strdup(from->backend);
	n->version = assign_strdup(from->version);
	n->backends = wire_backends_copy(from->backends, from->n_backends);
	if (from->n_backends && !n->backends)
		abort();
	n->unknown = NULL;
	n->n_unknown = 0;
}

/* New ones come first in the list, and who comes first counts where two are as good. */
static void copy_nodes(struct assign *b, const struct assign *a)
{
	size_t n = 0, i = a->nodes.n;
	const struct node **all = assign_alloc((i + 1) * sizeof(*all));

	for (const struct node *node = a->first_node; node; node = node->list_next)
		all[n++] = node;
	while (n > 0)
		copy_node(b, all[--n]);
	free(all);
}

static void copy_dataset(struct assign *b, const struct ads *from)
{
	struct ads *ds = assign_add(b, &from->now);

	ds_record_copy(&from->now, &ds->kept);
	ds->durable = true;
	ds->keep_until_ms = from->keep_until_ms;
	ds->fact = from->fact;
	ds->dropping = from->dropping;
	ds->releasing = from->releasing;
	ds->has_status = from->has_status;
	if (from->has_status && wire_status_copy(&from->status, &ds->status) < 0)
		abort();
	ds->status_node = from->status_node;
	ds->status_boot = from->status_boot;
	ds->status_at_ms = from->status_at_ms;
	ds->retry_at_ms = from->retry_at_ms;
	ds->named_in = from->named_in;
	ds->granted_ms = from->granted_ms;
	ds->lingerer = from->lingerer;
	/* ds->told stays empty: what the owner was told and has not done yet is told once more. */
	ds->waiter = from->waiter;
}

static void copy_pin(struct assign *b, const struct pin *from)
{
	struct pin *p = assign_get_pin(b, from->now.record.dataset_id);

	p->now = from->now;
	json_object_get(p->now.record.extra);
	p->kept = p->now;
	p->kept.record.extra = NULL;
}

/* What a node is told first, and which of its datasets is placed first, goes by the order of its lists. */
static void order_as(struct assign *b, const struct node *from)
{
	struct node *n = assign_find_node(b, from->now.uuid);

	list_for_each(l, &from->owned) {
		struct ads *ds = assign_find(b, LINK_ITEM(l, struct ads, owned)->now.dataset_id);

		if (ds) {
			link_remove(&ds->owned);
			link_append(&n->owned, &ds->owned);
		}
	}
	list_for_each(l, &from->wished) {
		struct ads *ds = assign_find(b, LINK_ITEM(l, struct ads, wished)->now.dataset_id);

		if (ds) {
			link_remove(&ds->wished);
			link_append(&n->wished, &ds->wished);
		}
	}
}

/* How many a node has counts where it is chosen, also of those that are not copied. */
static void count_as(struct assign *b, const struct node *from)
{
	struct node *n = assign_find_node(b, from->now.uuid);

	n->n_owned = from->n_owned;
	n->n_wished = from->n_wished;
}

struct assign *assign_fork(const struct assign *a, const struct id128 *only)
{
	const struct ads *ds = only ? assign_find(a, *only) : NULL;
	const struct pin *pin = only ? assign_find_pin(a, *only) : NULL;
	struct assign *b;

	if (assign_new(a->incarnation, a->started_ms, &b) < 0)
		abort();
	b->last_txn = a->last_txn;
	b->outdated = a->outdated;
	b->pins_at_ms = a->pins_at_ms;
	b->floor = b->kept_floor = a->floor;
	b->n_unheard = a->n_unheard;
	b->stopping = a->stopping;
	b->reconnect_ms = a->reconnect_ms;
	b->terms_at_ms = a->terms_at_ms;
	b->loading = false;
	copy_nodes(b, a);
	if (ds && !ds->dropping)
		copy_dataset(b, ds);
	if (pin && pin->now.held)
		copy_pin(b, pin);
	if (!only) {
		list_for_each(l, &a->all)
			if (!LINK_ITEM(l, struct ads, all)->dropping)
				copy_dataset(b, LINK_ITEM(l, struct ads, all));
		list_for_each(l, &a->all_pins)
			if (LINK_ITEM(l, struct pin, all)->now.held)
				copy_pin(b, LINK_ITEM(l, struct pin, all));
	}
	for (const struct node *n = a->first_node; n; n = n->list_next) {
		if (!only)
			order_as(b, n);
		count_as(b, n);
	}
	b->windows_at_ms = a->windows_at_ms;
	return b;
}
