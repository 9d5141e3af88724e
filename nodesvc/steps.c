/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>

#include "clock.h"
#include "steps.h"
#include "text.h"
#include "vformat.h"
#include "vgrow.h"
#include "vholders.h"
#include "vmount.h"
#include "vprobe.h"

DEFINE_CLEANUP(DIR *, closedir);

static int fail(struct step_job *j, int err, const char *fmt, ...) _printf_(3, 4);
static int fail(struct step_job *j, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(j->why, sizeof(j->why), fmt, ap);
	va_end(ap);
	return err;
}

static const char *dataset_name(const struct step_job *j, char buf[ID128_TEXT])
{
	return id128_format(j->start.dataset_id, buf);
}

/* ---- who is in the way ---- */

static dev_t device_number(const struct step_job *j)
{
	struct driver_device dev;

	if (j->env->ops->device(j->env->driver, j->start.wish.volume_id, &dev) < 0)
		return 0;
	return dev.devno;
}

/* The search reads all of /proc: at first each time, then about every eighth second. */
static bool worth_a_search(const struct step_job *j)
{
	return j->start.busy < 4 || j->start.busy % 16 == 0;
}

/* Replaces the words of a busy failure by the names of those who keep it busy. */
static void name_holders(struct step_job *j, dev_t devno, const char *mountpoint)
{
	char *text = NULL;
	size_t n;

	j->same_holders = !worth_a_search(j);
	if (j->same_holders)
		return;
	if (!devno || vholders_find(devno, mountpoint, &text, &n) < 0)
		return;
	if (n)
		fail(j, 0, "busy: held by %.*s%s", (int)strcspn(text, "\n"), text,
			n > 1 ? " and others" : "");
	free(j->extra.holders);
	j->extra.holders = text;
}

/* ---- the steps ---- */

static int step_create(struct step_job *j)
{
	const struct converge_wish *w = &j->start.wish;
	int r = j->env->ops->create(j->env->driver, w->volume_id, j->start.dataset_id, w->size_bytes,
		w->epoch);

	if (r == -ENOSPC)
		return fail(j, r, "the backend has no room for %ju bytes", (uintmax_t)w->size_bytes);
	return r;
}

/* A claim that is void does not stand in the way of a grant that came after the fence. */
static int void_claims(struct step_job *j)
{
	const struct converge_wish *w = &j->start.wish;
	int r = 0;

	if (w->fenced.to && !fenced_covers(w->fenced, w->epoch))
		r = j->env->ops->fence(j->env->driver, w->volume_id, w->fenced.from, w->fenced.to);
	if (r == 0 && w->fenced.also)
		r = j->env->ops->fence(j->env->driver, w->volume_id, w->fenced.also, w->fenced.also);
	return r;
}

static int step_attach(struct step_job *j)
{
	const struct converge_wish *w = &j->start.wish;
	int r = void_claims(j);

	if (r == 0)
		r = j->env->ops->attach(j->env->driver, w->volume_id, w->epoch, w->size_bytes,
			w->growing_bytes);

	if (r == -EUCLEAN)
		return fail(j, r, "the volume's size differs from the recorded %ju bytes%s; it is not touched",
			(uintmax_t)w->size_bytes,
			w->growing_bytes > w->size_bytes ? ", and from what it grows to" : "");
	if (r == -EBUSY)
		return fail(j, r, "the volume is claimed or used by somebody else");
	return r;
}

static int step_probe(struct step_job *j)
{
	const struct converge_wish *w = &j->start.wish;
	struct vprobe_result found;
	struct driver_device dev;
	_cleanup_close_ int fd = -EBADF;
	int r;

	if (w->size_bytes < fs_minimum_size(w->filesystem))
		return fail(j, -EINVAL, "%s needs at least %ju bytes and the dataset has %ju: create it "
					"larger, or with metadata flocker:filesystem=ext4",
			fs_kind_name(w->filesystem), (uintmax_t)fs_minimum_size(w->filesystem),
			(uintmax_t)w->size_bytes);
	r = vformat_available(w->filesystem, j->why, sizeof(j->why));
	if (r < 0)
		return r; /* before anything is asked of control, let alone written */
	r = j->env->ops->device(j->env->driver, w->volume_id, &dev);
	if (r < 0)
		return r;
	fd = open(dev.path, O_RDONLY | O_EXCL | O_CLOEXEC);
	if (fd < 0)
		return fail(j, -errno, "cannot open %s to probe it: %m", dev.path);
	r = vprobe_device(fd, &found);
	if (r < 0)
		return fail(j, r, "cannot read %s to see whether it is empty; it is not formatted", dev.path);
	if (found.kind != VPROBE_EMPTY)
		return fail(j, -EEXIST, "the volume is new and yet holds %s; it is never formatted",
			found.what);
	return 0;
}

