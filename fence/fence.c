/* SPDX-License-Identifier: Apache-2.0 */
#include "fence.h"

#include <inttypes.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <time.h>

#include "keeper.h"
#include "reboot.h"
#include "say.h"
#include "session.h"
#include "table.h"
#include "watchdog.h"
#include "workers.h"

#define READ_MAX 1024 /* packets in one turn: what is due does not wait for more */
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

enum { POLL_TIMER, POLL_WORKERS, POLL_KEEPER, POLL_LISTEN, POLL_DAEMON, POLL_PIDFDS };

static struct {
	struct fence_config config;
	struct fence_table table;
	struct session sessions[FENCE_SESSIONS];
	struct session *now; /* the connected one, or NULL */
	bool stuffed;	     /* it does not read what we tell */
	struct keeper_news watchdog;
	bool tell_watchdog; /* the daemon has not heard of it */
	int timer_fd, workers_fd, keeper_fd; /* -EBADF: no watchdog */
} h;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static unsigned index_of(const struct session *s)
{
	return (unsigned)(s - h.sessions);
}

/* ---- the daemon ---- */

static void daemon_lost(void)
{
	h.now->fd = close_keep_errno(h.now->fd);
	h.now = NULL;
	h.stuffed = false;
	if (h.table.n_guarded)
		fence_say(LOG_NOTICE, NULL, 0, "the daemon is gone; %u datasets stay guarded",
			h.table.n_guarded);
}

static void on_keeper(void)
{
	if (h.keeper_fd >= 0)
		h.watchdog = keeper_news();
	h.tell_watchdog = true;
}

static void daemon_take(int fd)
{
	struct session *s = h.sessions;
	int r;

	while (s < h.sessions + FENCE_SESSIONS && !session_is_free(s))
		s++;
	if (s == h.sessions + FENCE_SESSIONS) {
		fence_say(LOG_ERR, NULL, 0,
			"too many daemons that do not die; one more is refused");
		close(fd);
		return;
	}
	r = session_take(s, fd);
	if (r < 0) {
		fence_say(LOG_WARNING, NULL, r, "a connection is refused");
		return;
	}
	h.now = s;
	on_keeper();
	fence_tell_all(&h.table);
}

static struct fence_packet packet(enum fence_kind kind)
{
	return (struct fence_packet){ .version = FENCE_VERSION, .kind = kind };
}

static int tell(const struct fence_entry *e)
{
	struct fence_packet p = packet(FENCE_STATE);

	p.dataset_id = e->dataset_id;
	p.deadline_ns = e->deadline_ns;
	p.diskseq = e->diskseq;
	p.dev_major = major(e->devno);
	p.dev_minor = minor(e->devno);
	p.fs = (uint16_t)e->fs;
	p.state = (uint16_t)e->state;
	p.result = e->error;
	return session_send(h.now, &p);
}

static int tell_watchdog(void)
{
	struct fence_packet p = packet(FENCE_WATCHDOG);

	p.state = (uint16_t)h.watchdog.state;
	p.result = h.watchdog.error;
	p.deadline_ns = h.watchdog.late_ns;
	return session_send(h.now, &p);
}

/* Whatever the daemon has not heard of. What it does not take now, it is told when it reads. */
static int tell_news(void)
{
	struct fence_packet ready = packet(FENCE_READY);
	struct fence_entry *e = NULL;
	int r = 0;

	while (r == 0 && (e = fence_next_untold(&h.table, e))) {
		r = tell(e);
		if (r == 0)
			e->tell = false;
	}
	if (r == 0 && h.tell_watchdog) {
		r = tell_watchdog();
		h.tell_watchdog = r < 0;
	}
	ready.pid = (uint32_t)getpid();
	if (r == 0 && h.now->greet) {
		r = session_send(h.now, &ready);
		h.now->greet = r < 0;
	}
	return r;
}

static void on_news(void)
{
	int r;

	if (!h.now)
		return;
	r = tell_news();
	h.stuffed = r == -EAGAIN;
	if (r < 0 && r != -EAGAIN)
		daemon_lost();
}

static int set_device(const struct fence_packet *p)
{
	return fence_set_device(&h.table, p->dataset_id, makedev(p->dev_major, p->dev_minor),
		p->diskseq);
}

