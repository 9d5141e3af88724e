/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --watch: a table that follows the events. On a terminal it is drawn again in place, a few times a second at
 * most; elsewhere a line tells each change.
 */
#include <time.h>

#include "ctl_live.h"
#include "ctl_stream.h"
#include "say.h"
#include "screen.h"

#define DRAW_EVERY_MS 100
#define DRAW_SHARE 5	  /* of the time at most a fifth goes into drawing, however long the table is */
#define CLOCK_MS 1000 /* ages on the screen grow even when nothing changes */

struct watch {
	struct ctl *ctl;
	const char *dataset_id;	      /* of one dataset, or NULL */
	bool has_datasets;	      /* the table is of datasets, and the nodes are for their names */
	struct json_object *datasets; /* by id, in the list's order */
	struct json_object *nodes;    /* by UUID */
	struct json_object *one;      /* the dataset whole */
	char lost[256];		      /* what is wrong with the connection; "" */
	bool on_screen;
	int status;
};

/* ---- what is shown ---- */

/* Of 100,000 datasets only what a line needs can be kept. */
static struct json_object *strip(struct json_object *o)
{
	static const char *const kept[] = { "dataset_id", "name", "metadata", "state", "node", "owner", "size",
		"deleted", "undelete_until" };
	struct json_object *copy = json_object_new_object(), *v;

	for (size_t i = 0; copy && i < ARRAY_SIZE(kept); i++)
		if (json_object_object_get_ex(o, kept[i], &v) &&
			json_object_object_add(copy, kept[i], json_object_get(v)) < 0)
			json_object_put(TAKE_PTR(copy));
	return copy;
}

static int keep(struct json_object *map, const char *id, struct json_object *o)
{
	if (id && (!o || json_object_object_add(map, id, o) < 0)) {
		json_object_put(o);
		return ctl_no_memory();
	}
	return CTL_OK;
}

static int on_dataset(struct json_object *o, void *userdata)
{
	struct watch *w = userdata;
	const char *id = ctl_text(o, "dataset_id");

	if (id && !ctl_is_listed(w->ctl, o)) {
		json_object_object_del(w->datasets, id);
		return CTL_OK;
	}
	return keep(w->datasets, id, strip(o));
}

static int on_node(struct json_object *o, void *userdata)
{
	struct watch *w = userdata;

	return keep(w->nodes, ctl_text(o, "uuid"), json_object_get(o));
}

static int load_one(struct watch *w)
{
	struct json_object *d = NULL;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/v2/datasets/%.36s", w->dataset_id);
	r = ctl_call(w->ctl, "GET", path, NULL, json_type_object, &d);
	if (r != CTL_OK)
		return r;
	json_object_put(w->one);
	w->one = d;
	return CTL_OK;
}

/* All anew; @ret_revision is where events go on. */
static int load(struct watch *w, char **ret_revision)
{
	int r;

	json_object_put(w->datasets);
	json_object_put(w->nodes);
	w->datasets = json_object_new_object();
	w->nodes = json_object_new_object();
	if (!w->datasets || !w->nodes)
		return ctl_no_memory();
	r = ctl_each(w->ctl, "/v2/nodes", "nodes", on_node, w, ret_revision);
	if (r == CTL_OK && w->dataset_id)
		r = load_one(w);
	else if (r == CTL_OK && w->has_datasets)
		r = ctl_each(w->ctl, CTL_ALL_DATASETS, "datasets", on_dataset, w, NULL);
	return r;
}

static int take_event(struct watch *w, const struct ctl_event *e)
{
	const char *id = ctl_text(e->data, "dataset_id"), *uuid = ctl_text(e->data, "uuid");

	if (STREQ(e->type, "node"))
		return on_node(e->data, w);
	if (STREQ(e->type, "node-dropped") && uuid)
		json_object_object_del(w->nodes, uuid);
	if (w->dataset_id)
		return STREQ(e->type, "dataset") ? load_one(w) : CTL_OK;
	if (STREQ(e->type, "dataset"))
		return on_dataset(e->data, w);
	if (STREQ(e->type, "dataset-dropped") && id)
		json_object_object_del(w->datasets, id);
	return CTL_OK;
}

