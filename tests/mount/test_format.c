/* SPDX-License-Identifier: Apache-2.0 */
/* Format safety: a new volume is formatted once, and nothing else ever is. */
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "rig.h"
#include "vprobe.h"

static char why[300];

static void formats_an_empty_device_once(void **state)
{
	for (enum fs_kind fs = 0; fs < FS_KIND_MAX; fs++) {
		struct id128 uuid = new_uuid();
		struct vformat_request rq;
		struct disk d;

		disk_new(&d, DISK_SIZE);
		rq = format_request(&d, fs, uuid);
		format(&d, fs, uuid);
		assert_int_equal(vformat_verify(&rq, why, sizeof(why)), 0);
		assert_int_equal(vformat_make(&rq, why, sizeof(why)), -EEXIST);
		assert_contains(why, fs_kind_name(fs));
		assert_int_equal(vformat_verify(&rq, why, sizeof(why)), 0);
		disk_end(&d);
	}
}

/* What is put on a device before it is to be formatted, and the word that the refusal must have. */
struct foreign {
	const char *command; /* $D is the device */
	void (*write)(struct disk *d);
	const char *word;
};

static void write_byte_at_end(struct disk *d)
{
	disk_write(d, d->size - 70001, "x", 1);
}

static void write_byte_at_start(struct disk *d)
{
	disk_write(d, 700001, "x", 1);
}

static void write_md_090(struct disk *d)
{
	uint32_t sb[1024] = { 0xa92b4efc, 0, 90 };

	sb[5] = 0x12345678; /* set_uuid0 */
	disk_write(d, d->size / 65536 * 65536 - 65536, sb, sizeof(sb));
}

static void write_md_12(struct disk *d)
{
	uint32_t sb[64] = { 0xa92b4efc, 1 };
	uint64_t sum = 0;

	sb[4] = 0x12345678; /* set_uuid */
	sb[36] = 8;	    /* super_offset, in sectors */
	for (size_t i = 0; i < ARRAY_SIZE(sb); i++)
		sum += sb[i];
	sb[54] = (uint32_t)(sum + (sum >> 32)); /* sb_csum */
	disk_write(d, 4096, sb, sizeof(sb));
}

/* Superblocks of several kinds find room beside each other. */
static void write_ext4_and_xfs(struct disk *d)
{
	char sector[512];

	sh("mkfs.xfs -q %s", d->device);
	assert_int_equal(pread(d->fd, sector, sizeof(sector), 0), sizeof(sector));
	sh("mkfs.ext4 -q -F %s", d->device);
	disk_write(d, 0, sector, sizeof(sector));
}

static void write_btrfs_and_gpt(struct disk *d)
{
	sh("mkfs.btrfs -q %s >/dev/null", d->device);
	sh("sgdisk -n 1:2048:0 %s >/dev/null", d->device);
}

static const struct foreign foreign[] = {
	{ "mkfs.ext4 -q $D", NULL, "ext4" },
	{ "mkfs.xfs -q $D", NULL, "xfs" },
	{ "mkfs.btrfs -q $D >/dev/null", NULL, "btrfs" },
	{ "echo 'start=2048, type=83' | sfdisk -q --label dos $D 2>/dev/null", NULL, "MBR" },
	{ "sgdisk -n 1:0:0 $D >/dev/null", NULL, "GPT" },
	{ "pvcreate -q -y $D >/dev/null", NULL, "LVM" },
	{ "echo -n secret | cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 $D "
	  "-",
		NULL, "LUKS" },
	{ "echo -n secret | cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 "
	  "--pbkdf-force-iterations 1000 $D -",
		NULL, "LUKS" },
	{ "mkswap -q $D", NULL, "swap" },
	{ NULL, write_md_090, "RAID" },
	{ NULL, write_md_12, "RAID" },
	{ NULL, write_byte_at_start, "first MiB" },
	{ NULL, write_byte_at_end, "last MiB" },
	{ NULL, write_ext4_and_xfs, "several signatures at once (xfs, ext4)" },
	{ NULL, write_btrfs_and_gpt, "several signatures at once (btrfs, gpt)" },
};

static void put(struct disk *d, const struct foreign *f)
{
	setenv("D", d->device, 1);
	if (f->write)
		f->write(d);
	else
		sh("export LVM_SUPPRESS_FD_WARNINGS=1; %s", f->command);
}

