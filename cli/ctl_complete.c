/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <signal.h>

#include "ctl_complete.h"
#include "ctl_where.h"
#include "ctl_words.h"
#include "say.h"
#include "types.h"

#define LIMIT_S 3
/* What stands for itself in every shell, unless a dash begins it. */
#define PLAIN "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-"

struct completion {
	struct ctl_args *args;
	const struct command *cmd;	  /* NULL: not named yet */
	char *group;			  /* the first word of a name of two, alone so far */
	const struct option_row *pending; /* waits for its value */
	int n_arguments;
	const char *before; /* what of the last word stays: "--node=" */
	int before_len;
	const char *prefix; /* the rest of it */
};

static void offer(const struct completion *c, const char *word, const char *help)
{
	if (strncmp(word, c->prefix, strlen(c->prefix)) != 0)
		return;
	printf("%.*s%s\t", c->before_len, c->before, word);
	say_text(stdout, help);
	putchar('\n');
}

static bool plain(const char *text)
{
	return text && text[0] && text[0] != '-' && text[strspn(text, PLAIN)] == '\0';
}

static void on_alarm(int signal_number)
{
	_exit(CTL_CONNECT);
}

/* The objects of a list of the API, one after the other; none when nobody answers in time. */
static void ask(const struct completion *c, const char *path, const char *key,
	int (*on_object)(struct json_object *o, void *userdata))
{
	_cleanup_(api_freep) struct api *api = NULL;
	struct ctl_args *a = c->args;
	struct ctl ctl = { .args = a };

	if (ctl_where(a) != CTL_OK || !a->host ||
		api_new(&(struct api_target){ a->host, a->port, a->certs_path, a->user }, &api) < 0)
		return;
	signal(SIGALRM, on_alarm);
	alarm(LIMIT_S);
	ctl.api = api;
	(void)ctl_each(&ctl, path, key, on_object, (void *)(uintptr_t)c, NULL);
	alarm(0);
}

/* Is @id a UUID as control writes them? Only such go to a shell. */
static bool is_id(const char *id)
{
	struct id128 uuid;

	return id && id128_parse(id, &uuid) == 0;
}

static int on_node(struct json_object *node, void *userdata)
{
	const struct completion *c = userdata;
	const char *uuid = ctl_text(node, "uuid"), *host = ctl_text(node, "host");

	/* Its address, until a UUID has been begun. */
	if (host && host[strspn(host, "0123456789abcdef.:")] == '\0')
		offer(c, host, uuid);
	if (is_id(uuid) && (c->prefix[0] || !host))
		offer(c, uuid, host);
	return CTL_OK;
}

static void offer_nodes(const struct completion *c)
{
	ask(c, "/v2/nodes", "nodes", on_node);
}

/* Names, and ids that are begun or nameless. Of undelete and purge those that are deleted, of others those
 * that are not. */
static int on_dataset(struct json_object *o, void *userdata)
{
	const struct completion *c = userdata;
	const char *id = ctl_text(o, "dataset_id"), *name = ctl_dataset_name(o);
	bool deleted = c->cmd && c->cmd->bit & (FOR_UNDELETE | FOR_PURGE);

	if (!is_id(id) || ctl_flag(o, "deleted") != deleted)
		return CTL_OK;
	if (plain(name))
		offer(c, name, id);
	if (c->prefix[0] || !plain(name))
		offer(c, id, name);
	return CTL_OK;
}

static void offer_datasets(const struct completion *c)
{
	ask(c, "/v2/datasets", "datasets", on_dataset);
}

static void offer_filesystems(const struct completion *c)
{
	for (int k = 0; k < FS_KIND_MAX; k++)
		offer(c, fs_kind_name(k), "");
}

static void offer_policies(const struct completion *c)
{
	for (int k = 0; k < FAILOVER_KIND_MAX; k++)
		offer(c, failover_kind_name(k), "");
}

/* Of "A,B" only the first word is completed: a comma is a word's end to no shell. */
static void offer_types(const struct completion *c)
{
	offer(c, "dataset", "");
	offer(c, "node", "");
	offer(c, "lease", "");
}

static void offer_states(const struct completion *c)
{
	offer(c, "settled", "all is as wished");
	for (int s = 0; s < DS_STATE_MAX; s++)
		offer(c, ds_state_name((enum ds_state)s), "");
}

