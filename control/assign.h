/* SPDX-License-Identifier: Apache-2.0 */
/*
 * assign.h - who may touch which volume: control's decisions, and nothing else.
 *
 * Pure: no I/O, no clock, no thread. The daemon and the simulator feed it one event at a time with
 * the time and 128 random bits, commit the record changes that come out, and send the messages
 * when the transaction that they depend on is durable.
 *
 * Inside, a dataset is its record plus facts: what its owner said in the present session. Every
 * event updates facts, then one function compares record and facts and takes the next step, so a
 * step whose commit failed is simply found again. A record has two forms: `now`, which decisions
 * are made on, and `kept`, which is durable and which others are shown.
 *
 * Ownership in short: FREE --grant(e+1)--> OWNED(e) --released(e) or hello without it--> FREE, where
 * the way back and the next grant are one commit. A grant is never used twice. An owner that is lost
 * loses its grant by a fence (assign_fence.c): at the end of its term, or by an operator's word.
 */
#pragma once

#include "record.h"
#include "wire.h"

struct assign;

enum assign_event_type {
	ASSIGN_CREATE,	/* .record: dataset_id, metadata, sizes, primary, filesystem, created_at; .place */
	ASSIGN_MOVE,	/* .dataset_id, .primary */
	ASSIGN_PATCH,	/* .dataset_id, .patch */
	ASSIGN_DELETE,	/* .dataset_id, .now_s, .keep_ms */
	ASSIGN_UNDELETE, /* .dataset_id: while its volume is kept */
	ASSIGN_PURGE,	/* .dataset_id: deleted, and its volume is not kept any longer */
	ASSIGN_PIN,	/* .pin, .pin_ms: takes a lease in the API's sense, or renews it */
	ASSIGN_UNPIN,	/* .dataset_id */
	ASSIGN_EXPIRE,	/* .now_s, .retention_s: what was deleted or not heard for longer is dropped */
	ASSIGN_HELLO,	/* .node, .session, .hello, .address, .revision */
	ASSIGN_REPORT,	/* .node, .session, .report */
	ASSIGN_HEARD,	/* .node, .session, .free_bytes, .backends: any other frame */
	ASSIGN_RENEW,	/* the same and .stamp_ms: a PING that asks for the terms to be renewed */
	ASSIGN_GONE,	/* .node, .session: the connection ended */
	ASSIGN_REPLACE, /* .node: an operator says that another machine may use this identity */
	ASSIGN_FENCE,	/* .node: an operator says that nothing there writes any more */
	ASSIGN_FORGET,	/* .node: the same, and that it never comes back */
	ASSIGN_DRAIN,	/* .node, .now_s: what is wanted there goes elsewhere, and nothing is placed there */
	ASSIGN_UNDRAIN, /* .node: what went stays where it is */
	ASSIGN_EXTEND,	/* .extension_ms: control is about to be stopped; nothing else is decided but reports */
	ASSIGN_TICK,	/* the time assign_next_wake() asked for has come */
	ASSIGN_EVENT_MAX,
};

/* What is to be changed of a dataset: all of it, or nothing. */
struct assign_patch {
	struct json_object *metadata; /* merged into what there is, where null takes a key away; NULL */
	bool move, has_failover;
	struct id128 primary;	      /* nil: nowhere */
	uint64_t want_bytes;	      /* 0: as it is */
	struct failover failover;
};

struct assign_event {
	enum assign_event_type type;
	bool strict;			   /* what v1 does not mind: names are unique among those that live, and a
					    * node that drains is not asked for */
	bool place;			   /* control chooses the node */
	uint64_t keep_ms;		   /* how long the volume of what is deleted is kept */
	const struct assign_patch *patch;
	uint64_t random[2];		   /* fresh for every event; ids are derived from them */
	struct id128 dataset_id, node, primary;
	uint64_t session;		   /* chosen by the caller, never used before; not 0 */
	const struct ds_record *record;
	const char *request;		   /* the id of the client's request; NULL: none */
	const struct pin_record *pin;
	int64_t pin_ms;			   /* until it ends, maybe before now; PIN_ENDLESS */
	int64_t now_s;			   /* of the wall clock, since 1970 */
	int64_t wall_ms;		   /* the same of REPORT, only to be shown; 0: not told */
	uint64_t retention_s;
	const struct wire_hello *hello;
	const struct wire_report *report;
	uint64_t stamp_ms, extension_ms;
	uint64_t free_bytes;		   /* 0: not told */
	const struct wire_backend *backends; /* all of the node's, or NULL: as before */
	size_t n_backends;
	const char *address;		   /* of the node as clients shall see it */
	uint64_t revision;		   /* the highest that the node can have seen of this store */
};

/* A change to be made durable. Several of one result are one transaction. */
enum change_kind {
	CHANGE_DATASET,
	CHANGE_NODE,
	CHANGE_PIN,
	CHANGE_FLOOR,
};

