/* SPDX-License-Identifier: Apache-2.0 */
#include "program.h"

#include <signal.h>

static int set_attributes(posix_spawnattr_t *attr, bool own_group)
{
	short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
	sigset_t none, all;
	int r;

	sigemptyset(&none);
	sigfillset(&all);
	if (own_group)
		flags |= POSIX_SPAWN_SETPGROUP;
	r = posix_spawnattr_setflags(attr, flags);
	if (r == 0)
		r = posix_spawnattr_setpgroup(attr, 0);
	if (r == 0)
		r = posix_spawnattr_setsigmask(attr, &none);
	if (r == 0)
		r = posix_spawnattr_setsigdefault(attr, &all);
	return -r;
}

int program_start(const char *path, const char *const argv[],
	const posix_spawn_file_actions_t *actions, bool own_group, pid_t *ret)
{
	posix_spawnattr_t attr;
	int r;

	r = -posix_spawnattr_init(&attr);
	if (r < 0)
		return r;
	r = set_attributes(&attr, own_group);
	if (r == 0) /* the cast: posix_spawn() promises not to change them */
		r = -posix_spawn(ret, path, actions, &attr, (char *const *)(uintptr_t)argv,
			environ);
	posix_spawnattr_destroy(&attr);
	return r;
}
