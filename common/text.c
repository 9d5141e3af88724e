/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <fcntl.h>
#include <strings.h>
#include <time.h>

#define SIZE_MAXIMUM ((unsigned __int128)(INT64_MAX - 1023))

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

void text_one_line(char *text)
{
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
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

/* ---- sizes that people write ---- */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The power of 1024 that @text is, all of it: "", "K", "kb", "MiB"; -EINVAL. */
static int unit_power(const char *text)
{
	static const char units[] = "KMGTP";
	const char *at;

	if (*text == '\0' || strcasecmp(text, "b") == 0)
		return 0;
	at = strchr(units, *text & ~0x20);
	if (!at || *at == '\0')
		return -EINVAL;
	text++;
	if (*text != '\0' && strcasecmp(text, "b") != 0 && strcasecmp(text, "ib") != 0)
		return -EINVAL;
	return (int)(at - units) + 1;
}

int text_size(const char *text, uint64_t *ret_bytes)
{
	unsigned __int128 whole = 0, fraction = 0, scale = 1, bytes;
	const char *p = text;
	bool point = false;
	int power;

	if (!is_digit(*p))
		return -EINVAL;
	for (; is_digit(*p); p++) {
		whole = whole * 10 + (unsigned int)(*p - '0');
		if (whole > SIZE_MAXIMUM)
			return -ERANGE;
	}
	if (*p == '.') {
		point = true;
		if (!is_digit(*++p))
			return -EINVAL;
		for (; is_digit(*p); p++) {
			if (scale > 1000000000000000ull)
				return -EINVAL; /* more digits than any size needs */
			fraction = fraction * 10 + (unsigned int)(*p - '0');
			scale *= 10;
		}
	}
	power = unit_power(p);
	if (power < 0 || (point && power == 0))
		return -EINVAL;

	bytes = (whole << (10 * power)) + ((fraction << (10 * power)) + scale - 1) / scale;
	if (bytes > SIZE_MAXIMUM)
		return -ERANGE;
	if (bytes == 0)
		return -EINVAL;
	*ret_bytes = ((uint64_t)bytes + 1023) / 1024 * 1024;
	return 0;
}
