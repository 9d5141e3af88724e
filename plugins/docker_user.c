/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who uses a volume, for people on other machines: the names of its containers are kept in the
 * dataset's metadata, where the plugins of others find them. A name that has not changed is not
 * written again.
 */
#include "docker_private.h"
#include "engine.h"

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

static void on_names(const char *names, void *userdata)
{
	struct user *u = userdata;
	struct docker_volumes *v = u->v;
	const struct volume *volume = catalog_by_id(v->catalog, u->dataset);

	u->question = NULL; /* it is over; no names: what is written there is of somebody else */
	if (volume && !STREQ(volume->used_by ?: "", names))
		(void)claim_note_user(v->link, u->dataset, names, on_noted, v);
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
