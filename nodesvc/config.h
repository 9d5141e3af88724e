/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - agent.yml, the one configuration file of a node.
 *
 * The format is the original's version 1: `control-service` and `dataset` mappings, plus the keys
 * below. What is not understood is an error that names the line, never a silent default. The bytes
 * may be a stranger's: anchors, aliases, tags, second documents and files beyond
 * NODE_CONFIG_SIZE_MAX are refused, and nothing nests deeper than the format needs.
 */
#pragma once

#include "types.h"

#define NODE_CONFIG_SIZE_MAX (64 * KIB)
#define NODE_CONFIG_OPTIONS_MAX 64
#define NODE_CONFIG_WHY_MAX 1024 /* enough for any line in @why */
#define NODE_CONFIG_DEFAULT_PATH "/etc/flocker/agent.yml"

#define NODE_CONFIG_SPACE_PERCENT 10 /* unless given */

/* When room that files no longer need goes back to the backend. */
enum discard_policy {
	DISCARD_OFF,	/* never */
	DISCARD_WEEKLY, /* looked for once a week, in the background */
	DISCARD_ON,	/* at once: the mount option */
};

/* One key of `dataset` that belongs to the backend; @line is for its error messages. */
struct node_option {
	char *key, *value;
	unsigned int line;
};

struct node_config {
	char *control_hostname;	 /* host name or IP address */
	uint16_t control_port;	 /* of the agent protocol */
	char *backend;		 /* name of the driver; whether it exists, the driver table knows */
	struct node_option *options;
	size_t n_options;
	char *address;		 /* IP address this node dials from and is known by, or NULL */
	char *mount_root;	 /* absolute, normalized, as are the next two */
	char *run_directory;
	char *state_directory;
	enum fs_kind filesystem; /* for datasets that do not choose one */
	char *mount_options;	 /* beside VMOUNT_DEFAULT_OPTIONS, separated by commas; or "" */
	bool self_fence_reboot;	 /* when nothing else ends a leased dataset in time, restart the machine */
	char *cluster_crt, *cluster_crl, *node_crt, *node_key; /* paths beside the file; not looked at */
	unsigned int space_percent; /* of a backend: below, it is warned of; 0: never */
	enum discard_policy discard;
	char *watchdog;		 /* "auto", "none", or a device below /dev */
	char **warnings;	 /* whole lines for the log */
	size_t n_warnings;
};

/**
 * node_config_parse() - read the text of an agent.yml; does no I/O
 * @text: @size bytes, need not end with NUL
 * @file_name: path for messages and for the certificates beside it
 * @ret: set on success only; end it with node_config_free()
 * @why: on failure one line, such as "agent.yml line 7: unknown key 'adress'; did you mean 'address'?"
 *
 * Returns: 0, -EBADMSG for anything wrong in the text, -E2BIG for too much of it, or -ENOMEM.
 */
int node_config_parse(const char *text, size_t size, const char *file_name,
	struct node_config **ret, char *why, size_t why_size);

/* As node_config_parse(), from a regular file. Also returns negative errno of open and read. */
int node_config_read(const char *path, struct node_config **ret, char *why, size_t why_size);

/* Frees all of it; NULL in, NULL out. */
struct node_config *node_config_free(struct node_config *c);
DEFINE_CLEANUP(struct node_config *, node_config_free);
