/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdarg.h>

#include "converge.h"
#include "text.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 10000
#define BUSY_MAX_MS 500	      /* a holder's end is no event, and a busy umount(2) costs microseconds */
#define BLOCKED_MS 60000      /* what needs a person is looked at again at this pace */
#define RECHECK_MS 60000      /* the net below the events */
#define DOING_SIZE 96
#define SLOW_MS UINT64_C(10000) /* a step that runs longer than this is told with its age */

/* What a step is while it runs, and how long it may: one beyond it is reported as hung. */
static const struct {
	enum ds_state state;
	uint32_t limit_s;
	const char *doing;
} steps[] = {
	/* clang-format off */
	[STEP_NONE]	= { DS_WAITING,	   0,	"nothing" },
	[STEP_OBSERVE]	= { DS_WAITING,	   20,	"looking at what is here" },
	[STEP_CREATE]	= { DS_CREATING,   60,	"making the volume" },
	[STEP_ATTACH]	= { DS_ATTACHING,  60,	"claiming and attaching the volume" },
	[STEP_PROBE]	= { DS_ATTACHED,   60,	"looking whether the new device is empty" },
	[STEP_FORMAT]	= { DS_FORMATTING, 600,	"making the filesystem" },
	[STEP_VERIFY]	= { DS_FORMATTING, 120,	"looking whether an interrupted mkfs was whole" },
	[STEP_DISCARD]	= { DS_FORMATTING, 120,	"destroying the volume of an interrupted mkfs" },
	[STEP_MOUNT]	= { DS_MOUNTING,   600,	"mounting" },   /* journal replay and fsck -p may be long */
	[STEP_UNMOUNT]	= { DS_UNMOUNTING, 600,	"unmounting" }, /* writes every dirty page */
	[STEP_DETACH]	= { DS_DETACHING,  120,	"detaching the device" },
	[STEP_DESTROY]	= { DS_DESTROYING, 120,	"destroying the volume" },
	[STEP_CUT]	= { DS_FENCED,	   60,	"taking writing away from the device" },
	[STEP_EXPAND]	= { DS_MOUNTED,	   60,	"growing the volume" },
	[STEP_GROW]	= { DS_MOUNTED,	   600,	"growing the filesystem" },
	/* clang-format on */
};
static_assert(ARRAY_SIZE(steps) == DS_STEP_MAX, "the last step has no row");

uint64_t converge_limit_ms(enum ds_step step)
{
	return steps[step].limit_s * UINT64_C(1000);
}

/* ---- orders ---- */

static bool has_authority(enum wish_kind kind)
{
	return kind == WISH_HOLD || kind == WISH_RELEASE || kind == WISH_DESTROY;
}

/* A grant that has not been given back yet: words without authority do not end it. */
static bool grant_open(const struct converge_wish *w)
{
	return w->confirmed && has_authority(w->kind) && w->given_back < w->epoch;
}

static bool is_here(const struct converge_seen *seen)
{
	return seen->place == PLACE_HERE || seen->attached || seen->mounted;
}

static int check_same_epoch(const struct converge_wish *w, const struct wire_assign *o)
{
	if (!w->confirmed)
		return 0; /* a claim found at start: this is control's first word on it */
	if (o->wish == WISH_RELEASE && fenced_covers(o->fenced, o->epoch))
		return 0; /* whatever it was, it is over */
	if (has_authority(w->kind) && w->kind != o->wish &&
		!(w->kind != WISH_RELEASE && o->wish == WISH_RELEASE))
		return -ESTALE; /* a release is not recalled, and a grant keeps its kind */
	if (w->term_over && o->wish != WISH_RELEASE)
		return -ESTALE;
	if (o->wish == WISH_HOLD && id128_equal(w->volume_id, o->volume_id) &&
		o->format_state < w->format_state)
		return -EPROTO;
	return 0;
}

