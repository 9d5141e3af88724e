/* SPDX-License-Identifier: Apache-2.0 */
/* flocker-node - the daemon of one host. */
#include <event2/thread.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <systemd/sd-daemon.h>

#include "log.h"
#include "node.h"
#include "take_image.h"
#include "text.h"

/*
 * What starts after the unit finds its datasets. After a reboot they are mounted when control has
 * confirmed them; but control may be away, or be started after us.
 */
#define SETTLE_LIMIT_S 20

static const char usage[] =
	"flocker-node - attach, mount and release the datasets that control assigns to this host\n"
	"\n"
	"usage: flocker-node [--agent-config FILE] [--log-level LEVEL] [--step-limit SECONDS]\n"
	"                    [--fence-helper FILE]\n"
	"       flocker-node take-image IMAGE DATASET_ID [--agent-config FILE]\n"
	"\n"
	"As take-image it makes a volume of an image file of the original Flocker, for a\n"
	"dataset that `flocker-control import` took. See docs/migration.md.\n"
	"\n"
	"  -c, --agent-config FILE  configuration (default " NODE_CONFIG_DEFAULT_PATH ");\n"
	"                           cluster.crt, node.crt, node.key and, if there is\n"
	"                           one, cluster.crl lie beside it\n"
	"      --log-level LEVEL    error, warning, notice, info (default) or debug\n"
	"      --step-limit SECONDS report a step as hung after this time at the latest;\n"
	"                           for tests and diagnosis\n"
	"      --fence-helper FILE  another flocker-fence than the installed one\n"
	"      --help, --version\n"
	"\n"
	"SIGTERM ends the daemon and leaves mounts as they are. See flocker-node(8).\n";

struct daemon {
	struct event_base *base;
	struct node *node;
	struct event *signals[2], *watchdog, *last_words, *settle_limit;
	struct timeval watchdog_every;
	bool failed;
};

/* ---- command line ---- */

struct options {
	const char *config;
	const char *fence_helper;  /* NULL: the installed one */
	unsigned int step_limit_s; /* 0: as each step has it */
	const char *image;	   /* of take-image; NULL: serve */
	struct id128 dataset_id;
};

static int parse_words(int n, char **words, struct options *ret)
{
	if (n == 0)
		return 0;
	if (!STREQ(words[0], "take-image")) {
		fprintf(stderr, "ERROR: '%s' is one word too many; see flocker-node --help\n", words[0]);
		return -EINVAL;
	}
	if (n != 3 || id128_parse(words[2], &ret->dataset_id) < 0) {
		fputs("ERROR: take-image needs an image file and the id of a dataset; see flocker-node --help\n",
			stderr);
		return -EINVAL;
	}
	ret->image = words[1];
	return 0;
}

