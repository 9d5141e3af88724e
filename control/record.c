/* SPDX-License-Identifier: Apache-2.0 */
#include "jsonin.h"
#include "record.h"

#define RECORD_VERSION 1

void ds_record_done(struct ds_record *r)
{
	if (!r)
		return;
	json_object_put(r->metadata);
	json_object_put(r->chosen);
	json_object_put(r->idempotency);
	json_object_put(r->extra);
	memset(r, 0, sizeof(*r));
}

void ds_record_copy(const struct ds_record *r, struct ds_record *ret)
{
	*ret = *r;
	json_object_get(ret->metadata);
	json_object_get(ret->chosen);
	json_object_get(ret->idempotency);
	json_object_get(ret->extra);
}

bool ds_record_equal(const struct ds_record *a, const struct ds_record *b)
{
	return id128_equal(a->dataset_id, b->dataset_id) && a->metadata == b->metadata &&
		a->extra == b->extra && a->maximum_size == b->maximum_size &&
		a->size_bytes == b->size_bytes && a->want_bytes == b->want_bytes &&
		a->growing_bytes == b->growing_bytes && a->fs_bytes == b->fs_bytes &&
		a->created_at == b->created_at && id128_equal(a->primary, b->primary) &&
		a->chosen == b->chosen && a->failed_over == b->failed_over && a->deleted == b->deleted &&
		a->deleted_at == b->deleted_at && a->deleted_in == b->deleted_in && a->undelete_until == b->undelete_until &&
		a->idempotency == b->idempotency &&
		STREQ(a->backend, b->backend) && id128_equal(a->volume_id, b->volume_id) &&
		a->filesystem == b->filesystem && id128_equal(a->fs_uuid, b->fs_uuid) &&
		a->format_state == b->format_state && id128_equal(a->owner, b->owner) &&
		a->epoch == b->epoch && a->born_epoch == b->born_epoch && a->grant == b->grant && a->incarnation == b->incarnation &&
		failover_equal(a->failover, b->failover) && a->extended_ms == b->extended_ms &&
		a->failover_rev == b->failover_rev &&
		failover_equal(a->in_force, b->in_force) && a->sure_from == b->sure_from &&
		fenced_equal(a->fenced, b->fenced) && a->proof == b->proof &&
		STREQ(a->request, b->request);
}

bool ds_record_is_older(const struct ds_record *a, const struct ds_record *b)
{
	if (a->created_at != b->created_at)
		return a->created_at < b->created_at;
	return id128_compare(a->dataset_id, b->dataset_id) < 0;
}

const char *ds_record_text(const struct ds_record *r, const char *key)
{
	struct json_object *v;

	return r->metadata && json_object_object_get_ex(r->metadata, key, &v) ? json_object_get_string(v) : NULL;
}

bool ds_record_is_grown(const struct ds_record *r)
{
	return r->size_bytes >= r->want_bytes && r->fs_bytes >= r->size_bytes;
}

void node_record_done(struct node_record *r)
{
	if (!r)
		return;
	json_object_put(r->extra);
	memset(r, 0, sizeof(*r));
}

void pin_record_done(struct pin_record *r)
{
	if (!r)
		return;
	json_object_put(r->extra);
	memset(r, 0, sizeof(*r));
}

/* ---- writing; the first failure is kept and told once at the end ---- */

struct builder {
	struct json_object *o;
	bool failed;
};

static void put(struct builder *b, const char *key, struct json_object *value)
{
	if (!value || json_object_object_add(b->o, key, value) < 0) {
		json_object_put(value);
		b->failed = true;
	}
}

static void put_text(struct builder *b, const char *key, const char *text)
{
	put(b, key, json_object_new_string(text));
}

static void put_counted(struct builder *b, const char *key, struct json_object *text)
{
	if (text)
		put(b, key, json_object_get(text));
}

static void put_id(struct builder *b, const char *key, struct id128 id)
{
	if (!id128_is_nil(id))
		put_text(b, key, ID128_STR(id));
}

static void put_u64(struct builder *b, const char *key, uint64_t v)
{
	put(b, key, json_object_new_uint64(v));
}

/* The map, which the caller puts; NULL when out of memory. */
static struct json_object *begin(struct builder *b)
{
	b->o = json_object_new_object();
	if (b->o)
		put_u64(b, "version", RECORD_VERSION);
	return b->o;
}