/* Control of an earlier version knows the one size alone. */
static void take_sizes(struct converge_wish *w, const struct wire_assign *o)
{
	w->size_bytes = o->size_bytes;
	w->growing_bytes = MAX(o->growing_bytes, o->size_bytes);
	w->fs_bytes = o->fs_bytes ?: o->size_bytes;
	w->want_bytes = MAX(o->want_bytes, w->growing_bytes);
}

int converge_accept(struct converge_wish *w, struct converge_seen *seen, const struct wire_assign *o)
{
	int r;

	if (!has_authority(o->wish)) {
		if (grant_open(w) && o->wish != WISH_KEEP)
			return -ESTALE;
		w->kind = o->wish;
		w->confirmed = true;
		snprintf(w->why, sizeof(w->why), "%s", o->why);
		return 0;
	}
	if (o->epoch < w->highest || o->epoch < w->given_back)
		return -ESTALE;
	if (o->epoch == w->given_back) {
		if (o->wish != w->kind || w->kind == WISH_HOLD)
			return -ESTALE;
		/* Control did not make our word durable: say it again. */
		w->given_back--;
		return 0;
	}
	if (o->epoch == w->highest) {
		r = check_same_epoch(w, o);
		if (r < 0) {
			w->fenced = o->fenced; /* a truth about others, whatever becomes of ours */
			return r;
		}
	}

	if (!id128_equal(w->volume_id, o->volume_id)) {
		if (is_here(seen))
			return -EPROTO;
		w->permit = ID128_NIL;
		*seen = (struct converge_seen){ 0 };
	} else if (w->epoch != o->epoch) {
		/* Proofs of another epoch; and others may have had the volume, or made the filesystem. */
		w->permit = ID128_NIL;
		seen->known = seen->detached = seen->destroyed = false;
	}
	w->term_over &= w->epoch == o->epoch;
	w->kind = o->wish;
	w->confirmed = true;
	w->epoch = w->highest = o->epoch;
	w->volume_id = o->volume_id;
	take_sizes(w, o);
	w->filesystem = o->filesystem;
	w->fs_uuid = o->fs_uuid;
	w->format_state = o->format_state;
	w->failover = o->failover;
	w->failover_rev = o->failover_rev;
	w->fenced = o->fenced;
	w->why[0] = '\0';
	return 0;
}

void converge_adopt(struct converge_wish *w, uint64_t claim_epoch, struct id128 volume_id)
{
	*w = (struct converge_wish){
		.kind = WISH_KEEP,
		.epoch = claim_epoch,
		.highest = claim_epoch,
		.volume_id = volume_id,
	};
}

void converge_reported(struct converge_wish *w, enum report_kind kind)
{
	if (kind == REPORT_READY)
		w->permit = w->volume_id;
	if (kind == REPORT_RELEASED || kind == REPORT_DESTROYED)
		w->given_back = w->epoch;
}

bool converge_is_fenced(const struct converge_wish *w, const struct converge_seen *seen)
{
	return w->given_back < w->epoch && (w->term_over || seen->cut || fenced_covers(w->fenced, w->epoch));
}

bool converge_holds(const struct converge_wish *w, const struct converge_seen *seen,
	enum ds_step running)
{
	if (grant_open(w) || (running != STEP_NONE && running != STEP_OBSERVE))
		return true;
	return is_here(seen);
}

/* ---- planning ---- */

static void say(struct converge_out *out, enum ds_state state, const char *fmt, ...) _printf_(3, 4);
static void say(struct converge_out *out, enum ds_state state, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out->why, sizeof(out->why), fmt, ap);
	va_end(ap);
	out->state = state;
}

/* What is here, in one word, when nothing is being done. */
static enum ds_state resting_state(const struct converge_seen *seen)
{
	if (seen->cut)
		return DS_FENCED;
	if (seen->mounted)
		return seen->read_only || seen->no_room || !seen->attached ? DS_FAULTY : DS_MOUNTED;
	if (seen->attached)
		return DS_ATTACHED;
	return seen->volume ? DS_DETACHED : DS_WAITING;
}

