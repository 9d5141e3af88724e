/* SPDX-License-Identifier: Apache-2.0 */
/* The disks as they are, whatever anybody believes, and what must never happen to them. */
#include <inttypes.h>

#include "failover_to.h"
#include "sim.h"

struct volume *world_find(struct sim *s, struct id128 volume_id)
{
	for (int i = 0; i < s->n_volumes; i++)
		if (s->volumes[i].exists && id128_equal(s->volumes[i].id, volume_id))
			return &s->volumes[i];
	return NULL;
}

static const struct ds_record *record_of(struct sim *s, struct id128 dataset_id)
{
	int i = sim_dataset_index(s, dataset_id);

	return i >= 0 && s->control.disk.have[i] ? &s->control.disk.records[i] : NULL;
}

/* Only the owner under the present epoch may have an effect on a volume. */
static void check_right(struct sim *s, const struct job *j, const char *what)
{
	const struct ds_record *r = record_of(s, j->start.dataset_id);
	int i = sim_dataset_index(s, j->start.dataset_id);

	/* A restored record may be older than the grant; then the backend alone stands in the way. */
	if (s->restored && s->granted[i][j->start.wish.epoch % SIM_EPOCHS] & 1u << j->node)
		return;
	if (!r)
		sim_fail(s, "%s of a dataset without a durable record", what);
	else if (!id128_equal(r->owner, s->nodes[j->node].uuid) || r->epoch != j->start.wish.epoch)
		sim_fail(s, "%s by node %d under epoch %" PRIu64 ", but epoch %" PRIu64 " of another grant is durable",
			what, j->node, j->start.wish.epoch, r->epoch);
}

bool world_lags(struct sim *s, const struct volume *v)
{
	return !s->calm && s->now - v->created_at < 20000 && sim_chance(s, s->faults.list_lags);
}

void world_observe(struct sim *s, int node, const struct converge_wish *w, bool may_lag,
	struct converge_seen *ret)
{
	struct volume *v = world_find(s, w->volume_id);
	unsigned int bit = 1u << node;

	*ret = (struct converge_seen){ .known = true };
	if (!v)
		return;
	ret->attached = v->attached & bit;
	ret->size_bytes = ret->attached ? v->device_bytes[node] : 0;
	ret->cut = v->cut & bit;
	ret->mounted = v->mounted & bit;
	if (may_lag && world_lags(s, v))
		return;
	ret->volume = true;
	ret->claim_epoch = v->claim_epoch;
	ret->size_bytes = ret->attached ? v->device_bytes[node] : v->size_bytes;
	if (v->claimed)
		ret->place = v->claim_node == node ? PLACE_HERE : PLACE_ELSEWHERE;
	if (ret->place == PLACE_ELSEWHERE)
		ret->holder = s->nodes[v->claim_node].uuid;
}

/* ---- steps, one atomic effect a phase ---- */

static bool was_deleted(const struct sim *s, const struct job *j)
{
	return s->delete_wanted[sim_dataset_index(s, j->start.dataset_id)];
}

static int do_create(struct sim *s, struct job *j)
{
	struct volume *v = world_find(s, j->start.wish.volume_id);

	if (v)
		return 0;
	if (s->n_volumes == SIM_VOLUMES)
		return -ENOSPC;
	for (int i = 0; i < s->n_volumes; i++)
		if (id128_equal(s->volumes[i].id, j->start.wish.volume_id) && s->volumes[i].ever_mounted &&
			!(s->restored && was_deleted(s, j)))
			sim_fail(s, "a published volume is created anew");
	check_right(s, j, "create");
	v = &s->volumes[s->n_volumes++];
	*v = (struct volume){ .exists = true, .id = j->start.wish.volume_id,
		.dataset_id = j->start.dataset_id, .created_at = s->now, .size_bytes = j->start.wish.size_bytes };
	return 0;
}

/* By somebody who was not fenced. */
static bool claimed_elsewhere(const struct volume *v, const struct job *j)
{
	return v->claimed && v->claim_node != j->node && !fenced_covers(j->start.wish.fenced, v->claim_epoch);
}

/* Writes reach it. */
static bool is_writable(const struct volume *v, int node)
{
	return v && v->attached & ~v->cut & 1u << node;
}

/* The recorded one, or that which it grows to; then an interrupted expand is finished. */
static bool has_known_size(const struct volume *v, const struct converge_wish *w)
{
	if (v->half_bytes)
		return v->size_bytes == w->size_bytes && v->half_bytes == w->growing_bytes;
	return v->size_bytes == w->size_bytes || v->size_bytes == w->growing_bytes;
}

