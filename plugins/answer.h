/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer.h - one answer of HTTP/1.1, read as its bytes come (RFC 9112). Pure: no I/O, no clock.
 *
 * Who answers is the control service, whose certificate was checked; its bytes are bounded all the same.
 */
#pragma once

#include "macro.h"

#define ANSWER_LINE_MAX 8192
#define ANSWER_LINES_MAX 100

enum answer_state {
	ANSWER_STATUS,
	ANSWER_HEADERS,
	ANSWER_SIZED,	   /* a body of so many bytes */
	ANSWER_TO_THE_END, /* a body that ends with the connection */
	ANSWER_CHUNK_SIZE,
	ANSWER_CHUNK,
	ANSWER_CHUNK_END,
	ANSWER_TRAILERS,
	ANSWER_DONE,
};

/* Zero it to begin. */
struct answer {
	enum answer_state state;
	int status; /* 200 to 599, from ANSWER_SIZED on */
	bool close; /* the connection is of no further use */
	bool sized, chunked;
	uint64_t left; /* bytes of the body, or of its chunk */
	unsigned int n_lines;
	size_t n_line;
	char line[ANSWER_LINE_MAX]; /* begun */
};

/**
 * answer_take() - some of the bytes that came
 * @ret_used: how many were taken, at least one; set on success
 * @ret_body, @ret_size: what of them is the body, in @data; size 0: nothing
 *
 * To be called until all are taken or @a->state is ANSWER_DONE.
 * Returns: 0 or -EPROTO.
 */
int answer_take(struct answer *a, const char *data, size_t size, size_t *ret_used, const char **ret_body,
	size_t *ret_size);

/* The connection has ended. True: and so has the answer, as it should. */
bool answer_end(struct answer *a);
