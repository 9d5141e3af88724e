/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
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

static void cannot_run(const char *why)
{
	fprintf(stderr, "skipped: %s\n", why);
	exit(77);
}

int rig_start(void **state)
{
	if (geteuid() != 0)
		cannot_run("needs root");
	if (access("/dev/loop-control", R_OK | W_OK) < 0)
		cannot_run("needs loop devices");
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		cannot_run("needs a mount namespace of its own");
	strcpy(rig.dir, "/var/tmp/flocker-mount-XXXXXX");
	if (!mkdtemp(rig.dir))
		return -1;
	snprintf(rig.root, sizeof(rig.root), "%s/a root", rig.dir);
	return 0;
}

int rig_end(void **state)
{
	char name[100];

	rmdir(rig.root);
	snprintf(name, sizeof(name), "%s/bin", rig.dir);
	rmdir(name);
	return rmdir(rig.dir);
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
	char *text, *kept, *end, self[32];
	size_t n;

	assert_int_equal(vholders_find(d->devno, place(""), &text, &n), 0);
	snprintf(self, sizeof(self), "pid %d (", getpid());
	kept = calloc(1, strlen(text) + 1);
	assert_non_null(kept);
	for (char *line = text; *line; line = end) {
		end = strchr(line, '\n');
		assert_non_null(end);
		end++;
		if (strncmp(line, self, strlen(self)) != 0)
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
