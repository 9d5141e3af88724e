/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish.h - makes events of what changes in the cluster.
 *
 * The cluster says what may look different (struct cluster_watcher). At the end of the loop's turn each such
 * object is looked at once, and when it looks different from what was told last, that is an event. So the work
 * depends on what changed and not on what there is, and a burst is one event. What takes long to be
 * looked at is not looked at again at once, so that the next burst is longer. On the loop's thread
 * only.
 */
#pragma once

#include "cluster.h"
#include "eventlog.h"

struct publish;

/**
 * publish_new() - becomes the watcher of @cluster
 * @bytes: of events that are kept
 * Returns: 0, -ENOMEM, or what the kernel's generator says.
 */
int publish_new(struct event_base *base, struct cluster *cluster, size_t bytes, struct publish **ret);
struct publish *publish_free(struct publish *p);

/* @fn is called when there are new events; it must change nothing in the cluster. */
void publish_listen(struct publish *p, void (*fn)(void *userdata), void *userdata);

/* What has changed so far is told now. */
void publish_flush(struct publish *p);

const struct eventlog *publish_log(const struct publish *p);

/* The number of the last event about it; 0: none since the start. */
uint64_t publish_last_of(const struct publish *p, enum event_kind kind, struct id128 id);
