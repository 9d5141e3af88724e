/* SPDX-License-Identifier: Apache-2.0 */
/* flockerctl version, list-nodes and list: tables of many. Columns are those of the original tool.
 */
#include <inttypes.h>
#include <langinfo.h>

#include "ctl_live.h"
#include "say.h"
#include "text.h"

int ctl_run_version(struct ctl *c)
{
	_cleanup_json_ struct json_object *answer = NULL;
	const char *control = NULL;
	int r = CTL_OK;

	if (c->api) {
		r = ctl_call(c, "GET", "/v1/version", NULL, json_type_object, &answer);
		control = ctl_text(answer, "flocker");
	}
	if (c->args->json) {
		_cleanup_json_ struct json_object *o = json_object_new_object();

		json_object_object_add(o, "flockerctl", json_object_new_string(FLOCKER_VERSION));
		if (control)
			json_object_object_add(
				o, "flocker-control", json_object_new_string(control));
		ctl_print_json(o);
		return r;
	}
	puts("flockerctl " FLOCKER_VERSION);
	if (control) {
		fputs("flocker-control ", stdout);
		say_text(stdout, control);
		putchar('\n');
	}
	return r;
}

/* Of several the first, and how many more there are. */
static void format_backends(struct json_object *node, char *name, size_t size, char space[static TEXT_BYTES_SIZE])
{
	struct json_object *backends = ctl_member(node, "backends", json_type_array);
	size_t n = backends ? json_object_array_length(backends) : 0;
	struct json_object *first = n > 0 ? json_object_array_get_idx(backends, 0) : NULL;
	const char *driver = ctl_text(first, "driver");
	int64_t bytes;

	snprintf(name, size, "%.31s", driver ? driver : "");
	if (n > 1)
		snprintf(name + strlen(name), size - strlen(name), " +%zu", n - 1);
	if (ctl_number(first, "free", &bytes))
		text_bytes((uint64_t)bytes, space);
}

/* The server's word, but for what happens to nodes every day. */
static void format_node_state(struct json_object *node, char *buf, size_t size)
{
	struct json_object *drain = ctl_member(node, "drain", json_type_object);
	const char *state = ctl_text(node, "state");
	int64_t n = 0;

	if (ctl_flag(node, "live") && drain && ctl_number(drain, "left", &n))
		snprintf(buf, size, ctl_flag(node, "drained") ? "drained" : "draining, %" PRId64 " left", n);
	else if (state && STREQ(state, "away") && ctl_number(node, "silent_s", &n))
		snprintf(buf, size, "gone for %" PRId64 " s", n);
	else
		snprintf(buf, size, "%s", state && !STREQ(state, "away") ? state : "gone");
}

static int add_node(const struct ctl *c, struct table *t, struct json_object *node)
{
	const char *uuid = ctl_text(node, "uuid"), *host = ctl_text(node, "host");
	char id[ID128_TEXT], state[64], backend[64], space[TEXT_BYTES_SIZE] = "";

	snprintf(id, sizeof(id), "%.*s", c->args->long_form ? ID128_TEXT - 1 : CTL_SHORT_ID,
		uuid ? uuid : "?");
	format_node_state(node, state, sizeof(state));
	format_backends(node, backend, sizeof(backend), space);
	if (table_add(t, (const char *[]){ id, host ? host : "?", state, backend, ctl_text(node, "version"),
			space }) < 0)
		return -ENOMEM;
	table_paint(t, 2, ctl_colour_of(c, ctl_flag(node, "live") ? state : "gone"));
	return 0;
}

int ctl_print_nodes(const struct ctl *c, struct json_object *nodes, FILE *out)
{
	_cleanup_(table_freep) struct table *t = table_new(
		6, (const char *[]){ "SERVER", "ADDRESS", "STATE", "BACKEND", "VERSION", "FREE" });

	if (!t)
		return ctl_no_memory();
	for (size_t i = 0; i < json_object_array_length(nodes); i++)
		if (add_node(c, t, json_object_array_get_idx(nodes, i)) < 0)
			return ctl_no_memory();
	table_print(t, !c->args->no_header, out);
	return CTL_OK;
}

int ctl_run_nodes(struct ctl *c)
{
	_cleanup_json_ struct json_object *nodes = NULL;
	int r;

	if (c->args->watch)
		return ctl_watch_nodes(c);
	r = ctl_all(c, "/v2/nodes", "nodes", &nodes);
	if (r != CTL_OK)
		return r;
	if (c->args->json) {
		ctl_print_json(nodes);
		return CTL_OK;
	}
	r = ctl_print_nodes(c, nodes, stdout);
	ctl_warn_refused(nodes);
	ctl_warn_unknown(nodes);
	ctl_warn_backends(nodes);
	return r;
}

static bool destroyed(struct json_object *dataset)
{
	const char *state = ctl_text(dataset, "state");

	return ctl_flag(dataset, "deleted") && state && STREQ(state, "destroyed");
}

