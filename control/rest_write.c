/* SPDX-License-Identifier: Apache-2.0 */
/* What clients ask to be changed: decided, committed, answered, and told to the log. */
#include "rest_v2.h"

struct write {
	struct rest_request *q;
	struct id128 id;
	bool is_new, has_before;
	struct ds_record before; /* as readers saw it when the request came */
	int status;
	const struct rest_outcome *outcomes; /* of v1; else */
	struct rest_refused asked;
	void (*answer)(struct rest_request *q, struct id128 id, struct jsonout *o);
};

static void describe_change(const struct write *w)
{
	struct assign_view v;

	if ((w->is_new || w->has_before) &&
		assign_dataset(cluster_assign(rest_cluster(w->q)), cluster_now_ms(), w->id, &v) == 0)
		audit_change(w->is_new ? NULL : &w->before, v.record, w->q->audit.words);
}

static void refuse_v1(struct rest_request *q, int err, const struct rest_outcome *o)
{
	while (o->err && o->err != err)
		o++;
	if (err == -ESTALE)
		rest_reply_error(q, HTTP_SERVUNAVAIL, "Nothing was changed: %s.", WIRE_STORE_IS_OLD);
	else if (o->err)
		rest_reply_error(q, o->status, "%s", o->description);
	else
		rest_reply_error(q, HTTP_INTERNAL, "%s", strerror(-err));
}

static void refuse_unwritable(struct rest_request *q, int err)
{
	rest_reply_error(q, HTTP_SERVUNAVAIL,
		"Nothing was changed: the store of the control "
		"service cannot be written (%s). Try again when that is mended.",
		strerror(-err));
}

static void on_decided(int status, int err, void *userdata)
{
	struct write w = *(struct write *)userdata;
	struct jsonout o = { 0 };

	free(userdata);
	w.q->deciding = false;
	if (err == 0 && status == 0)
		describe_change(&w);
	if (w.has_before)
		ds_record_done(&w.before);
	if (err < 0) {
		refuse_unwritable(w.q, err);
		return;
	}
	if (status == 0) {
		w.answer(w.q, w.id, &o);
		rest_reply(w.q, w.status, &o);
		return;
	}
	if (w.outcomes)
		refuse_v1(w.q, status, w.outcomes);
	else
		rest_refuse_write(w.q, &w.asked, status);
}

/* For the log: what the write is about. */
static void note_subject(struct rest_request *q, const struct assign_event *ev, struct id128 id)
{
	q->audit.node = ev->node;
	q->audit.dataset = id128_is_nil(ev->node) ? id : ID128_NIL;
}

static void begin(struct rest_request *q, struct assign_event *ev, const struct write *from)
{
	struct write *w = malloc(sizeof(*w));
	struct assign_view v;

	if (!w) {
		rest_reply_error(q, HTTP_INTERNAL, "out of memory");
		return;
	}
	*w = *from;
	w->q = q;
	w->is_new = ev->type == ASSIGN_CREATE;
	note_subject(q, ev, w->id);
	if (!w->is_new && !*q->audit.words &&
		assign_dataset(cluster_assign(rest_cluster(q)), cluster_now_ms(), w->id, &v) == 0) {
		ds_record_copy(v.record, &w->before);
		w->has_before = true;
	}
	q->deciding = true;
	ev->request = q->id;
	cluster_decide(rest_cluster(q), ev, on_decided, w);
}

void rest_write(struct rest_request *q, struct assign_event *ev, struct id128 id, int status,
	const struct rest_outcome *outcomes,
	void (*answer)(struct rest_request *q, struct id128 id, struct jsonout *o))
{
	begin(q, ev, &(struct write){ .id = id, .status = status, .outcomes = outcomes, .answer = answer });
}

/* ---- v2 ---- */

static const char *name_asked_for(const struct rest_request *q, const struct assign_event *ev)
{
	struct json_object *name = NULL;
	struct assign_view v;

	if (ev->type == ASSIGN_CREATE)
		return ds_record_text(ev->record, RECORD_NAME_KEY);
	if (ev->type == ASSIGN_PATCH && ev->patch->metadata)
		(void)json_object_object_get_ex(ev->patch->metadata, RECORD_NAME_KEY, &name);
	if (ev->type == ASSIGN_UNDELETE &&
		assign_dataset(cluster_assign(rest_cluster(q)), cluster_now_ms(), ev->dataset_id, &v) == 0)
		return ds_record_text(v.record, RECORD_NAME_KEY);
	return name ? json_object_get_string(name) : NULL;
}

/* What is borrowed lasts: a refusal comes before rest_write_v2() returns. */
static struct rest_refused asked_of(const struct rest_request *q, const struct assign_event *ev, struct id128 id)
{
	return (struct rest_refused){ .type = ev->type, .id = id, .node = ev->node,
		.wished = ev->type == ASSIGN_CREATE ? ev->record->primary :
			  ev->type == ASSIGN_PATCH ? ev->patch->primary : ID128_NIL,
		.name = name_asked_for(q, ev) };
}

void rest_write_v2(struct rest_request *q, struct assign_event *ev, struct id128 id, int status,
	void (*answer)(struct rest_request *q, struct id128 id, struct jsonout *o))
{
	struct rest_refused asked = asked_of(q, ev, id);
	const char *plan = rest_query(q, "plan");
	int r;

	if (!plan || !STREQ(plan, "true")) {
		begin(q, ev, &(struct write){ .id = id, .status = status, .asked = asked, .answer = answer });
		return;
	}
	note_subject(q, ev, id);
	r = assign_check(cluster_assign(rest_cluster(q)), ev);
	if (r < 0)
		rest_refuse_write(q, &asked, r);
	else if (cluster_store_error(rest_cluster(q)) < 0)
		refuse_unwritable(q, cluster_store_error(rest_cluster(q)));
	else
		rest_reply_plan(q, ev, id, status);
}
