/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>

#include "nopins.h"
#include "treetest.h"

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "skipped: %s\n", what);
	exit(77);
}

void tree_enter(void)
{
	need(geteuid() == 0, "needs root");
	need(access("/dev/fuse", R_OK | W_OK) == 0, "needs /dev/fuse");
	need(unshare(CLONE_NEWNS) == 0, "needs a mount namespace");
	need(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "needs private mounts");
	detach_copies();
	need(mount("tmpfs", "/run", "tmpfs", 0, "mode=755") == 0, "needs a tmpfs");
	mkdir("/run/flocker-test", 0755);
}

static int setup(void **state, const char *bound, const char *group)
{
	struct treehost *h = calloc(1, sizeof(*h));

	*h = (struct treehost){ .mountpoint = MOUNTPOINT, .bind_target = bound, .group = group };
	*state = h;
	return treehost_start(h);
}

int tree_setup(void **state)
{
	return setup(state, NULL, NULL);
}

int tree_setup_bound(void **state)
{
	return setup(state, BOUND, "daemon");
}

int tree_teardown(void **state)
{
	struct treehost *h = *state;
	int r = h->pid > 0 ? treehost_quit(h) : 0;

	free(h);
	if (r != 0)
		fprintf(stderr, "the host ended with %d\n", r);
	return r;
}

const char *tree_path(const char *fmt, ...)
{
	static char paths[8][4096];
	static unsigned int turn;
	char *path = paths[turn++ % 8];
	size_t n = (size_t)sprintf(path, MOUNTPOINT "/");
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path + n, sizeof(paths[0]) - n, fmt, ap);
	va_end(ap);
	return path;
}

const char *ds_path(unsigned int n, const char *file)
{
	return tree_path("%s/%s", ID128_STR(tree_id(n)), file);
}

const char *content(const char *path)
{
	static char buf[65536];
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return strerrorname_np(errno);
	while ((n = read(fd, buf + len, sizeof(buf) - 1 - len)) > 0)
		len += (size_t)n;
	if (n < 0)
		return strerrorname_np(errno);
	buf[len] = '\0';
	return buf;
}

void assert_content(const char *path, const char *expected)
{
	assert_string_equal(content(path), expected);
}

int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void wait_size(const char *path, off_t size)
{
	int64_t end = now_ms() + TREE_TIMEOUT_MS;
	struct stat st;

	do {
		assert_return_code(stat(path, &st), errno);
		if (st.st_size == size)
			return;
		sched_yield();
	} while (now_ms() < end);
	fail_msg("%s still has %lld bytes, not %lld", path, (long long)st.st_size, (long long)size);
}
