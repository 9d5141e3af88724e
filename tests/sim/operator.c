/* SPDX-License-Identifier: Apache-2.0 */
/* What people do to control and its nodes: stop it as planned, give nodes up, bring strange machines. */
#include "sim.h"

void control_stop(struct sim *s)
{
	struct assign_event ev = { .type = ASSIGN_EXTEND, .extension_ms = 10000 + sim_below(s, 40000) };
	uint64_t end = sim_below(s, 3000);

	if (!s->control.up)
		return;
	sim_log(s, "control: is about to be stopped");
	control_decide(s, &ev, NULL);
	sim_after(s, end, EV_CONTROL_KILL);
	sim_after(s, end + sim_below(s, 20000), EV_CONTROL_START);
}

int control_fence(struct sim *s, int node, bool forget)
{
	struct assign_event ev = { .type = forget ? ASSIGN_FORGET : ASSIGN_FENCE, .node = s->nodes[node].uuid };

	if (!s->control.up || s->nodes[node].up)
		return -EAGAIN;
	sim_log(s, "operator: node %d is %s", node, forget ? "forgotten" : "fenced");
	s->control.given_up[node] = true;
	client_void_promises(s, node);
	return control_decide(s, &ev, NULL);
}

void control_drain(struct sim *s, int node)
{
	struct assign_event ev = { .type = sim_chance(s, 600) ? ASSIGN_DRAIN : ASSIGN_UNDRAIN,
		.node = s->nodes[node].uuid, .now_s = (int64_t)s->now / 1000 };

	if (!s->control.up)
		return;
	sim_log(s, "operator: node %d is to %s", node, ev.type == ASSIGN_DRAIN ? "drain" : "take datasets again");
	(void)control_decide(s, &ev, NULL);
}

bool control_give_up(struct sim *s, int node)
{
	bool forgotten = s->control.disk.nodes[node].forgotten;
	int to = 0, said = forgotten ? 0 : control_fence(s, node, false);
	/* More of what is wished for it may be on its way to the disk. */
	bool done = said != -EBUSY && said != -EAGAIN && s->control.up && !s->control.commits;

	for (int i = 0; i < s->n_datasets && s->control.up; i++) {
		const struct ds_record *r = &s->control.disk.records[i];
		struct assign_event ev = { .type = ASSIGN_MOVE, .dataset_id = s->dataset_ids[i],
			.primary = s->nodes[to].uuid };
		struct op op = { .dataset = i, .kind = OP_MOVE, .primary = to };

		if (!s->control.disk.have[i] || (r->deleted && !id128_equal(r->owner, s->nodes[node].uuid)) ||
			(!id128_equal(r->owner, s->nodes[node].uuid) &&
				!id128_equal(s->control.wished[i], s->nodes[node].uuid)))
			continue;
		done = false; /* a commit may fail: looked at again */
		(void)control_ask(s, &ev, op);
	}
	return done;
}

/* Another machine dials with the certificate of @node. */
void control_impostor(struct sim *s, int node)
{
	struct wire_hello hello = { .host = id128_make_v4(sim_random(s), sim_random(s)),
		.boot = id128_make_v4(sim_random(s), sim_random(s)), .incarnation = s->control.incarnation };
	struct assign_event ev = { .type = ASSIGN_HELLO, .node = s->nodes[node].uuid,
		.session = ++s->next_session, .hello = &hello, .address = "127.0.0.9" };
	struct assign_result r;
	bool refused = false;

	if (!s->control.up || id128_is_nil(s->control.disk.nodes[node].host))
		return;
	assign_decide(s->control.assign, control_now(s), &ev, &r);
	for (size_t i = 0; i < r.n_sends; i++)
		refused |= r.sends[i].session == ev.session && r.sends[i].msg.type == WIRE_BYE;
	if (!refused || r.n_changes)
		sim_fail(s, "another machine was given the identity of node %d", node);
	assign_result_done(&r);
}
