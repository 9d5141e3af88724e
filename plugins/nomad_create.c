/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume is created, or once more: Nomad repeats each create when its agent starts, and after
 * changes.
 *
 * A first create that fails leaves nothing behind that keeps the dataset from others, since Nomad
 * forgets its volume; a repeated one keeps the lease, since Nomad still has it.
 */
#include <dirent.h>

#include "claim.h"
#include "nomad_private.h"
#include "text.h"

#define PIECE_S 2u	/* of waiting, after which it is looked whether that has become hopeless */
#define PAUSE_MS 50	/* before asking again what was answered at once */
#define CLEANUP_S 5	/* beyond the limit */
#define KNOWN_LIMIT_S 5u /* for control, when the answer is known without it */

DEFINE_CLEANUP(DIR *, closedir);

struct create {
	struct nomad n;
	struct id128 dataset;
	bool repeated;	 /* Nomad has this volume already */
	bool was_leased; /* to this node, before */
	uint64_t size_bytes; /* that it is to get; 0: as it is */
};

/* ---- the dataset ---- */

static int refuse_different(struct create *c, const struct volume *v)
{
	const struct nomad_request *q = c->n.q;

	if (docker_options_differ(&q->options, v, c->n.error))
		return -EEXIST;
	if (q->max_bytes && nomad_size_told(q, v->size_bytes) > q->max_bytes)
		return nomad_fail(&c->n, EEXIST,
			"there is a dataset %s already, and it is different: its size is %s (%llu bytes), more than "
			"capacity_max; datasets do not shrink",
			v->name, TEXT_BYTES(v->size_bytes), (unsigned long long)v->size_bytes);
	return 0;
}

/* The part of "NAMESPACE/NAME" before the slash: namespaces have none. */
static bool is_of_space(const char *name, const char *space)
{
	size_t n = strlen(space);

	return strncmp(name, space, n) == 0 && name[n] == '/';
}

/* Nomad has one volume of a name on a node; so one of the same name that is another is what Nomad
 * has forgotten. */
static int refuse_other(struct create *c, const struct volume *v)
{
	const struct nomad_request *q = c->n.q;
	char ours[NOMAD_NAME_MAX + 1];

	nomad_full_name(q, ours);
	if (v->nomad_name && !is_of_space(v->nomad_name, q->space))
		return nomad_fail(&c->n, EACCES, "dataset %s is of Nomad's namespace %.*s, not %s", v->name,
			(int)strcspn(v->nomad_name, "/"), v->nomad_name, q->space);
	if (c->was_leased && !c->repeated && v->nomad_volume && v->nomad_name &&
		!STREQ(v->nomad_name, ours))
		return nomad_fail(&c->n, EBUSY, "dataset %s is Nomad's volume %s on this node already", v->name,
			v->nomad_name);
	return 0;
}

static int check_existing(struct create *c, const struct volume *v)
{
	int r;

	c->repeated = v->nomad_volume && STREQ(v->nomad_volume, ID128_STR(c->n.q->id));
	c->was_leased = id128_equal(v->leased, c->n.c->client->node);
	r = refuse_other(c, v);
	if (r < 0)
		return r;
	if (!id128_is_nil(v->leased) && !c->was_leased)
		return nomad_refuse_used(&c->n, v);
	return c->repeated ? 0 : refuse_different(c, v);
}

/* Once Nomad's volume has been a dataset, another one in its place would be empty. */
static int refuse_destroyed(struct create *c, const char *name)
{
	struct id128 destroyed, leased;
	int r = nomad_find_destroyed(&c->n, ID128_STR(c->n.q->id), &destroyed, &leased);

	if (r == 0 && !id128_is_nil(destroyed))
		return nomad_fail(&c->n, ENOENT,
			"dataset %s, which this volume was, has been destroyed; nomad volume delete makes room for a "
			"new one",
			name);
	return r;
}

static int post(struct create *c, const char *name)
{
	struct docker_options o = c->n.q->options;
	struct json_object *body;

	o.size_bytes = nomad_size(c->n.q);
	body = docker_options_body(&o, name, ID128_NIL);
	if (!body)
		return nomad_fail(&c->n, ENOMEM, "out of memory");
	return nomad_ask(&c->n, "POST", "/v2/datasets", body, 409);
}

/* Its name may be in use already: by what somebody else makes just now and is not listed yet, by
 * what a killed run has made, or by what is being destroyed. */
