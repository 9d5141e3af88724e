/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback_crash.c - the loopback driver killed between any two steps, and with any step failing.
 *
 * A child makes one call under ptrace. It is killed right after its n-th system call, for every n
 * until the call comes to its end; or its n-th call to the storage fails. Nothing in the driver
 * knows of this. Then the world must be one that the contract allows, and the repeated call works.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "harness.h"
#include "loopback_io.h"
#include "traced.h"

#define TEXT "survives"
#define STEPS_MAX 2000
#define OPENER_LIMIT_NS UINT64_C(20000000000)
#define LARGER (3 * SIZE)

struct crash {
	struct world *w;
	struct id128 id, dataset;
	int (*call)(struct crash *c);
};

static const struct driver_ops *ops;

static int setup(void **state)
{
	int r = world_setup(state);

	ops = ((struct world *)*state)->ops;
	return r;
}

static int do_create(struct crash *c)
{
	return ops->create(c->w->a, c->id, c->dataset, SIZE, 1);
}

static int do_attach(struct crash *c)
{
	return ops->attach(c->w->a, c->id, 1, SIZE, 0);
}

static int do_adopt(struct crash *c)
{
	return ops->attach(c->w->a, c->id, 2, SIZE, 0);
}

static int do_expand(struct crash *c)
{
	return ops->expand(c->w->a, c->id, 1, LARGER);
}

static int do_detach(struct crash *c)
{
	return ops->detach(c->w->a, c->id, 1);
}

static int do_destroy(struct crash *c)
{
	return ops->destroy(c->w->a, c->id, 1);
}

/* ---- killing it ---- */

static int on_call(void *userdata)
{
	struct crash *c = userdata;

	return c->call(c);
}

/* True: killed after its @nth system call. False: it came to its end, with @ret_r. */
static bool killed_after(struct crash *c, unsigned nth, int *ret_r)
{
	pid_t pid = traced_start(on_call, c);
	unsigned n = 0;
	int status;

	while (traced_next(pid, &status)) {
		if (!traced_at_exit(pid) || n++ < nth)
			continue;
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		return true;
	}
	assert_true(WIFEXITED(status));
	*ret_r = -WEXITSTATUS(status);
	return false;
}

/* ---- what must hold ---- */

static struct crash fresh(struct world *w, int (*call)(struct crash *c))
{
	struct crash c = { .w = w, .id = new_id(), .dataset = new_id(), .call = call };

	if (call == do_create)
		return c;
	assert_ok(ops->create(w->a, c.id, c.dataset, SIZE, 1));
	if (call == do_detach || call == do_adopt || call == do_expand) {
		assert_ok(ops->attach(w->a, c.id, 1, SIZE, 0));
		device_write(w, w->a, c.id, 8192, TEXT);
	}
	return c;
}

/* A device never shows more than the volume has. */
static void check_device(struct crash *c, struct driver *d)
{
	struct driver_volume v = look(c->w, d, c->id);
	struct driver_device dev;

	assert_ok(ops->device(d, c->id, &dev));
	assert_true(dev.size_bytes == SIZE || dev.size_bytes == LARGER);
	assert_true(dev.size_bytes <= v.size_bytes);
}

/* At every moment: one device at most, and none without a claim. */
static void check_always(struct crash *c)
{
	struct driver_volume v;
	unsigned n = loops_on(ID128_STR(c->id));
	int r = ops->lookup(c->w->b, c->id, &v);

	assert_true(n <= 1);
	assert_true(r == 0 || r == -ENOENT);
	if (n == 1) {
		assert_ok(r);
		assert_int_equal(v.place, DRIVER_ELSEWHERE);
		assert_true(id128_equal(v.holder, c->w->node_a.node));
	}
	if (c->call == do_expand)
		check_device(c, c->w->a);
	if (r == 0)
		assert_int_equal(ops->attach(c->w->b, c->id, 9, SIZE + 1, 0),
			v.place == DRIVER_ELSEWHERE ? -EBUSY : -EUCLEAN);
}

