/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <time.h>

#include "say.h"
#include "watchdog.h"
#include "watchdog_device.h"

#define STACK (32 * KIB)
#define DEVICES 10
#define SECOND UINT64_C(1000000000)
#define AGAIN SECOND /* until a device that cannot be had is tried once more */
#define END_S 5

static struct {
	pthread_mutex_t lock;
	pthread_cond_t change;
	/* Below the lock. */
	uint64_t limit;
	bool open, busy; /* the device; the thread, with it */
	struct keeper_news news;
	/* The thread's own. */
	const char *device;
	int event_fd, fd;
	struct watchdog dog;
	uint64_t again; /* when to try to open it again */
	int said;	/* of why it cannot be had */
	bool said_late;
} k = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.change = PTHREAD_COND_INITIALIZER,
	.limit = FENCE_NEVER,
	.fd = -EBADF,
};

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

static uint64_t now_boot(void)
{
	return now_ns(CLOCK_BOOTTIME);
}

static void tell(enum fence_watchdog state, int error, uint64_t late_ns)
{
	pthread_mutex_lock(&k.lock);
	if (k.news.state != state || k.news.error != error) {
		k.news = (struct keeper_news){ state, error, late_ns };
		(void)eventfd_write(k.event_fd, 1);
	}
	pthread_mutex_unlock(&k.lock);
}

/* ---- one that can be had ---- */

/* Which timeouts it takes is not told by all drivers, so they are tried. */
static int find_timeouts(int fd, struct watchdog *ret)
{
	int min = -EINVAL, max = -EINVAL;

	for (unsigned t = WATCHDOG_MAX_S; max == -EINVAL && t > 1; t /= 2)
		max = watchdog_kick(fd, t);
	for (unsigned t = 1; min == -EINVAL && t <= WATCHDOG_MAX_S; t++)
		min = watchdog_kick(fd, t);
	if (min <= 0)
		return min < 0 ? min : -EINVAL;
	/* Back at once: a healthy machine is not reset by a short one that was only tried. */
	if (max > min)
		max = watchdog_kick(fd, (unsigned)max);
	if (max < 0 && max != -EINVAL)
		return max;
	*ret = (struct watchdog){ .min_s = (unsigned)min, .max_s = (unsigned)MAX(min, max) };
	/* Until it is kicked with another one. */
	watchdog_kicked(ret, ret->max_s, 0, now_boot());
	return 0;
}

static int open_one(const char *path)
{
	char name[WATCHDOG_NAME_MAX] = "";
	struct watchdog dog;
	int fd = watchdog_open(path, name), r;

	if (fd < 0)
		return fd;
	r = find_timeouts(fd, &dog);
	if (r < 0) {
		(void)watchdog_close(fd);
		return r;
	}
	fence_say(LOG_INFO, NULL, 0, "the watchdog %s (%s) guards too, with timeouts from %u to %u s",
		path, name, dog.min_s, dog.max_s);
	k.dog = dog;
	return fd;
}

/* The one that is in use is the better reason than the one that is not there. */
static int open_any(void)
{
	char path[] = "/dev/watchdog0";
	int r = -ENOENT, fd;

	for (unsigned i = 0; i < DEVICES; i++) {
		path[sizeof(path) - 2] = (char)('0' + i);
		fd = open_one(path);
		if (fd >= 0)
			return fd;
		r = fd == -ENOENT ? r : fd;
	}
	return r;
}

static void say_why_not(int r, bool any)
{
	const char *why = NULL;

	if (r == k.said)
		return;
	k.said = r;
	if (r == -EBUSY && watchdog_is_with_init())
		why = "process 1 has it, see RuntimeWatchdogSec= of systemd";
	else if (r == -EPERM)
		why = "it could not be switched off again, or does not say (nowayout)";
	if (any && r == -ENOENT)
		fence_say(LOG_NOTICE, NULL, 0,
			"this machine has no watchdog: nothing stops its datasets if this stops too");
	else
		fence_say(any ? LOG_NOTICE : LOG_ERR, NULL, why ? 0 : r,
			"the watchdog %s cannot be had%s%s", any ? "of this machine" : k.device,
			why ? ": " : "", why ?: "");
}

static void let_open(uint64_t now)
{
	bool any = STREQ(k.device, "auto");

	k.fd = any ? open_any() : open_one(k.device);
	if (k.fd >= 0) {
		k.said = 0;
		return;
	}
	say_why_not(k.fd, any);
	tell(any && k.fd == -ENOENT ? FENCE_WATCHDOG_NONE : FENCE_WATCHDOG_FAILED, k.fd, 0);
	k.again = now + AGAIN;
}

static void let_close(void)
{
	int r = watchdog_close(k.fd);

	k.fd = -EBADF;
	if (r < 0)
		fence_say(LOG_ERR, NULL, r, "the watchdog cannot be switched off");
	else
		fence_say(LOG_INFO, NULL, 0, "the watchdog is off");
	tell(FENCE_WATCHDOG_IDLE, 0, 0);
}

/* ---- kicks ---- */

