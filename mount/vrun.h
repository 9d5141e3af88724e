/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vrun.h - run mkfs or fsck with a deadline, and keep its last words. Private to mount/; blocks.
 */
#pragma once

#include "macro.h"

struct vrun_result {
	int status;	/* exit status, or 128 + signal */
	char said[200]; /* the last line it printed, or "" */
};

/**
 * vrun() - run one program and wait for it
 * @argv: the name is looked up in PATH
 * @keep_fd: handed on as its descriptor 3, so that locks on it last as long as the program; or -1
 * @limit_s: then its process group is killed
 *
 * It starts with no signal blocked or ignored, standard input empty and no other descriptor.
 *
 * Returns: 0 when it ended by itself, -ENOENT when there is no such program, -ETIMEDOUT when it
 * was killed (and then perhaps lives on, where the kernel holds it), or another errno.
 */
int vrun(const char *const argv[], int keep_fd, unsigned int limit_s, struct vrun_result *ret);
