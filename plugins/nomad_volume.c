/* SPDX-License-Identifier: Apache-2.0 */
/* What creating and deleting share: the requests, one by one. */
#include <event2/http.h>
#include <stdarg.h>

#include "claim.h"
#include "jsonin.h"
#include "jsonput.h"
#include "nomad_private.h"

#define PAUSE_MS 50

int nomad_fail(struct nomad *n, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(n->error, NOMAD_ERROR_MAX, fmt, ap);
	va_end(ap);
	return -err;
}

/* ---- requests ---- */

static size_t length(struct json_object *list)
{
	return json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
}

/* An answer is a dataset, a lease, or a list of datasets or nodes. */
static void take(struct nomad *n, struct json_object *body)
{
	struct json_object *list = NULL;
	struct id128 id;

	if (!json_object_is_type(body, json_type_object))
		return;
	if (json_object_object_get_ex(body, "datasets", &list)) {
		for (size_t i = 0; i < length(list); i++)
			(void)catalog_put(n->catalog, json_object_array_get_idx(list, i), &id);
	} else if (json_object_object_get_ex(body, "nodes", &list)) {
		for (size_t i = 0; i < length(list); i++)
			(void)catalog_put_node(n->catalog, json_object_array_get_idx(list, i));
	} else if (json_object_object_get_ex(body, "state", &list)) {
		(void)catalog_put(n->catalog, body, &id);
	}
}

int nomad_ask(struct nomad *n, const char *method, const char *path, struct json_object *body,
	int other)
{
	_cleanup_asked_ struct asked a = { 0 };

	ask_control(n->ask, method, path, body, &a);
	n->unanswered = a.err || a.status >= 500;
	if (a.err)
		return nomad_fail(n, a.err, "%s", a.why);
	if (a.status >= 300 && a.status != other)
		return nomad_fail(n, EPROTO, "%s", a.why);
	if (a.status < 300)
		take(n, a.body);
	return 0;
}

static const struct volume *living(const struct volume *v)
{
	return v && !v->deleted ? v : NULL;
}

const struct volume *nomad_known(const struct nomad *n, struct id128 id)
{
	return living(catalog_by_id(n->catalog, id));
}

int nomad_get(struct nomad *n, struct id128 id, const struct volume **ret)
{
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/v2/datasets/%s", ID128_STR(id));
	catalog_drop(n->catalog, id);
	r = nomad_ask(n, "GET", path, NULL, 404);
	if (r == 0)
		*ret = nomad_known(n, id);
	return r;
}

int nomad_find(struct nomad *n, const struct volume **ret)
{
	_cleanup_free_ char *name = nomad_dataset_name(n->q), *path = NULL;
	_cleanup_free_ char *quoted = name ? evhttp_uriencode(name, -1, 0) : NULL;
	struct id128 id;
	int r;

	if (n->q->dataset && id128_parse(n->q->dataset, &id) == 0)
		return nomad_get(n, id, ret);
	if (!quoted || asprintf(&path, "/v2/datasets?name=%s", quoted) < 0) {
		path = NULL;
		return nomad_fail(n, ENOMEM, "out of memory");
	}
	r = nomad_ask(n, "GET", path, NULL, 0);
	if (r == 0)
		*ret = living(catalog_by_name(n->catalog, name));
	return r;
}

/* ---- what is no more ---- */

static const char *text_at(struct json_object *o, const char *outer, const char *inner)
{
	struct json_object *v = NULL;

	return json_object_object_get_ex(o, outer, &v) && json_object_is_type(v, json_type_object) &&
			       json_object_object_get_ex(v, inner, &v)
		       ? json_object_get_string(v) ?: ""
		       : "";
}

static bool is_destroyed(struct json_object *dataset, const char *volume)
{
	struct json_object *v = NULL;

	return json_object_object_get_ex(dataset, "deleted", &v) && json_object_get_boolean(v) &&
	       STREQ(text_at(dataset, "metadata", CATALOG_NOMAD_VOLUME_KEY), volume);
}

static void search(struct json_object *list, const char *volume, struct id128 *ret,
	struct id128 *ret_leased)
{
	struct json_object *o, *id = NULL;

