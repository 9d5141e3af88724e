/* SPDX-License-Identifier: Apache-2.0 */
/*
 * program.h - start a program as if from a shell, whatever the daemon blocks and ignores itself.
 */
#pragma once

#include <spawn.h>
#include <sys/types.h>

#include "macro.h"

/**
 * program_start() - posix_spawn() with every signal at its default, and none blocked
 * @argv: with NULL at its end
 * @actions: what becomes of the descriptors; whoever calls closes what is not meant for it
 * @own_group: it leads a process group
 * @ret: its process id, to be waited for
 *
 * Returns: 0, or negative errno, also of the exec.
 */
int program_start(const char *path, const char *const argv[],
	const posix_spawn_file_actions_t *actions, bool own_group, pid_t *ret);
