/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients and operators ask for: whether it can be had, and what it makes of the records. Whether is
 * asked first and changes nothing, so that a client may ask for that alone.
 */
#include "assign_private.h"

bool assign_is_wish(enum assign_event_type type)
{
	switch (type) {
	case ASSIGN_CREATE:
	case ASSIGN_MOVE:
	case ASSIGN_PATCH:
	case ASSIGN_DELETE:
	case ASSIGN_UNDELETE:
	case ASSIGN_PURGE:
	case ASSIGN_PIN:
	case ASSIGN_UNPIN:
	case ASSIGN_REPLACE:
	case ASSIGN_FENCE:
	case ASSIGN_FORGET:
	case ASSIGN_DRAIN:
	case ASSIGN_UNDRAIN:
		return true;
	default:
		return false;
	}
}

/* ---- can it be had? ---- */

static bool name_is_taken(const struct assign *a, const char *name, struct id128 by_other_than)
{
	struct id128 id;

	return name && assign_find_name(a, name, &id) == 0 && !id128_equal(id, by_other_than);
}

static bool drains(const struct assign *a, struct id128 node)
{
	const struct node *n = assign_find_node(a, node);

	return n && n->now.draining_since;
}

static int check_create(const struct assign *a, const struct assign_event *ev)
{
	const struct ds_record *r = ev->record;

	if (assign_find(a, r->dataset_id))
		return -EEXIST;
	if (ev->strict && name_is_taken(a, ds_record_text(r, RECORD_NAME_KEY), r->dataset_id))
		return -EADDRINUSE;
	if (ev->strict && drains(a, r->primary))
		return -EHOSTDOWN;
	if (ev->place && !assign_roomiest(a, NULL, NULL))
		return -EHOSTUNREACH;
	return 0;
}

static struct assign_patch patch_of(const struct assign_event *ev)
{
	return ev->type == ASSIGN_PATCH ? *ev->patch :
		(struct assign_patch){ .move = true, .primary = ev->primary };
}

/* How many keys there are when those of @patch are merged into @map. */
static int merged_length(struct json_object *map, struct json_object *patch)
{
	int n = json_object_object_length(map);

	json_object_object_foreach(patch, key, value)
		n += (value ? 1 : 0) - (json_object_object_get_ex(map, key, NULL) ? 1 : 0);
	return n;
}

static int check_change(const struct assign *a, const struct assign_event *ev)
{
	const struct ads *ds = assign_find(a, ev->dataset_id);
	struct assign_patch p = patch_of(ev);
	struct json_object *name = NULL;

	if (!ds || ds->dropping)
		return -ENOENT;
	if (ds->now.deleted)
		return -EOWNERDEAD;
	if (p.want_bytes && p.want_bytes < ds->now.want_bytes)
		return -EFBIG;
	if (p.want_bytes > ds->now.want_bytes && !assign_can_grow_to(a, &ds->now, p.want_bytes))
		return -EINVAL;
	if (p.metadata && merged_length(ds->now.metadata, p.metadata) > RECORD_METADATA_MAX)
		return -E2BIG;
	if (ev->strict && p.metadata && json_object_object_get_ex(p.metadata, RECORD_NAME_KEY, &name) &&
		name_is_taken(a, json_object_get_string(name), ev->dataset_id))
		return -EADDRINUSE;
	if (ev->strict && p.move && !id128_equal(p.primary, ds->now.primary) && drains(a, p.primary))
		return -EHOSTDOWN;
	return 0;
}

static int check_undelete(const struct assign *a, const struct assign_event *ev)
{
	const struct ads *ds = assign_find(a, ev->dataset_id);

	if (!ds || ds->dropping)
		return -ENOENT;
	if (!ds->now.deleted)
		return -EALREADY;
	if (!ds->now.undelete_until)
		return -EOWNERDEAD;
	if (name_is_taken(a, ds_record_text(&ds->now, RECORD_NAME_KEY), ev->dataset_id))
		return -EADDRINUSE;
	return 0;
}

static int check_purge(const struct assign *a, const struct assign_event *ev)
{
	const struct ads *ds = assign_find(a, ev->dataset_id);

	return !ds || ds->dropping ? -ENOENT : ds->now.deleted ? 0 : -EALREADY;
}

