/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agents.h - the port that nodes dial: sessions in, messages out.
 *
 *   accept -> TLS as node-<uuid> -> hello -> frames ... -> gone
 *
 * Refusals and lost nodes are logged here, one line each. A session that is silent for
 * AGENTS_SILENCE_S is ended. On the loop's thread only.
 */
#pragma once

#include <openssl/ssl.h>

#include "cluster.h"

#define AGENTS_PREFIX "node-"
#define AGENTS_PING_S 10
#define AGENTS_SILENCE_S 30

extern const char *const agents_kinds[]; /* of certificates that come in, for tls_server_new() */

struct agents;

/**
 * agents_new() - serve a listening socket
 * @fd: of endpoint_listen(); taken over in every case
 * @ctx: of tls_server_new() with agents_kinds; borrowed
 *
 * Becomes the outlet of @cluster. Returns: 0 or -ENOMEM.
 */
int agents_new(struct event_base *base, struct cluster *cluster, int fd, SSL_CTX *ctx,
	struct agents **ret);

/* Other certificates are valid, or fewer: sessions whose peer would not come in again are closed. */
void agents_recheck(struct agents *a);

/* Takes no more nodes, and tells those that are here that control stops. */
void agents_stop(struct agents *a);

/* No session is left, or at least none that still has something to write. */
bool agents_idle(const struct agents *a);

struct agents *agents_free(struct agents *a);