/* 80 to 120 % of @ms, the same for the same dataset and attempt: a herd spreads, a replay does not. */
static uint64_t spread(struct id128 id, unsigned int attempt, uint64_t ms)
{
	uint64_t h = id128_hash((struct id128){ id.hi + attempt, id.lo });

	return ms * (80 + h % 41) / 100;
}

static uint64_t backoff(struct id128 id, unsigned int attempts, uint64_t limit_ms)
{
	uint64_t ms = BACKOFF_FIRST_MS;

	if (!attempts)
		return 0;
	ms = attempts > 10 ? limit_ms : MIN(ms << (attempts - 1), limit_ms);
	return spread(id, attempts, ms);
}

static uint64_t retry_after(const struct converge_in *in, enum ds_step step)
{
	const struct converge_last *l = in->last;

	if (l->error == EBUSY && (step == STEP_UNMOUNT || step == STEP_DETACH))
		return backoff(in->dataset_id, l->attempts, BUSY_MAX_MS);
	/* What a person has to mend: foreign data, the wrong filesystem, a missing program. */
	if (l->error == EEXIST || l->error == EUCLEAN || l->error == ENOTEMPTY)
		return spread(in->dataset_id, l->attempts, BLOCKED_MS);
	return backoff(in->dataset_id, l->attempts, BACKOFF_MAX_MS);
}

static bool is_blocked(const struct converge_last *l)
{
	return l->error == EEXIST || l->error == EUCLEAN || l->error == ENOTEMPTY ||
	       l->error == ESTALE;
}

static bool failed_before(const struct converge_in *in, enum ds_step step)
{
	return in->last->error && in->last->step == step;
}

/* What is mounted is of use at its old size, whatever becomes of these. */
bool converge_is_growth(enum ds_step step)
{
	return step == STEP_EXPAND || step == STEP_GROW;
}

/* The reason of the last failure; it stays in sight while the step is tried again. */
static void say_failure(const struct converge_in *in, struct converge_out *out)
{
	const struct converge_last *l = in->last;

	if (l->error == EBUSY && (l->step == STEP_UNMOUNT || l->step == STEP_DETACH))
		say(out, steps[l->step].state, "%s", l->why);
	else
		say(out, converge_is_growth(l->step) ? DS_MOUNTED : is_blocked(l) ? DS_BLOCKED : DS_FAILED, "%s failed %u time%s: %s",
			ds_step_name(l->step), l->attempts, l->attempts == 1 ? "" : "s",
			*l->why ? l->why : strerror(l->error));
}

/* For people. Returns @buf. */
static char *doing(const struct converge_in *in, enum ds_step step, char buf[DOING_SIZE])
{
	const struct converge_wish *w = in->wish;

	snprintf(buf, DOING_SIZE, "%s", steps[step].doing);
	if (converge_is_growth(step))
		snprintf(buf, DOING_SIZE, "%s to %s", steps[step].doing,
			TEXT_BYTES(step == STEP_EXPAND ? w->growing_bytes : w->size_bytes));
	return buf;
}

static void try_again(struct converge_out *out, uint64_t due_ms)
{
	out->retry_ms = due_ms;
	out->again_ms = MIN(out->again_ms, due_ms);
}

/* Take @step now, or when its back-off has passed. */
static void take(const struct converge_in *in, struct converge_out *out, enum ds_step step)
{
	char buf[DOING_SIZE];
	uint64_t due;

	if (!failed_before(in, step)) {
		out->step = step;
		say(out, steps[step].state, "%s", doing(in, step, buf));
		return;
	}
	due = in->last->ended_ms + retry_after(in, step);
	say_failure(in, out);
	if (due <= in->now_ms)
		out->step = step;
	else
		try_again(out, due);
}

