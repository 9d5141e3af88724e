/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remember.h - makes durable how far control's state was seen, at its own pace: a guard against old
 * stores, not a ledger. Files are written on workers. On the loop's thread.
 */
#pragma once

#include "nodestate.h"
#include "worker.h"

struct remember;

struct remember_config {
	struct worker_pool *pool; /* borrowed, as all here, until remember_free() */
	int priority;		  /* of its timer in the loop */
	struct nodestate *state;  /* told what is on disk */
	void (*seen)(void *userdata, struct control_mark *ret);
	void *userdata;
};

/* 0 or -ENOMEM. */
int remember_new(struct event_base *base, const struct remember_config *c, struct remember **ret);

/* What runs on a worker is left to itself, and leaked. NULL in, NULL out. */
struct remember *remember_free(struct remember *m);

/* Something new was seen; @soon: at once, else within some seconds. */
void remember(struct remember *m, bool soon);
