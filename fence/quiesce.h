/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quiesce.h - hold a filesystem still for the moment in which its device is cut.
 *
 * An fsync that is under way while ext4's device goes away, or while ext4 is shut down, may say 0
 * and have kept nothing: it finds the journal aborted and its transaction gone. In a frozen
 * filesystem none is under way, and who writes waits until the thaw, which is after the cut.
 *
 * Without a device ext4 would still give out what it has in memory, which is not what is on the
 * volume once another node writes it. So it is shut down before the thaw: from then on reading
 * fails as well.
 *
 * A freeze writes all that is dirty, which may take for ever. So a thread of its own does it, is
 * given a short time, and the cut comes anyway; then what is left of the freeze fails and ends. The
 * same thread thaws: a helper that is killed in between leaves the filesystem frozen, see FITHAW.
 */
#pragma once

#include <pthread.h>

#include "macro.h"

struct quiesce {
	pthread_mutex_t lock;
	pthread_cond_t change;
	int fd;	      /* of the filesystem, while busy */
	bool busy;    /* from begin until it is thawed and let go of */
	bool settled; /* the freeze has ended, one way or the other */
	bool release; /* the cut is done */
};

/* clang-format off */
#define QUIESCE_INIT \
	{ .lock = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER, .fd = -EBADF }
/* clang-format on */

/* Starts its thread, which shares the caller's descriptors and never ends. 0 or negative errno. */
int quiesce_start(struct quiesce *q, const pthread_attr_t *attr);

/*
 * Freezes the filesystem of @fd, which is taken over, or waits in vain for as long as that is
 * worth. Nothing is done when an earlier one has not come back. To be followed by quiesce_end().
 */
void quiesce_begin(struct quiesce *q, int fd);

/* Shuts it down if it was frozen, and thaws it. Waits for that, but not for ever. */
void quiesce_end(struct quiesce *q);

/* For xfs, before its device is cut: stops who writes at once, and drops what was left in
 * memory. */
void quiesce_shut_down(int fd);
