/* SPDX-License-Identifier: Apache-2.0 */
/* The original's API, in the original's forms. */
#include <time.h>

#include "rest_private.h"

static void add_version(struct rest_request *q)
{
	struct jsonout o = { 0 };

	jsonout_open(&o, NULL, '{');
	jsonout_text(&o, "flocker", FLOCKER_VERSION);
	jsonout_close(&o, '}');
	rest_reply(q, HTTP_OK, &o);
}

/* ---- configuration ---- */

static void add_configured(struct jsonout *o, const struct ds_record *r)
{
	jsonout_open(o, NULL, '{');
	jsonout_id(o, "dataset_id", r->dataset_id);
	/* The original's clients take a UUID for granted: of what v2 placed nowhere it is the nil one. */
	jsonout_text(o, "primary", ID128_STR(r->primary));
	jsonout_bool(o, "deleted", r->deleted);
	if (r->maximum_size)
		jsonout_u64(o, "maximum_size", r->maximum_size);
	jsonout_strings(o, "metadata", r->metadata);
	jsonout_close(o, '}');
}

static int on_configured(const struct assign_view *v, void *userdata)
{
	add_configured(userdata, v->record);
	return 0;
}

static void list_configuration(struct rest_request *q)
{
	struct cluster *c = rest_cluster(q);
	char tag[CLUSTER_TAG_SIZE];
	struct jsonout o = { 0 };

	jsonout_open(&o, NULL, '[');
	(void)assign_datasets(cluster_assign(c), cluster_now_ms(), on_configured, &o);
	jsonout_close(&o, ']');
	rest_add_header(q, "X-Configuration-Tag", cluster_tag(c, false, tag));
	rest_reply(q, HTTP_OK, &o);
}

static void answer_configured(struct rest_request *q, struct id128 id, struct jsonout *o)
{
	struct assign_view v;

	if (assign_dataset(cluster_assign(rest_cluster(q)), cluster_now_ms(), id, &v) == 0)
		add_configured(o, v.record);
	else /* deleted, and dropped since */
		jsonout_null(o, NULL);
}

static const struct rest_outcome create_outcomes[] = {
	{ -EEXIST, 409, "The provided dataset_id is already in use." },
	{ 0 },
};

static void create_dataset(struct rest_request *q)
{
	struct assign_event ev = { .type = ASSIGN_CREATE };
	struct schema_errors errors = { 0 };
	struct ds_record record = { 0 };
	struct dataset_create d;
	int r;

	r = schema_dataset_create(q->body, FS_EXT4, rest_failover(q), &d, &errors);
	if (r == 0 && id128_is_nil(d.dataset_id))
		r = id128_random(&d.dataset_id);
	if (r < 0) {
		rest_reply_schema(q, r, &errors);
		return;
	}
	record = (struct ds_record){ .dataset_id = d.dataset_id,
		.metadata = d.metadata,
		.maximum_size = d.maximum_size,
		.size_bytes = d.maximum_size ?: DATASET_DEFAULT_SIZE,
		.created_at = time(NULL),
		.primary = d.primary,
		.filesystem = d.filesystem,
		.failover = d.failover };
	ev.dataset_id = d.dataset_id;
	ev.record = &record;
	rest_write(q, &ev, d.dataset_id, 201, create_outcomes, answer_configured);
	dataset_create_done(&d);
}

static const struct rest_outcome change_outcomes[] = {
	{ -ENOENT, HTTP_NOTFOUND, "Dataset not found." },
	{ -EOWNERDEAD, HTTP_BADMETHOD, "The dataset has been deleted." },
	{ 0 },
};

/* Ids in paths are compared byte for byte with the lower-case text. */
static int path_dataset(struct rest_request *q, struct assign_view *ret)
{
	struct id128 id;

	if (id128_parse(q->param, &id) < 0 || !STREQ(ID128_STR(id), q->param))
		return -ENOENT;
	return assign_dataset(cluster_assign(rest_cluster(q)), cluster_now_ms(), id, ret);
}

