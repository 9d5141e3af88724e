/* SPDX-License-Identifier: Apache-2.0 */
/* A busy dataset names who keeps it, and is free soon after they end. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>

#include "rig.h"
#include "vholders.h"

static char why[400];

static void must_mount(const struct disk *d, enum fs_kind fs, struct id128 uuid)
{
	struct vmount_request rq = mount_request(d, fs, uuid);
	int r = vmount_mount(&rq, why, sizeof(why));

	if (r != 0)
		fail_msg("cannot mount: %d %s", r, why);
}

static int unmount_it(const struct disk *d)
{
	why[0] = '\0';
	return vmount_unmount(rig.root, "dataset", d->devno, why, sizeof(why));
}

static void must_unmount(const struct disk *d)
{
	int r = unmount_it(d);

	if (r != 0)
		fail_msg("cannot unmount: %d %s", r, why);
}

static void stay_in(void *arg)
{
	if (chdir(place("")) < 0)
		_exit(1);
}

static void open_file(void *arg)
{
	if (open(place("the file"), O_RDWR | O_CREAT, 0600) < 0)
		_exit(1);
}

static void map_file(void *arg)
{
	int fd = open(place("the file"), O_RDWR | O_CREAT, 0600);

	if (fd < 0 || ftruncate(fd, 4096) < 0 ||
		mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED)
		_exit(1);
	close(fd);
}

static void live_in(void *arg)
{
	if (chroot(place("")) < 0 || chdir("/") < 0)
		_exit(1);
}

static void copy_namespace(void *arg)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		_exit(1);
}

static void use_copy(void *arg)
{
	copy_namespace(arg);
	open_file(arg);
}

static void *hold_in_thread(void *arg)
{
	if (unshare(CLONE_FILES | CLONE_FS) < 0 || chdir(place("")) < 0)
		_exit(1);
	open_file(NULL);
	pthread_barrier_wait(arg);
	for (;;)
		pause();
}

static void thread_holds(void *arg)
{
	static pthread_barrier_t barrier;
	pthread_t t;

	pthread_barrier_init(&barrier, NULL, 2);
	if (pthread_create(&t, NULL, hold_in_thread, &barrier) != 0)
		_exit(1);
	pthread_barrier_wait(&barrier);
}

static const struct {
	const char *name;
	void (*body)(void *arg);
	const char *words[3];
} ways[] = {
	{ "cwd", stay_in, { "cwd ", "a root/dataset" } },
	{ "file", open_file, { "open file ", "a root/dataset/the file" } },
	{ "map", map_file, { "mapped file ", "a root/dataset/the file" } },
	{ "root", live_in, { "root ", "a root/dataset" } },
	{ "thread", thread_holds, { "thread", "cwd ", "open file " } },
	{ "copy", copy_namespace, { "mounted at ", "a root/dataset", "in mount namespace 4026" } },
	{ "file in copy", use_copy, { "open file ", "the file", "in mount namespace 4026" } },
};

static void each_way_to_be_busy_is_named(void **state)
{
	for (enum fs_kind fs = 0; fs < FS_KIND_MAX; fs++) {
		struct id128 uuid = new_uuid();
		struct disk d;

		disk_new(&d, DISK_SIZE);
		format(&d, fs, uuid);
		for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
			char pid[40], *text;
			pid_t holder;

			must_mount(&d, fs, uuid);
			text = holders(&d);
			assert_string_equal(text, "");
			free(text);
			holder = child(ways[i].body, NULL);
			/* asked before: after, the mount may be gone from this namespace */
			assert_int_equal(unmount_it(&d), -EBUSY);
			text = holders(&d);
			if (fs == FS_EXT4)
				print_message("%s", text);
			snprintf(pid, sizeof(pid), "pid %d", holder);
			assert_contains(text, pid);
			for (size_t w = 0; w < 3 && ways[i].words[w]; w++)
				assert_contains(text, ways[i].words[w]);
			free(text);
			assert_int_equal(unmount_it(&d), -EBUSY);
			child_end(holder);
			must_unmount(&d);
			assert_int_equal(access(place(""), F_OK), -1);
		}
		disk_end(&d);
	}
}

static void the_disk(const struct disk *d, const char *word)
{
	char *text = holders(d);

	assert_contains(text, word);
	free(text);
	assert_int_equal(unmount_it(d), -EBUSY);
}

static void open_device(void *arg)
{
	if (open(arg, O_RDONLY | O_CLOEXEC) < 0)
		_exit(1);
}

