/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vholders.h - who keeps a device, or the filesystem on it, busy.
 * Reads /proc and /sys for all processes and mount namespaces; milliseconds on a small machine,
 * so it belongs on a worker. It never touches the filesystem itself, which may be hung.
 */
#pragma once

#include <sys/types.h>

#include "macro.h"

#define VHOLDERS_MAX 32 /* lines; one more tells how many were left out */

/**
 * vholders_find() - name the holders of a device
 * @devno: the device; also finds users of a btrfs on it, which has a number of its own
 * @mountpoint: absolute path of the mount that is to go, no holder of itself, nor are copies that the
 *	kernel unmounts with it; NULL: all mounts are
 * @ret_text: newly allocated, one line a holder, each with a newline; "" when there are none:
 *	"pid 123 (postgres): cwd /flocker/x; open file /flocker/x/a; in mount namespace 4026532"
 * @ret_n: how many there are, also beyond VHOLDERS_MAX
 *
 * Processes that end meanwhile are no error. A mount namespace without a visible process cannot
 * be looked into: where nothing else is found, the file that keeps it is named as a suspect.
 *
 * Returns: 0, or negative errno when /proc is not there.
 */
int vholders_find(dev_t devno, const char *mountpoint, char **ret_text, size_t *ret_n);
