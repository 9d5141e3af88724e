/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flocker-nomad-plugin - one operation of Nomad's: standard output has the answer as JSON and
 * nothing else, standard error one line when something is wrong. See nomad_request.h for the
 * contract.
 */
#include <signal.h>

#include "jsonin.h"
#include "jsonput.h"
#include "log.h"
#include "nomad_volume.h"
#include "text.h"

static const char usage[] =
	"flocker-nomad-plugin - Flocker's datasets as dynamic host volumes of Nomad\n"
	"\n"
	"usage: flocker-nomad-plugin [OPTION]... fingerprint|create|delete\n"
	"\n"
	"Nomad runs it from its host_volume_plugin_dir; what it wants is in variables\n"
	"DHV_* of the environment. A script there may give options:\n"
	"  #!/bin/sh\n"
	"  exec /usr/local/sbin/flocker-nomad-plugin --control-port 4525 \"$@\"\n"
	"\n"
	"  -c, --agent-config FILE    of this host's node (/etc/flocker/agent.yml): says\n"
	"                             where the control service is; cluster.crt,\n"
	"                             node.crt, plugin.crt, plugin.key and, if there is\n"
	"                             one, cluster.crl lie beside it\n"
	"      --control-port PORT    of the control service's REST API (4523)\n"
	"      --user NAME            whose certificate to show: NAME.crt and NAME.key\n"
	"                             (plugin)\n"
	"      --limit SECONDS        for all of it (45; Nomad kills after 60, or 50)\n"
	"      --help, --version\n"
	"\n"
	"The parameters of a volume are:\n"
	"  dataset                    name or UUID; without it, the volume's own name,\n"
	"                             behind its namespace and a dot, but for default\n"
	"  filesystem=ext4|xfs|btrfs  profile=TEXT  failover=manual|lease\n"
	"  on_remove=keep|delete      what nomad volume delete does to the data (keep)\n"
	"  uid, gid, mode             of the volume's uppermost directory\n"
	"\n"
	"See flocker-nomad-plugin(8).\n";

enum {
	OPT_LIMIT = CLIENT_OPT_OWN,
};

struct plugin {
	struct client client;
	struct nomad_config config;
	const char *operation;
};

static int take(struct plugin *p, int option)
{
	uint64_t n;

	switch (option) {
	case OPT_LIMIT:
		if (text_number(optarg, 1, 3600, &n) < 0)
			return client_wrong("limit", optarg, "a number of seconds from 1 to 3600");
		p->config.limit_s = (unsigned int)n;
		return 0;
	default:
		return client_take(&p->client, option, "flocker-nomad-plugin", usage);
	}
}

static int parse(int argc, char **argv, struct plugin *p)
{
	static const struct option longs[] = { CLIENT_OPTIONS,
		{ "limit", required_argument, NULL, OPT_LIMIT }, { 0 } };
	int option, r = 0;

	while (r == 0 && (option = getopt_long(argc, argv, "c:", longs, NULL)) != -1)
		r = take(p, option);
	if (r == 0 && argc - optind != 1) {
		fputs("ERROR: one operation is needed: fingerprint, create or delete; see flocker-nomad-plugin "
		      "--help\n",
			stderr);
		r = -EINVAL;
	}
	if (r == 0)
		p->operation = argv[optind];
	return r;
}

/* ---- the answer ---- */

/* False: it could not be written, so that nobody has heard it. */
static bool print(struct json_object *o)
{
	const char *text = o ? json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN) : NULL;

	return text && puts(text) >= 0 && fflush(stdout) == 0;
}

static bool print_version(void)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();

	return json_put_member(o, "version", json_object_new_string(FLOCKER_VERSION)) == 0 &&
		print(o);
}

static bool print_created(const struct nomad_created *c)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();

	return json_put_member(o, "path", json_object_new_string(c->path)) == 0 &&
	       json_put_member(o, "bytes", json_object_new_int64((int64_t)c->size_bytes)) == 0 && print(o);
}

/* Whatever names there are in it: one line. Nomad's users see the JSON of it, its log the other. */
static int print_error(char *error)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();

	text_one_line(error);
	fprintf(stderr, "flocker-nomad-plugin: %s\n", error);
	if (json_put_member(o, "error", json_object_new_string(error)) == 0)
		(void)print(o);
	return EXIT_FAILURE;
}

static int create(const struct plugin *p, const struct nomad_request *q,
	char error[NOMAD_ERROR_MAX])
{
	struct nomad_created created = { 0 };
	int r = nomad_create(&p->config, q, &created, error);

	if (r == 0 && !print_created(&created)) {
		snprintf(error, NOMAD_ERROR_MAX, "cannot write the answer");
		r = -EIO;
	}
	free(created.path);
	return r;
}

static void on_certificates(void *userdata)
{
	/* It ends soon. */
}

static int run(struct plugin *p, const struct nomad_request *q, char error[NOMAD_ERROR_MAX])
{
	_cleanup_free_ char *why = NULL;
	int r;

	p->config.base = event_base_new();
	if (!p->config.base)
		return -ENOMEM;
	r = client_read(&p->client, &why);
	if (r == 0)
		r = client_load(&p->client, p->config.base, on_certificates, NULL, &why);
	if (r < 0 && why)
		snprintf(error, NOMAD_ERROR_MAX, "%s", why);
	else if (r == 0)
		r = q->operation == NOMAD_DELETE ? nomad_delete(&p->config, q, error) :
			create(p, q, error);
	client_done(&p->client);
	event_base_free(p->config.base);
	return r;
}

int main(int argc, char **argv)
{
	struct plugin p = { .client = CLIENT_DEFAULTS, .config = { .limit_s = NOMAD_LIMIT_S } };
	char error[NOMAD_ERROR_MAX] = "out of memory";
	struct nomad_request q;
	int r = parse(argc, argv, &p);

	if (r != 0)
		return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	(void)signal(SIGPIPE, SIG_IGN);
	log_open("flocker-nomad-plugin");
	log_set_level(LOG_ERR); /* standard error is for the one line */
	p.config.client = &p.client;
	r = nomad_request_read(p.operation, &q, error);
	if (r == 0 && q.operation == NOMAD_FINGERPRINT)
		return print_version() ? EXIT_SUCCESS : EXIT_FAILURE;
	if (r == 0)
		r = run(&p, &q, error);
	nomad_request_done(&q);
	return r < 0 ? print_error(error) : EXIT_SUCCESS;
}
