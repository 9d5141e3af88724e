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

/* Finds a program in PATH, or, without PATH, where Debian has such programs. 0 or -ENOENT. */
int vrun_find(const char *program, char *buf, size_t size);

/**
 * vrun() - run one program and wait for it
 * @argv: the name is looked up by vrun_find()
 * @keep_fd: handed on as its descriptor 3, so that locks on it last as long as the program; or -1
 * @limit_s: then its process group is killed
 *
 * It starts with no signal blocked or ignored, standard input empty and no other descriptor.
 *
 * Returns: 0 when it ended by itself, -ENOENT when there is no such program, -ETIMEDOUT when it
 * was killed (and then perhaps lives on, where the kernel holds it), or another errno.
 */
int vrun(const char *const argv[], int keep_fd, unsigned int limit_s, struct vrun_result *ret);
