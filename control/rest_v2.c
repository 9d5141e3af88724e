/* SPDX-License-Identifier: Apache-2.0 */
/* What the original's API cannot say: one dataset whole, and why. */
#include "rest_private.h"

struct list {
	struct jsonout *o;
	struct view_source source;
};

static int on_dataset(const struct assign_view *v, void *userdata)
{
	const struct list *l = userdata;

	return view_dataset(l->o, NULL, &l->source, v->record->dataset_id, false);
}

static void list_datasets(struct rest_request *q)
{
	struct jsonout o = { 0 };
	struct list l = { &o, rest_source(q) };

	jsonout_open(&o, NULL, '[');
	(void)assign_datasets(l.source.assign, l.source.now_ms, on_dataset, &l);
	jsonout_close(&o, ']');
	rest_reply(q, HTTP_OK, &o);
}

static int find_dataset(struct rest_request *q, struct assign_view *ret)
{
	struct id128 id;
	int r = id128_parse(q->param, &id);

	if (r == 0)
		r = assign_dataset(cluster_assign(rest_cluster(q)), cluster_now_ms(), id, ret);
	if (r < 0)
		rest_reply_error(q, HTTP_NOTFOUND, "Dataset not found.");
	return r;
}

static void answer_dataset(struct rest_request *q, struct id128 id, struct jsonout *o)
{
	struct view_source source = rest_source(q);

	if (view_dataset(o, NULL, &source, id, true) < 0)
		jsonout_null(o, NULL); /* deleted, and dropped since */
}

static void get_dataset(struct rest_request *q)
{
	struct jsonout o = { 0 };
	struct assign_view v;

	if (find_dataset(q, &v) < 0)
		return;
	answer_dataset(q, v.record->dataset_id, &o);
	rest_reply(q, HTTP_OK, &o);
}

static void change_failover(struct rest_request *q)
{
	static const struct rest_outcome outcomes[] = {
		{ -ENOENT, HTTP_NOTFOUND, "Dataset not found." },
		{ -EOWNERDEAD, HTTP_BADMETHOD, "The dataset has been deleted." },
		{ 0 },
	};
	struct assign_event ev = { .type = ASSIGN_FAILOVER };
	struct schema_errors errors = { 0 };
	struct assign_view v;
	int r;

	if (find_dataset(q, &v) < 0)
		return;
	ev.dataset_id = v.record->dataset_id;
	ev.failover = v.record->failover;
	if (!ev.failover.term_ms) /* a record from before there were terms */
		ev.failover.term_ms = rest_failover(q).term_ms;
	r = schema_failover(q->body, &ev.failover, &errors);
	if (r < 0)
		rest_reply_schema(q, r, &errors);
	else
		rest_write(q, &ev, ev.dataset_id, HTTP_OK, outcomes, answer_dataset);
}

/* ---- nodes ---- */

static int on_node(const struct assign_node_view *n, void *userdata)
{
	const struct list *l = userdata;

	return view_node(l->o, NULL, &l->source, n->uuid);
}

static void list_nodes(struct rest_request *q)
{
	struct jsonout o = { 0 };
	struct list l = { &o, rest_source(q) };

	jsonout_open(&o, NULL, '[');
	(void)assign_nodes(l.source.assign, l.source.now_ms, on_node, &l);
	jsonout_close(&o, ']');
	rest_reply(q, HTTP_OK, &o);
}

static void answer_node(struct rest_request *q, struct id128 uuid, struct jsonout *o)
{
	struct view_source source = rest_source(q);

	if (view_node(o, NULL, &source, uuid) < 0)
		jsonout_null(o, NULL);
}

static void replace_node(struct rest_request *q)
{
	static const struct rest_outcome outcomes[] = {
		{ -ENOENT, HTTP_NOTFOUND, "Node not found." },
		{ -EBUSY, 409, "The machine that has this identity is connected and answers." },
		{ 0 },
	};
	struct assign_event ev = { .type = ASSIGN_REPLACE };

	rest_audit(q, "another machine may use this identity");
	if (id128_parse(q->param, &ev.node) < 0)
		rest_reply_error(q, HTTP_NOTFOUND, "Node not found.");
	else
		rest_write(q, &ev, ev.node, HTTP_OK, outcomes, answer_node);
}

/* Nobody can take it back, so it is said in so many words. */
static bool accepts_risk(struct json_object *body)
{
	struct json_object *v;

	return json_object_is_type(body, json_type_object) && json_object_object_length(body) == 1 &&
	       json_object_object_get_ex(body, "accept_risk", &v) && json_object_is_type(v, json_type_boolean) &&
	       json_object_get_boolean(v);
}

static void give_up_node(struct rest_request *q, enum assign_event_type type)
{
	static const struct rest_outcome outcomes[] = {
		{ -ENOENT, HTTP_NOTFOUND, "Node not found." },
		{ -EBUSY, 409, "The node is connected and answers. Move its datasets away, or end its "
			       "flocker-node first." },
		{ 0 },
	};
	struct assign_event ev = { .type = type };

	rest_audit(q, "%s by an operator's word", type == ASSIGN_FORGET ? "forgotten" : "fenced");
	if (id128_parse(q->param, &ev.node) < 0)
		rest_reply_error(q, HTTP_NOTFOUND, "Node not found.");
	else if (!accepts_risk(q->body))
		rest_reply_error(q, HTTP_BADREQUEST,
			"The body must be {\"accept_risk\": true}: whoever %s a node by hand answers for it "
			"that the machine is off or cannot reach its volumes. If it still writes, data is lost.",
			type == ASSIGN_FORGET ? "forgets" : "fences");
	else
		rest_write(q, &ev, ev.node, HTTP_OK, outcomes, answer_node);
}

static void fence_node(struct rest_request *q)
{
	give_up_node(q, ASSIGN_FENCE);
}

static void forget_node(struct rest_request *q)
{
	give_up_node(q, ASSIGN_FORGET);
}

/* clang-format off */
const struct rest_route rest_v2_routes[] = {
	{ EVHTTP_REQ_GET,  "/v2/datasets",        list_datasets },
	{ EVHTTP_REQ_GET,  "/v2/datasets/*",      get_dataset },
	{ EVHTTP_REQ_POST, "/v2/datasets/*/failover", change_failover, REST_READS_BODY },
	{ EVHTTP_REQ_GET,  "/v2/nodes",           list_nodes },
	{ EVHTTP_REQ_POST, "/v2/nodes/*/replace", replace_node },
	{ EVHTTP_REQ_POST, "/v2/nodes/*/fence",   fence_node, REST_READS_BODY },
	{ EVHTTP_REQ_POST, "/v2/nodes/*/forget",  forget_node, REST_READS_BODY },
	{ 0 },
};
/* clang-format on */