static int parse_options(int argc, char **argv, struct options *ret)
{
	static const struct option options[] = { { "agent-config", required_argument, NULL, 'c' },
		{ "log-level", required_argument, NULL, 'l' },
		{ "step-limit", required_argument, NULL, 's' },
		{ "fence-helper", required_argument, NULL, 'f' }, { "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' }, { 0 } };
	uint64_t seconds;
	int c, level;

	while ((c = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			ret->config = optarg;
			break;
		case 'l':
			if (log_level_parse(optarg, &level) < 0) {
				fprintf(stderr, "ERROR: --log-level '%s' is none of error, warning, "
						"notice, info, debug\n", optarg);
				return -EINVAL;
			}
			log_set_level(level);
			break;
		case 's':
			if (text_number(optarg, 1, 86400, &seconds) < 0) {
				fprintf(stderr, "ERROR: --step-limit '%s' is no number of seconds from "
						"1 to 86400\n", optarg);
				return -EINVAL;
			}
			ret->step_limit_s = (unsigned int)seconds;
			break;
		case 'f':
			ret->fence_helper = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return 1;
		case 'V':
			puts(FLOCKER_VERSION);
			return 1;
		default:
			fputs("ERROR: see flocker-node --help\n", stderr);
			return -EINVAL;
		}
	}
	return parse_words(argc - optind, argv + optind, ret);
}

/* ---- identity ---- */

static int open_tls(const struct node_config *c, SSL_CTX **ret, struct id128 *ret_uuid)
{
	struct tls_files files = { c->cluster_crt, c->node_crt, c->node_key, c->cluster_crl };
	_cleanup_(SSL_CTX_freep) SSL_CTX *ctx = NULL;
	_cleanup_free_ char *error = NULL;
	char name[TLS_NAME_MAX] = "";
	int r;

	r = tls_client_new(&files, &ctx, &error);
	if (r < 0)
		return log_error(0, "%s", error ? error : strerror(-r)), r;
	if (tls_key_exposed(c->node_key))
		(void)log_warning(0, "%s can be read by everybody; it should have mode 0600", c->node_key);
	(void)tls_own_name(ctx, name, sizeof(name));
	if (strncmp(name, "node-", 5) != 0 || id128_parse(name + 5, ret_uuid) < 0)
		return log_error(EINVAL, "%s is of '%s', and a node needs one of node-UUID: make it with "
					 "flocker-ca create-node-certificate", c->node_crt, name);
	*ret = TAKE_PTR(ctx);
	return 0;
}

/* ---- the loop ---- */

static void on_last_words(evutil_socket_t fd, short what, void *userdata)
{
	struct daemon *d = userdata;

	event_base_loopbreak(d->base);
}

static void on_signal(evutil_socket_t sig, short what, void *userdata)
{
	struct daemon *d = userdata;
	unsigned int mounted = node_stop(d->node);
	struct timeval tv = { 0, 200000 };

	log_notice("%s: ending; %u mounted dataset%s stay%s mounted and in use",
		sig == SIGTERM ? "SIGTERM" : "SIGINT", mounted, mounted == 1 ? "" : "s",
		mounted == 1 ? "s" : "");
	(void)sd_notify(0, "STOPPING=1");
	event_add(d->last_words, &tv);
}

static void on_watchdog(evutil_socket_t fd, short what, void *userdata)
{
	(void)sd_notify(0, "WATCHDOG=1");
}

static void on_ready(void *userdata)
{
	struct daemon *d = userdata;
	struct timeval tv = { SETTLE_LIMIT_S, 0 };

	(void)sd_notify(0, "STATUS=what was here is adopted");
	log_info("ready");
	event_add(d->settle_limit, &tv);
}

static void on_settled(void *userdata)
{
	struct daemon *d = userdata;

	event_del(d->settle_limit);
	(void)sd_notify(0, "READY=1\nSTATUS=datasets that were here are here");
}

static void on_settle_limit(evutil_socket_t fd, short what, void *userdata)
{
	(void)log_warning(0, "not every dataset that was here is mounted after %d s; what needs them "
			     "does not wait longer", SETTLE_LIMIT_S);
	(void)sd_notify(0, "READY=1\nSTATUS=not every dataset that was here is mounted");
}

static void on_failed(void *userdata)
{
	struct daemon *d = userdata;

	d->failed = true;
	event_base_loopbreak(d->base);
}

static int add_events(struct daemon *d)
{
	static const int signals[] = { SIGTERM, SIGINT };
	uint64_t usec;

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		d->signals[i] = evsignal_new(d->base, signals[i], on_signal, d);
		if (!d->signals[i] || event_priority_set(d->signals[i], PRIO_SIGNAL) < 0 ||
			event_add(d->signals[i], NULL) < 0)
			return -ENOMEM;
	}
	d->last_words = evtimer_new(d->base, on_last_words, d);
	d->watchdog = event_new(d->base, -1, EV_PERSIST, on_watchdog, d);
	d->settle_limit = evtimer_new(d->base, on_settle_limit, d);
	if (!d->last_words || !d->watchdog || !d->settle_limit)
		return -ENOMEM;
	if (sd_watchdog_enabled(0, &usec) > 0) {
		d->watchdog_every = (struct timeval){ (time_t)(usec / 3 / 1000000),
			(suseconds_t)(usec / 3 % 1000000) };
		event_add(d->watchdog, &d->watchdog_every);
	}
	return 0;
}

static void end(struct daemon *d)
{
	if (d->node)
		node_free(d->node);
	for (size_t i = 0; i < ARRAY_SIZE(d->signals); i++)
		if (d->signals[i])
			event_free(d->signals[i]);
	if (d->last_words)
		event_free(d->last_words);
	if (d->watchdog)
		event_free(d->watchdog);
	if (d->settle_limit)
		event_free(d->settle_limit);
	if (d->base)
		event_base_free(d->base);
}

static int serve(const struct node_config *c, SSL_CTX *ctx, struct id128 uuid, const struct options *o)
{
	static const struct node_callbacks cbs = { on_ready, on_settled, on_failed };
	struct daemon d = { 0 };
	char why[1024] = "";
	int r;

	/* Conditional notifications between threads need it; connections stay on the loop's thread. */
	if (evthread_use_pthreads() < 0)
		return log_error(ENOMEM, "libevent has no threads");
	d.base = event_base_new();
	if (!d.base || event_base_priority_init(d.base, PRIO_MAX) < 0)
		return log_error(ENOMEM, "libevent does not start");
	r = add_events(&d);
	if (r == 0)
		r = node_new(d.base, c, uuid, ctx, &d.node, why, sizeof(why));
	if (r < 0) {
		(void)log_error(*why ? 0 : r, "%s", *why ? why : "cannot start");
		end(&d);
		return r;
	}
	log_notice("flocker-node %s, node %s, datasets below %s", FLOCKER_VERSION, ID128_STR(uuid),
		c->mount_root);
	node_cap_steps(d.node, o->step_limit_s);
	if (o->fence_helper)
		node_use_fence_helper(d.node, o->fence_helper);
	node_start(d.node, &cbs, &d);
	event_base_dispatch(d.base);
	end(&d);
	return d.failed ? -EIO : 0;
}

int main(int argc, char **argv)
{
	_cleanup_(node_config_freep) struct node_config *config = NULL;
	_cleanup_(SSL_CTX_freep) SSL_CTX *ctx = NULL;
	struct options options = { .config = NODE_CONFIG_DEFAULT_PATH };
	char why[NODE_CONFIG_WHY_MAX];
	struct id128 uuid;
	int r;

	log_open("flocker-node");
	/* Few arenas: workers come and go, and each arena keeps what it once had. */
	mallopt(M_ARENA_MAX, 2);
	signal(SIGPIPE, SIG_IGN);
	/* The fence helper ends our group when a term is over and we are in the way: nobody else's. */
	(void)setpgid(0, 0);
	r = parse_options(argc, argv, &options);
	if (r != 0)
		return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	if (geteuid() != 0) {
		(void)log_error(0, "attaching and mounting need root");
		return EXIT_FAILURE;
	}
	r = node_config_read(options.config, &config, why, sizeof(why));
	if (r < 0) {
		(void)log_error(0, "%s", why);
		return EXIT_FAILURE;
	}
	for (size_t i = 0; i < config->n_warnings; i++)
		(void)log_warning(0, "%s", config->warnings[i]);
	if (options.image)
		return take_image(config, options.image, options.dataset_id) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	r = open_tls(config, &ctx, &uuid);
	if (r == 0)
		r = serve(config, ctx, uuid, &options);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
