/* SPDX-License-Identifier: Apache-2.0 */
/* The right filesystem at the right place, writable, or nothing at all. */
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "rig.h"

static char why[400];

static int mount_rq(const struct vmount_request *rq)
{
	why[0] = '\0';
	return vmount_mount(rq, why, sizeof(why));
}

static int mount_it(const struct disk *d, enum fs_kind fs, struct id128 uuid)
{
	struct vmount_request rq = mount_request(d, fs, uuid);

	return mount_rq(&rq);
}

static int unmount_it(const struct disk *d)
{
	why[0] = '\0';
	return vmount_unmount(rig.root, "dataset", d->devno, why, sizeof(why));
}

static void must_mount(const struct disk *d, enum fs_kind fs, struct id128 uuid)
{
	int r = mount_it(d, fs, uuid);

	if (r != 0)
		fail_msg("cannot mount: %d %s", r, why);
}

static void must_unmount(const struct disk *d)
{
	int r = unmount_it(d);

	if (r != 0)
		fail_msg("cannot unmount: %d %s", r, why);
	assert_int_equal(access(place(""), F_OK), -1);
}

/* No mount, and no directory that somebody could take for the dataset. */
static void nothing_there(void)
{
	struct vmount_entry *list;
	size_t n;

	assert_int_equal(vmount_list(rig.root, &list, &n), 0);
	assert_int_equal(n, 0);
	assert_null(list);
	assert_int_equal(access(place(""), F_OK), -1);
}

