/* SPDX-License-Identifier: Apache-2.0 */
#include "loopback_device.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "loopback_cut.h"
#include "loopback_io.h"
#include "loopback_volume.h"

#define SYS_BLOCK "/sys/block"
#define IMAGE_TAIL "/image"
#define NAME_PREFIX "flocker:"
#define MAKE_LIMIT_NS UINT64_C(5000000000)
#define LOCK_LIMIT_NS UINT64_C(1000000000) /* a file just let go is unlocked a moment later */
#define GONE_LIMIT_NS UINT64_C(2000000000) /* udev's blkid has the device open for about 0.1 s */

static_assert(sizeof(NAME_PREFIX) - 1 + ID128_TEXT - 1 + 1 + 18 < LO_NAME_SIZE,
	"prefix, dataset and an epoch up to DRIVER_EPOCH_MAX fit with their NUL");

DEFINE_CLEANUP(DIR *, closedir);

static int device_open(unsigned number, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/dev/loop%u", number);
	return open(path, flags | O_CLOEXEC | O_NONBLOCK);
}

/* Ours is "flocker:<dataset>:<epoch>" to the last byte. */
static bool name_is_ours(const char *name, struct id128 dataset_id, uint64_t *ret_epoch)
{
	char prefix[LO_NAME_SIZE];
	char *end;
	int n;

	n = snprintf(prefix, sizeof(prefix), NAME_PREFIX "%s:", ID128_STR(dataset_id));
	if (strncmp(name, prefix, (size_t)n) != 0 || !isdigit((unsigned char)name[n]))
		return false;
	*ret_epoch = strtoull(name + n, &end, 10);
	return *end == '\0';
}

static void name_set(struct loop_info64 *info, struct id128 dataset_id, uint64_t epoch)
{
	snprintf((char *)info->lo_file_name, LO_NAME_SIZE, NAME_PREFIX "%s:%" PRIu64,
		ID128_STR(dataset_id), epoch);
}

/* 0 when the device behind @fd is number @number and on this image, else -ENODEV. */
static int status_check(const struct loopback_image *image, unsigned number, int fd,
	struct loop_info64 *ret_info, struct loopback_device *ret)
{
	struct loopback_device dev = { .number = number };
	struct loop_info64 info;

	if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
		return errno == ENXIO ? -ENODEV : loopback_errno();
	info.lo_file_name[LO_NAME_SIZE - 1] = '\0';
	dev.ours = name_is_ours((const char *)info.lo_file_name, image->dataset_id, &dev.epoch);
	dev.autoclear = info.lo_flags & LO_FLAGS_AUTOCLEAR;
	dev.cut = info.lo_sizelimit != 0;
	if (info.lo_number != number)
		return -EIO; /* the node in /dev leads to another device */
	if (image->missing ? !dev.ours :
			     info.lo_device != image->dev || info.lo_inode != image->ino)
		return -ENODEV;
	*ret_info = info;
	*ret = dev;
	return 0;
}

/* Opens device @number if it is on this image. The descriptor, or -ENODEV. */
static int open_checked(const struct loopback_image *image, unsigned number, int flags,
	struct loop_info64 *ret_info, struct loopback_device *ret)
{
	_cleanup_close_ int fd = -EBADF;
	int r;

	fd = device_open(number, flags);
	if (fd < 0 && errno == EBUSY)
		return -EBUSY; /* with O_EXCL only */
	if (fd < 0)
		return errno == ENXIO || errno == ENOENT ? -ENODEV : loopback_errno();
	r = status_check(image, number, fd, ret_info, ret);
	if (r < 0)
		return r;
	return TAKE_FD(fd);
}

int loopback_device_check(const struct loopback_image *image, unsigned number,
	struct loopback_device *ret)
{
	struct loop_info64 info;
	_cleanup_close_ int fd = -EBADF;

	fd = open_checked(image, number, O_RDONLY, &info, ret);
	return fd < 0 ? fd : 0;
}

