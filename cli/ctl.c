/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flockerctl - the cluster from a shell. One command a run: reads the command line by the tables
 * below, calls the REST API, prints a table or JSON.
 */
#include <getopt.h>
#include <locale.h>
#include <signal.h>

#include "ctl.h"
#include "say.h"
#include "text.h"
#include "types.h"

#define DEFAULT_PORT 4523
#define DEFAULT_WAIT_MS (120 * 1000)

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
	FOR_ALL = (1 << 10) - 1,
	FOR_MAIN = 1 << 10, /* before the command */
};

/* What getopt_long() returns for an option without a letter. */
enum {
	OPT_CONTROL_SERVICE = 256,
	OPT_CONTROL_PORT,
	OPT_CERTS_PATH,
	OPT_USER,
	OPT_JSON,
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
};

struct option_row {
	const char *name;
	char letter;
	int has_arg, value;
	unsigned int commands;
	const char *arg, *help;
};

/* clang-format off */
static const struct option_row option_rows[] = {
	{ "long", 'l', no_argument, 'l', FOR_NODES | FOR_LIST, NULL, "whole UUIDs of nodes" },
	{ "deleted", 'd', no_argument, OPT_DELETED, FOR_LIST, NULL, "destroyed datasets, too" },
	{ "human", 'h', no_argument, 'h', FOR_LIST, NULL, "nothing; sizes are for people anyway" },
	{ "node", 'n', required_argument, 'n', FOR_CREATE, "NODE", "where: beginning of a UUID, or an address" },
	{ "size", 's', required_argument, 's', FOR_CREATE, "SIZE", "at most, " ARGS_SIZE_FORM },
	{ "name", 0, required_argument, OPT_NAME, FOR_CREATE, "NAME", "metadata \"name\"" },
	{ "filesystem", 0, required_argument, OPT_FILESYSTEM, FOR_CREATE, "KIND", "ext4, xfs or btrfs; the node's default otherwise" },
	{ "metadata", 'm', required_argument, 'm', FOR_CREATE, "A=B,...", "metadata; may be given again" },
	{ "dataset", 'd', required_argument, OPT_DATASET, FOR_MOVE | FOR_DESTROY, "DATASET", "which: beginning of an id, or a name" },
	{ "destination", 't', required_argument, 't', FOR_MOVE, "NODE", "where: beginning of a UUID, or an address" },
	{ "wait", 0, optional_argument, OPT_WAIT, FOR_CREATE | FOR_MOVE | FOR_DESTROY, "SECONDS", "show the steps until done, at most so long (120)" },
	{ "accept-risk", 0, no_argument, OPT_ACCEPT_RISK, FOR_FENCE, NULL, "you know that the machine writes no more" },
	{ "policy", 0, required_argument, OPT_POLICY, FOR_FAILOVER, "POLICY", "manual or lease" },
	{ "term", 0, required_argument, OPT_TERM, FOR_FAILOVER, "SECONDS", "of a lease; else as it was" },
	{ "json", 0, no_argument, OPT_JSON, FOR_ALL | FOR_MAIN, NULL, "print JSON" },
	{ "control-service", 0, required_argument, OPT_CONTROL_SERVICE, FOR_ALL | FOR_MAIN, "HOST", "$FLOCKER_CONTROL_SERVICE" },
	{ "control-port", 0, required_argument, OPT_CONTROL_PORT, FOR_ALL | FOR_MAIN, "PORT", "$FLOCKER_CONTROL_PORT, or 4523" },
	{ "certs-path", 0, required_argument, OPT_CERTS_PATH, FOR_ALL | FOR_MAIN, "DIR", "$FLOCKER_CERTS_PATH, or ." },
	{ "user", 0, required_argument, OPT_USER, FOR_ALL | FOR_MAIN, "NAME", "$FLOCKER_USER, or user" },
	{ "help", 0, no_argument, OPT_HELP, FOR_ALL | FOR_MAIN, NULL, "this text" },
	{ "version", 0, no_argument, OPT_VERSION, FOR_ALL | FOR_MAIN, NULL, "the version of this program" },
};

static const struct command {
	const char *name, *alias;
	unsigned int bit;
	const char *argument;
	int (*run)(struct ctl *c);
	const char *help;
} commands[] = {
	{ "list-nodes", "status", FOR_NODES, NULL, ctl_run_nodes, "the nodes" },
	{ "list", "ls", FOR_LIST, NULL, ctl_run_list, "the datasets" },
	{ "show", NULL, FOR_SHOW, "DATASET", ctl_run_show, "one dataset whole" },
	{ "create", NULL, FOR_CREATE, NULL, ctl_run_create, "a new dataset on a node" },
	{ "move", NULL, FOR_MOVE, NULL, ctl_run_move, "a dataset to another node" },
	{ "destroy", NULL, FOR_DESTROY, NULL, ctl_run_destroy, "a dataset with all its data" },
	{ "failover", NULL, FOR_FAILOVER, "DATASET", ctl_run_failover, "who takes a dataset from a lost node" },
	{ "node replace", NULL, FOR_REPLACE, "NODE", ctl_run_replace, "let another machine take a node's identity" },
	{ "node fence", NULL, FOR_FENCE, "NODE", ctl_run_fence, "take the datasets of a lost node from it" },
	{ "version", NULL, FOR_VERSION, NULL, ctl_run_version, "versions of this program and of the control service" },
};
/* clang-format on */

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

