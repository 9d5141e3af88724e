/* SPDX-License-Identifier: Apache-2.0 */
#include "vtrim.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "vmount.h"

static bool is_mounted(const char *mount_root, const char *name, dev_t devno)
{
	_cleanup_free_ struct vmount_entry *list = NULL;
	bool found = false;
	size_t n;

	if (vmount_list(mount_root, &list, &n) < 0)
		return false;
	for (size_t i = 0; i < n; i++)
		if (STREQ(list[i].name, name))
			found = list[i].devno == devno; /* the last one is on top */
	return found;
}

/* Its root directory, and not that of the filesystem below, which would be trimmed instead. */
static int open_root(const char *mount_root, const char *name)
{
	_cleanup_close_ int dir = open(mount_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -EBADF;
	struct stat below, st;

	if (dir < 0 || fstat(dir, &below) < 0)
		return -errno;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	return st.st_dev == below.st_dev ? -ENOENT : TAKE_FD(fd);
}

int vtrim_slice(const char *mount_root, const char *name, dev_t devno, uint64_t start, uint64_t length,
	uint64_t *ret_bytes)
{
	struct fstrim_range range = { .start = start, .len = length };
	_cleanup_close_ int fd = -EBADF;

	if (!is_mounted(mount_root, name, devno))
		return -ENOENT;
	fd = open_root(mount_root, name);
	if (fd < 0)
		return fd;
	if (ioctl(fd, FITRIM, &range) < 0)
		return errno == EINVAL ? -ERANGE : errno == ENOTTY ? -ENOTSUP : -errno;
	*ret_bytes = range.len;
	return 0;
}
