/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback_open.c - the options of the loopback backend, and the directory it lives in.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "loopback_private.h"
#include "loopback_volume.h"
#include "text.h"

/* Not below /var/lib/flocker, which belongs to flocker-control: the service manager gives all that it
 * finds there to that unprivileged, network-facing service. */
#define ROOT_DEFAULT "/var/lib/flocker-volumes"
#define UNIT_DEFAULT UINT64_C(1024)
#define SECTOR UINT64_C(512)

/* Says what is wrong, and returns @err. */
_printf_(3, 4) static int refuse(char **ret_error, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(ret_error, fmt, ap) < 0)
		*ret_error = NULL;
	va_end(ap);
	return err;
}

static int read_root(struct loopback *lo, const struct driver_option *o, char **ret_error)
{
	if (o->value[0] != '/')
		return refuse(ret_error, -EINVAL,
			"line %u: root_path '%s' is not an absolute path", o->line, o->value);
	lo->root = strdup(o->value);
	if (!lo->root)
		return -ENOMEM;
	for (size_t len = strlen(lo->root); len > 1 && lo->root[len - 1] == '/'; len--)
		lo->root[len - 1] = '\0';
	return 0;
}

static int read_unit(struct loopback *lo, const struct driver_option *o, char **ret_error)
{
	if (text_number(o->value, SECTOR, GIB, &lo->allocation_unit) < 0 ||
		lo->allocation_unit % SECTOR != 0)
		return refuse(ret_error, -EINVAL,
			"line %u: allocation_unit '%s' is not a multiple of 512 bytes up to 1 GiB",
			o->line, o->value);
	return 0;
}

static const struct {
	const char *key;
	int (*read)(struct loopback *lo, const struct driver_option *o, char **ret_error);
} keys[] = {
	{ "root_path", read_root },
	{ "allocation_unit", read_unit },
};

static int read_option(struct loopback *lo, const struct driver_option *opts, size_t i,
	char **ret_error)
{
	const struct driver_option *o = &opts[i];

	for (size_t k = 0; k < i; k++)
		if (STREQ(opts[k].key, o->key))
			return refuse(ret_error, -EINVAL, "line %u: '%s' was given in line %u already",
				o->line, o->key, opts[k].line);
	for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
		if (STREQ(keys[k].key, o->key))
			return keys[k].read(lo, o, ret_error);
	return refuse(ret_error, -EINVAL,
		"line %u: unknown key '%s'; the loopback backend knows root_path and allocation_unit",
		o->line, o->key);
}

/* Makes one directory durable in its parent. 0 also when it is there. */
static int directory_make(const char *path, mode_t mode)
{
	_cleanup_free_ char *parent = strdup(path);
	_cleanup_close_ int fd = -EBADF;
	char *slash;

	if (!parent)
		return -ENOMEM;
	if (mkdir(path, mode) < 0)
		return errno == EEXIST ? 0 : -errno;
	slash = strrchr(parent, '/');
	slash[slash == parent ? 1 : 0] = '\0';
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return -errno;
	return 0;
}

/* <root> and <root>/volumes. Parents may serve others as well, so they are open to look through. */
static int directories_make(const char *root, const char *volumes)
{
	_cleanup_free_ char *path = strdup(volumes);
	int r;

	if (!path)
		return -ENOMEM;
	for (char *p = path + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		r = directory_make(path, strlen(path) >= strlen(root) ? 0700 : 0755);
		*p = '/';
		if (r < 0)
			return r;
	}
	return directory_make(path, 0700);
}

/* Who can exchange an image can give a dataset another's data. */
static int check_private(const char *path, char **ret_error)
{
	struct stat st;
	int r;

	if (stat(path, &st) < 0) {
		r = -errno;
		return refuse(ret_error, r, "cannot look at '%s': %s", path, strerror(-r));
	}
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return refuse(ret_error, -EPERM,
			"others than its owner may write to '%s', the directory of the volumes "
			"(mode %04o): chmod go-w it, or choose another root_path",
			path, (unsigned)st.st_mode & 07777);
	return 0;
}

static int root_prepare(struct loopback *lo, const char *root, char **ret_error)
{
	_cleanup_close_ int fd = -EBADF;
	int r;

	if (asprintf(&lo->volumes, "%s/volumes", root) < 0) {
		lo->volumes = NULL;
		return -ENOMEM;
	}
	r = directories_make(root, lo->volumes);
	if (r < 0)
		return refuse(ret_error, r, "cannot make the directory '%s': %s", root, strerror(-r));
	r = check_private(root, ret_error);
	if (r == 0)
		r = check_private(lo->volumes, ret_error);
	if (r < 0)
		return r;
	r = loopback_volumes_open(lo->volumes);
	if (r < 0)
		return refuse(ret_error, r, "cannot open '%s': %s", lo->volumes, strerror(-r));
	close(r);
	fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		r = -errno;
		return refuse(ret_error, r,
			"cannot open /dev/loop-control: %s (needs root and the kernel's loop module)",
			strerror(-r));
	}
	return 0;
}

struct driver *loopback_close(struct driver *d)
{
	struct loopback *lo = (struct loopback *)d;

	if (lo) {
		free(lo->root);
		free(lo->volumes);
	}
	free(lo);
	return NULL;
}

static void loopback_closep(struct loopback **lo)
{
	loopback_close((struct driver *)*lo);
}

int loopback_open(const struct driver_node *self, const struct driver_option *opts, size_t n,
	struct driver **ret, char **ret_error)
{
	_cleanup_(loopback_closep) struct loopback *lo = NULL;
	_cleanup_free_ char *error = NULL;
	int r = 0;

	lo = calloc(1, sizeof(*lo));
	if (!lo)
		r = -ENOMEM;
	else
		*lo = (struct loopback){ .self = *self, .allocation_unit = UNIT_DEFAULT };
	for (size_t i = 0; r == 0 && i < n; i++)
		r = read_option(lo, opts, i, &error);
	if (r == 0)
		r = root_prepare(lo, lo->root ?: ROOT_DEFAULT, &error);
	if (r < 0) {
		*ret_error = TAKE_PTR(error);
		return r;
	}
	*ret = (struct driver *)TAKE_PTR(lo);
	return 0;
}
