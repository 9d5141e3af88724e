/* SPDX-License-Identifier: Apache-2.0 */
/* docker_private.h - what the files behind docker_volumes.h share. */
#pragma once

#include "claim.h"
#include "docker_mounts.h"
#include "docker_options.h"
#include "docker_volumes.h"
#include "mirror.h"
#include "mounted.h"
#include "users.h"

#define STATUS_REFUSED 400 /* of a request that cannot be right */
#define STATUS_FAILED 500

struct held; /* a request that waits for the first list */
struct job;  /* the Mounts of one volume */
struct user;   /* an engine that is asked for names */
struct change; /* a Create, Remove or Unmount that waits for control */

struct docker_volumes {
	struct event_base *base;
	struct docker_volumes_config c;
	struct id128 boot;
	int lock_fd; /* of the directory that remembers the mounts */
	struct link *link, *stream;
	struct catalog *catalog;
	struct mirror *mirror;
	struct mounts *mounts;
	struct mounted *mounted;
	struct event *sweep;
	struct held *held;
	struct job *jobs;
	struct change *changes;
	struct user *users;
};

/* ---- docker_volumes.c ---- */

void docker_fail(struct docker_caller *c, int status, const char *fmt, ...) _printf_(3, 4);
void docker_succeed(struct docker_caller *c, char *text);
bool docker_is_here(const struct docker_volumes *v, const struct volume *volume); /* mounted, by the table */
void docker_place(const struct docker_volumes *v, const struct volume *volume, char *buf, size_t size);

/* Of an answer with a dataset in it. */
void docker_take(struct docker_volumes *v, const struct link_answer *a);

/* ---- docker_user.c ---- */

/* A container is about to use it: its name is asked for, and told to others. */
void docker_note_user(struct docker_volumes *v, const struct volume *volume);
void docker_users_free(struct docker_volumes *v);

/* ---- docker_change.c ---- */

void docker_create(struct docker_volumes *v, struct docker_request *q, struct docker_caller *c);
void docker_remove(struct docker_volumes *v, const struct volume *volume, struct docker_caller *c);
void docker_changes_free(struct docker_volumes *v);

/* Ends this node's lease of a dataset that nobody uses here, then answers @c, which may be NULL,
 * whatever came of it. */
void docker_release(struct docker_volumes *v, struct id128 dataset, struct docker_caller *c);
/* Also while it is removed. */
bool docker_is_releasing(const struct docker_volumes *v, struct id128 dataset);

/* A lease that was ended by others, or by a control service that was restored, is taken again while
 * containers here use the dataset. */
void docker_keep(struct docker_volumes *v, struct id128 dataset);

/* ---- docker_mount.c ---- */

bool docker_is_mounting(const struct docker_volumes *v, struct id128 dataset);

void docker_mount(struct docker_volumes *v, const struct volume *volume, const char *id, struct docker_caller *c);
/* @volume: what has the name now, which may be another one or none (NULL) */
void docker_unmount(struct docker_volumes *v, const struct docker_request *q,
	const struct volume *volume, struct docker_caller *c);
void docker_jobs_look(struct docker_volumes *v, const struct id128 *dataset); /* NULL: all */
void docker_jobs_free(struct docker_volumes *v);

/* ---- docker_tidy.c ---- */

/* Leases that nobody needs any more go, and counts that nobody stands behind. @idle_too: this is a
 * look of the timer. */
void docker_tidy(struct docker_volumes *v, bool idle_too);

/* ---- docker_state.c ---- */

int docker_state_read(struct docker_volumes *v); /* 0 or negative errno, logged */
int docker_state_write(struct docker_volumes *v); /* the same */