static int do_attach(struct sim *s, struct job *j)
{
	struct volume *v = world_find(s, j->start.wish.volume_id);
	uint64_t epoch = j->start.wish.epoch;

	if (!v)
		return -ENOENT;
	if (claimed_elsewhere(v, j) || v->cut & 1u << j->node)
		return -EBUSY;
	if (!has_known_size(v, &j->start.wish))
		return -EUCLEAN;
	if (j->phase == 0) {
		if (v->claim_epoch > epoch || (!v->claimed && v->claim_epoch == epoch))
			return -ESTALE;
		check_right(s, j, "claim");
		v->claimed = true;
		v->claim_node = j->node;
		v->claim_epoch = epoch;
		return 1;
	}
	if (!v->claimed || v->claim_epoch != epoch || v->claim_node != j->node)
		return -ESTALE;
	check_right(s, j, "attach");
	if (v->half_bytes) {
		v->size_bytes = v->half_bytes;
		v->half_bytes = 0;
	}
	v->attached |= 1u << j->node;
	v->attached_epoch[j->node] = epoch;
	v->device_bytes[j->node] = v->size_bytes;
	return 0;
}

static int do_format(struct sim *s, struct job *j)
{
	struct volume *v = world_find(s, j->start.wish.volume_id);
	const struct ds_record *r = record_of(s, j->start.dataset_id);

	if (!is_writable(v, j->node))
		return -EIO;
	if (j->phase == 0) {
		if (v->mkfs_runs_now)
			return -EBUSY;
		check_right(s, j, "mkfs");
		if (v->content != BLANK)
			return -EEXIST;
		if (v->ever_whole || v->mkfs_runs)
			sim_fail(s, "a second mkfs on volume %s", ID128_STR(v->id));
		if (!s->restored &&
			(!r || r->format_state != FORMAT_STARTED || !id128_equal(r->volume_id, v->id)))
			sim_fail(s, "mkfs while format_state is not durably started");
		v->mkfs_runs++;
		v->mkfs_runs_now = true;
		v->content = HALF;
		v->fs_uuid = j->start.wish.fs_uuid;
		return 1;
	}
	v->mkfs_runs_now = false;
	v->content = WHOLE;
	v->ever_whole = true;
	v->fs_bytes = v->size_bytes;
	return 0;
}

void world_mkfs_orphan(struct sim *s, int volume)
{
	struct volume *v = &s->volumes[volume];

	if (!v->mkfs_runs_now)
		return;
	v->mkfs_runs_now = false;
	if (sim_chance(s, 500)) {
		v->content = WHOLE;
		v->ever_whole = true;
		v->fs_bytes = v->size_bytes;
	}
}

static int do_probe(struct sim *s, struct job *j)
{
	struct volume *v = world_find(s, j->start.wish.volume_id);

	if (!is_writable(v, j->node))
		return -EIO;
	return v->content == BLANK ? 0 : -EEXIST;
}

static int do_verify(struct sim *s, struct job *j)
{
	struct volume *v = world_find(s, j->start.wish.volume_id);

	if (!is_writable(v, j->node))
		return -EIO;
	if (v->mkfs_runs_now)
		return -EBUSY;
	return v->content == WHOLE && id128_equal(v->fs_uuid, j->start.wish.fs_uuid) ? 0 : -EUCLEAN;
}

static int do_detach(struct sim *s, struct job *j)
{
	struct volume *v = world_find(s, j->start.wish.volume_id);
	unsigned int bit = 1u << j->node;

	if (!v)
		return 0;
	if (j->start.wish.epoch < v->claim_epoch) {
		/* A device that takes no writes may go, whoever has the volume now. */
		if (v->cut & bit && !(v->mounted & bit)) {
			v->attached &= ~bit;
			v->cut &= ~bit;
		}
		return -ESTALE;
	}
	if (claimed_elsewhere(v, j) || v->mounted & bit || v->mkfs_runs_now)
		return -EBUSY;
	if (v->attached & bit) {
		v->attached &= ~bit;
		v->cut &= ~bit;
		return 1;
	}
	v->claimed = false;
	v->claim_epoch = j->start.wish.epoch;
	return 0;
}

