/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First the mounts of the device in every namespace are read (vnamespaces.h), then each task's
 * links, descriptors and memory maps are compared with them, then what the kernel itself holds:
 * other mounts, swap, loop devices, mappings.
 *
 * Nothing here may wait for the device in question, which may be hung. So: readlink and fdinfo
 * instead of stat; statx only without synchronisation, and only where no network filesystem could
 * be behind the link; and the maps of a process stuck in the kernel are left alone, since reading
 * them takes a lock that it may hold.
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "jsonin.h"
#include "vholders.h"
#include "vnamespaces.h"
#include "vtasks.h"

#define FILES_MAX 4 /* named for each process and kind */

DEFINE_CLEANUP(DIR *, closedir);

struct search {
	struct vns ns;
	const char *mountpoint;
	unsigned int group; /* the peer group of the mount at mountpoint; 0: it propagates nowhere */
	FILE *out;
	size_t n;      /* holders, also those not printed */
	char *suspect; /* a namespace without a process: "4026532 (kept by ...)" */
};

/* The parts of one task's line. */
struct line {
	char text[2048];
	size_t used;
	unsigned int more; /* parts that are only counted */
};

/* File names may hold anything. A line is a line, and nothing in it commands a terminal. */
static void make_printable(char *text)
{
	const char *end = text + strlen(text);

	while (text < end) {
		unsigned int n = utf8_printable(text, end);

		if (n == 0)
			*text = '?';
		text += MAX(n, 1u);
	}
}

_printf_(2, 3) static void line_add(struct line *l, const char *fmt, ...)
{
	const char *separator = l->used > 0 ? "; " : "";
	char part[600];
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	vsnprintf(part, sizeof(part), fmt, ap);
	va_end(ap);
	make_printable(part);

	n = strlen(part) + strlen(separator);
	if (l->used + n >= sizeof(l->text)) {
		l->more++;
		return;
	}
	snprintf(l->text + l->used, sizeof(l->text) - l->used, "%s%s", separator, part);
	l->used += n;
}

/* Prints one holder: the first VHOLDERS_MAX in full, the others only counted. */
static void emit(struct search *s, const char *who, const struct line *l)
{
	if (l->used == 0)
		return;
	if (s->n++ >= VHOLDERS_MAX)
		return;
	fprintf(s->out, "%s%s%s", who, who[0] ? ": " : "", l->text);
	if (l->more > 0)
		fprintf(s->out, "; and %u more", l->more);
	fputc('\n', s->out);
}

/* What may be asked of an inode without waiting for its filesystem. */
static bool ask(const char *task, const char *what, struct statx *st)
{
	char path[96];

	snprintf(path, sizeof(path), "/proc/%s/%s", task, what);
	return statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT,
		       STATX_TYPE | STATX_MNT_ID, st) == 0;
}

/* cwd or root: by the path, and beyond it for mounts that no path leads to any more. */
static void check_link(struct search *s, const struct vtask *t, const struct vns_view *view,
	const char *what, struct line *l)
{
	char path[PATH_MAX];
	struct statx st;
	bool found;

	if (vtask_link(t->name, what, path, sizeof(path)) < 0)
		return;
	found = view && vns_path_on_device(&s->ns, view, path);
	if (!found && view && !view->remote && ask(t->name, what, &st))
		found = vns_id_on_device(&s->ns, (int)st.stx_mnt_id) ||
			vns_dev_on_device(&s->ns, makedev(st.stx_dev_major, st.stx_dev_minor));
	if (found)
		line_add(l, "%s %s", what, path);
}

/* The mount a descriptor was opened through, or -1. */
static int mount_of_fd(const char *task, const char *fd)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[96], text[128];
	int id;

	snprintf(path, sizeof(path), "/proc/%s/fdinfo/%.20s", task, fd);
	f = fopen(path, "re");
	while (f && fgets(text, sizeof(text), f))
		if (sscanf(text, "mnt_id: %d", &id) == 1)
			return id;
	return -1;
}

static bool in_a_view(const struct search *s, const char *ns)
{
	for (size_t i = 0; i < s->ns.n_views; i++)
		if (STREQ(s->ns.views[i].ns, ns))
			return true;
	return false;
}

