/* SPDX-License-Identifier: Apache-2.0 */
/* v2's leases: a dataset stays where it is until its lease ends. v1's are in rest_leases.c. */
#include "rest_v2.h"

struct list {
	struct jsonout *o;
	struct view_source source;
};

static int on_lease(const struct assign_pin_view *v, void *userdata)
{
	const struct list *l = userdata;

	return view_lease(l->o, NULL, &l->source, v->dataset_id);
}

static void list_leases(struct rest_request *q)
{
	struct jsonout o = { 0 };
	struct list l = { &o, rest_source(q) };

	jsonout_open(&o, NULL, '{');
	jsonout_open(&o, "leases", '[');
	(void)assign_pins(l.source.assign, l.source.now_ms, on_lease, &l);
	jsonout_close(&o, ']');
	rest_reply_list(q, &o);
}

static void answer_lease(struct rest_request *q, struct id128 id, struct jsonout *o)
{
	struct view_source source = rest_source(q);

	if (view_lease(o, NULL, &source, id) < 0)
		jsonout_null(o, NULL); /* it has ended since */
}

static void put_lease(struct rest_request *q)
{
	struct assign_event ev = { .type = ASSIGN_PIN, .pin_ms = PIN_ENDLESS };
	struct pin_record pin = { .expires_ms = PIN_ENDLESS };
	struct schema_errors errors = { 0 };
	struct assign_pin_view held;
	struct assign_view v;
	uint64_t seconds;
	bool renews;
	int r;

	if (rest_find_dataset(q, &v) < 0)
		return;
	r = schema_lease_v2(q->body, &pin.node, &seconds, &errors);
	if (r < 0) {
		rest_reply_schema(q, r, &errors);
		return;
	}
	pin.dataset_id = v.record->dataset_id;
	ev.pin = &pin;
	if (seconds > 0) {
		ev.pin_ms = (int64_t)seconds * 1000;
		pin.expires_ms = cluster_wall_ms() + ev.pin_ms;
		rest_audit(q, "leased for node %s, for %llu s", ID128_STR(pin.node), (unsigned long long)seconds);
	} else {
		rest_audit(q, "leased for node %s, without end", ID128_STR(pin.node));
	}
	renews = assign_pin(cluster_assign(rest_cluster(q)), cluster_now_ms(), pin.dataset_id, true, &held) == 0;
	rest_write_v2(q, &ev, pin.dataset_id, renews ? HTTP_OK : 201, answer_lease);
}

/* As it was. */
static void answer_released(struct rest_request *q, struct id128 id, struct jsonout *o)
{
	jsonout_open(o, NULL, '{');
	jsonout_id(o, "dataset_id", id);
	jsonout_id(o, "node", q->released.node);
	jsonout_time(o, "expires", q->released.endless ? 0 : q->released.expires_ms);
	jsonout_close(o, '}');
}

static void delete_lease(struct rest_request *q)
{
	struct assign_event ev = { .type = ASSIGN_UNPIN };
	struct schema_errors errors = { 0 };
	struct id128 node = ID128_NIL;
	bool of_one = rest_query_id(q, "node", &node, &errors);
	int r = id128_parse(q->param, &ev.dataset_id);

	if (!rest_query_good(q, &errors))
		return;
	if (r == 0)
		r = assign_pin(cluster_assign(rest_cluster(q)), cluster_now_ms(), ev.dataset_id, true, &q->released);
	if (r < 0) {
		rest_refuse(q, REST_NOT_FOUND, "There is no lease of dataset %.64s.", q->param);
		return;
	}
	if (of_one && !id128_equal(node, q->released.node)) {
		rest_refuse(q, REST_LEASED, "Dataset %s is leased for node %s, and not for %s.",
			ID128_STR(ev.dataset_id), ID128_STR(q->released.node), ID128_STR(node));
		return;
	}
	rest_audit(q, "lease for node %s released", ID128_STR(q->released.node));
	rest_write_v2(q, &ev, ev.dataset_id, HTTP_OK, answer_released);
}

/* clang-format off */
const struct rest_route rest_v2_lease_routes[] = {
	{ EVHTTP_REQ_GET,    "/v2/leases",   list_leases },
	{ EVHTTP_REQ_PUT,    "/v2/leases/*", put_lease,    REST_READS_BODY, "plan" },
	{ EVHTTP_REQ_DELETE, "/v2/leases/*", delete_lease, 0, "plan node" },
	{ 0 },
};
/* clang-format on */
