/* SPDX-License-Identifier: Apache-2.0 */
#include <event2/http.h>

#include "jsonin.h"
#include "log.h"
#include "mirror.h"
#include "sse.h"

#define PAGE 500
#define HEARTBEAT_S 10
#define RETRY_FIRST_MS 200
#define RETRY_MOST_MS 5000
#define REVISION_SIZE 128

struct mirror {
	struct link *link;
	struct catalog *catalog;
	const char *only;  /* NULL: all */
	struct id128 found; /* what it means; nil: not known yet */
	const struct mirror_callbacks *cbs;
	void *userdata;
	struct event *retry;
	unsigned int retry_ms;
	struct sse *sse;
	bool listed, live, complete; /* complete: the last list was read to its end */
	char revision[REVISION_SIZE]; /* of the list; events have newer ones */
	char why[LINK_WHY_MAX];
};

static void list_nodes(struct mirror *m);
static void follow(struct mirror *m);

static const char *text_of(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	(void)json_object_object_get_ex(o, key, &v);
	return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
}

static bool is_clean(const char *text)
{
	return text && *text && strlen(text) < REVISION_SIZE &&
	       strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_~") == strlen(text);
}

/* ---- when it does not go on ---- */

/* Said once for each time that control goes away. */
static void wait_a_while(struct mirror *m, const char *why)
{
	if (!*m->why)
		log_warning(0, "%s; volumes are shown as they were, and it is tried again", why);
	snprintf(m->why, sizeof(m->why), "%s", why);
	m->live = false;
	(void)event_add(m->retry, &(struct timeval){ m->retry_ms / 1000, (suseconds_t)(m->retry_ms % 1000) * 1000 });
	m->retry_ms = MIN(m->retry_ms * 2, (unsigned int)RETRY_MOST_MS);
}

static void on_retry(evutil_socket_t fd, short what, void *userdata)
{
	struct mirror *m = userdata;

	if (m->complete)
		follow(m);
	else
		list_nodes(m);
}

/* ---- the list ---- */

/* Every item of the list @key; -EBADMSG when there is none. */
static int take_list(struct mirror *m, struct json_object *body, const char *key,
	int (*take)(struct mirror *m, struct json_object *o))
{
	struct json_object *list = NULL;
	int r = 0;

	(void)json_object_object_get_ex(body, key, &list);
	if (!json_object_is_type(list, json_type_array))
		return -EBADMSG;
	for (size_t i = 0; r == 0 && i < json_object_array_length(list); i++)
		r = take(m, json_object_array_get_idx(list, i));
	return r;
}

static int take_node(struct mirror *m, struct json_object *o)
{
	return catalog_put_node(m->catalog, o);
}

static int take_dataset(struct mirror *m, struct json_object *o)
{
	struct id128 id;
	int r = catalog_put(m->catalog, o, &id);

	if (r == 0)
		m->cbs->on_volume(id, m->userdata);
	return r;
}

/* False: what came is no list, and it is tried again later. */
static bool is_good(struct mirror *m, const struct link_answer *a, int r)
{
	char why[LINK_WHY_MAX + 64];

	if (a->err || (a->status != 200 && (a->status != 404 || !m->only)))
		snprintf(why, sizeof(why), "%s", a->why);
	else if (r < 0)
		snprintf(why, sizeof(why), "the control service's list is not understood: %s", strerror(-r));
	else
		return true;
	wait_a_while(m, why);
	return false;
}

static void on_datasets(const struct link_answer *a, void *userdata);

/* ---- the one dataset ---- */

/* A later list is of the same dataset, whatever has the name then. NULL when there is no memory. */
static char *path_of_the_one(struct mirror *m, const char *after)
{
	_cleanup_free_ char *name = NULL;
	char *path;
	int r;

	if (id128_is_nil(m->found) && id128_parse(m->only, &m->found) < 0) {
		name = evhttp_uriencode(m->only, -1, 0);
		r = name ? asprintf(&path, "/v2/datasets?deleted=true&limit=%d&name=%s%s%s", PAGE, name,
				    after ? "&after=" : "", after ?: "") : -1;
	} else {
		r = asprintf(&path, "/v2/datasets/%s", ID128_STR(m->found));
	}
	return r < 0 ? NULL : path;
}

static int take_the_one(struct mirror *m, const struct link_answer *a)
{
	if (a->status == 404)
		return 0;
	if (id128_is_nil(m->found))
		return take_list(m, a->body, "datasets", take_dataset);
	return take_dataset(m, a->body);
}

/* ---- all datasets ---- */

static void list_datasets(struct mirror *m, const char *after)
{
	_cleanup_free_ char *path = NULL;

	if (m->only)
		path = path_of_the_one(m, after);
	else if (asprintf(&path, "/v2/datasets?limit=%d%s%s", PAGE, after ? "&after=" : "",
		after ?: "") < 0)
		path = NULL;
	if (!path || link_call(m->link, "GET", path, NULL, on_datasets, m) < 0)
		wait_a_while(m, "out of memory");
}

