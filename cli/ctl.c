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
#include "text.h"
#include "types.h"

#define DEFAULT_WAIT_MS (120 * 1000)
#define OPTIONS_MAX 48

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

static int set_port(struct ctl_args *a, const char *text)
{
	a->port = ctl_port(text, "--control-port");
	return a->port ? CTL_OK : CTL_USAGE;
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

static int set_expires(struct ctl_args *a, const char *text)
{
	a->expires = true;
	if (args_seconds(text, &a->expires_ms) < 0 || a->expires_ms == 0)
		return say_error(CTL_USAGE,
			"--expires takes a number of seconds, at most a year of them, not '%s'", text);
	return CTL_OK;
}

int ctl_set_option(struct ctl_args *a, int value, const char *text)
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
	case OPT_EXPIRES:
		return set_expires(a, text);
	case OPT_JSON:
		a->json = true;
		break;
	case OPT_NO_HEADER:
		a->no_header = true;
		break;
	case OPT_CONTROL_SERVICE:
		a->host = text;
		break;
	case OPT_CONTROL_PORT:
		return set_port(a, text);
	case OPT_CERTS_PATH:
		a->certs_path = text;
		break;
	case OPT_CLUSTER_YML:
		a->cluster_yml = text;
		break;
	case OPT_CLUSTER_CRT: /* the original had it, and took cluster.crt of the directory all the same */
		break;
	case OPT_USER:
		a->user = text;
		break;
	}
	return CTL_OK;
}

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
	return ctl_put(a->metadata, key, json_object_new_string(value)) < 0 ? ctl_no_memory() : CTL_OK;
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
		{ cmd->argument ? cmd->bit : 0, a->argument, cmd->argument },
	};
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(required); i++)
		if ((required[i].commands & cmd->bit) &&
			(!required[i].value || !*required[i].value))
			return say_error(CTL_USAGE, "%s needs %s", cmd->name, required[i].option);
	if ((cmd->bit & (FOR_FENCE | FOR_FORGET)) && !a->accept_risk)
		return say_error(CTL_USAGE,
			"%s needs --accept-risk: say it only when the machine is off or cannot reach its "
			"volumes any more; if it still writes, data is lost",
			cmd->name);
	r = ctl_where(a);
	if (r != CTL_OK)
		return r;
	if (!a->host && cmd->bit != FOR_VERSION)
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