/* Reads one attribute of a block device in sysfs, without the newline. -ENODEV: it is not there. */
static int attribute_read(unsigned number, const char *name, char *buf, size_t size)
{
	char path[64];
	_cleanup_close_ int fd = -EBADF;
	ssize_t n;

	snprintf(path, sizeof(path), SYS_BLOCK "/loop%u/%s", number, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) /* ENODEV: it goes at this moment */
		return errno == ENOENT || errno == ENODEV ? -ENODEV : loopback_errno();
	n = read(fd, buf, size - 1);
	if (n < 0) /* the device goes while we read: ENODEV or ENXIO */
		return errno == ENODEV || errno == ENXIO ? -ENODEV : loopback_errno();
	if (n > 0 && buf[n - 1] == '\n')
		n--;
	buf[n] = '\0';
	return 0;
}

/* ".../<volume_id>/image", perhaps followed by the kernel's " (deleted)". @gone: or what that
 * directory is called once it is destroyed. */
static bool backing_parse(char *path, bool gone, struct id128 *ret)
{
	static const char deleted[] = " (deleted)";
	size_t n = strlen(path);
	const char *name;

	if (n > sizeof(deleted) && STREQ(path + n - (sizeof(deleted) - 1), deleted))
		n -= sizeof(deleted) - 1;
	if (n < sizeof(IMAGE_TAIL) || memcmp(path + n - (sizeof(IMAGE_TAIL) - 1), IMAGE_TAIL,
					      sizeof(IMAGE_TAIL) - 1) != 0)
		return false;
	path[n - (sizeof(IMAGE_TAIL) - 1)] = '\0';
	name = strrchr(path, '/');
	if (!name)
		return false;
	return loopback_volume_name(name + 1, ret) ||
		(gone && loopback_volume_gone_name(name + 1, ret));
}

/* Anybody may have a device on a file whose path is too long to be told. It is not called like ours. */
static int backing_read(unsigned number, bool gone, struct id128 *ret)
{
	char path[PATH_MAX + 16];
	int r;

	r = attribute_read(number, "loop/backing_file", path, sizeof(path));
	if (r < 0 && r != -ENAMETOOLONG)
		return r;
	if (r < 0 || !backing_parse(path, gone, ret))
		*ret = ID128_NIL;
	return 0;
}

static int device_each(bool gone,
	int (*fn)(unsigned number, struct id128 volume_id, void *userdata), void *userdata)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	struct dirent *de;
	struct id128 volume_id;
	unsigned number;
	char junk;
	int r;

	dir = opendir(SYS_BLOCK);
	if (!dir)
		return loopback_errno();
	for (errno = 0; (de = readdir(dir)); errno = 0) {
		if (sscanf(de->d_name, "loop%u%c", &number, &junk) != 1)
			continue;
		r = backing_read(number, gone, &volume_id);
		if (r == -ENODEV)
			continue;
		if (r == 0)
			r = fn(number, volume_id, userdata);
		if (r != 0)
			return r;
	}
	return errno ? loopback_errno() : 0;
}

int loopback_device_each(int (*fn)(unsigned number, struct id128 volume_id, void *userdata),
	void *userdata)
{
	return device_each(false, fn, userdata);
}

struct find {
	const struct loopback_image *image;
	bool any_name;
	struct loopback_device device, left;
	unsigned n_ours, n_foreign, n_left;
};

/* The kernel asks the backing file's storage for the status, and got no answer but an error. */
static bool storage_failed(int r)
{
	return r == -EIO || r == -ENOTCONN || r == -ECONNABORTED || r == -EREMOTEIO;
}

static int on_candidate(unsigned number, struct id128 volume_id, void *userdata)
{
	struct find *f = userdata;
	struct loopback_device device;
	int r;

	if (!f->any_name && !id128_equal(volume_id, f->image->volume_id))
		return 0;
	r = loopback_device_check(f->image, number, &device);
	/* The storage of our image has just answered, so one that fails is another's. */
	if (r == -ENODEV || (f->any_name && storage_failed(r)))
		return 0;
	if (r < 0)
		return r;
	if (device.ours && (device.cut || f->image->left_uncut) && device.epoch < f->image->left_below) {
		f->left = device;
		f->n_left++;
	} else if (device.ours) {
		f->device = device;
		f->n_ours++;
	} else {
		f->n_foreign++;
	}
	return 0;
}

