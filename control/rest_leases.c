/* SPDX-License-Identifier: Apache-2.0 */
/* The original's leases: a dataset stays where it is mounted until the lease ends. */
#include "rest_private.h"

static void add_lease(struct jsonout *o, struct id128 dataset, struct id128 node, bool endless, double seconds)
{
	jsonout_open(o, NULL, '{');
	jsonout_id(o, "dataset_id", dataset);
	jsonout_id(o, "node_uuid", node);
	if (endless)
		jsonout_null(o, "expires");
	else
		jsonout_number(o, "expires", seconds);
	jsonout_close(o, '}');
}

static int on_lease(const struct assign_pin_view *v, void *userdata)
{
	add_lease(userdata, v->dataset_id, v->node, v->endless, (double)v->left_ms / 1000);
	return 0;
}

static void list_leases(struct rest_request *q)
{
	struct jsonout o = { 0 };

	jsonout_open(&o, NULL, '[');
	(void)assign_pins(cluster_assign(rest_cluster(q)), cluster_now_ms(), on_lease, &o);
	jsonout_close(&o, ']');
	rest_reply(q, HTTP_OK, &o);
}

/* The body is the lease: as it was asked for, and not what is left of it by now; or as it was released. */
static void answer_lease(struct rest_request *q, struct id128 id, struct jsonout *o)
{
	struct json_object *expires = json_object_object_get(q->body, "expires");
	struct id128 node = ID128_NIL;

	(void)id128_parse(json_object_get_string(json_object_object_get(q->body, "node_uuid")), &node);
	add_lease(o, id, node, !expires, json_object_get_double(expires));
}

static void acquire_lease(struct rest_request *q)
{
	static const struct rest_outcome outcomes[] = {
		{ -EBUSY, 409, "Lease already held." },
		{ 0 },
	};
	struct assign_event ev = { .type = ASSIGN_PIN, .pin_ms = PIN_ENDLESS };
	struct pin_record pin = { .expires_ms = PIN_ENDLESS };
	struct schema_errors errors = { 0 };
	struct assign_pin_view held;
	double seconds;
	bool endless;
	int r;

	r = schema_lease(q->body, &pin.dataset_id, &pin.node, &endless, &seconds, &errors);
	if (r < 0) {
		rest_reply_schema(q, r, &errors);
		return;
	}
	if (!endless) {
		ev.pin_ms = (int64_t)(seconds * 1000);
		pin.expires_ms = cluster_wall_ms() + ev.pin_ms;
	}
	ev.pin = &pin;
	if (endless)
		rest_audit(q, "leased for node %s, without end", ID128_STR(pin.node));
	else
		rest_audit(q, "leased for node %s, for %.3f s", ID128_STR(pin.node), seconds);
	r = assign_pin(cluster_assign(rest_cluster(q)), cluster_now_ms(), pin.dataset_id, true, &held);
	rest_write(q, &ev, pin.dataset_id, r == 0 ? HTTP_OK : 201, outcomes, answer_lease);
}

/* As a body that asks for it would be. */
static struct json_object *body_of(const struct assign_pin_view *v)
{
	struct json_object *o = json_object_new_object();

	if (!o || json_object_object_add(o, "node_uuid", json_object_new_string(ID128_STR(v->node))) < 0 ||
		(!v->endless &&
			json_object_object_add(o, "expires", json_object_new_double((double)v->left_ms / 1000)) < 0)) {
		json_object_put(o);
		return NULL;
	}
	return o;
}

static void release_lease(struct rest_request *q)
{
	static const struct rest_outcome outcomes[] = {
		{ -ENOENT, HTTP_NOTFOUND, "Lease not found." },
		{ 0 },
	};
	struct assign_event ev = { .type = ASSIGN_UNPIN };
	struct assign_pin_view v;

	if (id128_parse_loose(q->param, &ev.dataset_id) < 0) {
		rest_reply_error(q, HTTP_BADREQUEST,
			"The path must end with the dataset_id of the lease, a UUID of 32 hexadecimal digits.");
	} else if (assign_pin(cluster_assign(rest_cluster(q)), cluster_now_ms(), ev.dataset_id, true, &v) < 0) {
		rest_reply_error(q, HTTP_NOTFOUND, "Lease not found.");
	} else {
		rest_audit(q, "lease for node %s released", ID128_STR(v.node));
		q->body = body_of(&v);
		if (!q->body)
			rest_reply_error(q, HTTP_INTERNAL, "out of memory");
		else
			rest_write(q, &ev, ev.dataset_id, HTTP_OK, outcomes, answer_lease);
	}
}

/* clang-format off */
const struct rest_route rest_lease_routes[] = {
	{ EVHTTP_REQ_GET,    "/v1/configuration/leases",   list_leases },
	{ EVHTTP_REQ_POST,   "/v1/configuration/leases",   acquire_lease, REST_READS_BODY },
	{ EVHTTP_REQ_DELETE, "/v1/configuration/leases/*", release_lease },
	{ 0 },
};
/* clang-format on */
