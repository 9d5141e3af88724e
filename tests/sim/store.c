/* SPDX-License-Identifier: Apache-2.0 */
/* What is on control's disk, and what may never become of it. */
#include <inttypes.h>

#include "sim.h"

static void check_record(struct sim *s, const struct ds_record *old, const struct ds_record *new)
{
	if (new->epoch < old->epoch)
		sim_fail(s, "an epoch went back from %" PRIu64 " to %" PRIu64, old->epoch, new->epoch);
	if (old->deleted && !new->deleted && !old->undelete_until)
		sim_fail(s, "a deleted dataset lives again");
	if (new->undelete_until && !id128_is_nil(new->owner) && new->grant == GRANT_DESTROY)
		sim_fail(s, "what is kept is given to somebody to be destroyed");
	if (new->format_state < old->format_state && (old->format_state == FORMAT_DONE ||
			id128_equal(old->volume_id, new->volume_id)))
		sim_fail(s, "format_state went back from %s to %s", format_state_name(old->format_state),
			format_state_name(new->format_state));
	if (new->size_bytes < old->size_bytes || new->want_bytes < old->want_bytes ||
		new->growing_bytes < old->growing_bytes || new->fs_bytes < old->fs_bytes)
		sim_fail(s, "a recorded size went back");
	if (!id128_is_nil(old->owner) && !id128_is_nil(new->owner) &&
		!id128_equal(old->owner, new->owner) && new->epoch == old->epoch)
		sim_fail(s, "the owner changed without a new epoch");
}

bool store_says_given_up(const struct sim *s, int node)
{
	const struct node_record *r = &s->control.disk.nodes[node];

	return r->forgotten || r->given_up == s->control.incarnation;
}

/* What is recorded is there. */
static void check_sizes(struct sim *s, const struct ds_record *new)
{
	const struct volume *v = world_find(s, new->volume_id);

	if (new->size_bytes > new->growing_bytes || new->growing_bytes > new->want_bytes ||
		new->fs_bytes > new->size_bytes)
		sim_fail(s, "recorded sizes contradict each other");
	if (v && new->size_bytes > v->size_bytes)
		sim_fail(s, "%" PRIu64 " bytes are recorded of volume %s, and it has %" PRIu64, new->size_bytes,
			ID128_STR(v->id), v->size_bytes);
	if (v && v->content == WHOLE && new->format_state == FORMAT_DONE && new->fs_bytes > v->fs_bytes)
		sim_fail(s, "the filesystem of volume %s is recorded as larger than it is", ID128_STR(v->id));
}

/* Nothing is granted to who was forgotten. */
static void check_granted(struct sim *s, int dataset, const struct ds_record *new)
{
	const struct sim_store *disk = &s->control.disk;
	int owner = sim_node_index(s, new->owner);

	if (owner >= 0 && disk->nodes[owner].forgotten &&
		(!disk->have[dataset] || disk->records[dataset].epoch < new->epoch))
		sim_fail(s, "dataset %d is granted to node %d, which was forgotten", dataset, owner);
}

/* Nothing that was asked before counts any more; the id may be used again. */
static void drop_record(struct sim *s, int i, uint64_t txn)
{
	struct sim_control *c = &s->control;

	if (!c->disk.have[i] || !c->disk.records[i].deleted || !id128_is_nil(c->disk.records[i].volume_id))
		sim_fail(s, "the record of dataset %d is dropped, and it is not destroyed", i);
	ds_record_done(&c->disk.records[i]);
	c->disk.have[i] = false;
	for (int k = 0; k < s->n_ops; k++)
		if (s->ops[k].dataset == i && (s->ops[k].generation != c->generation || s->ops[k].txn <= txn))
			s->ops[k].dataset = -1;
}

static void check_used_once(struct sim *s, int i, const struct ds_record *new)
{
	const struct sim_store *disk = &s->control.disk;

	if (id128_is_nil(new->owner) || s->restored || (disk->have[i] && disk->records[i].epoch == new->epoch))
		return;
	if (s->granted[i][new->epoch % SIM_EPOCHS])
		sim_fail(s, "epoch %" PRIu64 " of dataset %d is granted again", new->epoch, i);
}

/* Whole seconds are rounded up twice, and clocks are up to 4 % apart over at most a minute. */
#define WINDOW_SLACK_MS 5000

/* What was deleted is kept for as long as the first record says that deletes it. */
static void note_window(struct sim *s, int i, const struct ds_record *new)
{
	const struct sim_store *disk = &s->control.disk;
	uint64_t until = (uint64_t)new->undelete_until * 1000;

	if (!new->deleted)
		s->kept_until[i] = 0;
	else if (until > WINDOW_SLACK_MS && !(disk->have[i] && disk->records[i].deleted))
		s->kept_until[i] = until - WINDOW_SLACK_MS;
	if (disk->have[i] && disk->records[i].undelete_until && new->deleted && !new->undelete_until && s->undeleted[i])
		sim_fail(s, "dataset %d was undeleted, and a restored control destroys it", i);
	if (new->deleted && !new->undelete_until && s->now < s->kept_until[i] && !s->purged[i])
		sim_fail(s, "dataset %d was deleted and is not kept as long as it was said", i);
}

void store_make_durable(struct sim *s, const struct queued_commit *q)
{
	struct sim_control *c = &s->control;

	for (size_t k = 0; k < q->n_changes; k++) {
		const struct assign_change *ch = &q->changes[k];
		int i = ch->kind == CHANGE_NODE ? sim_node_index(s, ch->node.uuid) :
			sim_dataset_index(s, ch->kind == CHANGE_PIN ? ch->pin.dataset_id : ch->ds.dataset_id);

		if (ch->kind == CHANGE_FLOOR) {
			c->disk.floor = ch->floor;
			continue;
		}
		if (ch->kind == CHANGE_PIN) {
			c->disk.pins[i] = ch->pin;
			c->disk.have_pin[i] = !ch->drop;
			continue;
		}
		if (ch->drop) {
			drop_record(s, i, q->txn);
			continue;
		}
		if (ch->kind == CHANGE_NODE) {
			if (c->disk.nodes[i].forgotten && !ch->node.forgotten)
				sim_fail(s, "node %d was forgotten, and is taken back", i);
			if (s->calm && ch->node.forgotten && !c->disk.nodes[i].forgotten)
				sim_after(s, 1000, EV_OPERATOR)->node = i;
			c->disk.nodes[i] = ch->node;
			c->disk.have_node[i] = true;
			c->given_up[i] = store_says_given_up(s, i);
			continue;
		}
		note_window(s, i, &ch->ds);
		check_granted(s, i, &ch->ds);
		check_sizes(s, &ch->ds);
		check_used_once(s, i, &ch->ds);
		if (c->disk.have[i]) {
			check_record(s, &c->disk.records[i], &ch->ds);
			ds_record_done(&c->disk.records[i]);
		}
		ds_record_copy(&ch->ds, &c->disk.records[i]);
		c->disk.have[i] = true;
		s->delete_wanted[i] |= ch->ds.deleted && !ch->ds.undelete_until;
		if (!id128_is_nil(ch->ds.owner))
			s->granted[i][ch->ds.epoch % SIM_EPOCHS] |=
				(uint8_t)(1u << sim_node_index(s, ch->ds.owner));
	}
}
