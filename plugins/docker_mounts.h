/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docker_mounts.h - who uses which volume here, as container engines said: mounts, counted for each volume
 * and ID. Pure; what it knows can be written as JSON and read again.
 *
 * What an engine said before its latest handshake ("generation") are upper bounds: when it was killed its
 * unmounts were lost, or its containers live on and will be unmounted by its successor. The protocol does not
 * tell which. So an old count is taken over by the next mount of its ID, and is given up when nothing
 * has the volume any more (mounts_look()). So are those that were read: unmounts may have come
 * while nobody listened, and engines say them once.
 *
 * podman has no handshake that means anything, counts by itself and sends one ID for all: there is one of it for
 * each name that the dataset had when it was mounted.
 */
#pragma once

#include <json-c/json.h>

#include "id128.h"

#define MOUNTS_PODMAN_ID "2f73349cfc4630255319c6c8dfc1b46a8996ace9d14d8e07563b165915918ec2"
#define MOUNTS_MAX 65536 /* of IDs, in all */

struct mounts;

int mounts_new(struct mounts **ret); /* 0 or -ENOMEM */
struct mounts *mounts_free(struct mounts *m);
DEFINE_CLEANUP(struct mounts *, mounts_free);

/* An engine that keeps no count of its own has begun anew. */
void mounts_activate(struct mounts *m);

/* One more. @name: by which it will be unmounted. 0, -ENOSPC or -ENOMEM. */
int mounts_add(struct mounts *m, struct id128 dataset, const char *name, const char *id);

/* The dataset that was mounted so, whatever it is called since; false: none was. @id: NULL takes
 * any. */
bool mounts_find(const struct mounts *m, const char *name, const char *id, struct id128 *ret);

/*
 * One less; of an unknown one nothing: it may be said again. True: that was the last of an ID which was
 * counted before the latest handshake as well, so it is not sure that nobody is left; mounts_doubt() brings
 * it back.
 */
bool mounts_drop(struct mounts *m, struct id128 dataset, const char *name, const char *id);

/* One that counts until mounts_look() gives it up, or until it is dropped. 0, -ENOSPC or
 * -ENOMEM. */
int mounts_doubt(struct mounts *m, struct id128 dataset, const char *name, const char *id);

/* How many there are, all IDs together; and how many of these are of before the latest handshake. */
unsigned int mounts_count(const struct mounts *m, struct id128 dataset);
unsigned int mounts_count_old(const struct mounts *m, struct id128 dataset);

/* All counts of it are upper bounds from here on, but podman's. */
void mounts_age(struct mounts *m, struct id128 dataset);

/**
 * mounts_look() - one more look of the timer whether any container has the volume
 * Returns: counts that are upper bounds were given up, since none had it this time and the last.
 */
bool mounts_look(struct mounts *m, struct id128 dataset, bool used);

/* The lease of the dataset is this plugin's: it asked for it, or is about to. */
int mounts_set_leased(struct mounts *m, struct id128 dataset, bool leased); /* 0 or -ENOMEM */
bool mounts_leased(const struct mounts *m, struct id128 dataset);

/* The lease of a dataset without mounts may be released by now: not to be counted on. A mount ends
 * that. */
void mounts_set_ending(struct mounts *m, struct id128 dataset, bool ending);
bool mounts_ending(const struct mounts *m, struct id128 dataset);

/**
 * mounts_is_over() - is a lease to be released?
 * @idle: one that was taken, and that no mount has ever counted on, is over with the so manieth call; 0: this is
 *   no such call
 */
bool mounts_is_over(struct mounts *m, struct id128 dataset, unsigned int idle);

/* Each dataset that has a count or a lease. @fn must not change anything. */
void mounts_each(const struct mounts *m, void (*fn)(struct id128 dataset, void *userdata), void *userdata);

/**
 * mounts_write() - all of it
 * @boot: of the kernel that runs; the counts of another boot are void
 *
 * Returns: counted, or NULL.
 */
struct json_object *mounts_write(const struct mounts *m, struct id128 boot);

/**
 * mounts_read() - into an empty one
 * Returns: 0; -EBADMSG for what mounts_write() does not write, and then it is left empty; -ENOMEM.
 */
int mounts_read(struct mounts *m, struct json_object *o, struct id128 boot);
