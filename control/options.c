/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdarg.h>

#include "log.h"
#include "options.h"
#include "schema.h"
#include "text.h"

enum {
	OPT_DATA_PATH = 256,
	OPT_PORT,
	OPT_AGENT_PORT,
	OPT_CERTIFICATES,
	OPT_USER,
	OPT_LOG_LEVEL,
	OPT_NEW_INCARNATION,
	OPT_FAILOVER,
	OPT_TERM,
	OPT_STOP_EXTENSION,
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
	{ "new-incarnation", no_argument, NULL, OPT_NEW_INCARNATION },
	{ "failover", required_argument, NULL, OPT_FAILOVER },
	{ "term", required_argument, NULL, OPT_TERM },
	{ "stop-extension", required_argument, NULL, OPT_STOP_EXTENSION },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ 0 },
};

static const char help[] =
	"Usage: flocker-control [OPTION]...\n"
	"Decides where datasets are, remembers it, and tells the nodes.\n"
	"\n"
	"      --data-path DIR     where the store is (/var/lib/flocker)\n"
	"      --port ENDPOINT     for users, HTTPS (tcp:4523)\n"
	"      --agent-port ENDPOINT\n"
	"                          for nodes (tcp:4524)\n"
	"      --certificates-directory DIR\n"
	"                          holds cluster.crt, control-service.crt and\n"
	"                          control-service.key (/etc/flocker)\n"
	"      --user NAME         to run as when started by root (flocker)\n"
	"      --log-level LEVEL   error, warning, notice, info or debug (info)\n"
	"      --new-incarnation   once, after the store was restored from a backup: the\n"
	"                          nodes then accept a state older than they have seen\n"
	"      --failover POLICY   manual or lease, of new datasets that choose none\n"
	"                          (manual); see docs/failover.md first\n"
	"      --term SECONDS      of leases that choose none (6)\n"
	"      --stop-extension SECONDS\n"
	"                          how long leased datasets go on when this service is\n"
	"                          stopped as planned (300); 0: for their term\n"
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

static int take_extension(const char *text, uint32_t *ret_ms)
{
	uint64_t s;

	if (text_number(text, 0, SCHEMA_TERM_MAX_S, &s) < 0)
		return wrong("--stop-extension '%s' is no number of seconds from 0 to %d", text, SCHEMA_TERM_MAX_S);
	*ret_ms = (uint32_t)s * 1000;
	return 1;
}

static int take(int opt, struct options *o)
{
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
	case OPT_NEW_INCARNATION:
		o->new_incarnation = true;
		return 1;
	case OPT_FAILOVER:
		return take_failover(optarg, &o->failover);
	case OPT_TERM:
		return take_term(optarg, &o->failover);
	case OPT_STOP_EXTENSION:
		return take_extension(optarg, &o->stop_extension_ms);
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
		.user = "flocker", .log_level = LOG_INFO, .failover = { FAILOVER_MANUAL, 6000 }, .stop_extension_ms = 300000 };
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
	}
	if (optind < argc)
		return wrong("'%s' is one argument too many", argv[optind]);
	*ret = o;
	return 1;
}
