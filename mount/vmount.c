/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "vdevice.h"
#include "vmount.h"
#include "vmountinfo.h"
#include "vplace.h"
#include "vprobe.h"
#include "vrun.h"

#define FSCK_LIMIT_S 3600
#define UNMOUNT_ROUNDS 16 /* stacked mounts of one device at one place */

DEFINE_CLEANUP(struct libmnt_context *, mnt_free_context);

/* The place holds what was meant: 1; it holds nothing: 0; anything else is an error. */
static int compare(const struct vplace *place, const struct vmount_request *rq, struct vwhy *why)
{
	struct vplace_mount m;
	int r;

	r = vplace_look(place, &m);
	if (r <= 0)
		return r;
	if (m.devno != rq->devno)
		return vwhy_set(why, -EEXIST,
			"%s already holds another mount: %s (%s, device %u:%u)", place->target,
			m.source, m.fstype, major(m.devno), minor(m.devno));
	if (!m.whole || !STREQ(m.fstype, fs_kind_name(rq->fs)))
		return vwhy_set(why, -EEXIST, "%s holds %s mounted in another way (%s%s)",
			place->target, m.source, m.fstype, m.whole ? "" : ", a part of it");
	if (m.read_only)
		return vwhy_set(
			why, -EROFS, "%s is mounted read-only at %s", m.source, place->target);
	return 1;
}

/* The kernel's mark in an ext4 superblock that it met an error: "run e2fsck". */
static bool ext4_recorded_errors(int fd)
{
	uint16_t word;

	if (pread(fd, &word, sizeof(word), 1024 + 0x3a) != sizeof(word))
		return false;
	return le16toh(word) & 0x0002;
}

/* Nobody else uses the device and it holds what is meant. Returns 1 when e2fsck is due. */
static int look(const struct vmount_request *rq, int fd, struct vwhy *why)
{
	_cleanup_close_ int excl = -EBADF;
	struct vprobe_result found;
	int r;

	r = vdevice_open_exclusive(fd, why, &excl);
	if (r < 0)
		return r;
	r = vprobe_device(excl, &found);
	if (r < 0)
		return vwhy_set(why, r, "cannot read %s to see what is on it: %s", rq->device,
			strerror(-r));
	if (!vprobe_matches(&found, rq->fs, rq->fs_uuid))
		return vwhy_set(why, -EUCLEAN, "%s holds %s%s%s and not the %s filesystem %s",
			rq->device, found.what, found.has_uuid ? " " : "",
			found.has_uuid ? ID128_STR(found.fs_uuid) : "", fs_kind_name(rq->fs),
			ID128_STR(rq->fs_uuid));
	return rq->fs == FS_EXT4 && ext4_recorded_errors(excl);
}

/*
 * The kernel replays the journal, and keeps it unless all of that reached the disk. e2fsck would drop it
 * with the write errors of a full or failing backend, and with it what had been fsynced.
 */
