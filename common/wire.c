/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>

#include "jsonin.h"
#include "wire.h"

static const char *const wire_types[] = { "hello", "welcome", "assign", "report", "ping", "pong",
	"bye" };
static_assert(ARRAY_SIZE(wire_types) == WIRE_TYPE_MAX, "a message type has no word");

const char *wire_type_name(enum wire_type v)
{
	assert((unsigned)v < WIRE_TYPE_MAX);
	return wire_types[v];
}

/* ---- ownership ---- */

void wire_status_done(struct wire_status *s)
{
	if (!s)
		return;
	free(s->mountpoint);
	free(s->device);
	free(s->holders);
	memset(s, 0, sizeof(*s));
}

static int copy_text(const char *from, char **ret)
{
	*ret = from ? strdup(from) : NULL;
	return from && !*ret ? -ENOMEM : 0;
}

int wire_status_copy(const struct wire_status *s, struct wire_status *ret)
{
	struct wire_status c = *s;

	c.mountpoint = c.device = c.holders = NULL;
	if (copy_text(s->mountpoint, &c.mountpoint) < 0 || copy_text(s->device, &c.device) < 0 ||
		copy_text(s->holders, &c.holders) < 0) {
		wire_status_done(&c);
		return -ENOMEM;
	}
	*ret = c;
	return 0;
}

bool wire_backend_equal(const struct wire_backend *a, const struct wire_backend *b)
{
	return STREQ(a->name, b->name) && STREQ(a->driver, b->driver) &&
	       STREQ(a->capabilities, b->capabilities) && STREQ(a->warning, b->warning) &&
	       a->capacity_bytes == b->capacity_bytes && a->free_bytes == b->free_bytes &&
	       a->promised_bytes == b->promised_bytes && a->allocation_unit == b->allocation_unit &&
	       a->shared == b->shared;
}

bool wire_backend_can(const struct wire_backend *b, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = b->capabilities; *p;) {
		size_t n = strcspn(p, " ");

		if (n == len && memcmp(p, word, n) == 0)
			return true;
		p += n + (p[n] == ' ');
	}
	return false;
}

struct wire_backend *wire_backends_copy(const struct wire_backend *list, size_t n)
{
	struct wire_backend *copy = n ? calloc(n, sizeof(*copy)) : NULL;

	if (copy)
		memcpy(copy, list, n * sizeof(*copy));
	return copy;
}

static void hello_done(struct wire_hello *h)
{
	free(h->backends);
	free(h->version);
	free(h->address);
	free(h->backend);
	for (size_t i = 0; i < h->n_holds; i++)
		wire_status_done(&h->holds[i]);
	free(h->holds);
}

void wire_msg_done(struct wire_msg *m)
{
	if (!m)
		return;
	switch (m->type) {
	case WIRE_HELLO:
		hello_done(&m->hello);
		break;
	case WIRE_WELCOME:
		free(m->welcome.version);
		break;
	case WIRE_ASSIGN:
		json_object_put(m->assign.metadata);
		break;
	case WIRE_REPORT:
		wire_status_done(&m->report.status);
		break;
	case WIRE_BYE:
		free(m->bye.reason);
		break;
	case WIRE_PING:
	case WIRE_PONG:
		free(m->ping.backends);
		break;
	case WIRE_TYPE_MAX:
		break;
	}
	memset(m, 0, sizeof(*m));
}

void wire_lower(struct wire_msg *m, unsigned int wire)
{
	/* Its words end with these; one more ended the session. */
	if (wire < 2 && m->type == WIRE_REPORT && m->report.status.step > STEP_CUT)
		m->report.status.step = STEP_NONE;
}

/* ---- writing; a NULL from json-c is remembered in the builder and told once at the end ---- */

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

/* Names of files and processes may hold any bytes; what is not UTF-8 would end the session. */
static void clean_text(char *text)
{
	const char *end = text + strlen(text);

	while (text < end) {
		unsigned int n = utf8_length(text, end);

		if (n == 0)
			*text = '?';
		text += n ?: 1;
	}
}

static void put_text(struct builder *b, const char *key, const char *text)
{
	_cleanup_free_ char *clean = NULL;

	if (!text || !*text)
		return;
	clean = strdup(text);
	if (!clean) {
		b->failed = true;
		return;
	}
	clean_text(clean);
	put(b, key, json_object_new_string(clean));
}

