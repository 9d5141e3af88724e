/* SPDX-License-Identifier: Apache-2.0 */
/* The decisions: what a dataset's next step is, given its record and what its owner said. */
#include <inttypes.h>

#include "assign_private.h"

#define HEARTBEAT_MS 10000
#define EPOCHS_OF_INCARNATION UINT64_C(100000)

static const uint64_t ever = UINT64_MAX;

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
		/* Nothing overtakes the welcome, which waits for the node's own record. */
		.after_txn = msg->type == WIRE_BYE ? after_txn : MAX(after_txn, n->txn),
		.close = close,
		.msg = *msg,
	};
}

static void send_order(struct decision *d, const struct node *n, const struct ads *ds,
	enum wish_kind wish, uint64_t epoch, struct id128 volume_id, const char *why)
{
	const struct ds_record *r = &ds->now;
	struct wire_msg m = { .type = WIRE_ASSIGN,
		.assign = {
			.dataset_id = r->dataset_id,
			.wish = wish,
			.epoch = epoch,
			.volume_id = volume_id,
			.size_bytes = r->size_bytes,
			.filesystem = r->filesystem,
			.fs_uuid = r->fs_uuid,
			.format_state = r->format_state,
			.owner = r->owner,
			.primary = r->primary,
			.created_at = r->created_at,
			.metadata = json_object_get(r->metadata),
		} };

	snprintf(m.assign.why, sizeof(m.assign.why), "%s", why);
	decision_send(d, n, ds->txn, false, &m);
}

static enum wish_kind owner_wish(const struct ads *ds)
{
	const struct ds_record *r = &ds->now;

	if (r->grant == GRANT_DESTROY)
		return WISH_DESTROY;
	if (r->deleted || !id128_equal(r->primary, r->owner) || ds->releasing)
		return WISH_RELEASE;
	return WISH_HOLD;
}

/* ---- facts into records ---- */

/* The record is of this incarnation now. What a restored one knows as a format that was started may
 * long be published, and nothing published is ever discarded: it is mounted, or a person is asked. */
static void confirm(const struct assign *a, struct ds_record *r)
{
	if (r->incarnation != a->incarnation && r->format_state == FORMAT_STARTED)
		r->format_state = FORMAT_DONE;
	r->incarnation = a->incarnation;
}

/* A claim that the record is older than: a restored store meets the truth. */
static bool is_older(const struct assign *a, const struct ds_record *r, const struct wire_status *s)
{
	return r->incarnation != a->incarnation && s->epoch > r->epoch &&
	       id128_equal(s->volume_id, r->volume_id);
}

static void adopt(const struct assign *a, const struct ads *ds, struct ds_record *next)
{
	if (!ds->has_status || !is_older(a, next, &ds->status))
		return;
	next->owner = ds->status_node;
	next->epoch = ds->status.epoch;
	next->grant = GRANT_HOLD;
	confirm(a, next);
}

static void apply_fact(struct decision *d, const struct ads *ds, struct ds_record *next)
{
	const struct fact *f = &ds->fact;

	if (id128_is_nil(next->owner) || f->kind == FACT_NONE || f->epoch != next->epoch)
		return;

	if (f->kind == FACT_RELEASED) {
		next->owner = ID128_NIL;
		return;
	}
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
		owner_wish(ds) == WISH_HOLD) {
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
}

/* ---- grants ---- */

/* A record from before the present incarnation, whose owner did not confirm it, may be wrong about
 * who holds the volume: it changes hands only when every known node has said what it holds. */
static bool may_change_hands(const struct assign *a, const struct ds_record *r)
{
	return r->incarnation == a->incarnation || a->n_unheard == 0;
}

static const struct node *choose_destroyer(const struct assign *a, const struct ads *ds)
{
	const struct node *primary = assign_find_node(a, ds->now.primary);
	const struct node *last = assign_find_node(a, ds->status_node);

	if (primary && primary->session)
		return primary;
	if (last && last->session)
		return last;
	for (const struct node *n = a->first_node; n; n = n->list_next)
		if (n->session && n->shared)
			return n;
	return NULL;
}

static bool names_filesystem(const struct ds_record *r)
{
	return r->metadata && json_object_object_get_ex(r->metadata, "flocker:filesystem", NULL);
}

