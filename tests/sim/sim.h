/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.h - a whole cluster in one process under a seed: control, nodes, network, disks, clocks.
 *
 * Everything is an event at a virtual millisecond; the same seed gives the same history. The real
 * decision modules (control/assign, nodesvc/roster, nodesvc/converge) are linked; what surrounds them
 * is played here. world.c holds the truth of the disks and checks the invariants at each effect.
 */
#pragma once

#include "assign.h"
#include "roster.h"

#define SIM_NODES 4
#define SIM_DATASETS 6
#define SIM_VOLUMES 64
#define SIM_OPS 768
#define SIM_OPS_OF_CLIENTS 512 /* the others are control's own */
#define SIM_EPOCHS 1024

struct sim;

enum event_type {
	EV_NODE_START,	 /* .node: its daemon starts */
	EV_NODE_KILL,	 /* .node: its daemon is killed */
	EV_NODE_REBOOT,	 /* .node: the machine reboots */
	EV_NODE_DIAL,	 /* .node, .generation */
	EV_NODE_WAKE,	 /* .node, .generation: roster's timer */
	EV_NODE_LISTED,	 /* .node, .generation: the backend's list came at last */
	EV_JOB,		 /* .job: its next phase */
	EV_MKFS_ORPHAN,	 /* .volume: an mkfs whose daemon was killed ends */
	EV_TO_CONTROL,	 /* .node, .session, .msg */
	EV_TO_NODE,	 /* .node, .session, .msg */
	EV_CLOSED_AT_CONTROL, /* .node, .session: control's side learns that the connection ended */
	EV_CLOSED_AT_NODE,
	EV_HEARTBEAT,	 /* .node, .session: both sides */
	EV_CONTROL_START,
	EV_CONTROL_KILL,
	EV_CONTROL_WAKE, /* .generation */
	EV_COMMIT,	 /* .generation, .txn: the store is done */
	EV_CLIENT,	 /* somebody asks for something */
	EV_PARTITION,	 /* .node */
	EV_HEAL_LINK,	 /* .node */
	EV_RESUME,	 /* .node: a stopped daemon, or a suspended machine, goes on */
	EV_OPERATOR,	 /* .node: is given up for good: fenced, and its datasets wanted elsewhere */
	EV_FENCE,	 /* .node, .dataset: the fence helper's timer */
	EV_HELPER_START, /* .node, .generation: another helper, for one that was killed */
};

struct event {
	uint64_t at, order;
	enum event_type type;
	int node, job, volume, dataset;
	uint64_t session, generation, txn;
	bool failed;
	struct wire_msg msg;
};

/* A volume of the one shared backend. */
struct volume {
	bool exists, ever_whole, ever_mounted, mkfs_runs_now;
	bool vanished; /* the backend has mislaid it */
	unsigned int mkfs_runs;
	struct id128 id, dataset_id, fs_uuid;
	bool claimed; /* by claim_node; else free, and claim_epoch is the last */
	int claim_node;
	uint64_t claim_epoch;
	uint64_t created_at;
	enum { BLANK, HALF, WHOLE } content;
	unsigned int attached, mounted, cut; /* a bit for each node */
	uint64_t attached_epoch[SIM_NODES];  /* as the device itself says */
	uint64_t size_bytes, fs_bytes;	     /* of the storage, and of the filesystem on it */
	uint64_t device_bytes[SIM_NODES];
	uint64_t half_bytes;		     /* that its image has already; 0: none */
};

enum op_kind { OP_CREATE, OP_MOVE, OP_DELETE, OP_FAILOVER, OP_GROW, OP_UNDELETE, OP_PURGE };

/* What was asked of one dataset, in the order in which control decided. */
struct op {
	int dataset;
	enum op_kind kind;
	int primary; /* -1: nowhere */
	uint64_t want_bytes; /* of OP_GROW */
	bool acked;
	uint64_t txn, generation;
};

struct rng {
	uint64_t s[2];
};

/* How wild it is; all are chances in 1000 unless told. */
struct faults {
	unsigned int lose, repeat, reorder, slow, step_fails, step_acts_then_fails, list_lags, busy,
		commit_fails, commit_slow;
};