int loopback_device_find(const struct loopback_image *image, bool thorough,
	struct loopback_device *ret)
{
	struct find f = { .image = image };
	int r;

	r = loopback_device_each(on_candidate, &f);
	if (r == 0 && thorough && f.n_ours + f.n_foreign == 0) {
		f.any_name = true;
		r = loopback_device_each(on_candidate, &f);
	}
	if (r < 0)
		return r;
	if (f.n_foreign > 0 || f.n_ours > 1)
		return -EBUSY;
	if (f.n_ours == 0)
		return -ENODEV;
	*ret = f.device;
	return 0;
}

int loopback_device_find_left(const struct loopback_image *image, struct loopback_device *ret)
{
	struct find f = { .image = image };
	int r = loopback_device_each(on_candidate, &f);

	if (r < 0)
		return r;
	if (f.n_left == 0)
		return -ENODEV;
	*ret = f.left;
	return 0;
}

struct sweep {
	struct id128 only;
	bool busy;
};

/* Opens device @number if it was cut; an open one cannot become another's. -ENODEV, -EBUSY with
 * O_EXCL. */
static int open_cut(unsigned number, struct id128 volume_id, int flags)
{
	_cleanup_close_ int fd = device_open(number, O_RDONLY | flags);
	struct loop_info64 info;
	struct id128 now;

	if (fd < 0)
		return errno == EBUSY ? -EBUSY : -ENODEV;
	if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0 || info.lo_sizelimit == 0 ||
		strncmp((const char *)info.lo_file_name, NAME_PREFIX, sizeof(NAME_PREFIX) - 1) != 0 ||
		backing_read(number, true, &now) < 0 || !id128_equal(now, volume_id))
		return -ENODEV;
	return TAKE_FD(fd);
}

static int on_sweep(unsigned number, struct id128 volume_id, void *userdata)
{
	_cleanup_close_ int fd = -EBADF;
	struct sweep *s = userdata;

	if (id128_is_nil(volume_id) || (!id128_is_nil(s->only) && !id128_equal(s->only, volume_id)))
		return 0;
	fd = open_cut(number, volume_id, 0);
	if (fd < 0)
		return 0;
	fd = close_keep_errno(fd);
	/* Exclusively: one that is mounted anywhere stays. And once more asked whose it is: between
	 * the two it was nobody's to keep. */
	fd = open_cut(number, volume_id, O_EXCL);
	if (fd >= 0 && ioctl(fd, LOOP_CLR_FD) < 0)
		s->busy |= errno == EBUSY;
	s->busy |= fd == -EBUSY;
	return 0;
}

int loopback_device_sweep_cut(struct id128 only)
{
	struct sweep s = { .only = only };
	int r = device_each(true, on_sweep, &s);

	return r < 0 ? r : s.busy ? -EBUSY : 0;
}