/* A backup does not know how many grants followed it, and nodes and backends refuse what is not above
 * all they saw. So the epochs of each incarnation begin above those of the earlier ones: incarnations
 * are seconds of a clock, and no dataset changes hands a hundred thousand times in one. */
static uint64_t next_epoch(const struct assign *a, uint64_t last)
{
	return MAX(last + 1, (a->incarnation - 1) * EPOCHS_OF_INCARNATION);
}

static void grant(const struct decision *d, const struct ads *ds, struct ds_record *next)
{
	const struct node *n;

	if (!id128_is_nil(next->owner) || id128_is_nil(next->volume_id))
		return;
	if (next->deleted && next->epoch == 0 && next->incarnation == d->a->incarnation) {
		next->volume_id = ID128_NIL; /* never granted: nobody can have made it */
		return;
	}
	if (!may_change_hands(d->a, next))
		return;

	n = next->deleted ? choose_destroyer(d->a, ds) : assign_find_node(d->a, next->primary);
	if (!n || !n->session)
		return;
	next->owner = n->now.uuid;
	next->epoch = next_epoch(d->a, next->epoch);
	next->grant = next->deleted ? GRANT_DESTROY : GRANT_HOLD;
	if (next->format_state == FORMAT_NEVER && !names_filesystem(next))
		next->filesystem = n->filesystem;
	confirm(d->a, next);
}

/* ---- telling ---- */

static void tell_owner(struct decision *d, struct ads *ds)
{
	const struct ds_record *r = &ds->now;
	const struct node *n = assign_find_node(d->a, r->owner);
	enum wish_kind wish = owner_wish(ds);

	if (id128_is_nil(r->owner) || !n || !n->session)
		return;
	if (r->incarnation != d->a->incarnation)
		return; /* a restored record may be wrong about it: its owner has to name it first */
	if (ds->told.session == n->session && ds->told.epoch == r->epoch && ds->told.wish == wish &&
		id128_equal(ds->told.volume_id, r->volume_id) &&
		id128_equal(ds->told.primary, r->primary) && ds->told.format_state == r->format_state)
		return;

	send_order(d, n, ds, wish, r->epoch, r->volume_id, "");
	ds->releasing = wish == WISH_RELEASE;
	ds->told.session = n->session;
	ds->told.epoch = r->epoch;
	ds->told.wish = wish;
	ds->told.volume_id = r->volume_id;
	ds->told.primary = r->primary;
	ds->told.format_state = r->format_state;
}

static uint64_t text_hash(const char *text)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return h;
}

/* The node where it should be shows why it is not there yet; when that changes, it hears no more. */
static void tell_waiter(struct decision *d, struct ads *ds)
{
	const struct ds_record *r = &ds->now;
	const struct node *old = assign_find_node(d->a, ds->waiter.node);
	const struct node *n = assign_find_node(d->a, r->primary);
	bool waits = n && n->session && !r->deleted && !id128_equal(r->primary, r->owner);
	char why[WIRE_WHY_MAX];
	uint64_t hash;

	if (ds->waiter.session && (!waits || old != n)) {
		if (old && old->session == ds->waiter.session && !id128_equal(r->owner, old->now.uuid))
			send_order(d, old, ds, WISH_FORGET, 0, r->volume_id, "");
		ds->waiter.session = 0;
	}
	if (!waits)
		return;
	hash = text_hash(assign_explain(d->a, d->now_ms, ds, why, sizeof(why)));
	if (ds->waiter.session == n->session && ds->waiter.why_hash == hash)
		return;
	send_order(d, n, ds, WISH_WAIT, 0, r->volume_id, why);
	ds->waiter.node = r->primary;
	ds->waiter.session = n->session;
	ds->waiter.why_hash = hash;
}

void assign_settle(struct decision *d, struct ads *ds)
{
	struct ds_record next;

	ds_record_copy(&ds->now, &next);
	adopt(d->a, ds, &next);
	apply_fact(d, ds, &next);
	grant(d, ds, &next);
	if (!id128_equal(next.owner, ds->now.owner) || next.epoch != ds->now.epoch)
		ds->releasing = false;
	if (!ds_record_equal(&next, &ds->now))
		decision_change_ds(d, ds, &next);
	ds_record_done(&next);
	tell_owner(d, ds);
	tell_waiter(d, ds);
}

/* ---- wishes of clients ---- */

