/* SPDX-License-Identifier: Apache-2.0 */
/*
 * steps.h - carry out one step of one dataset, then look at what is there. Runs on a worker.
 */
#pragma once

#include "driver.h"
#include "roster.h"

/* The same for all datasets of a node; constant while steps run. */
struct step_env {
	const struct driver_ops *ops;
	struct driver *driver;
	const char *mount_root, *mount_options;
};

struct step_job {
	const struct step_env *env;
	struct roster_start start;
	/* results */
	int error; /* positive errno; 0: done */
	char why[WIRE_WHY_MAX];
	bool same_holders; /* EBUSY as before: nobody was looked for, @why says nothing new */
	bool looked; /* seen and extra are valid */
	struct converge_seen seen;
	struct roster_extra extra;
};

void steps_run(struct step_job *j);
