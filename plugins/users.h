/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users.h - who on this machine needs a dataset's lease. A lease is the node's, so that only the
 * last of its users here may release it: the programs that take leases (flocker-docker-plugin, each
 * flocker-dataset) tell each other.
 *
 *   DIRECTORY/DATASET/WHO     a file for each user; it stays when the user is killed, whose work its successor takes
 *                             over, and goes with a reboot
 *
 * The directory of a dataset is locked by who leaves, until control has answered, and for a moment
 * by who joins: so no lease ends under somebody who has just come.
 */
#pragma once

#include <limits.h>

#include "id128.h"

#define USERS_DOCKER "docker"

/**
 * users_join() - from now on nobody else releases the lease, which may be taken then
 * @who: a file's name
 * @ret_fd: locks the file, so that there is one such user at a time; NULL: not needed
 *
 * Directories are made, 0700. Repeating it is no error.
 * Returns: 0; -EAGAIN: somebody is just leaving, try again soon; -EBUSY: another process is this
 * user; or another errno.
 */
int users_join(const char *directory, struct id128 dataset, const char *who, int *ret_fd);

/**
 * users_leave() - is the lease to be released?
 * @ret_lock: set when it is: keeps others away until users_left()
 *
 * Returns: 1: nobody else needs it; 0: others do, and this user has left; -EAGAIN: as above; or
 * another errno.
 */
int users_leave(const char *directory, struct id128 dataset, const char *who, int *ret_lock);

/* After users_leave() said 1. @released: control has no lease any more, and the user has left; else
 * it has not. */
void users_left(const char *directory, struct id128 dataset, const char *who, int lock,
	bool released);

/* The user has no part in the lease, which another node has. */
void users_forget(const char *directory, struct id128 dataset, const char *who);

/* The user's file, in which it may write what its successor is to know. */
const char *users_file(const char *directory, struct id128 dataset, const char *who,
	char buf[PATH_MAX]);

/* The dataset that @who is a user of. 0 or -ENOENT. */
int users_find(const char *directory, const char *who, struct id128 *ret);
