/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vtasks.h - all processes, and the threads that differ from their process. Private to mount/.
 * Reads procfs only. Tasks that end meanwhile are left out.
 */
#pragma once

#include <sys/types.h>

#include "macro.h"

struct vtask {
	char name[40]; /* below /proc: "123", or "123/task/125" for a thread */
	pid_t pid, tid;
	bool leader;	/* the process itself */
	bool own_files; /* its descriptors are not its process's; true for the leader */
	bool own_fs;	/* its cwd, root and perhaps namespace are not its process's; as above */
	bool stuck;	/* it or a thread of it sleeps in the kernel beyond signals */
};

/* A positive or negative answer of @cb ends the walk and is its result. */
int vtasks_walk(int (*cb)(const struct vtask *t, void *userdata), void *userdata);

/* readlink of /proc/TASK/WHAT; @buf is ended with NUL. 0 or negative errno. */
int vtask_link(const char *task, const char *what, char *buf, size_t size);

/* The command's name, with unprintable characters as '?'; "?" when it is gone. */
void vtask_command(const char *task, char buf[32]);