static int check_node(const struct assign *a, const struct assign_event *ev)
{
	const struct node *n = assign_find_node(a, ev->node);
	bool drain = ev->type == ASSIGN_DRAIN || ev->type == ASSIGN_UNDRAIN;

	/* Giving up what was forgotten once more is said to nodes that were only named, as well. */
	if (!n || (n->now.forgotten && (drain || ev->type == ASSIGN_REPLACE)))
		return -ENOENT;
	if (drain)
		return n->durable || n->heard ? 0 : -ENOENT;
	return n->session ? -EBUSY : 0;
}

int assign_check(const struct assign *a, const struct assign_event *ev)
{
	const struct ads *ds;

	if (a->outdated)
		return -ESTALE;
	switch (ev->type) {
	case ASSIGN_CREATE:
		return check_create(a, ev);
	case ASSIGN_MOVE:
	case ASSIGN_PATCH:
		return check_change(a, ev);
	case ASSIGN_DELETE:
		ds = assign_find(a, ev->dataset_id);
		return ds && !ds->dropping ? 0 : -ENOENT;
	case ASSIGN_UNDELETE:
		return check_undelete(a, ev);
	case ASSIGN_PURGE:
		return check_purge(a, ev);
	case ASSIGN_PIN:
	case ASSIGN_UNPIN:
		return assign_check_pin(a, ev);
	case ASSIGN_REPLACE:
	case ASSIGN_FENCE:
	case ASSIGN_FORGET:
	case ASSIGN_DRAIN:
	case ASSIGN_UNDRAIN:
		return check_node(a, ev);
	default:
		return 0;
	}
}

/* ---- datasets ---- */

static void take_request(struct ds_record *r, const struct assign_event *ev)
{
	snprintf(r->request, sizeof(r->request), "%s", ev->request ? ev->request : "");
}

static void on_create(struct decision *d, const struct assign_event *ev)
{
	struct ds_record r;
	struct ads *ds;

	ds_record_copy(ev->record, &r);
	r.deleted = r.failed_over = false;
	r.deleted_at = r.undelete_until = 0;
	r.deleted_in = 0;
	r.want_bytes = r.growing_bytes = r.fs_bytes = r.size_bytes;
	r.volume_id = decision_new_id(d);
	r.fs_uuid = decision_new_id(d);
	r.format_state = FORMAT_NEVER;
	r.owner = ID128_NIL;
	r.extended_ms = 0;
	r.epoch = r.born_epoch = d->a->floor;
	r.grant = GRANT_HOLD;
	r.incarnation = d->a->incarnation;
	r.failover_rev = 1;
	take_request(&r, ev);
	if (ev->place)
		assign_place(d->a, assign_roomiest(d->a, NULL, NULL), &r, "no node was asked for");
	ds = assign_add(d->a, &r);
	ds->granted_ms = d->now_ms;
	assign_drain(d, ds, &r);
	assign_grant(d, ds, &r);
	decision_change_ds(d, ds, &r);
	ds_record_done(&r);
	assign_settle(d, ds);
}

/* A copy of @map with what @patch says; null takes a key away. Counted. */
static struct json_object *merge(struct json_object *map, struct json_object *patch)
{
	struct json_object *merged = NULL;

	if (json_object_deep_copy(map, &merged, NULL) < 0)
		abort();
	json_object_object_foreach(patch, key, value) {
		if (!value)
			json_object_object_del(merged, key);
		else if (json_object_object_add(merged, key, json_object_get(value)) < 0)
			abort();
	}
	return merged;
}

static void apply_patch(const struct assign *a, const struct assign_patch *p, struct ds_record *next)
{
	struct json_object *merged = p->metadata ? merge(next->metadata, p->metadata) : NULL;

	if (merged && !json_object_equal(merged, next->metadata)) {
		json_object_put(next->metadata);
		next->metadata = json_object_get(merged);
	}
	json_object_put(merged);
	if (p->move) {
		next->primary = p->primary;
		next->failed_over = false;
		json_object_put(next->chosen);
		next->chosen = NULL;
	}
	if (p->want_bytes > next->want_bytes)
		next->want_bytes = next->maximum_size = p->want_bytes;
	if (p->has_failover)
		assign_wish_failover(a, next, p->failover);
}

static void apply_delete(struct ads *ds, const struct decision *d, const struct assign_event *ev,
	struct ds_record *next)
{
	bool restored = next->undelete_until && next->deleted_in != d->a->incarnation;

