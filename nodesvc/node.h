/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.h - the node daemon: everything that happens is fed to the roster, and what the roster
 * answers is carried out. One loop, workers for what blocks.
 */
#pragma once

#include <event2/event.h>

#include "config.h"
#include "conn.h"

/* Lower runs first; every line says why it stands where it does. */
enum node_prio {
	PRIO_SIGNAL, /* SIGTERM closes the doors before anyone else walks in */
	PRIO_UEVENT, /* a vanished disk is known before a job reports on it */
	PRIO_JOB,    /* finished work is booked before new work is planned */
	PRIO_LINK,   /* control's orders; libevent's default for connections is the middle */
	PRIO_PLAN,   /* one plan for all that the lines above brought */
	PRIO_TREE,   /* readers see the world that the lines above left */
	PRIO_MAX = 7,
};
static_assert(PRIO_LINK == PRIO_MAX / 2, "connections get the middle priority by themselves");

struct node;

/**
 * node_new() - the state directory locked; nothing else touched
 * @c: borrowed until node_free()
 * @uuid: of the node's certificate
 * @ctx: TLS of the link to control, borrowed
 * @why: on failure one line: what is wrong and what would be right
 *
 * Blocks on the state directory. Returns: 0 or negative errno.
 */
int node_new(struct event_base *base, const struct node_config *c, struct id128 uuid, SSL_CTX *ctx,
	struct node **ret, char *why, size_t size);
struct node *node_free(struct node *n);

/* Steps are reported as stuck after @seconds, also those that may take longer; before node_start(). */
void node_cap_steps(struct node *n, unsigned int seconds);

/* Another flocker-fence than the installed one, borrowed; before node_start(). */
void node_use_fence_helper(struct node *n, const char *path);

struct node_callbacks {
	void (*on_ready)(void *userdata);   /* once: adoption is done */
	void (*on_settled)(void *userdata); /* once, after that: each is mounted, or says why it is not */
	void (*on_failed)(void *userdata);  /* the backend cannot be used; the log says why */
};

/* Opens the backend, looks for what is claimed here, then dials control. */
void node_start(struct node *n, const struct node_callbacks *cbs, void *userdata);

/* Says bye; mounts stay. Returns how many datasets stay mounted. */
unsigned int node_stop(struct node *n);
