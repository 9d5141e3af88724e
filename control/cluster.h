/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster.h - the one place that owns the decisions (assign.h) and the store.
 *
 *   event -> assign_decide() -> changes -> store ... durable -> messages leave, answers leave
 *
 * Whatever a decision returns waits here for its transaction. A failed commit is told to assign,
 * its messages are dropped and its callers hear of it; the daemon goes on. On the loop's thread
 * only.
 */
#pragma once

#include <event2/event.h>

#include "assign.h"
#include "history.h"
#include "promtext.h"
#include "store.h"

#define CLUSTER_TAG_SIZE 33

struct cluster;

/* Who carries messages to the nodes. */
struct cluster_outlet {
	/* @s->msg may be taken over (zero it then); it leaves once @s->after_txn is durable. */
	void (*send)(void *userdata, struct assign_send *s);
	void (*durable)(void *userdata, uint64_t txn);
	/* All transactions from @txn on are void: what waits for them is dropped. */
	void (*failed)(void *userdata, uint64_t txn);
};

/**
 * cluster_new() - load what the store holds
 * @store: borrowed
 * @ret_error: set on failure: allocated, one line
 *
 * Blocks: belongs to the start. Returns: 0, -EUCLEAN for a record that cannot be read, -EIO,
 * -ENOMEM.
 */
int cluster_new(struct event_base *base, struct store *store, uint64_t incarnation,
	struct cluster **ret, char **ret_error);
struct cluster *cluster_free(struct cluster *c); /* calls nobody back */

void cluster_set_outlet(struct cluster *c, const struct cluster_outlet *outlet, void *userdata);

/* Who tells others how things look. What is named may look different from now on, or be no more; or look the
 * same. It is to look when the loop's turn ends, not at once. */
struct cluster_watcher {
	void (*dataset)(void *userdata, struct id128 id);
	void (*node)(void *userdata, struct id128 uuid);
	void (*lease)(void *userdata, struct id128 dataset_id);
};

void cluster_set_watcher(struct cluster *c, const struct cluster_watcher *watcher, void *userdata);

/**
 * cluster_decide() - feed one event
 * @ev: the random bits are filled in here
 * @done: NULL, or called once, maybe before this returns: when everything that the answer rests on
 * is durable, or its commit failed. @status: of struct assign_result; @err: 0 or negative errno of
 *   the commit, and then nothing was done.
 */
void cluster_decide(struct cluster *c, struct assign_event *ev,
	void (*done)(int status, int err, void *userdata), void *userdata);

/* What was deleted for longer is dropped, and what is remembered of nodes that were not heard for longer;
 * looked at now and every hour at least. 0: never. 0 or -ENOMEM. */
int cluster_retain(struct cluster *c, uint64_t seconds);

/* For looking, not for deciding. */
const struct assign *cluster_assign(const struct cluster *c);
const struct history *cluster_history(const struct cluster *c);
uint64_t cluster_now_ms(void); /* the clock that assign is given */
int64_t cluster_wall_ms(void); /* since 1970: what people and clients read */

/*
 * The configuration tag, 32 hexadecimal digits: of what readers see, which is durable, or of the
 * newest decision, which a conditional write is compared with.
 */
char *cluster_tag(const struct cluster *c, bool newest, char buf[CLUSTER_TAG_SIZE]);

/* Of the store: what nodes are told, so that they recognise an older state. */
uint64_t cluster_revision(const struct cluster *c);
void cluster_stamp(const struct cluster *c, struct wire_welcome *welcome);

/* The highest that a node can have seen in this line of the store; 0: the line is not known here. */
uint64_t cluster_revision_in(const struct cluster *c, struct id128 line);

uint64_t cluster_incarnation(const struct cluster *c);

/* 0 when the last commit was done, or why not. After a failure one that changes nothing is tried every 5 s. */
int cluster_store_error(const struct cluster *c);

/* Since the start. */
struct cluster_commits {
	uint64_t durable, failed;
	struct promtext_durations durations; /* of the durable ones */
};
const struct cluster_commits *cluster_commits(const struct cluster *c);

/* No commit is under way. */
bool cluster_idle(const struct cluster *c);
