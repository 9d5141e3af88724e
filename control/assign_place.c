/* SPDX-License-Identifier: Apache-2.0 */
/* Where control places what nobody placed: where there is the most room, and not where a node drains. */
#include "assign_private.h"
#include "failover_to.h"
#include "text.h"

static int64_t room(const struct node *n)
{
	return (int64_t)n->free_bytes - (int64_t)n->promised_bytes;
}

static bool may_take(const struct node *n, const struct ads *ds, const char *names)
{
	if (!n->session || n->now.draining_since || (names && !failover_to_names(names, n->now.uuid)))
		return false;
	/* Nothing was made of it yet: any backend can. */
	return !ds || ds->now.epoch == ds->now.born_epoch || (n->shared && !assign_has_to_clean_up(ds, n));
}

struct node *assign_roomiest(const struct assign *a, const struct ads *ds, const char *names)
{
	struct node *best = NULL;

	for (struct node *n = a->first_node; n; n = n->list_next) {
		if (!may_take(n, ds, names))
			continue;
		if (!best || room(n) > room(best) || (room(n) == room(best) && n->n_wished < best->n_wished))
			best = n;
	}
	return best;
}

void assign_place(const struct assign *a, struct node *n, struct ds_record *next, const char *why)
{
	bool told = n->free_bytes > 0 || (n->n_backends > 0 && n->backends[0].capacity_bytes > 0);
	/* What exists already takes no more room elsewhere. */
	bool tight = told && next->epoch == next->born_epoch && room(n) < (int64_t)next->want_bytes;
	char text[320], less[64] = "";
	size_t connected = 0;

	for (const struct node *other = a->first_node; other; other = other->list_next)
		connected += other->session != 0;
	if (tight)
		snprintf(less, sizeof(less), ", which is less than the %s that this may come to need",
			TEXT_BYTES(next->want_bytes));
	snprintf(text, sizeof(text), "%s; of %zu connected node%s %s has the most free space that is not promised "
		"(%s)%s", why, connected, connected == 1 ? "" : "s", n->address ?: "it",
		TEXT_BYTES((uint64_t)MAX(room(n), INT64_C(0))), less);
	n->promised_bytes += next->want_bytes;
	next->primary = n->now.uuid;
	json_object_put(next->chosen);
	next->chosen = json_object_new_string(text);
	if (!next->chosen)
		abort();
}

void assign_drain(const struct decision *d, const struct ads *ds, struct ds_record *next)
{
	const struct node *from = assign_find_node(d->a, next->primary);
	struct node *to;
	char why[96];

	if (!from || !from->now.draining_since || next->deleted || assign_pinned(d->a, ds))
		return;
	to = assign_roomiest(d->a, ds, ds_record_text(next, FAILOVER_TO_KEY));
	if (!to)
		return;
	snprintf(why, sizeof(why), "%s drains", from->address ?: ID128_STR(from->now.uuid));
	assign_place(d->a, to, next, why);
	next->failed_over = false;
}

void assign_drain_all(struct decision *d)
{
	for (const struct node *n = d->a->first_node; n; n = n->list_next)
		if (n->now.draining_since)
			list_for_each(l, &n->wished)
				assign_settle(d, LINK_ITEM(l, struct ads, wished));
}

char *assign_drain_why(const struct assign *a, uint64_t now_ms, struct id128 id, char *buf, size_t size)
{
	const struct ads *ds = assign_find(a, id);
	const struct node *n = ds ? assign_find_node(a, ds->now.primary) : NULL;
	char lease[WIRE_LEASE_MAX];

	if (!n || !n->now.draining_since || ds->now.deleted)
		return assign_why(a, now_ms, id, buf, size);
	if (assign_pinned(a, ds))
		snprintf(buf, size, "a lease keeps it there: %s", assign_pin_text(a, id, lease, sizeof(lease)));
	else if (ds_record_text(&ds->now, FAILOVER_TO_KEY) && assign_roomiest(a, ds, NULL))
		snprintf(buf, size, "of the nodes that " FAILOVER_TO_KEY " names none that could take it is connected");
	else
		snprintf(buf, size, "no other node that could take it is connected");
	return buf;
}