/* The machine went down as well: whoever has the volume next finishes what was begun. */
static void check_taken_over(struct crash *c)
{
	struct driver_device dev;

	assert_ok(ops->detach(c->w->a, c->id, 1));
	assert_ok(ops->attach(c->w->b, c->id, 2, SIZE, LARGER));
	device_expect(c->w, c->w->b, c->id, 8192, TEXT);
	check_device(c, c->w->b);
	assert_ok(ops->expand(c->w->b, c->id, 2, LARGER));
	assert_ok(ops->device(c->w->b, c->id, &dev));
	assert_int_equal(dev.size_bytes, LARGER);
	assert_ok(ops->detach(c->w->b, c->id, 2));
	assert_ok(ops->destroy(c->w->b, c->id, 2));
}

/* The call again, and what it promises. */
static void check_repeated(struct crash *c)
{
	struct driver_volume v;
	struct loopback_wait wait;
	int r = c->call(c);

	/* Who looks at all devices of the machine, as udev, has this one open for a moment, and so keeps it as long. */
	loopback_wait_start(&wait, OPENER_LIMIT_NS);
	while (r == -EBUSY && loopback_wait_more(&wait))
		r = c->call(c);
	assert_ok(r);
	if (c->call == do_destroy) {
		assert_int_equal(ops->lookup(c->w->a, c->id, &v), -ENOENT);
		return;
	}
	if (c->call == do_expand) {
		assert_int_equal(look(c->w, c->w->a, c->id).size_bytes, LARGER);
		check_taken_over(c);
		return;
	}
	if (c->call == do_create || c->call == do_detach) {
		assert_int_equal(look(c->w, c->w->a, c->id).place, DRIVER_FREE);
		assert_int_equal(loops_on(c->w->where), 0);
		assert_ok(ops->attach(c->w->b, c->id, 2, SIZE, 0));
		if (c->call == do_detach)
			device_expect(c->w, c->w->b, c->id, 8192, TEXT);
		assert_ok(ops->detach(c->w->b, c->id, 2));
		assert_ok(ops->destroy(c->w->b, c->id, 2));
		return;
	}
	assert_true(look(c->w, c->w->a, c->id).attached);
	assert_int_equal(loops_on(c->w->where), 1);
	if (c->call == do_adopt)
		device_expect(c->w, c->w->a, c->id, 8192, TEXT);
	assert_ok(ops->detach(c->w->a, c->id, 2));
	assert_ok(ops->destroy(c->w->a, c->id, 2));
}

/* Nothing in volumes/ but volumes, once somebody tidied up. */
static void check_swept(struct world *w)
{
	int r = ops->tidy(w->b);

	assert_true(r == 0 || r == -EBUSY); /* what another node of this machine has cut may be in use */
	run("test -z \"$(ls -A %s/volumes)\"", w->where);
}

static void kill_everywhere(struct world *w, int (*call)(struct crash *c))
{
	for (unsigned n = 0; n < STEPS_MAX; n += traced_stride()) {
		struct crash c = fresh(w, call);
		int r = 0;

		if (killed_after(&c, n, &r)) {
			check_always(&c);
			check_repeated(&c);
			check_swept(w);
			continue;
		}
		assert_ok(r);
		check_always(&c);
		check_repeated(&c);
		assert_true(n > 10);
		return;
	}
	fail_msg("the call never ends");
}

static void create_can_be_killed_anywhere(void **state)
{
	kill_everywhere(*state, do_create);
}

static void attach_can_be_killed_anywhere(void **state)
{
	kill_everywhere(*state, do_attach);
}

static void adopting_can_be_killed_anywhere(void **state)
{
	kill_everywhere(*state, do_adopt);
}

static void expand_can_be_killed_anywhere(void **state)
{
	kill_everywhere(*state, do_expand);
}