static int image_lock(int image_fd, uint64_t limit_ns)
{
	struct loopback_wait wait;

	loopback_wait_start(&wait, limit_ns);
	while (flock(image_fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return loopback_errno();
		if (!loopback_wait_more(&wait))
			return -EBUSY;
	}
	return 0;
}

bool loopback_image_is_idle(int image_fd)
{
	/* A read lease is only given on a file that nobody writes. We hold it for a moment; who
	 * opens the file just then waits that long, and we are sent a signal that would kill
	 * us if it were the usual SIGIO. */
	if (fcntl(image_fd, F_SETSIG, SIGURG) < 0 || fcntl(image_fd, F_SETLEASE, F_RDLCK) < 0)
		return false;
	fcntl(image_fd, F_SETLEASE, F_UNLCK);
	return true;
}

int loopback_device_wait_unused(int image_fd)
{
	return image_lock(image_fd, GONE_LIMIT_NS);
}

/* Between LOOP_CTL_GET_FREE and LOOP_CONFIGURE anybody may take the device: 1 to try again. */
static int configure_free(int control_fd, const struct loop_config *config, int *ret_fd,
	unsigned *ret_number)
{
	_cleanup_close_ int fd = -EBADF;
	int number;

	number = ioctl(control_fd, LOOP_CTL_GET_FREE);
	if (number < 0)
		return errno == EBUSY || errno == EEXIST ? 1 : loopback_errno();
	fd = device_open((unsigned)number, O_RDWR);
	if (fd < 0) /* removed again, or its node is not made yet */
		return errno == ENXIO || errno == ENOENT || errno == EBUSY ? 1 : loopback_errno();
	if (ioctl(fd, LOOP_CONFIGURE, config) < 0)
		return errno == EBUSY ? 1 : loopback_errno();
	*ret_fd = TAKE_FD(fd);
	*ret_number = (unsigned)number;
	return 0;
}

/* The device is on our image and has its size; else it is taken down again. */
static int made_check(const struct loopback_image *image, unsigned number, int fd, int image_fd)
{
	struct loopback_device device;
	struct loop_info64 info;
	uint64_t size = 0;
	struct stat st;
	int r;

	r = status_check(image, number, fd, &info, &device);
	if (r == 0 && (fstat(image_fd, &st) < 0 || ioctl(fd, BLKGETSIZE64, &size) < 0))
		r = loopback_errno();
	if (r == 0 && device.ours && size == (uint64_t)st.st_size)
		return 0;
	ioctl(fd, LOOP_CLR_FD);
	return r < 0 && r != -ENODEV ? r : -EIO;
}

int loopback_device_make(const struct loopback_image *image, int image_fd, uint64_t epoch,
	uint32_t block_size, bool beside, unsigned *ret_number)
{
	struct loop_config config = {
		.fd = (uint32_t)image_fd,
		.block_size = block_size,
		.info.lo_flags = LO_FLAGS_DIRECT_IO,
	};
	_cleanup_close_ int control_fd = -EBADF, fd = -EBADF;
	struct loopback_wait wait;
	unsigned number = 0;
	int r;

	name_set(&config.info, image->dataset_id, epoch);
	control_fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control_fd < 0)
		return loopback_errno();
	r = image_lock(image_fd, beside ? 0 : LOCK_LIMIT_NS);
	if (r < 0 && !(beside && r == -EBUSY))
		return r;

	loopback_wait_start(&wait, MAKE_LIMIT_NS);
	while ((r = configure_free(control_fd, &config, &fd, &number)) == 1)
		if (!loopback_wait_more(&wait))
			return -ETIMEDOUT;
	if (r < 0)
		return r;
	r = made_check(image, number, fd, image_fd);
	if (r < 0)
		return r;
	*ret_number = number;
	return 0;
}

int loopback_device_adopt(const struct loopback_image *image, unsigned number, uint64_t epoch)
{
	_cleanup_close_ int fd = -EBADF;
	struct loopback_device device;
	struct loop_info64 info;

	fd = open_checked(image, number, O_RDWR, &info, &device);
	if (fd < 0)
		return fd;
	info.lo_flags &= ~(uint32_t)LO_FLAGS_AUTOCLEAR;
	memset(info.lo_file_name, 0, sizeof(info.lo_file_name));
	name_set(&info, image->dataset_id, epoch);
	if (ioctl(fd, LOOP_SET_STATUS64, &info) < 0)
		return errno == ENXIO ? -ENODEV : loopback_errno();
	return 0;
}

static bool still_there(const struct loopback_image *image, unsigned number)
{
	struct id128 volume_id;

	return backing_read(number, false, &volume_id) == 0 &&
		id128_equal(volume_id, image->volume_id);
}

