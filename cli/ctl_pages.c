/* SPDX-License-Identifier: Apache-2.0 */
/* What goes over several requests or may stay a question: long lists, and writes that are only planned. */
#include <ctype.h>

#include "ctl.h"
#include "say.h"
#include "table.h"

#define PAGE "limit=1000"

char *ctl_escape(const char *text)
{
	char *escaped = malloc(3 * strlen(text) + 1), *p = escaped;

	if (!escaped)
		return NULL;
	for (; *text; text++)
		if (isascii(*text) && (isalnum(*text) || strchr("-._~", *text)))
			*p++ = *text;
		else
			p += sprintf(p, "%%%02X", (unsigned char)*text);
	*p = '\0';
	return escaped;
}

/* Only datasets come in pages; others have no "limit". */
static int page_path(const char *path, const char *after, char **ret)
{
	bool paged = strncmp(path, "/v2/datasets", 12) == 0;
	_cleanup_free_ char *escaped = after ? ctl_escape(after) : NULL;

	if (after && !escaped)
		return -ENOMEM;
	if (asprintf(ret, "%s%s%s%s%s", path, !paged ? "" : strchr(path, '?') ? "&" : "?", paged ? PAGE : "",
		    escaped ? "&after=" : "", escaped ? escaped : "") < 0)
		return -ENOMEM;
	return 0;
}

static int each_of(struct json_object *list, int (*on_object)(struct json_object *o, void *userdata),
	void *userdata)
{
	int r = CTL_OK;

	for (size_t i = 0; r == CTL_OK && i < json_object_array_length(list); i++)
		r = on_object(json_object_array_get_idx(list, i), userdata);
	return r;
}

/* Of the first page: what changed while the others came is in the events behind it. */
static int take_revision(struct json_object *page, char **revision)
{
	const char *text = ctl_text(page, "revision");

	if (*revision || !text)
		return 0;
	*revision = strdup(text);
	return *revision ? 0 : -ENOMEM;
}

/* @after: the "next" of the page before; set to this one's. */
static int one_page(struct ctl *c, const char *path, const char *key, char **after, struct json_object **ret_page,
	struct json_object **ret_list)
{
	_cleanup_free_ char *whole = NULL;
	_cleanup_json_ struct json_object *page = NULL;
	struct json_object *list;
	const char *next;
	int r;

	if (page_path(path, *after, &whole) < 0)
		return ctl_no_memory();
	r = ctl_call(c, "GET", whole, NULL, json_type_object, &page);
	if (r != CTL_OK)
		return r;
	list = ctl_member(page, key, json_type_array);
	next = ctl_text(page, "next");
	if (!list || (next && *after && STREQ(next, *after)))
		return say_error(CTL_CONNECT, "the control service's answer to GET %s makes no sense; is it of this "
			"version?", whole);
	free(TAKE_PTR(*after));
	*after = next ? strdup(next) : NULL;
	if (next && !*after)
		return ctl_no_memory();
	*ret_list = list;
	*ret_page = TAKE_PTR(page);
	return CTL_OK;
}

int ctl_each(struct ctl *c, const char *path, const char *key,
	int (*on_object)(struct json_object *o, void *userdata), void *userdata, char **ret_revision)
{
	_cleanup_free_ char *after = NULL, *revision = NULL;
	int r;

	do {
		_cleanup_json_ struct json_object *page = NULL;
		struct json_object *list = NULL;

		r = one_page(c, path, key, &after, &page, &list);
		if (r == CTL_OK && take_revision(page, &revision) < 0)
			r = ctl_no_memory();
		if (r == CTL_OK)
			r = each_of(list, on_object, userdata);
	} while (r == CTL_OK && after);
	if (r == CTL_OK && ret_revision)
		*ret_revision = TAKE_PTR(revision);
	return r;
}

static int collect(struct json_object *o, void *userdata)
{
	if (json_object_array_add(userdata, json_object_get(o)) == 0)
		return CTL_OK;
	json_object_put(o);
	return ctl_no_memory();
}

int ctl_all(struct ctl *c, const char *path, const char *key, struct json_object **ret)
{
	_cleanup_json_ struct json_object *all = json_object_new_array();
	int r = all ? ctl_each(c, path, key, collect, all, NULL) : ctl_no_memory();

	if (r == CTL_OK)
		*ret = TAKE_PTR(all);
	return r;
}

/* ---- plans ---- */

char *ctl_write_path(const struct ctl *c, const char *path)
{
	char *whole;

	if (asprintf(&whole, "%s%s", path, !c->args->plan ? "" : strchr(path, '?') ? "&plan=true" : "?plan=true") < 0)
		return NULL;
	return whole;
}

int ctl_write(struct ctl *c, const char *method, const char *path, struct json_object *body,
	enum json_type type, struct json_object **ret)
{
	_cleanup_free_ char *whole = ctl_write_path(c, path);

	if (!whole)
		return ctl_no_memory();
	return ctl_call(c, method, whole, body, c->args->plan ? json_type_object : type, ret);
}

static int add_step(struct table *t, size_t i, struct json_object *step, struct json_object *nodes, bool several)
{
	const char *uuid = ctl_text(step, "node"), *id = ctl_text(step, "dataset_id");
	char number[32], node[320] = "control", dataset[CTL_SHORT_ID + 1] = "";

	snprintf(number, sizeof(number), "%zu.", i + 1);
	if (uuid)
		ctl_format_node(nodes, uuid, false, node, sizeof(node));
	if (several)
		snprintf(dataset, sizeof(dataset), "%s", id ? id : "-");
	return table_add(t, (const char *[]){ number, ctl_text(step, "step"), node,
		several ? dataset : ctl_text(step, "what"), several ? ctl_text(step, "what") : NULL });
}

/* Are the steps of more than one dataset? */
static bool of_several(struct json_object *steps)
{
	const char *first = NULL;

	for (size_t i = 0; i < json_object_array_length(steps); i++) {
		const char *id = ctl_text(json_object_array_get_idx(steps, i), "dataset_id");

		if (id && first && !STREQ(id, first))
			return true;
		first = id ? id : first;
	}
	return false;
}

int ctl_print_plan(struct ctl *c, struct json_object *plan)
{
	static const char *const one[] = { "", "STEP", "WHERE", "WHAT" };
	static const char *const many[] = { "", "STEP", "WHERE", "DATASET", "WHAT" };
	_cleanup_json_ struct json_object *nodes = NULL, *map = NULL;
	_cleanup_(table_freep) struct table *t = NULL;
	struct json_object *steps = ctl_member(plan, "steps", json_type_array);
	bool several;
	int r;

	if (c->args->json || !steps) {
		ctl_print_json(plan);
		return CTL_OK;
	}
	several = of_several(steps);
	t = several ? table_new(5, many) : table_new(4, one);
	r = ctl_all(c, "/v2/nodes", "nodes", &nodes);
	if (r != CTL_OK)
		return r;
	map = ctl_index(nodes, "uuid");
	if (!t || !map)
		return ctl_no_memory();
	for (size_t i = 0; i < json_object_array_length(steps); i++)
		if (add_step(t, i, json_object_array_get_idx(steps, i), map, several) < 0)
			return ctl_no_memory();
	puts("Nothing was changed. This is what would be done:");
	table_print(t, true, stdout);
	if (json_object_array_length(steps) == 0)
		puts("nothing");
	return CTL_OK;
}
