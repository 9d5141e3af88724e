/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rest.h - the HTTPS port that users dial. v1 is wire-compatible with the original; v2 says what v1
 * cannot. Every answer is JSON, and an answer to a write leaves when the write is durable.
 * On the loop's thread only.
 */
#pragma once

#include <openssl/ssl.h>

#include "cluster.h"
#include "http.h"

#define REST_USER "user-"
#define REST_VIEWER "viewer-" /* may look, and change nothing */

extern const char *const rest_kinds[]; /* of certificates that come in, for tls_server_new() */

struct rest;

struct rest_settings {
	struct failover failover; /* of datasets that do not choose one */
	uint64_t undelete_s;	  /* for how long the volume of what is deleted is kept */
	uint32_t state_expiry_ms; /* what a node said counts as the state until it is silent for so long */
	struct http_limits limits;
	size_t event_bytes;	  /* for the last events */
	unsigned int depth;	  /* levels of a body */
};

/**
 * rest_new() - serve a listening socket
 * @fd: of endpoint_listen(); taken over in every case
 * @settings: copied
 * @ctx: of tls_server_new() with rest_kinds; borrowed; refused handshakes are logged through it
 *
 * Returns: 0 or -ENOMEM.
 */
int rest_new(struct event_base *base, struct cluster *cluster, int fd, SSL_CTX *ctx,
	const struct rest_settings *settings, struct rest **ret);

/* Other certificates are valid, or fewer: connections whose peer would not come in again are closed. */
void rest_recheck(struct rest *r);

/* Takes no more connections; what waits for the store is still answered. */
void rest_stop(struct rest *r);

/* No request waits for its answer. */
bool rest_idle(const struct rest *r);

/* For those who measure. */
uint64_t rest_n_events(const struct rest *r); /* since the start */
size_t rest_n_watchers(const struct rest *r);

struct rest *rest_free(struct rest *r);