/* ---- on a terminal ---- */

/* The values of an object as an array; NULL: no memory. */
static struct json_object *values(struct json_object *map)
{
	struct json_object *list = json_object_new_array();

	json_object_object_foreach(map, key, value) {
		(void)key;
		if (list && json_object_array_add(list, json_object_get(value)) < 0) {
			json_object_put(value);
			json_object_put(TAKE_PTR(list));
		}
	}
	return list;
}

static int draw_datasets(struct watch *w, struct json_object *nodes, FILE *out)
{
	_cleanup_(ctl_datasets_done) struct ctl_datasets l = { 0 };
	int r = ctl_datasets_begin(&l, w->ctl, nodes);

	json_object_object_foreach(w->datasets, key, value) {
		(void)key;
		if (r == CTL_OK)
			r = ctl_datasets_add(&l, value);
	}
	if (r == CTL_OK)
		table_print(l.table, !w->ctl->args->no_header, out);
	return r;
}

static void draw_head(const struct watch *w, FILE *out)
{
	time_t now = time(NULL);
	struct tm tm;
	char clock[16] = "";

	if (localtime_r(&now, &tm))
		strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	fprintf(out, "%s  ", clock);
	say_text(out, w->ctl->args->host);
	if (w->has_datasets)
		fprintf(out, "  %d datasets", json_object_object_length(w->datasets));
	if (!w->dataset_id)
		fprintf(out, "  %d nodes", json_object_object_length(w->nodes));
	fputs("  ctrl-C ends\n", out);
	if (w->lost[0]) {
		fputs(w->ctl->colour ? "\033[31m" : "", out);
		say_text(out, w->lost);
		fputs(w->ctl->colour ? "\033[0m; trying again\n" : "; trying again\n", out);
	}
	fputc('\n', out);
}

static int draw(struct watch *w)
{
	_cleanup_json_ struct json_object *nodes = values(w->nodes);
	char *text = NULL;
	size_t size;
	FILE *out = nodes ? open_memstream(&text, &size) : NULL;
	int r = CTL_OK;

	if (!out)
		return ctl_no_memory();
	draw_head(w, out);
	if (w->dataset_id)
		ctl_print_dataset(w->ctl, w->one, nodes, out);
	else if (w->has_datasets)
		r = draw_datasets(w, nodes, out);
	else
		r = ctl_print_nodes(w->ctl, nodes, out);
	if (fclose(out) != 0)
		r = ctl_no_memory();
	if (r == CTL_OK)
		screen_draw(text);
	free(text);
	return r;
}

/* ---- elsewhere ---- */

static int print_change(const struct watch *w, const char *type, const char *revision, struct json_object *o)
{
	int r = CTL_OK;

	if (w->ctl->args->json)
		r = ctl_print_json_line(revision, type, o);
	else
		ctl_print_change(w->ctl, stdout, type, o);
	fflush(stdout);
	return r;
}

static int print_all(const struct watch *w, const char *type, const char *revision, struct json_object *map)
{
	int r = CTL_OK;

	json_object_object_foreach(map, id, o) {
		(void)id;
		if (r == CTL_OK)
			r = print_change(w, type, revision, o);
	}
	return r;
}

static int print_first(const struct watch *w, const char *revision)
{
	if (w->one)
		return print_change(w, "dataset", revision, w->one);
	if (w->has_datasets)
		return print_all(w, "dataset", revision, w->datasets);
	return print_all(w, "node", revision, w->nodes);
}

/* ---- the loop ---- */

/* 0: go on; 1: that was the end of it, with w->status. */
static int reload(struct watch *w, struct ctl_stream *stream)
{
	_cleanup_free_ char *revision = NULL;
	bool drawn = w->on_screen;

	/* What goes wrong is to be read, so not on a screen that is about to go. */
	screen_close();
	w->on_screen = false;
	w->status = load(w, &revision);
	if (w->status != CTL_OK)
		return 1;
	ctl_stream_from(stream, revision);
	if (drawn)
		w->on_screen = screen_open() == 0;
	return 0;
}

static void say_lost(struct watch *w, const char *error)
{
	bool is_first = !w->lost[0];

	snprintf(w->lost, sizeof(w->lost), "%s", error);
	if (is_first && !w->on_screen)
		fprintf(stderr, "Warning: %s; trying again\n", error);
}

