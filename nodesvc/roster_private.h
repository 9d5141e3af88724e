/* SPDX-License-Identifier: Apache-2.0 */
/* roster_private.h - what the files of the roster share: the datasets of a node in memory. */
#pragma once

#include "roster.h"

/* One dataset. It stays, small, after its end: the highest epoch seen must not be forgotten. */
struct entry {
	struct id128 id;
	struct converge_wish wish;
	struct converge_seen seen;
	struct converge_last last;
	struct converge_running running;
	uint64_t ticket;	  /* of the running step, as are the next three */
	uint64_t step_epoch;
	struct id128 step_volume;
	bool step_unleased;	  /* it writes, and nobody guards it */
	bool stuck_said;
	bool fresh;		  /* what is shown changed beside state and why */
	bool look;		  /* something happened: what is known is doubtful */
	bool look_later;	  /* forgotten, but a listing that lags may have hidden a claim: once more */
	uint64_t due_ms;	  /* plan then; CONVERGE_NEVER */
	uint64_t recheck_ms;
	/* of a leased one */
	bool ordered;		  /* in this session */
	uint64_t until_ms, until_rev; /* end of its term by the last renewal; 0: none yet */
	uint64_t armed_ms, armed_rev; /* what the helper has */
	uint64_t arm_said_ms, arm_said_rev; /* what it was told */
	uint64_t stopping_until_ms; /* it is being fenced by the helper */
	/* shown */
	enum ds_state state;
	uint64_t since_ms;
	char why[WIRE_WHY_MAX];
	struct roster_extra extra;
	struct id128 owner, primary;
	int64_t created_at;
	char *lease;		  /* or NULL */
	struct json_object *metadata;
	char request[REQUEST_ID_SIZE]; /* of the last order */
	/* said in the present session */
	bool said;
	bool untold;		  /* a report waits until control has answered for those before it */
	bool refused;		  /* the last order that carried authority */
	uint64_t said_hash;
	uint64_t retry_in_ms; /* as last planned; 0: nothing is to be tried again */
	enum report_kind said_kind;
	uint64_t said_epoch, said_grown;
	struct id128 said_volume;
};

/* What the helper has of a dataset that this daemon does not know yet. */
struct inherited {
	struct id128 id;
	uint64_t until_ms;
};

struct roster {
	struct entry **entries;
	size_t n, n_slots;
	size_t *slots; /* open addressing: index + 1 into entries; 0: free */
	bool connected;
	uint64_t connected_ms;
	uint64_t renewed_ms; /* the last stamp that came back in this session; 0: none */
	uint64_t renew_due_ms;
	unsigned int n_told; /* reports of no urgency since control answered last for such */
	uint64_t asked_ms;   /* the stamp that follows them; 0: not that many */
	uint64_t next_ticket, limit_max_ms;
	struct inherited *inherited;
	size_t n_inherited;
};

void *roster_grow(void *p, size_t n, size_t size); /* in powers of two */
struct entry *roster_find(const struct roster *r, struct id128 id);

/* ---- roster_terms.c ---- */

bool roster_is_leased(const struct entry *e);
bool roster_may_write(const struct entry *e, uint64_t now_ms);

/* A new entry begins with what the helper has of it. */
void roster_take_inherited(struct roster *r, struct entry *e);

/* Ends it once; a helper that has it armed acts at the same time. */
void roster_end_term(struct entry *e, uint64_t now_ms);

/* A new order may be of another epoch, or of another failover. */
void roster_take_terms(struct roster *r, struct entry *e, uint64_t now_ms, uint64_t epoch_before);

/* What the helper is to be told now, and what control is to be asked. */
void roster_arm(struct entry *e, struct roster_out *out);
void roster_renew(struct roster *r, uint64_t now_ms, struct roster_out *out);

void roster_ping(uint64_t now_ms, struct roster_out *out);