static int do_destroy(struct sim *s, struct job *j)
{
	struct volume *v = world_find(s, j->start.wish.volume_id);
	const struct ds_record *r = record_of(s, j->start.dataset_id);

	if (!v)
		return 0;
	if (j->start.wish.epoch < v->claim_epoch)
		return -ESTALE;
	if (claimed_elsewhere(v, j))
		return -EBUSY;
	if (v->attached & ~v->cut || v->mkfs_runs_now)
		return -EBUSY;
	check_right(s, j, "destroy");
	if (s->restored ? !was_deleted(s, j) : !r || !r->deleted || r->grant != GRANT_DESTROY)
		sim_fail(s, "a volume of a dataset that nobody deleted is destroyed");
	v->exists = false;
	return 0;
}

static int do_discard(struct sim *s, struct job *j)
{
	struct volume *v = world_find(s, j->start.wish.volume_id);
	const struct ds_record *r = record_of(s, j->start.dataset_id);
	int res = do_detach(s, j);

	if (res || !v)
		return res;
	check_right(s, j, "discard");
	if (v->ever_mounted || (!s->restored && r && r->format_state == FORMAT_DONE && id128_equal(r->volume_id, v->id)))
		sim_fail(s, "a published volume is discarded");
	v->exists = false;
	return 0;
}

static int do_mount(struct sim *s, struct job *j)
{
	struct volume *v = world_find(s, j->start.wish.volume_id);

	if (!is_writable(v, j->node))
		return -EIO;
	if (v->content != WHOLE || !id128_equal(v->fs_uuid, j->start.wish.fs_uuid))
		return -EUCLEAN;
	check_right(s, j, "mount");
	if (!id128_equal(v->dataset_id, j->start.dataset_id))
		sim_fail(s, "a volume is mounted for another dataset");
	v->mounted |= 1u << j->node;
	v->ever_mounted = true;
	return 0;
}

static int do_unmount(struct sim *s, struct job *j)
{
	struct volume *v = world_find(s, j->start.wish.volume_id);

	if (!s->calm && sim_chance(s, s->faults.busy))
		return -EBUSY;
	if (v && v->mounted & 1u << j->node && j->start.wish.kind == WISH_RELEASE)
		client_check_promise(s, j->node, sim_dataset_index(s, j->start.dataset_id), j->start.wish.epoch);
	if (v)
		v->mounted &= ~(1u << j->node);
	return 0;
}

/* Whoever ordered that, it is durable. A restored record may not know of it. */
static void check_wished(struct sim *s, const struct job *j, uint64_t bytes)
{
	const struct ds_record *r = record_of(s, j->start.dataset_id);

	if (!s->restored && (!r || bytes > r->growing_bytes))
		sim_fail(s, "a volume grows to %" PRIu64 ", and that is not durably wished", bytes);
}

void world_check_start(struct sim *s, const struct job *j)
{
	const struct volume *v = world_find(s, j->start.wish.volume_id);

	if (converge_is_growth(j->start.step) && v && v->cut & 1u << j->node)
		sim_fail(s, "%s begins after the cut", ds_step_name(j->start.step));
}

/* The image, then the size that others see, then the device. */
static int do_expand(struct sim *s, struct job *j)
{
	struct volume *v = world_find(s, j->start.wish.volume_id);
	uint64_t to = j->start.wish.growing_bytes;

	if (!v || !(v->attached & 1u << j->node))
		return -ENODEV;
	if (v->cut & 1u << j->node && j->phase == 0)
		return -ENODEV; /* it was, since the step began */
	if (j->start.wish.epoch < v->claim_epoch)
		return -ESTALE;
	if (claimed_elsewhere(v, j) || v->claim_epoch != j->start.wish.epoch)
		return -ENODEV;
	if (v->size_bytes > to)
		return -EUCLEAN;
	check_right(s, j, "expand");
	check_wished(s, j, to);
	if (v->half_bytes && v->half_bytes != to)
		sim_fail(s, "two sizes are under way at once");
	if (v->size_bytes < to && !v->half_bytes) {
		v->half_bytes = to;
		return 1;
	}
	if (v->half_bytes) {
		v->half_bytes = 0;
		v->size_bytes = to;
		return 1;
	}
	if (v->cut & 1u << j->node) /* it was, meanwhile: and so it stays */
		return -ENODEV;
	v->device_bytes[j->node] = v->size_bytes;
	return 0;
}

