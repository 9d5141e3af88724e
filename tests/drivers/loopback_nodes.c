/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback_nodes.c - several nodes, each a process of its own, on one directory at the same time.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "harness.h"

#define NODES 2
#define ROUNDS 200

/* Seen by all processes. */
struct arena {
	pthread_barrier_t barrier;
	struct id128 id;
	int result[NODES];
	unsigned devices;
	unsigned wins[NODES], bad;
};

static const struct driver_ops *ops;
static struct arena *arena;

static int setup(void **state)
{
	pthread_barrierattr_t attr;
	int r = world_setup(state);

	ops = ((struct world *)*state)->ops;
	arena = mmap(NULL, sizeof(*arena), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(arena, MAP_FAILED);
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	assert_ok(pthread_barrier_init(&arena->barrier, &attr, NODES));
	return r;
}

static int teardown(void **state)
{
	munmap(arena, sizeof(*arena));
	return world_teardown(state);
}

static void in_processes(void (*node)(struct world *w, unsigned me), struct world *w)
{
	pid_t pid[NODES];
	int status;

	for (unsigned i = 0; i < NODES; i++) {
		pid[i] = fork();
		assert_true(pid[i] >= 0);
		if (pid[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			node(w, i);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < NODES; i++) {
		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_int_equal(status, 0);
	}
}

static void meet(void)
{
	pthread_barrier_wait(&arena->barrier);
}

/* All want it under the same epoch; who has it gives it back, and the next round begins. */
static void race_for_one_volume(struct world *w, unsigned me)
{
	struct driver *d = me == 0 ? w->a : w->b;

	for (uint64_t epoch = 1; epoch <= ROUNDS; epoch++) {
		meet();
		arena->result[me] = ops->attach(d, arena->id, epoch, SIZE, 0);
		meet();
		if (me == 0) {
			arena->devices = loops_on(ID128_STR(arena->id));
			if (arena->devices != 1 ||
				(arena->result[0] == 0) == (arena->result[1] == 0) ||
				arena->result[0] + arena->result[1] != -EBUSY)
				arena->bad++;
		}
		meet();
		if (arena->result[me] == 0) {
			arena->wins[me]++;
			if (ops->detach(d, arena->id, epoch) != 0)
				arena->bad++;
		}
	}
}

static void of_two_nodes_exactly_one_wins(void **state)
{
	struct world *w = *state;

	arena->id = make_volume(w);
	in_processes(race_for_one_volume, w);
	assert_int_equal(arena->bad, 0);
	assert_int_equal(arena->wins[0] + arena->wins[1], ROUNDS);
	print_message("wins: %u and %u\n", arena->wins[0], arena->wins[1]);
}

/* A restarted daemon beside a worker of the killed one that the kernel did not let go yet. */
static void attach_as_the_same_node(struct world *w, unsigned me)
{
	for (uint64_t epoch = 1; epoch <= ROUNDS; epoch++) {
		meet();
		arena->result[me] = ops->attach(w->a, arena->id, epoch, SIZE, 0);
		meet();
		if (me == 0 && (loops_on(ID128_STR(arena->id)) != 1 || arena->result[0] != 0 ||
				       arena->result[1] != 0))
			arena->bad++;
		meet();
		arena->result[me] = ops->detach(w->a, arena->id, epoch);
		if (arena->result[me] != 0)
			arena->bad++;
		meet();
		if (me == 0 && loops_on(ID128_STR(arena->id)) != 0)
			arena->bad++;
	}
}

static void one_node_twice_makes_one_device(void **state)
{
	struct world *w = *state;

	arena->id = make_volume(w);
	in_processes(attach_as_the_same_node, w);
	assert_int_equal(arena->bad, 0);
}

/* One destroys while the other attaches: either it has the volume, or there is none. */
static void destroy_against_attach(struct world *w, unsigned me)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (me == 0) {
			arena->id = id128_make_v4(i, 42);
			if (ops->create(w->a, arena->id, arena->id, SIZE, 1) != 0)
				arena->bad++;
		}
		meet();
		arena->result[me] = me == 0 ? ops->attach(w->a, arena->id, 2, SIZE, 0) :
					      ops->destroy(w->b, arena->id, 3);
		meet();
		if (me == 1)
			continue;
		if (arena->result[0] == 0 && arena->result[1] == -EBUSY) {
			arena->wins[0]++;
			if (loops_on(ID128_STR(arena->id)) != 1 ||
				ops->detach(w->a, arena->id, 2) != 0 ||
				ops->destroy(w->a, arena->id, 3) != 0)
				arena->bad++;
		} else if (arena->result[0] == -ENOENT && arena->result[1] == 0) {
			arena->wins[1]++;
			if (loops_on(ID128_STR(arena->id)) != 0)
				arena->bad++;
		} else {
			arena->bad++;
		}
	}
}

static void a_destroyed_volume_is_never_attached(void **state)
{
	struct world *w = *state;

	in_processes(destroy_against_attach, w);
	assert_int_equal(arena->bad, 0);
	print_message("attached %u, destroyed %u\n", arena->wins[0], arena->wins[1]);
}

/* Two create the same volume_id; what stands there is one whole volume. */
static void create_against_create(struct world *w, unsigned me)
{
	struct driver *d = me == 0 ? w->a : w->b;

	for (unsigned i = 0; i < ROUNDS / 2; i++) {
		struct id128 id = id128_make_v4(i, 43);

		meet();
		arena->result[me] = ops->create(d, id, id, SIZE, 1);
		meet();
		if (me == 0 && (arena->result[0] != 0 || arena->result[1] != 0 ||
				       ops->attach(d, id, 2, SIZE, 0) != 0 ||
				       ops->detach(d, id, 2) != 0 ||
				       ops->destroy(d, id, 3) != 0))
			arena->bad++;
	}
}

static void two_creates_make_one_volume(void **state)
{
	struct world *w = *state;

	in_processes(create_against_create, w);
	assert_int_equal(arena->bad, 0);
	run("test -z \"$(ls -A %s/volumes)\"", w->where);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(of_two_nodes_exactly_one_wins),
		T(one_node_twice_makes_one_device),
		T(a_destroyed_volume_is_never_attached),
		T(two_creates_make_one_volume),
	};

	need_loop_devices();
	own_mount_namespace();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
