/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only code that runs mkfs. None of the programs is given its "force" option, so that each takes
 * the device exclusively or looks for signatures once more by itself. Not both: mkfs.ext4 looks for
 * none when it has no terminal, so what our own look says is all that protects old data.
 *
 * While mkfs runs it holds a record lock on the device node, inherited from us. mkfs.btrfs does not
 * keep the device open exclusively, so after a crash of the daemon only this lock tells that it is
 * still at work. It is no flock(2): newer versions of mkfs.xfs take that themselves.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include "vdevice.h"
#include "vformat.h"
#include "vprobe.h"
#include "vrun.h"
#include "vsettle.h"

#define ARGS_MAX 10

/* UUID and DEVICE stand for those of the request. */
#define UUID "\001"
#define XFS_UUID "\002"
#define DEVICE "\003"

/* No discards: they cost time and prove nothing. */
static const struct {
	const char *package;
	const char *make[ARGS_MAX];
	const char *check[ARGS_MAX]; /* reads only; exit status 0: clean */
} programs[FS_KIND_MAX] = {
	/* clang-format off */
	[FS_EXT4]  = { "e2fsprogs",
		{ "mkfs.ext4", "-q", "-E", "nodiscard", "-U", UUID, DEVICE },
		{ "e2fsck", "-f", "-n", DEVICE } },
	[FS_XFS]   = { "xfsprogs",
		{ "mkfs.xfs", "-q", "-K", "-m", XFS_UUID, DEVICE },
		{ "xfs_repair", "-n", DEVICE } },
	[FS_BTRFS] = { "btrfs-progs",
		{ "mkfs.btrfs", "-q", "-K", "-U", UUID, DEVICE },
		{ "btrfs", "check", "--readonly", DEVICE } },
	/* clang-format on */
};

static int missing(enum fs_kind fs, const char *program, struct vwhy *why)
{
	return vwhy_set(why, -ENOENT, "%s is not installed, or not in PATH (Debian package %s)",
		program, programs[fs].package);
}

int vformat_available(enum fs_kind fs, char *why_buf, size_t size)
{
	struct vwhy why = { why_buf, size };
	char path[PATH_MAX];

	if (vrun_find(programs[fs].make[0], path, sizeof(path)) < 0)
		return missing(fs, programs[fs].make[0], &why);
	return 0;
}

static int check_request(const struct vformat_request *rq, struct vwhy *why)
{
	if ((unsigned int)rq->fs >= FS_KIND_MAX || id128_is_nil(rq->fs_uuid) || !rq->device)
		return vwhy_set(why, -EINVAL, "incomplete order: no device, filesystem or fs_uuid");
	if (rq->size_bytes > 0 && rq->size_bytes < fs_minimum_size(rq->fs))
		return vwhy_set(why, -EINVAL,
			"%s needs a device of at least %" PRIu64 " MiB; this one has %" PRIu64,
			fs_kind_name(rq->fs), fs_minimum_size(rq->fs) / MIB, rq->size_bytes / MIB);
	return 0;
}

static int check_size(int fd, uint64_t expected, struct vwhy *why)
{
	uint64_t size;

	if (expected == 0)
		return 0;
	if (ioctl(fd, BLKGETSIZE64, &size) < 0)
		return vwhy_set(
			why, -ESTALE, "the device does not tell its size: %s", strerror(errno));
	if (size != expected)
		return vwhy_set(why, -ESTALE,
			"the device has %" PRIu64 " bytes; %" PRIu64 " were meant", size, expected);
	return 0;
}

/* Identifies the device and looks at what is on it, with nobody else using it. */
static int look(const struct vformat_request *rq, struct vprobe_result *ret, struct vwhy *why)
{
	_cleanup_close_ int fd = -EBADF, excl = -EBADF;
	int r;

	r = vdevice_open(rq->device, rq->devno, rq->diskseq, why, &fd);
	if (r < 0)
		return r;
	r = check_size(fd, rq->size_bytes, why);
	if (r < 0)
		return r;
	r = vdevice_open_exclusive(fd, why, &excl);
	if (r < 0)
		return r;
	r = vprobe_device(excl, ret);
	if (r < 0)
		return vwhy_set(why, r, "cannot read %s to see what is on it: %s", rq->device,
			strerror(-r));
	return 0;
}

/* The lock lasts until the returned descriptor and every copy of it are closed. */
static int lock_device(const struct vformat_request *rq, struct vwhy *why, int *ret_fd)
{
	_cleanup_close_ int fd = -EBADF;
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	fd = open(rq->device, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) {
		int r = errno == ENOENT || errno == ENXIO ? -ENODEV : -errno;

		return vwhy_set(why, r == -EACCES ? -EROFS : r, "cannot open %s for writing: %s",
			rq->device, strerror(errno));
	}
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
		if (errno != EAGAIN && errno != EACCES)
			return vwhy_set(
				why, -errno, "cannot lock %s: %s", rq->device, strerror(errno));
		return vwhy_set(why, -EBUSY, "an earlier mkfs still works on %s", rq->device);
	}

	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int run(const struct vformat_request *rq, const char *const template[ARGS_MAX], int keep_fd,
	struct vrun_result *ret, struct vwhy *why)
{
	char uuid[ID128_TEXT], xfs_uuid[ID128_TEXT + 8];
	const char *argv[ARGS_MAX + 1] = { NULL };
	int r;

