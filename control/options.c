/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>

#include "jsonin.h"
#include "log.h"
#include "options.h"
#include "schema_v2.h"
#include "text.h"

enum {
	OPT_DATA_PATH = 256,
	OPT_PORT,
	OPT_AGENT_PORT,
	OPT_CERTIFICATES,
	OPT_USER,
	OPT_LOG_LEVEL,
	OPT_FAILOVER,
	OPT_TERM,
	OPT_STOP_EXTENSION,
	OPT_STATE_EXPIRY,
	OPT_RETENTION,
	OPT_UNDELETE_WINDOW,
	OPT_MAX_BODY,
	OPT_MAX_HEADERS,
	OPT_MAX_DEPTH,
	OPT_MAX_CONNECTIONS,
	OPT_MAX_WATCHERS,
	OPT_EVENT_MEMORY,
	OPT_IDLE_LIMIT,
	OPT_REQUEST_LIMIT,
	OPT_ANSWER_LIMIT,
	OPT_FORCE,
	OPT_FROM,
	OPT_APPLY,
	OPT_HELP,
	OPT_VERSION,
};

static const struct option longs[] = {
	{ "data-path", required_argument, NULL, OPT_DATA_PATH },
	{ "port", required_argument, NULL, OPT_PORT },
	{ "agent-port", required_argument, NULL, OPT_AGENT_PORT },
	{ "certificates-directory", required_argument, NULL, OPT_CERTIFICATES },
	{ "user", required_argument, NULL, OPT_USER },
	{ "log-level", required_argument, NULL, OPT_LOG_LEVEL },
	{ "failover", required_argument, NULL, OPT_FAILOVER },
	{ "term", required_argument, NULL, OPT_TERM },
	{ "stop-extension", required_argument, NULL, OPT_STOP_EXTENSION },
	{ "state-expiry", required_argument, NULL, OPT_STATE_EXPIRY },
	{ "retention", required_argument, NULL, OPT_RETENTION },
	{ "undelete-window", required_argument, NULL, OPT_UNDELETE_WINDOW },
	{ "max-body", required_argument, NULL, OPT_MAX_BODY },
	{ "max-headers", required_argument, NULL, OPT_MAX_HEADERS },
	{ "max-depth", required_argument, NULL, OPT_MAX_DEPTH },
	{ "max-connections", required_argument, NULL, OPT_MAX_CONNECTIONS },
	{ "max-watchers", required_argument, NULL, OPT_MAX_WATCHERS },
	{ "event-memory", required_argument, NULL, OPT_EVENT_MEMORY },
	{ "idle-limit", required_argument, NULL, OPT_IDLE_LIMIT },
	{ "request-limit", required_argument, NULL, OPT_REQUEST_LIMIT },
	{ "answer-limit", required_argument, NULL, OPT_ANSWER_LIMIT },
	{ "force", no_argument, NULL, OPT_FORCE },
	{ "from", required_argument, NULL, OPT_FROM },
	{ "apply", no_argument, NULL, OPT_APPLY },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ 0 },
};

static const char help[] =
	"Usage: flocker-control [OPTION]...\n"
	"       flocker-control backup FILE [--force] [--data-path DIR]\n"
	"       flocker-control recover [--from FILE] [--apply] [--data-path DIR]\n"
	"                               [--user NAME]\n"
	"       flocker-control import FILE [--apply] [--data-path DIR] [--user NAME]\n"
	"Decides where datasets are, remembers it, and tells the nodes. As `backup` it\n"
	"copies the store, also while a server runs. As `recover` it makes the nodes\n"
	"accept a store that is older than what they have seen. As `import` it fills an\n"
	"empty store from the original's state file, current_configuration.json.\n"
	"\n"
	"      --data-path DIR     where the store is (/var/lib/flocker)\n"
	"      --port ENDPOINT     for users, HTTPS (tcp:4523)\n"
	"      --agent-port ENDPOINT\n"
	"                          for nodes (tcp:4524)\n"
	"      --certificates-directory DIR\n"
	"                          holds cluster.crt, control-service.crt,\n"
	"                          control-service.key and, if there is one, cluster.crl\n"
	"                          (/etc/flocker)\n"
	"      --user NAME         to run as when started by root (flocker)\n"
	"      --log-level LEVEL   error, warning, notice, info or debug (info)\n"
	"      --failover POLICY   manual or lease, of new datasets that choose none\n"
	"                          (manual); see docs/failover.md first\n"
	"      --term SECONDS      of leases that choose none (6)\n"
	"      --stop-extension SECONDS\n"
	"                          how long leased datasets go on when this service is\n"
	"                          stopped as planned (300); 0: for their term\n"
	"      --retention SECONDS how long deleted datasets stay listed (2592000, which\n"
	"                          are 30 days); 0: for ever\n"
	"      --undelete-window SECONDS\n"
	"                          how long the volume of a deleted dataset is kept, and\n"
	"                          can be had back, if who deletes it by v2 says nothing\n"
	"                          else (0: it is destroyed at once, as v1 always does)\n"
	"      --state-expiry SECONDS\n"
	"                          how long a node that is silent stays in /v1/state with\n"
	"                          what it said last (120)\n"
	"      --max-body BYTES    of a user's request (1048576)\n"
	"      --max-headers BYTES of its first line and headers (16384)\n"
	"      --max-depth LEVELS  of objects and lists in its body (32)\n"
	"      --max-connections NUMBER\n"
	"                          of users at a time (4096); more wait\n"
	"      --max-watchers NUMBER\n"
	"                          who follow events or wait for a dataset, beside these\n"
	"                          (10000); more are refused\n"
	"      --event-memory BYTES\n"
	"                          for the last events (16777216): who is further behind\n"
	"                          has to list again\n"
	"      --idle-limit SECONDS\n"
	"                          without a request before one is closed (120)\n"
	"      --request-limit SECONDS\n"
	"                          for a request to come in whole (30)\n"
	"      --answer-limit SECONDS\n"
	"                          for a client to take its answer (120)\n"
	"      --force             of backup: replace FILE\n"
	"      --from FILE         of recover: put this backup in the place of the store,\n"
	"                          which is kept aside\n"
	"      --apply             of recover and import: do it; else it only looks and\n"
	"                          tells\n"
	"      --help              show this text\n"
	"      --version           show the version\n"
	"\n"
	"An ENDPOINT is tcp:PORT or tcp:PORT:interface=ADDRESS.\n";

