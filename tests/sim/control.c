/* SPDX-License-Identifier: Apache-2.0 */
/* The control server and its store, around the real assign; and the clients. */
#include <inttypes.h>

#include "failover_to.h"
#include "sim.h"

#define SILENCE_MS 30000
#define HEARTBEAT_MS 10000

static void pump(struct sim *s);

uint64_t control_now(const struct sim *s)
{
	return s->now * s->control.clock_rate / 1000;
}

static struct sim_session *session_of(struct sim *s, uint64_t id)
{
	for (size_t i = 0; i < ARRAY_SIZE(s->control.sessions); i++)
		if (s->control.sessions[i].open && s->control.sessions[i].id == id)
			return &s->control.sessions[i];
	return NULL;
}

static struct sim_session *new_session(struct sim *s, uint64_t id, int node)
{
	for (size_t i = 0; i < ARRAY_SIZE(s->control.sessions); i++) {
		struct sim_session *c = &s->control.sessions[i];

		if (c->open)
			continue;
		*c = (struct sim_session){ .id = id, .node = node, .open = true, .heard_at = s->now };
		return c;
	}
	abort();
}

/* ---- sending ---- */

static void put_on_wire(struct sim *s, struct sim_session *c, struct wire_msg *m)
{
	struct sim_node *n = &s->nodes[c->node];
	struct event *ev;

	m->seq = ++c->sent_seq;
	if (n->cut_in || (!s->calm && sim_chance(s, s->faults.lose))) {
		sim_log(s, "control: %s to node %d lost", wire_type_name(m->type), c->node);
		wire_msg_done(m);
		return;
	}
	if (!s->calm && m->type == WIRE_ASSIGN && sim_chance(s, s->faults.repeat)) {
		ev = sim_after(s, sim_wire_delay(s, &n->in_at), EV_TO_NODE);
		ev->node = c->node;
		ev->session = c->id;
		ev->msg = *m;
		json_object_get(m->assign.metadata);
	}
	ev = sim_after(s, sim_wire_delay(s, &n->in_at), EV_TO_NODE);
	ev->node = c->node;
	ev->session = c->id;
	ev->msg = *m;
}

static void send_now(struct sim *s, struct assign_send *send)
{
	struct sim_session *c = session_of(s, send->session);
	struct event *ev;

	if (!c) {
		wire_msg_done(&send->msg);
		return;
	}
	put_on_wire(s, c, &send->msg);
	if (!send->close)
		return;
	c->open = false;
	ev = sim_after(s, 10 + sim_below(s, 20), EV_CLOSED_AT_NODE);
	ev->node = c->node;
	ev->session = c->id;
}

/* In order, each when what it depends on is durable. */
static void flush_sends(struct sim *s)
{
	struct sim_control *c = &s->control;

	for (struct queued_send **p = &c->sends; *p;) {
		struct queued_send *q = *p;

		if (q->send.after_txn > c->durable_txn) {
			p = &q->next;
			continue;
		}
		*p = q->next;
		send_now(s, &q->send);
		free(q);
	}
}

/* ---- the store: one commit at a time, in order ---- */

static void commit_next(struct sim *s)
{
	struct sim_control *c = &s->control;
	struct event *ev;

	if (c->committing || !c->commits)
		return;
	c->committing = true;
	ev = sim_after(s, 1 + sim_below(s, !s->calm && sim_chance(s, s->faults.commit_slow) ? 4000 : 10),
		EV_COMMIT);
	ev->generation = c->generation;
	ev->txn = c->commits->txn;
	ev->failed = !s->calm && sim_chance(s, s->faults.commit_fails);
}

static void free_commit(struct queued_commit *q)
{
	struct assign_result r = { .changes = q->changes, .n_changes = q->n_changes };

	assign_result_done(&r);
	free(q);
}

static bool is_deleted_again(const struct sim *s, int op)
{
	for (int i = op + 1; i < s->n_ops; i++)
		if (s->ops[i].dataset == s->ops[op].dataset &&
			(s->ops[i].kind == OP_DELETE || s->ops[i].kind == OP_PURGE))
			return true;
	return false;
}

