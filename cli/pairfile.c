/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "pairfile.h"
#include "say.h"

#define HIDDEN ".flocker-ca."

struct pair {
	const char *dir;
	int dir_fd;
	char key[NAME_MAX + 1], cert[NAME_MAX + 1];		  /* as users see them */
	char hidden_key[NAME_MAX + 1], hidden_cert[NAME_MAX + 1]; /* until they are complete */
};

static inline void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

static int pair_name(struct pair *p, const char *stem)
{
	if (strlen(stem) + strlen(HIDDEN ".key") > NAME_MAX)
		return -ENAMETOOLONG;
	snprintf(p->key, sizeof(p->key), "%s.key", stem);
	snprintf(p->cert, sizeof(p->cert), "%s.crt", stem);
	snprintf(p->hidden_key, sizeof(p->hidden_key), HIDDEN "%s.key", stem);
	snprintf(p->hidden_cert, sizeof(p->hidden_cert), HIDDEN "%s.crt", stem);
	return 0;
}

static bool exists(const struct pair *p, const char *name)
{
	struct stat st;

	return fstatat(p->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Renames, but never onto something. NFS and some FUSE filesystems cannot do that in one step. */
static int rename_exclusive(const struct pair *p, const char *from, const char *to)
{
	if (renameat2(p->dir_fd, from, p->dir_fd, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (linkat(p->dir_fd, from, p->dir_fd, to, 0) < 0)
		return -errno;
	return unlinkat(p->dir_fd, from, 0) < 0 ? -errno : 0;
}

/* What an interrupted run left of one pair; @p has its names. */
static int repair_pair(const struct pair *p)
{
	int r;

	if (exists(p, p->hidden_cert) && !exists(p, p->hidden_key) && exists(p, p->key) &&
		!exists(p, p->cert)) {
		r = rename_exclusive(p, p->hidden_cert, p->cert);
		if (r < 0)
			return r;
		fprintf(stderr, "Completed %s/%s, which an interrupted run had left.\n", p->dir,
			p->cert);
	}
	if (unlinkat(p->dir_fd, p->hidden_key, 0) < 0 && errno != ENOENT)
		return -errno;
	if (unlinkat(p->dir_fd, p->hidden_cert, 0) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}

/* "cluster" from ".flocker-ca.cluster.key"; false for any other name. */
static bool hidden_stem(const char *name, char stem[static NAME_MAX + 1])
{
	size_t len = strlen(name), prefix = strlen(HIDDEN);

	if (strncmp(name, HIDDEN, prefix) != 0 || len <= prefix + 4 || len > NAME_MAX)
		return false;
	if (!STREQ(name + len - 4, ".key") && !STREQ(name + len - 4, ".crt"))
		return false;
	snprintf(stem, NAME_MAX + 1, "%.*s", (int)(len - prefix - 4), name + prefix);
	return true;
}

static int repair_directory(const char *dir, int dir_fd)
{
	_cleanup_(closedirp) DIR *d = NULL;
	char stem[NAME_MAX + 1];
	struct dirent *e;
	int fd;

	fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (!d) {
		close_keep_errno(fd);
		return -errno;
	}
	while ((e = readdir(d))) {
		struct pair p = { .dir = dir, .dir_fd = dir_fd };
		int r;

		if (!hidden_stem(e->d_name, stem) || pair_name(&p, stem) < 0)
			continue;
		r = repair_pair(&p);
		if (r < 0)
			return r;
	}
	return 0;
}

static int write_file(const struct pair *p, const char *name, const char *text)
{
	_cleanup_close_ int fd = -EBADF;
	size_t left = strlen(text);

	fd = openat(p->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	while (left > 0) {
		ssize_t n = write(fd, text, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		left -= (size_t)n;
	}
	/* A umask may have taken more than it should; 0600 whatever it was. */
	if (fchmod(fd, 0600) < 0 || fsync(fd) < 0)
		return -errno;
	return 0;
}

/* Both complete files get their names. No signal comes between the two. */
static int publish(const struct pair *p)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	r = rename_exclusive(p, p->hidden_key, p->key);
	if (r == 0) {
		r = rename_exclusive(p, p->hidden_cert, p->cert);
		if (r < 0)
			unlinkat(p->dir_fd, p->key, 0);
	}
	if (r == 0 && fsync(p->dir_fd) < 0)
		r = -errno;
	sigprocmask(SIG_SETMASK, &old, NULL);
	return r;
}

static int lock_directory(const char *dir, int dir_fd)
{
	if (flock(dir_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK)
		return -errno;
	fprintf(stderr, "Waiting for another program that has locked %s ...\n", dir);
	return flock(dir_fd, LOCK_EX) < 0 ? -errno : 0;
}

static int say_exists(const struct pair *p, const char *name)
{
	return say_error(-EEXIST,
		"%s/%s exists and is never overwritten; move it away, or choose another directory "
		"with --outputpath",
		p->dir, name);
}

static int create_pair(const struct pair *p, const char *key_pem, const char *cert_pem)
{
	const char *name = p->key;
	int r;

	if (exists(p, p->key))
		return say_exists(p, p->key);
	if (exists(p, p->cert))
		return say_exists(p, p->cert);

	r = write_file(p, p->hidden_key, key_pem);
	if (r == 0) {
		name = p->cert;
		r = write_file(p, p->hidden_cert, cert_pem);
	}
	if (r == 0)
		r = publish(p);
	if (r < 0) {
		unlinkat(p->dir_fd, p->hidden_key, 0);
		unlinkat(p->dir_fd, p->hidden_cert, 0);
		return say_error(r, "cannot write %s/%s: %s; nothing was left behind", p->dir, name,
			strerror(-r));
	}
	return 0;
}

int pairfile_open(const char *dir)
{
	_cleanup_close_ int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (dir_fd < 0)
		return say_error(-errno, "cannot write to directory %s: %s", dir, strerror(errno));
	r = lock_directory(dir, dir_fd);
	if (r < 0)
		return say_error(r, "cannot lock directory %s: %s", dir, strerror(-r));
	return TAKE_FD(dir_fd);
}

int pairfile_create(const char *dir, const char *stem, const char *key_pem, const char *cert_pem)
{
	_cleanup_close_ int dir_fd = pairfile_open(dir);
	struct pair p = { .dir = dir, .dir_fd = dir_fd };
	int r;

	if (dir_fd < 0)
		return dir_fd;
	r = pair_name(&p, stem);
	if (r == 0)
		r = repair_directory(dir, dir_fd);
	if (r < 0)
		return say_error(r, "cannot write %s.key in %s: %s", stem, dir, strerror(-r));
	return create_pair(&p, key_pem, cert_pem);
}
