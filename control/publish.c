/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/random.h>

#include "publish.h"
#include "rest_view.h"
#include "text.h"

#define FLUSH_MAX 256 /* in one turn of the loop: others have their turn when everything changes at once */

/* What takes long to be looked at, as a node does that drains and has thousands of datasets, is
 * left alone afterwards for so many times as long: its changes cost a part of the time, however
 * many there are. */
#define LONG_LOOK_US 100
#define REST_FACTOR 10

/* What was told of one object. */
struct told {
	struct told *hash_next;
	struct told *next_touched;
	enum event_kind kind;
	struct id128 id;
	struct id128 nodes[2]; /* of a dataset: wished and owner; of a lease: its node */
	uint64_t hash;	       /* of what was told */
	uint64_t n;	       /* of the last event; 0: none since the start */
	uint64_t rests_until_us;
	bool touched;
	bool existed; /* clients may know it */
};

struct publish {
	struct cluster *cluster;
	struct eventlog *log;
	struct event *turn;
	struct told **slots;
	size_t n_slots, n_told;
	struct told *first, **last; /* that were touched */
	void (*listener)(void *userdata);
	void *userdata;
};

const struct eventlog *publish_log(const struct publish *p)
{
	return p->log;
}

/* ---- what was told ---- */

static size_t slot_of(const struct publish *p, enum event_kind kind, struct id128 id)
{
	return (id128_hash(id) + kind) & (p->n_slots - 1);
}

static struct told *find(const struct publish *p, enum event_kind kind, struct id128 id)
{
	struct told *t = p->n_slots ? p->slots[slot_of(p, kind, id)] : NULL;

	while (t && (t->kind != kind || !id128_equal(t->id, id)))
		t = t->hash_next;
	return t;
}

static int grow(struct publish *p)
{
	struct publish bigger = { .n_slots = p->n_slots ? p->n_slots * 2 : 64 };

	bigger.slots = calloc(bigger.n_slots, sizeof(struct told *));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < p->n_slots; i++)
		for (struct told *t = p->slots[i], *next; t; t = next) {
			size_t slot = slot_of(&bigger, t->kind, t->id);

			next = t->hash_next;
			t->hash_next = bigger.slots[slot];
			bigger.slots[slot] = t;
		}
	free(p->slots);
	p->slots = bigger.slots;
	p->n_slots = bigger.n_slots;
	return 0;
}

static struct told *add(struct publish *p, enum event_kind kind, struct id128 id)
{
	struct told *t;
	size_t slot;

	if (p->n_told >= p->n_slots && grow(p) < 0)
		return NULL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	slot = slot_of(p, kind, id);
	*t = (struct told){ .hash_next = p->slots[slot], .kind = kind, .id = id };
	p->slots[slot] = t;
	p->n_told++;
	return t;
}

static void forget(struct publish *p, struct told *t)
{
	struct told **at = &p->slots[slot_of(p, t->kind, t->id)];

	while (*at != t)
		at = &(*at)->hash_next;
	*at = t->hash_next;
	p->n_told--;
	free(t);
}

uint64_t publish_last_of(const struct publish *p, enum event_kind kind, struct id128 id)
{
	const struct told *t = find(p, kind, id);

	return t ? t->n : 0;
}

/* ---- what it looks like ---- */

static struct view_source source_of(const struct publish *p, bool steady)
{
	return (struct view_source){ .assign = cluster_assign(p->cluster), .history = cluster_history(p->cluster),
		.now_ms = cluster_now_ms(), .publish = p, .steady = steady };
}

static int view(const struct publish *p, const struct told *t, bool steady, struct jsonout *o)
{
	struct view_source s = source_of(p, steady);

	switch (t->kind) {
	case EVENT_DATASET:
		return view_dataset(o, NULL, &s, t->id, false);
	case EVENT_NODE:
		return view_node(o, NULL, &s, t->id);
	default:
		return view_lease(o, NULL, &s, t->id);
	}
}

