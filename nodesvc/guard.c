/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/sysmacros.h>
#include <unistd.h>

#include "guard.h"
#include "log.h"

#define ANSWER_S 2 /* a helper that takes longer is stopped or starved: it guards nobody in time */
#define RETRY_S 1
#define NS_OF_MS UINT64_C(1000000)
#define BUCKETS 1024 /* each renewal looks for each leased dataset, and there may be thousands */

struct entry {
	struct entry *next; /* in its bucket */
	struct id128 id;
	enum fs_kind fs;
	uint64_t want_ms, want_rev; /* 0: disarmed */
	uint64_t has_ms, has_rev;   /* what the helper answered for last */
	enum fence_state state;
	bool asked;		    /* ARM or DISARM is on its way */
	bool step;		    /* one of it is under way that a helper agreed to */
	bool unfenced;		    /* the helper that was stopping it died: the next one has to */
	dev_t devno;
	uint64_t diskseq;
};

/* Answers come in the order of the questions. */
struct question {
	struct question *next;
	uint64_t cookie;
	enum fence_kind kind;
	struct id128 id;
	uint64_t until_ms, rev;
	void *step;
};

struct guard {
	struct event_base *base;
	int priority;
	const struct fence_client_options *o;
	const struct guard_callbacks *cbs;
	void *userdata;
	struct fence_client *client;
	struct event *readable, *timer; /* of an answer, or of the next start */
	bool ready, was_ready; /* now; since the last start */
	struct entry *buckets[BUCKETS];
	struct question *first, **last;
	uint64_t cookie;
};

static void lose(struct guard *g, const char *why);

static size_t bucket_of(struct id128 id)
{
	return id128_hash(id) % BUCKETS;
}

static struct entry *find(const struct guard *g, struct id128 id)
{
	struct entry *e = g->buckets[bucket_of(id)];

	while (e && !id128_equal(e->id, id))
		e = e->next;
	return e;
}

static struct entry *get(struct guard *g, struct id128 id)
{
	struct entry *e = find(g, id), **bucket = &g->buckets[bucket_of(id)];

	if (e)
		return e;
	e = calloc(1, sizeof(*e));
	if (!e)
		abort();
	e->id = id;
	e->next = *bucket;
	*bucket = e;
	return e;
}

static void drop(struct guard *g, struct entry *e)
{
	struct entry **p = &g->buckets[bucket_of(e->id)];

	while (*p != e)
		p = &(*p)->next;
	*p = e->next;
	free(e);
}

/* @fn may drop the one it is given. */
static void each(struct guard *g, void (*fn)(struct guard *g, struct entry *e))
{
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct entry *e = g->buckets[i], *next; e; e = next) {
			next = e->next;
			fn(g, e);
		}
}

/* ---- questions ---- */

static struct question *ask(struct guard *g, enum fence_kind kind, struct id128 id)
{
	struct question *q = calloc(1, sizeof(*q));

	if (!q)
		abort();
	*q = (struct question){ .cookie = ++g->cookie, .kind = kind, .id = id };
	if (!g->first)
		event_add(g->timer, &(struct timeval){ ANSWER_S, 0 });
	*g->last = q;
	g->last = &q->next;
	return q;
}

static void check(struct guard *g, int r)
{
	if (r == -EAGAIN)
		(void)fence_client_kill(g->client); /* heard of as its end */
}

static void arm(struct guard *g, struct entry *e, uint64_t until_ms, uint64_t rev)
{
	struct question *q = ask(g, FENCE_ARM, e->id);
	struct fence_arm a = { e->id, until_ms * NS_OF_MS, e->fs, e->devno, e->diskseq, e->step };

	q->until_ms = until_ms;
	q->rev = rev;
	e->asked = true;
	check(g, fence_client_arm(g->client, &a, q->cookie));
}

static void disarm(struct guard *g, struct entry *e)
{
	struct question *q = ask(g, FENCE_DISARM, e->id);

	e->asked = true;
	check(g, fence_client_disarm(g->client, e->id, q->cookie));
}

/* Not wanted any more, and a helper that died had not let it go yet. */
static bool is_owed(const struct entry *e)
{
	return e->state == FENCE_NONE && (e->unfenced || (e->step && e->want_ms == 0));
}

/* What has fired stays so until it is fenced and disarmed. */
static void bring(struct guard *g, struct entry *e)
{
	if (!g->ready || e->asked || e->state == FENCE_FIRED)
		return;
	if (is_owed(e)) {
		arm(g, e, e->has_ms, e->has_rev);
	} else if (e->state == FENCE_FENCED) {
		if (e->want_ms == 0 || e->want_ms > e->has_ms)
			disarm(g, e);
	} else if (e->want_ms == 0) {
		/* A device is known before its lease is: then the helper has to hear of it. */
		if (e->state != FENCE_NONE)
			disarm(g, e);
		else if (!e->devno)
			drop(g, e);
	} else if (e->state == FENCE_NONE || e->want_ms != e->has_ms || e->want_rev != e->has_rev) {
		arm(g, e, e->want_ms, e->want_rev);
	}
}

