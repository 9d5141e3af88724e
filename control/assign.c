/* SPDX-License-Identifier: Apache-2.0 */
/* The decisions: what a dataset's next step is, given its record and what its owner said. */
#include <inttypes.h>

#include "assign_private.h"
#include "text.h"

#define EPOCHS_OF_INCARNATION UINT64_C(100000)

static const uint64_t ever = UINT64_MAX;

/* A backup does not know how many grants followed it, and nodes and backends refuse what is not above
 * all they saw. So the epochs of each incarnation begin above those of the earlier ones: incarnations
 * are seconds of a clock, and no dataset changes hands a hundred thousand times in one. */
static uint64_t first_epoch(const struct assign *a)
{
	return (a->incarnation - 1) * EPOCHS_OF_INCARNATION;
}

/* ---- what a decision makes ---- */

static uint64_t mix(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

struct id128 decision_new_id(struct decision *d)
{
	uint64_t hi = mix(&d->random[0]), lo = mix(&d->random[1]);

	return id128_make_v4(hi, lo);
}

void decision_send(struct decision *d, const struct node *n, uint64_t after_txn, bool close,
	struct wire_msg *msg)
{
	struct assign_result *r = d->result;

	if (!n->session) {
		wire_msg_done(msg);
		return;
	}
	r->sends = realloc(r->sends, (r->n_sends + 1) * sizeof(*r->sends));
	if (!r->sends)
		abort();
	r->sends[r->n_sends++] = (struct assign_send){
		.node = n->now.uuid,
		.session = n->session,
		/* Nothing overtakes the welcome. */
		.after_txn = msg->type == WIRE_BYE ? after_txn : MAX(after_txn, n->welcome_txn),
		.close = close,
		.msg = *msg,
	};
}

void decision_order(struct decision *d, const struct node *n, const struct ads *ds,
	enum wish_kind wish, uint64_t epoch, struct id128 volume_id, const char *why)
{
	const struct ds_record *r = &ds->now;
	struct wire_msg m;

	if (d->a->outdated)
		return;
	m = (struct wire_msg){ .type = WIRE_ASSIGN,
		.assign = {
			.dataset_id = r->dataset_id,
			.wish = wish,
			.epoch = epoch,
			.volume_id = volume_id,
			.size_bytes = r->size_bytes,
			.growing_bytes = r->growing_bytes,
			.fs_bytes = r->fs_bytes,
			.want_bytes = r->want_bytes,
			.filesystem = r->filesystem,
			.fs_uuid = r->fs_uuid,
			.format_state = r->format_state,
			.failover = assign_ordered_failover(r),
			.failover_rev = r->failover_rev,
			.fenced = assign_fenced(d->a, ds),
			.owner = r->owner,
			.primary = r->primary,
			.created_at = r->created_at,
			.metadata = json_object_get(r->metadata),
		} };

	memcpy(m.assign.request, r->request, sizeof(m.assign.request));
	snprintf(m.assign.why, sizeof(m.assign.why), "%s", why);
	(void)assign_pin_text(d->a, r->dataset_id, m.assign.lease, sizeof(m.assign.lease));
	decision_send(d, n, MAX(ds->txn, assign_pin_txn(d->a, r->dataset_id)), false, &m);
}

static enum wish_kind owner_wish(const struct assign *a, const struct ads *ds)
{
	const struct ds_record *r = &ds->now;

	if (r->grant == GRANT_DESTROY)
		return WISH_DESTROY;
	if (ds->releasing || ((r->deleted || !id128_equal(r->primary, r->owner)) && !assign_pinned(a, ds)))
		return WISH_RELEASE;
	return WISH_HOLD;
}

/* ---- facts into records ---- */

/* The record is of this incarnation now. What a restored one knows as a format that was started may
 * long be published, and nothing published is ever discarded: it is mounted, or a person is asked. */
static void confirm(const struct assign *a, struct ds_record *r)
{
	if (r->incarnation == a->incarnation)
		return;
	if (r->format_state == FORMAT_STARTED)
		r->format_state = FORMAT_DONE;
	assign_doubt_failover(a, r);
	r->incarnation = a->incarnation;
	r->sure_from = r->epoch;
}

/* A claim that the record is older than: a restored store meets the truth. Of two grants from before
 * the restore the later one is true, also when the earlier one was confirmed first. */
bool assign_is_older(const struct assign *a, const struct ds_record *r, const struct wire_status *s)
{
	return r->epoch < first_epoch(a) && s->epoch > r->epoch &&
	       id128_equal(s->volume_id, r->volume_id);
}

static void adopt(const struct assign *a, const struct ads *ds, struct ds_record *next)
{
	if (!ds->has_status || !assign_is_older(a, next, &ds->status))
		return;
	next->owner = ds->status_node;
	next->epoch = ds->status.epoch;
	next->grant = GRANT_HOLD;
	/* What was kept was granted again: so it was undeleted. */
	if (next->undelete_until && next->deleted_in != a->incarnation) {
		next->deleted = false;
		next->deleted_at = next->undelete_until = 0;
	}
	confirm(a, next);
}

static void apply_fact(struct decision *d, const struct ads *ds, struct ds_record *next)
{
	const struct fact *f = &ds->fact;

	if (id128_is_nil(next->owner) || f->kind == FACT_NONE || f->epoch != next->epoch)
		return;

	if (f->kind == FACT_FENCED) {
		assign_apply_fence(d->a, f, next);
		return;
	}
	if (f->kind == FACT_RELEASED) {
		next->owner = ID128_NIL;
		return;
	}
	/* Who gives back what a restored record says it has may be the last owner or an earlier one. */
	if (f->kind == FACT_HELD && ds->status.releasing && next->incarnation != d->a->incarnation)
		return;
	/* Its owner has it. That an owner of an old record has it not says nothing of others. */
	confirm(d->a, next);
	if (f->kind == FACT_DESTROYED) {
		/* A restored record may not know that it was deleted: then the volume is lost, and not
		 * made anew. */
		next->owner = ID128_NIL;
		if (next->deleted)
			next->volume_id = ID128_NIL;
		return;
	}
	if (next->grant != GRANT_HOLD || !id128_equal(f->volume_id, next->volume_id))
		return;
	if (f->kind == FACT_READY && next->format_state == FORMAT_NEVER &&
		owner_wish(d->a, ds) == WISH_HOLD) {
		next->format_state = FORMAT_STARTED;
	} else if (f->kind == FACT_FORMATTED && next->format_state == FORMAT_STARTED &&
		   id128_equal(f->fs_uuid, next->fs_uuid)) {
		next->format_state = FORMAT_DONE;
	} else if (f->kind == FACT_DISCARDED && next->format_state != FORMAT_DONE) {
		/* It was never published, so a new volume loses nothing. */
		next->volume_id = decision_new_id(d);
		next->fs_uuid = decision_new_id(d);
		next->format_state = FORMAT_NEVER;
	}
	assign_apply_growth(f, next);
}

/* ---- grants ---- */

bool assign_may_change_hands(const struct assign *a, const struct ds_record *r)
{
	return r->incarnation == a->incarnation || a->n_unheard == 0;
}

bool assign_has_to_clean_up(const struct ads *ds, const struct node *n)
{
	return ds->lingerer.fenced && n->session == ds->lingerer.session;
}

static const struct node *choose_destroyer(const struct assign *a, const struct ads *ds)
{
	const struct node *primary = assign_find_node(a, ds->now.primary);
	const struct node *last = assign_find_node(a, ds->status_node);

	if (primary && primary->session && !assign_has_to_clean_up(ds, primary))
		return primary;
	if (last && last->session && !assign_has_to_clean_up(ds, last))
		return last;
	for (const struct node *n = a->first_node; n; n = n->list_next)
		if (n->session && n->shared && !assign_has_to_clean_up(ds, n))
			return n;
	return NULL;
}

static bool names_filesystem(const struct ds_record *r)
{
	return r->metadata && json_object_object_get_ex(r->metadata, "flocker:filesystem", NULL);
}

/* What the node makes; but not of a volume too small for it, whose client may know nothing of filesystems. */
static enum fs_kind default_filesystem(const struct node *n, const struct ds_record *r)
{
	return r->size_bytes >= fs_minimum_size(n->filesystem) ? n->filesystem : FS_EXT4;
}

static uint64_t next_epoch(const struct assign *a, uint64_t last)
{
	return MAX(last + 1, first_epoch(a));
}

void assign_grant(const struct decision *d, const struct ads *ds, struct ds_record *next)
{
	const struct node *n;

	if (!id128_is_nil(next->owner) || id128_is_nil(next->volume_id))
		return;
	if (next->undelete_until)
		return; /* kept as it is: somebody may want it back */
	if (d->a->stopping)
		return; /* its term would end while control is away */
	if (next->deleted && next->epoch == next->born_epoch && next->incarnation == d->a->incarnation) {
		next->volume_id = ID128_NIL; /* never granted: nobody can have made it */
		return;
	}
	if (!assign_may_change_hands(d->a, next))
		return;

	n = next->deleted ? choose_destroyer(d->a, ds) : assign_find_node(d->a, next->primary);
	if (!n || !n->session || assign_has_to_clean_up(ds, n))
		return;
	next->owner = n->now.uuid;
	next->epoch = next_epoch(d->a, next->epoch);
	next->grant = next->deleted ? GRANT_DESTROY : GRANT_HOLD;
	if (next->format_state == FORMAT_NEVER && !names_filesystem(next))
		next->filesystem = default_filesystem(n, next);
	confirm(d->a, next);
	assign_govern(d->a, next);
}

/* ---- telling ---- */

static uint64_t line_hash(const char *text)
{
	return text_hash(text, strlen(text));
}

static void tell_owner(struct decision *d, struct ads *ds)
{
	const struct ds_record *r = &ds->now;
	const struct node *n = assign_find_node(d->a, r->owner);
	enum wish_kind wish = owner_wish(d->a, ds);
	char lease[WIRE_LEASE_MAX];
	uint64_t lease_hash;

	if (id128_is_nil(r->owner) || !n || !n->session)
		return;
	if (r->incarnation != d->a->incarnation)
		return; /* a restored record may be wrong about it: its owner has to name it first */
	lease_hash = line_hash(assign_pin_text(d->a, r->dataset_id, lease, sizeof(lease)));
	if (ds->told.session == n->session && ds->told.epoch == r->epoch && ds->told.wish == wish &&
		id128_equal(ds->told.volume_id, r->volume_id) &&
		id128_equal(ds->told.primary, r->primary) && ds->told.format_state == r->format_state &&
		ds->told.failover_rev == r->failover_rev && fenced_equal(ds->told.fenced, r->fenced) &&
		ds->told.lease_hash == lease_hash && ds->told.size_bytes == r->size_bytes &&
		ds->told.growing_bytes == r->growing_bytes && ds->told.fs_bytes == r->fs_bytes &&
		ds->told.want_bytes == r->want_bytes)
		return;

	decision_order(d, n, ds, wish, r->epoch, r->volume_id, "");
	ds->releasing = wish == WISH_RELEASE;
	ds->told.session = n->session;
	ds->told.epoch = r->epoch;
	ds->told.wish = wish;
	ds->told.volume_id = r->volume_id;
	ds->told.primary = r->primary;
	ds->told.format_state = r->format_state;
	ds->told.failover_rev = r->failover_rev;
	ds->told.fenced = r->fenced;
	ds->told.lease_hash = lease_hash;
	ds->told.size_bytes = r->size_bytes;
	ds->told.growing_bytes = r->growing_bytes;
	ds->told.fs_bytes = r->fs_bytes;
	ds->told.want_bytes = r->want_bytes;
}

void assign_tell_waiter(struct decision *d, struct ads *ds)
{
	const struct ds_record *r = &ds->now;
	const struct node *old = assign_find_node(d->a, ds->waiter.node);
	const struct node *n = assign_find_node(d->a, r->primary);
	bool waits = n && n->session && !r->deleted && !id128_equal(r->primary, r->owner);
	char why[WIRE_WHY_MAX];
	uint64_t hash;

	if (ds->waiter.session && (!waits || old != n)) {
		if (old && old->session == ds->waiter.session && !id128_equal(r->owner, old->now.uuid))
			decision_order(d, old, ds, WISH_FORGET, 0, r->volume_id, "");
		ds->waiter.session = 0;
	}
	if (!waits)
		return;
	hash = line_hash(assign_explain(d->a, d->now_ms, ds, why, sizeof(why)));
	if (ds->waiter.session == n->session && ds->waiter.why_hash == hash)
		return;
	decision_order(d, n, ds, WISH_WAIT, 0, r->volume_id, why);
	ds->waiter.node = r->primary;
	ds->waiter.session = n->session;
	ds->waiter.why_hash = hash;
}

void assign_settle(struct decision *d, struct ads *ds)
{
	struct ds_record next;

	if (d->a->outdated)
		return;
	ds_record_copy(&ds->now, &next);
	adopt(d->a, ds, &next);
	apply_fact(d, ds, &next);
	assign_drain(d, ds, &next);
	assign_fail_over(d, ds, &next);
	assign_end_extension(d, ds, &next);
	assign_start_growth(d->a, ds, &next);
	assign_grant(d, ds, &next);
	if (!id128_equal(next.owner, ds->now.owner) || next.epoch != ds->now.epoch) {
		ds->releasing = false;
		ds->granted_ms = d->now_ms;
	}
	if (next.fenced.to > ds->now.fenced.to && next.fenced.to == ds->now.epoch)
		assign_end_pin_of(d, next.dataset_id, ds->now.owner);
	if (!ds_record_equal(&next, &ds->now))
		decision_change_ds(d, ds, &next);
	ds_record_done(&next);
	tell_owner(d, ds);
	assign_tell_waiter(d, ds);
}

/* ---- events ---- */

static void on_tick(struct decision *d)
{
	struct assign *a = d->a;

	assign_end_terms(d);
	assign_end_pins(d);
	assign_end_windows(d);
	if (d->now_ms < a->retry_at_ms)
		return;
	a->retry_at_ms = ever;
	list_for_each(l, &a->retry) {
		struct ads *ds = LINK_ITEM(l, struct ads, retry);

		link_remove(l);
		assign_hear_again(d, ds);
		assign_settle(d, ds);
		assign_tell_lingerer(d, ds);
	}
}

/* Nobody may wait for an older one: nothing of it is durable before. */
static void check_txn(const struct assign *a, const struct assign_result *r)
{
	assert(!r->n_changes || r->txn == a->last_txn);
}

void assign_decide(struct assign *a, uint64_t now_ms, const struct assign_event *ev,
	struct assign_result *ret)
{
	struct decision d = { a, now_ms, { ev->random[0], ev->random[1] }, ret };
	struct node *n;

	*ret = (struct assign_result){ 0 };
	if (assign_is_wish(ev->type)) {
		ret->status = assign_check(a, ev);
		if (ret->status == 0)
			assign_on_wish(&d, ev);
		check_txn(a, ret);
		return;
	}
	switch (ev->type) {
	case ASSIGN_EXPIRE:
		assign_on_expire(&d, ev);
		break;
	case ASSIGN_HELLO:
		assign_on_hello(&d, ev);
		break;
	case ASSIGN_REPORT:
		assign_on_report(&d, ev);
		break;
	case ASSIGN_HEARD:
		n = assign_find_node(a, ev->node);
		if (n && n->session == ev->session) {
			n->heard_ms = now_ms;
			assign_hear_room(n, ev->free_bytes, ev->backends, ev->n_backends);
		}
		break;
	case ASSIGN_RENEW:
		assign_on_renew(&d, ev);
		break;
	case ASSIGN_GONE:
		assign_on_gone(&d, ev);
		break;
	case ASSIGN_EXTEND:
		assign_on_extend(&d, ev);
		break;
	case ASSIGN_TICK:
		on_tick(&d);
		break;
	default:
		break;
	}
	check_txn(a, ret);
}
