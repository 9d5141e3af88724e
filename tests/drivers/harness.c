/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include "fake.h"
#include "loopback.h"

const struct backend loopback_backend = {
	.ops = &loopback_ops,
	.real = true,
	.where_option = "root_path",
};

const struct backend fake_backend = {
	.ops = &fake_ops,
	.where_option = "store",
};

void need_loop_devices(void)
{
	int fd;

	if (geteuid() != 0) {
		printf("skipped: needs root\n");
		exit(77);
	}
	fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		printf("skipped: needs loop devices: /dev/loop-control: %s\n", strerror(errno));
		exit(77);
	}
	close(fd);
}

void own_mount_namespace(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		printf("skipped: needs a mount namespace: %s\n", strerror(errno));
		exit(77);
	}
}

struct id128 new_id(void)
{
	struct id128 id;

	assert_ok(id128_random(&id));
	return id;
}

struct driver *world_open(struct world *w, const struct driver_node *self)
{
	struct driver_option where = { .key = w->backend->where_option, .value = w->where, .line = 1 };
	struct driver *d;
	char *error = NULL;
	int r;

	r = w->ops->open(self, &where, 1, &d, &error);
	if (r < 0)
		fail_msg("open: %s (%s)", error, strerror(-r));
	return d;
}

int world_setup(void **state)
{
	const struct backend *backend = *state ?: &loopback_backend;
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->backend = backend;
	w->ops = backend->ops;
	snprintf(w->where, sizeof(w->where), "/var/tmp/flocker-drv.XXXXXX");
	assert_non_null(mkdtemp(w->where));
	w->node_a = (struct driver_node){ new_id(), new_id(), new_id() };
	w->node_b = (struct driver_node){ new_id(), new_id(), w->node_a.boot };
	w->a = world_open(w, &w->node_a);
	w->b = world_open(w, &w->node_b);
	*state = w;
	return 0;
}

static int on_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

int world_list(struct world *w, struct driver *d, struct driver_volume **ret, size_t *ret_n)
{
	struct driver_volume *v;
	struct id128 *ids;
	size_t n, found = 0;
	int r;

	r = w->ops->list(d, &ids, &n);
	if (r < 0)
		return r;
	v = calloc(n + 1, sizeof(*v));
	if (!v)
		abort();
	for (size_t i = 0; i < n; i++)
		found += w->ops->lookup(d, ids[i], &v[found]) == 0;
	free(ids);
	*ret = v;
	*ret_n = found;
	return 0;
}

/* Gives back and destroys everything; what refuses is a leftover. */
static int volumes_end(struct world *w, struct driver *d)
{
	struct driver_volume *v;
	int r, bad = 0;
	size_t n;

	r = world_list(w, d, &v, &n);
	if (r < 0)
		return 1;
	for (size_t i = 0; i < n; i++) {
		if (v[i].place == DRIVER_ELSEWHERE)
			continue;
		r = w->ops->detach(d, v[i].volume_id, v[i].epoch);
		if (r == 0)
			r = w->ops->destroy(d, v[i].volume_id,
				MIN(v[i].epoch + 1, DRIVER_EPOCH_MAX));
		if (r < 0) {
			print_error("left behind: %s: %s\n", ID128_STR(v[i].volume_id), strerror(-r));
			bad = 1;
		}
	}
	free(v);
	return bad;
}

