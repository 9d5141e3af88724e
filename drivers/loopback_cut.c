/* SPDX-License-Identifier: Apache-2.0 */
#include "loopback_cut.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <time.h>

#include "text.h"

#define QUIET_LOOKS 2
#define NAP_NS 2000000
#define FLUSHES 3

int loopback_cut_open(dev_t devno, uint64_t diskseq)
{
	_cleanup_close_ int fd = -EBADF;
	char link[48], target[256], path[64];
	uint64_t seq = 0;
	struct stat st;
	const char *name;
	ssize_t n;

	/* /dev/block is udev's work, and there may be none. */
	snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(devno), minor(devno));
	n = readlink(link, target, sizeof(target) - 1);
	if (n < 0)
		return errno == ENOENT ? -ENODEV : -errno;
	target[n] = '\0';
	name = strrchr(target, '/');
	name = name ? name + 1 : target;
	if (strncmp(name, "loop", 4) != 0 || strlen(name) > 16)
		return -ENODEV;
	snprintf(path, sizeof(path), "/dev/%.16s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return errno == ENXIO || errno == ENOENT ? -ENODEV : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISBLK(st.st_mode) || st.st_rdev != devno)
		return -EIO;
	if (diskseq > 0 && ioctl(fd, BLKGETDISKSEQ, &seq) == 0 && seq != diskseq)
		return -ENODEV;
	return TAKE_FD(fd);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static int nap(uint64_t deadline_ns)
{
	if (now_ns() >= deadline_ns)
		return -ETIMEDOUT;
	nanosleep(&(struct timespec){ .tv_nsec = NAP_NS }, NULL);
	return 0;
}

/* What the device has done so far, and what it has in hand. */
struct traffic {
	uint64_t writes, discards, in_flight;
};

static int traffic_read(int fd, struct traffic *ret)
{
	struct traffic t = { 0 };
	char path[64], text[512];
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat", major(st.st_rdev),
		minor(st.st_rdev));
	r = text_read_line(AT_FDCWD, path, text, sizeof(text));
	if (r < 0)
		return r;
	/* clang-format off */
	if (sscanf(text, "%*u %*u %*u %*u %" SCNu64 " %*u %*u %*u %" SCNu64 " %*u %*u %" SCNu64,
		   &t.writes, &t.in_flight, &t.discards) != 3)
		return -EIO;
	/* clang-format on */
	*ret = t;
	return 0;
}

/*
 * The kernel compares with the size when a request is made and not when it is carried out. So one
 * that was made before the limit, and then had to wait for the frozen queue, passes when that is
 * thawed. Wait until two more drains, with time for such a one to run between them, have seen none.
 */
static int drain(int fd, const struct loop_info64 *info)
{
	uint64_t deadline_ns = now_ns() + LOOPBACK_CUT_LIMIT_NS;
	struct traffic before, now;
	unsigned quiet = 0;
	int r;

	r = traffic_read(fd, &before);
	while (r == 0 && quiet < QUIET_LOOKS) {
		r = nap(deadline_ns);
		if (r == 0 && ioctl(fd, LOOP_SET_STATUS64, info) < 0)
			r = errno == ENXIO ? -ENODEV : -errno;
		if (r == 0)
			r = traffic_read(fd, &now);
		if (r < 0)
			return r;
		if (now.writes == before.writes && now.discards == before.discards &&
			now.in_flight == 0)
			quiet++;
		else
			quiet = 0;
		before = now;
	}
	return r;
}

/* Each failure is told once: the next call gets further. */
static int flush(int fd)
{
	int r = 0;

	for (unsigned i = 0; i < FLUSHES; i++) {
		if (fsync(fd) == 0)
			return 0;
		r = -errno;
	}
	return r;
}

/* One byte makes a device of no sectors, to which kernels before 6.5 let everything through. */
static uint64_t limit_bytes(void)
{
	unsigned major_version = 0, minor_version = 0;
	struct utsname u;

	if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &major_version, &minor_version) != 2)
		return 512;
	return major_version > 6 || (major_version == 6 && minor_version >= 5) ? 1 : 512;
}

int loopback_cut(int fd)
{
	struct loop_info64 info;
	int r;

	if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
		return errno == ENXIO ? -ENODEV : -errno;
	info.lo_sizelimit = limit_bytes();
	if (ioctl(fd, LOOP_SET_STATUS64, &info) < 0)
		return errno == ENXIO ? -ENODEV : -errno;
	r = drain(fd, &info);
	if (r < 0)
		return r;
	return flush(fd);
}
