/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h - what the node counts, as Prometheus text: the tree's .node/metrics.
 *
 * It is read as node_exporter's textfile collector reads it: no times with the samples, one HELP and TYPE a name.
 * Moments are told as such, not as ages, so that what was rendered a while ago is still true.
 */
#pragma once

#include "dsview.h"
#include "wire.h"

#define METRICS_BUCKETS 9 /* of durations; beyond the last is counted in all alone */

struct metrics_step {
	uint64_t done, failed;
	uint64_t buckets[METRICS_BUCKETS]; /* not cumulated */
	uint64_t sum_ms;
};

struct metrics {
	struct metrics_step steps[DS_STEP_MAX];
};

/* A step ended. @error: 0, or what it failed with. */
void metrics_count(struct metrics *m, enum ds_step step, uint64_t ms, int error);

/* The rest of what is told, as it is now. */
struct metrics_now {
	const struct node_view *node;
	const struct wire_backend *backends;
	size_t n_backends;
	unsigned int states[DS_STATE_MAX]; /* datasets in each */
	unsigned int running;		   /* steps under way, and trims */
	int64_t renewed_ms;		   /* when control last answered a renewal; 0: it has not been asked */
	uint64_t trims, trimmed_bytes;
};

/* NULL: out of memory; the caller frees it. */
char *metrics_text(const struct metrics *m, const struct metrics_now *now);
