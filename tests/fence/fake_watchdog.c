/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_watchdog.c - a watchdog that resets nothing. It is a file that says "MIN MAX", the timeouts
 * that it takes, and perhaps how many ms a kick or its end needs; or "busy" or "for ever". What is done to it is kept in FILE.log with its time, ns
 * of CLOCK_BOOTTIME.
 */
#include "watchdog_device.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static unsigned min_s, max_s, slow_ms;

static void keep(int fd, const char *what, unsigned n)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	dprintf(fd, "%s %u %" PRIu64 "\n", what, n,
		(uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec);
}

int watchdog_open(const char *path, char *ret_name)
{
	char text[64] = "", log[PATH_MAX];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (read(fd, text, sizeof(text) - 1) < 0)
		return -errno;
	close(fd);
	if (sscanf(text, "%u %u %u", &min_s, &max_s, &slow_ms) < 2)
		return strncmp(text, "busy", 4) == 0 ? -EBUSY : -EPERM;
	snprintf(log, sizeof(log), "%s.log", path);
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	snprintf(ret_name, WATCHDOG_NAME_MAX, "a fake");
	keep(fd, "open", 0);
	return fd;
}

int watchdog_kick(int fd, unsigned timeout_s)
{
	if (timeout_s < min_s || timeout_s > max_s)
		return -EINVAL;
	usleep(slow_ms * 1000);
	keep(fd, "kick", timeout_s);
	return (int)timeout_s;
}

int watchdog_close(int fd)
{
	usleep(slow_ms * 1000);
	keep(fd, "off", 0);
	close(fd);
	return 0;
}

bool watchdog_is_with_init(void)
{
	return true;
}
