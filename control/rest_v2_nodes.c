/* SPDX-License-Identifier: Apache-2.0 */
/* v2's nodes: what they are, and what operators say of them. */
#include <time.h>

#include "rest_v2.h"

struct list {
	struct jsonout *o;
	struct view_source source;
};

static int on_node(const struct assign_node_view *n, void *userdata)
{
	const struct list *l = userdata;

	return view_node(l->o, NULL, &l->source, n->uuid);
}

/* As they look to a tag: their silence grows with every second. */
static void tag_nodes(struct rest_request *q, struct list l)
{
	struct jsonout steady = { 0 };

	l.o = &steady;
	l.source.steady = true;
	(void)assign_nodes(l.source.assign, l.source.now_ms, on_node, &l);
	rest_tag_weakly(q, &steady);
	jsonout_done(&steady);
}

static void list_nodes(struct rest_request *q)
{
	struct jsonout o = { 0 };
	struct list l = { &o, rest_source(q) };

	tag_nodes(q, l);
	jsonout_open(&o, NULL, '{');
	jsonout_open(&o, "nodes", '[');
	(void)assign_nodes(l.source.assign, l.source.now_ms, on_node, &l);
	jsonout_close(&o, ']');
	rest_reply_list(q, &o);
}

/* One that control knows, and has not only heard the name of. */
static int find_node(struct rest_request *q, struct id128 *ret)
{
	struct assign_node_view n;
	struct id128 uuid;
	int r = id128_parse(q->param, &uuid);

	if (r == 0)
		r = assign_node(cluster_assign(rest_cluster(q)), cluster_now_ms(), uuid, &n);
	if (r == 0 && !n.known)
		r = -ENOENT;
	if (r == 0)
		*ret = uuid;
	else
		rest_refuse(q, REST_NOT_FOUND, "There is no node %.64s.", q->param);
	return r;
}

static void get_node(struct rest_request *q)
{
	struct view_source source;
	struct jsonout o = { 0 };
	struct id128 uuid;

	if (find_node(q, &uuid) < 0)
		return;
	source = rest_source(q);
	source.steady = true;
	(void)view_node(&o, NULL, &source, uuid);
	rest_tag_weakly(q, &o);
	jsonout_done(&o);
	rest_answer_node(q, uuid, &o);
	rest_reply(q, HTTP_OK, &o);
}

static void write_node(struct rest_request *q, enum assign_event_type type, const char *words)
{
	struct assign_event ev = { .type = type, .now_s = time(NULL) };

	rest_audit(q, "%s", words);
	if (find_node(q, &ev.node) == 0)
		rest_write_v2(q, &ev, ev.node, HTTP_OK, rest_answer_node);
}

static void drain_node(struct rest_request *q)
{
	write_node(q, ASSIGN_DRAIN, "it drains: its datasets go elsewhere");
}

static void undrain_node(struct rest_request *q)
{
	write_node(q, ASSIGN_UNDRAIN, "it drains no more");
}

static void replace_node(struct rest_request *q)
{
	write_node(q, ASSIGN_REPLACE, "another machine may use this identity");
}

/* Nobody can take it back, so it is said in so many words. */
static bool accepts_risk(struct json_object *body)
{
	struct json_object *v;

	return json_object_is_type(body, json_type_object) && json_object_object_length(body) == 1 &&
	       json_object_object_get_ex(body, "accept_risk", &v) && json_object_is_type(v, json_type_boolean) &&
	       json_object_get_boolean(v);
}

static void give_up_node(struct rest_request *q, enum assign_event_type type, const char *verb, const char *words)
{
	if (accepts_risk(q->body)) {
		write_node(q, type, words);
		return;
	}
	rest_refuse(q, REST_BAD_BODY, "The body must be {\"accept_risk\": true}: whoever %s a node by hand answers for it "
		"that the machine is off or cannot reach its volumes. If it still writes, data is lost.", verb);
}

static void fence_node(struct rest_request *q)
{
	give_up_node(q, ASSIGN_FENCE, "fences", "fenced by an operator's word");
}

static void forget_node(struct rest_request *q)
{
	give_up_node(q, ASSIGN_FORGET, "forgets", "forgotten by an operator's word");
}

/* clang-format off */
const struct rest_route rest_node_routes[] = {
	{ EVHTTP_REQ_GET,  "/v2/nodes",           list_nodes },
	{ EVHTTP_REQ_GET,  "/v2/nodes/*",         get_node },
	{ EVHTTP_REQ_POST, "/v2/nodes/*/drain",   drain_node,   0, "plan" },
	{ EVHTTP_REQ_POST, "/v2/nodes/*/undrain", undrain_node, 0, "plan" },
	{ EVHTTP_REQ_POST, "/v2/nodes/*/replace", replace_node, 0, "plan" },
	{ EVHTTP_REQ_POST, "/v2/nodes/*/fence",   fence_node,   REST_READS_BODY, "plan" },
	{ EVHTTP_REQ_POST, "/v2/nodes/*/forget",  forget_node,  REST_READS_BODY, "plan" },
	{ 0 },
};
/* clang-format on */
