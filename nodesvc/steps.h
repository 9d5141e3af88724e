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
	dev_t devno; /* of the device, when seen.attached */
	uint64_t diskseq;
	bool described; /* backend is valid */
	struct driver_desc backend;
	uint64_t ms; /* that all this took */
};

void steps_run(struct step_job *j);

/*
 * A machine that went down leaves the places of its mounts, also of datasets that others have by now:
 * those that are empty and that nobody knows of go. Blocks on the mount root alone.
 */
void steps_remove_places(const struct step_env *env, bool (*is_known)(struct id128 dataset_id, void *userdata),
	void *userdata);

/* Is anything mounted at the dataset's place? Reads mountinfo; does not wait for storage. */
bool steps_is_mounted(const struct step_env *env, struct id128 dataset_id);
