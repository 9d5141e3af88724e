/* SPDX-License-Identifier: Apache-2.0 */
#include "roster_private.h"

#define RECHECK_MS 60000 /* +-20 %: the net below the events */
/* Reports that control has not answered yet: a renewal never stands behind more of them. */
#define REPORTS_AHEAD 32
#define START_LOOK_MS UINT64_C(10000) /* a step that was just started is planned about again then */

void *roster_grow(void *p, size_t n, size_t size)
{
	/* In powers of two, so that appending costs little. */
	if (n & (n - 1))
		return p;
	p = realloc(p, (n ? n * 2 : 1) * size);
	if (!p)
		abort();
	return p;
}

void roster_extra_done(struct roster_extra *x)
{
	free(x->device);
	free(x->mountpoint);
	free(x->holders);
	*x = (struct roster_extra){ 0 };
}

int roster_new(struct roster **ret)
{
	struct roster *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->renew_due_ms = CONVERGE_NEVER;
	*ret = r;
	return 0;
}

struct roster *roster_free(struct roster *r)
{
	if (!r)
		return NULL;
	for (size_t i = 0; i < r->n; i++) {
		roster_extra_done(&r->entries[i]->extra);
		json_object_put(r->entries[i]->metadata);
		free(r->entries[i]->lease);
		free(r->entries[i]);
	}
	free(r->entries);
	free(r->slots);
	free(r->inherited);
	free(r);
	return NULL;
}

void roster_cap_limits(struct roster *r, uint64_t ms)
{
	r->limit_max_ms = ms;
}

static void place(struct roster *r, size_t index)
{
	size_t slot = id128_hash(r->entries[index]->id) & (r->n_slots - 1);

	while (r->slots[slot])
		slot = (slot + 1) & (r->n_slots - 1);
	r->slots[slot] = index + 1;
}

struct entry *roster_find(const struct roster *r, struct id128 id)
{
	size_t slot;

	if (!r->n)
		return NULL;
	slot = id128_hash(id) & (r->n_slots - 1);
	for (; r->slots[slot]; slot = (slot + 1) & (r->n_slots - 1))
		if (id128_equal(r->entries[r->slots[slot] - 1]->id, id))
			return r->entries[r->slots[slot] - 1];
	return NULL;
}

static struct entry *add(struct roster *r, uint64_t now_ms, struct id128 id)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (!e)
		abort();
	e->id = id;
	e->since_ms = now_ms;
	e->recheck_ms = CONVERGE_NEVER;
	roster_take_inherited(r, e);
	r->entries = roster_grow(r->entries, r->n, sizeof(*r->entries));
	r->entries[r->n++] = e;
	if (r->n * 2 <= r->n_slots) {
		place(r, r->n - 1);
		return e;
	}
	r->n_slots = r->n_slots ? r->n_slots * 2 : 64;
	free(r->slots);
	r->slots = calloc(r->n_slots, sizeof(*r->slots));
	if (!r->slots)
		abort();
	for (size_t i = 0; i < r->n; i++)
		place(r, i);
	return e;
}

void roster_adopt(struct roster *r, uint64_t now_ms, struct id128 dataset_id, struct id128 volume_id,
	uint64_t epoch, bool cut)
{
	struct entry *e = roster_find(r, dataset_id);

	if (e && (e->wish.highest >= epoch ||
			(e->wish.confirmed && converge_holds(&e->wish, &e->seen, e->running.step))))
		return;
	if (!e)
		e = add(r, now_ms, dataset_id);
	converge_adopt(&e->wish, epoch, volume_id);
	e->seen = (struct converge_seen){ .place = PLACE_HERE, .claim_epoch = epoch, .volume = true,
		.attached = cut, .cut = cut };
	e->due_ms = now_ms;
}

/* ---- the session ---- */

static uint64_t hold_epoch(const struct entry *e)
{
	return e->wish.epoch ? e->wish.epoch : e->seen.claim_epoch;
}

/* Control of an earlier version, which does not order to grow, would not understand that this failed. */
static bool knows_of_failure(const struct entry *e)
{
	return e->ordered || !converge_is_growth(e->last.step);
}

