/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "vbind.h"
#include "vplace.h"

static bool path_valid(const char *path)
{
	const char *end;

	if (*path != '/' || !path[1] || strlen(path) >= PATH_MAX)
		return false;
	for (const char *p = path; *p; p = end) {
		char name[NAME_MAX + 1];
		size_t n;

		p++;
		end = strchrnul(p, '/');
		n = (size_t)(end - p);
		if (n > NAME_MAX)
			return false;
		memcpy(name, p, n);
		name[n] = '\0';
		if (!vplace_name_valid(name))
			return false;
	}
	return true;
}

/* There the first mount would be taken for the bind, and be taken away with it. */
int vbind_check(const char *mount_root, const char *target, char *why, size_t size)
{
	struct vwhy w = { why, size };
	size_t n = strlen(mount_root);

	while (n > 0 && mount_root[n - 1] == '/')
		n--;
	if (!path_valid(target))
		return vwhy_set(&w, -EINVAL, "'%s' is no absolute path without '.', '..' and a slash too many", target);
	if (strncmp(target, mount_root, n) == 0 && (!target[n] || target[n] == '/'))
		return vwhy_set(&w, -EINVAL, "%s is in the mount root %s", target, mount_root);
	return 0;
}

int vbind_look(const char *target, dev_t devno)
{
	struct vplace place;
	struct vplace_mount m;
	int r;

	snprintf(place.target, sizeof(place.target), "%s", target);
	r = vplace_look(&place, &m);
	if (r <= 0)
		return r;
	return m.devno == devno && m.whole ? 1 : -EEXIST;
}

/* ---- the way there ---- */

/* A directory in which nobody but root can put something else in our way. */
static int check_directory(int fd, const char *target, int upto, struct vwhy *why)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return vwhy_set(why, -ELOOP, "%.*s is a symbolic link", upto, target);
	if (!S_ISDIR(st.st_mode))
		return vwhy_set(why, -ENOTDIR, "%.*s is no directory", upto, target);
	if (st.st_uid != 0 || (st.st_mode & 022))
		return vwhy_set(why, -EPERM, "others than root may write to %.*s", upto, target);
	return 0;
}

/* Steps from @fd into the directory @name, which is made when it is missing. */
static int step_into(int *fd, const char *name, bool last, const char *target, int upto,
	struct vwhy *why)
{
	int next;

	if (mkdirat(*fd, name, last ? 0700 : 0755) == 0) {
		if (!last && fchmodat(*fd, name, 0755, 0) < 0) /* whatever the umask says */
			return -errno;
	} else if (errno != EEXIST) {
		return vwhy_set(why, -errno, "cannot make %.*s: %s", upto, target, strerror(errno));
	}
	next = openat(*fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (next < 0)
		return vwhy_set(why, -errno, "cannot open %.*s: %s", upto, target, strerror(errno));
	close(*fd);
	*fd = next;
	return check_directory(*fd, target, upto, why);
}

static int walk(const char *target, struct vwhy *why, int *ret_fd)
{
	_cleanup_close_ int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	const char *end;
	int r = fd < 0 ? -errno : 0;

	for (const char *p = target; r == 0 && *p; p = end) {
		char name[NAME_MAX + 1];

		p++;
		end = strchrnul(p, '/');
		snprintf(name, sizeof(name), "%.*s", (int)(end - p), p);
		r = step_into(&fd, name, !*end, target, (int)(end - target), why);
	}
	if (r == 0)
		*ret_fd = TAKE_FD(fd);
	return r;
}

/* ---- the mount ---- */

static int check_source(const char *mount_root, const char *name, dev_t devno, struct vplace *ret,
	struct vwhy *why)
{
	struct vplace_mount m;
	int r = vplace_init(ret, mount_root, name, why);

	if (r < 0)
		return r;
	r = vplace_look(ret, &m);
	if (r < 0)
		return r;
	if (r == 0)
		return vwhy_set(why, -ENOENT, "nothing is mounted at %s", ret->target);
	if (m.devno != devno || !m.whole)
		return vwhy_set(why, -ESTALE, "another device is mounted at %s", ret->target);
	return 0;
}

static int attach(const struct vplace *source, int dir, const char *target, dev_t devno,
	struct vwhy *why)
{
	_cleanup_close_ int tree = open_tree(AT_FDCWD, source->target,
		OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);

	if (tree < 0)
		return vwhy_set(why, -errno, "cannot bind %s: %s", source->target, strerror(errno));
	if (move_mount(tree, "", dir, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return vwhy_set(why, -errno, "cannot mount at %s: %s", target, strerror(errno));
	if (vbind_look(target, devno) == 1)
		return 0;
	/* The source was unmounted, and another mounted there, meanwhile. */
	(void)umount2(target, UMOUNT_NOFOLLOW | MNT_DETACH);
	return vwhy_set(why, -ESTALE, "another device is mounted at %s", source->target);
}

int vbind_make(const char *mount_root, const char *name, dev_t devno, const char *target, char *why,
	size_t size)
{
	struct vwhy w = { why, size };
	_cleanup_close_ int dir = -EBADF;
	struct vplace source, place;
	int r;

	r = vbind_check(mount_root, target, why, size);
	if (r < 0)
		return r;
	r = check_source(mount_root, name, devno, &source, &w);
	if (r < 0)
		return r;
	r = vbind_look(target, devno);
	if (r == 1)
		return 0;
	if (r < 0)
		return vwhy_set(&w, r, "%s %s", r == -EEXIST ? "something else is mounted at" :
			"cannot look what is mounted at", target);
	r = walk(target, &w, &dir);
	if (r < 0)
		return r;
	snprintf(place.target, sizeof(place.target), "%s", target);
	r = vplace_make(&place, &w);
	return r < 0 ? r : attach(&source, dir, target, devno, &w);
}

int vbind_remove(const char *target, dev_t devno, bool lazily)
{
	struct vplace place;
	int r = vbind_look(target, devno);

	if (r < 0)
		return r;
	if (r == 1 && umount2(target, UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0)) < 0)
		return -errno;
	snprintf(place.target, sizeof(place.target), "%s", target);
	vplace_remove(&place);
	return 0;
}
