/* SPDX-License-Identifier: Apache-2.0 */
/* flockerctl lease: datasets that stay where they are, whatever else is wished of them meanwhile. */
#include <time.h>

#include "ctl.h"
#include "say.h"
#include "table.h"

/* What is left of a lease, of its member "expires": a moment, or null for one without an end. */
static void format_left(struct json_object *lease, char *buf, size_t size)
{
	struct json_object *value = json_object_object_get(lease, "expires");
	struct timespec now;
	int64_t ms;
	double s;

	if (ctl_time(value, &ms) < 0) {
		snprintf(buf, size, "never");
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	s = (double)ms / 1000 - (double)now.tv_sec - (double)now.tv_nsec / 1e9;
	if (!(s > 0))
		snprintf(buf, size, "now");
	else if (s < 120)
		snprintf(buf, size, "in %.1f s", s);
	else if (s < 2 * 3600.0)
		snprintf(buf, size, "in %.0f min", s / 60);
	else if (s < 2 * 86400.0)
		snprintf(buf, size, "in %.1f h", s / 3600);
	else
		snprintf(buf, size, "in %.1f days", s / 86400);
}

static int add_lease(const struct ctl *c, struct table *t, struct json_object *lease,
	struct json_object *nodes)
{
	const char *uuid = ctl_text(lease, "node");
	char left[64], node[320];

	format_left(lease, left, sizeof(left));
	ctl_format_node(nodes, uuid, c->args->long_form, node, sizeof(node));
	/* Not connected, perhaps never: the lease holds all the same, and for whom is worth a word. */
	if (uuid && !ctl_member(nodes, uuid, json_type_object))
		snprintf(node, sizeof(node), "%.*s (?)",
			c->args->long_form ? ID128_TEXT - 1 : CTL_SHORT_ID, uuid);
	return table_add(t, (const char *[]){ ctl_text(lease, "dataset_id"),
				    ctl_text(lease, "name"), node, left });
}

static int print_leases(struct ctl *c, struct json_object *leases)
{
	_cleanup_(table_freep) struct table *t =
		table_new(4, (const char *[]){ "DATASET", "NAME", "SERVER", "EXPIRES" });
	_cleanup_json_ struct json_object *nodes = NULL, *by_uuid = NULL;
	int r = ctl_add_names(c, leases);

	if (r == CTL_OK)
		r = ctl_all(c, "/v2/nodes", "nodes", &nodes);
	if (r != CTL_OK)
		return r;
	by_uuid = ctl_index(nodes, "uuid");
	if (!t || !by_uuid)
		return ctl_no_memory();
	for (size_t i = 0; i < json_object_array_length(leases); i++)
		if (add_lease(c, t, json_object_array_get_idx(leases, i), by_uuid) < 0)
			return ctl_no_memory();
	table_print(t, !c->args->no_header, stdout);
	return CTL_OK;
}

int ctl_run_leases(struct ctl *c)
{
	_cleanup_json_ struct json_object *leases = NULL;
	int r = ctl_all(c, "/v2/leases", "leases", &leases);

	if (r != CTL_OK)
		return r;
	if (!c->args->json)
		return print_leases(c, leases);
	ctl_print_json(leases);
	return CTL_OK;
}

/* For whom: the node that was named, or the one that has the dataset. Allocated. */
static int lease_node(struct ctl *c, struct json_object *dataset, char **ret)
{
	_cleanup_json_ struct json_object *node = NULL;
	const char *owner = ctl_text(dataset, "owner"), *uuid = owner;
	char *copy;

	if (c->args->node) {
		int r = ctl_find_node(c, c->args->node, &node);

		if (r != CTL_OK)
			return r;
		uuid = ctl_text(node, "uuid");
		if (!owner || !STREQ(owner, uuid))
			fprintf(stderr,
				"Warning: node %.36s does not have the dataset, so this keeps it "
				"nowhere until it does\n",
				uuid);
	}
	if (!uuid)
		return say_error(CTL_NOT_FOUND,
			"no node has dataset %s; name one by --node, if that is what you want",
			ctl_text(dataset, "dataset_id"));
	copy = strdup(uuid);
	if (!copy)
		return ctl_no_memory();
	*ret = copy;
	return CTL_OK;
}

static int lease_body(const struct ctl_args *a, const char *node, struct json_object **ret)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();

	if (!o || json_put_member(o, "node", json_object_new_string(node)) < 0 ||
		(a->expires && json_put_member(o, "seconds", json_object_new_uint64((a->expires_ms + 999) / 1000)) < 0))
		return ctl_no_memory();
	*ret = TAKE_PTR(o);
	return CTL_OK;
}

static void lease_path(const char *dataset_id, char path[static 64])
{
	snprintf(path, 64, "/v2/leases/%.36s", dataset_id);
}

int ctl_run_acquire(struct ctl *c)
{
	_cleanup_json_ struct json_object *dataset = NULL, *body = NULL, *lease = NULL;
	_cleanup_free_ char *node = NULL;
	char left[64], path[64];
	const char *id;
	int r = ctl_find_dataset(c, c->args->argument, false, &dataset);

	if (r == CTL_OK)
		r = lease_node(c, dataset, &node);
	if (r == CTL_OK)
		r = lease_body(c->args, node, &body);
	if (r != CTL_OK)
		return r;
	id = ctl_text(dataset, "dataset_id");
	lease_path(id, path);
	r = ctl_write(c, "PUT", path, body, json_type_object, &lease);
	if (r != CTL_OK)
		return ctl_say_unknown_fate(c, r, "lease list", "");
	if (c->args->plan)
		return ctl_print_plan(c, lease);
	if (c->args->json) {
		ctl_print_json(lease);
		return CTL_OK;
	}
	format_left(lease, left, sizeof(left));
	printf("Dataset %.36s is leased to node %.36s; the lease ends %s.\n", id, node,
		c->args->expires ? left : "when it is released");
	return CTL_OK;
}

int ctl_run_release(struct ctl *c)
{
	_cleanup_json_ struct json_object *lease = NULL, *answer = NULL;
	const char *id, *node;
	char path[64];
	int r = ctl_find_lease(c, c->args->argument, &lease);

	if (r != CTL_OK)
		return r;
	id = ctl_text(lease, "dataset_id");
	lease_path(id, path);
	r = ctl_write(c, "DELETE", path, NULL, json_type_object, &answer);
	if (r != CTL_OK)
		return ctl_say_unknown_fate(c, r, "lease list", "");
	if (c->args->plan)
		return ctl_print_plan(c, answer);
	node = ctl_text(answer, "node");
	if (c->args->json)
		ctl_print_json(answer);
	else
		printf("Dataset %.36s is no more leased to node %.36s.\n", id,
			node && say_is_clean(node) ? node : "?");
	return CTL_OK;
}
