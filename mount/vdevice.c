/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "vdevice.h"

/* Device nodes never make us wait for a medium, or become anybody's controlling terminal. */
#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

static int open_error(const char *path, int err, struct vwhy *why)
{
	switch (err) {
	case ENOENT:
	case ENXIO:
	case ENODEV:
		return vwhy_set(why, -ENODEV, "there is no device %s (any more)", path);
	default:
		return vwhy_set(why, -err, "cannot open %s: %s", path, strerror(err));
	}
}

int vdevice_check_diskseq(int fd, uint64_t diskseq, struct vwhy *why)
{
	uint64_t found;

	if (diskseq == 0)
		return 0;
	if (ioctl(fd, BLKGETDISKSEQ, &found) < 0)
		return vwhy_set(why, -ESTALE, "the device no longer says which disk it is: %s",
			strerror(errno));
	if (found != diskseq)
		return vwhy_set(why, -ESTALE,
			"the device is disk number %" PRIu64 " now; %" PRIu64 " was meant", found,
			diskseq);
	return 0;
}

int vdevice_open(const char *path, dev_t devno, uint64_t diskseq, struct vwhy *why, int *ret_fd)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;
	int r;

	fd = open(path, OPEN_FLAGS);
	if (fd < 0)
		return open_error(path, errno, why);
	if (fstat(fd, &st) < 0)
		return open_error(path, errno, why);
	if (!S_ISBLK(st.st_mode))
		return vwhy_set(why, -ESTALE, "%s is not a block device", path);
	if (st.st_rdev != devno)
		return vwhy_set(why, -ESTALE, "%s is device %u:%u now; %u:%u was meant", path,
			major(st.st_rdev), minor(st.st_rdev), major(devno), minor(devno));
	r = vdevice_check_diskseq(fd, diskseq, why);
	if (r < 0)
		return r;

	*ret_fd = TAKE_FD(fd);
	return 0;
}

int vdevice_open_exclusive(int fd, struct vwhy *why, int *ret_fd)
{
	char path[48];
	int excl;

	/* Through the open descriptor: a path could lead to another device by now. A worker has a
	 * table of descriptors of its own, which /proc/self does not show. */
	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", fd);
	excl = open(path, OPEN_FLAGS | O_EXCL);
	if (excl < 0 && errno == EBUSY)
		return vwhy_set(why, -EBUSY,
			"the device is in use: mounted in some mount namespace, mapped, "
			"or opened exclusively by a program");
	if (excl < 0)
		return open_error("the device", errno, why);

	*ret_fd = excl;
	return 0;
}

/* The kernel's own name for the node, which does not depend on udev's links. */
static int device_node(dev_t devno, char *buf, size_t size)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64], line[128];

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/uevent", major(devno), minor(devno));
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "DEVNAME=", 8) != 0)
			continue;
		if ((size_t)snprintf(buf, size, "/dev/%s", line + 8) >= size)
			return -ENAMETOOLONG;
		return 0;
	}
	return -ENODEV;
}

int vdevice_is_free(dev_t devno)
{
	_cleanup_close_ int fd = -EBADF, excl = -EBADF;
	struct vwhy nobody = { NULL, 0 };
	char path[160];
	int r;

	r = device_node(devno, path, sizeof(path));
	if (r == -ENOENT || r == -ENODEV)
		return 0; /* a device that is gone has no users who could write to it */
	if (r < 0)
		return r;
	r = vdevice_open(path, devno, 0, &nobody, &fd);
	if (r == -ENODEV)
		return 0;
	if (r < 0)
		return r;
	r = vdevice_open_exclusive(fd, &nobody, &excl);
	return r == -ENODEV ? 0 : r;
}
