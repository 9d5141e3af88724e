/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trimming mounted datasets, one at a time, in the background.
 *
 * A trim writes: what it discards is gone for whoever has the volume next. So it is cut into slices, and each is a
 * step like any other to the fence helper: of a leased dataset it begins with the helper's agreement, and the helper
 * ends the daemon if it is still in flight when the term is over. What goes through the device, discards too, is
 * stopped by the cut in any case (loopback_cut.h).
 *
 * A slice never stands beside another step of its dataset. One that comes has the trim given up: at once between
 * two slices, else when the slice in flight returns, which takes some tens of milliseconds. Looking is no such step,
 * nor is the cut, which waits for nobody. A trim that was given up is begun anew.
 */
#include <fcntl.h>

#include "node_private.h"
#include "text.h"
#include "vtrim.h"

#define SLICE_FIRST (64 * MIB)
#define SLICE_MIN (16 * MIB)
#define SLICE_MAX (16 * GIB)
#define SLICE_MS 40	    /* what one should take: who waits for it waits no longer than some of that */
#define PAUSE_MAX_MS 1000   /* as long as the slice took, so that half of the storage's time is left to others */
#define AGAIN_S 86400	    /* after a failure */
#define FILE_MAX_SIZE (512 * KIB)
#define BTRFS_TURNS 16	    /* times the device's size: how far btrfs may have counted when it moved data */

struct slice {
	struct asked asked; /* first: see there */
	struct node *node;
	struct id128 dataset_id, volume_id;
	enum fs_kind fs;
	bool guarded;
	uint64_t start, length;
	/* results */
	int error; /* 0 or negative errno */
	uint64_t bytes, end; /* end: nothing is beyond it */
	uint64_t ms;
};

struct trimming {
	struct trims plan;
	struct event *pace;
	bool active;	  /* one is being trimmed: the next three are of it */
	struct id128 dataset_id;
	uint64_t at, length, bytes;
	bool busy;	  /* a slice of it is in flight, or asked for */
	bool waits;	  /* this step of it begins when the slice has returned */
	struct roster_start waiting;
	uint64_t total_bytes, total_trims;
	bool saving;
};

struct save {
	struct node *node;
	char *directory, *text;
	int error;
};

static int64_t wall_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec;
}

/* ---- what is remembered ---- */

static void save_on_worker(void *arg)
{
	struct save *s = arg;

	s->error = nodestate_write(s->directory, TRIMS_FILE, s->text);
}

static void save_free(struct save *s)
{
	free(s->directory);
	free(s->text);
	free(s);
}

static void save_done(void *arg)
{
	struct save *s = arg;
	struct node *n = s->node;

	n->trimming->saving = false;
	if (s->error < 0) {
		(void)log_warning(s->error, "cannot write %s/" TRIMS_FILE ": after a restart datasets may be trimmed "
			"once more than needed", s->directory);
		n->trimming->plan.dirty = true; /* with the next look */
	}
	save_free(s);
}

static void save(struct node *n)
{
	struct trimming *t = n->trimming;
	struct save *s;

	if (!t->plan.dirty || t->saving)
		return;
	s = calloc(1, sizeof(*s));
	if (!s)
		return;
	*s = (struct save){ .node = n, .directory = strdup(n->state.directory), .text = trims_text(&t->plan) };
	t->saving = s->directory && s->text && worker_submit(n->pool, save_on_worker, save_done, s) == 0;
	if (!t->saving) {
		t->plan.dirty = true;
		save_free(s);
	}
}

/* ---- one slice ---- */

static void slice_on_worker(void *arg)
{
	struct slice *s = arg;
	const struct step_env *env = &s->node->env;
	struct driver_device dev;
	char name[ID128_TEXT];
	uint64_t begin = clock_ms(CLOCK_MONOTONIC);

	s->error = env->ops->device(env->driver, s->volume_id, &dev);
	if (s->error == 0 && dev.cut)
		s->error = -EROFS;
	if (s->error < 0)
		return;
	/* The last one takes all that may be beyond. */
	s->end = s->fs == FS_BTRFS ? dev.size_bytes * BTRFS_TURNS : dev.size_bytes;
	if (s->fs == FS_BTRFS && s->start >= s->end)
		s->length = UINT64_MAX - s->start;
	s->error = vtrim_slice(env->mount_root, id128_format(s->dataset_id, name), dev.devno, s->start, s->length,
		&s->bytes);
	s->ms = clock_ms(CLOCK_MONOTONIC) - begin;
}