static void ack_ops(struct sim *s)
{
	struct sim_control *c = &s->control;

	for (int i = 0; i < s->n_ops; i++)
		if (!s->ops[i].acked && s->ops[i].generation == c->generation &&
			s->ops[i].txn && s->ops[i].txn <= c->durable_txn) {
			s->ops[i].acked = true;
			if (s->ops[i].kind == OP_UNDELETE && !is_deleted_again(s, i))
				s->undeleted[s->ops[i].dataset] = true;
		}
}

static void drop_queues(struct sim *s)
{
	struct sim_control *c = &s->control;

	while (c->commits) {
		struct queued_commit *q = c->commits;

		c->commits = q->next;
		free_commit(q);
	}
	c->last_commit = &c->commits;
	c->committing = false;
}

static void note_durable_wishes(struct sim *s)
{
	for (int i = 0; i < SIM_DATASETS; i++)
		s->control.wished[i] = s->control.disk.have[i] ? s->control.disk.records[i].primary : ID128_NIL,
		s->control.unwanted[i] = s->control.disk.have[i] && s->control.disk.records[i].deleted;
	for (int i = 0; i < SIM_NODES; i++)
		s->control.given_up[i] = store_says_given_up(s, i),
		s->control.draining[i] = s->control.disk.nodes[i].draining_since;
}

/* The answer never came. */
static void void_promises_from(struct sim *s, uint64_t txn)
{
	for (int i = 0; i < SIM_DATASETS; i++)
		if (s->promises[i].generation == s->control.generation && s->promises[i].txn >= txn)
			s->promises[i].made = false;
}

static void fail_commits(struct sim *s, uint64_t txn)
{
	struct sim_control *c = &s->control;

	sim_log(s, "control: commit %" PRIu64 " fails", txn);
	drop_queues(s);
	for (struct queued_send **p = &c->sends; *p;) {
		struct queued_send *q = *p;

		if (q->send.after_txn < txn) {
			p = &q->next;
			continue;
		}
		*p = q->next;
		wire_msg_done(&q->send.msg);
		free(q);
	}
	for (int i = 0; i < s->n_ops; i++)
		if (s->ops[i].generation == c->generation && s->ops[i].txn >= txn)
			s->ops[i].generation = 0; /* answered with an error: it did not happen */
	void_promises_from(s, txn);
	assign_failed(c->assign, control_now(s), txn);
	c->durable_txn = MAX(c->durable_txn, txn - 1);
	note_durable_wishes(s);
}

static void commit_done(struct sim *s, struct event *ev)
{
	struct sim_control *c = &s->control;
	struct queued_commit *q = c->commits;

	if (ev->generation != c->generation || !q || q->txn != ev->txn)
		return;
	if (ev->failed) {
		fail_commits(s, ev->txn);
	} else {
		c->commits = q->next;
		if (!c->commits)
			c->last_commit = &c->commits;
		c->committing = false;
		store_make_durable(s, q);
		c->durable_txn = q->txn;
		assign_committed(c->assign, q->txn);
		free_commit(q);
		ack_ops(s);
	}
	pump(s);
}

/* ---- deciding ---- */

/* Control may change a wish by itself only to where the dataset may go, from a node that is away. */
static void check_failover(struct sim *s, const struct ds_record *to, int d, int node)
{
	int from = sim_node_index(s, s->control.wished[d]);
	struct json_object *names;

	sim_log(s, "control: dataset %d fails over to node %d", d, node);
	if (to->fenced.to == 0 && !s->control.given_up[from] && (to->failover.kind != FAILOVER_LEASE ||
			(s->now - s->control.heard_at[from]) * s->control.clock_rate / 1000 < to->failover.term_ms))
		sim_fail(s, "dataset %d fails over, was never fenced, and node %d is not lost", d, from);
	if (!json_object_object_get_ex(to->metadata, FAILOVER_TO_KEY, &names) ||
		!failover_to_names(json_object_get_string(names), to->primary))
		sim_fail(s, "dataset %d fails over to node %d, which its metadata do not name", d, node);
	for (size_t i = 0; i < ARRAY_SIZE(s->control.sessions); i++)
		if (s->control.sessions[i].open && s->control.sessions[i].node == from)
			sim_fail(s, "dataset %d fails over while node %d is connected", d, from);
}

