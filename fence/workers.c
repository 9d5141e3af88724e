/* SPDX-License-Identifier: Apache-2.0 */
#include "workers.h"

#include <limits.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <sys/eventfd.h>

#include "proto.h"

#define STACK (32 * KIB)

struct ring {
	struct fence_job jobs[FENCE_DATASETS_MAX];
	size_t first, n;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct ring todo, done;
	int event_fd, root_fd;
	pthread_attr_t attr;
	unsigned n_ready;
	int error; /* of one that could not begin */
	struct quiesce quiesce[FENCE_WORKERS];
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER };

static void ring_put(struct ring *r, const struct fence_job *job)
{
	assert(r->n < FENCE_DATASETS_MAX);
	r->jobs[(r->first + r->n++) % FENCE_DATASETS_MAX] = *job;
}

static struct fence_job ring_take(struct ring *r)
{
	struct fence_job job = r->jobs[r->first];

	r->first = (r->first + 1) % FENCE_DATASETS_MAX;
	r->n--;
	return job;
}

/* Everything goes but these two. */
static void leave_descriptors(void)
{
	unsigned int low = (unsigned int)MIN(pool.root_fd, pool.event_fd);
	unsigned int high = (unsigned int)MAX(pool.root_fd, pool.event_fd);

	if (low > 0)
		(void)close_range(0, low - 1, CLOSE_RANGE_UNSHARE);
	if (high - low > 1)
		(void)close_range(low + 1, high - 1, CLOSE_RANGE_UNSHARE);
	(void)close_range(high + 1, UINT_MAX, CLOSE_RANGE_UNSHARE);
}

static void *worker(void *arg)
{
	struct quiesce *q = arg;
	int r;

	leave_descriptors();
	*q = (struct quiesce)QUIESCE_INIT;
	r = quiesce_start(q, &pool.attr);
	pthread_mutex_lock(&pool.lock);
	pool.n_ready++;
	pool.error = r < 0 ? r : pool.error;
	pthread_cond_broadcast(&pool.work);
	for (;;) {
		struct fence_job job;

		while (pool.todo.n == 0)
			pthread_cond_wait(&pool.work, &pool.lock);
		job = ring_take(&pool.todo);
		pthread_mutex_unlock(&pool.lock);
		job.result = fence_stop(pool.root_fd, q, &job.target);
		pthread_mutex_lock(&pool.lock);
		ring_put(&pool.done, &job);
		(void)eventfd_write(pool.event_fd, 1);
	}
	return NULL;
}

int fence_workers_start(int root_fd)
{
	int r;

	pool.root_fd = root_fd;
	pool.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool.event_fd < 0)
		return -errno;
	r = pthread_attr_init(&pool.attr);
	if (r == 0)
		r = pthread_attr_setstacksize(&pool.attr, STACK);
	for (unsigned i = 0; i < FENCE_WORKERS && r == 0; i++) {
		pthread_t thread;

		r = pthread_create(&thread, &pool.attr, worker, &pool.quiesce[i]);
	}
	if (r != 0)
		return -r;
	pthread_mutex_lock(&pool.lock);
	while (pool.n_ready < FENCE_WORKERS)
		pthread_cond_wait(&pool.work, &pool.lock);
	r = pool.error;
	pthread_mutex_unlock(&pool.lock);
	return r < 0 ? r : pool.event_fd;
}

void fence_workers_submit(const struct fence_job *job)
{
	pthread_mutex_lock(&pool.lock);
	ring_put(&pool.todo, job);
	pthread_cond_signal(&pool.work);
	pthread_mutex_unlock(&pool.lock);
}

bool fence_workers_take(struct fence_job *ret)
{
	eventfd_t ignored;
	bool any;

	(void)eventfd_read(pool.event_fd, &ignored);
	pthread_mutex_lock(&pool.lock);
	any = pool.done.n > 0;
	if (any)
		*ret = ring_take(&pool.done);
	pthread_mutex_unlock(&pool.lock);
	return any;
}
