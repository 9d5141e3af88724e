/* SPDX-License-Identifier: Apache-2.0 */
/*
 * promtext.h - what monitors read: Prometheus' text format, version 0.0.4.
 *
 * A family's head goes before its values, and its values stand together; that is the caller's to keep, and
 * so are names and a bounded number of label values. Running out of memory is kept and told at the end.
 */
#pragma once

#include "macro.h"

#define PROMTEXT_TYPE "text/plain; version=0.0.4; charset=utf-8" /* for Content-Type */

struct promtext {
	FILE *f;
	char *text;
	size_t size;
};

int promtext_open(struct promtext *p); /* 0 or -ENOMEM */

/**
 * promtext_close() - the text, NUL-terminated
 * Returns: 0 or -ENOMEM. The caller frees @ret; @p is ended in both cases.
 */
int promtext_close(struct promtext *p, char **ret, size_t *ret_size);

/* @type: "counter", "gauge" or "histogram". @help: one line. */
void promtext_family(struct promtext *p, const char *name, const char *type, const char *help);

/* Names and values of labels in turn, then NULL. Values may hold anything; what is not UTF-8 becomes "?". */
void promtext_value(struct promtext *p, const char *name, double v, ...) __attribute__((sentinel));

/* How long something took, from 1 ms to 10 s and beyond. Zero it to begin. */
#define PROMTEXT_BUCKETS 13

struct promtext_durations {
	uint64_t counts[PROMTEXT_BUCKETS + 1]; /* of each bucket alone; the last: longer than all */
	double sum_s;
};

void promtext_observe(struct promtext_durations *d, double seconds);
void promtext_histogram(struct promtext *p, const char *name, const char *help,
	const struct promtext_durations *d);

/* The names that every program has: process_resident_memory_bytes and the like. Reads /proc/self. */
void promtext_process(struct promtext *p);
