/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsettle.h - give a fresh filesystem the root directory that users expect. Private to mount/.
 *
 * It is mounted without being attached anywhere (fsopen, fsmount): no path leads to it, so nobody
 * can hold it busy, and closing the last descriptor unmounts it, also when this process is killed.
 */
#pragma once

#include "types.h"
#include "vwhy.h"

/**
 * vsettle() - remove an empty lost+found, set mode 0777, write it all out. Idempotent; blocks.
 *
 * Replays the journal of a filesystem whose settling was interrupted.
 *
 * Returns: 0, or the kernel's errno: -EUCLEAN, -EBADMSG or -EINVAL for one that is damaged,
 * -EROFS when it takes no writes.
 */
int vsettle(const char *device, enum fs_kind fs, struct vwhy *why);