static void update_dataset(struct rest_request *q)
{
	struct assign_event ev = { .type = ASSIGN_MOVE };
	struct schema_errors errors = { 0 };
	struct jsonout o = { 0 };
	struct assign_view v;
	int r;

	r = schema_dataset_update(q->body, &ev.primary, &errors);
	if (r < 0) {
		rest_reply_schema(q, r, &errors);
	} else if (path_dataset(q, &v) < 0) {
		rest_reply_error(q, HTTP_NOTFOUND, "Dataset not found.");
	} else if (v.record->deleted) {
		rest_reply_error(q, HTTP_BADMETHOD, "The dataset has been deleted.");
	} else if (id128_is_nil(ev.primary)) {
		add_configured(&o, v.record);
		rest_reply(q, HTTP_OK, &o);
	} else {
		ev.dataset_id = v.record->dataset_id;
		rest_write(q, &ev, ev.dataset_id, HTTP_OK, change_outcomes, answer_configured);
	}
}

static void delete_dataset(struct rest_request *q)
{
	struct assign_event ev = { .type = ASSIGN_DELETE, .now_s = time(NULL) };
	struct assign_view v;

	if (path_dataset(q, &v) < 0) {
		rest_reply_error(q, HTTP_NOTFOUND, "Dataset not found.");
		return;
	}
	ev.dataset_id = v.record->dataset_id;
	rest_write(q, &ev, ev.dataset_id, HTTP_OK, change_outcomes, answer_configured);
}

/* ---- state ---- */

struct listing {
	const struct rest_request *q;
	struct jsonout *o;
	const struct assign *assign;
	uint64_t now_ms;
	bool manifest; /* this pass: those that are mounted */
};

/* What was said by an earlier owner, or before the node booted again, says nothing about now. */
static bool is_manifest(const struct listing *l, const struct assign_view *v)
{
	struct assign_node_view n;

	return v->status && v->status->mounted && v->status->mountpoint &&
		id128_equal(v->status_node, v->record->owner) && v->status->epoch == v->record->epoch &&
		assign_node(l->assign, l->now_ms, v->status_node, &n) == 0 &&
		id128_equal(v->status_boot, n.boot) && !rest_is_stale(l->q, &n);
}

/* Somebody saw the volume, or it once was formatted, and nobody destroyed it yet. */
static bool has_volume(const struct assign_view *v)
{
	return !id128_is_nil(v->record->volume_id) &&
		(v->record->format_state == FORMAT_DONE || (v->status && v->status->size_bytes));
}

static int on_discovered(const struct assign_view *v, void *userdata)
{
	struct listing *l = userdata;
	bool manifest = is_manifest(l, v);

	if (manifest != l->manifest || (!manifest && !has_volume(v)))
		return 0;
	jsonout_open(l->o, NULL, '{');
	jsonout_id(l->o, "dataset_id", v->record->dataset_id);
	jsonout_u64(l->o, "maximum_size",
		v->status && v->status->size_bytes ? v->status->size_bytes : v->record->size_bytes);
	if (manifest) {
		jsonout_id(l->o, "primary", v->status_node);
		jsonout_text(l->o, "path", v->status->mountpoint);
	}
	jsonout_close(l->o, '}');
	return 0;
}

/* Mounted ones come first: clients take the first entry of an id. */
static void list_state(struct rest_request *q)
{
	struct jsonout o = { 0 };
	struct listing l = { q, &o, cluster_assign(rest_cluster(q)), cluster_now_ms(), true };

	jsonout_open(&o, NULL, '[');
	(void)assign_datasets(l.assign, l.now_ms, on_discovered, &l);
	l.manifest = false;
	(void)assign_datasets(l.assign, l.now_ms, on_discovered, &l);
	jsonout_close(&o, ']');
	rest_reply(q, HTTP_OK, &o);
}

static int on_node(const struct assign_node_view *n, void *userdata)
{
	struct listing *l = userdata;

	if (rest_is_stale(l->q, n))
		return 0;
	jsonout_open(l->o, NULL, '{');
	jsonout_id(l->o, "uuid", n->uuid);
	jsonout_text(l->o, "host", n->address);
	jsonout_close(l->o, '}');
	return 0;
}