/* By what stands for the value in the help. */
static void complete_value(const struct completion *c, const char *arg)
{
	static const struct {
		const char *arg;
		void (*offer)(const struct completion *c);
	} kinds[] = {
		{ "NODE", offer_nodes },
		{ "DATASET", offer_datasets },
		{ "KIND", offer_filesystems },
		{ "POLICY", offer_policies },
		{ "STATE", offer_states },
		{ "A,B", offer_types },
	};

	if (STREQ(arg, "FILE") || STREQ(arg, "DIR")) {
		puts(STREQ(arg, "DIR") ? "directories" : "files");
		return;
	}
	puts("words");
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (STREQ(kinds[i].arg, arg))
			kinds[i].offer(c);
}

static unsigned int bit_of(const struct completion *c)
{
	return c->cmd ? c->cmd->bit : FOR_MAIN;
}

static void complete_option(const struct completion *c)
{
	puts("words");
	for (size_t i = 0; i < n_option_rows; i++) {
		char word[64];

		if (!(option_rows[i].commands & bit_of(c)))
			continue;
		snprintf(word, sizeof(word), "--%s", option_rows[i].name);
		offer(c, word, option_rows[i].help);
	}
}

/* One name of a command: whole, or of two words the one that is next. @seen: the last group offered. */
static void offer_command(const struct completion *c, const char *name, const char *help,
	char seen[static 32])
{
	size_t first = strcspn(name, " ");

	if (c->group) {
		if (strlen(c->group) == first && strncmp(c->group, name, first) == 0 && name[first])
			offer(c, name + first + 1, help);
	} else if (!name[first]) {
		offer(c, name, help);
	} else if (strncmp(seen, name, first) != 0 || seen[first]) {
		snprintf(seen, 32, "%.*s", (int)first, name);
		offer(c, seen, "...");
	}
}

static void complete_command(const struct completion *c)
{
	char seen[32] = "";

	puts("words");
	for (size_t i = 0; i < n_commands; i++) {
		offer_command(c, commands[i].name, commands[i].help, seen);
		if (commands[i].alias)
			offer_command(c, commands[i].alias, commands[i].help, seen);
	}
}

/* A word that is no option and no value of one. */
static void take_word(struct completion *c, char *word)
{
	char *argv[] = { c->group, word };
	int words;

	if (c->cmd)
		c->n_arguments++;
	else if (c->group)
		c->cmd = find_command(2, argv, &words);
	else if (is_command_group(word))
		c->group = word;
	else
		c->cmd = find_command(1, argv + 1, &words);
}

/* Only those that tell where to ask matter here; what is wrong with others, flockerctl will say. */
static void take_value(struct completion *c, const struct option_row *o, const char *value)
{
	if (o->commands & FOR_MAIN)
		(void)ctl_set_option(c->args, o->value, value);
}

static void take_option(struct completion *c, const char *word)
{
	bool is_long = word[1] == '-';
	const char *name = word + (is_long ? 2 : 1), *value = NULL;
	size_t len = is_long ? strcspn(name, "=") : 1;
	const struct option_row *o = is_long ? option_by_name(bit_of(c), name, len)
					     : option_by_letter(bit_of(c), *name);

	if (name[len])
		value = name + len + (is_long ? 1 : 0);
	if (o && value)
		take_value(c, o, value);
	else if (o && o->has_arg == required_argument)
		c->pending = o;
}

static void take(struct completion *c, char *word)
{
	if (c->pending) {
		take_value(c, c->pending, word);
		c->pending = NULL;
	} else if (word[0] == '-' && word[1]) {
		take_option(c, word);
	} else {
		take_word(c, word);
	}
}

static void complete_last(struct completion *c, const char *word)
{
	const char *equals = strncmp(word, "--", 2) == 0 ? strchr(word, '=') : NULL;
	const struct option_row *o = c->pending;

	c->before = c->prefix = word;
	if (!o && equals) {
		o = option_by_name(bit_of(c), word + 2, (size_t)(equals - word - 2));
		c->prefix = equals + 1;
		c->before_len = (int)(c->prefix - word);
	}
	if (o && o->arg)
		complete_value(c, o->arg);
	else if (word[0] == '-')
		complete_option(c);
	else if (!c->cmd)
		complete_command(c);
	else
		complete_value(c, c->n_arguments == 0 && c->cmd->argument ? c->cmd->argument
			: c->n_arguments == 1 && c->cmd->argument2 ? c->cmd->argument2 : "");
}

int ctl_complete(struct ctl_args *a, int argc, char **argv)
{
	struct completion c = { .args = a };

	for (int i = 0; i + 1 < argc; i++)
		take(&c, argv[i]);
	complete_last(&c, argv[argc - 1]);
	return fflush(stdout) == 0 ? CTL_OK : CTL_USAGE;
}
