/* SPDX-License-Identifier: Apache-2.0 */
/* docker_config.h - the plugin's command line, and what it takes from the node's configuration beside it. */
#pragma once

#include "id128.h"

#define DOCKER_CONFIG_FILES 4 /* in the order of struct tls_files */

struct docker_config {
	const char *agent_yml, *socket, *engine_socket, *state_directory, *user; /* of the command line */
	unsigned int limit_s;
	uint16_t port; /* of the REST API */
	bool wait_in_use;
	int log_level;
	char *host, *mount_root; /* of agent.yml */
	char *files[DOCKER_CONFIG_FILES];
	char *state_path;
	struct id128 node; /* of node.crt */
};

/* 0 to go on; 1 when all was said (--help); -EINVAL, said on standard error. */
int docker_config_parse(int argc, char **argv, struct docker_config *ret);

/* Reads the files. 0 or negative errno, logged. */
int docker_config_read(struct docker_config *c);
void docker_config_done(struct docker_config *c);
