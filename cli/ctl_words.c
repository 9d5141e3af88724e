/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>

#include "ctl_words.h"

/* clang-format off */
const struct option_row option_rows[] = {
	{ "long", 'l', no_argument, 'l', FOR_NODES | FOR_LIST | FOR_LEASES, NULL, "whole UUIDs of nodes" },
	{ "deleted", 'd', no_argument, OPT_DELETED, FOR_LIST, NULL, "destroyed datasets, too" },
	{ "human", 'h', no_argument, 'h', FOR_LIST, NULL, "nothing; sizes are for people anyway" },
	{ "no-header", 0, no_argument, OPT_NO_HEADER, FOR_NODES | FOR_LIST | FOR_LEASES, NULL, "no line of titles" },
	{ "watch", 'w', no_argument, OPT_WATCH, FOR_NODES | FOR_LIST | FOR_SHOW, NULL, "go on, with each change" },
	{ "node", 'n', required_argument, 'n', FOR_CREATE, "NODE", "where; else the control service chooses" },
	{ "node", 'n', required_argument, 'n', FOR_ACQUIRE, "NODE", "for whom; else the one that has it mounted" },
	{ "node", 'n', required_argument, 'n', FOR_EVENTS, "NODE", "only of this node and what it has" },
	{ "unplaced", 0, no_argument, OPT_UNPLACED, FOR_CREATE | FOR_MOVE, NULL, "on no node, until it is moved" },
	{ "expires", 'e', required_argument, OPT_EXPIRES, FOR_ACQUIRE, "SECONDS", "ends by itself; else when released" },
	{ "size", 's', required_argument, 's', FOR_CREATE, "SIZE", "such as 10G, 1.5G or 500MiB" },
	{ "name", 0, required_argument, OPT_NAME, FOR_CREATE, "NAME", "what it is called; no two are called alike" },
	{ "filesystem", 0, required_argument, OPT_FILESYSTEM, FOR_CREATE, "KIND", "ext4, xfs or btrfs; else the node's default" },
	{ "metadata", 'm', required_argument, 'm', FOR_CREATE, "A=B,...", "metadata; may be given again" },
	{ "metadata", 'm', required_argument, 'm', FOR_SET, "A=B,...", "to set; \"A=\" takes A away" },
	{ "dataset", 'd', required_argument, OPT_DATASET, FOR_MOVE | FOR_DESTROY, "DATASET", "which: beginning of an id, or a name" },
	{ "dataset", 'd', required_argument, OPT_DATASET, FOR_EVENTS, "DATASET", "only of this one" },
	{ "destination", 't', required_argument, 't', FOR_MOVE, "NODE", "where: beginning of a UUID, address or host" },
	{ "undelete", 0, required_argument, OPT_UNDELETE, FOR_DESTROY, "TIME", "may be brought back so long: 90, 15m, 7d" },
	{ "wait", 0, optional_argument, OPT_WAIT, FOR_WISHES, "SECONDS", "show the steps until done, or so long (120)" },
	{ "wait", 0, optional_argument, OPT_WAIT, FOR_DRAIN, "SECONDS", "show what is left until nothing is (120)" },
	{ "until", 0, required_argument, OPT_UNTIL, FOR_WAIT, "STATE", "settled (unless given), mounted, destroyed..." },
	{ "timeout", 0, required_argument, OPT_TIMEOUT, FOR_WAIT | FOR_EVENTS, "SECONDS", "at most so long; else without end" },
	{ "after", 0, required_argument, OPT_AFTER, FOR_EVENTS, "REVISION", "those behind it first; else from now on" },
	{ "type", 0, required_argument, OPT_TYPE, FOR_EVENTS, "A,B", "only of dataset, node, lease" },
	{ "output", 'o', required_argument, OPT_OUTPUT, FOR_DIAGNOSE, "FILE", "where to; else flocker-diagnose-*.tar.gz" },
	{ "accept-risk", 0, no_argument, OPT_ACCEPT_RISK, FOR_FENCE | FOR_FORGET, NULL, "you know that the machine writes no more" },
	{ "policy", 0, required_argument, OPT_POLICY, FOR_FAILOVER | FOR_CREATE, "POLICY", "manual or lease" },
	{ "term", 0, required_argument, OPT_TERM, FOR_FAILOVER | FOR_CREATE, "SECONDS", "of a lease; else as it was" },
	{ "to", 0, required_argument, OPT_TO, FOR_FAILOVER | FOR_CREATE, "NODES", "any, none, or UUIDs: where it goes then" },
	{ "idempotency-key", 0, required_argument, OPT_IDEMPOTENCY_KEY, FOR_CREATE, "KEY", "makes one, however often it is run" },
	{ "plan", 0, no_argument, OPT_PLAN, FOR_WRITES, NULL, "say what would be done, and change nothing" },
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
	{ "list-nodes", "status", FOR_NODES, NULL, NULL, ctl_run_nodes, "the nodes" },
	{ "list", "ls", FOR_LIST, NULL, NULL, ctl_run_list, "the datasets" },
	{ "show", NULL, FOR_SHOW, "DATASET", NULL, ctl_run_show, "one dataset whole" },
	{ "create", NULL, FOR_CREATE, NULL, NULL, ctl_run_create, "a new dataset" },
	{ "move", NULL, FOR_MOVE, NULL, NULL, ctl_run_move, "a dataset to another node" },
	{ "resize", NULL, FOR_RESIZE, "DATASET", "SIZE", ctl_run_resize, "more space, while it is in use" },
	{ "rename", NULL, FOR_RENAME, "DATASET", "NAME", ctl_run_rename, "another name" },
	{ "set-metadata", NULL, FOR_SET, "DATASET", NULL, ctl_run_set_metadata, "other metadata" },
	{ "destroy", NULL, FOR_DESTROY, NULL, NULL, ctl_run_destroy, "a dataset with all its data" },
	{ "undelete", NULL, FOR_UNDELETE, "DATASET", NULL, ctl_run_undelete, "one that was destroyed with --undelete" },
	{ "purge", NULL, FOR_PURGE, "DATASET", NULL, ctl_run_purge, "destroy such a one for good, now" },
	{ "failover", NULL, FOR_FAILOVER, "DATASET", NULL, ctl_run_failover, "who takes a dataset from a lost node" },
	{ "wait", NULL, FOR_WAIT, "DATASET", NULL, ctl_run_wait, "until a dataset is as wished" },
	{ "events", NULL, FOR_EVENTS, NULL, NULL, ctl_run_events, "what changes, as it happens" },
	{ "lease list", "lease ls", FOR_LEASES, NULL, NULL, ctl_run_leases, "which datasets are to stay where they are" },
	{ "lease acquire", NULL, FOR_ACQUIRE, "DATASET", NULL, ctl_run_acquire, "keep a dataset where it is, or renew that" },
	{ "lease release", NULL, FOR_RELEASE, "DATASET", NULL, ctl_run_release, "let a dataset move and be destroyed" },
	{ "node list", "node ls", FOR_NODES, NULL, NULL, ctl_run_nodes, "the nodes" },
	{ "node show", NULL, FOR_NODE, "NODE", NULL, ctl_run_node, "one node whole" },
	{ "node drain", NULL, FOR_DRAIN, "NODE", NULL, ctl_run_drain, "move all its datasets elsewhere" },
	{ "node undrain", NULL, FOR_UNDRAIN, "NODE", NULL, ctl_run_undrain, "let it take datasets again" },
	{ "node fence", NULL, FOR_FENCE, "NODE", NULL, ctl_run_fence, "take the datasets of a lost node from it" },
	{ "node forget", NULL, FOR_FORGET, "NODE", NULL, ctl_run_forget, "fence a node that never comes back, for ever" },
	{ "node replace", NULL, FOR_REPLACE, "NODE", NULL, ctl_run_replace, "let another machine take a node's identity" },
	{ "health", NULL, FOR_HEALTH, NULL, NULL, ctl_run_health, "of the control service" },
	{ "diagnose", NULL, FOR_DIAGNOSE, NULL, NULL, ctl_run_diagnose, "an archive for whoever looks for a fault" },
	{ "version", NULL, FOR_VERSION, NULL, NULL, ctl_run_version, "of this program and of the control service" },
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
		snprintf(left, sizeof(left), "%s%s%s%s%s%s%s", c->name, c->alias ? ", " : "",
			c->alias ? c->alias : "", c->argument ? " " : "",
			c->argument ? c->argument : "", c->argument2 ? " " : "",
			c->argument2 ? c->argument2 : "");
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
	      "3 refused, 4 no such node, dataset or lease, or several, 5 the wait ended first,\n"
	      "6 the control service failed, 7 another wish came while waiting.\n",
		out);
}

void command_help(FILE *out, const struct command *c)
{
	fprintf(out, "Usage: flockerctl %s [OPTIONS]%s%s%s%s\n\n%s: %s\n", c->name,
		c->argument ? " " : "", c->argument ? c->argument : "", c->argument2 ? " " : "",
		c->argument2 ? c->argument2 : "", c->name, c->help);
	help_options(out, c->bit);
}
