/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.h - requests to the control service's REST API from a loop: one connection over mutual TLS, kept as
 * long as it is good, and the requests on it one after another. Nothing blocks and nothing logs.
 *
 *   closed -> dialling -> open -> closed          by itself, when there is a request
 *
 * A request whose connection ends unheard is sent once more on a new one, if the old one was kept from an
 * earlier request: so what is asked has to be safe to repeat.
 */
#pragma once

#include <event2/event.h>
#include <json-c/json.h>

#include "tls.h"

#define LINK_QUEUE_MAX 1024
#define LINK_LIMIT_S 20		  /* for connecting and the whole of an answer */
#define LINK_SILENCE_S 40	  /* of a stream */
#define LINK_BODY_MAX (64 * MIB)
#define LINK_WHY_MAX 512

struct link;

struct link_config {
	const char *host; /* name or address; its certificate must be valid for it or "control-service" */
	uint16_t port;
	SSL_CTX *ctx; /* of tls_client_new() */
	const char *program; /* names itself so to the server */
};

struct link_answer {
	int err;    /* positive errno: there is no answer; 0 */
	bool unsent; /* and nobody has heard the request */
	int status; /* of HTTP */
	struct json_object *body; /* borrowed; NULL when it is none */
	const char *why; /* one line, of an error or of a status that is one */
};

/* Once for each request, but not after link_free(). */
typedef void (*link_done_fn)(const struct link_answer *a, void *userdata);
/* Bytes of a body as they come. Not 0: the request ends with this errno. */
typedef int (*link_piece_fn)(const char *data, size_t size, void *userdata);

/* @c: its texts are borrowed. 0 or -ENOMEM. */
int link_new(struct event_base *base, const struct link_config *c, struct link **ret);
struct link *link_free(struct link *l);

/**
 * link_call() - ask
 * @path: with its query, ready to be sent
 * @body: sent as JSON; NULL: none
 *
 * Returns: 0; -ENOBUFS when too much is waiting; -ENOMEM.
 */
int link_call(struct link *l, const char *method, const char *path, struct json_object *body, link_done_fn fn,
	void *userdata);

/* A GET whose answer may go on for ever: when its status is 200, its body goes to @on_piece. As link_call(). */
int link_follow(struct link *l, const char *path, link_piece_fn on_piece, link_done_fn fn, void *userdata);

/* Closes the connection, so that the next request shows the present certificate. */
void link_hang_up(struct link *l);