/* A namespace that only a file or a descriptor keeps cannot be looked into. */
static void suspect(struct search *s, const char *link, const char *keeper)
{
	char ns[VNS_ID_SIZE];

	if (s->suspect || sscanf(link, "mnt:[%20[0-9]]", ns) != 1 || in_a_view(s, ns))
		return;
	if (asprintf(&s->suspect,
		    "perhaps mount namespace %s, which has no process and is kept by %s", ns,
		    keeper) < 0)
		s->suspect = NULL;
}

static void check_fd(
	struct search *s, const struct vtask *t, const char *fd, struct line *l, unsigned int *n)
{
	char path[PATH_MAX], what[32], keeper[64];
	struct statx st;
	bool device = false, found;
	int id;

	snprintf(what, sizeof(what), "fd/%.20s", fd);
	if (vtask_link(t->name, what, path, sizeof(path)) < 0)
		return;
	if (path[0] != '/') { /* a pipe, a socket; or a namespace */
		snprintf(keeper, sizeof(keeper), "descriptor %.20s of pid %d", fd, t->pid);
		suspect(s, path, keeper);
		return;
	}
	id = mount_of_fd(t->name, fd);
	found = vns_id_on_device(&s->ns, id);
	/* The device's node, or a file on a mount that is in no table any more. */
	if (!found && (strncmp(path, "/dev/", 5) == 0 || !vns_id_known(&s->ns, id)) &&
		ask(t->name, what, &st)) {
		device = S_ISBLK(st.stx_mode) &&
			 makedev(st.stx_rdev_major, st.stx_rdev_minor) == s->ns.devno;
		found = device ||
			vns_dev_on_device(&s->ns, makedev(st.stx_dev_major, st.stx_dev_minor));
	}
	if (!found)
		return;
	if (++*n <= FILES_MAX)
		line_add(l, "%s %s", device ? "has the device open as" : "open file", path);
	else
		l->more++;
}

static void check_fds(struct search *s, const struct vtask *t, struct line *l)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	struct dirent *de;
	unsigned int n = 0;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%s/fd", t->name);
	dir = opendir(path);
	while (dir && (de = readdir(dir)))
		if (isdigit((unsigned char)de->d_name[0]) &&
			!(t->tid == gettid() && atoi(de->d_name) == dirfd(dir)))
			check_fd(s, t, de->d_name, l, &n);
}

/* Lines are "from-to perms offset major:minor inode   path". */
static void check_maps(struct search *s, const struct vtask *t, struct line *l)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_fclose_ FILE *f = NULL;
	char path[64], program[PATH_MAX], last[PATH_MAX] = "";
	unsigned int n = 0;
	size_t room = 0;

	snprintf(path, sizeof(path), "/proc/%s/maps", t->name);
	f = fopen(path, "re");
	if (!f)
		return;
	if (vtask_link(t->name, "exe", program, sizeof(program)) < 0)
		program[0] = '\0';
	while (getline(&text, &room, f) > 0) {
		unsigned int maj, min;
		int at = 0;

		text[strcspn(text, "\n")] = '\0';
		if (sscanf(text, "%*s %*s %*s %x:%x %*u %n", &maj, &min, &at) < 2 || at == 0)
			continue;
		if (makedev(maj, min) == 0 || !vns_dev_on_device(&s->ns, makedev(maj, min)) ||
			STREQ(text + at, last))
			continue;
		snprintf(last, sizeof(last), "%s", text + at);
		if (++n <= FILES_MAX)
			line_add(l, "%s %s", STREQ(last, program) ? "runs" : "mapped file", last);
		else
			l->more++;
	}
}

static int on_task(const struct vtask *t, void *userdata)
{
	const struct vns_view *view = vns_view_of(&((struct search *)userdata)->ns, t->name);
	struct line l = { .used = 0 };
	struct search *s = userdata;
	char command[32], who[96];

	if (t->own_fs) {
		check_link(s, t, view, "cwd", &l);
		check_link(s, t, view, "root", &l);
	}
	if (t->own_files)
		check_fds(s, t, &l);
	if (t->leader && !t->stuck)
		check_maps(s, t, &l);
	if (l.used == 0)
		return 0;

	if (view && !view->own)
		line_add(&l, "in mount namespace %s", view->ns);
	vtask_command(t->name, command);
	if (t->leader)
		snprintf(who, sizeof(who), "pid %d (%s)", t->pid, command);
	else
		snprintf(who, sizeof(who), "pid %d, thread %d (%s)", t->pid, t->tid, command);
	emit(s, who, &l);
	return 0;
}

