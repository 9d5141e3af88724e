/* SPDX-License-Identifier: Apache-2.0 */
/* v2's datasets: what changes them. Lists are in rest_v2_list.c. */
#include <openssl/sha.h>
#include <time.h>

#include "rest_v2.h"

#define HASH_BYTES 16

/* ---- one ---- */

static void get_dataset(struct rest_request *q)
{
	struct jsonout o = { 0 };
	struct assign_view v;

	if (rest_find_dataset(q, &v) < 0 || rest_wait_dataset(q, v.record->dataset_id))
		return;
	rest_answer_dataset(q, v.record->dataset_id, &o);
	rest_reply(q, HTTP_OK, &o);
}

/* ---- a new one ---- */

/* What a later request with the same key is compared with: blanks in the body do not count. */
static struct json_object *idempotency_of(const char *key, struct json_object *body)
{
	const char *text = json_object_to_json_string_ext(body, JSON_C_TO_STRING_PLAIN);
	unsigned char digest[SHA256_DIGEST_LENGTH];
	char value[REQUEST_ID_SIZE + 2 * HASH_BYTES + 1], *p;

	if (!text)
		return NULL;
	SHA256((const unsigned char *)text, strlen(text), digest);
	p = value + sprintf(value, "%s ", key);
	for (size_t i = 0; i < HASH_BYTES; i++)
		p += sprintf(p, "%02x", digest[i]);
	return json_object_new_string(value);
}

static void answer_created(struct rest_request *q, struct id128 id, struct jsonout *o)
{
	char path[64];

	snprintf(path, sizeof(path), "/v2/datasets/%s", ID128_STR(id));
	rest_add_header(q, "Location", path);
	rest_answer_dataset(q, id, o);
}

static void answer_again(struct rest_request *q, struct id128 id, struct jsonout *o)
{
	rest_add_header(q, "Idempotency-Replayed", "true");
	answer_created(q, id, o);
}

/* The key was used before: the same dataset, as it is now, once that is durable; or a slip. */
static void create_again(struct rest_request *q, struct id128 id, struct json_object *idempotency)
{
	const struct assign *a = cluster_assign(rest_cluster(q));
	struct assign_patch nothing = { 0 };
	struct assign_event ev = { .type = ASSIGN_PATCH, .dataset_id = id, .patch = &nothing };
	struct jsonout o = { 0 };
	struct assign_view v;

	rest_audit(q, "made before with this Idempotency-Key: dataset %s", ID128_STR(id));
	if (!STREQ(assign_idempotency(a, id), json_object_get_string(idempotency))) {
		rest_refuse(q, REST_IDEMPOTENCY_KEY, "This Idempotency-Key made dataset %s from another body: use a new "
			"key for another dataset.", ID128_STR(id));
	} else if (assign_dataset(a, cluster_now_ms(), id, &v) == 0 && v.record->deleted) {
		answer_again(q, id, &o);
		rest_reply(q, 201, &o);
	} else {
		rest_write_v2(q, &ev, id, 201, answer_again);
	}
}

static void create(struct rest_request *q, struct create_v2 *c, struct json_object *idempotency)
{
	struct ds_record record = { .dataset_id = c->dataset_id,
		.metadata = c->metadata,
		.maximum_size = c->size_bytes,
		.size_bytes = c->size_bytes ?: DATASET_DEFAULT_SIZE,
		.created_at = time(NULL),
		.primary = c->node,
		.filesystem = c->filesystem,
		.failover = c->failover,
		.idempotency = idempotency };
	struct assign_event ev = { .type = ASSIGN_CREATE, .dataset_id = c->dataset_id, .record = &record,
		.strict = true, .place = c->place };

	rest_write_v2(q, &ev, c->dataset_id, 201, answer_created);
}

