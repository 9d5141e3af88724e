/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fstree_mount.c - the tree in the file system, and its session on the loop.
 *
 * Mounts are judged by the mount table alone. A look at the place itself (even a stat) is a
 * question to whoever serves it, and the one we want to clear away may be a killed daemon that a
 * thread in a hung disk keeps from ending: it would never answer.
 */
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <libmount/libmount.h>
#include <limits.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "fstree_private.h"

#define FSTREE_TYPE "fuse.flocker"
#define SERVE_MAX 64 /* requests at one turn of the loop */

static _printf_(4, 5) int fail(int err, char *why, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(why, size, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < size)
		snprintf(why + n, size - (size_t)n, ": %s", strerror(-err));
	return err;
}

/* ---- places ---- */

static gid_t group_id(const char *name, bool *ret_found)
{
	struct group g, *found = NULL;
	char buf[4096];

	*ret_found = getgrnam_r(name, &g, buf, sizeof(buf), &found) == 0 && found;
	return *ret_found ? g.gr_gid : 0;
}

/* Is there anything in directory @fd beside @name? Unreadable counts as yes. */
static bool holds_more(int fd, const char *name)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *de;
	bool more = !dir;

	while (dir && !more && (de = readdir(dir)))
		more = !STREQ(de->d_name, ".") && !STREQ(de->d_name, "..") &&
			!STREQ(de->d_name, name);
	if (dir)
		closedir(dir);
	else
		close_keep_errno(copy);
	return more;
}

/*
 * The directory above the bound tree decides who sees it, so it is ours: @fd becomes 0750 root:group.
 * One that others use, too, like /run, would be closed to them: never that.
 */
static int guard_parent(int fd, const char *dir, const char *name, const char *group, char *why,
	size_t size)
{
	struct stat st;
	bool found;
	gid_t gid = group_id(group, &found);

	if (fstat(fd, &st) < 0)
		return fail(-errno, why, size, "cannot look at %s", dir);
	if ((st.st_mode & (S_ISVTX | S_IRWXO)) && holds_more(fd, name))
		return fail(-ENOTEMPTY, why, size,
			"%s is to be closed to all but group %s, and holds more than the status "
			"tree; give that a directory of its own", dir, group);
	if (fchown(fd, 0, gid) < 0 || fchmod(fd, found ? 0750 : 0700) < 0)
		return fail(-errno, why, size, "cannot give %s to group %s", dir, group);
	return 0;
}

/* Who can write to the mount root can lead a mount elsewhere. */
static int check_private(int fd, const char *dir, char *why, size_t size)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fail(-errno, why, size, "cannot look at %s", dir);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return fail(-EPERM, why, size,
			"others than its owner may write to %s (mode %04o); chmod go-w it, or choose "
			"another directory", dir, (unsigned int)st.st_mode & 07777);
	return 0;
}

/*
 * The parent's real path and the last name below it: the mount table has real paths, and the place
 * itself must not be looked at.
 */
static int place_new(const char *path, const char *group, char **ret, char *why, size_t size)
{
	_cleanup_free_ char *copy = strdup(path), *again = strdup(path), *real = NULL;
	_cleanup_close_ int fd = -EBADF;
	char *dir, *name, *place;
	int r;

	if (!copy || !again)
		return -ENOMEM;
	dir = dirname(copy);
	name = basename(again);
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return fail(-errno, why, size, "cannot make %s", dir);
	/* What gets another owner is no link that somebody planted. */
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (group ? O_NOFOLLOW : 0));
	if (fd < 0)
		return fail(-errno, why, size, "cannot open the directory %s", dir);
	r = group ? guard_parent(fd, dir, name, group, why, size)
		  : check_private(fd, dir, why, size);
	if (r < 0)
		return r;
	real = realpath(dir, NULL);
	if (!real)
		return fail(-errno, why, size, "cannot find %s", dir);
	if (asprintf(&place, "%s/%s", STREQ(real, "/") ? "" : real, name) < 0)
		return -ENOMEM;
	*ret = place;
	return 0;
}

