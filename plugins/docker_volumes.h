/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docker_volumes.h - what a container engine asks is done here: looked up in memory, or asked of the control
 * service and waited for.
 *
 * A Mount is a lease for this node first, which only one node can have at a time and which no other takes
 * away; then the wish that the dataset be here; then waiting until its node says that it is mounted and the
 * mount table says so too. All Mounts of one volume share that. Each step may be repeated, so an
 * engine's retries and a crash at any point change nothing.
 */
#pragma once

#include <event2/event.h>

#include "docker_proto.h"
#include "id128.h"
#include "link.h"

#define DOCKER_LIMIT_S 110 /* for a Mount: dockerd hangs up after 120 */

struct docker_volumes;

/* Who asked. Memory of the caller's, until answer() was called. */
struct docker_caller {
	/* Once, maybe before docker_volumes_ask() returns. @text: taken over; NULL: there was no memory. */
	void (*answer)(struct docker_caller *c, int status, char *text);
	/* Is somebody there to hear the answer? */
	bool (*is_there)(struct docker_caller *c);
};

/* Texts are borrowed. */
struct docker_volumes_config {
	struct id128 node;	/* that this is */
	const char *mount_root; /* of that node */
	const char *state_path; /* file that remembers the mounts */
	const char *users_directory; /* see users.h */
	const char *engine_socket; /* of dockerd's API, to be asked for names */
	unsigned int limit_s;	/* for a Mount */
	bool wait_in_use;	/* for a volume that is in use elsewhere, instead of refusing */
	struct link_config control;
};

/* 0 or negative errno, logged. */
int docker_volumes_new(struct event_base *base, const struct docker_volumes_config *c, struct docker_volumes **ret);
/* Callers that wait are answered before. */
struct docker_volumes *docker_volumes_free(struct docker_volumes *v);

/**
 * docker_volumes_ask() - one request
 * @q: taken over
 * @handshake: it is the Activate of an engine that has begun anew, by all that is known of engines
 */
void docker_volumes_ask(struct docker_volumes *v, struct docker_request *q, bool handshake, struct docker_caller *c);

/* The certificates are others: the next requests show them. */
void docker_volumes_reconnect(struct docker_volumes *v);