static void create_dataset(struct rest_request *q)
{
	const char *key = evhttp_find_header(&http_request_head(q->http)->headers, "Idempotency-Key");
	_cleanup_json_ struct json_object *idempotency = NULL;
	_cleanup_(create_v2_done) struct create_v2 c = { 0 };
	struct schema_errors errors = { 0 };
	struct id128 earlier;
	int r;

	if (key && !request_id_valid(key)) {
		rest_reply_error(q, HTTP_BADREQUEST, "Header Idempotency-Key: must be 1 to 64 of A-Z a-z 0-9 . _ and -.");
		return;
	}
	r = schema_create_v2(q->body, rest_failover(q), &c, &errors);
	if (r == 0 && id128_is_nil(c.dataset_id))
		r = id128_random(&c.dataset_id);
	if (r == 0 && key && !(idempotency = idempotency_of(key, q->body)))
		r = -ENOMEM;
	if (r < 0)
		rest_reply_schema(q, r, &errors);
	else if (key && assign_find_idempotency(cluster_assign(rest_cluster(q)), key, &earlier) == 0)
		create_again(q, earlier, idempotency);
	else
		create(q, &c, idempotency);
}

/* ---- changes ---- */

static void patch_dataset(struct rest_request *q)
{
	_cleanup_(patch_v2_done) struct patch_v2 p = { 0 };
	struct schema_errors errors = { 0 };
	struct assign_patch patch = { 0 };
	struct assign_event ev = { .type = ASSIGN_PATCH, .patch = &patch, .strict = true };
	struct failover failover;
	struct assign_view v;
	int r;

	if (rest_find_dataset(q, &v) < 0)
		return;
	failover = v.record->failover;
	if (!failover.term_ms) /* a record from before there were terms */
		failover.term_ms = rest_failover(q).term_ms;
	r = schema_patch_v2(q->body, failover, &p, &errors);
	if (r < 0) {
		rest_reply_schema(q, r, &errors);
		return;
	}
	patch = (struct assign_patch){ .metadata = p.metadata, .move = p.has_node, .primary = p.node,
		.want_bytes = p.size_bytes, .has_failover = p.has_failover, .failover = p.failover };
	ev.dataset_id = v.record->dataset_id;
	rest_write_v2(q, &ev, ev.dataset_id, HTTP_OK, rest_answer_dataset);
}

static void delete_dataset(struct rest_request *q)
{
	struct assign_event ev = { .type = ASSIGN_DELETE, .now_s = time(NULL) };
	uint64_t keep_s = rest_undelete_s(q);
	struct schema_errors errors = { 0 };
	struct assign_view v;

	(void)rest_query_number(q, "undelete", 0, SCHEMA_UNDELETE_MAX_S, &keep_s, &errors);
	if (!rest_query_good(q, &errors) || rest_find_dataset(q, &v) < 0)
		return;
	ev.dataset_id = v.record->dataset_id;
	ev.keep_ms = keep_s * 1000;
	rest_write_v2(q, &ev, ev.dataset_id, HTTP_OK, rest_answer_dataset);
}

static void write_of(struct rest_request *q, enum assign_event_type type)
{
	struct assign_event ev = { .type = type, .strict = true, .now_s = time(NULL) };
	struct assign_view v;

	if (rest_find_dataset(q, &v) < 0)
		return;
	ev.dataset_id = v.record->dataset_id;
	rest_write_v2(q, &ev, ev.dataset_id, HTTP_OK, rest_answer_dataset);
}

static void undelete_dataset(struct rest_request *q)
{
	write_of(q, ASSIGN_UNDELETE);
}

static void purge_dataset(struct rest_request *q)
{
	write_of(q, ASSIGN_PURGE);
}

/* clang-format off */
const struct rest_route rest_dataset_routes[] = {
	{ EVHTTP_REQ_GET,    "/v2/datasets",            rest_list_datasets, 0, "name node owner state deleted limit after" },
	{ EVHTTP_REQ_POST,   "/v2/datasets",            create_dataset,     REST_READS_BODY, "plan" },
	{ EVHTTP_REQ_GET,    "/v2/datasets/*",          get_dataset,        0, "wait until" },
	{ EVHTTP_REQ_PATCH,  "/v2/datasets/*",          patch_dataset,      REST_READS_BODY, "plan" },
	{ EVHTTP_REQ_DELETE, "/v2/datasets/*",          delete_dataset,     0, "undelete plan" },
	{ EVHTTP_REQ_POST,   "/v2/datasets/*/undelete", undelete_dataset,   0, "plan" },
	{ EVHTTP_REQ_POST,   "/v2/datasets/*/purge",    purge_dataset,      0, "plan" },
	{ 0 },
};
/* clang-format on */