void guard_arm(struct guard *g, struct id128 dataset_id, uint64_t until_ms, uint64_t rev, enum fs_kind fs)
{
	struct entry *e = until_ms ? get(g, dataset_id) : find(g, dataset_id);

	if (!e)
		return;
	e->want_ms = until_ms;
	e->want_rev = rev;
	e->fs = fs;
	if (!until_ms && !e->step)
		e->unfenced = false; /* it was let go meanwhile */
	if (!g->client)
		(void)guard_start(g);
	bring(g, e);
}

static void tell_device(struct guard *g, const struct entry *e)
{
	if (g->ready && e->state == FENCE_ARMED && e->devno)
		check(g, fence_client_set_device(g->client, e->id, e->devno, e->diskseq, 0));
}

void guard_device(struct guard *g, struct id128 dataset_id, dev_t devno, uint64_t diskseq)
{
	struct entry *e = devno ? get(g, dataset_id) : find(g, dataset_id);

	if (!e || (e->devno == devno && e->diskseq == diskseq))
		return;
	e->unfenced = false; /* it was for a device that is gone */
	e->devno = devno;
	e->diskseq = diskseq;
	tell_device(g, e);
	bring(g, e);
}

void guard_step_begin(struct guard *g, struct id128 dataset_id, void *step)
{
	struct question *q;

	if (!g->ready) {
		g->cbs->on_step(-ENOTCONN, step, g->userdata);
		return;
	}
	q = ask(g, FENCE_STEP_BEGIN, dataset_id);
	q->step = step;
	check(g, fence_client_step_begin(g->client, dataset_id, q->cookie));
}

void guard_step_end(struct guard *g, struct id128 dataset_id)
{
	struct entry *e = find(g, dataset_id);

	if (e)
		e->step = false;
	if (!g->ready)
		return;
	check(g, fence_client_step_end(g->client, dataset_id, 0));
	if (e)
		bring(g, e); /* a disarm that came too early */
}

/* ---- answers ---- */

static void on_arm_answer(struct guard *g, const struct question *q, int result)
{
	struct entry *e = find(g, q->id);

	if (!e)
		return;
	e->asked = false;
	if (q->kind == FENCE_DISARM && result == 0) {
		e->state = FENCE_NONE;
		e->has_ms = e->has_rev = 0;
	} else if (q->kind == FENCE_ARM && result == 0) {
		bool first = e->state == FENCE_NONE;

		e->state = FENCE_ARMED;
		e->unfenced = false;
		e->has_ms = q->until_ms;
		e->has_rev = q->rev;
		if (first)
			tell_device(g, e);
		g->cbs->on_armed(q->id, q->until_ms, q->rev, g->userdata);
	} else if (q->kind == FENCE_ARM && e->state == FENCE_NONE && e->step) {
		g->cbs->on_step(result, NULL, g->userdata);
		return;
	} else if (q->kind == FENCE_ARM && result != -ESTALE) {
		(void)log_error(result, "the fence helper guards no more datasets: a lease waits");
		return; /* the next renewal asks again */
	} else if (q->kind == FENCE_ARM && e->state == FENCE_NONE) {
		/* Too late for a helper that an upgrade left, see ARM: the daemon cuts it. */
		e->want_ms = 0;
		e->unfenced = false;
		g->cbs->on_fired(q->id, g->userdata);
		g->cbs->on_fenced(q->id, g->userdata);
		return;
	} else if (e->state != FENCE_FENCED) {
		return; /* about to fire, or a step is in flight: its end is heard of */
	}
	bring(g, e);
}

static void on_step_answer(struct guard *g, const struct question *q, int result)
{
	struct entry *e = find(g, q->id);

	if (e && result == 0)
		e->step = true;
	g->cbs->on_step(result, q->step, g->userdata);
}

static void on_answer(struct guard *g, const struct fence_packet *p)
{
	struct question *q = g->first;

	if (!q || q->cookie != p->cookie) {
		log_warning(0, "the fence helper answers what nobody asked, ignoring");
		return;
	}
	g->first = q->next;
	if (!g->first) {
		g->last = &g->first;
		event_del(g->timer);
	} else {
		event_add(g->timer, &(struct timeval){ ANSWER_S, 0 });
	}
	if (q->kind == FENCE_STEP_BEGIN)
		on_step_answer(g, q, p->result);
	else
		on_arm_answer(g, q, p->result);
	free(q);
}

static void on_state(struct guard *g, const struct fence_packet *p)
{
	struct entry *e = get(g, p->dataset_id);
	enum fence_state before = e->state;

	e->state = (enum fence_state)p->state;
	e->unfenced = false;
	if (p->dev_major && !e->devno) {
		e->devno = makedev(p->dev_major, p->dev_minor);
		e->diskseq = p->diskseq;
	}
	if (!g->ready) {
		e->has_ms = p->deadline_ns / NS_OF_MS;
		e->want_ms = e->want_ms ?: e->has_ms;
		g->cbs->on_inherited(p->dataset_id, e->has_ms, g->userdata);
	}
	if (e->state >= FENCE_FIRED && before < FENCE_FIRED)
		g->cbs->on_fired(p->dataset_id, g->userdata);
	if (e->state == FENCE_FENCED && before != FENCE_FENCED) {
		g->cbs->on_fenced(p->dataset_id, g->userdata);
		bring(g, e);
	}
}

