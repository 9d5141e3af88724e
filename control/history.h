/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history.h - the last steps of each dataset, for people. In memory only: lost at a restart.
 * Running out of memory drops a step, never more.
 */
#pragma once

#include "id128.h"

#define HISTORY_STEPS_MAX 32

struct history;

struct history_step {
	int64_t time_ms;    /* of the wall clock */
	struct id128 node;  /* nil: control itself */
	const char *state;  /* static: a state's word, or "control" */
	const char *what;   /* one line */
};

struct history *history_new(void); /* NULL when out of memory */
struct history *history_free(struct history *h);

/**
 * history_add() - one more step of @dataset; the oldest is forgotten when there are too many
 * @s: copied, but for the static @state
 *
 * Returns: false when it says the same as the step before, which then stands alone.
 */
bool history_add(struct history *h, struct id128 dataset, const struct history_step *s);

/* Nothing is kept of it any more. */
void history_drop(struct history *h, struct id128 dataset);

/* Steps kept of @dataset, 0 when unknown. */
size_t history_count(const struct history *h, struct id128 dataset);

/* Step @i, 0 is the oldest; borrowed until the next history_add(). NULL when there is none. */
const struct history_step *history_get(const struct history *h, struct id128 dataset, size_t i);

/* When @dataset came into the state it has now: wall clock in ms, 0 when not known. */
int64_t history_since(const struct history *h, struct id128 dataset);
