/* SPDX-License-Identifier: Apache-2.0 */
#include "docker_mounts.h"
#include "jsonin.h"
#include "jsonput.h"

#define ID_MAX 255
#define LOOKS 2 /* in vain, of a container that may be about to start */

struct mount {
	struct mount *next;
	char *name; /* of the volume, when it was mounted; "" when that is not known */
	unsigned int count;
	bool old;   /* of before the latest handshake, as is what has an earlier generation */
	bool taken; /* over from there, by a mount since */
	uint64_t generation;
	char id[];
};

struct used {
	struct id128 dataset;
	struct used *next;
	struct mount *first;
	bool leased;
	bool ended; /* it had mounts, and the last is gone */
	bool ending; /* its lease may be released already */
	unsigned int idle, unused; /* looks of the timer */
};

struct mounts {
	struct used *first;
	uint64_t generation;
	size_t n; /* IDs */
};

int mounts_new(struct mounts **ret)
{
	struct mounts *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->generation = 1;
	*ret = m;
	return 0;
}

static void mount_free(struct mount *p)
{
	free(p->name);
	free(p);
}

static void used_free(struct used *u)
{
	for (struct mount *next, *p = u->first; p; p = next) {
		next = p->next;
		mount_free(p);
	}
	free(u);
}

static void clear(struct mounts *m)
{
	for (struct used *next, *u = m->first; u; u = next) {
		next = u->next;
		used_free(u);
	}
	m->first = NULL;
	m->n = 0;
}

struct mounts *mounts_free(struct mounts *m)
{
	if (m)
		clear(m);
	free(m);
	return NULL;
}

static struct used *find(const struct mounts *m, struct id128 dataset)
{
	struct used *u = m->first;

	while (u && !id128_equal(u->dataset, dataset))
		u = u->next;
	return u;
}

static struct used *get(struct mounts *m, struct id128 dataset)
{
	struct used *u = find(m, dataset);

	if (u)
		return u;
	u = calloc(1, sizeof(*u));
	if (u) {
		*u = (struct used){ .dataset = dataset, .next = m->first };
		m->first = u;
	}
	return u;
}

/* What has neither a count nor a lease is forgotten. */
static void tidy(struct mounts *m, struct id128 dataset)
{
	struct used **p = &m->first, *u;

	while (*p && !id128_equal((*p)->dataset, dataset))
		p = &(*p)->next;
	u = *p;
	if (!u || u->first || u->leased)
		return;
	*p = u->next;
	used_free(u);
}

/* podman counts by the name that it knows, and its ID is the same for all. */
static bool is_of(const struct mount *p, const char *name, const char *id)
{
	return STREQ(p->id, id) &&
	       (!STREQ(id, MOUNTS_PODMAN_ID) || STREQ(p->name, name) || !*p->name);
}

static struct mount **find_mount(struct used *u, const char *name, const char *id)
{
	struct mount **p = &u->first;

	while (*p && !is_of(*p, name, id))
		p = &(*p)->next;
	return p;
}

static void remove_mount(struct mounts *m, struct mount **p)
{
	struct mount *gone = *p;

	*p = gone->next;
	mount_free(gone);
	m->n--;
}

static bool is_old(const struct mounts *m, const struct mount *p)
{
	return p->old || p->generation < m->generation;
}

void mounts_activate(struct mounts *m)
{
	m->generation++;
}

static struct mount *mount_new(const char *name, const char *id)
{
	struct mount *p = calloc(1, sizeof(*p) + strlen(id) + 1);

	if (!p)
		return NULL;
	strcpy(p->id, id);
	p->name = strdup(name);
	if (p->name)
		return p;
	free(p);
	return NULL;
}

static int add(struct mounts *m, struct id128 dataset, const char *name, const char *id,
	struct mount **ret)
{
	struct used *u;
	struct mount *p;

	if (m->n >= MOUNTS_MAX)
		return -ENOSPC;
	u = get(m, dataset);
	p = u ? mount_new(name, id) : NULL;
	if (!p) {
		tidy(m, dataset);
		return -ENOMEM;
	}
	p->generation = m->generation;
	p->next = u->first;
	u->first = p;
	u->ended = u->ending = false;
	m->n++;
	*ret = p;
	return 0;
}

/* The one of its ID; its dataset may have another name than when that was mounted before. */
static int get_mount(struct mounts *m, struct id128 dataset, const char *name, const char *id,
	struct mount **ret)
{
	struct used *u = find(m, dataset);
	struct mount *p = u ? *find_mount(u, name, id) : NULL;
	char *copy;

