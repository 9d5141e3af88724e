/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flocker-dataset - from the command line to the loop and back.
 *
 *   options -> a child, which is begun again when it is killed -> agent.yml, node.crt -> certificates -> loop
 *
 * SIGTERM gives the dataset back. When it is lost, systemd is asked to stop the unit, which ends
 * what is bound to it first; SIGTERM follows.
 */
#include <inttypes.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <systemd/sd-daemon.h>

#include "dataset_config.h"
#include "dataset_hold.h"
#include "dataset_keeper.h"
#include "log.h"
#include "program.h"

#define TICK_S 2
#define EXTEND_US UINT64_C(180000000) /* a start may last so much longer after each sign of progress */
#define HANGS_S 60 /* a loop that has not turned for so long never will */
#define SYSTEMCTL "/bin/systemctl"
#define ASK_AGAIN_TICKS 3 /* another job, such as a start, may have taken the place of the stop */

struct dataset {
	struct dataset_config *config;
	dev_t *bound; /* in memory that a child shares with the next one, see dataset_hold.h */
	struct event_base *base;
	struct event *sigterm, *sigint, *sigchld, *tick;
	struct hold *hold;
	char user[320];
	unsigned int lost_ticks; /* since systemd was to stop us; 0: it was not */
	bool ready, failed;
};

/* ---- what is told ---- */

static void on_status(const char *text, void *userdata)
{
	const struct dataset *d = userdata;

	(void)sd_notifyf(0, "STATUS=%s", text);
	if (!d->ready)
		log_info("%s: %s", d->config->dataset, text);
}

static void on_ready(void *userdata)
{
	struct dataset *d = userdata;

	d->ready = true;
	(void)sd_notify(0, "READY=1");
}

/* A unit ends after what is bound to it. */
static void ask_systemd(struct dataset *d)
{
	const char *const argv[] = { "systemctl", "--no-block", "stop", d->config->unit, NULL };
	pid_t pid;

	if (program_start(SYSTEMCTL, argv, NULL, false, &pid) == 0)
		return;
	log_error(0, "systemctl cannot be started, so that this ends by itself");
	hold_stop(d->hold);
}

static void on_lost(void *userdata)
{
	struct dataset *d = userdata;

	if (!d->config->unit) {
		hold_stop(d->hold);
		return;
	}
	d->lost_ticks = 1;
	ask_systemd(d);
}

static void on_over(bool failed, void *userdata)
{
	struct dataset *d = userdata;

	d->failed = failed;
	d->hold = hold_free(d->hold);
	(void)event_base_loopbreak(d->base);
}

/* ---- events ---- */

static void on_signal(evutil_socket_t sig, short what, void *userdata)
{
	struct dataset *d = userdata;

	if (!d->hold)
		return;
	(void)sd_notify(0, "STOPPING=1");
	d->lost_ticks = 0;
	hold_stop(d->hold);
}

/* systemctl, which has been asked to stop us. */
static void on_child(evutil_socket_t sig, short what, void *userdata)
{
	struct dataset *d = userdata;
	int status;

	while (waitpid(-1, &status, WNOHANG) > 0)
		if (status != 0 && d->hold) {
			log_error(0, "systemctl has not stopped %s, so that this ends by itself",
				d->config->unit);
			hold_stop(d->hold);
		}
}

static void on_tick(evutil_socket_t fd, short what, void *userdata)
{
	struct dataset *d = userdata;

	(void)alarm(HANGS_S);
	if (d->lost_ticks && d->lost_ticks++ % ASK_AGAIN_TICKS == 0)
		ask_systemd(d);
	if (!d->ready && d->hold && hold_goes_on(d->hold))
		(void)sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%" PRIu64, EXTEND_US);
}

static void on_certificates(void *userdata)
{
	struct dataset *d = userdata;

	if (d->hold)
		hold_reconnect(d->hold);
}

/* ---- the beginning and the end ---- */

static int arm_events(struct dataset *d)
{
	d->sigterm = evsignal_new(d->base, SIGTERM, on_signal, d);
	d->sigint = evsignal_new(d->base, SIGINT, on_signal, d);
	d->sigchld = evsignal_new(d->base, SIGCHLD, on_child, d);
	d->tick = event_new(d->base, -1, EV_PERSIST, on_tick, d);
	if (!d->sigterm || !d->sigint || !d->sigchld || !d->tick || event_add(d->sigterm, NULL) < 0 ||
		event_add(d->sigint, NULL) < 0 || event_add(d->sigchld, NULL) < 0 ||
		event_add(d->tick, &(struct timeval){ .tv_sec = TICK_S }) < 0)
		return log_error(ENOMEM, "cannot start");
	(void)alarm(HANGS_S);
	return 0;
}

static void name_user(struct dataset *d)
{
	if (d->config->unit)
		snprintf(d->user, sizeof(d->user), "unit %.300s", d->config->unit);
	else
		snprintf(d->user, sizeof(d->user), "program flocker-dataset %.255s",
			d->config->dataset);
}

static int start(struct dataset *d)
{
	static const struct hold_callbacks cbs = { on_status, on_ready, on_lost, on_over };
	struct dataset_config *c = d->config;
	struct hold_config config = { .client = &c->client, .dataset = c->dataset, .place = c->place, .user = d->user,
		.owner = c->owner, .group = c->group, .mode = c->mode,
		.wait_in_use = c->wait_in_use, .bound = d->bound };
	_cleanup_free_ char *error = NULL;
	int r = client_read(&c->client, &error);

	(void)signal(SIGPIPE, SIG_IGN);
	if (r < 0)
		return log_error(0, "%s", error ?: strerror(-r)) ?: r;
	d->base = event_base_new();
	if (!d->base)
		return log_error(ENOMEM, "cannot start");
	name_user(d);
	r = arm_events(d);
	if (r < 0)
		return r;
	r = client_load(&c->client, d->base, on_certificates, d, &error);
	if (r < 0)
		return log_error(0, "%s", error ?: strerror(-r)) ?: r;
	keeper_listen();
	return hold_new(d->base, &config, &cbs, d, &d->hold);
}

static void dataset_done(struct dataset *d)
{
	struct event *events[] = { d->sigterm, d->sigint, d->sigchld, d->tick };

	hold_free(d->hold);
	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		if (events[i])
			event_free(events[i]);
	dataset_config_done(d->config);
	if (d->base) {
		(void)event_base_loop(d->base, EVLOOP_NONBLOCK); /* connections that had news when they were closed */
		event_base_free(d->base);
	}
}

static int work(void *userdata)
{
	struct dataset d = *(const struct dataset *)userdata;
	int r = start(&d);

	if (r == 0)
		(void)event_base_dispatch(d.base);
	keeper_be_deaf();
	dataset_done(&d);
	return r < 0 || d.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run(struct dataset_config *c)
{
	struct dataset d = { .config = c };

	d.bound = mmap(NULL, sizeof(*d.bound), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (d.bound == MAP_FAILED) {
		log_error(errno, "cannot start");
		return EXIT_FAILURE;
	}
	return keeper_run(work, &d);
}

int main(int argc, char **argv)
{
	struct dataset_config config;
	int r = dataset_config_parse(argc, argv, &config);

	if (r == 0) {
		log_open("flocker-dataset");
		log_set_level(config.client.log_level);
		r = run(&config);
	} else {
		r = r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	}
	dataset_config_done(&config);
	return r;
}