static int arm(const struct fence_packet *p)
{
	int r;

	if (p->fs >= FS_KIND_MAX)
		return -EPROTO;
	r = fence_arm(&h.table, p->dataset_id, p->deadline_ns, (enum fs_kind)p->fs);
	if (r == 0 && p->dev_major)
		r = set_device(p);
	if (r == 0 && p->state)
		r = fence_step_goes_on(&h.table, p->dataset_id, index_of(h.now));
	if (r == 0 && h.keeper_fd >= 0)
		keeper_lower(p->deadline_ns + WATCHDOG_SLACK_NS);
	return r;
}

static int carry_out(const struct fence_packet *p)
{
	switch ((enum fence_kind)p->kind) {
	case FENCE_ARM:
		return arm(p);
	case FENCE_SET_DEVICE:
		return set_device(p);
	case FENCE_DISARM:
		return fence_disarm(&h.table, p->dataset_id);
	case FENCE_STEP_BEGIN:
		return fence_step_begin(&h.table, p->dataset_id, index_of(h.now), now_ns());
	case FENCE_STEP_END:
		return fence_step_end(&h.table, p->dataset_id, index_of(h.now));
	case FENCE_ANSWER:
	case FENCE_STATE:
	case FENCE_READY:
	case FENCE_WATCHDOG:
		break;
	}
	return -EPROTO;
}

static int request(const struct fence_packet *p, size_t size)
{
	if (size != sizeof(*p) || p->version != FENCE_VERSION)
		return -EPROTO;
	return carry_out(p);
}

static void on_daemon(void)
{
	struct fence_packet p, answer;
	size_t size;
	int r = 1;

	for (unsigned i = 0; h.now && i < READ_MAX; i++) {
		p = (struct fence_packet){ 0 };
		r = session_read(h.now, &p, &size);
		if (r == 0)
			return;
		if (r > 0) {
			answer = packet(FENCE_ANSWER);
			answer.cookie = p.cookie;
			answer.dataset_id = p.dataset_id;
			answer.result = request(&p, size);
			r = answer.cookie ? session_send(h.now, &answer) : 0;
		}
		if (r < 0)
			daemon_lost();
	}
}

