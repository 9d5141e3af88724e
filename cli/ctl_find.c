/* SPDX-License-Identifier: Apache-2.0 */
/* Which one a person means: nodes, datasets and leases by a beginning of an id or by a name. */
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "ctl.h"
#include "say.h"

#define CANDIDATES_SHOWN 10

DEFINE_CLEANUP(struct addrinfo *, freeaddrinfo);

/* What a list's objects are called when one is looked for. */
struct kind {
	const char *word, *path, *id_key;
	const char *(*name)(struct json_object *o);
	const char *meant; /* how one is named */
	/* Which of @c the text means by another way, or -ENOENT; NULL: there is no other. */
	int (*else_match)(const char *text, const struct candidate *c, size_t n);
};

static const char *node_host(struct json_object *o)
{
	return ctl_text(o, "host");
}

/* A host name: the one node that has an address of it. */
static int match_host(const char *text, const struct candidate *c, size_t n)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	_cleanup_(freeaddrinfop) struct addrinfo *list = NULL;
	char address[INET6_ADDRSTRLEN];
	int found = -ENOENT;

	/* What can only be meant as a UUID or an address is nothing to ask a resolver about. */
	if (text[strspn(text, "0123456789abcdefABCDEF-.:")] == '\0' ||
		getaddrinfo(text, NULL, &hints, &list) != 0)
		return -ENOENT;
	for (const struct addrinfo *a = list; a; a = a->ai_next) {
		if (getnameinfo(a->ai_addr, a->ai_addrlen, address, sizeof(address), NULL, 0,
			    NI_NUMERICHOST) != 0)
			continue;
		for (size_t i = 0; i < n; i++) {
			if (!c[i].name || !STREQ(c[i].name, address))
				continue;
			if (found >= 0 && (size_t)found != i)
				return -ENOTUNIQ;
			found = (int)i;
		}
	}
	return found;
}

static const struct kind node_kind = {
	"node",
	"/v2/nodes",
	"uuid",
	node_host,
	"the beginning of its UUID, its address, or a host name of it",
	match_host,
};
/* A lease has no name: its dataset's is added to it where one is looked for. */
static const char *lease_name(struct json_object *o)
{
	return ctl_text(o, "name");
}

static const struct kind dataset_kind = {
	"dataset",
	"/v2/datasets",
	"dataset_id",
	ctl_dataset_name,
	"the beginning of its id, or its name",
	NULL,
};
static const struct kind lease_kind = {
	"leased dataset",
	"/v1/configuration/leases",
	"dataset_id",
	lease_name,
	"the beginning of its id, or its name",
	NULL,
};

/* All of them, or those that @text means, up to a screenful. */
static void say_candidates(const char *text, const struct candidate *c, size_t n)
{
	size_t shown = 0, more = 0;

	for (size_t i = 0; i < n; i++) {
		if (text && !args_means(text, &c[i]))
			continue;
		if (shown == CANDIDATES_SHOWN) {
			more++;
			continue;
		}
		fprintf(stderr, "  %.36s  ", c[i].id);
		say_text(stderr, c[i].name);
		fputc('\n', stderr);
		shown++;
	}
	if (more)
		fprintf(stderr, "  and %zu more\n", more);
}

static int say_no_match(
	const struct kind *k, const char *text, const struct candidate *c, size_t n, int match)
{
	if (match == -ENOTUNIQ) {
		say_error(0, "'%s' means more than one %s:", text, k->word);
		say_candidates(text, c, n);
	} else if (n == 0) {
		say_error(0, "there is no %s '%s'; there are none at all", k->word, text);
	} else {
		say_error(0, "there is no %s '%s'; name %s:", k->word, text, k->meant);
		say_candidates(NULL, c, n);
	}
	return CTL_NOT_FOUND;
}