struct job {
	bool used;
	int node, phase;
	uint64_t generation; /* of the node's process; orphaned when it differs */
	struct roster_start start;
	int volume;
};

struct sim_node {
	bool up, booted;
	uint64_t generation;
	struct id128 uuid, host, boot;
	struct roster *roster;
	uint64_t session;	 /* 0: none */
	bool welcomed;
	uint64_t sent_seq, got_seq, heard_at;
	bool cut_in, cut_out;	 /* the link to this node, from this node */
	bool partial;		 /* not all that is claimed here is known */
	bool old;		 /* of an earlier version, which knows nothing of growing */
	uint64_t incarnation, wake_at, wakes; /* only the last EV_NODE_WAKE asked for counts */
	uint64_t in_at, out_at;	 /* when the last message of each direction arrives */
	unsigned int clock_rate; /* its seconds in 1000 of ours */
	bool stopped;		 /* its daemon, by a signal; events wait for EV_RESUME */
	bool suspended;		 /* the machine: the fence helper as well */
	uint64_t resume_at;
	struct {
		uint64_t until;	 /* by the node's clock; 0: not armed. Survives the daemon */
		uint64_t rev;
	} armed[SIM_DATASETS], wanted[SIM_DATASETS]; /* what the helper has, what the daemon told it */
	bool helper_lost;	 /* until the daemon has started another */
};

struct sim_session { /* control's side */
	uint64_t id;
	int node;
	uint64_t sent_seq, got_seq, heard_at;
	bool open;
};

struct queued_send {
	struct assign_send send;
	struct queued_send *next;
};

struct queued_commit {
	uint64_t txn;
	struct assign_change *changes;
	size_t n_changes;
	struct queued_commit *next;
};

/* What a client was promised: the dataset stays mounted at the node until then. */
struct promise {
	bool made;	 /* it was asked for when there was nothing in its way */
	uint64_t txn, generation, until, epoch;
	int node;
};

struct sim_store {
	struct ds_record records[SIM_DATASETS];
	bool have[SIM_DATASETS];
	struct pin_record pins[SIM_DATASETS];
	bool have_pin[SIM_DATASETS];
	uint64_t floor;
	struct node_record nodes[SIM_NODES];
	bool have_node[SIM_NODES];
};

struct sim_control {
	bool up;
	unsigned int clock_rate;
	uint64_t generation, durable_txn, wake_at;
	struct assign *assign;
	struct sim_session sessions[64];
	struct queued_send *sends;
	struct queued_commit *commits, **last_commit;
	bool committing;
	struct sim_store disk;	 /* survives */
	struct sim_store backup; /* of a while ago */
	struct id128 wished[SIM_DATASETS]; /* as decided last */
	bool unwanted[SIM_DATASETS];	   /* a deletion was decided */
	uint64_t voided[SIM_DATASETS];	   /* the last claim that was said to be void */
	uint64_t releasing[SIM_DATASETS];  /* the last epoch whose release was ordered */
	uint64_t heard_at[SIM_NODES];
	bool draining[SIM_NODES]; /* as decided last */
	bool asked;		  /* a client's wish is being decided */
	bool given_up[SIM_NODES]; /* an operator said so, and it was not durably let in since */
	uint64_t incarnation;
};

struct sim {
	uint64_t seed, now, order, next_session;
	struct rng rng;
	struct faults faults;
	struct event *heap;
	size_t n_heap, heap_size;
	int n_nodes, n_datasets;
	struct id128 dataset_ids[SIM_DATASETS];
	struct sim_node nodes[SIM_NODES];
	struct sim_control control;
	struct volume volumes[SIM_VOLUMES];
	int n_volumes;
	struct job jobs[128];
	struct op ops[SIM_OPS];
	int n_ops;
	bool calm;		/* faults have ended */
	int dead;		/* a node that never comes back; -1: none */
	bool wide;		/* what v1 cannot ask for is asked for in this history */
	bool leases;		/* datasets of this history may be leased */
	bool restores;		/* backups of control's store are put to use in this history */
	bool restored;		/* control has started from a backup: it may know less than there is */
	bool delete_wanted[SIM_DATASETS]; /* durably, once, and not to be undone any more */
	bool undeleted[SIM_DATASETS];	   /* durably, and not deleted since: also a restored control has to mind it */
	bool purged[SIM_DATASETS];
	uint64_t kept_until[SIM_DATASETS]; /* what was deleted with a window; 0: it may be destroyed */
	struct promise promises[SIM_DATASETS];
	uint8_t granted[SIM_DATASETS][SIM_EPOCHS]; /* to whom, durably: a bit for each node */
	bool verbose;
	char failure[512];	/* empty: all is well */
	uint64_t steps;
};

