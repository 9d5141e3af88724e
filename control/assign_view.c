/* SPDX-License-Identifier: Apache-2.0 */
/* The beginning and end of a cluster in memory, and what others may know of it. */
#include <inttypes.h>

#include "assign_private.h"
#include "text.h"

int assign_new(uint64_t incarnation, uint64_t now_ms, struct assign **ret)
{
	struct assign *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->incarnation = incarnation;
	a->loading = true;
	a->retry_at_ms = UINT64_MAX;
	a->started_ms = now_ms;
	a->terms_at_ms = a->reconnect_ms = now_ms + RECONNECT_MS;
	a->last_pending = &a->first_pending;
	link_init(&a->all);
	link_init(&a->retry);
	link_init(&a->anywhere);
	link_init(&a->all_pins);
	link_init(&a->windows);
	a->pins_at_ms = a->windows_at_ms = UINT64_MAX;
	*ret = a;
	return 0;
}

struct assign *assign_free(struct assign *a)
{
	if (!a)
		return NULL;
	assign_failed(a, 0, 0); /* what was on its way is not needed any more */
	list_for_each(l, &a->all)
		assign_drop(a, LINK_ITEM(l, struct ads, all));
	list_for_each(l, &a->all_pins)
		assign_drop_pin(a, LINK_ITEM(l, struct pin, all));
	while (a->first_node) {
		struct node *n = a->first_node;

		a->first_node = n->list_next;
		node_record_done(&n->now);
		free(n->address);
		free(n->backend);
		free(n->backends);
		free(n->version);
		free(n->unknown);
		free(n);
	}
	free(a->datasets.slots);
	free(a->nodes.slots);
	free(a->pins.slots);
	free(a->names.slots);
	free(a->keys.slots);
	free(a);
	return NULL;
}

void assign_load_dataset(struct assign *a, const struct ds_record *r, int64_t left_ms)
{
	struct ads *ds = assign_add(a, r);

	/* The timer goes off once too early: it is set before this is known. */
	ds->keep_until_ms = a->started_ms + (uint64_t)MAX(left_ms, INT64_C(0));
	ds_record_copy(r, &ds->kept);
	ds->durable = true;
	assign_watch_term(a, a->started_ms, r);
}

void assign_load_node(struct assign *a, const struct node_record *r)
{
	struct node *n = assign_get_node(a, r->uuid);

	n->now = n->kept = *r;
	json_object_get(n->now.extra);
	n->kept.extra = NULL;
	n->durable = true;
	n->awaited = !id128_is_nil(r->host) && !assign_is_given_up(a, n);
	a->n_unheard += n->awaited;
}

void assign_load_floor(struct assign *a, uint64_t floor)
{
	a->floor = a->kept_floor = floor;
}

void assign_result_done(struct assign_result *r)
{
	for (size_t i = 0; i < r->n_changes; i++) {
		ds_record_done(&r->changes[i].ds);
		node_record_done(&r->changes[i].node);
		pin_record_done(&r->changes[i].pin);
	}
	for (size_t i = 0; i < r->n_sends; i++)
		wire_msg_done(&r->sends[i].msg);
	free(r->changes);
	free(r->sends);
	*r = (struct assign_result){ 0 };
}

uint64_t assign_next_wake(const struct assign *a)
{
	return MIN(MIN(a->retry_at_ms, a->terms_at_ms), MIN(a->pins_at_ms, a->windows_at_ms));
}

bool assign_outdated(const struct assign *a)
{
	return a->outdated;
}

uint64_t assign_changes(const struct assign *a)
{
	return a->n_changes;
}

/* ---- words for people ---- */

/* The owner was told to give it back, and did not say yet that it does. */
static bool release_is_ahead(const struct ads *ds)
{
	return ds->releasing && ds->has_status && ds->status.epoch == ds->now.epoch &&
	       ds->status.state == DS_MOUNTED;
}

static void name_node(const struct assign *a, struct id128 uuid, char *buf, size_t size)
{
	const struct node *n = assign_find_node(a, uuid);

	snprintf(buf, size, "node %.8s%s%s%s", ID128_STR(uuid), n && n->address ? " (" : "",
		n && n->address ? n->address : "", n && n->address ? ")" : "");
}

