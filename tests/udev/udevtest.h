/* SPDX-License-Identifier: Apache-2.0 */
/*
 * udevtest.h - a udevd and loop devices for one test process.
 *
 * The udevd runs in a network and mount namespace of the test's own: its events go to nobody else,
 * /run/udev and the links that it makes in /dev, of others' devices too, end with the process.
 */
#pragma once

#include <sys/types.h>

#include "id128.h"

/* Exits with 77 and the reason when nothing can run here. */
void udevtest_enter(void);

/* Starts udevd with @rules; waits for others' by lock. false: none can run here; says why. */
bool udevtest_start(const char *rules);
void udevtest_stop(void); /* ends it; others may start theirs */

struct udevtest_loop {
	int fd;	       /* of the device */
	char name[16]; /* "loop7" */
	char image[64];
	dev_t devno;
};

/* A new loop device on a new image of @size, with @loop_name in its own name field. */
void udevtest_attach(struct udevtest_loop *l, const char *loop_name, off_t size);
void udevtest_grow(struct udevtest_loop *l, off_t size);	 /* as losetup -c */
void udevtest_poke(struct udevtest_loop *l, const char *action); /* an event, "change" or another */
void udevtest_detach(struct udevtest_loop *l); /* device and image; twice is fine */
