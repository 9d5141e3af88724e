/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trims.h - which dataset is to be trimmed next, and what is remembered of it across restarts.
 *
 * Each once a week, spread over the week by the dataset's id: the first time within a week of when it was
 * first seen here. Pure: times are handed in, seconds of the wall clock since 1970.
 */
#pragma once

#include "types.h"

#define TRIMS_PERIOD_S (INT64_C(7) * 86400)
#define TRIMS_FILE "trims" /* in the state directory: a line a dataset */

struct trim {
	struct id128 dataset_id;
	int64_t base_s;	 /* it is due TRIMS_PERIOD_S after that */
	int64_t at_s;	 /* when it was trimmed last, to its end; 0: never here */
	uint64_t bytes;	 /* that were given back then */
};

struct trims {
	struct trim *list;
	size_t n;
	bool dirty; /* other than what trims_text() gave last */
};

/* What is no such line is left out: then it is as if that dataset had just been seen first. 0 or -ENOMEM. */
int trims_parse(struct trims *t, const char *text);
void trims_done(struct trims *t);

/* NULL: out of memory; the caller frees it. */
char *trims_text(struct trims *t);

/* NULL: not seen yet. Good until the next call that adds or drops. */
const struct trim *trims_find(const struct trims *t, struct id128 dataset_id);

/* It is mounted here: from now on it becomes due. When; INT64_MAX: there is no memory for it now. */
int64_t trims_due(struct trims *t, struct id128 dataset_id, int64_t now_s);

/* It was trimmed to its end. */
void trims_trimmed(struct trims *t, struct id128 dataset_id, int64_t now_s, uint64_t bytes);

/* It failed: again after @seconds. */
void trims_put_off(struct trims *t, struct id128 dataset_id, int64_t now_s, int64_t seconds);

/* Forgets those that nobody knows and that are long overdue, since they went to other nodes, or for good. */
void trims_drop_strangers(struct trims *t, int64_t now_s,
	bool (*is_known)(struct id128 dataset_id, void *userdata), void *userdata);
