/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.h - what a write would lead to, step by step, without doing it.
 *
 * The decisions are made on a copy of the cluster, by the code that makes them (assign.h); the nodes are
 * played here, as nodes that do what they are ordered and fail at nothing. So a plan ends where somebody is
 * waited for: a node that is away, a lease, an operator. Pure: no I/O, no clock.
 */
#pragma once

#include "assign.h"

#define PLAN_WHAT_MAX 512

enum plan_word {
	PLAN_RECORD, /* control's own: the wish is durable */
	PLAN_WAIT,
	PLAN_UNMOUNT,
	PLAN_DETACH,
	PLAN_CREATE,
	PLAN_ATTACH,
	PLAN_PROBE,
	PLAN_FORMAT,
	PLAN_MOUNT,
	PLAN_EXPAND,
	PLAN_GROW,
	PLAN_DESTROY,
	PLAN_FENCE,
	PLAN_FORGET,
	PLAN_WORD_MAX,
};

const char *plan_word_name(enum plan_word v);

struct plan_step {
	enum plan_word word;
	struct id128 dataset, node; /* nil: of several, or of a node; of control */
	char what[PLAN_WHAT_MAX];   /* a line for people */
};

struct plan;

/**
 * plan_new() - the cluster as it is right after a write
 * @ev: which assign_check() would take
 *
 * An allocation failure ends the process, as in assign.h.
 */
struct plan *plan_new(const struct assign *a, uint64_t now_ms, const struct assign_event *ev);
struct plan *plan_free(struct plan *p);

const struct assign *plan_assign(const struct plan *p);

/* What the nodes then do. @ret: borrowed. Returns: how many steps. */
size_t plan_run(struct plan *p, const struct plan_step **ret);

/* All is as wished, and nothing of it is under way: mounted where it is wanted, and grown; or destroyed; or
 * detached, when it is wanted nowhere. */
bool plan_is_settled(const struct assign_view *v);