/* One daemon at a time; one that was killed or is dead counts no more, whoever has its socket. */
static void on_connect(void)
{
	int fd = accept4(h.config.listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (h.now && (h.now->killed || session_is_dead(h.now)))
		daemon_lost();
	if (h.now) {
		fence_say(LOG_WARNING, NULL, 0,
			"a second daemon is refused while process %d is connected",
			(int)h.now->pid);
		close(fd);
		return;
	}
	daemon_take(fd);
}

static void on_deaths(void)
{
	for (struct session *s = h.sessions; s < h.sessions + FENCE_SESSIONS; s++) {
		if (s->pidfd < 0 || !session_is_dead(s))
			continue;
		s->pidfd = close_keep_errno(s->pidfd);
		fence_session_ended(&h.table, index_of(s));
	}
}

/* ---- deadlines ---- */

static void on_stopped(void)
{
	struct fence_job job;

	while (fence_workers_take(&job)) {
		struct fence_entry *e = &h.table.entries[job.index];
		uint64_t now = now_ns();

		if (job.result < 0 && job.result != e->error)
			fence_say(LOG_ERR, &e->dataset_id, job.result,
				"cannot stop it yet, trying again");
		if (fence_stopped(&h.table, e, job.result, now))
			fence_say(LOG_NOTICE, &e->dataset_id, 0, "fenced after %" PRIu64 " ms",
				(now - e->deadline_ns) / NS_PER_MS);
	}
}

static void stop(const struct fence_entry *e)
{
	struct fence_job job = {
		.index = (uint16_t)(e - h.table.entries),
		.target = {
			.dataset_id = e->dataset_id,
			.fs = e->fs,
			.devno = e->devno,
			.diskseq = e->diskseq,
		},
	};

	fence_workers_submit(&job);
}

static void fire(uint64_t now)
{
	struct fence_entry *e = NULL;

	while ((e = fence_fire(&h.table, e, now)))
		;
	while ((e = fence_next_job(&h.table, e, now)))
		stop(e);
	/* Words come last: there may be thousands. */
	for (e = h.table.entries; e < h.table.entries + h.table.high; e++)
		if (e->state == FENCE_FIRED && e->fired_ns == now)
			fence_say(LOG_WARNING, &e->dataset_id, 0,
				"its time is over; it is stopped");
}

static void kill_daemons(uint64_t now)
{
	for (struct session *s = h.sessions; s < h.sessions + FENCE_SESSIONS; s++) {
		int r;

		if (s->pidfd < 0 || s->killed || !fence_must_die(&h.table, index_of(s), now))
			continue;
		r = session_kill(s);
		fence_say(LOG_WARNING, NULL, r, "daemon %d has a step in flight and is killed",
			(int)s->pid);
	}
}

static void complain(uint64_t now)
{
	struct fence_entry *e = NULL;
	bool any = false;
	int r;

	while ((e = fence_next_late(&h.table, e, now))) {
		fence_say(LOG_ERR, &e->dataset_id, e->error, "not fenced in %" PRIu64 " ms: %s",
			(now - e->deadline_ns) / NS_PER_MS,
			e->steps ? "the daemon cannot be ended" : "its device does not stop");
		any = true;
	}
	if (!any || !h.config.reboot)
		return;
	fence_say(LOG_CRIT, NULL, 0, "restarting the machine");
	r = fence_reboot();
	if (r < 0)
		fence_say(LOG_CRIT, NULL, r, "cannot restart the machine");
}

/* A helper that may restart the machine lets the watchdog do so as well. */
static bool forgives(void)
{
	return h.keeper_fd >= 0 && !h.config.reboot;
}

static void timer_set(void)
{
	uint64_t now = now_ns(), wake = fence_next_wake(&h.table, now);
	struct itimerspec when = { .it_value = { 0 } }; /* off */

	if (forgives())
		wake = MIN(wake, watchdog_next_give_up(&h.table, now));

	if (wake != FENCE_NEVER) {
		when.it_value.tv_sec = (time_t)(wake / NS_PER_S);
		when.it_value.tv_nsec = (long)(wake % NS_PER_S);
	}
	(void)timerfd_settime(h.timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* ---- the loop ---- */

static void wait_for_something(void)
{
	struct pollfd p[POLL_PIDFDS + FENCE_SESSIONS] = {
		[POLL_TIMER] = { .fd = h.timer_fd, .events = POLLIN },
		[POLL_WORKERS] = { .fd = h.workers_fd, .events = POLLIN },
		[POLL_KEEPER] = { .fd = h.keeper_fd, .events = POLLIN },
		[POLL_LISTEN] = { .fd = h.config.listen_fd, .events = POLLIN },
		[POLL_DAEMON] = { .fd = h.now ? h.now->fd : -1,
			.events = POLLIN | (h.stuffed ? POLLOUT : 0) },
	};

	for (unsigned i = 0; i < FENCE_SESSIONS; i++)
		p[POLL_PIDFDS + i] = (struct pollfd){ .fd = h.sessions[i].pidfd, .events = POLLIN };
	(void)poll(p, ARRAY_SIZE(p), -1);
	if (p[POLL_KEEPER].revents)
		on_keeper();
}

static bool has_work(void)
{
	return h.now || h.table.n_guarded;
}

/*
 * What the daemon said comes first: it counts from when it was said, however late we come to read
 * it. Then who died, so that nobody is killed for what was over. Then what is due.
 */
static void turn(void)
{
	uint64_t now;

	on_daemon();
	on_connect();
	on_deaths();
	on_stopped();
	now = now_ns();
	fire(now);
	kill_daemons(now);
	if (h.keeper_fd >= 0)
		keeper_set(watchdog_limit(&h.table, now, forgives()));
	complain(now);
	on_news();
}

int fence_run(const struct fence_config *c)
{
	h.config = *c;
	fence_table_init(&h.table, c->limit_ms * NS_PER_MS);
	for (unsigned i = 0; i < FENCE_SESSIONS; i++)
		h.sessions[i] = (struct session)SESSION_INIT;
	h.timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (h.timer_fd < 0)
		return -errno;
	h.workers_fd = fence_workers_start(c->root_fd);
	if (h.workers_fd < 0)
		return h.workers_fd;
	h.keeper_fd = c->watchdog ? keeper_start(c->watchdog) : -EBADF;
	if (c->watchdog && h.keeper_fd < 0)
		return h.keeper_fd;

	daemon_take(c->daemon_fd);
	for (turn(); has_work(); turn()) {
		timer_set();
		wait_for_something();
	}
	if (h.keeper_fd >= 0)
		keeper_end();
	return 0;
}
