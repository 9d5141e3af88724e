/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the API calls a lease: it pins a dataset to the node that owns it. A move or a delete is taken, and waits
 * until the pin ends. Whether it is mounted there at the moment does not count: a node that looks, or that is
 * away, does not say. Here it is called a pin, since a policy is called lease as well.
 */
#include "assign_private.h"
#include "text.h"

#define SWEEP_MS 500 /* as with the original, clients see for a moment that it ran out */

static const uint64_t ever = UINT64_MAX;

const struct pin *assign_pinned(const struct assign *a, const struct ads *ds)
{
	const struct pin *p = assign_find_pin(a, ds->now.dataset_id);

	return p && p->now.held && id128_equal(p->now.record.node, ds->now.owner) ? p : NULL;
}

char *assign_pin_text(const struct assign *a, struct id128 dataset_id, char *buf, size_t size)
{
	const struct pin *p = assign_find_pin(a, dataset_id);
	char when[64] = "until it is released";

	*buf = '\0';
	if (!p || !p->now.held)
		return buf;
	if (p->now.record.expires_ms != PIN_ENDLESS)
		snprintf(when, sizeof(when), "until %s", TEXT_TIME(p->now.record.expires_ms / 1000));
	snprintf(buf, size, "node %s, %s", ID128_STR(p->now.record.node), when);
	return buf;
}

uint64_t assign_pin_txn(const struct assign *a, struct id128 dataset_id)
{
	const struct pin *p = assign_find_pin(a, dataset_id);

	return p ? p->txn : 0;
}

static void settle_of(struct decision *d, struct id128 dataset_id)
{
	struct ads *ds = assign_find(d->a, dataset_id);

	if (ds)
		assign_settle(d, ds);
}

static void end_pin(struct decision *d, struct pin *p, const char *why)
{
	struct pin_form next = p->now;

	next.held = false;
	decision_change_pin(d, p, &next, why);
}

static struct pin_form form_of(const struct pin_record *r, uint64_t now_ms, int64_t left_ms)
{
	struct pin_form f = { .record = *r, .held = true, .sweep_ms = ever };

	if (r->expires_ms == PIN_ENDLESS)
		return f;
	f.ends_ms = (int64_t)now_ms + left_ms;
	f.sweep_ms = now_ms + (uint64_t)MAX(left_ms, INT64_C(0)) + SWEEP_MS;
	return f;
}

int assign_check_pin(const struct assign *a, const struct assign_event *ev)
{
	const struct pin *p = assign_find_pin(a, ev->type == ASSIGN_PIN ? ev->pin->dataset_id : ev->dataset_id);
	bool held = p && p->now.held;

	if (ev->type == ASSIGN_UNPIN)
		return held ? 0 : -ENOENT;
	return held && !id128_equal(p->now.record.node, ev->pin->node) ? -EBUSY : 0;
}

void assign_on_pin(struct decision *d, const struct assign_event *ev)
{
	struct pin_form next = form_of(ev->pin, d->now_ms, ev->pin_ms);
	struct pin *p = assign_get_pin(d->a, ev->pin->dataset_id);

	if (!p->now.held || p->now.sweep_ms != ever || next.sweep_ms != ever) {
		decision_change_pin(d, p, &next, NULL);
		settle_of(d, ev->pin->dataset_id);
	}
	d->result->txn = p->txn;
}

void assign_on_unpin(struct decision *d, const struct assign_event *ev)
{
	struct pin *p = assign_find_pin(d->a, ev->dataset_id);

	end_pin(d, p, "it was released");
	settle_of(d, ev->dataset_id);
	d->result->txn = p->txn;
}

void assign_end_pins(struct decision *d)
{
	struct assign *a = d->a;

	if (d->now_ms < a->pins_at_ms || a->outdated)
		return;
	a->pins_at_ms = ever;
	list_for_each(l, &a->all_pins) {
		struct pin *p = LINK_ITEM(l, struct pin, all);

		if (!p->now.held)
			continue;
		if (p->now.sweep_ms > d->now_ms) {
			a->pins_at_ms = MIN(a->pins_at_ms, p->now.sweep_ms);
			continue;
		}
		end_pin(d, p, "its time is over");
		settle_of(d, p->now.record.dataset_id);
	}
}

