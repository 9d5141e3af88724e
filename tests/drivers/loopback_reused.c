/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback_reused.c - a device is taken down in the middle of a call, and its number used by
 * others.
 *
 * A child makes one call under ptrace. After its n-th system call, for every n until the call comes
 * to its end, somebody takes the volume's device down, as anybody may who is root, and makes one of
 * his own in its place. Whatever the call says then, it must not have touched that one.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "harness.h"
#include "loopback_cut.h"
#include "loopback_io.h"
#include "traced.h"

#define STEPS_MAX 2000
#define OPENER_LIMIT_NS UINT64_C(20000000000)
#define STRANGER "a stranger's"

DEFINE_CLEANUP(DIR *, closedir);

static const struct driver_ops *ops;

static int setup(void **state)
{
	int r = world_setup(state);

	ops = ((struct world *)*state)->ops;
	return r;
}

/* One call on a volume that node a has attached under @epoch. */
struct reuse {
	struct world *w;
	struct id128 id;
	uint64_t epoch, size_bytes;
	struct driver_device device;
	const struct call *call;
};

struct call {
	const char *name;
	int (*run)(struct reuse *u);
	bool cut;     /* the device was, before the call */
	unsigned gap; /* so many steps the number is nobody's */
};

static int do_list(struct reuse *u)
{
	struct id128 *all;
	size_t n;
	int r = ops->list(u->w->a, &all, &n);

	if (r == 0)
		free(all);
	return r;
}

static int do_lookup(struct reuse *u)
{
	struct driver_volume v;

	return ops->lookup(u->w->a, u->id, &v);
}

static int do_device(struct reuse *u)
{
	struct driver_device dev;

	return ops->device(u->w->a, u->id, &dev);
}

static int do_attach(struct reuse *u)
{
	return ops->attach(u->w->a, u->id, u->epoch, u->size_bytes, 0);
}

static int do_adopt(struct reuse *u)
{
	return ops->attach(u->w->a, u->id, u->epoch + 1, u->size_bytes, 0);
}

static int do_expand(struct reuse *u)
{
	return ops->expand(u->w->a, u->id, u->epoch, u->size_bytes + MIB);
}

static int do_detach(struct reuse *u)
{
	return ops->detach(u->w->a, u->id, u->epoch);
}

static int do_cut(struct reuse *u)
{
	return ops->cut(u->w->a, u->id);
}

static int do_tidy(struct reuse *u)
{
	return ops->tidy(u->w->b);
}

/* What the fence helper does, which has no driver. */
static int do_fence(struct reuse *u)
{
	_cleanup_close_ int fd = loopback_cut_open(u->device.devno, u->device.diskseq);

	return fd < 0 ? fd : loopback_cut(fd);
}

static const struct call calls[] = {
	{ "list", do_list, false, 0 },
	{ "lookup", do_lookup, false, 0 },
	{ "device", do_device, false, 0 },
	{ "attach", do_attach, false, 0 },
	{ "adopt", do_adopt, false, 0 },
	{ "expand", do_expand, false, 0 },
	{ "detach", do_detach, false, 0 },
	{ "cut", do_cut, false, 0 },
	{ "tidy", do_tidy, true, 0 },
	{ "fence", do_fence, false, 0 },
	{ "fence, late", do_fence, false, 3 }, /* it opened what was nobody's */
};

static int on_call(void *userdata)
{
	struct reuse *u = userdata;

	return u->call->run(u);
}

static void begin(struct reuse *u)
{
	int r;

	u->epoch++;
	do {
		assert_ok(ops->attach(u->w->a, u->id, u->epoch, u->size_bytes, 0));
		r = u->call->cut ? ops->cut(u->w->a, u->id) : 0;
		if (r == 0)
			r = ops->device(u->w->a, u->id, &u->device);
	} while (r == -ENODEV && u->call->cut); /* a node of this machine has swept it already */
	assert_ok(r);
}

/* Whatever became of it, the volume can be given back. */
static void end(struct reuse *u)
{
	struct driver_volume v = look(u->w, u->w->a, u->id);

	u->epoch = v.epoch;
	u->size_bytes = v.size_bytes;
	assert_ok(ops->detach(u->w->a, u->id, u->epoch));
}

/* ---- the stranger ---- */

static int stranger_image(struct world *w)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "%s/stranger", w->where);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_ok(ftruncate(fd, SIZE));
	return fd;
}

/* As "losetup -d": at once, or when the call lets go of it. */
static void stranger_ends(const char *device)
{
	int fd = open(device, O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		ioctl(fd, LOOP_CLR_FD);
		close(fd); /* newer kernels take it down in the last close */
	}
}

static bool has_open(pid_t pid, dev_t devno)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	struct dirent *entry;
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	assert_non_null(dir);
	while ((entry = readdir(dir)))
		if (fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && S_ISBLK(st.st_mode) && st.st_rdev == devno)
			return true;
	return false;
}

/* 1: it is the stranger's; 0: it stays what it is; -EBUSY: somebody else has it open who makes it stay, or
 * it just ends. */
