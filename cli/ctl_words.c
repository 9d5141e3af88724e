/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>

#include "ctl_words.h"

/* clang-format off */
const struct option_row option_rows[] = {
	{ "long", 'l', no_argument, 'l', FOR_NODES | FOR_LIST | FOR_LEASES, NULL, "whole UUIDs of nodes" },
	{ "deleted", 'd', no_argument, OPT_DELETED, FOR_LIST, NULL, "destroyed datasets, too" },
	{ "human", 'h', no_argument, 'h', FOR_LIST, NULL, "nothing; sizes are for people anyway" },
	{ "no-header", 0, no_argument, OPT_NO_HEADER, FOR_NODES | FOR_LIST | FOR_LEASES, NULL, "no line of titles" },
	{ "node", 'n', required_argument, 'n', FOR_CREATE, "NODE", "where: beginning of a UUID, address or host" },
	{ "node", 'n', required_argument, 'n', FOR_ACQUIRE, "NODE", "for whom; else the one that has it mounted" },
	{ "expires", 'e', required_argument, OPT_EXPIRES, FOR_ACQUIRE, "SECONDS", "ends by itself; else when released" },
	{ "size", 's', required_argument, 's', FOR_CREATE, "SIZE", "at most, such as 10G, 1.5G or 500MiB" },
	{ "name", 0, required_argument, OPT_NAME, FOR_CREATE, "NAME", "metadata \"name\"" },
	{ "filesystem", 0, required_argument, OPT_FILESYSTEM, FOR_CREATE, "KIND", "ext4, xfs or btrfs; else the node's default" },
	{ "metadata", 'm', required_argument, 'm', FOR_CREATE, "A=B,...", "metadata; may be given again" },
	{ "dataset", 'd', required_argument, OPT_DATASET, FOR_MOVE | FOR_DESTROY, "DATASET", "which: beginning of an id, or a name" },
	{ "destination", 't', required_argument, 't', FOR_MOVE, "NODE", "where: beginning of a UUID, address or host" },
	{ "wait", 0, optional_argument, OPT_WAIT, FOR_CREATE | FOR_MOVE | FOR_DESTROY, "SECONDS", "show the steps until done, or so long (120)" },
	{ "accept-risk", 0, no_argument, OPT_ACCEPT_RISK, FOR_FENCE | FOR_FORGET, NULL, "you know that the machine writes no more" },
	{ "policy", 0, required_argument, OPT_POLICY, FOR_FAILOVER, "POLICY", "manual or lease" },
	{ "term", 0, required_argument, OPT_TERM, FOR_FAILOVER, "SECONDS", "of a lease; else as it was" },
	{ "json", 0, no_argument, OPT_JSON, FOR_ALL | FOR_MAIN, NULL, "print JSON" },
	{ "control-service", 0, required_argument, OPT_CONTROL_SERVICE, FOR_ALL | FOR_MAIN, "HOST", "$FLOCKER_CONTROL_SERVICE, or agent.yml's" },
	{ "control-port", 0, required_argument, OPT_CONTROL_PORT, FOR_ALL | FOR_MAIN, "PORT", "$FLOCKER_CONTROL_PORT, or 4523" },
	{ "certs-path", 0, required_argument, OPT_CERTS_PATH, FOR_ALL | FOR_MAIN, "DIR", "$FLOCKER_CERTS_PATH, or ." },
	{ "user", 0, required_argument, OPT_USER, FOR_ALL | FOR_MAIN, "NAME", "$FLOCKER_USER, or user" },
	{ "cluster-yml", 0, required_argument, OPT_CLUSTER_YML, FOR_ALL | FOR_MAIN, "FILE", "certificates beside it, first of its users" },
	{ "cluster-crt", 0, required_argument, OPT_CLUSTER_CRT, FOR_ALL | FOR_MAIN, "FILE", "nothing; it is cluster.crt in --certs-path" },
	{ "help", 0, no_argument, OPT_HELP, FOR_ALL | FOR_MAIN, NULL, "this text" },
	{ "version", 0, no_argument, OPT_VERSION, FOR_ALL | FOR_MAIN, NULL, "the version of this program" },
};
const size_t n_option_rows = ARRAY_SIZE(option_rows);