static void list_nodes(struct rest_request *q)
{
	struct jsonout o = { 0 };
	struct listing l = { q, &o, cluster_assign(rest_cluster(q)), cluster_now_ms(), false };

	jsonout_open(&o, NULL, '[');
	(void)assign_nodes(l.assign, l.now_ms, on_node, &l);
	jsonout_close(&o, ']');
	rest_reply(q, HTTP_OK, &o);
}

struct era {
	struct id128 boot, uuid;
};

static int on_era(const struct assign_node_view *n, void *userdata)
{
	struct era *era = userdata;

	if (!id128_equal(n->boot, era->boot))
		return 0;
	era->uuid = n->uuid;
	return 1;
}

/* An era outlives its node's session; a node that boots again replaces it. */
static void node_by_era(struct rest_request *q)
{
	struct jsonout o = { 0 };
	struct era era;

	if (id128_parse_loose(q->param, &era.boot) < 0) {
		rest_reply_error(q, HTTP_BADREQUEST, "An era is a UUID: 32 hexadecimal digits, with dashes or without.");
		return;
	}
	if (id128_is_nil(era.boot) ||
		!assign_nodes(cluster_assign(rest_cluster(q)), cluster_now_ms(), on_era, &era)) {
		rest_reply_error(q, HTTP_NOTFOUND, "No node found with given era.");
		return;
	}
	jsonout_open(&o, NULL, '{');
	jsonout_id(&o, "uuid", era.uuid);
	jsonout_close(&o, '}');
	rest_reply(q, HTTP_OK, &o);
}

/* ---- what the original could do and this cannot ---- */

#define WHERE_CONTAINERS_START                                                                     \
	"Containers are not started here: start them with what runs them on the node (Docker, Podman, "  \
	"Kubernetes, systemd) and give them the dataset's directory, the \"path\" that GET "              \
	"/v1/state/datasets tells."

static void list_no_containers(struct rest_request *q)
{
	struct jsonout o = { 0 };

	jsonout_open(&o, NULL, '[');
	jsonout_close(&o, ']');
	rest_reply(q, HTTP_OK, &o);
}

static void refuse_container(struct rest_request *q)
{
	rest_reply_error(q, HTTP_BADMETHOD, "%s", WHERE_CONTAINERS_START);
}

static void refuse_compose(struct rest_request *q)
{
	rest_reply_error(q, HTTP_BADMETHOD, "Nothing was changed: a configuration is never replaced as a whole. "
		"Create datasets with POST /v1/configuration/datasets. " WHERE_CONTAINERS_START);
}

/* clang-format off */
const struct rest_route rest_v1_routes[] = {
	{ EVHTTP_REQ_GET,    "/v1/version",                  add_version },
	{ EVHTTP_REQ_GET,    "/v1/configuration/datasets",   list_configuration },
	{ EVHTTP_REQ_POST,   "/v1/configuration/datasets",   create_dataset, REST_CONDITIONAL | REST_READS_BODY },
	{ EVHTTP_REQ_POST,   "/v1/configuration/datasets/*", update_dataset, REST_CONDITIONAL | REST_READS_BODY },
	{ EVHTTP_REQ_DELETE, "/v1/configuration/datasets/*", delete_dataset, REST_CONDITIONAL },
	{ EVHTTP_REQ_GET,    "/v1/state/datasets",           list_state },
	{ EVHTTP_REQ_GET,    "/v1/state/nodes",              list_nodes },
	{ EVHTTP_REQ_GET,    "/v1/state/nodes/by_era/*",     node_by_era },
	{ EVHTTP_REQ_GET,    "/v1/state/containers",         list_no_containers },
	{ EVHTTP_REQ_GET,    "/v1/configuration/containers", list_no_containers },
	{ EVHTTP_REQ_POST,   "/v1/configuration/containers", refuse_container, REST_REFUSES },
	{ ~0U,               "/v1/configuration/containers/*", refuse_container, REST_REFUSES },
	{ ~0U,               "/v1/configuration/_compose",   refuse_compose, REST_REFUSES },
	{ 0 },
};
/* clang-format on */
