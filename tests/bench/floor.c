/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor - what moving a loopback ext4 dataset costs at the very least: the bare system calls.
 *
 *	floor IMAGE A B SCRATCH
 *
 * The image is mounted at A, then at B, then at A, once for each line on standard input; each time the
 * nanoseconds of one move are printed: unmount, detach, one durable write, attach, mount, one durable
 * write. Nothing is checked, nobody is asked. At the end of input everything is taken down.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

static char device[32];

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void write_durably(const char *path, uint64_t value)
{
	char block[4096] = "";
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	memcpy(block, &value, sizeof(value));
	if (fd < 0 || pwrite(fd, block, sizeof(block), 0) != sizeof(block) || fdatasync(fd) < 0)
		err(1, "%s", path);
	close(fd);
}

static void attach(const char *image)
{
	struct loop_config config = { .block_size = 512, .info.lo_flags = LO_FLAGS_DIRECT_IO };
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), fd, number;

	config.fd = (uint32_t)open(image, O_RDWR | O_CLOEXEC);
	for (;;) {
		number = ioctl(control, LOOP_CTL_GET_FREE);
		snprintf(device, sizeof(device), "/dev/loop%d", number);
		fd = open(device, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			err(1, "%s", device);
		if (ioctl(fd, LOOP_CONFIGURE, &config) == 0)
			break;
		if (errno != EBUSY)
			err(1, "LOOP_CONFIGURE");
		close(fd);
	}
	close(fd);
	close((int)config.fd);
	close(control);
}

static void detach(void)
{
	int fd = open(device, O_RDWR | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, LOOP_CLR_FD) < 0)
		err(1, "LOOP_CLR_FD");
	close(fd);
}

static void mount_at(const char *place)
{
	if (mount(device, place, "ext4", MS_NOSUID | MS_NODEV, NULL) < 0)
		err(1, "mount %s", place);
}

int main(int argc, char **argv)
{
	const char *image, *places[2], *scratch;
	char line[64], first[4096], second[4096];
	unsigned int at = 0;

	if (argc != 5)
		errx(1, "usage: floor IMAGE A B SCRATCH");
	image = argv[1];
	places[0] = argv[2];
	places[1] = argv[3];
	scratch = argv[4];
	snprintf(first, sizeof(first), "%s/first", scratch);
	snprintf(second, sizeof(second), "%s/second", scratch);
	attach(image);
	mount_at(places[at]);
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t begun = now_ns();

		if (umount2(places[at], 0) < 0)
			err(1, "umount %s", places[at]);
		detach();
		write_durably(first, begun);
		attach(image);
		at = !at;
		mount_at(places[at]);
		write_durably(second, begun);
		printf("%llu\n", (unsigned long long)(now_ns() - begun));
		fflush(stdout);
	}
	if (umount2(places[at], 0) < 0)
		err(1, "umount %s", places[at]);
	detach();
	return 0;
}