static void fill_status(const struct entry *e, struct wire_status *s)
{
	bool failure = knows_of_failure(e);

	*s = (struct wire_status){
		.dataset_id = e->id,
		.volume_id = e->wish.volume_id,
		.epoch = hold_epoch(e),
		.state = e->state,
		.mounted = e->seen.mounted,
		.releasing = ((e->wish.kind == WISH_RELEASE || e->wish.kind == WISH_DESTROY) &&
			e->wish.given_back < e->wish.epoch) || converge_is_fenced(&e->wish, &e->seen),
		.failover_rev = roster_is_leased(e) ? e->armed_rev : e->wish.failover_rev,
		.claimant = e->seen.holder,
		.claim_epoch = e->seen.claim_epoch,
		.size_bytes = e->seen.size_bytes,
		.used_bytes = e->extra.used_bytes,
		.available_bytes = e->extra.available_bytes,
		.fs_uuid = e->extra.fs_uuid,
		.step = failure ? e->last.step : STEP_NONE,
		.error = failure ? e->last.error : 0,
		.attempts = failure ? e->last.attempts : 0,
		.retry_in_ms = e->retry_in_ms,
		.mountpoint = e->extra.mountpoint,
		.device = e->extra.device,
		.holders = e->extra.holders,
	};
	snprintf(s->why, sizeof(s->why), "%s", e->why);
}

int roster_hello(struct roster *r, struct wire_hello *hello)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct entry *e = r->entries[i];
		struct wire_status s;

		if (!converge_holds(&e->wish, &e->seen, e->running.step) || !hold_epoch(e))
			continue;
		if (hello->n_holds == WIRE_HOLDS_MAX)
			return -E2BIG;
		fill_status(e, &s);
		hello->holds = roster_grow(hello->holds, hello->n_holds, sizeof(*hello->holds));
		/* Who and which epoch; the words follow as reports once the session is up. */
		hello->holds[hello->n_holds++] = (struct wire_status){
			.dataset_id = s.dataset_id,
			.volume_id = s.volume_id,
			.epoch = s.epoch,
			.state = s.state,
			.mounted = s.mounted,
			.releasing = s.releasing,
			.failover_rev = s.failover_rev,
		};
	}
	return 0;
}

/* Everything is to be said anew. */
static void unsay(struct entry *e)
{
	e->said = false;
	e->said_kind = REPORT_STATUS;
}

/* What waited for another node is control's word of an earlier session: it is said anew. */
void roster_connected(struct roster *r, uint64_t now_ms)
{
	r->connected = true;
	r->connected_ms = r->renew_due_ms = now_ms;
	r->renewed_ms = 0;
	r->n_told = 0;
	r->asked_ms = 0;
	for (size_t i = 0; i < r->n; i++) {
		struct entry *e = r->entries[i];

		if (e->wish.kind == WISH_WAIT) {
			e->wish.kind = WISH_FORGET;
			e->look_later = true;
		}
		e->ordered = false;
		unsay(e);
		e->due_ms = now_ms;
	}
}

void roster_disconnected(struct roster *r, uint64_t now_ms)
{
	r->connected = false;
	for (size_t i = 0; i < r->n; i++)
		r->entries[i]->due_ms = now_ms;
}

/* What a step does to its volume would be forgotten. */
static bool is_at_work_on_another(const struct entry *e, const struct wire_assign *order)
{
	return e->running.step != STEP_NONE && e->running.step != STEP_OBSERVE && order->epoch &&
	       !id128_equal(order->volume_id, e->wish.volume_id);
}

/* It is not wished any more, by control of an earlier version: nobody waits for what failed. */
static void forget_growth(struct entry *e)
{
	const struct converge_wish *w = &e->wish;

	if (e->last.error && converge_is_growth(e->last.step) && w->growing_bytes <= w->size_bytes &&
		w->fs_bytes >= w->size_bytes)
		e->last = (struct converge_last){ .format_failures = e->last.format_failures };
}

int roster_order(struct roster *r, uint64_t now_ms, const struct wire_assign *order)
{
	struct entry *e = roster_find(r, order->dataset_id);
	struct converge_wish before;
	int res;

	if (!e)
		e = add(r, now_ms, order->dataset_id);
	before = e->wish;
	res = is_at_work_on_another(e, order) ? -EPROTO : converge_accept(&e->wish, &e->seen, order);
	if (order->epoch)
		e->refused = res < 0;
	e->due_ms = now_ms; /* also after a refusal: control then hears how things stand */
	/* An order that only repeats the last one is not answered, or the two would never fall silent. */
	if (res < 0 || before.kind != e->wish.kind || before.epoch != e->wish.epoch ||
		before.given_back != e->wish.given_back)
		unsay(e);
	if (res < 0)
		return res;
	roster_take_terms(r, e, now_ms, before.epoch);
	forget_growth(e);
	e->look_later |= e->wish.kind == WISH_FORGET;
	e->fresh = true;
	e->owner = order->owner;
	e->primary = order->primary;
	e->created_at = order->created_at;
	memcpy(e->request, order->request, sizeof(e->request));
	free(e->lease);
	e->lease = *order->lease ? strdup(order->lease) : NULL;
	if (order->metadata) {
		json_object_put(e->metadata);
		e->metadata = json_object_get(order->metadata);
	}
	return 0;
}

