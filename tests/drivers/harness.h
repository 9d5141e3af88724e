/* SPDX-License-Identifier: Apache-2.0 */
/*
 * harness.h - what the tests of drivers share: a world of two nodes on one backend.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <sys/types.h>

#include <cmocka.h>

#include "driver.h"

#define SIZE (UINT64_C(16) * MIB)

struct world;

/* How the suite gets at one backend. */
struct backend {
	const struct driver_ops *ops;
	bool real;		  /* its devices are the kernel's */
	const char *where_option; /* the option that says where an instance lives */
};

extern const struct backend loopback_backend, fake_backend;

struct world {
	const struct backend *backend;
	const struct driver_ops *ops;
	char where[64];		  /* an instance of its own for every test */
	struct driver_node node_a, node_b;
	struct driver *a, *b;
};

/* Leaves with 77 and the reason when loop devices cannot be had here. */
void need_loop_devices(void);

/* Work in a mount namespace of our own, so that no mount of a test outlives it. */
void own_mount_namespace(void);

/* For cmocka: *state is a struct world *; `initial` says of which backend (NULL: loopback). */
int world_setup(void **state);
int world_teardown(void **state); /* fails when anything is left behind */

struct driver *world_open(struct world *w, const struct driver_node *self);

/* Each volume that list() names and lookup() can read; the caller frees @ret. 0 or the list's errno. */
int world_list(struct world *w, struct driver *d, struct driver_volume **ret, size_t *ret_n);

struct id128 new_id(void);
struct driver_volume look(struct world *w, struct driver *d, struct id128 volume_id);

/* The entry of @id in the list; false: there is none. */
bool listed(struct world *w, struct driver *d, struct id128 id, struct driver_volume *ret);

/* As look(), and the list agrees. */
struct driver_volume seen(struct world *w, struct driver *d, struct id128 id);

void assert_volume_equal(struct driver_volume a, struct driver_volume b);

/* A volume of SIZE, which has to succeed. */
void attach(struct world *w, struct driver *d, struct id128 id, uint64_t epoch);

/* A new volume of SIZE, created by node a under epoch 1. */
struct id128 make_volume(struct world *w);

/* Number of loop devices whose backing file has this text in its path. */
unsigned loops_on(const char *text);

/* The path of a file of a loopback volume; static. */
const char *volume_file(struct world *w, struct id128 volume_id, const char *name);

/* Writes or compares @text at byte @at of the device attached to @d. */
void device_write(struct world *w, struct driver *d, struct id128 volume_id, off_t at,
	const char *text);
void device_expect(struct world *w, struct driver *d, struct id128 volume_id, off_t at,
	const char *text);

/* Of a volume that is attached at @d: by lookup() and list(), by device(), and by the kernel where it is real. */
void assert_size(struct world *w, struct driver *d, struct id128 volume_id, uint64_t size);

/* The program of a suite over all drivers: "fake", or loopback without an argument. */
int conformance_main(int argc, char **argv, int (*conformance)(const char *name, const struct backend *b));

/* Runs a program with a shell; fails the test unless it succeeds. */
void run(const char *fmt, ...) _printf_(1, 2);

#define assert_ok(expr) assert_int_equal((expr), 0)
