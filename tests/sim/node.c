/* SPDX-License-Identifier: Apache-2.0 */
/* A node's daemon and its machine, around the real roster. */
#include <inttypes.h>

#include "sim.h"

#define SILENCE_MS 30000
#define HEARTBEAT_MS 10000

/* Never 0, which would be no stamp. */
uint64_t node_now(const struct sim *s, int node)
{
	return UINT64_C(1000000) + s->now * s->nodes[node].clock_rate / 1000;
}

/* From the node's clock to a delay in ours. */
static uint64_t delay_until(const struct sim *s, int node, uint64_t at)
{
	uint64_t now = node_now(s, node);

	return at > now ? (at - now) * 1000 / s->nodes[node].clock_rate + 1 : 1;
}

static struct sim_node *node_of(struct sim *s, const struct event *ev)
{
	return &s->nodes[ev->node];
}

/* ---- the wire, from this side ---- */

static void put_on_wire(struct sim *s, int node, uint64_t session, struct wire_msg *m)
{
	bool lost = s->nodes[node].cut_out || (!s->calm && sim_chance(s, s->faults.lose));
	struct event *ev;

	if (lost) {
		sim_log(s, "node %d: %s lost", node, wire_type_name(m->type));
		wire_msg_done(m);
		return;
	}
	if (!s->calm && m->type != WIRE_HELLO && sim_chance(s, s->faults.repeat)) {
		struct wire_msg copy = *m;

		if (m->type == WIRE_REPORT && wire_status_copy(&m->report.status, &copy.report.status) < 0)
			abort();
		if (m->type == WIRE_REPORT || m->type == WIRE_PING || m->type == WIRE_PONG) {
			ev = sim_after(s, sim_wire_delay(s, &s->nodes[node].out_at), EV_TO_CONTROL);
			ev->node = node;
			ev->session = session;
			ev->msg = copy;
		}
	}
	ev = sim_after(s, sim_wire_delay(s, &s->nodes[node].out_at), EV_TO_CONTROL);
	ev->node = node;
	ev->session = session;
	ev->msg = *m;
}

static void node_send(struct sim *s, int node, struct wire_msg *m)
{
	struct sim_node *n = &s->nodes[node];

	m->seq = ++n->sent_seq;
	put_on_wire(s, node, n->session, m);
}

static void dial_later(struct sim *s, int node)
{
	struct event *ev = sim_after(s, 100 + sim_below(s, 4900), EV_NODE_DIAL);

	ev->node = node;
	ev->generation = s->nodes[node].generation;
}

/* ---- the roster's outputs ---- */

static struct job *new_job(struct sim *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(s->jobs); i++)
		if (!s->jobs[i].used) {
			s->jobs[i] = (struct job){ .used = true };
			return &s->jobs[i];
		}
	abort();
}

static uint64_t step_delay(struct sim *s)
{
	if (!s->calm && sim_chance(s, 60))
		return 1 + sim_below(s, 20000); /* lags */
	return 1 + sim_below(s, 30);
}

/* The helper has it at once; what it says is heard with the next event. */
static void arm(struct sim *s, int node, int dataset)
{
	struct sim_node *n = &s->nodes[node];
	uint64_t until = n->wanted[dataset].until;
	struct event *ev;

	if (n->helper_lost)
		return;
	n->armed[dataset] = n->wanted[dataset];
	roster_armed(n->roster, node_now(s, node), s->dataset_ids[dataset], until, n->wanted[dataset].rev);
	if (!until)
		return;
	ev = sim_after(s, delay_until(s, node, until) + sim_below(s, 300), EV_FENCE);
	ev->node = node;
	ev->dataset = dataset;
}

static void take_arm(struct sim *s, int node, const struct roster_arm *a)
{
	int dataset = sim_dataset_index(s, a->dataset_id);

	s->nodes[node].wanted[dataset].until = a->until_ms;
	s->nodes[node].wanted[dataset].rev = a->rev;
	arm(s, node, dataset);
}

/* A node that ended a term by itself lets go of it, and control hears of that with the next hello. */
static void void_promises_of_ended_terms(struct sim *s, int node)
{
	struct roster_view v;

	for (int i = 0; i < s->n_datasets; i++)
		if (s->promises[i].made && s->promises[i].node == node &&
			roster_view(s->nodes[node].roster, s->dataset_ids[i], &v) == 0 && v.wish->term_over)
			s->promises[i].made = false;
}

