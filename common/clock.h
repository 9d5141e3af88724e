/* SPDX-License-Identifier: Apache-2.0 */
/* clock.h - the time as a number. */
#pragma once

#include <stdint.h>
#include <time.h>

/* In ms, of CLOCK_MONOTONIC, or CLOCK_BOOTTIME, which goes on while the machine sleeps. */
static inline uint64_t clock_ms(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}
