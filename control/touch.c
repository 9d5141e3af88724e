/* SPDX-License-Identifier: Apache-2.0 */
#include "touch.h"

static void touch_dataset(const struct touch *t, struct id128 id)
{
	t->watcher->dataset(t->userdata, id);
}

static void touch_node(const struct touch *t, struct id128 uuid)
{
	if (!id128_is_nil(uuid))
		t->watcher->node(t->userdata, uuid);
}

static int on_dataset(const struct assign_view *v, void *userdata)
{
	touch_dataset(userdata, v->record->dataset_id);
	return 0;
}

/* And all that looks the way it does because of it. */
static void touch_around(const struct touch *t, struct id128 node)
{
	struct touch copy = *t;

	touch_node(t, node);
	(void)assign_node_datasets(t->assign, cluster_now_ms(), node, on_dataset, &copy);
}

/* What is of a restored record waits until all nodes have said what they hold. */
static int on_restored(const struct assign_view *v, void *userdata)
{
	const struct touch *t = userdata;

	if (v->record->incarnation != t->incarnation)
		touch_dataset(t, v->record->dataset_id);
	return 0;
}

static int on_node(const struct assign_node_view *n, void *userdata)
{
	touch_node(userdata, n->uuid);
	return 0;
}

struct touch_mark touch_begin(const struct touch *t, const struct assign_event *ev)
{
	struct assign_view v;
	bool failing = ev->type == ASSIGN_REPORT &&
		       assign_dataset(t->assign, cluster_now_ms(), ev->report->status.dataset_id, &v) == 0 &&
		       v.status && v.status->error;

	return (struct touch_mark){ assign_n_unheard(t->assign), assign_outdated(t->assign), failing };
}

static void touch_by_type(const struct touch *t, const struct touch_mark *before, const struct assign_event *ev)
{
	struct assign_node_view n;
	struct touch copy = *t;

	switch (ev->type) {
	case ASSIGN_REPORT:
		touch_dataset(t, ev->report->status.dataset_id);
		/* A node that drains tells what fails on its way out; all else of it is in records. */
		if ((before->failing || ev->report->status.error) &&
			assign_node(t->assign, cluster_now_ms(), ev->node, &n) == 0 && n.draining_since)
			touch_node(t, ev->node);
		break;
	case ASSIGN_HELLO:
		touch_around(t, ev->node);
		for (size_t i = 0; i < ev->hello->n_holds; i++)
			touch_dataset(t, ev->hello->holds[i].dataset_id);
		break;
	case ASSIGN_GONE:
		touch_around(t, ev->node);
		break;
	case ASSIGN_HEARD:
	case ASSIGN_RENEW:
		if (ev->free_bytes || ev->backends)
			touch_node(t, ev->node);
		break;
	case ASSIGN_EXPIRE: /* what is remembered of nodes that are silent for long */
		(void)assign_nodes(t->assign, cluster_now_ms(), on_node, &copy);
		break;
	default: /* what it changes is in records */
		break;
	}
}

void touch_event(const struct touch *t, const struct touch_mark *before, const struct assign_event *ev,
	const struct assign_result *result)
{
	struct touch copy = *t;

	if (!t->watcher)
		return;
	touch_by_type(t, before, ev);
	for (size_t i = 0; i < result->n_sends; i++)
		if (result->sends[i].close)
			touch_around(t, result->sends[i].node); /* its session ended */
	if (assign_outdated(t->assign) && !before->outdated)
		(void)assign_datasets(t->assign, cluster_now_ms(), on_dataset, &copy);
	else if (before->n_unheard && !assign_n_unheard(t->assign))
		(void)assign_datasets(t->assign, cluster_now_ms(), on_restored, &copy);
}

static void touch_record(const struct touch *t, const struct ds_record *r)
{
	touch_dataset(t, r->dataset_id);
	touch_node(t, r->primary);
	touch_node(t, r->owner);
}

static void touch_change(const struct touch *t, const struct assign_change *change)
{
	struct assign_view v;

	switch (change->kind) {
	case CHANGE_DATASET:
		touch_record(t, &change->ds);
		if (assign_dataset(t->assign, cluster_now_ms(), change->ds.dataset_id, &v) == 0)
			touch_record(t, v.record);
		break;
	case CHANGE_NODE:
		touch_around(t, change->node.uuid);
		break;
	case CHANGE_PIN:
		t->watcher->lease(t->userdata, change->pin.dataset_id);
		touch_dataset(t, change->pin.dataset_id);
		/* A node that drains tells what a lease keeps there. */
		if (assign_dataset(t->assign, cluster_now_ms(), change->pin.dataset_id, &v) == 0)
			touch_record(t, v.record);
		break;
	case CHANGE_FLOOR:
		break;
	}
}

void touch_changes(const struct touch *t, const struct assign_change *changes, size_t n)
{
	for (size_t i = 0; t->watcher && i < n; i++)
		touch_change(t, &changes[i]);
}
