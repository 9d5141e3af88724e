/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two judges, and "empty" needs both: libblkid knows signatures, and the ends of the device are
 * read for bytes that no signature explains. libblkid's errors end the probe; so does every short
 * read of our own, since a sector that cannot be read may hold anything.
 */
#include <blkid/blkid.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "vprobe.h"

DEFINE_CLEANUP(blkid_probe, blkid_free_probe);

/* What libblkid's words mean to a person; anything else is named by its word alone. */
static const struct {
	const char *type, *what;
} type_names[] = {
	{ "LVM2_member", "an LVM physical volume" },
	{ "LVM1_member", "an LVM physical volume" },
	{ "linux_raid_member", "a member of a Linux RAID" },
	{ "ddf_raid_member", "a member of a RAID" },
	{ "crypto_LUKS", "a LUKS container" },
	{ "BitLocker", "a BitLocker container" },
	{ "swap", "a swap area" },
	{ "swsuspend", "a suspended system's memory" },
	{ "zfs_member", "a member of a ZFS pool" },
	{ "bcache", "a bcache device" },
	{ "gpt", "a GPT partition table" },
	{ "PMBR", "a protective MBR partition table" },
	{ "dos", "an MBR partition table" },
};

static void describe(const char *type, bool filesystem, char *buf, size_t size)
{
	for (size_t i = 0; i < ARRAY_SIZE(type_names); i++) {
		if (!STREQ(type_names[i].type, type))
			continue;
		snprintf(buf, size, "%s (%s)", type_names[i].what, type);
		return;
	}
	if (filesystem) /* "an ext4", "an xfs", "a btrfs" */
		snprintf(buf, size, "%s %s filesystem", strchr("aeioux", type[0]) ? "an" : "a",
			type);
	else
		snprintf(buf, size, "a signature of %s", type);
}

static const char *lookup(blkid_probe pr, const char *name)
{
	const char *value;

	return blkid_probe_lookup_value(pr, name, &value, NULL) == 0 ? value : NULL;
}

/* What the last step of a probe found: a superblock or a partition table; NULL when nothing. */
static const char *found_type(blkid_probe pr)
{
	const char *type = lookup(pr, "TYPE");

	return type ? type : lookup(pr, "PTTYPE");
}

static int new_probe(int fd, blkid_probe *ret)
{
	_cleanup_(blkid_free_probep) blkid_probe pr = NULL;

	pr = blkid_new_probe();
	if (!pr)
		return -ENOMEM;
	errno = 0;
	if (blkid_probe_set_device(pr, fd, 0, 0) < 0)
		return errno > 0 ? -errno : -EIO;
	if (blkid_probe_enable_superblocks(pr, 1) < 0 || blkid_probe_enable_partitions(pr, 1) < 0)
		return -ENOMEM;
	/* A superblock with a wrong checksum is still somebody's data. */
	if (blkid_probe_set_superblocks_flags(pr, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE |
							  BLKID_SUBLKS_UUID |
							  BLKID_SUBLKS_BADCSUM) < 0)
		return -ENOMEM;

	*ret = TAKE_PTR(pr);
	return 0;
}

/* Names every signature there is. Only for the text: the refusal does not depend on it. */
static void describe_all(int fd, char *buf, size_t size)
{
	_cleanup_(blkid_free_probep) blkid_probe pr = NULL;
	char list[160] = "";
	size_t used = 0;

	if (new_probe(fd, &pr) < 0)
		goto out;
	for (int n = 0; n < 8 && blkid_do_probe(pr) == 0; n++) {
		const char *type = found_type(pr);

		if (!type || used + strlen(type) + 3 > sizeof(list))
			continue;
		used += (size_t)snprintf(
			list + used, sizeof(list) - used, "%s%s", used > 0 ? ", " : "", type);
	}
out:
	snprintf(buf, size, "several signatures at once (%s)", used > 0 ? list : "unknown ones");
}

static void result_ambivalent(int fd, struct vprobe_result *p)
{
	p->kind = VPROBE_AMBIVALENT;
	describe_all(fd, p->what, sizeof(p->what));
}

