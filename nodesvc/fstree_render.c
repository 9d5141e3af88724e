/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fstree_render.c - the content of every file, made from the views when it is asked for: a
 * thousand datasets have twenty thousand files, of which few are ever read.
 */
#include <inttypes.h>
#include <time.h>

#include "fstree_private.h"
#include "jsonin.h"

#define TIME_SIZE 32

/* clang-format off */
const char *const fs_ds_files[FILE_MAX] = {
	[FILE_STATE] = "state",		    [FILE_WANTED] = "wanted",
	[FILE_WHY] = "why",		    [FILE_SINCE] = "since",
	[FILE_OWNER] = "owner",		    [FILE_EPOCH] = "epoch",
	[FILE_PRIMARY] = "primary",	    [FILE_SIZE] = "size",
	[FILE_WANTED_SIZE] = "wanted_size",
	[FILE_USED] = "used",		    [FILE_AVAILABLE] = "available",
	[FILE_TRIMMED] = "trimmed",	    [FILE_TRIMMED_BYTES] = "trimmed_bytes",
	[FILE_DEVICE] = "device",	    [FILE_FILESYSTEM] = "filesystem",
	[FILE_FS_UUID] = "fs_uuid",	    [FILE_MOUNTPOINT] = "mountpoint",
	[FILE_LEASE] = "lease",		    [FILE_HOLDERS] = "holders",
	[FILE_LAST_ERROR] = "last_error",   [FILE_STATUS] = "status.json",
	[FILE_EVENTS] = "events",
};

const char *const fs_node_files[NODE_FILE_MAX] = {
	[NODE_UUID] = "uuid",		    [NODE_ERA] = "era",
	[NODE_CONTROL] = "control",	    [NODE_CONNECTED] = "connected",
	[NODE_CERTIFICATE_EXPIRES] = "certificate_expires",
	[NODE_AUTHORITY_EXPIRES] = "authority_expires",
	[NODE_VERSION] = "version",	    [NODE_WATCHDOG] = "watchdog",
	[NODE_CAPACITY] = "capacity",	    [NODE_FREE] = "free",
	[NODE_PROMISED] = "promised",	    [NODE_WARNINGS] = "warnings",
	[NODE_METRICS] = "metrics",	    [NODE_STATUS] = "status.json",
};
/* clang-format on */

void fs_text_put(struct fs_text *b, const char *s, size_t size)
{
	if (size > b->size - b->len) {
		size_t want = MAX(b->len + size, MAX(b->size * 2, (size_t)128));
		char *grown = realloc(b->s, want);

		if (!grown) {
			b->failed = true;
			return;
		}
		b->s = grown;
		b->size = want;
	}
	if (size > 0)
		memcpy(b->s + b->len, s, size);
	b->len += size;
}

void fs_text_done(struct fs_text *b)
{
	free(b->s);
	*b = (struct fs_text){ 0 };
}

const char *fs_metadata_text(struct json_object *value)
{
	return value ? json_object_get_string(value) : "";
}

static const char *time_text(int64_t ms, char buf[TIME_SIZE])
{
	time_t s = ms / 1000;
	struct tm tm;
	size_t n;

	gmtime_r(&s, &tm);
	n = strftime(buf, TIME_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf + n, TIME_SIZE - n, ".%03uZ", (unsigned int)(ms % 1000) % 1000);
	return buf;
}

void fs_text_time(struct fs_text *b, int64_t ms)
{
	char buf[TIME_SIZE];

	time_text(ms, buf);
	fs_text_put(b, buf, strlen(buf));
}

static void line(struct fs_text *b, const char *s)
{
	if (!s || !*s)
		return;
	fs_text_put(b, s, strlen(s));
	fs_text_put(b, "\n", 1);
}

/* Each has its newline. */
static void lines(struct fs_text *b, const char *s)
{
	if (s)
		fs_text_put(b, s, strlen(s));
}

static void number_line(struct fs_text *b, uint64_t v)
{
	char buf[24];

	snprintf(buf, sizeof(buf), "%" PRIu64, v);
	line(b, buf);
}

static void id_line(struct fs_text *b, struct id128 id)
{
	if (!id128_is_nil(id))
		line(b, ID128_STR(id));
}

static void time_line(struct fs_text *b, int64_t ms)
{
	char buf[TIME_SIZE];

	if (ms != 0)
		line(b, time_text(ms, buf));
}

/* ---- status.json, written as it goes: a tree of objects would cost more than the request ---- */

static void put(struct fs_text *b, const char *s)
{
	fs_text_put(b, s, strlen(s));
}