	for (size_t i = 0; i < length(list); i++) {
		o = json_object_array_get_idx(list, i);
		if (!is_destroyed(o, volume) || !json_object_object_get_ex(o, "dataset_id", &id) ||
			id128_parse(json_object_get_string(id) ?: "", ret) < 0)
			continue;
		if (id128_parse(text_at(o, "lease", "node"), ret_leased) < 0)
			*ret_leased = ID128_NIL;
	}
}

/* @after: the cursor of the page, then of the next one; NULL: the first, and that it was the
 * last. */
static int search_page(struct nomad *n, char **after, const char *volume, struct id128 *ret,
	struct id128 *ret_leased)
{
	_cleanup_asked_ struct asked a = { 0 };
	_cleanup_free_ char *quoted = *after ? evhttp_uriencode(*after, -1, 0) : NULL, *path = NULL;
	struct json_object *list = NULL, *next = NULL;

	if (asprintf(&path, "/v2/datasets?deleted=true&limit=1000%s%s", quoted ? "&after=" : "",
		quoted ?: "") < 0) {
		path = NULL;
		return nomad_fail(n, ENOMEM, "out of memory");
	}
	ask_control(n->ask, "GET", path, NULL, &a);
	if (a.err || a.status >= 300)
		return nomad_fail(n, a.err ?: EPROTO, "%s", a.why);
	(void)json_object_object_get_ex(a.body, "datasets", &list);
	(void)json_object_object_get_ex(a.body, "next", &next);
	search(list, volume, ret, ret_leased);
	free(*after);
	*after = next ? strdup(json_object_get_string(next) ?: "") : NULL;
	return 0;
}

int nomad_find_destroyed(struct nomad *n, const char *volume, struct id128 *ret,
	struct id128 *ret_leased)
{
	_cleanup_free_ char *after = NULL;
	struct id128 id = ID128_NIL, leased = ID128_NIL;
	int r;

	do
		r = search_page(n, &after, volume, &id, &leased);
	while (r == 0 && after && id128_is_nil(id));
	if (r < 0)
		return r;
	*ret = id;
	*ret_leased = leased;
	return 0;
}

/* ---- what is to be ---- */

static int put_text_or_null(struct json_object *o, const char *key, const char *text)
{
	if (!o)
		return -ENOMEM;
	if (text)
		return json_put_member(o, key, json_object_new_string(text));
	return json_object_object_add(o, key, NULL) < 0 ? -ENOMEM : 0;
}

/* @volume: NULL: none any more; its name stays, and with it the namespace that it is of. */
static int put_metadata(const struct nomad_request *q, struct json_object *body, const char *volume,
	bool tell_user)
{
	struct json_object *metadata = json_object_new_object();
	char name[NOMAD_NAME_MAX + 1], user[NOMAD_NAME_MAX + 1];

	nomad_full_name(q, name);
	nomad_user_text(q, user);
	if (json_put_member(body, "metadata", metadata) < 0 ||
		put_text_or_null(metadata, CATALOG_NOMAD_VOLUME_KEY, volume) < 0 ||
		(volume && put_text_or_null(metadata, CATALOG_NOMAD_NAME_KEY, name) < 0))
		return -ENOMEM;
	return tell_user ? put_text_or_null(metadata, CATALOG_USED_BY_KEY, volume ? user : NULL) : 0;
}

static int patch(struct nomad *n, struct id128 id, struct json_object *body)
{
	char path[64];

	snprintf(path, sizeof(path), "/v2/datasets/%s", ID128_STR(id));
	return nomad_ask(n, "PATCH", path, body, 0);
}

int nomad_wish(struct nomad *n, struct id128 id, const struct id128 *node, uint64_t size_bytes,
	const struct volume **ret)
{
	_cleanup_json_ struct json_object *body = json_object_new_object();
	int r;

	if (put_text_or_null(body, "node", node ? ID128_STR(*node) : NULL) < 0 ||
		(node && put_metadata(n->q, body, ID128_STR(n->q->id), true) < 0) ||
		(size_bytes && json_put_member(body, "size", json_object_new_int64((int64_t)size_bytes)) < 0))
		return nomad_fail(n, ENOMEM, "out of memory");
	r = patch(n, id, TAKE_PTR(body));
	if (r == 0)
		*ret = nomad_known(n, id);
	return r;
}