static void on_datasets(const struct link_answer *a, void *userdata)
{
	struct mirror *m = userdata;
	const struct volume *v;
	const char *next;
	int r = 0;

	if (m->only)
		r = take_the_one(m, a);
	else if (a->status == 200)
		r = take_list(m, a->body, "datasets", take_dataset);
	if (!is_good(m, a, r))
		return;
	next = text_of(a->body, "next");
	if (next && is_clean(next)) {
		list_datasets(m, next);
		return;
	}
	catalog_end(m->catalog);
	v = m->only ? catalog_by_name(m->catalog, m->only) : NULL;
	if (v && id128_is_nil(m->found))
		m->found = v->id;
	m->complete = true;
	follow(m);
}

static void on_nodes(const struct link_answer *a, void *userdata)
{
	struct mirror *m = userdata;
	const char *revision;
	int r = 0;

	if (a->status == 200) {
		catalog_begin(m->catalog);
		r = take_list(m, a->body, "nodes", take_node);
	}
	revision = text_of(a->body, "revision");
	if (!is_good(m, a, r < 0 || is_clean(revision) ? r : -EBADMSG))
		return;
	snprintf(m->revision, sizeof(m->revision), "%s", revision);
	list_datasets(m, NULL);
}

static void list_nodes(struct mirror *m)
{
	struct sse *fresh = sse_new(); /* the id of an event of before the list is no place to go on from */

	if (fresh) {
		sse_free(m->sse);
		m->sse = fresh;
	}
	m->complete = m->live = false;
	if (!fresh || link_call(m->link, "GET", "/v2/nodes", NULL, on_nodes, m) < 0)
		wait_a_while(m, "out of memory");
}

/* ---- what follows ---- */

static int take_event(struct mirror *m, const struct sse_event *e)
{
	_cleanup_json_ struct json_object *o = NULL;
	char error[JSONIN_ERROR_MAX];
	const char *text;
	struct id128 id;
	int r = jsonin_parse(e->data, e->size, &o, error);

	if (r < 0)
		return r;
	if (STREQ(e->type, "dataset"))
		return take_dataset(m, o);
	if (STREQ(e->type, "node"))
		return take_node(m, o);
	if (STREQ(e->type, "dataset-dropped") && (text = text_of(o, "dataset_id")) && id128_parse(text, &id) == 0) {
		catalog_drop(m->catalog, id);
		m->cbs->on_volume(id, m->userdata);
	} else if (STREQ(e->type, "node-dropped") && (text = text_of(o, "uuid")) && id128_parse(text, &id) == 0) {
		catalog_drop_node(m->catalog, id);
	}
	return 0;
}

/* The first sign of life after a list, or after a time without. */
static void note_life(struct mirror *m)
{
	if (m->live)
		return;
	if (*m->why)
		log_notice("the control service answers again");
	m->why[0] = '\0';
	m->retry_ms = RETRY_FIRST_MS;
	m->live = m->listed = true;
	m->cbs->on_listed(m->userdata);
}

static int on_piece(const char *data, size_t size, void *userdata)
{
	struct mirror *m = userdata;
	struct sse_event e;
	size_t used;
	int r;

	while (size > 0) {
		r = sse_take(m->sse, data, size, &used, &e);
		if (r < 0)
			return r;
		data += used;
		size -= used;
		if (r > 0)
			r = take_event(m, &e);
		if (r < 0)
			return r;
		if (is_clean(sse_id(m->sse)))
			snprintf(m->revision, sizeof(m->revision), "%s", sse_id(m->sse));
	}
	note_life(m);
	return 0;
}

static void on_stream_end(const struct link_answer *a, void *userdata)
{
	struct mirror *m = userdata;

	if (a->status == 410 || (a->err && a->err != ECONNRESET && a->err != ECONNREFUSED && a->err != ETIMEDOUT))
		m->complete = false;
	if (a->status == 410)
		list_nodes(m);
	else
		wait_a_while(m, *a->why ? a->why : "the control service ended its events");
}

static void follow(struct mirror *m)
{
	char path[160 + REVISION_SIZE];

	sse_reset(m->sse);
	snprintf(path, sizeof(path), "/v2/events?type=dataset%s%s&heartbeat=%d&after=%s",
		m->only ? "&dataset=" : ",node", m->only ? ID128_STR(m->found) : "", HEARTBEAT_S,
		m->revision);
	if (link_follow(m->link, path, on_piece, on_stream_end, m) < 0)
		wait_a_while(m, "out of memory");
}

/* ---- beginning and end ---- */

bool mirror_listed(const struct mirror *m)
{
	return m->listed;
}

bool mirror_live(const struct mirror *m)
{
	return m->live;
}

const char *mirror_why(const struct mirror *m)
{
	return m->why;
}

struct mirror *mirror_free(struct mirror *m)
{
	if (!m)
		return NULL;
	if (m->retry)
		event_free(m->retry);
	sse_free(m->sse);
	free(m);
	return NULL;
}
DEFINE_CLEANUP(struct mirror *, mirror_free);

int mirror_new(struct event_base *base, struct link *l, struct catalog *c, const char *only,
	const struct mirror_callbacks *cbs, void *userdata, struct mirror **ret)
{
	_cleanup_(mirror_freep) struct mirror *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	*m = (struct mirror){ .link = l, .catalog = c, .only = only, .cbs = cbs, .userdata = userdata,
		.retry_ms = RETRY_FIRST_MS };
	m->sse = sse_new();
	m->retry = evtimer_new(base, on_retry, m);
	if (!m->sse || !m->retry)
		return -ENOMEM;
	list_nodes(m);
	*ret = TAKE_PTR(m);
	return 0;
}
