/* SPDX-License-Identifier: Apache-2.0 */
#include "failover_to.h"
#include "publish.h"
#include "rest_view.h"

static void add_number(struct jsonout *o, const char *key, uint64_t v, bool known)
{
	if (known)
		jsonout_u64(o, key, v);
	else
		jsonout_null(o, key);
}

static void add_revision(struct jsonout *o, const struct view_source *s, enum event_kind kind, struct id128 id)
{
	char revision[EVENTLOG_REVISION_SIZE];

	if (!s->steady)
		jsonout_text(o, "revision", s->publish ? eventlog_revision(publish_log(s->publish),
			publish_last_of(s->publish, kind, id), revision) : NULL);
}

/* ---- datasets ---- */

/* The owner's word, when the last word is the owner's and of its present grant. */
static const struct wire_status *owner_status(const struct assign_view *v)
{
	if (!v->status || id128_is_nil(v->record->owner) ||
		!id128_equal(v->status_node, v->record->owner) || v->status->epoch != v->record->epoch)
		return NULL;
	return v->status;
}

const char *view_state(const struct assign_view *v)
{
	const struct wire_status *s = owner_status(v);

	if (s && s->state == DS_DESTROYED && !id128_is_nil(v->record->volume_id))
		return ds_state_name(DS_DESTROYING); /* said, but not yet recorded */
	if (s && v->release_is_ahead)
		return ds_state_name(DS_UNMOUNTING); /* ordered, and who begins to use it now loses it */
	if (s)
		return ds_state_name(s->state);
	if (id128_is_nil(v->record->volume_id))
		return ds_state_name(DS_DESTROYED);
	if (id128_is_nil(v->record->owner) && v->record->format_state == FORMAT_DONE)
		return ds_state_name(DS_DETACHED);
	return ds_state_name(DS_WAITING);
}

/* Empty pieces are left out. */
static void add_pieces(struct jsonout *o, const char *key, const char *text, const char *separator)
{
	jsonout_open(o, key, '[');
	while (text && *text) {
		size_t n = strcspn(text, separator);
		_cleanup_free_ char *piece = strndup(text, n);

		if (n > 0)
			jsonout_text(o, NULL, piece ?: "");
		text += n + (text[n] != '\0');
	}
	jsonout_close(o, ']');
}

static void add_last_error(struct jsonout *o, const struct wire_status *s)
{
	if (!s || !s->error) {
		jsonout_null(o, "last_error");
		return;
	}
	jsonout_open(o, "last_error", '{');
	jsonout_text(o, "code", strerrorname_np(s->error) ?: "EIO");
	jsonout_text(o, "message", strerror(s->error));
	jsonout_text(o, "step", ds_step_name(s->step));
	add_pieces(o, "holders", s->holders, "\n");
	jsonout_close(o, '}');
}

static void add_failover(struct jsonout *o, const struct ds_record *r)
{
	const char *to = ds_record_text(r, FAILOVER_TO_KEY);

	jsonout_open(o, "failover", '{');
	jsonout_text(o, "policy", failover_kind_name(r->failover.kind));
	add_number(o, "term", r->failover.term_ms / 1000, r->failover.kind == FAILOVER_LEASE);
	if (to && !STREQ(to, FAILOVER_TO_ANY))
		add_pieces(o, "to", to, " ");
	else
		jsonout_text(o, "to", to);
	jsonout_bool(o, "in_force", r->in_force.kind == r->failover.kind);
	add_number(o, "term_in_force", r->in_force.term_ms / 1000, r->in_force.kind == FAILOVER_LEASE);
	jsonout_close(o, '}');
}

static void add_fenced(struct jsonout *o, const struct ds_record *r)
{
	if (!r->fenced.to) {
		jsonout_null(o, "fenced");
		return;
	}
	jsonout_open(o, "fenced", '{');
	jsonout_u64(o, "epoch", r->fenced.to);
	jsonout_text(o, "proof", proof_kind_name(r->proof));
	jsonout_close(o, '}');
}

static void add_lease(struct jsonout *o, const struct view_source *s, struct id128 id)
{
	struct assign_pin_view v;

	if (assign_pin(s->assign, s->now_ms, id, false, &v) < 0) {
		jsonout_null(o, "lease");
		return;
	}
	jsonout_open(o, "lease", '{');
	jsonout_id(o, "node", v.node);
	jsonout_time(o, "expires", v.endless ? 0 : v.expires_ms);
	jsonout_close(o, '}');
}

static void add_wish(struct jsonout *o, const struct view_source *s, const struct assign_view *v)
{
	const struct ds_record *r = v->record;
	char why[1024];

	jsonout_id(o, "dataset_id", s->foretold_id ? ID128_NIL : r->dataset_id);
	jsonout_text(o, "name", ds_record_text(r, RECORD_NAME_KEY));
	jsonout_strings(o, "metadata", r->metadata);
	jsonout_text(o, "state", view_state(v));
	jsonout_text(o, "wanted", v->wanted);
	jsonout_text(o, "why", assign_why(s->assign, s->now_ms, r->dataset_id, why, sizeof(why)));
	jsonout_time(o, "since", history_since(s->history, r->dataset_id));
	jsonout_id(o, "node", r->primary);
	jsonout_text(o, "chosen", r->chosen ? json_object_get_string(r->chosen) : NULL);
	jsonout_id(o, "owner", r->owner);
	jsonout_u64(o, "epoch", r->epoch);
	jsonout_bool(o, "failed_over", r->failed_over);
	add_failover(o, r);
	add_fenced(o, r);
	add_lease(o, s, r->dataset_id);
}

