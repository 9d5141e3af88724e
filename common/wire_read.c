/* SPDX-License-Identifier: Apache-2.0 */
#include "jsonin.h"
#include "wire.h"

/* Reading what a stranger wrote: the first fault is kept in the reader, and every later look is harmless. */

#define WIRE_TEXT_MAX (128 * 1024) /* holders of a busy mount are the longest text there is */

struct reader {
	struct json_object *o;
	const char *error;
	bool no_memory;
	char unknown[WIRE_UNKNOWN_MAX]; /* "key 'word'": the first that is of a later version */
};

static void fault(struct reader *r, const char *error)
{
	if (!r->error)
		r->error = error;
}

static bool broken(const struct reader *r)
{
	return r->error || r->no_memory;
}

/* NULL when absent; a value of another type is a fault. */
static struct json_object *get(struct reader *r, const char *key, enum json_type type,
	const char *error)
{
	struct json_object *v;

	if (!json_object_object_get_ex(r->o, key, &v))
		return NULL;
	if (json_object_get_type(v) != type) {
		fault(r, error);
		return NULL;
	}
	return v;
}

/* NULL when absent, too long or holding a NUL. */
static const char *get_text(struct reader *r, const char *key, size_t max)
{
	struct json_object *v = get(r, key, json_type_string, "a text field is not a string");
	const char *text;

	if (!v)
		return NULL;
	text = json_object_get_string(v);
	if ((size_t)json_object_get_string_len(v) > max ||
		strlen(text) != (size_t)json_object_get_string_len(v)) {
		fault(r, "a text field is too long or holds a NUL");
		return NULL;
	}
	return text;
}

static void read_text(struct reader *r, const char *key, size_t max, char **ret)
{
	const char *text = get_text(r, key, max);

	if (!text)
		return;
	*ret = strdup(text);
	r->no_memory |= !*ret;
}

static void read_line(struct reader *r, const char *key, char *buf, size_t size)
{
	const char *text = get_text(r, key, WIRE_TEXT_MAX);

	if (text)
		snprintf(buf, size, "%.*s", (int)utf8_fit(text, size - 1), text);
}

/* It is for the log only: of another form, it is as if there were none. */
static void read_request(struct reader *r, char request[REQUEST_ID_SIZE])
{
	const char *text = get_text(r, "request", WIRE_TEXT_MAX);

	if (text && request_id_valid(text))
		strcpy(request, text);
}

static void read_id(struct reader *r, const char *key, struct id128 *ret)
{
	const char *text = get_text(r, key, WIRE_TEXT_MAX);

	if (text && id128_parse(text, ret) < 0)
		fault(r, "an id is not a UUID");
}

static void need_id(struct reader *r, const char *key, struct id128 *ret)
{
	read_id(r, key, ret);
	if (id128_is_nil(*ret))
		fault(r, "a required id is missing");
}

static uint64_t read_u64(struct reader *r, const char *key)
{
	struct json_object *v = get(r, key, json_type_int, "a number field is not an integer");

	/* json-c clamps what does not fit, and tells negative ones only as signed. */
	if (v && json_object_get_int64(v) < 0) {
		fault(r, "a number is negative");
		return 0;
	}
	return v ? json_object_get_uint64(v) : 0;
}

static bool read_bool(struct reader *r, const char *key)
{
	struct json_object *v = get(r, key, json_type_boolean, "a flag is not true or false");

	return v && json_object_get_boolean(v);
}

static bool is_word(const char *text)
{
	return *text && text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0';
}

/* @missing: also for a word of a later version, which is noted. */
static int read_word(struct reader *r, const char *key, int (*parse)(const char *), int missing)
{
	const char *text = get_text(r, key, 64);
	int v;

	if (!text)
		return missing;
	v = parse(text);
	if (v >= 0)
		return v;
	if (!is_word(text))
		fault(r, "a word is none");
	else if (!*r->unknown)
		snprintf(r->unknown, sizeof(r->unknown), "%s '%s'", key, text);
	return missing;
}

