/* SPDX-License-Identifier: Apache-2.0 */
/* privileges.h - who the daemon runs as. Logs nothing; errors come in words. */
#pragma once

#include <sys/types.h>

#include "macro.h"

struct account {
	char *name;
	uid_t uid;
	gid_t gid;
};

void account_done(struct account *a);

/* -ENOENT for an unknown @name, or -ENOMEM. */
int account_find(const char *name, struct account *ret);

/**
 * privileges_data_path() - the directory of the store exists
 * @owner: gets it when it is made now; NULL: we keep it
 * @ret_error: set on failure: allocated, one line
 *
 * Returns: 0 or negative errno.
 */
int privileges_data_path(const char *path, const struct account *owner, char **ret_error);

/* For good: groups, group and user; nothing started later gets more. 0 or negative errno. */
int privileges_drop(const struct account *a);
