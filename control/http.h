/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - an HTTP/1.1 server over mutual TLS: connections, their limits, and whole requests to whom it
 * belongs. It knows nothing of what is asked or answered. On the loop's thread only.
 *
 * libevent's own server is not used: it answers what it does not like by itself, in HTML; its only
 * limit of time is between two bytes; and it takes much for a request that is none (http_head.h). Its
 * words for methods and statuses and its lists of headers are used.
 *
 * One request of a connection is in hand at a time; what is sent behind it waits, 64 KiB of it here and
 * the rest in the client. So a client that sends and does not read costs one answer.
 *
 *   handshake -> idle -> head -> body -> working -> answering -> idle, or lingering -> closed
 *                                          `-----> streaming -> lingering
 *
 * Who watches has a bound of its own and takes no room of others: a request that is to wait for something, and
 * one whose answer goes on (http_stay()).
 */
#pragma once

#include <event2/event.h>
#include "http_head.h"
#include "tls.h"

/* Who has the other end, as its certificate says. */
struct http_peer {
	char name[TLS_NAME_MAX];     /* the common name, whole */
	char serial[TLS_SERIAL_MAX]; /* in hexadecimal */
};

struct http_limits {
	size_t head_bytes;	  /* of the request line and headers together */
	size_t body_bytes;
	unsigned int connections; /* more wait to be accepted */
	unsigned int watchers;	  /* beside them */
	unsigned int idle_s;	  /* between two requests */
	unsigned int request_s;	  /* from a request's first byte to its last */
	unsigned int answer_s;	  /* for the client to take an answer, or any of one that goes on */
};

struct http;
struct http_request;

struct http_callbacks {
	/* A whole request. It has to be answered by http_reply(), maybe later. */
	void (*on_request)(struct http_request *q, void *userdata);
	/* What is no request within the limits: to be answered before this returns, with this status. The
	 * connection ends with it. Of @q nothing may be known but its peer. */
	void (*on_refused)(struct http_request *q, const struct http_problem *problem, void *userdata);
};

/**
 * http_new() - serve a listening socket
 * @fd: taken over in every case
 * @ctx: of tls_server_new(); borrowed; refused handshakes are logged through it
 * @limits: copied
 *
 * Returns: 0 or -ENOMEM.
 */
int http_new(struct event_base *base, int fd, SSL_CTX *ctx, const struct http_limits *limits,
	const struct http_callbacks *cbs, void *userdata, struct http **ret);

/* Other certificates are valid, or fewer: connections whose peer would not come in again are closed. */
void http_recheck(struct http *h);

/* Accepts nobody any more, and ends each connection with its next answer. */
void http_stop(struct http *h);

/* Every request has to be answered before. What was not sent is lost. NULL is fine. */
struct http *http_free(struct http *h);

/* ---- one request; what is returned is borrowed until http_reply() ---- */

const struct http_head *http_request_head(const struct http_request *q); /* NULL when there is none */
struct evbuffer *http_request_body(const struct http_request *q);
const struct http_peer *http_request_peer(const struct http_request *q); /* NULL: the client has gone */
struct evkeyvalq *http_request_answer_headers(struct http_request *q);

/**
 * http_reply() - answer, and forget the request
 * @text: of @size bytes, taken over and freed once it was sent; may be NULL
 *
 * Of HEAD only the headers go. Content-Length, Date and Connection are set here.
 */
void http_reply(struct http_request *q, int status, char *text, size_t size);

/* ---- requests that stay ---- */

struct http_stay {
	/* All that was written of an answer that goes on has been taken. NULL: of no interest. */
	void (*on_drained)(void *userdata);
	/* The client has gone, takes nothing, or may not be here any more: of no use any more, but the request has
	 * to be ended all the same. Only the loop, http_recheck() and http_free() call it. */
	void (*on_gone)(void *userdata);
};

/**
 * http_stay() - this request will be here for long, and is counted with those that watch
 * @callbacks: borrowed
 *
 * To be called before on_request() returns. It ends with http_reply(), or with http_end() after http_begin().
 * Returns: 0, or -EUSERS when there are as many as there may be: nothing has changed then.
 */
int http_stay(struct http_request *q, const struct http_stay *callbacks, void *userdata);

/* Of one that stays: status and headers go, and then what is written until the connection ends. What was
 * borrowed of @q is gone. */
void http_begin(struct http_request *q, int status);

/**
 * http_write() - more of the answer
 * @data: of @size bytes, borrowed until @done is called, which is maybe at once
 *
 * It is kept in memory until the client takes it: who writes only after on_drained() keeps that small.
 * Returns: 0, or -ENOMEM: nothing that is written later would make sense, so it is to be ended.
 */
int http_write(struct http_request *q, const void *data, size_t size,
	void (*done)(const void *data, size_t size, void *userdata), void *userdata);

/* What the client did not take yet is lost. on_gone() is not called. */
void http_end(struct http_request *q);
