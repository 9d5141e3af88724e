/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/close_range.h>
#include <linux/loop.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "rig.h"
#include "vholders.h"

struct rig rig;

static bool prepare(const char **ret_missing)
{
	if (geteuid() != 0)
		*ret_missing = "root";
	else if (access("/dev/loop-control", R_OK | W_OK) < 0)
		*ret_missing = "loop devices";
	else if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		*ret_missing = "a mount namespace of its own";
	else
		return true;
	return false;
}

static void *work(void *arg)
{
	int (*tests)(void) = *(int (**)(void))arg;

	if (close_range(3, ~0U, CLOSE_RANGE_UNSHARE) < 0)
		return (void *)1;
	return (void *)(intptr_t)tests();
}

int rig_run(int (*tests)(void))
{
	const char *missing;
	char name[100];
	pthread_t worker;
	void *failed;

	if (!prepare(&missing)) {
		fprintf(stderr, "skipped: needs %s\n", missing);
		return 77;
	}
	strcpy(rig.dir, "/var/tmp/flocker-mount-XXXXXX");
	if (!mkdtemp(rig.dir))
		return 1;
	snprintf(rig.root, sizeof(rig.root), "%s/a root", rig.dir);

	if (pthread_create(&worker, NULL, work, &tests) != 0 || pthread_join(worker, &failed) != 0)
		return 1;
	rmdir(rig.root);
	snprintf(name, sizeof(name), "%s/bin", rig.dir);
	rmdir(name);
	if (rmdir(rig.dir) < 0)
		fprintf(stderr, "left behind: %s: %s\n", rig.dir, strerror(errno));
	return failed != NULL;
}

/* GET_FREE only suggests a number: somebody else may be faster. */
static int configure(struct disk *d, int control)
{
	struct loop_config config = {
		.fd = (uint32_t)d->image,
		.info = { .lo_flags = LO_FLAGS_AUTOCLEAR },
	};
	int n;

	n = ioctl(control, LOOP_CTL_GET_FREE);
	assert_true(n >= 0);
	snprintf(d->device, sizeof(d->device), "/dev/loop%d", n);
	d->fd = open(d->device, O_RDWR | O_CLOEXEC);
	assert_true(d->fd >= 0);
	if (ioctl(d->fd, LOOP_CONFIGURE, &config) == 0)
		return 0;
	assert_int_equal(errno, EBUSY);
	close(d->fd);
	return -EBUSY;
}

void disk_new(struct disk *d, uint64_t size)
{
	struct stat st;
	int control;

	d->size = size;
	d->image = open(rig.dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	assert_true(d->image >= 0);
	assert_int_equal(ftruncate(d->image, (off_t)size), 0);
	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	assert_true(control >= 0);
	while (configure(d, control) < 0)
		;
	close(control);
	assert_int_equal(fstat(d->fd, &st), 0);
	d->devno = st.st_rdev;
	assert_int_equal(ioctl(d->fd, BLKGETDISKSEQ, &d->diskseq), 0);
}

void disk_end(struct disk *d)
{
	close(d->fd);
	close(d->image);
}

void disk_grow(struct disk *d, uint64_t size)
{
	assert_int_equal(ftruncate(d->image, (off_t)size), 0);
	assert_int_equal(ioctl(d->fd, LOOP_SET_CAPACITY), 0);
	d->size = size;
}

void disk_write(struct disk *d, uint64_t at, const void *data, size_t n)
{
	assert_int_equal(pwrite(d->fd, data, n, (off_t)at), n);
	assert_int_equal(fsync(d->fd), 0);
}

uint64_t disk_checksum(struct disk *d)
{
	static uint64_t words[MIB / sizeof(uint64_t)];
	uint64_t sum = 0;

	assert_int_equal(fsync(d->fd), 0);
	for (off_t at = 0; (at = lseek(d->image, at, SEEK_DATA)) >= 0; at += (off_t)sizeof(words)) {
		ssize_t n;

		at -= at % (off_t)sizeof(words);
		memset(words, 0, sizeof(words));
		n = pread(d->image, words, sizeof(words), at);
		assert_true(n > 0);
		for (size_t i = 0; i < ARRAY_SIZE(words); i++)
			if (words[i] != 0)
				sum = (sum ^ (words[i] + (uint64_t)at + i)) * 0x100000001b3;
	}
	return sum;
}

struct id128 new_uuid(void)
{
	struct id128 id;

	assert_int_equal(id128_random(&id), 0);
	return id;
}

struct vformat_request format_request(const struct disk *d, enum fs_kind fs, struct id128 uuid)
{
	return (struct vformat_request){
		.device = d->device,
		.devno = d->devno,
		.diskseq = d->diskseq,
		.size_bytes = d->size,
		.fs = fs,
		.fs_uuid = uuid,
		.limit_s = 60,
	};
}

struct vmount_request mount_request(const struct disk *d, enum fs_kind fs, struct id128 uuid)
{
	return (struct vmount_request){
		.device = d->device,
		.devno = d->devno,
		.diskseq = d->diskseq,
		.mount_root = rig.root,
		.name = "dataset",
		.fs = fs,
		.fs_uuid = uuid,
	};
}

void format(const struct disk *d, enum fs_kind fs, struct id128 uuid)
{
	struct vformat_request rq = format_request(d, fs, uuid);
	char why[300] = "";

	if (vformat_make(&rq, why, sizeof(why)) != 0)
		fail_msg("cannot format: %s", why);
}

void sh(const char *fmt, ...)
{
	char command[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	if (system(command) != 0)
		fail_msg("failed: %s", command);
}

const char *place(const char *file)
{
	static char ring[4][200];
	static unsigned int next;
	char *buf = ring[next++ % ARRAY_SIZE(ring)];

	snprintf(buf, sizeof(ring[0]), "%s/dataset%s%s", rig.root, file[0] ? "/" : "", file);
	return buf;
}

pid_t child(void (*body)(void *arg), void *arg)
{
	int ready[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		body(arg);
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return pid;
}

void child_end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

char *holders(const struct disk *d)
{
	char *text, *kept, *end, self[32], worker[32];
	size_t n;

	assert_int_equal(vholders_find(d->devno, place(""), &text, &n), 0);
	snprintf(self, sizeof(self), "pid %d (", getpid());
	snprintf(worker, sizeof(worker), "pid %d, ", getpid());
	kept = calloc(1, strlen(text) + 1);
	assert_non_null(kept);
	for (char *line = text; *line; line = end) {
		end = strchr(line, '\n');
		assert_non_null(end);
		end++;
		if (strncmp(line, self, strlen(self)) != 0 &&
			strncmp(line, worker, strlen(worker)) != 0)
			strncat(kept, line, (size_t)(end - line));
	}
	free(text);
	return kept;
}

void assert_contains_at(const char *text, const char *word, const char *file, int line)
{
	if (strstr(text, word))
		return;
	print_error("'%s' is not in:\n%s\n", word, text);
	_fail(file, line);
}