static void give_up(struct node *n)
{
	n->trimming->active = false;
	event_del(n->trimming->pace);
}

static void ended(struct node *n)
{
	struct trimming *t = n->trimming;

	trims_trimmed(&t->plan, t->dataset_id, wall_s(), t->bytes);
	t->total_trims++;
	t->total_bytes += t->bytes;
	log_dataset(t->dataset_id, LOG_INFO, 0, "trimmed: the backend was told of %" PRIu64 " MiB that no file needs",
		t->bytes / MIB);
	give_up(n);
	save(n);
	node_show_dataset(n, t->dataset_id);
	node_show(n);
}

static void failed(struct node *n, int error)
{
	struct trimming *t = n->trimming;

	trims_put_off(&t->plan, t->dataset_id, wall_s(), AGAIN_S);
	log_dataset(t->dataset_id, LOG_WARNING, error,
		"cannot be trimmed; the room that it no longer needs stays taken, and it is tried again in a day");
	give_up(n);
	save(n);
}

/* Slices grow and shrink towards the time that one should take. */
static uint64_t next_length(uint64_t length, uint64_t ms)
{
	if (ms < SLICE_MS / 2)
		return MIN(length * 2, (uint64_t)SLICE_MAX);
	return ms > SLICE_MS ? MAX(length / 2, (uint64_t)SLICE_MIN) : length;
}

/* A step that came meanwhile goes first, and the trim begins anew another time. */
static bool let_go(struct node *n)
{
	struct trimming *t = n->trimming;

	if (!t->waits)
		return false;
	t->waits = false;
	give_up(n);
	node_start_step(n, &t->waiting);
	return true;
}

/* Of btrfs the last one begins where the others end, since it may have counted on. */
static bool is_last(const struct slice *s)
{
	return s->fs == FS_BTRFS ? s->start >= s->end : s->start + s->length >= s->end;
}

static void slice_done(void *arg)
{
	struct slice *s = arg;
	struct node *n = s->node;
	struct trimming *t = n->trimming;
	uint64_t pause = MIN(MAX(s->ms, UINT64_C(1)), (uint64_t)PAUSE_MAX_MS);

	t->busy = false;
	if (s->guarded)
		guard_step_end(n->guard, s->dataset_id);
	if (!let_go(n)) {
		t->at = s->start + s->length;
		t->bytes += s->error == 0 ? s->bytes : 0;
		t->length = next_length(s->length, s->ms);
		if (s->error == -ERANGE || (s->error == 0 && is_last(s)))
			ended(n);
		else if (s->error < 0)
			failed(n, s->error);
		else
			event_add(t->pace, &(struct timeval){ (time_t)(pause / 1000),
				(suseconds_t)(pause % 1000 * 1000) });
	}
	free(s);
}

static void submit(struct node *n, struct slice *s)
{
	if (worker_submit(n->pool, slice_on_worker, slice_done, s) == 0)
		return;
	n->trimming->busy = false;
	if (s->guarded)
		guard_step_end(n->guard, s->dataset_id);
	if (!let_go(n))
		give_up(n);
	free(s);
}

void node_trim_agreed(struct node *n, int result, void *slice)
{
	struct slice *s = slice;

	if (result == 0 && !n->trimming->waits) {
		submit(n, s);
		return;
	}
	n->trimming->busy = false;
	if (result == 0)
		guard_step_end(n->guard, s->dataset_id);
	if (!let_go(n))
		give_up(n);
	free(s);
}

/* Mounted as it should be, by an order that is in force, and nothing else is being done to it. */
static bool may_trim(const struct roster_view *v)
{
	return v->status.state == DS_MOUNTED && v->status.mounted && v->wish->kind == WISH_HOLD && v->wish->confirmed &&
	       (v->running == STEP_NONE || v->running == STEP_OBSERVE);
}

