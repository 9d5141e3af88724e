/* SPDX-License-Identifier: Apache-2.0 */
#define FUSE_USE_VERSION 312
#include <fcntl.h>
#include <fuse.h>
#include <sys/stat.h>
#include <time.h>

#include "harness.h"
#include "strangers.h"

static int on_getattr(const char *path, struct stat *ret, struct fuse_file_info *fi)
{
	bool root = STREQ(path, "/");

	if (!root && !STREQ(path, "/image"))
		return -ENOENT;
	*ret = (struct stat){ .st_mode = root ? S_IFDIR | 0700 : S_IFREG | 0600, .st_nlink = 1 };
	ret->st_size = root ? 0 : (off_t)MIB;
	return 0;
}

static int on_open(const char *path, struct fuse_file_info *fi)
{
	return 0;
}

static int on_read(const char *path, char *buf, size_t size, off_t at, struct fuse_file_info *fi)
{
	memset(buf, 0, size);
	return (int)size;
}

static int on_write(const char *path, const char *buf, size_t size, off_t at,
	struct fuse_file_info *fi)
{
	return (int)size;
}

static const struct fuse_operations operations = {
	.getattr = on_getattr,
	.open = on_open,
	.read = on_read,
	.write = on_write,
};

pid_t deadfs_start(const char *dir)
{
	char program[] = "deadfs", foreground[] = "-f", one[] = "-s", place[128], path[160];
	const struct timespec nap = { .tv_nsec = 10000000 };
	char *argv[] = { program, foreground, one, place, NULL };
	struct stat st;
	pid_t pid;

	snprintf(place, sizeof(place), "%s", dir);
	snprintf(path, sizeof(path), "%s/image", dir);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fuse_main(4, argv, &operations, NULL));
	for (unsigned int n = 0; stat(path, &st) < 0; n++) {
		assert_true(n < 1000);
		nanosleep(&nap, NULL);
	}
	return pid;
}

int long_path_open(const char *where)
{
	_cleanup_close_ int at = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[201];
	int fd;

	memset(name, 'd', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (unsigned int n = 0; n < 21; n++) {
		assert_ok(mkdirat(at, name, 0700));
		fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(fd >= 0);
		close(at);
		at = fd;
	}
	fd = openat(at, "image", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_ok(ftruncate(fd, MIB));
	return fd;
}

void foreign_device(const char *path, const char *options, char device[64])
{
	char command[300];
	FILE *f;

	snprintf(command, sizeof(command), "losetup -f --show %s %s", options, path);
	f = popen(command, "re");
	assert_non_null(f);
	assert_non_null(fgets(device, 64, f));
	device[strcspn(device, "\n")] = '\0';
	assert_ok(pclose(f));
}

/* Who looks at all devices of the machine has it open for a moment, and so keeps it as long. */
void foreign_device_end(const char *device)
{
	char path[96];

	run("losetup -d %s", device);
	snprintf(path, sizeof(path), "/sys/block/%s/loop", device + strlen("/dev/"));
	for (unsigned int n = 0; n < 500 && access(path, F_OK) == 0; n++)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
}