/* As lists have it: nodes that were only ever named are not in them. */
static bool exists(const struct publish *p, const struct told *t)
{
	const struct assign *a = cluster_assign(p->cluster);
	uint64_t now = cluster_now_ms();
	struct assign_pin_view pin;
	struct assign_node_view n;
	struct assign_view v;

	switch (t->kind) {
	case EVENT_DATASET:
		return assign_dataset(a, now, t->id, &v) == 0;
	case EVENT_NODE:
		return assign_node(a, now, t->id, &n) == 0 && n.listed;
	default:
		return assign_pin(a, now, t->id, false, &pin) == 0;
	}
}

static void nodes_of(const struct publish *p, const struct told *t, struct id128 ret[2])
{
	const struct assign *a = cluster_assign(p->cluster);
	uint64_t now = cluster_now_ms();
	struct assign_pin_view pin;
	struct assign_view v;

	ret[0] = ret[1] = ID128_NIL;
	if (t->kind == EVENT_DATASET && assign_dataset(a, now, t->id, &v) == 0) {
		ret[0] = v.record->primary;
		ret[1] = v.record->owner;
	} else if (t->kind == EVENT_LEASE && assign_pin(a, now, t->id, false, &pin) == 0) {
		ret[0] = pin.node;
	}
}

/* ---- events ---- */

static void say(struct publish *p, struct told *t, bool dropped, struct jsonout *o)
{
	struct event_about about = { .kind = t->kind, .dropped = dropped, .id = t->id,
		.nodes = { t->nodes[0], t->nodes[1] } };
	_cleanup_free_ char *text = NULL;
	size_t size = 0;

	nodes_of(p, t, t->nodes);
	about.nodes[2] = t->nodes[0];
	about.nodes[3] = t->nodes[1];
	if (jsonout_finish(o, &text, &size) < 0)
		jsonout_done(o);
	eventlog_add(p->log, &about, text, size);
}

static void say_drop(struct publish *p, struct told *t)
{
	char revision[EVENTLOG_REVISION_SIZE];
	struct jsonout o = { 0 };

	jsonout_open(&o, NULL, '{');
	jsonout_id(&o, t->kind == EVENT_NODE ? "uuid" : "dataset_id", t->id);
	if (t->kind == EVENT_LEASE)
		jsonout_id(&o, "node", t->nodes[0]);
	else
		jsonout_text(&o, "revision", eventlog_revision(p->log, eventlog_last(p->log) + 1, revision));
	jsonout_close(&o, '}');
	say(p, t, true, &o);
}

