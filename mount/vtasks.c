/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>

#include "text.h"
#include "vtasks.h"

DEFINE_CLEANUP(DIR *, closedir);

int vtask_link(const char *task, const char *what, char *buf, size_t size)
{
	char path[96];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%s/%s", task, what);
	n = readlink(path, buf, size - 1);
	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return 0;
}

void vtask_command(const char *task, char buf[32])
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%s/comm", task);
	if (text_read(AT_FDCWD, path, buf, 32) <= 0)
		strcpy(buf, "?");
	buf[strcspn(buf, "\n")] = '\0';
	for (char *c = buf; *c; c++)
		if (!isprint((unsigned char)*c))
			*c = '?';
}

/* The letter after the command's closing parenthesis: 'R', 'S', 'D' ... */
static char state_of(const char *task)
{
	char path[64], buf[128], *end;

	snprintf(path, sizeof(path), "/proc/%s/stat", task);
	if (text_read(AT_FDCWD, path, buf, sizeof(buf)) <= 0)
		return '?';
	end = strrchr(buf, ')');
	return end && end[1] == ' ' ? end[2] : '?';
}

/* Do two tasks have their own copy? When the kernel does not tell: no. */
static bool differs(pid_t a, pid_t b, int type)
{
	return syscall(SYS_kcmp, a, b, type, 0, 0) > 0;
}

static pid_t parse_id(const char *name)
{
	return isdigit((unsigned char)name[0]) ? atoi(name) : 0;
}

static int walk_threads(
	pid_t pid, DIR *dir, int (*cb)(const struct vtask *t, void *userdata), void *userdata)
{
	struct dirent *de;
	int r = 0;

	while (r == 0 && (de = readdir(dir))) {
		struct vtask t = { .pid = pid, .tid = parse_id(de->d_name) };

		if (t.tid <= 0 || t.tid == pid)
			continue;
		t.own_files = differs(pid, t.tid, KCMP_FILES);
		t.own_fs = differs(pid, t.tid, KCMP_FS);
		if (!t.own_files && !t.own_fs)
			continue;
		snprintf(t.name, sizeof(t.name), "%d/task/%d", pid, t.tid);
		r = cb(&t, userdata);
	}
	return r;
}

static bool any_stuck(pid_t pid, DIR *dir)
{
	struct dirent *de;
	char name[40];

	while ((de = readdir(dir))) {
		pid_t tid = parse_id(de->d_name);

		if (tid <= 0)
			continue;
		snprintf(name, sizeof(name), "%d/task/%d", pid, tid);
		if (state_of(name) == 'D')
			return true;
	}
	return false;
}

static int walk_process(pid_t pid, int (*cb)(const struct vtask *t, void *userdata), void *userdata)
{
	struct vtask t = {
		.pid = pid, .tid = pid, .leader = true, .own_files = true, .own_fs = true
	};
	_cleanup_(closedirp) DIR *dir = NULL;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return 0;
	snprintf(t.name, sizeof(t.name), "%d", pid);
	t.stuck = any_stuck(pid, dir);
	r = cb(&t, userdata);
	if (r != 0)
		return r;
	rewinddir(dir);
	return walk_threads(pid, dir, cb, userdata);
}

int vtasks_walk(int (*cb)(const struct vtask *t, void *userdata), void *userdata)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	struct dirent *de;
	int r = 0;

	dir = opendir("/proc");
	if (!dir)
		return -errno;
	while (r == 0 && (de = readdir(dir))) {
		pid_t pid = parse_id(de->d_name);

		if (pid > 0)
			r = walk_process(pid, cb, userdata);
	}
	return r;
}
