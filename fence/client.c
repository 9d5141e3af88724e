/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "program.h"

#define HELPER_FD 3
/* A thousand requests in one turn of the loop, and what the kernel counts beside them. */
#define BUFFER (2 * (int)MIB)

struct fence_client {
	int fd;
	pid_t pid; /* the helper's; 0 before READY */
};

DEFINE_CLEANUP(struct fence_client *, fence_client_free);

struct fence_client *fence_client_free(struct fence_client *c)
{
	if (c)
		close_keep_errno(c->fd);
	free(c);
	return NULL;
}

int fence_client_fd(const struct fence_client *c)
{
	return c->fd;
}

/* ---- a helper ---- */

static int connect_to_living(const char *run_directory)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	_cleanup_close_ int dir_fd = -EBADF, fd = -EBADF;

	dir_fd = open(run_directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return -errno;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/" FENCE_SOCKET, dir_fd);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int set_descriptors(posix_spawn_file_actions_t *actions, int theirs)
{
	int r;

	r = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
	if (r == 0)
		r = posix_spawn_file_actions_addopen(actions, 1, "/dev/null", O_WRONLY, 0);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(actions, theirs, HELPER_FD);
	if (r == 0)
		r = posix_spawn_file_actions_addclosefrom_np(actions, HELPER_FD + 1);
	return -r;
}

static int spawn(const struct fence_client_options *o, int theirs, pid_t *ret)
{
	char fd[8], limit[16];
	const char *argv[14] = { o->helper, "--fd", fd, "--run-directory", o->run_directory,
		"--mount-root", o->mount_root };
	posix_spawn_file_actions_t actions;
	size_t n = 7;
	int r;

	snprintf(fd, sizeof(fd), "%d", HELPER_FD);
	snprintf(limit, sizeof(limit), "%u", o->limit_ms);
	if (o->limit_ms) {
		argv[n++] = "--limit";
		argv[n++] = limit;
	}
	if (o->reboot)
		argv[n++] = "--reboot";
	if (o->watchdog) {
		argv[n++] = "--watchdog";
		argv[n++] = o->watchdog;
	}
	r = -posix_spawn_file_actions_init(&actions);
	if (r < 0)
		return r;
	r = set_descriptors(&actions, theirs);
	if (r == 0)
		r = program_start(o->helper, argv, &actions, false, ret);
	posix_spawn_file_actions_destroy(&actions);
	return r;
}

/* What guards is a child of the one that is started, which ends when that is at work. */
static int start(const struct fence_client_options *o)
{
	_cleanup_close_ int ours = -EBADF, theirs = -EBADF;
	pid_t pid;
	int fds[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return -errno;
	ours = fds[0];
	/* At its own place the child would inherit it as one that closes on exec. */
	theirs = fcntl(fds[1], F_DUPFD_CLOEXEC, HELPER_FD + 1);
	r = theirs < 0 ? -errno : 0;
	close(fds[1]);
	if (r == 0)
		r = spawn(o, theirs, &pid);
	if (r < 0)
		return r;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return TAKE_FD(ours);
}

int fence_client_new(const struct fence_client_options *o, struct fence_client **ret)
{
	_cleanup_(fence_client_freep) struct fence_client *c = NULL;
	int size = BUFFER;

	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->fd = connect_to_living(o->run_directory);
	if (c->fd == -ECONNREFUSED || c->fd == -ENOENT)
		c->fd = start(o);
	if (c->fd < 0)
		return c->fd;
	(void)setsockopt(c->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	*ret = TAKE_PTR(c);
	return 0;
}

/* ---- what is said ---- */

int fence_client_read(struct fence_client *c, struct fence_packet *ret)
{
	struct fence_packet p;
	ssize_t n = recv(c->fd, &p, sizeof(p), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return -ECONNRESET;
	if (n != sizeof(p) || p.version != FENCE_VERSION)
		return -EPROTO;
	if (p.kind == FENCE_READY)
		c->pid = (pid_t)p.pid;
	*ret = p;
	return 1;
}

static int send_packet(struct fence_client *c, const struct fence_packet *p)
{
	if (send(c->fd, p, sizeof(*p), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	return errno == EAGAIN || errno == EINTR ? -EAGAIN : -ECONNRESET;
}

static struct fence_packet packet(enum fence_kind kind, struct id128 dataset_id, uint64_t cookie)
{
	return (struct fence_packet){
		.version = FENCE_VERSION,
		.kind = kind,
		.cookie = cookie,
		.dataset_id = dataset_id,
	};
}

static void name_device(struct fence_packet *p, dev_t devno, uint64_t diskseq)
{
	p->dev_major = major(devno);
	p->dev_minor = minor(devno);
	p->diskseq = diskseq;
}

int fence_client_arm(struct fence_client *c, const struct fence_arm *a, uint64_t cookie)
{
	struct fence_packet p = packet(FENCE_ARM, a->dataset_id, cookie);

	p.deadline_ns = a->deadline_ns;
	p.fs = (uint16_t)a->fs;
	p.state = a->step;
	name_device(&p, a->devno, a->diskseq);
	return send_packet(c, &p);
}

int fence_client_set_device(struct fence_client *c, struct id128 dataset_id, dev_t devno,
	uint64_t diskseq, uint64_t cookie)
{
	struct fence_packet p = packet(FENCE_SET_DEVICE, dataset_id, cookie);

	name_device(&p, devno, diskseq);
	return send_packet(c, &p);
}

static int send_plain(struct fence_client *c, enum fence_kind kind, struct id128 dataset_id,
	uint64_t cookie)
{
	struct fence_packet p = packet(kind, dataset_id, cookie);

	return send_packet(c, &p);
}

int fence_client_disarm(struct fence_client *c, struct id128 dataset_id, uint64_t cookie)
{
	return send_plain(c, FENCE_DISARM, dataset_id, cookie);
}

int fence_client_step_begin(struct fence_client *c, struct id128 dataset_id, uint64_t cookie)
{
	return send_plain(c, FENCE_STEP_BEGIN, dataset_id, cookie);
}

int fence_client_step_end(struct fence_client *c, struct id128 dataset_id, uint64_t cookie)
{
	return send_plain(c, FENCE_STEP_END, dataset_id, cookie);
}

int fence_client_kill(struct fence_client *c)
{
	/* The connection is open, so that number is still its own. */
	return c->pid == 0 || kill(c->pid, SIGKILL) < 0 ? -ESRCH : 0;
}
