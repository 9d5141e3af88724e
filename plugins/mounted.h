/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mounted.h - which datasets are mounted on this machine, by the mount table and nothing else: read at the
 * beginning and after each of its changes. Touches no filesystem of a dataset, which may hang.
 */
#pragma once

#include <event2/event.h>

#include "catalog.h"

struct mounted;

/**
 * mounted_new() - read the mount table and begin to watch it
 * @root: the node's mount root; borrowed
 * @fn: it has changed; maybe in nothing that matters
 *
 * Returns: 0 or negative errno.
 */
int mounted_new(struct event_base *base, const char *root, void (*fn)(void *userdata), void *userdata,
	struct mounted **ret);
struct mounted *mounted_free(struct mounted *m);

/* The device that is mounted at the dataset's place; false: nothing is. */
bool mounted_find(const struct mounted *m, struct id128 dataset, dev_t *ret_devno);

/* It is mounted on @node, which is this one: both that node and the mount table say so, and of the
 * same device. */
bool mounted_is_here(const struct mounted *m, const struct volume *v, struct id128 node);

/* Reads the mount table again, now: a change may not have been told of yet. */
void mounted_look(struct mounted *m);

/*
 * Reads the mount tables of all other mount namespaces, as containers have them: for doubts, not
 * for each request.
 */
void mounted_scan(struct mounted *m);

/* Was the dataset's filesystem mounted in one of them, by the last scan? When that could not be
 * found out: true. */
bool mounted_is_used(const struct mounted *m, struct id128 dataset);