static void put_id(struct builder *b, const char *key, struct id128 id)
{
	if (!id128_is_nil(id))
		put(b, key, json_object_new_string_len(ID128_STR(id), ID128_TEXT - 1));
}

static void put_u64(struct builder *b, const char *key, uint64_t v)
{
	if (v)
		put(b, key, json_object_new_uint64(v));
}

/* Of neighbours who do not know it all is as large as the volume. */
static void put_other_size(struct builder *b, const char *key, uint64_t bytes, uint64_t size_bytes)
{
	if (bytes != size_bytes)
		put_u64(b, key, bytes);
}

static void put_bool(struct builder *b, const char *key, bool v)
{
	if (v)
		put(b, key, json_object_new_boolean(true));
}

static void status_to_json(struct builder *b, const struct wire_status *s)
{
	put_id(b, "dataset_id", s->dataset_id);
	put_id(b, "volume_id", s->volume_id);
	put_u64(b, "epoch", s->epoch);
	put_text(b, "state", ds_state_name(s->state));
	put_bool(b, "mounted", s->mounted);
	put_bool(b, "releasing", s->releasing);
	put_u64(b, "failover_rev", s->failover_rev);
	put_id(b, "claimant", s->claimant);
	put_u64(b, "claim_epoch", s->claim_epoch);
	put_u64(b, "size", s->size_bytes);
	put_u64(b, "grown", s->grown_bytes);
	put_u64(b, "used", s->used_bytes);
	put_u64(b, "available", s->available_bytes);
	put_id(b, "fs_uuid", s->fs_uuid);
	put_text(b, "why", s->why);
	if (s->error) {
		put_text(b, "step", ds_step_name(s->step));
		put_u64(b, "errno", (uint64_t)s->error);
	}
	put_u64(b, "attempts", s->attempts);
	put_u64(b, "retry_in_ms", s->retry_in_ms);
	put_text(b, "mountpoint", s->mountpoint);
	put_text(b, "device", s->device);
	put_text(b, "holders", s->holders);
}

static struct json_object *words_to_json(const char *words)
{
	struct json_object *list = json_object_new_array();

	for (const char *p = words; list && *p;) {
		size_t n = strcspn(p, " ");
		struct json_object *word = json_object_new_string_len(p, (int)n);

		if (!word || json_object_array_add(list, word) < 0) {
			json_object_put(word);
			json_object_put(list);
			return NULL;
		}
		p += n + (p[n] == ' ');
	}
	return list;
}

static void backend_to_json(struct builder *b, const struct wire_backend *e)
{
	put_text(b, "name", e->name);
	put_text(b, "driver", e->driver);
	put_u64(b, "capacity", e->capacity_bytes);
	if (e->capacity_bytes || e->free_bytes) /* none left is something to be told */
		put(b, "free", json_object_new_uint64(e->free_bytes));
	put_u64(b, "promised", e->promised_bytes);
	put_u64(b, "unit", e->allocation_unit);
	put_bool(b, "shared", e->shared);
	put(b, "capabilities", words_to_json(e->capabilities));
	put_text(b, "warning", e->warning);
}

static void put_backends(struct builder *b, const struct wire_backend *list, size_t n)
{
	struct json_object *array = n ? json_object_new_array() : NULL;

	if (!n)
		return;
	for (size_t i = 0; array && i < n; i++) {
		struct builder item = { .o = json_object_new_object() };

		if (item.o)
			backend_to_json(&item, &list[i]);
		if (!item.o || item.failed || json_object_array_add(array, item.o) < 0) {
			json_object_put(item.o);
			b->failed = true;
			break;
		}
	}
	put(b, "backends", array);
}

static void hello_to_json(struct builder *b, const struct wire_hello *h)
{
	struct json_object *holds = json_object_new_array();

	put_u64(b, "wire", WIRE_VERSION);
	put_text(b, "version", h->version);
	put_id(b, "host", h->host);
	put_id(b, "boot", h->boot);
	put_text(b, "address", h->address);
	put_backends(b, h->backends, h->n_backends);
	put_text(b, "backend", h->backend);
	put_text(b, "filesystem", fs_kind_name(h->filesystem));
	put_bool(b, "partial", h->partial);
	put_bool(b, "shared", h->shared);
	put_u64(b, "free", h->free_bytes);
	put_u64(b, "incarnation", h->incarnation);
	put_u64(b, "revision", h->version_seen);
	put_id(b, "line", h->line);
	for (size_t i = 0; holds && i < h->n_holds; i++) {
		struct builder item = { .o = json_object_new_object() };

		if (!item.o) {
			b->failed = true;
			break;
		}
		status_to_json(&item, &h->holds[i]);
		if (item.failed || json_object_array_add(holds, item.o) < 0) {
			json_object_put(item.o);
			b->failed = true;
			break;
		}
	}
	put(b, "holds", holds);
}