static int make(struct create *c, const struct volume **ret)
{
	_cleanup_free_ char *name = nomad_dataset_name(c->n.q);
	struct id128 id;
	int r;

	if (!name)
		return nomad_fail(&c->n, ENOMEM, "out of memory");
	if (c->n.q->dataset && id128_parse(name, &id) == 0)
		return nomad_fail(&c->n, ENOENT, "there is no dataset %s", name);
	r = refuse_destroyed(c, name);
	while (r == 0) {
		r = post(c, name);
		if (r == 0)
			r = nomad_find(&c->n, ret);
		if (r < 0 || *ret)
			break;
		if (ask_left_s(c->n.ask) == 0)
			return nomad_fail(&c->n, EEXIST, "the name %s is in use, by a dataset that is not listed",
				name);
		ask_pause(c->n.ask, PAUSE_MS);
	}
	return r;
}

static int find_or_make(struct create *c, const struct volume **ret)
{
	const struct volume *v = NULL;
	int r = nomad_find(&c->n, &v);

	if (r == 0 && !v)
		r = make(c, &v);
	if (r == 0)
		r = check_existing(c, v);
	if (r == 0)
		*ret = v;
	return r;
}

/* ---- the lease ---- */

/* Users that a create left behind which Nomad has heard nothing of, since it was killed. */
static void forget_others(struct create *c)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_(closedirp) DIR *dir = NULL;
	struct dirent *de;

	if (asprintf(&path, "%s/%s", c->n.c->client->users_directory, ID128_STR(c->dataset)) < 0) {
		path = NULL;
		return;
	}
	dir = opendir(path);
	while (dir && (de = readdir(dir)))
		if (strncmp(de->d_name, NOMAD_WHO, strlen(NOMAD_WHO)) == 0 &&
			!STREQ(de->d_name, c->n.who))
			users_forget(c->n.c->client->users_directory, c->dataset, de->d_name);
}

static int take(struct create *c, const struct volume *v)
{
	int r;

	do
		r = users_join(c->n.c->client->users_directory, c->dataset, c->n.who, NULL);
	while (nomad_may_wait(&c->n, r));
	if (r < 0)
		return nomad_fail(&c->n, -r, "cannot write below %s: %s", c->n.c->client->users_directory,
			strerror(-r));
	forget_others(c);
	return nomad_lease(&c->n, v);
}

static void end_lease(struct create *c)
{
	const char *users = c->n.c->client->users_directory;
	int lock, r;

	do
		r = users_leave(users, c->dataset, c->n.who, &lock);
	while (nomad_may_wait(&c->n, r));
	if (r > 0)
		users_left(users, c->dataset, c->n.who, lock,
			nomad_unlease(&c->n, c->dataset) == 0);
}

/* What a first create has taken, so that a delete of it finds nothing to end or to destroy. The
 * error stays. */
static void give_back(struct create *c)
{
	const struct volume *v = NULL;
	char error[NOMAD_ERROR_MAX];

	memcpy(error, c->n.error, sizeof(error));
	ask_extend(c->n.ask, CLEANUP_S);
	if (nomad_get(&c->n, c->dataset, &v) == 0 && v &&
		STREQ(v->nomad_volume ?: "", ID128_STR(c->n.q->id)))
		(void)nomad_forget(&c->n, c->dataset);
	if (c->was_leased)
		users_forget(c->n.c->client->users_directory, c->dataset, c->n.who);
	else
		end_lease(c);
	memcpy(c->n.error, error, sizeof(error));
}

/* ---- coming here ---- */

static int wish(struct create *c, const struct volume *v)
{
	const struct volume *now = NULL;
	uint64_t least = nomad_size(c->n.q);

	c->size_bytes = c->n.q->min_bytes && v->size_bytes < least ? least : 0;
	return nomad_wish(&c->n, c->dataset, &c->n.c->client->node, c->size_bytes, &now);
}

static bool is_here(const struct create *c, const struct volume *v)
{
	struct id128 node = c->n.c->client->node;

	mounted_look(c->n.mounted);
	return id128_equal(v->node, node) && id128_equal(v->leased, node) && mounted_is_here(c->n.mounted, v, node) &&
	       v->volume_bytes >= c->size_bytes;
}

static int fail_there(struct create *c, const struct volume *v, const char *what)
{
	char why[NOMAD_ERROR_MAX / 2];

	claim_describe(c->n.catalog, v, why, sizeof(why));
	return nomad_fail(&c->n, ETIMEDOUT, "dataset %s %s: %s", v->name, what, why);
}

