/* SPDX-License-Identifier: Apache-2.0 */
#include "loopback_volume.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/stat.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "jsonin.h"
#include "loopback_io.h"

#define META_VERSION 1
#define META_MAX 65536
#define BLOCK_SIZE_MAX (64 * KIB) /* that the kernel makes devices of */
#define META_NEW "meta.new"
#define LOCK_LIMIT_NS UINT64_C(10000000000)
#define NEW_PREFIX ".new-"
#define GONE_PREFIX ".gone-"
#define LITTER_NAME 96
#define COPY_SIZE (1 * MIB)

DEFINE_CLEANUP(DIR *, closedir);

void loopback_volume_done(struct loopback_volume *v)
{
	v->claim_fd = close_keep_errno(v->claim_fd);
	v->dir_fd = close_keep_errno(v->dir_fd);
}

bool loopback_volume_name(const char *name, struct id128 *ret)
{
	return id128_parse(name, ret) == 0 && STREQ(name, ID128_STR(*ret));
}

int loopback_volumes_open(const char *volumes)
{
	int fd = open(volumes, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? loopback_errno() : fd;
}

int loopback_volumes_list(const char *volumes, DIR **ret)
{
	int fd = loopback_volumes_open(volumes);

	if (fd < 0)
		return fd;
	*ret = fdopendir(fd);
	if (*ret)
		return 0;
	close(fd);
	return -ENOMEM;
}

int loopback_volumes_sync(const char *volumes)
{
	_cleanup_close_ int fd = loopback_volumes_open(volumes);

	if (fd < 0)
		return fd;
	return fsync(fd) < 0 ? loopback_errno() : 0;
}

/* ---- meta ---- */

static int get_size(struct json_object *o, const char *key, uint64_t *ret)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_int) ||
		json_object_get_int64(v) <= 0)
		return -EIO;
	*ret = json_object_get_uint64(v);
	return 0;
}

static int meta_parse(const char *text, size_t size, struct loopback_meta *ret)
{
	_cleanup_json_ struct json_object *o = NULL;
	uint64_t version, block_size;
	char error[JSONIN_ERROR_MAX];
	struct json_object *id;
	struct loopback_meta m;
	int r;

	r = jsonin_parse(text, size, &o, error);
	if (r < 0)
		return r == -ENOMEM ? r : -EIO;
	if (!json_object_is_type(o, json_type_object) || get_size(o, "version", &version) < 0)
		return -EIO;
	if (version != META_VERSION)
		return -ENOTSUP;
	if (get_size(o, "size_bytes", &m.size_bytes) < 0 ||
		get_size(o, "allocation_unit", &m.allocation_unit) < 0 ||
		get_size(o, "block_size", &block_size) < 0 || m.allocation_unit > GIB ||
		block_size > BLOCK_SIZE_MAX ||
		!json_object_object_get_ex(o, "dataset_id", &id) ||
		id128_parse(json_object_get_string(id) ?: "", &m.dataset_id) < 0)
		return -EIO;
	m.block_size = (uint32_t)block_size;
	*ret = m;
	return 0;
}