struct assign_change {
	enum change_kind kind;
	bool drop;		  /* the record is deleted; it is what it was last */
	struct ds_record ds;	  /* each of its kind only */
	struct node_record node;
	struct pin_record pin;
	uint64_t floor;		  /* epochs of new datasets begin above it */
	const char *why;	  /* a pin ended; static */
};

struct assign_send {
	struct id128 node;
	uint64_t session;
	uint64_t after_txn;   /* send when this transaction is durable; 0: at once */
	bool close;	      /* end the session after this message */
	struct wire_msg msg;  /* seq 0: numbered when sent */
};

struct assign_result {
	/*
	 * Of CREATE: 0, -EEXIST (id in use), -EADDRINUSE (the name), -EHOSTDOWN (the node drains),
	 * -EHOSTUNREACH (no node to place it). Of MOVE and PATCH: 0, -ENOENT, -EOWNERDEAD
	 * (deleted); of PATCH also -EADDRINUSE, -EHOSTDOWN, -EFBIG (smaller than it is or was wished),
	 * -EINVAL (its filesystem cannot be grown to so little),
	 * -E2BIG (too many metadata). Of DELETE and UNPIN: 0, -ENOENT. Of UNDELETE: 0, -ENOENT, -EALREADY (not
	 * deleted), -EOWNERDEAD (for good), -EADDRINUSE. Of PURGE: 0, -ENOENT, -EALREADY. Of PIN: 0, -EBUSY
	 * (held for another node). Of REPLACE, FENCE and FORGET: 0, -ENOENT (of REPLACE also when it
	 * is forgotten), -EBUSY (the machine that has it answers). Of DRAIN and UNDRAIN: 0, -ENOENT.
	 * Of all these -ESTALE when assign_outdated(). Else 0.
	 */
	int status;
	/* The answer waits until this transaction is durable; 0: it waits for nothing. With changes
	 * it is theirs, without any it is an earlier one that the answer depends on. */
	uint64_t txn;
	struct assign_change *changes;
	size_t n_changes;
	struct assign_send *sends;
	size_t n_sends;
};

/**
 * assign_new() - an empty cluster
 * @incarnation: of control's state; grows when a restored store is put to use
 * @now_ms: monotonic; nobody's term is believed to have ended before it has passed from here, since
 *	nobody knows when an earlier control answered last
 * Returns: 0 or -ENOMEM. Every later allocation failure ends the process: a half-made decision
 * is worse than a restart, which finds everything again.
 */
int assign_new(uint64_t incarnation, uint64_t now_ms, struct assign **ret);
struct assign *assign_free(struct assign *a);

/* Loads stored records before the first event. Copies. @left_ms: of an undelete window, maybe below 0. */
void assign_load_dataset(struct assign *a, const struct ds_record *r, int64_t left_ms);
void assign_load_node(struct assign *a, const struct node_record *r);
void assign_load_pin(struct assign *a, const struct pin_record *r, int64_t left_ms);
void assign_load_floor(struct assign *a, uint64_t floor);
void assign_loaded(struct assign *a); /* that was the last; before the first event */

/**
 * assign_decide() - one event in, changes and messages out
 * @now_ms: monotonic
 * @ret: overwritten; end it with assign_result_done()
 */
void assign_decide(struct assign *a, uint64_t now_ms, const struct assign_event *ev,
	struct assign_result *ret);
void assign_result_done(struct assign_result *r);

/* What a client or an operator asks for, and whether it would be taken: the status that assign_decide() would
 * give it now. Changes nothing. */
bool assign_is_wish(enum assign_event_type type);
int assign_check(const struct assign *a, const struct assign_event *ev);

/* Transaction @txn is durable. Transactions are reported in order. */
void assign_committed(struct assign *a, uint64_t txn);

/* Transaction @txn and all after it failed and are void; steps are tried again after a second. */
void assign_failed(struct assign *a, uint64_t now_ms, uint64_t txn);

/* When ASSIGN_TICK is wanted, in ms of @now_ms's clock; UINT64_MAX: not at all. */
uint64_t assign_next_wake(const struct assign *a);

/*
 * After ASSIGN_EXTEND: how many datasets there are whose connected owner has not yet said that it acts
 * by the longer term.
 */
size_t assign_n_extending(const struct assign *a);

/* ---- what others may know; pointers are borrowed until the next event ---- */

struct assign_view {
	const struct ds_record *record;	  /* durable form */
	const struct wire_status *status; /* last word of the owner, or of the last one; or NULL */
	struct id128 status_node;	  /* who said it */
	struct id128 status_boot;	  /* in which era of that node */
	uint64_t status_age_ms;		  /* since it was said */
	int64_t retry_at_ms;		  /* of the wall clock: when the owner tries again; 0: not known */
	const char *wanted;		  /* "mounted", "unplaced", "deleted" */
	bool release_is_ahead;		  /* of a mounted one: the owner was told to, which is not recalled */
};