	id128_format(rq->fs_uuid, uuid);
	snprintf(xfs_uuid, sizeof(xfs_uuid), "uuid=%s", uuid);
	for (int i = 0; i < ARGS_MAX && template[i]; i++) {
		argv[i] = template[i];
		if (STREQ(template[i], UUID))
			argv[i] = uuid;
		else if (STREQ(template[i], XFS_UUID))
			argv[i] = xfs_uuid;
		else if (STREQ(template[i], DEVICE))
			argv[i] = rq->device;
	}

	r = vrun(argv, keep_fd, rq->limit_s, ret);
	if (r == -ENOENT)
		return missing(rq->fs, argv[0], why);
	if (r == -ETIMEDOUT)
		return vwhy_set(
			why, r, "%s did not end within %u s and was killed", argv[0], rq->limit_s);
	if (r < 0)
		return vwhy_set(why, r, "cannot run %s: %s", argv[0], strerror(-r));
	return 0;
}

static int make(const struct vformat_request *rq, int keep_fd, struct vwhy *why)
{
	const char *const *argv = programs[rq->fs].make;
	struct vrun_result ran;
	int r;

	r = run(rq, argv, keep_fd, &ran, why);
	if (r < 0)
		return r;
	if (ran.status != 0)
		return vwhy_set(why, -EIO, "%s failed (exit status %d): %s", argv[0], ran.status,
			ran.said[0] ? ran.said : "it did not say why");
	return 0;
}

int vformat_make(const struct vformat_request *rq, char *why_buf, size_t size)
{
	struct vwhy why = { why_buf, size };
	_cleanup_close_ int lock = -EBADF;
	struct vprobe_result found;
	int r;

	r = check_request(rq, &why);
	if (r < 0)
		return r;
	r = lock_device(rq, &why, &lock);
	if (r < 0)
		return r;
	r = look(rq, &found, &why);
	if (r < 0)
		return r;
	if (found.kind != VPROBE_EMPTY)
		return vwhy_set(&why, -EEXIST,
			"%s is not empty, so it is not formatted: it holds %s", rq->device,
			found.what);
	r = make(rq, lock, &why);
	if (r < 0)
		return r;

	r = look(rq, &found, &why);
	if (r < 0)
		return r;
	if (!vprobe_matches(&found, rq->fs, rq->fs_uuid))
		return vwhy_set(&why, -EIO,
			"after mkfs %s holds %s and not the new %s filesystem %s", rq->device,
			found.what, fs_kind_name(rq->fs), ID128_STR(rq->fs_uuid));
	return vsettle(rq->device, rq->fs, &why);
}

/* The errnos by which a kernel says that it read the disk well and found nonsense. */
static bool means_damaged(int r)
{
	return r == -EUCLEAN || r == -EBADMSG || r == -EINVAL;
}

static int check(const struct vformat_request *rq, struct vwhy *why)
{
	const char *const *argv = programs[rq->fs].check;
	struct vrun_result ran;
	int r;

	r = run(rq, argv, -1, &ran, why);
	if (r < 0)
		return r;
	if (ran.status != 0)
		return vwhy_set(why, -EUCLEAN,
			"%s finds the filesystem incomplete (exit status %d): %s", argv[0],
			ran.status, ran.said);
	return 0;
}

int vformat_verify(const struct vformat_request *rq, char *why_buf, size_t size)
{
	struct vwhy why = { why_buf, size };
	_cleanup_close_ int lock = -EBADF;
	struct vprobe_result found;
	int settled, r;

	r = check_request(rq, &why);
	if (r < 0)
		return r;
	r = lock_device(rq, &why, &lock);
	if (r < 0)
		return r;
	r = look(rq, &found, &why);
	if (r < 0)
		return r;
	if (!vprobe_matches(&found, rq->fs, rq->fs_uuid))
		return vwhy_set(&why, -EUCLEAN, "the format was interrupted: %s holds %s",
			rq->device, found.what);

	settled = vsettle(rq->device, rq->fs, &why);
	if (means_damaged(settled))
		return -EUCLEAN;
	if (settled < 0 && settled != -EIO)
		return settled;
	/* The kernel mounts much that is not whole: after a power cut the superblock may be on the
	 * disk and what it speaks of not. And btrfs says EIO when it reads well, but nonsense. */
	r = check(rq, &why);
	return r < 0 ? r : settled;
}
