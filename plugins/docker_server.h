/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docker_server.h - the socket that container engines speak to: HTTP on a Unix socket, by libevent's server.
 * Whoever may open the socket may have every volume, so it is root's alone.
 */
#pragma once

#include "docker_volumes.h"

struct docker_server;

/**
 * docker_server_listen() - a listening socket at @path, 0600, in a directory that is made 0700
 *
 * What a former plugin left there is replaced; one that is in use is not. Returns: the descriptor;
 * -EADDRINUSE, or another negative errno.
 */
int docker_server_listen(const char *path);

/* @fd: listening, not blocking; taken over in every case. 0 or -ENOMEM. */
int docker_server_new(struct event_base *base, int fd, struct docker_volumes *v, struct docker_server **ret);

/* Nobody is accepted any more, and who asks on an old connection is told so; who waits is answered
 * when docker_volumes_free() does it. */
void docker_server_stop(struct docker_server *s);
struct docker_server *docker_server_free(struct docker_server *s); /* after docker_volumes_free() */
