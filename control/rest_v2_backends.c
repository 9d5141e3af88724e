/* SPDX-License-Identifier: Apache-2.0 */
/* v2's backends: where volumes come from, as the nodes that have them say. */
#include "rest_v2.h"
#include "rest_view.h"

#define BACKENDS_MAX 16 /* kinds; more are not told apart */

struct backends {
	struct wire_backend list[BACKENDS_MAX]; /* what is told of each, of all that have it */
	size_t n;
	struct jsonout *o;
	const struct wire_backend *of; /* this pass: who has it */
};

static bool is_same(const struct wire_backend *a, const struct wire_backend *b)
{
	return STREQ(a->name, b->name) && STREQ(a->driver, b->driver) && a->shared == b->shared;
}

/* What all of them can. */
static void keep_common(struct wire_backend *b, const struct wire_backend *other)
{
	char kept[sizeof(b->capabilities)] = "", *out = kept;

	for (const char *p = b->capabilities; *p;) {
		char word[sizeof(b->capabilities)];
		size_t n = strcspn(p, " ");

		snprintf(word, sizeof(word), "%.*s", (int)n, p);
		if (wire_backend_can(other, word))
			out += sprintf(out, "%s%s", out > kept ? " " : "", word);
		p += n + (p[n] == ' ');
	}
	strcpy(b->capabilities, kept);
}

/* What several nodes share is there once, however many of them tell of it. */
static void add(struct wire_backend *b, const struct wire_backend *other)
{
	if (b->shared) {
		b->capacity_bytes = MAX(b->capacity_bytes, other->capacity_bytes);
		b->free_bytes = MAX(b->free_bytes, other->free_bytes);
		b->promised_bytes = MAX(b->promised_bytes, other->promised_bytes);
	} else {
		b->capacity_bytes += other->capacity_bytes;
		b->free_bytes += other->free_bytes;
		b->promised_bytes += other->promised_bytes;
	}
	keep_common(b, other);
	if (!*b->warning)
		memcpy(b->warning, other->warning, sizeof(b->warning));
}

static void take(struct backends *all, const struct wire_backend *told)
{
	struct wire_backend *b = all->list;

	while (b < all->list + all->n && !is_same(b, told))
		b++;
	if (b < all->list + all->n)
		add(b, told);
	else if (all->n < BACKENDS_MAX)
		all->list[all->n++] = *told;
}

static int on_node(const struct assign_node_view *n, void *userdata)
{
	for (size_t i = 0; i < n->n_backends && !n->forgotten; i++)
		take(userdata, &n->backends[i]);
	return 0;
}

static int on_member(const struct assign_node_view *n, void *userdata)
{
	const struct backends *all = userdata;

	for (size_t i = 0; i < n->n_backends && !n->forgotten; i++) {
		if (!is_same(all->of, &n->backends[i]))
			continue;
		jsonout_open(all->o, NULL, '{');
		jsonout_id(all->o, "uuid", n->uuid);
		view_room(all->o, &n->backends[i], false);
		jsonout_close(all->o, '}');
	}
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
		jsonout_text(&o, "name", all.of->name);
		jsonout_text(&o, "driver", all.of->driver);
		jsonout_bool(&o, "shared", all.of->shared);
		view_room(&o, all.of, false);
		view_capabilities(&o, all.of->capabilities);
		jsonout_open(&o, "nodes", '[');
		(void)assign_nodes(a, cluster_now_ms(), on_member, &all);
		jsonout_close(&o, ']');
		jsonout_close(&o, '}');
	}
	jsonout_close(&o, ']');
	rest_reply_list(q, &o);
}

/* clang-format off */
const struct rest_route rest_backend_routes[] = {
	{ EVHTTP_REQ_GET, "/v2/backends", list_backends },
	{ 0 },
};
/* clang-format on */