static int meta_read(int dir_fd, struct loopback_meta *ret)
{
	_cleanup_close_ int fd = -EBADF;
	_cleanup_free_ char *text = NULL;
	ssize_t n;

	fd = openat(dir_fd, "meta", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return loopback_errno();
	text = malloc(META_MAX);
	if (!text)
		return -ENOMEM;
	n = loopback_pread(fd, text, META_MAX, 0);
	if (n < 0)
		return (int)n;
	return meta_parse(text, (size_t)n, ret);
}

/* @name: of a file that is made, or emptied when a killed expand left it. */
static int meta_write(int dir_fd, const char *name, struct id128 volume_id, const struct loopback_meta *m)
{
	_cleanup_close_ int fd = -EBADF;
	char text[512];
	int n, r;

	n = snprintf(text, sizeof(text),
		"{\n  \"version\": %d,\n  \"volume_id\": \"%s\",\n  \"dataset_id\": \"%s\",\n"
		"  \"size_bytes\": %" PRIu64 ",\n  \"allocation_unit\": %" PRIu64
		",\n  \"block_size\": %" PRIu32 "\n}\n",
		META_VERSION, ID128_STR(volume_id), ID128_STR(m->dataset_id), m->size_bytes,
		m->allocation_unit, m->block_size);
	fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return loopback_errno();
	r = loopback_pwrite(fd, text, (size_t)n, 0);
	if (r < 0)
		return r;
	return fsync(fd) < 0 ? loopback_errno() : 0;
}

/* Whoever reads sees the old one or the new one. */
static int meta_replace(int dir_fd, struct id128 volume_id, const struct loopback_meta *m)
{
	int r = meta_write(dir_fd, META_NEW, volume_id, m);

	if (r < 0)
		return r;
	if (renameat(dir_fd, META_NEW, dir_fd, "meta") < 0 || fsync(dir_fd) < 0)
		return loopback_errno();
	return 0;
}

/* ---- opening ---- */

/* Does the name still lead to the directory that we opened? 0, -ENOENT: not any more; -EIO ... */
static int check_linked(int volumes_fd, const char *name, int dir_fd)
{
	struct stat by_name, by_fd;

	if (fstatat(volumes_fd, name, &by_name, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? -ENOENT : loopback_errno();
	if (fstat(dir_fd, &by_fd) < 0)
		return loopback_errno();
	return by_name.st_dev == by_fd.st_dev && by_name.st_ino == by_fd.st_ino ? 0 : -ENOENT;
}

static int claim_lock(int claim_fd)
{
	struct loopback_wait wait;

	loopback_wait_start(&wait, LOCK_LIMIT_NS);
	while (flock(claim_fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return loopback_errno();
		if (!loopback_wait_more(&wait))
			return -ETIMEDOUT;
	}
	return 0;
}

static int volume_load(struct loopback_volume *v, bool lock)
{
	int r;

	v->claim_fd = openat(v->dir_fd, "claim",
		(lock ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (v->claim_fd < 0)
		return loopback_errno();
	if (lock) {
		r = claim_lock(v->claim_fd);
		if (r < 0)
			return r;
	}
	r = loopback_claim_read(v->claim_fd, &v->claim);
	if (r < 0)
		return r;
	return meta_read(v->dir_fd, &v->meta);
}

int loopback_volume_open(const char *volumes, struct id128 volume_id, bool lock,
	struct loopback_volume *ret)
{
	_cleanup_(loopback_volume_done) struct loopback_volume v = LOOPBACK_VOLUME_INIT;
	_cleanup_close_ int volumes_fd = -EBADF;
	char name[ID128_TEXT];
	int r, linked;

	volumes_fd = loopback_volumes_open(volumes);
	if (volumes_fd < 0)
		return volumes_fd;
	v.volume_id = volume_id;
	v.dir_fd = openat(volumes_fd, id128_format(volume_id, name),
		O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (v.dir_fd < 0)
		return errno == ENOENT ? -ENOENT : loopback_errno();

	r = volume_load(&v, lock);
	/* While we waited for the lock, or read, it may have been destroyed (but not created
	 * anew: a volume_id is used once). */
	linked = check_linked(volumes_fd, name, v.dir_fd);
	if (linked < 0)
		return linked;
	if (r < 0)
		return r;
	*ret = v;
	v = (struct loopback_volume)LOOPBACK_VOLUME_INIT;
	return 0;
}

int loopback_image_open(const struct loopback_volume *v, int flags)
{
	int fd;

	fd = openat(v->dir_fd, "image", flags | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? -ENODATA : loopback_errno();
	return fd;
}

/* ---- litter: directories under temporary names ---- */

static int litter_name(const char *prefix, struct id128 volume_id, char name[LITTER_NAME])
{
	struct id128 salt;
	int r;

	r = id128_random(&salt);
	if (r < 0)
		return r;
	snprintf(name, LITTER_NAME, "%s%s.%016" PRIx64, prefix, ID128_STR(volume_id), salt.hi);
	return 0;
}

/* As litter_name() made it. */
static bool litter_parse(const char *prefix, const char *name, struct id128 *ret)
{
	char id[ID128_TEXT];

	if (strncmp(name, prefix, strlen(prefix)) != 0)
		return false;
	name += strlen(prefix);
	if (strlen(name) != ID128_TEXT - 1 + 17 || name[ID128_TEXT - 1] != '.')
		return false;
	memcpy(id, name, ID128_TEXT - 1);
	id[ID128_TEXT - 1] = '\0';
	return id128_parse(id, ret) == 0;
}

bool loopback_volume_gone_name(const char *name, struct id128 *ret)
{
	return litter_parse(GONE_PREFIX, name, ret);
}

/* Is @name litter of volume @only (nil: of any)? */
static bool is_litter(const char *name, struct id128 only)
{
	struct id128 of;

	return (litter_parse(NEW_PREFIX, name, &of) || litter_parse(GONE_PREFIX, name, &of)) &&
	       (id128_is_nil(only) || id128_equal(of, only));
}

/* Removes a directory and the files in it; -EBUSY while somebody builds or removes it. */
static int litter_remove(int volumes_fd, const char *name)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	struct dirent *de;
	int fd;

	fd = openat(volumes_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : loopback_errno();
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int r = errno == EWOULDBLOCK ? -EBUSY : loopback_errno();

		close(fd);
		return r;
	}
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	while ((de = readdir(dir)))
		if (!STREQ(de->d_name, ".") && !STREQ(de->d_name, "..") &&
			unlinkat(fd, de->d_name, 0) < 0 && errno != ENOENT)
			return loopback_errno();
	if (unlinkat(volumes_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return loopback_errno();
	return 0;
}

int loopback_volumes_sweep(const char *volumes, struct id128 only)
{
	_cleanup_close_ int volumes_fd = loopback_volumes_open(volumes);
	_cleanup_(closedirp) DIR *dir = NULL;
	struct dirent *de;
	int fd, r, first = 0;

	if (volumes_fd < 0)
		return volumes_fd;
	fd = openat(volumes_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (!dir) {
		r = loopback_errno();
		close_keep_errno(fd);
		return r;
	}
	while ((de = readdir(dir))) {
		if (!is_litter(de->d_name, only))
			continue;
		r = litter_remove(volumes_fd, de->d_name);
		if (r < 0 && first == 0)
			first = r;
	}
	return first;
}

int loopback_volume_remove(const char *volumes, struct loopback_volume *v)
{
	_cleanup_close_ int volumes_fd = loopback_volumes_open(volumes);
	char name[LITTER_NAME];
	int r;

	if (volumes_fd < 0)
		return volumes_fd;
	r = litter_name(GONE_PREFIX, v->volume_id, name);
	if (r < 0)
		return r;
	if (renameat(volumes_fd, ID128_STR(v->volume_id), volumes_fd, name) < 0)
		return loopback_errno();
	if (fsync(volumes_fd) < 0)
		return loopback_errno();
	r = litter_remove(volumes_fd, name);
	return r == -EBUSY ? 0 : r; /* somebody tidies up, and was faster */
}

/* ---- creating ---- */

/*
 * Direct I/O keeps the data out of the page cache a second time, but wants blocks as large as the
 * disk's. The block size is chosen here, once: a filesystem made on small blocks may not mount on
 * larger ones. Elsewhere 512 bytes, and where direct I/O cannot do that, it is not used.
 */
static uint32_t block_size_for(int image_fd, uint64_t size_bytes)
{
	struct statx sx = { 0 };

	if (statx(image_fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 &&
		(sx.stx_mask & STATX_DIOALIGN) && sx.stx_dio_offset_align == 4096 &&
		size_bytes % 4096 == 0)
		return 4096;
	return 512;
}

/* One stretch of data; what lies between them stays a hole. */
static int copy_stretch(int from, int to, off_t at, off_t end)
{
	_cleanup_free_ char *buf = malloc(COPY_SIZE);
	int r;

	if (!buf)
		return -ENOMEM;
	while (at < end) {
		ssize_t n = loopback_pread(from, buf, (size_t)MIN(end - at, (off_t)COPY_SIZE), at);

		if (n <= 0)
			return n < 0 ? (int)n : -EIO; /* it became shorter */
		r = loopback_pwrite(to, buf, (size_t)n, at);
		if (r < 0)
			return r;
		at += n;
	}
	return 0;
}

static int copy_content(int from, int to)
{
	off_t at = 0, end = 0;
	int r = 0;

	while (r == 0) {
		at = lseek(from, end, SEEK_DATA);
		if (at < 0)
			return errno == ENXIO ? 0 : loopback_errno();
		end = lseek(from, at, SEEK_HOLE);
		if (end < 0)
			return loopback_errno();
		r = copy_stretch(from, to, at, end);
	}
	return r;
}

static int image_make(int dir_fd, uint64_t size_bytes, int content_fd, uint32_t *ret_block_size)
{
	int r;

	_cleanup_close_ int fd = -EBADF;

	fd = openat(dir_fd, "image", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return loopback_errno();
	if (ftruncate(fd, (off_t)size_bytes) < 0)
		return loopback_errno();
	r = content_fd < 0 ? 0 : copy_content(content_fd, fd);
	if (r < 0)
		return r;
	if (fsync(fd) < 0)
		return loopback_errno();
	*ret_block_size = block_size_for(fd, size_bytes);
	return 0;
}

static int claim_make(int dir_fd, struct loopback_claim *claim)
{
	_cleanup_close_ int fd = -EBADF;
	int r;

	fd = openat(dir_fd, "claim", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return loopback_errno();
	r = loopback_claim_init(fd, claim);
	if (r < 0)
		return r;
	return fsync(fd) < 0 ? loopback_errno() : 0;
}

/* A new locked directory under a temporary name; -EAGAIN: a sweep was faster, once more. */
static int litter_make(int volumes_fd, const char *name)
{
	_cleanup_close_ int fd = -EBADF;
	int r;

	if (mkdirat(volumes_fd, name, 0700) < 0)
		return loopback_errno();
	fd = openat(volumes_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? -EAGAIN : loopback_errno();
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : loopback_errno();
	r = check_linked(volumes_fd, name, fd);
	if (r < 0)
		return r == -ENOENT ? -EAGAIN : r;
	return TAKE_FD(fd);
}

static int volume_fill(int dir_fd, struct id128 volume_id, struct loopback_meta m,
	int content_fd, struct loopback_claim *claim)
{
	uint32_t block_size = 512;
	int r;

	r = image_make(dir_fd, m.size_bytes, content_fd, &block_size);
	if (r < 0)
		return r;
	if (m.block_size == 0)
		m.block_size = block_size;
	r = claim_make(dir_fd, claim);
	if (r < 0)
		return r;
	r = meta_write(dir_fd, "meta", volume_id, &m);
	if (r < 0)
		return r;
	return fsync(dir_fd) < 0 ? loopback_errno() : 0;
}

int loopback_volume_create(const char *volumes, struct id128 volume_id,
	const struct loopback_meta *meta, int content_fd, struct loopback_claim *claim)
{
	_cleanup_close_ int volumes_fd = loopback_volumes_open(volumes), dir_fd = -EBADF;
	char name[LITTER_NAME];
	int r;

	if (volumes_fd < 0)
		return volumes_fd;
	do {
		r = litter_name(NEW_PREFIX, volume_id, name);
		if (r < 0)
			return r;
		dir_fd = litter_make(volumes_fd, name);
	} while (dir_fd == -EAGAIN);
	if (dir_fd < 0)
		return dir_fd;

	r = volume_fill(dir_fd, volume_id, *meta, content_fd, claim);
	if (r == 0 && renameat(volumes_fd, name, volumes_fd, ID128_STR(volume_id)) < 0)
		r = errno == EEXIST || errno == ENOTEMPTY ? -EEXIST : loopback_errno();
	if (r == 0)
		return fsync(volumes_fd) < 0 ? loopback_errno() : 0;
	dir_fd = close_keep_errno(dir_fd); /* unlocked, so that it can be removed */
	litter_remove(volumes_fd, name);   /* best effort: tidy() does the rest */
	return r;
}

/* ---- growing ---- */

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

uint64_t loopback_volume_round(const struct loopback_meta *m, uint64_t size_bytes)
{
	/* A device of larger sectors has no use for a part of one. What was created fits both. */
	uint64_t unit = m->allocation_unit / common_divisor(m->allocation_unit, m->block_size) * m->block_size;

	return (size_bytes + unit - 1) / unit * unit;
}

static int image_extend(const struct loopback_volume *v, uint64_t size_bytes)
{
	_cleanup_close_ int fd = loopback_image_open(v, O_RDWR);
	struct stat st;

	if (fd < 0)
		return fd == -ENODATA ? -EIO : fd;
	if (fstat(fd, &st) < 0)
		return loopback_errno();
	if ((uint64_t)st.st_size < size_bytes && ftruncate(fd, (off_t)size_bytes) < 0)
		return loopback_errno();
	return fsync(fd) < 0 ? loopback_errno() : 0; /* its maker may have died just before that */
}

int loopback_volume_expand(struct loopback_volume *v, uint64_t size_bytes)
{
	struct loopback_meta m = v->meta;
	int r;

	r = image_extend(v, size_bytes);
	if (r < 0)
		return r;
	m.size_bytes = size_bytes;
	r = meta_replace(v->dir_fd, v->volume_id, &m);
	if (r == 0)
		v->meta = m;
	return r;
}
