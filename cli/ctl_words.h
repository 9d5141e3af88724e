/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl_words.h - the command line of flockerctl as tables: its commands, their options, and what
 * stands for a value. Reading the command line, the help texts and completion all go by these.
 */
#pragma once

#include "ctl.h"

/* Commands, as bits for the table of options. */
enum {
	FOR_NODES = 1 << 0,
	FOR_LIST = 1 << 1,
	FOR_CREATE = 1 << 2,
	FOR_MOVE = 1 << 3,
	FOR_DESTROY = 1 << 4,
	FOR_SHOW = 1 << 5,
	FOR_VERSION = 1 << 6,
	FOR_REPLACE = 1 << 7,
	FOR_FENCE = 1 << 8,
	FOR_FAILOVER = 1 << 9,
	FOR_FORGET = 1 << 10,
	FOR_LEASES = 1 << 11,
	FOR_ACQUIRE = 1 << 12,
	FOR_RELEASE = 1 << 13,
	FOR_RESIZE = 1 << 14,
	FOR_RENAME = 1 << 15,
	FOR_SET = 1 << 16,
	FOR_UNDELETE = 1 << 17,
	FOR_PURGE = 1 << 18,
	FOR_WAIT = 1 << 19,
	FOR_EVENTS = 1 << 20,
	FOR_NODE = 1 << 21,
	FOR_DRAIN = 1 << 22,
	FOR_UNDRAIN = 1 << 23,
	FOR_HEALTH = 1 << 24,
	FOR_DIAGNOSE = 1 << 25,
	FOR_ALL = (1 << 26) - 1,
	FOR_MAIN = 1 << 26, /* before the command */
};

/* Those that wish something of a dataset, and those that change anything. */
#define FOR_WISHES (FOR_CREATE | FOR_MOVE | FOR_DESTROY | FOR_RESIZE | FOR_UNDELETE | FOR_PURGE)
#define FOR_WRITES \
	(FOR_WISHES | FOR_RENAME | FOR_SET | FOR_FAILOVER | FOR_REPLACE | FOR_FENCE | FOR_FORGET | \
		FOR_ACQUIRE | FOR_RELEASE | FOR_DRAIN | FOR_UNDRAIN)

/* What getopt_long() returns for an option without a letter. */
enum {
	OPT_CONTROL_SERVICE = 256,
	OPT_CONTROL_PORT,
	OPT_CERTS_PATH,
	OPT_CLUSTER_YML,
	OPT_CLUSTER_CRT,
	OPT_USER,
	OPT_JSON,
	OPT_NO_HEADER,
	OPT_HELP,
	OPT_VERSION,
	OPT_NAME,
	OPT_FILESYSTEM,
	OPT_WAIT,
	OPT_DELETED, /* -d of list; -d of others names a dataset */
	OPT_DATASET,
	OPT_ACCEPT_RISK,
	OPT_POLICY,
	OPT_TERM,
	OPT_TO,
	OPT_EXPIRES,
	OPT_UNPLACED,
	OPT_IDEMPOTENCY_KEY,
	OPT_UNDELETE,
	OPT_PLAN,
	OPT_WATCH,
	OPT_UNTIL,
	OPT_TIMEOUT,
	OPT_AFTER,
	OPT_TYPE,
	OPT_OUTPUT,
};

struct option_row {
	const char *name;
	char letter;
	int has_arg, value; /* as getopt_long() has them */
	unsigned int commands;
	const char *arg; /* also the kind of its value: all that take a "NODE" complete alike */
	const char *help;
};

struct command {
	const char *name, *alias; /* of one word or two */
	unsigned int bit;
	const char *argument, *argument2; /* the positional ones; as option_row.arg */
	int (*run)(struct ctl *c);
	const char *help;
};

extern const struct option_row option_rows[];
extern const size_t n_option_rows;
extern const struct command commands[];
extern const size_t n_commands;

/* The command that begins at @argv, and how many of its words are the name; NULL: none. */
const struct command *find_command(int argc, char **argv, int *ret_words);

/* Is @word the first of two words of commands? */
bool is_command_group(const char *word);

/* The option "--name" (of @len bytes, without the dashes) or "-letter" of a command; NULL: none. */
const struct option_row *option_by_name(unsigned int bit, const char *name, size_t len);
const struct option_row *option_by_letter(unsigned int bit, int letter);

void main_help(FILE *out);
void group_help(FILE *out, const char *group);
void command_help(FILE *out, const struct command *c);
