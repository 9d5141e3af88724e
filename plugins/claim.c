/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/stat.h>

#include "claim.h"
#include "jsonin.h"
#include "jsonput.h"

static const char *path_of(const char *kind, struct id128 dataset, char buf[64])
{
	snprintf(buf, 64, "/v2/%s/%s", kind, ID128_STR(dataset));
	return buf;
}

static int ask_for_node(struct link *l, const char *method, const char *path, struct id128 node,
	link_done_fn fn, void *userdata)
{
	_cleanup_json_ struct json_object *body = json_object_new_object();

	if (json_put_member(body, "node", json_object_new_string(ID128_STR(node))) < 0)
		return -ENOMEM;
	return link_call(l, method, path, body, fn, userdata);
}

int claim_lease(struct link *l, struct id128 dataset, struct id128 node, link_done_fn fn,
	void *userdata)
{
	return ask_for_node(l, "PUT", path_of("leases", dataset, (char[64]){ 0 }), node, fn,
		userdata);
}

int claim_wish(struct link *l, struct id128 dataset, struct id128 node, link_done_fn fn,
	void *userdata)
{
	return ask_for_node(l, "PATCH", path_of("datasets", dataset, (char[64]){ 0 }), node, fn,
		userdata);
}

/* Never that of a node that took over from this one. */
int claim_release(struct link *l, struct id128 dataset, struct id128 node, link_done_fn fn,
	void *userdata)
{
	char path[128];

	snprintf(path, sizeof(path), "/v2/leases/%s?node=%s", ID128_STR(dataset), ID128_STR(node));
	return link_call(l, "DELETE", path, NULL, fn, userdata);
}

bool claim_is_released(const struct link_answer *a)
{
	return !a->err && (a->status == 200 || a->status == 404 || a->status == 409);
}

int claim_note_user(struct link *l, struct id128 dataset, const char *text, link_done_fn fn,
	void *userdata)
{
	_cleanup_json_ struct json_object *body = json_object_new_object(), *value = NULL;
	struct json_object *metadata = json_object_new_object();

	if (json_put_member(body, "metadata", metadata) < 0)
		return -ENOMEM;
	value = *text ? json_object_new_string(text) : NULL;
	if ((*text && !value) || json_object_object_add(metadata, CATALOG_USED_BY_KEY, value) < 0)
		return -ENOMEM;
	(void)TAKE_PTR(value);
	return link_call(l, "PATCH", path_of("datasets", dataset, (char[64]){ 0 }), body, fn,
		userdata);
}

bool claim_is_hopeless(const struct volume *v, struct id128 node)
{
	return id128_equal(v->owner, node) && id128_equal(v->node, node) &&
	       (STREQ(v->state, "lost") || STREQ(v->state, "blocked") || STREQ(v->state, "faulty"));
}

void claim_describe(const struct catalog *c, const struct volume *v, char *buf, size_t size)
{
	char owner[CATALOG_NODE_SIZE] = "no node";

	if (!id128_is_nil(v->owner))
		catalog_node_text(c, v->owner, owner);
	snprintf(buf, size, "it is %s, with %s: %.200s%s%.300s", v->state, owner, v->why, v->last_error ? "; " : "",
		v->last_error ?: "");
}

/* Others than containers, whose names stand alone ("db, web"), say what they are: "unit NAME". */
static const char *kind_of(const char *user)
{
	const char *blank = strchr(user, ' ');

	return !blank || (blank > user && blank[-1] == ',') ? "container " : "";
}

void claim_user_text(const struct catalog *c, const struct volume *v, struct id128 node, char *buf,
	size_t size)
{
	char text[CATALOG_NODE_SIZE];

	*buf = '\0';
	if (id128_is_nil(v->leased) || id128_equal(v->leased, node))
		return;
	snprintf(buf, size, "volume %s is in use on %s%s%s%s", v->name, catalog_node_text(c, v->leased, text),
		v->used_by ? ", by " : "", v->used_by ? kind_of(v->used_by) : "", v->used_by ?: "");
}

int claim_set_owner(const char *path, uid_t owner, gid_t group, mode_t mode)
{
	_cleanup_close_ int fd = -EBADF;

	if (owner == (uid_t)-1 && group == (gid_t)-1 && mode == (mode_t)-1)
		return 0;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fchown(fd, owner, group) < 0 ||
		(mode != (mode_t)-1 && fchmod(fd, mode) < 0))
		return -errno;
	return 0;
}