static int look(struct create *c, const struct volume **ret)
{
	unsigned int left = ask_left_s(c->n.ask);
	char path[128];
	int r;

	snprintf(path, sizeof(path), "/v2/datasets/%s?wait=%u&until=%s", ID128_STR(c->dataset), MIN(left, PIECE_S),
		c->size_bytes ? "settled" : "mounted");
	r = nomad_ask(&c->n, "GET", path, NULL, 404);
	if (r < 0)
		return r;
	*ret = nomad_known(&c->n, c->dataset);
	return *ret ? 0 : nomad_fail(&c->n, ENOENT, "the dataset was destroyed meanwhile");
}

static int wait_here(struct create *c, const struct volume **ret)
{
	const struct volume *v = NULL;
	int r;

	for (;;) {
		r = look(c, &v);
		if (r < 0)
			return r;
		if (is_here(c, v))
			break;
		if (claim_is_hopeless(v, c->n.c->client->node))
			return fail_there(c, v, "cannot be mounted");
		if (ask_left_s(c->n.ask) == 0)
			return fail_there(c, v, c->size_bytes ? "is not here yet, or not as large as it shall be" :
				"is not here yet, which goes on; please repeat the command");
		if (!id128_equal(v->leased, c->n.c->client->node)) { /* a person has ended it meanwhile */
			r = nomad_lease(&c->n, v);
			if (r < 0)
				return r;
		}
		ask_pause(c->n.ask, PAUSE_MS);
	}
	*ret = v;
	return 0;
}

/* ---- the answer ---- */

static int set_owner(struct create *c, const char *path)
{
	const struct nomad_request *q = c->n.q;
	int r = claim_set_owner(path, (uid_t)q->uid, (gid_t)q->gid, (mode_t)q->mode);

	return r < 0 ? nomad_fail(&c->n, -r, "cannot set owner and mode of %s: %s", path,
			       strerror(-r)) : 0;
}

static int place(struct create *c, char **ret)
{
	if (asprintf(ret, "%s/%s", c->n.c->client->mount_root, ID128_STR(c->dataset)) >= 0)
		return 0;
	*ret = NULL;
	return nomad_fail(&c->n, ENOMEM, "out of memory");
}

static int answer(struct create *c, uint64_t size_bytes, struct nomad_created *ret)
{
	_cleanup_free_ char *path = NULL;
	int r = place(c, &path);

	if (r == 0)
		r = set_owner(c, path);
	if (r < 0)
		return r;
	ret->path = TAKE_PTR(path);
	ret->size_bytes = nomad_size_told(c->n.q, size_bytes);
	return 0;
}

/* What a former create has answered since the machine was started, and is still mounted. */
static bool is_known(struct create *c)
{
	dev_t devno;

	return users_find(c->n.c->client->users_directory, c->n.who, &c->dataset) == 0 &&
	       mounted_find(c->n.mounted, c->dataset, &devno);
}

/* Control may be away when Nomad's agent starts, while its tasks run on: they keep what they have, and
 * @ret stays NULL. */
static int find_at_last(struct create *c, const struct volume **ret)
{
	bool known = is_known(c);
	int r;

	if (known)
		ask_extend(c->n.ask, MIN(c->n.c->limit_s, KNOWN_LIMIT_S));
	r = find_or_make(c, ret);
	if (r < 0 && known && c->n.unanswered)
		return 0;
	if (r < 0)
		return r;
	c->dataset = (*ret)->id;
	ask_extend(c->n.ask, c->n.c->limit_s);
	return 0;
}

static int bring(struct create *c, const struct volume *v, uint64_t *ret_size)
{
	int r = take(c, v);

	if (r == 0)
		r = wish(c, v);
	if (r == 0)
		r = wait_here(c, &v);
	if (r == 0)
		*ret_size = v->volume_bytes ? MIN(v->volume_bytes, v->size_bytes) : v->size_bytes;
	return r;
}

static int create(struct create *c, struct nomad_created *ret)
{
	const struct volume *v = NULL;
	uint64_t size = nomad_size(c->n.q);
	int r = find_at_last(c, &v);

	if (r < 0)
		return r;
	if (!v)
		return answer(c, size, ret);
	r = bring(c, v, &size);
	if (r == 0)
		r = answer(c, size, ret);
	if (r < 0 && !c->repeated)
		give_back(c);
	return r;
}

int nomad_create(const struct nomad_config *config, const struct nomad_request *q,
	struct nomad_created *ret, char error[NOMAD_ERROR_MAX])
{
	struct create c = { 0 };
	int r = nomad_open(&c.n, config, q, error);

	if (r == 0)
		r = create(&c, ret);
	nomad_close(&c.n);
	return r;
}