/* engine */
uint64_t sim_random(struct sim *s);
uint64_t sim_below(struct sim *s, uint64_t n);
bool sim_chance(struct sim *s, unsigned int per_mille);
struct event *sim_after(struct sim *s, uint64_t delay, enum event_type type);
/* Messages of one direction arrive in order, but for those that the faults delay. */
uint64_t sim_wire_delay(struct sim *s, uint64_t *last_at);
void sim_fail(struct sim *s, const char *fmt, ...) _printf_(2, 3);
void sim_log(struct sim *s, const char *fmt, ...) _printf_(2, 3);
int sim_dataset_index(const struct sim *s, struct id128 id);
int sim_node_index(const struct sim *s, struct id128 id);

/* world: truth and invariants */
struct volume *world_find(struct sim *s, struct id128 volume_id);
bool world_lags(struct sim *s, const struct volume *v);
void world_observe(struct sim *s, int node, const struct converge_wish *w, bool may_lag,
	struct converge_seen *ret);
/* One phase of a step: 1: more phases follow; 0: done; negative errno: failed. */
int world_step(struct sim *s, struct job *j);
void world_check_start(struct sim *s, const struct job *j); /* a step was chosen */
void world_mkfs_orphan(struct sim *s, int volume);
void world_reboot(struct sim *s, int node);
void world_cut(struct sim *s, int node, int dataset);
void world_vanish(struct sim *s);
void world_find_again(struct sim *s);
void world_check(struct sim *s);
bool world_converged(struct sim *s, char *why, size_t size);

/* node */
void node_start(struct sim *s, int node);
void node_kill(struct sim *s, int node, bool reboot);
void node_touch(struct sim *s, int node); /* a storm of device and mount events */
void node_event(struct sim *s, struct event *ev);
uint64_t node_now(const struct sim *s, int node);
void node_stop(struct sim *s, int node, bool suspend);
void node_resume(struct sim *s, int node);
void node_fence(struct sim *s, struct event *ev);
void node_lose_helper(struct sim *s, int node);
void node_start_helper(struct sim *s, int node);

/* store */
void store_make_durable(struct sim *s, const struct queued_commit *q);
bool store_says_given_up(const struct sim *s, int node);

/* control */
void control_start(struct sim *s);
void control_kill(struct sim *s);
void control_stop(struct sim *s); /* as planned: terms are extended first */
void control_event(struct sim *s, struct event *ev);
int control_decide(struct sim *s, struct assign_event *ev, uint64_t *ret_txn);
/* A client's wish, which comes before whatever control makes of it. */
bool control_ask(struct sim *s, struct assign_event *ev, struct op op);
void control_backup(struct sim *s);
void control_restore(struct sim *s);
void control_impostor(struct sim *s, int node);
/* An operator says that a machine that is off is fenced. Returns what control says to that. */
int control_fence(struct sim *s, int node, bool forget);
void control_drain(struct sim *s, int node); /* or undrain */
bool control_give_up(struct sim *s, int node); /* false: to be tried again */
void control_done(struct sim *s);
uint64_t control_now(const struct sim *s);

/* clients */
void client_wish(struct sim *s);
void client_pin(struct sim *s);
void client_expire(struct sim *s);
void client_undelete(struct sim *s); /* or purge */
bool client_unpin_all(struct sim *s); /* false: to be tried again */
/* The node takes the mount of a dataset away, as control ordered. */
void client_check_promise(struct sim *s, int node, int dataset, uint64_t epoch);
void client_void_promises(struct sim *s, int node); /* -1: of all */
void client_check_acked(struct sim *s);
