/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nomad_volume.h - a volume of Nomad on this node is a dataset that is leased to it and mounted on
 * it.
 *
 *   create: find or make the dataset -> be a user of its lease, and take that -> wish it here, larger if asked
 *           -> wait for the mount table
 *   delete: nobody has it open -> wish it nowhere, or destroy it -> end the lease -> wait until it is unmounted
 *
 * Each step may be repeated, and what a killed run has left half done is done by the next one.
 */
#pragma once

#include "client.h"
#include "nomad_request.h"

#define NOMAD_LIMIT_S 45 /* Nomad kills after 60, and after 50 when it starts */

/* Borrowed. */
struct nomad_config {
	struct event_base *base;
	const struct client *client; /* with its context */
	unsigned int limit_s; /* for all of it */
};

struct nomad_created {
	char *path; /* allocated */
	uint64_t size_bytes;
};

/* 0, or negative errno with @error set: one line. */
int nomad_create(const struct nomad_config *c, const struct nomad_request *q,
	struct nomad_created *ret, char error[NOMAD_ERROR_MAX]);
int nomad_delete(const struct nomad_config *c, const struct nomad_request *q,
	char error[NOMAD_ERROR_MAX]);