static void plan_format(const struct converge_in *in, struct converge_out *out)
{
	const struct converge_wish *w = in->wish;
	const struct converge_seen *s = in->seen;

	if (s->whole) {
		say(out, DS_FORMATTING, "formatted; control is asked to make that durable");
		out->report = REPORT_FORMATTED;
	} else if (s->spoiled) {
		take(in, out, STEP_DISCARD);
	} else if (id128_equal(w->permit, w->volume_id)) {
		take(in, out, STEP_FORMAT);
	} else {
		/* Started by a process that is gone, or a failed mkfs: only the disk knows. */
		take(in, out, STEP_VERIFY);
	}
}

static void plan_never_formatted(const struct converge_in *in, struct converge_out *out)
{
	const struct converge_last *l = in->last;
	uint64_t due = l->ended_ms + backoff(in->dataset_id, l->format_failures, BACKOFF_MAX_MS * 6);

	if (!in->seen->proven_empty) {
		take(in, out, STEP_PROBE);
	} else if (l->format_failures && due > in->now_ms) {
		say(out, DS_FAILED, "mkfs failed %u times; the next attempt follows",
			l->format_failures);
		try_again(out, due);
	} else {
		say(out, DS_ATTACHED, "empty; control is asked for leave to format");
		out->report = REPORT_READY;
	}
}

/* Only looking can change what stands in the way. */
static void look_again(const struct converge_in *in, struct converge_out *out, uint64_t after_ms)
{
	uint64_t due = in->seen->at_ms + spread(in->dataset_id, 0, after_ms);

	if (due <= in->now_ms)
		out->step = STEP_OBSERVE;
	else
		out->again_ms = due;
}

static void plan_missing_volume(const struct converge_in *in, struct converge_out *out)
{
	switch (in->wish->format_state) {
	case FORMAT_NEVER:
		if (in->connected)
			take(in, out, STEP_CREATE);
		else
			say(out, DS_WAITING, "control is away; nothing new is taken until it is back");
		break;
	case FORMAT_STARTED:
		/* A listing that lags is no proof that it is gone, and a leaked volume keeps its claim. */
		if (!in->seen->discarded) {
			take(in, out, STEP_DISCARD);
			break;
		}
		say(out, DS_FORMATTING, "the volume of an interrupted format is gone; a new one is asked for");
		out->report = REPORT_DISCARDED;
		break;
	case FORMAT_DONE:
	case FORMAT_STATE_MAX:
		/* Said loudly, and never created anew: its data may come back with its backend. */
		say(out, DS_LOST, "volume %s held data and is missing from the backend",
			ID128_STR(in->wish->volume_id));
		look_again(in, out, RECHECK_MS);
		break;
	}
}

static bool plan_foreign_claim(const struct converge_in *in, struct converge_out *out)
{
	const struct converge_seen *s = in->seen;

	if (!s->volume || s->attached || fenced_covers(in->wish->fenced, s->claim_epoch))
		return false;
	if (s->place == PLACE_ELSEWHERE)
		say(out, DS_BLOCKED, "the backend says that node %s still claims the volume (epoch %" PRIu64 ")",
			ID128_STR(s->holder), s->claim_epoch);
	else if (s->claim_epoch > in->wish->epoch)
		say(out, DS_BLOCKED, "the backend has seen epoch %" PRIu64 ", newer than ours (%" PRIu64 ")",
			s->claim_epoch, in->wish->epoch);
	else
		return false;
	look_again(in, out, BACKOFF_MAX_MS);
	return true;
}

/* Everything of ours goes, whatever the claim says: a mount without a claim is a mount too many. */
static bool plan_letting_go(const struct converge_in *in, struct converge_out *out, bool let_go)
{
	if (in->seen->mounted)
		take(in, out, STEP_UNMOUNT);
	else if (!let_go)
		take(in, out, STEP_DETACH);
	else
		return false;
	return true;
}

/* Others were granted the volume since, as control saw it after a restore: the backend lets nothing
 * happen under our epoch any more. */