/* ---- steps ---- */

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && STREQ(a, b));
}

static bool same_extra(const struct roster_extra *a, const struct roster_extra *b)
{
	return same_text(a->device, b->device) && same_text(a->mountpoint, b->mountpoint) &&
	       same_text(a->holders, b->holders) && a->used_bytes == b->used_bytes &&
	       a->available_bytes == b->available_bytes && id128_equal(a->fs_uuid, b->fs_uuid);
}

/* An order came while we looked: that look was at another volume, or before others let go of it. */
static bool looked_before_order(const struct entry *e)
{
	return e->running.step == STEP_OBSERVE && (e->step_epoch != e->wish.epoch ||
			!id128_equal(e->step_volume, e->wish.volume_id));
}

int roster_done(struct roster *r, uint64_t now_ms, struct id128 dataset_id, uint64_t ticket, int error,
	const char *why, const struct converge_seen *observed, struct roster_extra *extra)
{
	struct entry *e = roster_find(r, dataset_id);
	char same[WIRE_WHY_MAX];
	uint64_t size_bytes;

	if (!e || e->running.step == STEP_NONE || e->ticket != ticket) {
		roster_extra_done(extra);
		return -ENOENT;
	}
	if (looked_before_order(e)) {
		observed = NULL;
		error = 0;
	}
	if (error == EBUSY && !why) {
		snprintf(same, sizeof(same), "%s", e->last.why);
		why = same;
		extra->holders = TAKE_PTR(e->extra.holders);
	}
	size_bytes = e->seen.size_bytes;
	converge_book(&e->wish, &e->seen, &e->last, e->running.step, error, why, observed, now_ms);
	e->fresh |= e->seen.size_bytes != size_bytes;
	/* What control has not answered to is said again: its answer may have been lost with a commit. */
	if (e->wish.kind != WISH_HOLD && e->wish.kind != WISH_RELEASE && e->wish.kind != WISH_DESTROY)
		unsay(e);
	e->running.step = STEP_NONE;
	e->stuck_said = false;
	e->due_ms = now_ms;
	e->recheck_ms = now_ms + RECHECK_MS * (80 + id128_hash(e->id) % 41) / 100;
	if (observed) {
		e->fresh |= why != same && !same_extra(&e->extra, extra);
		roster_extra_done(&e->extra);
		e->extra = *extra;
		*extra = (struct roster_extra){ 0 };
	} else {
		roster_extra_done(extra);
	}
	return 0;
}

static void touch(struct entry *e, uint64_t now_ms)
{
	e->look = true;
	e->due_ms = now_ms;
}

void roster_touch(struct roster *r, uint64_t now_ms, struct id128 dataset_id)
{
	struct entry *e = roster_find(r, dataset_id);

	if (e)
		touch(e, now_ms);
}

void roster_touch_all(struct roster *r, uint64_t now_ms)
{
	for (size_t i = 0; i < r->n; i++)
		touch(r->entries[i], now_ms);
}

/* ---- the run ---- */

static bool is_gone(const struct entry *e)
{
	const struct converge_wish *w = &e->wish;

	if (w->kind == WISH_FORGET)
		return !e->seen.mounted && !e->seen.attached && e->seen.place != PLACE_HERE;
	return w->given_back && w->given_back == w->epoch && w->kind != WISH_WAIT &&
	       w->kind != WISH_KEEP;
}

/* What others wait for goes before what is only to be known. */
static void send_report(struct entry *e, enum report_kind kind, uint64_t grown_bytes, struct roster_out *out)
{
	struct wire_msg m = { .type = WIRE_REPORT, .report = { .kind = kind } };
	struct wire_status s;

	fill_status(e, &s);
	if (kind == REPORT_FORMATTED)
		s.fs_uuid = e->wish.fs_uuid; /* just made or compared */
	s.grown_bytes = grown_bytes;
	if (wire_status_copy(&s, &m.report.status) < 0)
		abort();
	out->sends = roster_grow(out->sends, out->n_sends, sizeof(*out->sends));
	out->sends[out->n_sends++] = m;
	if (kind == REPORT_STATUS)
		return;
	out->sends[out->n_sends - 1] = out->sends[out->n_urgent];
	out->sends[out->n_urgent++] = m;
}