static int _printf_(1, 2) wrong(const char *fmt, ...)
{
	va_list ap;

	fputs("ERROR: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs("\nTry 'flocker-control --help'.\n", stderr);
	return -EINVAL;
}

static int take_endpoint(const char *name, const char *text, struct endpoint *ret)
{
	if (endpoint_parse(text, ret) < 0)
		return wrong("--%s '%s' is no endpoint: write tcp:4523 or "
			"tcp:4523:interface=192.0.2.1", name, text);
	return 1;
}

static int take_failover(const char *text, struct failover *ret)
{
	int kind = failover_kind_parse(text);

	if (kind < 0)
		return wrong("--failover '%s' is not known: manual or lease", text);
	ret->kind = (enum failover_kind)kind;
	return 1;
}

static int take_term(const char *text, struct failover *ret)
{
	uint64_t s;

	if (text_number(text, SCHEMA_TERM_MIN_S, SCHEMA_TERM_MAX_S, &s) < 0)
		return wrong("--term '%s' is no number of seconds from %d to %d", text, SCHEMA_TERM_MIN_S,
			SCHEMA_TERM_MAX_S);
	ret->term_ms = (uint32_t)s * 1000;
	return 1;
}

#define RETENTION_MAX_S UINT64_C(3153600000) /* a hundred years */

static int take_seconds(const char *name, const char *text, int least, uint32_t *ret_ms)
{
	uint64_t s;

	if (text_number(text, (uint64_t)least, SCHEMA_TERM_MAX_S, &s) < 0)
		return wrong("--%s '%s' is no number of seconds from %d to %d", name, text, least, SCHEMA_TERM_MAX_S);
	*ret_ms = (uint32_t)s * 1000;
	return 1;
}

/* Of the limits of the port for users; 0 when @opt is none of them. */
static int take_limit(int opt, const char *text, struct options *o)
{
	const struct {
		int opt;
		const char *name;
		uint64_t min, max;
		unsigned int *small;
		size_t *large;
	} limits[] = {
		{ OPT_MAX_BODY, "max-body", 1024, 64 * MIB, .large = &o->limits.body_bytes },
		{ OPT_MAX_HEADERS, "max-headers", 1024, MIB, .large = &o->limits.head_bytes },
		{ OPT_MAX_DEPTH, "max-depth", 2, 1000, .small = &o->depth },
		{ OPT_MAX_CONNECTIONS, "max-connections", 1, 1000000, .small = &o->limits.connections },
		{ OPT_MAX_WATCHERS, "max-watchers", 1, 1000000, .small = &o->limits.watchers },
		{ OPT_EVENT_MEMORY, "event-memory", 64 * KIB, GIB, .large = &o->event_bytes },
		{ OPT_IDLE_LIMIT, "idle-limit", 1, 86400, .small = &o->limits.idle_s },
		{ OPT_REQUEST_LIMIT, "request-limit", 1, 86400, .small = &o->limits.request_s },
		{ OPT_ANSWER_LIMIT, "answer-limit", 1, 86400, .small = &o->limits.answer_s },
	};

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		uint64_t v;

		if (limits[i].opt != opt)
			continue;
		if (text_number(text, limits[i].min, limits[i].max, &v) < 0)
			return wrong("--%s '%s' is no number from %llu to %llu", limits[i].name, text,
				(unsigned long long)limits[i].min, (unsigned long long)limits[i].max);
		if (limits[i].small)
			*limits[i].small = (unsigned int)v;
		else
			*limits[i].large = v;
		return 1;
	}
	return 0;
}

