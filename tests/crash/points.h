/* SPDX-License-Identifier: Apache-2.0 */
/*
 * points.h - what libpoints.so, preloaded into a daemon, shares with the test.
 *
 * A point is a call that changes the world: a write to a file or device, a sync, a change of a
 * directory, a loop device, a mount, the start or the end of a program; or a read of a file or device.
 * Sockets' data, pipes, procfs, sysfs, standard output and error have none. The file that
 * FLOCKER_POINTS names is mapped by the daemon and the test: the test sets count to 0, then target and
 * mode; the daemon counts. Only the program that FLOCKER_POINTS_OF names counts, not what it starts.
 */
#pragma once

#include <stdint.h>

#define POINTS_NAME 16 /* bytes of a name, with its end */
#define POINTS_MAX 4096 /* names kept */

enum points_mode {
	POINTS_KILL, /* before the call */
	POINTS_TORN, /* a write does half of its work, and then the process dies; others as KILL */
	POINTS_SHORT, /* a read or write does half of its work and says so; others are not disturbed */
	POINTS_ERROR, /* the call fails with the errno in error, and does nothing */
};

struct points {
	uint64_t count; /* points so far; the first is 1 */
	uint64_t target; /* where something happens, once; 0: nowhere */
	uint64_t mode; /* enum points_mode */
	uint64_t error; /* errno of POINTS_ERROR */
	uint64_t hit; /* 1 when it has happened */
	char names[POINTS_MAX][POINTS_NAME]; /* of points 1, 2, ... */
};
