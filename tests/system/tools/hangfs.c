/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hangfs STORE MOUNTPOINT - a FUSE filesystem that shows the directory STORE, and hangs when told to.
 *
 * Storage that does not answer: who asks it waits in the kernel, beyond all signals, as with a dead
 * NFS server or a fabric without paths. Unlike a frozen filesystem it cannot outlive its test: when
 * this process ends, every wait ends with an error.
 *
 * Commands are lines on standard input, each answered by one line:
 *
 *	hang all PATTERN...	requests for paths that match a pattern of the shell wait
 *	hang changes PATTERN...	only those that change something
 *	go			nothing waits any more
 *	waiting			how many requests wait now
 *
 * "ready" is said when it is mounted; the end of standard input ends it.
 */
#define FUSE_USE_VERSION 312
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <fuse.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "macro.h"

#define THREADS_MAX 1000 /* as many requests as may wait at once */
#define WORDS_MAX 64

enum access { READS, CHANGES };

static struct {
	pthread_mutex_t lock;
	pthread_cond_t go;
	bool hung, changes_only;
	char *words[WORDS_MAX];
	size_t n_words;
	unsigned int waiting;
} gate = { .lock = PTHREAD_MUTEX_INITIALIZER, .go = PTHREAD_COND_INITIALIZER };

static int store = -1;

/* An open file: its path decides whether it hangs. */
struct file {
	int fd;
	char path[];
};

static struct file *file_of(struct fuse_file_info *fi)
{
	return (struct file *)(uintptr_t)fi->fh;
}

static bool stands_in_the_way(const char *path, enum access access)
{
	if (!gate.hung || (gate.changes_only && access == READS))
		return false;
	for (size_t i = 0; i < gate.n_words; i++)
		if (fnmatch(gate.words[i], path, 0) == 0)
			return true;
	return false;
}

static void pass(const char *path, enum access access)
{
	pthread_mutex_lock(&gate.lock);
	gate.waiting++;
	while (stands_in_the_way(path, access))
		pthread_cond_wait(&gate.go, &gate.lock);
	gate.waiting--;
	pthread_mutex_unlock(&gate.lock);
}

/* Paths of FUSE begin with a slash. */
static const char *below(const char *path)
{
	return path[1] ? path + 1 : ".";
}

static int result(int r)
{
	return r < 0 ? -errno : 0;
}

/* ---- requests ---- */

static void *op_init(struct fuse_conn_info *conn, struct fuse_config *c)
{
	c->use_ino = 1;
	c->hard_remove = 1;
	c->nullpath_ok = 0;
	c->entry_timeout = c->attr_timeout = 0; /* each question reaches us */
	/* Else a dozen writes that wait would keep all others from coming. */
	conn->max_background = conn->congestion_threshold = THREADS_MAX;
	return NULL;
}

static int op_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	pass(path, READS);
	return result(fstatat(store, below(path), st, AT_SYMLINK_NOFOLLOW));
}

static int op_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t at,
	struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	struct dirent *e;
	DIR *d;
	int fd;

	pass(path, READS);
	fd = openat(store, below(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d)
		return -errno;
	while ((e = readdir(d)))
		fill(buf, e->d_name, NULL, 0, 0);
	closedir(d);
	return 0;
}

static int open_file(const char *path, int flags, mode_t mode, struct fuse_file_info *fi)
{
	struct file *f = malloc(sizeof(*f) + strlen(path) + 1);

	if (!f)
		return -ENOMEM;
	/* O_DIRECT is between the kernel and us: our buffers are not aligned. */
	f->fd = openat(store, below(path), (flags & ~O_DIRECT) | O_CLOEXEC | O_NOFOLLOW, mode);
	if (f->fd < 0) {
		int err = errno;

		free(f);
		return -err;
	}
	strcpy(f->path, path);
	fi->fh = (uintptr_t)f;
	return 0;
}

static int op_open(const char *path, struct fuse_file_info *fi)
{
	pass(path, fi->flags & O_TRUNC ? CHANGES : READS);
	return open_file(path, fi->flags, 0, fi);
}

static int op_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	pass(path, CHANGES);
	return open_file(path, fi->flags | O_CREAT, mode, fi);
}

static int op_release(const char *path, struct fuse_file_info *fi)
{
	struct file *f = file_of(fi);

	close(f->fd);
	free(f);
	return 0;
}

static int op_read(const char *path, char *buf, size_t size, off_t at, struct fuse_file_info *fi)
{
	struct file *f = file_of(fi);
	ssize_t n;

	pass(f->path, READS);
	n = pread(f->fd, buf, size, at);
	return n < 0 ? -errno : (int)n;
}

static int op_write(const char *path, const char *buf, size_t size, off_t at,
	struct fuse_file_info *fi)
{
	struct file *f = file_of(fi);
	ssize_t n;