static void bring_idle(struct guard *g, struct entry *e)
{
	if (!e->step)
		bring(g, e);
}

/* Only for a step in flight is this daemon killed: the others are told before, so that nobody is left out. */
static void on_ready(struct guard *g)
{
	g->ready = g->was_ready = true;
	event_del(g->timer);
	each(g, bring_idle);
	each(g, bring);
	g->cbs->on_ready(g->userdata);
}

static void on_readable(evutil_socket_t fd, short what, void *userdata)
{
	struct guard *g = userdata;
	struct fence_packet p;
	int r = 0;

	while (g->client && (r = fence_client_read(g->client, &p)) > 0) {
		if (p.kind == FENCE_ANSWER)
			on_answer(g, &p);
		else if (p.kind == FENCE_STATE)
			on_state(g, &p);
		else if (p.kind == FENCE_READY)
			on_ready(g);
		else if (p.kind == FENCE_WATCHDOG)
			g->cbs->on_watchdog((enum fence_watchdog)p.state, p.deadline_ns / NS_OF_MS,
				p.result, g->userdata);
	}
	if (r < 0)
		lose(g, r == -EPROTO ? "it is of another version" : "it ended");
}

/* ---- life ---- */

static void disconnect(struct guard *g)
{
	if (g->readable)
		event_free(g->readable);
	g->readable = NULL;
	g->client = fence_client_free(g->client);
	g->ready = false;
}

/* What it had is kept: the next one may have to go on from there. */
static void forget_armed(struct guard *g, struct entry *e)
{
	e->asked = false;
	e->unfenced |= e->state == FENCE_FIRED;
	if (e->state == FENCE_FENCED)
		e->want_ms = 0;
	e->state = FENCE_NONE;
}

static void lose(struct guard *g, const char *why)
{
	struct question *q, *list = g->first;

	disconnect(g);
	g->first = NULL;
	g->last = &g->first;
	each(g, forget_armed);
	event_add(g->timer, &(struct timeval){ g->was_ready ? 0 : RETRY_S, 0 });
	g->was_ready = false;
	g->cbs->on_lost(why, g->userdata);
	while ((q = list)) {
		list = q->next;
		if (q->step)
			g->cbs->on_step(-ECONNRESET, q->step, g->userdata);
		free(q);
	}
}

bool guard_is_left(const struct guard *g)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", g->o->run_directory, FENCE_SOCKET);
	return access(path, F_OK) == 0;
}

int guard_start(struct guard *g)
{
	int r;

	if (g->client)
		return 0;
	r = fence_client_new(g->o, &g->client);
	if (r == 0) {
		g->readable = event_new(g->base, fence_client_fd(g->client), EV_READ | EV_PERSIST,
			on_readable, g);
		if (!g->readable || event_priority_set(g->readable, g->priority) < 0 ||
			event_add(g->readable, NULL) < 0)
			r = -ENOMEM;
	}
	if (r == 0) {
		event_add(g->timer, &(struct timeval){ ANSWER_S, 0 }); /* until it is ready */
		return 0;
	}
	disconnect(g);
	(void)log_error(r, "cannot start the fence helper %s: leased datasets wait for it", g->o->helper);
	event_add(g->timer, &(struct timeval){ RETRY_S, 0 });
	return r;
}

static void on_timer(evutil_socket_t fd, short what, void *userdata)
{
	struct guard *g = userdata;

	if (!g->client)
		(void)guard_start(g);
	else if ((g->first || !g->ready) && fence_client_kill(g->client) < 0)
		lose(g, "it does not answer");
}

int guard_new(struct event_base *base, int priority, const struct fence_client_options *o,
	const struct guard_callbacks *cbs, void *userdata, struct guard **ret)
{
	struct guard *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	*g = (struct guard){ .base = base, .priority = priority, .o = o, .cbs = cbs, .userdata = userdata };
	g->last = &g->first;
	g->timer = evtimer_new(base, on_timer, g);
	if (!g->timer || event_priority_set(g->timer, priority) < 0) {
		guard_free(g);
		return -ENOMEM;
	}
	*ret = g;
	return 0;
}

struct guard *guard_free(struct guard *g)
{
	if (!g)
		return NULL;
	disconnect(g);
	if (g->timer)
		event_free(g->timer);
	while (g->first) {
		struct question *q = g->first;

		g->first = q->next;
		if (q->step)
			g->cbs->on_step(-ECANCELED, q->step, g->userdata);
		free(q);
	}
	each(g, drop);
	free(g);
	return NULL;
}
