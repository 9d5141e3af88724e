/* SPDX-License-Identifier: Apache-2.0 */
/* Which one a person means: nodes, datasets and leases by a beginning of an id or by a name. */
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "ctl.h"
#include "say.h"

#define CANDIDATES_SHOWN 10

DEFINE_CLEANUP(struct addrinfo *, freeaddrinfo);

/* Of datasets, in the order in which they are looked among: who means a name means a living one. */
enum rank {
	RANK_LIVING,
	RANK_KEPT, /* deleted, and may come back */
	RANK_GONE,
	RANK_MAX,
};

/* What a list's objects are called when one is looked for. */
struct kind {
	const char *word, *id_key, *name_key;
	const char *meant; /* how one is named */
	/* Which of @c the text means by another way, or -ENOENT; NULL: there is no other. */
	int (*else_match)(const char *text, const struct candidate *c, size_t n);
};

/* The candidates of one rank; ids and names are theirs. */
struct row {
	struct candidate *c;
	size_t n, room;
};

struct choice {
	const struct kind *kind;
	struct row rows[RANK_MAX];
};

static void choice_done(struct choice *l)
{
	for (size_t i = 0; i < RANK_MAX; i++) {
		for (size_t k = 0; k < l->rows[i].n; k++) {
			free((char *)(uintptr_t)l->rows[i].c[k].id);
			free((char *)(uintptr_t)l->rows[i].c[k].name);
		}
		free(l->rows[i].c);
		l->rows[i] = (struct row){ 0 };
	}
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
	"uuid",
	"host",
	"the beginning of its UUID, its address, or a host name of it",
	match_host,
};
static const struct kind dataset_kind = {
	"dataset",
	"dataset_id",
	"name",
	"the beginning of its id, or its name",
	NULL,
};
static const struct kind deleted_kind = {
	"deleted dataset",
	"dataset_id",
	"name",
	"the beginning of its id, or its name",
	NULL,
};
/* A lease has no name: its dataset's is added to it where one is looked for. */
static const struct kind lease_kind = {
	"leased dataset",
	"dataset_id",
	"name",
	"the beginning of its id, or its name",
	NULL,
};

static enum rank rank_of(struct json_object *o)
{
	if (!ctl_flag(o, "deleted"))
		return RANK_LIVING;
	return ctl_text(o, "undelete_until") ? RANK_KEPT : RANK_GONE;
}

static int grow(struct row *r)
{
	size_t room = r->room ? 2 * r->room : 64;
	struct candidate *more;

	if (r->n < r->room)
		return 0;
	more = reallocarray(r->c, room, sizeof(*more));
	if (!more)
		return -ENOMEM;
	r->c = more;
	r->room = room;
	return 0;
}

/* Takes copies: of a long list only ids and names are kept. */
static int add_candidate(struct json_object *o, void *userdata)
{
	struct choice *l = userdata;
	struct row *row = &l->rows[rank_of(o)];
	const char *id = ctl_text(o, l->kind->id_key), *name = ctl_text(o, l->kind->name_key);
	_cleanup_free_ char *id_copy = NULL, *name_copy = NULL;
	struct id128 uuid;

	if (!id || id128_parse(id, &uuid) < 0)
		return CTL_OK;
	id_copy = strdup(id);
	name_copy = name ? strdup(name) : NULL;
	if (!id_copy || (name && !name_copy) || grow(row) < 0)
		return ctl_no_memory();
	row->c[row->n++] = (struct candidate){ TAKE_PTR(id_copy), TAKE_PTR(name_copy) };
	return CTL_OK;
}

/* All of them, or those that @text means, up to a screenful. */
static void say_candidates(const char *text, const struct row *row)
{
	size_t shown = 0, more = 0;

	for (size_t i = 0; i < row->n; i++) {
		if (text && !args_means(text, &row->c[i]))
			continue;
		if (shown == CANDIDATES_SHOWN) {
			more++;
			continue;
		}
		fprintf(stderr, "  %.36s  ", row->c[i].id);
		say_text(stderr, row->c[i].name);
		fputc('\n', stderr);
		shown++;
	}
	if (more)
		fprintf(stderr, "  and %zu more\n", more);
}

/* The row that @text is of and its index there; -ENOENT: none of rows @first to @last. */
static int match(const struct choice *l, const char *text, enum rank first, enum rank last, const struct row **ret)
{
	int r = -ENOENT;

	for (enum rank i = first; i <= last && r == -ENOENT; i++) {
		*ret = &l->rows[i];
		r = args_match(text, l->rows[i].c, l->rows[i].n);
		if (r == -ENOENT && l->kind->else_match)
			r = l->kind->else_match(text, l->rows[i].c, l->rows[i].n);
	}
	return r;
}

static int say_no_match(const struct choice *l, const char *text, enum rank first, enum rank last)
{
	size_t n = 0;

	for (enum rank i = first; i <= last; i++)
		n += l->rows[i].n;
	if (n == 0)
		return say_error(CTL_NOT_FOUND, "there is no %s '%s'; there are none at all", l->kind->word, text);
	say_error(0, "there is no %s '%s'; name %s:", l->kind->word, text, l->kind->meant);
	for (enum rank i = first; i <= last; i++)
		say_candidates(NULL, &l->rows[i]);
	return CTL_NOT_FOUND;
}