/* What goes with what: an option that would be ignored is a mistake. */
static bool goes_with(int opt, enum command command)
{
	switch (opt) {
	case OPT_DATA_PATH:
		return true;
	case OPT_USER:
	case OPT_LOG_LEVEL:
		return command != COMMAND_BACKUP;
	case OPT_FORCE:
		return command == COMMAND_BACKUP;
	case OPT_FROM:
		return command == COMMAND_RECOVER;
	case OPT_APPLY:
		return command == COMMAND_RECOVER || command == COMMAND_IMPORT;
	default:
		return command == COMMAND_SERVE;
	}
}

static int check_options(uint64_t given, enum command command)
{
	static const char *const names[] = { [COMMAND_SERVE] = "the server", [COMMAND_BACKUP] = "backup",
		[COMMAND_RECOVER] = "recover", [COMMAND_IMPORT] = "import" };

	for (const struct option *l = longs; l->name; l++)
		if (given & UINT64_C(1) << (l->val - OPT_DATA_PATH) && !goes_with(l->val, command))
			return wrong("--%s is no option of %s", l->name, names[command]);
	return 0;
}

static int take_words(char **words, int n, struct options *o)
{
	if (n == 0)
		return 0;
	if (STREQ(words[0], "backup") || STREQ(words[0], "import")) {
		o->command = STREQ(words[0], "backup") ? COMMAND_BACKUP : COMMAND_IMPORT;
		if (n < 2)
			return wrong("%s needs the name of a file", words[0]);
		o->file = words[1];
		words++, n--;
	} else if (STREQ(words[0], "recover")) {
		o->command = COMMAND_RECOVER;
	} else {
		return wrong("'%s' is one argument too many", words[0]);
	}
	return n > 1 ? wrong("'%s' is one argument too many", words[1]) : 0;
}

static int take(int opt, struct options *o)
{
	int r = take_limit(opt, optarg, o);

	if (r)
		return r;
	switch (opt) {
	case OPT_DATA_PATH:
		o->data_path = optarg;
		return 1;
	case OPT_PORT:
		return take_endpoint("port", optarg, &o->rest);
	case OPT_AGENT_PORT:
		return take_endpoint("agent-port", optarg, &o->agents);
	case OPT_CERTIFICATES:
		o->certificates = optarg;
		return 1;
	case OPT_USER:
		o->user = optarg;
		o->user_given = true;
		return 1;
	case OPT_LOG_LEVEL:
		if (log_level_parse(optarg, &o->log_level) < 0)
			return wrong("--log-level '%s' is not known: error, warning, notice, info "
				     "or debug",
				optarg);
		return 1;
	case OPT_FAILOVER:
		return take_failover(optarg, &o->failover);
	case OPT_TERM:
		return take_term(optarg, &o->failover);
	case OPT_STOP_EXTENSION:
		return take_seconds("stop-extension", optarg, 0, &o->stop_extension_ms);
	case OPT_RETENTION:
		if (text_number(optarg, 0, RETENTION_MAX_S, &o->retention_s) < 0)
			return wrong("--retention '%s' is no number of seconds from 0 to %" PRIu64, optarg,
				RETENTION_MAX_S);
		return 1;
	case OPT_UNDELETE_WINDOW:
		if (text_number(optarg, 0, SCHEMA_UNDELETE_MAX_S, &o->undelete_s) < 0)
			return wrong("--undelete-window '%s' is no number of seconds from 0 to %" PRIu64, optarg,
				SCHEMA_UNDELETE_MAX_S);
		return 1;
	case OPT_STATE_EXPIRY:
		return take_seconds("state-expiry", optarg, 1, &o->state_expiry_ms);
	case OPT_FORCE:
		o->force = true;
		return 1;
	case OPT_FROM:
		o->from = optarg;
		return 1;
	case OPT_APPLY:
		o->apply = true;
		return 1;
	case OPT_HELP:
		fputs(help, stdout);
		return 0;
	default:
		puts(FLOCKER_VERSION);
		return 0;
	}
}

int options_parse(int argc, char **argv, struct options *ret)
{
	struct options o = { .data_path = "/var/lib/flocker", .certificates = "/etc/flocker",
		.user = "flocker", .log_level = LOG_INFO, .failover = { FAILOVER_MANUAL, 6000 },
		.stop_extension_ms = 300000, .state_expiry_ms = 120000, .retention_s = 30 * 86400, .depth = JSONIN_DEPTH_MAX,
		.event_bytes = 16 * MIB,
		.limits = { .head_bytes = 16 * KIB, .body_bytes = MIB, .connections = 4096, .watchers = 10000, .idle_s = 120,
			.request_s = 30, .answer_s = 120 } };
	uint64_t given = 0;
	int opt, r;

	(void)endpoint_parse("tcp:4523", &o.rest);
	(void)endpoint_parse("tcp:4524", &o.agents);
	opterr = 0;
	while ((opt = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
		if (opt == ':')
			return wrong("%s needs a value", argv[optind - 1]);
		if (opt == '?')
			return wrong("%s is not an option", argv[optind - 1]);
		r = take(opt, &o);
		if (r <= 0)
			return r;
		given |= UINT64_C(1) << (opt - OPT_DATA_PATH);
	}
	if ((r = take_words(argv + optind, argc - optind, &o)) < 0 || (r = check_options(given, o.command)) < 0)
		return r;
	*ret = o;
	return 1;
}
