/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback_devices.c - the loopback driver against the kernel: busy devices, reboots, and what is
 * left when a volume was given back.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "harness.h"
#include "strangers.h"

static const struct driver_ops *ops;

static int setup(void **state)
{
	int r = world_setup(state);

	ops = ((struct world *)*state)->ops;
	return r;
}

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static struct id128 attached_volume(struct world *w)
{
	struct id128 id = make_volume(w);

	assert_ok(ops->attach(w->a, id, 1, SIZE, 0));
	return id;
}

static struct driver_device device_of(struct world *w, struct driver *d, struct id128 id)
{
	struct driver_device dev;

	assert_ok(ops->device(d, id, &dev));
	return dev;
}

static int open_device(struct world *w, struct id128 id, int flags)
{
	int fd = open(device_of(w, w->a, id).path, flags | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static struct loop_info64 loop_info(struct world *w, struct id128 id)
{
	struct loop_info64 info;
	int fd = open_device(w, id, O_RDONLY);

	assert_ok(ioctl(fd, LOOP_GET_STATUS64, &info));
	close(fd);
	return info;
}

/* A number in sysfs below the device, or -1. */
static long sysfs_number(const char *device, const char *attribute)
{
	char path[128], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), "/sys/block/%s/%s", device + strlen("/dev/"), attribute);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (read(fd, text, sizeof(text) - 1) <= 0)
		strcpy(text, "-1");
	close(fd);
	return atol(text);
}

/* Takes the device down as a reboot does: nothing else changes. */
static void pull_device(struct world *w, struct id128 id)
{
	int fd = open_device(w, id, O_RDWR);

	assert_ok(ioctl(fd, LOOP_CLR_FD));
	close(fd);
	/* Whoever else looks at all devices of the machine has it open for a moment. */
	for (unsigned int n = 0; n < 500 && loops_on(ID128_STR(id)) > 0; n++)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	assert_int_equal(loops_on(ID128_STR(id)), 0);
}

static void the_device_says_whose_it_is(void **state)
{
	struct world *w = *state;
	struct id128 id = attached_volume(w);
	struct loop_info64 info = loop_info(w, id);
	char want[64];

	snprintf(want, sizeof(want), "flocker:%s:1", ID128_STR(look(w, w->a, id).dataset_id));
	assert_string_equal((char *)info.lo_file_name, want);
	assert_int_equal(info.lo_flags & (uint32_t)~LO_FLAGS_DIRECT_IO, 0);

	assert_ok(ops->attach(w->a, id, DRIVER_EPOCH_MAX, SIZE, 0));
	info = loop_info(w, id);
	snprintf(want, sizeof(want), "flocker:%s:999999999999999999",
		ID128_STR(look(w, w->a, id).dataset_id));
	assert_string_equal((char *)info.lo_file_name, want);
}

static void direct_io_is_used_where_the_filesystem_has_it(void **state)
{
	struct world *w = *state;
	struct id128 id = attached_volume(w);
	struct statx sx = { 0 };
	bool can;

	assert_ok(statx(AT_FDCWD, volume_file(w, id, "image"), 0, STATX_DIOALIGN, &sx));
	can = (sx.stx_mask & STATX_DIOALIGN) && sx.stx_dio_offset_align > 0 &&
		sx.stx_dio_offset_align <= 4096;
	assert_int_equal(sysfs_number(device_of(w, w->a, id).path, "loop/dio"), can);
}

static void an_exclusively_opened_device_is_busy(void **state)
{
	struct world *w = *state;
	struct id128 id = attached_volume(w);
	int fd = open_device(w, id, O_RDWR | O_EXCL);

	assert_int_equal(ops->detach(w->a, id, 1), -EBUSY);
	assert_true(look(w, w->a, id).attached);
	assert_false(loop_info(w, id).lo_flags & LO_FLAGS_AUTOCLEAR);
	assert_int_equal(ops->attach(w->b, id, 2, SIZE, 0), -EBUSY);
	close(fd);
	assert_ok(ops->detach(w->a, id, 1));
}

