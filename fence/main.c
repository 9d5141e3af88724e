/* SPDX-License-Identifier: Apache-2.0 */
/* flocker-fence - stops datasets whose time is over. Started by flocker-node; see proto.h. */
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "fence.h"
#include "proto.h"
#include "say.h"
#include "text.h"

#define LIMIT_MS 1000
#define PRIORITY 10 /* above everything that is not real-time, below the kernel's own threads */

static const char usage[] =
	"flocker-fence - stop datasets whose time is over; started by flocker-node\n"
	"\n"
	"usage: flocker-fence --fd N --run-directory DIR --mount-root DIR\n"
	"       [--limit MS] [--reboot] [--watchdog auto|DEVICE]\n"
	"\n"
	"      --fd N               connection to the daemon, inherited\n"
	"      --run-directory DIR  for " FENCE_SOCKET " and " FENCE_LOCK "\n"
	"      --mount-root DIR     datasets are mounted at DIR/DATASET_ID\n"
	"      --limit MS           milliseconds that a fence may take (1000)\n"
	"      --reboot             restart the machine when one takes longer\n"
	"      --watchdog DEVICE    restart it also when nothing runs that stops them;\n"
	"                           auto: the first of /dev/watchdog0 to 9 that is free\n"
	"      --help, --version\n"
	"\n"
	"See flocker-fence(8).\n";

struct options {
	int fd;
	const char *run_directory, *mount_root, *watchdog;
	unsigned limit_ms;
	bool reboot;
};

static int wrong(const char *option, const char *value)
{
	fprintf(stderr, "ERROR: --%s '%s' is no number in range; see flocker-fence --help\n",
		option, value);
	return -EINVAL;
}

/* 0 to go on, 1 when all was said, negative errno. */
static int parse_options(int argc, char **argv, struct options *ret)
{
	static const struct option options[] = { { "fd", required_argument, NULL, 'f' },
		{ "run-directory", required_argument, NULL, 'r' },
		{ "mount-root", required_argument, NULL, 'm' },
		{ "limit", required_argument, NULL, 'l' }, { "reboot", no_argument, NULL, 'b' },
		{ "watchdog", required_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' }, { 0 } };
	uint64_t n;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'f':
			if (text_number(optarg, 3, 65535, &n) < 0)
				return wrong("fd", optarg);
			ret->fd = (int)n;
			break;
		case 'r':
			ret->run_directory = optarg;
			break;
		case 'm':
			ret->mount_root = optarg;
			break;
		case 'l':
			if (text_number(optarg, 1, 3600000, &n) < 0)
				return wrong("limit", optarg);
			ret->limit_ms = (unsigned)n;
			break;
		case 'b':
			ret->reboot = true;
			break;
		case 'w':
			ret->watchdog = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return 1;
		case 'V':
			puts(FLOCKER_VERSION);
			return 1;
		default:
			fputs("ERROR: see flocker-fence --help\n", stderr);
			return -EINVAL;
		}
	}
	if (optind < argc || ret->fd < 0 || !ret->run_directory || !ret->mount_root) {
		fputs("ERROR: --fd, --run-directory and --mount-root are needed, and no more\n",
			stderr);
		return -EINVAL;
	}
	return 0;
}

/* ---- who we are to others ---- */

static void leave_descriptors(unsigned fd)
{
	if (fd > 3)
		(void)close_range(3, fd - 1, 0);
	(void)close_range(fd + 1, UINT_MAX, 0);
}

/* The daemon waits for its child only; what guards is nobody's, and outlives its group. */
static int leave_the_daemon(void)
{
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid > 0)
		_exit(0);
	if (setsid() < 0 || chdir("/") < 0)
		return -errno;
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

static int write_text(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return -errno;
	return 0;
}

/* Each is a help under pressure, and can be missing: in a container, for want of a capability. */
static void prepare_for_pressure(void)
{
	struct sched_param first = { .sched_priority = PRIORITY };
	int r;

	if (sched_setscheduler(0, SCHED_FIFO, &first) < 0)
		fence_say(LOG_WARNING, NULL, errno, "no real-time scheduling, going on");
	if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
		fence_say(LOG_WARNING, NULL, errno, "memory cannot be locked, going on");
	if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0)
		fence_say(LOG_WARNING, NULL, errno,
			"the kernel may wait for storage to give us memory, going on");
	r = write_text("/proc/self/oom_score_adj", "-1000");
	if (r < 0)
		fence_say(LOG_WARNING, NULL, r, "may be killed when memory runs out, going on");
}

/* ---- the run directory ---- */

static int lock_take(int run_fd)
{
	int fd = openat(run_fd, FENCE_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd; /* stays open */
}

/* By way of /proc, since a socket's path is short and a directory's may be long. */
static int listen_at(int run_fd)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -EBADF;

	if (unlinkat(run_fd, FENCE_SOCKET, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/" FENCE_SOCKET, run_fd);
	umask(077);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 4) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int fail(int r, const char *what)
{
	fence_say(LOG_ERR, NULL, r, "%s", what);
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	struct options o = { .fd = -EBADF, .limit_ms = LIMIT_MS };
	struct fence_config c;
	int run_fd, lock_fd, r;

	r = parse_options(argc, argv, &o);
	if (r != 0)
		return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	leave_descriptors((unsigned)o.fd);
	c = (struct fence_config){
		.daemon_fd = o.fd,
		.limit_ms = o.limit_ms,
		.reboot = o.reboot,
		.watchdog = o.watchdog,
	};
	c.root_fd = open(o.mount_root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (c.root_fd < 0)
		return fail(errno, "cannot open the mount root");
	run_fd = open(o.run_directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (run_fd < 0)
		return fail(errno, "cannot open the run directory");
	lock_fd = lock_take(run_fd);
	if (lock_fd < 0)
		return fail(lock_fd, "there is another flocker-fence");
	c.listen_fd = listen_at(run_fd);
	if (c.listen_fd < 0)
		return fail(c.listen_fd, "cannot listen in the run directory");
	r = leave_the_daemon();
	if (r < 0)
		return fail(r, "cannot leave the daemon's session");
	prepare_for_pressure();
	r = fence_run(&c);
	unlinkat(run_fd, FENCE_SOCKET, 0);
	return r < 0 ? fail(r, "cannot begin") : EXIT_SUCCESS;
}
