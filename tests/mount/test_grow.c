/* SPDX-License-Identifier: Apache-2.0 */
/* A mounted filesystem fills its larger device, whatever is written to it meanwhile. */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/loop.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "rig.h"
#include "vgrow.h"

#define LARGER (2 * DISK_SIZE)

static char why[400];

/* The kernel lets only such processes resize an ext4, and not all machines for tests have them. */
static bool is_allowed(enum fs_kind fs)
{
	if (fs != FS_EXT4 || prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE) == 1)
		return true;
	print_message("skipped: ext4 needs CAP_SYS_RESOURCE\n");
	return false;
}

static struct vgrow_request grow_request(const struct disk *d, enum fs_kind fs)
{
	return (struct vgrow_request){
		.device = d->device,
		.devno = d->devno,
		.diskseq = d->diskseq,
		.size_bytes = d->size,
		.mount_root = rig.root,
		.name = "dataset",
		.fs = fs,
	};
}

static int grow(const struct disk *d, enum fs_kind fs)
{
	struct vgrow_request rq = grow_request(d, fs);

	why[0] = '\0';
	return vgrow(&rq, why, sizeof(why));
}

static void must_grow(const struct disk *d, enum fs_kind fs)
{
	int r = grow(d, fs);

	if (r != 0)
		fail_msg("cannot grow %s: %d %s", fs_kind_name(fs), r, why);
}

static void mounted(struct disk *d, enum fs_kind fs, uint64_t size)
{
	struct id128 uuid = new_uuid();
	struct vmount_request rq;

	disk_new(d, size);
	format(d, fs, uuid);
	rq = mount_request(d, fs, uuid);
	if (vmount_mount(&rq, why, sizeof(why)) != 0)
		fail_msg("cannot mount: %s", why);
}

/* Unmounted, it is whole. */
static void ended(struct disk *d, enum fs_kind fs)
{
	static const char *const check[] = { "e2fsck -fn", "xfs_repair -n", "btrfs check" };

	if (vmount_unmount(rig.root, "dataset", d->devno, why, sizeof(why)) != 0)
		fail_msg("cannot unmount: %s", why);
	sh("%s %s >/dev/null 2>&1", check[fs], d->device);
	disk_end(d);
}

static uint64_t total(void)
{
	struct statfs fs;

	assert_int_equal(statfs(place(""), &fs), 0);
	return (uint64_t)fs.f_blocks * (uint64_t)fs.f_bsize;
}

/* ---- a writer that counts what was acknowledged ---- */

static _Atomic uint64_t *acknowledged;

static pid_t start_writer(void)
{
	pid_t pid = fork();
	int fd;

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fd = open(place("records"), O_WRONLY | O_CREAT | O_APPEND, 0600);
	for (uint64_t n = 1;; n++) {
		if (write(fd, &n, sizeof(n)) != sizeof(n) || fsync(fd) < 0)
			_exit(1);
		*acknowledged = n;
	}
}

static void check_records(void)
{
	int fd = open(place("records"), O_RDONLY | O_CLOEXEC);
	uint64_t n, i = 1;

	assert_true(fd >= 0);
	for (; read(fd, &n, sizeof(n)) == sizeof(n); i++)
		assert_int_equal(n, i);
	assert_true(i > *acknowledged);
	close(fd);
}

static void wait_for_records(uint64_t more)
{
	uint64_t until = *acknowledged + more;

	for (int i = 0; *acknowledged < until; i++) {
		assert_in_range(i, 0, 60000);
		usleep(1000);
	}
}

static void it_grows_while_it_is_written_to(void **state)
{
	for (enum fs_kind fs = 0; fs < FS_KIND_MAX; fs++) {
		struct disk d;
		uint64_t before;
		pid_t pid;

		if (!is_allowed(fs))
			continue;
		mounted(&d, fs, DISK_SIZE);
		before = total();
		*acknowledged = 0;
		pid = start_writer();
		wait_for_records(20);
		disk_grow(&d, LARGER);
		must_grow(&d, fs);
		assert_in_range(total() - before, DISK_SIZE * 9 / 10, DISK_SIZE);
		wait_for_records(20);
		child_end(pid);
		check_records();
		ended(&d, fs);
	}
}