	if (!p)
		return add(m, dataset, name, id, ret);
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	free(p->name);
	p->name = copy;
	*ret = p;
	return 0;
}

int mounts_add(struct mounts *m, struct id128 dataset, const char *name, const char *id)
{
	struct mount *p;
	int r = get_mount(m, dataset, name, id, &p);

	if (r < 0)
		return r;
	find(m, dataset)->idle = find(m, dataset)->unused = 0;
	if (STREQ(id, MOUNTS_PODMAN_ID)) {
		p->count = 1;
		p->old = false;
		p->generation = UINT64_MAX; /* handshakes of others say nothing of it */
	} else if (is_old(m, p)) {
		p->taken = p->count > 0;
		p->old = false;
		p->count = 1;
		p->generation = m->generation;
	} else {
		p->count++;
	}
	return 0;
}

bool mounts_find(const struct mounts *m, const char *name, const char *id, struct id128 *ret)
{
	for (const struct used *u = m->first; u; u = u->next) {
		for (const struct mount *p = u->first; p; p = p->next) {
			if (!STREQ(p->name, name) || (id && !STREQ(p->id, id)))
				continue;
			*ret = u->dataset;
			return true;
		}
	}
	return false;
}

bool mounts_drop(struct mounts *m, struct id128 dataset, const char *name, const char *id)
{
	struct used *u = find(m, dataset);
	struct mount **p = u ? find_mount(u, name, id) : NULL;
	bool doubtful;

	if (!p || !*p)
		return false;
	u->unused = 0;
	doubtful = is_old(m, *p) || (*p)->taken;
	if (--(*p)->count > 0)
		return false;
	remove_mount(m, p);
	u->ended = !u->first;
	tidy(m, dataset);
	return doubtful;
}

int mounts_doubt(struct mounts *m, struct id128 dataset, const char *name, const char *id)
{
	struct mount *p;
	int r = add(m, dataset, name, id, &p);

	if (r < 0)
		return r;
	p->count = 1;
	p->old = true;
	return 0;
}

static unsigned int count(const struct mounts *m, struct id128 dataset, bool old_only)
{
	const struct used *u = find(m, dataset);
	unsigned int n = 0;

	for (const struct mount *p = u ? u->first : NULL; p; p = p->next)
		if (!old_only || is_old(m, p))
			n += p->count;
	return n;
}

unsigned int mounts_count(const struct mounts *m, struct id128 dataset)
{
	return count(m, dataset, false);
}

unsigned int mounts_count_old(const struct mounts *m, struct id128 dataset)
{
	return count(m, dataset, true);
}

void mounts_age(struct mounts *m, struct id128 dataset)
{
	struct used *u = find(m, dataset);

	for (struct mount *p = u ? u->first : NULL; p; p = p->next)
		p->old |= p->generation != UINT64_MAX;
}

static bool give_up(struct mounts *m, struct used *u)
{
	struct mount **p = &u->first;
	size_t before = m->n;

	while (*p) {
		if (is_old(m, *p))
			remove_mount(m, p);
		else
			p = &(*p)->next;
	}
	if (m->n == before)
		return false;
	u->ended = !u->first;
	tidy(m, u->dataset);
	return true;
}

bool mounts_look(struct mounts *m, struct id128 dataset, bool used)
{
	struct used *u = find(m, dataset);

	if (!u)
		return false;
	u->unused = used ? 0 : u->unused + 1;
	return u->unused >= LOOKS && give_up(m, u);
}

int mounts_set_leased(struct mounts *m, struct id128 dataset, bool leased)
{
	struct used *u = leased ? get(m, dataset) : find(m, dataset);

	if (!u)
		return leased ? -ENOMEM : 0;
	u->leased = leased;
	tidy(m, dataset);
	return 0;
}

void mounts_set_ending(struct mounts *m, struct id128 dataset, bool ending)
{
	struct used *u = find(m, dataset);

	if (u)
		u->ending = ending;
}

bool mounts_ending(const struct mounts *m, struct id128 dataset)
{
	const struct used *u = find(m, dataset);

	return u && u->ending;
}

bool mounts_leased(const struct mounts *m, struct id128 dataset)
{
	const struct used *u = find(m, dataset);

	return u && u->leased;
}

bool mounts_is_over(struct mounts *m, struct id128 dataset, unsigned int idle)
{
	struct used *u = find(m, dataset);

	if (!u || u->first || !u->leased)
		return false;
	return u->ended || (idle && ++u->idle >= idle);
}