static void help(FILE *out)
{
	fputs("Usage: flockerctl [OPTIONS] COMMAND [OPTIONS]\n\nCommands:\n", out);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		char left[40];

		snprintf(left, sizeof(left), "%s%s%s%s%s", commands[i].name,
			commands[i].alias ? ", " : "", commands[i].alias ? commands[i].alias : "",
			commands[i].argument ? " " : "",
			commands[i].argument ? commands[i].argument : "");
		fprintf(out, "  %-22s %s\n", left, commands[i].help);
	}
	help_options(out, FOR_MAIN);
	fputs("\nflockerctl COMMAND --help tells a command's options.\nSee flockerctl(1), also for "
	      "the "
	      "exit statuses.\n",
		out);
}

static void command_help(FILE *out, const struct command *c)
{
	fprintf(out, "Usage: flockerctl %s [OPTIONS]%s%s\n\n%s: %s\n", c->name,
		c->argument ? " " : "", c->argument ? c->argument : "", c->name, c->help);
	help_options(out, c->bit);
}

static int set_size(struct ctl_args *a, const char *text)
{
	int r = args_size(text, &a->size);

	if (r == -ERANGE)
		return say_error(
			CTL_USAGE, "size '%s' is larger than anything that can be stored", text);
	if (r < 0)
		return say_error(CTL_USAGE, "'%s' is no size; write one " ARGS_SIZE_FORM, text);
	return CTL_OK;
}

static int set_port(struct ctl_args *a, const char *text, const char *from)
{
	size_t n = strlen(text);
	unsigned long port = 0;

	if (n > 0 && n <= 5 && strspn(text, "0123456789") == n)
		port = strtoul(text, NULL, 10);
	if (port < 1 || port > UINT16_MAX)
		return say_error(
			CTL_USAGE, "%s must be a number from 1 to 65535, not '%s'", from, text);
	a->port = (uint16_t)port;
	return CTL_OK;
}

static int add_metadata(struct ctl_args *a, const char *text)
{
	const char *problem = NULL;
	int r;

	if (!a->metadata)
		a->metadata = json_object_new_object();
	r = a->metadata ? args_metadata(text, a->metadata, &problem) : -ENOMEM;
	if (r == -ENOMEM)
		return ctl_no_memory();
	if (r < 0)
		return say_error(
			CTL_USAGE, "in metadata '%s' %s; write it as a=b,c=d", text, problem);
	return CTL_OK;
}

static int set_wait(struct ctl_args *a, const char *text)
{
	a->wait = true;
	a->wait_ms = DEFAULT_WAIT_MS;
	if (text && args_seconds(text, &a->wait_ms) < 0)
		return say_error(CTL_USAGE,
			"--wait takes a number of seconds, such as --wait=60, not '%s'", text);
	return CTL_OK;
}

static int set_filesystem(struct ctl_args *a, const char *text)
{
	if (fs_kind_parse(text) < 0)
		return say_error(CTL_USAGE, "--filesystem is ext4, xfs or btrfs, not '%s'", text);
	a->filesystem = text;
	return CTL_OK;
}

static int set_policy(struct ctl_args *a, const char *text)
{
	if (failover_kind_parse(text) < 0)
		return say_error(CTL_USAGE, "--policy is manual or lease, not '%s'", text);
	a->policy = text;
	return CTL_OK;
}

static int set_term(struct ctl_args *a, const char *text)
{
	if (text_number(text, 1, UINT32_MAX, &a->term_s) < 0)
		return say_error(CTL_USAGE, "--term takes a number of seconds, not '%s'", text);
	return CTL_OK;
}

