/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "vmountinfo.h"
#include "vplace.h"

DEFINE_CLEANUP(DIR *, closedir);

bool vplace_name_valid(const char *name)
{
	return name[0] && !STREQ(name, ".") && !STREQ(name, "..") && !strchr(name, '/') &&
	       strlen(name) <= NAME_MAX;
}

int vplace_init(struct vplace *p, const char *mount_root, const char *name, struct vwhy *why)
{
	char root[PATH_MAX];

	if (!vplace_name_valid(name))
		return vwhy_set(why, -EINVAL, "'%s' is no name for a directory", name);
	if (mount_root[0] != '/')
		return vwhy_set(
			why, -EINVAL, "the mount root '%s' is not an absolute path", mount_root);
	if (!realpath(mount_root, root))
		return vwhy_set(why, -errno, "cannot use the mount root %s: %s", mount_root,
			strerror(errno));
	if ((size_t)snprintf(p->target, sizeof(p->target), "%s/%s", STREQ(root, "/") ? "" : root,
		    name) >= sizeof(p->target))
		return -ENAMETOOLONG;
	return 0;
}

/* Most places hold no mount, and with a thousand mounts their table takes milliseconds to read. */
static bool surely_no_mount(const char *target)
{
	struct statx st;

	if (statx(AT_FDCWD, target, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC,
		    STATX_TYPE, &st) < 0)
		return errno == ENOENT;
	return (st.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) &&
	       !(st.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

int vplace_look(const struct vplace *p, struct vplace_mount *ret)
{
	_cleanup_(mnt_unref_tablep) struct libmnt_table *tb = NULL;
	struct vplace_mount m = { 0 };
	struct libmnt_fs *fs;
	const char *root;
	int r;

	if (surely_no_mount(p->target))
		return 0;
	r = vmountinfo_read("/proc/self/mountinfo", p->target, &tb);
	if (r < 0)
		return r;
	/* Backwards: the last line is the one on top. The path is canonical, so a plain comparison
	 * does, and libmount has no reason to look at the filesystem. */
	fs = mnt_table_find_target(tb, p->target, MNT_ITER_BACKWARD);
	if (!fs)
		return 0;

	root = mnt_fs_get_root(fs);
	m.devno = vmountinfo_devno(fs);
	m.whole = root && STREQ(root, "/");
	m.read_only = vmountinfo_read_only(fs);
	snprintf(m.fstype, sizeof(m.fstype), "%s", mnt_fs_get_fstype(fs) ?: "?");
	snprintf(m.source, sizeof(m.source), "%s", mnt_fs_get_source(fs) ?: "?");
	*ret = m;
	return 1;
}

int vplace_make_root(const char *mount_root, struct vwhy *why)
{
	if (mkdir(mount_root, 0700) < 0 && errno != EEXIST)
		return vwhy_set(why, -errno, "cannot make the mount root %s: %s", mount_root,
			strerror(errno));
	return 0;
}

int vplace_make(const struct vplace *p, struct vwhy *why)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	struct dirent *de;
	int fd;

	if (mkdir(p->target, 0700) == 0)
		return 0;
	if (errno != EEXIST)
		return vwhy_set(why, -errno, "cannot make %s: %s", p->target, strerror(errno));

	fd = open(p->target, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return vwhy_set(why, -ENOTDIR, "%s is not a directory to mount on", p->target);
	dir = fdopendir(fd);
	if (!dir) {
		int r = -errno;

		close(fd);
		return r;
	}
	while ((errno = 0, de = readdir(dir)))
		if (!STREQ(de->d_name, ".") && !STREQ(de->d_name, ".."))
			return vwhy_set(why, -ENOTEMPTY,
				"%s is not empty, and mounting there would hide '%s': move it away",
				p->target, de->d_name);
	return -errno;
}

void vplace_remove(const struct vplace *p)
{
	rmdir(p->target);
}
