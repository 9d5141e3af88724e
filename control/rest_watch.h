/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rest_watch.h - who watches: streams of events (rest_events.c), and requests that wait for one dataset
 * (rest_wait.c). While nothing changes they cost memory and a sign of life now and then; a change is looked at
 * once for each of them.
 */
#pragma once

#include "publish.h"
#include "rest_private.h"

struct stream;
struct waiting;

struct rest_watch {
	struct event_base *base;
	struct publish *publish;
	struct event *wake;
	struct stream *streams, *scan; /* all; and the one that is to be looked at next for new events */
	bool again;		       /* there are newer ones than when the scan began */
	bool unseen;		       /* news that those who wait were not looked at for */
	size_t n_streams, n_waiting;
	struct waiting *waiting;
};

int rest_watch_new(struct event_base *base, struct cluster *cluster, size_t event_bytes, struct rest_watch **ret);

/* All streams end; who waits is told that the service stops. */
void rest_watch_stop(struct rest_watch *w);
struct rest_watch *rest_watch_free(struct rest_watch *w); /* after rest_watch_stop() */

/* ---- rest_wait.c ---- */

void rest_wait_look(struct rest_watch *w); /* there are new events */
void rest_wait_stop(struct rest_watch *w);