static int set_option(struct ctl_args *a, int value, const char *text)
{
	switch (value) {
	case 'l':
		a->long_form = true;
		break;
	case OPT_DELETED:
		a->deleted = true;
		break;
	case 'h':
		break;
	case 'n':
		a->node = text;
		break;
	case 's':
		return set_size(a, text);
	case 'm':
		return add_metadata(a, text);
	case 't':
		a->destination = text;
		break;
	case OPT_DATASET:
		a->dataset = text;
		break;
	case OPT_NAME:
		a->name = text;
		break;
	case OPT_FILESYSTEM:
		return set_filesystem(a, text);
	case OPT_WAIT:
		return set_wait(a, text);
	case OPT_ACCEPT_RISK:
		a->accept_risk = true;
		break;
	case OPT_POLICY:
		return set_policy(a, text);
	case OPT_TERM:
		return set_term(a, text);
	case OPT_JSON:
		a->json = true;
		break;
	case OPT_CONTROL_SERVICE:
		a->host = text;
		break;
	case OPT_CONTROL_PORT:
		return set_port(a, text, "--control-port");
	case OPT_CERTS_PATH:
		a->certs_path = text;
		break;
	case OPT_USER:
		a->user = text;
		break;
	}
	return CTL_OK;
}

/* A letter may mean different things to different commands: -d. */
static int value_of_letter(int letter, unsigned int bit)
{
	for (size_t i = 0; i < ARRAY_SIZE(option_rows); i++)
		if (option_rows[i].letter == letter && (option_rows[i].commands & bit))
			return option_rows[i].value;
	return letter;
}

/*
 * Reads the options of @cmd, or with NULL those before the command. Sets @ret_done when --help or
 * --version was all.
 */
static int parse_options(
	const struct command *cmd, int argc, char **argv, struct ctl_args *a, bool *ret_done)
{
	unsigned int bit = cmd ? cmd->bit : FOR_MAIN;
	struct option longs[ARRAY_SIZE(option_rows) + 1] = { 0 };
	char letters[2 * ARRAY_SIZE(option_rows) + 2] = "";
	size_t n = 0, l = 0;
	int o;

	if (!cmd)
		letters[l++] = '+'; /* stop at the command */
	for (size_t i = 0; i < ARRAY_SIZE(option_rows); i++) {
		const struct option_row *row = &option_rows[i];

		if (!(row->commands & bit))
			continue;
		longs[n++] = (struct option){ row->name, row->has_arg, NULL, row->value };
		if (row->letter) {
			letters[l++] = row->letter;
			if (row->has_arg == required_argument)
				letters[l++] = ':';
		}
	}
	optind = 0; /* GNU: begin anew */
	while ((o = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
		if (o == '?')
			return CTL_USAGE;
		if (o == OPT_HELP || o == OPT_VERSION) {
			*ret_done = true;
			if (o == OPT_VERSION)
				puts(FLOCKER_VERSION);
			else if (cmd)
				command_help(stdout, cmd);
			else
				help(stdout);
			return CTL_OK;
		}
		o = set_option(a, o < 256 ? value_of_letter(o, bit) : o, optarg);
		if (o != CTL_OK)
			return o;
	}
	return CTL_OK;
}

static int read_environment(struct ctl_args *a)
{
	const char *port = getenv("FLOCKER_CONTROL_PORT"), *text;

	*a = (struct ctl_args){ .port = DEFAULT_PORT, .certs_path = ".", .user = "user" };
	a->host = getenv("FLOCKER_CONTROL_SERVICE");
	text = getenv("FLOCKER_CERTS_PATH");
	if (text && *text)
		a->certs_path = text;
	text = getenv("FLOCKER_USER");
	if (text && *text)
		a->user = text;
	return port && *port ? set_port(a, port, "FLOCKER_CONTROL_PORT") : CTL_OK;
}

static int put_metadata(struct ctl_args *a, const char *key, const char *value, const char *option)
{
	struct json_object *text;

	if (!value)
		return CTL_OK;
	if (!say_is_clean(value))
		return say_error(CTL_USAGE, "%s must be UTF-8 without control characters", option);
	if (!a->metadata)
		a->metadata = json_object_new_object();
	if (json_object_object_get_ex(a->metadata, key, NULL))
		return say_error(CTL_USAGE, "%s and --metadata %s=... both say it", option, key);
	text = json_object_new_string(value);
	if (!text || json_object_object_add(a->metadata, key, text) < 0) {
		json_object_put(text);
		return ctl_no_memory();
	}
	return CTL_OK;
}

static int check_args(const struct command *cmd, struct ctl_args *a)
{
	const struct {
		unsigned int commands;
		const char *value, *option;
	} required[] = {
		{ FOR_CREATE, a->node, "--node" },
		{ FOR_MOVE | FOR_DESTROY, a->dataset, "--dataset" },
		{ FOR_MOVE, a->destination, "--destination" },
		{ FOR_FAILOVER, a->policy, "--policy" },
		{ FOR_SHOW | FOR_REPLACE | FOR_FENCE | FOR_FAILOVER, a->argument, cmd->argument },
	};
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(required); i++)
		if ((required[i].commands & cmd->bit) &&
			(!required[i].value || !*required[i].value))
			return say_error(CTL_USAGE, "%s needs %s", cmd->name, required[i].option);
	if (cmd->bit == FOR_FENCE && !a->accept_risk)
		return say_error(CTL_USAGE,
			"node fence needs --accept-risk: say it only when the machine is off or cannot reach "
			"its volumes any more; if it still writes, data is lost");
	if ((!a->host || !*a->host) && cmd->bit != FOR_VERSION)
		return say_error(CTL_USAGE,
			"which control service? Say --control-service=HOST or set "
			"FLOCKER_CONTROL_SERVICE");
	if (a->host && strpbrk(a->host, " \r\n\t/"))
		return say_error(CTL_USAGE, "'%s' is no host name or address", a->host);
	r = put_metadata(a, "name", a->name, "--name");
	if (r == CTL_OK)
		r = put_metadata(a, "flocker:filesystem", a->filesystem, "--filesystem");
	return r;
}