int nomad_forget(struct nomad *n, struct id128 id)
{
	_cleanup_json_ struct json_object *body = json_object_new_object();
	const struct volume *v = nomad_known(n, id);
	/* Who uses it beside Nomad may have said so there since. */
	bool is_user = !v || strncmp(v->used_by ?: "", NOMAD_USER, strlen(NOMAD_USER)) == 0;

	if (put_metadata(n->q, body, NULL, is_user) < 0)
		return nomad_fail(n, ENOMEM, "out of memory");
	return patch(n, id, TAKE_PTR(body));
}

/* ---- the lease ---- */

int nomad_refuse_used(struct nomad *n, const struct volume *v)
{
	char user[NOMAD_ERROR_MAX / 2];

	/* For their addresses; without them the UUID has to do. */
	(void)nomad_ask(n, "GET", "/v2/nodes", NULL, 0);
	claim_user_text(n->catalog, v, n->c->client->node, user, sizeof(user));
	return nomad_fail(n, EBUSY, "%s; end that first (nomad volume delete there, or stop what uses it)", user);
}

int nomad_lease(struct nomad *n, const struct volume *v)
{
	_cleanup_json_ struct json_object *body = json_object_new_object();
	_cleanup_asked_ struct asked a = { 0 };
	const struct volume *now = NULL;
	char path[64];

	if (json_put_member(body, "node",
		json_object_new_string(ID128_STR(n->c->client->node))) < 0)
		return nomad_fail(n, ENOMEM, "out of memory");
	snprintf(path, sizeof(path), "/v2/leases/%s", ID128_STR(v->id));
	ask_control(n->ask, "PUT", path, TAKE_PTR(body), &a);
	if (a.status == 409 && nomad_get(n, v->id, &now) == 0 && now && !id128_is_nil(now->leased))
		return nomad_refuse_used(n, now);
	if (a.err || a.status >= 300)
		return nomad_fail(n, a.err ?: EPROTO, "%s", a.why);
	return 0;
}

int nomad_unlease(struct nomad *n, struct id128 id)
{
	_cleanup_asked_ struct asked a = { 0 };
	char path[128];

	snprintf(path, sizeof(path), "/v2/leases/%s?node=%s", ID128_STR(id),
		ID128_STR(n->c->client->node));
	ask_control(n->ask, "DELETE", path, NULL, &a);
	if (claim_is_released(
		    &(struct link_answer){ .err = a.err, .status = a.status, .body = a.body, .why = a.why }))
		return 0;
	return nomad_fail(n, a.err ?: EPROTO, "%s", a.why);
}

bool nomad_may_wait(struct nomad *n, int r)
{
	if (r != -EAGAIN || ask_left_s(n->ask) == 0)
		return false;
	ask_pause(n->ask, PAUSE_MS);
	return true;
}

/* ---- beginning and end ---- */

static void on_mounts(void *userdata)
{
	struct nomad *n = userdata;

	(void)event_base_loopbreak(n->base);
}

int nomad_open(struct nomad *n, const struct nomad_config *c, const struct nomad_request *q,
	char *error)
{
	int r;

	*n = (struct nomad){ .c = c, .q = q, .error = error };
	snprintf(n->who, sizeof(n->who), NOMAD_WHO "%s", ID128_STR(q->id));
	n->base = c->base;
	if (catalog_new(&n->catalog) < 0 ||
		ask_new(n->base, c->client, "flocker-nomad-plugin", c->limit_s, &n->ask) < 0)
		return nomad_fail(n, ENOMEM, "out of memory");
	catalog_keep_all(n->catalog); /* the API's first version makes datasets without a name */
	r = mounted_new(n->base, c->client->mount_root, on_mounts, n, &n->mounted);
	return r < 0 ? nomad_fail(n, -r, "cannot read the mount table: %s", strerror(-r)) : 0;
}

void nomad_close(struct nomad *n)
{
	ask_free(n->ask);
	mounted_free(n->mounted);
	catalog_free(n->catalog);
}