int world_teardown(void **state)
{
	struct world *w = *state;
	int bad;

	bad = volumes_end(w, w->a) | volumes_end(w, w->b);
	if (loops_on(w->where) > 0) {
		print_error("left behind: loop devices on %s\n", w->where);
		bad = 1;
	}
	w->ops->close(w->a);
	w->ops->close(w->b);
	nftw(w->where, on_remove, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	if (access(w->where, F_OK) == 0)
		bad = 1;
	free(w);
	return bad;
}

struct driver_volume look(struct world *w, struct driver *d, struct id128 volume_id)
{
	struct driver_volume v;

	assert_ok(w->ops->lookup(d, volume_id, &v));
	return v;
}

bool listed(struct world *w, struct driver *d, struct id128 id, struct driver_volume *ret)
{
	struct driver_volume *v;
	bool found = false;
	size_t n;

	assert_ok(world_list(w, d, &v, &n));
	for (size_t i = 0; i < n; i++)
		if (id128_equal(v[i].volume_id, id)) {
			assert_false(found);
			*ret = v[i];
			found = true;
		}
	free(v);
	return found;
}

void assert_volume_equal(struct driver_volume a, struct driver_volume b)
{
	assert_true(id128_equal(a.volume_id, b.volume_id));
	assert_true(id128_equal(a.dataset_id, b.dataset_id));
	assert_int_equal(a.size_bytes, b.size_bytes);
	assert_int_equal(a.place, b.place);
	assert_true(id128_equal(a.holder, b.holder));
	assert_int_equal(a.epoch, b.epoch);
	assert_int_equal(a.attached, b.attached);
}

struct driver_volume seen(struct world *w, struct driver *d, struct id128 id)
{
	struct driver_volume l, one = look(w, d, id);

	assert_true(listed(w, d, id, &l));
	assert_volume_equal(l, one);
	return one;
}

void attach(struct world *w, struct driver *d, struct id128 id, uint64_t epoch)
{
	assert_ok(w->ops->attach(d, id, epoch, SIZE, 0));
}

struct id128 make_volume(struct world *w)
{
	struct id128 id = new_id();

	assert_ok(w->ops->create(w->a, id, new_id(), SIZE, 1));
	return id;
}

unsigned loops_on(const char *text)
{
	char path[300], backing[4200];
	unsigned n = 0;
	struct dirent *de;
	DIR *dir;

	dir = opendir("/sys/block");
	assert_non_null(dir);
	while ((de = readdir(dir))) {
		FILE *f;

		snprintf(path, sizeof(path), "/sys/block/%s/loop/backing_file", de->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fgets(backing, sizeof(backing), f) && strstr(backing, text))
			n++;
		fclose(f);
	}
	closedir(dir);
	return n;
}

const char *volume_file(struct world *w, struct id128 volume_id, const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/volumes/%s/%s", w->where, ID128_STR(volume_id), name);
	return path;
}

static int device_open(struct world *w, struct driver *d, struct id128 volume_id)
{
	struct driver_device dev;
	int fd;

	assert_ok(w->ops->device(d, volume_id, &dev));
	fd = open(dev.path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

void device_write(struct world *w, struct driver *d, struct id128 volume_id, off_t at,
	const char *text)
{
	int fd = device_open(w, d, volume_id);

	assert_int_equal(pwrite(fd, text, strlen(text), at), (int)strlen(text));
	close(fd);
}

void device_expect(struct world *w, struct driver *d, struct id128 volume_id, off_t at,
	const char *text)
{
	int fd = device_open(w, d, volume_id);
	char got[256] = "";

	assert_int_equal(pread(fd, got, strlen(text), at), (int)strlen(text));
	assert_string_equal(got, text);
	close(fd);
}

void run(const char *fmt, ...)
{
	char command[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	if (system(command) != 0)
		fail_msg("failed: %s", command);
}

void assert_size(struct world *w, struct driver *d, struct id128 volume_id, uint64_t size)
{
	struct driver_device dev;
	uint64_t kernel;
	int fd;

	assert_int_equal(seen(w, d, volume_id).size_bytes, size);
	assert_ok(w->ops->device(d, volume_id, &dev));
	assert_int_equal(dev.size_bytes, size);
	if (!w->backend->real)
		return;
	fd = open(dev.path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_ok(ioctl(fd, BLKGETSIZE64, &kernel));
	assert_int_equal(kernel, size);
	close(fd);
}

int conformance_main(int argc, char **argv, int (*conformance)(const char *name, const struct backend *b))
{
	if (argc == 2 && STREQ(argv[1], "fake"))
		return conformance("fake", &fake_backend);
	need_loop_devices();
	own_mount_namespace();
	return conformance("loopback", &loopback_backend);
}
