/* SPDX-License-Identifier: Apache-2.0 */
/* Reading block devices from a recorded sysfs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "devmon.h"

static char root[] = "/tmp/flocker-sysfs-XXXXXX";

static void put(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/dev/block/7:3/%s", root, name);
	f = fopen(path, "we");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void drop(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/dev/block/7:3/%s", root, name);
	assert_return_code(remove(path), errno);
}

static void make(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	assert_return_code(mkdir(path, 0755), errno);
}

static int recorded_tree(void **state)
{
	assert_non_null(mkdtemp(root));
	make("dev");
	make("dev/block");
	make("dev/block/7:3");
	make("dev/block/7:3/loop");
	return 0;
}

static int remove_tree(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -r %s", root);
	return system(command);
}

static void a_disk_is_read(void **state)
{
	struct devmon_disk disk;

	put("size", "131072\n");
	put("ro", "1\n");
	put("diskseq", "18446744073709551615\n");
	assert_int_equal(devmon_sysfs_disk(root, makedev(7, 3), &disk), 0);
	assert_int_equal(disk.size_bytes, 64 * MIB);
	assert_int_equal(disk.diskseq, UINT64_MAX);
	assert_true(disk.read_only);
	assert_int_equal(devmon_sysfs_disk(root, makedev(7, 4), &disk), -ENODEV);
}

static void an_old_kernel_has_no_diskseq(void **state)
{
	struct devmon_disk disk;

	drop("diskseq");
	assert_int_equal(devmon_sysfs_disk(root, makedev(7, 3), &disk), 0);
	assert_int_equal(disk.diskseq, 0);
}

static void nonsense_is_an_error(void **state)
{
	static const char *const wrong[] = { "", "x", "12x", "99999999999999999999",
		"18446744073709551615" };
	struct devmon_disk disk = { .size_bytes = 7 };

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		put("size", wrong[i]);
		assert_int_equal(devmon_sysfs_disk(root, makedev(7, 3), &disk), -EIO);
	}
	assert_int_equal(disk.size_bytes, 7);
	drop("size");
	assert_int_equal(devmon_sysfs_disk(root, makedev(7, 3), &disk), -ENODEV);
}

static void a_loop_device_names_its_image(void **state)
{
	char *image = NULL;

	assert_int_equal(devmon_sysfs_backing(root, makedev(7, 3), &image), -ENOENT);
	put("loop/backing_file", "/var/lib/x y/image (deleted)\n");
	assert_int_equal(devmon_sysfs_backing(root, makedev(7, 3), &image), 0);
	assert_string_equal(image, "/var/lib/x y/image (deleted)");
	free(image);
	put("loop/backing_file", "");
	assert_int_equal(devmon_sysfs_backing(root, makedev(7, 3), &image), -ENOENT);
	assert_int_equal(devmon_sysfs_backing(root, makedev(8, 3), &image), -ENODEV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_disk_is_read),
		cmocka_unit_test(an_old_kernel_has_no_diskseq),
		cmocka_unit_test(nonsense_is_an_error),
		cmocka_unit_test(a_loop_device_names_its_image),
	};

	return cmocka_run_group_tests_name("devmon sysfs", tests, recorded_tree, remove_tree);
}
