/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h - what GET /metrics says, in Prometheus' text format. docs/api-v2.md lists it. No label has a
 * value that clients or nodes choose, so the number of lines is bounded.
 */
#pragma once

#include <openssl/ssl.h>

#include "cluster.h"

#define METRICS_METHODS 7 /* the last: all others */
#define METRICS_CLASSES 5 /* of statuses: 1xx to 5xx */

/* Requests that were answered. Zero it to begin. */
struct metrics_requests {
	uint64_t answers[METRICS_METHODS][METRICS_CLASSES];
	struct promtext_durations durations;
};

/* @method: of enum evhttp_cmd_type. @seconds: below 0 when it waited on purpose, which says nothing. */
void metrics_answered(struct metrics_requests *m, unsigned int method, int status, double seconds);

struct metrics_source {
	const struct cluster *cluster;
	SSL_CTX *tls;
	const struct metrics_requests *requests;
	bool ready;
	uint64_t events;  /* since the start */
	size_t watchers;  /* clients that follow events, or wait for a dataset */
};

/* 0 or -ENOMEM; the caller frees @ret. */
int metrics_write(const struct metrics_source *s, char **ret, size_t *ret_size);
