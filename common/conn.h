/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.h - one framed TLS connection between control and a node, on a libevent loop.
 *
 *   dialling -> handshake -> open -> closed
 *
 * Frames are those of wire.h. Numbers of a session are written and checked here: a repeated one is
 * dropped, a gap ends the connection. Used from the loop's thread only; nothing blocks and nothing
 * logs. Callbacks come from the loop, never from inside a call of this header.
 */
#pragma once

#include <event2/event.h>

#include "tls.h"
#include "wire.h"

#define CONN_QUEUE_MAX (8 * MIB) /* bytes waiting to be written */
#define CONN_OPEN_LIMIT_S 10	 /* for connecting and the handshake together */

struct conn;

struct conn_callbacks {
	/* The peer is verified and messages may be sent. */
	void (*on_open)(struct conn *c, void *userdata);
	/* @m is borrowed. */
	void (*on_message)(struct conn *c, const struct wire_msg *m, void *userdata);
	/*
	 * The last callback, once, also when on_open never came; not after conn_free(). @err is
	 * positive: 0 the peer or conn_finish() ended it in order, ECONNREFUSED, ECONNRESET,
	 * ETIMEDOUT, EPROTO (TLS or frames), EBADMSG (a message), ENOENT (no such host) and others.
	 * @text: one line that says what happened. The owner then calls conn_free().
	 */
	void (*on_close)(struct conn *c, int err, const char *text, void *userdata);
};

/**
 * conn_accept() - serve an accepted socket
 * @fd: taken over in every case
 * @ctx: of tls_server_new(); borrowed until the connection ends
 * @cbs: static
 *
 * Returns: 0 or -ENOMEM.
 */
int conn_accept(struct event_base *base, int fd, SSL_CTX *ctx, const struct conn_callbacks *cbs,
	void *userdata, struct conn **ret);

/**
 * conn_dial() - connect to a server
 * @host: name, IPv4 or IPv6 address; its certificate must be valid for it or "control-service"
 * @bind_address: numeric address to dial from, or NULL
 *
 * Returns: 0, -EINVAL for a @bind_address that is none, or -ENOMEM. All else comes by on_close.
 */
int conn_dial(struct event_base *base, const char *host, uint16_t port, const char *bind_address,
	SSL_CTX *ctx, const struct conn_callbacks *cbs, void *userdata, struct conn **ret);

/**
 * conn_send() - queue one message; its seq is ignored and the connection's next one is sent
 * Returns: 0; -ENOTCONN when not open or finishing; -ENOBUFS when the queue is full;
 * -EMSGSIZE; -ENOMEM. After a failure nothing was queued and no number used.
 */
int conn_send(struct conn *c, const struct wire_msg *m);

/* Sends what is queued, then closes; on_close follows within two seconds. Incoming frames are
 * dropped. */
void conn_finish(struct conn *c);

/* Closes at once, without a callback; also from inside a callback. NULL in, NULL out. */
struct conn *conn_free(struct conn *c);

/* The common name of the peer after @prefix, as tls_peer_name(). */
int conn_peer_name(const struct conn *c, const char *prefix, char *buf, size_t size);

/* As tls_recheck() of the peer; 0 when there is none yet. */
int conn_recheck(const struct conn *c, char *buf, size_t size);

/* "192.0.2.1" and "192.0.2.1:4524" of the peer; of a dialled one the host as given. */
const char *conn_peer_host(const struct conn *c);
const char *conn_peer(const struct conn *c);
