/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <fcntl.h>
#include <time.h>

int text_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t v;

	if (!*text || text[strspn(text, "0123456789")] != '\0')
		return -EINVAL;
	errno = 0;
	v = strtoull(text, NULL, 10);
	if (errno || v < min || v > max)
		return -EINVAL;
	*ret = v;
	return 0;
}

uint64_t text_hash(const char *text, size_t size)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < size; i++)
		h = (h ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
	return h;
}

char *text_time(int64_t seconds, char buf[TEXT_TIME_SIZE])
{
	time_t t = (time_t)seconds;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(buf, TEXT_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		strcpy(buf, "?");
	return buf;
}

char *text_bytes(uint64_t n, char buf[TEXT_BYTES_SIZE])
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB" };
	double scaled = (double)n;
	size_t unit = 0;

	for (; scaled >= 1024 && unit + 1 < ARRAY_SIZE(units); unit++)
		scaled /= 1024;
	snprintf(buf, TEXT_BYTES_SIZE, "%.*f %s", unit ? 2 : 0, scaled, units[unit]);
	return buf;
}

int text_fail(char **ret_error, int err, const char *fmt, va_list ap)
{
	char *text;

	if (vasprintf(&text, fmt, ap) < 0)
		return -ENOMEM;
	*ret_error = text;
	return err;
}

ssize_t text_read(int dir_fd, const char *path, char *buf, size_t size)
{
	_cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, size - 1);
	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return n;
}

int text_read_line(int dir_fd, const char *path, char *buf, size_t size)
{
	ssize_t n = text_read(dir_fd, path, buf, size);

	if (n < 0)
		return (int)n;
	buf[strcspn(buf, "\n")] = '\0';
	return 0;
}
