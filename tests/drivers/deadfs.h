/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deadfs.h - a filesystem whose server can be killed: its one file, "image", has 1 MiB of zeros until
 * then, and ENOTCONN for whoever asks about it afterwards. As a fabric that lost its other end.
 */
#pragma once

#include <sys/types.h>

/* Mounts it at @dir and returns the server's pid when the file is there. Fails the test otherwise. */
pid_t deadfs_start(const char *dir);