static void a_killed_expand_is_finished_by_the_next_owner(void **state)
{
	for (unsigned n = 0; n < STEPS_MAX; n++) {
		struct crash c = fresh(*state, do_expand);
		bool killed;
		int r = 0;

		killed = killed_after(&c, n, &r);
		check_always(&c);
		check_taken_over(&c);
		if (!killed)
			return;
	}
	fail_msg("the call never ends");
}

static void detach_can_be_killed_anywhere(void **state)
{
	kill_everywhere(*state, do_detach);
}

static void destroy_can_be_killed_anywhere(void **state)
{
	kill_everywhere(*state, do_destroy);
}

/* ---- failing steps ---- */

#if defined(__x86_64__)

static bool touches_storage(unsigned long long nr)
{
	switch (nr) {
	case SYS_openat:
	case SYS_read:
	case SYS_pread64:
	case SYS_pwrite64:
	case SYS_newfstatat:
	case SYS_getdents64:
	case SYS_ioctl:
	case SYS_flock:
	case SYS_fsync:
	case SYS_fdatasync:
	case SYS_mkdirat:
	case SYS_renameat:
	case SYS_unlinkat:
	case SYS_ftruncate:
		return true;
	}
	return false;
}

/* The call's result with its @nth access to the storage failing; *@ret_hit: there was one. */
static int failing_at(struct crash *c, unsigned nth, int error, bool *ret_hit)
{
	struct __ptrace_syscall_info info;
	pid_t pid = traced_start(on_call, c);
	unsigned n = 0;
	int status;

	*ret_hit = false;
	while (traced_next(pid, &status)) {
		assert_true(ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) > 0);
		if (info.op != PTRACE_SYSCALL_INFO_ENTRY || !touches_storage(info.entry.nr) ||
			n++ != nth)
			continue;
		traced_fail(pid, error);
		*ret_hit = true;
	}
	assert_true(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

static void fail_everywhere(struct world *w, int (*call)(struct crash *c), int error)
{
	bool hit = true;

	for (unsigned n = 0; hit && n < STEPS_MAX; n += traced_stride()) {
		struct crash c = fresh(w, call);
		struct driver_volume v;
		int r = failing_at(&c, n, error, &hit);

		check_always(&c);
		if (r == 0 && (call == do_attach || call == do_adopt))
			assert_true(look(w, w->a, c.id).attached);
		if (r == 0 && call == do_detach)
			assert_int_equal(look(w, w->a, c.id).place, DRIVER_FREE);
		if (r == 0 && call == do_destroy)
			assert_int_equal(ops->lookup(w->a, c.id, &v), -ENOENT);
		/* Of what failed nothing may be said that would be believed. */
		if (r == -ESTALE || r == -EUCLEAN || r == -ENOENT || r == -EEXIST)
			fail_msg("access %u failed with %s and became %s", n, strerror(error),
				strerror(-r));
		check_repeated(&c);
		check_swept(w);
	}
	assert_false(hit);
}

static void any_step_may_fail(void **state)
{
	static int (*const calls[])(struct crash *) = {
		do_create,
		do_attach,
		do_adopt,
		do_expand,
		do_detach,
		do_destroy,
	};
	static const int errors[] = { EIO, ENOSPC, ESTALE };

	for (size_t c = 0; c < ARRAY_SIZE(calls); c++)
		for (size_t e = 0; e < ARRAY_SIZE(errors); e++)
			fail_everywhere(*state, calls[c], errors[e]);
}

#endif

#define T(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(create_can_be_killed_anywhere),
		T(attach_can_be_killed_anywhere),
		T(adopting_can_be_killed_anywhere),
		T(expand_can_be_killed_anywhere),
		T(a_killed_expand_is_finished_by_the_next_owner),
		T(detach_can_be_killed_anywhere),
		T(destroy_can_be_killed_anywhere),
#if defined(__x86_64__)
		T(any_step_may_fail),
#endif
	};

	need_loop_devices();
	own_mount_namespace();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