static void result_superblock(blkid_probe pr, const char *type, struct vprobe_result *p)
{
	const char *usage = lookup(pr, "USAGE");
	const char *uuid = lookup(pr, "UUID");
	bool filesystem = usage && STREQ(usage, "filesystem");

	p->kind = filesystem ? VPROBE_FILESYSTEM : VPROBE_FOREIGN;
	p->has_uuid = filesystem && uuid && id128_parse(uuid, &p->fs_uuid) == 0;
	snprintf(p->type, sizeof(p->type), "%s", type);
	describe(type, filesystem, p->what, sizeof(p->what));
	if (lookup(pr, "SBBADCSUM")) {
		size_t used = strlen(p->what);

		snprintf(p->what + used, sizeof(p->what) - used, " whose checksum is wrong");
	}
}

/* 1 when libblkid found something, 0 when it found nothing, or negative errno. */
static int probe_signatures(int fd, struct vprobe_result *p)
{
	_cleanup_(blkid_free_probep) blkid_probe pr = NULL;
	const char *type, *pttype;
	int r;

	r = new_probe(fd, &pr);
	if (r < 0)
		return r;
	r = blkid_do_safeprobe(pr);
	if (r == 1)
		return 0;
	if (r == -2) {
		result_ambivalent(fd, p);
		return 1;
	}
	if (r != 0)
		return -EIO;

	type = lookup(pr, "TYPE");
	pttype = lookup(pr, "PTTYPE");
	if (type && pttype) {
		result_ambivalent(fd, p);
	} else if (type) {
		result_superblock(pr, type, p);
	} else {
		p->kind = VPROBE_FOREIGN;
		snprintf(p->type, sizeof(p->type), "%s", pttype ? pttype : "");
		describe(pttype ? pttype : "something unknown", false, p->what, sizeof(p->what));
	}
	return 1;
}

/* 1 and the place of the first byte that is not zero, 0 when all are, or -EIO. */
static int find_byte(int fd, uint8_t *buf, uint64_t from, size_t n, uint64_t *ret_at)
{
	for (size_t done = 0; done < n;) {
		ssize_t got = pread(fd, buf + done, n - done, (off_t)(from + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -EIO;
		done += (size_t)got;
	}
	for (size_t i = 0; i < n; i++) {
		if (buf[i] == 0)
			continue;
		*ret_at = from + i;
		return 1;
	}
	return 0;
}

static int probe_ends(int fd, uint64_t size, struct vprobe_result *p)
{
	_cleanup_free_ uint8_t *buf = NULL;
	size_t n = (size_t)MIN(size, MIB);
	uint64_t at;
	int r;

	buf = malloc(MIB);
	if (!buf)
		return -ENOMEM;

	for (int last = 0; last <= 1; last++) {
		r = find_byte(fd, buf, last ? size - n : 0, n, &at);
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		p->kind = VPROBE_FOREIGN;
		snprintf(p->what, sizeof(p->what),
			"unknown data: bytes that are not zero in the %s MiB (the first at byte "
			"%" PRIu64 ")",
			last ? "last" : "first", at);
		return 0;
	}
	p->kind = VPROBE_EMPTY;
	snprintf(p->what, sizeof(p->what), "nothing");
	return 0;
}

/*
 * libblkid reads three dozen places near both ends, one after the other, without read-ahead. Have
 * them on the way before: two requests to the disk instead of as many round trips.
 */
static void prefetch(int fd, uint64_t size)
{
	off_t n = (off_t)MIN(size, 512 * KIB);

	posix_fadvise(fd, 0, n, POSIX_FADV_WILLNEED);
	posix_fadvise(fd, (off_t)size - n, n, POSIX_FADV_WILLNEED);
}

int vprobe_device(int fd, struct vprobe_result *ret)
{
	struct vprobe_result p = { 0 };
	struct stat st;
	uint64_t size;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISBLK(st.st_mode))
		return -ENOTBLK;
	if (ioctl(fd, BLKGETSIZE64, &size) < 0)
		return -errno;
	if (size == 0)
		return -EIO; /* a device whose medium is away */
	/* What another host wrote since is on the disk and not in our page cache. */
	if (ioctl(fd, BLKFLSBUF, 0) < 0)
		return -errno;
	prefetch(fd, size);

	r = probe_signatures(fd, &p);
	if (r == 0)
		r = probe_ends(fd, size, &p);
	if (r < 0)
		return r;

	*ret = p;
	return 0;
}

bool vprobe_matches(const struct vprobe_result *p, enum fs_kind fs, struct id128 fs_uuid)
{
	return p->kind == VPROBE_FILESYSTEM && STREQ(p->type, fs_kind_name(fs)) && p->has_uuid &&
	       id128_equal(p->fs_uuid, fs_uuid);
}