static void what_the_kernel_holds_is_named(void **state)
{
	struct id128 uuid = new_uuid();
	struct disk d, inner;
	char other[100];
	pid_t pid;

	disk_new(&d, DISK_SIZE);
	format(&d, FS_EXT4, uuid);
	must_mount(&d, FS_EXT4, uuid);

	sh("truncate -s 10M '%s' && losetup -f '%s'", place("image"), place("image"));
	the_disk(&d, "loop device loop");
	sh("losetup -d $(losetup -n -O NAME -j '%s')", place("image"));

	assert_int_equal(mkdir(place("below"), 0700), 0);
	assert_int_equal(mount("none", place("below"), "tmpfs", 0, NULL), 0);
	the_disk(&d, "tmpfs mounted on it at ");
	assert_int_equal(umount2(place("below"), 0), 0);

	snprintf(other, sizeof(other), "%s/bin", rig.dir);
	mkdir(other, 0700);
	assert_int_equal(mount(place(""), other, NULL, MS_BIND, NULL), 0);
	the_disk(&d, other); /* unmounted there, alive here */
	assert_int_equal(umount2(other, 0), 0);
	must_unmount(&d);

	must_mount(&d, FS_EXT4, uuid);
	disk_new(&inner, DISK_SIZE);
	pid = child(open_device, d.device);
	{
		char *text = holders(&d);

		assert_contains(text, "has the device open as /dev/loop");
		free(text);
	}
	child_end(pid);
	disk_end(&inner);
	must_unmount(&d);
	disk_end(&d);
}

static void swap_is_named(void **state)
{
	struct id128 uuid = new_uuid();
	struct disk d;

	disk_new(&d, DISK_SIZE);
	format(&d, FS_EXT4, uuid);
	must_mount(&d, FS_EXT4, uuid);
	sh("dd if=/dev/zero of='%s' bs=1M count=10 status=none && chmod 600 '%s' && mkswap -q '%s'",
		place("swap"), place("swap"), place("swap"));
	if (swapon(place("swap"), 0) < 0) {
		print_message("this kernel does not swap: %s\n", strerror(errno));
		must_unmount(&d);
		disk_end(&d);
		skip();
	}
	the_disk(&d, "swap on ");
	assert_int_equal(swapoff(place("swap")), 0);
	must_unmount(&d);
	disk_end(&d);
}

/* Somebody else was less patient: the mount is gone from every table, and its user is not. */
static void users_of_a_lazily_unmounted_filesystem_are_named(void **state)
{
	struct id128 uuid = new_uuid();
	struct disk d;
	pid_t a, b, c;
	char *text, pid[40];

	disk_new(&d, DISK_SIZE);
	format(&d, FS_EXT4, uuid);
	must_mount(&d, FS_EXT4, uuid);
	a = child(stay_in, NULL);
	b = child(open_file, NULL);
	c = child(map_file, NULL);
	assert_int_equal(umount2(place(""), MNT_DETACH), 0);
	assert_int_equal(unmount_it(&d), -EBUSY);
	text = holders(&d);
	snprintf(pid, sizeof(pid), "pid %d", a);
	assert_contains(text, pid);
	snprintf(pid, sizeof(pid), "pid %d", b);
	assert_contains(text, pid);
	snprintf(pid, sizeof(pid), "pid %d", c);
	assert_contains(text, pid);
	free(text);
	child_end(a);
	child_end(b);
	child_end(c);
	must_unmount(&d);
	disk_end(&d);
}

/* A namespace without a process, kept by a descriptor: it cannot be seen into, but be suspected. */
static void a_namespace_without_process_is_suspected(void **state)
{
	struct id128 uuid = new_uuid();
	struct disk d;
	char path[40], *text;
	pid_t pid;
	int fd;

	disk_new(&d, DISK_SIZE);
	format(&d, FS_EXT4, uuid);
	must_mount(&d, FS_EXT4, uuid);
	pid = child(copy_namespace, NULL);
	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	child_end(pid);
	assert_int_equal(unmount_it(&d), -EBUSY);
	/* Not holders(): the descriptor of the loop device in this very process would be found
	 * first. */
	close(d.fd);
	{
		size_t n;

		assert_int_equal(vholders_find(d.devno, place(""), &text, &n), 0);
		assert_int_equal(n, 1);
	}
	assert_contains(text, "perhaps mount namespace 4026");
	free(text);
	close(fd);
	close(d.image);
	d.fd = open("/dev/null", O_RDONLY);
	close(d.fd);
	assert_int_equal(vmount_unmount(rig.root, "dataset", 0, why, sizeof(why)), 0);
}

