/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume is deleted: what it has here ends, and with on_remove=delete its dataset is destroyed.
 *
 * Only what this volume has taken is given up. Nomad also deletes what it could not create, or what
 * has moved on since; then there is nothing to do, and above all nothing to destroy.
 */
#include "nomad_private.h"
#include "vholders.h"

#define PAUSE_MS 100

struct delete {
	struct nomad n;
	struct id128 dataset; /* nil: not known */
	bool destroys;
};

/* As this volume is a user of its lease; else by what the dataset itself says, since users do not
 * outlive a boot. */
static int find(struct delete *d, const struct volume **ret)
{
	const struct volume *v = NULL;
	int r = users_find(d->n.c->client->users_directory, d->n.who, &d->dataset);
	bool used = r == 0;

	if (used)
		r = nomad_get(&d->n, d->dataset, &v);
	else if (*d->n.q->name || d->n.q->dataset)
		r = nomad_find(&d->n, &v);
	else
		return 0;
	if (r == 0 && v && (v->nomad_volume ? STREQ(v->nomad_volume, ID128_STR(d->n.q->id)) : used))
		*ret = v;
	return r;
}

static void forget_user(struct delete *d)
{
	if (!id128_is_nil(d->dataset))
		users_forget(d->n.c->client->users_directory, d->dataset, d->n.who);
}

/* A run that was killed may have destroyed it, while its lease still keeps the destruction
 * waiting. */
static int finish(struct delete *d)
{
	struct id128 id, leased;
	int r = nomad_find_destroyed(&d->n, ID128_STR(d->n.q->id), &id, &leased);

	if (r == 0 && !id128_is_nil(id) && id128_equal(leased, d->n.c->client->node))
		r = nomad_unlease(&d->n, id);
	if (r == 0)
		forget_user(d);
	return r;
}

/* A process would run on without its data, or keep it from others: which one is said. */
static int refuse_used(struct delete *d, const struct volume *v)
{
	_cleanup_free_ char *place = NULL, *text = NULL;
	size_t n = 0;
	dev_t devno;

	if (!mounted_find(d->n.mounted, d->dataset, &devno))
		return 0;
	if (asprintf(&place, "%s/%s", d->n.c->client->mount_root, ID128_STR(d->dataset)) < 0) {
		place = NULL;
		return nomad_fail(&d->n, ENOMEM, "out of memory");
	}
	if (devno && vholders_find(devno, place, &text, &n) == 0 && n > 0)
		return nomad_fail(&d->n, EBUSY, "dataset %s is still used here: %.*s", v->name,
			(int)strcspn(text, "\n"), text);
	mounted_scan(d->n.mounted);
	if (mounted_is_used(d->n.mounted, d->dataset))
		return nomad_fail(&d->n, EBUSY, "dataset %s is still used here, by a container",
			v->name);
	return 0;
}

/* What is wished while the lease is still here happens when it ends, and nobody else comes in
 * between. Where a person wishes it elsewhere already, that is it. */
static int wish(struct delete *d)
{
	const struct volume *now = nomad_known(&d->n, d->dataset);
	char path[64];

	if (!d->destroys && now && !id128_equal(now->node, d->n.c->client->node))
		return 0;
	if (!d->destroys)
		return nomad_wish(&d->n, d->dataset, NULL, 0, &now);
	snprintf(path, sizeof(path), "/v2/datasets/%s", ID128_STR(d->dataset));
	return nomad_ask(&d->n, "DELETE", path, NULL, 404);
}

/* Nobody else here needs the lease, and nobody comes before @lock is ended. */
static int end(struct delete *d, int lock)
{
	int r = wish(d);

	if (r == 0)
		r = nomad_unlease(&d->n, d->dataset);
	users_left(d->n.c->client->users_directory, d->dataset, d->n.who, lock, r == 0);
	return r;
}

static int release(struct delete *d, const struct volume *v, bool *ret_last)
{
	int lock, r;

	do
		r = users_leave(d->n.c->client->users_directory, d->dataset, d->n.who, &lock);
	while (nomad_may_wait(&d->n, r));
	if (r < 0)
		return nomad_fail(&d->n, -r, "cannot write below %s: %s", d->n.c->client->users_directory,
			strerror(-r));
	*ret_last = r > 0;
	if (*ret_last)
		return end(d, lock);
	if (!d->destroys)
		return 0;
	return nomad_fail(&d->n, EBUSY,
		"dataset %s is not destroyed: another program on this node needs it", v->name);
}

/* The node unmounts it by itself; only then has the path gone that Nomad was told. */
static int wait_gone(struct delete *d)
{
	const struct volume *v = NULL;
	dev_t devno;
	int r;

	for (;;) {
		mounted_look(d->n.mounted);
		if (!mounted_find(d->n.mounted, d->dataset, &devno))
			return 0;
		if (ask_left_s(d->n.ask) == 0)
			break;
		ask_pause(d->n.ask, PAUSE_MS);
	}
	r = nomad_get(&d->n, d->dataset, &v);
	if (r < 0)
		return r;
	return nomad_fail(&d->n, ETIMEDOUT, "the dataset is not unmounted yet%s%.300s; please repeat the command",
		v && v->last_error ? ": " : "", v && v->last_error ? v->last_error : "");
}

static int forget(struct delete *d)
{
	const struct volume *v = NULL;
	int r = nomad_get(&d->n, d->dataset, &v);

	if (r < 0 || !v || !STREQ(v->nomad_volume ?: "", ID128_STR(d->n.q->id)))
		return r;
	return nomad_forget(&d->n, d->dataset);
}

/* Another node has it by now, or is to have it: this volume has nothing here any more. */
static bool has_gone(const struct delete *d, const struct volume *v)
{
	struct id128 here = d->n.c->client->node;

	if (!id128_is_nil(v->leased))
		return !id128_equal(v->leased, here);
	return !id128_is_nil(v->node) && !id128_equal(v->node, here);
}

/* Without a name Nomad undoes a create that it could not write down. The data may be older than
 * that. */
static bool destroys(const struct delete *d, const struct volume *v)
{
	if (!*d->n.q->name)
		return false;
	return d->n.q->options.delete_on_remove >= 0 ? d->n.q->options.delete_on_remove :
		v->delete_on_remove;
}

static int delete(struct delete *d)
{
	const struct volume *v = NULL;
	bool last = false;
	int r = find(d, &v);

	if (r < 0)
		return r;
	if (!v)
		return finish(d);
	d->dataset = v->id;
	if (has_gone(d, v)) {
		forget_user(d);
		return 0;
	}
	d->destroys = destroys(d, v);
	r = refuse_used(d, v);
	if (r == 0)
		r = release(d, v, &last);
	if (r == 0 && last)
		r = wait_gone(d);
	if (r == 0 && !d->destroys)
		r = forget(d);
	return r;
}

int nomad_delete(const struct nomad_config *config, const struct nomad_request *q,
	char error[NOMAD_ERROR_MAX])
{
	struct delete d = { 0 };
	int r = nomad_open(&d.n, config, q, error);

	if (r == 0)
		r = delete(&d);
	nomad_close(&d.n);
	return r;
}
