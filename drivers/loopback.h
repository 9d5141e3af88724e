/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback.h - the embedded default backend: image files in a directory, real loop devices.
 *
 * Options of agent.yml's dataset: section:
 *	root_path	absolute directory of the volumes, /var/lib/flocker-volumes by default; made
 *			with mode 0700 when missing, refused when others may write to it. Nodes
 *			that share it can move datasets between them; it may be on a network
 *			filesystem that knows flock().
 *	allocation_unit	in bytes, a multiple of 512; sizes are rounded up to it. 1024 by default, the
 *			unit of REST v1, so that nothing is rounded.
 *
 * Images are sparse: what is promised may be more than there is room for. To grow one by more than the
 * directory has free is refused all the same. A loop device uses direct
 * I/O where the filesystem takes it, else the page cache; both keep what fsync() promised.
 */
#pragma once

#include "driver.h"

extern const struct driver_ops loopback_ops;
