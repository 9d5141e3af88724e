/* SPDX-License-Identifier: Apache-2.0 */
/*
 * strangers.h - files that others may have loop devices on, and that are nobody else's business.
 */
#pragma once

#include <sys/types.h>

/*
 * A filesystem whose server can be killed: its one file, "image", has 1 MiB of zeros until then, and
 * ENOTCONN for whoever asks about it afterwards. Mounts it at @dir and returns the server's pid when
 * the file is there. Fails the test otherwise.
 */
pid_t deadfs_start(const char *dir);

/* A file of 1 MiB below @where, whose path is longer than the kernel can tell in sysfs. */
int long_path_open(const char *where);

/* A loop device on the file @path, as losetup makes it with these @options, and its end. */
void foreign_device(const char *path, const char *options, char device[64]);
void foreign_device_end(const char *device);
