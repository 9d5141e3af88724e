/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "cmocka_all.h"
#include "worker.h"

struct fixture {
	struct event_base *base;
	struct worker_pool *pool;
	int done, open_fds;
};

struct job {
	struct fixture *f;
	volatile bool *gate;
};

static void wait_for(struct fixture *f, int done)
{
	for (int i = 0; i < 10000 && f->done < done; i++) {
		event_base_loop(f->base, EVLOOP_NONBLOCK);
		poll(NULL, 0, 1);
	}
	assert_int_equal(f->done, done);
}

static void count_fds(void *arg)
{
	struct fixture *f = arg;
	DIR *d = opendir("/proc/thread-self/fd");
	struct dirent *e;

	f->open_fds = 0;
	while (d && (e = readdir(d)))
		f->open_fds += atoi(e->d_name) > 2 && atoi(e->d_name) != dirfd(d);
	closedir(d);
}

static void wait_at_gate(void *arg)
{
	struct job *j = arg;

	while (!*j->gate)
		poll(NULL, 0, 1);
}

static void one_done(void *arg)
{
	struct job *j = arg;

	j->f->done++;
}

static void fds_counted(void *arg)
{
	struct fixture *f = arg;

	f->done++;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->base = event_base_new();
	assert_non_null(f->base);
	assert_int_equal(worker_pool_new(f->base, 0, &f->pool), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	worker_pool_free(f->pool);
	event_base_free(f->base);
	free(f);
	return 0;
}

static void a_worker_has_left_the_daemons_descriptors(void **state)
{
	struct fixture *f = *state;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(worker_submit(f->pool, count_fds, fds_counted, f), 0);
	wait_for(f, 1);
	assert_int_equal(f->open_fds, 1); /* the one that tells of results */
	close(pair[0]);
	close(pair[1]);
}

static void stuck_workers_do_not_hold_up_others(void **state)
{
	struct fixture *f = *state;
	volatile bool stuck = false, open = true;
	struct job blocked = { f, &stuck }, free_job = { f, &open };

	for (int i = 0; i < WORKER_BUSY_MAX; i++)
		assert_int_equal(worker_submit(f->pool, wait_at_gate, one_done, &blocked), 0);
	assert_int_equal(worker_submit(f->pool, wait_at_gate, one_done, &free_job), 0);
	wait_for(f, 1); /* once those that took all places are written off */
	assert_int_equal(worker_pending(f->pool), WORKER_BUSY_MAX);
	stuck = true;
	wait_for(f, WORKER_BUSY_MAX + 1); /* also the one that was written off comes back */
	assert_int_equal(worker_pending(f->pool), 0);
}

/* An idle worker woken twice takes one job only: the other needs a worker of its own. */
static void jobs_that_come_at_once_do_not_wait_for_each_other(void **state)
{
	struct fixture *f = *state;
	volatile bool first = true, later;
	struct job warm = { f, &first }, j = { f, &later };

	for (int round = 0; round < 200; round++) {
		int before = f->done;

		worker_submit(f->pool, wait_at_gate, one_done, &warm);
		wait_for(f, before + 1); /* leaves an idle worker behind */
		later = false;
		worker_submit(f->pool, wait_at_gate, one_done, &j);
		worker_submit(f->pool, wait_at_gate, one_done, &warm);
		wait_for(f, before + 2);
		later = true;
		wait_for(f, before + 3);
	}
}

static void many_jobs_are_all_done(void **state)
{
	struct fixture *f = *state;
	volatile bool open = true;
	struct job j = { f, &open };

	for (int i = 0; i < 2000; i++)
		assert_int_equal(worker_submit(f->pool, wait_at_gate, one_done, &j), 0);
	wait_for(f, 2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_worker_has_left_the_daemons_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(stuck_workers_do_not_hold_up_others, setup, teardown),
		cmocka_unit_test_setup_teardown(jobs_that_come_at_once_do_not_wait_for_each_other, setup,
			teardown),
		cmocka_unit_test_setup_teardown(many_jobs_are_all_done, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
