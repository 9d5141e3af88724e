/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libpoints.so, to be preloaded: counts what a daemon does to the world, and ends or disturbs it at
 * a chosen point. See points.h.
 */
#undef _FILE_OFFSET_BITS /* else open() is open64(), and one of the two cannot be replaced */
#include "points.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <linux/magic.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define XFS_GROW 0x4010586eUL /* XFS_IOC_FSGROWFSDATA; in no header of the kernel's */

static struct points *points;
static pid_t owner; /* who counts: not what it spawns, but what it goes on as after fork() */

__attribute__((constructor)) static void points_open(void)
{
	const char *of = getenv("FLOCKER_POINTS_OF"), *path = getenv("FLOCKER_POINTS");
	void *p;
	int fd;

	if (!of || !path || strcmp(program_invocation_short_name, of) != 0)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		abort();
	p = mmap(NULL, sizeof(*points), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		abort();
	close(fd);
	owner = getpid();
	points = p;
}

static void die(void)
{
	raise(SIGKILL);
	for (;;)
		pause();
}

/* Counts a point. Returns the mode in which it is to be disturbed, or -1; with POINTS_ERROR errno is set. */
static int point(const char *name)
{
	uint64_t n;

	if (!points || getpid() != owner)
		return -1;
	n = __atomic_add_fetch(&points->count, 1, __ATOMIC_SEQ_CST);
	if (n <= POINTS_MAX)
		strncpy(points->names[n - 1], name, POINTS_NAME - 1);
	if (n != __atomic_load_n(&points->target, __ATOMIC_SEQ_CST))
		return -1;
	__atomic_store_n(&points->hit, 1, __ATOMIC_SEQ_CST);
	if (points->mode == POINTS_KILL)
		die();
	errno = (int)points->error;
	return (int)points->mode;
}

/* For calls of which no half can be done: true when the call is to fail. */
static bool fails(const char *name)
{
	int mode = point(name);

	if (mode == POINTS_TORN)
		die();
	return mode == POINTS_ERROR;
}

#define REAL(name) \
	static __typeof__(&name) real; \
	if (!real) \
	real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* A file or device. What the kernel writes up when it is asked is read to its end in one go, or not at all. */
static bool lasts(int fd)
{
	struct stat st;
	struct statfs fs;
	int saved = errno;
	bool r = fd > STDERR_FILENO && fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) &&
		 fstatfs(fd, &fs) == 0 && fs.f_type != PROC_SUPER_MAGIC && fs.f_type != SYSFS_MAGIC;

	errno = saved;
	return r;
}

static ssize_t do_read(const char *name, int fd, void *data, size_t size, off64_t at,
	ssize_t (*call)(int, void *, size_t, off64_t))
{
	int mode = lasts(fd) ? point(name) : -1;
	ssize_t n;

	if (mode == POINTS_ERROR)
		return -1;
	n = call(fd, data, mode == POINTS_SHORT && size > 1 ? size / 2 : size, at);
	if (mode == POINTS_TORN)
		die();
	return n;
}

static ssize_t call_read(int fd, void *data, size_t size, off64_t at)
{
	REAL(read);
	return real(fd, data, size);
}

static ssize_t call_pread(int fd, void *data, size_t size, off64_t at)
{
	REAL(pread64);
	return real(fd, data, size, at);
}

ssize_t read(int fd, void *data, size_t size)
{
	return do_read("read", fd, data, size, 0, call_read);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t at)
{
	return do_read("pread", fd, data, size, at, call_pread);
}

/* What the fortified calls of the daemons come to. */
ssize_t __read_chk(int fd, void *data, size_t size, size_t room);
ssize_t __pread64_chk(int fd, void *data, size_t size, off64_t at, size_t room);

ssize_t __read_chk(int fd, void *data, size_t size, size_t room)
{
	if (size > room)
		abort();
	return read(fd, data, size);
}

ssize_t __pread64_chk(int fd, void *data, size_t size, off64_t at, size_t room)
{
	if (size > room)
		abort();
	return pread64(fd, data, size, at);
}

static ssize_t do_write(const char *name, int fd, const void *data, size_t size, off64_t at,
	ssize_t (*call)(int, const void *, size_t, off64_t))
{
	int mode = lasts(fd) ? point(name) : -1;
	ssize_t n;

	if (mode == POINTS_ERROR)
		return -1;
	if (mode == -1 || (mode == POINTS_SHORT && size < 2))
		return call(fd, data, size, at);
	n = call(fd, data, size / 2, at);
	if (mode == POINTS_TORN)
		die();
	return n;
}

static ssize_t call_write(int fd, const void *data, size_t size, off64_t at)
{
	REAL(write);
	return real(fd, data, size);
}

static ssize_t call_pwrite(int fd, const void *data, size_t size, off64_t at)
{
	REAL(pwrite64);
	return real(fd, data, size, at);
}