static int stranger_tries(const char *device, int image_fd)
{
	struct loop_config config = {
		.fd = (uint32_t)image_fd,
		.info.lo_file_name = STRANGER,
	};
	_cleanup_close_ int fd = open(device, O_RDWR | O_CLOEXEC);
	struct loop_info64 info;

	if (fd < 0)
		return 0;
	if (ioctl(fd, LOOP_CONFIGURE, &config) == 0)
		return 1;
	assert_int_equal(errno, EBUSY);
	return ioctl(fd, LOOP_GET_STATUS64, &info) == 0 && !(info.lo_flags & LO_FLAGS_AUTOCLEAR) ? 0 : -EBUSY;
}

/* False: the call keeps the device, which it has open or made the volume's again. */
static bool stranger_takes(pid_t pid, const struct driver_device *device, int image_fd)
{
	struct loopback_wait wait;
	int r = stranger_tries(device->path, image_fd);

	loopback_wait_start(&wait, OPENER_LIMIT_NS);
	while (r == -EBUSY && !has_open(pid, device->devno) && loopback_wait_more(&wait))
		r = stranger_tries(device->path, image_fd);
	return r == 1;
}

static void stranger_is_untouched(const struct reuse *u, unsigned n, int image_fd)
{
	struct loop_info64 info = { .lo_number = 0 };
	int fd = open(u->device.path, O_RDWR | O_CLOEXEC);
	uint64_t size = 0;
	struct stat st;

	assert_true(fd >= 0);
	assert_ok(fstat(image_fd, &st));
	if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0 || info.lo_inode != st.st_ino)
		fail_msg("%s, step %u: the stranger's device was taken down", u->call->name, n);
	if (info.lo_flags != 0 || info.lo_sizelimit != 0 ||
		!STREQ((const char *)info.lo_file_name, STRANGER))
		fail_msg("%s, step %u: the stranger's device was changed", u->call->name, n);
	assert_ok(ioctl(fd, BLKGETSIZE64, &size));
	assert_int_equal(size, SIZE);
	assert_int_equal(lseek(image_fd, 0, SEEK_DATA), -1); /* nothing was written */
	assert_ok(ioctl(fd, LOOP_CLR_FD));
	close(fd);
}

/* ---- between any two steps ---- */

/* The device ends after the @nth step, and is another's then. False: the call was over first. */
static bool reused_after(struct reuse *u, unsigned nth, int image_fd, bool *ret_taken)
{
	pid_t pid = traced_start(on_call, u);
	bool reached = false;
	unsigned n = 0;
	int status;

	*ret_taken = false;
	while (traced_next(pid, &status)) {
		if (!traced_at_exit(pid))
			continue;
		if (n == nth)
			stranger_ends(u->device.path);
		if (n == nth + u->call->gap) {
			reached = true;
			*ret_taken = stranger_takes(pid, &u->device, image_fd);
		}
		n++;
	}
	assert_true(WIFEXITED(status));
	return reached;
}

static void reused_everywhere(struct world *w, const struct call *call)
{
	struct reuse u = { .w = w, .id = make_volume(w), .size_bytes = SIZE, .call = call };
	unsigned n_taken = 0;
	bool reached = true;

	for (unsigned n = 0; reached && n < STEPS_MAX; n += traced_stride()) {
		_cleanup_close_ int image_fd = stranger_image(w);
		bool taken;

		begin(&u);
		reached = reused_after(&u, n, image_fd, &taken);
		if (taken)
			stranger_is_untouched(&u, n, image_fd);
		n_taken += taken;
		end(&u);
	}
	assert_false(reached);
	assert_true(n_taken > 0);
}

static void a_device_whose_number_others_use_now_is_not_touched(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		reused_everywhere(*state, &calls[i]);
}

/* ---- a device that goes while sysfs is read ---- */

#if defined(__x86_64__)

static bool opens_backing_file(pid_t pid, const struct __ptrace_syscall_info *info)
{
	char path[128] = "";
	struct iovec local = { path, sizeof(path) - 1 };
	struct iovec remote = { (void *)(uintptr_t)info->entry.args[1], sizeof(path) - 1 };

	/* Less than that where the page ends. */
	return info->op == PTRACE_SYSCALL_INFO_ENTRY && info->entry.nr == SYS_openat &&
	       process_vm_readv(pid, &local, 1, &remote, 1, 0) > 0 &&
	       strncmp(path, "/sys/block/loop", 15) == 0;
}

/* The kernel says ENODEV, and not ENOENT, to who opens an attribute at the moment in which it
 * goes. */
static void a_device_that_goes_while_it_is_looked_at_is_gone(void **state)
{
	static const struct call call = { "list", do_list, false, 0 };
	struct reuse u = { .w = *state, .id = make_volume(*state), .size_bytes = SIZE,
		.call = &call };
	struct __ptrace_syscall_info info;
	unsigned n_failed = 0;
	int status;
	pid_t pid;

	begin(&u);
	pid = traced_start(on_call, &u);
	while (traced_next(pid, &status)) {
		assert_true(ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) > 0);
		if (opens_backing_file(pid, &info)) {
			traced_fail(pid, ENODEV);
			n_failed++;
		}
	}
	assert_true(n_failed > 0);
	assert_true(WIFEXITED(status));
	assert_ok(WEXITSTATUS(status));
}

#endif

#define T(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_device_whose_number_others_use_now_is_not_touched),
#if defined(__x86_64__)
		T(a_device_that_goes_while_it_is_looked_at_is_gone),
#endif
	};

	need_loop_devices();
	own_mount_namespace();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
