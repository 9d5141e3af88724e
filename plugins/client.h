/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - what a program beside a node needs to speak to the control service: the node's
 * configuration tells where it is and which node this is, and the certificates lie beside that
 * file.
 */
#pragma once

#include <getopt.h>

#include "certs.h"
#include "id128.h"
#include "log.h"

#define CLIENT_FILES 4 /* in the order of struct tls_files */

struct client {
	const char *agent_yml, *user; /* of the command line; borrowed */
	uint16_t port;		      /* of the REST API */
	int log_level;
	char *host, *mount_root; /* of agent.yml */
	char *users_directory; /* see users.h */
	char *terms_file;      /* see terms.h */
	char *files[CLIENT_FILES];
	struct id128 node; /* of node.crt */
	SSL_CTX *ctx;
	struct certs *certs;
};

/* What is not said on the command line. */
#define CLIENT_DEFAULTS \
	{ \
		.agent_yml = "/etc/flocker/agent.yml", .user = "plugin", .port = 4523, .log_level = LOG_INFO \
	}

/* The options of getopt_long(3), short ones being "c:", that each program has; LOG_LEVEL is of
 * those that want it. */
enum {
	CLIENT_OPT_AGENT = 'c',
	CLIENT_OPT_PORT = 256,
	CLIENT_OPT_USER,
	CLIENT_OPT_LOG_LEVEL,
	CLIENT_OPT_HELP,
	CLIENT_OPT_VERSION,
	CLIENT_OPT_OWN, /* the first of a program's own */
};

/* clang-format off */
#define CLIENT_OPTIONS \
	{ "agent-config", required_argument, NULL, CLIENT_OPT_AGENT }, \
	{ "control-port", required_argument, NULL, CLIENT_OPT_PORT }, \
	{ "user", required_argument, NULL, CLIENT_OPT_USER }, \
	{ "help", no_argument, NULL, CLIENT_OPT_HELP }, \
	{ "version", no_argument, NULL, CLIENT_OPT_VERSION }
#define CLIENT_LOG_LEVEL_OPTION { "log-level", required_argument, NULL, CLIENT_OPT_LOG_LEVEL }
/* clang-format on */

/**
 * client_take() - one of these options, as getopt_long() left it; any other is an error
 * @program: its name
 * @usage: what --help prints
 *
 * Returns: 0; 1: what was wanted is printed; -EINVAL, said on standard error.
 */
int client_take(struct client *c, int option, const char *program, const char *usage);

/* Says on standard error what is wrong with the value of an option. Returns: -EINVAL. */
int client_wrong(const char *option, const char *text, const char *right);

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
int client_load(struct client *c, struct event_base *base, void (*on_change)(void *userdata),
	void *userdata, char **ret_error);
void client_done(struct client *c);
