/* SPDX-License-Identifier: Apache-2.0 */
/* The clients: what they wish, and whether what they were promised is kept. */
#include "failover_to.h"
#include "sim.h"

static struct failover any_failover(struct sim *s)
{
	struct failover f = { FAILOVER_MANUAL };

	if (s->leases && sim_chance(s, 750))
		f = (struct failover){ FAILOVER_LEASE, (uint32_t)(2000 + 2000 * sim_below(s, 10)) };
	return f;
}

/* The worst moment to lease a dataset: a step of it runs that no fence helper was told of. */
static void lease_at_work(struct sim *s, struct assign_event *ev)
{
	for (size_t i = 0; i < ARRAY_SIZE(s->jobs); i++) {
		const struct job *j = &s->jobs[i];

		if (!j->used || j->start.guarded || j->start.step == STEP_OBSERVE)
			continue;
		ev->dataset_id = j->start.dataset_id;
		ev->failover = (struct failover){ FAILOVER_LEASE, 2000 };
		return;
	}
}

/* Some may go anywhere, some to one or two nodes, some wait for theirs. */
static struct json_object *any_metadata(struct sim *s)
{
	struct json_object *map = json_object_new_object();
	char list[2 * ID128_TEXT] = FAILOVER_TO_ANY;

	if (!s->leases || sim_chance(s, 400))
		return map;
	if (sim_chance(s, 500))
		snprintf(list, sizeof(list), "%s %s", ID128_STR(s->nodes[sim_below(s, (uint64_t)s->n_nodes)].uuid),
			ID128_STR(s->nodes[0].uuid));
	json_object_object_add(map, FAILOVER_TO_KEY, json_object_new_string(list));
	return map;
}

void client_wish(struct sim *s)
{
	struct sim_control *c = &s->control;
	int dataset = (int)sim_below(s, (uint64_t)s->n_datasets);
	int node = (int)sim_below(s, (uint64_t)s->n_nodes);
	uint64_t dice = sim_below(s, 100);
	struct ds_record r = { .dataset_id = s->dataset_ids[dataset], .backend = "default",
		.size_bytes = DATASET_MINIMUM_SIZE, .primary = s->nodes[node].uuid,
		.failover = any_failover(s) };
	struct assign_event ev = { .dataset_id = r.dataset_id, .primary = r.primary, .record = &r };
	struct op op = { .dataset = dataset, .primary = node };
	static const enum assign_event_type types[] = { ASSIGN_CREATE, ASSIGN_MOVE, ASSIGN_DELETE,
		ASSIGN_FAILOVER };
	static const char *const words[] = { "create", "move", "delete", "change" };
	bool taken;

	if (!c->up)
		return;
	op.kind = dice < 35 ? OP_CREATE : dice < 72 ? OP_MOVE : dice < 92 && s->leases ? OP_FAILOVER :
		dice < 92 ? OP_MOVE : OP_DELETE;
	ev.type = types[op.kind];
	ev.failover = r.failover;
	if (op.kind == OP_FAILOVER && sim_chance(s, 500))
		lease_at_work(s, &ev);
	r.metadata = any_metadata(s);
	sim_log(s, "client: %s dataset %d, node %d, failover %s %u ms", words[op.kind],
		sim_dataset_index(s, ev.dataset_id), node, failover_kind_name(ev.failover.kind),
		ev.failover.term_ms);
	taken = op.kind == OP_FAILOVER ? control_decide(s, &ev, NULL) == 0 : control_ask(s, &ev, op);
	json_object_put(r.metadata);
	if (!taken)
		sim_log(s, "client: refused");
}

/* The durable record is what some request asked for, at or after the last that was acknowledged. */
void client_check_acked(struct sim *s)
{
	for (int d = 0; d < s->n_datasets; d++) {
		const struct ds_record *r = &s->control.disk.records[d];
		bool created = false, deleted = false, fits = true;

		for (int i = 0; i < s->n_ops; i++) {
			const struct op *op = &s->ops[i];

			if (op->dataset != d)
				continue;
			if (op->acked) {
				created = true;
				fits = false;
				deleted |= op->kind == OP_DELETE;
			}
			if (op->kind == OP_DELETE || (s->control.disk.have[d] &&
					id128_equal(r->primary, s->nodes[op->primary].uuid)))
				fits = true;
		}
		if (created && !s->control.disk.have[d])
			sim_fail(s, "an acknowledged create of dataset %d is forgotten", d);
		else if (deleted && !r->deleted)
			sim_fail(s, "an acknowledged delete of dataset %d is forgotten", d);
		else if (!fits)
			sim_fail(s, "an acknowledged move of dataset %d is forgotten", d);
	}
}