static void a_device_is_not_given_back_while_somebody_has_it_open(void **state)
{
	struct world *w = *state;
	struct id128 id = attached_volume(w);
	int fd = open_device(w, id, O_RDWR);
	double start = now_s();

	assert_int_equal(ops->detach(w->a, id, 1), -EBUSY);
	assert_true(now_s() - start < 10);
	assert_int_equal(pwrite(fd, "late", 4, 0), 4);
	assert_int_equal(look(w, w->b, id).place, DRIVER_ELSEWHERE);
	assert_int_equal(ops->attach(w->b, id, 2, SIZE, 0), -EBUSY);
	close(fd);
	assert_ok(ops->detach(w->a, id, 1));
	assert_ok(ops->attach(w->b, id, 2, SIZE, 0));
	device_expect(w, w->b, id, 0, "late");
}

struct opener {
	char path[64];
	int fd;
};

/* Lets go as soon as the detach waits for it. */
static void *on_opener(void *userdata)
{
	struct opener *o = userdata;
	double start = now_s();

	while (sysfs_number(o->path, "loop/autoclear") != 1 && now_s() - start < 10)
		poll(NULL, 0, 1);
	close(o->fd);
	return NULL;
}

static void detach_waits_for_a_short_opener(void **state)
{
	struct world *w = *state;
	struct id128 id = attached_volume(w);
	struct opener o = { .fd = open_device(w, id, O_RDONLY) };
	pthread_t thread;

	snprintf(o.path, sizeof(o.path), "%s", device_of(w, w->a, id).path);
	assert_ok(pthread_create(&thread, NULL, on_opener, &o));
	assert_ok(ops->detach(w->a, id, 1));
	pthread_join(thread, NULL);
	assert_int_equal(loops_on(w->where), 0);
}

static void an_attach_keeps_a_device_that_was_about_to_go(void **state)
{
	struct world *w = *state;
	struct id128 id = attached_volume(w);
	int fd = open_device(w, id, O_RDONLY);

	assert_int_equal(ops->detach(w->a, id, 1), -EBUSY);
	assert_true(loop_info(w, id).lo_flags & LO_FLAGS_AUTOCLEAR);
	assert_ok(ops->attach(w->a, id, 1, SIZE, 0));
	assert_false(loop_info(w, id).lo_flags & LO_FLAGS_AUTOCLEAR);
	close(fd);
	assert_true(look(w, w->a, id).attached);
}

static void mount_volume(struct world *w, struct id128 id, char target[80])
{
	struct driver_device dev = device_of(w, w->a, id);

	snprintf(target, 80, "%s/mnt", w->where);
	assert_ok(mkdir(target, 0700));
	run("mkfs.ext4 -q -F %s", dev.path);
	assert_ok(mount(dev.path, target, "ext4", 0, NULL));
}

static void a_mounted_device_is_busy(void **state)
{
	struct world *w = *state;
	struct id128 id = attached_volume(w);
	char target[80];

	mount_volume(w, id, target);
	assert_int_equal(ops->detach(w->a, id, 1), -EBUSY);
	assert_int_equal(ops->destroy(w->a, id, 1), -EBUSY);
	assert_true(look(w, w->a, id).attached);
	assert_ok(umount(target));
	assert_ok(ops->detach(w->a, id, 1));
}