/* Or from a node that drains, unless a lease keeps it there. */
static void check_drain(struct sim *s, int d, int node)
{
	int from = sim_node_index(s, s->control.wished[d]);

	sim_log(s, "control: dataset %d leaves node %d, which drains, for node %d", d, from, node);
	if (from < 0 || !s->control.draining[from])
		sim_fail(s, "control moves dataset %d, and nothing drains", d);
	if (s->control.draining[node])
		sim_fail(s, "dataset %d goes to node %d, which drains", d, node);
}

/* Only a claim of who was given up is void. */
static void check_voided(struct sim *s, const struct ds_record *to, int d)
{
	const struct volume *v = world_find(s, to->volume_id);

	if (v && v->claimed && v->claim_epoch == to->fenced.also && !s->control.given_up[v->claim_node])
		sim_fail(s, "the claim of node %d on dataset %d is voided, and nobody gave that node up",
			v->claim_node, d);
}

static void note_wish(struct sim *s, uint64_t txn, const struct ds_record *to)
{
	int d = sim_dataset_index(s, to->dataset_id), node = sim_node_index(s, to->primary);

	if (to->chosen && !id128_equal(s->control.wished[d], to->primary) && (to->failed_over || !s->control.asked)) {
		if (to->failed_over)
			check_failover(s, to, d, node);
		else
			check_drain(s, d, node);
		if (s->n_ops == SIM_OPS)
			abort();
		s->ops[s->n_ops++] = (struct op){ .dataset = d, .kind = OP_MOVE, .primary = node,
			.generation = s->control.generation, .txn = txn };
	}
	s->control.wished[d] = to->primary;
	s->control.unwanted[d] = to->deleted;
	if (to->fenced.also && to->fenced.also != s->control.voided[d])
		check_voided(s, to, d);
	s->control.voided[d] = to->fenced.also;
	if (to->fenced.to == to->epoch && s->promises[d].epoch == to->epoch)
		s->promises[d].made = false;
}

int control_decide(struct sim *s, struct assign_event *ev, uint64_t *ret_txn)
{
	struct sim_control *c = &s->control;
	struct assign_result r;
	int status;

	ev->random[0] = sim_random(s);
	ev->random[1] = sim_random(s);
	assign_decide(c->assign, control_now(s), ev, &r);
	status = r.status;
	if (ret_txn)
		*ret_txn = r.txn;
	for (size_t i = 0; i < r.n_sends; i++) {
		struct queued_send *q = calloc(1, sizeof(*q)), **p = &c->sends;

		q->send = r.sends[i];
		if (q->send.msg.type == WIRE_ASSIGN && q->send.msg.assign.wish == WISH_RELEASE)
			c->releasing[sim_dataset_index(s, q->send.msg.assign.dataset_id)] = q->send.msg.assign.epoch;
		if (q->send.msg.type == WIRE_PONG && q->send.after_txn > c->durable_txn)
			sim_fail(s, "a renewal waits for the store");
		while (*p)
			p = &(*p)->next;
		*p = q;
	}
	r.n_sends = 0;
	if (r.n_changes) {
		struct queued_commit *q = calloc(1, sizeof(*q));

		*q = (struct queued_commit){ r.txn, r.changes, r.n_changes, NULL };
		*c->last_commit = q;
		c->last_commit = &q->next;
		r.changes = NULL;
		r.n_changes = 0;
		flush_sends(s); /* sessions that ended with it have ended */
		for (size_t i = 0; i < q->n_changes; i++)
			if (q->changes[i].kind == CHANGE_NODE)
				c->draining[sim_node_index(s, q->changes[i].node.uuid)] =
					q->changes[i].node.draining_since;
			else if (q->changes[i].kind == CHANGE_DATASET && !q->changes[i].drop)
				note_wish(s, q->txn, &q->changes[i].ds);
	}
	assign_result_done(&r);
	pump(s);
	return status;
}

bool control_ask(struct sim *s, struct assign_event *ev, struct op op)
{
	int i = s->n_ops, status;

	if (i >= SIM_OPS_OF_CLIENTS)
		return false;
	op.generation = s->control.generation;
	s->ops[s->n_ops++] = op;
	s->control.asked = op.kind != OP_GROW; /* of where it is to be */
	status = control_decide(s, ev, &s->ops[i].txn);
	s->control.asked = false;
	if (status != 0) {
		s->n_ops = i;
		return false;
	}
	/* Control has the last word where nobody asked for a node, or for one that drains. */
	if (ev->place || (op.primary >= 0 && s->control.draining[op.primary]))
		s->ops[i].primary = sim_node_index(s, s->control.wished[op.dataset]);
	s->ops[i].acked = s->ops[i].txn <= s->control.durable_txn;
	return true;
}