static void users_find_their_data_and_modes_again(void **state)
{
	for (enum fs_kind fs = 0; fs < FS_KIND_MAX; fs++) {
		struct id128 uuid = new_uuid();
		struct stat st;
		struct disk d;

		disk_new(&d, DISK_SIZE);
		format(&d, fs, uuid);
		must_mount(&d, fs, uuid);
		assert_int_equal(stat(rig.root, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0700);
		assert_int_equal(stat(place(""), &st), 0);
		assert_int_equal(st.st_mode & 07777, 0777);
		assert_int_equal(access(place("lost+found"), F_OK), -1);

		sh("echo hello >'%s'", place("file"));
		assert_int_equal(mkdir(place("lost+found"), 0700), 0);
		assert_int_equal(chmod(place(""), 0750), 0);
		must_unmount(&d);
		must_mount(&d, fs, uuid);
		assert_int_equal(stat(place(""), &st), 0);
		assert_int_equal(st.st_mode & 07777, 0750);
		assert_int_equal(access(place("lost+found"), F_OK), 0);
		sh("grep -qx hello '%s'", place("file"));
		must_unmount(&d);
		nothing_there();
		disk_end(&d);
	}
}

static void mounting_and_unmounting_twice_is_harmless(void **state)
{
	for (enum fs_kind fs = 0; fs < FS_KIND_MAX; fs++) {
		struct id128 uuid = new_uuid();
		struct vmount_entry *list;
		struct disk d;
		size_t n;

		disk_new(&d, DISK_SIZE);
		format(&d, fs, uuid);
		must_unmount(&d);
		must_mount(&d, fs, uuid);
		must_mount(&d, fs, uuid);
		assert_int_equal(vmount_list(rig.root, &list, &n), 0);
		assert_int_equal(n, 1);
		assert_string_equal(list[0].name, "dataset");
		assert_string_equal(list[0].fstype, fs_kind_name(fs));
		assert_true(list[0].devno == d.devno);
		assert_false(list[0].read_only);
		assert_contains(list[0].options, "nosuid");
		assert_contains(list[0].options, "nodev");
		free(list);
		must_unmount(&d);
		must_unmount(&d);
		disk_end(&d);
	}
}

static void usage_is_told_only_of_a_mount(void **state)
{
	struct id128 uuid = new_uuid();
	uint64_t used, available, more;
	struct disk d;

	disk_new(&d, DISK_SIZE);
	format(&d, FS_EXT4, uuid);
	assert_int_equal(vmount_usage(rig.root, "dataset", &used, &available), -ENOENT);
	assert_int_equal(mkdir(place(""), 0700), 0);
	assert_int_equal(vmount_usage(rig.root, "dataset", &used, &available), -ENOENT);
	must_mount(&d, FS_EXT4, uuid);
	assert_int_equal(vmount_usage(rig.root, "dataset", &used, &available), 0);
	assert_in_range(used + available, d.size / 2, d.size);
	sh("dd if=/dev/zero of='%s' bs=1M count=20 status=none conv=fsync", place("file"));
	assert_int_equal(vmount_usage(rig.root, "dataset", &more, &available), 0);
	assert_in_range(more - used, 20 * MIB, 21 * MIB);
	must_unmount(&d);
	disk_end(&d);
}

static void the_monitor_wakes_at_each_change(void **state)
{
	struct id128 uuid = new_uuid();
	struct pollfd p = { .events = POLLPRI };
	struct disk d;

	disk_new(&d, DISK_SIZE);
	format(&d, FS_EXT4, uuid);
	p.fd = vmount_monitor_fd();
	assert_true(p.fd >= 0);
	assert_int_equal(poll(&p, 1, 0), 0);
	must_mount(&d, FS_EXT4, uuid);
	assert_int_equal(poll(&p, 1, 0), 1);
	assert_true(p.revents & POLLPRI);
	assert_int_equal(poll(&p, 1, 0), 0);
	must_unmount(&d);
	assert_int_equal(poll(&p, 1, 0), 1);
	close(p.fd);
	disk_end(&d);
}

static void options_are_added_to_the_safe_ones(void **state)
{
	struct id128 uuid = new_uuid();
	struct vmount_request rq;
	struct vmount_entry *list;
	struct disk d;
	size_t n;

	disk_new(&d, DISK_SIZE);
	format(&d, FS_EXT4, uuid);
	rq = mount_request(&d, FS_EXT4, uuid);
	rq.options = "noatime,suid,commit=7";
	assert_int_equal(mount_rq(&rq), 0);
	assert_int_equal(vmount_list(rig.root, &list, &n), 0);
	assert_int_equal(n, 1);
	assert_contains(list[0].options, "nodev");
	assert_contains(list[0].options, "noatime");
	assert_contains(list[0].options, "commit=7");
	assert_null(strstr(list[0].options, "nosuid"));
	free(list);
	must_unmount(&d);

	rq.options = "ro";
	assert_int_equal(mount_rq(&rq), -EINVAL);
	assert_contains(why, "'ro'");
	rq.options = "no-such-option-of-ext4";
	assert_int_equal(mount_rq(&rq), -EINVAL);
	assert_contains(why, "no-such-option");
	nothing_there();
	disk_end(&d);
}

static void another_filesystem_is_refused(void **state)
{
	for (enum fs_kind fs = 0; fs < FS_KIND_MAX; fs++) {
		struct id128 uuid = new_uuid(), other = new_uuid();
		struct disk d;

		disk_new(&d, DISK_SIZE);
		assert_int_equal(mount_it(&d, fs, uuid), -EUCLEAN);
		assert_contains(why, "holds nothing");
		format(&d, fs, uuid);
		assert_int_equal(mount_it(&d, fs, other), -EUCLEAN);
		assert_contains(why, ID128_STR(other));
		assert_contains(why, ID128_STR(uuid));
		assert_int_equal(mount_it(&d, (fs + 1) % FS_KIND_MAX, uuid), -EUCLEAN);
		assert_int_equal(mount_it(&d, fs, ID128_NIL), -EINVAL);
		nothing_there();
		must_mount(&d, fs, uuid);
		must_unmount(&d);
		disk_end(&d);
	}
}

static void another_disk_is_refused(void **state)
{
	struct id128 uuid = new_uuid();
	struct vmount_request rq;
	struct disk d;

	disk_new(&d, DISK_SIZE);
	format(&d, FS_EXT4, uuid);
	rq = mount_request(&d, FS_EXT4, uuid);
	rq.diskseq++;
	assert_int_equal(mount_rq(&rq), -ESTALE);
	rq = mount_request(&d, FS_EXT4, uuid);
	rq.devno++;
	assert_int_equal(mount_rq(&rq), -ESTALE);
	rq = mount_request(&d, FS_EXT4, uuid);
	rq.device = "/dev/null";
	assert_int_equal(mount_rq(&rq), -ESTALE);
	rq.device = "/dev/flocker-no-such-device";
	assert_int_equal(mount_rq(&rq), -ENODEV);
	nothing_there();
	disk_end(&d);
}

static void names_stay_below_the_root(void **state)
{
	static const char *const bad[] = { "", ".", "..", "a/b", "/etc" };
	struct id128 uuid = new_uuid();
	struct vmount_request rq;
	struct disk d;

	disk_new(&d, DISK_SIZE);
	rq = mount_request(&d, FS_EXT4, uuid);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		rq.name = bad[i];
		assert_int_equal(mount_rq(&rq), -EINVAL);
		assert_int_equal(
			vmount_unmount(rig.root, bad[i], d.devno, why, sizeof(why)), -EINVAL);
	}
	disk_end(&d);
}