/* A string as JSON has to have it; what is no UTF-8 (paths, command names) becomes U+FFFD. */
static void json_string(struct fs_text *b, const char *s, size_t size)
{
	const char *end = s + size;
	char escape[8];

	put(b, "\"");
	while (s < end) {
		const char *run = s;
		unsigned int n;

		while (s < end && (uint8_t)*s >= 0x20 && (uint8_t)*s < 0x80 && *s != '"' &&
			*s != '\\')
			s++;
		fs_text_put(b, run, (size_t)(s - run));
		if (s == end)
			break;
		n = utf8_length(s, end);
		if (n == 0) {
			put(b, "\xef\xbf\xbd");
		} else if (n > 1) {
			fs_text_put(b, s, n);
		} else {
			snprintf(escape, sizeof(escape), (uint8_t)*s < 0x20 ? "\\u%04x" : "\\%c",
				*s);
			put(b, escape);
		}
		s += MAX(n, 1u);
	}
	put(b, "\"");
}

/* The next member's name; @b ends in "{" before the first. */
static void member(struct fs_text *b, const char *key)
{
	put(b, b->len > 0 && b->s[b->len - 1] == '{' ? "\n  \"" : ",\n  \"");
	put(b, key);
	put(b, "\": ");
}

static void add_string(struct fs_text *b, const char *key, const char *s)
{
	member(b, key);
	if (s && *s)
		json_string(b, s, strlen(s));
	else
		put(b, "null");
}

static void add_id(struct fs_text *b, const char *key, struct id128 id)
{
	add_string(b, key, id128_is_nil(id) ? NULL : ID128_STR(id));
}

static void add_time(struct fs_text *b, const char *key, int64_t ms)
{
	char buf[TIME_SIZE];

	add_string(b, key, ms != 0 ? time_text(ms, buf) : NULL);
}

static void add_number(struct fs_text *b, const char *key, bool known, uint64_t v)
{
	char buf[24];

	snprintf(buf, sizeof(buf), "%" PRIu64, v);
	member(b, key);
	put(b, known ? buf : "null");
}

static void add_lines(struct fs_text *b, const char *key, const char *s)
{
	const char *comma = "";

	member(b, key);
	put(b, "[");
	while (s && *s) {
		size_t n = strcspn(s, "\n");

		put(b, comma);
		json_string(b, s, n);
		comma = ", ";
		s += n + (s[n] == '\n');
	}
	put(b, "]");
}

static void add_metadata(struct fs_text *b, const char *key, struct json_object *metadata)
{
	const char *comma = "";

	member(b, key);
	put(b, "{");
	if (metadata) {
		json_object_object_foreach(metadata, name, value) {
			const char *text = fs_metadata_text(value);

			put(b, comma);
			json_string(b, name, strlen(name));
			put(b, ": ");
			json_string(b, text, strlen(text));
			comma = ", ";
		}
	}
	put(b, "}");
}

static void ds_json(const struct ds_view *v, struct fs_text *b)
{
	put(b, "{");
	add_id(b, "dataset_id", v->dataset_id);
	add_string(b, "name", v->name);
	add_time(b, "created_at", v->created_at * 1000);
	add_string(b, "state", ds_state_name(v->state));
	add_string(b, "wanted", wish_kind_name(v->wanted));
	add_string(b, "why", v->why);
	add_time(b, "since", v->since_ms);
	add_id(b, "owner", v->owner);
	add_number(b, "epoch", v->epoch != 0, v->epoch);
	add_id(b, "primary", v->primary);
	add_number(b, "size", v->size_bytes != 0, v->size_bytes);
	add_number(b, "wanted_size", v->want_bytes != 0, v->want_bytes);
	add_number(b, "used", v->used_at_ms != 0, v->used_bytes);
	add_number(b, "available", v->used_at_ms != 0, v->available_bytes);
	add_time(b, "used_at", v->used_at_ms);
	add_time(b, "trimmed", v->trimmed_at_ms);
	add_number(b, "trimmed_bytes", v->trimmed_at_ms != 0, v->trimmed_bytes);
	add_string(b, "device", v->device);
	add_string(b, "filesystem", v->filesystem);
	add_id(b, "fs_uuid", v->fs_uuid);
	add_string(b, "mountpoint", v->mountpoint);
	add_string(b, "lease", v->lease);
	add_lines(b, "holders", v->holders);
	add_string(b, "last_error", v->last_error);
	add_metadata(b, "metadata", v->metadata);
	put(b, "\n}\n");
}