static void run_roster(struct sim *s, int node)
{
	struct sim_node *n = &s->nodes[node];
	struct roster_out out;
	uint64_t wake;

	roster_run(n->roster, node_now(s, node), &out);
	void_promises_of_ended_terms(s, node);
	for (size_t i = 0; i < out.n_starts; i++) {
		struct job *j = new_job(s);

		j->node = node;
		j->generation = n->generation;
		j->start = out.starts[i];
		world_check_start(s, j);
		sim_after(s, step_delay(s), EV_JOB)->job = (int)(j - s->jobs);
		sim_log(s, "node %d: dataset %d: %s begins (epoch %" PRIu64 ")", node,
			sim_dataset_index(s, j->start.dataset_id), ds_step_name(j->start.step),
			j->start.wish.epoch);
	}
	for (size_t i = 0; i < out.n_sends; i++) {
		struct wire_msg m = out.sends[i];

		if (m.type == WIRE_PING) {
			node_send(s, node, &m);
			continue;
		}
		sim_log(s, "node %d: dataset %d: reports %s, %s: %s", node,
			sim_dataset_index(s, m.report.status.dataset_id),
			report_kind_name(m.report.kind), ds_state_name(m.report.status.state),
			m.report.status.why);
		node_send(s, node, &m);
	}
	out.n_sends = 0;
	for (size_t i = 0; i < out.n_arms; i++)
		take_arm(s, node, &out.arms[i]);
	roster_out_done(&out);

	wake = roster_next_wake(n->roster);
	if (wake != CONVERGE_NEVER && wake != n->wake_at) {
		struct event *ev = sim_after(s, delay_until(s, node, wake), EV_NODE_WAKE);

		ev->node = node;
		ev->generation = n->generation;
		ev->session = ++n->wakes;
		n->wake_at = wake;
	}
}

/* ---- life and death ---- */

/* Where storage hangs only some claims can be read. */
static void adopt_claims(struct sim *s, int node, bool some)
{
	for (int i = 0; i < s->n_volumes; i++) {
		const struct volume *v = &s->volumes[i];
		bool claimed = v->exists && v->claimed && v->claim_node == node;

		if (!claimed && !(v->attached & 1u << node)) /* of a fenced one the device may be left */
			continue;
		if (!(some && sim_chance(s, 500)))
			roster_adopt(s->nodes[node].roster, node_now(s, node), v->dataset_id, v->id,
				claimed ? v->claim_epoch : v->attached_epoch[node], v->cut & 1u << node);
	}
}

void node_start(struct sim *s, int node)
{
	struct sim_node *n = &s->nodes[node];

	if (n->up)
		return;
	n->up = true;
	n->generation++;
	n->session = 0;
	n->welcomed = false;
	n->wake_at = 0;
	n->helper_lost = false;
	memcpy(n->wanted, n->armed, sizeof(n->wanted));
	if (roster_new(&n->roster) < 0)
		abort();
	n->partial = !s->calm && sim_chance(s, 100);
	if (n->partial) {
		struct event *ev = sim_after(s, sim_below(s, 30000), EV_NODE_LISTED);

		ev->node = node;
		ev->generation = n->generation;
	}
	adopt_claims(s, node, n->partial);
	for (int i = 0; i < s->n_datasets; i++)
		roster_inherit(n->roster, s->dataset_ids[i], n->armed[i].until);
	sim_log(s, "node %d: starts%s", node, n->partial ? ", and its storage hangs" : "");
	run_roster(s, node);
	dial_later(s, node);
}

void node_touch(struct sim *s, int node)
{
	if (!s->nodes[node].up || s->nodes[node].stopped)
		return;
	roster_touch_all(s->nodes[node].roster, node_now(s, node));
	run_roster(s, node);
}

static void orphan_jobs(struct sim *s, int node, bool reboot)
{
	for (size_t i = 0; i < ARRAY_SIZE(s->jobs); i++) {
		struct job *j = &s->jobs[i];

		if (!j->used || j->node != node || j->generation != s->nodes[node].generation)
			continue;
		/* The system call that a killed thread is in may still have its effect; that the one of a
		 * machine which wakes up too late has none is not promised, but then nothing would be. */
		if (!reboot && !s->nodes[node].suspended && sim_chance(s, 400))
			(void)world_step(s, j);
		j->generation = 0;
	}
	for (int i = 0; i < s->n_volumes && !reboot; i++)
		if (s->volumes[i].mkfs_runs_now && s->volumes[i].attached & 1u << node)
			sim_after(s, sim_below(s, 5000), EV_MKFS_ORPHAN)->volume = i;
}

