/* SPDX-License-Identifier: Apache-2.0 */
/* What nodes say, and who may say it: reports, hellos and sessions become facts. */
#include "assign_private.h"

#define HEARTBEAT_MS 10000
#define RETRY_MAX_MS UINT64_C(86400000) /* a stranger's number */

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
	ds->status_boot = n->boot;
	ds->status_at_ms = d->now_ms;
	ds->retry_at_ms = 0;
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
		[REPORT_EXPANDED] = FACT_EXPANDED,
		[REPORT_GROWN] = FACT_GROWN,
	};
	static_assert(ARRAY_SIZE(facts) == REPORT_KIND_MAX, "a report has no fact");

	return facts[kind];
}

static void note_fact(struct ads *ds, enum fact_kind kind, const struct wire_status *s)
{
	struct fact f = { kind, s->epoch, s->volume_id, s->fs_uuid, .grown_bytes = s->grown_bytes };

	/* What freed it stays true, whatever is said late. */
	if (ds->fact.kind == FACT_FENCED && ds->fact.epoch == f.epoch && kind != FACT_RELEASED &&
		kind != FACT_DESTROYED)
		return;
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

void assign_hear_again(struct decision *d, struct ads *ds)
{
	if (!ds->has_status || !id128_equal(ds->status_node, ds->now.owner) || ds->status.epoch != ds->now.epoch)
		return;
	learn_format(d, ds, &ds->status);
	assign_learn_size(d, ds, &ds->status);
	assign_acknowledge(d, ds, &ds->status);
	assign_void_claim(d, ds, &ds->status);
}

void assign_tell_lingerer(struct decision *d, struct ads *ds)
{
	const struct node *n = assign_find_node(d->a, ds->lingerer.node);

	if (n && n->session && n->session == ds->lingerer.session)
		decision_order(d, n, ds, WISH_RELEASE, ds->lingerer.epoch, ds->lingerer.volume_id, "");
}

/* False when control has no record of it. */
static bool hear_hold(struct decision *d, struct node *n, const struct wire_status *s)
{
	struct ads *ds = assign_find(d->a, s->dataset_id);
	struct wire_msg keep = { .type = WIRE_ASSIGN,
		.assign = { .dataset_id = s->dataset_id, .wish = WISH_KEEP, .volume_id = s->volume_id } };

	if (ds)
		learn_format(d, ds, s);
	if (ds && assign_is_older(d->a, &ds->now, s)) {
		const struct node *old = assign_find_node(d->a, ds->now.owner);

		if (old && old != n)
			decision_order(d, old, ds, WISH_RELEASE, ds->now.epoch, ds->now.volume_id, "");
		keep_status(d, ds, n, s);
		assign_settle(d, ds);
	}
	if (!ds || s->epoch > ds->now.epoch) {
		decision_send(d, n, 0, false, &keep);
		return false;
	}
	if (id128_equal(ds->now.owner, n->now.uuid) && s->epoch == ds->now.epoch &&
		!fenced_covers(assign_fenced(d->a, ds), s->epoch)) {
		keep_status(d, ds, n, s);
		assign_acknowledge(d, ds, s);
		note_fact(ds, FACT_HELD, s);
		ds->named_in = n->session;
		if (s->releasing && ds->now.incarnation != d->a->incarnation)
			decision_order(d, n, ds, WISH_RELEASE, s->epoch, s->volume_id, "");
		return true;
	}
	ds->lingerer.node = n->now.uuid;
	ds->lingerer.session = n->session;
	ds->lingerer.epoch = s->epoch;
	ds->lingerer.volume_id = s->volume_id;
	ds->lingerer.fenced = fenced_covers(assign_fenced(d->a, ds), s->epoch);
	assign_tell_lingerer(d, ds);
	return true;
}

/* A fenced owner has cleaned up, under that grant or a later one: it may be granted it again. */
static bool hear_cleaned_up(struct ads *ds, const struct node *n, const struct assign_event *ev)
{
	enum report_kind kind = ev->report->kind;

	if ((kind != REPORT_RELEASED && kind != REPORT_DESTROYED) || !ds ||
		ds->lingerer.session != n->session || ev->report->status.epoch < ds->lingerer.epoch)
		return false;
	ds->lingerer.session = 0;
	return true;
}

/* Others had a later grant, of which a restored record does not know: this one is of no use. */
static bool is_overtaken(const struct wire_status *s)
{
	return s->state == DS_BLOCKED && !s->mounted && s->claim_epoch > s->epoch;
}

void assign_on_report(struct decision *d, const struct assign_event *ev)
{
	const struct wire_status *s = &ev->report->status;
	struct node *n = assign_find_node(d->a, ev->node);
	struct ads *ds = assign_find(d->a, s->dataset_id);
	bool settle = false;

	if (!n || n->session != ev->session)
		return;
	n->heard_ms = d->now_ms;
	if (d->a->outdated)
		return;
	settle = hear_cleaned_up(ds, n, ev);
	if (ds && s->epoch && assign_is_older(d->a, &ds->now, s))
		hear_hold(d, n, s); /* its hello was taken back with a failed commit */
	if (!ds || !id128_equal(ds->now.owner, ev->node) || s->epoch != ds->now.epoch) {
		/* An old epoch has no effect; but a claim found late has to be let go. */
		if (ds)
			assign_void_claim(d, ds, s);
		if (ev->report->kind == REPORT_STATUS && s->epoch)
			settle |= hear_hold(d, n, s);
		if (ev->report->kind == REPORT_RELEASED && ds && id128_equal(ds->now.owner, ev->node)) {
			ds->told.session = 0; /* it may have been in the way of our order: say it again */
			settle = true;
		}
		if (settle)
			assign_settle(d, ds);
		return;
	}
	keep_status(d, ds, n, s);
	if (s->retry_in_ms && ev->wall_ms)
		ds->retry_at_ms = ev->wall_ms + (int64_t)MIN(s->retry_in_ms, RETRY_MAX_MS);
	learn_format(d, ds, s);
	assign_learn_size(d, ds, s);
	assign_acknowledge(d, ds, s);
	assign_void_claim(d, ds, s);
	if (is_overtaken(s))
		note_fact(ds, FACT_RELEASED, s);
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
	n->gone_ms = d->now_ms;
}

void decision_end_session(struct decision *d, struct node *n, const char *reason)
{
	if (!n->session)
		return;
	end_session(d, n, reason, false);
	list_for_each(l, &n->owned)
		assign_tell_waiter(d, LINK_ITEM(l, struct ads, owned));
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
	bool ahead = h->incarnation > d->a->incarnation ||
		     (h->incarnation == d->a->incarnation && h->version_seen > ev->revision);

	if (n->now.forgotten)
		return "this node was forgotten: its datasets may be in use elsewhere, and it needs a new identity "
		       "(flocker-ca create-node-certificate)";
	/* A stranger with somebody's certificate may have seen anything: it is only refused itself. */
	if (ahead && (same_host || id128_is_nil(n->now.host)))
		d->a->outdated = true;
	if (ahead || d->a->outdated)
		return WIRE_STORE_IS_OLD;
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

static void welcome(struct decision *d, const struct node *n)
{
	struct wire_msg m = { .type = WIRE_WELCOME,
		.welcome = { .version = assign_strdup(FLOCKER_VERSION),
			.incarnation = d->a->incarnation,
			.heartbeat_ms = HEARTBEAT_MS } };

	decision_send(d, n, n->welcome_txn, false, &m);
}

/* Refused for good, but it may still have what others were given since. */
static void tell_forgotten(struct decision *d, const struct node *n, const struct assign_event *ev)
{
	struct node stranger = { .now = n->now, .session = ev->session, .welcome_txn = n->txn };

	welcome(d, &stranger);
	for (size_t i = 0; i < ev->hello->n_holds; i++) {
		const struct wire_status *s = &ev->hello->holds[i];
		const struct ads *ds = assign_find(d->a, s->dataset_id);

		if (ds && fenced_covers(assign_fenced(d->a, ds), s->epoch))
			decision_order(d, &stranger, ds, WISH_RELEASE, s->epoch, s->volume_id, "");
	}
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
	n->heard_ms = n->answered_ms = d->now_ms;
	n->challenged_ms = 0;
	n->lost = false;
	n->boot = ev->hello->boot;
	n->shared = ev->hello->shared;
	assign_hear_room(n, ev->hello->free_bytes, ev->hello->backends, ev->hello->n_backends);
	n->filesystem = ev->hello->filesystem;
	n->n_unknown = 0;
	replace_text(&n->address, ev->address);
	replace_text(&n->backend, ev->hello->backend);
	replace_text(&n->version, ev->hello->version);
	next.host = ev->hello->host;
	next.given_up = 0;
	if (!id128_equal(next.host, n->now.host) || n->now.given_up)
		decision_change_node(d, n, &next);
	n->welcome_txn = n->txn;
}

static void note_unknown(struct node *n, struct id128 dataset_id)
{
	n->unknown = reallocarray(n->unknown, n->n_unknown + 1, sizeof(*n->unknown));
	if (!n->unknown)
		abort();
	n->unknown[n->n_unknown++] = dataset_id;
}

void assign_on_hello(struct decision *d, const struct assign_event *ev)
{
	struct node *n = assign_get_node(d->a, ev->node);
	const char *reason = why_refused(d, n, ev);
	bool awaited = n->awaited;

	n->refused = reason;
	if (n->now.forgotten)
		tell_forgotten(d, n, ev);
	if (reason) {
		refuse(d, n, ev->session, reason);
		return;
	}
	if (n->session)
		end_session(d, n, "replaced by a newer session of this machine", false);
	open_session(d, n, ev);
	welcome(d, n);
	for (size_t i = 0; i < ev->hello->n_holds; i++)
		if (!hear_hold(d, n, &ev->hello->holds[i]))
			note_unknown(n, ev->hello->holds[i].dataset_id);
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
	settle_all_of(d, &d->a->anywhere, offsetof(struct ads, anywhere));
	assign_drain_all(d);
}

void assign_on_gone(struct decision *d, const struct assign_event *ev)
{
	struct node *n = assign_find_node(d->a, ev->node);

	if (!n || n->session != ev->session)
		return;
	n->session = 0;
	n->gone_ms = d->now_ms;
	list_for_each(l, &n->owned)
		assign_tell_waiter(d, LINK_ITEM(l, struct ads, owned));
	/* It may have been the one to destroy them, when it had cleaned up. */
	settle_all_of(d, &d->a->anywhere, offsetof(struct ads, anywhere));
}
