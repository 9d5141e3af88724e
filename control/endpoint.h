/* SPDX-License-Identifier: Apache-2.0 */
/* endpoint.h - where to listen, as the original writes it: tcp:4523[:interface=ADDR]. */
#pragma once

#include "macro.h"

struct endpoint {
	char address[64]; /* numeric */
	uint16_t port;
};

/* Without an interface: all of IPv4. -EINVAL for anything that is no endpoint. */
int endpoint_parse(const char *text, struct endpoint *ret);

/**
 * endpoint_listen() - a listening socket, not blocking, closed on exec
 * Returns: the descriptor; -EADDRINUSE, -EADDRNOTAVAIL, -EACCES, or another errno of bind(2).
 */
int endpoint_listen(const struct endpoint *e);