void node_kill(struct sim *s, int node, bool reboot)
{
	struct sim_node *n = &s->nodes[node];
	struct event *ev;

	if (n->up && n->helper_lost)
		node_start_helper(s, node);
	if (reboot) {
		world_reboot(s, node);
		memset(n->armed, 0, sizeof(n->armed));
		n->boot = id128_make_v4(sim_random(s), sim_random(s));
	}
	if (!n->up)
		return;
	sim_log(s, "node %d: %s", node, reboot ? "reboots" : "is killed");
	orphan_jobs(s, node, reboot);
	n->suspended = false;
	n->roster = roster_free(n->roster);
	n->up = n->stopped = false;
	n->generation++;
	if (n->session && !n->cut_out && !reboot) {
		ev = sim_after(s, 1 + sim_below(s, 20), EV_CLOSED_AT_CONTROL);
		ev->node = node;
		ev->session = n->session;
	}
	n->session = 0;
}

static void close_session(struct sim *s, int node, const char *why)
{
	struct sim_node *n = &s->nodes[node];
	struct event *ev;

	if (!n->session)
		return;
	sim_log(s, "node %d: session %" PRIu64 " ends: %s", node, n->session, why);
	if (!n->cut_out) {
		ev = sim_after(s, 1 + sim_below(s, 20), EV_CLOSED_AT_CONTROL);
		ev->node = node;
		ev->session = n->session;
	}
	n->session = 0;
	n->welcomed = false;
	roster_disconnected(n->roster, node_now(s, node));
	dial_later(s, node);
	run_roster(s, node);
}

static void heartbeat_later(struct sim *s, int node, uint64_t session)
{
	struct event *ev = sim_after(s, HEARTBEAT_MS, EV_HEARTBEAT);

	ev->node = node;
	ev->session = session;
}

static void dial(struct sim *s, int node)
{
	struct sim_node *n = &s->nodes[node];
	struct wire_msg m = { .type = WIRE_HELLO };

	if (n->session)
		return;
	if (!s->control.up || n->cut_in || n->cut_out) {
		dial_later(s, node);
		return;
	}
	n->session = ++s->next_session;
	n->sent_seq = n->got_seq = 0;
	n->heard_at = s->now;
	m.hello.host = n->host;
	m.hello.boot = n->boot;
	m.hello.shared = true;
	if (!n->old) {
		m.hello.backends = calloc(1, sizeof(*m.hello.backends));
		m.hello.n_backends = 1;
		strcpy(m.hello.backends->capabilities, "cut grow");
	}
	m.hello.partial = n->partial;
	m.hello.incarnation = n->incarnation;
	m.hello.backend = strdup("loopback");
	if (roster_hello(n->roster, &m.hello) < 0)
		sim_fail(s, "a hello cannot name all that is held");
	sim_log(s, "node %d: session %" PRIu64 ": hello names %zu%s", node, n->session, m.hello.n_holds,
		n->partial ? ", and not all" : "");
	for (size_t i = 0; i < m.hello.n_holds; i++)
		sim_log(s, "node %d: names dataset %d, epoch %" PRIu64, node,
			sim_dataset_index(s, m.hello.holds[i].dataset_id), m.hello.holds[i].epoch);
	node_send(s, node, &m);
	heartbeat_later(s, node, n->session);
}

/* ---- events ---- */