const struct command commands[] = {
	{ "list-nodes", "status", FOR_NODES, NULL, ctl_run_nodes, "the nodes" },
	{ "list", "ls", FOR_LIST, NULL, ctl_run_list, "the datasets" },
	{ "show", NULL, FOR_SHOW, "DATASET", ctl_run_show, "one dataset whole" },
	{ "create", NULL, FOR_CREATE, NULL, ctl_run_create, "a new dataset on a node" },
	{ "move", NULL, FOR_MOVE, NULL, ctl_run_move, "a dataset to another node" },
	{ "destroy", NULL, FOR_DESTROY, NULL, ctl_run_destroy, "a dataset with all its data" },
	{ "failover", NULL, FOR_FAILOVER, "DATASET", ctl_run_failover, "who takes a dataset from a lost node" },
	{ "lease list", "lease ls", FOR_LEASES, NULL, ctl_run_leases, "which datasets are to stay where they are" },
	{ "lease acquire", NULL, FOR_ACQUIRE, "DATASET", ctl_run_acquire, "keep a dataset where it is, or renew that" },
	{ "lease release", NULL, FOR_RELEASE, "DATASET", ctl_run_release, "let a dataset move and be destroyed" },
	{ "node fence", NULL, FOR_FENCE, "NODE", ctl_run_fence, "take the datasets of a lost node from it" },
	{ "node forget", NULL, FOR_FORGET, "NODE", ctl_run_forget, "fence a node that never comes back, for ever" },
	{ "node replace", NULL, FOR_REPLACE, "NODE", ctl_run_replace, "let another machine take a node's identity" },
	{ "version", NULL, FOR_VERSION, NULL, ctl_run_version, "of this program and of the control service" },
};
const size_t n_commands = ARRAY_SIZE(commands);
/* clang-format on */

/* How many words of @argv are all of @name: 1 or 2; 0: they are another. */
static int words_of(const char *name, int argc, char **argv)
{
	size_t first = name ? strcspn(name, " ") : 0;

	if (!first || strlen(argv[0]) != first || strncmp(argv[0], name, first) != 0)
		return 0;
	if (name[first] == '\0')
		return 1;
	return argc > 1 && STREQ(argv[1], name + first + 1) ? 2 : 0;
}

const struct command *find_command(int argc, char **argv, int *ret_words)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		int words = words_of(commands[i].name, argc, argv);

		if (!words)
			words = words_of(commands[i].alias, argc, argv);
		if (words) {
			*ret_words = words;
			return &commands[i];
		}
	}
	return NULL;
}

bool is_command_group(const char *word)
{
	size_t len = strlen(word);

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strncmp(commands[i].name, word, len) == 0 && commands[i].name[len] == ' ')
			return true;
	return false;
}

const struct option_row *option_by_name(unsigned int bit, const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(option_rows); i++) {
		const struct option_row *o = &option_rows[i];

		if ((o->commands & bit) && strlen(o->name) == len && strncmp(o->name, name, len) == 0)
			return o;
	}
	return NULL;
}

const struct option_row *option_by_letter(unsigned int bit, int letter)
{
	for (size_t i = 0; i < ARRAY_SIZE(option_rows); i++)
		if (option_rows[i].letter == letter && (option_rows[i].commands & bit))
			return &option_rows[i];
	return NULL;
}

static void help_options(FILE *out, unsigned int bit)
{
	fputs("\nOptions:\n", out);
	for (size_t i = 0; i < ARRAY_SIZE(option_rows); i++) {
		const struct option_row *o = &option_rows[i];
		char left[64];

		if (!(o->commands & bit))
			continue;
		snprintf(left, sizeof(left), "%c%c%c --%s%s%s%s%s", o->letter ? '-' : ' ',
			o->letter ? o->letter : ' ', o->letter ? ',' : ' ', o->name,
			o->has_arg == optional_argument ? "[" : "", o->arg ? "=" : "",
			o->arg ? o->arg : "", o->has_arg == optional_argument ? "]" : "");
		fprintf(out, "  %-28s %s\n", left, o->help);
	}
}

/* All of them, or those of a group. */
static void help_commands(FILE *out, const char *group)
{
	size_t len = group ? strlen(group) : 0;

	fputs("\nCommands:\n", out);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct command *c = &commands[i];
		char left[40];

		if (group && (strncmp(c->name, group, len) != 0 || c->name[len] != ' '))
			continue;
		snprintf(left, sizeof(left), "%s%s%s%s%s", c->name, c->alias ? ", " : "",
			c->alias ? c->alias : "", c->argument ? " " : "",
			c->argument ? c->argument : "");
		fprintf(out, "  %-22s %s\n", left, c->help);
	}
}

void group_help(FILE *out, const char *group)
{
	fprintf(out, "Usage: flockerctl %s COMMAND [OPTIONS]\n", group);
	help_commands(out, group);
}

void main_help(FILE *out)
{
	fputs("Usage: flockerctl [OPTIONS] COMMAND [OPTIONS]\n", out);
	help_commands(out, NULL);
	help_options(out, FOR_MAIN);
	fputs("\nflockerctl COMMAND --help tells a command's options; see flockerctl(1).\n"
	      "Exit status: 0 done, 1 wrong command line, 2 no connection or no trust,\n"
	      "3 refused, 4 no such node, dataset or lease, or several, 5 --wait ended first,\n"
	      "6 the control service failed, 7 another wish came while waiting.\n",
		out);
}

void command_help(FILE *out, const struct command *c)
{
	fprintf(out, "Usage: flockerctl %s [OPTIONS]%s%s\n\n%s: %s\n", c->name,
		c->argument ? " " : "", c->argument ? c->argument : "", c->name, c->help);
	help_options(out, c->bit);
}
