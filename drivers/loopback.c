/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback.c - the calls of the contract, each one story told with the words of loopback_volume.h,
 * loopback_claim.h and loopback_device.h. The options are read in loopback_open.c.
 */
#include "loopback.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "loopback_device.h"
#include "loopback_io.h"
#include "loopback_private.h"
#include "loopback_volume.h"

DEFINE_CLEANUP(DIR *, closedir);

/* ---- where a volume's device was last seen: a hint that spares a scan, checked at each use ---- */

static _Atomic uint32_t *hint_of(struct loopback *lo, struct id128 volume_id)
{
	return &lo->hints[id128_hash(volume_id) % LOOPBACK_HINTS];
}

int loopback_find_quickly(struct loopback *lo, const struct loopback_image *image,
	struct loopback_device *ret)
{
	_Atomic uint32_t *hint = hint_of(lo, image->volume_id);
	uint32_t h = *hint;
	int r;

	if (h > 0 && loopback_device_check(image, h - 1, ret) == 0 && ret->ours && !ret->cut)
		return 0;
	r = loopback_device_find(image, false, ret);
	if (r == 0)
		*hint = ret->number + 1;
	return r;
}

/* ---- reading ---- */

int loopback_image_stat(const struct loopback_volume *v, struct loopback_image *ret, uint64_t *ret_size)
{
	struct loopback_image image = {
		.volume_id = v->volume_id,
		.dataset_id = v->meta.dataset_id,
	};
	struct stat st = { .st_size = 0 };

	if (fstatat(v->dir_fd, "image", &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			return loopback_errno();
		image.missing = true;
	} else if (!S_ISREG(st.st_mode)) {
		return -EIO;
	}
	image.dev = st.st_dev;
	image.ino = st.st_ino;
	*ret = image;
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

static struct driver_volume volume_describe(const struct loopback *lo,
	const struct loopback_volume *v)
{
	struct driver_volume out = {
		.volume_id = v->volume_id,
		.dataset_id = v->meta.dataset_id,
		.size_bytes = v->meta.size_bytes,
		.place = loopback_claim_place(&v->claim, &lo->self),
		.epoch = v->claim.epoch,
	};

	if (out.place != DRIVER_FREE)
		out.holder = v->claim.by.node;
	return out;
}

/* The device of a claim that is no more, whoever has the volume now. 0 or -ENODEV. */
static int left_here(struct loopback *lo, const struct loopback_volume *v, struct loopback_device *ret)
{
	struct loopback_image image;
	uint64_t size;
	int r;

	if (*hint_of(lo, v->volume_id) == 0)
		return -ENODEV; /* list() saw none, and we made none */
	r = loopback_image_stat(v, &image, &size);
	if (r < 0)
		return r;
	image.left_below = v->claim.epoch + (v->claim.state == LOOPBACK_CLAIM_FREE);
	image.left_uncut = true;
	return loopback_device_find_left(&image, ret);
}

static int loopback_lookup(struct driver *d, struct id128 volume_id, struct driver_volume *ret)
{
	_cleanup_(loopback_volume_done) struct loopback_volume v = LOOPBACK_VOLUME_INIT;
	struct loopback *lo = loopback(d);
	struct loopback_device device;
	struct loopback_image image;
	struct driver_volume out;
	uint64_t size;
	int r;

	r = loopback_volume_open(lo->volumes, volume_id, false, &v);
	if (r < 0)
		return r;
	out = volume_describe(lo, &v);
	if (out.place == DRIVER_HERE) {
		r = loopback_image_stat(&v, &image, &size);
		if (r < 0)
			return r;
		image.left_below = out.epoch;
		r = loopback_find_quickly(lo, &image, &device);
		if (r < 0 && r != -ENODEV && r != -EBUSY)
			return r;
		out.attached = r == 0;
		out.cut = r == 0 && device.cut;
	} else {
		r = left_here(lo, &v, &device);
		if (r < 0 && r != -ENODEV)
			return r;
		out.left_epoch = r == 0 ? device.epoch : 0;
		out.cut = r == 0 && device.cut;
	}
	*ret = out;
	return 0;
}

static int list_add(struct id128 **v, size_t *n, struct id128 add)
{
	/* In powers of two, so that appending costs little. */
	if ((*n & (*n - 1)) == 0) {
		struct id128 *p = reallocarray(*v, *n ? *n * 2 : 1, sizeof(*p));

		if (!p)
			return -ENOMEM;
		*v = p;
	}
	(*v)[(*n)++] = add;
	return 0;
}

/* One look through sysfs for all, so that the lookups that follow need none each. */
static int on_device(unsigned number, struct id128 volume_id, void *userdata)
{
	if (!id128_is_nil(volume_id))
		*hint_of(userdata, volume_id) = number + 1;
	return 0;
}

static int loopback_list(struct driver *d, struct id128 **ret, size_t *ret_n)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	_cleanup_free_ struct id128 *v = NULL;
	struct loopback *lo = loopback(d);
	struct id128 volume_id;
	struct dirent *de;
	size_t n = 0;
	int r;

	r = loopback_volumes_list(lo->volumes, &dir);
	if (r < 0)
		return r;
	r = loopback_device_each(on_device, lo);
	for (errno = 0; r == 0 && (de = readdir(dir)); errno = 0)
		if ((de->d_type == DT_DIR || de->d_type == DT_UNKNOWN) &&
			loopback_volume_name(de->d_name, &volume_id))
			r = list_add(&v, &n, volume_id);
	if (r == 0 && errno)
		r = loopback_errno();
	if (r < 0)
		return r;
	*ret = TAKE_PTR(v);
	*ret_n = n;
	return 0;
}

static int loopback_tidy(struct driver *d)
{
	int r = loopback_volumes_sweep(loopback(d)->volumes, ID128_NIL);

	return loopback_device_sweep_cut(ID128_NIL) ?: r;
}

/* The device of a volume that we have attached, or -ENOENT, -ENODEV. */
static int device_here(struct loopback *lo, struct id128 volume_id, struct loopback_image *ret_image,
	struct loopback_device *ret)
{
	_cleanup_(loopback_volume_done) struct loopback_volume v = LOOPBACK_VOLUME_INIT;
	uint64_t size;
	int r;

	r = loopback_volume_open(lo->volumes, volume_id, false, &v);
	if (r < 0)
		return r;
	r = loopback_image_stat(&v, ret_image, &size);
	if (r < 0)
		return r;
	if (loopback_claim_place(&v.claim, &lo->self) != DRIVER_HERE)
		return left_here(lo, &v, ret);
	ret_image->left_below = v.claim.epoch;
	return loopback_find_quickly(lo, ret_image, ret);
}

static int loopback_device(struct driver *d, struct id128 volume_id, struct driver_device *ret)
{
	struct loopback_device device;
	struct loopback_image image;
	int r = device_here(loopback(d), volume_id, &image, &device);

	return r < 0 ? r : loopback_device_describe(&image, device.number, ret);
}

/* ---- changing ---- */

static int loopback_cut_volume(struct driver *d, struct id128 volume_id)
{
	struct loopback_device device;
	struct loopback_image image;
	int r = device_here(loopback(d), volume_id, &image, &device);

	return r < 0 ? r : loopback_device_cut(&image, device.number);
}

static uint64_t round_up(uint64_t size, uint64_t unit)
{
	return (size + unit - 1) / unit * unit;
}

/* What stands there already: is it what was asked for? */
static int create_compare(struct loopback *lo, struct id128 volume_id, struct id128 dataset_id,
	uint64_t size_bytes, uint64_t epoch)
{
	_cleanup_(loopback_volume_done) struct loopback_volume v = LOOPBACK_VOLUME_INIT;
	int r;

	r = loopback_volume_open(lo->volumes, volume_id, false, &v);
	if (r < 0)
		return r;
	if (epoch < v.claim.epoch)
		return -ESTALE;
	if (!id128_equal(v.meta.dataset_id, dataset_id) ||
		v.meta.size_bytes != loopback_volume_round(&v.meta, size_bytes))
		return -EEXIST;
	return loopback_volumes_sync(lo->volumes); /* its maker may have died just before that */
}

static int loopback_create(struct driver *d, struct id128 volume_id, struct id128 dataset_id,
	uint64_t size_bytes, uint64_t epoch)
{
	struct loopback *lo = loopback(d);
	struct loopback_claim claim = {
		.state = LOOPBACK_CLAIM_NEW,
		.epoch = epoch,
		.by = lo->self,
	};
	struct loopback_meta meta = {
		.dataset_id = dataset_id,
		.allocation_unit = lo->allocation_unit,
	};
	int r;

	if (!loopback_epoch_is_valid(epoch) || !loopback_size_is_valid(size_bytes))
		return -EINVAL;
	meta.size_bytes = round_up(size_bytes, lo->allocation_unit);
	r = create_compare(lo, volume_id, dataset_id, size_bytes, epoch);
	if (r != -ENOENT)
		return r;
	r = loopback_volume_create(lo->volumes, volume_id, &meta, -EBADF, &claim);
	if (r == -EEXIST) /* another node was faster */
		return create_compare(lo, volume_id, dataset_id, size_bytes, epoch);
	return r;
}

static int loopback_take(struct driver *d, struct id128 volume_id, struct id128 dataset_id, int image_fd,
	uint64_t epoch, uint64_t *ret_size)
{
	struct loopback *lo = loopback(d);
	struct loopback_claim claim = { .state = LOOPBACK_CLAIM_FREE, .epoch = epoch, .by = lo->self };
	struct loopback_meta meta = { .dataset_id = dataset_id, .allocation_unit = lo->allocation_unit };
	struct stat st;
	int r;

	if (fstat(image_fd, &st) < 0)
		return loopback_errno();
	if (!S_ISREG(st.st_mode) || st.st_size == 0 || !loopback_epoch_is_valid(epoch))
		return -EINVAL;
	meta.size_bytes = round_up((uint64_t)st.st_size, lo->allocation_unit);
	r = loopback_volume_create(lo->volumes, volume_id, &meta, image_fd, &claim);
	if (r == 0)
		*ret_size = meta.size_bytes;
	return r;
}

/* The device on this image, or -ENODEV, or -EBUSY. Does without a look at every device if it can. What is
 * left of a fenced node is taken down; @ret_left: it is in use, and stays beside whatever comes. */
static int image_find(const struct loopback_volume *v, const struct loopback_image *image,
	struct loopback_device *ret, bool *ret_left)
{
	_cleanup_close_ int image_fd = loopback_image_open(v, O_RDONLY);
	struct loopback_device left;

	*ret_left = false;
	if (image_fd == -ENODATA)
		return loopback_device_find(image, false, ret);
	if (image_fd < 0)
		return image_fd;
	if (loopback_image_is_idle(image_fd))
		return -ENODEV;
	image_fd = close_keep_errno(image_fd);
	if (loopback_device_find_left(image, &left) == 0)
		*ret_left = loopback_device_sweep_cut(image->volume_id) < 0;
	return loopback_device_find(image, true, ret);
}

static int on_orphan(unsigned number, struct id128 volume_id, void *userdata)
{
	const struct id128 *wanted = userdata;

	return id128_equal(volume_id, *wanted) ? -EIO : 0;
}

/*
 * There is no such volume: 0, unless a device of it lives on. Then the directory is not the one that
 * the device came from: its filesystem went, or another one covers it.
 */
static int check_no_orphan(struct id128 volume_id)
{
	return loopback_device_each(on_orphan, &volume_id);
}

/* What somebody else is removing is as good as gone. */
static int sweep(struct loopback *lo, struct id128 volume_id)
{
	int r = loopback_volumes_sweep(lo->volumes, volume_id);

	return r == -EBUSY ? 0 : r;
}

static int loopback_destroy(struct driver *d, struct id128 volume_id, uint64_t epoch)
{
	_cleanup_(loopback_volume_done) struct loopback_volume v = LOOPBACK_VOLUME_INIT;
	struct loopback *lo = loopback(d);
	struct loopback_device device;
	struct loopback_image image;
	uint64_t size;
	bool left;
	int r;

	if (!loopback_epoch_is_valid(epoch))
		return -EINVAL;
	r = loopback_volume_open(lo->volumes, volume_id, true, &v);
	if (r == -ENOENT)
		return check_no_orphan(volume_id) ?: sweep(lo, volume_id);
	if (r < 0)
		return r;
	if (epoch < v.claim.epoch)
		return -ESTALE;
	if (epoch == v.claim.epoch && v.claim.state == LOOPBACK_CLAIM_FREE &&
		!loopback_claim_is_by(&v.claim, &lo->self))
		return -ESTALE;
	if (loopback_claim_place(&v.claim, &lo->self) == DRIVER_ELSEWHERE)
		return -EBUSY;
	r = loopback_image_stat(&v, &image, &size);
	if (r < 0)
		return r;
	image.left_below = epoch;
	r = image_find(&v, &image, &device, &left);
	if (r != -ENODEV)
		return r == 0 ? -EBUSY : r;
	return loopback_volume_remove(lo->volumes, &v);
}

/* The claim becomes ours under @epoch, durably. */
static int claim_hold(struct loopback *lo, struct loopback_volume *v, uint64_t epoch)
{
	v->claim.state = LOOPBACK_CLAIM_HELD;
	v->claim.epoch = epoch;
	v->claim.by = lo->self;
	return loopback_claim_write(v->claim_fd, &v->claim);
}

/* A device is there: from an earlier attach, finished or not, by us. Make it this attach's. */
static int attach_existing(struct loopback *lo, struct loopback_volume *v,
	const struct loopback_image *image, const struct loopback_device *device, uint64_t epoch)
{
	int r;

	if (loopback_claim_place(&v->claim, &lo->self) != DRIVER_HERE)
		return -EBUSY; /* our name, but not made under this claim */
	*hint_of(lo, v->volume_id) = device->number + 1;
	if (v->claim.epoch == epoch && device->epoch == epoch && !device->autoclear &&
		id128_equal(v->claim.by.boot, lo->self.boot))
		return 0;
	r = claim_hold(lo, v, epoch);
	if (r < 0)
		return r;
	r = loopback_device_adopt(image, device->number, epoch);
	return r == -ENODEV ? -EBUSY : r; /* an interrupted detach took it down right now */
}

static int attach_new(struct loopback *lo, struct loopback_volume *v,
	const struct loopback_image *image, uint64_t epoch, bool beside)
{
	_cleanup_close_ int image_fd = -EBADF;
	unsigned number;
	int r;

	image_fd = loopback_image_open(v, O_RDWR);
	if (image_fd < 0)
		return image_fd == -ENODATA ? -EUCLEAN : image_fd;
	/* Always written, also when the claim is ours: who wrote it may have died before it
	 * was durable. */
	r = claim_hold(lo, v, epoch);
	if (r < 0)
		return r;
	r = loopback_device_make(image, image_fd, epoch, v->meta.block_size, beside, &number);
	if (r < 0)
		return r;
	*hint_of(lo, v->volume_id) = number + 1;
	return 0;
}

static int loopback_attach(struct driver *d, struct id128 volume_id, uint64_t epoch,
	uint64_t size_bytes, uint64_t growing_bytes)
{
	_cleanup_(loopback_volume_done) struct loopback_volume v = LOOPBACK_VOLUME_INIT;
	struct loopback *lo = loopback(d);
	struct loopback_device device;
	struct loopback_image image;
	uint64_t size;
	bool left;
	int r;

	if (!loopback_epoch_is_valid(epoch) || !loopback_size_is_valid(size_bytes) || growing_bytes > INT64_MAX - GIB)
		return -EINVAL;
	r = loopback_volume_open(lo->volumes, volume_id, true, &v);
	if (r < 0)
		return r;
	if (epoch < v.claim.epoch ||
		(epoch == v.claim.epoch && v.claim.state == LOOPBACK_CLAIM_FREE))
		return -ESTALE;
	if (loopback_claim_place(&v.claim, &lo->self) == DRIVER_ELSEWHERE)
		return -EBUSY;
	r = loopback_image_stat(&v, &image, &size);
	if (r < 0)
		return r;
	r = loopback_size_settle(&v, &image, size, size_bytes, growing_bytes);
	if (r < 0)
		return r;
	/* What was cut under the claim that we still have is ours to unmount first. */
	image.left_below = loopback_claim_place(&v.claim, &lo->self) == DRIVER_HERE ? v.claim.epoch : epoch;
	r = image_find(&v, &image, &device, &left);
	if (r == 0 && device.cut && loopback_claim_place(&v.claim, &lo->self) == DRIVER_HERE)
		r = loopback_device_release(&image, device.number) ?: -ENODEV;
	if (r == 0)
		return attach_existing(lo, &v, &image, &device, epoch);
	if (r != -ENODEV)
		return r;
	return attach_new(lo, &v, &image, epoch, left);
}

/* No device has the image, and what was written through it is on stable storage. */
static int image_settle(const struct loopback_volume *v, const struct loopback_image *image)
{
	_cleanup_close_ int image_fd = loopback_image_open(v, O_RDWR);
	struct loopback_device device;
	bool left;
	int r;

	if (image_fd == -ENODATA)
		return 0; /* nothing left that could be in use */
	if (image_fd < 0)
		return image_fd;
	r = loopback_device_wait_unused(image_fd);
	if (r < 0 && loopback_device_find_left(image, &device) < 0)
		return r;
	if (fsync(image_fd) < 0)
		return loopback_errno();
	image_fd = close_keep_errno(image_fd);
	r = image_find(v, image, &device, &left); /* not ours any more, so somebody else's */
	if (r != -ENODEV)
		return r == 0 ? -EBUSY : r;
	return 0;
}

static int loopback_detach(struct driver *d, struct id128 volume_id, uint64_t epoch)
{
	_cleanup_(loopback_volume_done) struct loopback_volume v = LOOPBACK_VOLUME_INIT;
	struct loopback *lo = loopback(d);
	struct loopback_device device;
	struct loopback_image image;
	enum driver_place place;
	uint64_t size;
	int r;

	if (!loopback_epoch_is_valid(epoch))
		return -EINVAL;
	r = loopback_volume_open(lo->volumes, volume_id, true, &v);
	if (r == -ENOENT)
		return loopback_device_sweep_cut(volume_id) ?: check_no_orphan(volume_id) ?: -ENOENT;
	if (r < 0)
		return r;
	if (epoch < v.claim.epoch)
		return loopback_device_sweep_cut(volume_id) ?: -ESTALE;
	place = loopback_claim_place(&v.claim, &lo->self);
	if (place == DRIVER_ELSEWHERE)
		return -EBUSY;
	r = loopback_image_stat(&v, &image, &size);
	if (r < 0)
		return r;
	image.left_below = epoch;
	r = loopback_find_quickly(lo, &image, &device);
	if (r == 0)
		r = place == DRIVER_HERE || device.cut ? loopback_device_release(&image, device.number) : -EBUSY;
	if (r < 0 && r != -ENODEV)
		return r;
	r = image_settle(&v, &image);
	if (r < 0)
		return r;

	/* Written also when it says so already: it may not be durable. But who gave it back
	 * first stays on record, see destroy(). */
	if (v.claim.state != LOOPBACK_CLAIM_FREE || v.claim.epoch != epoch)
		v.claim.by = lo->self;
	v.claim.state = LOOPBACK_CLAIM_FREE;
	v.claim.epoch = epoch;
	return loopback_claim_write(v.claim_fd, &v.claim);
}

static int loopback_fence(struct driver *d, struct id128 volume_id, uint64_t from, uint64_t to)
{
	_cleanup_(loopback_volume_done) struct loopback_volume v = LOOPBACK_VOLUME_INIT;
	struct loopback *lo = loopback(d);
	int r;

	r = loopback_volume_open(lo->volumes, volume_id, true, &v);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (v.claim.epoch < from || v.claim.epoch > to || loopback_claim_place(&v.claim, &lo->self) != DRIVER_ELSEWHERE)
		return 0;
	v.claim.state = LOOPBACK_CLAIM_FREE;
	v.claim.by = lo->self;
	return loopback_claim_write(v.claim_fd, &v.claim);
}

const struct driver_ops loopback_ops = {
	.name = "loopback",
	.open = loopback_open,
	.close = loopback_close,
	.describe = loopback_describe,
	.promised = loopback_promised,
	.list = loopback_list,
	.tidy = loopback_tidy,
	.lookup = loopback_lookup,
	.create = loopback_create,
	.take = loopback_take,
	.destroy = loopback_destroy,
	.attach = loopback_attach,
	.expand = loopback_expand,
	.detach = loopback_detach,
	.fence = loopback_fence,
	.cut = loopback_cut_volume,
	.device = loopback_device,
};
