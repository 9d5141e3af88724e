/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback_private.h - an open loopback backend, as its own files see it.
 */
#pragma once

#include "driver.h"

#define LOOPBACK_HINTS 1024

/* What the contract calls struct driver. Written by open() alone, but for the hints. */
struct loopback {
	struct driver_node self;
	char *root;    /* as configured, or NULL */
	char *volumes; /* <root>/volumes */
	uint64_t allocation_unit;
	_Atomic uint32_t hints[LOOPBACK_HINTS]; /* number of a loop device + 1; 0: none */
};

int loopback_open(const struct driver_node *self, const struct driver_option *opts, size_t n,
	struct driver **ret, char **ret_error);
struct driver *loopback_close(struct driver *d);
int loopback_describe(struct driver *d, struct driver_desc *ret);
int loopback_promised(struct driver *d, uint64_t *ret_bytes);