static void what_is_at_the_place_is_left_alone(void **state)
{
	struct id128 uuid = new_uuid();
	struct disk d;

	disk_new(&d, DISK_SIZE);
	format(&d, FS_EXT4, uuid);

	assert_int_equal(mkdir(place(""), 0700), 0);
	assert_int_equal(mount("other", place(""), "tmpfs", 0, NULL), 0);
	assert_int_equal(mount_it(&d, FS_EXT4, uuid), -EEXIST);
	assert_contains(why, "tmpfs");
	assert_int_equal(unmount_it(&d), -EEXIST);
	assert_contains(why, "tmpfs");
	assert_int_equal(umount2(place(""), 0), 0);

	sh("echo precious >'%s'", place("file"));
	assert_int_equal(mount_it(&d, FS_EXT4, uuid), -ENOTEMPTY);
	assert_contains(why, "'file'");
	assert_int_equal(unmount_it(&d), 0);
	sh("grep -qx precious '%s'", place("file"));
	assert_int_equal(unlink(place("file")), 0);
	assert_int_equal(rmdir(place("")), 0);

	assert_int_equal(symlink(rig.dir, place("")), 0);
	assert_int_equal(mount_it(&d, FS_EXT4, uuid), -ENOTDIR);
	assert_int_equal(unlink(place("")), 0);
	disk_end(&d);
}

static void a_write_protected_device_is_refused(void **state)
{
	for (enum fs_kind fs = 0; fs < FS_KIND_MAX; fs++) {
		struct id128 uuid = new_uuid();
		int on = 1, off = 0;
		struct disk d;

		disk_new(&d, DISK_SIZE);
		format(&d, fs, uuid);
		assert_int_equal(ioctl(d.fd, BLKROSET, &on), 0);
		assert_int_equal(mount_it(&d, fs, uuid), -EROFS);
		nothing_there();
		assert_int_equal(ioctl(d.fd, BLKROSET, &off), 0);
		must_mount(&d, fs, uuid);
		must_unmount(&d);
		disk_end(&d);
	}
}

