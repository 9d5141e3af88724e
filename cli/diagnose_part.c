/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include "ctl.h"
#include "diagnose_part.h"

#define PATIENCE_MS 500 /* for the death of what was killed */

static _Noreturn void child(int fd, int (*run)(const void *userdata), const void *userdata)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), r;

	/* All that it starts dies with it. */
	setpgid(0, 0);
	signal(SIGPIPE, SIG_DFL);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
		_exit(127);
	r = run(userdata);
	fflush(stdout);
	_exit(r);
}

/* More of what it prints: 1; 0 at the end; -ETIMEDOUT, -EFBIG, -ENOMEM, errno of reading. */
static int read_some(int fd, uint64_t deadline_ms, size_t max, struct part *p)
{
	uint64_t now = ctl_now_ms();
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	size_t room = 65536;
	char *more;
	ssize_t n;

	if (now >= deadline_ms || poll(&poll_fd, 1, (int)(deadline_ms - now)) == 0)
		return -ETIMEDOUT;
	if (p->size >= max)
		return -EFBIG;
	more = realloc(p->data, p->size + room + 1);
	if (!more)
		return -ENOMEM;
	p->data = more;
	n = read(fd, p->data + p->size, MIN(room, max - p->size));
	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	p->size += (size_t)n;
	p->data[p->size] = '\0';
	return n > 0;
}

/* Its exit status, or -1 when it had to be killed. */
static int end(pid_t pid, bool is_done)
{
	uint64_t deadline = ctl_now_ms() + PATIENCE_MS;
	int status;

	if (!is_done)
		kill(-pid, SIGKILL);
	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (ctl_now_ms() >= deadline) {
			kill(-pid, SIGKILL);
			return -1; /* the kernel holds it: it ends when the kernel lets it, and is nobody's then */
		}
		ctl_pause_ms(5);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int part_run(int (*run)(const void *userdata), const void *userdata, unsigned int limit_ms, size_t max,
	struct part *ret)
{
	uint64_t deadline = ctl_now_ms() + limit_ms;
	struct part p = { 0 };
	int fds[2], r = 1, status;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		child(fds[1], run, userdata);
	close(fds[1]);
	if (pid < 0) {
		close_keep_errno(fds[0]);
		return -errno;
	}
	while (r == 1)
		r = read_some(fds[0], deadline, max, &p);
	close(fds[0]);
	status = end(pid, r == 0);
	if (r == -ETIMEDOUT)
		snprintf(p.failure, sizeof(p.failure), "it was not there within %u s", limit_ms / 1000);
	else if (r == -EFBIG)
		snprintf(p.failure, sizeof(p.failure), "only the first %zu bytes of it are here", max);
	else if (r < 0)
		snprintf(p.failure, sizeof(p.failure), "%s", strerror(-r));
	else if (status != 0)
		snprintf(p.failure, sizeof(p.failure), "exit status %d: %.*s", status,
			(int)MIN(p.size ? strcspn(p.data, "\n") : 0, p.size), p.data ? p.data : "");
	*ret = p;
	return 0;
}
