/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flocker-docker-plugin - from the command line to the loop and back.
 *
 *   options -> agent.yml, node.crt -> certificates -> socket -> what was mounted -> loop
 *
 * SIGTERM answers who waits, and leaves mounts and leases as they are.
 */
#include <signal.h>

#include <systemd/sd-daemon.h>

#include "docker_config.h"
#include "docker_server.h"
#include "log.h"

struct plugin {
	struct docker_config config;
	struct event_base *base;
	struct event *sigterm, *sigint, *watchdog, *last_words;
	struct docker_volumes *volumes;
	struct docker_server *server;
	bool made_socket;
};

/* ---- the end ---- */

/* What was answered has left for the sockets by then. */
static void on_last_words(evutil_socket_t fd, short what, void *userdata)
{
	struct plugin *p = userdata;

	event_base_loopbreak(p->base);
}

static void on_signal(evutil_socket_t sig, short what, void *userdata)
{
	struct plugin *p = userdata;

	if (!p->volumes)
		return;
	log_notice("%s: stopping; mounts stay as they are", strsignal(sig));
	(void)sd_notify(0, "STOPPING=1");
	docker_server_stop(p->server);
	p->volumes = docker_volumes_free(p->volumes);
	(void)event_add(p->last_words, &(struct timeval){ .tv_usec = 50000 });
}

static void plugin_done(struct plugin *p)
{
	docker_volumes_free(p->volumes);
	docker_server_free(p->server);
	struct event *events[] = { p->sigterm, p->sigint, p->watchdog, p->last_words };
	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		if (events[i])
			event_free(events[i]);
	if (p->base) {
		/* Connections that had news when they were closed are let go by it. */
		(void)event_base_loop(p->base, EVLOOP_NONBLOCK);
		event_base_free(p->base);
	}
	if (p->made_socket)
		(void)unlink(p->config.socket);
	docker_config_done(&p->config);
}

/* ---- the beginning ---- */

static void on_certificates(void *userdata)
{
	struct plugin *p = userdata;

	if (p->volumes)
		docker_volumes_reconnect(p->volumes);
}

static int load_certificates(struct plugin *p)
{
	_cleanup_free_ char *error = NULL;
	int r = client_load(&p->config.client, p->base, on_certificates, p, &error);

	return r < 0 ? log_error(0, "%s", error ?: strerror(-r)) ?: r : 0;
}

/* Of systemd, which keeps it over our restarts; or one of our own. */
static int open_socket(struct plugin *p, int *ret_fd)
{
	int n = sd_listen_fds(1), fd = SD_LISTEN_FDS_START;

	if (n > 1 || (n == 1 && sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) <= 0))
		return log_error(0, "what systemd hands over has to be one listening Unix socket") ?: -EINVAL;
	if (n < 1) {
		fd = docker_server_listen(p->config.socket);
		if (fd == -EADDRINUSE)
			return log_error(fd, "%s: another plugin listens there", p->config.socket);
		if (fd < 0)
			return log_error(fd, "cannot listen on %s", p->config.socket);
		p->made_socket = true;
	} else if (evutil_make_socket_nonblocking(fd) < 0) {
		return log_error(errno, "cannot use the socket of systemd");
	}
	*ret_fd = fd;
	return 0;
}

static int open_volumes(struct plugin *p)
{
	struct docker_volumes_config c = {.node = p->config.client.node,
		.mount_root = p->config.client.mount_root,
		.state_path = p->config.state_path,
		.users_directory = p->config.client.users_directory,
		.engine_socket = p->config.engine_socket,
		.limit_s = p->config.limit_s,
		.wait_in_use = p->config.wait_in_use,
		.control = {p->config.client.host, p->config.client.port, p->config.client.ctx,
			"flocker-docker-plugin"}};
	int fd, r = docker_volumes_new(p->base, &c, &p->volumes);

	if (r == 0)
		r = open_socket(p, &fd);
	if (r < 0)
		return r;
	r = docker_server_new(p->base, fd, p->volumes, &p->server);
	return r < 0 ? log_error(r, "cannot start") : 0;
}

static void on_watchdog(evutil_socket_t fd, short what, void *userdata)
{
	(void)sd_notify(0, "WATCHDOG=1");
}

static int arm_events(struct plugin *p)
{
	uint64_t us = 0;

	p->sigterm = evsignal_new(p->base, SIGTERM, on_signal, p);
	p->sigint = evsignal_new(p->base, SIGINT, on_signal, p);
	p->last_words = evtimer_new(p->base, on_last_words, p);
	p->watchdog = event_new(p->base, -1, EV_PERSIST, on_watchdog, p);
	if (!p->sigterm || !p->sigint || !p->last_words || !p->watchdog || event_add(p->sigterm, NULL) < 0 ||
		event_add(p->sigint, NULL) < 0)
		return log_error(ENOMEM, "cannot start");
	if (sd_watchdog_enabled(0, &us) > 0)
		(void)event_add(p->watchdog,
			&(struct timeval){(time_t)(us / 2000000), (suseconds_t)(us / 2 % 1000000)});
	return 0;
}

static int start(struct plugin *p)
{
	int r = docker_config_read(&p->config);

	(void)signal(SIGPIPE, SIG_IGN);
	if (r < 0)
		return r;
	p->base = event_base_new();
	if (!p->base)
		return log_error(ENOMEM, "cannot start");
	if ((r = load_certificates(p)) < 0 || (r = open_volumes(p)) < 0 || (r = arm_events(p)) < 0)
		return r;
	log_notice("ready: node %s, control service %s port %u, %s", ID128_STR(p->config.client.node),
		p->config.client.host, p->config.client.port,
		p->made_socket ? p->config.socket : "the socket of systemd");
	(void)sd_notify(0, "READY=1");
	return 0;
}

int main(int argc, char **argv)
{
	struct plugin p = { 0 };
	int r = docker_config_parse(argc, argv, &p.config);

	if (r != 0)
		return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	log_open("flocker-docker-plugin");
	log_set_level(p.config.client.log_level);
	r = start(&p);
	if (r == 0)
		(void)event_base_dispatch(p.base);
	plugin_done(&p);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