static char *finish(struct builder *b, struct json_object *extra)
{
	const char *text;

	if (extra) {
		json_object_object_foreach(extra, key, value) {
			if (json_object_object_add(b->o, key, json_object_get(value)) < 0)
				b->failed = true;
		}
	}
	if (b->failed)
		return NULL;
	text = json_object_to_json_string_ext(b->o,
		JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	return text ? strdup(text) : NULL;
}

char *ds_record_to_json(const struct ds_record *r)
{
	struct builder b = { 0 };
	_cleanup_json_ struct json_object *o = begin(&b);

	if (!o)
		return NULL;
	put_id(&b, "dataset_id", r->dataset_id);
	put(&b, "metadata", json_object_get(r->metadata));
	put_u64(&b, "maximum_size", r->maximum_size);
	put_u64(&b, "size", r->size_bytes);
	put_u64(&b, "want", r->want_bytes);
	put_u64(&b, "growing", r->growing_bytes);
	put_u64(&b, "fs_size", r->fs_bytes);
	put(&b, "created_at", json_object_new_int64(r->created_at));
	put_id(&b, "primary", r->primary);
	put_counted(&b, "chosen", r->chosen);
	put(&b, "failed_over", json_object_new_boolean(r->failed_over));
	put(&b, "deleted", json_object_new_boolean(r->deleted));
	put(&b, "deleted_at", json_object_new_int64(r->deleted_at));
	if (r->deleted_in)
		put_u64(&b, "deleted_in", r->deleted_in);
	if (r->undelete_until)
		put(&b, "undelete_until", json_object_new_int64(r->undelete_until));
	put_counted(&b, "idempotency", r->idempotency);
	put_text(&b, "backend", r->backend);
	put_id(&b, "volume_id", r->volume_id);
	put_text(&b, "filesystem", fs_kind_name(r->filesystem));
	put_id(&b, "fs_uuid", r->fs_uuid);
	put_text(&b, "format_state", format_state_name(r->format_state));
	put_id(&b, "owner", r->owner);
	put_u64(&b, "epoch", r->epoch);
	put_u64(&b, "born_epoch", r->born_epoch);
	put_text(&b, "grant", grant_kind_name(r->grant));
	put_text(&b, "failover", failover_kind_name(r->failover.kind));
	put_u64(&b, "term_ms", r->failover.term_ms);
	put_u64(&b, "extended_ms", r->extended_ms);
	put_u64(&b, "failover_rev", r->failover_rev);
	put_text(&b, "in_force", failover_kind_name(r->in_force.kind));
	put_u64(&b, "in_force_term_ms", r->in_force.term_ms);
	put_u64(&b, "sure_from", r->sure_from);
	put_u64(&b, "fenced_from", r->fenced.from);
	put_u64(&b, "fenced", r->fenced.to);
	put_u64(&b, "fenced_also", r->fenced.also);
	put_text(&b, "proof", proof_kind_name(r->proof));
	put_u64(&b, "incarnation", r->incarnation);
	if (*r->request)
		put_text(&b, "request", r->request);
	return finish(&b, r->extra);
}

char *node_record_to_json(const struct node_record *r)
{
	struct builder b = { 0 };
	_cleanup_json_ struct json_object *o = begin(&b);

	if (!o)
		return NULL;
	put_id(&b, "uuid", r->uuid);
	put_id(&b, "host", r->host);
	put_u64(&b, "given_up", r->given_up);
	put(&b, "forgotten", json_object_new_boolean(r->forgotten));
	if (r->draining_since)
		put(&b, "draining_since", json_object_new_int64(r->draining_since));
	return finish(&b, r->extra);
}

char *pin_record_to_json(const struct pin_record *r)
{
	struct builder b = { 0 };
	_cleanup_json_ struct json_object *o = begin(&b);

	if (!o)
		return NULL;
	put_id(&b, "dataset_id", r->dataset_id);
	put_id(&b, "node", r->node);
	if (r->expires_ms != PIN_ENDLESS)
		put(&b, "expires_ms", json_object_new_int64(r->expires_ms));
	return finish(&b, r->extra);
}

char *floor_to_json(uint64_t floor)
{
	struct builder b = { 0 };
	_cleanup_json_ struct json_object *o = begin(&b);

	if (!o)
		return NULL;
	put_u64(&b, "epoch", floor);
	return finish(&b, NULL);
}

/* ---- reading: each known key is taken out of the map, and what remains is kept as it is ---- */

struct reader {
	struct json_object *o;
	bool bad;
};

/* A counted reference, or NULL when absent or of another type. */
static struct json_object *take(struct reader *in, const char *key, enum json_type type)
{
	struct json_object *v;

	if (!json_object_object_get_ex(in->o, key, &v))
		return NULL;
	if (json_object_get_type(v) != type) {
		in->bad = true;
		return NULL;
	}
	json_object_get(v);
	json_object_object_del(in->o, key);
	return v;
}

static struct json_object *need(struct reader *in, const char *key, enum json_type type)
{
	struct json_object *v = take(in, key, type);

	if (!v)
		in->bad = true;
	return v;
}

static uint64_t take_u64(struct reader *in, const char *key)
{
	_cleanup_json_ struct json_object *v = need(in, key, json_type_int);

	if (!v)
		return 0;
	if (json_object_get_int64(v) < 0) {
		in->bad = true;
		return 0;
	}
	return json_object_get_uint64(v);
}

/* Of a key that records of earlier versions do not have. */
static uint64_t take_late_u64(struct reader *in, const char *key)
{
	return json_object_object_get_ex(in->o, key, NULL) ? take_u64(in, key) : 0;
}

static bool take_bool(struct reader *in, const char *key)
{
	_cleanup_json_ struct json_object *v = need(in, key, json_type_boolean);

	return v && json_object_get_boolean(v);
}

/* Of a key that records of earlier versions do not have. */
static bool take_late_bool(struct reader *in, const char *key)
{
	return json_object_object_get_ex(in->o, key, NULL) && take_bool(in, key);
}

static void take_id(struct reader *in, const char *key, struct id128 *ret)
{
	_cleanup_json_ struct json_object *v = take(in, key, json_type_string);

	if (v && id128_parse(json_object_get_string(v), ret) < 0)
		in->bad = true;
}

static int take_word(struct reader *in, const char *key, int (*parse)(const char *))
{
	_cleanup_json_ struct json_object *v = need(in, key, json_type_string);
	int r = v ? parse(json_object_get_string(v)) : -EINVAL;

	if (r < 0)
		in->bad = true;
	return MAX(r, 0);
}

/* Of a key that records of earlier versions do not have. */
static int take_late_word(struct reader *in, const char *key, int (*parse)(const char *))
{
	return json_object_object_get_ex(in->o, key, NULL) ? take_word(in, key, parse) : 0;
}

static struct failover take_failover(struct reader *in, const char *kind, const char *term)
{
	return (struct failover){
		.kind = (enum failover_kind)take_late_word(in, kind, failover_kind_parse),
		.term_ms = (uint32_t)MIN(take_late_u64(in, term), (uint64_t)UINT32_MAX),
	};
}

static void take_backend(struct reader *in, char buf[RECORD_BACKEND_MAX])
{
	_cleanup_json_ struct json_object *v = need(in, "backend", json_type_string);

	if (!v)
		return;
	if (json_object_get_string_len(v) >= RECORD_BACKEND_MAX)
		in->bad = true;
	else
		strcpy(buf, json_object_get_string(v));
}

/* Of records of earlier versions, and of what no client asked for, there is none. */
static void take_request(struct reader *in, char buf[REQUEST_ID_SIZE])
{
	_cleanup_json_ struct json_object *v = take(in, "request", json_type_string);

	if (!v)
		return;
	if (request_id_valid(json_object_get_string(v)))
		strcpy(buf, json_object_get_string(v));
	else
		in->bad = true;
}

static struct json_object *take_metadata(struct reader *in)
{
	struct json_object *v = need(in, "metadata", json_type_object);

	if (v) {
		json_object_object_foreach(v, key, value) {
			(void)key;
			if (!json_object_is_type(value, json_type_string))
				in->bad = true;
		}
	}
	return v;
}

static int64_t take_time(struct reader *in, const char *key)
{
	_cleanup_json_ struct json_object *v = need(in, key, json_type_int);

	return v ? json_object_get_int64(v) : 0;
}

/* Of a key that records of earlier versions do not have. */
static int64_t take_late_time(struct reader *in, const char *key)
{
	return json_object_object_get_ex(in->o, key, NULL) ? take_time(in, key) : 0;
}

/* Parses the map and checks its version. */
static int reader_open(const char *text, struct json_object **ret, struct reader *in)
{
	char error[JSONIN_ERROR_MAX];
	int r;

	r = jsonin_parse(text, strlen(text), ret, error);
	if (r < 0)
		return r;
	if (!json_object_is_type(*ret, json_type_object))
		return -EBADMSG;
	*in = (struct reader){ .o = *ret };
	if (take_u64(in, "version") != RECORD_VERSION)
		return -EBADMSG;
	return 0;
}

static struct json_object *leftovers(struct reader *in)
{
	return json_object_object_length(in->o) > 0 ? json_object_get(in->o) : NULL;
}

int ds_record_from_json(const char *text, struct ds_record *ret)
{
	_cleanup_json_ struct json_object *o = NULL;
	struct ds_record d = { 0 };
	struct reader in;
	int r;

	r = reader_open(text, &o, &in);
	if (r < 0)
		return r;
	take_id(&in, "dataset_id", &d.dataset_id);
	d.metadata = take_metadata(&in);
	d.maximum_size = take_u64(&in, "maximum_size");
	d.size_bytes = take_u64(&in, "size");
	d.growing_bytes = MAX(take_late_u64(&in, "growing"), d.size_bytes);
	d.want_bytes = MAX(take_late_u64(&in, "want"), d.growing_bytes);
	d.fs_bytes = MIN(take_late_u64(&in, "fs_size") ?: d.size_bytes, d.size_bytes);
	d.created_at = take_time(&in, "created_at");
	take_id(&in, "primary", &d.primary);
	d.chosen = take(&in, "chosen", json_type_string);
	d.failed_over = take_late_bool(&in, "failed_over");
	d.deleted = take_bool(&in, "deleted");
	d.deleted_at = take_late_time(&in, "deleted_at");
	d.deleted_in = take_late_u64(&in, "deleted_in");
	d.undelete_until = take_late_time(&in, "undelete_until");
	d.idempotency = take(&in, "idempotency", json_type_string);
	take_backend(&in, d.backend);
	take_id(&in, "volume_id", &d.volume_id);
	d.filesystem = (enum fs_kind)take_word(&in, "filesystem", fs_kind_parse);
	take_id(&in, "fs_uuid", &d.fs_uuid);
	d.format_state = (enum format_state)take_word(&in, "format_state", format_state_parse);
	take_id(&in, "owner", &d.owner);
	d.epoch = take_u64(&in, "epoch");
	d.born_epoch = take_late_u64(&in, "born_epoch");
	d.grant = (enum grant_kind)take_word(&in, "grant", grant_kind_parse);
	d.incarnation = take_u64(&in, "incarnation");
	d.failover = take_failover(&in, "failover", "term_ms");
	d.extended_ms = take_late_u64(&in, "extended_ms");
	d.failover_rev = take_late_u64(&in, "failover_rev");
	d.in_force = take_failover(&in, "in_force", "in_force_term_ms");
	d.sure_from = take_late_u64(&in, "sure_from");
	d.fenced.from = take_late_u64(&in, "fenced_from");
	d.fenced.to = take_late_u64(&in, "fenced");
	d.fenced.also = take_late_u64(&in, "fenced_also");
	d.proof = (enum proof_kind)take_late_word(&in, "proof", proof_kind_parse);
	take_request(&in, d.request);
	if (in.bad || id128_is_nil(d.dataset_id)) {
		ds_record_done(&d);
		return -EBADMSG;
	}
	d.extra = leftovers(&in);
	*ret = d;
	return 0;
}

int node_record_from_json(const char *text, struct node_record *ret)
{
	_cleanup_json_ struct json_object *o = NULL;
	struct node_record n = { 0 };
	struct reader in;
	int r;

	r = reader_open(text, &o, &in);
	if (r < 0)
		return r;
	take_id(&in, "uuid", &n.uuid);
	take_id(&in, "host", &n.host);
	n.given_up = take_late_u64(&in, "given_up");
	n.forgotten = take_late_bool(&in, "forgotten");
	n.draining_since = take_late_time(&in, "draining_since");
	if (in.bad || id128_is_nil(n.uuid))
		return -EBADMSG;
	n.extra = leftovers(&in);
	*ret = n;
	return 0;
}

int pin_record_from_json(const char *text, struct pin_record *ret)
{
	_cleanup_json_ struct json_object *o = NULL;
	struct pin_record p = { .expires_ms = PIN_ENDLESS };
	struct reader in;
	int r;

	r = reader_open(text, &o, &in);
	if (r < 0)
		return r;
	take_id(&in, "dataset_id", &p.dataset_id);
	take_id(&in, "node", &p.node);
	if (json_object_object_get_ex(in.o, "expires_ms", NULL))
		p.expires_ms = take_time(&in, "expires_ms");
	if (in.bad || id128_is_nil(p.dataset_id) || id128_is_nil(p.node))
		return -EBADMSG;
	p.extra = leftovers(&in);
	*ret = p;
	return 0;
}

int floor_from_json(const char *text, uint64_t *ret)
{
	_cleanup_json_ struct json_object *o = NULL;
	struct reader in;
	uint64_t floor;
	int r;

	r = reader_open(text, &o, &in);
	if (r < 0)
		return r;
	floor = take_u64(&in, "epoch");
	if (in.bad)
		return -EBADMSG;
	*ret = floor;
	return 0;
}