static int find_in(struct json_object *list, const struct kind *k, const char *text,
	bool with_deleted, struct json_object **ret)
{
	_cleanup_free_ struct candidate *candidates = NULL;
	_cleanup_free_ struct json_object **objects = NULL;
	size_t n = 0, length = json_object_array_length(list);
	int r;

	candidates = calloc(length + 1, sizeof(*candidates));
	objects = calloc(length + 1, sizeof(struct json_object *));
	if (!candidates || !objects)
		return ctl_no_memory();
	for (size_t i = 0; i < length; i++) {
		struct json_object *o = json_object_array_get_idx(list, i);
		const char *id = ctl_text(o, k->id_key);
		struct id128 uuid;

		if (!id || id128_parse(id, &uuid) < 0 || (ctl_flag(o, "deleted") && !with_deleted))
			continue;
		objects[n] = o;
		candidates[n++] = (struct candidate){ id, k->name(o) };
	}
	r = args_match(text, candidates, n);
	if (r == -ENOENT && k->else_match)
		r = k->else_match(text, candidates, n);
	if (r < 0)
		return say_no_match(k, text, candidates, n, r);
	*ret = json_object_get(objects[r]);
	return CTL_OK;
}

static int find(struct ctl *c, const struct kind *k, const char *text, bool with_deleted,
	struct json_object **ret)
{
	_cleanup_json_ struct json_object *list = NULL;
	int r = ctl_call(c, "GET", k->path, NULL, json_type_array, &list);

	return r == CTL_OK ? find_in(list, k, text, with_deleted, ret) : r;
}

int ctl_find_node(struct ctl *c, const char *text, struct json_object **ret)
{
	return find(c, &node_kind, text, false, ret);
}

/* A whole id needs no list of all. */
static int get_dataset(struct ctl *c, struct id128 id, bool with_deleted, struct json_object **ret)
{
	_cleanup_json_ struct json_object *d = NULL;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/v2/datasets/%s", ID128_STR(id));
	r = ctl_call(c, "GET", path, NULL, json_type_object, &d);
	if (r != CTL_OK)
		return r;
	if (!ctl_text(d, "dataset_id") || !STREQ(ctl_text(d, "dataset_id"), ID128_STR(id)))
		return say_error(CTL_CONNECT, "the control service answers for another dataset");
	if (ctl_flag(d, "deleted") && !with_deleted)
		return say_error(CTL_NOT_FOUND, "dataset %s has been deleted", ID128_STR(id));
	*ret = TAKE_PTR(d);
	return CTL_OK;
}

int ctl_find_dataset(struct ctl *c, const char *text, bool with_deleted, struct json_object **ret)
{
	struct id128 id;

	if (id128_parse(text, &id) == 0)
		return get_dataset(c, id, with_deleted, ret);
	return find(c, &dataset_kind, text, with_deleted, ret);
}

int ctl_add_names(struct ctl *c, struct json_object *leases)
{
	_cleanup_json_ struct json_object *datasets = NULL, *by_id = NULL;
	int r = ctl_call(c, "GET", dataset_kind.path, NULL, json_type_array, &datasets);

	if (r != CTL_OK)
		return r;
	by_id = ctl_index(datasets, "dataset_id");
	if (!by_id)
		return ctl_no_memory();
	for (size_t i = 0; i < json_object_array_length(leases); i++) {
		struct json_object *lease = json_object_array_get_idx(leases, i);
		const char *id = ctl_text(lease, "dataset_id"), *name = NULL;

		if (id)
			name = ctl_dataset_name(ctl_member(by_id, id, json_type_object));
		if (name && ctl_put(lease, "name", json_object_new_string(name)) < 0)
			return ctl_no_memory();
	}
	return CTL_OK;
}

int ctl_find_lease(struct ctl *c, const char *text, struct json_object **ret)
{
	_cleanup_json_ struct json_object *leases = NULL;
	int r = ctl_call(c, "GET", lease_kind.path, NULL, json_type_array, &leases);

	if (r == CTL_OK)
		r = ctl_add_names(c, leases);
	return r == CTL_OK ? find_in(leases, &lease_kind, text, true, ret) : r;
}
