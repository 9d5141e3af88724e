/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine tells the node: mounts, devices and certificates that change. */
#include "node_private.h"

/* ---- the mount table: what changed there is looked at, dataset by dataset ---- */

struct mounts {
	struct node *node;
	const struct vmount_entry *list;
	size_t n;
};

static const struct vmount_entry *mount_of(const struct mounts *m, const char *name)
{
	for (size_t i = 0; i < m->n; i++)
		if (STREQ(m->list[i].name, name))
			return &m->list[i];
	return NULL;
}

static void compare_mount(struct id128 id, void *userdata)
{
	const struct mounts *m = userdata;
	const struct vmount_entry *found = mount_of(m, ID128_STR(id));
	struct roster_view v;

	if (roster_view(m->node->roster, id, &v) < 0 || v.gone)
		return;
	if (v.status.mounted != (found != NULL) ||
		(found && found->read_only != (v.status.state == DS_FAULTY)))
		roster_touch(m->node->roster, node_now_ms(), id);
}

void node_on_mounts(int error, const struct vmount_entry *list, size_t count, void *userdata)
{
	struct node *n = userdata;
	struct mounts m = { n, list, count };

	if (error < 0)
		roster_touch_all(n->roster, node_now_ms());
	else
		roster_each(n->roster, compare_mount, &m);
	if (error < 0 || !mount_of(&m, "datasets"))
		node_after_s(n->tree_timer, 0); /* somebody took the tree down */
	node_plan_soon(n);
}

void node_on_run_mounts(int error, const struct vmount_entry *list, size_t count, void *userdata)
{
	struct mounts m = { userdata, list, count };

	if (error < 0 || !mount_of(&m, "datasets"))
		node_after_s(m.node->tree_timer, 0);
}

/* ---- devices ---- */

struct device_search {
	struct node *node;
	char path[64];
};

static void touch_if_on_device(struct id128 id, void *userdata)
{
	struct device_search *s = userdata;
	struct roster_view v;

	if (roster_view(s->node->roster, id, &v) == 0 && v.status.device &&
		STREQ(v.status.device, s->path))
		roster_touch(s->node->roster, node_now_ms(), id);
}

/* Where the rules do not name the dataset (no udevd, or the device lost its image), its device does. */
void node_on_device(const struct devmon_event *ev, void *userdata)
{
	struct node *n = userdata;
	struct device_search s = { .node = n };

	if (id128_is_nil(ev->dataset_id)) {
		snprintf(s.path, sizeof(s.path), "/dev/%s", ev->name);
		roster_each(n->roster, touch_if_on_device, &s);
	} else {
		roster_touch(n->roster, node_now_ms(), ev->dataset_id);
	}
	node_plan_soon(n);
}

void node_on_overrun(void *userdata)
{
	struct node *n = userdata;

	(void)log_warning(0, "device events were lost in a burst; all datasets are looked at again");
	roster_touch_all(n->roster, node_now_ms());
	node_plan_soon(n);
}

/* ---- certificates ---- */

void node_on_certificates(void *userdata)
{
	struct node *n = userdata;

	tls_dates(n->tls, &n->dates);
	uplink_recheck(n->uplink);
	node_show(n);
}