static void assign_to_json(struct builder *b, const struct wire_assign *a)
{
	put_id(b, "dataset_id", a->dataset_id);
	put_text(b, "wish", wish_kind_name(a->wish));
	put_u64(b, "epoch", a->epoch);
	put_id(b, "volume_id", a->volume_id);
	put_u64(b, "size", a->size_bytes);
	put_other_size(b, "growing", a->growing_bytes, a->size_bytes);
	put_other_size(b, "fs_size", a->fs_bytes, a->size_bytes);
	put_other_size(b, "want", a->want_bytes, a->size_bytes);
	put_text(b, "filesystem", fs_kind_name(a->filesystem));
	put_id(b, "fs_uuid", a->fs_uuid);
	put_text(b, "format_state", format_state_name(a->format_state));
	put_text(b, "failover", failover_kind_name(a->failover.kind));
	put_u64(b, "term_ms", a->failover.term_ms);
	put_u64(b, "failover_rev", a->failover_rev);
	put_u64(b, "fenced_from", a->fenced.from);
	put_u64(b, "fenced", a->fenced.to);
	if (a->fenced.also)
		put_u64(b, "fenced_also", a->fenced.also);
	put_id(b, "owner", a->owner);
	put_id(b, "primary", a->primary);
	put_u64(b, "created_at", (uint64_t)MAX(a->created_at, INT64_C(0)));
	put_u64(b, "revision", a->revision);
	put_text(b, "why", a->why);
	if (*a->lease)
		put_text(b, "lease", a->lease);
	if (*a->request)
		put_text(b, "request", a->request);
	if (a->metadata)
		put(b, "metadata", json_object_get(a->metadata));
}

static void msg_to_json(struct builder *b, const struct wire_msg *m)
{
	put_text(b, "type", wire_type_name(m->type));
	put_u64(b, "seq", m->seq);
	switch (m->type) {
	case WIRE_HELLO:
		hello_to_json(b, &m->hello);
		break;
	case WIRE_WELCOME:
		put_u64(b, "wire", WIRE_VERSION);
		put_text(b, "version", m->welcome.version);
		put_u64(b, "incarnation", m->welcome.incarnation);
		put_u64(b, "revision", m->welcome.revision);
		put_id(b, "line", m->welcome.line);
		put_u64(b, "heartbeat_ms", m->welcome.heartbeat_ms);
		break;
	case WIRE_ASSIGN:
		assign_to_json(b, &m->assign);
		break;
	case WIRE_REPORT:
		put_text(b, "report", report_kind_name(m->report.kind));
		status_to_json(b, &m->report.status);
		break;
	case WIRE_BYE:
		put_text(b, "reason", m->bye.reason);
		put_bool(b, "refused", m->bye.refused);
		break;
	case WIRE_PING:
	case WIRE_PONG:
		put_u64(b, "stamp_ms", m->ping.stamp_ms);
		put_u64(b, "free", m->ping.free_bytes);
		put_backends(b, m->ping.backends, m->ping.n_backends);
		break;
	case WIRE_TYPE_MAX:
		break;
	}
}

int wire_encode(const struct wire_msg *m, uint8_t **ret_frame, size_t *ret_size)
{
	_cleanup_json_ struct json_object *root = json_object_new_object();
	struct builder b = { .o = root };
	const char *text;
	uint8_t *frame;
	uint32_t length;
	size_t size;

	if (!root)
		return -ENOMEM;
	msg_to_json(&b, m);
	if (b.failed)
		return -ENOMEM;
	text = json_object_to_json_string_length(root,
		JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &size);
	if (!text)
		return -ENOMEM;
	if (size > WIRE_FRAME_MAX)
		return -EMSGSIZE;

	frame = malloc(WIRE_HEADER + size);
	if (!frame)
		return -ENOMEM;
	length = htonl((uint32_t)size);
	memcpy(frame, &length, WIRE_HEADER);
	memcpy(frame + WIRE_HEADER, text, size);
	*ret_frame = frame;
	*ret_size = WIRE_HEADER + size;
	return 0;
}
