/* SPDX-License-Identifier: Apache-2.0 */
/*
 * assign_private.h - what the files of assign share: the cluster in memory.
 *
 * Tables are keyed by id. A dataset stands in up to three lists besides: of all (oldest first), of
 * its owner and of its primary, so that an event costs what it changes and not what there is.
 */
#pragma once

#include "assign.h"

#define CHALLENGE_MS 1000 /* a session that is asked must answer within this */
#define RETRY_MS 1000	  /* after a failed commit */

/* What the owner said last, as far as it asks for a change of the record. True for its epoch and
 * volume for ever, so a failed commit loses nothing: the fact is still there to be found. */
enum fact_kind {
	FACT_NONE,
	FACT_HELD,
	FACT_READY,
	FACT_FORMATTED,
	FACT_DISCARDED,
	FACT_RELEASED, /* also: a hello that does not name the epoch */
	FACT_DESTROYED,
};

struct fact {
	enum fact_kind kind;
	uint64_t epoch;
	struct id128 volume_id, fs_uuid;
};

struct link {
	struct link *prev, *next;
};

struct node;

/* One dataset. */
struct ads {
	struct ads *hash_next;
	struct link all, owned, wished, retry, undestroyed;
	struct ds_record now, kept;
	bool durable; /* kept is valid */
	uint64_t txn; /* the last that changes it */
	struct fact fact;
	bool releasing; /* release of now.epoch was ordered or is under way: it is not recalled */
	bool has_status;
	struct wire_status status;
	struct id128 status_node;
	uint64_t status_at_ms;
	uint64_t named_in; /* the last session whose hello named now.epoch */
	struct {
		uint64_t session, epoch;
		enum wish_kind wish;
		struct id128 volume_id, primary;
		enum format_state format_state;
	} told; /* the owner, in its present session */
	struct {
		struct id128 node;
		uint64_t session;
		uint64_t why_hash;
	} waiter; /* the primary that waits */
};

struct node {
	struct node *hash_next, *list_next;
	struct node_record now, kept;
	bool durable;
	uint64_t txn;
	struct link owned, wished; /* heads */
	uint64_t session;	   /* 0: none */
	bool heard;		   /* said hello since assign_new() */
	bool awaited;		   /* counted in n_unheard */
	uint64_t heard_ms, challenged_ms;
	struct id128 boot;
	char *address, *backend, *version;
	enum fs_kind filesystem;
	bool shared;
	size_t n_unknown;
};

/* A change on its way to the disk. */
struct pending {
	struct pending *next;
	uint64_t txn;
	struct ads *ds; /* or */
	struct node *node;
	struct ds_record ds_record;
	struct node_record node_record;
};

struct table {
	void **slots;
	size_t n_slots, n;
};

struct assign {
	uint64_t incarnation, last_txn, n_changes;
	struct table datasets, nodes;
	struct link all, retry, undestroyed;
	struct node *first_node;
	size_t n_unheard; /* nodes of the store that have not said hello since assign_new() */
	struct pending *first_pending, **last_pending;
	uint64_t retry_at_ms;
};

/* One call of assign_decide(). */
struct decision {
	struct assign *a;
	uint64_t now_ms;
	uint64_t random[2];
	struct assign_result *result;
};

void *assign_alloc(size_t size); /* zeroed; ends the process when there is no memory */
char *assign_strdup(const char *text);

void link_init(struct link *l);
bool link_empty(const struct link *l);
void link_append(struct link *head, struct link *l);
void link_remove(struct link *l);

#define LINK_ITEM(l, type, member) ((type *)(void *)((char *)(l) - offsetof(type, member)))
#define list_for_each(pos, head)                                                                   \
	for (struct link *pos = (head)->next, *pos##_next = pos->next; pos != (head);              \
		pos = pos##_next, pos##_next = pos->next)

struct ads *assign_find(const struct assign *a, struct id128 id);
struct ads *assign_add(struct assign *a, const struct ds_record *r); /* not yet durable */
void assign_drop(struct assign *a, struct ads *ds);
void assign_set_now(struct assign *a, struct ads *ds, const struct ds_record *r); /* keeps lists */
struct node *assign_find_node(const struct assign *a, struct id128 uuid);
struct node *assign_get_node(struct assign *a, struct id128 uuid); /* made when missing */

void decision_change_ds(struct decision *d, struct ads *ds, const struct ds_record *next);
void decision_change_node(struct decision *d, struct node *n, const struct node_record *next);

/* Takes over what @msg points to. Nothing when the node has no session. */
void decision_send(struct decision *d, const struct node *n, uint64_t after_txn, bool close,
	struct wire_msg *msg);
struct id128 decision_new_id(struct decision *d);

/* Compare record and facts, take the next step, tell those concerned. */
void assign_settle(struct decision *d, struct ads *ds);

/* What keeps @ds from being at its primary, from the owner's side. */
char *assign_explain(const struct assign *a, uint64_t now_ms, const struct ads *ds, char *buf,
	size_t size);
