/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vplace.h - a directory below the mount root, and what is mounted on it. Private to mount/.
 */
#pragma once

#include <limits.h>
#include <sys/types.h>

#include "types.h"
#include "vwhy.h"

struct vplace {
	char target[PATH_MAX]; /* canonical, as the mount table writes it */
};

/* What stands on top at a place. */
struct vplace_mount {
	dev_t devno; /* of the device, for btrfs too; 0 when its source is gone */
	bool whole;  /* the filesystem's own root, not a directory in it */
	bool read_only;
	char fstype[16];
	char source[128];
};

/* A directory name: one component, which is neither empty nor "." nor "..". */
bool vplace_name_valid(const char *name);

/* Returns: 0, -EINVAL for a bad name or relative root, -ENOENT when there is no such root. */
int vplace_init(struct vplace *p, const char *mount_root, const char *name, struct vwhy *why);

/* 1 with the topmost mount there, 0 when there is none, or negative errno. */
int vplace_look(const struct vplace *p, struct vplace_mount *ret);

/* Makes the root (0700) when missing. -ENOENT when its parent is missing too. */
int vplace_make_root(const char *mount_root, struct vwhy *why);

/* Makes the directory, or proves that it is an empty one; else -ENOTEMPTY or -ENOTDIR. */
int vplace_make(const struct vplace *p, struct vwhy *why);

/* Removes the directory when it is there and empty. Never anything else. */
void vplace_remove(const struct vplace *p);
