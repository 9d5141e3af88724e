/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdarg.h>

#include "audit.h"
#include "log.h"
#include "text.h"

#define PATH_SHOWN_MAX 200

static const char *outcome_of(const struct audit_write *w)
{
	if (w->undecided)
		return "unknown";
	if (w->status < 400)
		return "done";
	return w->status < 500 ? "refused" : "failed";
}

void audit_log(const struct audit_write *w)
{
	const char *words = *w->words ? w->words : AUDIT_NO_CHANGE;
	char path[PATH_SHOWN_MAX + 1], status[16];
	const struct log_field fields[] = {
		{ "CERTIFICATE_NAME", w->peer->name },
		{ "CERTIFICATE_SERIAL", w->peer->serial },
		{ "HTTP_METHOD", w->method },
		{ "HTTP_PATH", path },
		{ "HTTP_STATUS", status },
		{ "OUTCOME", outcome_of(w) },
		{ "CHANGE", words },
	};
	const struct log_context ctx = { .dataset = w->dataset, .node = w->node, .request = w->request,
		.message_id = MESSAGE_AUDIT, .fields = fields, .n_fields = ARRAY_SIZE(fields) };

	snprintf(path, sizeof(path), "%s", w->path);
	snprintf(status, sizeof(status), "%d", w->status);
	log_context_full(&ctx, LOG_NOTICE, 0, "audit: %s (serial %s): %s %s: %s (%s): %s", w->peer->name,
		w->peer->serial, w->method, path, outcome_of(w), status, words);
}

/* ---- what changed ---- */

struct words {
	char *buf;
	size_t n;
};

static void _printf_(2, 3) add(struct words *w, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (w->n > 0 && w->n + 2 < AUDIT_CHANGE_MAX) {
		strcpy(w->buf + w->n, ", ");
		w->n += 2;
	}
	va_start(ap, fmt);
	n = vsnprintf(w->buf + w->n, AUDIT_CHANGE_MAX - w->n, fmt, ap);
	va_end(ap);
	w->n = MIN(w->n + (size_t)MAX(n, 0), (size_t)AUDIT_CHANGE_MAX - 1);
}

static const char *failover_text(struct failover f, char *buf, size_t size)
{
	if (f.kind == FAILOVER_LEASE)
		snprintf(buf, size, "%s of %" PRIu32 " s", failover_kind_name(f.kind), f.term_ms / 1000);
	else
		snprintf(buf, size, "%s", failover_kind_name(f.kind));
	return buf;
}
#define FAILOVER_STR(f) failover_text((f), (char[40]){ 0 }, 40)

#define kept_text(s) ((s) ? TEXT_TIME(s) : "none")
#define node_text(id) (id128_is_nil(id) ? "none" : ID128_STR(id))

static void describe_new(struct words *w, const struct ds_record *r)
{
	const char *name = ds_record_text(r, RECORD_NAME_KEY);

	add(w, "created, primary %s%s", node_text(r->primary), r->chosen ? " (chosen)" : "");
	if (name)
		add(w, "name %s", name);
	if (r->maximum_size)
		add(w, "maximum_size %" PRIu64, r->maximum_size);
	add(w, "filesystem %s", fs_kind_name(r->filesystem));
	add(w, "failover %s", FAILOVER_STR(r->failover));
	add(w, "%d metadata", json_object_object_length(r->metadata));
}

/* Keys alone: what they hold is nobody's business but the owner's. The name is what people know it by. */
static void describe_metadata(struct words *w, struct json_object *before, struct json_object *after)
{
	json_object_object_foreach(after, key, value) {
		struct json_object *old = json_object_object_get(before, key);

		if (json_object_equal(old, value))
			continue;
		if (STREQ(key, RECORD_NAME_KEY))
			add(w, "name %s -> %s", old ? json_object_get_string(old) : "none", json_object_get_string(value));
		else
			add(w, "metadata %s %s", key, old ? "changed" : "added");
	}
	json_object_object_foreach(before, gone, was) {
		if (json_object_object_get(after, gone))
			continue;
		if (STREQ(gone, RECORD_NAME_KEY))
			add(w, "name %s -> none", json_object_get_string(was));
		else
			add(w, "metadata %s removed", gone);
	}
}

char *audit_change(const struct ds_record *before, const struct ds_record *after,
	char buf[AUDIT_CHANGE_MAX])
{
	struct words w = { .buf = buf };

	*buf = '\0';
	if (!before) {
		describe_new(&w, after);
		return buf;
	}
	if (!id128_equal(before->primary, after->primary))
		add(&w, "primary %s -> %s%s", node_text(before->primary), node_text(after->primary),
			after->chosen ? " (chosen)" : "");
	if (before->deleted != after->deleted)
		add(&w, "deleted %s -> %s", before->deleted ? "true" : "false",
			after->deleted ? "true" : "false");
	if (before->undelete_until != after->undelete_until)
		add(&w, "kept until %s -> %s", kept_text(before->undelete_until), kept_text(after->undelete_until));
	if (before->want_bytes != after->want_bytes)
		add(&w, "size %" PRIu64 " -> %" PRIu64, before->want_bytes, after->want_bytes);
	describe_metadata(&w, before->metadata, after->metadata);
	if (!failover_equal(before->failover, after->failover))
		add(&w, "failover %s -> %s", FAILOVER_STR(before->failover), FAILOVER_STR(after->failover));
	if (w.n == 0)
		add(&w, "%s", AUDIT_NO_CHANGE);
	return buf;
}