/* Our own view, for the paths that the kernel tells as this process would see them. */
static const struct vns_view *own_view(const struct search *s)
{
	return vns_view_of(&s->ns, "self");
}

/* The peer group that @fs is in ("shared:") or receives from ("master:"); 0: none. */
static unsigned int peer_group(struct libmnt_fs *fs, const char *relation)
{
	const char *fields = mnt_fs_get_optional_fields(fs), *found;

	found = fields ? strstr(fields, relation) : NULL;
	return found ? (unsigned int)strtoul(found + strlen(relation), NULL, 10) : 0;
}

/* Another namespace's copy that the kernel unmounts together with ours: not in anybody's way. */
static bool goes_along(const struct search *s, struct libmnt_fs *fs)
{
	return s->group && (peer_group(fs, "shared:") == s->group ||
				   peer_group(fs, "master:") == s->group);
}

static void find_group(struct search *s)
{
	_cleanup_(mnt_free_iterp) struct libmnt_iter *it = mnt_new_iter(MNT_ITER_FORWARD);
	const struct vns_view *view = own_view(s);
	struct libmnt_fs *fs;

	while (it && view && s->mountpoint && mnt_table_next_fs(view->table, it, &fs) == 0) {
		const char *target = mnt_fs_get_target(fs);

		if (vns_id_on_device(&s->ns, mnt_fs_get_id(fs)) && target &&
			STREQ(target, s->mountpoint))
			s->group = peer_group(fs, "shared:");
	}
}

/* One mount in one view: of the device, on top of it, or a kept namespace. */
static void check_mount(
	struct search *s, const struct vns_view *view, struct libmnt_fs *fs, struct line *l)
{
	const char *type = mnt_fs_get_fstype(fs) ?: "?", *root = mnt_fs_get_root(fs);
	char target[PATH_MAX];

	vns_mountpoint(view, fs, target, sizeof(target));
	if (STREQ(type, "nsfs") && root)
		suspect(s, root, target);
	if (vns_id_on_device(&s->ns, mnt_fs_get_id(fs))) {
		if (view->own ? !s->mountpoint || !STREQ(target, s->mountpoint) : !goes_along(s, fs))
			line_add(l, "mounted at %s", target);
	} else if (vns_id_on_device(&s->ns, mnt_fs_get_parent_id(fs))) {
		line_add(l, "%s mounted on it at %s", type, target);
	}
}

static void check_view(struct search *s, const struct vns_view *view)
{
	_cleanup_(mnt_free_iterp) struct libmnt_iter *it = mnt_new_iter(MNT_ITER_FORWARD);
	struct line l = { .used = 0 };
	char command[32], pid[16], who[128] = "";
	struct libmnt_fs *fs;

	while (it && mnt_table_next_fs(view->table, it, &fs) == 0)
		check_mount(s, view, fs, &l);
	if (l.used == 0)
		return;
	if (!view->own) {
		snprintf(pid, sizeof(pid), "%d", view->pid);
		vtask_command(pid, command);
		snprintf(who, sizeof(who), "pid %d (%s)", view->pid, command);
		if (view->n_tasks > 1)
			snprintf(who + strlen(who), sizeof(who) - strlen(who), " and %u more",
				view->n_tasks - 1);
		line_add(&l, "in mount namespace %s", view->ns);
	}
	emit(s, who, &l);
}

static bool is_the_device(const struct search *s, const char *path)
{
	struct stat st;

	/* Only below /dev, where stat() reads memory. */
	return strncmp(path, "/dev/", 5) == 0 && stat(path, &st) == 0 && S_ISBLK(st.st_mode) &&
	       st.st_rdev == s->ns.devno;
}

static void check_swap(struct search *s)
{
	_cleanup_(mnt_unref_tablep) struct libmnt_table *tb = mnt_new_table();
	_cleanup_(mnt_free_iterp) struct libmnt_iter *it = mnt_new_iter(MNT_ITER_FORWARD);
	const struct vns_view *view = own_view(s);
	struct libmnt_fs *fs;

	if (!tb || !it || mnt_table_parse_swaps(tb, NULL) < 0)
		return;
	while (mnt_table_next_fs(tb, it, &fs) == 0) {
		const char *path = mnt_fs_get_source(fs);
		struct line l = { .used = 0 };

		if (!path)
			continue;
		if (is_the_device(s, path) || (view && vns_path_on_device(&s->ns, view, path)))
			line_add(&l, "swap on %s", path);
		emit(s, "", &l);
	}
}

