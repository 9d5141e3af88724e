/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback_device.h - the kernel's loop devices, by ioctl and sysfs only.
 *
 * Which device belongs to a volume is found anew every time. sysfs gives the candidates without
 * opening anything (an open device cannot be taken down by whoever is just trying to), by the end
 * of the backing file's path, which is the same in every mount namespace; LOOP_GET_STATUS64 then
 * compares device and inode of the backing file. Our devices carry the name
 * "flocker:<dataset_id>:<epoch>".
 *
 * An image that one of our devices uses is locked: make() takes flock() on the descriptor that it
 * hands to the kernel, and the loop device keeps that open file until it lets the image go. So the
 * kernel itself refuses a second device, whatever else went wrong, and a lock that can be had is
 * the proof that the first one is gone.
 *
 * Private to the loopback driver. Calls block on the kernel and the disk.
 */
#pragma once

#include "driver.h"

/* The image file of one volume, as the kernel knows it. */
struct loopback_image {
	struct id128 volume_id, dataset_id;
	dev_t dev;
	ino_t ino;
	bool missing; /* there is no file any more: a device is known by its name alone */
	uint64_t left_below; /* what was cut and has an epoch below this is left of a fenced node: it
			      * does not count */
	bool left_uncut;     /* what was not cut as well */
};

struct loopback_device {
	unsigned number; /* of /dev/loopN */
	bool ours;	 /* by its name */
	bool autoclear;	 /* goes away with its last opener */
	bool cut;	 /* see loopback_cut.h */
	uint64_t epoch;	 /* in its name, when ours */
};

/**
 * loopback_device_each() - every loop device that has a backing file
 * @fn: told the number, and the volume when that file is called .../<volume_id>/image, else nil;
 *	nothing was compared yet. A non-zero return ends the round.
 *
 * Returns: 0, what @fn returned, or negative errno when sysfs cannot be read.
 */
int loopback_device_each(int (*fn)(unsigned number, struct id128 volume_id, void *userdata),
	void *userdata);

/* Is device @number on this image? Opens it for a moment. 0, or -ENODEV. */
int loopback_device_check(const struct loopback_image *image, unsigned number,
	struct loopback_device *ret);

/**
 * loopback_device_find() - the one device on this image
 * @thorough: when no name leads to one, open and compare every loop device: finds those that others
 *	made through a link or a bind mount
 *
 * Returns: 0; -ENODEV when there is none; -EBUSY when there are several, or one that is not ours.
 */
int loopback_device_find(const struct loopback_image *image, bool thorough,
	struct loopback_device *ret);

/* A device that does not count, by .left_below. 0 or -ENODEV. */
int loopback_device_find_left(const struct loopback_image *image, struct loopback_device *ret);

/**
 * loopback_device_sweep_cut() - take down what was cut and is not in use any more, also of volumes that
 *	were destroyed since
 * @only: devices of this volume; nil: of all
 * Returns: 0; -EBUSY: some are still in use.
 */
int loopback_device_sweep_cut(struct id128 only);

/**
 * loopback_device_make() - a new device on an image that has none
 * @image_fd: open for reading and writing; the device keeps this open file, the caller its number
 * @block_size: of the device's sectors. Direct I/O where the filesystem takes it in such blocks,
 *	through the page cache elsewhere.
 * @beside: a device that does not count has the image, and its lock as well
 *
 * Returns: 0; -EBUSY when another device of ours has the image; -ETIMEDOUT when other processes
 * snatched every free device away.
 */
int loopback_device_make(const struct loopback_image *image, int image_fd, uint64_t epoch,
	uint32_t block_size, bool beside, unsigned *ret_number);

/* Puts @epoch into the device's name, and keeps it from going away with its last opener. */
int loopback_device_adopt(const struct loopback_image *image, unsigned number, uint64_t epoch);

/**
 * loopback_device_release() - take it down and wait until it is gone
 *
 * Everything written is then in the image, which is not yet on stable storage.
 *
 * Returns: 0; -EBUSY when somebody holds it exclusively (mounted anywhere), or has it open at the
 * end of two seconds: the device then goes away with that opener; -EIO when a write was lost.
 */
int loopback_device_release(const struct loopback_image *image, unsigned number);

/*
 * The device gets the size of its image. The kernel applies the limit of a cut here as well, so that what
 * was cut, or is being cut, stays so, whichever of the two it does first.
 *
 * Returns: 0 when it has @size_bytes; -ENODEV when it was cut, or is not ours on this image; -EIO when it
 * has another size.
 */
int loopback_device_expand(const struct loopback_image *image, unsigned number, uint64_t size_bytes);

/* See loopback_cut(). -ENODEV when device @number is not ours on this image. */
int loopback_device_cut(const struct loopback_image *image, unsigned number);

/*
 * Does nobody at all have this file open for writing, so no device either that could change it, in
 * whatever namespace and under whatever name? Costs the same however many devices there are.
 * @image_fd: open for reading only
 *
 * False also where the filesystem cannot tell: then look with loopback_device_find().
 */
bool loopback_image_is_idle(int image_fd);

/* Waits, two seconds at most, until no device of ours has @image_fd's file. 0, -EBUSY. */
int loopback_device_wait_unused(int image_fd);

/* What the kernel says of device @number, if it is ours on this image. 0; -ENODEV; -EIO. */
int loopback_device_describe(const struct loopback_image *image, unsigned number,
	struct driver_device *ret);
