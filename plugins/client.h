/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - what a program beside a node needs to speak to the control service: the node's configuration tells
 * where it is and which node this is, and the certificates lie beside that file.
 */
#pragma once

#include "certs.h"
#include "id128.h"

#define CLIENT_FILES 4 /* in the order of struct tls_files */
#define CLIENT_PORT 4523
#define CLIENT_AGENT_YML "/etc/flocker/agent.yml"

struct client {
	const char *agent_yml, *user; /* of the command line; borrowed */
	uint16_t port;		      /* of the REST API */
	char *host, *mount_root; /* of agent.yml */
	char *users_directory; /* see users.h */
	char *terms_file;      /* see terms.h */
	char *files[CLIENT_FILES];
	struct id128 node; /* of node.crt */
	SSL_CTX *ctx;
	struct certs *certs;
};

/* For the options --agent-config, --control-port and --user. 0 or -EINVAL, said on standard error. */
int client_take_port(struct client *c, const char *text);
int client_take_user(struct client *c, const char *text);

/**
 * client_read() - agent.yml and node.crt; makes the node's run-directory when nobody has yet
 * @ret_error: on failure one line, allocated; maybe NULL with -ENOMEM
 *
 * Nothing is logged. Returns: 0 or negative errno; client_done() in either case.
 */
int client_read(struct client *c, char **ret_error);

/**
 * client_load() - the certificates, kept as their files are from here on
 * @on_change: they are others
 * @ret_error: as of client_read()
 *
 * Returns: 0 or negative errno.
 */
int client_load(struct client *c, struct event_base *base, void (*on_change)(void *userdata), void *userdata,
	char **ret_error);
void client_done(struct client *c);
