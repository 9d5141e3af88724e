/* SPDX-License-Identifier: Apache-2.0 */
/* What the node shows of itself and of its datasets, and the tree's place in the mount table. */
#include "node_private.h"

#define TREE_RETRY_S 2

static unsigned int count_running(const struct node *n)
{
	unsigned int count = 0;

	for (const struct running *r = n->running; r; r = r->next)
		count++;
	return count;
}

static char *metrics_of(const struct node *n, const struct node_view *v, struct metrics_now *now)
{
	now->node = v;
	now->backends = &n->space.told;
	now->n_backends = n->env.driver ? 1 : 0;
	now->running = count_running(n);
	now->renewed_ms = n->renewed_ms;
	node_trim_totals(n, &now->trims, &now->trimmed_bytes);
	return metrics_text(&n->metrics, now);
}

void node_show(struct node *n)
{
	_cleanup_free_ char *metrics = NULL;
	struct metrics_now now = { 0 };
	char control[512], warnings[sizeof(n->space.told.warning) + 1];
	struct node_view v = {
		.uuid = n->uuid,
		.era = n->state.boot,
		.control = control,
		.connected = n->connected,
		.connected_since_ms = nodeview_realtime_ms(&n->connected_at),
		.certificate_expires_ms = n->dates.cert_s * 1000,
		.authority_expires_ms = n->dates.ca_s * 1000,
		.version = FLOCKER_VERSION,
		.backend = n->c->backend,
		.watchdog = n->watchdog,
		.capacity_bytes = n->space.told.capacity_bytes,
		.free_bytes = n->space.told.free_bytes,
		.promised_bytes = n->space.told.promised_bytes,
		.warnings = warnings,
		.last_error = n->last_error,
	};

	snprintf(control, sizeof(control), "%s:%u", n->c->control_hostname, n->c->control_port);
	snprintf(warnings, sizeof(warnings), "%s%s", n->space.told.warning, *n->space.told.warning ? "\n" : "");
	nodeview_count(n->roster, &v, now.states);
	v.metrics = metrics = metrics_of(n, &v, &now);
	if (!metrics || fstree_set_node(n->tree, &v) < 0)
		(void)log_warning(ENOMEM, "the tree does not show the node's present state, ignoring");
	if (n->adopted && !n->settled && v.mounted + v.troubled >= v.datasets) {
		n->settled = true;
		n->cbs->on_settled(n->userdata);
	}
}

void node_show_dataset(struct node *n, struct id128 dataset_id)
{
	struct roster_view v;

	if (roster_view(n->roster, dataset_id, &v) < 0 || v.gone)
		return;
	if (nodeview_show(n->tree, &v, node_trim_of(n, dataset_id), node_now_ms()) < 0)
		log_dataset(dataset_id, LOG_WARNING, ENOMEM, "the tree shows an old state, ignoring");
}

void node_show_change(struct node *n, const struct roster_change *c)
{
	struct roster_view v;

	if (roster_view(n->roster, c->dataset_id, &v) < 0)
		return;
	if (v.gone) {
		fstree_remove(n->tree, c->dataset_id);
		if (c->from != c->to)
			log_dataset_request(c->dataset_id, NULL, v.request, LOG_INFO, 0, "%s -> %s",
				ds_state_name(c->from), ds_state_name(c->to));
		return;
	}
	node_show_dataset(n, c->dataset_id);
	nodeview_tell(n->tree, c, &v);
}

/* ---- the tree's place ---- */

void node_tree_mount(struct node *n)
{
	char why[sizeof(n->tree_error)] = "";

	if (fstree_mount(n->tree, why, sizeof(why)) == 0) {
		if (*n->tree_error)
			log_notice("the status tree is up");
		n->tree_error[0] = '\0';
		return;
	}
	/* Each reason once, not each attempt. Datasets do not wait for their picture. */
	if (!STREQ(why, n->tree_error))
		(void)log_warning(0, "the status tree is down: %s; trying again", why);
	snprintf(n->tree_error, sizeof(n->tree_error), "%s", why);
	node_after_s(n->tree_timer, TREE_RETRY_S);
}

static void on_tree_timer(evutil_socket_t fd, short what, void *userdata)
{
	node_tree_mount(userdata);
}

static void on_tree_gone(void *userdata)
{
	struct node *n = userdata;

	log_notice("the status tree was taken down from outside; it is mounted again");
	node_after_s(n->tree_timer, 0);
}

int node_tree_new(struct node *n, char *why, size_t size)
{
	char tree[4096], bind[4096];
	struct fstree_config c = { .mountpoint = tree, .bind_target = bind, .group = "flocker",
		.node = n->uuid, .priority = PRIO_TREE, .on_gone = on_tree_gone, .userdata = n };

	n->tree_timer = event_new(n->base, -1, 0, on_tree_timer, n);
	if (!n->tree_timer || event_priority_set(n->tree_timer, PRIO_TREE) < 0)
		return -ENOMEM;
	snprintf(tree, sizeof(tree), "%s/datasets", n->c->mount_root);
	snprintf(bind, sizeof(bind), "%s/datasets", n->c->run_directory);
	return fstree_new(n->base, &c, &n->tree, why, size);
}
