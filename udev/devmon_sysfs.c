/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devmon_sysfs.c - attributes of block devices, below a prefix so that a record can stand in.
 */
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "devmon.h"
#include "text.h"

#define SECTOR 512 /* the unit of "size", whatever the device's own */

static int read_number(int dir, const char *name, uint64_t *ret)
{
	char buf[32];
	int r;

	r = text_read_line(dir, name, buf, sizeof(buf));
	if (r < 0)
		return r;
	return text_number(buf, 0, UINT64_MAX, ret) < 0 ? -EIO : 0;
}

static int open_disk(const char *sysfs, dev_t devno)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/dev/block/%u:%u", sysfs, major(devno), minor(devno));
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -ENODEV : fd;
}

int devmon_sysfs_disk(const char *sysfs, dev_t devno, struct devmon_disk *ret)
{
	_cleanup_close_ int dir = open_disk(sysfs, devno);
	uint64_t sectors, ro, diskseq = 0;
	int r;

	if (dir < 0)
		return dir;
	r = read_number(dir, "size", &sectors);
	if (r == 0)
		r = read_number(dir, "ro", &ro);
	if (r == 0)
		r = read_number(dir, "diskseq", &diskseq);
	if (r == -ENOENT)
		/* It went while we read, or the kernel has no diskseq. */
		r = faccessat(dir, "size", F_OK, 0) < 0 ? -ENODEV : 0;
	if (r == -ENODEV)
		return r;
	if (r < 0 || sectors > UINT64_MAX / SECTOR)
		return -EIO;

	*ret = (struct devmon_disk){ sectors * SECTOR, diskseq, ro != 0 };
	return 0;
}

int devmon_sysfs_backing(const char *sysfs, dev_t devno, char **ret)
{
	_cleanup_close_ int dir = open_disk(sysfs, devno);
	char path[PATH_MAX + 16];
	char *copy;
	int r;

	if (dir < 0)
		return dir;
	r = text_read_line(dir, "loop/backing_file", path, sizeof(path));
	if (r < 0)
		return r == -ENODEV ? -ENOENT : r;
	if (path[0] == '\0')
		return -ENOENT; /* it lost its image while we looked */
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	*ret = copy;
	return 0;
}
