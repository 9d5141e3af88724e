/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devmon.h - which block devices come, change and go: a libudev monitor on the loop.
 *
 * Where udevd runs it listens to udev's events, which come after the rules, with links made and the
 * dataset named; elsewhere to the kernel's. A burst is read until the socket is dry and told as one
 * event a device. Nothing here opens a device or waits for one.
 */
#pragma once

#include <event2/event.h>
#include <sys/types.h>

#include "id128.h"

struct devmon;

enum devmon_source {
	DEVMON_AUTO, /* udev where /run/udev/control exists, else the kernel */
	DEVMON_UDEV,
	DEVMON_KERNEL,
};

enum devmon_action {
	DEVMON_ADD,    /* it was not there before */
	DEVMON_CHANGE, /* resized, another image, read-only, or somebody wrote to its uevent file */
	DEVMON_REMOVE,
};

struct devmon_event {
	dev_t devno;
	const char *name;	   /* "loop3"; borrowed */
	enum devmon_action action; /* all others (bind, move, online) are changes */
	struct id128 dataset_id;   /* as the rules say; nil: nobody's, or heard from the kernel */
	uint64_t size_bytes, diskseq; /* as sysfs says now; 0: not there (any more) */
};

struct devmon_config {
	enum devmon_source source;
	const char *sysfs;   /* copied; NULL: "/sys" */
	size_t buffer_bytes; /* of the socket; 0: 16 MiB, as much of it as the kernel allows */
	int priority;	     /* of its event in the loop */
	/*
	 * One device, once for all that was read of it: the last event wins, but a device that was
	 * removed and added again is told as both. Neither callback may free the monitor.
	 */
	void (*on_device)(const struct devmon_event *e, void *userdata);
	/* Events were lost. Look at every device you know; later events are told as ever. */
	void (*on_rescan)(void *userdata);
	void *userdata;
};

/* 0, -ENOMEM, or negative errno of the socket. What is there already is not told. */
int devmon_new(struct event_base *base, const struct devmon_config *c, struct devmon **ret);
struct devmon *devmon_free(struct devmon *m); /* NULL in, NULL out */

static inline void devmon_freep(struct devmon **m)
{
	devmon_free(*m);
}

enum devmon_source devmon_source(const struct devmon *m); /* DEVMON_UDEV or DEVMON_KERNEL */

/* ---- what sysfs says of a block device ---- */

struct devmon_disk {
	uint64_t size_bytes;
	uint64_t diskseq; /* 0: the kernel does not number disks (before 5.15), or a partition */
	bool read_only;
};

/**
 * devmon_sysfs_disk() - size, number and mode of a block device
 * @sysfs: "/sys", or a recorded tree
 *
 * Returns: 0, -ENODEV when there is no such device, or -EIO when its attributes make no sense.
 */
int devmon_sysfs_disk(const char *sysfs, dev_t devno, struct devmon_disk *ret);

/*
 * The image of a loop device, as a path of the kernel's (with " (deleted)" behind when it is);
 * newly allocated. -ENOENT: no loop device, or one without an image. -ENODEV: no such device.
 */
int devmon_sysfs_backing(const char *sysfs, dev_t devno, char **ret);
