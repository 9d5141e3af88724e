/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - the daemons that the helper knows: the one that is connected, and those before it
 * whose process is not dead yet. Nothing here waits.
 */
#pragma once

#include <sys/types.h>

#include "proto.h"

struct session {
	int fd;	   /* -EBADF: not connected any more */
	int pidfd; /* -EBADF: dead to its last thread */
	pid_t pid;
	bool leads; /* a process group, which dies with it */
	bool killed;
	bool greet; /* READY is owed */
};

/* clang-format off */
#define SESSION_INIT { .fd = -EBADF, .pidfd = -EBADF }
/* clang-format on */

static inline bool session_is_free(const struct session *s)
{
	return s->fd < 0 && s->pidfd < 0;
}

/* True from the moment its last thread is gone; that moment wakes who polls pidfd. */
bool session_is_dead(const struct session *s);

/**
 * session_take() - a new connection
 * @fd: taken over in any case; @s is free
 *
 * Returns: 0; -EPERM when it is not our own user's; negative errno. Then it is closed.
 */
int session_take(struct session *s, int fd);

/*
 * 1 with a packet, 0 when there is none now, negative errno at its end. @ret_size: of what was sent,
 * of which @ret has no more than it can hold.
 */
int session_read(struct session *s, struct fence_packet *ret, size_t *ret_size);

/* 0; -EAGAIN when it does not read; another errno at its end. */
int session_send(struct session *s, const struct fence_packet *p);

/* Its process, and its group where it leads one, get SIGKILL. 0 or negative errno. */
int session_kill(struct session *s);