static void many_holders_are_counted(void **state)
{
	struct id128 uuid = new_uuid();
	pid_t pids[VHOLDERS_MAX + 8];
	char *text, *end;
	struct disk d;
	size_t n;

	disk_new(&d, DISK_SIZE);
	format(&d, FS_EXT4, uuid);
	must_mount(&d, FS_EXT4, uuid);
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++)
		pids[i] = child(stay_in, NULL);
	assert_int_equal(vholders_find(d.devno, place(""), &text, &n), 0);
	assert_int_equal(n, ARRAY_SIZE(pids) + 1); /* and this process, with the device */
	end = strstr(text, "and 9 more\n");
	assert_non_null(end);
	assert_int_equal(strlen(end), strlen("and 9 more\n"));
	free(text);
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++)
		child_end(pids[i]);
	must_unmount(&d);
	disk_end(&d);
}

static void slave_namespace(void *arg)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		_exit(1);
}

static void use_slave(void *arg)
{
	slave_namespace(arg);
	open_file(arg);
}

/* As of nodes in slave namespaces of one machine: their copies go with the mount, their users do not. */
static void copies_that_go_along_are_none_of_its_holders(void **state)
{
	struct id128 uuid = new_uuid();
	pid_t quiet, user;
	struct disk d;
	char *text, pid[40];

	disk_new(&d, DISK_SIZE);
	format(&d, FS_EXT4, uuid);
	mkdir(rig.root, 0700);
	assert_int_equal(mount(rig.root, rig.root, NULL, MS_BIND, NULL), 0);
	assert_int_equal(mount(NULL, rig.root, NULL, MS_SHARED, NULL), 0);
	must_mount(&d, FS_EXT4, uuid);
	quiet = child(slave_namespace, NULL);
	text = holders(&d);
	assert_null(strstr(text, "mounted at"));
	free(text);
	user = child(use_slave, NULL);
	assert_int_equal(unmount_it(&d), -EBUSY);
	text = holders(&d);
	snprintf(pid, sizeof(pid), "pid %d", user);
	assert_contains(text, pid);
	assert_contains(text, "open file ");
	assert_contains(text, "in mount namespace 4026");
	assert_null(strstr(text, "mounted at"));
	free(text);
	child_end(user);
	must_unmount(&d);
	child_end(quiet);
	assert_int_equal(umount2(rig.root, 0), 0);
	disk_end(&d);
}

static void the_mount_itself_is_none_of_its_holders(void **state)
{
	char link[100], path[120], *text;
	struct id128 uuid = new_uuid();
	struct disk d;
	size_t n;

	disk_new(&d, DISK_SIZE);
	format(&d, FS_BTRFS, uuid);
	must_mount(&d, FS_BTRFS, uuid);
	snprintf(link, sizeof(link), "%s/link", rig.dir);
	assert_int_equal(symlink("a root", link), 0);
	snprintf(path, sizeof(path), "%s/dataset", link);
	assert_int_equal(vholders_find(d.devno, path, &text, &n), 0);
	assert_null(strstr(text, "mounted at"));
	free(text);
	assert_int_equal(vholders_find(d.devno, NULL, &text, &n), 0);
	assert_contains(text, "mounted at");
	free(text);
	assert_int_equal(vmount_unmount(link, "dataset", d.devno, why, sizeof(why)), 0);
	assert_int_equal(unlink(link), 0);
	disk_end(&d);
}

static void a_file_name_cannot_forge_a_line(void **state)
{
	struct id128 uuid = new_uuid();
	struct disk d;
	char *text;
	int fd;
	size_t n;

	disk_new(&d, DISK_SIZE);
	format(&d, FS_EXT4, uuid);
	must_mount(&d, FS_EXT4, uuid);
	fd = open(place("a\npid 1 (init): cwd \033[31m \302\233" "31m \377 \303\274"),
		O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(vholders_find(d.devno, place(""), &text, &n), 0);
	assert_int_equal(n, 1);
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	assert_null(strchr(text, '\033'));
	assert_null(strstr(text, "\302\233")); /* the same command to a terminal, as U+009B */
	assert_null(strchr(text, '\377'));
	assert_non_null(strstr(text, "\303\274")); /* a letter stays one */
	free(text);
	close(fd);
	must_unmount(&d);
	disk_end(&d);
}

static int all_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_way_to_be_busy_is_named),
		cmocka_unit_test(what_the_kernel_holds_is_named),
		cmocka_unit_test(swap_is_named),
		cmocka_unit_test(users_of_a_lazily_unmounted_filesystem_are_named),
		cmocka_unit_test(a_namespace_without_process_is_suspected),
		cmocka_unit_test(many_holders_are_counted),
		cmocka_unit_test(copies_that_go_along_are_none_of_its_holders),
		cmocka_unit_test(the_mount_itself_is_none_of_its_holders),
		cmocka_unit_test(a_file_name_cannot_forge_a_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return rig_run(all_tests);
}
