/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - the command line of flocker-control. */
#pragma once

#include "endpoint.h"
#include "http.h"
#include "types.h"

enum command { COMMAND_SERVE, COMMAND_BACKUP, COMMAND_RECOVER, COMMAND_IMPORT };

struct options {
	enum command command;
	const char *file; /* of backup and import */
	const char *from; /* of recover, or NULL */
	bool force, apply;
	const char *data_path, *certificates, *user;
	bool user_given;
	struct endpoint rest, agents;
	int log_level;
	struct failover failover; /* of datasets that do not choose one */
	uint64_t undelete_s;  /* for how long what is deleted is kept, if nobody says */
	uint64_t retention_s; /* of deleted datasets and of nodes' eras; 0: for ever */
	uint32_t state_expiry_ms; /* of what a silent node said last */
	struct http_limits limits;
	size_t event_bytes;	  /* for the last events */
	unsigned int depth;	  /* levels of a request's body */
	uint32_t stop_extension_ms; /* what terms become before a planned stop; 0: they stay */
};

/**
 * options_parse() - read the command line; --help and --version are answered on standard output
 * @ret: its texts are borrowed from @argv
 *
 * Returns: 1 to go on, 0 when all is done; -EINVAL after one line of error and one of advice on
 * standard error.
 */
int options_parse(int argc, char **argv, struct options *ret);
