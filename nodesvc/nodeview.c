/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "log.h"
#include "nodeview.h"

static int64_t in_ms(const struct timespec *t)
{
	return (int64_t)t->tv_sec * 1000 + t->tv_nsec / 1000000;
}

int64_t nodeview_realtime_ms(const struct timespec *monotonic)
{
	struct timespec mono, real;

	clock_gettime(CLOCK_MONOTONIC, &mono);
	clock_gettime(CLOCK_REALTIME, &real);
	return in_ms(&real) - (in_ms(&mono) - in_ms(monotonic));
}

struct count {
	const struct roster *roster;
	struct node_view *v;
	unsigned int *states;
};

static void count_one(struct id128 id, void *userdata)
{
	struct count *c = userdata;
	struct roster_view v;

	if (roster_view(c->roster, id, &v) < 0 || v.gone)
		return;
	c->v->datasets++;
	if (c->states)
		c->states[v.status.state]++;
	c->v->mounted += v.status.mounted;
	switch (v.status.state) {
	case DS_FAILED:
	case DS_BLOCKED:
	case DS_LOST:
	case DS_FAULTY:
		c->v->troubled++;
		break;
	default:
		break;
	}
}

void nodeview_count(const struct roster *r, struct node_view *v, unsigned int states[DS_STATE_MAX])
{
	struct count c = { r, v, states };

	v->datasets = v->mounted = v->troubled = 0;
	roster_each(r, count_one, &c);
}

static const char *name_of(struct json_object *metadata)
{
	struct json_object *name;

	if (!metadata || !json_object_object_get_ex(metadata, "name", &name))
		return NULL;
	return json_object_get_string(name);
}

int nodeview_show(struct fstree *tree, const struct roster_view *v, const struct trim *trim, uint64_t now_ms)
{
	const struct wire_status *s = &v->status;
	struct timespec real;
	char error[WIRE_WHY_MAX + 64] = "";
	int64_t now;
	bool ordered = v->wish->kind == WISH_HOLD || v->wish->kind == WISH_RELEASE ||
		       v->wish->kind == WISH_DESTROY;

	clock_gettime(CLOCK_REALTIME, &real);
	now = in_ms(&real);
	if (s->error)
		snprintf(error, sizeof(error), "%s: %s", ds_step_name(s->step),
			*v->last->why ? v->last->why : strerror(s->error));
	return fstree_set(tree, &(struct ds_view){
		.dataset_id = s->dataset_id,
		.name = name_of(v->metadata),
		.created_at = v->created_at,
		.state = s->state,
		.wanted = v->wish->kind,
		.why = s->why,
		.since_ms = now - (int64_t)(now_ms - v->since_ms),
		.owner = v->owner,
		.primary = v->primary,
		.epoch = s->epoch,
		.size_bytes = s->size_bytes,
		.want_bytes = ordered ? v->wish->want_bytes : 0,
		.used_bytes = s->used_bytes,
		.available_bytes = s->available_bytes,
		.used_at_ms = s->used_bytes ? now - (int64_t)(now_ms - v->looked_ms) : 0,
		.trimmed_at_ms = trim ? trim->at_s * 1000 : 0,
		.trimmed_bytes = trim ? trim->bytes : 0,
		.device = s->device,
		.filesystem = ordered ? fs_kind_name(v->wish->filesystem) : NULL,
		.fs_uuid = s->fs_uuid,
		.mountpoint = s->mountpoint,
		.lease = v->lease,
		.holders = s->holders,
		.last_error = error,
		.metadata = v->metadata,
	});
}

/* How loudly a state is said, and what operators find it by. */
static int level_of(enum ds_state state, const char **ret_message)
{
	*ret_message = NULL;
	switch (state) {
	case DS_LOST:
		*ret_message = MESSAGE_DATASET_LOST;
		return LOG_ERR;
	case DS_FAULTY:
		*ret_message = MESSAGE_DATASET_FAULTY;
		return LOG_ERR;
	case DS_BLOCKED:
		*ret_message = MESSAGE_DATASET_BLOCKED;
		return LOG_ERR;
	case DS_FAILED:
		return LOG_WARNING;
	default:
		return LOG_INFO;
	}
}

void nodeview_tell(struct fstree *tree, const struct roster_change *c, const struct roster_view *v)
{
	char line[WIRE_WHY_MAX + 64];
	const char *message;
	int level;
	unsigned int failures = v->status.error ? v->status.attempts : 0;

	/* A failure that goes on is told ever more rarely: with the 1st, 2nd, 4th, 8th ... attempt. */
	if (c->from == c->to && (!failures || failures & (failures - 1)))
		return;
	if (c->from == c->to)
		snprintf(line, sizeof(line), "%s: %s", ds_state_name(c->to), v->status.why);
	else
		snprintf(line, sizeof(line), "%s -> %s: %s", ds_state_name(c->from),
			ds_state_name(c->to), v->status.why);
	level = level_of(c->to, &message);
	if (c->to == DS_MOUNTED && failures) /* of use, and does not grow */
		level = LOG_WARNING;
	log_dataset_request(c->dataset_id, message, v->request, level, 0, "%s", line);
	(void)fstree_event(tree, c->dataset_id, line);
}

void nodeview_watchdog(enum fence_watchdog state, uint64_t late_ms, int error, char *ret, size_t size)
{
	switch (state) {
	case FENCE_WATCHDOG_NONE:
		snprintf(ret, size, "none");
		return;
	case FENCE_WATCHDOG_IDLE:
		snprintf(ret, size, "idle");
		return;
	case FENCE_WATCHDOG_ARMED:
		snprintf(ret, size, "armed");
		return;
	case FENCE_WATCHDOG_LATE:
		snprintf(ret, size, "late by %" PRIu64 " ms", late_ms);
		return;
	case FENCE_WATCHDOG_FAILED:
		snprintf(ret, size, "failed: %s", strerror(-error));
		return;
	}
}
