/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dataset_hold.h - one dataset, held on this node for as long as a service needs it.
 *
 *   listing -> leasing -> moving -> waiting -> held -> releasing -> over
 *      |          |          |         |         `-> lost ^
 *      `----------`----------`---------`------------------'           (it cannot be had)
 *
 * listing: who is meant. Woken by control's list.
 * leasing: control is asked for the lease, which one node has at a time. Woken by its answer, and when another node has
 *   it and we are to wait: by what is told of the dataset.
 * moving: the dataset is wished here. Woken by control's answer.
 * waiting: for its mount. Woken by what is told of the dataset, and by the mount table.
 * held: bound at its place. Watches what is told, the mount table, and its term (terms.h).
 * lost: whoever uses it has to end first, then hold_stop() is called.
 * releasing: unbound; the lease ends, unless others here need it.
 *
 * Who was killed in between is succeeded by one that finds what it left, without control if need
 * be.
 */
#pragma once

#include <sys/types.h>

#include "client.h"

struct hold;

struct hold_callbacks {
	void (*on_status)(const char *text, void *userdata); /* one line, another than before */
	void (*on_ready)(void *userdata);
	void (*on_lost)(void *userdata);	/* call hold_stop() when its users have ended */
	void (*on_over)(bool failed, void *userdata);	/* nothing of it is left but what was logged; hold_free() */
};

/* Texts are borrowed. */
struct hold_config {
	const struct client *client;
	const char *dataset; /* its name or UUID */
	const char *place;
	const char *user;    /* what others are told: "unit ..." */
	uid_t owner;	     /* -1: as it is, as the next two */
	gid_t group;
	mode_t mode;
	bool wait_in_use;
	dev_t *bound; /* what the one before has bound and held, when that was killed; 0: nothing. Kept up
		       * for the next one */
};

/* 0 or negative errno, logged. */
int hold_new(struct event_base *base, const struct hold_config *c, const struct hold_callbacks *cbs,
	void *userdata, struct hold **ret);
struct hold *hold_free(struct hold *h);

/* Unbinds and releases; on_over() follows. */
void hold_stop(struct hold *h);

/* Somebody works on what is being waited for, and has not failed; or something has changed since
 * the last call. */
bool hold_goes_on(struct hold *h);

/* The certificates are others: the next requests show them. */
void hold_reconnect(struct hold *h);