static int on_create(struct decision *d, const struct assign_event *ev)
{
	struct ds_record r;
	struct ads *ds;

	if (assign_find(d->a, ev->record->dataset_id))
		return -EEXIST;
	ds_record_copy(ev->record, &r);
	r.deleted = false;
	r.volume_id = decision_new_id(d);
	r.fs_uuid = decision_new_id(d);
	r.format_state = FORMAT_NEVER;
	r.owner = ID128_NIL;
	r.epoch = 0;
	r.grant = GRANT_HOLD;
	r.incarnation = d->a->incarnation;
	ds = assign_add(d->a, &r);
	grant(d, ds, &r);
	decision_change_ds(d, ds, &r);
	ds_record_done(&r);
	assign_settle(d, ds);
	return 0;
}

static int change_wish(struct decision *d, struct ads *ds, const struct id128 *primary)
{
	struct ds_record next;

	ds_record_copy(&ds->now, &next);
	if (primary)
		next.primary = *primary;
	else
		next.deleted = true;
	if (!ds_record_equal(&next, &ds->now)) {
		decision_change_ds(d, ds, &next);
		assign_settle(d, ds);
	}
	ds_record_done(&next);
	d->result->txn = ds->txn;
	return 0;
}

static int on_move(struct decision *d, const struct assign_event *ev)
{
	struct ads *ds = assign_find(d->a, ev->dataset_id);

	if (!ds)
		return -ENOENT;
	if (ds->now.deleted)
		return -EOWNERDEAD;
	return change_wish(d, ds, &ev->primary);
}

static int on_delete(struct decision *d, const struct assign_event *ev)
{
	struct ads *ds = assign_find(d->a, ev->dataset_id);

	return ds ? change_wish(d, ds, NULL) : -ENOENT;
}

/* ---- words of nodes ---- */

static void keep_status(struct decision *d, struct ads *ds, const struct node *n,
	const struct wire_status *s)
{
	struct wire_status copy;

	if (wire_status_copy(s, &copy) < 0)
		abort();
	wire_status_done(&ds->status);
	ds->status = copy;
	ds->has_status = true;
	ds->status_node = n->now.uuid;
	ds->status_at_ms = d->now_ms;
	if (s->releasing && s->epoch == ds->now.epoch)
		ds->releasing = true;
}

static enum fact_kind fact_of(enum report_kind kind)
{
	static const enum fact_kind facts[] = {
		[REPORT_STATUS] = FACT_HELD,
		[REPORT_READY] = FACT_READY,
		[REPORT_FORMATTED] = FACT_FORMATTED,
		[REPORT_DISCARDED] = FACT_DISCARDED,
		[REPORT_RELEASED] = FACT_RELEASED,
		[REPORT_DESTROYED] = FACT_DESTROYED,
	};
	static_assert(ARRAY_SIZE(facts) == REPORT_KIND_MAX, "a report has no fact");

	return facts[kind];
}

static void note_fact(struct ads *ds, enum fact_kind kind, const struct wire_status *s)
{
	struct fact f = { kind, s->epoch, s->volume_id, s->fs_uuid };

	/* A status beside an older request of the same epoch and volume does not take it back. */
	if (kind == FACT_HELD && ds->fact.epoch == f.epoch && ds->fact.kind != FACT_NONE)
		return;
	ds->fact = f;
}

/* What is mounted was formatted, whatever a restored record says. */
static void learn_format(struct decision *d, struct ads *ds, const struct wire_status *s)
{
	struct ds_record next;

	if (!s->mounted || ds->now.format_state == FORMAT_DONE ||
		!id128_equal(s->volume_id, ds->now.volume_id))
		return;
	ds_record_copy(&ds->now, &next);
	next.format_state = FORMAT_DONE;
	decision_change_ds(d, ds, &next);
	ds_record_done(&next);
}

/* False when control has no record of it. */
static bool hear_hold(struct decision *d, struct node *n, const struct wire_status *s)
{
	struct ads *ds = assign_find(d->a, s->dataset_id);
	struct wire_msg keep = { .type = WIRE_ASSIGN,
		.assign = { .dataset_id = s->dataset_id, .wish = WISH_KEEP, .volume_id = s->volume_id } };

	if (ds)
		learn_format(d, ds, s);
	if (ds && is_older(d->a, &ds->now, s)) {
		keep_status(d, ds, n, s);
		assign_settle(d, ds);
	}
	if (!ds || s->epoch > ds->now.epoch) {
		decision_send(d, n, 0, false, &keep);
		return false;
	}
	if (id128_equal(ds->now.owner, n->now.uuid) && s->epoch == ds->now.epoch) {
		keep_status(d, ds, n, s);
		note_fact(ds, FACT_HELD, s);
		ds->named_in = n->session;
		return true;
	}
	send_order(d, n, ds, WISH_RELEASE, s->epoch, s->volume_id, "");
	return true;
}

