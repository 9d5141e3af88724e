/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adopt.h - what is claimed here, found before a word is said to control.
 *
 *   opening -> listing -> looking at each volume -> ready -> late answers
 *
 * All that touches storage runs on workers. A hello gives back what it does not name, so it waits until
 * the backend is open, listed, and its volumes have answered. But one on hung storage must not cut the
 * node off: after ADOPT_SLOW_S hello is said without it, and says that it does not know everything, so
 * that nothing is given back. On the loop's thread.
 */
#pragma once

#include "driver.h"
#include "worker.h"

#define ADOPT_SLOW_S 10 /* storage that has not answered for so long hangs */

struct adopt;

struct adopt_config {
	struct worker_pool *pool; /* borrowed, as all here, until adopt_free() */
	int priority;		  /* of its timer in the loop */
	const struct driver_ops *ops;
	struct driver_node self;
	const struct driver_option *options;
	size_t n_options;
};

struct adopt_callbacks {
	/* The backend is open; @driver is the callee's to close. Once. */
	void (*on_open)(struct driver *driver, const struct driver_desc *desc, void *userdata);
	/* A volume that is claimed here, or of which a device is left here. */
	void (*on_found)(const struct driver_volume *v, void *userdata);
	/* Once: all that answered was told. @unanswered: how many volumes did not. */
	void (*on_ready)(size_t unanswered, void *userdata);
	/* After on_ready with some unanswered: the last of them has answered. Once. */
	void (*on_complete)(void *userdata);
	/* Not yet, and why; it is tried or waited for on and on. */
	void (*on_trouble)(const char *why, void *userdata);
	/* The backend cannot be opened, and will not be by trying again. */
	void (*on_failed)(int err, const char *why, void *userdata);
};

/* Does nothing yet. 0 or -ENOMEM. */
int adopt_new(struct event_base *base, const struct adopt_config *c, const struct adopt_callbacks *cbs,
	void *userdata, struct adopt **ret);

/* Once. */
void adopt_start(struct adopt *a);

/* What still runs on a worker is left to itself, and leaked. NULL in, NULL out. */
struct adopt *adopt_free(struct adopt *a);