static void read_status(struct reader *r, struct wire_status *s)
{
	need_id(r, "dataset_id", &s->dataset_id);
	read_id(r, "volume_id", &s->volume_id);
	s->epoch = read_u64(r, "epoch");
	s->state = (enum ds_state)read_word(r, "state", ds_state_parse, DS_WAITING);
	s->mounted = read_bool(r, "mounted");
	s->releasing = read_bool(r, "releasing");
	s->failover_rev = read_u64(r, "failover_rev");
	s->size_bytes = read_u64(r, "size");
	s->grown_bytes = read_u64(r, "grown");
	s->used_bytes = read_u64(r, "used");
	s->available_bytes = read_u64(r, "available");
	read_id(r, "claimant", &s->claimant);
	s->claim_epoch = read_u64(r, "claim_epoch");
	read_id(r, "fs_uuid", &s->fs_uuid);
	read_line(r, "why", s->why, sizeof(s->why));
	s->step = (enum ds_step)read_word(r, "step", ds_step_parse, STEP_NONE);
	s->error = (int)MIN(read_u64(r, "errno"), UINT64_C(4095));
	s->retry_in_ms = read_u64(r, "retry_in_ms");
	s->attempts = (unsigned int)MIN(read_u64(r, "attempts"), UINT64_C(1000000000));
	read_text(r, "mountpoint", WIRE_TEXT_MAX, &s->mountpoint);
	read_text(r, "device", WIRE_TEXT_MAX, &s->device);
	read_text(r, "holders", WIRE_TEXT_MAX, &s->holders);
}

/* What is no word, or one too many, is left out. */
static void read_words(struct reader *r, const char *key, char *buf, size_t size)
{
	struct json_object *list = get(r, key, json_type_array, "capabilities is not a list");
	size_t n = list ? json_object_array_length(list) : 0, used = 0;

	for (size_t i = 0; i < n; i++) {
		struct json_object *v = json_object_array_get_idx(list, i);
		const char *text = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";

		if (!is_word(text) || used + strlen(text) + 2 > size)
			continue;
		used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? " " : "", text);
	}
}

static void read_backend(struct reader *r, struct wire_backend *e)
{
	read_line(r, "name", e->name, sizeof(e->name));
	read_line(r, "driver", e->driver, sizeof(e->driver));
	e->capacity_bytes = read_u64(r, "capacity");
	e->free_bytes = read_u64(r, "free");
	e->promised_bytes = read_u64(r, "promised");
	e->allocation_unit = read_u64(r, "unit");
	e->shared = read_bool(r, "shared");
	read_words(r, "capabilities", e->capabilities, sizeof(e->capabilities));
	read_line(r, "warning", e->warning, sizeof(e->warning));
	if (!*e->name)
		fault(r, "a backend has no name");
}

static void read_backends(struct reader *r, struct wire_backend **ret, size_t *ret_n)
{
	struct json_object *list = get(r, "backends", json_type_array, "backends is not a list");
	size_t n = list ? MIN(json_object_array_length(list), (size_t)WIRE_BACKENDS_MAX) : 0;

	if (!n)
		return;
	*ret = calloc(n, sizeof(**ret));
	if (!*ret) {
		r->no_memory = true;
		return;
	}
	*ret_n = n;
	for (size_t i = 0; i < n && !broken(r); i++) {
		struct reader item = { .o = json_object_array_get_idx(list, i) };

		if (json_object_get_type(item.o) != json_type_object)
			fault(r, "an item of backends is not an object");
		else
			read_backend(&item, &(*ret)[i]);
		if (item.error)
			fault(r, item.error);
	}
}

/* Of a node of version 1, which has one and says less of it. */
static void make_backend(struct reader *r, struct wire_hello *h)
{
	h->backends = calloc(1, sizeof(*h->backends));
	if (!h->backends) {
		r->no_memory = true;
		return;
	}
	h->n_backends = 1;
	h->backends[0] = (struct wire_backend){ .name = WIRE_BACKEND_DEFAULT, .free_bytes = h->free_bytes,
		.shared = h->shared };
	snprintf(h->backends[0].driver, sizeof(h->backends[0].driver), "%s", h->backend ?: "");
}

