/* SPDX-License-Identifier: Apache-2.0 */
/* dataset_config.h - the command line of flocker-dataset. */
#pragma once

#include <sys/types.h>

#include "client.h"

#define DATASET_PLACES "/srv/flocker"

struct dataset_config {
	struct client client;
	char *dataset, *place;
	const char *unit; /* that this is the main process of; NULL: of none */
	uid_t owner; /* -1: as it is, as the next two */
	gid_t group;
	mode_t mode;
	bool wait_in_use;
};

/* 0 to go on; 1 when all was said (--help); -EINVAL, said on standard error. dataset_config_done()
 * in any case. */
int dataset_config_parse(int argc, char **argv, struct dataset_config *ret);
void dataset_config_done(struct dataset_config *c);

/**
 * dataset_unescape() - a name out of a unit's instance, in which systemd-escape(1) writes some
 * bytes as \xNN
 * Returns: allocated; NULL: there is no memory, or it is no such text.
 */
char *dataset_unescape(const char *instance);
