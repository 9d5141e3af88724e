/* SPDX-License-Identifier: Apache-2.0 */
/*
 * eventlog.h - the last events, in order, each as the text that every watcher is sent: rendered once, and
 * counted while anybody still sends it. What they keep in memory is bounded in bytes: the oldest fall off, and
 * who has not come so far has to list again. Pure: no I/O, no clock; one thread.
 *
 * A revision is "<run>-<n>": n grows by one with each event, run is another one after each start.
 */
#pragma once

#include "id128.h"

#define EVENTLOG_REVISION_SIZE 40
#define EVENT_NODES_MAX 4

enum event_kind {
	EVENT_DATASET,
	EVENT_NODE,
	EVENT_LEASE,
	EVENT_KIND_MAX,
};

const char *event_kind_name(enum event_kind kind); /* "dataset", "node", "lease" */

struct event_about {
	enum event_kind kind;
	bool dropped;	 /* it is no more */
	struct id128 id; /* of the dataset, also of a lease, or of the node */
	struct id128 nodes[EVENT_NODES_MAX]; /* that a dataset or a lease concerns; nil: none */
};

struct event_text {
	struct event_about about;
	uint64_t n;
	unsigned int refs;
	size_t size;
	char text[]; /* "id: ...\nevent: ...\ndata: ...\n\n" */
};

struct event_text *event_text_ref(struct event_text *e);
void event_text_unref(struct event_text *e); /* NULL is fine */

struct event_filter {
	unsigned int kinds; /* one bit each */
	struct id128 dataset, node; /* nil: any */
};

bool event_passes(const struct event_filter *f, const struct event_about *about);

struct eventlog;

/**
 * eventlog_new() - nothing has happened yet
 * @bytes: of events that are kept; the newest is kept even if it is larger
 * @run: random bits
 * Returns: 0 or -ENOMEM.
 */
int eventlog_new(size_t bytes, uint64_t run, struct eventlog **ret);
struct eventlog *eventlog_free(struct eventlog *l);

/* The number of the newest event, and of the one that comes next; 0: there was none. */
uint64_t eventlog_last(const struct eventlog *l);

/**
 * eventlog_add() - event eventlog_last() + 1 has happened
 * @json: the object in one line, of @size bytes; copied; NULL: out of memory
 *
 * Without memory all events are lost, so that every watcher lists again.
 */
void eventlog_add(struct eventlog *l, const struct event_about *about, const char *json, size_t size);

/**
 * eventlog_next() - the event that follows @n
 * @ret: borrowed until the next eventlog_add()
 *
 * Returns: 0, -EAGAIN when there is none yet, -ESTALE when it has fallen off, or @n was never reached.
 */
int eventlog_next(const struct eventlog *l, uint64_t n, struct event_text **ret);

char *eventlog_revision(const struct eventlog *l, uint64_t n, char buf[EVENTLOG_REVISION_SIZE]);

/**
 * eventlog_parse() - a revision that a client has
 * Returns: 0; -EINVAL when it is none; -ESTALE when it is of another run, was never reached, or what followed
 * it has fallen off.
 */
int eventlog_parse(const struct eventlog *l, const char *text, uint64_t *ret_n);