static void never_formats_what_is_not_empty(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(foreign); i++) {
		for (enum fs_kind fs = 0; fs < FS_KIND_MAX; fs++) {
			struct vformat_request rq;
			uint64_t before;
			struct disk d;

			disk_new(&d, DISK_SIZE);
			put(&d, &foreign[i]);
			rq = format_request(&d, fs, new_uuid());
			before = disk_checksum(&d);
			assert_true(before != 0);
			assert_int_equal(vformat_make(&rq, why, sizeof(why)), -EEXIST);
			assert_contains(why, foreign[i].word);
			assert_int_equal(vformat_verify(&rq, why, sizeof(why)), -EUCLEAN);
			assert_contains(why, foreign[i].word);
			assert_true(disk_checksum(&d) == before);
			disk_end(&d);
		}
	}
}

/* Since kernel 6.18 a loop device reports EIO beyond the end of a truncated image. */
static bool reads_beyond_image(struct disk *d)
{
	char byte;

	return ioctl(d->fd, BLKFLSBUF, 0) == 0 && pread(d->fd, &byte, 1, (off_t)d->size - 512) == 1;
}

static bool has_device_mapper(void)
{
	return access("/dev/mapper/control", R_OK | W_OK) == 0 &&
	       system("command -v dmsetup >/dev/null") == 0;
}

/* A disk upon @d whose first or last 4 KiB cannot be read; gone with its descriptor. */
static void disk_with_error(struct disk *ret, const struct disk *d, bool at_end)
{
	char name[16];
	struct stat st;
	uint64_t good = d->size / 512 - 8;

	snprintf(name, sizeof(name), "fl-%d", getpid());
	if (at_end)
		sh("printf '0 %" PRIu64 " linear %s 0\\n%" PRIu64 " 8 error\\n' | dmsetup create %s", good,
			d->device, good, name);
	else
		sh("printf '0 8 error\\n8 %" PRIu64 " linear %s 8\\n' | dmsetup create %s", good, d->device,
			name);
	*ret = *d;
	snprintf(ret->device, sizeof(ret->device), "/dev/mapper/%s", name);
	ret->fd = open(ret->device, O_RDWR | O_CLOEXEC);
	assert_true(ret->fd >= 0);
	sh("dmsetup remove --deferred %s", name);
	assert_int_equal(fstat(ret->fd, &st), 0);
	ret->devno = st.st_rdev;
	assert_int_equal(ioctl(ret->fd, BLKGETDISKSEQ, &ret->diskseq), 0);
}

static void a_read_error_is_never_empty(void **state)
{
	struct vprobe_result unused;
	struct vformat_request rq;
	struct disk d, bad;

	for (int i = 0; i < 2; i++) {
		disk_new(&d, DISK_SIZE);
		assert_int_equal(ftruncate(d.image, i == 0 ? (off_t)(d.size - 4096) : 65536), 0);
		bad = d;
		if (reads_beyond_image(&d)) {
			assert_int_equal(ftruncate(d.image, (off_t)d.size), 0);
			if (!has_device_mapper()) {
				print_message("no kernel here that fails a read\n");
				disk_end(&d);
				skip();
			}
			disk_with_error(&bad, &d, i == 0);
		}
		rq = format_request(&bad, FS_EXT4, new_uuid());
		assert_int_equal(vprobe_device(bad.fd, &unused), -EIO);
		assert_int_equal(vformat_make(&rq, why, sizeof(why)), -EIO);
		assert_contains(why, "cannot read");
		assert_int_equal(vformat_verify(&rq, why, sizeof(why)), -EIO);
		if (bad.fd != d.fd)
			close(bad.fd);
		assert_true(disk_checksum(&d) == 0);
		disk_end(&d);
	}
}

static void never_formats_another_device(void **state)
{
	struct vformat_request rq;
	struct disk d;

	disk_new(&d, DISK_SIZE);
	rq = format_request(&d, FS_EXT4, new_uuid());
	rq.devno++;
	assert_int_equal(vformat_make(&rq, why, sizeof(why)), -ESTALE);
	rq = format_request(&d, FS_EXT4, new_uuid());
	rq.diskseq++;
	assert_int_equal(vformat_make(&rq, why, sizeof(why)), -ESTALE);
	rq = format_request(&d, FS_EXT4, new_uuid());
	rq.size_bytes += 512;
	assert_int_equal(vformat_make(&rq, why, sizeof(why)), -ESTALE);
	rq = format_request(&d, FS_EXT4, ID128_NIL);
	assert_int_equal(vformat_make(&rq, why, sizeof(why)), -EINVAL);
	rq = format_request(&d, FS_EXT4, new_uuid());
	rq.device = "/dev/flocker-no-such-device";
	assert_int_equal(vformat_make(&rq, why, sizeof(why)), -ENODEV);
	assert_true(disk_checksum(&d) == 0);
	disk_end(&d);
}