/* FNV over what a report would say, so that a session hears each thing once. */
static uint64_t status_hash(const struct entry *e)
{
	const char *texts[] = { e->why, e->extra.device, e->extra.mountpoint, e->extra.holders };
	uint64_t words[] = { e->state, hold_epoch(e), e->seen.mounted, e->wish.kind,
		e->seen.size_bytes, (uint64_t)e->last.error, e->wish.volume_id.lo, e->seen.holder.lo, e->seen.claim_epoch,
		roster_is_leased(e) ? e->armed_rev : e->wish.failover_rev };
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		for (const char *p = texts[i]; p && *p; p++)
			h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		h = (h ^ words[i]) * UINT64_C(0x100000001b3);
	return h;
}

static void report(struct roster *r, struct entry *e, const struct converge_out *plan, struct roster_out *out)
{
	enum report_kind kind = plan->report;
	uint64_t hash = status_hash(e);
	bool asked = e->said_kind == kind && e->said_epoch == e->wish.epoch && e->said_grown == plan->grown_bytes &&
		     id128_equal(e->said_volume, e->wish.volume_id);

	if (!r->connected || !hold_epoch(e) || is_gone(e))
		return;
	/* Of what only waits here control hears nothing, unless something old stood in an order's way or
	 * is claimed. */
	if (e->wish.kind == WISH_WAIT && !converge_holds(&e->wish, &e->seen, STEP_NONE) &&
		(!e->refused || e->wish.given_back >= e->wish.epoch))
		return;
	if (e->said && e->said_hash == hash && (kind == REPORT_STATUS || asked))
		return;
	if (kind != REPORT_STATUS && asked)
		kind = REPORT_STATUS;
	if (kind == REPORT_STATUS && r->n_told == REPORTS_AHEAD) {
		e->untold = true;
		return;
	}
	r->n_told += kind == REPORT_STATUS;
	send_report(e, kind, plan->grown_bytes, out);
	e->said = true;
	e->said_hash = hash;
	if (kind != REPORT_STATUS) {
		e->said_kind = kind;
		e->said_epoch = e->wish.epoch;
		e->said_grown = plan->grown_bytes;
		e->said_volume = e->wish.volume_id;
	}
	converge_reported(&e->wish, kind);
}

static void show(struct entry *e, const struct converge_out *plan, uint64_t now_ms,
	struct roster_out *out)
{
	bool looking = (plan->step == STEP_OBSERVE || e->running.step == STEP_OBSERVE) && !plan->stuck;

	/* Looking again is no news; what was known stays in sight until it is over. */
	if (looking && e->since_ms && *e->why)
		return;
	if (e->state == plan->state && STREQ(e->why, plan->why) && !e->fresh)
		return;
	out->changed = roster_grow(out->changed, out->n_changed, sizeof(*out->changed));
	out->changed[out->n_changed++] = (struct roster_change){ e->id, e->state, plan->state };
	if (e->state != plan->state)
		e->since_ms = now_ms;
	e->state = plan->state;
	e->fresh = false;
	snprintf(e->why, sizeof(e->why), "%s", plan->why);
}

static void start(struct roster *r, struct entry *e, enum ds_step step, uint64_t now_ms,
	struct roster_out *out)
{
	e->running = (struct converge_running){ step, now_ms };
	e->look_later &= step != STEP_OBSERVE;
	e->ticket = ++r->next_ticket;
	e->step_epoch = e->wish.epoch;
	e->step_volume = e->wish.volume_id;
	e->step_unleased = step != STEP_OBSERVE && !roster_is_leased(e);
	e->look = false;
	out->starts = roster_grow(out->starts, out->n_starts, sizeof(*out->starts));
	out->starts[out->n_starts++] = (struct roster_start){
		.dataset_id = e->id,
		.step = step,
		.ticket = e->ticket,
		.wish = e->wish,
		.guarded = roster_is_leased(e) && step != STEP_OBSERVE && step != STEP_CUT &&
			!converge_is_fenced(&e->wish, &e->seen),
		.busy = e->last.step == step && e->last.error == EBUSY ? e->last.attempts : 0,
	};
}