static int replay(const struct vmount_request *rq, struct vwhy *why)
{
	_cleanup_close_ int ctx = fsopen(fs_kind_name(rq->fs), FSOPEN_CLOEXEC);

	if (ctx < 0 || fsconfig(ctx, FSCONFIG_SET_STRING, "source", rq->device, 0) < 0 ||
		fsconfig(ctx, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0)
		return vwhy_set(why, -errno, "this kernel cannot mount %s: %s",
			fs_kind_name(rq->fs), strerror(errno));
	/* The superblock is enough; it goes with the descriptor. */
	if (fsconfig(ctx, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0 &&
		(errno == EIO || errno == ENOSPC))
		return vwhy_set(why, -errno, "cannot replay the journal on %s: %s", rq->device,
			strerror(errno));
	return 0; /* anything else is for e2fsck to judge */
}

/* Repairs that lose nothing. e2fsck takes the device exclusively by itself. */
static int preen(const struct vmount_request *rq, struct vwhy *why)
{
	const char *const argv[] = { "e2fsck", "-p", rq->device, NULL };
	unsigned int limit_s = rq->limit_s > 0 ? rq->limit_s : FSCK_LIMIT_S;
	struct vrun_result ran;
	int r;

	r = vrun(argv, -1, limit_s, &ran);
	if (r == -ENOENT)
		return vwhy_set(why, r,
			"%s needs e2fsck, which is not installed, or not in PATH "
			"(Debian package e2fsprogs)",
			rq->device);
	if (r == -ETIMEDOUT)
		return vwhy_set(why, r, "e2fsck of %s did not end within %u s and was killed",
			rq->device, limit_s);
	if (r < 0)
		return vwhy_set(why, r, "cannot run e2fsck: %s", strerror(-r));
	if (ran.status > 3) /* 1: errors corrected; 2: a reboot is advised, for mounted ones */
		return vwhy_set(why, -EUCLEAN,
			"the filesystem on %s is damaged, and e2fsck -p does not "
			"mend it (exit status %d): %s",
			rq->device, ran.status, ran.said);
	return 0;
}

static int mount_context(const struct vmount_request *rq, const struct vplace *place,
	const char *options, struct libmnt_context **ret)
{
	_cleanup_(mnt_free_contextp) struct libmnt_context *cxt = NULL;
	int r;

	cxt = mnt_new_context();
	if (!cxt)
		return -ENOMEM;
	/* libmount quietly retries read-only when a device is write-protected; it reads fstab,
	 * writes utab, runs helpers and resolves paths. None of that has a place here. */
	r = mnt_context_enable_rwonly_mount(cxt, 1);
	if (r == 0)
		r = mnt_context_set_optsmode(cxt, MNT_OMODE_NOTAB);
	if (r == 0)
		r = mnt_context_disable_mtab(cxt, 1);
	if (r == 0)
		r = mnt_context_disable_helpers(cxt, 1);
	if (r == 0)
		r = mnt_context_disable_canonicalize(cxt, 1);
	if (r == 0)
		r = mnt_context_set_source(cxt, rq->device);
	if (r == 0)
		r = mnt_context_set_target(cxt, place->target);
	if (r == 0)
		r = mnt_context_set_fstype(cxt, fs_kind_name(rq->fs));
	if (r == 0)
		r = mnt_context_set_options(cxt, options);
	if (r < 0)
		return r;

	*ret = TAKE_PTR(cxt);
	return 0;
}

static int mount_once(const struct vmount_request *rq, const struct vplace *place,
	const char *options, struct vwhy *why)
{
	_cleanup_(mnt_free_contextp) struct libmnt_context *cxt = NULL;
	int r;

	r = mount_context(rq, place, options, &cxt);
	if (r < 0)
		return r;
	r = mnt_context_mount(cxt);
	if (r == 0)
		return 0;
	if (!mnt_context_syscall_called(cxt))
		return vwhy_set(
			why, -EINVAL, "cannot mount %s with the options '%s'", rq->device, options);

	r = -mnt_context_get_syscall_errno(cxt);
	/* So Linux 6.1 calls a btrfs that it cannot read. The default options are not its
	 * business. */
	if (r == -EINVAL && rq->fs == FS_BTRFS && !(rq->options && rq->options[0]))
		return vwhy_set(why, -EIO,
			"cannot mount %s as btrfs: it is damaged, or cannot be read; "
			"the kernel's log says why",
			rq->device);
	if (r == -EACCES || r == -EROFS)
		return vwhy_set(
			why, -EROFS, "%s is write-protected, so it is not mounted", rq->device);
	if (r == -EINVAL)
		return vwhy_set(why, r,
			"the kernel refuses to mount %s as %s with the options '%s'; "
			"its log says why",
			rq->device, fs_kind_name(rq->fs), options);
	return vwhy_set(why, r < 0 ? r : -EIO, "cannot mount %s as %s: %s", rq->device,
		fs_kind_name(rq->fs), strerror(r < 0 ? -r : EIO));
}

static bool means_damaged(int r)
{
	return r == -EUCLEAN || r == -EBADMSG;
}

static int mount_and_mend(const struct vmount_request *rq, const struct vplace *place,
	const char *options, bool preen_first, struct vwhy *why)
{
	int r;

	if (preen_first) {
		r = replay(rq, why);
		if (r == 0)
			r = preen(rq, why);
		if (r < 0)
			return r;
	}
	r = mount_once(rq, place, options, why);
	if (rq->fs == FS_EXT4 && means_damaged(r) && !preen_first) {
		r = preen(rq, why);
		if (r < 0)
			return r;
		r = mount_once(rq, place, options, why);
	}
	return means_damaged(r) ? -EUCLEAN : r;
}

/* What the kernel mounted is what was meant, or it goes at once. */
static int confirm(
	const struct vmount_request *rq, const struct vplace *place, int fd, struct vwhy *why)
{
	int r;

	r = compare(place, rq, why);
	if (r == 0)
		r = vwhy_set(why, -ESTALE, "the mount at %s vanished at once", place->target);
	else if (r > 0)
		r = vdevice_check_diskseq(fd, rq->diskseq, why);
	if (r < 0)
		umount2(place->target, UMOUNT_NOFOLLOW);
	return r;
}

static int check_request(const struct vmount_request *rq, struct vwhy *why)
{
	if ((unsigned int)rq->fs >= FS_KIND_MAX || id128_is_nil(rq->fs_uuid) || !rq->device)
		return vwhy_set(why, -EINVAL, "incomplete order: no device, filesystem or fs_uuid");
	return rq->options ? vmount_options_check(rq->options, why->buf, why->size) : 0;
}

static int mount_at(
	const struct vmount_request *rq, const struct vplace *place, int fd, struct vwhy *why)
{
	_cleanup_free_ char *options = NULL;
	int r;

	r = look(rq, fd, why);
	if (r < 0)
		return r;
	if (asprintf(&options, "%s%s%s", VMOUNT_DEFAULT_OPTIONS,
		    rq->options && rq->options[0] ? "," : "", rq->options ?: "") < 0) {
		options = NULL;
		return -ENOMEM;
	}
	r = mount_and_mend(rq, place, options, r > 0, why);
	if (r < 0)
		return r;
	return confirm(rq, place, fd, why);
}

int vmount_mount(const struct vmount_request *rq, char *why_buf, size_t size)
{
	struct vwhy why = { why_buf, size };
	_cleanup_close_ int fd = -EBADF;
	struct vplace place;
	int r;

	r = check_request(rq, &why);
	if (r < 0)
		return r;
	r = vplace_make_root(rq->mount_root, &why);
	if (r < 0)
		return r;
	r = vplace_init(&place, rq->mount_root, rq->name, &why);
	if (r < 0)
		return r;
	r = vdevice_open(rq->device, rq->devno, rq->diskseq, &why, &fd);
	if (r < 0)
		return r;
	r = compare(&place, rq, &why);
	if (r != 0)
		return MIN(r, 0);

	r = vplace_make(&place, &why);
	if (r < 0)
		return r;
	r = mount_at(rq, &place, fd, &why);
	if (r < 0)
		vplace_remove(&place); /* nobody is to write there, believing it is the dataset */
	return r;
}

/* One mount of the device at the place is gone: 1; none is there: 0. */
static int unmount_once(const struct vplace *place, dev_t devno, struct vwhy *why)
{
	struct vplace_mount m;
	int r;

	r = vplace_look(place, &m);
	if (r <= 0)
		return r;
	/* A btrfs whose device vanished has no number any more; here it can only be ours. */
	if (m.devno != devno && m.devno != 0)
		return vwhy_set(why, -EEXIST,
			"%s holds another mount, left alone: %s (%s, device %u:%u)", place->target,
			m.source, m.fstype, major(m.devno), minor(m.devno));
	if (umount2(place->target, UMOUNT_NOFOLLOW) == 0)
		return 1;
	if (errno == EBUSY)
		return vwhy_set(why, -EBUSY, "%s is in use", place->target);
	return vwhy_set(why, -errno, "cannot unmount %s: %s", place->target, strerror(errno));
}

int vmount_unmount(
	const char *mount_root, const char *name, dev_t devno, char *why_buf, size_t size)
{
	struct vwhy why = { why_buf, size };
	struct vplace place;
	bool root_missing;
	int r;

	r = vplace_init(&place, mount_root, name, &why);
	root_missing = r == -ENOENT;
	if (r < 0 && !root_missing)
		return r;
	for (int round = 0; !root_missing && round < UNMOUNT_ROUNDS; round++) {
		r = unmount_once(&place, devno, &why);
		if (r < 0)
			return r;
		if (r == 0)
			break;
	}

	/* umount(2) returns 0 while a copy of the mount lives on elsewhere. */
	if (devno != 0 && vdevice_is_free(devno) == -EBUSY)
		return vwhy_set(&why, -EBUSY,
			"%s/%s is not mounted here any more, but its device %u:%u is "
			"still in use: through another mount or mount namespace, or by a program",
			mount_root, name, major(devno), minor(devno));
	if (!root_missing)
		vplace_remove(&place);
	return 0;
}

static void fill_entry(struct libmnt_fs *fs, const char *name, struct vmount_entry *e)
{
	*e = (struct vmount_entry){
		.devno = vmountinfo_devno(fs),
		.read_only = vmountinfo_read_only(fs),
	};
	snprintf(e->name, sizeof(e->name), "%s", name);
	snprintf(e->fstype, sizeof(e->fstype), "%s", mnt_fs_get_fstype(fs) ?: "?");
	snprintf(e->options, sizeof(e->options), "%s,%s", mnt_fs_get_vfs_options(fs) ?: "",
		mnt_fs_get_fs_options(fs) ?: "");
}

int vmount_list(const char *mount_root, struct vmount_entry **ret, size_t *ret_n)
{
	_cleanup_(mnt_unref_tablep) struct libmnt_table *tb = NULL;
	_cleanup_(mnt_free_iterp) struct libmnt_iter *it = NULL;
	_cleanup_free_ struct vmount_entry *list = NULL;
	char prefix[PATH_MAX];
	struct libmnt_fs *fs;
	size_t n = 0, len;
	int r;

	if (!realpath(mount_root, prefix)) {
		if (errno != ENOENT)
			return -errno;
		*ret = NULL;
		*ret_n = 0;
		return 0;
	}
	len = STREQ(prefix, "/") ? 0 : strlen(prefix);
	if (len + 1 >= sizeof(prefix))
		return -ENAMETOOLONG;
	strcpy(prefix + len, "/");

	r = vmountinfo_read("/proc/self/mountinfo", prefix, &tb);
	if (r < 0)
		return r;
	it = mnt_new_iter(MNT_ITER_FORWARD);
	if (!it)
		return -ENOMEM;
	list = calloc((size_t)mnt_table_get_nents(tb) + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	while (mnt_table_next_fs(tb, it, &fs) == 0) {
		const char *target = mnt_fs_get_target(fs);

		if (!target || strncmp(target, prefix, len + 1) != 0 ||
			!vplace_name_valid(target + len + 1))
			continue;
		fill_entry(fs, target + len + 1, &list[n++]);
	}

	*ret = n > 0 ? TAKE_PTR(list) : NULL;
	*ret_n = n;
	return 0;
}

int vmount_monitor_fd(void)
{
	int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/* What is mounted at its place; not the disk below. -ENOENT: nothing is. */
static int open_mounted(const char *mount_root, const char *name, int flags)
{
	struct vwhy nobody = { NULL, 0 };
	_cleanup_close_ int fd = -EBADF;
	struct vplace place;
	struct statx st;
	int r;

	r = vplace_init(&place, mount_root, name, &nobody);
	if (r < 0)
		return r;
	fd = open(place.target, flags | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &st) < 0)
		return -errno;
	return st.stx_attributes & STATX_ATTR_MOUNT_ROOT ? TAKE_FD(fd) : -ENOENT;
}

int vmount_thaw(const char *mount_root, const char *name)
{
	_cleanup_close_ int fd = open_mounted(mount_root, name, O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		return fd;
	return ioctl(fd, FITHAW, 0) < 0 && errno != EINVAL ? -errno : 0;
}

int vmount_usage(
	const char *mount_root, const char *name, uint64_t *ret_used, uint64_t *ret_available)
{
	_cleanup_close_ int fd = open_mounted(mount_root, name, O_PATH);
	struct statvfs fs;

	if (fd < 0)
		return fd;
	if (fstatvfs(fd, &fs) < 0)
		return -errno;

	*ret_used = (uint64_t)(fs.f_blocks - fs.f_bfree) * fs.f_frsize;
	*ret_available = (uint64_t)fs.f_bavail * fs.f_frsize;
	return 0;
}
