/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_import.h - the first records of an empty store. Calls block, and belong to commands. Nothing here
 * logs; @ret_error is set on failure: allocated, one line that says what is wrong and what to do.
 */
#pragma once

#include "import.h"
#include "store_admin.h"

/* Would store_import() find it empty? A data path that is not there yet is. The server may run. 0, -EEXIST
 * when it holds anything, or as store_inspect(). Changes nothing. */
int store_is_empty(const char *directory, char **ret_error);

/**
 * store_import() - all of @im in one transaction, or nothing; the server must be stopped
 * @clock_s: of the wall. The store's incarnation becomes at least this, so that nodes and volumes that
 *	met an earlier try follow this one.
 *
 * Returns: 0; -EEXIST when the store is not empty; -EBUSY when the server runs; and as store_open().
 */
int store_import(const char *directory, struct import *im, uint64_t clock_s, struct store_facts *ret,
	char **ret_error);
