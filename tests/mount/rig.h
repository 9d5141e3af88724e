/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rig.h - a mount namespace and disks for the tests of mount/. Needs root and loop devices.
 *
 * Whatever a test leaves behind goes with its process, even when that is killed: the images have no
 * name, the loop devices clear themselves with the last descriptor, and the mounts are in a
 * namespace of their own. Only an empty directory has to be removed.
 */
#pragma once

/* cmocka wants these four before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/types.h>

#include "types.h"
#include "vformat.h"
#include "vmount.h"

#define DISK_SIZE (UINT64_C(320) * MIB) /* enough for every filesystem; sparse */

struct disk {
	char device[32];
	dev_t devno;
	uint64_t diskseq, size;
	int fd;	   /* of the loop device; keeps it */
	int image; /* of the backing file */
};

struct rig {
	char dir[64];  /* a directory of this test */
	char root[80]; /* the mount root in it; not made yet */
};
extern struct rig rig;

/*
 * Runs @tests, which calls cmocka_run_group_tests(), and returns its result; 77 where they cannot
 * run. They run as the node daemon's workers do: in a thread with descriptors of its own.
 */
int rig_run(int (*tests)(void));

void disk_new(struct disk *d, uint64_t size);
void disk_end(struct disk *d);
void disk_grow(struct disk *d, uint64_t size);
/* Flushes the device, then sums up every byte of the image and its place. */
uint64_t disk_checksum(struct disk *d);
void disk_write(struct disk *d, uint64_t at, const void *data, size_t n);

struct id128 new_uuid(void);
struct vformat_request format_request(const struct disk *d, enum fs_kind fs, struct id128 uuid);
struct vmount_request mount_request(const struct disk *d, enum fs_kind fs, struct id128 uuid);
/* Asserts that it formats. */
void format(const struct disk *d, enum fs_kind fs, struct id128 uuid);

/* Runs a shell command; asserts that it exits with 0. "%" as in printf. */
void sh(const char *fmt, ...) _printf_(1, 2);

/* A path below the place that mount_request() names; in a ring of four buffers. */
const char *place(const char *file);

/* Starts @body in a child that tells when it is ready by returning, then waits to be ended. */
pid_t child(void (*body)(void *arg), void *arg);
void child_end(pid_t pid);

/* The holders of a disk but this very process, which keeps the loop device; free() it. */
char *holders(const struct disk *d);

#define assert_contains(text, word) assert_contains_at((text), (word), __FILE__, __LINE__)
void assert_contains_at(const char *text, const char *word, const char *file, int line);
