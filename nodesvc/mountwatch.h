/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mountwatch.h - tell when the mounts below a root changed, with what is mounted there now.
 * The kernel's word comes as an event; the table is read on a worker, once for a burst of changes.
 */
#pragma once

#include "vmount.h"
#include "worker.h"

struct mountwatch;

/*
 * @error: 0, or negative errno of reading the table; then @list is NULL
 * @list: borrowed; the mounts directly below the root
 */
typedef void (*mountwatch_fn)(int error, const struct vmount_entry *list, size_t n, void *userdata);

/**
 * mountwatch_new() - listen from now on; what is mounted already is not told
 * @mount_root: borrowed until the pool is freed as well
 * @priority: of the kernel's event in the loop
 * Returns: 0 or negative errno.
 */
int mountwatch_new(struct event_base *base, int priority, struct worker_pool *pool,
	const char *mount_root, mountwatch_fn fn, void *userdata, struct mountwatch **ret);

/* A table being read meanwhile is told to nobody. NULL in, NULL out. */
struct mountwatch *mountwatch_free(struct mountwatch *w);
