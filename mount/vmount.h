/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmount.h - put one volume's filesystem where its users expect it, and take it away (libmount).
 * Calls wait for the kernel and the disk, so they belong on a worker, never on the loop; all but
 * vmount_monitor_fd(). No state is kept between calls: the kernel's mount table is the truth.
 */
#pragma once

#include <sys/types.h>

#include "id128.h"
#include "types.h"

#define VMOUNT_DEFAULT_OPTIONS "nosuid,nodev"

struct vmount_request {
	const char *device;	/* path of the device node */
	dev_t devno;		/* what @device must be */
	uint64_t diskseq;	/* the kernel's number of this very disk; 0: not known */
	const char *mount_root; /* absolute; made with mode 0700 when missing, its parent is not */
	const char *name;	/* directory below mount_root */
	enum fs_kind fs;
	struct id128 fs_uuid; /* what must be on it; not nil */
	const char *options; /* added to VMOUNT_DEFAULT_OPTIONS ("suid" undoes "nosuid"); or NULL */
	unsigned int limit_s; /* how long e2fsck may run; 0: an hour */
};

/**
 * vmount_mount() - mount read-write at mount_root/name, or not at all
 * @why: one line for people on failure, cut to @size
 *
 * The device is identified and probed before, and the mount compared with what was meant after;
 * a wrong one is taken down at once. An ext4 that recorded errors (once the kernel has replayed its
 * journal), or that the kernel will not mount as it is, gets one "e2fsck -p" and one more attempt.
 * xfs and btrfs replay their logs while mounting; what that does not mend is for people, since
 * their repair programs may drop data.
 *
 * Returns: 0, also when already mounted there correctly, or
 *  -EUCLEAN   another or no filesystem is on the device, or it is damaged
 *  -EEXIST    something else is mounted at the place
 *  -ENOTEMPTY the directory holds files, which the mount would hide
 *  -EBUSY     the device is in use, here or in another mount namespace
 *  -EROFS     the device or the filesystem takes no writes
 *  -ENODEV    there is no such device (any more)
 *  -ESTALE    @device is another disk than the one meant
 *  -EIO       the device cannot be read or written, or a damaged btrfs: it does not tell which
 *  -ENOENT    e2fsck was needed and is missing, or mount_root has no parent directory
 *  -ETIMEDOUT e2fsck was killed after limit_s
 *  -EINVAL    a bad name, bad options or an incomplete request
 */
int vmount_mount(const struct vmount_request *rq, char *why, size_t size);

/**
 * vmount_unmount() - unmount mount_root/name, never by force and never lazily
 * @devno: only a mount of this device is touched, or one whose device is gone (vmount_list() tells
 *	   0); 0 when there is no device: then only the latter
 *
 * Afterwards no mount namespace has the filesystem any more, and the directory is gone (one that
 * holds files stays, and vmount_mount() will name them). The directory is kept while another
 * namespace has the mount, as removing it would take that mount away from under its users.
 *
 * Returns: 0, also when nothing was mounted, or
 *  -EBUSY  in use here, or unmounted here and still alive through another mount, or namespace
 *  -EEXIST another filesystem is mounted at the place: left alone
 *  -EINVAL a bad name
 */
int vmount_unmount(const char *mount_root, const char *name, dev_t devno, char *why, size_t size);

struct vmount_entry {
	char name[256]; /* directory below the mount root */
	dev_t devno;	/* of the device, for btrfs too; 0 when its source is gone */
	bool read_only; /* the mount or the filesystem */
	char fstype[16];
	char options[256]; /* of the mount and the filesystem, cut */
};

/**
 * vmount_list() - the mounts directly below a mount root, in the order of the mount table
 * @ret: an array, newly allocated; NULL when there are none
 *
 * Whatever is mounted there is listed, also the status tree or a stranger's mount; a name appears
 * once for each filesystem that is stacked on it. Touches no filesystem.
 */
int vmount_list(const char *mount_root, struct vmount_entry **ret, size_t *ret_n);

/*
 * A descriptor on which poll(2) says POLLPRI | POLLERR after each change of the mount table, or
 * negative errno. The caller closes it. Not for reading. Does not block: for the loop thread.
 */
int vmount_monitor_fd(void);

/* Bytes in use and available to users. -ENOENT when nothing is mounted there. */
int vmount_usage(
	const char *mount_root, const char *name, uint64_t *ret_used, uint64_t *ret_available);

/*
 * Ends a freeze (FIFREEZE) that somebody who is gone has left: nothing can be written or unmounted
 * before. 0 also when it is not frozen; -ENOENT when nothing is mounted there. May block.
 */
int vmount_thaw(const char *mount_root, const char *name);

/* 0, or -EINVAL with @why naming the option that a dataset's mount cannot have. Does not block. */
int vmount_options_check(const char *options, char *why, size_t size);