static void node_json(const struct node_view *v, struct fs_text *b)
{
	put(b, "{");
	add_id(b, "uuid", v->uuid);
	add_id(b, "era", v->era);
	add_string(b, "control", v->control);
	member(b, "connected");
	put(b, v->connected ? "true" : "false");
	add_time(b, "connected_since", v->connected_since_ms);
	add_string(b, "version", v->version);
	add_string(b, "backend", v->backend);
	add_time(b, "certificate_expires", v->certificate_expires_ms);
	add_time(b, "authority_expires", v->authority_expires_ms);
	add_string(b, "watchdog", v->watchdog);
	add_number(b, "capacity", v->capacity_bytes != 0, v->capacity_bytes);
	add_number(b, "free", v->capacity_bytes != 0, v->free_bytes);
	add_number(b, "promised", v->promised_bytes != 0, v->promised_bytes);
	add_lines(b, "warnings", v->warnings);
	add_string(b, "last_error", v->last_error);
	add_number(b, "datasets", true, v->datasets);
	add_number(b, "mounted", true, v->mounted);
	add_number(b, "troubled", true, v->troubled);
	put(b, "\n}\n");
}

/* ---- files ---- */

void fs_render_ds(const struct ds_view *v, enum ds_file file, struct fs_text *b)
{
	switch (file) {
	case FILE_STATE:
		return line(b, ds_state_name(v->state));
	case FILE_WANTED:
		return line(b, wish_kind_name(v->wanted));
	case FILE_WHY:
		return line(b, v->why);
	case FILE_SINCE:
		return time_line(b, v->since_ms);
	case FILE_OWNER:
		return id_line(b, v->owner);
	case FILE_EPOCH:
		return v->epoch != 0 ? number_line(b, v->epoch) : (void)0;
	case FILE_PRIMARY:
		return id_line(b, v->primary);
	case FILE_SIZE:
		return v->size_bytes != 0 ? number_line(b, v->size_bytes) : (void)0;
	case FILE_WANTED_SIZE:
		return v->want_bytes != 0 ? number_line(b, v->want_bytes) : (void)0;
	case FILE_USED:
		return v->used_at_ms != 0 ? number_line(b, v->used_bytes) : (void)0;
	case FILE_AVAILABLE:
		return v->used_at_ms != 0 ? number_line(b, v->available_bytes) : (void)0;
	case FILE_TRIMMED:
		return time_line(b, v->trimmed_at_ms);
	case FILE_TRIMMED_BYTES:
		return v->trimmed_at_ms != 0 ? number_line(b, v->trimmed_bytes) : (void)0;
	case FILE_DEVICE:
		return line(b, v->device);
	case FILE_FILESYSTEM:
		return line(b, v->filesystem);
	case FILE_FS_UUID:
		return id_line(b, v->fs_uuid);
	case FILE_MOUNTPOINT:
		return line(b, v->mountpoint);
	case FILE_LEASE:
		return line(b, v->lease);
	case FILE_HOLDERS:
		return lines(b, v->holders);
	case FILE_LAST_ERROR:
		return line(b, v->last_error);
	case FILE_STATUS:
		return ds_json(v, b);
	case FILE_EVENTS: /* not of the view: fs_render() has them */
	case FILE_MAX:
		return;
	}
}

void fs_render_node(const struct node_view *v, enum node_file file, struct fs_text *b)
{
	switch (file) {
	case NODE_UUID:
		return id_line(b, v->uuid);
	case NODE_ERA:
		return id_line(b, v->era);
	case NODE_CONTROL:
		return line(b, v->control);
	case NODE_CONNECTED:
		return line(b, v->connected ? "yes" : "no");
	case NODE_VERSION:
		return line(b, v->version);
	case NODE_CERTIFICATE_EXPIRES:
		return time_line(b, v->certificate_expires_ms);
	case NODE_AUTHORITY_EXPIRES:
		return time_line(b, v->authority_expires_ms);
	case NODE_WATCHDOG:
		return line(b, v->watchdog);
	case NODE_CAPACITY:
		return v->capacity_bytes != 0 ? number_line(b, v->capacity_bytes) : (void)0;
	case NODE_FREE:
		return v->capacity_bytes != 0 ? number_line(b, v->free_bytes) : (void)0;
	case NODE_PROMISED:
		return v->promised_bytes != 0 ? number_line(b, v->promised_bytes) : (void)0;
	case NODE_WARNINGS:
		return lines(b, v->warnings);
	case NODE_METRICS:
		return lines(b, v->metrics);
	case NODE_STATUS:
		return node_json(v, b);
	case NODE_FILE_MAX:
		return;
	}
}

int fs_render(const struct fstree *t, struct fs_object *o, unsigned int idx, struct fs_text *b)
{
	const struct fs_key *k;

	if (idx >= IDX_KEY) {
		k = fs_key_of(o, idx);
		if (k) {
			fs_text_put(b, k->value, strlen(k->value));
			fs_text_put(b, "\n", 1);
		}
	} else if (o == &t->node) {
		fs_render_node(t->node_view, idx - IDX_FILE, b);
	} else if (idx == IDX_FILE + FILE_EVENTS) {
		fs_text_put(b, o->events, o->events_size);
	} else {
		fs_render_ds(o->view, idx - IDX_FILE, b);
	}
	return b->failed ? -ENOMEM : 0;
}