static void say_late(uint64_t late)
{
	if (!k.said_late)
		fence_say(LOG_WARNING, NULL, 0,
			"the watchdog takes no timeout below %u s: a machine that stops is reset up to "
			"%" PRIu64 " ms after another node may have a dataset",
			k.dog.min_s, late / (SECOND / 1000) + 1);
	k.said_late = true;
}

/*
 * What it made of the timeout is told only afterwards, and may be longer. Then a shorter one
 * follows.
 */
static void kick(unsigned timeout_s, uint64_t limit)
{
	int r;

	for (;; timeout_s--) {
		r = watchdog_kick(k.fd, timeout_s);
		if (r > 0)
			watchdog_kicked(&k.dog, (unsigned)r, limit, now_boot());
		if ((r > 0 && !watchdog_late(&k.dog)) || timeout_s <= k.dog.min_s)
			break;
	}
	if (r < 0) {
		fence_say(LOG_ERR, NULL, r, "the watchdog cannot be kicked");
		tell(FENCE_WATCHDOG_FAILED, r, 0);
	} else if (watchdog_late(&k.dog)) {
		say_late(watchdog_late(&k.dog));
		tell(FENCE_WATCHDOG_LATE, 0, watchdog_late(&k.dog));
	} else {
		tell(FENCE_WATCHDOG_ARMED, 0, 0);
	}
}

/* Brings the device to what @limit asks for. When to do so again; FENCE_NEVER. */
static uint64_t bring(uint64_t limit)
{
	uint64_t now = now_boot();
	unsigned timeout_s;

	if (limit == FENCE_NEVER) {
		if (k.fd >= 0)
			let_close();
		return FENCE_NEVER;
	}
	if (k.fd < 0 && now >= k.again)
		let_open(now);
	if (k.fd < 0)
		return k.again;
	timeout_s = watchdog_timeout(&k.dog, limit, now_boot());
	if (timeout_s)
		kick(timeout_s, limit);
	return watchdog_next(&k.dog, limit, now_boot());
}

/* ---- the thread ---- */

/* With the lock held: until the limit is another one, or it is time. */
static void wait_for_change(uint64_t limit, uint64_t until)
{
	uint64_t now = now_boot(), end;
	struct timespec ts;

	end = now_ns(CLOCK_MONOTONIC) + (until > now ? until - now : 0);
	ts = (struct timespec){ (time_t)(end / SECOND), (long)(end % SECOND) };
	while (k.limit == limit) {
		if (until == FENCE_NEVER)
			pthread_cond_wait(&k.change, &k.lock);
		else if (pthread_cond_clockwait(&k.change, &k.lock, CLOCK_MONOTONIC, &ts) != 0)
			return;
	}
}

static void *keeper(void *arg)
{
	uint64_t limit = FENCE_NEVER, until = FENCE_NEVER;
	struct sched_param p;
	int policy;

	/* Before the helper's loop, see keeper.h; in vain where that is not real-time either. */
	if (pthread_getschedparam(pthread_self(), &policy, &p) == 0 && policy == SCHED_FIFO) {
		p.sched_priority++;
		(void)pthread_setschedparam(pthread_self(), policy, &p);
	}
	pthread_mutex_lock(&k.lock);
	for (;;) {
		wait_for_change(limit, until);
		limit = k.limit;
		k.busy = true;
		pthread_mutex_unlock(&k.lock);
		until = bring(limit);
		pthread_mutex_lock(&k.lock);
		k.busy = false;
		k.open = k.fd >= 0;
		pthread_cond_broadcast(&k.change);
	}
	return NULL;
}

int keeper_start(const char *device)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	k.device = device;
	k.news.state = FENCE_WATCHDOG_IDLE;
	k.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (k.event_fd < 0)
		return -errno;
	r = pthread_attr_init(&attr);
	if (r == 0)
		r = pthread_attr_setstacksize(&attr, STACK);
	if (r == 0)
		r = pthread_create(&thread, &attr, keeper, NULL);
	return r == 0 ? k.event_fd : -r;
}

static void set(uint64_t limit)
{
	if (k.limit == limit)
		return;
	k.limit = limit;
	pthread_cond_broadcast(&k.change);
}

void keeper_set(uint64_t limit)
{
	pthread_mutex_lock(&k.lock);
	set(limit);
	pthread_mutex_unlock(&k.lock);
}

void keeper_lower(uint64_t limit)
{
	pthread_mutex_lock(&k.lock);
	set(MIN(k.limit, limit));
	pthread_mutex_unlock(&k.lock);
}

struct keeper_news keeper_news(void)
{
	struct keeper_news news;
	eventfd_t ignored;

	(void)eventfd_read(k.event_fd, &ignored);
	pthread_mutex_lock(&k.lock);
	news = k.news;
	pthread_mutex_unlock(&k.lock);
	return news;
}

void keeper_end(void)
{
	uint64_t end = now_ns(CLOCK_MONOTONIC) + END_S * SECOND;
	struct timespec ts = { (time_t)(end / SECOND), (long)(end % SECOND) };

	keeper_set(FENCE_NEVER);
	pthread_mutex_lock(&k.lock);
	while ((k.open || k.busy) &&
		pthread_cond_clockwait(&k.change, &k.lock, CLOCK_MONOTONIC, &ts) == 0)
		;
	pthread_mutex_unlock(&k.lock);
}
