/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flockerctl - the cluster from a shell. One command a run: reads the command line by the tables
 * of ctl_words.c, calls the REST API, prints a table or JSON.
 */
#include <getopt.h>
#include <locale.h>
#include <signal.h>

#include "ctl_complete.h"
#include "ctl_where.h"
#include "ctl_words.h"
#include "say.h"

#define OPTIONS_MAX 64

/*
 * Reads the options of @cmd, or with NULL those before the command. Sets @ret_done when --help or
 * --version was all.
 */
static int parse_options(
	const struct command *cmd, int argc, char **argv, struct ctl_args *a, bool *ret_done)
{
	unsigned int bit = cmd ? cmd->bit : FOR_MAIN;
	struct option longs[OPTIONS_MAX + 1] = { 0 };
	char letters[2 * OPTIONS_MAX + 2] = "";
	const struct option_row *row;
	size_t n = 0, l = 0;
	int o;

	assert(n_option_rows <= OPTIONS_MAX);
	if (!cmd)
		letters[l++] = '+'; /* stop at the command */
	for (size_t i = 0; i < n_option_rows; i++) {
		row = &option_rows[i];
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
				main_help(stdout);
			return CTL_OK;
		}
		/* A letter may mean different things to different commands: -d. */
		row = option_by_letter(bit, o);
		o = ctl_set_option(a, row ? row->value : o, optarg);
		if (o != CTL_OK)
			return o;
	}
	return CTL_OK;
}

static int put_metadata(struct ctl_args *a, const char *key, const char *value, const char *option)
{
	if (!value)
		return CTL_OK;
	if (!say_is_clean(value))
		return say_error(CTL_USAGE, "%s must be UTF-8 without control characters", option);
	if (!a->metadata)
		a->metadata = json_object_new_object();
	if (!a->metadata)
		return ctl_no_memory();
	if (json_object_object_get_ex(a->metadata, key, NULL))
		return say_error(CTL_USAGE, "%s and --metadata %s=... both say it", option, key);
	return json_put_member(a->metadata, key, json_object_new_string(value)) < 0 ? ctl_no_memory() : CTL_OK;
}

static int check_args(const struct command *cmd, struct ctl_args *a)
{
	const struct {
		unsigned int commands;
		const char *value, *option;
	} required[] = {
		{ FOR_MOVE | FOR_DESTROY, a->dataset, "--dataset" },
		{ FOR_MOVE, a->unplaced ? "" : a->destination, "--destination" },
		{ FOR_FAILOVER, a->policy ? a->policy : a->to, "--policy" },
		{ FOR_SET, a->metadata ? "metadata" : NULL, "--metadata" },
		{ cmd->argument ? cmd->bit : 0, a->argument, cmd->argument },
		{ cmd->argument2 ? cmd->bit : 0, a->argument2, cmd->argument2 },
	};
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(required); i++)
		if ((required[i].commands & cmd->bit) &&
			(!required[i].value || (!*required[i].value && !a->unplaced)))
			return say_error(CTL_USAGE, "%s needs %s", cmd->name, required[i].option);
	if ((cmd->bit & (FOR_FENCE | FOR_FORGET)) && !a->accept_risk)
		return say_error(CTL_USAGE,
			"%s needs --accept-risk: say it only when the machine is off or cannot reach its "
			"volumes any more; if it still writes, data is lost",
			cmd->name);
	if (a->unplaced && (a->node || a->destination))
		return say_error(CTL_USAGE, "--unplaced means no node, and another option names one");
	r = cmd->bit == FOR_RESIZE ? ctl_set_option(a, 's', a->argument2) : CTL_OK;
	if (r == CTL_OK)
		r = ctl_where(a);
	if (r != CTL_OK)
		return r;
	if (!a->host && !(cmd->bit & (FOR_VERSION | FOR_DIAGNOSE)))
		return say_error(CTL_USAGE,
			"which control service? Say --control-service=HOST or set "
			"FLOCKER_CONTROL_SERVICE; there is no agent.yml in '%s' that says it",
			a->certs_path);
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

	if (a->host && api_new(&target, &api) < 0)
		return ctl_no_memory();
	c.api = api;
	r = cmd->run(&c);
	if (fflush(stdout) != 0 || ferror(stdout))
		return say_error(CTL_USAGE, "cannot write to standard output: %s", strerror(errno));
	return r;
}

