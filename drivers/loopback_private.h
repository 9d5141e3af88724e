/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback_private.h - an open loopback backend, as its own files see it.
 */
#pragma once

#include "driver.h"
#include "loopback_device.h"
#include "loopback_volume.h"

#define LOOPBACK_HINTS 1024

/* What the contract calls struct driver. Written by open() alone, but for the hints. */
struct loopback {
	struct driver_node self;
	char *root;    /* as configured, or NULL */
	char *volumes; /* <root>/volumes */
	uint64_t allocation_unit;
	_Atomic uint32_t hints[LOOPBACK_HINTS]; /* number of a loop device + 1; 0: none */
};

static inline struct loopback *loopback(struct driver *d)
{
	return (struct loopback *)d;
}

static inline bool loopback_epoch_is_valid(uint64_t epoch)
{
	return epoch > 0 && epoch <= DRIVER_EPOCH_MAX;
}

static inline bool loopback_size_is_valid(uint64_t size_bytes)
{
	return size_bytes > 0 && size_bytes <= INT64_MAX - GIB;
}

/* ---- loopback.c ---- */

int loopback_image_stat(const struct loopback_volume *v, struct loopback_image *ret, uint64_t *ret_size);

/* As loopback_device_find(), at the hinted place first. */
int loopback_find_quickly(struct loopback *lo, const struct loopback_image *image,
	struct loopback_device *ret);

/* ---- loopback_grow.c ---- */

int loopback_expand(struct driver *d, struct id128 volume_id, uint64_t epoch, uint64_t size_bytes);

/* The volume has a size that attach() may attach: 0, or an errno of attach(). */
int loopback_size_settle(struct loopback_volume *v, const struct loopback_image *image,
	uint64_t image_size, uint64_t size_bytes, uint64_t growing_bytes);

/* ---- loopback_open.c ---- */

int loopback_open(const struct driver_node *self, const struct driver_option *opts, size_t n,
	struct driver **ret, char **ret_error);
struct driver *loopback_close(struct driver *d);
int loopback_describe(struct driver *d, struct driver_desc *ret);
int loopback_promised(struct driver *d, uint64_t *ret_bytes);