/* 0: go on, the picture is another when *@dirty; 1: that was the end of it. */
static int take_news(struct watch *w, struct ctl_stream *stream, enum ctl_news news, const struct ctl_event *e,
	bool *dirty)
{
	switch (news) {
	case NEWS_EVENT:
		w->status = take_event(w, e);
		if (w->status == CTL_OK && !w->on_screen && !(w->has_datasets && strncmp(e->type, "node", 4) == 0))
			w->status = print_change(w, e->type, e->revision, e->data);
		*dirty = true;
		return w->status != CTL_OK;
	case NEWS_OPEN:
		*dirty |= w->lost[0] != '\0';
		w->lost[0] = '\0';
		return 0;
	case NEWS_LOST:
		say_lost(w, ctl_stream_error(stream));
		*dirty = true;
		return 0;
	case NEWS_GONE:
		*dirty = true;
		return reload(w, stream);
	case NEWS_FAILED:
		w->status = ctl_stream_status(stream);
		return 1;
	default:
		return 0;
	}
}

static int take_signals(bool *dirty)
{
	enum screen_event e = screen_signals();

	*dirty |= e == SCREEN_AGAIN;
	return e == SCREEN_END;
}

/* When the picture is drawn again; what has not changed has clocks in it all the same. */
static uint64_t due_ms(uint64_t drawn_ms, uint64_t pause_ms, bool dirty)
{
	return drawn_ms + (dirty ? pause_ms : MAX(pause_ms, (uint64_t)CLOCK_MS));
}

static void follow(struct watch *w, struct ctl_stream *stream)
{
	uint64_t drawn_ms = 0, pause_ms = DRAW_EVERY_MS;
	bool dirty = true;
	struct ctl_event e;
	int end = 0;

	while (!end && !ferror(stdout)) {
		uint64_t now = ctl_now_ms(), due = due_ms(drawn_ms, pause_ms, dirty);
		enum ctl_news news = NEWS_TIMEOUT;

		if (!w->on_screen || now < due)
			news = ctl_stream_next(stream, w->on_screen ? due : UINT64_MAX, screen_mask(), &e);
		end = take_news(w, stream, news, &e, &dirty);
		if (!end && w->on_screen)
			end = take_signals(&dirty);
		now = ctl_now_ms();
		if (end || !w->on_screen || now < due_ms(drawn_ms, pause_ms, dirty))
			continue;
		w->status = draw(w);
		end = w->status != CTL_OK;
		drawn_ms = ctl_now_ms();
		pause_ms = MAX((drawn_ms - now) * DRAW_SHARE, (uint64_t)DRAW_EVERY_MS);
		dirty = false;
	}
}

static int watch(struct watch *w, const char *query)
{
	_cleanup_(ctl_stream_freep) struct ctl_stream *stream = NULL;
	_cleanup_free_ char *revision = NULL;

	w->status = load(w, &revision);
	if (w->status == CTL_OK)
		w->status = ctl_stream_new(w->ctl, query, &stream);
	if (w->status == CTL_OK) {
		ctl_stream_from(stream, revision);
		w->on_screen = !w->ctl->args->json && screen_open() == 0;
		if (!w->on_screen)
			w->status = print_first(w, revision ? revision : "");
		if (w->status == CTL_OK)
			follow(w, stream);
		screen_close();
	}
	json_object_put(w->datasets);
	json_object_put(w->nodes);
	json_object_put(w->one);
	screen_die();
	return w->status;
}

int ctl_watch_nodes(struct ctl *c)
{
	struct watch w = { .ctl = c };

	return watch(&w, "type=node");
}

int ctl_watch_datasets(struct ctl *c)
{
	struct watch w = { .ctl = c, .has_datasets = true };

	return watch(&w, "type=dataset,node");
}

int ctl_watch_dataset(struct ctl *c, const char *dataset_id)
{
	struct watch w = { .ctl = c, .dataset_id = dataset_id };
	char query[64];

	snprintf(query, sizeof(query), "type=dataset,lease&dataset=%.36s", dataset_id);
	return watch(&w, query);
}