static void end_if_of(struct decision *d, struct pin *p, struct id128 node)
{
	if (p->now.held && id128_equal(p->now.record.node, node))
		end_pin(d, p, "its node was fenced");
}

void assign_end_pin_of(struct decision *d, struct id128 dataset_id, struct id128 node)
{
	struct pin *p = assign_find_pin(d->a, dataset_id);

	if (p)
		end_if_of(d, p, node);
}

void assign_end_pins_of(struct decision *d, struct id128 node)
{
	list_for_each(l, &d->a->all_pins)
		end_if_of(d, LINK_ITEM(l, struct pin, all), node);
}

/* ---- what is kept for a while only ---- */

static bool is_long_deleted(const struct ds_record *r, const struct assign_event *ev)
{
	int64_t since = MAX(r->deleted_at, r->created_at);

	return r->deleted && id128_is_nil(r->volume_id) && id128_is_nil(r->owner) &&
	       ev->now_s - since > (int64_t)MIN(ev->retention_s, (uint64_t)INT64_MAX / 2);
}

/*
 * Nodes remember epochs of what is dropped here, and somebody may make a dataset of the same id: its
 * epochs begin above.
 */
void assign_on_expire(struct decision *d, const struct assign_event *ev)
{
	struct assign *a = d->a;
	uint64_t floor = a->floor;

	if (a->outdated)
		return;
	list_for_each(l, &a->all) {
		struct ads *ds = LINK_ITEM(l, struct ads, all);

		if (!ds->durable || ds->dropping || !is_long_deleted(&ds->kept, ev))
			continue;
		floor = MAX(floor, ds->now.epoch);
		decision_drop_ds(d, ds);
	}
	if (floor > a->floor)
		decision_raise_floor(d, floor);
	for (struct node *n = a->first_node; n; n = n->list_next)
		if (!n->session && n->heard && d->now_ms - n->heard_ms > ev->retention_s * 1000)
			n->boot = ID128_NIL;
}

/* ---- beginning, and what others may know ---- */

void assign_load_pin(struct assign *a, const struct pin_record *r, int64_t left_ms)
{
	struct pin *p = assign_get_pin(a, r->dataset_id);

	p->now = p->kept = form_of(r, a->started_ms, left_ms);
	p->kept.record.extra = NULL;
	json_object_get(p->now.record.extra);
	a->pins_at_ms = MIN(a->pins_at_ms, p->now.sweep_ms);
}

static void view_of(const struct pin_form *f, uint64_t now_ms, struct assign_pin_view *ret)
{
	*ret = (struct assign_pin_view){
		.dataset_id = f->record.dataset_id,
		.node = f->record.node,
		.endless = f->sweep_ms == ever,
		.left_ms = f->ends_ms - (int64_t)now_ms,
		.expires_ms = f->record.expires_ms,
	};
}

int assign_pin(const struct assign *a, uint64_t now_ms, struct id128 dataset_id, bool newest,
	struct assign_pin_view *ret)
{
	const struct pin *p = assign_find_pin(a, dataset_id);
	const struct pin_form *f;

	if (!p)
		return -ENOENT;
	f = newest ? &p->now : &p->kept;
	if (!f->held)
		return -ENOENT;
	view_of(f, now_ms, ret);
	return 0;
}

int assign_pins(const struct assign *a, uint64_t now_ms,
	int (*fn)(const struct assign_pin_view *v, void *userdata), void *userdata)
{
	list_for_each(l, &a->all_pins) {
		const struct pin *p = LINK_ITEM(l, struct pin, all);
		struct assign_pin_view v;
		int r;

		if (!p->kept.held)
			continue;
		view_of(&p->kept, now_ms, &v);
		r = fn(&v, userdata);
		if (r)
			return r;
	}
	return 0;
}