int loopback_device_release(const struct loopback_image *image, unsigned number)
{
	_cleanup_close_ int fd = -EBADF;
	struct loopback_device device;
	struct loopback_wait wait;
	struct loop_info64 info;

	/* O_EXCL fails as long as a filesystem is on the device in whatever mount namespace. */
	fd = open_checked(image, number, O_RDWR | O_EXCL, &info, &device);
	if (fd == -ENODEV)
		return 0;
	if (fd < 0)
		return fd;
	/* Older kernels forget what the device's page cache still has. This brings it into the
	 * image; one fsync() of the image does the rest when nothing more can come. What a cut
	 * refused is meant to be lost. */
	if (sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE_AND_WAIT) < 0 && !device.cut)
		return loopback_errno();
	if (ioctl(fd, LOOP_CLR_FD) < 0 && errno != ENXIO)
		return errno == EBUSY ? -EBUSY : loopback_errno();
	fd = close_keep_errno(fd); /* newer kernels take it down in the last close */

	/* Another opener, udev's blkid most often, keeps it until it closes. */
	loopback_wait_start(&wait, GONE_LIMIT_NS);
	while (still_there(image, number))
		if (!loopback_wait_more(&wait))
			return -EBUSY;
	return 0;
}

int loopback_device_expand(const struct loopback_image *image, unsigned number, uint64_t size_bytes)
{
	_cleanup_close_ int fd = -EBADF;
	struct loopback_device device;
	struct loop_info64 info;
	uint64_t size = 0;
	int r;

	fd = open_checked(image, number, O_RDONLY, &info, &device);
	if (fd < 0)
		return fd;
	if (!device.ours || device.cut)
		return -ENODEV;
	if (ioctl(fd, BLKGETSIZE64, &size) == 0 && size == size_bytes)
		return 0;
	if (ioctl(fd, LOOP_SET_CAPACITY) < 0)
		return errno == ENXIO ? -ENODEV : loopback_errno();
	r = status_check(image, number, fd, &info, &device);
	if (r < 0 || device.cut)
		return r < 0 ? r : -ENODEV;
	return ioctl(fd, BLKGETSIZE64, &size) == 0 && size == size_bytes ? 0 : -EIO;
}

int loopback_device_cut(const struct loopback_image *image, unsigned number)
{
	_cleanup_close_ int fd = -EBADF;
	struct loopback_device device;
	struct loop_info64 info;

	fd = open_checked(image, number, O_RDONLY, &info, &device);
	if (fd < 0)
		return fd;
	return device.ours ? loopback_cut(fd) : -ENODEV;
}

int loopback_device_describe(const struct loopback_image *image, unsigned number,
	struct driver_device *ret)
{
	struct driver_device out = { .diskseq = 0 };
	_cleanup_close_ int fd = -EBADF;
	struct loopback_device device;
	struct loop_info64 info;
	char text[64], want[64];
	uint64_t seq = 0;
	struct stat st;
	int r;

	fd = open_checked(image, number, O_RDONLY, &info, &device);
	if (fd < 0)
		return fd;
	if (!device.ours)
		return -ENODEV;
	if (fstat(fd, &st) < 0)
		return loopback_errno();
	snprintf(want, sizeof(want), "%u:%u", major(st.st_rdev), minor(st.st_rdev));
	r = attribute_read(number, "dev", text, sizeof(text));
	if (r < 0)
		return r;
	if (!S_ISBLK(st.st_mode) || !STREQ(text, want))
		return -EIO; /* /dev and /sys tell of different devices */
	r = attribute_read(number, "size", text, sizeof(text));
	if (r < 0)
		return r;
	out.size_bytes = strtoull(text, NULL, 10) * 512;

	/* The device is held open, so it is one and the same use that both ways speak of. */
	r = attribute_read(number, "diskseq", text, sizeof(text));
	if (r == 0)
		out.diskseq = strtoull(text, NULL, 10);
	if (ioctl(fd, BLKGETDISKSEQ, &seq) == 0 && seq != out.diskseq)
		return -ENODEV;

	snprintf(out.path, sizeof(out.path), "/dev/loop%u", number);
	out.devno = st.st_rdev;
	out.cut = device.cut;
	*ret = out;
	return 0;
}
