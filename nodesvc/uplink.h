/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uplink.h - a node's session with control: dial, hello, welcome, heartbeat, and again.
 *
 *   waiting --timer--> dialling --open: hello--> greeting --welcome--> up
 *      ^                   |                        |                   |
 *      +-------------------+------------------------+-------------------+  closed, silent, refused
 *
 * Waits at first 200 ms, then longer up to 5 s, or what uplink_hurry() says, each +-20 %. On the loop;
 * nothing blocks.
 */
#pragma once

#include "conn.h"

struct uplink;

struct uplink_config {
	const char *host;     /* borrowed, as all here, until uplink_free() */
	uint16_t port;
	const char *address;  /* to dial from, or NULL */
	SSL_CTX *ctx;
	struct control_mark seen; /* the highest of control seen before */
};

struct uplink_callbacks {
	/* Fills what hello says of this node, but for @backends, and what it holds; negative errno: say nothing. */
	int (*on_hello)(struct wire_hello *hello, void *userdata);
	/* Welcomed: what uplink_seen() tells is to be remembered. */
	void (*on_up)(void *userdata);
	void (*on_down)(const char *why, void *userdata); /* after on_up, or when an attempt failed */
	void (*on_order)(const struct wire_assign *order, void *userdata);
	/* It has a word of a later version, @m->unknown. An order with one is not handed over. */
	void (*on_unknown)(const struct wire_msg *m, void *userdata);
	void (*on_renewed)(uint64_t stamp_ms, void *userdata); /* a PONG with a stamp */
};

/* Does not dial yet. 0 or -ENOMEM. */
int uplink_new(struct event_base *base, const struct uplink_config *c,
	const struct uplink_callbacks *cbs, void *userdata, struct uplink **ret);
struct uplink *uplink_free(struct uplink *u);

/* Dial now and keep dialling. */
void uplink_start(struct uplink *u);

/* Ends the session and begins another, with a new hello. */
void uplink_again(struct uplink *u);

/* Other certificates are valid, or fewer: a session whose control would not be accepted again ends. */
void uplink_recheck(struct uplink *u);

/* Says bye with @reason; no more dialling, and no more callbacks. */
void uplink_stop(struct uplink *u, const char *reason);

/* Sends one message of the session; its failure ends the session, and the next hello repairs it. */
void uplink_send(struct uplink *u, const struct wire_msg *m);

/* Waits are no longer than this from the next one on; for who has terms to renew. */
void uplink_hurry(struct uplink *u, uint64_t retry_max_ms);

/* What control is told of the backends: with each hello, and with the next ping when it is something new. Copied. */
void uplink_tell_backends(struct uplink *u, const struct wire_backend *list, size_t n);

/* The highest of control seen. */
struct control_mark uplink_seen(const struct uplink *u);