static void got_message(struct sim *s, struct event *ev)
{
	struct sim_node *n = node_of(s, ev);
	struct wire_msg *m = &ev->msg;
	int r;

	if (!n->up || n->session != ev->session || m->seq <= n->got_seq)
		return;
	if (m->seq > n->got_seq + 1) {
		close_session(s, ev->node, "a gap");
		return;
	}
	n->got_seq = m->seq;
	n->heard_at = s->now;
	switch (m->type) {
	case WIRE_WELCOME:
		if (m->welcome.incarnation < n->incarnation) {
			close_session(s, ev->node, "an old incarnation");
			return;
		}
		n->incarnation = m->welcome.incarnation;
		n->welcomed = true;
		roster_connected(n->roster, node_now(s, ev->node));
		break;
	case WIRE_ASSIGN:
		if (!n->welcomed)
			break;
		if (n->old)
			m->assign.growing_bytes = m->assign.fs_bytes = m->assign.want_bytes = m->assign.size_bytes;
		r = roster_order(n->roster, node_now(s, ev->node), &m->assign);
		sim_log(s, "node %d: dataset %d: order %s epoch %" PRIu64 " format %s: %s", ev->node,
			sim_dataset_index(s, m->assign.dataset_id), wish_kind_name(m->assign.wish),
			m->assign.epoch, format_state_name(m->assign.format_state),
			r < 0 ? strerror(-r) : "taken");
		break;
	case WIRE_BYE:
		close_session(s, ev->node, m->bye.reason ? m->bye.reason : "bye");
		return;
	case WIRE_PONG:
		roster_renewed(n->roster, node_now(s, ev->node), m->ping.stamp_ms);
		break;
	case WIRE_PING:
		node_send(s, ev->node, &(struct wire_msg){ .type = WIRE_PONG });
		break;
	default:
		break;
	}
	run_roster(s, ev->node);
}

static void job_phase(struct sim *s, struct event *ev)
{
	struct job *j = &s->jobs[ev->job];
	struct sim_node *n = &s->nodes[j->node];
	struct converge_seen seen;
	struct roster_extra extra = { 0 };
	bool looked, fails;
	int r;

	if (j->generation != n->generation || !n->up) {
		j->used = false;
		return;
	}
	r = world_step(s, j);
	if (r > 0) {
		sim_after(s, step_delay(s), EV_JOB)->job = ev->job;
		return;
	}
	fails = !s->calm && sim_chance(s, s->faults.step_fails);
	looked = j->start.step == STEP_OBSERVE ? r == 0 : !fails;
	world_observe(s, j->node, &j->start.wish, j->start.step == STEP_OBSERVE, &seen);
	sim_log(s, "node %d: dataset %d: %s ends: %s", j->node,
		sim_dataset_index(s, j->start.dataset_id), ds_step_name(j->start.step),
		r < 0 ? strerror(-r) : "done");
	j->used = false;
	(void)roster_done(n->roster, node_now(s, j->node), j->start.dataset_id, j->start.ticket, -r,
		r < 0 ? strerror(-r) : NULL, looked ? &seen : NULL, &extra);
	run_roster(s, j->node);
}

static void heartbeat(struct sim *s, struct event *ev)
{
	struct sim_node *n = node_of(s, ev);

	if (!n->up || n->session != ev->session)
		return;
	if (s->now - n->heard_at >= SILENCE_MS || !n->welcomed) {
		close_session(s, ev->node, n->welcomed ? "silence" : "hello was not answered");
		return;
	}
	node_send(s, ev->node, &(struct wire_msg){ .type = WIRE_PING });
	heartbeat_later(s, ev->node, ev->session);
}

/* ---- stopping, and being stopped ---- */

static void wait_for_resume(struct sim *s, struct event *ev)
{
	struct event *later = sim_after(s, s->nodes[ev->node].resume_at - s->now + 1, ev->type);
	uint64_t at = later->at, order = later->order;

	*later = *ev;
	later->at = at;
	later->order = order;
	ev->msg = (struct wire_msg){ 0 };
}

void node_stop(struct sim *s, int node, bool suspend)
{
	struct sim_node *n = &s->nodes[node];
	struct event *ev;

	if (!n->up || n->stopped || n->helper_lost)
		return;
	sim_log(s, "node %d: %s", node, suspend ? "is suspended" : "its daemon is stopped");
	n->stopped = true;
	n->suspended = suspend;
	n->resume_at = s->now + sim_below(s, 40000);
	ev = sim_after(s, n->resume_at - s->now, EV_RESUME);
	ev->node = node;
	ev->generation = n->generation;
}

/* A step is under way that the helper was told of. */
static bool is_at_work(const struct sim *s, int node, struct id128 dataset_id)
{
	for (size_t i = 0; i < ARRAY_SIZE(s->jobs); i++) {
		const struct job *j = &s->jobs[i];

		if (j->used && j->node == node && j->generation == s->nodes[node].generation &&
			id128_equal(j->start.dataset_id, dataset_id) && j->start.guarded)
			return true;
	}
	return false;
}

/* What the helper does when a term ends. What the daemon has begun may still take effect until it is dead,
 * and a daemon that does not say that it is idle is killed. */
