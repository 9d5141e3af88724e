/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a dataset leaves a node that is lost: by the end of a term, or by an operator's word.
 *
 * A node counts its term from when it sent the renewal, by its own clock, and has stopped itself by its
 * end. Control counts from when it answered, which is later, and longer: 1.1 terms allow the clocks to
 * differ, and the rest is the time that stopping takes. Deciding that a term is over closes the session
 * in memory first. A node extends terms only for what it was ordered to hold in the session of the
 * answer, so nothing that is said later can revive this one.
 */
#include "assign_private.h"
#include "failover_to.h"

#define TERM_STOP_MS 500
#define REVS_OF_INCARNATION UINT64_C(100000)

static const uint64_t ever = UINT64_MAX;

/* ---- which failover governs an epoch ---- */

void assign_govern(const struct assign *a, struct ds_record *next)
{
	next->extended_ms = 0;
	next->in_force = next->failover;
}

struct failover assign_ordered_failover(const struct ds_record *r)
{
	struct failover f = r->failover;

	f.term_ms = MAX(f.term_ms, (uint32_t)r->extended_ms);
	return f;
}

/* Until the owner says that it acts by the new one it may act by any that it was told since. */
static void may_be_told(struct ds_record *r)
{
	if (r->failover.kind == FAILOVER_MANUAL)
		r->in_force.kind = FAILOVER_MANUAL;
	else
		r->in_force.term_ms = MAX(r->in_force.term_ms, assign_ordered_failover(r).term_ms);
}

static uint64_t next_rev(const struct assign *a, uint64_t last)
{
	return MAX(last + 1, (a->incarnation - 1) * REVS_OF_INCARNATION);
}

void assign_wish_failover(const struct assign *a, struct ds_record *next, struct failover wish)
{
	if (failover_equal(next->failover, wish))
		return;
	next->failover = wish;
	next->extended_ms = 0;
	next->failover_rev = next_rev(a, next->failover_rev);
	may_be_told(next);
}

void assign_doubt_failover(const struct assign *a, struct ds_record *next)
{
	next->failover_rev = next_rev(a, next->failover_rev);
	next->in_force.kind = FAILOVER_MANUAL;
}

void assign_acknowledge(struct decision *d, struct ads *ds, const struct wire_status *s)
{
	struct ds_record next;

	if (s->failover_rev != ds->now.failover_rev ||
		failover_equal(ds->now.in_force, assign_ordered_failover(&ds->now)))
		return;
	ds_record_copy(&ds->now, &next);
	next.in_force = assign_ordered_failover(&next);
	decision_change_ds(d, ds, &next);
	ds_record_done(&next);
}

/* ---- a planned stop of control ---- */

void assign_on_extend(struct decision *d, const struct assign_event *ev)
{
	struct ds_record next;

	if (d->a->outdated)
		return;
	d->a->stopping = true;
	list_for_each(l, &d->a->all) {
		struct ads *ds = LINK_ITEM(l, struct ads, all);
		const struct node *n = assign_find_node(d->a, ds->now.owner);

		if (!n || !n->session || ds->now.failover.kind != FAILOVER_LEASE ||
			ds->now.failover.term_ms >= ev->extension_ms)
			continue;
		ds_record_copy(&ds->now, &next);
		next.extended_ms = ev->extension_ms;
		next.failover_rev = next_rev(d->a, next.failover_rev);
		may_be_told(&next);
		decision_change_ds(d, ds, &next);
		ds_record_done(&next);
		assign_settle(d, ds);
	}
}

void assign_end_extension(const struct decision *d, const struct ads *ds, struct ds_record *next)
{
	const struct node *n = assign_find_node(d->a, next->owner);

	if (!next->extended_ms || d->a->stopping || !n || !n->session)
		return;
	next->extended_ms = 0;
	next->failover_rev = next_rev(d->a, next->failover_rev);
}

size_t assign_n_extending(const struct assign *a)
{
	size_t count = 0;

	list_for_each(l, &a->all) {
		const struct ads *ds = LINK_ITEM(l, struct ads, all);
		const struct node *n = assign_find_node(a, ds->now.owner);

		count += n && n->session && ds->now.extended_ms && ds->now.in_force.kind == FAILOVER_LEASE &&
			ds->status.failover_rev != ds->now.failover_rev;
	}
	return count;
}

/* ---- terms ---- */

