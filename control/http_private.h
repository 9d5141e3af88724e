/* SPDX-License-Identifier: Apache-2.0 */
/* http_private.h - what the files of the HTTP server share: a connection, and the request that it is at. */
#pragma once

#include <time.h>

#include "http.h"

struct bufferevent;
struct evconnlistener;

enum conn_state {
	CONN_HANDSHAKE,
	CONN_IDLE,
	CONN_HEAD,
	CONN_BODY,
	CONN_WORKING,	/* its request is with others */
	CONN_ANSWERING,
	CONN_STREAMING, /* the answer goes on; its clock runs while any of it is pending */
	CONN_LINGERING, /* all was said; the client shall read it before it hears of the end */
	CONN_STATE_MAX,
};

struct conn {
	struct http *http;
	struct conn *prev, *next;
	struct bufferevent *bev;
	SSL *ssl; /* of @bev */
	struct http_peer peer; /* after the handshake */
	struct event *limit;
	enum conn_state state;
	bool close;	    /* after the answer */
	bool stays;	    /* counted in n_watchers instead of n_conns */
	uint64_t written, taken; /* of an answer that goes on: all, and what of it when the clock was started */
	size_t looked_at;   /* of the head */
	struct http_chunks chunks;
	struct http_request *request; /* from its head on until it is answered */
};

struct http_request {
	struct conn *conn; /* NULL: the client has gone */
	struct http_head head;
	bool has_head;
	struct evkeyvalq answer;
	const struct http_stay *stay; /* or NULL */
	void *stay_userdata;
	struct evbuffer *body;
};

struct http {
	struct event_base *base;
	SSL_CTX *ctx;
	struct http_limits limits;
	const struct http_callbacks *cbs;
	void *userdata;
	struct evconnlistener *listener;
	struct event *resume; /* to accept again */
	struct conn *first;
	unsigned int n_conns, n_watchers;
	bool stopping;
	time_t date_at;
	char date[64];
};

/* The only writer of @c->state: starts the new state's clock. */
void http_conn_move(struct conn *c, enum conn_state next);

void http_conn_free(struct conn *c);

/* Whoever still sends would be answered by a reset, which takes our last words away with it. */
void http_conn_linger(struct conn *c);

/* It takes a place among the watchers, or gives it back. */
void http_conn_count(struct conn *c, bool stays);

/* Of an answer that goes on: all of it was taken; its time is over; more of it is pending. */
void http_stream_drained(struct conn *c);
void http_stream_limit(struct conn *c);

void http_request_free(struct http_request *q); /* NULL is fine */