static int do_grow(struct sim *s, struct job *j)
{
	struct volume *v = world_find(s, j->start.wish.volume_id);

	if (!is_writable(v, j->node) || !(v->mounted & 1u << j->node))
		return -ENODEV;
	check_right(s, j, "grow");
	if (v->device_bytes[j->node] < j->start.wish.size_bytes)
		return -ESTALE;
	v->fs_bytes = MAX(v->fs_bytes, v->device_bytes[j->node]);
	return 0;
}

static int do_cut(struct sim *s, struct job *j)
{
	world_cut(s, j->node, sim_dataset_index(s, j->start.dataset_id));
	return 0;
}

void world_cut(struct sim *s, int node, int dataset)
{
	if (s->promises[dataset].node == node)
		s->promises[dataset].made = false;
	for (int i = 0; i < s->n_volumes; i++) {
		struct volume *v = &s->volumes[i];

		if (!(v->attached & 1u << node) || sim_dataset_index(s, v->dataset_id) != dataset)
			continue;
		v->cut |= 1u << node;
		v->mkfs_runs_now = false; /* it gets errors */
	}
}

static int do_nothing(struct sim *s, struct job *j)
{
	return 0;
}

int world_step(struct sim *s, struct job *j)
{
	static int (*const effects[])(struct sim *, struct job *) = {
		[STEP_NONE] = do_nothing,
		[STEP_OBSERVE] = do_nothing,
		[STEP_CREATE] = do_create,
		[STEP_ATTACH] = do_attach,
		[STEP_PROBE] = do_probe,
		[STEP_FORMAT] = do_format,
		[STEP_VERIFY] = do_verify,
		[STEP_DISCARD] = do_discard,
		[STEP_MOUNT] = do_mount,
		[STEP_UNMOUNT] = do_unmount,
		[STEP_DETACH] = do_detach,
		[STEP_DESTROY] = do_destroy,
		[STEP_CUT] = do_cut,
		[STEP_EXPAND] = do_expand,
		[STEP_GROW] = do_grow,
	};
	static_assert(ARRAY_SIZE(effects) == DS_STEP_MAX, "a step has no effect");
	int r;

	if (!s->calm && sim_chance(s, s->faults.step_fails)) {
		struct volume *v = world_find(s, j->start.wish.volume_id);

		if (j->start.step == STEP_FORMAT && j->phase && v)
			v->mkfs_runs_now = false;
		return -EIO;
	}
	r = effects[j->start.step](s, j);
	j->phase++;
	if (r >= 0 && j->start.step != STEP_OBSERVE && !s->calm &&
		sim_chance(s, s->faults.step_acts_then_fails)) {
		struct volume *v = world_find(s, j->start.wish.volume_id);

		if (j->start.step == STEP_FORMAT && v)
			v->mkfs_runs_now = false;
		return -EIO;
	}
	return r;
}

void world_reboot(struct sim *s, int node)
{
	client_void_promises(s, node);
	for (int i = 0; i < s->n_volumes; i++) {
		struct volume *v = &s->volumes[i];

		if (v->mkfs_runs_now && v->attached & 1u << node)
			v->mkfs_runs_now = false;
		v->attached &= ~(1u << node);
		v->mounted &= ~(1u << node);
		v->cut &= ~(1u << node);
	}
}

/* A published volume that nobody uses at the moment is not to be found any more. Not in histories with
 * restores: a record from before the format cannot tell such a volume from one that was never made. */
void world_vanish(struct sim *s)
{
	struct volume *v = s->n_volumes ? &s->volumes[sim_below(s, (uint64_t)s->n_volumes)] : NULL;

	if (s->restores || !v || !v->exists || !v->ever_mounted || v->attached || v->claimed)
		return;
	sim_log(s, "backend: mislays volume %s", ID128_STR(v->id));
	v->exists = false;
	v->vanished = true;
}

void world_find_again(struct sim *s)
{
	for (int i = 0; i < s->n_volumes; i++)
		s->volumes[i].exists |= s->volumes[i].vanished;
}

/* ---- what must hold after every event ---- */

/* Those that can write it. A suspended machine does not; whether it does as it wakes up no term can
 * promise, so there the helper comes first. */
static unsigned int writers(const struct sim *s, const struct volume *v)
{
	unsigned int live = v->attached & ~v->cut;

	for (int i = 0; i < s->n_nodes; i++)
		if (s->nodes[i].suspended)
			live &= ~(1u << i);
	return live;
}