static void never_formats_a_device_in_use(void **state)
{
	struct vformat_request rq;
	struct disk d;
	int fd;

	disk_new(&d, DISK_SIZE);
	rq = format_request(&d, FS_EXT4, new_uuid());
	fd = open(d.device, O_RDONLY | O_EXCL | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(vformat_make(&rq, why, sizeof(why)), -EBUSY);
	assert_int_equal(vformat_verify(&rq, why, sizeof(why)), -EBUSY);
	close(fd);
	format(&d, FS_EXT4, rq.fs_uuid);
	disk_end(&d);
}

static void refuses_a_device_too_small(void **state)
{
	struct vformat_request rq;
	struct disk d;

	disk_new(&d, 64 * MIB);
	rq = format_request(&d, FS_XFS, new_uuid());
	assert_int_equal(vformat_make(&rq, why, sizeof(why)), -EINVAL);
	assert_contains(why, "at least 300 MiB");
	format(&d, FS_EXT4, new_uuid());
	disk_end(&d);
}

/* A directory in front of PATH, or instead of it, with one program in it. */
static char *fake_program(const char *name, const char *script, bool only)
{
	char *old = strdup(getenv("PATH"));
	char path[1200], dir[80];

	snprintf(dir, sizeof(dir), "%s/bin", rig.dir);
	mkdir(dir, 0700);
	if (name)
		sh("printf '#!/bin/sh\\n%s\\n' >%s/%s && chmod 755 %s/%s", script, dir, name, dir,
			name);
	snprintf(path, sizeof(path), "%s%s%s", dir, only ? "" : ":", only ? "" : old);
	setenv("PATH", path, 1);
	return old;
}

static void fake_end(char *old, const char *name)
{
	setenv("PATH", old, 1);
	free(old);
	if (name)
		sh("rm %s/bin/%s", rig.dir, name);
}

static void a_missing_mkfs_is_named(void **state)
{
	struct vformat_request rq;
	struct disk d;
	char *old;

	disk_new(&d, DISK_SIZE);
	rq = format_request(&d, FS_XFS, new_uuid());
	assert_int_equal(vformat_available(FS_XFS, why, sizeof(why)), 0);
	old = fake_program(NULL, NULL, true);
	assert_int_equal(vformat_available(FS_XFS, why, sizeof(why)), -ENOENT);
	assert_contains(why, "xfsprogs");
	assert_int_equal(vformat_make(&rq, why, sizeof(why)), -ENOENT);
	fake_end(old, NULL);
	assert_contains(why, "mkfs.xfs is not installed");
	assert_contains(why, "xfsprogs");
	assert_int_equal(vformat_make(&rq, why, sizeof(why)), 0);
	disk_end(&d);
}

static void what_mkfs_said_is_told(void **state)
{
	struct vformat_request rq;
	struct disk d;
	char *old;

	disk_new(&d, DISK_SIZE);
	rq = format_request(&d, FS_EXT4, new_uuid());
	old = fake_program(
		"mkfs.ext4", "seq 100000; echo the disk is made of cheese >&2; exit 3", false);
	assert_int_equal(vformat_make(&rq, why, sizeof(why)), -EIO);
	assert_contains(why, "exit status 3");
	assert_contains(why, "the disk is made of cheese");
	fake_end(old, "mkfs.ext4");

	/* It promised, and did nothing. */
	old = fake_program("mkfs.ext4", "exit 0", false);
	assert_int_equal(vformat_make(&rq, why, sizeof(why)), -EIO);
	assert_contains(why, "holds nothing");
	fake_end(old, "mkfs.ext4");
	disk_end(&d);
}

static void a_hanging_mkfs_is_killed(void **state)
{
	struct vformat_request rq;
	struct timespec from, to;
	struct disk d;
	char *old;

	disk_new(&d, DISK_SIZE);
	rq = format_request(&d, FS_EXT4, new_uuid());
	rq.limit_s = 1;
	old = fake_program("mkfs.ext4", "sleep 1000 & sleep 1000", false);
	clock_gettime(CLOCK_MONOTONIC, &from);
	assert_int_equal(vformat_make(&rq, why, sizeof(why)), -ETIMEDOUT);
	clock_gettime(CLOCK_MONOTONIC, &to);
	fake_end(old, "mkfs.ext4");
	assert_in_range(to.tv_sec - from.tv_sec, 1, 4);
	/* Its children are dead too: the lock that they inherited is free. */
	rq.limit_s = 60;
	assert_int_equal(vformat_make(&rq, why, sizeof(why)), 0);
	disk_end(&d);
}

/* The daemon is killed while mkfs runs: mkfs goes on, and must be noticed. */
static void the_mkfs_of_a_killed_daemon_is_noticed(void **state)
{
	struct vformat_request rq;
	char *old, script[200];
	struct disk d;
	pid_t daemon;
	int fifo, n;
	char pid[16] = "";

	disk_new(&d, DISK_SIZE);
	rq = format_request(&d, FS_BTRFS, new_uuid());
	sh("mkfifo %s/started", rig.dir);
	snprintf(script, sizeof(script), "echo $$ >%s/started; exec sleep 1000", rig.dir);
	old = fake_program("mkfs.btrfs", script, false);
	daemon = fork();
	if (daemon == 0)
		_exit(vformat_make(&rq, NULL, 0) != 0);
	snprintf(script, sizeof(script), "%s/started", rig.dir);
	fifo = open(script, O_RDONLY | O_CLOEXEC);
	n = (int)read(fifo, pid, sizeof(pid) - 1);
	assert_true(n > 0);
	close(fifo);
	unlink(script);
	child_end(daemon);
	fake_end(old, "mkfs.btrfs");

	assert_int_equal(vformat_verify(&rq, why, sizeof(why)), -EBUSY);
	assert_contains(why, "earlier mkfs");
	assert_int_equal(vformat_make(&rq, why, sizeof(why)), -EBUSY);
	kill(atoi(pid), SIGKILL);
	/* The lock goes with the process; wait for that, at most a while. */
	for (int i = 0; i < 1000 && vformat_verify(&rq, why, sizeof(why)) == -EBUSY; i++)
		sched_yield();
	assert_int_equal(vformat_verify(&rq, why, sizeof(why)), -EUCLEAN);
	assert_int_equal(vformat_make(&rq, why, sizeof(why)), 0);
	disk_end(&d);
}

static void verify_settles_what_was_only_made(void **state)
{
	static const char *const make[] = { "mkfs.ext4 -q -U $U $D", "mkfs.xfs -q -m uuid=$U $D",
		"mkfs.btrfs -q -U $U $D >/dev/null" };

	for (enum fs_kind fs = 0; fs < FS_KIND_MAX; fs++) {
		struct id128 uuid = new_uuid();
		struct vformat_request rq;
		struct vmount_request mq;
		struct stat st;
		struct disk d;

		disk_new(&d, DISK_SIZE);
		setenv("U", ID128_STR(uuid), 1);
		setenv("D", d.device, 1);
		sh("%s", make[fs]);

		rq = format_request(&d, fs, uuid);
		assert_int_equal(vformat_verify(&rq, why, sizeof(why)), 0);
		mq = mount_request(&d, fs, uuid);
		assert_int_equal(vmount_mount(&mq, why, sizeof(why)), 0);
		assert_int_equal(stat(place(""), &st), 0);
		assert_int_equal(st.st_mode & 07777, 0777);
		assert_int_equal(access(place("lost+found"), F_OK), -1);
		assert_int_equal(vmount_unmount(rig.root, "dataset", d.devno, why, sizeof(why)), 0);

		rq.fs_uuid = new_uuid();
		assert_int_equal(vformat_verify(&rq, why, sizeof(why)), -EUCLEAN);
		disk_end(&d);
	}
}

/* A superblock that reached the disk before what it speaks of. */
static void verify_finds_half_a_filesystem(void **state)
{
	static const struct {
		uint64_t from, n;
	} hole[] = {
		[FS_EXT4] = { 8192, 16 * MIB },
		[FS_XFS] = { 1 * MIB, 200 * MIB },
		[FS_BTRFS] = { 1 * MIB, 300 * MIB },
	};

	for (enum fs_kind fs = 0; fs < FS_KIND_MAX; fs++) {
		struct id128 uuid = new_uuid();
		struct vformat_request rq;
		struct disk d;

		disk_new(&d, DISK_SIZE);
		format(&d, fs, uuid);
		assert_int_equal(fsync(d.fd), 0);
		assert_int_equal(fallocate(d.image, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					 (off_t)hole[fs].from, (off_t)hole[fs].n),
			0);
		rq = format_request(&d, fs, uuid);
		assert_int_equal(vformat_verify(&rq, why, sizeof(why)), -EUCLEAN);
		disk_end(&d);
	}
}

static int all_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats_an_empty_device_once),
		cmocka_unit_test(never_formats_what_is_not_empty),
		cmocka_unit_test(a_read_error_is_never_empty),
		cmocka_unit_test(never_formats_another_device),
		cmocka_unit_test(never_formats_a_device_in_use),
		cmocka_unit_test(refuses_a_device_too_small),
		cmocka_unit_test(a_missing_mkfs_is_named),
		cmocka_unit_test(what_mkfs_said_is_told),
		cmocka_unit_test(a_hanging_mkfs_is_killed),
		cmocka_unit_test(the_mkfs_of_a_killed_daemon_is_noticed),
		cmocka_unit_test(verify_settles_what_was_only_made),
		cmocka_unit_test(verify_finds_half_a_filesystem),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return rig_run(all_tests);
}
