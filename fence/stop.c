/* SPDX-License-Identifier: Apache-2.0 */
#include "stop.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "loopback_cut.h"

/* The root of the filesystem at its place, when that is on the device; else negative. */
static int open_mounted(int root_fd, const struct fence_target *t)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;

	fd = openat(root_fd, ID128_STR(t->dataset_id),
		O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_dev != t->devno)
		return -ENODEV;
	return TAKE_FD(fd);
}

/*
 * The cut is what stops; what is done to the filesystem besides reaches one mount only, and may
 * fail. It is for the fsyncs under way, which must not be told that what they wrote is kept when it
 * is not: see quiesce.h of ext4. xfs does it right when it is shut down, btrfs in any case.
 */
int fence_stop(int root_fd, struct quiesce *q, const struct fence_target *t)
{
	_cleanup_close_ int fd = -EBADF, mounted = -EBADF;
	int r;

	if (t->devno == 0)
		return 0;
	/* Open from here on, so that the number stays this use of the device. */
	fd = loopback_cut_open(t->devno, t->diskseq);
	if (fd == -ENODEV)
		return 0;
	if (fd < 0)
		return fd;
	mounted = t->fs == FS_BTRFS ? -EBADF : open_mounted(root_fd, t);
	if (mounted >= 0 && t->fs == FS_XFS)
		quiesce_shut_down(mounted);
	if (mounted >= 0 && t->fs == FS_EXT4)
		quiesce_begin(q, TAKE_FD(mounted));
	r = loopback_cut(fd);
	quiesce_end(q);
	return r;
}