static void on_report(struct decision *d, const struct assign_event *ev)
{
	const struct wire_status *s = &ev->report->status;
	struct node *n = assign_find_node(d->a, ev->node);
	struct ads *ds = assign_find(d->a, s->dataset_id);
	bool settle = false;

	if (!n || n->session != ev->session)
		return;
	n->heard_ms = d->now_ms;
	if (!ds || !id128_equal(ds->now.owner, ev->node) || s->epoch != ds->now.epoch) {
		/* An old epoch has no effect; but a claim found late has to be let go. */
		if (ev->report->kind == REPORT_STATUS && s->epoch)
			settle = hear_hold(d, n, s);
		if (ev->report->kind == REPORT_RELEASED && ds && id128_equal(ds->now.owner, ev->node)) {
			ds->told.session = 0; /* it may have been in the way of our order: say it again */
			settle = true;
		}
		if (settle)
			assign_settle(d, ds);
		return;
	}
	keep_status(d, ds, n, s);
	learn_format(d, ds, s);
	note_fact(ds, fact_of(ev->report->kind), s);
	assign_settle(d, ds);
}

/* What it owns by our record and does not name is given back: a grant is used once. */
static void hear_unnamed(struct node *n)
{
	list_for_each(l, &n->owned) {
		struct ads *ds = LINK_ITEM(l, struct ads, owned);

		/* A grant that is not durable was not sent to anybody: nothing is used up. */
		if (!ds->durable || ds->kept.epoch != ds->now.epoch)
			continue;
		if (ds->named_in != n->session)
			ds->fact = (struct fact){ FACT_RELEASED, ds->now.epoch, ds->now.volume_id,
				ds->now.fs_uuid };
	}
}

static void settle_all_of(struct decision *d, struct link *head, size_t member)
{
	list_for_each(l, head)
		assign_settle(d, (struct ads *)(void *)((char *)l - member));
}

static void end_session(struct decision *d, struct node *n, const char *reason, bool refused)
{
	struct wire_msg bye = { .type = WIRE_BYE,
		.bye = { .reason = assign_strdup(reason), .refused = refused } };

	decision_send(d, n, 0, true, &bye);
	n->session = 0;
}

static void refuse(struct decision *d, const struct node *n, uint64_t session, const char *reason)
{
	struct node stranger = { .now = n->now, .session = session };

	end_session(d, &stranger, reason, true);
}

/*
 * One identity, one machine: NULL when this hello may have the identity, else why not. The machine
 * is told by the nonce of its state directory. The same machine replaces its own dead session; while
 * a session answers, nobody else gets the identity.
 */
static const char *why_refused(struct decision *d, struct node *n, const struct assign_event *ev)
{
	const struct wire_hello *h = ev->hello;
	struct wire_msg ping = { .type = WIRE_PING };
	bool same_host = id128_equal(n->now.host, h->host);

	if (h->incarnation > d->a->incarnation ||
		(h->incarnation == d->a->incarnation && h->version_seen > ev->revision))
		return "this control server's state is older than what the node has seen: a restored store "
		       "is put to use with flocker-control --new-incarnation";
	if (n->session && !(same_host && id128_equal(n->boot, h->boot))) {
		bool silent = n->challenged_ms && n->heard_ms < n->challenged_ms &&
			      d->now_ms - n->challenged_ms >= CHALLENGE_MS;

		if (!silent) {
			if (!n->challenged_ms || n->heard_ms >= n->challenged_ms) {
				n->challenged_ms = d->now_ms;
				decision_send(d, n, 0, false, &ping);
			}
			return "another machine with this certificate is connected and answers";
		}
	}
	if (!id128_is_nil(n->now.host) && !same_host)
		return "this certificate belongs to another machine; if that one is gone for ever, say "
		       "flockerctl node replace";
	return NULL;
}

static void welcome(struct decision *d, struct node *n)
{
	struct wire_msg m = { .type = WIRE_WELCOME,
		.welcome = { .version = assign_strdup(FLOCKER_VERSION),
			.incarnation = d->a->incarnation,
			.heartbeat_ms = HEARTBEAT_MS } };

	decision_send(d, n, n->txn, false, &m);
}

