/* SPDX-License-Identifier: Apache-2.0 */
#include "watchdog_device.h"

#include <fcntl.h>
#include <linux/watchdog.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MISC_MAJOR 10 /* of /dev/watchdog, another name of watchdog0 */
#define INIT_FDS 256

/* Asked before it is opened, since it could not be closed any more. One that does not say is left alone. */
static bool can_be_closed(dev_t devno)
{
	_cleanup_close_ int fd = -EBADF;
	char path[64] = "/sys/class/watchdog/watchdog0/nowayout", c;

	if (major(devno) != MISC_MAJOR)
		snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/nowayout", major(devno),
			minor(devno));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && read(fd, &c, 1) == 1 && c == '0';
}

int watchdog_open(const char *path, char *ret_name)
{
	_cleanup_close_ int fd = -EBADF;
	struct watchdog_info info = { 0 };
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISCHR(st.st_mode))
		return -ENOTTY;
	if (!can_be_closed(st.st_rdev))
		return -EPERM;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (ioctl(fd, WDIOC_GETSUPPORT, &info) < 0)
		return -errno;
	snprintf(ret_name, WATCHDOG_NAME_MAX, "%.32s", (const char *)info.identity);
	return TAKE_FD(fd);
}

int watchdog_kick(int fd, unsigned timeout_s)
{
	int t = (int)timeout_s;

	/* Some have one that cannot be changed. Not all drivers take a new one for a kick. */
	if (ioctl(fd, WDIOC_SETTIMEOUT, &t) < 0) {
		if (errno != EOPNOTSUPP && errno != ENOTTY)
			return -errno;
		if (ioctl(fd, WDIOC_GETTIMEOUT, &t) < 0)
			return -errno;
	}
	return ioctl(fd, WDIOC_KEEPALIVE, 0) < 0 ? -errno : t;
}

int watchdog_close(int fd)
{
	int r = write(fd, "V", 1) == 1 ? 0 : -errno;

	close(fd);
	return r;
}

bool watchdog_is_with_init(void)
{
	static const char device[] = "/dev/watchdog";
	char path[32], target[sizeof(device)];

	for (int i = 0; i < INIT_FDS; i++) {
		snprintf(path, sizeof(path), "/proc/1/fd/%d", i);
		if (readlink(path, target, sizeof(target)) >= (ssize_t)sizeof(device) - 1 &&
			memcmp(target, device, sizeof(device) - 1) == 0)
			return true;
	}
	return false;
}