static void next_slice(struct node *n)
{
	struct trimming *t = n->trimming;
	struct roster_view v;
	struct slice *s;

	if (roster_view(n->roster, t->dataset_id, &v) < 0 || !may_trim(&v)) {
		give_up(n);
		return;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		give_up(n);
		return;
	}
	*s = (struct slice){ .asked.slice = true, .node = n, .dataset_id = t->dataset_id,
		.volume_id = v.wish->volume_id, .fs = v.wish->filesystem, .guarded = v.leased, .start = t->at,
		.length = t->length };
	t->busy = true;
	if (s->guarded)
		guard_step_begin(n->guard, s->dataset_id, s);
	else
		submit(n, s);
}

static void on_pace(evutil_socket_t fd, short what, void *userdata)
{
	struct node *n = userdata;

	if (n->trimming->active && !n->trimming->busy)
		next_slice(n);
}

/* ---- which ---- */

struct search {
	struct node *node;
	int64_t now_s, due_s;
	struct id128 dataset_id;
};

static void look_at(struct id128 id, void *userdata)
{
	struct search *s = userdata;
	struct roster_view v;
	int64_t due;

	if (roster_view(s->node->roster, id, &v) < 0 || v.gone || !may_trim(&v))
		return;
	due = trims_due(&s->node->trimming->plan, id, s->now_s);
	if (due < s->due_s) {
		s->due_s = due;
		s->dataset_id = id;
	}
}

static bool is_here(struct id128 id, void *userdata)
{
	const struct node *n = userdata;
	struct roster_view v;

	return roster_view(n->roster, id, &v) == 0 && !v.gone;
}

void node_trim_tick(struct node *n)
{
	struct trimming *t = n->trimming;
	struct search s = { n, wall_s(), INT64_MAX, ID128_NIL };

	if (n->c->discard != DISCARD_WEEKLY || !n->adopted || t->active)
		return;
	if (!n->unanswered) /* then all is known that is here */
		trims_drop_strangers(&t->plan, s.now_s, is_here, n);
	roster_each(n->roster, look_at, &s);
	save(n);
	if (s.due_s > s.now_s)
		return;
	t->active = true;
	t->dataset_id = s.dataset_id;
	t->at = t->bytes = 0;
	t->length = SLICE_FIRST;
	next_slice(n);
}

bool node_trim_yields(struct node *n, const struct roster_start *start)
{
	struct trimming *t = n->trimming;

	if (start->step == STEP_OBSERVE || start->step == STEP_CUT || !t->active ||
		!id128_equal(start->dataset_id, t->dataset_id))
		return false;
	if (!t->busy) {
		give_up(n);
		return false;
	}
	t->waits = true;
	t->waiting = *start;
	return true;
}

const struct trim *node_trim_of(const struct node *n, struct id128 dataset_id)
{
	return trims_find(&n->trimming->plan, dataset_id);
}

void node_trim_totals(const struct node *n, uint64_t *ret_trims, uint64_t *ret_bytes)
{
	*ret_trims = n->trimming->total_trims;
	*ret_bytes = n->trimming->total_bytes;
}

/* ---- beginning and end ---- */

int node_trim_new(struct node *n)
{
	_cleanup_free_ char *path = NULL, *text = malloc(FILE_MAX_SIZE);
	ssize_t size;

	n->trimming = calloc(1, sizeof(*n->trimming));
	if (!n->trimming || !text || asprintf(&path, "%s/" TRIMS_FILE, n->state.directory) < 0)
		return -ENOMEM;
	n->trimming->pace = evtimer_new(n->base, on_pace, n);
	if (!n->trimming->pace || event_priority_set(n->trimming->pace, PRIO_PLAN) < 0)
		return -ENOMEM;
	size = text_read(AT_FDCWD, path, text, FILE_MAX_SIZE);
	if (size >= 0)
		return trims_parse(&n->trimming->plan, text);
	if (size != -ENOENT)
		(void)log_warning((int)size, "cannot read %s: when datasets were trimmed is not known, ignoring", path);
	return 0;
}

void node_trim_free(struct node *n)
{
	if (!n->trimming)
		return;
	if (n->trimming->pace)
		event_free(n->trimming->pace);
	trims_done(&n->trimming->plan);
	free(n->trimming);
}
