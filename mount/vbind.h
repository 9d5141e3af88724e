/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vbind.h - show a volume that is mounted below the mount root at a second place, for users that
 * may not enter the root. Calls wait for the kernel, but never for a disk: the filesystem stays
 * mounted at its own place.
 */
#pragma once

#include <sys/types.h>

#include "macro.h"

/**
 * vbind_check() - can a volume of @mount_root be bound at @target? Looks at the texts alone.
 * Returns: 0, or -EINVAL: no absolute path without ".", ".." and needless slashes, or one in the
 * mount root.
 */
int vbind_check(const char *mount_root, const char *target, char *why, size_t size);

/**
 * vbind_make() - bind mount_root/name at @target
 * @devno: what has to be mounted there
 * @target: as vbind_check() wants it
 * @why: one line for people on failure, cut to @size
 *
 * Directories on the way are made with mode 0755, the last with 0700, all as root's. What is there
 * already has to be a directory of root that nobody else may write to, and no symbolic link; the
 * last one empty. The mount has the options that the first one has.
 *
 * Returns: 0, also when it is so already, or
 *  -ENOENT    mount_root/name is not mounted
 *  -ESTALE    another device is
 *  -EEXIST    something else is mounted at @target
 *  -ENOTEMPTY there are files, which the mount would hide
 *  -ELOOP -ENOTDIR -EPERM	a symbolic link, no directory, or one that is not safe, on the way
 *  -EINVAL    vbind_check()
 */
int vbind_make(const char *mount_root, const char *name, dev_t devno, const char *target, char *why,
	size_t size);

/* 1: @devno is mounted at @target, uppermost; 0: nothing is; -EEXIST: something else; or another
 * errno. */
int vbind_look(const char *target, dev_t devno);

/**
 * vbind_remove() - end what vbind_make() began, and remove the last directory
 * @lazily: who has files open there keeps them, until they are closed; as long the device cannot be
 *	detached
 *
 * Returns: 0, also when nothing is mounted there; -EBUSY: in use; -EEXIST: something else is
 * mounted there, left alone.
 */
int vbind_remove(const char *target, dev_t devno, bool lazily);