int fs_places_init(struct fstree *t, const struct fstree_config *c, char *why, size_t size)
{
	int r;

	snprintf(t->source, sizeof(t->source), FSTREE_SOURCE "%s", ID128_STR(c->node));
	r = place_new(c->mountpoint, NULL, &t->mountpoint, why, size);
	if (r < 0 || !c->bind_target)
		return r;
	return place_new(c->bind_target, c->group, &t->bind_target, why, size);
}

void fs_places_done(struct fstree *t)
{
	free(t->mountpoint);
	free(t->bind_target);
}

enum standing {
	STANDS_NOTHING, /* or another node's tree, which we cover */
	STANDS_OURS,
	STANDS_OTHER,
};

static enum standing standing_of(const struct fstree *t, struct libmnt_fs *fs)
{
	const char *source = fs ? mnt_fs_get_source(fs) : NULL;

	if (!fs)
		return STANDS_NOTHING;
	if (!STREQ(mnt_fs_get_fstype(fs), FSTREE_TYPE))
		return STANDS_OTHER;
	return source && STREQ(source, t->source) ? STANDS_OURS : STANDS_NOTHING;
}

/* What is on top at @place. */
static int look(const struct fstree *t, const char *place, enum standing *ret, dev_t *ret_dev)
{
	struct libmnt_table *tb = mnt_new_table();
	struct libmnt_fs *fs;
	int r;

	if (!tb)
		return -ENOMEM;
	r = mnt_table_parse_file(tb, "/proc/self/mountinfo");
	if (r < 0) {
		mnt_unref_table(tb);
		return r;
	}
	fs = mnt_table_find_target(tb, place, MNT_ITER_BACKWARD);
	*ret = standing_of(t, fs);
	*ret_dev = fs ? mnt_fs_get_devno(fs) : 0;
	mnt_unref_table(tb);
	return 0;
}

/* Ends our trees at @place. Force aborts the connection, so that readers of a hung one get free. */
static int clear(const struct fstree *t, const char *place, int flags, char *why, size_t size)
{
	enum standing standing;
	dev_t dev;
	int r;

	for (;;) {
		r = look(t, place, &standing, &dev);
		if (r < 0)
			return fail(r, why, size, "cannot read the mount table");
		if (standing == STANDS_NOTHING)
			return 0;
		if (standing == STANDS_OTHER)
			return fail(-EBUSY, why, size, "something else is mounted at %s", place);
		if (umount2(place, MNT_DETACH | UMOUNT_NOFOLLOW | flags) < 0)
			return fail(-errno, why, size, "cannot detach the old status tree at %s",
				place);
	}
}

static int make_directory(const char *place, char *why, size_t size)
{
	if (mkdir(place, 0755) < 0 && errno != EEXIST)
		return fail(-errno, why, size, "cannot make %s", place);
	return 0;
}

/* ---- session ---- */