static void a_full_one_grows_and_takes_writes_again(void **state)
{
	for (enum fs_kind fs = 0; fs < FS_KIND_MAX; fs++) {
		struct disk d;

		if (!is_allowed(fs))
			continue;
		mounted(&d, fs, DISK_SIZE);
		sh("dd if=/dev/zero of='%s' bs=1M status=none conv=fsync 2>/dev/null; "
		   "dd if=/dev/zero of='%s' bs=4k status=none conv=fsync 2>/dev/null; sync; "
		   "! dd if=/dev/zero of='%s' bs=1M count=64 status=none conv=fsync 2>/dev/null",
			place("full"), place("fuller"), place("no"));
		disk_grow(&d, LARGER);
		must_grow(&d, fs);
		sh("dd if=/dev/zero of='%s' bs=1M count=64 status=none conv=fsync", place("more"));
		ended(&d, fs);
	}
}

static void growing_again_and_by_little_is_harmless(void **state)
{
	static const uint64_t sizes[] = { LARGER, LARGER, LARGER + 4096, LARGER + MIB, LARGER + 17 * MIB,
		2 * LARGER };

	for (enum fs_kind fs = 0; fs < FS_KIND_MAX; fs++) {
		struct disk d;
		uint64_t had = 0;

		if (!is_allowed(fs))
			continue;
		mounted(&d, fs, DISK_SIZE);
		must_grow(&d, fs);
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			disk_grow(&d, sizes[i]);
			must_grow(&d, fs);
			assert_true(total() >= had);
			had = total();
		}
		assert_true(had > 3 * DISK_SIZE);
		ended(&d, fs);
	}
}

/* mke2fs gives a small one small blocks, and room in its tables for a thousand times its size. */
static void the_smallest_ext4_grows_far(void **state)
{
	struct disk d;

	if (!is_allowed(FS_EXT4))
		skip();
	mounted(&d, FS_EXT4, DATASET_MINIMUM_SIZE);
	sh("echo hello >'%s'", place("file"));
	disk_grow(&d, 128 * GIB);
	must_grow(&d, FS_EXT4);
	assert_true(total() > 110 * GIB);
	sh("grep -qx hello '%s'", place("file"));
	ended(&d, FS_EXT4);
}

static void btrfs_is_not_resized_below_what_the_kernel_takes(void **state)
{
	struct disk d;

	mounted(&d, FS_BTRFS, 128 * MIB);
	disk_grow(&d, fs_minimum_grown(FS_BTRFS) - MIB);
	assert_int_equal(grow(&d, FS_BTRFS), -EINVAL);
	assert_contains(why, "256 MiB");
	disk_grow(&d, fs_minimum_grown(FS_BTRFS));
	must_grow(&d, FS_BTRFS);
	ended(&d, FS_BTRFS);
}

static void only_what_was_meant_grows(void **state)
{
	struct vgrow_request rq;
	struct disk d, other;

	disk_new(&other, DISK_SIZE);
	assert_int_equal(grow(&other, FS_XFS), -ENOENT);
	mounted(&d, FS_XFS, DISK_SIZE);
	assert_int_equal(grow(&other, FS_XFS), -EEXIST);
	assert_int_equal(grow(&d, FS_EXT4), -EEXIST);
	rq = grow_request(&d, FS_XFS);
	rq.size_bytes = LARGER; /* the device is not larger yet */
	assert_int_equal(vgrow(&rq, why, sizeof(why)), -ESTALE);
	rq = grow_request(&d, FS_XFS);
	rq.diskseq++;
	assert_int_equal(vgrow(&rq, why, sizeof(why)), -ESTALE);
	rq = grow_request(&d, FS_XFS);
	rq.name = "../dataset";
	assert_int_equal(vgrow(&rq, why, sizeof(why)), -EINVAL);
	assert_int_equal(mount(NULL, place(""), NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	disk_grow(&d, LARGER);
	assert_int_equal(grow(&d, FS_XFS), -EROFS);
	assert_in_range(total(), 0, DISK_SIZE);
	assert_int_equal(mount(NULL, place(""), NULL, MS_REMOUNT, NULL), 0);
	must_grow(&d, FS_XFS);
	ended(&d, FS_XFS);
	disk_end(&other);
}

static int all_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_grows_while_it_is_written_to),
		cmocka_unit_test(a_full_one_grows_and_takes_writes_again),
		cmocka_unit_test(growing_again_and_by_little_is_harmless),
		cmocka_unit_test(the_smallest_ext4_grows_far),
		cmocka_unit_test(btrfs_is_not_resized_below_what_the_kernel_takes),
		cmocka_unit_test(only_what_was_meant_grows),
	};

	acknowledged = mmap(NULL, sizeof(*acknowledged), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(acknowledged != MAP_FAILED);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return rig_run(all_tests);
}
