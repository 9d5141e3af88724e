/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask.h - requests to the control service for a program that does one thing and ends: each call
 * runs the loop until its answer is there. Nothing logs.
 */
#pragma once

#include "client.h"
#include "link.h"

struct ask;

struct asked {
	int err;    /* positive errno: there is no answer; 0 */
	int status; /* of HTTP */
	struct json_object *body; /* NULL when it is none */
	char why[LINK_WHY_MAX];	  /* one line, of an error or of a status that is one */
};

static inline void asked_done(struct asked *a)
{
	json_object_put(a->body);
}
#define _cleanup_asked_ _cleanup_(asked_done)

/**
 * ask_new() - nothing is asked yet
 * @c: borrowed, with its context
 * @program: of whom control hears; borrowed
 * @limit_s: from now on, for everything that is asked
 *
 * Returns: 0 or -ENOMEM.
 */
int ask_new(struct event_base *base, const struct client *c, const char *program,
	unsigned int limit_s, struct ask **ret);
struct ask *ask_free(struct ask *a);
DEFINE_CLEANUP(struct ask *, ask_free);

unsigned int ask_left_s(const struct ask *a); /* of the limit */
void ask_extend(struct ask *a, unsigned int seconds); /* the limit: so many seconds from now */

void ask_pause(struct ask *a, unsigned int ms); /* the loop runs meanwhile */

/**
 * ask_control() - one request, which has to be safe to repeat
 * @path: with its query, ready to be sent
 * @body: taken over; NULL: none
 * @ret: to be ended with asked_done()
 *
 * A control service that cannot be reached, and one that says that it cannot now, are asked again
 * until the limit.
 */
void ask_control(struct ask *a, const char *method, const char *path, struct json_object *body,
	struct asked *ret);