static void add_truth(struct jsonout *o, const struct view_source *source, const struct assign_view *v)
{
	const struct wire_status *s = owner_status(v);
	bool space = s && (s->used_bytes || s->available_bytes);
	struct assign_node_view n;

	jsonout_bool(o, "node_live",
		assign_node(source->assign, source->now_ms, v->record->owner, &n) == 0 && n.live);
	jsonout_u64(o, "attempts", s ? s->attempts : 0);
	jsonout_time(o, "next_retry", s ? v->retry_at_ms : 0);
	add_last_error(o, s);
	jsonout_text(o, "device", s ? s->device : NULL);
	jsonout_text(o, "mountpoint", s && s->mounted ? s->mountpoint : NULL);
	add_number(o, "used", space ? s->used_bytes : 0, space);
	add_number(o, "available", space ? s->available_bytes : 0, space);
}

static void add_volume(struct jsonout *o, const struct view_source *s, const struct ds_record *r)
{
	jsonout_text(o, "filesystem", fs_kind_name(r->filesystem));
	jsonout_id(o, "fs_uuid", s->foretold ? ID128_NIL : r->fs_uuid);
	jsonout_text(o, "format_state", format_state_name(r->format_state));
	jsonout_id(o, "volume_id", s->foretold ? ID128_NIL : r->volume_id);
	jsonout_u64(o, "size", r->want_bytes);
	add_number(o, "volume_size", r->size_bytes, !id128_is_nil(r->volume_id));
	add_number(o, "maximum_size", r->maximum_size, r->maximum_size > 0);
	jsonout_bool(o, "deleted", r->deleted);
	jsonout_time(o, "deleted_at", r->deleted_at * 1000);
	jsonout_time(o, "undelete_until", r->undelete_until * 1000);
	jsonout_text(o, "request", *r->request ? r->request : NULL);
	jsonout_time(o, "created_at", r->created_at * 1000);
}

static void add_history(struct jsonout *o, const struct history *h, struct id128 id)
{
	jsonout_open(o, "history", '[');
	for (size_t i = 0; i < history_count(h, id); i++) {
		const struct history_step *s = history_get(h, id, i);

		jsonout_open(o, NULL, '{');
		jsonout_time(o, "time", s->time_ms);
		jsonout_id(o, "node", s->node);
		jsonout_text(o, "state", s->state);
		jsonout_text(o, "what", s->what);
		jsonout_close(o, '}');
	}
	jsonout_close(o, ']');
}

int view_dataset(struct jsonout *o, const char *key, const struct view_source *s, struct id128 id,
	bool with_history)
{
	struct assign_view v;
	int r = assign_dataset(s->assign, s->now_ms, id, &v);

	if (r < 0)
		return r;
	jsonout_open(o, key, '{');
	add_wish(o, s, &v);
	add_truth(o, s, &v);
	add_volume(o, s, v.record);
	add_revision(o, s, EVENT_DATASET, id);
	if (with_history)
		add_history(o, s->history, id);
	jsonout_close(o, '}');
	return 0;
}

/* ---- nodes ---- */

const char *const view_node_states[] = { "live", "away", "lost", "given-up", "forgotten", "refused" };
static_assert(ARRAY_SIZE(view_node_states) == VIEW_NODE_STATES, "a state has no word");

enum view_node_state view_node_state(const struct assign_node_view *n)
{
	return n->forgotten  ? VIEW_NODE_FORGOTTEN
	       : n->live     ? VIEW_NODE_LIVE
	       : n->refused  ? VIEW_NODE_REFUSED
	       : n->given_up ? VIEW_NODE_GIVEN_UP
	       : n->lost     ? VIEW_NODE_LOST
			     : VIEW_NODE_AWAY;
}

/* To seven binary digits, which is about one in a hundred. */
static uint64_t roughly(uint64_t v)
{
	int shift = v ? MAX(57 - __builtin_clzll(v), 0) : 0;

	return v >> shift << shift;
}

void view_room(struct jsonout *o, const struct wire_backend *b, bool steady)
{
	uint64_t left = steady ? roughly(b->free_bytes) : b->free_bytes;
	uint64_t promised = steady ? roughly(b->promised_bytes) : b->promised_bytes;

	add_number(o, "capacity", b->capacity_bytes, b->capacity_bytes > 0);
	add_number(o, "free", left, b->capacity_bytes > 0 || b->free_bytes > 0);
	add_number(o, "promised", promised, b->promised_bytes > 0);
	jsonout_text(o, "warning", *b->warning ? b->warning : NULL);
}