/* @ret_id: the one that is meant; when it is none, or several, that has been told. */
static int choose(const struct choice *l, const char *text, enum rank first, enum rank last,
	char ret_id[static ID128_TEXT])
{
	const struct row *row = NULL;
	int r = match(l, text, first, last, &row);

	if (r == -ENOTUNIQ) {
		say_error(0, "'%s' means more than one %s:", text, l->kind->word);
		say_candidates(text, row);
		return CTL_NOT_FOUND;
	}
	if (r < 0)
		return say_no_match(l, text, first, last);
	snprintf(ret_id, ID128_TEXT, "%s", row->c[r].id);
	return CTL_OK;
}

/* The object of @list with this id; NULL: none. */
static struct json_object *of_id(struct json_object *list, const char *key, const char *id)
{
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);
		const char *other = ctl_text(o, key);

		if (other && STREQ(other, id))
			return o;
	}
	return NULL;
}

static int find_in(struct json_object *list, const struct kind *k, const char *text, struct json_object **ret)
{
	_cleanup_(choice_done) struct choice l = { .kind = k };
	char id[ID128_TEXT];
	int r = CTL_OK;

	for (size_t i = 0; r == CTL_OK && i < json_object_array_length(list); i++)
		r = add_candidate(json_object_array_get_idx(list, i), &l);
	if (r == CTL_OK)
		r = choose(&l, text, RANK_LIVING, RANK_LIVING, id);
	if (r == CTL_OK)
		*ret = json_object_get(of_id(list, k->id_key, id));
	return r;
}

int ctl_find_node(struct ctl *c, const char *text, struct json_object **ret)
{
	_cleanup_json_ struct json_object *nodes = NULL;
	int r = ctl_all(c, "/v2/nodes", "nodes", &nodes);

	return r == CTL_OK ? find_in(nodes, &node_kind, text, ret) : r;
}

static int get_dataset(struct ctl *c, const char *id, enum rank first, enum rank last, struct json_object **ret)
{
	_cleanup_json_ struct json_object *d = NULL;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/v2/datasets/%.36s", id);
	r = ctl_call(c, "GET", path, NULL, json_type_object, &d);
	if (r != CTL_OK)
		return r;
	if (!ctl_text(d, "dataset_id") || !STREQ(ctl_text(d, "dataset_id"), id))
		return say_error(CTL_CONNECT, "the control service answers for another dataset");
	if (rank_of(d) > last)
		return say_error(CTL_NOT_FOUND, "dataset %.36s has been deleted", id);
	if (rank_of(d) < first)
		return say_error(CTL_REFUSED, "dataset %.36s has not been deleted", id);
	*ret = TAKE_PTR(d);
	return CTL_OK;
}

/* Those of the whole list, or of a name alone. */
static int list_candidates(struct ctl *c, const char *name, bool with_gone, struct choice *l)
{
	_cleanup_free_ char *escaped = name ? ctl_escape(name) : NULL, *path = NULL;

	if ((name && !escaped) || asprintf(&path, "/v2/datasets%s%s%s%s", with_gone ? "?deleted=true" : "",
			!name ? "" : with_gone ? "&" : "?", name ? "name=" : "", name ? escaped : "") < 0)
		return ctl_no_memory();
	choice_done(l);
	return ctl_each(c, path, "datasets", add_candidate, l, NULL);
}

static int find_dataset(struct ctl *c, const char *text, const struct kind *k, enum rank first, enum rank last,
	struct json_object **ret)
{
	_cleanup_(choice_done) struct choice l = { .kind = k };
	/* What begins no id is asked for by its name, which needs no list of all. */
	bool maybe_id = text[strspn(text, "0123456789abcdefABCDEF-")] == '\0';
	const struct row *row;
	char found[ID128_TEXT];
	struct id128 id;
	int r = CTL_OK;

	if (id128_parse(text, &id) == 0)
		return get_dataset(c, ID128_STR(id), first, last, ret);
	if (!maybe_id)
		r = list_candidates(c, text, last == RANK_GONE, &l);
	if (r == CTL_OK && (maybe_id || match(&l, text, first, last, &row) == -ENOENT))
		r = list_candidates(c, NULL, last == RANK_GONE, &l);
	if (r == CTL_OK)
		r = choose(&l, text, first, last, found);
	return r == CTL_OK ? get_dataset(c, found, first, last, ret) : r;
}

int ctl_find_dataset(struct ctl *c, const char *text, bool with_deleted, struct json_object **ret)
{
	return find_dataset(c, text, &dataset_kind, RANK_LIVING, with_deleted ? RANK_GONE : RANK_LIVING, ret);
}

int ctl_find_deleted(struct ctl *c, const char *text, struct json_object **ret)
{
	return find_dataset(c, text, &deleted_kind, RANK_KEPT, RANK_GONE, ret);
}

static int add_name(struct json_object *dataset, void *userdata)
{
	const char *id = ctl_text(dataset, "dataset_id"), *name = ctl_dataset_name(dataset);
	struct json_object *lease = id ? of_id(userdata, "dataset_id", id) : NULL;

	if (lease && name && json_put_member(lease, "name", json_object_new_string(name)) < 0)
		return ctl_no_memory();
	return CTL_OK;
}

int ctl_add_names(struct ctl *c, struct json_object *leases)
{
	if (json_object_array_length(leases) == 0)
		return CTL_OK;
	return ctl_each(c, "/v2/datasets?deleted=true", "datasets", add_name, leases, NULL);
}

int ctl_find_lease(struct ctl *c, const char *text, struct json_object **ret)
{
	_cleanup_json_ struct json_object *leases = NULL;
	int r = ctl_all(c, "/v2/leases", "leases", &leases);

	if (r == CTL_OK)
		r = ctl_add_names(c, leases);
	return r == CTL_OK ? find_in(leases, &lease_kind, text, ret) : r;
}
