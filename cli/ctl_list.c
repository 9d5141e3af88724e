/* SPDX-License-Identifier: Apache-2.0 */
/* flockerctl version, list-nodes and list: tables of many. Columns are those of the original tool.
 */
#include <inttypes.h>
#include <langinfo.h>

#include "ctl.h"
#include "text.h"
#include "say.h"
#include "table.h"

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

static int add_node(const struct ctl *c, struct table *t, struct json_object *node)
{
	const char *uuid = ctl_text(node, "uuid"), *host = ctl_text(node, "host");
	char id[ID128_TEXT], silent[48] = "", space[TEXT_BYTES_SIZE] = "";
	int64_t silent_s, bytes;
	bool live = ctl_flag(node, "live"), refused = ctl_text(node, "refused");
	struct json_object *backend = json_object_array_get_idx(ctl_member(node, "backends", json_type_array), 0);

	snprintf(id, sizeof(id), "%.*s", c->args->long_form ? ID128_TEXT - 1 : CTL_SHORT_ID,
		uuid ? uuid : "?");
	if (!live && ctl_number(node, "silent_s", &silent_s))
		snprintf(silent, sizeof(silent), "gone for %" PRId64 " s", silent_s);
	if (ctl_number(backend, "free", &bytes))
		text_bytes((uint64_t)bytes, space);
	if (table_add(t,
		    (const char *[]){ id, host ? host : "?",
			    live	    ? "live"
				    : refused   ? "refused"
				    : silent[0] ? silent
						: "gone",
			    ctl_text(backend, "driver"), ctl_text(node, "version"), space }) < 0)
		return -ENOMEM;
	table_paint(t, 2, ctl_colour_of(c, live ? "live" : "gone"));
	return 0;
}

int ctl_run_nodes(struct ctl *c)
{
	_cleanup_(table_freep) struct table *t = table_new(
		6, (const char *[]){ "SERVER", "ADDRESS", "STATE", "BACKEND", "VERSION", "FREE" });
	_cleanup_json_ struct json_object *nodes = NULL;
	int r = ctl_call(c, "GET", "/v2/nodes", NULL, json_type_array, &nodes);

	if (r != CTL_OK)
		return r;
	if (c->args->json) {
		ctl_print_json(nodes);
		return CTL_OK;
	}
	for (size_t i = 0; i < json_object_array_length(nodes); i++)
		if (!t || add_node(c, t, json_object_array_get_idx(nodes, i)) < 0)
			return ctl_no_memory();
	if (!t)
		return ctl_no_memory();
	table_print(t, !c->args->no_header, stdout);
	ctl_warn_refused(nodes);
	ctl_warn_unknown(nodes);
	return CTL_OK;
}

static bool destroyed(struct json_object *dataset)
{
	const char *state = ctl_text(dataset, "state");

	return ctl_flag(dataset, "deleted") && state && STREQ(state, "destroyed");
}

/* The original's words where it had one, else the state's own: nothing hides behind "pending". */
static const char *status_word(struct json_object *d)
{
	static const char *const early[] = { "waiting", "creating" };
	const char *state = ctl_text(d, "state"), *owner = ctl_text(d, "owner");
	const char *primary = ctl_text(d, "node");
	bool utf8 = STREQ(nl_langinfo(CODESET), "UTF-8");

	if (ctl_flag(d, "deleted"))
		return destroyed(d) ? "deleted" : "deleting";
	if (owner && primary && !STREQ(owner, primary))
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

static void format_size(struct json_object *dataset, char *buf, size_t size)
{
	int64_t bytes;

	if (ctl_number(dataset, "maximum_size", &bytes))
		snprintf(buf, size, "%.2fG", (double)bytes / (double)GIB);
	else
		snprintf(buf, size, "<no quota>");
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

static int add_dataset(const struct ctl *c, struct table *t, struct json_object *dataset,
	struct json_object *nodes)
{
	_cleanup_free_ char *metadata = format_metadata(dataset);
	const char *state = ctl_text(dataset, "state");
	char size[64], server[320];

	if (!metadata)
		return -ENOMEM;
	format_size(dataset, size, sizeof(size));
	ctl_format_node(nodes, ctl_text(dataset, "node"), c->args->long_form, server,
		sizeof(server));
	if (table_add(t,
		    (const char *[]){ ctl_text(dataset, "dataset_id"), size, metadata,
			    status_word(dataset), server }) < 0)
		return -ENOMEM;
	table_paint(t, 3, ctl_colour_of(c, state ? state : ""));
	return 0;
}

/* Destroyed datasets stay in the configuration for ever; only --deleted shows them. */
static int without_destroyed(struct json_object *all, struct json_object **ret)
{
	struct json_object *some = json_object_new_array();

	if (!some)
		return ctl_no_memory();
	for (size_t i = 0; i < json_object_array_length(all); i++) {
		struct json_object *d = json_object_array_get_idx(all, i);

		if (!destroyed(d))
			json_object_array_add(some, json_object_get(d));
	}
	*ret = some;
	return CTL_OK;
}

static int print_datasets(struct ctl *c, struct json_object *datasets)
{
	_cleanup_(table_freep) struct table *t =
		table_new(5, (const char *[]){ "DATASET", "SIZE", "METADATA", "STATUS", "SERVER" });
	_cleanup_json_ struct json_object *nodes = NULL, *map = NULL;
	int r = ctl_call(c, "GET", "/v2/nodes", NULL, json_type_array, &nodes);

	if (r != CTL_OK)
		return r;
	map = ctl_index(nodes, "uuid");
	if (!t || !map)
		return ctl_no_memory();
	for (size_t i = 0; i < json_object_array_length(datasets); i++)
		if (add_dataset(c, t, json_object_array_get_idx(datasets, i), map) < 0)
			return ctl_no_memory();
	table_print(t, !c->args->no_header, stdout);
	ctl_warn_refused(nodes);
	return CTL_OK;
}

int ctl_run_list(struct ctl *c)
{
	_cleanup_json_ struct json_object *all = NULL, *some = NULL;
	int r = ctl_call(c, "GET", "/v2/datasets", NULL, json_type_array, &all);

	if (r == CTL_OK && !c->args->deleted)
		r = without_destroyed(all, &some);
	if (r != CTL_OK)
		return r;
	if (!c->args->json)
		return print_datasets(c, some ? some : all);
	ctl_print_json(some ? some : all);
	return CTL_OK;
}