/* Whoever can write it owns it: a grant leaves an owner only when nothing of it can be written there. */
static void check_writers(struct sim *s, const struct volume *v, unsigned int live)
{
	const struct ds_record *r = record_of(s, v->dataset_id);

	for (int node = 0; node < s->n_nodes && !s->restored; node++)
		if (live & 1u << node && (!r || !id128_equal(r->owner, s->nodes[node].uuid)))
			sim_fail(s, "node %d can write volume %s, and does not own it any more", node,
				ID128_STR(v->id));
}

void world_check(struct sim *s)
{
	for (int i = 0; i < s->n_volumes; i++) {
		const struct volume *v = &s->volumes[i];

		unsigned int live = writers(s, v);

		if (live & (live - 1))
			sim_fail(s, "volume %s is attached to two nodes", ID128_STR(v->id));
		check_writers(s, v, live);
		if (v->mounted & ~v->attached)
			sim_fail(s, "volume %s is mounted where it is not attached", ID128_STR(v->id));
		if (v->content == WHOLE && v->fs_bytes > v->size_bytes)
			sim_fail(s, "the filesystem is larger than volume %s", ID128_STR(v->id));
		if (v->exists && v->mkfs_runs > 1)
			sim_fail(s, "volume %s saw mkfs %u times", ID128_STR(v->id), v->mkfs_runs);
	}
}

/* After a restore some things wait for a person, since only people know which history to keep: a
 * volume that is gone, one whose format the record does not know, and two volumes of one dataset. */
static bool waits_for_a_person(struct sim *s, const struct ds_record *r)
{
	const struct volume *v = world_find(s, r->volume_id);

	if (!s->restored)
		return false;
	for (int i = 0; i < s->n_volumes; i++)
		if (s->volumes[i].exists && s->volumes[i].claimed &&
			id128_equal(s->volumes[i].dataset_id, r->dataset_id) && v != &s->volumes[i])
			return true;
	/* It grew when nobody knew of it, and by half. */
	if (!r->deleted && v && v->half_bytes && r->growing_bytes == r->size_bytes)
		return true;
	if (r->format_state == FORMAT_DONE)
		return !r->deleted && (!v || v->content != WHOLE);
	return !r->deleted && r->format_state == FORMAT_NEVER && v && v->content != BLANK;
}

/* There is a node that it may go to from one that drains. */
static bool may_leave(struct sim *s, const struct ds_record *r)
{
	const char *names = ds_record_text(r, FAILOVER_TO_KEY);

	for (int i = 0; i < s->n_nodes; i++) {
		const struct node_record *n = &s->control.disk.nodes[i];

		if (s->nodes[i].up && s->nodes[i].welcomed && !n->draining_since && !n->forgotten &&
			(!names || failover_to_names(names, n->uuid)))
			return true;
	}
	return false;
}

bool world_converged(struct sim *s, char *why, size_t size)
{
	for (int i = 0; i < s->n_datasets; i++) {
		const struct ds_record *r = &s->control.disk.records[i];
		const struct volume *v;
		int primary;

		if (!s->control.disk.have[i] || waits_for_a_person(s, r))
			continue;
		if (r->deleted && r->undelete_until && r->deleted_in != s->control.incarnation)
			continue; /* a person has to say what is to become of it */
		if (r->deleted) {
			if (!id128_is_nil(r->volume_id) || !id128_is_nil(r->owner)) {
				snprintf(why, size, "dataset %d is deleted and not yet destroyed", i);
				return false;
			}
			continue;
		}
		primary = sim_node_index(s, r->primary);
		v = world_find(s, r->volume_id);
		if (primary < 0 && v && v->attached) {
			snprintf(why, size, "dataset %d is wanted nowhere, and somebody has it", i);
			return false;
		}
		if (primary >= 0 && s->control.disk.nodes[primary].draining_since && may_leave(s, r)) {
			snprintf(why, size, "dataset %d does not leave node %d, which drains", i, primary);
			return false;
		}
		if (primary >= 0 && s->nodes[primary].old && v && (v->half_bytes || v->size_bytes != r->size_bytes))
			continue; /* it cannot attach that, and says so */
		if (primary >= 0 && (!v || v->mounted != 1u << primary)) {
			snprintf(why, size, "dataset %d is not mounted at its primary %d", i, primary);
			return false;
		}
		if (primary >= 0 && !s->nodes[primary].old && (!ds_record_is_grown(r) || v->fs_bytes < r->want_bytes)) {
			snprintf(why, size, "dataset %d is not grown as wished", i);
			return false;
		}
	}
	return true;
}
