/* SPDX-License-Identifier: Apache-2.0 */
/* dataset_private.h - what the files behind dataset_hold.h share. */
#pragma once

#include "claim.h"
#include "dataset_hold.h"
#include "log.h"
#include "mirror.h"
#include "mounted.h"
#include "terms.h"
#include "users.h"

#define WHY_MAX 1024

enum hold_state {
	HOLD_LISTING,
	HOLD_LEASING,
	HOLD_MOVING,
	HOLD_WAITING,
	HOLD_HELD,
	HOLD_LOST,
	HOLD_RELEASING,
	HOLD_OVER,
};

struct hold {
	struct hold_config c;
	const struct hold_callbacks *cbs;
	void *userdata;
	enum hold_state state;
	struct link *link, *stream;
	struct catalog *catalog;
	struct mirror *mirror;
	struct mounted *mounted;
	struct event *retry, *over, *term;
	struct terms known; /* its own term, and since when it is known to have one; zero: it has none */
	struct id128 dataset; /* nil: not known yet */
	dev_t devno;	      /* that is bound; 0: none is */
	char who[32];	      /* among the users of its lease */
	int user, lock;	      /* of users.h */
	bool joined, asking, in_use, failed, changed;
	uint64_t released_ms; /* when it began to be; CLOCK_MONOTONIC */
	char status[WHY_MAX];
	char only[ID128_TEXT]; /* what of it is listed, where that is known without a list */
};

/* ---- dataset_hold.c ---- */

const struct volume *hold_volume(const struct hold *h); /* NULL: it is not known */
void hold_say(struct hold *h, const char *fmt, ...) _printf_(2, 3);
void hold_again(struct hold *h); /* its step, soon */

/* True: an answer came for one that has given up meanwhile. */
bool hold_is_stopping(struct hold *h);

/* ---- dataset_watch.c: while it is held ---- */

void hold_say_held(struct hold *h);
void hold_check(struct hold *h);
void hold_recall_term(struct hold *h); /* as the one before knew it */

/* ---- dataset_end.c ---- */

void hold_fail(struct hold *h, const char *fmt, ...) _printf_(2, 3); /* it cannot be had */
void hold_lose(struct hold *h, const char *fmt, ...) _printf_(2, 3); /* it was held */
void hold_release(struct hold *h); /* once more, or at last */
void hold_on_over(evutil_socket_t fd, short what, void *userdata); /* of h->over */
