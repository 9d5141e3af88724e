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
#define RECONNECT_MS 10000 /* control has started: all nodes that live are back within this */

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
	FACT_EXPANDED,
	FACT_GROWN,
	FACT_FENCED, /* decided here; only a word that frees as well comes after it */
};

struct fact {
	enum fact_kind kind;
	uint64_t epoch;
	struct id128 volume_id, fs_uuid;
	enum proof_kind proof; /* of FACT_FENCED */
	uint64_t grown_bytes;  /* of FACT_EXPANDED and FACT_GROWN */
};

struct link {
	struct link *prev, *next;
};

struct node;

/* A dataset in a table of texts. */
struct named {
	struct named *next;
	uint64_t hash;
	struct ads *ds; /* NULL: it is not in the table */
};

/* One dataset. */
struct ads {
	struct ads *hash_next;
	struct named by_name, by_key; /* of its name while it lives, and of its key of idempotency */
	struct link all, owned, wished, retry, anywhere, window;
	struct node *owned_by, *wished_by; /* in whose lists it is */
	uint64_t keep_until_ms; /* of an undelete window */
	struct ds_record now, kept;
	bool durable; /* kept is valid */
	uint64_t txn; /* the last that changes it */
	struct fact fact;
	bool dropping;	/* its record is being deleted */
	bool releasing; /* release of now.epoch was ordered or is under way: it is not recalled */
	bool has_status;
	struct wire_status status;
	struct id128 status_node, status_boot;
	uint64_t status_at_ms;
	int64_t retry_at_ms; /* of the wall clock; 0: not known */
	uint64_t named_in; /* the last session whose hello named now.epoch */
	uint64_t granted_ms;
	struct { /* the last that was told to let an old grant go, and has not said that it did */
		struct id128 node, volume_id;
		uint64_t session, epoch;
		bool fenced; /* what it has is cut, and has to go before it can be granted anew */
	} lingerer;
	struct {
		uint64_t session, epoch, failover_rev;
		enum wish_kind wish;
		struct id128 volume_id, primary;
		enum format_state format_state;
		struct fenced fenced;
		uint64_t lease_hash, size_bytes, growing_bytes, fs_bytes, want_bytes;
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
	size_t n_owned, n_wished;
	uint64_t session;	   /* 0: none */
	uint64_t welcome_txn;	   /* which its welcome waits for: that of its own record */
	bool heard;		   /* said hello since assign_new() */
	bool awaited;		   /* counted in n_unheard */
	bool lost;		   /* its terms ended, and it was not heard since */
	uint64_t heard_ms, challenged_ms;
	uint64_t answered_ms; /* when a renewal or a hello was last answered */
	uint64_t gone_ms;     /* when its last session ended */
	struct id128 boot;
	char *address, *backend, *version;
	enum fs_kind filesystem;
	bool shared;
	struct wire_backend *backends;
	size_t n_backends;
	uint64_t free_bytes, promised_bytes; /* what was placed there since it told what is free */
	struct id128 *unknown; /* what its hello named and control has no record of */
	size_t n_unknown;
	const char *refused; /* why its last hello was; NULL */
};

/* The API's lease of a dataset. */
struct pin {
	struct pin *hash_next;
	struct link all;
	struct pin_form {
		struct pin_record record;
		int64_t ends_ms;   /* meaningless of an endless one */
		uint64_t sweep_ms; /* when it is taken away; UINT64_MAX */
		bool held;
	} now, kept;
	uint64_t txn;
	size_t n_pending;
};

/* A change on its way to the disk. */
struct pending {
	struct pending *next;
	uint64_t txn;
	struct ads *ds; /* or */
	struct node *node; /* or */
	struct pin *pin; /* or the floor */
	bool drop;
	struct ds_record ds_record;
	struct node_record node_record;
	struct pin_form pin_form;
	uint64_t floor;
};

struct table {
	void **slots;
	size_t n_slots, n;
};

struct assign {
	uint64_t incarnation, last_txn, n_changes;
	bool outdated; /* a node has seen more: nothing is decided on this state */
	struct table datasets, nodes, pins, names, keys;
	struct link all, retry, all_pins;
	uint64_t pins_at_ms;		   /* the next of them ends */
	uint64_t floor, kept_floor;
	struct link windows;		   /* deleted, and kept for a while */
	uint64_t windows_at_ms;		   /* the next of them ends */
	struct link anywhere; /* that whichever node comes may be granted: to destroy, or to fail over */
	struct node *first_node;
	size_t n_unheard; /* nodes of the store that have not said hello since assign_new() */
	struct pending *first_pending, **last_pending;
	uint64_t retry_at_ms;
	uint64_t started_ms;
	bool loading;  /* the list of all is in no order yet */
	bool stopping; /* terms were extended over a planned stop */
	uint64_t reconnect_ms; /* until then a node that did not come back is not lost */
	uint64_t terms_at_ms;  /* no term ends before, and reconnect_ms has not passed */
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

struct pin *assign_find_pin(const struct assign *a, struct id128 dataset_id);
struct pin *assign_get_pin(struct assign *a, struct id128 dataset_id); /* made when missing, not held */
void assign_drop_pin(struct assign *a, struct pin *p);

/* Nothing when it is being dropped. */
void decision_change_ds(struct decision *d, struct ads *ds, const struct ds_record *next);
void decision_drop_ds(struct decision *d, struct ads *ds);
void decision_raise_floor(struct decision *d, uint64_t floor);
void decision_change_node(struct decision *d, struct node *n, const struct node_record *next);

/* @why: when it ends. */
void decision_change_pin(struct decision *d, struct pin *p, const struct pin_form *next, const char *why);

/* Takes over what @msg points to. Nothing when the node has no session. */
void decision_send(struct decision *d, const struct node *n, uint64_t after_txn, bool close,
	struct wire_msg *msg);
struct id128 decision_new_id(struct decision *d);

/* An order about @ds, once what is known of it is durable. */
void decision_order(struct decision *d, const struct node *n, const struct ads *ds, enum wish_kind wish,
	uint64_t epoch, struct id128 volume_id, const char *why);

/* The session is over for us, whatever the connection does; those that wait for the node hear it. */
void decision_end_session(struct decision *d, struct node *n, const char *reason);

/* ---- assign_words.c ---- */

void assign_on_report(struct decision *d, const struct assign_event *ev);
void assign_on_hello(struct decision *d, const struct assign_event *ev);
void assign_on_gone(struct decision *d, const struct assign_event *ev);

/* What the owner said last and will not repeat, after the commit of it failed. */
void assign_hear_again(struct decision *d, struct ads *ds);

/* Told again after a failed commit, with which the order went. */
void assign_tell_lingerer(struct decision *d, struct ads *ds);

/* The record is older than this claim: it is of a restored store. */
bool assign_is_older(const struct assign *a, const struct ds_record *r, const struct wire_status *s);

/* The node where it should be shows why it is not there yet; when that changes, it hears no more. */
void assign_tell_waiter(struct decision *d, struct ads *ds);

/* ---- assign_pin.c ---- */

/* A pin that holds it where it is, against a move or delete; or NULL. */
const struct pin *assign_pinned(const struct assign *a, const struct ads *ds);

/* For people: for whom and until when. "" when there is none. Returns @buf. */
char *assign_pin_text(const struct assign *a, struct id128 dataset_id, char *buf, size_t size);

/* What is said of the dataset waits for it. 0: nothing. */
uint64_t assign_pin_txn(const struct assign *a, struct id128 dataset_id);

int assign_check_pin(const struct assign *a, const struct assign_event *ev); /* PIN and UNPIN */
void assign_on_pin(struct decision *d, const struct assign_event *ev);
void assign_on_unpin(struct decision *d, const struct assign_event *ev);

/* Those whose time is over. */
void assign_end_pins(struct decision *d);

/* Its node was fenced: of one dataset, or of all. */
void assign_end_pin_of(struct decision *d, struct id128 dataset_id, struct id128 node);
void assign_end_pins_of(struct decision *d, struct id128 node);

void assign_on_expire(struct decision *d, const struct assign_event *ev);

/* ---- assign_grow.c ---- */

/* False where the kernel would not grow the filesystem to so little. */
bool assign_can_grow_to(const struct assign *a, const struct ds_record *r, uint64_t bytes);

/* The wished size is ordered, once the owner can bring the volume to it. */
void assign_start_growth(const struct assign *a, const struct ads *ds, struct ds_record *next);

/* The owner did what was ordered. */
void assign_apply_growth(const struct fact *f, struct ds_record *next);

/* The owner's device is larger than the record knows. */
void assign_learn_size(struct decision *d, struct ads *ds, const struct wire_status *s);

/* For people, behind why it is where it is: what keeps it from growing. "" when nothing does. Returns @buf. */
char *assign_growth_text(const struct assign *a, const struct ads *ds, char *buf, size_t size);

/* ---- assign_fence.c ---- */

/* Which claims are void, also when the commit that says so has to be tried again. */
struct fenced assign_fenced(const struct assign *a, const struct ads *ds);

/* What the owner is told to act by. */
struct failover assign_ordered_failover(const struct ds_record *r);

/* Control is back and its owner as well: a longer term than what is wished ends. */
void assign_end_extension(const struct decision *d, const struct ads *ds, struct ds_record *next);

void assign_on_extend(struct decision *d, const struct assign_event *ev);

/* A new grant is governed by what is wished. */
void assign_govern(const struct assign *a, struct ds_record *next);

/* A wish for another failover. */
void assign_wish_failover(const struct assign *a, struct ds_record *next, struct failover wish);

/* The owner, or its claim, said which failover it acts by. */
void assign_acknowledge(struct decision *d, struct ads *ds, const struct wire_status *s);

/* The owner of a restored record may act by something that the record does not know. */
void assign_doubt_failover(const struct assign *a, struct ds_record *next);

/* It may go to another node than the one that was wished for: nobody has it, and its metadata say where to. */
bool assign_may_fail_over(const struct ds_record *r);

/* A record from before the present incarnation, whose owner did not confirm it, may be wrong about
 * who holds the volume: it changes hands only when every known node has said what it holds. */
bool assign_may_change_hands(const struct assign *a, const struct ds_record *r);

/* If so, and the node that was wished for is lost: to that with the most room. Else looks again in time. */
void assign_fail_over(const struct decision *d, const struct ads *ds, struct ds_record *next);

/* What was fenced has to be cleaned up there before it can be had anew. */
bool assign_has_to_clean_up(const struct ads *ds, const struct node *n);

/* An operator said that nothing there writes any more, and it was not heard since. What a restored
 * record says of that may be long over. */
bool assign_is_given_up(const struct assign *a, const struct node *n);

/* What the node says of its backends. No list: as before, but for @free_bytes of the first; 0: not even that. */
void assign_hear_room(struct node *n, uint64_t free_bytes, const struct wire_backend *list, size_t n_list);

/* The owner, or who lets an old grant go, says that a node still claims the volume. If that node was given up, its
 * claim is void. */
void assign_void_claim(struct decision *d, struct ads *ds, const struct wire_status *s);

void assign_apply_fence(const struct assign *a, const struct fact *f, struct ds_record *next);
void assign_on_give_up(struct decision *d, const struct assign_event *ev); /* FENCE and FORGET */
void assign_on_renew(struct decision *d, const struct assign_event *ev);

/* Fences what belongs to owners whose terms have ended. */
void assign_end_terms(struct decision *d);

/* A record has become what it is: its term is looked at when it can have ended at the earliest. */
void assign_watch_term(struct assign *a, uint64_t now_ms, const struct ds_record *r);

/* When the owner's term ends at the latest, as seen from here; UINT64_MAX: never. */
uint64_t assign_term_end(const struct assign *a, const struct ads *ds);

/* ---- assign_wish.c: what assign_check() has let through ---- */

void assign_on_wish(struct decision *d, const struct assign_event *ev);

/* What was deleted and is not kept any longer. */
void assign_end_windows(struct decision *d);

/* ---- assign_place.c ---- */

/* The connected node with the most room that may take @ds (NULL: a new one), of those that @names (as metadata
 * say it; NULL: all). NULL when there is none. */
struct node *assign_roomiest(const struct assign *a, const struct ads *ds, const char *names);

/* It is wanted on @n from now on; @why control chose. */
void assign_place(const struct assign *a, struct node *n, struct ds_record *next, const char *why);

/* The node that it is wanted on drains: to another one, unless a lease keeps it. */
void assign_drain(const struct decision *d, const struct ads *ds, struct ds_record *next);

/* A node has come that may take what drains elsewhere. */
void assign_drain_all(struct decision *d);

/* ---- assign.c ---- */

/* To whom it is wanted on, when nobody has it and that node is there. */
void assign_grant(const struct decision *d, const struct ads *ds, struct ds_record *next);

/* Compare record and facts, take the next step, tell those concerned. */
void assign_settle(struct decision *d, struct ads *ds);

/* What keeps @ds from being at its primary, from the owner's side. */
char *assign_explain(const struct assign *a, uint64_t now_ms, const struct ads *ds, char *buf,
	size_t size);