static bool grant_overtaken(const struct converge_in *in)
{
	const struct converge_seen *s = in->seen;

	return in->last->step == STEP_DETACH && in->last->error == ESTALE && !s->attached &&
	       s->place != PLACE_HERE && s->claim_epoch > in->wish->epoch;
}

static void plan_release(const struct converge_in *in, struct converge_out *out)
{
	/* What was not seen is no proof: a detach that succeeded under this epoch is. */
	if (plan_letting_go(in, out, in->seen->detached || grant_overtaken(in)))
		return;
	say(out, DS_RELEASED, "nothing of it is left here");
	out->report = REPORT_RELEASED;
}

/* The backend says that this grant was given back: by a detach that nobody could report. */
static bool grant_used_up(const struct converge_in *in)
{
	const struct converge_seen *s = in->seen;

	return in->last->step == STEP_ATTACH && in->last->error == ESTALE && s->place == PLACE_FREE &&
	       s->claim_epoch == in->wish->epoch && !s->attached;
}

/* The grant is over, and others may have the volume by now: first nothing may reach it any more. */
static void plan_fenced(const struct converge_in *in, struct converge_out *out)
{
	if (in->now_ms < in->stopping_until_ms) {
		say(out, DS_FENCED, "its term is over; the fence helper takes writing away from it");
		out->again_ms = in->stopping_until_ms;
		return;
	}
	if (in->seen->attached && !in->seen->cut)
		take(in, out, STEP_CUT);
	else
		plan_release(in, out);
}

static void ask_to_record(const struct converge_in *in, struct converge_out *out, enum report_kind kind,
	uint64_t bytes)
{
	say(out, DS_MOUNTED, "the %s has %s; control is asked to make that durable",
		kind == REPORT_EXPANDED ? "volume" : "filesystem", TEXT_BYTES(bytes));
	out->report = kind;
	out->grown_bytes = bytes;
}

/* One half after the other: what the volume has is recorded before its filesystem is told of it, and
 * that the filesystem fills it is before the volume grows again. */
static void plan_growth(const struct converge_in *in, struct converge_out *out)
{
	const struct converge_wish *w = in->wish;
	const struct converge_seen *s = in->seen;
	bool half = w->fs_bytes < w->size_bytes;
	uint64_t to = half ? w->size_bytes : w->growing_bytes;

	if (!half && w->growing_bytes <= w->size_bytes)
		say(out, DS_MOUNTED, "as wished");
	else if (half && s->grown_bytes >= to)
		ask_to_record(in, out, REPORT_GROWN, to);
	else if (!half && s->expanded_bytes >= to)
		ask_to_record(in, out, REPORT_EXPANDED, to);
	else if (!in->connected || !in->may_write)
		say(out, DS_MOUNTED, "waits for control to go on growing to %s", TEXT_BYTES(to));
	else
		take(in, out, half ? STEP_GROW : STEP_EXPAND);
}

static void plan_hold(const struct converge_in *in, struct converge_out *out)
{
	const struct converge_wish *w = in->wish;
	const struct converge_seen *s = in->seen;

	if (s->mounted) {
		if (!s->attached)
			say(out, DS_FAULTY, "the device vanished under the mounted filesystem");
		else if (s->read_only && s->no_room)
			say(out, DS_FAULTY, "the backend is full, and the kernel turned the filesystem read-only: make "
				"room in the backend, end who uses the dataset and unmount it; the node mounts it again");
		else if (s->no_room)
			say(out, DS_FAULTY, "the backend is full, and writes fail: make room in it; what was written "
				"since is lost where no fsync succeeded");
		else if (s->read_only)
			say(out, DS_FAULTY, "the kernel turned the filesystem read-only after an error: end who uses "
				"the dataset and unmount it; the node checks it and mounts it again");
		else
			plan_growth(in, out);
	} else if (s->volume && (grant_used_up(in) || s->detached)) {
		plan_release(in, out);
	} else if (!in->may_write) {
		say(out, resting_state(s), "waits for control to renew its term");
	} else if (!s->volume) {
		plan_missing_volume(in, out);
	} else if (plan_foreign_claim(in, out)) {
		return;
	} else if (!s->attached) {
		if (in->connected)
			take(in, out, STEP_ATTACH);
		else
			say(out, DS_DETACHED, "control is away; nothing new is taken until it is back");
	} else if (w->format_state == FORMAT_NEVER) {
		plan_never_formatted(in, out);
	} else if (w->format_state == FORMAT_STARTED) {
		plan_format(in, out);
	} else {
		take(in, out, STEP_MOUNT);
	}
}