static void plan_entry(struct roster *r, struct entry *e, uint64_t now_ms, struct roster_out *out)
{
	struct converge_in in = { e->id, now_ms, r->connected, roster_may_write(e, now_ms), &e->wish, &e->seen,
		&e->last, e->running, r->limit_max_ms, e->stopping_until_ms };
	struct converge_out plan;

	if (is_gone(e) && e->running.step == STEP_NONE) {
		plan = (struct converge_out){ .again_ms = CONVERGE_NEVER, .state = DS_RELEASED };
		if (!e->look_later) {
			e->recheck_ms = CONVERGE_NEVER;
			e->look = false;
		}
	} else {
		converge_plan(&in, &plan);
	}

	show(e, &plan, now_ms, out);
	/* Steps check for themselves and look when they end, so doubt does not hold the next one up:
	 * our own mounts and devices make events as well. It is cleared up when there is nothing to do. */
	if (plan.step == STEP_NONE && e->running.step == STEP_NONE &&
		(e->look || e->recheck_ms <= now_ms))
		plan.step = STEP_OBSERVE;
	if (plan.step != STEP_NONE)
		start(r, e, plan.step, now_ms, out);
	e->due_ms = MIN(plan.again_ms, e->running.step == STEP_NONE ? e->recheck_ms : CONVERGE_NEVER);
	if (e->running.step != STEP_NONE && plan.step != STEP_NONE)
		e->due_ms = now_ms + (r->limit_max_ms ? MIN(r->limit_max_ms, START_LOOK_MS) : START_LOOK_MS);
	if (roster_is_leased(e) && e->until_ms > now_ms)
		e->due_ms = MIN(e->due_ms, e->until_ms);
	e->retry_in_ms = plan.retry_ms > now_ms ? plan.retry_ms - now_ms : 0;
	if (plan.stuck && !e->stuck_said) {
		out->stuck = roster_grow(out->stuck, out->n_stuck, sizeof(*out->stuck));
		out->stuck[out->n_stuck++] = e->id;
		e->stuck_said = true;
	}
	report(r, e, &plan, out);
	roster_arm(e, out);
}

void roster_run(struct roster *r, uint64_t now_ms, struct roster_out *ret)
{
	*ret = (struct roster_out){ 0 };
	roster_renew(r, now_ms, ret);
	for (size_t i = 0; i < r->n; i++) {
		struct entry *e = r->entries[i];

		if (e->due_ms > now_ms)
			continue;
		if (roster_is_leased(e) && e->until_ms && e->until_ms <= now_ms)
			roster_end_term(e, now_ms);
		plan_entry(r, e, now_ms, ret);
	}
	if (r->n_told == REPORTS_AHEAD && !r->asked_ms) {
		r->asked_ms = now_ms;
		roster_ping(now_ms, ret);
	}
}

void roster_out_done(struct roster_out *o)
{
	for (size_t i = 0; i < o->n_sends; i++)
		wire_msg_done(&o->sends[i]);
	free(o->sends);
	free(o->starts);
	free(o->changed);
	free(o->arms);
	free(o->stuck);
	*o = (struct roster_out){ 0 };
}

uint64_t roster_next_wake(const struct roster *r)
{
	uint64_t next = r->connected ? r->renew_due_ms : CONVERGE_NEVER;

	for (size_t i = 0; i < r->n; i++)
		next = MIN(next, r->entries[i]->due_ms);
	return next;
}

int roster_view(const struct roster *r, struct id128 dataset_id, struct roster_view *ret)
{
	const struct entry *e = roster_find(r, dataset_id);

	if (!e)
		return -ENOENT;
	*ret = (struct roster_view){
		.wish = &e->wish,
		.last = &e->last,
		.owner = e->owner,
		.primary = e->primary,
		.metadata = e->metadata,
		.request = e->request,
		.since_ms = e->since_ms,
		.looked_ms = e->seen.at_ms,
		.created_at = e->created_at,
		.lease = e->lease,
		.running = e->running.step,
		.leased = roster_is_leased(e),
		.gone = is_gone(e),
	};
	fill_status(e, &ret->status);
	return 0;
}

void roster_each(const struct roster *r, void (*fn)(struct id128 dataset_id, void *userdata),
	void *userdata)
{
	for (size_t i = 0; i < r->n; i++)
		fn(r->entries[i]->id, userdata);
}
