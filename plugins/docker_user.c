/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who uses a volume, for people on other machines: the names of its containers are kept in the
 * dataset's metadata, where the plugins of others find them. A name that has not changed is not
 * written again.
 */
#include "docker_private.h"
#include "engine.h"
#include "jsonin.h"

struct user {
	struct user *next;
	struct docker_volumes *v;
	struct id128 dataset;
	struct engine_question *question;
};

static void user_free(struct user *u)
{
	struct user **p = &u->v->users;

	while (*p != u)
		p = &(*p)->next;
	*p = u->next;
	engine_cancel(u->question);
	free(u);
}

void docker_users_free(struct docker_volumes *v)
{
	while (v->users)
		user_free(v->users);
}

static void on_noted(const struct link_answer *a, void *userdata)
{
	if (a->status == 200)
		docker_take(userdata, a);
}

/* No names: what is written there is of somebody else. */
static struct json_object *body_of(const char *names)
{
	_cleanup_json_ struct json_object *body = json_object_new_object(), *text = NULL;
	struct json_object *metadata = json_object_new_object();

	if (!body || !metadata || json_object_object_add(body, "metadata", metadata) < 0) {
		json_object_put(metadata);
		return NULL;
	}
	text = *names ? json_object_new_string(names) : NULL;
	if ((*names && !text) || json_object_object_add(metadata, CATALOG_USED_BY_KEY, text) < 0)
		return NULL;
	(void)TAKE_PTR(text);
	return TAKE_PTR(body);
}

static void on_names(const char *names, void *userdata)
{
	struct user *u = userdata;
	struct docker_volumes *v = u->v;
	const struct volume *volume = catalog_by_id(v->catalog, u->dataset);
	_cleanup_json_ struct json_object *body = NULL;
	char path[64];

	u->question = NULL; /* it is over */
	if (volume && !STREQ(volume->used_by ?: "", names) && (body = body_of(names))) {
		snprintf(path, sizeof(path), "/v2/datasets/%s", ID128_STR(u->dataset));
		(void)link_call(v->link, "PATCH", path, body, on_noted, v);
	}
	user_free(u);
}

void docker_note_user(struct docker_volumes *v, const struct volume *volume)
{
	struct user *u = calloc(1, sizeof(*u));

	if (!u)
		return;
	*u = (struct user){ .next = v->users, .v = v, .dataset = volume->id };
	v->users = u;
	if (engine_ask(v->base, v->c.engine_socket, volume->name, on_names, u, &u->question) < 0)
		on_names("", u);
}

void docker_user_text(const struct docker_volumes *v, const struct volume *volume, char *buf, size_t size)
{
	char node[CATALOG_NODE_SIZE];

	*buf = '\0';
	if (id128_is_nil(volume->leased) || id128_equal(volume->leased, v->c.node))
		return;
	snprintf(buf, size, "volume %s is in use on %s%s%s", volume->name,
		catalog_node_text(v->catalog, volume->leased, node), volume->used_by ? ", by container " : "",
		volume->used_by ?: "");
}
