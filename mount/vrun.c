/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>

#include "program.h"
#include "vrun.h"

/* How long a killed program may take to go. Longer means that its disk hangs; the caller's worker
 * is worth more than its exit status. */
#define KILL_GRACE_MS 5000

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int set_descriptors(posix_spawn_file_actions_t *actions, int out, int keep_fd)
{
	int r;

	r = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(actions, out, 1);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(actions, out, 2);
	if (r == 0 && keep_fd >= 0)
		r = posix_spawn_file_actions_adddup2(actions, keep_fd, 3);
	if (r == 0)
		r = posix_spawn_file_actions_addclosefrom_np(actions, keep_fd >= 0 ? 4 : 3);
	return -r;
}

int vrun_find(const char *program, char *buf, size_t size)
{
	const char *next, *path = getenv("PATH");

	for (const char *dir = path ? path : "/usr/sbin:/usr/bin:/sbin:/bin"; *dir; dir = next) {
		int n = (int)strcspn(dir, ":");

		next = dir + n + (dir[n] == ':');
		if (n == 0 || (size_t)snprintf(buf, size, "%.*s/%s", n, dir, program) >= size)
			continue;
		if (access(buf, X_OK) == 0)
			return 0;
	}
	return -ENOENT;
}

static int spawn(const char *const argv[], int out, int keep_fd, pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	char path[PATH_MAX];
	int r;

	r = vrun_find(argv[0], path, sizeof(path));
	if (r < 0)
		return r;
	r = -posix_spawn_file_actions_init(&actions);
	if (r < 0)
		return r;
	r = set_descriptors(&actions, out, keep_fd);
	if (r == 0)
		r = program_start(path, argv, &actions, true, ret);
	posix_spawn_file_actions_destroy(&actions);
	return r;
}

/* The tail of what a program prints: enough for its last line. */
struct tail {
	char text[1024];
	size_t used;
};

/* 1 when there may be more, 0 at the end. */
static int tail_read(struct tail *t, int fd)
{
	size_t half = sizeof(t->text) / 2;
	ssize_t n;

	if (t->used > half) {
		memmove(t->text, t->text + t->used - half, half);
		t->used = half;
	}
	n = read(fd, t->text + t->used, sizeof(t->text) - t->used);
	if (n > 0)
		t->used += (size_t)n;
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/*
 * Copies the last line that says something; one that begins with a blank only goes on with what was
 * said before ("	(i.e., without -a or -p options)"). What a terminal would not show becomes
 * '?'.
 */
static void tail_last_line(const struct tail *t, char *buf, size_t size)
{
	size_t end, start = t->used, n;

	do {
		for (end = start; end > 0 && strchr("\r\n\t ", t->text[end - 1]);)
			end--;
		for (start = end; start > 0 && !strchr("\r\n", t->text[start - 1]);)
			start--;
	} while (start > 0 && strchr("\t ", t->text[start]));
	n = MIN(end - start, size - 1);
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)t->text[start + i];

		buf[i] = c < 0x20 || c >= 0x7f ? '?' : (char)c;
	}
	buf[n] = '\0';
}

/* Waits until the program has ended; reads along, so that it never waits for us. */
static int watch(int pidfd, int out, int64_t deadline, struct tail *t)
{
	struct pollfd p[2] = { { .fd = pidfd, .events = POLLIN }, { .fd = out, .events = POLLIN } };

	for (;;) {
		int64_t left = deadline - now_ms();

		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(p, 2, (int)MIN(left, INT64_C(60000))) < 0 && errno != EINTR)
			return -errno;
		if (p[1].revents && !tail_read(t, out))
			p[1].fd = -1;
		if (p[0].revents)
			break;
	}
	/* What is left in the pipe; a child of its own may keep that open, so never wait for its
	 * end. */
	while (poll(&p[1], 1, 0) > 0 && tail_read(t, out))
		;
	return 0;
}

static int reap(int pidfd, struct vrun_result *ret)
{
	siginfo_t si = { 0 };

	while (waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED) < 0)
		if (errno != EINTR)
			return -errno;
	ret->status = si.si_code == CLD_EXITED ? si.si_status : 128 + si.si_status;
	return 0;
}

static void kill_group(pid_t pid, int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	int64_t deadline = now_ms() + KILL_GRACE_MS;
	struct vrun_result unused;
	int r;

	kill(-pid, SIGKILL);
	do {
		r = poll(&p, 1, (int)MAX(deadline - now_ms(), INT64_C(0)));
	} while (r < 0 && errno == EINTR);
	if (r > 0)
		reap(pidfd, &unused);
}

int vrun(const char *const argv[], int keep_fd, unsigned int limit_s, struct vrun_result *ret)
{
	_cleanup_close_ int ours = -EBADF, theirs = -EBADF, pidfd = -EBADF;
	int64_t deadline = now_ms() + (int64_t)limit_s * 1000;
	struct vrun_result result = { 0 };
	struct tail t = { .used = 0 };
	int fds[2], r;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	ours = fds[0];
	theirs = fds[1];
	/* Only our end may not wait: a program that prints much is to be slowed, not cut. */
	if (fcntl(theirs, F_SETFL, 0) < 0)
		return -errno;

	r = spawn(argv, theirs, keep_fd, &pid);
	if (r < 0)
		return r;
	theirs = close_keep_errno(theirs);

	pidfd = pidfd_open(pid, 0);
	if (pidfd < 0) {
		r = -errno;
		kill(-pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return r;
	}
	r = watch(pidfd, ours, deadline, &t);
	if (r < 0) {
		kill_group(pid, pidfd);
		return r;
	}
	r = reap(pidfd, &result);
	if (r < 0)
		return r;

	tail_last_line(&t, result.said, sizeof(result.said));
	*ret = result;
	return 0;
}