static bool wants_colour(void)
{
	const char *term = getenv("TERM"), *no = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) && term && !STREQ(term, "dumb") && (!no || !*no);
}

static int run(const struct command *cmd, struct ctl_args *a)
{
	_cleanup_(api_freep) struct api *api = NULL;
	struct ctl c = { .args = a, .colour = wants_colour() };
	const struct api_target target = { a->host, a->port, a->certs_path, a->user };
	int r;

	if (a->host && *a->host && api_new(&target, &api) < 0)
		return ctl_no_memory();
	c.api = api;
	r = cmd->run(&c);
	if (fflush(stdout) != 0 || ferror(stdout))
		return say_error(CTL_USAGE, "cannot write to standard output: %s", strerror(errno));
	return r;
}

/* The command that begins at @argv; @ret_words of it are its name. */
static const struct command *find_command(int argc, char **argv, int *ret_words)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct command *c = &commands[i];
		size_t first = strcspn(c->name, " ");

		*ret_words = c->name[first] ? 2 : 1;
		if (c->alias && STREQ(argv[0], c->alias))
			return c;
		if (strncmp(argv[0], c->name, first) != 0 || argv[0][first] != '\0')
			continue;
		if (*ret_words == 1 || (argc > 1 && STREQ(argv[1], c->name + first + 1)))
			return c;
	}
	return NULL;
}

/* With what the word was most likely meant to be. */
static int say_too_many(const struct command *cmd, const struct ctl_args *a, const char *word)
{
	const char *hint = "";

	if ((cmd->bit & (FOR_MOVE | FOR_DESTROY)) && !a->dataset)
		hint = " (the dataset is named by --dataset)";
	else if ((cmd->bit & FOR_MOVE) && !a->destination)
		hint = " (the node is named by --destination)";
	else if ((cmd->bit & FOR_CREATE) && !a->node)
		hint = " (the node is named by --node, the dataset by --name)";
	else if (a->wait)
		hint = " (seconds to wait are written --wait=SECONDS)";
	return say_error(CTL_USAGE, "'%s' is one argument too many%s", word, hint);
}

static int run_command(const struct command *cmd, int argc, char **argv, struct ctl_args *a)
{
	bool done = false;
	int r = parse_options(cmd, argc, argv, a, &done);

	if (r == CTL_OK && done)
		return CTL_OK;
	if (r == CTL_OK && argc - optind > (cmd->argument ? 1 : 0))
		r = say_too_many(cmd, a, argv[optind + (cmd->argument ? 1 : 0)]);
	if (r == CTL_OK) {
		a->argument = cmd->argument ? argv[optind] : NULL;
		r = check_args(cmd, a);
	}
	if (r != CTL_OK) {
		fprintf(stderr, "flockerctl %s --help tells how to use it.\n", cmd->name);
		return r;
	}
	return run(cmd, a);
}

int main(int argc, char **argv)
{
	const struct command *cmd;
	struct ctl_args a;
	bool done = false;
	int r, words;

	setlocale(LC_CTYPE, "");
	signal(SIGPIPE, SIG_IGN);
	r = read_environment(&a);
	if (r == CTL_OK)
		r = parse_options(NULL, argc, argv, &a, &done);
	if (r != CTL_OK)
		fputs("flockerctl --help tells how to use it.\n", stderr);
	if (r != CTL_OK || done) {
		json_object_put(a.metadata);
		return r;
	}
	if (optind == argc) {
		help(stderr);
		return CTL_USAGE;
	}
	argc -= optind;
	argv += optind;
	cmd = find_command(argc, argv, &words);
	if (!cmd) {
		say_error(0, "there is no command '%s'; flockerctl --help lists them", argv[0]);
		return CTL_USAGE;
	}
	argv[words - 1] =
		program_invocation_short_name; /* which getopt_long() puts before errors */
	r = run_command(cmd, argc - (words - 1), argv + (words - 1), &a);
	json_object_put(a.metadata);
	return r;
}
