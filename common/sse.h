/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sse.h - server-sent events (WHATWG HTML, "Server-sent events") out of the bytes of a stream, however they
 * are cut. Pure: does no I/O.
 */
#pragma once

#include "macro.h"

#define SSE_EVENT_MAX (4 * MIB) /* bytes of one event's data */
#define SSE_WORD_SIZE 128	/* of a type or an id; longer ones are no events of ours */

struct sse_event {
	char type[SSE_WORD_SIZE]; /* "" when it names none */
	const char *data;	  /* ended with a NUL; the lines of it with newlines between */
	size_t size;
};

struct sse;

struct sse *sse_new(void); /* NULL when there is no memory */
struct sse *sse_free(struct sse *s);
DEFINE_CLEANUP(struct sse *, sse_free);

/**
 * sse_take() - bytes up to the end of the next event
 * @ret_used: how many of them were taken; set on success
 * @ret: what is there until the next call, when the result is 1
 *
 * Returns: 1 with an event; 0: all were taken, and it is not whole yet; -EMSGSIZE; -ENOMEM.
 */
int sse_take(struct sse *s, const char *data, size_t size, size_t *ret_used, struct sse_event *ret);

/* The last id that a whole block had, be it of an event or alone; "" before the first. */
const char *sse_id(const struct sse *s);

/* For a new connection: forgets what was begun, and keeps the id. */
void sse_reset(struct sse *s);
