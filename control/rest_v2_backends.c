/* SPDX-License-Identifier: Apache-2.0 */
/* v2's backends: where volumes come from, as the nodes that have them say. */
#include "rest_v2.h"

#define NODE_BACKEND "default" /* a node has one so far */
#define BACKENDS_MAX 16	       /* kinds; more are not told apart */

struct backend {
	const char *driver; /* borrowed */
	bool shared;
	uint64_t free;
};

struct backends {
	struct backend list[BACKENDS_MAX];
	size_t n;
	struct jsonout *o;
	const struct backend *of; /* this pass: who has it */
};

static bool is_same(const struct backend *b, const struct assign_node_view *n)
{
	return STREQ(b->driver, n->backend) && b->shared == n->shared;
}

/* What several nodes share is there once, however many of them tell of it. */
static int on_node(const struct assign_node_view *n, void *userdata)
{
	struct backends *all = userdata;
	struct backend *b = all->list;

	if (!n->backend || n->forgotten)
		return 0;
	while (b < all->list + all->n && !is_same(b, n))
		b++;
	if (b == all->list + BACKENDS_MAX)
		return 0;
	if (b == all->list + all->n)
		all->list[all->n++] = (struct backend){ n->backend, n->shared, 0 };
	b->free = n->shared ? MAX(b->free, n->free_bytes) : b->free + n->free_bytes;
	return 0;
}

static void add_bytes(struct jsonout *o, const char *key, uint64_t v)
{
	if (v)
		jsonout_u64(o, key, v);
	else
		jsonout_null(o, key); /* not told */
}

static int on_member(const struct assign_node_view *n, void *userdata)
{
	const struct backends *all = userdata;

	if (!n->backend || n->forgotten || !is_same(all->of, n))
		return 0;
	jsonout_open(all->o, NULL, '{');
	jsonout_id(all->o, "uuid", n->uuid);
	add_bytes(all->o, "free", n->free_bytes);
	jsonout_close(all->o, '}');
	return 0;
}

static void list_backends(struct rest_request *q)
{
	const struct assign *a = cluster_assign(rest_cluster(q));
	struct jsonout o = { 0 };
	struct backends all = { .o = &o };

	(void)assign_nodes(a, cluster_now_ms(), on_node, &all);
	jsonout_open(&o, NULL, '{');
	jsonout_open(&o, "backends", '[');
	for (all.of = all.list; all.of < all.list + all.n; all.of++) {
		jsonout_open(&o, NULL, '{');
		jsonout_text(&o, "name", NODE_BACKEND);
		jsonout_text(&o, "driver", all.of->driver);
		jsonout_bool(&o, "shared", all.of->shared);
		add_bytes(&o, "free", all.of->free);
		jsonout_open(&o, "nodes", '[');
		(void)assign_nodes(a, cluster_now_ms(), on_member, &all);
		jsonout_close(&o, ']');
		jsonout_close(&o, '}');
	}
	jsonout_close(&o, ']');
	rest_add_revision(q, &o);
	jsonout_close(&o, '}');
	rest_reply(q, HTTP_OK, &o);
}

/* clang-format off */
const struct rest_route rest_backend_routes[] = {
	{ EVHTTP_REQ_GET, "/v2/backends", list_backends },
	{ 0 },
};
/* clang-format on */
