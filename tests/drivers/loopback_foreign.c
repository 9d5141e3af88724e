/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback_foreign.c - the loopback driver beside loop devices of others: those on its images are in
 * its way, and all the rest are not.
 */
#include <fcntl.h>
#include <linux/loop.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "harness.h"
#include "strangers.h"

static const struct driver_ops *ops;

static int setup(void **state)
{
	int r = world_setup(state);

	ops = ((struct world *)*state)->ops;
	return r;
}

static void an_image_with_a_foreign_device_is_busy(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	char device[64];

	foreign_device(volume_file(w, id, "image"), "", device);
	assert_int_equal(ops->attach(w->a, id, 1, SIZE, 0), -EBUSY);
	assert_int_equal(ops->destroy(w->a, id, 1), -EBUSY);
	assert_int_equal(ops->detach(w->a, id, 1), -EBUSY);
	assert_int_equal(look(w, w->a, id).place, DRIVER_FREE);
	foreign_device_end(device);
	assert_ok(ops->attach(w->a, id, 1, SIZE, 0));
	foreign_device(volume_file(w, id, "image"), "", device);
	assert_int_equal(ops->detach(w->a, id, 1), -EBUSY);
	foreign_device_end(device);
	assert_ok(ops->detach(w->a, id, 1));
}

static void a_foreign_device_under_another_name_is_found(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	char alias[100], device[64];

	snprintf(alias, sizeof(alias), "%s/alias", w->where);
	run("touch %s && mount --bind %s %s", alias, volume_file(w, id, "image"), alias);
	foreign_device(alias, "", device);
	assert_int_equal(ops->attach(w->a, id, 1, SIZE, 0), -EBUSY);
	assert_int_equal(ops->detach(w->a, id, 1), -EBUSY);
	assert_int_equal(ops->destroy(w->a, id, 1), -EBUSY);
	foreign_device_end(device);
	run("umount %s", alias);
	assert_ok(ops->attach(w->a, id, 1, SIZE, 0));
}

/* Its kernel status cannot be had any more; that is nobody else's trouble. */
static void a_device_on_dead_storage_is_in_nobodys_way(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	char dir[100], path[110], device[64];
	int writer;
	pid_t pid;

	if (access("/dev/fuse", R_OK | W_OK) < 0) {
		print_message("no /dev/fuse here\n");
		skip();
	}
	snprintf(dir, sizeof(dir), "%s/dead", w->where);
	snprintf(path, sizeof(path), "%s/image", dir);
	assert_ok(mkdir(dir, 0700));
	pid = deadfs_start(dir);
	foreign_device(path, "-r", device);
	assert_ok(kill(pid, SIGKILL));
	assert_int_equal(waitpid(pid, NULL, 0), pid);

	/* With somebody writing to the image every device has to be asked. */
	writer = open(volume_file(w, id, "image"), O_RDWR | O_CLOEXEC);
	assert_true(writer >= 0);
	assert_ok(ops->attach(w->a, id, 1, SIZE, 0));
	assert_ok(ops->detach(w->a, id, 1));
	assert_ok(ops->destroy(w->a, id, 2));
	close(writer);
	foreign_device_end(device);
	run("umount -l %s", dir);
}

static void a_device_whose_path_cannot_be_told_is_in_nobodys_way(void **state)
{
	_cleanup_close_ int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), device = -EBADF;
	struct world *w = *state;
	struct loop_config config = { .fd = (uint32_t)long_path_open(w->where) };
	struct id128 id = make_volume(w);
	struct id128 *list;
	struct driver_device dev;
	struct driver *again;
	char path[32];
	size_t n;

	do {
		close_keep_errno(device);
		snprintf(path, sizeof(path), "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
		device = open(path, O_RDWR | O_CLOEXEC);
		assert_true(device >= 0);
	} while (ioctl(device, LOOP_CONFIGURE, &config) < 0 && errno == EBUSY);
	assert_ok(ops->attach(w->a, id, 1, SIZE, 0));
	again = world_open(w, &w->node_a); /* knows no device yet, so it looks at all */
	assert_true(look(w, again, id).attached);
	assert_ok(ops->device(again, id, &dev));
	assert_ok(ops->list(again, &list, &n));
	assert_int_equal(n, 1);
	assert_ok(ops->detach(again, id, 1));
	ops->close(again);
	free(list);
	assert_ok(ioctl(device, LOOP_CLR_FD));
	close((int)config.fd);
	run("rm -rf %s/d*", w->where);
}

static void an_image_that_is_locked_gets_no_device(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	int fd = open(volume_file(w, id, "image"), O_RDONLY | O_CLOEXEC);

	assert_ok(flock(fd, LOCK_EX | LOCK_NB));
	assert_int_equal(ops->attach(w->a, id, 1, SIZE, 0), -EBUSY);
	assert_int_equal(loops_on(w->where), 0);
	close(fd);
	assert_ok(ops->attach(w->a, id, 1, SIZE, 0));
	fd = open(volume_file(w, id, "image"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1); /* the device has it */
	close(fd);
}

static void a_copy_of_the_backend_is_not_taken_for_it(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	char copy[200], device[64];
	struct driver_device dev;

	snprintf(copy, sizeof(copy), "%s/backup/%s", w->where, ID128_STR(id));
	run("mkdir -p %s && cp --sparse=always %s %s/", copy, volume_file(w, id, "image"), copy);
	strcat(copy, "/image");
	foreign_device(copy, "", device);
	assert_ok(ops->attach(w->a, id, 1, SIZE, 0));
	assert_ok(ops->device(w->a, id, &dev));
	assert_string_not_equal(dev.path, device);
	assert_ok(ops->detach(w->a, id, 1));
	assert_false(look(w, w->a, id).attached);
	foreign_device_end(device);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_image_with_a_foreign_device_is_busy),
		T(a_foreign_device_under_another_name_is_found),
		T(a_device_on_dead_storage_is_in_nobodys_way),
		T(a_device_whose_path_cannot_be_told_is_in_nobodys_way),
		T(an_image_that_is_locked_gets_no_device),
		T(a_copy_of_the_backend_is_not_taken_for_it),
	};

	need_loop_devices();
	own_mount_namespace();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