static void read_hello(struct reader *r, struct wire_hello *h)
{
	struct json_object *holds;
	size_t n;

	h->wire = (unsigned int)MIN(read_u64(r, "wire"), (uint64_t)UINT32_MAX);
	if (h->wire < 1)
		fault(r, "hello names no wire version");
	read_text(r, "version", 256, &h->version);
	need_id(r, "host", &h->host);
	need_id(r, "boot", &h->boot);
	read_text(r, "address", 256, &h->address);
	read_text(r, "backend", 31, &h->backend);
	h->filesystem = (enum fs_kind)read_word(r, "filesystem", fs_kind_parse, FS_EXT4);
	h->partial = read_bool(r, "partial");
	h->shared = read_bool(r, "shared");
	h->free_bytes = read_u64(r, "free");
	read_backends(r, &h->backends, &h->n_backends);
	if (!h->n_backends)
		make_backend(r, h);
	h->incarnation = read_u64(r, "incarnation");
	h->version_seen = read_u64(r, "revision");
	read_id(r, "line", &h->line);

	holds = get(r, "holds", json_type_array, "holds is not a list");
	n = holds ? json_object_array_length(holds) : 0;
	if (n > WIRE_HOLDS_MAX) {
		fault(r, "hello holds more datasets than a node may have");
		return;
	}
	if (!n)
		return;
	h->holds = calloc(n, sizeof(*h->holds));
	if (!h->holds) {
		r->no_memory = true;
		return;
	}
	for (size_t i = 0; i < n && !broken(r); i++) {
		struct reader item = { .o = json_object_array_get_idx(holds, i) };

		if (json_object_get_type(item.o) != json_type_object) {
			fault(r, "an item of holds is not an object");
			return;
		}
		h->n_holds = i + 1;
		read_status(&item, &h->holds[i]);
		r->no_memory |= item.no_memory;
		if (item.error)
			fault(r, item.error);
		if (*item.unknown && !*r->unknown)
			memcpy(r->unknown, item.unknown, sizeof(r->unknown));
	}
}

static void read_metadata(struct reader *r, struct json_object **ret)
{
	struct json_object *m = get(r, "metadata", json_type_object, "metadata is not an object");

	if (!m)
		return;
	json_object_object_foreach(m, key, value) {
		if (!*key || json_object_get_type(value) != json_type_string) {
			fault(r, "metadata holds something else than texts");
			return;
		}
	}
	*ret = json_object_get(m);
}

static void read_assign(struct reader *r, struct wire_assign *a)
{
	if (!get_text(r, "wish", 64))
		fault(r, "assign names no wish");
	a->wish = (enum wish_kind)read_word(r, "wish", wish_kind_parse, WISH_KEEP);
	need_id(r, "dataset_id", &a->dataset_id);
	a->epoch = read_u64(r, "epoch");
	read_id(r, "volume_id", &a->volume_id);
	a->size_bytes = read_u64(r, "size");
	a->growing_bytes = MAX(read_u64(r, "growing"), a->size_bytes);
	a->fs_bytes = MIN(read_u64(r, "fs_size") ?: a->size_bytes, a->size_bytes);
	a->want_bytes = MAX(read_u64(r, "want"), a->growing_bytes);
	a->filesystem = (enum fs_kind)read_word(r, "filesystem", fs_kind_parse, FS_EXT4);
	read_id(r, "fs_uuid", &a->fs_uuid);
	a->format_state = (enum format_state)read_word(r, "format_state", format_state_parse,
		FORMAT_NEVER);
	a->failover.kind = (enum failover_kind)read_word(r, "failover", failover_kind_parse,
		FAILOVER_MANUAL);
	a->failover.term_ms = (uint32_t)MIN(read_u64(r, "term_ms"), (uint64_t)UINT32_MAX);
	a->failover_rev = read_u64(r, "failover_rev");
	a->fenced.from = read_u64(r, "fenced_from");
	a->fenced.to = read_u64(r, "fenced");
	a->fenced.also = read_u64(r, "fenced_also");
	read_id(r, "owner", &a->owner);
	read_id(r, "primary", &a->primary);
	a->created_at = (int64_t)MIN(read_u64(r, "created_at"), (uint64_t)INT64_MAX);
	a->revision = read_u64(r, "revision");
	read_line(r, "why", a->why, sizeof(a->why));
	read_line(r, "lease", a->lease, sizeof(a->lease));
	read_request(r, a->request);
	read_metadata(r, &a->metadata);
	if ((a->wish == WISH_HOLD || a->wish == WISH_RELEASE || a->wish == WISH_DESTROY) &&
		(a->epoch == 0 || id128_is_nil(a->volume_id)))
		fault(r, "an order names no epoch or no volume");
	if (a->failover.kind == FAILOVER_LEASE && a->failover.term_ms == 0)
		fault(r, "a lease has no term");
}