/* With what the word was most likely meant to be. */
static int say_too_many(const struct command *cmd, const struct ctl_args *a, const char *word)
{
	const char *hint = "";

	if ((cmd->bit & (FOR_MOVE | FOR_DESTROY)) && !a->dataset)
		hint = " (the dataset is named by --dataset)";
	else if ((cmd->bit & FOR_MOVE) && !a->destination)
		hint = " (the node is named by --destination)";
	else if ((cmd->bit & FOR_CREATE) && !a->name && !a->wait)
		hint = " (the node is named by --node, the dataset by --name)";
	else if (a->wait)
		hint = " (seconds to wait are written --wait=SECONDS)";
	return say_error(CTL_USAGE, "'%s' is one argument too many%s", word, hint);
}

static int run_command(const struct command *cmd, int argc, char **argv, struct ctl_args *a)
{
	int room = (cmd->argument != NULL) + (cmd->argument2 != NULL);
	bool done = false;
	int r = parse_options(cmd, argc, argv, a, &done);

	if (r == CTL_OK && done)
		return CTL_OK;
	if (r == CTL_OK && argc - optind > room)
		r = say_too_many(cmd, a, argv[optind + room]);
	if (r == CTL_OK) {
		a->argument = room > 0 ? argv[optind] : NULL;
		a->argument2 = room > 1 && a->argument ? argv[optind + 1] : NULL;
		r = check_args(cmd, a);
	}
	if (r != CTL_OK) {
		fprintf(stderr, "flockerctl %s --help tells how to use it.\n", cmd->name);
		return r;
	}
	return run(cmd, a);
}

/* Perhaps a group's name alone, or with a word that it does not know. */
static int say_no_command(int argc, char **argv)
{
	bool group = is_command_group(argv[0]);

	if (group && argc > 1 && STREQ(argv[1], "--help")) {
		group_help(stdout, argv[0]);
		return CTL_OK;
	}
	if (group && argc == 1)
		return say_error(CTL_USAGE, "'%s' is the first of two words; flockerctl %s --help lists the second",
			argv[0], argv[0]);
	return say_error(CTL_USAGE, "there is no command '%s%s%s'; flockerctl %s%s--help lists them", argv[0],
		group ? " " : "", group ? argv[1] : "", group ? argv[0] : "", group ? " " : "");
}

static int run_line(int argc, char **argv, struct ctl_args *a)
{
	const struct command *cmd;
	bool done = false;
	int r, words;

	r = parse_options(NULL, argc, argv, a, &done);
	if (r != CTL_OK)
		fputs("flockerctl --help tells how to use it.\n", stderr);
	if (r != CTL_OK || done)
		return r;
	if (optind == argc) {
		main_help(stderr);
		return CTL_USAGE;
	}
	argc -= optind;
	argv += optind;
	cmd = find_command(argc, argv, &words);
	if (!cmd)
		return say_no_command(argc, argv);
	argv[words - 1] =
		program_invocation_short_name; /* which getopt_long() puts before errors */
	return run_command(cmd, argc - (words - 1), argv + (words - 1), a);
}

int main(int argc, char **argv)
{
	struct ctl_args a = { 0 };
	int r;

	setlocale(LC_CTYPE, "");
	signal(SIGPIPE, SIG_IGN);
	if (argc > 2 && STREQ(argv[1], CTL_COMPLETE))
		r = ctl_complete(&a, argc - 2, argv + 2);
	else
		r = run_line(argc, argv, &a);
	ctl_args_done(&a);
	return r;
}
