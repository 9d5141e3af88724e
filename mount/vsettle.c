/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "vsettle.h"

/* The kernel's own words about a failed fsopen context: lines such as "e ext4: bad superblock". */
static int kernel_error(int ctx, int err, const char *step, struct vwhy *why)
{
	char line[200];
	ssize_t n;

	n = read(ctx, line, sizeof(line) - 1);
	line[n > 0 ? n : 0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return vwhy_set(why, -err, "cannot mount the fresh filesystem (%s): %s%s%s", step,
		strerror(err), n > 2 ? ": " : "", n > 2 ? line + 2 : "");
}

/* A mount that is attached nowhere. */
static int detached_mount(const char *device, enum fs_kind fs, struct vwhy *why, int *ret_fd)
{
	_cleanup_close_ int ctx = -EBADF;
	int fd;

	ctx = fsopen(fs_kind_name(fs), FSOPEN_CLOEXEC);
	if (ctx < 0)
		return vwhy_set(why, -errno, "this kernel cannot mount %s: %s", fs_kind_name(fs),
			strerror(errno));
	if (fsconfig(ctx, FSCONFIG_SET_STRING, "source", device, 0) < 0)
		return kernel_error(ctx, errno, "source", why);
	if (fsconfig(ctx, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return kernel_error(ctx, errno == EACCES ? EROFS : errno, "superblock", why);
	fd = fsmount(
		ctx, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (fd < 0)
		return kernel_error(ctx, errno, "mount", why);

	*ret_fd = fd;
	return 0;
}

static int settle_root(int root)
{
	/* Only ever rmdir: what fsck may have saved there is somebody's data. */
	if (unlinkat(root, "lost+found", AT_REMOVEDIR) < 0 && errno != ENOENT &&
		errno != ENOTEMPTY && errno != ENOTDIR)
		return -errno;
	if (fchmod(root, 0777) < 0)
		return -errno;
	if (syncfs(root) < 0)
		return -errno;
	return 0;
}

int vsettle(const char *device, enum fs_kind fs, struct vwhy *why)
{
	_cleanup_close_ int mount = -EBADF, root = -EBADF;
	struct statvfs st;
	int r;

	r = detached_mount(device, fs, why, &mount);
	if (r < 0)
		return r;
	root = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return vwhy_set(
			why, -errno, "cannot open the fresh filesystem: %s", strerror(errno));
	if (fstatvfs(root, &st) < 0)
		return -errno;
	if (st.f_flag & ST_RDONLY)
		return vwhy_set(why, -EROFS, "the fresh filesystem is read-only");

	r = settle_root(root);
	if (r < 0)
		return vwhy_set(why, r,
			"cannot settle the root directory of the fresh filesystem: %s",
			strerror(-r));
	return 0;
}
