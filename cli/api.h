/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.h - calls to the control service's REST API: HTTP/1.1 over mutual TLS, one at a time.
 * Blocking, with limits: 10 s to connect, 30 s of silence. The answer is a stranger's and is
 * read with bounds. Prints nothing; api_error() has the words for a failure.
 */
#pragma once

#include <json-c/json.h>

#include "macro.h"

#define API_REQUEST_ID_MAX 128
#define API_BODY_MAX (256 * MIB) /* a list of 100,000 datasets takes a fifth of it */

struct api; /* used by one thread */

struct api_target {
	const char *host; /* name or address */
	uint16_t port;
	const char *certs_path, *user; /* <user>.crt, <user>.key and cluster.crt in it */
};

struct api_request {
	const char *method, *path;     /* "/v1/version"; clean already, it is sent as it is */
	struct json_object *body;      /* to be sent as JSON, or NULL */
	const char *idempotency_key;   /* or NULL */
	bool text;		       /* the answer is no JSON */
};

struct api_answer {
	int status;	    /* 100 to 599 */
	struct json_object *body; /* NULL when it was "null", empty or no JSON */
	char *text;	    /* of a request for text: its bytes; may be NULL */
	size_t text_len;
	char request_id[API_REQUEST_ID_MAX]; /* by which the server's log knows it; "" or any text */
};

/* Copies @t and looks at nothing. -ENOMEM. */
int api_new(const struct api_target *t, struct api **ret);
struct api *api_free(struct api *r);
DEFINE_CLEANUP(struct api *, api_free);

/**
 * api_call() - one request and its answer
 * @ret: set on success, which is any status; end it with api_answer_done()
 *
 * The connection is kept for the next call. A GET that finds it closed is sent once more on a new one.
 * Returns: 0; -ENOMEM; any other: no connection, no trust, or no HTTP; see api_error().
 */
int api_call(struct api *r, const struct api_request *q, struct api_answer *ret);

/**
 * api_open() - begin a stream: GET @path, whose answer has no end
 * @ret: as api_call() sets it. With status 200 its body comes by api_read(), and until the connection is
 *   closed nothing else may be called; with another one it is whole, and there is no stream.
 *
 * Always on a connection of its own. Returns: as api_call().
 */
int api_open(struct api *r, const char *path, struct api_answer *ret);

/**
 * api_read() - the next bytes of the stream; never waits
 *
 * Returns: how many; 0 when the server has ended it; -EAGAIN: poll api_fd() first; other: see api_error().
 */
ssize_t api_read(struct api *r, char *buf, size_t size);

/* To be polled for reading; negative without a connection. */
int api_fd(const struct api *r);

/* Ends the connection; the next call makes another. */
void api_close(struct api *r);

/* One line about the last failure of api_call(); "" before the first. */
const char *api_error(const struct api *r);

/* After a failure: may the server have acted on the request? */
bool api_was_sent(const struct api *r);

void api_answer_done(struct api_answer *a);