static int format_request(struct step_job *j, struct driver_device *dev, struct vformat_request *ret)
{
	const struct converge_wish *w = &j->start.wish;
	int r = j->env->ops->device(j->env->driver, w->volume_id, dev);

	if (r < 0)
		return r;
	*ret = (struct vformat_request){
		.device = dev->path,
		.devno = dev->devno,
		.diskseq = dev->diskseq,
		.size_bytes = dev->size_bytes,
		.fs = w->filesystem,
		.fs_uuid = w->fs_uuid,
		.limit_s = (unsigned int)(converge_limit_ms(j->start.step) / 1000 * 9 / 10),
	};
	return 0;
}

static int step_format(struct step_job *j)
{
	struct vformat_request rq;
	struct driver_device dev;
	int r = format_request(j, &dev, &rq);

	return r < 0 ? r : vformat_make(&rq, j->why, sizeof(j->why));
}

static int step_verify(struct step_job *j)
{
	struct vformat_request rq;
	struct driver_device dev;
	int r = format_request(j, &dev, &rq);

	return r < 0 ? r : vformat_verify(&rq, j->why, sizeof(j->why));
}

static int step_mount(struct step_job *j)
{
	const struct converge_wish *w = &j->start.wish;
	struct driver_device dev;
	char name[ID128_TEXT];
	struct vmount_request rq;
	int r;

	r = j->env->ops->device(j->env->driver, w->volume_id, &dev);
	if (r < 0)
		return r;
	rq = (struct vmount_request){
		.device = dev.path,
		.devno = dev.devno,
		.diskseq = dev.diskseq,
		.mount_root = j->env->mount_root,
		.name = dataset_name(j, name),
		.fs = w->filesystem,
		.fs_uuid = w->fs_uuid,
		.options = j->env->mount_options,
		.limit_s = (unsigned int)(converge_limit_ms(STEP_MOUNT) / 1000 * 9 / 10),
	};
	return vmount_mount(&rq, j->why, sizeof(j->why));
}

/* The mount of this dataset, whichever device it is of; 0: none. */
static int find_mount(const struct step_env *env, struct id128 dataset_id, struct vmount_entry *ret)
{
	struct vmount_entry *list;
	char name[ID128_TEXT];
	size_t n;
	int r;

	r = vmount_list(env->mount_root, &list, &n);
	if (r < 0)
		return r;
	id128_format(dataset_id, name);
	for (size_t i = 0; i < n; i++)
		if (STREQ(list[i].name, name)) {
			*ret = list[i];
			r = 1;
		}
	free(list);
	return r;
}

static int step_unmount(struct step_job *j)
{
	dev_t devno = device_number(j);
	struct vmount_entry mount;
	char name[ID128_TEXT], path[4096];
	int r;

	/* A device that vanished leaves its mount behind, and that has to go as well. */
	if (!devno && find_mount(j->env, j->start.dataset_id, &mount) > 0)
		devno = mount.devno;
	dataset_name(j, name);
	if (j->start.wish.term_over || fenced_covers(j->start.wish.fenced, j->start.wish.epoch))
		(void)vmount_thaw(j->env->mount_root, name); /* a helper that was killed left it frozen */
	r = vmount_unmount(j->env->mount_root, name, devno, j->why, sizeof(j->why));
	if (r == -EBUSY) {
		snprintf(path, sizeof(path), "%s/%s", j->env->mount_root, name);
		name_holders(j, devno, path);
	}
	return r;
}

/* A daemon killed after umount(2), or a machine that went down, left the place of a mount: nothing may
 * be written there, and after the detach nobody would know of it. What else is there is left alone. */
static void remove_place(const struct step_job *j, dev_t devno)
{
	char name[ID128_TEXT], why[64];

	(void)vmount_unmount(j->env->mount_root, dataset_name(j, name), devno, why, sizeof(why));
}

static int step_detach(struct step_job *j)
{
	const struct converge_wish *w = &j->start.wish;
	dev_t devno = device_number(j);
	int r;

	remove_place(j, devno);
	r = void_claims(j);
	if (r == 0)
		r = j->env->ops->detach(j->env->driver, w->volume_id, w->epoch);
	if (r == -EBUSY) {
		fail(j, r, "the device is still in use");
		name_holders(j, devno, NULL);
	}
	return r == -ENOENT ? 0 : r;
}

