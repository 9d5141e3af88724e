/* SPDX-License-Identifier: Apache-2.0 */
/* flockerctl events: what changes, a line each; and what is there, when a part of it is not known any more. */
#include "ctl_live.h"
#include "ctl_stream.h"
#include "say.h"

struct printer {
	struct ctl *ctl;
	const char *revision;
	const char *dataset, *node; /* the filter, which lists do not know; NULL: all */
};

static int print_event(struct ctl *c, const struct ctl_event *e)
{
	if (c->args->json)
		return ctl_print_json_line(e->revision, e->type, e->data);
	ctl_print_change(c, stdout, e->type, e->data);
	return CTL_OK;
}

static bool is_wanted(const struct printer *p, struct json_object *o)
{
	const char *id = ctl_text(o, "dataset_id"), *uuid = ctl_text(o, "uuid"), *node = ctl_text(o, "node");
	const char *owner = ctl_text(o, "owner");

	if (p->dataset && (!id || !STREQ(id, p->dataset)))
		return false;
	return !p->node || (uuid && STREQ(uuid, p->node)) || (node && STREQ(node, p->node)) ||
	       (owner && STREQ(owner, p->node));
}

static int print_listed(const struct printer *p, const char *type, struct json_object *o)
{
	const struct ctl_event e = { type, p->revision, o };

	return is_wanted(p, o) ? print_event(p->ctl, &e) : CTL_OK;
}

static int ignore(struct json_object *o, void *userdata)
{
	return CTL_OK;
}

static int on_node(struct json_object *o, void *userdata)
{
	return print_listed(userdata, "node", o);
}

static int on_dataset(struct json_object *o, void *userdata)
{
	return print_listed(userdata, "dataset", o);
}

static int on_lease(struct json_object *o, void *userdata)
{
	return print_listed(userdata, "lease", o);
}

/* Is @type among the words of --type? */
static bool has_type(const struct ctl_args *a, const char *type)
{
	size_t n = strlen(type);

	for (const char *p = a->types; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (strncmp(p, type, n) == 0 && (p[n] == ',' || p[n] == '\0'))
			return true;
	return !a->types;
}

/*
 * All that is there, as if it had just changed. The first list's revision is where events go on: what changed
 * while the others came is then told twice, and nothing is missed.
 */
static int list_again(struct printer *p, struct ctl_stream *stream)
{
	static const struct {
		const char *type, *path, *key;
		int (*on_object)(struct json_object *o, void *userdata);
	} lists[] = {
		{ "node", "/v2/nodes", "nodes", on_node },
		{ "dataset", "/v2/datasets?deleted=true", "datasets", on_dataset },
		{ "lease", "/v2/leases", "leases", on_lease },
	};
	_cleanup_free_ char *revision = NULL;
	int r;

	r = ctl_each(p->ctl, "/v2/nodes", "nodes", ignore, NULL, &revision);
	if (r != CTL_OK)
		return r;
	p->revision = revision ? revision : "";
	fputs("Warning: the events up to here are not kept any more; what is there now follows\n", stderr);
	if (p->ctl->args->json)
		r = ctl_print_json_line(p->revision, "list", NULL);
	for (size_t i = 0; r == CTL_OK && i < ARRAY_SIZE(lists); i++)
		if (has_type(p->ctl->args, lists[i].type))
			r = ctl_each(p->ctl, lists[i].path, lists[i].key, lists[i].on_object, p, NULL);
	p->revision = "";
	fflush(stdout);
	if (r == CTL_OK)
		ctl_stream_from(stream, revision);
	return r;
}

/* The filter as the server understands it; allocated. */
static int make_query(const struct ctl_args *a, const struct printer *p, char **ret)
{
	_cleanup_free_ char *types = a->types ? ctl_escape(a->types) : NULL;

	if ((a->types && !types) ||
		asprintf(ret, "%s%s%s%s%s%s%s%s", types ? "type=" : "", types ? types : "",
			types && (p->dataset || p->node) ? "&" : "", p->dataset ? "dataset=" : "",
			p->dataset ? p->dataset : "", p->dataset && p->node ? "&" : "", p->node ? "node=" : "",
			p->node ? p->node : "") < 0)
		return ctl_no_memory();
	return CTL_OK;
}

static int follow(struct ctl *c, struct printer *p, struct ctl_stream *stream)
{
	uint64_t deadline = c->args->timeout ? ctl_now_ms() + c->args->timeout_ms : UINT64_MAX;
	struct ctl_event e;
	bool is_lost = false;
	int r = CTL_OK;

	while (r == CTL_OK && ctl_now_ms() < deadline) {
		switch (ctl_stream_next(stream, deadline, NULL, &e)) {
		case NEWS_EVENT:
			r = print_event(c, &e);
			break;
		case NEWS_GONE:
			r = list_again(p, stream);
			break;
		case NEWS_LOST:
			if (!is_lost)
				fprintf(stderr, "Warning: %s; trying again\n", ctl_stream_error(stream));
			is_lost = true;
			break;
		case NEWS_OPEN:
			is_lost = false;
			break;
		case NEWS_FAILED:
			return ctl_stream_status(stream);
		default:
			break;
		}
		if (fflush(stdout) != 0)
			return CTL_OK; /* run() says what is wrong with it */
	}
	return r;
}

int ctl_run_events(struct ctl *c)
{
	_cleanup_json_ struct json_object *dataset = NULL, *node = NULL;
	_cleanup_(ctl_stream_freep) struct ctl_stream *stream = NULL;
	struct printer p = { .ctl = c, .revision = "" };
	_cleanup_free_ char *query = NULL;
	int r = CTL_OK;

	if (c->args->dataset)
		r = ctl_find_dataset(c, c->args->dataset, true, &dataset);
	if (r == CTL_OK && c->args->node)
		r = ctl_find_node(c, c->args->node, &node);
	if (r != CTL_OK)
		return r;
	p.dataset = ctl_text(dataset, "dataset_id");
	p.node = ctl_text(node, "uuid");
	r = make_query(c->args, &p, &query);
	if (r == CTL_OK)
		r = ctl_stream_new(c, query, &stream);
	if (r == CTL_OK && c->args->after)
		ctl_stream_from(stream, c->args->after);
	return r == CTL_OK ? follow(c, &p, stream) : r;
}