/* A process whose mount namespace is a copy of ours; it ends when the pipe does. */
static pid_t namespace_copy(int *ret_fd)
{
	int hold[2], ready[2];
	pid_t pid;
	char c;

	assert_ok(pipe2(hold, O_CLOEXEC));
	assert_ok(pipe2(ready, O_CLOEXEC));
	pid = fork();
	if (pid == 0) {
		close(hold[1]);
		if (unshare(CLONE_NEWNS) == 0 && write(ready[1], "!", 1) == 1)
			(void)!read(hold[0], &c, 1);
		_exit(0);
	}
	close(hold[0]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	*ret_fd = hold[1];
	return pid;
}

static void a_mount_in_another_namespace_is_busy_too(void **state)
{
	struct world *w = *state;
	struct id128 id = attached_volume(w);
	double start = now_s();
	char target[80];
	pid_t pid;
	int fd, r;

	mount_volume(w, id, target);
	pid = namespace_copy(&fd);
	assert_ok(umount(target));
	assert_int_equal(ops->detach(w->a, id, 1), -EBUSY);
	assert_true(look(w, w->a, id).attached);
	close(fd);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	do /* the kernel ends the namespace's mounts a moment after its last process */
		r = ops->detach(w->a, id, 1);
	while (r == -EBUSY && now_s() - start < 10);
	assert_ok(r);
}

/* ---- cut while mounted ---- */

static void a_cut_device_is_given_back_once_it_is_unmounted(void **state)
{
	struct world *w = *state;
	struct id128 id = attached_volume(w);
	char target[80], path[100];
	int fd;

	mount_volume(w, id, target);
	snprintf(path, sizeof(path), "%s/file", target);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "in time", 7), 7);
	assert_ok(fsync(fd));
	assert_ok(ops->cut(w->a, id));
	assert_true(write(fd, "late", 4) < 0 || fsync(fd) < 0);
	close(fd);
	assert_int_equal(ops->detach(w->a, id, 1), -EBUSY);
	assert_int_equal(ops->attach(w->a, id, 2, SIZE, 0), -EBUSY);
	assert_ok(umount(target));
	assert_ok(ops->detach(w->a, id, 1));

	assert_ok(ops->attach(w->a, id, 2, SIZE, 0));
	assert_ok(mount(device_of(w, w->a, id).path, target, "ext4", 0, NULL));
	run("test \"$(cat %s)\" = 'in time'", path);
	assert_ok(umount(target));
}

/* ---- reboots and accidents ---- */

static struct driver *after_reboot(struct world *w)
{
	struct driver_node self = w->node_a;

	self.boot = new_id();
	return world_open(w, &self);
}

static void after_a_reboot_the_same_epoch_attaches_again(void **state)
{
	struct world *w = *state;
	struct id128 id = attached_volume(w);
	struct driver_device dev;
	struct driver *d;

	device_write(w, w->a, id, 4096, "before");
	pull_device(w, id);
	d = after_reboot(w);
	assert_int_equal(look(w, d, id).place, DRIVER_HERE);
	assert_false(look(w, d, id).attached);
	assert_int_equal(ops->device(d, id, &dev), -ENODEV);
	assert_int_equal(ops->attach(w->b, id, 2, SIZE, 0), -EBUSY);
	assert_ok(ops->attach(d, id, 1, SIZE, 0));
	assert_true(look(w, d, id).attached);
	device_expect(w, d, id, 4096, "before");
	ops->close(d);
}

static void after_a_reboot_the_claim_can_be_given_back(void **state)
{
	struct world *w = *state;
	struct id128 one = attached_volume(w), two = attached_volume(w);
	struct driver *d;

	pull_device(w, one);
	pull_device(w, two);
	d = after_reboot(w);
	assert_ok(ops->detach(d, one, 1));
	assert_ok(ops->attach(w->b, one, 2, SIZE, 0));
	assert_ok(ops->destroy(d, two, 1)); /* ours, and attached nowhere */
	ops->close(d);
}

static void a_device_that_somebody_took_down_is_made_again(void **state)
{
	struct world *w = *state;
	struct id128 id = attached_volume(w);
	struct driver_device dev;

	pull_device(w, id);
	assert_int_equal(look(w, w->a, id).place, DRIVER_HERE);
	assert_false(look(w, w->a, id).attached);
	assert_int_equal(ops->device(w->a, id, &dev), -ENODEV);
	assert_ok(ops->attach(w->a, id, 1, SIZE, 0));
	assert_int_equal(loops_on(w->where), 1);
}

static void another_volume_on_the_same_loop_device_is_not_ours(void **state)
{
	struct world *w = *state;
	struct id128 one = attached_volume(w), two = make_volume(w);
	struct driver_device dev = device_of(w, w->a, one), again;

	pull_device(w, one);
	assert_ok(ops->attach(w->a, two, 1, SIZE, 0)); /* takes the first free device: that one */
	assert_int_equal(ops->device(w->a, one, &again), -ENODEV);
	assert_int_not_equal(device_of(w, w->a, two).diskseq, dev.diskseq);
}

