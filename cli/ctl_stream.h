/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl_stream.h - what changes in the cluster, as GET /v2/events tells it: over a connection of its own, which
 * is made anew when it ends and goes on behind the last event. It prints nothing but refusals.
 *
 *   open --event...--> open --the connection ends--> lost --again and again--> open
 *                                                      `--what followed is not kept any more--> gone --> open
 */
#pragma once

#include <signal.h>

#include "ctl.h"

#define CTL_REVISION_SIZE 128

enum ctl_news {
	NEWS_OPEN,    /* from now on nothing is missed, and with a revision nothing was since */
	NEWS_EVENT,
	NEWS_GONE,    /* the revision is none any more: list again, then ctl_stream_from(); the second time in a
		       * row and from then on it comes behind NEWS_LOST, ever later */
	NEWS_LOST,    /* the connection; ctl_stream_error() says why; it is tried again by itself */
	NEWS_TIMEOUT, /* the time is over */
	NEWS_SIGNAL,
	NEWS_FAILED,  /* and it has been told; ctl_stream_status() is the exit status */
};

struct ctl_event {
	const char *type, *revision; /* "dataset-dropped"; "" and "" when there is none */
	struct json_object *data;    /* borrowed until the next call */
};

struct ctl_stream;

/* @query: "type=node&dataset=<uuid>", or ""; copied. An exit status. */
int ctl_stream_new(const struct ctl *c, const char *query, struct ctl_stream **ret);
struct ctl_stream *ctl_stream_free(struct ctl_stream *s);
DEFINE_CLEANUP(struct ctl_stream *, ctl_stream_free);

/* Where to go on: behind @revision, or, with NULL, from when it is opened. Ends the connection. */
void ctl_stream_from(struct ctl_stream *s, const char *revision);

/**
 * ctl_stream_next() - wait for what happens next
 * @deadline_ms: on the clock of ctl_now_ms(); UINT64_MAX: without end
 * @mask: signals that are let in only while this waits (ppoll(2)); NULL: as they are
 * @ret: set with NEWS_EVENT
 */
enum ctl_news ctl_stream_next(struct ctl_stream *s, uint64_t deadline_ms, const sigset_t *mask,
	struct ctl_event *ret);

/* Up to where it has come; "" when that is not known yet. */
const char *ctl_stream_revision(const struct ctl_stream *s);
const char *ctl_stream_error(const struct ctl_stream *s);
int ctl_stream_status(const struct ctl_stream *s);