/* It is rendered for comparison; of a dataset only the revision is missing then. */
static void say_news(struct publish *p, struct told *t, struct jsonout *o)
{
	char revision[EVENTLOG_REVISION_SIZE];

	t->n = eventlog_last(p->log) + 1;
	if (t->kind == EVENT_DATASET) {
		jsonout_reopen(o);
		jsonout_text(o, "revision", eventlog_revision(p->log, t->n, revision));
		jsonout_close(o, '}');
	} else if (t->kind == EVENT_NODE) {
		jsonout_done(o);
		(void)view(p, t, false, o);
	}
	say(p, t, false, o);
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void look_at(struct publish *p, struct told *t)
{
	uint64_t begun = now_us(), took, hash;
	struct jsonout o = { 0 };

	if (!exists(p, t)) {
		if (t->existed)
			say_drop(p, t);
		forget(p, t);
		return;
	}
	t->existed = true;
	(void)view(p, t, true, &o);
	hash = text_hash(o.data ?: "", o.size);
	if (hash != t->hash) {
		t->hash = hash;
		say_news(p, t, &o);
	}
	jsonout_done(&o);
	took = now_us() - begun;
	t->rests_until_us = took < LONG_LOOK_US ? 0 : begun + took * (1 + REST_FACTOR);
}

static void put(struct publish *p, struct told *t)
{
	t->next_touched = NULL;
	*p->last = t;
	p->last = &t->next_touched;
}

static struct told *take(struct publish *p)
{
	struct told *t = p->first;

	p->first = t->next_touched;
	if (!p->first)
		p->last = &p->first;
	return t;
}

/* @now: of those that rest as well. Returns the first of them when nothing else is left, or
 * NULL. */
static struct told *flush(struct publish *p, size_t most, bool now)
{
	uint64_t before = eventlog_last(p->log);
	struct told *resting = NULL;

	while (p->first && p->first != resting && most-- > 0) {
		struct told *t = take(p);

		if (!now && t->rests_until_us > now_us()) {
			put(p, t);
			resting = resting ?: t;
			continue;
		}
		t->touched = false;
		look_at(p, t);
	}
	if (eventlog_last(p->log) != before && p->listener)
		p->listener(p->userdata);
	return p->first == resting ? resting : NULL;
}

void publish_flush(struct publish *p)
{
	(void)flush(p, SIZE_MAX, true);
}

static void on_turn(evutil_socket_t fd, short what, void *userdata)
{
	struct publish *p = userdata;
	struct told *resting = flush(p, FLUSH_MAX, false);
	uint64_t now = now_us(), wait_us = 0;

	if (resting && resting->rests_until_us > now)
		wait_us = resting->rests_until_us - now;
	if (p->first)
		(void)event_add(p->turn, &(struct timeval){ .tv_sec = (time_t)(wait_us / 1000000),
			.tv_usec = (suseconds_t)(wait_us % 1000000) });
}

/* Without memory it stays as it was told, until it changes again. */
static void touch(struct publish *p, enum event_kind kind, struct id128 id)
{
	struct told *t = find(p, kind, id);

	if (!t) {
		t = add(p, kind, id);
		if (!t)
			return;
		t->existed = exists(p, t);
		nodes_of(p, t, t->nodes);
	}
	if (t->touched)
		return;
	event_active(p->turn, EV_TIMEOUT, 0);
	t->touched = true;
	put(p, t);
}

static void on_dataset(void *userdata, struct id128 id)
{
	touch(userdata, EVENT_DATASET, id);
}

static void on_node(void *userdata, struct id128 uuid)
{
	touch(userdata, EVENT_NODE, uuid);
}

static void on_lease(void *userdata, struct id128 dataset_id)
{
	touch(userdata, EVENT_LEASE, dataset_id);
}

/* ---- beginning and end ---- */

void publish_listen(struct publish *p, void (*fn)(void *userdata), void *userdata)
{
	p->listener = fn;
	p->userdata = userdata;
}

struct publish *publish_free(struct publish *p)
{
	if (!p)
		return NULL;
	cluster_set_watcher(p->cluster, NULL, NULL);
	for (size_t i = 0; i < p->n_slots; i++)
		for (struct told *t = p->slots[i], *next; t; t = next) {
			next = t->hash_next;
			free(t);
		}
	free(p->slots);
	if (p->turn)
		event_free(p->turn);
	eventlog_free(p->log);
	free(p);
	return NULL;
}
DEFINE_CLEANUP(struct publish *, publish_free);

int publish_new(struct event_base *base, struct cluster *cluster, size_t bytes, struct publish **ret)
{
	static const struct cluster_watcher watcher = { on_dataset, on_node, on_lease };
	_cleanup_(publish_freep) struct publish *p = calloc(1, sizeof(*p));
	uint64_t run;
	int r;

	if (!p)
		return -ENOMEM;
	p->cluster = cluster;
	p->last = &p->first;
	if (getrandom(&run, sizeof(run), 0) != sizeof(run))
		return -errno;
	r = eventlog_new(bytes, run, &p->log);
	if (r < 0)
		return r;
	p->turn = evtimer_new(base, on_turn, p);
	if (!p->turn)
		return -ENOMEM;
	cluster_set_watcher(cluster, &watcher, p);
	*ret = TAKE_PTR(p);
	return 0;
}
