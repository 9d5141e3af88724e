/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback_grow.c - a volume becomes larger: first its image, then its meta, both durable, then the
 * device. All of it under the volume's lock, so that who was fenced meanwhile finds the claim of
 * another, and stops before it touched anything.
 */
#include <sys/statvfs.h>

#include "loopback_io.h"
#include "loopback_private.h"

/*
 * Image and meta have the recorded size, or that of an expand. One that was killed between the two left a
 * longer image: what is new in it was never part of a device, and is empty. It is finished here.
 */
int loopback_size_settle(struct loopback_volume *v, const struct loopback_image *image, uint64_t image_size,
	uint64_t size_bytes, uint64_t growing_bytes)
{
	uint64_t recorded = loopback_volume_round(&v->meta, size_bytes);
	uint64_t growing = loopback_volume_round(&v->meta, MAX(size_bytes, growing_bytes));

	if (image->missing)
		return -EUCLEAN;
	if (image_size == recorded && v->meta.size_bytes == recorded)
		return 0;
	/* Also when both have it: who wrote that may have died before it was durable. */
	if (image_size == growing && (v->meta.size_bytes == recorded || v->meta.size_bytes == growing))
		return loopback_volume_expand(v, growing);
	return -EUCLEAN;
}

/*
 * Images are sparse, so that any size can be promised. What would not fit today is refused all the
 * same: who grows a volume is about to write to it.
 */
static int check_room(const struct loopback *lo, uint64_t more_bytes)
{
	struct statvfs fs;

	if (statvfs(lo->volumes, &fs) < 0)
		return loopback_errno();
	return more_bytes > (uint64_t)fs.f_bavail * fs.f_frsize ? -ENOSPC : 0;
}

int loopback_expand(struct driver *d, struct id128 volume_id, uint64_t epoch, uint64_t size_bytes)
{
	_cleanup_(loopback_volume_done) struct loopback_volume v = LOOPBACK_VOLUME_INIT;
	struct loopback *lo = loopback(d);
	struct loopback_device device;
	struct loopback_image image;
	uint64_t size, wanted;
	int r;

	if (!loopback_epoch_is_valid(epoch) || !loopback_size_is_valid(size_bytes))
		return -EINVAL;
	r = loopback_volume_open(lo->volumes, volume_id, true, &v);
	if (r < 0)
		return r;
	if (epoch < v.claim.epoch)
		return -ESTALE;
	if (loopback_claim_place(&v.claim, &lo->self) != DRIVER_HERE)
		return loopback_claim_place(&v.claim, &lo->self) == DRIVER_ELSEWHERE ? -EBUSY : -ENODEV;
	r = loopback_image_stat(&v, &image, &size);
	if (r < 0)
		return r;
	image.left_below = v.claim.epoch;
	r = loopback_find_quickly(lo, &image, &device);
	if (r < 0)
		return r;
	if (device.cut || v.claim.epoch != epoch)
		return -ENODEV;
	wanted = loopback_volume_round(&v.meta, size_bytes);
	if (image.missing || size < v.meta.size_bytes || MAX(size, v.meta.size_bytes) > wanted)
		return -EUCLEAN;
	if (size < wanted)
		r = check_room(lo, wanted - size);
	if (r == 0)
		r = loopback_volume_expand(&v, wanted);
	return r < 0 ? r : loopback_device_expand(&image, device.number, wanted);
}