static int step_destroy(struct step_job *j)
{
	int r = void_claims(j);

	if (r == 0)
		r = j->env->ops->destroy(j->env->driver, j->start.wish.volume_id, j->start.wish.epoch);
	if (r == -EBUSY)
		return fail(j, r, "the volume is still attached or claimed somewhere");
	return r;
}

static int step_discard(struct step_job *j)
{
	int r = step_detach(j);

	return r < 0 ? r : step_destroy(j);
}

static int step_cut(struct step_job *j)
{
	return j->env->ops->cut(j->env->driver, j->start.wish.volume_id);
}

/* Of a thin backend that has less free than the volume is to get. */
static int tell_missing_room(struct step_job *j, int r)
{
	const struct converge_wish *w = &j->start.wish;
	struct driver_volume v;
	struct driver_desc backend;
	uint64_t more;

	if (j->env->ops->lookup(j->env->driver, w->volume_id, &v) < 0 ||
		j->env->ops->describe(j->env->driver, &backend) < 0)
		return r;
	more = w->growing_bytes - MIN(v.size_bytes, w->growing_bytes);
	return fail(j, r, "the backend has %s free, and to grow the volume from %s to %s takes %s more: "
			  "%ju bytes are missing",
		TEXT_BYTES(backend.free_bytes), TEXT_BYTES(v.size_bytes), TEXT_BYTES(w->growing_bytes),
		TEXT_BYTES(more), (uintmax_t)(more - MIN(backend.free_bytes, more)));
}

static int step_expand(struct step_job *j)
{
	const struct converge_wish *w = &j->start.wish;
	int r;

	if (!j->env->ops->expand)
		return fail(j, -ENOTSUP, "the backend cannot make volumes larger");
	r = j->env->ops->expand(j->env->driver, w->volume_id, w->epoch, w->growing_bytes);
	if (r == -ENOSPC)
		return tell_missing_room(j, r);
	if (r == -EUCLEAN)
		return fail(j, r, "the volume is larger than %s already, and is never made smaller",
			TEXT_BYTES(w->growing_bytes));
	return r;
}

static int step_grow(struct step_job *j)
{
	const struct converge_wish *w = &j->start.wish;
	struct driver_device dev;
	struct vgrow_request rq;
	char name[ID128_TEXT];
	int r;

	r = j->env->ops->device(j->env->driver, w->volume_id, &dev);
	if (r < 0)
		return r;
	rq = (struct vgrow_request){
		.device = dev.path,
		.devno = dev.devno,
		.diskseq = dev.diskseq,
		.size_bytes = w->size_bytes,
		.mount_root = j->env->mount_root,
		.name = dataset_name(j, name),
		.fs = w->filesystem,
	};
	return vgrow(&rq, j->why, sizeof(j->why));
}

/* A fence helper that was killed may have left it frozen, and whoever writes to it hangs. */
static void thaw_adopted(const struct step_job *j)
{
	char name[ID128_TEXT];

	if (!j->start.wish.confirmed)
		(void)vmount_thaw(j->env->mount_root, dataset_name(j, name));
}

static int step_none(struct step_job *j)
{
	return 0;
}

/* ---- looking ---- */

/* @ret_left: the epoch of a device that is left of a grant that is no more; 0: none. */
static int look_at_volume(struct step_job *j, uint64_t *ret_left)
{
	const struct step_env *env = j->env;
	struct converge_seen *s = &j->seen;
	struct driver_volume v;
	int r;

	r = env->ops->lookup(env->driver, j->start.wish.volume_id, &v);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	if (!id128_equal(v.dataset_id, j->start.dataset_id))
		return fail(j, -EUCLEAN, "the backend says that this volume is of dataset %s",
			ID128_STR(v.dataset_id));
	s->volume = true;
	s->place = v.place == DRIVER_HERE ? PLACE_HERE :
		   v.place == DRIVER_FREE ? PLACE_FREE : PLACE_ELSEWHERE;
	s->holder = v.holder;
	s->claim_epoch = v.epoch;
	s->size_bytes = v.size_bytes;
	*ret_left = v.left_epoch;
	return 0;
}

