/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <grp.h>
#include <pwd.h>

#include "dataset_config.h"
#include "jsonin.h"
#include "text.h"

static const char usage[] =
	"flocker-dataset - hold a dataset on this node for a service\n"
	"\n"
	"usage: flocker-dataset [OPTION]... NAME|UUID\n"
	"\n"
	"Brings the dataset here, binds it at its place, and holds it until SIGTERM. The\n"
	"unit flocker-dataset@NAME.service runs it; a service with BindsTo= and After= of\n"
	"that unit follows its data. See flocker-dataset(8).\n"
	"\n"
	"      --at DIR             where it is to be (/srv/flocker/NAME)\n"
	"      --owner USER[:GROUP] of the dataset's root directory (as it is)\n"
	"      --mode MODE          of that directory, such as 0700\n"
	"      --in-use refuse|wait when another node has it in use: say so and end\n"
	"                           (refuse), or wait for its end\n"
	"      --instance           NAME is the instance of a unit: \\xNN is a byte\n"
	"      --unit UNIT          of systemd that this is: stopped when the dataset is\n"
	"                           lost, so that what is bound to it ends first\n"
	"  -c, --agent-config FILE  of this host's node (/etc/flocker/agent.yml): says\n"
	"                           where the control service is; cluster.crt, node.crt,\n"
	"                           plugin.crt, plugin.key and, if there is one,\n"
	"                           cluster.crl lie beside it\n"
	"      --control-port PORT  of the control service's REST API (4523)\n"
	"      --user NAME          whose certificate to show: NAME.crt and NAME.key\n"
	"                           (plugin)\n"
	"      --log-level LEVEL    error, warning, notice, info (default) or debug\n"
	"      --help, --version\n";

enum {
	OPT_AT = CLIENT_OPT_OWN,
	OPT_OWNER,
	OPT_MODE,
	OPT_IN_USE,
	OPT_INSTANCE,
	OPT_UNIT,
};

static int take_user(struct dataset_config *c, const char *text)
{
	const struct passwd *pw = getpwnam(text);
	uint64_t n;

	if (pw) {
		c->owner = pw->pw_uid;
		c->group = pw->pw_gid;
	} else if (text_number(text, 0, UINT32_MAX - 1, &n) == 0) {
		c->owner = (uid_t)n;
	} else {
		return client_wrong("owner", text, "a user of this machine");
	}
	return 0;
}

static int take_group(struct dataset_config *c, const char *text)
{
	const struct group *gr = getgrnam(text);
	uint64_t n;

	if (gr)
		c->group = gr->gr_gid;
	else if (text_number(text, 0, UINT32_MAX - 1, &n) == 0)
		c->group = (gid_t)n;
	else
		return client_wrong("owner", text, "followed by a group of this machine");
	return 0;
}

/* "USER", with its group, or "USER:GROUP". */
static int take_owner(struct dataset_config *c, char *text)
{
	char *group = strchr(text, ':');
	int r;

	if (group)
		*group++ = '\0';
	r = take_user(c, text);
	return r == 0 && group ? take_group(c, group) : r;
}

static int take_mode(struct dataset_config *c, const char *text)
{
	char *end;
	unsigned long mode = strtoul(text, &end, 8);

	if (!isdigit((unsigned char)*text) || *end || mode > 07777)
		return client_wrong("mode", text, "an octal mode such as 0700");
	c->mode = (mode_t)mode;
	return 0;
}

static int take(struct dataset_config *c, int option, bool *instance)
{
	switch (option) {
	case OPT_AT:
		free(c->place);
		c->place = strdup(optarg);
		return c->place ? 0 : -ENOMEM;
	case OPT_OWNER:
		return take_owner(c, optarg);
	case OPT_MODE:
		return take_mode(c, optarg);
	case OPT_IN_USE:
		c->wait_in_use = STREQ(optarg, "wait");
		return c->wait_in_use || STREQ(optarg, "refuse") ? 0 :
			client_wrong("in-use", optarg, "refuse or wait");
	case OPT_INSTANCE:
		*instance = true;
		return 0;
	case OPT_UNIT:
		c->unit = optarg;
		return 0;
	default:
		return client_take(&c->client, option, "flocker-dataset", usage);
	}
}

/* ---- the dataset ---- */

char *dataset_unescape(const char *instance)
{
	char *name = malloc(strlen(instance) + 1), *to = name;
	unsigned int byte;
	int n;

	for (const char *p = instance; to && *p; p += n) {
		n = 1;
		if (p[0] == '\\' && p[1] == 'x' && isxdigit((unsigned char)p[2]) && isxdigit((unsigned char)p[3]) &&
			sscanf(p + 2, "%2x", &byte) == 1) {
			n = 4;
			*to = (char)byte;
		} else {
			*to = *p;
		}
		if (!*to++) {
			free(name);
			return NULL;
		}
	}
	if (to)
		*to = '\0';
	return name;
}

/* What cannot be one directory below another needs a place that is said. */
static int default_place(struct dataset_config *c)
{
	const char *name = c->dataset;

	if (c->place)
		return 0;
	if (!*name || *name == '.' || strchr(name, '/') || strlen(name) > 255) {
		fprintf(stderr, "ERROR: '%s' cannot be a directory in " DATASET_PLACES ": say where, by --at\n", name);
		return -EINVAL;
	}
	return asprintf(&c->place, DATASET_PLACES "/%s", name) < 0 ? (c->place = NULL, -ENOMEM) : 0;
}

static bool is_utf8(const char *text)
{
	const char *end = text + strlen(text);
	unsigned int n;

	while (text < end && (n = utf8_length(text, end)))
		text += n;
	return text == end;
}

static int take_dataset(struct dataset_config *c, int argc, char **argv, bool instance)
{
	if (optind + 1 != argc) {
		fputs("ERROR: one dataset is to be named; see flocker-dataset --help\n", stderr);
		return -EINVAL;
	}
	c->dataset = instance ? dataset_unescape(argv[optind]) : strdup(argv[optind]);
	if (!c->dataset || !*c->dataset || !is_utf8(c->dataset)) {
		fprintf(stderr, "ERROR: '%s' is no name of a dataset\n", argv[optind]);
		return -EINVAL;
	}
	return default_place(c);
}

int dataset_config_parse(int argc, char **argv, struct dataset_config *ret)
{
	static const struct option longs[] = { CLIENT_OPTIONS, CLIENT_LOG_LEVEL_OPTION,
		{ "at", required_argument, NULL, OPT_AT }, { "owner", required_argument, NULL, OPT_OWNER },
		{ "mode", required_argument, NULL, OPT_MODE }, { "in-use", required_argument, NULL, OPT_IN_USE },
		{ "instance", no_argument, NULL, OPT_INSTANCE },
		{ "unit", required_argument, NULL, OPT_UNIT }, { 0 } };
	bool instance = false;
	int option, r = 0;

	*ret = (struct dataset_config){ .client = CLIENT_DEFAULTS, .owner = (uid_t)-1, .group = (gid_t)-1,
		.mode = (mode_t)-1 };
	while (r == 0 && (option = getopt_long(argc, argv, "c:", longs, NULL)) != -1)
		r = take(ret, option, &instance);
	return r == 0 ? take_dataset(ret, argc, argv, instance) : r;
}

void dataset_config_done(struct dataset_config *c)
{
	client_done(&c->client);
	free(c->dataset);
	free(c->place);
}