static void fire(struct sim *s, int node, int dataset)
{
	struct sim_node *n = &s->nodes[node];

	n->armed[dataset].until = n->wanted[dataset].until = 0;
	sim_log(s, "node %d: dataset %d: the term ends, the helper fires", node, dataset);
	if (n->up && (n->stopped || is_at_work(s, node, s->dataset_ids[dataset]))) {
		bool unkillable = sim_chance(s, 50);

		node_kill(s, node, unkillable);
		sim_after(s, (unkillable ? 5000 : 100) + sim_below(s, 8000), EV_NODE_START)->node = node;
	}
	world_cut(s, node, dataset);
	if (!n->up)
		return;
	roster_term_over(n->roster, node_now(s, node), s->dataset_ids[dataset]);
	roster_fenced(n->roster, node_now(s, node), s->dataset_ids[dataset]);
	run_roster(s, node);
}

/* Killed, while the daemon that starts another lives. Both lost at once no term survives. */
void node_lose_helper(struct sim *s, int node)
{
	struct sim_node *n = &s->nodes[node];
	struct event *ev;

	if (!n->up || n->stopped || n->helper_lost)
		return;
	sim_log(s, "node %d: its fence helper is killed", node);
	n->helper_lost = true;
	memset(n->armed, 0, sizeof(n->armed));
	roster_unarmed(n->roster, node_now(s, node));
	ev = sim_after(s, 1 + sim_below(s, 100), EV_HELPER_START);
	ev->node = node;
	ev->generation = n->generation;
	run_roster(s, node);
}

/* It is told all anew, also what is over by now and which steps are under way. */
void node_start_helper(struct sim *s, int node)
{
	struct sim_node *n = &s->nodes[node];

	n->helper_lost = false;
	sim_log(s, "node %d: another fence helper is started", node);
	/* A step's grace is longer than it takes to tell all. */
	for (int i = 0; i < s->n_datasets; i++)
		if (n->wanted[i].until > node_now(s, node))
			arm(s, node, i);
		else
			n->armed[i] = n->wanted[i];
	for (int i = 0; i < s->n_datasets; i++)
		if (n->armed[i].until && n->armed[i].until <= node_now(s, node))
			fire(s, node, i);
	if (n->up)
		run_roster(s, node);
}

void node_fence(struct sim *s, struct event *ev)
{
	uint64_t until = s->nodes[ev->node].armed[ev->dataset].until;

	if (until && until <= node_now(s, ev->node) && !s->nodes[ev->node].suspended)
		fire(s, ev->node, ev->dataset);
}

void node_resume(struct sim *s, int node)
{
	struct sim_node *n = &s->nodes[node];
	bool suspended = n->suspended;

	for (int i = 0; i < s->n_datasets && suspended; i++)
		if (n->armed[i].until && n->armed[i].until <= node_now(s, node))
			fire(s, node, i);
	n->suspended = false;
	if (n->stopped)
		sim_log(s, "node %d: goes on", node);
	n->stopped = false;
}

void node_event(struct sim *s, struct event *ev)
{
	struct sim_node *n;

	if (ev->type == EV_JOB)
		ev->node = s->jobs[ev->job].node;
	n = &s->nodes[ev->node];
	if (n->stopped && ev->type != EV_NODE_START) {
		wait_for_resume(s, ev);
		return;
	}

	switch (ev->type) {
	case EV_NODE_START:
		node_start(s, ev->node);
		break;
	case EV_NODE_DIAL:
		if (n->up && n->generation == ev->generation)
			dial(s, ev->node);
		break;
	case EV_NODE_WAKE:
		if (n->up && n->generation == ev->generation && n->wakes == ev->session) {
			n->wake_at = 0;
			run_roster(s, ev->node);
		}
		break;
	case EV_NODE_LISTED:
		if (n->up && n->generation == ev->generation) {
			adopt_claims(s, ev->node, false);
			n->partial = false;
			close_session(s, ev->node, "everything is known now");
			run_roster(s, ev->node);
		}
		break;
	case EV_HELPER_START:
		if (n->helper_lost && n->generation == ev->generation)
			node_start_helper(s, ev->node);
		break;
	case EV_JOB:
		job_phase(s, ev);
		break;
	case EV_TO_NODE:
		got_message(s, ev);
		break;
	case EV_CLOSED_AT_NODE:
		if (n->up && n->session == ev->session)
			close_session(s, ev->node, "closed by control");
		break;
	case EV_HEARTBEAT:
		heartbeat(s, ev);
		break;
	default:
		break;
	}
}
