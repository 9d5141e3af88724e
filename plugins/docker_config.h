/* SPDX-License-Identifier: Apache-2.0 */
/* docker_config.h - the plugin's command line, and what it takes from the node's configuration beside it. */
#pragma once

#include "client.h"

struct docker_config {
	struct client client;
	const char *socket, *engine_socket, *state_directory; /* of the command line */
	unsigned int limit_s;
	bool wait_in_use;
	char *state_path;
};

/* 0 to go on; 1 when all was said (--help); -EINVAL, said on standard error. */
int docker_config_parse(int argc, char **argv, struct docker_config *ret);

/* Reads the files. 0 or negative errno, logged. */
int docker_config_read(struct docker_config *c);
void docker_config_done(struct docker_config *c);
