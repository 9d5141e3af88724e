/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback_io.h - small I/O words that the parts of the loopback driver share.
 * Private to it.
 */
#pragma once

#include <sys/types.h>

#include "macro.h"

/*
 * The errno of a failed system call in the contract's terms: full disks, quotas and size limits are
 * -ENOSPC; what the contract gives another meaning (-ENOENT of a path that must exist, -ESTALE of a
 * network filesystem, -EUCLEAN of a damaged one ...) is -EIO; the rest stays.
 */
int loopback_errno(void);

/* Reads until @size or the end of the file. The bytes read, or an errno of the contract. */
ssize_t loopback_pread(int fd, void *data, size_t size, off_t at);

/* Writes all of it. 0 or an errno of the contract. */
int loopback_pwrite(int fd, const void *data, size_t size, off_t at);

/* A bounded wait by looking again: short naps at first, so that what is quick stays quick. */
struct loopback_wait {
	uint64_t deadline_ns, nap_ns;
};

void loopback_wait_start(struct loopback_wait *w, uint64_t limit_ns);

/* Sleeps a little, longer each time, at most 10 ms; false when the limit was over before. */
bool loopback_wait_more(struct loopback_wait *w);
