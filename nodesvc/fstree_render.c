/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fstree_render.c - the content of every file, made from the views when it is asked for: a
 * thousand datasets have twenty thousand files, of which few are ever read.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <time.h>

#include "fstree_private.h"
#include "jsonin.h"

#define TIME_SIZE 32

const char *const fs_ds_files[FILE_MAX] = {
	[FILE_STATE] = "state",		    [FILE_WANTED] = "wanted",
	[FILE_WHY] = "why",		    [FILE_SINCE] = "since",
	[FILE_OWNER] = "owner",		    [FILE_EPOCH] = "epoch",
	[FILE_PRIMARY] = "primary",	    [FILE_SIZE] = "size",
	[FILE_USED] = "used",		    [FILE_AVAILABLE] = "available",
	[FILE_DEVICE] = "device",	    [FILE_FILESYSTEM] = "filesystem",
	[FILE_FS_UUID] = "fs_uuid",	    [FILE_MOUNTPOINT] = "mountpoint",
	[FILE_LEASE] = "lease",		    [FILE_HOLDERS] = "holders",
	[FILE_LAST_ERROR] = "last_error",   [FILE_STATUS] = "status.json",
	[FILE_EVENTS] = "events",
};

const char *const fs_node_files[NODE_FILE_MAX] = {
	[NODE_UUID] = "uuid",		    [NODE_ERA] = "era",
	[NODE_CONTROL] = "control",	    [NODE_CONNECTED] = "connected",
	[NODE_VERSION] = "version",	    [NODE_STATUS] = "status.json",
};

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

void fs_text_add(struct fs_text *b, const char *fmt, ...)
{
	_cleanup_free_ char *s = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0) {
		s = NULL;
		b->failed = true;
		return;
	}
	fs_text_put(b, s, (size_t)n);
}

void fs_text_done(struct fs_text *b)
{
	free(b->s);
	*b = (struct fs_text){ 0 };
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

	fs_text_add(b, "%s", time_text(ms, buf));
}

static void line(struct fs_text *b, const char *s)
{
	if (!s || !*s)
		return;
	fs_text_put(b, s, strlen(s));
	fs_text_put(b, "\n", 1);
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

/* Takes over @value; NULL is null, as json-c has it. */
static void add(struct json_object *o, const char *key, struct json_object *value)
{
	json_object_object_add(o, key, value);
}

/* A string as JSON has to have it: what is no UTF-8 (paths, command names) becomes U+FFFD. */
static struct json_object *string_of(const char *s, size_t size)
{
	struct fs_text b = { 0 };
	struct json_object *o = NULL;

	for (const char *p = s; p < s + size;) {
		unsigned int n = utf8_length(p, s + size);

		if (n > 0)
			fs_text_put(&b, p, n);
		else
			fs_text_put(&b, "\xef\xbf\xbd", 3);
		p += n > 0 ? n : 1;
	}
	if (!b.failed)
		o = json_object_new_string_len(b.s ? b.s : "", (int)b.len);
	fs_text_done(&b);
	return o;
}

static void add_string(struct json_object *o, const char *key, const char *s)
{
	add(o, key, s && *s ? string_of(s, strlen(s)) : NULL);
}

static void add_id(struct json_object *o, const char *key, struct id128 id)
{
	add_string(o, key, id128_is_nil(id) ? NULL : ID128_STR(id));
}

static void add_time(struct json_object *o, const char *key, int64_t ms)
{
	char buf[TIME_SIZE];

	add_string(o, key, ms != 0 ? time_text(ms, buf) : NULL);
}

static void add_number(struct json_object *o, const char *key, bool known, uint64_t v)
{
	add(o, key, known ? json_object_new_uint64(v) : NULL);
}

static struct json_object *lines_of(const char *s)
{
	struct json_object *list = json_object_new_array();

	while (s && *s) {
		size_t n = strcspn(s, "\n");

		json_object_array_add(list, string_of(s, n));
		s += n + (s[n] == '\n');
	}
	return list;
}

static void json_line(struct fs_text *b, struct json_object *o)
{
	size_t size;
	const char *s = json_object_to_json_string_length(o, JSON_C_TO_STRING_PRETTY |
		JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE, &size);

	if (!s) {
		b->failed = true;
		return;
	}
	fs_text_put(b, s, size);
	fs_text_put(b, "\n", 1);
}

static void ds_json(const struct ds_view *v, struct fs_text *b)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();

	add_id(o, "dataset_id", v->dataset_id);
	add_string(o, "name", v->name);
	add_time(o, "created_at", v->created_at * 1000);
	add_string(o, "state", ds_state_name(v->state));
	add_string(o, "wanted", wish_kind_name(v->wanted));
	add_string(o, "why", v->why);
	add_time(o, "since", v->since_ms);
	add_id(o, "owner", v->owner);
	add_number(o, "epoch", v->epoch != 0, v->epoch);
	add_id(o, "primary", v->primary);
	add_number(o, "size", v->size_bytes != 0, v->size_bytes);
	add_number(o, "used", v->used_at_ms != 0, v->used_bytes);
	add_number(o, "available", v->used_at_ms != 0, v->available_bytes);
	add_time(o, "used_at", v->used_at_ms);
	add_string(o, "device", v->device);
	add_string(o, "filesystem", v->filesystem);
	add_id(o, "fs_uuid", v->fs_uuid);
	add_string(o, "mountpoint", v->mountpoint);
	add_string(o, "lease", v->lease);
	add(o, "holders", lines_of(v->holders));
	add_string(o, "last_error", v->last_error);
	add(o, "metadata", v->metadata ? json_object_get(v->metadata) : json_object_new_object());
	json_line(b, o);
}

static void node_json(const struct node_view *v, struct fs_text *b)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();

	add_id(o, "uuid", v->uuid);
	add_id(o, "era", v->era);
	add_string(o, "control", v->control);
	add(o, "connected", json_object_new_boolean(v->connected));
	add_time(o, "connected_since", v->connected_since_ms);
	add_string(o, "version", v->version);
	add_string(o, "backend", v->backend);
	add_string(o, "last_error", v->last_error);
	add_number(o, "datasets", true, v->datasets);
	add_number(o, "mounted", true, v->mounted);
	add_number(o, "troubled", true, v->troubled);
	json_line(b, o);
}

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
	case FILE_USED:
		return v->used_at_ms != 0 ? number_line(b, v->used_bytes) : (void)0;
	case FILE_AVAILABLE:
		return v->used_at_ms != 0 ? number_line(b, v->available_bytes) : (void)0;
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
		return v->holders ? fs_text_put(b, v->holders, strlen(v->holders)) : (void)0;
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
