/* SPDX-License-Identifier: Apache-2.0 */
#include "quiesce.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <time.h>

#define FREEZE_LIMIT_MS 150
#define THAW_LIMIT_MS 500

/* FS_IOC_SHUTDOWN, which the headers of older systems do not have. */
#define SHUTDOWN _IOR('X', 125, uint32_t)
#define SHUTDOWN_AFTER_LOG_FLUSH 1
#define SHUTDOWN_AS_IT_IS 2

static void shut_down(int fd, uint32_t how)
{
	(void)ioctl(fd, SHUTDOWN, &how);
}

static void *freezer(void *arg)
{
	struct quiesce *q = arg;
	bool frozen;

	pthread_mutex_lock(&q->lock);
	for (;;) {
		while (!q->busy)
			pthread_cond_wait(&q->change, &q->lock);
		pthread_mutex_unlock(&q->lock);
		/* -EBUSY: somebody else has, which is as good */
		frozen = ioctl(q->fd, FIFREEZE, 0) == 0 || errno == EBUSY;
		pthread_mutex_lock(&q->lock);
		q->settled = true;
		pthread_cond_broadcast(&q->change);
		while (!q->release)
			pthread_cond_wait(&q->change, &q->lock);
		pthread_mutex_unlock(&q->lock);
		if (frozen)
			shut_down(q->fd, SHUTDOWN_AS_IT_IS);
		/* Whoever froze it, a backup or a helper that was killed: a filesystem without a
		 * device gains nothing by being still, and would keep the device. */
		(void)ioctl(q->fd, FITHAW, 0);
		q->fd = close_keep_errno(q->fd);
		pthread_mutex_lock(&q->lock);
		q->busy = q->settled = q->release = false;
		pthread_cond_broadcast(&q->change);
	}
	return NULL;
}

int quiesce_start(struct quiesce *q, const pthread_attr_t *attr)
{
	pthread_t thread;

	return -pthread_create(&thread, attr, freezer, q);
}

/* With the lock held: until *@flag is @value, or the limit. */
static void wait_until(struct quiesce *q, const bool *flag, bool value, long limit_ms)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += limit_ms * 1000000;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	while (*flag != value)
		if (pthread_cond_clockwait(&q->change, &q->lock, CLOCK_MONOTONIC, &end) != 0)
			return;
}

void quiesce_begin(struct quiesce *q, int fd)
{
	pthread_mutex_lock(&q->lock);
	if (q->busy) {
		close_keep_errno(fd);
	} else {
		q->fd = fd;
		q->busy = true;
		pthread_cond_broadcast(&q->change);
		wait_until(q, &q->settled, true, FREEZE_LIMIT_MS);
	}
	pthread_mutex_unlock(&q->lock);
}

void quiesce_end(struct quiesce *q)
{
	pthread_mutex_lock(&q->lock);
	if (q->busy) {
		q->release = true;
		pthread_cond_broadcast(&q->change);
		wait_until(q, &q->busy, false, THAW_LIMIT_MS);
	}
	pthread_mutex_unlock(&q->lock);
}

/* The log is flushed before, which is a few milliseconds of metadata: without, an fsync under way
 * may say 0 and have kept nothing. */
void quiesce_shut_down(int fd)
{
	shut_down(fd, SHUTDOWN_AFTER_LOG_FLUSH);
}
