/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ops - one file operation again and again.
 *
 *	ops read|stat DIRECTORY NAME COUNT
 *
 * Prints the nanoseconds of one: open, read and close; or stat.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void read_once(int dir, const char *name)
{
	char buf[4096];
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, buf, sizeof(buf)) <= 0)
		err(1, "%s", name);
	close(fd);
}

static void stat_once(int dir, const char *name)
{
	struct stat st;

	if (fstatat(dir, name, &st, 0) < 0)
		err(1, "%s", name);
}

int main(int argc, char **argv)
{
	void (*op)(int dir, const char *name);
	long count, i;
	uint64_t begun;
	int dir;

	if (argc != 5)
		errx(1, "usage: ops read|stat DIRECTORY NAME COUNT");
	op = strcmp(argv[1], "read") == 0 ? read_once : stat_once;
	dir = open(argv[2], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		err(1, "%s", argv[2]);
	count = atol(argv[4]);
	op(dir, argv[3]);
	begun = now_ns();
	for (i = 0; i < count; i++)
		op(dir, argv[3]);
	printf("%llu\n", (unsigned long long)((now_ns() - begun) / (uint64_t)count));
	return 0;
}