	if (next->deleted && !restored)
		return;
	next->deleted = true;
	next->deleted_at = ev->now_s;
	next->undelete_until = 0;
	if (!ev->keep_ms)
		return;
	next->deleted_in = d->a->incarnation;
	/* In whole seconds, like the clock of the event: never less than was asked for. */
	next->undelete_until = ev->now_s + 1 + (int64_t)((ev->keep_ms + 999) / 1000);
	ds->keep_until_ms = d->now_ms + ev->keep_ms;
}

static void on_change(struct decision *d, const struct assign_event *ev)
{
	struct ads *ds = assign_find(d->a, ev->dataset_id);
	struct assign_patch patch;
	struct ds_record next;

	ds_record_copy(&ds->now, &next);
	switch (ev->type) {
	case ASSIGN_DELETE:
		apply_delete(ds, d, ev, &next);
		break;
	case ASSIGN_UNDELETE:
		next.deleted = false;
		next.deleted_at = next.undelete_until = 0;
		next.deleted_in = 0;
		break;
	case ASSIGN_PURGE:
		next.undelete_until = 0;
		break;
	default:
		patch = patch_of(ev);
		apply_patch(d->a, &patch, &next);
		break;
	}
	if (!ds_record_equal(&next, &ds->now)) {
		take_request(&next, ev);
		decision_change_ds(d, ds, &next);
		assign_settle(d, ds);
	}
	ds_record_done(&next);
	d->result->txn = ds->txn;
}

/* A record from before the present incarnation may be of a dataset that was undeleted since. */
static bool may_end(const struct assign *a, const struct ads *ds)
{
	return ds->now.deleted_in == a->incarnation;
}

/* From now on it may be destroyed: durable before it is. */
static void end_window(struct decision *d, struct ads *ds)
{
	struct ds_record next;

	ds_record_copy(&ds->now, &next);
	next.undelete_until = 0;
	decision_change_ds(d, ds, &next);
	ds_record_done(&next);
	assign_settle(d, ds);
}

void assign_end_windows(struct decision *d)
{
	struct assign *a = d->a;

	if (d->now_ms < a->windows_at_ms || a->outdated)
		return;
	a->windows_at_ms = UINT64_MAX;
	list_for_each(l, &a->windows) {
		struct ads *ds = LINK_ITEM(l, struct ads, window);

		if (!may_end(a, ds))
			continue;
		if (ds->keep_until_ms <= d->now_ms)
			end_window(d, ds);
		else
			a->windows_at_ms = MIN(a->windows_at_ms, ds->keep_until_ms);
	}
}

/* ---- nodes ---- */

static void on_node(struct decision *d, const struct assign_event *ev)
{
	struct node *n = assign_find_node(d->a, ev->node);
	struct node_record next = n->now;

	if (ev->type == ASSIGN_REPLACE)
		next.host = ID128_NIL;
	else if (ev->type == ASSIGN_UNDRAIN)
		next.draining_since = 0;
	else if (!next.draining_since)
		next.draining_since = MAX(ev->now_s, INT64_C(1));
	if (!id128_equal(next.host, n->now.host) || next.draining_since != n->now.draining_since)
		decision_change_node(d, n, &next);
	if (ev->type == ASSIGN_DRAIN)
		list_for_each(l, &n->wished)
			assign_settle(d, LINK_ITEM(l, struct ads, wished));
	if (ev->type == ASSIGN_UNDRAIN)
		assign_drain_all(d); /* what is stuck elsewhere may come here */
	if (!d->result->n_changes)
		d->result->txn = n->txn;
}

void assign_on_wish(struct decision *d, const struct assign_event *ev)
{
	switch (ev->type) {
	case ASSIGN_CREATE:
		on_create(d, ev);
		break;
	case ASSIGN_PIN:
		assign_on_pin(d, ev);
		break;
	case ASSIGN_UNPIN:
		assign_on_unpin(d, ev);
		break;
	case ASSIGN_FENCE:
	case ASSIGN_FORGET:
		assign_on_give_up(d, ev);
		break;
	case ASSIGN_REPLACE:
	case ASSIGN_DRAIN:
	case ASSIGN_UNDRAIN:
		on_node(d, ev);
		break;
	default:
		on_change(d, ev);
		break;
	}
}