ssize_t write(int fd, const void *data, size_t size)
{
	return do_write("write", fd, data, size, 0, call_write);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
	return do_write("pwrite", fd, data, size, at, call_pwrite);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
	return do_write("pwrite", fd, data, size, at, call_pwrite);
}

int fsync(int fd)
{
	REAL(fsync);
	return fails("fsync") ? -1 : real(fd);
}

int fdatasync(int fd)
{
	REAL(fdatasync);
	return fails("fdatasync") ? -1 : real(fd);
}

int syncfs(int fd)
{
	REAL(syncfs);
	return fails("syncfs") ? -1 : real(fd);
}

int ftruncate64(int fd, off64_t size)
{
	REAL(ftruncate64);
	return fails("ftruncate") ? -1 : real(fd, size);
}

int rename(const char *from, const char *to)
{
	REAL(rename);
	return fails("rename") ? -1 : real(from, to);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	REAL(renameat);
	return fails("rename") ? -1 : real(from_fd, from, to_fd, to);
}

int unlink(const char *path)
{
	REAL(unlink);
	return fails("unlink") ? -1 : real(path);
}

int unlinkat(int fd, const char *path, int flags)
{
	REAL(unlinkat);
	return fails("unlink") ? -1 : real(fd, path, flags);
}

int rmdir(const char *path)
{
	REAL(rmdir);
	return fails("rmdir") ? -1 : real(path);
}

int mkdir(const char *path, mode_t mode)
{
	REAL(mkdir);
	return fails("mkdir") ? -1 : real(path, mode);
}

int mkdirat(int fd, const char *path, mode_t mode)
{
	REAL(mkdirat);
	return fails("mkdir") ? -1 : real(fd, path, mode);
}

int fchmod(int fd, mode_t mode)
{
	REAL(fchmod);
	return fails("fchmod") ? -1 : real(fd, mode);
}

int fchown(int fd, uid_t uid, gid_t gid)
{
	REAL(fchown);
	return fails("fchown") ? -1 : real(fd, uid, gid);
}

static mode_t mode_of(int flags, va_list ap)
{
	return flags & O_CREAT ? va_arg(ap, mode_t) : 0;
}

int open64(const char *path, int flags, ...)
{
	mode_t mode;
	va_list ap;

	REAL(open64);
	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	return flags & O_CREAT && fails("create") ? -1 : real(path, flags, mode);
}

int openat64(int fd, const char *path, int flags, ...)
{
	mode_t mode;
	va_list ap;

	REAL(openat64);
	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	return flags & O_CREAT && fails("create") ? -1 : real(fd, path, flags, mode);
}

/* Of a loop device, those that change it; and of a filesystem. */
static const char *ioctl_name(unsigned long request)
{
	switch (request) {
	case LOOP_CONFIGURE:
		return "LOOP_CONFIGURE";
	case LOOP_SET_FD:
		return "LOOP_SET_FD";
	case LOOP_SET_STATUS64:
		return "LOOP_SET_STATUS";
	case LOOP_CLR_FD:
		return "LOOP_CLR_FD";
	case LOOP_SET_CAPACITY:
		return "LOOP_SET_CAP";
	case LOOP_CTL_GET_FREE:
		return "LOOP_CTL_FREE";
	case LOOP_CTL_ADD:
		return "LOOP_CTL_ADD";
	case FIFREEZE:
		return "FIFREEZE";
	case FITHAW:
		return "FITHAW";
	case XFS_GROW:
		return "XFS_GROW";
	default:
		return NULL;
	}
}

int ioctl(int fd, unsigned long request, ...)
{
	const char *name = ioctl_name(request);
	va_list ap;
	void *arg;

	REAL(ioctl);
	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	return name && fails(name) ? -1 : real(fd, request, arg);
}

int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)
{
	REAL(mount);
	return fails("mount") ? -1 : real(source, target, type, flags, data);
}

int umount2(const char *target, int flags)
{
	REAL(umount2);
	return fails("umount") ? -1 : real(target, flags);
}

int fsmount(int fd, unsigned int flags, unsigned int attributes)
{
	REAL(fsmount);
	return fails("fsmount") ? -1 : real(fd, flags, attributes);
}

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
	const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
	REAL(posix_spawn);
	return fails("spawn") ? errno : real(pid, path, actions, attributes, argv, envp);
}

/* The fence helper leaves the daemon that started it by this, and by nothing else does one of ours fork. */
pid_t fork(void)
{
	pid_t pid;

	REAL(fork);
	pid = real();
	if (pid == 0 && points)
		owner = getpid();
	return pid;
}

/* Of a socket in the filesystem. */
int bind(int fd, const struct sockaddr *address, socklen_t size)
{
	REAL(bind);
	return address->sa_family == AF_UNIX && fails("bind") ? -1 : real(fd, address, size);
}

int pidfd_send_signal(int fd, int number, siginfo_t *info, unsigned int flags)
{
	REAL(pidfd_send_signal);
	return fails("kill") ? -1 : real(fd, number, info, flags);
}