char *assign_explain(const struct assign *a, uint64_t now_ms, const struct ads *ds, char *buf,
	size_t size)
{
	const struct ds_record *r = &ds->now;
	const struct node *owner = assign_find_node(a, r->owner);
	const struct node *primary = assign_find_node(a, r->primary);
	char name[128], lease[WIRE_LEASE_MAX];

	if (id128_is_nil(r->owner)) {
		name_node(a, r->primary, name, sizeof(name));
		if (r->undelete_until && r->deleted_in != a->incarnation)
			snprintf(buf, size, "deleted, as a backup of control says that was restored; its volume is kept until "
				"somebody purges it, or undeletes it");
		else if (r->undelete_until)
			snprintf(buf, size, "deleted, and its volume is kept until %s: it can be undeleted",
				TEXT_TIME(r->undelete_until));
		else if (!r->deleted && id128_is_nil(r->primary))
			snprintf(buf, size, "at no node, since it is wanted at none");
		else if (!r->deleted && primary && primary->now.forgotten)
			snprintf(buf, size, "%s was forgotten: move it to another node", name);
		else if (!r->deleted && (!primary || !primary->session))
			snprintf(buf, size, "%s is not connected; it waits for it%s", name,
				assign_may_fail_over(r) ? ", or for another that flocker:failover-to names" :
				r->fenced.to && r->fenced.to == r->epoch ?
				", and since its last owner is fenced it can be moved" : "");
		else if (primary && primary->session && primary->session == ds->lingerer.session)
			snprintf(buf, size, "%s was fenced, and cleans up what it still has of it", name);
		else if (r->incarnation != a->incarnation)
			snprintf(buf, size,
				"control was restored; %zu known node%s did not say yet what they hold",
				a->n_unheard, a->n_unheard == 1 ? "" : "s");
		else
			snprintf(buf, size, r->deleted ? "no node that could destroy it is connected" :
							 "it is about to be granted");
		return buf;
	}
	name_node(a, r->owner, name, sizeof(name));
	if (assign_pinned(a, ds) && owner && owner->session)
		snprintf(buf, size, "%s has it, and a lease keeps it there: %s", name,
			assign_pin_text(a, r->dataset_id, lease, sizeof(lease)));
	else if ((!owner || !owner->session) && assign_term_end(a, ds) != UINT64_MAX)
		snprintf(buf, size, "%s has it and is not connected; its term ends within %" PRIu64 " s", name,
			(assign_term_end(a, ds) - MIN(now_ms, assign_term_end(a, ds))) / 1000 + 1);
	else if (!owner || !owner->session)
		snprintf(buf, size, "%s has it and is not connected; it is safe to wait, and nobody else "
				    "may take it", name);
	else if (release_is_ahead(ds))
		snprintf(buf, size, "%s has it, and was told to give it back", name);
	else if (ds->has_status && id128_equal(ds->status_node, r->owner))
		snprintf(buf, size, "%s has it: %s, %s", name, ds_state_name(ds->status.state),
			ds->status.why);
	else
		snprintf(buf, size, "%s has it", name);
	return buf;
}

static bool at_rest(const struct ads *ds)
{
	return ds->kept.deleted && id128_is_nil(ds->kept.volume_id);
}

char *assign_why(const struct assign *a, uint64_t now_ms, struct id128 id, char *buf, size_t size)
{
	const struct ads *ds = assign_find(a, id);
	const struct node *owner;
	char growth[160];

	if (!ds || !ds->durable) {
		snprintf(buf, size, "no such dataset");
		return buf;
	}
	if (a->outdated) {
		snprintf(buf, size, "%s", WIRE_STORE_IS_OLD);
		return buf;
	}
	if (at_rest(ds)) {
		snprintf(buf, size, "deleted, and its volume is destroyed");
		return buf;
	}
	owner = assign_find_node(a, ds->now.owner);
	if (owner && owner->session && id128_equal(ds->now.owner, ds->now.primary) && ds->has_status &&
		!(ds->now.deleted && assign_pinned(a, ds)) && !release_is_ahead(ds) &&
		id128_equal(ds->status_node, ds->now.owner)) {
		snprintf(buf, size, "%s%s", ds->status.why,
			assign_growth_text(a, ds, growth, sizeof(growth)));
		return buf;
	}
	return assign_explain(a, now_ms, ds, buf, size);
}

/* ---- views ---- */

static void view_of(const struct assign *a, uint64_t now_ms, const struct ads *ds,
	struct assign_view *ret)
{
	*ret = (struct assign_view){
		.record = &ds->kept,
		.status = ds->has_status ? &ds->status : NULL,
		.status_node = ds->status_node,
		.status_boot = ds->status_boot,
		.retry_at_ms = ds->has_status ? ds->retry_at_ms : 0,
		.status_age_ms = ds->has_status ? now_ms - ds->status_at_ms : 0,
		.release_is_ahead = release_is_ahead(ds),
		.wanted = ds->kept.deleted ? "deleted" : id128_is_nil(ds->kept.primary) ? "unplaced" : "mounted",
	};
}

