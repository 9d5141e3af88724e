/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - the datasets that the fence helper guards: who is due, who has to be stopped, who is
 * fenced. Decides only: no I/O, no clock (times are handed in, CLOCK_BOOTTIME in nanoseconds), and
 * no allocation, so that memory pressure cannot keep a dataset from being stopped.
 *
 * A session is one daemon's connection, and lives on for as long as that process does; steps in
 * flight belong to it.
 */
#pragma once

#include <sys/types.h>

#include "proto.h"
#include "types.h"

#define FENCE_SESSIONS 8
#define FENCE_RETRY_NS UINT64_C(1000000000)
#define FENCE_NEVER UINT64_MAX

struct fence_entry {
	struct id128 dataset_id;
	uint64_t deadline_ns, fired_ns, retry_ns;
	dev_t devno; /* 0: not known, then nothing was let write to it */
	uint64_t diskseq;
	enum fence_state state;
	enum fs_kind fs;
	uint8_t steps; /* one bit a session that has a step in flight */
	bool running;  /* somebody is stopping it */
	bool again;    /* to be stopped (once more) */
	bool tell;     /* the daemon has not heard of its state */
	bool late;     /* the limit passed, and that was said */
	int error;     /* of the last attempt, 0 or negative errno */
	uint16_t next; /* in its bucket or among the free, index + 1; 0: the last */
};

struct fence_table {
	struct fence_entry entries[FENCE_DATASETS_MAX];
	uint16_t buckets[FENCE_DATASETS_MAX];
	uint16_t free;	    /* the first, index + 1 */
	uint16_t high;	    /* no entry at or above it was ever used */
	unsigned n_guarded; /* armed or fired */
	uint64_t limit_ns;  /* how long a fired one may take */
};

void fence_table_init(struct fence_table *t, uint64_t limit_ns);

/* The requests of proto.h, with their errnos. */
int fence_arm(struct fence_table *t, struct id128 id, uint64_t deadline_ns, enum fs_kind fs);
int fence_set_device(struct fence_table *t, struct id128 id, dev_t devno, uint64_t diskseq);
int fence_disarm(struct fence_table *t, struct id128 id);
int fence_step_begin(struct fence_table *t, struct id128 id, unsigned session, uint64_t now);
int fence_step_end(struct fence_table *t, struct id128 id, unsigned session);

/* It began before ARM told of it, so it is not asked whether it may. -ENOENT, -ESTALE as above. */
int fence_step_goes_on(struct fence_table *t, struct id128 id, unsigned session);

/* The session's process is dead to its last thread: it has no step in flight. */
void fence_session_ended(struct fence_table *t, unsigned session);

/* NULL: not here. Good until it is disarmed. */
struct fence_entry *fence_find(struct fence_table *t, struct id128 id);

/*
 * These go through the table: each returns the next entry behind @after (NULL: from the start), or
 * NULL at the end.
 *
 * fence_fire()		fires it, since it is due
 * fence_next_job()	it has to be stopped now, and is marked as running: see fence_stopped()
 * fence_next_late()	it has passed the limit, which is said once
 * fence_next_untold()	its state has to be told; the caller clears the flag
 */
struct fence_entry *fence_fire(struct fence_table *t, const struct fence_entry *after,
	uint64_t now);
struct fence_entry *fence_next_job(struct fence_table *t, const struct fence_entry *after,
	uint64_t now);
struct fence_entry *fence_next_late(struct fence_table *t, const struct fence_entry *after,
	uint64_t now);
struct fence_entry *fence_next_untold(struct fence_table *t, const struct fence_entry *after);
void fence_tell_all(struct fence_table *t);

/* Whoever ran has come back. @r: 0 or negative errno. True when that made it fenced. */
bool fence_stopped(struct fence_table *t, struct fence_entry *e, int r, uint64_t now);

/* True once the session has had its time to end a step of a dataset that has fired. */
bool fence_must_die(const struct fence_table *t, unsigned session, uint64_t now);

/* When any of these has something to say again; FENCE_NEVER. */
uint64_t fence_next_wake(const struct fence_table *t, uint64_t now);