	pass(f->path, CHANGES);
	n = pwrite(f->fd, buf, size, at);
	return n < 0 ? -errno : (int)n;
}

static int op_fsync(const char *path, int data_only, struct fuse_file_info *fi)
{
	struct file *f = file_of(fi);

	pass(f->path, CHANGES);
	return result(data_only ? fdatasync(f->fd) : fsync(f->fd));
}

static int op_fsyncdir(const char *path, int data_only, struct fuse_file_info *fi)
{
	_cleanup_close_ int fd = openat(store, below(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	pass(path, CHANGES);
	return fd < 0 ? -errno : result(fsync(fd));
}

static int op_fallocate(const char *path, int mode, off_t at, off_t size, struct fuse_file_info *fi)
{
	struct file *f = file_of(fi);

	pass(f->path, CHANGES);
	return result(fallocate(f->fd, mode, at, size));
}

static int op_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
	_cleanup_close_ int fd = -EBADF;

	pass(path, CHANGES);
	fd = openat(store, below(path), O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : result(ftruncate(fd, size));
}

static int op_mkdir(const char *path, mode_t mode)
{
	pass(path, CHANGES);
	return result(mkdirat(store, below(path), mode));
}

static int op_unlink(const char *path)
{
	pass(path, CHANGES);
	return result(unlinkat(store, below(path), 0));
}

static int op_rmdir(const char *path)
{
	pass(path, CHANGES);
	return result(unlinkat(store, below(path), AT_REMOVEDIR));
}

static int op_rename(const char *from, const char *to, unsigned int flags)
{
	pass(from, CHANGES);
	return result(renameat2(store, below(from), store, below(to), flags));
}

static int op_chmod(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	pass(path, CHANGES);
	return result(fchmodat(store, below(path), mode, 0));
}

static int op_chown(const char *path, uid_t uid, gid_t gid, struct fuse_file_info *fi)
{
	pass(path, CHANGES);
	return result(fchownat(store, below(path), uid, gid, AT_SYMLINK_NOFOLLOW));
}

static int op_utimens(const char *path, const struct timespec tv[2], struct fuse_file_info *fi)
{
	pass(path, CHANGES);
	return result(utimensat(store, below(path), tv, AT_SYMLINK_NOFOLLOW));
}

static int op_statfs(const char *path, struct statvfs *st)
{
	pass(path, READS);
	return result(fstatvfs(store, st));
}

static const struct fuse_operations ops = {
	.init = op_init,
	.getattr = op_getattr,
	.readdir = op_readdir,
	.open = op_open,
	.create = op_create,
	.release = op_release,
	.read = op_read,
	.write = op_write,
	.fsync = op_fsync,
	.fsyncdir = op_fsyncdir,
	.fallocate = op_fallocate,
	.truncate = op_truncate,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.chmod = op_chmod,
	.chown = op_chown,
	.utimens = op_utimens,
	.statfs = op_statfs,
};

/* ---- commands ---- */

static void hang(char *rest)
{
	char *save, *word = strtok_r(rest, " \n", &save);

	gate.changes_only = word && STREQ(word, "changes");
	while ((word = strtok_r(NULL, " \n", &save)) && gate.n_words < WORDS_MAX)
		gate.words[gate.n_words++] = strdup(word);
	gate.hung = true;
}

static void go(void)
{
	while (gate.n_words)
		free(gate.words[--gate.n_words]);
	gate.hung = false;
	pthread_cond_broadcast(&gate.go);
}

static void obey(char *line)
{
	pthread_mutex_lock(&gate.lock);
	if (strncmp(line, "hang ", 5) == 0)
		hang(line + 5);
	else if (STREQ(line, "go\n"))
		go();
	printf("%u\n", gate.waiting);
	fflush(stdout);
	pthread_mutex_unlock(&gate.lock);
}

static void *commands(void *userdata)
{
	char *line = NULL;
	size_t size = 0;

	puts("ready");
	fflush(stdout);
	while (getline(&line, &size, stdin) > 0)
		obey(line);
	_exit(0); /* the kernel ends the connection, and every wait */
}

int main(int argc, char **argv)
{
	char name[] = "hangfs", *fuse_argv[] = { name, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, fuse_argv);
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	pthread_t thread;
	struct fuse *fuse;

	if (argc != 3) {
		fputs("usage: hangfs STORE MOUNTPOINT\n", stderr);
		return 2;
	}
	store = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fuse = fuse_new(&args, &ops, sizeof(ops), NULL);
	if (store < 0 || !fuse || fuse_mount(fuse, argv[2]) < 0) {
		perror("hangfs");
		return 1;
	}
	umask(0);
	fuse_loop_cfg_set_max_threads(config, THREADS_MAX);
	fuse_loop_cfg_set_clone_fd(config, 0);
	if (pthread_create(&thread, NULL, commands, NULL) != 0)
		return 1;
	return fuse_loop_mt(fuse, config) == 0 ? 0 : 1;
}