static void replace_text(char **p, const char *text)
{
	free(*p);
	*p = assign_strdup(text);
}

static void open_session(struct decision *d, struct node *n, const struct assign_event *ev)
{
	struct node_record next = n->now;

	n->session = ev->session;
	n->heard_ms = d->now_ms;
	n->challenged_ms = 0;
	n->boot = ev->hello->boot;
	n->shared = ev->hello->shared;
	n->filesystem = ev->hello->filesystem;
	n->n_unknown = 0;
	replace_text(&n->address, ev->address);
	replace_text(&n->backend, ev->hello->backend);
	replace_text(&n->version, ev->hello->version);
	if (!id128_equal(n->now.host, ev->hello->host)) {
		next.host = ev->hello->host;
		decision_change_node(d, n, &next);
	}
}

static void on_hello(struct decision *d, const struct assign_event *ev)
{
	struct node *n = assign_get_node(d->a, ev->node);
	const char *reason = why_refused(d, n, ev);
	bool awaited = n->awaited;

	if (reason) {
		refuse(d, n, ev->session, reason);
		return;
	}
	if (n->session)
		end_session(d, n, "replaced by a newer session of this machine", false);
	open_session(d, n, ev);
	welcome(d, n);
	for (size_t i = 0; i < ev->hello->n_holds; i++)
		n->n_unknown += !hear_hold(d, n, &ev->hello->holds[i]);
	n->heard = true;
	/* Storage that hangs hides what is claimed on it: silence about that is no word. */
	if (!ev->hello->partial) {
		hear_unnamed(n);
		n->awaited = false;
		if (awaited && --d->a->n_unheard == 0)
			settle_all_of(d, &d->a->all, offsetof(struct ads, all));
	}
	settle_all_of(d, &n->owned, offsetof(struct ads, owned));
	settle_all_of(d, &n->wished, offsetof(struct ads, wished));
	settle_all_of(d, &d->a->undestroyed, offsetof(struct ads, undestroyed));
}

static void on_gone(struct decision *d, const struct assign_event *ev)
{
	struct node *n = assign_find_node(d->a, ev->node);

	if (!n || n->session != ev->session)
		return;
	n->session = 0;
	list_for_each(l, &n->owned)
		tell_waiter(d, LINK_ITEM(l, struct ads, owned));
}

static int on_replace(struct decision *d, const struct assign_event *ev)
{
	struct node *n = assign_find_node(d->a, ev->node);
	struct node_record next;

	if (!n)
		return -ENOENT;
	if (n->session)
		return -EBUSY;
	next = n->now;
	next.host = ID128_NIL;
	decision_change_node(d, n, &next);
	return 0;
}

static void on_tick(struct decision *d)
{
	struct assign *a = d->a;

	if (d->now_ms < a->retry_at_ms)
		return;
	a->retry_at_ms = ever;
	list_for_each(l, &a->retry) {
		link_remove(l);
		assign_settle(d, LINK_ITEM(l, struct ads, retry));
	}
}

void assign_decide(struct assign *a, uint64_t now_ms, const struct assign_event *ev,
	struct assign_result *ret)
{
	struct decision d = { a, now_ms, { ev->random[0], ev->random[1] }, ret };
	struct node *n;

	*ret = (struct assign_result){ 0 };
	switch (ev->type) {
	case ASSIGN_CREATE:
		ret->status = on_create(&d, ev);
		break;
	case ASSIGN_MOVE:
		ret->status = on_move(&d, ev);
		break;
	case ASSIGN_DELETE:
		ret->status = on_delete(&d, ev);
		break;
	case ASSIGN_HELLO:
		on_hello(&d, ev);
		break;
	case ASSIGN_REPORT:
		on_report(&d, ev);
		break;
	case ASSIGN_HEARD:
		n = assign_find_node(a, ev->node);
		if (n && n->session == ev->session)
			n->heard_ms = now_ms;
		break;
	case ASSIGN_GONE:
		on_gone(&d, ev);
		break;
	case ASSIGN_REPLACE:
		ret->status = on_replace(&d, ev);
		break;
	case ASSIGN_TICK:
		on_tick(&d);
		break;
	case ASSIGN_EVENT_MAX:
		break;
	}
}
