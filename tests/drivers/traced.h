/* SPDX-License-Identifier: Apache-2.0 */
/*
 * traced.h - a child that makes one call, and stops at each entry to and exit from a system call.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* The child ends with the negative of what @call returned, as its exit status. It stands still. */
pid_t traced_start(int (*call)(void *userdata), void *userdata);

/* On to the next stop; false when the child has ended. */
bool traced_next(pid_t pid, int *ret_status);

bool traced_at_exit(pid_t pid);

/* With sanitizers each step is many times as slow, and one in so many is enough beside a run
 * without. */
unsigned traced_stride(void);

#if defined(__x86_64__)
/* At an entry: the kernel sees no such call, and the child this error. */
void traced_fail(pid_t pid, int error);
#endif