static int mount_tree(struct fstree *t, int fd, char *why, size_t size)
{
	enum standing standing;
	char options[128];
	dev_t dev;

	snprintf(options, sizeof(options), "fd=%d,rootmode=40555,user_id=0,group_id=0,allow_other",
		fd);
	if (mount(t->source, t->mountpoint, FSTREE_TYPE,
		    MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
		return fail(-errno, why, size, "cannot mount the status tree at %s", t->mountpoint);
	if (look(t, t->mountpoint, &standing, &dev) == 0 && standing == STANDS_OURS)
		return 0;
	/* It went where a symbolic link leads. We would never find it there again. */
	umount2(t->mountpoint, MNT_DETACH);
	return fail(-ENOTDIR, why, size, "cannot mount the status tree at %s", t->mountpoint);
}

/* The connection is in @fd already, which the session takes over when this returns 0. */
static int session_new(struct fstree *t, int fd)
{
	char name[] = "flocker", *argv[] = { name, NULL }, path[32];
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	struct fuse_session *se;

	se = fuse_session_new(&args, &fs_ops, sizeof(fs_ops), t);
	fuse_opt_free_args(&args);
	if (!se)
		return -ENOMEM;
	snprintf(path, sizeof(path), "/dev/fd/%d", fd); /* libfuse's word for "mounted already" */
	if (fuse_session_mount(se, path) < 0) {
		fuse_session_destroy(se);
		return -EINVAL;
	}
	t->session = se;
	return 0;
}

static void session_free(struct fstree *t)
{
	bool left = true;

	if (t->event)
		event_free(t->event);
	t->event = NULL;
	if (t->notifier)
		left = fs_notifier_free(t, TAKE_PTR(t->notifier));
	fs_forget_kernel(t);
	/* A thread that hangs in the kernel still uses it; it all ends with the process. */
	if (t->session && left)
		fuse_session_destroy(t->session);
	t->session = NULL;
	free(t->buf.mem);
	t->buf = (struct fuse_buf){ 0 };
}

int fs_serve(struct fstree *t)
{
	int r = fuse_session_receive_buf(t->session, &t->buf);

	if (r == -EINTR || r == -EAGAIN)
		return -EAGAIN;
	if (r <= 0)
		return -ENODEV;
	fuse_session_process_buf(t->session, &t->buf);
	return 1;
}

static void on_request(evutil_socket_t fd, short what, void *userdata)
{
	struct fstree *t = userdata;
	int r = 1;

	for (int n = 0; r == 1 && n < SERVE_MAX; n++)
		r = fs_serve(t);
	if (r != -ENODEV)
		return;
	session_free(t);
	t->on_gone(t->userdata); /* may have ended t */
}

static int start_session(struct fstree *t)
{
	int r;

	t->event = event_new(t->base, fuse_session_fd(t->session), EV_READ | EV_PERSIST, on_request,
		t);
	if (!t->event || event_priority_set(t->event, t->priority) < 0 ||
		event_add(t->event, NULL) < 0)
		return -ENOMEM;
	r = fs_notifier_new(t, &t->notifier);
	return r < 0 ? r : 0;
}

static int open_session(struct fstree *t, char *why, size_t size)
{
	_cleanup_close_ int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	int r;

	if (fd < 0)
		return fail(-errno, why, size,
			"cannot open /dev/fuse (is the kernel module fuse loaded?)");
	r = mount_tree(t, fd, why, size);
	if (r < 0)
		return r;
	r = session_new(t, fd);
	if (r < 0)
		return fail(r, why, size, "cannot start the status tree");
	TAKE_FD(fd);
	r = start_session(t);
	if (r < 0)
		return fail(r, why, size, "cannot start the status tree");
	return 0;
}

static int bind_tree(struct fstree *t, char *why, size_t size)
{
	if (!t->bind_target)
		return 0;
	if (mount(t->mountpoint, t->bind_target, NULL, MS_BIND, NULL) < 0)
		return fail(-errno, why, size, "cannot bind the status tree to %s", t->bind_target);
	return 0;
}

/* Served, and seen at both places? */
static bool stands(struct fstree *t)
{
	enum standing first, second;
	dev_t dev, copy;

	if (!t->session || look(t, t->mountpoint, &first, &dev) < 0 || first != STANDS_OURS)
		return false;
	if (!t->bind_target)
		return true;
	return look(t, t->bind_target, &second, &copy) == 0 && second == STANDS_OURS && copy == dev;
}

static int clear_places(struct fstree *t, int flags, char *why, size_t size)
{
	int r = 0;

	if (t->bind_target)
		r = clear(t, t->bind_target, flags, why, size);
	if (r < 0)
		return r;
	return t->mountpoint ? clear(t, t->mountpoint, flags, why, size) : 0;
}

static int prepare_places(struct fstree *t, char *why, size_t size)
{
	int r;

	r = clear_places(t, MNT_FORCE, why, size);
	if (r < 0)
		return r;
	r = make_directory(t->mountpoint, why, size);
	if (r < 0 || !t->bind_target)
		return r;
	return make_directory(t->bind_target, why, size);
}

void fs_unmount(struct fstree *t)
{
	char why[8];

	clear_places(t, 0, why, sizeof(why)); /* what is not ours stays */
	session_free(t);
}

int fstree_mount(struct fstree *t, char *why, size_t size)
{
	int r;

	if (stands(t))
		return 0;
	session_free(t);
	r = prepare_places(t, why, size);
	if (r < 0)
		return r;
	r = open_session(t, why, size);
	if (r == 0)
		r = bind_tree(t, why, size);
	if (r < 0)
		fs_unmount(t);
	return r;
}
