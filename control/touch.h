/* SPDX-License-Identifier: Apache-2.0 */
/*
 * touch.h - what may look different after a decision, and after a commit: datasets, nodes and leases as others
 * are shown them. It errs to the safe side, and by no more than the nodes that took part have datasets.
 *
 * How a dataset looks depends on its record, on what its owner said, on its lease, and, for its `why`, on the
 * sessions of its owner and of the node that it is wished on. So what a session changes concerns all datasets
 * of that node; and only what every dataset waits for concerns them all.
 */
#pragma once

#include "cluster.h"

struct touch {
	const struct assign *assign;
	uint64_t incarnation;
	const struct cluster_watcher *watcher; /* or NULL */
	void *userdata;
};

/* How things were before a decision. */
struct touch_mark {
	size_t n_unheard;
	bool outdated;
	bool failing; /* the dataset of a report: its last attempt had failed */
};

struct touch_mark touch_begin(const struct touch *t, const struct assign_event *ev);
void touch_event(const struct touch *t, const struct touch_mark *before, const struct assign_event *ev,
	const struct assign_result *result);

/* These have become durable, or failed. */
void touch_changes(const struct touch *t, const struct assign_change *changes, size_t n);
