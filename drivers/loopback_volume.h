/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback_volume.h - the loopback driver's volumes on disk.
 *
 *	<root>/volumes/<volume_id>/image	the data, a sparse file
 *	<root>/volumes/<volume_id>/meta		JSON: dataset_id, size_bytes, ...; replaced when it grows
 *	<root>/volumes/<volume_id>/claim	who may attach; carries the volume's lock
 *	<root>/volumes/.new-<volume_id>.<hex>	being created; its builder holds a lock on it
 *	<root>/volumes/.gone-<volume_id>.<hex>	being destroyed
 *
 * A volume appears and disappears by one rename(). Anything else in there is somebody else's and
 * left alone. Private to the loopback driver; calls block on the disk.
 */
#pragma once

#include <dirent.h>

#include "driver.h"
#include "loopback_claim.h"

struct loopback_meta {
	struct id128 dataset_id;
	uint64_t size_bytes;	  /* of the image */
	uint64_t allocation_unit; /* that the size was rounded up to */
	uint32_t block_size;	  /* of the device, for life: filesystems depend on it */
};

struct loopback_volume {
	struct id128 volume_id;
	int dir_fd, claim_fd; /* the lock is on claim_fd */
	struct loopback_meta meta;
	struct loopback_claim claim;
};

#define LOOPBACK_VOLUME_INIT { .dir_fd = -EBADF, .claim_fd = -EBADF }

void loopback_volume_done(struct loopback_volume *v);

/* @volumes is the path <root>/volumes, here and below. A descriptor or an errno, never -ENOENT. */
int loopback_volumes_open(const char *volumes);

/* The same, to be read by readdir(3). 0 or an errno. */
int loopback_volumes_list(const char *volumes, DIR **ret);

/* Volume directories have the id's one canonical spelling; anything else is not ours. */
bool loopback_volume_name(const char *name, struct id128 *ret);

/* What the directory of a volume is called from its end on, until nothing is left of it. */
bool loopback_volume_gone_name(const char *name, struct id128 *ret);

/**
 * loopback_volume_open() - one volume's bookkeeping
 * @lock: keep others from changing it, on any node, until loopback_volume_done()
 * @ret: set on success only
 *
 * Returns: 0, -ENOENT, -EIO, -ENOTSUP, -ETIMEDOUT (somebody has had the lock for ten seconds).
 */
int loopback_volume_open(const char *volumes, struct id128 volume_id, bool lock,
	struct loopback_volume *ret);

/**
 * loopback_volume_create() - a whole new volume, durable when this returns
 * @meta: block_size 0: what suits the filesystem; the chosen one is stored
 * @content_fd: what the image begins with, no longer than its size; -EBADF: nothing
 *
 * Returns: 0, -EEXIST when there is one already (which may not be durable), -ENOSPC, -EIO.
 */
int loopback_volume_create(const char *volumes, struct id128 volume_id,
	const struct loopback_meta *meta, int content_fd, struct loopback_claim *claim);

/* What a volume of @m measures when it is asked to have @size_bytes: rounded up to its units. */
uint64_t loopback_volume_round(const struct loopback_meta *m, uint64_t size_bytes);

/**
 * loopback_volume_expand() - image and meta of a locked volume have the new size, durably
 * @size_bytes: rounded, and not below that of the meta; the image may have it already, or even the
 *	meta, which then may not be durable
 *
 * The image comes first, so that it is never shorter than the meta says. Returns: 0, -ENOSPC, -EIO.
 */
int loopback_volume_expand(struct loopback_volume *v, uint64_t size_bytes);

/* Makes everything in it durable that was renamed before. */
int loopback_volumes_sync(const char *volumes);

/* Ends a locked volume. Done when this returns 0; else it is gone, but its space may not be. */
int loopback_volume_remove(const char *volumes, struct loopback_volume *v);

/**
 * loopback_volumes_sweep() - clear away what killed creates and destroys left
 * @only: of this volume; nil: of all
 *
 * Returns: 0, or an errno, -EBUSY: somebody is still at work on one. The rest is cleared away.
 */
int loopback_volumes_sweep(const char *volumes, struct id128 only);

/* Opens the image, @flags as of open(2). -ENODATA: there is no such file. */
int loopback_image_open(const struct loopback_volume *v, int flags);