static void plan_destroy(const struct converge_in *in, struct converge_out *out)
{
	const struct converge_seen *s = in->seen;

	if (plan_letting_go(in, out, !s->attached && !(s->volume && s->place == PLACE_HERE)))
		return;
	if (!s->destroyed && !in->may_write) {
		say(out, resting_state(s), "waits for control to renew its term");
		return;
	}
	if (!s->destroyed) {
		take(in, out, STEP_DESTROY);
		return;
	}
	say(out, DS_DESTROYED, "the volume is gone");
	out->report = REPORT_DESTROYED;
}

static void plan_running(const struct converge_in *in, struct converge_out *out)
{
	enum ds_step step = in->running.step;
	uint64_t age = in->now_ms - in->running.since_ms;
	char buf[DOING_SIZE];
	uint64_t limit = MIN(converge_limit_ms(step), in->limit_max_ms ? in->limit_max_ms : UINT64_MAX);

	/* Looking is no state of its own. */
	enum ds_state state = step == STEP_OBSERVE ? resting_state(in->seen) : steps[step].state;

	if (age < MIN(SLOW_MS, limit)) {
		if (failed_before(in, step))
			say_failure(in, out);
		else
			say(out, state, "%s", doing(in, step, buf));
		out->again_ms = in->running.since_ms + MIN(SLOW_MS, limit);
		return;
	}
	if (age < limit) {
		say(out, state, "%s, since %" PRIu64 " s", doing(in, step, buf), age / 1000);
		out->again_ms = MIN(in->now_ms + SLOW_MS, in->running.since_ms + limit);
		return;
	}
	say(out, converge_is_growth(step) ? DS_MOUNTED : DS_FAILED, "%s has not returned for %" PRIu64 " s: the storage hangs", ds_step_name(step),
		age / 1000);
	out->stuck = true;
	out->again_ms = in->now_ms + RECHECK_MS;
}

void converge_plan(const struct converge_in *in, struct converge_out *out)
{
	const struct converge_wish *w = in->wish;

	*out = (struct converge_out){ .again_ms = CONVERGE_NEVER };
	if (in->running.step != STEP_NONE) {
		plan_running(in, out);
		return;
	}
	if (!in->seen->known) {
		take(in, out, STEP_OBSERVE);
		return;
	}
	if (w->kind == WISH_KEEP || !w->confirmed) {
		say(out, resting_state(in->seen), w->confirmed ?
			"control does not know it; it is kept as it is" :
			"control has not confirmed it yet; it is kept as it is");
		return;
	}
	if (has_authority(w->kind) && !grant_open(w)) {
		say(out, w->kind == WISH_DESTROY ? DS_DESTROYED : DS_RELEASED, "given back to control");
		return;
	}

	if (converge_is_fenced(w, in->seen)) {
		plan_fenced(in, out);
		return;
	}
	switch (w->kind) {
	case WISH_HOLD:
		plan_hold(in, out);
		break;
	case WISH_RELEASE:
		plan_release(in, out);
		break;
	case WISH_DESTROY:
		plan_destroy(in, out);
		break;
	case WISH_WAIT:
		say(out, DS_WAITING, "%s", *w->why ? w->why : "another node has to release it first");
		break;
	case WISH_FORGET:
	case WISH_KEEP:
	case WISH_KIND_MAX:
		say(out, resting_state(in->seen), "nothing is wished of this node");
		break;
	}
}