static void pump(struct sim *s)
{
	struct sim_control *c = &s->control;
	uint64_t wake = assign_next_wake(c->assign);

	flush_sends(s);
	commit_next(s);
	if (wake != UINT64_MAX && wake != c->wake_at) {
		uint64_t now = control_now(s);
		struct event *ev = sim_after(s,
			wake > now ? (wake - now) * 1000 / c->clock_rate + 1 : 1, EV_CONTROL_WAKE);

		ev->generation = c->generation;
		c->wake_at = wake;
	}
}

static void gone(struct sim *s, struct sim_session *c, bool tell_node)
{
	struct assign_event ev = { .type = ASSIGN_GONE, .node = s->nodes[c->node].uuid,
		.session = c->id };
	struct event *e;

	c->open = false;
	if (tell_node && !s->nodes[c->node].cut_in) {
		e = sim_after(s, 1 + sim_below(s, 20), EV_CLOSED_AT_NODE);
		e->node = c->node;
		e->session = c->id;
	}
	control_decide(s, &ev, NULL);
}

/* ---- life and death ---- */

void control_start(struct sim *s)
{
	struct sim_control *c = &s->control;

	if (c->up)
		return;
	c->up = true;
	c->generation++;
	c->durable_txn = 0;
	c->wake_at = UINT64_MAX;
	c->last_commit = &c->commits;
	if (assign_new(c->incarnation, control_now(s), &c->assign) < 0)
		abort();
	for (int i = 0; i < SIM_DATASETS; i++)
		if (c->disk.have[i])
			assign_load_dataset(c->assign, &c->disk.records[i],
				c->disk.records[i].undelete_until * 1000 - (int64_t)s->now);
	assign_load_floor(c->assign, c->disk.floor);
	for (int i = 0; i < SIM_DATASETS; i++)
		if (c->disk.have_pin[i])
			assign_load_pin(c->assign, &c->disk.pins[i],
				c->disk.pins[i].expires_ms - (int64_t)control_now(s));
	for (int i = 0; i < SIM_NODES; i++)
		if (c->disk.have_node[i])
			assign_load_node(c->assign, &c->disk.nodes[i]);
	assign_loaded(c->assign);
	note_durable_wishes(s);
	sim_log(s, "control: starts");
	if (s->calm && s->dead >= 0) /* what the operator said may not be durable */
		sim_after(s, 1000, EV_OPERATOR)->node = s->dead;
}

void control_done(struct sim *s)
{
	struct sim_control *c = &s->control;

	drop_queues(s);
	while (c->sends) {
		struct queued_send *q = c->sends;

		c->sends = q->next;
		wire_msg_done(&q->send.msg);
		free(q);
	}
	c->assign = assign_free(c->assign);
}

void control_kill(struct sim *s)
{
	struct sim_control *c = &s->control;

	if (!c->up)
		return;
	sim_log(s, "control: is killed");
	void_promises_from(s, c->durable_txn + 1);
	/* What was being written may have reached the disk, though nobody heard of it. */
	if (c->committing && sim_chance(s, 500))
		store_make_durable(s, c->commits);
	control_done(s);
	c->up = false;
	c->generation++;
	for (size_t i = 0; i < ARRAY_SIZE(c->sessions); i++) {
		struct sim_session *x = &c->sessions[i];
		struct event *e;

		if (!x->open)
			continue;
		x->open = false;
		if (s->nodes[x->node].cut_in)
			continue;
		e = sim_after(s, 1 + sim_below(s, 20), EV_CLOSED_AT_NODE);
		e->node = x->node;
		e->session = x->id;
	}
}

/* ---- an old copy of the store is put to use ---- */

static void copy_store(const struct sim_store *from, struct sim_store *to)
{
	for (int i = 0; i < SIM_DATASETS; i++)
		if (to->have[i])
			ds_record_done(&to->records[i]);
	*to = *from;
	for (int i = 0; i < SIM_DATASETS; i++)
		if (to->have[i])
			ds_record_copy(&from->records[i], &to->records[i]);
}

void control_backup(struct sim *s)
{
	copy_store(&s->control.disk, &s->control.backup);
}

