/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_private.h - what the server's store and the commands beside it share: SQLite in words of
 * errno, the files in a data path, and the checks before anything in them is believed.
 */
#pragma once

#include <sqlite3.h>

#include "store.h"

#define STORE_FILE "control.sqlite"
#define STORE_APPLICATION 0x464c4b52 /* "FLKR" */
#define STORE_VERSION 1
#define STORE_MARK "store-was-made" /* beside it: an empty store is never made here again */
#define STORE_REVISION "revision"   /* in the small map */

/* 0 for what is no error; negative errno as of store.h. @db: NULL when it is not open. */
int db_errno(sqlite3 *db, int rc);
int db_exec(sqlite3 *db, const char *sql);

/* The first number of the first row; @ret is untouched when there is no row. */
int db_number(sqlite3 *db, const char *sql, int64_t *ret);

/* A number of the small map; -ENOENT when it has none. */
int db_meta_get(sqlite3 *db, const char *name, uint64_t *ret);
int db_meta_set(sqlite3 *db, const char *name, uint64_t value);

/* Writes @ret_error and returns @err, or -ENOMEM. */
int store_fail(char **ret_error, int err, const char *fmt, ...) _printf_(3, 4);

/* What @r means for the store in the file @path, and what to do. @db: NULL or what failed. */
int store_explain(const char *path, sqlite3 *db, int r, char **ret_error);

/* One of us at a time has a data path: -EBUSY. Closing the descriptor gives it back. */
int store_lock(const char *directory, int *ret_fd);

/* -EUCLEAN when the file is gone, or emptied, though there was a store here. */
int store_check_there(const char *directory, char **ret_error);

/* -EBADMSG for what is not ours or of a newer version; @ret_new: an empty database. */
int store_check_identity(sqlite3 *db, const char *path, bool *ret_new, char **ret_error);

/* Every page is looked at: -EUCLEAN. */
int store_check_whole(sqlite3 *db, const char *path, char **ret_error);

/* From now on the data path has a store. Durable. */
int store_mark(const char *directory);
bool store_is_marked(const char *directory);

int store_sync_directory(const char *directory);
