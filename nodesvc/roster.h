/* SPDX-License-Identifier: Apache-2.0 */
/*
 * roster.h - all datasets of one node: who is to be looked at, what is to be started, said, shown.
 *
 * Pure like converge.h, which it asks about each dataset: no I/O, no clock, no thread. The daemon
 * and the simulator feed it what happened, call roster_run(), and carry out what comes back.
 *
 * Times are of one clock, in ms, that goes on while the machine sleeps: terms end by it.
 */
#pragma once

#include "converge.h"

struct roster;

/* What looking at a dataset brings for people; decisions do not depend on it. All may be NULL. */
struct roster_extra {
	char *device, *mountpoint, *holders;
	uint64_t used_bytes, available_bytes;
	struct id128 fs_uuid; /* seen on the device; nil: not known */
};

void roster_extra_done(struct roster_extra *x);

/* A step to be carried out. @wish is a copy: later orders do not change it. */
struct roster_start {
	struct id128 dataset_id;
	enum ds_step step;
	uint64_t ticket; /* to be handed to roster_done() */
	unsigned int busy; /* how often in a row this step ended with EBUSY before */
	struct converge_wish wish;
	bool guarded; /* leased: the fence helper has to agree before it begins, and to hear of its end */
};

/* What the fence helper is to be told of one dataset. */
struct roster_arm {
	struct id128 dataset_id;
	uint64_t until_ms; /* when writing has to have ended; 0: disarmed */
	uint64_t rev;	   /* to be handed to roster_armed() */
	enum fs_kind filesystem;
};

struct roster_change {
	struct id128 dataset_id;
	enum ds_state from, to; /* equal: only the words changed */
};

struct roster_out {
	struct roster_start *starts;
	size_t n_starts;
	struct wire_msg *sends; /* for the open session: renewals, then what others wait for, then the rest */
	size_t n_sends, n_urgent;
	struct roster_change *changed; /* whose view is new; look with roster_view() */
	size_t n_changed;
	struct roster_arm *arms; /* to be told before the next roster_run() */
	size_t n_arms;
	struct id128 *stuck;	/* whose running step is beyond its limit, said once each */
	size_t n_stuck;
};

/* What people see of one dataset; pointers are borrowed until the next call. */
struct roster_view {
	struct wire_status status;	/* holders, device, mountpoint borrowed */
	const struct converge_wish *wish;
	const struct converge_last *last;
	struct id128 owner, primary;
	struct json_object *metadata;	/* or NULL */
	const char *request;		/* the id of the client's request that led here; "": not known */
	uint64_t since_ms;		/* of the present state */
	uint64_t looked_ms;		/* when it was last looked at */
	int64_t created_at;		/* seconds since 1970; 0: not known */
	const char *lease;		/* what pins it, as control says, or NULL */
	enum ds_step running;		/* STEP_NONE: nothing is being done to it */
	bool leased;			/* what writes to it needs the fence helper's agreement */
	bool gone;			/* nothing to show any more */
};

/* Returns 0 or -ENOMEM. Later allocation failures end the process, as in assign.h. */
int roster_new(struct roster **ret);
struct roster *roster_free(struct roster *r);

/* Steps beyond @ms are reported as stuck, also where their own limit is longer; 0: no such cap. */
void roster_cap_limits(struct roster *r, uint64_t ms);

/**
 * roster_adopt() - a volume that is claimed here was found, or a device that is left of it
 * @cut: it takes no more writes: a fence helper was at it
 * Nothing is done to it until control confirms. A dataset that control spoke of is left alone; of two
 * claims of one dataset the newer counts.
 */
void roster_adopt(struct roster *r, uint64_t now_ms, struct id128 dataset_id, struct id128 volume_id,
	uint64_t epoch, bool cut);

/*
 * Fills holds of @hello, allocated; the rest is the caller's. -E2BIG when they are more than a hello
 * can name: then none may be said, since what it does not name is given back.
 */
int roster_hello(struct roster *r, struct wire_hello *hello);

/* The session was welcomed; all is to be said anew. */
void roster_connected(struct roster *r, uint64_t now_ms);
void roster_disconnected(struct roster *r, uint64_t now_ms);

/* A PONG of this session brought @stamp_ms back: terms last from then on. */
void roster_renewed(struct roster *r, uint64_t now_ms, uint64_t stamp_ms);

/* The fence helper has @until_ms for this dataset. What is leased is touched only within that. */
void roster_armed(struct roster *r, uint64_t now_ms, struct id128 dataset_id, uint64_t until_ms,
	uint64_t rev);

/* The helper has it from a daemon before this one; before any order. What is not known here is kept for when it is. */
void roster_inherit(struct roster *r, struct id128 dataset_id, uint64_t until_ms);

/* The helper takes writing away from the dataset: from now on no step of it begins. */
void roster_term_over(struct roster *r, uint64_t now_ms, struct id128 dataset_id);

/* The helper has done so: now it may be unmounted. */
void roster_fenced(struct roster *r, uint64_t now_ms, struct id128 dataset_id);

/* The helper is gone: nothing leased is touched before it is armed again. */
void roster_unarmed(struct roster *r, uint64_t now_ms);

/* Returns what converge_accept() says, and -EPROTO also while a step works on another volume. */
int roster_order(struct roster *r, uint64_t now_ms, const struct wire_assign *order);

/**
 * roster_done() - a started step ended
 * @observed: looked at after the step, or NULL when looking failed; then @extra is ignored
 * @why: with EBUSY NULL means: as before, and so are the holders
 * @extra: taken over
 * Returns: 0, or -ENOENT when @ticket is not that dataset's running step.
 */
int roster_done(struct roster *r, uint64_t now_ms, struct id128 dataset_id, uint64_t ticket, int error,
	const char *why, const struct converge_seen *observed, struct roster_extra *extra);

/* Something happened to its device or mount: look again. Unknown ids are nothing. */
void roster_touch(struct roster *r, uint64_t now_ms, struct id128 dataset_id);
void roster_touch_all(struct roster *r, uint64_t now_ms);

/* Plans what is due. End @ret with roster_out_done(). */
void roster_run(struct roster *r, uint64_t now_ms, struct roster_out *ret);
void roster_out_done(struct roster_out *o);

/* When roster_run() is wanted again at the latest; CONVERGE_NEVER. */
uint64_t roster_next_wake(const struct roster *r);

/* In ms, of what is leased; CONVERGE_NEVER: nothing is. */
uint64_t roster_shortest_term(const struct roster *r);

/* From when terms last, by the last renewal of this session; 0: none yet. */
uint64_t roster_last_renewal(const struct roster *r);

/* -ENOENT when it is not known. */
int roster_view(const struct roster *r, struct id128 dataset_id, struct roster_view *ret);
void roster_each(const struct roster *r, void (*fn)(struct id128 dataset_id, void *userdata),
	void *userdata);
