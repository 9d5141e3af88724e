/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/close_range.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "clock.h"
#include "worker.h"

#define WORKER_STACK (512 * KIB) /* libmount's and libblkid's buffers are on the heap */

struct worker_job {
	struct worker_job *next, **prev; /* in the queue, among the running (with prev), or finished */
	void (*run)(void *arg);
	void (*done)(void *arg);
	void *arg;
	uint64_t since_ms; /* running */
	bool written_off;
};

struct worker_pool {
	pthread_mutex_t lock;
	pthread_cond_t work, left;
	struct worker_job *queue, **queue_end, *running, *finished, **finished_end;
	size_t n_threads, n_idle, n_starting, n_queued, n_written_off, n_pending;
	bool closing;
	int event_fd;
	struct event *event, *tick; /* tick: somebody waits, and those at work may have become slow */
};

/* Everything but standard streams and the descriptor that tells of results goes. */
static void leave_descriptors(int keep)
{
	(void)close_range(3, (unsigned int)keep - 1, CLOSE_RANGE_UNSHARE);
	(void)close_range((unsigned int)keep + 1, ~0U, CLOSE_RANGE_UNSHARE);
}

static struct worker_job *next_job(struct worker_pool *p)
{
	struct worker_job *j;

	while (!p->queue && !p->closing) {
		if (p->n_idle > 0) {
			return NULL; /* one idle thread is enough to wait */
		}
		p->n_idle++;
		pthread_cond_wait(&p->work, &p->lock);
		p->n_idle--;
	}
	if (p->closing)
		return NULL;
	j = p->queue;
	p->queue = j->next;
	if (!p->queue)
		p->queue_end = &p->queue;
	p->n_queued--;
	j->since_ms = clock_ms(CLOCK_MONOTONIC);
	j->next = p->running;
	j->prev = &p->running;
	if (j->next)
		j->next->prev = &j->next;
	p->running = j;
	return j;
}

static void finish(struct worker_pool *p, struct worker_job *j)
{
	*j->prev = j->next;
	if (j->next)
		j->next->prev = j->prev;
	j->next = NULL;
	*p->finished_end = j;
	p->finished_end = &j->next;
	p->n_written_off -= j->written_off;
	(void)eventfd_write(p->event_fd, 1);
}

static void *worker(void *userdata)
{
	struct worker_pool *p = userdata;
	struct worker_job *j;

	leave_descriptors(p->event_fd);
	pthread_mutex_lock(&p->lock);
	p->n_starting--;
	while ((j = next_job(p))) {
		pthread_mutex_unlock(&p->lock);
		j->run(j->arg);
		pthread_mutex_lock(&p->lock);
		if (p->closing)
			break; /* nobody is there to take it, nor to free the pool */
		finish(p, j);
	}
	p->n_threads--;
	pthread_cond_signal(&p->left);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void start_thread(struct worker_pool *p)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;

	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, WORKER_STACK);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attr, worker, p) == 0) {
		p->n_threads++;
		p->n_starting++;
	}
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* With the lock held: somebody has to take what waits. Without a thread it waits for the next end. */
static void see_to_queue(struct worker_pool *p)
{
	if (p->n_idle)
		pthread_cond_signal(&p->work);
	/* An idle one that was woken for an earlier job and has not taken it yet counts once. */
	if (p->n_queued > p->n_idle + p->n_starting && p->n_threads < WORKER_MAX &&
		p->n_threads - p->n_written_off < WORKER_BUSY_MAX)
		start_thread(p);
	if (p->n_queued && !event_pending(p->tick, EV_TIMEOUT, NULL))
		event_add(p->tick, &(struct timeval){ 0, WORKER_SLOW_MS * 1000 / 4 });
}

/* Whoever became slow does not count any more; each such place is somebody else's. */
static void on_tick(evutil_socket_t fd, short what, void *userdata)
{
	struct worker_pool *p = userdata;
	uint64_t now = clock_ms(CLOCK_MONOTONIC);

	pthread_mutex_lock(&p->lock);
	for (struct worker_job *j = p->running; j; j = j->next)
		if (!j->written_off && now - j->since_ms >= WORKER_SLOW_MS) {
			j->written_off = true;
			p->n_written_off++;
			see_to_queue(p);
		}
	see_to_queue(p);
	pthread_mutex_unlock(&p->lock);
}

static void on_finished(evutil_socket_t fd, short what, void *userdata)
{
	struct worker_pool *p = userdata;
	struct worker_job *list;
	eventfd_t ignored;

	(void)eventfd_read(fd, &ignored);
	pthread_mutex_lock(&p->lock);
	list = p->finished;
	p->finished = NULL;
	p->finished_end = &p->finished;
	see_to_queue(p);
	pthread_mutex_unlock(&p->lock);
	while (list) {
		struct worker_job *j = list;

		list = j->next;
		p->n_pending--;
		j->done(j->arg);
		free(j);
	}
}

int worker_pool_new(struct event_base *base, int priority, struct worker_pool **ret)
{
	struct worker_pool *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->queue_end = &p->queue;
	p->finished_end = &p->finished;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->left, NULL);
	p->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->event_fd < 0) {
		int r = -errno;

		free(p);
		return r;
	}
	p->event = event_new(base, p->event_fd, EV_READ | EV_PERSIST, on_finished, p);
	p->tick = event_new(base, -1, 0, on_tick, p);
	if (!p->event || !p->tick || event_priority_set(p->event, priority) < 0 ||
		event_priority_set(p->tick, priority) < 0 || event_add(p->event, NULL) < 0) {
		worker_pool_free(p);
		return -ENOMEM;
	}
	*ret = p;
	return 0;
}

struct worker_pool *worker_pool_free(struct worker_pool *p)
{
	bool alone;

	if (!p)
		return NULL;
	pthread_mutex_lock(&p->lock);
	p->closing = true;
	pthread_cond_broadcast(&p->work);
	/* The idle leave at once; nobody waits for those at work. */
	while (p->n_threads > 0 && !p->running)
		pthread_cond_wait(&p->left, &p->lock);
	alone = p->n_threads == 0;
	pthread_mutex_unlock(&p->lock);
	if (p->event)
		event_free(p->event);
	if (p->tick)
		event_free(p->tick);
	if (alone) {
		close(p->event_fd);
		pthread_cond_destroy(&p->work);
		pthread_cond_destroy(&p->left);
		pthread_mutex_destroy(&p->lock);
		free(p);
	}
	return NULL;
}

int worker_submit(struct worker_pool *p, void (*run)(void *arg), void (*done)(void *arg), void *arg)
{
	struct worker_job *j = calloc(1, sizeof(*j));

	if (!j)
		return -ENOMEM;
	*j = (struct worker_job){ .run = run, .done = done, .arg = arg };
	pthread_mutex_lock(&p->lock);
	*p->queue_end = j;
	p->queue_end = &j->next;
	p->n_queued++;
	p->n_pending++;
	see_to_queue(p);
	pthread_mutex_unlock(&p->lock);
	return 0;
}

size_t worker_pending(const struct worker_pool *p)
{
	return p->n_pending;
}
