/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - what control must never forget: texts by key, made durable in order.
 *
 * A commit is asynchronous. Batches are applied in the order in which they were given, each wholly
 * or not at all, and those that wait while one is being written share the next transaction. After a
 * failure every batch that was given before the failure was told fails too, so that nothing is
 * applied on top of what is missing. Each applied batch raises the store's revision by one.
 *
 * Opening, loading and closing block and belong to the start and the end of the program. All other
 * calls are made on the loop's thread and never block. Nothing here logs.
 */
#pragma once

#include <event2/event.h>

#include "id128.h"

struct store;
struct store_batch;

/* Names in the small map beside the records. */
#define STORE_META_INCARNATION "incarnation"

/**
 * store_open() - the one writer of the store in a directory
 * @directory: must exist and be writable; the store's files are made with mode 0600
 * @ret_error: set on failure: allocated, one line that says what is wrong and what to do
 *
 * Returns: 0; -EBUSY when another process has it; -ENOSPC, -EROFS, -EACCES; -EBADMSG for what is no
 * store of ours or of a newer version; -EUCLEAN when damaged, or missing where there was one: an empty
 * one is made only where there never was any; -EIO; -ENOMEM.
 */
int store_open(struct event_base *base, const char *directory, struct store **ret,
	char **ret_error);

/* Waits for all batches given so far; callbacks not yet made are dropped. NULL in, NULL out. */
struct store *store_close(struct store *s);

/* Calls @fn for every record in order of keys until it returns non-zero; returns that, or -EIO. */
int store_load(struct store *s, int (*fn)(const char *key, const char *value, void *userdata),
	void *userdata);

/* A number of the small map; -ENOENT when it has none. Blocks: for the start. */
int store_meta_get(struct store *s, const char *name, uint64_t *ret);

/* Durable when it returns 0; errors as store_open(). Blocks: for the start. */
int store_meta_set(struct store *s, const char *name, uint64_t value);

/* Of the last batch that was told durable, or that store_open() found. */
uint64_t store_revision(const struct store *s);

/*
 * The revisions that one opening of the store makes are a line. An old copy that is put back and goes
 * on reaches revisions that were seen before, but never in the same line.
 */
struct id128 store_line(const struct store *s); /* the present one; durable */

/* The last revision of a line that this store has; 0 for a line that it does not know. Nil stands for
 * all: who knows of no lines. */
uint64_t store_line_end(const struct store *s, struct id128 line);

struct store_batch *store_batch_new(void);
struct store_batch *store_batch_free(struct store_batch *b);

/* Copies. 0 or -ENOMEM. */
int store_batch_put(struct store_batch *b, const char *key, const char *value);
int store_batch_delete(struct store_batch *b, const char *key);

/**
 * store_commit() - make a batch durable
 * @b: taken over in every case
 * @done: called once from the loop: 0, or -ENOSPC, -EROFS, -EUCLEAN, -EBUSY, -EIO. The store works again as
 *   soon as what was wrong is mended.
 */
void store_commit(struct store *s, struct store_batch *b, void (*done)(int r, void *userdata),
	void *userdata);
