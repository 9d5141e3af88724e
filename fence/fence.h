/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fence.h - the helper's loop: the daemon's packets, deadlines, and what becomes of them.
 * One thread, which never waits for storage; whatever may is with workers.h.
 */
#pragma once

#include "macro.h"

struct fence_config {
	int daemon_fd;	   /* the connection of who started us */
	int listen_fd;	   /* where the next daemon connects */
	int root_fd;	   /* the mount root, O_PATH */
	unsigned limit_ms; /* how long a fence may take before that is an error */
	bool reboot;	   /* then restart the machine */
	const char *watchdog; /* see keeper.h; NULL: none */
};

/**
 * fence_run() - guard until there is no daemon and nothing to guard
 *
 * Returns: 0 then; negative errno when it cannot begin, having guarded nothing.
 */
int fence_run(const struct fence_config *c);