static void a_mount_turned_read_only_is_not_called_good(void **state)
{
	struct id128 uuid = new_uuid();
	struct vmount_entry *list;
	struct disk d;
	size_t n;

	disk_new(&d, DISK_SIZE);
	format(&d, FS_EXT4, uuid);
	must_mount(&d, FS_EXT4, uuid);
	assert_int_equal(mount(NULL, place(""), NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	assert_int_equal(mount_it(&d, FS_EXT4, uuid), -EROFS);
	assert_int_equal(vmount_list(rig.root, &list, &n), 0);
	assert_int_equal(n, 1);
	assert_true(list[0].read_only);
	free(list);
	must_unmount(&d);
	disk_end(&d);
}

static void a_device_in_use_is_not_mounted_again(void **state)
{
	struct id128 uuid = new_uuid();
	struct disk d;
	char elsewhere[100];

	disk_new(&d, DISK_SIZE);
	format(&d, FS_EXT4, uuid);
	snprintf(elsewhere, sizeof(elsewhere), "%s/bin", rig.dir);
	assert_int_equal(mkdir(elsewhere, 0700), 0);
	assert_int_equal(mount(d.device, elsewhere, "ext4", 0, NULL), 0);
	assert_int_equal(mount_it(&d, FS_EXT4, uuid), -EBUSY);
	assert_int_equal(unmount_it(&d), -EBUSY);
	assert_int_equal(umount2(elsewhere, 0), 0);
	must_mount(&d, FS_EXT4, uuid);
	must_unmount(&d);
	disk_end(&d);
}

static void an_ext4_that_met_an_error_is_checked_once(void **state)
{
	struct id128 uuid = new_uuid();
	struct disk d;

	disk_new(&d, DISK_SIZE);
	format(&d, FS_EXT4, uuid);
	/* bit 2 of the state: the kernel found an error; the block count in the bitmap is off too
	 */
	sh("debugfs -w -R 'ssv state 3' %s 2>/dev/null && debugfs -w -R 'ssv free_blocks_count 5' "
	   "%s "
	   "2>/dev/null",
		d.device, d.device);
	must_mount(&d, FS_EXT4, uuid);
	must_unmount(&d);
	sh("dumpe2fs -h %s 2>/dev/null | grep -q '^Filesystem state: *clean$'", d.device);
	disk_end(&d);
}

static void a_damaged_filesystem_is_for_people(void **state)
{
	static const char zeros[4096];

	for (enum fs_kind fs = 0; fs < FS_KIND_MAX; fs++) {
		struct id128 uuid = new_uuid();
		struct disk d;
		int r;

		disk_new(&d, DISK_SIZE);
		format(&d, fs, uuid);
		if (fs == FS_EXT4) /* the root directory, beyond what -p dares to mend */
			sh("debugfs -w -R 'clri <2>' %s 2>/dev/null", d.device);
		else if (fs == FS_XFS) /* the headers of the first allocation group */
			disk_write(&d, 512, zeros, 1536);
		else
			sh("btrfs inspect-internal dump-super %s >/dev/null && dd if=/dev/urandom "
			   "of=%s "
			   "bs=1M seek=1 count=319 status=none",
				d.device, d.device);
		r = mount_it(&d, fs, uuid);
		print_message("%s: %d %s\n", fs_kind_name(fs), r, why);
		assert_true(r == -EUCLEAN || (fs == FS_BTRFS && r == -EIO));
		assert_null(strstr(why, "options")); /* which would be looked at in vain */
		nothing_there();
		disk_end(&d);
	}
}

static void a_vanished_device_leaves_only_a_directory(void **state)
{
	assert_int_equal(mkdir(place(""), 0700), 0);
	assert_int_equal(vmount_unmount(rig.root, "dataset", 0, why, sizeof(why)), 0);
	nothing_there();
	assert_int_equal(
		vmount_unmount("/var/tmp/flocker-no-such-root", "dataset", 0, why, sizeof(why)), 0);
}

static int all_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(users_find_their_data_and_modes_again),
		cmocka_unit_test(mounting_and_unmounting_twice_is_harmless),
		cmocka_unit_test(usage_is_told_only_of_a_mount),
		cmocka_unit_test(the_monitor_wakes_at_each_change),
		cmocka_unit_test(options_are_added_to_the_safe_ones),
		cmocka_unit_test(another_filesystem_is_refused),
		cmocka_unit_test(another_disk_is_refused),
		cmocka_unit_test(names_stay_below_the_root),
		cmocka_unit_test(what_is_at_the_place_is_left_alone),
		cmocka_unit_test(a_write_protected_device_is_refused),
		cmocka_unit_test(a_mount_turned_read_only_is_not_called_good),
		cmocka_unit_test(a_device_in_use_is_not_mounted_again),
		cmocka_unit_test(an_ext4_that_met_an_error_is_checked_once),
		cmocka_unit_test(a_damaged_filesystem_is_for_people),
		cmocka_unit_test(a_vanished_device_leaves_only_a_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return rig_run(all_tests);
}
