/* SPDX-License-Identifier: Apache-2.0 */
/*
 * converge.h - one dataset on one node: from wish, observation and now to the next step and why.
 *
 * Pure: no I/O, no clock, no thread. The daemon and the simulator call the same functions; the
 * daemon carries steps out on workers, the simulator in its own world. Each dataset is alone here:
 * nothing one dataset does can delay another.
 *
 *   converge_accept()  an order from control: taken, or refused because it is old
 *   converge_plan()    what to do next, when to look again, what to show and what to report
 *   converge_book()    what a finished step changed in our knowledge
 */
#pragma once

#include "wire.h"

#define CONVERGE_NEVER UINT64_MAX

/* Where the backend says the volume is claimed; the words of drivers/driver.h. */
enum converge_place {
	PLACE_FREE,
	PLACE_HERE,
	PLACE_ELSEWHERE,
};

/* The last order of control about this dataset. Lives as long as the process. */
struct converge_wish {
	enum wish_kind kind;
	bool confirmed;		    /* control spoke of it since this process started */
	uint64_t epoch;		    /* of HOLD, RELEASE, DESTROY; else 0 */
	uint64_t highest;	    /* highest epoch ever seen; older orders are refused */
	uint64_t given_back;	    /* the epoch last given back: it is used up */
	struct id128 volume_id;
	uint64_t size_bytes;	    /* recorded */
	uint64_t growing_bytes;	    /* that the volume is to be brought to; else @size_bytes */
	uint64_t fs_bytes;	    /* that the filesystem was grown to, as recorded; else @size_bytes */
	uint64_t want_bytes;	    /* to be shown */
	enum fs_kind filesystem;
	struct id128 fs_uuid;
	enum format_state format_state;
	struct failover failover;   /* as ordered; @failover_rev names it */
	uint64_t failover_rev;
	struct fenced fenced;	    /* claims that are void, ours as well */
	bool term_over;		    /* the term of @epoch ended: it is given back, and nothing revives it */
	struct id128 permit;	    /* volume that we asked to format under @epoch; mkfs uses it up */
	char why[WIRE_WHY_MAX];	    /* of WAIT */
};

/* What is here, as last looked at. Zeroed: nothing is known. */
struct converge_seen {
	bool known;		    /* the rest was observed, and nothing since made it doubtful */
	uint64_t at_ms;		    /* when */
	bool volume;		    /* the backend has this volume_id */
	enum converge_place place;
	struct id128 holder;	    /* of PLACE_ELSEWHERE */
	uint64_t claim_epoch;	    /* highest that the backend has recorded */
	bool attached;		    /* the device is here and is the right one */
	bool cut;		    /* it takes no more writes */
	bool mounted;		    /* the right device at the right place */
	bool read_only;		    /* mounted, and the kernel turned it read-only */
	bool no_room;		    /* the backend is full: what is written to it may be lost */
	uint64_t size_bytes;	    /* of the device, or of the volume */
	uint64_t expanded_bytes;    /* of the device after the last STEP_EXPAND that succeeded; it is durable */
	uint64_t grown_bytes;	    /* and after the last STEP_GROW: the filesystem fills it */
	bool proven_empty;	    /* STEP_PROBE succeeded since the device came */
	bool whole;		    /* STEP_FORMAT or STEP_VERIFY succeeded on this volume */
	bool spoiled;		    /* STEP_VERIFY found no whole filesystem */
	bool discarded;		    /* STEP_DISCARD succeeded on this volume */
	bool destroyed;		    /* STEP_DESTROY succeeded under this epoch */
	bool detached;		    /* STEP_DETACH succeeded under this epoch: the proof of a release */
};

/* The last attempt at a step, and failures in a row. */
struct converge_last {
	enum ds_step step;
	int error;		    /* positive errno; 0: it succeeded */
	unsigned int attempts;	    /* failed in a row */
	unsigned int format_failures; /* mkfs runs that failed since one succeeded */
	uint64_t ended_ms;
	char why[WIRE_WHY_MAX];	    /* what the step said of its failure */
};

/* A step that is being carried out now; STEP_NONE: none. */
struct converge_running {
	enum ds_step step;
	uint64_t since_ms;
};

struct converge_in {
	struct id128 dataset_id;
	uint64_t now_ms;
	bool connected;		    /* control's session is open */
	bool may_write;		    /* not leased, or within a term whose end is armed */
	const struct converge_wish *wish;
	const struct converge_seen *seen;
	const struct converge_last *last;
	struct converge_running running;
	uint64_t limit_max_ms;	    /* caps the limit of every step; 0: no cap */
	uint64_t stopping_until_ms; /* the fence helper is at it; then it is cut by a step; 0: it is not */
};

struct converge_out {
	enum ds_step step;	    /* start this now */
	uint64_t again_ms;	    /* plan again then, if nothing happens before; CONVERGE_NEVER */
	uint64_t retry_ms;	    /* when what failed is tried again; 0: it is not, or now */
	enum ds_state state;
	enum report_kind report;    /* to be said once a session, besides the status */
	uint64_t grown_bytes;	    /* of EXPANDED and GROWN */
	bool stuck;		    /* the running step is beyond its limit: to be told */
	char why[WIRE_WHY_MAX];
};

/**
 * converge_accept() - take an order, or not
 *
 * Returns: 0 when taken; -ESTALE when its epoch is old, was given back, or would undo a release;
 * -EPROTO when it would take the format state back, or put another volume in the place of one that is
 * here. A refused order changes nothing. Another volume_id or epoch makes what is known in @seen void
 * as far as it depends on them.
 */
int converge_accept(struct converge_wish *wish, struct converge_seen *seen,
	const struct wire_assign *order);

/* What a fresh process knows of a claim it found: nothing to do until control confirms. */
void converge_adopt(struct converge_wish *wish, uint64_t claim_epoch, struct id128 volume_id);

/**
 * converge_book() - a step ended
 * @observed: what is here now, looked at after the step; NULL when looking failed
 * @error: positive errno, 0 for success
 * @why: one line of the step, or NULL
 *
 * Updates @seen and @last; uses the format permit up when @step is STEP_FORMAT.
 */
void converge_book(struct converge_wish *wish, struct converge_seen *seen, struct converge_last *last,
	enum ds_step step, int error, const char *why, const struct converge_seen *observed,
	uint64_t now_ms);

/* What the node reports it did: a REPORT_READY asked for leave to format, an epoch was given back. */
void converge_reported(struct converge_wish *wish, enum report_kind kind);

void converge_plan(const struct converge_in *in, struct converge_out *ret);

/* How long a step may run before it is reported as stuck, in ms. */
uint64_t converge_limit_ms(enum ds_step step);

/* A step that makes what is mounted larger. */
bool converge_is_growth(enum ds_step step);

/* The grant is being given back, and an order to hold it comes too late. */
bool converge_is_fenced(const struct converge_wish *wish, const struct converge_seen *seen);

/* True while this node must name the dataset in hello: it holds, or may come to hold, @wish.epoch. */
bool converge_holds(const struct converge_wish *wish, const struct converge_seen *seen,
	enum ds_step running);
