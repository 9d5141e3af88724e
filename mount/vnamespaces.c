/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>

#include "vnamespaces.h"
#include "vtasks.h"

#define KNOWN_MAX (1 << 22) /* mount ids are small numbers, used again */

static bool is_remote(const char *fstype)
{
	/* Their dentries are revalidated with the server even through /proc/PID/cwd. */
	return fstype &&
	       (strncmp(fstype, "nfs", 3) == 0 || STREQ(fstype, "9p") || STREQ(fstype, "cifs") ||
		       STREQ(fstype, "smb3") || STREQ(fstype, "ceph") || STREQ(fstype, "afs"));
}

static int add_known(struct vns *v, int id)
{
	if (id < 0 || id >= KNOWN_MAX)
		return 0;
	if (id >= v->n_known) {
		int n = (id / 4096 + 1) * 4096;
		uint8_t *known = realloc(v->known, (size_t)n / 8);

		if (!known)
			return -ENOMEM;
		memset(known + v->n_known / 8, 0, (size_t)(n - v->n_known) / 8);
		v->known = known;
		v->n_known = n;
	}
	v->known[id / 8] |= (uint8_t)(1u << id % 8);
	return 0;
}

static int add_id(struct vns *v, int id)
{
	int *ids;

	if (vns_id_on_device(v, id))
		return 0;
	ids = reallocarray(v->ids, v->n_ids + 1, sizeof(*ids));
	if (!ids)
		return -ENOMEM;
	v->ids = ids;
	v->ids[v->n_ids++] = id;
	return 0;
}

static int index_mounts(struct vns *v, struct vns_view *view)
{
	_cleanup_(mnt_free_iterp) struct libmnt_iter *it = mnt_new_iter(MNT_ITER_FORWARD);
	struct libmnt_fs *fs;
	int r = 0;

	if (!it)
		return -ENOMEM;
	while (r == 0 && mnt_table_next_fs(view->table, it, &fs) == 0) {
		view->remote |= is_remote(mnt_fs_get_fstype(fs));
		r = add_known(v, mnt_fs_get_id(fs));
		if (r < 0 || vmountinfo_devno(fs) != v->devno)
			continue;
		v->anon = mnt_fs_get_devno(fs);
		r = add_id(v, mnt_fs_get_id(fs));
	}
	return r;
}

static struct vns_view *find_view(const struct vns *v, const char *ns, const char *root)
{
	for (size_t i = 0; i < v->n_views; i++)
		if (STREQ(v->views[i].ns, ns) && STREQ(v->views[i].root, root))
			return &v->views[i];
	return NULL;
}

/* The two links that decide what mounts a task sees. */
static int read_links(const char *task, char ns[VNS_ID_SIZE], char *root, size_t size)
{
	char link[64];
	int r;

	r = vtask_link(task, "ns/mnt", link, sizeof(link));
	if (r < 0)
		return r;
	if (sscanf(link, "mnt:[%20[0-9]]", ns) != 1)
		return -EINVAL;
	return vtask_link(task, "root", root, size);
}

static int add_view(struct vns *v, const char *task, const char *ns, const char *root)
{
	_cleanup_(mnt_unref_tablep) struct libmnt_table *tb = NULL;
	char path[80], own[64];
	struct vns_view *views, view = { .pid = atoi(task), .n_tasks = 1 };
	int r;

	snprintf(path, sizeof(path), "/proc/%s/mountinfo", task);
	r = vmountinfo_read(path, NULL, &tb);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		return 0; /* gone meanwhile; another task may stand for the view */
	views = reallocarray(v->views, v->n_views + 1, sizeof(*views));
	if (!views)
		return -ENOMEM;
	v->views = views;

	snprintf(view.ns, sizeof(view.ns), "%s", ns);
	if (vtask_link("self", "ns/mnt", own, sizeof(own)) == 0)
		view.own =
			strncmp(own + 5, ns, strlen(ns)) == 0 && STREQ(own + 5 + strlen(ns), "]");
	view.root = strdup(root);
	if (!view.root)
		return -ENOMEM;
	view.table = TAKE_PTR(tb);
	v->views[v->n_views++] = view;
	return index_mounts(v, &v->views[v->n_views - 1]);
}

static int on_task(const struct vtask *t, void *userdata)
{
	char ns[VNS_ID_SIZE], root[PATH_MAX];
	struct vns *v = userdata;
	struct vns_view *view;

	if (read_links(t->name, ns, root, sizeof(root)) < 0)
		return 0;
	view = find_view(v, ns, root);
	if (!view)
		return add_view(v, t->name, ns, root);
	if (t->leader)
		view->n_tasks++;
	return 0;
}

int vns_init(struct vns *v, dev_t devno)
{
	*v = (struct vns){ .devno = devno, .anon = devno };
	return vtasks_walk(on_task, v);
}

void vns_done(struct vns *v)
{
	for (size_t i = 0; i < v->n_views; i++) {
		free(v->views[i].root);
		mnt_unref_table(v->views[i].table);
	}
	free(v->views);
	free(v->ids);
	free(v->known);
	*v = (struct vns){ .devno = 0 };
}

const struct vns_view *vns_view_of(const struct vns *v, const char *task)
{
	char ns[VNS_ID_SIZE], root[PATH_MAX];

	if (read_links(task, ns, root, sizeof(root)) < 0)
		return NULL;
	return find_view(v, ns, root);
}

bool vns_id_on_device(const struct vns *v, int id)
{
	for (size_t i = 0; i < v->n_ids; i++)
		if (v->ids[i] == id)
			return true;
	return false;
}

bool vns_id_known(const struct vns *v, int id)
{
	return id >= 0 && id < v->n_known && v->known[id / 8] & 1u << id % 8;
}

bool vns_dev_on_device(const struct vns *v, dev_t dev)
{
	return dev == v->devno || dev == v->anon;
}

bool vns_is_partial(const struct vns *v, const struct vns_view *view)
{
	return !STREQ(view->root, "/") && find_view(v, view->ns, "/");
}

const char *vns_mountpoint(
	const struct vns_view *view, struct libmnt_fs *fs, char *buf, size_t size)
{
	const char *root = STREQ(view->root, "/") ? "" : view->root;
	const char *target = mnt_fs_get_target(fs) ?: "";

	snprintf(buf, size, "%s%s", root, root[0] && STREQ(target, "/") ? "" : target);
	return buf;
}

bool vns_path_on_device(const struct vns *v, const struct vns_view *view, const char *path)
{
	_cleanup_(mnt_free_iterp) struct libmnt_iter *it = mnt_new_iter(MNT_ITER_FORWARD);
	char target[PATH_MAX];
	struct libmnt_fs *fs;
	size_t longest = 0;
	bool on = false;

	/* The mount with the longest path wins; of those at one path, any may be meant. */
	while (it && mnt_table_next_fs(view->table, it, &fs) == 0) {
		size_t n = strlen(vns_mountpoint(view, fs, target, sizeof(target)));
		bool ours = vns_id_on_device(v, mnt_fs_get_id(fs));

		while (n > 0 && target[n - 1] == '/')
			n--;
		if (n < longest || strncmp(path, target, n) != 0 || (path[n] && path[n] != '/'))
			continue;
		on = n > longest ? ours : on || ours;
		longest = n;
	}
	return on;
}
