/* SPDX-License-Identifier: Apache-2.0 */
#include "session.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#ifndef PIDFD_SIGNAL_PROCESS_GROUP /* since Linux 6.9 */
#define PIDFD_SIGNAL_PROCESS_GROUP (1u << 2)
#endif

/* Room for the state of all datasets at once, and what the kernel counts beside it. */
#define BUFFER (8 * (int)MIB)

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

bool session_is_dead(const struct session *s)
{
	return s->pidfd < 0 || readable(s->pidfd);
}

static bool has_hung_up(int fd)
{
	struct pollfd p = { .fd = fd };

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR));
}

int session_take(struct session *s, int fd)
{
	_cleanup_close_ int ours = fd, pidfd = -EBADF;
	socklen_t len = sizeof(struct ucred);
	struct ucred peer;
	int size = BUFFER;

	/* Of a pair of sockets too: who made it is the daemon. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return -errno;
	if (peer.uid != geteuid())
		return -EPERM;
	pidfd = pidfd_open(peer.pid, 0);
	if (pidfd < 0)
		return -errno;
	if (has_hung_up(fd)) /* then that number may be somebody else's by now */
		return -ECONNRESET;
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	*s = (struct session){
		.fd = TAKE_FD(ours),
		.pidfd = TAKE_FD(pidfd),
		.pid = peer.pid,
		.leads = getpgid(peer.pid) == peer.pid,
		.greet = true,
	};
	return 0;
}

int session_read(struct session *s, struct fence_packet *ret, size_t *ret_size)
{
	ssize_t n = recv(s->fd, ret, sizeof(*ret), MSG_DONTWAIT | MSG_TRUNC);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	*ret_size = (size_t)n;
	return 1;
}

int session_send(struct session *s, const struct fence_packet *p)
{
	return send(s->fd, p, sizeof(*p), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int session_kill(struct session *s)
{
	s->killed = true;
	if (s->leads &&
		pidfd_send_signal(s->pidfd, SIGKILL, NULL, PIDFD_SIGNAL_PROCESS_GROUP) < 0 &&
		errno == EINVAL && !session_is_dead(s))
		kill(-s->pid, SIGKILL);
	return pidfd_send_signal(s->pidfd, SIGKILL, NULL, 0) < 0 ? -errno : 0;
}
