/* SPDX-License-Identifier: Apache-2.0 */
/* What the original's API cannot say: one dataset whole, and why. */
#include "rest_private.h"

struct picture {
	struct jsonout *o;
	const struct assign *assign;
	const struct history *history;
	uint64_t now_ms;
};

static struct picture picture_of(const struct rest_request *q, struct jsonout *o)
{
	struct cluster *c = rest_cluster(q);

	return (struct picture){ o, cluster_assign(c), cluster_history(c), cluster_now_ms() };
}

static void add_size(struct jsonout *o, const char *key, uint64_t v, bool known)
{
	if (known)
		jsonout_u64(o, key, v);
	else
		jsonout_null(o, key);
}

/* The owner's word, when the last word is the owner's and of its present grant. */
static const struct wire_status *owner_status(const struct assign_view *v)
{
	if (!v->status || id128_is_nil(v->record->owner) ||
		!id128_equal(v->status_node, v->record->owner) || v->status->epoch != v->record->epoch)
		return NULL;
	return v->status;
}

static const char *state_of(const struct assign_view *v)
{
	const struct wire_status *s = owner_status(v);

	if (s && s->state == DS_DESTROYED && !id128_is_nil(v->record->volume_id))
		return ds_state_name(DS_DESTROYING); /* said, but not yet recorded */
	if (s)
		return ds_state_name(s->state);
	if (id128_is_nil(v->record->volume_id))
		return ds_state_name(DS_DESTROYED);
	if (id128_is_nil(v->record->owner) && v->record->format_state == FORMAT_DONE)
		return ds_state_name(DS_DETACHED);
	return ds_state_name(DS_WAITING);
}

static const char *name_of(const struct ds_record *r)
{
	struct json_object *name;

	return r->metadata && json_object_object_get_ex(r->metadata, "name", &name)
		       ? json_object_get_string(name)
		       : NULL;
}

static void add_lines(struct jsonout *o, const char *key, const char *text)
{
	jsonout_open(o, key, '[');
	while (text && *text) {
		size_t n = strcspn(text, "\n");
		_cleanup_free_ char *line = strndup(text, n);

		if (line && n > 0)
			jsonout_text(o, NULL, line);
		text += n + (text[n] == '\n');
	}
	jsonout_close(o, ']');
}

static void add_last_error(struct jsonout *o, const struct wire_status *s)
{
	if (!s || !s->error) {
		jsonout_null(o, "last_error");
		return;
	}
	jsonout_open(o, "last_error", '{');
	jsonout_text(o, "step", ds_step_name(s->step));
	jsonout_text(o, "code", strerrorname_np(s->error) ?: "EIO");
	jsonout_text(o, "message", strerror(s->error));
	jsonout_close(o, '}');
}

static void add_failover(struct jsonout *o, const struct ds_record *r)
{
	bool leased = r->failover.kind == FAILOVER_LEASE;

	jsonout_text(o, "failover", failover_kind_name(r->failover.kind));
	add_size(o, "term_ms", r->failover.term_ms, leased);
	add_size(o, "term_in_force_ms", r->in_force.term_ms, r->in_force.kind == FAILOVER_LEASE);
	jsonout_bool(o, "failover_in_force", r->in_force.kind == r->failover.kind);
	add_size(o, "fenced_epoch", r->fenced.to, r->fenced.to > 0);
	jsonout_text(o, "fence_proof", r->fenced.to ? proof_kind_name(r->proof) : NULL);
}

static void add_lease(const struct picture *p, struct id128 id)
{
	struct assign_pin_view v;

	if (assign_pin(p->assign, p->now_ms, id, false, &v) < 0) {
		jsonout_null(p->o, "lease");
		return;
	}
	jsonout_open(p->o, "lease", '{');
	jsonout_id(p->o, "node", v.node);
	jsonout_time(p->o, "expires", v.endless ? 0 : v.expires_ms);
	jsonout_close(p->o, '}');
}

static void add_wish(const struct picture *p, const struct assign_view *v)
{
	const struct ds_record *r = v->record;
	char why[1024];

	jsonout_id(p->o, "dataset_id", r->dataset_id);
	jsonout_text(p->o, "name", name_of(r));
	jsonout_strings(p->o, "metadata", r->metadata);
	jsonout_text(p->o, "state", state_of(v));
	jsonout_text(p->o, "wanted", v->wanted);
	jsonout_text(p->o, "why",
		assign_why(p->assign, p->now_ms, r->dataset_id, why, sizeof(why)));
	jsonout_time(p->o, "since", history_since(p->history, r->dataset_id));
	jsonout_id(p->o, "owner", r->owner);
	jsonout_id(p->o, "primary", r->primary);
	jsonout_bool(p->o, "failed_over", r->failed_over);
	jsonout_u64(p->o, "epoch", r->epoch);
	add_failover(p->o, r);
	add_lease(p, r->dataset_id);
	jsonout_id(p->o, "volume_id", r->volume_id);
	jsonout_text(p->o, "filesystem", fs_kind_name(r->filesystem));
	jsonout_id(p->o, "fs_uuid", r->fs_uuid);
	jsonout_text(p->o, "format_state", format_state_name(r->format_state));
	add_size(p->o, "maximum_size", r->maximum_size, r->maximum_size > 0);
	jsonout_bool(p->o, "deleted", r->deleted);
	jsonout_text(p->o, "request", *r->request ? r->request : NULL);
}

