/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "nodestate.h"
#include "text.h"

#define LOCK_PAUSE_MS 20
#define LOCK_LIMIT_MS 2000

#define TEXT_MAX 128

/* Temporary file, fsync, rename, fsync of the directory. */
int nodestate_write(const char *directory, const char *name, const char *text)
{
	_cleanup_close_ int dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -EBADF;
	char temporary[64];
	size_t len = strlen(text);

	if (dir < 0)
		return -errno;
	snprintf(temporary, sizeof(temporary), "%s.new", name);
	fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, text, len) != (ssize_t)len)
		return errno ? -errno : -EIO;
	if (fsync(fd) < 0 || renameat(dir, temporary, dir, name) < 0 || fsync(dir) < 0)
		return -errno;
	return 0;
}

static int make_directories(const char *path)
{
	char *copy = strdup(path);
	int r = 0;

	if (!copy)
		return -ENOMEM;
	for (char *p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			r = -errno;
		*p = '/';
	}
	if (mkdir(copy, 0700) < 0 && errno != EEXIST)
		r = -errno;
	free(copy);
	return r;
}

static int read_or_make_host(struct nodestate *s, char *why, size_t size)
{
	char path[4096], text[TEXT_MAX];
	int r;

	snprintf(path, sizeof(path), "%s/host", s->directory);
	r = text_read_line(AT_FDCWD, path, text, sizeof(text));
	if (r == 0) {
		r = id128_parse(text, &s->host);
		if (r == 0)
			return 0;
		snprintf(why, size, "%s holds no UUID: this machine's identity is damaged. If no other "
				    "machine uses this node's certificate, remove the file and say "
				    "flockerctl node replace", path);
		return -EBADMSG;
	}
	if (r != -ENOENT)
		goto failed;
	r = id128_random(&s->host);
	if (r < 0)
		goto failed;
	snprintf(text, sizeof(text), "%s\n", ID128_STR(s->host));
	r = nodestate_write(s->directory, "host", text);
	if (r == 0)
		return 0;
failed:
	snprintf(why, size, "%s: %s", path, strerror(-r));
	return r;
}

static int read_control(struct nodestate *s, char *why, size_t size)
{
	char path[4096], text[TEXT_MAX], line[ID128_TEXT];
	int n, r;

	snprintf(path, sizeof(path), "%s/control", s->directory);
	r = text_read_line(AT_FDCWD, path, text, sizeof(text));
	if (r == -ENOENT)
		return 0;
	n = r == 0 ? sscanf(text, "%" SCNu64 " %" SCNu64 " %36s", &s->seen.incarnation, &s->seen.revision,
		line) : 0;
	if (n == 2 || (n == 3 && id128_parse(line, &s->seen.line) == 0))
		return 0;
	snprintf(why, size, "%s does not hold two numbers and an id; remove it to trust control's present state",
		path);
	return r < 0 ? r : -EBADMSG;
}

/* A daemon that was killed a moment ago may have locks for as long as the kernel takes to close what it had. */
static int take_lock(int fd)
{
	const struct timespec pause = { .tv_nsec = LOCK_PAUSE_MS * 1000000L };

	for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += LOCK_PAUSE_MS) {
		if (errno != EWOULDBLOCK)
			return -errno;
		if (waited >= LOCK_LIMIT_MS)
			return -EBUSY;
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

int nodestate_open(const char *directory, struct nodestate *ret, char *why, size_t size)
{
	struct nodestate s = { .lock_fd = -EBADF };
	char path[4096], text[TEXT_MAX];
	int r;

	r = make_directories(directory);
	if (r < 0) {
		snprintf(why, size, "cannot make the state directory %s: %s", directory, strerror(-r));
		return r;
	}
	s.directory = strdup(directory);
	if (!s.directory)
		return -ENOMEM;
	snprintf(path, sizeof(path), "%s/lock", directory);
	s.lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	r = s.lock_fd < 0 ? -errno : take_lock(s.lock_fd);
	if (r < 0) {
		if (r == -EBUSY)
			snprintf(why, size, "another flocker-node uses the state directory %s: each "
					    "needs its own", directory);
		else
			snprintf(why, size, "%s: %s", path, strerror(-r));
		goto failed;
	}
	r = read_or_make_host(&s, why, size);
	if (r == 0)
		r = read_control(&s, why, size);
	if (r < 0)
		goto failed;
	r = text_read_line(AT_FDCWD, "/proc/sys/kernel/random/boot_id", text, sizeof(text));
	if (r == 0)
		r = id128_parse(text, &s.boot);
	if (r < 0) {
		snprintf(why, size, "cannot read the kernel's boot_id: %s", strerror(-r));
		goto failed;
	}
	*ret = s;
	return 0;

failed:
	nodestate_done(&s);
	return r;
}

void nodestate_done(struct nodestate *s)
{
	free(s->directory);
	close_keep_errno(s->lock_fd);
	*s = (struct nodestate){ .lock_fd = -EBADF };
}

int nodestate_save(const char *directory, const struct control_mark *seen)
{
	char text[TEXT_MAX];

	snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64 " %s\n", seen->incarnation, seen->revision,
		id128_is_nil(seen->line) ? "" : ID128_STR(seen->line));
	return nodestate_write(directory, "control", text);
}
