/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flocker-control - from the command line to the loop and back.
 *
 *   options -> sockets -> drop root -> certificates -> store -> cluster -> doors open -> loop
 *
 * With a command (command.h) it does that beside the server instead.
 *
 * SIGTERM closes the door to users, extends the terms of leased datasets and waits for their nodes to say
 * so, closes the other door, lets commits and their answers finish, and ends with 0.
 */
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#include <systemd/sd-daemon.h>

#include "agents.h"
#include "certs.h"
#include "command.h"
#include "log.h"
#include "options.h"
#include "rest.h"
#include "runas.h"
#include "tls.h"

#define STOP_LIMIT_S 10
#define DESCRIPTORS_BESIDE 64 /* of the store, the log, the loop, and some nodes */
#define EXTEND_LIMIT_S 3 /* a node that has not answered by then keeps its term */

struct control {
	struct options options;
	struct event_base *base;
	struct event *sigterm, *sigint, *watchdog, *stopping;
	struct store *store;
	struct cluster *cluster;
	struct agents *agents;
	struct rest *rest;
	SSL_CTX *user_ctx, *node_ctx;
	char *certificates[4]; /* paths, in the order of struct tls_files */
	struct certs *certs;
	int rest_fd, agents_fd;
	uint64_t incarnation, watchdog_us, stop_at_ms, extend_until_ms;
	bool idle; /* at the last look */
};

/* ---- the end ---- */

static void on_stopping(evutil_socket_t fd, short what, void *userdata)
{
	struct timeval tv = { .tv_usec = 50000 };
	struct control *c = userdata;
	bool idle;

	if (c->extend_until_ms) {
		if (assign_n_extending(cluster_assign(c->cluster)) > 0 && cluster_now_ms() < c->extend_until_ms) {
			(void)event_add(c->stopping, &tv);
			return;
		}
		c->extend_until_ms = 0;
		agents_stop(c->agents);
	}
	idle = cluster_idle(c->cluster) && rest_idle(c->rest) && agents_idle(c->agents);

	/* Idle twice in a row: what was just answered has left for the sockets in between. */
	if ((idle && c->idle) || cluster_now_ms() >= c->stop_at_ms) {
		event_base_loopbreak(c->base);
		return;
	}
	c->idle = idle;
	(void)event_add(c->stopping, &tv);
}

/* Our absence is not to stop anybody. */
static void extend_terms(struct control *c)
{
	struct assign_event ev = { .type = ASSIGN_EXTEND, .extension_ms = c->options.stop_extension_ms };

	cluster_decide(c->cluster, &ev, NULL, NULL);
	c->extend_until_ms = cluster_now_ms() + EXTEND_LIMIT_S * 1000;
}

static void on_signal(evutil_socket_t sig, short what, void *userdata)
{
	struct control *c = userdata;

	if (c->stop_at_ms)
		return;
	log_notice("%s: stopping; nodes keep what they have", strsignal(sig));
	(void)sd_notify(0, "STOPPING=1");
	c->stop_at_ms = cluster_now_ms() + STOP_LIMIT_S * 1000;
	rest_stop(c->rest);
	extend_terms(c);
	on_stopping(-1, 0, c);
}

static void control_done(struct control *c)
{
	certs_free(c->certs);
	rest_free(c->rest);
	agents_free(c->agents);
	store_close(c->store); /* before the cluster, whose transactions it finishes */
	cluster_free(c->cluster);
	if (c->user_ctx)
		SSL_CTX_free(c->user_ctx);
	if (c->node_ctx)
		SSL_CTX_free(c->node_ctx);
	struct event *events[] = { c->sigterm, c->sigint, c->watchdog, c->stopping };
	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		if (events[i])
			event_free(events[i]);
	if (c->base) {
		/* Connections that had news when they were closed are let go by it. */
		(void)event_base_loop(c->base, EVLOOP_NONBLOCK);
		event_base_free(c->base);
	}
	for (size_t i = 0; i < ARRAY_SIZE(c->certificates); i++)
		free(c->certificates[i]);
	close_keep_errno(c->rest_fd);
	close_keep_errno(c->agents_fd);
}

/* ---- the beginning ---- */

/* As many connections as the system allows us. */
static void raise_limits(const struct options *o)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		return;
	l.rlim_cur = l.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &l) < 0)
		log_warning(errno, "cannot raise the limit of open files, ignoring");
	else if (l.rlim_max != RLIM_INFINITY && l.rlim_max < (rlim_t)o->limits.connections + o->limits.watchers + DESCRIPTORS_BESIDE)
		log_warning(0, "%llu files may be open, which is too few for --max-connections %u and --max-watchers "
			"%u: raise LimitNOFILE= of the unit, or lower these",
			(unsigned long long)l.rlim_max, o->limits.connections, o->limits.watchers);
}

static int open_port(const char *option, const struct endpoint *e, int *ret_fd)
{
	int fd = endpoint_listen(e);

	if (fd == -EADDRINUSE)
		return log_error(fd,
			"cannot listen on %s port %u: another program does; stop it, or choose "
			"another port with --%s",
			e->address, e->port, option);
	if (fd == -EADDRNOTAVAIL)
		return log_error(fd, "cannot listen on %s port %u: this machine does not have that "
			"address; choose another with --%s", e->address, e->port, option);
	if (fd < 0)
		return log_error(
			fd, "cannot listen on %s port %u (--%s)", e->address, e->port, option);
	*ret_fd = fd;
	return 0;
}

static struct tls_files certificate_files(const struct control *c)
{
	return (struct tls_files){ c->certificates[0], c->certificates[1], c->certificates[2],
		c->certificates[3] };
}