static int look_at_mount(struct step_job *j, dev_t devno)
{
	struct converge_seen *s = &j->seen;
	char name[ID128_TEXT];
	struct vmount_entry m;
	int r = find_mount(j->env, j->start.dataset_id, &m);

	if (r <= 0)
		return r;
	/* Another device's mount at our place is not ours; a vanished device's mount is. */
	s->mounted = !s->attached || m.devno == devno;
	s->read_only = s->mounted && m.read_only;
	if (!s->mounted)
		return 0;
	if (asprintf(&j->extra.mountpoint, "%s/%s", j->env->mount_root, dataset_name(j, name)) < 0) {
		j->extra.mountpoint = NULL;
		return -ENOMEM;
	}
	j->extra.fs_uuid = j->start.wish.fs_uuid; /* compared when it was mounted */
	if (vmount_usage(j->env->mount_root, name, &j->extra.used_bytes, &j->extra.available_bytes) < 0)
		j->extra.used_bytes = j->extra.available_bytes = 0;
	return 0;
}

static int look(struct step_job *j)
{
	struct driver_device dev = { 0 };
	uint64_t left = 0;
	int r;

	thaw_adopted(j);
	r = look_at_volume(j, &left);
	if (r < 0)
		return r;
	j->described = j->env->ops->describe(j->env->driver, &j->backend) == 0;
	j->seen.no_room = j->described && j->backend.full;
	if (j->seen.volume) {
		r = j->env->ops->device(j->env->driver, j->start.wish.volume_id, &dev);
		if (r < 0 && r != -ENODEV && r != -ENOENT)
			return r;
		j->seen.attached = r == 0;
		j->seen.cut = r == 0 && dev.cut;
	}
	if (j->seen.attached) {
		j->devno = dev.devno;
		j->diskseq = dev.diskseq;
		j->seen.size_bytes = dev.cut ? j->seen.size_bytes : dev.size_bytes;
		j->extra.device = strdup(dev.path);
		if (!j->extra.device)
			return -ENOMEM;
	}
	r = look_at_mount(j, dev.devno);
	j->seen.known = r >= 0;
	/* Of an earlier grant, and not our mount: on a kernel with several nodes it is the lost one's. What is
	 * ours is cleaned up before there is another grant. */
	if (left && left < j->start.wish.epoch && !j->seen.mounted) {
		j->seen.attached = j->seen.cut = false;
		free(TAKE_PTR(j->extra.device));
	}
	return r;
}

void steps_run(struct step_job *j)
{
	static int (*const run[])(struct step_job *) = {
		[STEP_NONE] = step_none,
		[STEP_OBSERVE] = step_none,
		[STEP_CREATE] = step_create,
		[STEP_ATTACH] = step_attach,
		[STEP_PROBE] = step_probe,
		[STEP_FORMAT] = step_format,
		[STEP_VERIFY] = step_verify,
		[STEP_DISCARD] = step_discard,
		[STEP_MOUNT] = step_mount,
		[STEP_UNMOUNT] = step_unmount,
		[STEP_DETACH] = step_detach,
		[STEP_DESTROY] = step_destroy,
		[STEP_CUT] = step_cut,
		[STEP_EXPAND] = step_expand,
		[STEP_GROW] = step_grow,
	};
	static_assert(ARRAY_SIZE(run) == DS_STEP_MAX, "a step has no function");
	uint64_t begin_ms = clock_ms(CLOCK_MONOTONIC);
	int r = run[j->start.step](j), looked;

	looked = look(j);
	j->looked = looked >= 0;
	if (r >= 0 && looked < 0 && j->start.step == STEP_OBSERVE)
		r = looked;
	j->error = r < 0 ? -r : 0;
	j->ms = clock_ms(CLOCK_MONOTONIC) - begin_ms;
	if (j->error && !*j->why)
		snprintf(j->why, sizeof(j->why), "%s", strerror(j->error));
}

bool steps_is_mounted(const struct step_env *env, struct id128 dataset_id)
{
	struct vmount_entry m;

	return find_mount(env, dataset_id, &m) > 0;
}

void steps_remove_places(const struct step_env *env, bool (*is_known)(struct id128 dataset_id, void *userdata),
	void *userdata)
{
	_cleanup_(closedirp) DIR *dir = opendir(env->mount_root);
	struct dirent *de;
	struct id128 id;
	char why[64];

	while (dir && (de = readdir(dir)))
		if (id128_parse(de->d_name, &id) == 0 && STREQ(de->d_name, ID128_STR(id)) &&
			!is_known(id, userdata))
			(void)vmount_unmount(env->mount_root, de->d_name, 0, why, sizeof(why));
}
