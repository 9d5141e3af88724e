/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarfile.h - writes an archive that tar(1) reads: POSIX ustar, compressed by zlib. Of tar's format this needs
 * one header a file; a library for all formats, or tar itself as a program, would be more to depend on than
 * these lines are to keep. Blocks for the disk.
 */
#pragma once

#include "macro.h"

#define TARFILE_NAME_MAX 99

struct tarfile;

/* Takes over @fd, also on failure. @time_s: of all that is in it. -ENOMEM. */
int tarfile_new(int fd, int64_t time_s, struct tarfile **ret);

/* A file of @size bytes; mode 0600. -EINVAL for a @name that is too long; else errno of writing. */
int tarfile_add(struct tarfile *t, const char *name, const void *data, size_t size);

/* The end of the archive, on the disk. Whatever comes of it, @t is gone. */
int tarfile_finish(struct tarfile *t);

/* Gives up; what was written stays as it is. */
struct tarfile *tarfile_free(struct tarfile *t);
DEFINE_CLEANUP(struct tarfile *, tarfile_free);
