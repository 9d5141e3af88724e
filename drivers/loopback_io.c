/* SPDX-License-Identifier: Apache-2.0 */
#include "loopback_io.h"

#include <time.h>

#define NAP_FIRST_NS UINT64_C(30000)
#define NAP_MAX_NS UINT64_C(10000000)
#define NS_PER_S UINT64_C(1000000000)

int loopback_errno(void)
{
	switch (errno) {
	case EDQUOT:
	case EFBIG:
	case ENOSPC:
		return -ENOSPC;
	case 0:
	case EBUSY:
	case EEXIST:
	case EINVAL:
	case ENODEV:
	case ENOENT:
	case ENOTDIR:
	case ENOTSUP:
	case ESTALE:
	case ETIMEDOUT:
	case EUCLEAN:
		return -EIO;
	default:
		return -errno;
	}
}

ssize_t loopback_pread(int fd, void *data, size_t size, off_t at)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = pread(fd, (char *)data + done, size - done, at + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return loopback_errno();
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int loopback_pwrite(int fd, const void *data, size_t size, off_t at)
{
	const char *p = data;

	while (size > 0) {
		ssize_t n = pwrite(fd, p, size, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return loopback_errno();
		p += n;
		size -= (size_t)n;
		at += n;
	}
	return 0;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

void loopback_wait_start(struct loopback_wait *w, uint64_t limit_ns)
{
	w->deadline_ns = now_ns() + limit_ns;
	w->nap_ns = NAP_FIRST_NS;
}

bool loopback_wait_more(struct loopback_wait *w)
{
	struct timespec nap = { .tv_nsec = (long)w->nap_ns };

	if (now_ns() >= w->deadline_ns)
		return false;
	nanosleep(&nap, NULL);
	w->nap_ns = MIN(w->nap_ns * 3 / 2, NAP_MAX_NS);
	return true;
}