void control_restore(struct sim *s)
{
	control_kill(s);
	sim_log(s, "control: a backup is restored");
	copy_store(&s->control.backup, &s->control.disk);
	s->control.incarnation++;
	s->restored = true;
	client_void_promises(s, -1);
	for (int i = 0; i < s->n_ops; i++) /* what the backup does not know was promised in vain */
		s->ops[i] = (struct op){ .dataset = -1 };
	memset(s->kept_until, 0, sizeof(s->kept_until));
}

/* ---- messages ---- */

static void heartbeat_later(struct sim *s, const struct sim_session *c)
{
	struct event *ev = sim_after(s, HEARTBEAT_MS, EV_CONTROL_WAKE);

	ev->generation = s->control.generation;
	ev->session = c->id;
}

/* A node whose term ended by its own clock gives back what it has, whatever is promised. */
static void note_given_back(struct sim *s, const struct wire_status *status)
{
	int d = sim_dataset_index(s, status->dataset_id);

	if (status->releasing && s->promises[d].epoch == status->epoch && s->control.releasing[d] != status->epoch)
		s->promises[d].made = false;
}

static void hear(struct sim *s, struct sim_session *c, struct wire_msg *m)
{
	struct assign_event ev = { .node = s->nodes[c->node].uuid, .session = c->id };

	ev.type = ASSIGN_HEARD;
	if (m->type == WIRE_HELLO) {
		ev.type = ASSIGN_HELLO;
		ev.hello = &m->hello;
		for (size_t i = 0; i < m->hello.n_holds; i++)
			note_given_back(s, &m->hello.holds[i]);
		ev.address = "127.0.0.1";
		heartbeat_later(s, c);
	} else if (m->type == WIRE_REPORT) {
		ev.type = ASSIGN_REPORT;
		ev.report = &m->report;
		note_given_back(s, &m->report.status);
	} else if (m->type == WIRE_PING && m->ping.stamp_ms) {
		ev.type = ASSIGN_RENEW;
		ev.stamp_ms = m->ping.stamp_ms;
	} else if (m->type == WIRE_PING) {
		put_on_wire(s, c, &(struct wire_msg){ .type = WIRE_PONG });
	}
	control_decide(s, &ev, NULL);
}

static void got_message(struct sim *s, struct event *ev)
{
	struct sim_session *c = session_of(s, ev->session);

	if (!s->control.up)
		return;
	if (!c && ev->msg.type == WIRE_HELLO && ev->session == s->nodes[ev->node].session)
		c = new_session(s, ev->session, ev->node);
	if (!c || ev->msg.seq <= c->got_seq)
		return;
	if (ev->msg.seq != c->got_seq + 1) {
		sim_log(s, "control: a gap from node %d", ev->node);
		gone(s, c, true);
		return;
	}
	c->got_seq = ev->msg.seq;
	c->heard_at = s->control.heard_at[c->node] = s->now;
	hear(s, c, &ev->msg);
}

static void wake(struct sim *s, struct event *ev)
{
	struct assign_event tick = { .type = ASSIGN_TICK };
	struct sim_session *c;

	if (!s->control.up || ev->generation != s->control.generation)
		return;
	if (!ev->session) {
		s->control.wake_at = UINT64_MAX;
		control_decide(s, &tick, NULL);
		return;
	}
	c = session_of(s, ev->session);
	if (!c)
		return;
	if (s->now - c->heard_at >= SILENCE_MS) {
		gone(s, c, true);
		return;
	}
	put_on_wire(s, c, &(struct wire_msg){ .type = WIRE_PING });
	heartbeat_later(s, c);
}

void control_event(struct sim *s, struct event *ev)
{
	struct sim_session *c;

	switch (ev->type) {
	case EV_CONTROL_START:
		control_start(s);
		break;
	case EV_CONTROL_KILL:
		control_kill(s);
		break;
	case EV_CONTROL_WAKE:
		wake(s, ev);
		break;
	case EV_COMMIT:
		if (s->control.up)
			commit_done(s, ev);
		break;
	case EV_TO_CONTROL:
		got_message(s, ev);
		break;
	case EV_CLOSED_AT_CONTROL:
		c = s->control.up ? session_of(s, ev->session) : NULL;
		if (c)
			gone(s, c, false);
		break;
	default:
		break;
	}
}
