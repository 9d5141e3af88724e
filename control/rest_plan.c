/* SPDX-License-Identifier: Apache-2.0 */
/* ?plan=true: what a write would lead to, which is not done. */
#include "plan.h"
#include "rest_v2.h"

static void add_object(struct jsonout *o, const struct view_source *source, const struct assign_event *ev,
	struct id128 id)
{
	switch (ev->type) {
	case ASSIGN_PIN:
	case ASSIGN_UNPIN:
		if (view_lease(o, "lease", source, id) < 0)
			jsonout_null(o, "lease"); /* it would be released */
		break;
	default:
		if (id128_is_nil(ev->node))
			(void)view_dataset(o, "dataset", source, id, false);
		else
			(void)view_node(o, "node", source, id);
		break;
	}
}

/* @unknown: the id of the dataset is chosen with the write. */
static void add_steps(struct jsonout *o, const struct plan_step *steps, size_t n, bool unknown)
{
	jsonout_open(o, "steps", '[');
	for (size_t i = 0; i < n; i++) {
		jsonout_open(o, NULL, '{');
		jsonout_id(o, "dataset_id", unknown ? ID128_NIL : steps[i].dataset);
		jsonout_id(o, "node", steps[i].node);
		jsonout_text(o, "step", plan_word_name(steps[i].word));
		jsonout_text(o, "what", steps[i].what);
		jsonout_close(o, '}');
	}
	jsonout_close(o, ']');
}

void rest_reply_plan(struct rest_request *q, const struct assign_event *ev, struct id128 id, int status)
{
	struct view_source source = rest_source(q);
	struct plan *p = plan_new(source.assign, source.now_ms, ev);
	const struct plan_step *steps;
	struct jsonout o = { 0 };
	size_t n;

	source.assign = plan_assign(p);
	source.foretold = ev->type == ASSIGN_CREATE;
	source.foretold_id = source.foretold && !json_object_object_get(q->body, "dataset_id");
	jsonout_open(&o, NULL, '{');
	jsonout_u64(&o, "status", (uint64_t)status);
	add_object(&o, &source, ev, id);
	n = plan_run(p, &steps);
	add_steps(&o, steps, n, source.foretold_id);
	jsonout_close(&o, '}');
	plan_free(p);
	rest_audit(q, "nothing was changed: a plan was asked for");
	rest_reply(q, HTTP_OK, &o);
}
