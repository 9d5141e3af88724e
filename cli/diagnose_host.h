/* SPDX-License-Identifier: Apache-2.0 */
/* diagnose_host.h - what this machine knows of its part of the cluster. Each part is looked for by part_run(). */
#pragma once

#include "ctl.h"

struct host_part {
	const char *name; /* in the archive */
	int (*run)(const void *userdata); /* of part_run(); @userdata: this struct */
	const char *words[12]; /* a path, or a command; NULL ends them */
	const struct ctl_args *args;
};

extern const struct host_part host_parts[];
extern const size_t n_host_parts;