/* -ENOENT when there is no durable dataset of this id. */
int assign_dataset(const struct assign *a, uint64_t now_ms, struct id128 id, struct assign_view *ret);

/* Calls @fn for each durable dataset, oldest first; stops when it returns non-zero, returns that. */
int assign_datasets(const struct assign *a, uint64_t now_ms,
	int (*fn)(const struct assign_view *v, void *userdata), void *userdata);

/* The same, of those that come behind this one in that order, whether it is there or not. */
int assign_datasets_after(const struct assign *a, uint64_t now_ms, int64_t created_at, struct id128 id,
	int (*fn)(const struct assign_view *v, void *userdata), void *userdata);

/* Of the newest decision: the dataset of this name that lives, the oldest when there are several; and the one
 * that was made with this key of idempotency, which is its record's text up to the first blank. -ENOENT. */
int assign_find_name(const struct assign *a, const char *name, struct id128 *ret);
int assign_find_idempotency(const struct assign *a, const char *key, struct id128 *ret);

/* Its record's text, of the newest decision; "" when it has none. */
const char *assign_idempotency(const struct assign *a, struct id128 id);

/* One line for people: why this dataset is where it is. Returns @buf. */
char *assign_why(const struct assign *a, uint64_t now_ms, struct id128 id, char *buf, size_t size);

struct assign_pin_view {
	struct id128 dataset_id, node;
	bool endless;
	int64_t left_ms;    /* below 0: over, and not yet swept */
	int64_t expires_ms; /* of the wall clock */
};

/* Of the newest decision, or of what is durable. -ENOENT when there is none. */
int assign_pin(const struct assign *a, uint64_t now_ms, struct id128 dataset_id, bool newest,
	struct assign_pin_view *ret);
int assign_pins(const struct assign *a, uint64_t now_ms,
	int (*fn)(const struct assign_pin_view *v, void *userdata), void *userdata);

struct assign_node_view {
	struct id128 uuid, host, boot;
	const char *address, *backend, *version;
	bool listed;	       /* assign_nodes() names it */
	bool live;	       /* its session is open */
	bool known;	       /* it said hello once; else it was only named */
	bool forgotten, given_up; /* by an operator */
	bool shared;	       /* other nodes can have its volumes */
	bool lost;	       /* its terms ended, and it was not heard since */
	int64_t draining_since; /* seconds since 1970; 0: it does not drain */
	size_t n_owned, n_wished; /* datasets that it has, and that are wanted there */
	bool awaited;	       /* after a restore or a start: it did not say yet what it holds */
	uint64_t session;      /* 0: none */
	uint64_t silent_ms;    /* since it was last heard; 0 when never */
	bool heard;	       /* ever, since control started */
	uint64_t free_bytes;   /* for volumes, as it said last; 0: not known */
	const struct wire_backend *backends; /* as it said last; the first is that of @backend and @free_bytes */
	size_t n_backends;     /* 0: it has not said hello since control started */
	const struct id128 *unknown; /* datasets it holds that control has no record of */
	size_t n_unknown;
	const char *refused;   /* why its last hello was refused; NULL when it was not */
};

int assign_node(const struct assign *a, uint64_t now_ms, struct id128 uuid,
	struct assign_node_view *ret);
int assign_nodes(const struct assign *a, uint64_t now_ms,
	int (*fn)(const struct assign_node_view *v, void *userdata), void *userdata);

/* Of each durable dataset that the node has, or that is wanted there. */
int assign_node_datasets(const struct assign *a, uint64_t now_ms, struct id128 uuid,
	int (*fn)(const struct assign_view *v, void *userdata), void *userdata);

/* One line for people: why it is still on the node that drains. Returns @buf. */
char *assign_drain_why(const struct assign *a, uint64_t now_ms, struct id128 id, char *buf, size_t size);

/* Nodes of the store that did not say yet what they hold. */
size_t assign_n_unheard(const struct assign *a);

/*
 * A node has seen a newer state than this: an old copy of the store was put back. From then on nothing is
 * decided, no order leaves and no hello is taken, until control starts on another state.
 */
bool assign_outdated(const struct assign *a);

/*
 * Grows with each change of what users configured since assign_new(), and with no other, so that a tag made
 * of it is not stale for what nodes do: equal numbers mean an unchanged configuration.
 */
uint64_t assign_changes(const struct assign *a);

/*
 * A copy, to try on it what would come of something: what is on its way to the disk counts as there, and what
 * is decided on it has no effect here. @only: NULL, or the one dataset that is copied, with its lease; nodes are
 * copied in any case, but for what they have that control does not know. End it with assign_free().
 */
struct assign *assign_fork(const struct assign *a, const struct id128 *only);
