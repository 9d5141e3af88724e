/* SPDX-License-Identifier: Apache-2.0 */
/* What clients ask to be changed: decided, committed, answered, and told to the log. */
#include "rest_private.h"

struct write {
	struct rest_request *q;
	struct id128 id;
	bool is_new, has_before;
	struct ds_record before; /* as readers saw it when the request came */
	int status;
	const struct rest_outcome *outcomes;
	void (*answer)(struct rest_request *q, struct id128 id, struct jsonout *o);
};

static void describe_change(const struct write *w)
{
	struct assign_view v;

	if ((w->is_new || w->has_before) &&
		assign_dataset(cluster_assign(rest_cluster(w->q)), cluster_now_ms(), w->id, &v) == 0)
		audit_change(w->is_new ? NULL : &w->before, v.record, w->q->audit.words);
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
		rest_reply_error(w.q, HTTP_SERVUNAVAIL,
			"Nothing was changed: the store of the control "
			"service cannot be written (%s). Try again when that is mended.",
			strerror(-err));
		return;
	}
	if (status == 0) {
		w.answer(w.q, w.id, &o);
		rest_reply(w.q, w.status, &o);
		return;
	}
	if (status == -ESTALE) {
		rest_reply_error(w.q, HTTP_SERVUNAVAIL, "Nothing was changed: %s.", WIRE_STORE_IS_OLD);
		return;
	}
	while (w.outcomes->err && w.outcomes->err != status)
		w.outcomes++;
	if (w.outcomes->err)
		rest_reply_error(w.q, w.outcomes->status, "%s", w.outcomes->description);
	else
		rest_reply_error(w.q, HTTP_INTERNAL, "%s", strerror(-status));
}

void rest_write(struct rest_request *q, struct assign_event *ev, struct id128 id, int status,
	const struct rest_outcome *outcomes,
	void (*answer)(struct rest_request *q, struct id128 id, struct jsonout *o))
{
	struct write *w = malloc(sizeof(*w));
	struct assign_view v;

	if (!w) {
		rest_reply_error(q, HTTP_INTERNAL, "out of memory");
		return;
	}
	*w = (struct write){ .q = q, .id = id, .is_new = ev->type == ASSIGN_CREATE, .status = status,
		.outcomes = outcomes, .answer = answer };
	q->audit.node = ev->node;
	q->audit.dataset = id128_is_nil(ev->node) ? id : ID128_NIL;
	if (!w->is_new && !*q->audit.words && assign_dataset(cluster_assign(rest_cluster(q)), cluster_now_ms(), id, &v) == 0) {
		ds_record_copy(v.record, &w->before);
		w->has_before = true;
	}
	q->deciding = true;
	ev->request = q->id;
	cluster_decide(rest_cluster(q), ev, on_decided, w);
}
