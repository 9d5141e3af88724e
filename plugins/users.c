/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "users.h"

DEFINE_CLEANUP(DIR *, closedir);

static const char *place_of(const char *directory, struct id128 dataset, char buf[PATH_MAX])
{
	snprintf(buf, PATH_MAX, "%s/%s", directory, ID128_STR(dataset));
	return buf;
}

/* A lock on a directory that was removed since keeps nobody away. */
static int lock_directory(const char *path, int *ret)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_nlink == 0)
		return -EAGAIN;
	*ret = TAKE_FD(fd);
	return 0;
}

static int make_file(int dir, const char *who, int *ret_fd)
{
	_cleanup_close_ int fd = openat(dir, who, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	if (ret_fd && flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	if (ret_fd)
		*ret_fd = TAKE_FD(fd);
	return 0;
}

static int open_directory(const char *directory, struct id128 dataset, int *ret)
{
	char path[PATH_MAX];
	int r;

	if (mkdir(directory, 0700) < 0 && errno != EEXIST)
		return -errno;
	if (mkdir(place_of(directory, dataset, path), 0700) < 0 && errno != EEXIST)
		return -errno;
	r = lock_directory(path, ret);
	return r == -ENOENT ? -EAGAIN : r;
}

int users_join(const char *directory, struct id128 dataset, const char *who, int *ret_fd)
{
	_cleanup_close_ int dir = -EBADF;
	int r = open_directory(directory, dataset, &dir);

	return r < 0 ? r : make_file(dir, who, ret_fd);
}

static int has_others(const char *path, const char *who)
{
	_cleanup_(closedirp) DIR *d = opendir(path);
	struct dirent *de;

	if (!d)
		return -errno;
	while ((errno = 0, de = readdir(d)))
		if (de->d_name[0] != '.' && !STREQ(de->d_name, who))
			return 1;
	return -errno;
}

int users_leave(const char *directory, struct id128 dataset, const char *who, int *ret_lock)
{
	_cleanup_close_ int dir = -EBADF;
	char path[PATH_MAX];
	int r = lock_directory(place_of(directory, dataset, path), &dir);

	/* It was never said here who has the lease. Others see the lock all the same, but no user
	 * that, killed before users_left(), would keep the lease from them for ever. */
	if (r == -ENOENT)
		r = open_directory(directory, dataset, &dir);
	if (r < 0)
		return r;
	r = has_others(path, who);
	if (r > 0)
		return unlinkat(dir, who, 0) < 0 && errno != ENOENT ? -errno : 0;
	if (r < 0)
		return r;
	*ret_lock = TAKE_FD(dir);
	return 1;
}

void users_left(const char *directory, struct id128 dataset, const char *who, int lock,
	bool released)
{
	char path[PATH_MAX];

	if (released) {
		(void)unlinkat(lock, who, 0);
		(void)rmdir(place_of(directory, dataset, path));
	}
	close(lock);
}

void users_forget(const char *directory, struct id128 dataset, const char *who)
{
	_cleanup_close_ int dir = -EBADF;
	char path[PATH_MAX];

	dir = open(place_of(directory, dataset, path),
		O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return;
	(void)unlinkat(dir, who, 0);
	(void)rmdir(path); /* who joins at this moment makes it again, see lock_directory() */
}

const char *users_file(const char *directory, struct id128 dataset, const char *who,
	char buf[PATH_MAX])
{
	snprintf(buf, PATH_MAX, "%s/%s/%s", directory, ID128_STR(dataset), who);
	return buf;
}

int users_find(const char *directory, const char *who, struct id128 *ret)
{
	_cleanup_(closedirp) DIR *d = opendir(directory);
	char path[PATH_MAX];
	struct dirent *de;
	struct id128 id;

	while (d && (de = readdir(d))) {
		if (id128_parse(de->d_name, &id) < 0)
			continue;
		users_file(directory, id, who, path);
		if (access(path, F_OK) == 0) {
			*ret = id;
			return 0;
		}
	}
	return -ENOENT;
}
