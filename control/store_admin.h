/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_admin.h - what is done to a store beside the server: look, copy, put back. All calls block,
 * and belong to commands. Nothing here logs; @ret_error is set on failure: allocated, one line that says
 * what is wrong and what to do. Errors are those of store_open().
 */
#pragma once

#include "store.h"

struct store_facts {
	uint64_t incarnation, revision;
	size_t datasets; /* that are not deleted */
	size_t deleted, nodes, leases;
	uint64_t bytes; /* of the file */
};

/* One file that nobody has open, such as a backup: all of it is read. */
int store_inspect_file(const char *file, struct store_facts *ret, char **ret_error);

/* The store in a data path; the server may run. */
int store_inspect(const char *directory, struct store_facts *ret, char **ret_error);

/**
 * store_backup() - a consistent copy, while the server runs or not
 * @file: appears whole and durable, with mode 0600, or not at all
 * @replace: else -EEXIST when there is such a file
 *
 * The server's commits go on meanwhile. The copy is checked before it gets its name.
 */
int store_backup(const char *directory, const char *file, bool replace, struct store_facts *ret,
	char **ret_error);

/**
 * store_recover() - begin a new incarnation, durably; the server must be stopped
 * @backup_fd: a backup that takes the place of the store, whatever state that is in; -EBADF: the store
 *   that is there, which then has to be whole
 * @clock_s: of the wall. The new incarnation is at least this, and above all that is known here: a
 *   copy does not know which ones came after it.
 * @ret_kept: NULL, or where the store that was there is now; the caller frees it
 *
 * Returns: 0; -EBUSY when the server runs; and as store_open().
 */
int store_recover(const char *directory, int backup_fd, uint64_t clock_s, struct store_facts *ret,
	char **ret_kept, char **ret_error);
