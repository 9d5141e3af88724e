/* SPDX-License-Identifier: Apache-2.0 */
/* The terms of leased datasets: asked for, armed at the fence helper, and over. */
#include "roster_private.h"

#define STOPPING_MS 5000 /* a helper that has not said by then that it is done is not waited for */

bool roster_is_leased(const struct entry *e)
{
	const struct converge_wish *w = &e->wish;

	return w->confirmed && w->failover.kind == FAILOVER_LEASE && w->given_back < w->epoch &&
	       (w->kind == WISH_HOLD || w->kind == WISH_RELEASE || w->kind == WISH_DESTROY);
}

bool roster_may_write(const struct entry *e, uint64_t now_ms)
{
	return !roster_is_leased(e) || (now_ms < MIN(e->until_ms, e->armed_ms) && !e->wish.term_over);
}

/* Control answers for what it ordered to be held in this session, and for nothing else. */
static void extend(struct entry *e, uint64_t stamp_ms)
{
	uint64_t until = stamp_ms + e->wish.failover.term_ms;

	if (!roster_is_leased(e) || !e->ordered || e->wish.term_over)
		return;
	e->until_ms = e->until_rev == e->wish.failover_rev ? MAX(e->until_ms, until) : until;
	e->until_rev = e->wish.failover_rev;
}

void roster_renewed(struct roster *r, uint64_t now_ms, uint64_t stamp_ms)
{
	if (!r->connected || stamp_ms < MAX(r->connected_ms, r->renewed_ms) || stamp_ms > now_ms)
		return;
	r->renewed_ms = stamp_ms;
	if (r->asked_ms && stamp_ms >= r->asked_ms)
		r->n_told = 0;
	for (size_t i = 0; i < r->n; i++) {
		struct entry *e = r->entries[i];

		extend(e, stamp_ms);
		if (roster_is_leased(e) || (e->untold && !r->n_told))
			e->due_ms = now_ms;
		e->untold &= r->n_told > 0;
	}
	if (!r->n_told)
		r->asked_ms = 0;
}

void roster_armed(struct roster *r, uint64_t now_ms, struct id128 dataset_id, uint64_t until_ms,
	uint64_t rev)
{
	struct entry *e = roster_find(r, dataset_id);

	if (!e)
		return;
	e->armed_ms = until_ms;
	e->armed_rev = rev;
	e->due_ms = now_ms;
}

void roster_inherit(struct roster *r, struct id128 dataset_id, uint64_t until_ms)
{
	struct entry *e = roster_find(r, dataset_id);

	if (e) {
		e->arm_said_ms = e->armed_ms = until_ms;
	} else if (until_ms) {
		r->inherited = roster_grow(r->inherited, r->n_inherited, sizeof(*r->inherited));
		r->inherited[r->n_inherited++] = (struct inherited){ dataset_id, until_ms };
	}
}

/* Else a deadline of an earlier daemon would stay, and cut what is granted again without a lease. */
void roster_take_inherited(struct roster *r, struct entry *e)
{
	for (size_t i = 0; i < r->n_inherited; i++) {
		if (!id128_equal(r->inherited[i].id, e->id))
			continue;
		e->arm_said_ms = e->armed_ms = r->inherited[i].until_ms;
		r->inherited[i--] = r->inherited[--r->n_inherited];
	}
}

void roster_end_term(struct entry *e, uint64_t now_ms)
{
	if (e->wish.term_over)
		return;
	e->wish.term_over = true;
	if (e->armed_ms)
		e->stopping_until_ms = now_ms + STOPPING_MS;
	e->seen.known = false;
	e->due_ms = now_ms;
}

void roster_fenced(struct roster *r, uint64_t now_ms, struct id128 dataset_id)
{
	struct entry *e = roster_find(r, dataset_id);

	if (!e)
		return;
	e->stopping_until_ms = 0;
	e->seen.known = false;
	e->due_ms = now_ms;
}

void roster_unarmed(struct roster *r, uint64_t now_ms)
{
	for (size_t i = 0; i < r->n; i++) {
		r->entries[i]->armed_ms = r->entries[i]->armed_rev = 0;
		r->entries[i]->stopping_until_ms = 0;
		if (roster_is_leased(r->entries[i]))
			r->entries[i]->due_ms = now_ms;
	}
}

void roster_term_over(struct roster *r, uint64_t now_ms, struct id128 dataset_id)
{
	struct entry *e = roster_find(r, dataset_id);

	if (e)
		roster_end_term(e, now_ms);
}

void roster_take_terms(struct roster *r, struct entry *e, uint64_t now_ms, uint64_t epoch_before)
{
	e->ordered = true;
	if (e->wish.epoch != epoch_before)
		e->until_ms = e->until_rev = e->armed_ms = e->armed_rev = e->stopping_until_ms = 0;
	if (!roster_is_leased(e)) {
		e->until_ms = e->until_rev = 0; /* or a next lease would be over as it begins */
		return;
	}
	/* A node without leases does not renew: what it heard last may be too old to begin with. */
	if (r->renewed_ms && now_ms < r->renewed_ms + e->wish.failover.term_ms / 2)
		extend(e, r->renewed_ms);
	r->renew_due_ms = now_ms;
}

void roster_arm(struct entry *e, struct roster_out *out)
{
	uint64_t until = roster_is_leased(e) ? e->until_ms : 0;

	/* What an earlier daemon armed stays as it is until control has spoken, and renewed the term. */
	if (!e->wish.confirmed || (roster_is_leased(e) && !until))
		return;
	if ((until == e->arm_said_ms && (!until || e->until_rev == e->arm_said_rev)))
		return;
	/* The helper was not told of a step that began before the lease, and would not stop it. */
	if (until && e->running.step != STEP_NONE && e->step_unleased)
		return;
	/* Only another failover ends a term earlier: control counts by the longer one until it is armed. */
	if (until && until < e->arm_said_ms && e->until_rev == e->arm_said_rev)
		return;
	out->arms = roster_grow(out->arms, out->n_arms, sizeof(*out->arms));
	out->arms[out->n_arms++] = (struct roster_arm){ e->id, until, e->until_rev,
		e->wish.filesystem };
	e->arm_said_ms = until;
	e->arm_said_rev = e->until_rev;
}

void roster_ping(uint64_t now_ms, struct roster_out *out)
{
	struct wire_msg ping = { .type = WIRE_PING, .ping = { .stamp_ms = now_ms } };

	out->sends = roster_grow(out->sends, out->n_sends, sizeof(*out->sends));
	out->sends[out->n_sends++] = ping;
}

uint64_t roster_shortest_term(const struct roster *r)
{
	uint64_t term = CONVERGE_NEVER;

	for (size_t i = 0; i < r->n; i++)
		if (roster_is_leased(r->entries[i]))
			term = MIN(term, (uint64_t)r->entries[i]->wish.failover.term_ms);
	return term;
}

uint64_t roster_last_renewal(const struct roster *r)
{
	return r->renewed_ms;
}

/* Asked for often enough that several answers may get lost within a term. */
void roster_renew(struct roster *r, uint64_t now_ms, struct roster_out *out)
{
	uint64_t term;

	if (!r->connected || r->renew_due_ms > now_ms)
		return;
	term = roster_shortest_term(r);
	r->renew_due_ms = term == CONVERGE_NEVER ? term : now_ms + MAX(term / 6, UINT64_C(1));
	if (term == CONVERGE_NEVER)
		return;
	roster_ping(now_ms, out);
	out->n_urgent = out->n_sends; /* what is urgent comes behind it, and the rest behind that */
}
