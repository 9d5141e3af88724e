/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "nopins.h"
#include "udevtest.h"

#define UDEVD "/lib/systemd/systemd-udevd"
#define LOCK "/run/lock/flocker-test-udevd"
#define LOCK_LIMIT_S 60
#define START_LIMIT_S 10

static int lock_fd = -EBADF;
static pid_t udevd;

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "skipped: %s\n", what);
	exit(77);
}

void udevtest_enter(void)
{
	need(geteuid() == 0, "needs root");
	need(access("/dev/loop-control", R_OK | W_OK) == 0, "needs loop devices");
	mkdir("/run/lock", 01777);
	lock_fd = open(LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	need(unshare(CLONE_NEWNS | CLONE_NEWNET) == 0, "needs mount and network namespaces");
	need(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "needs private mounts");
	detach_copies();
	need(mount("tmpfs", "/run", "tmpfs", 0, "mode=755") == 0, "needs a tmpfs");
	mkdir("/run/dev", 0755);
	mkdir("/run/dev-work", 0755);
	need(mount("overlay", "/dev", "overlay", 0,
		     "lowerdir=/dev,upperdir=/run/dev,workdir=/run/dev-work") == 0,
		"needs an overlay on /dev");
	/* sysfs of the new network namespace, as udevd expects it */
	need(mount("sysfs", "/sys", "sysfs", 0, NULL) == 0, "needs a sysfs");
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
}

/* flock() has no limit of its own. */
static bool lock_others_out(void)
{
	for (int i = 0; i < LOCK_LIMIT_S * 100; i++) {
		if (flock(lock_fd, LOCK_EX | LOCK_NB) == 0)
			return true;
		nap();
	}
	return false;
}

static bool install_rules(const char *rules)
{
	char command[1024];

	mkdir("/run/udev", 0755);
	mkdir("/run/udev/rules.d", 0755);
	snprintf(command, sizeof(command), "cp '%s' /run/udev/rules.d/60-flocker.rules", rules);
	return system(command) == 0;
}

static bool spawn_udevd(void)
{
	udevd = fork();
	if (udevd == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(UDEVD, "systemd-udevd", "--children-max=2", (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < START_LIMIT_S * 100; i++) {
		if (access("/run/udev/control", F_OK) == 0)
			return true;
		if (waitpid(udevd, NULL, WNOHANG) == udevd)
			break;
		nap();
	}
	return false;
}

bool udevtest_start(const char *rules)
{
	const char *why = NULL;

	if (access(UDEVD, X_OK) < 0)
		why = "there is no " UDEVD;
	else if (lock_fd < 0 || !lock_others_out())
		why = "another test has had its udevd for long";
	else if (!install_rules(rules) || !spawn_udevd())
		why = "udevd does not run here";
	if (why)
		fprintf(stderr, "skipped: %s\n", why);
	return !why;
}

void udevtest_stop(void)
{
	if (udevd > 0) {
		kill(udevd, SIGTERM);
		waitpid(udevd, NULL, 0);
	}
	udevd = 0;
	flock(lock_fd, LOCK_UN);
}

static int configure(struct udevtest_loop *l, const char *loop_name, int image)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	struct loop_config config = { .fd = (uint32_t)image };
	int n, r = -EBUSY;

	assert_return_code(control, errno);
	snprintf((char *)config.info.lo_file_name, LO_NAME_SIZE, "%s", loop_name);
	while (r == -EBUSY) { /* others look for a free one, too */
		char path[32];

		n = ioctl(control, LOOP_CTL_GET_FREE);
		assert_return_code(n, errno);
		snprintf(l->name, sizeof(l->name), "loop%d", n);
		snprintf(path, sizeof(path), "/dev/%s", l->name);
		l->fd = open(path, O_RDWR | O_CLOEXEC);
		assert_return_code(l->fd, errno);
		r = ioctl(l->fd, LOOP_CONFIGURE, &config) < 0 ? -errno : 0;
		if (r < 0)
			close(l->fd);
	}
	close(control);
	return r;
}

void udevtest_attach(struct udevtest_loop *l, const char *loop_name, off_t size)
{
	struct stat st;
	int image;

	strcpy(l->image, "/tmp/flocker-udev-XXXXXX");
	image = mkostemp(l->image, O_CLOEXEC);
	assert_return_code(image, errno);
	assert_return_code(ftruncate(image, size), errno);
	assert_int_equal(configure(l, loop_name, image), 0);
	close(image);
	assert_return_code(fstat(l->fd, &st), errno);
	l->devno = st.st_rdev;
}

void udevtest_grow(struct udevtest_loop *l, off_t size)
{
	assert_return_code(truncate(l->image, size), errno);
	assert_return_code(ioctl(l->fd, LOOP_SET_CAPACITY), errno);
}

void udevtest_poke(struct udevtest_loop *l, const char *action)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/sys/block/%s/uevent", l->name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_return_code(fd, errno);
	assert_int_equal(write(fd, action, strlen(action)), strlen(action));
	close(fd);
}

void udevtest_detach(struct udevtest_loop *l)
{
	if (l->image[0] == '\0')
		return;
	ioctl(l->fd, LOOP_CLR_FD);
	close(l->fd);
	unlink(l->image);
	l->image[0] = '\0';
}
