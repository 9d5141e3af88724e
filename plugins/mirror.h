/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirror.h - keeps a catalog as control's datasets and nodes are: a list first, then the events that follow
 * it, and the list again when the events cannot be had without a gap. While control is away the catalog stays
 * as it was.
 *
 *   listing nodes -> listing datasets, page by page -> following -> waiting -> following, or listing
 */
#pragma once

#include "catalog.h"
#include "link.h"

struct mirror;

struct mirror_callbacks {
	void (*on_volume)(struct id128 id, void *userdata); /* it was told of, or dropped */
	void (*on_listed)(void *userdata);		    /* all of it is as control has it */
};

/**
 * mirror_new() - begin
 * @l: its own connection, on which nobody else asks
 * @only: the name or id of the one dataset that matters, borrowed; NULL: all of them
 *
 * Returns: 0 or -ENOMEM.
 */
int mirror_new(struct event_base *base, struct link *l, struct catalog *c, const char *only,
	const struct mirror_callbacks *cbs, void *userdata, struct mirror **ret);
struct mirror *mirror_free(struct mirror *m); /* before its link */

bool mirror_listed(const struct mirror *m); /* once, since the start */
bool mirror_live(const struct mirror *m);   /* and now it follows what changes */
const char *mirror_why(const struct mirror *m); /* what went wrong last; "" */
