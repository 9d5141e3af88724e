/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nodeview.h - from the roster's view to the status tree and the log. On the loop; never blocks.
 */
#pragma once

#include <time.h>

#include "fstree.h"
#include "proto.h"
#include "roster.h"
#include "trims.h"

/* A moment of CLOCK_MONOTONIC as milliseconds since 1970. */
int64_t nodeview_realtime_ms(const struct timespec *monotonic);

/* Fills datasets, mounted and troubled. @states: how many are in each, or NULL. */
void nodeview_count(const struct roster *r, struct node_view *v, unsigned int states[DS_STATE_MAX]);

/* As fstree_set(). @trim: or NULL. */
int nodeview_show(struct fstree *tree, const struct roster_view *v, const struct trim *trim, uint64_t now_ms);

/* One line a state change, or a failure that goes on, to the log and to the dataset's events. */
void nodeview_tell(struct fstree *tree, const struct roster_change *c, const struct roster_view *v);

/* What the tree shows of the machine's watchdog. */
void nodeview_watchdog(enum fence_watchdog state, uint64_t late_ms, int error, char *ret, size_t size);