void mounts_each(const struct mounts *m, void (*fn)(struct id128 dataset, void *userdata), void *userdata)
{
	for (const struct used *u = m->first; u; u = u->next)
		fn(u->dataset, userdata);
}

/* ---- as JSON ---- */

static int put_item(struct json_object *list, struct json_object *v)
{
	if (v && json_object_array_add(list, v) == 0)
		return 0;
	json_object_put(v);
	return -ENOMEM;
}

static struct json_object *write_mount(const struct mount *p)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();

	if (!o || json_put_member(o, "id", json_object_new_string(p->id)) < 0 ||
		json_put_member(o, "name", json_object_new_string(p->name)) < 0 ||
		json_put_member(o, "count", json_object_new_int64(p->count)) < 0)
		return NULL;
	return TAKE_PTR(o);
}

static struct json_object *write_used(const struct used *u)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();
	struct json_object *list = json_object_new_array();

	if (!o || json_put_member(o, "mounts", list) < 0 ||
		json_put_member(o, "leased", json_object_new_boolean(u->leased)) < 0 ||
		json_put_member(o, "ended", json_object_new_boolean(u->ended)) < 0 ||
		json_put_member(o, "dataset", json_object_new_string(ID128_STR(u->dataset))) < 0)
		return NULL;
	for (const struct mount *p = u->first; p; p = p->next)
		if (put_item(list, write_mount(p)) < 0)
			return NULL;
	return TAKE_PTR(o);
}

struct json_object *mounts_write(const struct mounts *m, struct id128 boot)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();
	struct json_object *list = json_object_new_array();

	if (!o || json_put_member(o, "volumes", list) < 0 || json_put_member(o, "boot", json_object_new_string(ID128_STR(boot))) < 0)
		return NULL;
	for (const struct used *u = m->first; u; u = u->next)
		if (put_item(list, write_used(u)) < 0)
			return NULL;
	return TAKE_PTR(o);
}

static struct json_object *member(struct json_object *o, const char *key, enum json_type type)
{
	struct json_object *v = NULL;

	(void)json_object_object_get_ex(o, key, &v);
	return json_object_is_type(v, type) ? v : NULL;
}

static int read_mount(struct mounts *m, struct id128 dataset, struct json_object *o)
{
	struct json_object *id = member(o, "id", json_type_string), *n = member(o, "count", json_type_int);
	struct json_object *name = member(o, "name", json_type_string);
	struct mount *p;
	int r;

	if (!id || json_object_get_string_len(id) > ID_MAX || !n || json_object_get_int64(n) < 1 ||
		json_object_get_int64(n) > MOUNTS_MAX)
		return -EBADMSG;
	r = add(m, dataset, name ? json_object_get_string(name) : "", json_object_get_string(id),
		&p);
	if (r < 0)
		return r;
	p->count = (unsigned int)json_object_get_int64(n);
	p->old = true;
	if (STREQ(p->id, MOUNTS_PODMAN_ID)) {
		p->old = false;
		p->generation = UINT64_MAX;
	}
	return 0;
}

static int read_used(struct mounts *m, struct json_object *o, bool same_boot)
{
	struct json_object *list = member(o, "mounts", json_type_array), *id = member(o, "dataset", json_type_string);
	struct id128 dataset;
	struct used *u;
	int r = 0;

	if (!list || !id || id128_parse(json_object_get_string(id), &dataset) < 0)
		return -EBADMSG;
	if (json_object_get_boolean(member(o, "leased", json_type_boolean)))
		r = mounts_set_leased(m, dataset, true);
	u = find(m, dataset);
	if (r == 0 && u)
		u->ended = u->ending = !same_boot ||
			json_object_get_boolean(member(o, "ended", json_type_boolean));
	for (size_t i = 0; same_boot && r == 0 && i < json_object_array_length(list); i++)
		r = read_mount(m, dataset, json_object_array_get_idx(list, i));
	return r;
}

int mounts_read(struct mounts *m, struct json_object *o, struct id128 boot)
{
	struct json_object *list = member(o, "volumes", json_type_array), *b = member(o, "boot", json_type_string);
	int r = list && b ? 0 : -EBADMSG;

	for (size_t i = 0; r == 0 && i < json_object_array_length(list); i++)
		r = read_used(m, json_object_array_get_idx(list, i),
			STREQ(json_object_get_string(b), ID128_STR(boot)));
	if (r < 0)
		clear(m);
	return r;
}