static bool on_device_in_any_view(const struct search *s, const char *path)
{
	for (size_t i = 0; i < s->ns.n_views; i++)
		if (vns_path_on_device(&s->ns, &s->ns.views[i], path))
			return true;
	return false;
}

/* Loop devices whose image is a file on it. */
static void check_loops(struct search *s)
{
	_cleanup_(closedirp) DIR *dir = opendir("/sys/block");
	struct dirent *de;

	while (dir && (de = readdir(dir))) {
		_cleanup_fclose_ FILE *f = NULL;
		char path[320], file[PATH_MAX];
		struct line l = { .used = 0 };

		if (strncmp(de->d_name, "loop", 4) != 0)
			continue;
		snprintf(path, sizeof(path), "/sys/block/%s/loop/backing_file", de->d_name);
		f = fopen(path, "re");
		if (!f || !fgets(file, sizeof(file), f))
			continue;
		file[strcspn(file, "\n")] = '\0';
		if (is_the_device(s, file) || on_device_in_any_view(s, file))
			line_add(&l, "loop device %s over %s", de->d_name, file);
		emit(s, "", &l);
	}
}

/* Devices that the kernel built on this one: device mapper, RAID, bcache. */
static void check_mappings(struct search *s)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	struct dirent *de;
	char path[64];

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/holders", major(s->ns.devno),
		minor(s->ns.devno));
	dir = opendir(path);
	while (dir && (de = readdir(dir))) {
		struct line l = { .used = 0 };

		if (de->d_name[0] == '.')
			continue;
		line_add(&l, "block device %s is built on it", de->d_name);
		emit(s, "", &l);
	}
}

static int find(struct search *s)
{
	int r;

	find_group(s);
	r = vtasks_walk(on_task, s);
	if (r < 0)
		return r;
	for (size_t i = 0; i < s->ns.n_views; i++)
		if (!vns_is_partial(&s->ns, &s->ns.views[i]))
			check_view(s, &s->ns.views[i]);
	check_swap(s);
	check_loops(s);
	check_mappings(s);

	if (s->n == 0 && s->suspect) {
		fprintf(s->out, "%s\n", s->suspect);
		s->n = 1;
	}
	if (s->n > VHOLDERS_MAX)
		fprintf(s->out, "and %zu more\n", s->n - VHOLDERS_MAX);
	return 0;
}

/* As the mount table writes it. Only the directory above is resolved: the mount itself may hang. */
static int canonical(const char *mountpoint, char buf[PATH_MAX])
{
	_cleanup_free_ char *above = NULL;
	char root[PATH_MAX];
	const char *name = strrchr(mountpoint, '/');

	if (!name)
		return -EINVAL;
	above = strndup(mountpoint, MAX((size_t)(name - mountpoint), (size_t)1));
	if (!above)
		return -ENOMEM;
	if (!realpath(above, root))
		return -errno;
	if (snprintf(buf, PATH_MAX, "%s%s", STREQ(root, "/") ? "" : root, name) >= PATH_MAX)
		return -ENAMETOOLONG;
	return 0;
}

int vholders_find(dev_t devno, const char *mountpoint, char **ret_text, size_t *ret_n)
{
	char target[PATH_MAX], *text = NULL;
	struct search s = { .mountpoint = NULL };
	size_t size = 0;
	int r;

	if (mountpoint && canonical(mountpoint, target) == 0)
		s.mountpoint = target; /* a place that is gone is no mount either */

	s.out = open_memstream(&text, &size);
	if (!s.out)
		return -errno;
	r = vns_init(&s.ns, devno);
	if (r == 0)
		r = find(&s);
	vns_done(&s.ns);
	free(s.suspect);
	if (fclose(s.out) != 0 && r == 0)
		r = -ENOMEM;
	if (r < 0) {
		free(text);
		return r;
	}
	*ret_text = text;
	*ret_n = s.n;
	return 0;
}