void assign_on_renew(struct decision *d, const struct assign_event *ev)
{
	struct node *n = assign_find_node(d->a, ev->node);
	struct wire_msg pong = { .type = WIRE_PONG, .ping = { .stamp_ms = ev->stamp_ms } };

	if (!n || n->session != ev->session)
		return;
	n->heard_ms = n->answered_ms = d->now_ms;
	assign_hear_room(n, ev->free_bytes, ev->backends, ev->n_backends);
	decision_send(d, n, 0, false, &pong);
}

static uint64_t wait_ms(struct failover f)
{
	return f.term_ms * UINT64_C(11) / 10 + TERM_STOP_MS;
}

uint64_t assign_term_end(const struct assign *a, const struct ads *ds)
{
	const struct ds_record *r = &ds->now;
	const struct node *n = assign_find_node(a, r->owner);
	uint64_t base;

	if (id128_is_nil(r->owner) || !n || r->failover.kind != FAILOVER_LEASE ||
		r->in_force.kind != FAILOVER_LEASE)
		return ever;
	/* What is not durable was not said to anybody; what is of a restored record is not known. */
	if (!ds->durable || ds->kept.epoch != r->epoch || r->incarnation != a->incarnation)
		return ever;
	base = MAX(MAX(n->answered_ms, ds->granted_ms), a->started_ms);
	return base + wait_ms(r->in_force);
}

void assign_watch_term(struct assign *a, uint64_t now_ms, const struct ds_record *r)
{
	if (!id128_is_nil(r->owner) && r->in_force.kind == FAILOVER_LEASE)
		a->terms_at_ms = MIN(a->terms_at_ms, now_ms + wait_ms(r->in_force));
}

/* ---- where to ---- */

bool assign_may_fail_over(const struct ds_record *r)
{
	return !r->deleted && id128_is_nil(r->owner) && !id128_is_nil(r->primary) && r->epoch > r->born_epoch &&
	       ds_record_text(r, FAILOVER_TO_KEY);
}

void assign_hear_room(struct node *n, uint64_t free_bytes, const struct wire_backend *list, size_t n_list)
{
	if (n_list) {
		free(n->backends);
		n->backends = assign_alloc(n_list * sizeof(*list));
		memcpy(n->backends, list, n_list * sizeof(*list));
		n->n_backends = n_list;
		free_bytes = list[0].free_bytes;
	}
	if (!free_bytes && !(n_list && list[0].capacity_bytes))
		return;
	n->free_bytes = free_bytes;
	n->promised_bytes = 0;
	if (n->n_backends)
		n->backends[0].free_bytes = free_bytes;
}

/*
 * Since when the node that it is wanted on counts as lost; ever: it does not. Whose terms have ended, and who
 * is given up, is lost at once. After a restart of control nodes have some time to come back. What was given
 * back, or fenced elsewhere, to go to a node that is away waits as long as it would if it had been granted.
 */
static uint64_t lost_at(const struct assign *a, const struct ds_record *r)
{
	const struct node *n = assign_find_node(a, r->primary);
	uint64_t back = n && !n->heard ? a->reconnect_ms : 0;

	if (n && n->session)
		return ever;
	if (!n || assign_is_given_up(a, n) || (r->fenced.to == r->epoch && (n->lost || !n->heard)))
		return back;
	if (r->failover.kind != FAILOVER_LEASE)
		return ever;
	return MAX(back, MAX(n->gone_ms, a->started_ms) + wait_ms(r->failover));
}

void assign_fail_over(const struct decision *d, const struct ads *ds, struct ds_record *next)
{
	struct node *best;
	uint64_t lost;

	if (!assign_may_fail_over(next) || !assign_may_change_hands(d->a, next))
		return;
	lost = lost_at(d->a, next);
	if (lost > d->now_ms) {
		d->a->terms_at_ms = MIN(d->a->terms_at_ms, lost);
		return;
	}
	best = assign_roomiest(d->a, ds, ds_record_text(next, FAILOVER_TO_KEY));
	if (!best)
		return;
	assign_place(d->a, best, next, "the node that it was wanted on is lost");
	next->failed_over = true;
}

/* ---- fences ---- */

/* Who had the epochs before is not known for sure after a restore: only this one owner was fenced. */
static struct fenced range_of(const struct assign *a, const struct ds_record *r, uint64_t epoch)
{
	return (struct fenced){ r->incarnation == a->incarnation ? r->sure_from : epoch, epoch, r->fenced.also };
}

