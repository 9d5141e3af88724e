/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback_crowd.c - nodes, others who use loop devices, and who opens all of them to look: all at
 * the same time on the machine's one pool of numbers. For some seconds, a minute with
 * FLOCKER_FULL=1.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "harness.h"

#define NODES 3
#define STRANGERS 2
#define USES 3 /* of each device by a stranger */
#define BLOCK 4096
#define DEVICES 16
#define LOOKS 10
#define ROUNDS_MIN 10 /* in each process, however slow the machine */

static const struct driver_ops *ops;
static struct timespec end;

static int setup(void **state)
{
	int r = world_setup(state);

	ops = ((struct world *)*state)->ops;
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += getenv("FLOCKER_FULL") ? 60 : 3;
	return r;
}

static bool goes_on(unsigned round)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return round < ROUNDS_MIN || now.tv_sec < end.tv_sec;
}

static void must(int r, const char *who, unsigned round, const char *what)
{
	if (r == 0)
		return;
	print_error("%s, round %u: %s: %s\n", who, round, what, strerror(-r));
	_exit(1);
}

/* Writes a block that is @who's of this round, and reads the same. 0 or negative errno. */
static int write_and_read(int fd, const char *who, unsigned round)
{
	static char block[BLOCK] __attribute__((aligned(BLOCK))),
		got[BLOCK] __attribute__((aligned(BLOCK)));

	memset(block, 0, sizeof(block));
	snprintf(block, sizeof(block), "%s %u", who, round);
	if (pwrite(fd, block, sizeof(block), 0) != (ssize_t)sizeof(block) ||
		pread(fd, got, sizeof(got), 0) != (ssize_t)sizeof(got))
		return errno ? -errno : -EIO;
	return memcmp(block, got, sizeof(got)) == 0 ? 0 : -EBADMSG;
}

static int use_device(const struct driver_device *dev, const char *who, unsigned round)
{
	_cleanup_close_ int fd = open(dev->path, O_RDWR | O_EXCL | O_CLOEXEC);
	uint64_t diskseq = 0;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, BLKGETDISKSEQ, &diskseq) == 0 && diskseq != dev->diskseq)
		return -ESTALE;
	return write_and_read(fd, who, round);
}

static int image_has(struct world *w, struct id128 id, const char *who, unsigned round)
{
	_cleanup_close_ int fd = open(volume_file(w, id, "image"), O_RDONLY | O_CLOEXEC);
	char want[64], got[64] = "";

	snprintf(want, sizeof(want), "%s %u", who, round);
	if (fd < 0 || pread(fd, got, sizeof(got) - 1, 0) < 0)
		return -errno;
	return STREQ(want, got) ? 0 : -EBADMSG;
}

static void node(struct world *w, unsigned me)
{
	struct driver_node self = { new_id(), new_id(), w->node_a.boot };
	struct driver *d = world_open(w, &self);
	struct driver_device dev;
	struct id128 id = new_id();
	struct driver_volume v;
	struct id128 *all;
	unsigned round;
	char who[32];
	size_t n;
	int r;

	snprintf(who, sizeof(who), "node %u", me);
	must(ops->create(d, id, new_id(), SIZE, 1), who, 0, "create");
	for (round = 1; goes_on(round); round++) {
		must(ops->attach(d, id, round, SIZE, 0), who, round, "attach");
		must(ops->device(d, id, &dev), who, round, "device");
		must(use_device(&dev, who, round), who, round, "using the device");
		must(ops->list(d, &all, &n), who, round, "list");
		free(all);
		must(ops->lookup(d, id, &v) ?: v.attached ? 0 : -ENODEV, who, round, "lookup");
		if (round % 4 == 0)
			must(ops->cut(d, id), who, round, "cut");
		r = ops->tidy(d); /* what another has cut may be in use */
		must(r == -EBUSY ? 0 : r, who, round, "tidy");
		do
			r = ops->detach(d, id, round);
		while (r == -EBUSY); /* another tidies up what was cut */
		must(r, who, round, "detach");
		must(image_has(w, id, who, round), who, round, "its image");
	}
	must(ops->destroy(d, id, round), who, round, "destroy");
	print_message("%s: %u rounds\n", who, round);
	ops->close(d);
}

/* Which image device @fd has: 0 when it is that of @image_fd. */
static int on_image(int fd, int image_fd)
{
	struct loop_info64 info;
	struct stat st;

	if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0 || fstat(image_fd, &st) < 0)
		return -errno;
	if (info.lo_inode != st.st_ino)
		return -ESTALE;
	return info.lo_sizelimit == 0 && info.lo_flags == 0 ? 0 : -EBADMSG;
}

static bool stranger_makes(int control_fd, int image_fd, char device[32])
{
	struct loop_config config = { .fd = (uint32_t)image_fd };
	_cleanup_close_ int fd = -EBADF;

	snprintf(device, 32, "/dev/loop%d", ioctl(control_fd, LOOP_CTL_GET_FREE));
	fd = open(device, O_RDWR | O_CLOEXEC);
	return fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) == 0;
}

/* As scripts do: one program makes the device, another writes to what has that name. */
static void stranger(struct world *w, unsigned me)
{
	int control_fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC), image_fd, fd;
	char who[32], path[96], device[32];

	snprintf(who, sizeof(who), "stranger %u", me);
	snprintf(path, sizeof(path), "%s/stranger-%u", w->where, me);
	image_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	must(ftruncate(image_fd, SIZE), who, 0, "making its image");
	for (unsigned round = 1; goes_on(round); round++) {
		while (!stranger_makes(control_fd, image_fd, device))
			;
		for (unsigned i = 0; i < USES; i++) {
			fd = open(device, O_RDWR | O_CLOEXEC);
			must(fd < 0 ? -errno : 0, who, round, "opening its device");
			must(on_image(fd, image_fd), who, round, "its device");
			must(write_and_read(fd, who, round), who, round, "using its device");
			if (i == USES - 1)
				must(ioctl(fd, LOOP_CLR_FD), who, round, "ending its device");
			close(fd);
		}
	}
}

/* A node without volumes, and what udev does after each change. */
static void onlooker(struct world *w, unsigned me)
{
	struct id128 *all;
	char path[32];
	size_t n;
	int r;

	for (unsigned round = 0; goes_on(round); round++) {
		for (unsigned i = 0; i < LOOKS; i++) {
			must(ops->list(w->a, &all, &n), "onlooker", round, "list");
			free(all);
			r = ops->tidy(w->a);
			must(r == -EBUSY ? 0 : r, "onlooker", round, "tidy");
		}
		for (unsigned i = 0; i < DEVICES; i++) {
			snprintf(path, sizeof(path), "/dev/loop%u", i);
			close_keep_errno(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
		}
	}
}

static pid_t begin(void (*what)(struct world *w, unsigned me), struct world *w, unsigned me)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		what(w, me);
		_exit(0);
	}
	return pid;
}

static void nobody_touches_what_is_anothers(void **state)
{
	struct world *w = *state;
	pid_t pid[NODES + STRANGERS + 1];
	int status, bad = 0;
	size_t n = 0;

	for (unsigned i = 0; i < NODES; i++)
		pid[n++] = begin(node, w, i);
	for (unsigned i = 0; i < STRANGERS; i++)
		pid[n++] = begin(stranger, w, i);
	pid[n++] = begin(onlooker, w, 0);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		bad |= status;
	}
	assert_int_equal(bad, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(nobody_touches_what_is_anothers),
	};

	need_loop_devices();
	own_mount_namespace();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
