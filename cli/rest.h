/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rest.h - calls to the control service's REST API: HTTP/1.1 over mutual TLS, one at a time.
 * Blocking, with limits: 10 s to connect, 30 s of silence. The answer is a stranger's and is
 * read with bounds. Prints nothing; rest_error() has the words for a failure.
 */
#pragma once

#include <json-c/json.h>

#include "macro.h"

#define REST_BODY_MAX (256 * MIB) /* a list of 100,000 datasets takes a fifth of it */

struct rest; /* used by one thread */

struct rest_target {
	const char *host; /* name or address */
	uint16_t port;
	const char *certs_path, *user; /* <user>.crt, <user>.key and cluster.crt in it */
};

struct rest_answer {
	int status;	    /* 100 to 599 */
	struct json_object *body; /* NULL when it was "null", empty or no JSON */
};

/* Copies @t and looks at nothing. -ENOMEM. */
int rest_new(const struct rest_target *t, struct rest **ret);
struct rest *rest_free(struct rest *r);
DEFINE_CLEANUP(struct rest *, rest_free);

/**
 * rest_call() - one request and its answer
 * @path: "/v1/version"; clean already, it is sent as it is
 * @body: to be sent as JSON, or NULL
 * @ret: set on success, which is any status; end it with rest_answer_done()
 *
 * The connection is kept for the next call. A GET that finds it closed is sent once more on a new one.
 * Returns: 0; -ENOMEM; any other: no connection, no trust, or no HTTP; see rest_error().
 */
int rest_call(struct rest *r, const char *method, const char *path, struct json_object *body,
	struct rest_answer *ret);

/* One line about the last failure of rest_call(); "" before the first. */
const char *rest_error(const struct rest *r);

/* After a failure: may the server have acted on the request? */
bool rest_was_sent(const struct rest *r);

void rest_answer_done(struct rest_answer *a);
