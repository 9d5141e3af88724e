/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rest_view.h - a dataset, a node and a lease as REST v2 shows them: one function each, for lists, single
 * answers and events alike. They look and change nothing.
 */
#pragma once

#include "assign.h"
#include "history.h"
#include "jsonout.h"

struct publish;

/* What they look at. */
struct view_source {
	const struct assign *assign;
	const struct history *history;
	uint64_t now_ms; /* of assign's clock */
	const struct publish *publish; /* knows the revisions; NULL: there are none */
	bool steady; /* without what changes all the time: times that pass, small changes of free space, revisions */
	bool foretold, foretold_id; /* of a plan: ids that are chosen with the write are not known */
};

/*
 * Each writes one object to @o: as the member @key, or with NULL as the whole, or into a list. Of what is not
 * there they write nothing and return -ENOENT.
 */
int view_dataset(struct jsonout *o, const char *key, const struct view_source *s, struct id128 id,
	bool with_history);
int view_node(struct jsonout *o, const char *key, const struct view_source *s, struct id128 uuid);
int view_lease(struct jsonout *o, const char *key, const struct view_source *s, struct id128 dataset_id);

/* Members of an open object: what a backend's room is, and what it can. @steady: as in struct view_source. */
void view_room(struct jsonout *o, const struct wire_backend *b, bool steady);
void view_capabilities(struct jsonout *o, const char *words);

/* What a node is to control; the words are in view_node_states. */
enum view_node_state {
	VIEW_NODE_LIVE,
	VIEW_NODE_AWAY,
	VIEW_NODE_LOST,
	VIEW_NODE_GIVEN_UP,
	VIEW_NODE_FORGOTTEN,
	VIEW_NODE_REFUSED,
	VIEW_NODE_STATES,
};

extern const char *const view_node_states[VIEW_NODE_STATES];
enum view_node_state view_node_state(const struct assign_node_view *n);

/* The word for the state of a dataset: what its owner said, or what control knows better. */
const char *view_state(const struct assign_view *v);
