/* SPDX-License-Identifier: Apache-2.0 */
#include "vgrow.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "vdevice.h"
#include "vplace.h"

/* These two are not in the kernel's headers for programs. */
#define EXT4_RESIZE _IOW('f', 16, uint64_t)

struct xfs_geometry {
	uint32_t block_size, rt_extent_size, ag_blocks, ag_count, log_blocks, sector_size, inode_size,
		inode_percent;
	uint64_t data_blocks, rt_blocks, rt_extents, log_start;
	uint8_t uuid[16];
	uint32_t stripe_unit, stripe_width;
	int32_t version;
	uint32_t flags, log_sector_size, rt_sector_size, dir_block_size;
};
static_assert(sizeof(struct xfs_geometry) == 112, "as the kernel has it");

struct xfs_growth {
	uint64_t blocks;
	uint32_t inode_percent;
};

#define XFS_GEOMETRY _IOR('X', 100, struct xfs_geometry)
#define XFS_GROW _IOW('X', 110, struct xfs_growth)

/* The words for what these ioctls say; what they did not do is not done by half. */
static int refused(const char *fs, int err, struct vwhy *why)
{
	switch (err) {
	case EBUSY:
		return vwhy_set(why, -EBUSY, "somebody else resizes the %s at this moment", fs);
	case EPERM:
		return vwhy_set(why, -EPERM,
			"the kernel does not let this %s be resized: it had errors, and has to be unmounted "
			"and checked first, or this process may not (CAP_SYS_RESOURCE)", fs);
	case EOPNOTSUPP:
	case EINVAL:
	case EFBIG:
		return vwhy_set(why, -ENOTSUP,
			"the kernel cannot resize this %s to fill its device; its log says why", fs);
	default:
		return vwhy_set(why, -err, "cannot resize the %s: %s", fs, strerror(err));
	}
}

static int grow_ext4(int fd, uint64_t size_bytes, struct vwhy *why)
{
	struct statfs fs;
	uint64_t blocks;

	if (fstatfs(fd, &fs) < 0)
		return -errno;
	blocks = size_bytes / (uint64_t)fs.f_bsize;
	return ioctl(fd, EXT4_RESIZE, &blocks) < 0 ? refused("ext4", errno, why) : 0;
}

static int grow_xfs(int fd, uint64_t size_bytes, struct vwhy *why)
{
	struct xfs_geometry now;
	struct xfs_growth to;

	if (ioctl(fd, XFS_GEOMETRY, &now) < 0)
		return refused("xfs", errno, why);
	to = (struct xfs_growth){ size_bytes / now.block_size, now.inode_percent };
	if (to.blocks <= now.data_blocks)
		return 0;
	return ioctl(fd, XFS_GROW, &to) < 0 ? refused("xfs", errno, why) : 0;
}

static int grow_btrfs(int fd, uint64_t size_bytes, struct vwhy *why)
{
	struct btrfs_ioctl_fs_info_args info = { 0 };
	struct btrfs_ioctl_dev_info_args device = { 0 };
	struct btrfs_ioctl_vol_args to = { 0 };
	int r;

	if (ioctl(fd, BTRFS_IOC_FS_INFO, &info) < 0)
		return refused("btrfs", errno, why);
	if (info.num_devices != 1)
		return vwhy_set(why, -ENOTSUP,
			"the btrfs has %" PRIu64 " devices, and only one of them is the dataset's",
			(uint64_t)info.num_devices);
	device.devid = info.max_id;
	if (ioctl(fd, BTRFS_IOC_DEV_INFO, &device) < 0)
		return refused("btrfs", errno, why);
	if (size_bytes - size_bytes % info.sectorsize <= device.total_bytes)
		return 0;
	if (size_bytes < fs_minimum_grown(FS_BTRFS))
		return vwhy_set(why, -EINVAL, "btrfs cannot be resized to less than %" PRIu64 " MiB",
			fs_minimum_grown(FS_BTRFS) / MIB);
	snprintf(to.name, sizeof(to.name), "%" PRIu64 ":%" PRIu64, (uint64_t)info.max_id, size_bytes);
	r = ioctl(fd, BTRFS_IOC_RESIZE, &to);
	/* Above 0 is btrfs's own word: another such operation runs. */
	return r == 0 ? 0 : refused("btrfs", r > 0 ? EBUSY : errno, why);
}

/* What is mounted there, if it is the filesystem that was meant: a descriptor of its root. */
static int open_place(const struct vgrow_request *rq, struct vwhy *why)
{
	_cleanup_close_ int fd = -EBADF;
	struct vplace place;
	struct vplace_mount m;
	int r;

	r = vplace_init(&place, rq->mount_root, rq->name, why);
	if (r < 0)
		return r;
	fd = open(place.target, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return vwhy_set(why, -errno, "cannot open %s: %s", place.target, strerror(errno));
	r = vplace_look(&place, &m);
	if (r <= 0)
		return r < 0 ? r : vwhy_set(why, -ENOENT, "nothing is mounted at %s", place.target);
	if (m.devno != rq->devno || !m.whole || !STREQ(m.fstype, fs_kind_name(rq->fs)))
		return vwhy_set(why, -EEXIST, "%s holds another mount: %s (%s, device %u:%u)",
			place.target, m.source, m.fstype, major(m.devno), minor(m.devno));
	if (m.read_only)
		return vwhy_set(why, -EROFS, "%s is mounted read-only", place.target);
	return TAKE_FD(fd);
}

int vgrow(const struct vgrow_request *rq, char *why_buf, size_t size)
{
	static int (*const grow[])(int fd, uint64_t size_bytes, struct vwhy *why) = {
		[FS_EXT4] = grow_ext4,
		[FS_XFS] = grow_xfs,
		[FS_BTRFS] = grow_btrfs,
	};
	static_assert(ARRAY_SIZE(grow) == FS_KIND_MAX, "a filesystem cannot grow");
	_cleanup_close_ int device_fd = -EBADF, fd = -EBADF;
	struct vwhy why = { why_buf, size };
	uint64_t bytes;
	int r;

	r = vdevice_open(rq->device, rq->devno, rq->diskseq, &why, &device_fd);
	if (r < 0)
		return r;
	if (ioctl(device_fd, BLKGETSIZE64, &bytes) < 0)
		return -errno;
	if (bytes < rq->size_bytes)
		return vwhy_set(&why, -ESTALE, "%s has %" PRIu64 " bytes, and %" PRIu64 " were meant",
			rq->device, bytes, rq->size_bytes);
	fd = open_place(rq, &why);
	return fd < 0 ? fd : grow[rq->fs](fd, bytes, &why);
}