static void read_msg(struct reader *r, struct wire_msg *m)
{
	m->seq = read_u64(r, "seq");
	if (m->seq == 0)
		fault(r, "a message has no number");
	switch (m->type) {
	case WIRE_HELLO:
		read_hello(r, &m->hello);
		break;
	case WIRE_WELCOME:
		m->welcome.wire = (unsigned int)MIN(MAX(read_u64(r, "wire"), UINT64_C(1)), (uint64_t)UINT32_MAX);
		read_text(r, "version", 256, &m->welcome.version);
		m->welcome.incarnation = read_u64(r, "incarnation");
		m->welcome.revision = read_u64(r, "revision");
		read_id(r, "line", &m->welcome.line);
		m->welcome.heartbeat_ms = (uint32_t)MIN(read_u64(r, "heartbeat_ms"),
			UINT64_C(3600000));
		break;
	case WIRE_ASSIGN:
		read_assign(r, &m->assign);
		break;
	case WIRE_REPORT:
		if (!get_text(r, "report", 64))
			fault(r, "report names no kind");
		m->report.kind = (enum report_kind)read_word(r, "report", report_kind_parse, REPORT_STATUS);
		read_status(r, &m->report.status);
		break;
	case WIRE_BYE:
		read_text(r, "reason", 4096, &m->bye.reason);
		m->bye.refused = read_bool(r, "refused");
		break;
	case WIRE_PING:
	case WIRE_PONG:
		m->ping.stamp_ms = read_u64(r, "stamp_ms");
		m->ping.free_bytes = read_u64(r, "free");
		read_backends(r, &m->ping.backends, &m->ping.n_backends);
		break;
	case WIRE_TYPE_MAX:
		break;
	}
}

static int wire_type_parse(const char *name)
{
	for (int i = 0; i < WIRE_TYPE_MAX; i++)
		if (STREQ(name, wire_type_name((enum wire_type)i)))
			return i;
	return -ENOTSUP;
}

static int parse_object(const uint8_t *json, size_t size, struct json_object **ret,
	const char **ret_error)
{
	_cleanup_json_ struct json_object *o = NULL;
	char error[JSONIN_ERROR_MAX];
	int r;

	if (size == 0 || size > WIRE_FRAME_MAX) {
		*ret_error = "the frame is empty or too large";
		return -EBADMSG;
	}
	r = jsonin_parse((const char *)json, size, &o, error);
	if (r == 0 && !json_object_is_type(o, json_type_object))
		r = -EBADMSG;
	if (r == -EBADMSG)
		*ret_error = "the frame is not one JSON object";
	if (r < 0)
		return r;
	*ret = TAKE_PTR(o);
	return 0;
}

int wire_decode(const uint8_t *json, size_t size, struct wire_msg *ret, const char **ret_error)
{
	_cleanup_json_ struct json_object *root = NULL;
	struct reader r = { 0 };
	struct wire_msg m = { 0 };
	const char *type;
	int t;

	t = parse_object(json, size, &root, ret_error);
	if (t < 0)
		return t;
	r.o = root;
	type = get_text(&r, "type", 64);
	if (!type) {
		*ret_error = "the message has no type";
		return -EBADMSG;
	}
	t = wire_type_parse(type);
	if (t < 0)
		return t;

	m.type = (enum wire_type)t;
	read_msg(&r, &m);
	memcpy(m.unknown, r.unknown, sizeof(m.unknown));
	if (broken(&r)) {
		wire_msg_done(&m);
		if (r.no_memory)
			return -ENOMEM;
		*ret_error = r.error;
		return -EBADMSG;
	}
	*ret = m;
	return 0;
}