void view_capabilities(struct jsonout *o, const char *words)
{
	jsonout_open(o, "capabilities", '[');
	while (*words) {
		char word[sizeof(((struct wire_backend *)NULL)->capabilities)];
		size_t n = strcspn(words, " ");

		snprintf(word, sizeof(word), "%.*s", (int)n, words);
		jsonout_text(o, NULL, word);
		words += n + (words[n] == ' ');
	}
	jsonout_close(o, ']');
}

static void add_backends(struct jsonout *o, const struct view_source *s, const struct assign_node_view *n)
{
	jsonout_open(o, "backends", '[');
	for (const struct wire_backend *b = n->backends; b < n->backends + n->n_backends; b++) {
		jsonout_open(o, NULL, '{');
		jsonout_text(o, "name", b->name);
		jsonout_text(o, "driver", b->driver);
		view_room(o, b, s->steady);
		add_number(o, "allocation_unit", b->allocation_unit, b->allocation_unit > 0);
		jsonout_bool(o, "shared", b->shared);
		view_capabilities(o, b->capabilities);
		jsonout_close(o, '}');
	}
	jsonout_close(o, ']');
}

#define STUCK_MAX 32 /* of more only the number is told */

struct drain {
	struct jsonout *o;
	const struct view_source *source;
	struct id128 node;
	size_t left, shown;
};

/* It is not on its way to another node, or its way out is blocked. */
static bool is_stuck(const struct drain *d, const struct assign_view *v)
{
	const struct wire_status *s = owner_status(v);

	return (!v->record->deleted && id128_equal(v->record->primary, d->node)) || (s && s->error);
}

static int on_left(const struct assign_view *v, void *userdata)
{
	struct drain *d = userdata;
	const struct ds_record *r = v->record;
	char why[1024];

	d->left++;
	if (d->shown == STUCK_MAX || !is_stuck(d, v))
		return 0;
	d->shown++;
	jsonout_open(d->o, NULL, '{');
	jsonout_id(d->o, "dataset_id", r->dataset_id);
	jsonout_text(d->o, "name", ds_record_text(r, RECORD_NAME_KEY));
	jsonout_text(d->o, "why", assign_drain_why(d->source->assign, d->source->now_ms, r->dataset_id, why,
		sizeof(why)));
	jsonout_close(d->o, '}');
	return 0;
}

static void add_drain(struct jsonout *o, const struct view_source *s, const struct assign_node_view *n)
{
	struct drain d = { .o = o, .source = s, .node = n->uuid };

	jsonout_bool(o, "draining", n->draining_since);
	if (n->draining_since) {
		jsonout_open(o, "drain", '{');
		jsonout_time(o, "since", n->draining_since * 1000);
		jsonout_open(o, "stuck", '[');
		(void)assign_node_datasets(s->assign, s->now_ms, n->uuid, on_left, &d);
		jsonout_close(o, ']');
		jsonout_u64(o, "left", d.left); /* one pass finds both */
		jsonout_close(o, '}');
	} else {
		jsonout_null(o, "drain");
	}
	jsonout_bool(o, "drained", n->draining_since && d.left == 0);
}

int view_node(struct jsonout *o, const char *key, const struct view_source *s, struct id128 uuid)
{
	struct assign_node_view n;
	int r = assign_node(s->assign, s->now_ms, uuid, &n);

	if (r < 0)
		return r;
	jsonout_open(o, key, '{');
	jsonout_id(o, "uuid", n.uuid);
	jsonout_text(o, "host", n.address);
	jsonout_text(o, "state", view_node_states[view_node_state(&n)]);
	jsonout_bool(o, "live", n.live);
	add_drain(o, s, &n);
	add_backends(o, s, &n);
	jsonout_text(o, "version", n.version);
	jsonout_id(o, "boot", n.boot);
	add_number(o, "silent_s", n.silent_ms / 1000, n.heard && !s->steady);
	jsonout_bool(o, "awaited", n.awaited);
	jsonout_text(o, "refused", n.refused);
	jsonout_u64(o, "n_datasets", n.n_owned);
	jsonout_open(o, "unknown_datasets", '[');
	for (size_t i = 0; i < n.n_unknown; i++)
		jsonout_id(o, NULL, n.unknown[i]);
	jsonout_close(o, ']');
	add_revision(o, s, EVENT_NODE, uuid);
	jsonout_close(o, '}');
	return 0;
}

/* ---- leases ---- */

int view_lease(struct jsonout *o, const char *key, const struct view_source *s, struct id128 dataset_id)
{
	struct assign_pin_view v;
	int r = assign_pin(s->assign, s->now_ms, dataset_id, false, &v);

	if (r < 0)
		return r;
	jsonout_open(o, key, '{');
	jsonout_id(o, "dataset_id", v.dataset_id);
	jsonout_id(o, "node", v.node);
	jsonout_time(o, "expires", v.endless ? 0 : v.expires_ms);
	jsonout_close(o, '}');
	return 0;
}