/* The original's words where it had one, else the state's own: nothing hides behind "pending". */
const char *ctl_status_word(struct json_object *d)
{
	static const char *const early[] = { "waiting", "creating" };
	const char *state = ctl_text(d, "state"), *owner = ctl_text(d, "owner");
	const char *node = ctl_text(d, "node");
	bool utf8 = STREQ(nl_langinfo(CODESET), "UTF-8");

	if (ctl_flag(d, "deleted"))
		return destroyed(d) ? "deleted" : ctl_text(d, "undelete_until") ? "deleted, kept" : "deleting";
	if (owner && node && !STREQ(owner, node))
		return "moving";
	if (!state)
		return utf8 ? "pending \u231b" : "pending";
	if (STREQ(state, "mounted"))
		return utf8 ? "attached \u2705" : "attached";
	for (size_t i = 0; i < ARRAY_SIZE(early); i++)
		if (STREQ(state, early[i]))
			return utf8 ? "pending \u231b" : "pending";
	return state;
}

/* "a=b,c=d", allocated; NULL when there is no memory. */
static char *format_metadata(struct json_object *dataset)
{
	struct json_object *metadata = ctl_member(dataset, "metadata", json_type_object);
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	bool first = true;

	if (!f)
		return NULL;
	if (metadata) {
		json_object_object_foreach(metadata, key, value)
		{
			fprintf(f, "%s%s=%s", first ? "" : ",", key, json_object_get_string(value));
			first = false;
		}
	}
	if (fclose(f) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

int ctl_datasets_begin(struct ctl_datasets *l, const struct ctl *c, struct json_object *nodes)
{
	l->ctl = c;
	l->nodes = ctl_index(nodes, "uuid");
	l->table = table_new(5, (const char *[]){ "DATASET", "SIZE", "METADATA", "STATUS", "SERVER" });
	return l->nodes && l->table ? CTL_OK : ctl_no_memory();
}

int ctl_datasets_add(struct ctl_datasets *l, struct json_object *dataset)
{
	_cleanup_free_ char *metadata = format_metadata(dataset);
	const char *state = ctl_text(dataset, "state"), *node = ctl_text(dataset, "node");
	char size[64] = "", server[320] = "-";
	int64_t bytes;

	if (!metadata)
		return ctl_no_memory();
	if (ctl_number(dataset, "size", &bytes))
		snprintf(size, sizeof(size), "%.2fG", (double)bytes / (double)GIB);
	if (node)
		ctl_format_node(l->nodes, node, l->ctl->args->long_form, server, sizeof(server));
	if (table_add(l->table,
		    (const char *[]){ ctl_text(dataset, "dataset_id"), size, metadata,
			    ctl_status_word(dataset), server }) < 0)
		return ctl_no_memory();
	table_paint(l->table, 3, ctl_colour_of(l->ctl, state ? state : ""));
	return CTL_OK;
}

void ctl_datasets_done(struct ctl_datasets *l)
{
	table_free(l->table);
	json_object_put(l->nodes);
	*l = (struct ctl_datasets){ 0 };
}

/* Destroyed datasets stay in the configuration for a while; only --deleted shows them. */
bool ctl_is_listed(const struct ctl *c, struct json_object *dataset)
{
	return c->args->deleted || !destroyed(dataset);
}

static int on_dataset(struct json_object *o, void *userdata)
{
	struct ctl_datasets *l = userdata;

	return ctl_is_listed(l->ctl, o) ? ctl_datasets_add(l, o) : CTL_OK;
}

struct json_list {
	const struct ctl *ctl;
	bool begun;
};

/* One after the other: a list of all of them would take memory for nothing. */
static int on_json(struct json_object *o, void *userdata)
{
	struct json_list *l = userdata;

	if (!ctl_is_listed(l->ctl, o))
		return CTL_OK;
	puts(l->begun ? "," : "[");
	l->begun = true;
	say_json(stdout, json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
		JSON_C_TO_STRING_NOSLASHESCAPE) ?: "null");
	return CTL_OK;
}

static int list_json(struct ctl *c)
{
	struct json_list l = { .ctl = c };
	int r = ctl_each(c, CTL_ALL_DATASETS, "datasets", on_json, &l, NULL);

	if (r == CTL_OK)
		puts(l.begun ? "\n]" : "[]");
	return r;
}

int ctl_run_list(struct ctl *c)
{
	_cleanup_(ctl_datasets_done) struct ctl_datasets l = { 0 };
	_cleanup_json_ struct json_object *nodes = NULL;
	int r;

	if (c->args->watch)
		return ctl_watch_datasets(c);
	if (c->args->json)
		return list_json(c);
	r = ctl_all(c, "/v2/nodes", "nodes", &nodes);
	if (r == CTL_OK)
		r = ctl_datasets_begin(&l, c, nodes);
	if (r == CTL_OK)
		r = ctl_each(c, CTL_ALL_DATASETS, "datasets", on_dataset, &l, NULL);
	if (r != CTL_OK)
		return r;
	table_print(l.table, !c->args->no_header, stdout);
	ctl_warn_refused(nodes);
	return CTL_OK;
}
