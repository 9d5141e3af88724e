/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diagnose_part.h - one part of a diagnosis, looked for in a process of its own: on a machine that is
 * being diagnosed any file may hang, and a process that hangs is left behind.
 */
#pragma once

#include "macro.h"

struct part {
	char *data; /* what it printed, on either output; the caller frees it */
	size_t size;
	char failure[160]; /* what went wrong, in words; "": nothing */
};

/**
 * part_run() - let @run print, for at most @limit_ms and @max bytes
 * @run: in the child; returns its exit status, having said on standard error what is wrong
 *
 * Returns: 0, also when it failed (see @ret->failure); or negative errno when there is not even a process.
 */
int part_run(int (*run)(const void *userdata), const void *userdata, unsigned int limit_ms, size_t max,
	struct part *ret);