static int name_certificates(struct control *c)
{
	static const char *const names[] = { "cluster.crt", "control-service.crt", "control-service.key",
		"cluster.crl" };
	static_assert(ARRAY_SIZE(names) == ARRAY_SIZE(c->certificates), "a file has no path");

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (asprintf(&c->certificates[i], "%s/%s", c->options.certificates, names[i]) < 0) {
			c->certificates[i] = NULL;
			return log_error(ENOMEM, "cannot start");
		}
	return 0;
}

static int load_certificates(struct control *c)
{
	_cleanup_free_ char *error = NULL;
	struct tls_files files;
	int r;

	r = name_certificates(c);
	if (r < 0)
		return r;
	files = certificate_files(c);
	r = tls_server_new(&files, rest_kinds, &c->user_ctx, &error);
	if (r == 0)
		r = tls_server_new(&files, agents_kinds, &c->node_ctx, &error);
	if (r < 0)
		return log_error(0, "%s", error ?: strerror(-r)) ?: r;
	if (tls_key_exposed(files.key))
		log_warning(0, "%s can be read by every user: chmod 0640 it", files.key);
	return 0;
}

static void on_certificates(void *userdata)
{
	struct control *c = userdata;

	rest_recheck(c->rest);
	agents_recheck(c->agents);
}

static int watch_certificates(struct control *c)
{
	struct certs_config config = { .files = certificate_files(c),
		.contexts = { c->user_ctx, c->node_ctx }, .on_change = on_certificates, .userdata = c };

	return certs_new(c->base, &config, &c->certs) < 0 ? log_error(ENOMEM, "cannot start") : 0;
}

/* It begins with 1; `flocker-control recover` and `import` make the others. */
static int settle_incarnation(struct control *c)
{
	int r = store_meta_get(c->store, STORE_META_INCARNATION, &c->incarnation);

	if (r == -ENOENT) {
		c->incarnation = 1;
		r = store_meta_set(c->store, STORE_META_INCARNATION, c->incarnation);
	}
	return r < 0 ? log_error(r, "the store's incarnation cannot be read or written") : 0;
}

static int open_store(struct control *c)
{
	_cleanup_free_ char *error = NULL;
	int r;

	r = store_open(c->base, c->options.data_path, &c->store, &error);
	if (r < 0)
		return log_error(0, "%s", error ?: strerror(-r)) ?: r;
	r = settle_incarnation(c);
	if (r < 0)
		return r;
	r = cluster_new(c->base, c->store, c->incarnation, &c->cluster, &error);
	if (r < 0)
		return log_error(0, "%s", error ?: strerror(-r)) ?: r;
	return cluster_retain(c->cluster, c->options.retention_s);
}

static int open_doors(struct control *c)
{
	struct rest_settings settings = { c->options.failover, c->options.undelete_s,
		c->options.state_expiry_ms, c->options.limits, c->options.event_bytes, c->options.depth };
	int r;

	r = agents_new(c->base, c->cluster, TAKE_FD(c->agents_fd), c->node_ctx, &c->agents);
	if (r == 0)
		r = rest_new(c->base, c->cluster, TAKE_FD(c->rest_fd), c->user_ctx, &settings,
			&c->rest);
	return r < 0 ? log_error(r, "cannot open the ports") : 0;
}

static void on_watchdog(evutil_socket_t fd, short what, void *userdata)
{
	(void)sd_notify(0, "WATCHDOG=1");
}

static int arm_events(struct control *c)
{
	struct timeval tv;

	c->sigterm = evsignal_new(c->base, SIGTERM, on_signal, c);
	c->sigint = evsignal_new(c->base, SIGINT, on_signal, c);
	c->stopping = evtimer_new(c->base, on_stopping, c);
	c->watchdog = event_new(c->base, -1, EV_PERSIST, on_watchdog, c);
	if (!c->sigterm || !c->sigint || !c->stopping || !c->watchdog ||
		event_add(c->sigterm, NULL) < 0 || event_add(c->sigint, NULL) < 0)
		return log_error(ENOMEM, "cannot start");
	if (sd_watchdog_enabled(0, &c->watchdog_us) > 0) {
		tv.tv_sec = (time_t)(c->watchdog_us / 2 / 1000000);
		tv.tv_usec = (suseconds_t)(c->watchdog_us / 2 % 1000000);
		(void)event_add(c->watchdog, &tv);
	}
	return 0;
}

static int start(struct control *c)
{
	int r;

	raise_limits(&c->options);
	(void)signal(SIGPIPE, SIG_IGN);
	if ((r = open_port("port", &c->options.rest, &c->rest_fd)) < 0 ||
		(r = open_port("agent-port", &c->options.agents, &c->agents_fd)) < 0 ||
		(r = runas(&c->options)) < 0 || (r = load_certificates(c)) < 0)
		return r;
	c->base = event_base_new();
	if (!c->base)
		return log_error(ENOMEM, "cannot start");
	if ((r = open_store(c)) < 0 || (r = open_doors(c)) < 0 ||
		(r = watch_certificates(c)) < 0 || (r = arm_events(c)) < 0)
		return r;
	log_notice("ready: users on %s port %u, nodes on %s port %u, incarnation %llu",
		c->options.rest.address, c->options.rest.port, c->options.agents.address,
		c->options.agents.port, (unsigned long long)c->incarnation);
	(void)sd_notify(0, "READY=1");
	return 0;
}

int main(int argc, char **argv)
{
	struct control c = { .rest_fd = -EBADF, .agents_fd = -EBADF };
	int r;

	r = options_parse(argc, argv, &c.options);
	if (r <= 0)
		return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	log_open("flocker-control");
	log_set_level(c.options.log_level);
	if (c.options.command != COMMAND_SERVE)
		return command_run(&c.options) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	r = start(&c);
	if (r == 0)
		(void)event_base_dispatch(c.base);
	control_done(&c);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