static void add_truth(const struct picture *p, const struct assign_view *v)
{
	const struct wire_status *s = owner_status(v);
	struct assign_node_view n;
	bool space = s && (s->used_bytes || s->available_bytes);
	bool live = assign_node(p->assign, p->now_ms, v->record->owner, &n) == 0 && n.live;

	add_size(p->o, "size", s && s->size_bytes ? s->size_bytes : v->record->size_bytes,
		!id128_is_nil(v->record->volume_id));
	add_size(p->o, "used", space ? s->used_bytes : 0, space);
	add_size(p->o, "available", space ? s->available_bytes : 0, space);
	jsonout_text(p->o, "device", s ? s->device : NULL);
	jsonout_text(p->o, "mountpoint", s && s->mounted ? s->mountpoint : NULL);
	add_lines(p->o, "holders", s ? s->holders : NULL);
	add_last_error(p->o, s);
	jsonout_u64(p->o, "attempts", s ? s->attempts : 0);
	jsonout_bool(p->o, "node_live", live);
}

static void add_history(const struct picture *p, struct id128 id)
{
	jsonout_open(p->o, "history", '[');
	for (size_t i = 0; i < history_count(p->history, id); i++) {
		const struct history_step *s = history_get(p->history, id, i);

		jsonout_open(p->o, NULL, '{');
		jsonout_time(p->o, "time", s->time_ms);
		jsonout_id(p->o, "node", s->node);
		jsonout_text(p->o, "state", s->state);
		jsonout_text(p->o, "what", s->what);
		jsonout_close(p->o, '}');
	}
	jsonout_close(p->o, ']');
}

static int on_dataset(const struct assign_view *v, void *userdata)
{
	const struct picture *p = userdata;

	jsonout_open(p->o, NULL, '{');
	add_wish(p, v);
	add_truth(p, v);
	jsonout_close(p->o, '}');
	return 0;
}

static void list_datasets(struct rest_request *q)
{
	struct jsonout o = { 0 };
	struct picture p = picture_of(q, &o);

	jsonout_open(&o, NULL, '[');
	(void)assign_datasets(p.assign, p.now_ms, on_dataset, &p);
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
	struct picture p = picture_of(q, o);
	struct assign_view v;

	if (assign_dataset(p.assign, p.now_ms, id, &v) < 0) {
		jsonout_null(o, NULL); /* deleted, and dropped since */
		return;
	}
	jsonout_open(o, NULL, '{');
	add_wish(&p, &v);
	add_truth(&p, &v);
	add_history(&p, id);
	jsonout_close(o, '}');
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
	struct jsonout *o = userdata;

	jsonout_open(o, NULL, '{');
	jsonout_id(o, "uuid", n->uuid);
	jsonout_text(o, "host", n->address);
	jsonout_bool(o, "live", n->live);
	jsonout_text(o, "backend", n->backend);
	jsonout_text(o, "version", n->version);
	jsonout_id(o, "boot", n->boot);
	add_size(o, "silent_s", n->silent_ms / 1000, n->heard);
	add_size(o, "free", n->free_bytes, n->free_bytes > 0);
	jsonout_u64(o, "unknown_volumes", n->n_unknown);
	jsonout_open(o, "unknown_datasets", '[');
	for (size_t i = 0; i < n->n_unknown; i++)
		jsonout_id(o, NULL, n->unknown[i]);
	jsonout_close(o, ']');
	jsonout_bool(o, "awaited", n->awaited);
	jsonout_bool(o, "forgotten", n->forgotten);
	jsonout_text(o, "refused", n->refused);
	jsonout_close(o, '}');
	return 0;
}

static void list_nodes(struct rest_request *q)
{
	struct jsonout o = { 0 };

	jsonout_open(&o, NULL, '[');
	(void)assign_nodes(cluster_assign(rest_cluster(q)), cluster_now_ms(), on_node, &o);
	jsonout_close(&o, ']');
	rest_reply(q, HTTP_OK, &o);
}

static void answer_node(struct rest_request *q, struct id128 uuid, struct jsonout *o)
{
	struct assign_node_view n;

	if (assign_node(cluster_assign(rest_cluster(q)), cluster_now_ms(), uuid, &n) == 0)
		on_node(&n, o);
	else
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