int assign_dataset(const struct assign *a, uint64_t now_ms, struct id128 id, struct assign_view *ret)
{
	const struct ads *ds = assign_find(a, id);

	if (!ds || !ds->durable)
		return -ENOENT;
	view_of(a, now_ms, ds, ret);
	return 0;
}

static int show(const struct assign *a, uint64_t now_ms, struct link *first,
	int (*fn)(const struct assign_view *v, void *userdata), void *userdata)
{
	for (struct link *l = first; l != &a->all; l = l->next) {
		const struct ads *ds = LINK_ITEM(l, struct ads, all);
		struct assign_view v;
		int r;

		if (!ds->durable)
			continue;
		view_of(a, now_ms, ds, &v);
		r = fn(&v, userdata);
		if (r)
			return r;
	}
	return 0;
}

int assign_datasets(const struct assign *a, uint64_t now_ms,
	int (*fn)(const struct assign_view *v, void *userdata), void *userdata)
{
	return show(a, now_ms, a->all.next, fn, userdata);
}

int assign_datasets_after(const struct assign *a, uint64_t now_ms, int64_t created_at, struct id128 id,
	int (*fn)(const struct assign_view *v, void *userdata), void *userdata)
{
	const struct ds_record last = { .created_at = created_at, .dataset_id = id };
	const struct ads *ds = assign_find(a, id);
	struct link *l = ds && ds->now.created_at == created_at ? ds->all.next : a->all.next;

	while (l != &a->all && !ds_record_is_older(&last, &LINK_ITEM(l, struct ads, all)->now))
		l = l->next;
	return show(a, now_ms, l, fn, userdata);
}

/* Not: gone, and silent; or only ever named as a primary. */
static bool is_listed(const struct node *n)
{
	return n->kept.forgotten ? n->refused != NULL : n->heard || n->durable || n->refused;
}

static void node_view_of(const struct assign *a, const struct node *n, uint64_t now_ms,
	struct assign_node_view *ret)
{
	*ret = (struct assign_node_view){
		.uuid = n->now.uuid,
		.host = n->kept.host,
		.boot = n->boot,
		.address = n->address,
		.backend = n->backend,
		.version = n->version,
		.listed = is_listed(n),
		.live = n->session != 0,
		.known = n->heard || n->durable || n->refused,
		.forgotten = n->kept.forgotten,
		.given_up = assign_is_given_up(a, n),
		.shared = n->shared,
		.lost = n->lost,
		.draining_since = n->kept.draining_since,
		.n_owned = n->n_owned,
		.n_wished = n->n_wished,
		.awaited = n->awaited,
		.session = n->session,
		.silent_ms = n->heard ? now_ms - n->heard_ms : 0,
		.heard = n->heard,
		.free_bytes = n->free_bytes,
		.backends = n->backends,
		.n_backends = n->n_backends,
		.unknown = n->unknown,
		.n_unknown = n->n_unknown,
		.refused = n->session ? NULL : n->refused,
	};
}

int assign_node(const struct assign *a, uint64_t now_ms, struct id128 uuid,
	struct assign_node_view *ret)
{
	const struct node *n = assign_find_node(a, uuid);

	if (!n)
		return -ENOENT;
	node_view_of(a, n, now_ms, ret);
	return 0;
}

int assign_node_datasets(const struct assign *a, uint64_t now_ms, struct id128 uuid,
	int (*fn)(const struct assign_view *v, void *userdata), void *userdata)
{
	const struct node *n = assign_find_node(a, uuid);
	struct assign_view v;
	int r;

	if (!n)
		return 0;
	list_for_each(l, &n->owned) {
		const struct ads *ds = LINK_ITEM(l, struct ads, owned);

		if (!ds->durable)
			continue;
		view_of(a, now_ms, ds, &v);
		r = fn(&v, userdata);
		if (r)
			return r;
	}
	list_for_each(l, &n->wished) {
		const struct ads *ds = LINK_ITEM(l, struct ads, wished);

		if (!ds->durable || ds->owned_by == n)
			continue;
		view_of(a, now_ms, ds, &v);
		r = fn(&v, userdata);
		if (r)
			return r;
	}
	return 0;
}

int assign_nodes(const struct assign *a, uint64_t now_ms,
	int (*fn)(const struct assign_node_view *v, void *userdata), void *userdata)
{
	for (const struct node *n = a->first_node; n; n = n->list_next) {
		struct assign_node_view v;
		int r;

		if (!is_listed(n))
			continue;
		node_view_of(a, n, now_ms, &v);
		r = fn(&v, userdata);
		if (r)
			return r;
	}
	return 0;
}

size_t assign_n_unheard(const struct assign *a)
{
	return a->n_unheard;
}
