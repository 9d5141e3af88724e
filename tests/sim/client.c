/* SPDX-License-Identifier: Apache-2.0 */
/* The clients: what they wish, and whether what they were promised is kept. */
#include <inttypes.h>

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
static void lease_at_work(struct sim *s, struct assign_event *ev, struct assign_patch *patch)
{
	for (size_t i = 0; i < ARRAY_SIZE(s->jobs); i++) {
		const struct job *j = &s->jobs[i];

		if (!j->used || j->start.guarded || j->start.step == STEP_OBSERVE)
			continue;
		ev->dataset_id = j->start.dataset_id;
		patch->failover = (struct failover){ FAILOVER_LEASE, 2000 };
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

/* What v1 cannot ask for: control places it, it is wanted nowhere, it is kept for a while. */
static void widen(struct sim *s, struct assign_event *ev, struct op *op, struct assign_patch *patch,
	struct ds_record *r)
{
	bool nowhere = sim_chance(s, 200);

	ev->strict = sim_chance(s, 500);
	if (op->kind == OP_DELETE && sim_chance(s, 600))
		ev->keep_ms = 1 + sim_below(s, 60000);
	if (op->kind == OP_CREATE && sim_chance(s, 400))
		ev->place = true;
	if (op->kind == OP_MOVE) {
		ev->type = ASSIGN_PATCH;
		*patch = (struct assign_patch){ .move = true, .primary = nowhere ? ID128_NIL : r->primary };
	}
	if (nowhere && (op->kind == OP_MOVE || (op->kind == OP_CREATE && !ev->place))) {
		op->primary = -1;
		r->primary = ID128_NIL;
	}
}

void client_undelete(struct sim *s)
{
	bool purge = sim_chance(s, 300);
	int dataset = (int)sim_below(s, (uint64_t)s->n_datasets);
	struct assign_event ev = { .type = purge ? ASSIGN_PURGE : ASSIGN_UNDELETE,
		.dataset_id = s->dataset_ids[dataset] };

	if (!s->control.up)
		return;
	sim_log(s, "client: %s dataset %d", purge ? "purges" : "undeletes", dataset);
	if (!control_ask(s, &ev, (struct op){ .dataset = dataset, .kind = purge ? OP_PURGE : OP_UNDELETE })) {
		sim_log(s, "client: refused");
		return;
	}
	s->purged[dataset] = purge;
	if (purge)
		s->undeleted[dataset] = false;
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
	struct assign_event ev = { .now_s = (int64_t)s->now / 1000, .dataset_id = r.dataset_id, .primary = r.primary, .record = &r };
	struct op op = { .dataset = dataset, .primary = node };
	static const enum assign_event_type types[] = { ASSIGN_CREATE, ASSIGN_MOVE, ASSIGN_DELETE,
		ASSIGN_PATCH, ASSIGN_PATCH };
	static const char *const words[] = { "create", "move", "delete", "change", "grow" };
	struct assign_patch patch = { 0 };
	bool taken;

	if (!c->up)
		return;
	op.kind = dice < 30 ? OP_CREATE : dice < 60 ? OP_MOVE : dice < 72 ? OP_GROW : dice < 92 && s->leases ? OP_FAILOVER :
		dice < 92 ? OP_MOVE : OP_DELETE;
	ev.type = types[op.kind];
	patch.has_failover = op.kind == OP_FAILOVER;
	patch.failover = r.failover;
	ev.patch = &patch;
	if (op.kind == OP_GROW)
		patch.want_bytes = op.want_bytes = DATASET_MINIMUM_SIZE + sim_below(s, 1000) * MIB;
	if (op.kind == OP_FAILOVER && sim_chance(s, 500))
		lease_at_work(s, &ev, &patch);
	if (s->wide)
		widen(s, &ev, &op, &patch, &r);
	r.metadata = any_metadata(s);
	sim_log(s, "client: %s dataset %d, node %d, failover %s %u ms%s, kept for %" PRIu64 " ms", words[op.kind],
		sim_dataset_index(s, ev.dataset_id), op.primary, failover_kind_name(patch.failover.kind),
		patch.failover.term_ms, ev.place ? ", control places it" : "", ev.keep_ms);
	taken = op.kind == OP_FAILOVER ? control_decide(s, &ev, NULL) == 0 : control_ask(s, &ev, op);
	json_object_put(r.metadata);
	if (!taken)
		sim_log(s, "client: refused");
	else if (op.kind == OP_CREATE)
		s->purged[dataset] = s->undeleted[dataset] = false;
	else if (op.kind == OP_DELETE)
		s->undeleted[dataset] = false;
}

/* Now and then what was deleted is not kept any longer, and its id may be used again. */
void client_expire(struct sim *s)
{
	struct assign_event ev = { .type = ASSIGN_EXPIRE, .now_s = 1 + (int64_t)s->now / 1000,
		.retention_s = sim_below(s, 20) };

	if (s->control.up)
		(void)control_decide(s, &ev, NULL);
}

/* ---- leases in the API's sense ---- */

/* Nothing stands in the way of the promise: it is mounted where it is wanted, control knows, and nothing else
 * was asked for. */
static bool is_settled(struct sim *s, int d, int node, uint64_t *ret_epoch)
{
	const struct sim_control *c = &s->control;
	const struct volume *volume;
	struct assign_view v;

	if (assign_dataset(c->assign, control_now(s), s->dataset_ids[d], &v) < 0 || !v.status ||
		!id128_equal(v.record->owner, s->nodes[node].uuid) || !id128_equal(v.status_node, v.record->owner) ||
		v.status->epoch != v.record->epoch || !v.status->mounted || v.record->grant != GRANT_HOLD)
		return false;
	volume = world_find(s, v.record->volume_id);
	if (!volume || !(volume->mounted & ~volume->cut & 1u << node))
		return false;
	*ret_epoch = v.record->epoch;
	return id128_equal(c->wished[d], s->nodes[node].uuid) && !c->unwanted[d] &&
	       c->releasing[d] != v.record->epoch && !v.status->releasing;
}

static void take_pin(struct sim *s, int d, int node)
{
	struct sim_control *c = &s->control;
	bool endless = sim_chance(s, 200);
	uint64_t left = sim_below(s, 60000), epoch = 0;
	struct pin_record r = { .dataset_id = s->dataset_ids[d], .node = s->nodes[node].uuid,
		.expires_ms = endless ? PIN_ENDLESS : (int64_t)(control_now(s) + left) };
	struct assign_event ev = { .type = ASSIGN_PIN, .pin = &r, .pin_ms = endless ? PIN_ENDLESS : (int64_t)left };
	bool settled = is_settled(s, d, node, &epoch);
	struct promise p = { .made = settled, .node = node, .epoch = epoch, .generation = c->generation,
		.until = endless ? UINT64_MAX : s->now + left * 1000 / c->clock_rate };

	sim_log(s, "client: leases dataset %d for node %d, %s", d, node, endless ? "endless" : "for a while");
	if (control_decide(s, &ev, &p.txn) == 0)
		s->promises[d] = p;
	else
		sim_log(s, "client: refused");
}

static void give_pin_up(struct sim *s, int d)
{
	struct assign_event ev = { .type = ASSIGN_UNPIN, .dataset_id = s->dataset_ids[d] };

	sim_log(s, "client: releases the lease of dataset %d", d);
	s->promises[d].made = false;
	(void)control_decide(s, &ev, NULL);
}

void client_pin(struct sim *s)
{
	int d = (int)sim_below(s, (uint64_t)s->n_datasets);
	int node = sim_node_index(s, s->control.wished[d]);

	if (!s->control.up)
		return;
	if (sim_chance(s, 350))
		give_pin_up(s, d);
	else
		take_pin(s, d, node >= 0 && sim_chance(s, 800) ? node : (int)sim_below(s, (uint64_t)s->n_nodes));
}

bool client_unpin_all(struct sim *s)
{
	bool all = s->control.up;

	for (int d = 0; d < s->n_datasets && s->control.up; d++) {
		all &= !s->control.disk.have_pin[d];
		give_pin_up(s, d);
	}
	return all;
}

void client_check_promise(struct sim *s, int node, int dataset, uint64_t epoch)
{
	const struct promise *p = &s->promises[dataset];

	/* What is not durable is not promised yet. */
	if (p->made && p->node == node && p->epoch == epoch && s->now + 2 < p->until &&
		(p->generation != s->control.generation || p->txn <= s->control.durable_txn))
		sim_fail(s, "dataset %d leaves node %d, and is leased there (epoch %" PRIu64 ", until %" PRIu64 ")", dataset, node, p->epoch, p->until);
}

void client_void_promises(struct sim *s, int node)
{
	for (int d = 0; d < s->n_datasets; d++)
		if (node < 0 || s->promises[d].node == node)
			s->promises[d].made = false;
}

/* The durable record is what some request asked for, at or after the last that was acknowledged. */
void client_check_acked(struct sim *s)
{
	for (int d = 0; d < s->n_datasets; d++) {
		const struct ds_record *r = &s->control.disk.records[d];
		bool created = false, deleted = false, lives = false, fits = true;

		for (int i = 0; i < s->n_ops; i++) {
			const struct op *op = &s->ops[i];

			if (op->dataset != d)
				continue;
			if (op->kind == OP_UNDELETE || op->kind == OP_DELETE) {
				deleted = op->kind == OP_DELETE && (op->acked || deleted);
				lives = op->kind == OP_UNDELETE && (op->acked || lives);
			}
			if (op->kind == OP_UNDELETE || op->kind == OP_PURGE)
				continue;
			if (op->kind == OP_GROW) {
				if (op->acked && s->control.disk.have[d] && r->want_bytes < op->want_bytes)
					sim_fail(s, "an acknowledged growth of dataset %d is forgotten", d);
				continue;
			}
			if (op->acked) {
				created = true;
				fits = false;
			}
			if (op->kind == OP_DELETE || (s->control.disk.have[d] && id128_equal(r->primary,
					op->primary < 0 ? ID128_NIL : s->nodes[op->primary].uuid)))
				fits = true;
		}
		if (created && !s->control.disk.have[d])
			sim_fail(s, "an acknowledged create of dataset %d is forgotten", d);
		else if (deleted && !r->deleted)
			sim_fail(s, "an acknowledged delete of dataset %d is forgotten", d);
		else if (lives && r->deleted)
			sim_fail(s, "an acknowledged undeletion of dataset %d is forgotten", d);
		else if (!fits)
			sim_fail(s, "an acknowledged move of dataset %d is forgotten", d);
	}
}