static void a_removed_image_can_still_be_let_go(void **state)
{
	struct world *w = *state;
	struct id128 id = attached_volume(w);

	assert_ok(unlink(volume_file(w, id, "image")));
	assert_true(look(w, w->a, id).attached);
	assert_ok(ops->detach(w->a, id, 1));
	assert_int_equal(loops_on(w->where), 0);
	assert_int_equal(ops->attach(w->a, id, 2, SIZE, 0), -EUCLEAN);
}

static void an_image_of_another_size_is_euclean(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);

	assert_ok(truncate(volume_file(w, id, "image"), SIZE - 512));
	assert_int_equal(ops->attach(w->a, id, 1, SIZE, 0), -EUCLEAN);
	assert_ok(truncate(volume_file(w, id, "image"), SIZE + 512));
	assert_int_equal(ops->attach(w->a, id, 1, SIZE, 0), -EUCLEAN);
	assert_int_equal(look(w, w->a, id).place, DRIVER_FREE);
	assert_ok(truncate(volume_file(w, id, "image"), SIZE));
	assert_ok(ops->attach(w->a, id, 1, SIZE, 0));
}

/* ---- what is left ---- */

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

/* Pages of a file that wait for the disk; -1: this kernel does not tell. */
static long unwritten_pages(const char *path)
{
	struct {
		uint64_t off, len;
	} range = { 0, 0 };
	struct {
		uint64_t cache, dirty, writeback, evicted, recently_evicted;
	} cs = { 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	long r;

	assert_true(fd >= 0);
	r = syscall(SYS_cachestat, fd, &range, &cs, 0);
	close(fd);
	return r < 0 ? -1 : (long)(cs.dirty + cs.writeback);
}

static void no_dirty_page_is_left_of_a_volume_given_back(void **state)
{
	struct world *w = *state;
	struct id128 id = attached_volume(w);
	static char block[MIB];
	int fd = open_device(w, id, O_RDWR);

	if (unwritten_pages(volume_file(w, id, "image")) < 0) {
		close(fd);
		print_message("this kernel has no cachestat(2), which came with 6.5\n");
		skip();
	}
	assert_ok(ioctl(fd, LOOP_SET_DIRECT_IO, 0)); /* the hard case: through the page cache */
	memset(block, 'x', sizeof(block));
	for (int i = 0; i < 8; i++)
		assert_int_equal(pwrite(fd, block, sizeof(block), (off_t)(i * MIB)), sizeof(block));
	assert_ok(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
	assert_true(unwritten_pages(volume_file(w, id, "image")) > 0); /* so the check can fail */
	close(fd);
	assert_ok(ops->detach(w->a, id, 1));
	assert_int_equal(unwritten_pages(volume_file(w, id, "image")), 0);
}

/* Of a cut and an expand at the same time either may come last: the kernel applies the limit in both. */
static void a_cut_outlives_an_expand_that_was_under_way(void **state)
{
	struct world *w = *state;
	struct id128 id = attached_volume(w);
	char block[4096] = "late";
	uint64_t size = SIZE;
	int fd;

	fd = open_device(w, id, O_RDWR);
	assert_ok(truncate(volume_file(w, id, "image"), 2 * SIZE));
	assert_ok(ops->cut(w->a, id));
	assert_ok(ioctl(fd, LOOP_SET_CAPACITY));
	assert_ok(ioctl(fd, BLKGETSIZE64, &size));
	assert_in_range(size, 0, 512);
	assert_true(pwrite(fd, block, sizeof(block), 8192) < 0);
	assert_true(device_of(w, w->a, id).cut);
	close(fd);
	assert_ok(truncate(volume_file(w, id, "image"), SIZE));
}

static void small_blocks_of_a_large_block_disk(void **state)
{
	struct world *w = *state;
	char disk[64], disk_image[100], mnt[100];
	struct driver_option opt = { "root_path", mnt, 1 };
	struct driver_device dev;
	struct driver *d;
	struct id128 id = new_id();
	char *error = NULL;

	snprintf(disk_image, sizeof(disk_image), "%s/disk", w->where);
	snprintf(mnt, sizeof(mnt), "%s/large", w->where);
	run("truncate -s 64M %s && mkdir %s", disk_image, mnt);
	foreign_device(disk_image, "-b 4096", disk);
	run("mkfs.ext4 -q %s", disk);
	assert_ok(mount(disk, mnt, "ext4", 0, NULL));

	assert_ok(ops->open(&w->node_a, &opt, 1, &d, &error));
	assert_ok(ops->create(d, id, new_id(), SIZE, 1));
	assert_ok(ops->attach(d, id, 1, SIZE, 0));
	assert_ok(ops->device(d, id, &dev));
	if (sysfs_number(dev.path, "loop/dio") == 1)
		assert_int_equal(sysfs_number(dev.path, "queue/logical_block_size"), 4096);
	assert_ok(ops->detach(d, id, 1));

	id = new_id(); /* a size that is no multiple of these blocks: smaller ones, page cache */
	assert_ok(ops->create(d, id, new_id(), SIZE + 1024, 1));
	assert_ok(ops->attach(d, id, 1, SIZE + 1024, 0));
	assert_ok(ops->device(d, id, &dev));
	assert_int_equal(dev.size_bytes, SIZE + 1024);
	assert_int_equal(sysfs_number(dev.path, "queue/logical_block_size"), 512);
	assert_int_equal(sysfs_number(dev.path, "loop/dio"), 0);
	assert_ok(ops->detach(d, id, 1));
	ops->close(d);
	assert_ok(umount(mnt));
	run("losetup -d %s", disk);
}

static void a_backend_in_memory_works(void **state)
{
	struct world *w = *state;
	char mnt[100];
	struct driver_option opt = { "root_path", mnt, 1 };
	struct id128 id = new_id();
	struct driver *d;
	char *error = NULL;

	snprintf(mnt, sizeof(mnt), "%s/tmpfs", w->where);
	assert_ok(mkdir(mnt, 0700));
	assert_ok(mount("tmpfs", mnt, "tmpfs", 0, "size=32m,mode=700"));
	assert_ok(ops->open(&w->node_a, &opt, 1, &d, &error));
	assert_ok(ops->create(d, id, new_id(), SIZE, 1));
	assert_ok(ops->attach(d, id, 1, SIZE, 0));
	device_write(w, d, id, 0, "memory");
	assert_ok(ops->detach(d, id, 1));
	assert_ok(ops->attach(d, id, 2, SIZE, 0));
	device_expect(w, d, id, 0, "memory");
	assert_ok(ops->detach(d, id, 2));
	ops->close(d);
	assert_ok(umount(mnt));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_device_says_whose_it_is),
		T(direct_io_is_used_where_the_filesystem_has_it),
		T(an_exclusively_opened_device_is_busy),
		T(a_device_is_not_given_back_while_somebody_has_it_open),
		T(detach_waits_for_a_short_opener),
		T(an_attach_keeps_a_device_that_was_about_to_go),
		T(a_mounted_device_is_busy),
		T(a_mount_in_another_namespace_is_busy_too),
		T(a_cut_device_is_given_back_once_it_is_unmounted),
		T(after_a_reboot_the_same_epoch_attaches_again),
		T(after_a_reboot_the_claim_can_be_given_back),
		T(a_device_that_somebody_took_down_is_made_again),
		T(another_volume_on_the_same_loop_device_is_not_ours),
		T(a_removed_image_can_still_be_let_go),
		T(an_image_of_another_size_is_euclean),
		T(no_dirty_page_is_left_of_a_volume_given_back),
		T(a_cut_outlives_an_expand_that_was_under_way),
		T(small_blocks_of_a_large_block_disk),
		T(a_backend_in_memory_works),
	};

	need_loop_devices();
	own_mount_namespace();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