struct fenced assign_fenced(const struct assign *a, const struct ads *ds)
{
	if (ds->fact.kind == FACT_FENCED && ds->fact.epoch == ds->now.epoch && ds->fact.epoch > ds->now.fenced.to)
		return range_of(a, &ds->now, ds->fact.epoch);
	return ds->now.fenced;
}

static void fence(struct decision *d, struct ads *ds, enum proof_kind proof)
{
	ds->fact = (struct fact){ FACT_FENCED, ds->now.epoch, ds->now.volume_id, ds->now.fs_uuid, proof };
	assign_settle(d, ds);
}

void assign_apply_fence(const struct assign *a, const struct fact *f, struct ds_record *next)
{
	next->owner = ID128_NIL;
	next->fenced = range_of(a, next, next->epoch);
	next->proof = f->proof;
}

void assign_end_terms(struct decision *d)
{
	struct assign *a = d->a;
	struct node *owner;

	if (d->now_ms < a->terms_at_ms)
		return;
	a->terms_at_ms = d->now_ms < a->reconnect_ms ? a->reconnect_ms : ever;
	if (a->outdated) {
		a->terms_at_ms = ever;
		return;
	}
	list_for_each(l, &a->all) {
		struct ads *ds = LINK_ITEM(l, struct ads, all);
		uint64_t end = assign_term_end(a, ds);

		if (end > d->now_ms) {
			a->terms_at_ms = MIN(a->terms_at_ms, end);
			/* What is not durable yet is looked at again. */
			if (end == ever)
				assign_watch_term(a, d->now_ms, &ds->now);
			continue;
		}
		owner = assign_find_node(a, ds->now.owner);
		owner->lost = true;
		decision_end_session(d, owner, "its terms ended: no renewal was heard for too long");
		fence(d, ds, PROOF_TERM);
	}
	/* One whose node did not come back after a restart, or whose session ended just now. */
	list_for_each(l, &a->anywhere)
		assign_settle(d, LINK_ITEM(l, struct ads, anywhere));
}

void assign_void_claim(struct decision *d, struct ads *ds, const struct wire_status *s)
{
	const struct node *n;
	struct ds_record next;

	if (id128_is_nil(s->claimant))
		return;
	n = assign_get_node(d->a, s->claimant); /* it may have joined after the backup that was restored */
	if (!assign_is_given_up(d->a, n) || s->epoch > ds->now.epoch || s->claim_epoch >= s->epoch ||
		fenced_covers(ds->now.fenced, s->claim_epoch))
		return;
	ds_record_copy(&ds->now, &next);
	next.fenced.also = s->claim_epoch;
	decision_change_ds(d, ds, &next);
	ds_record_done(&next);
	assign_settle(d, ds);
}

bool assign_is_given_up(const struct assign *a, const struct node *n)
{
	return !n->session && (n->now.forgotten || n->now.given_up == a->incarnation);
}

/* Durable, since claims under epochs that control does not know are found later, and by a control that
 * was restarted. */
static void note_given_up(struct decision *d, struct node *n, bool forgotten)
{
	struct node_record next = n->now;

	next.given_up = d->a->incarnation;
	next.forgotten |= forgotten;
	if (next.given_up != n->now.given_up || next.forgotten != n->now.forgotten)
		decision_change_node(d, n, &next);
	d->result->txn = n->txn;
}

static void void_known_claims(struct decision *d, struct ads *ds)
{
	if (ds->has_status && id128_equal(ds->status_node, ds->now.owner) && ds->status.epoch == ds->now.epoch)
		assign_void_claim(d, ds, &ds->status);
}

void assign_on_give_up(struct decision *d, const struct assign_event *ev)
{
	struct node *n = assign_find_node(d->a, ev->node);

	note_given_up(d, n, ev->type == ASSIGN_FORGET);
	assign_end_pins_of(d, ev->node);
	list_for_each(l, &n->owned)
		fence(d, LINK_ITEM(l, struct ads, owned), PROOF_OPERATOR);
	list_for_each(l, &d->a->all)
		void_known_claims(d, LINK_ITEM(l, struct ads, all));
	list_for_each(l, &d->a->anywhere)
		assign_settle(d, LINK_ITEM(l, struct ads, anywhere));
	if (n->awaited) {
		n->awaited = false;
		if (--d->a->n_unheard == 0)
			list_for_each(l, &d->a->all)
				assign_settle(d, LINK_ITEM(l, struct ads, all));
	}
}
