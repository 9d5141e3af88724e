/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is left over: leases of mounts that have ended while control was away or that nobody came for, and counts of
 * containers that have ended without a word.
 */
#include "docker_private.h"
#include "log.h"

#define IDLE_SWEEPS 60 /* a lease that nobody counts on is kept for so many looks, which are ten minutes */

struct tidy {
	struct docker_volumes *v;
	bool idle_too;
	struct id128 *list;
	size_t n, room;
};

static void collect(struct id128 dataset, void *userdata)
{
	struct tidy *t = userdata;

	if (t->n < t->room)
		t->list[t->n++] = dataset;
}

static void count_one(struct id128 dataset, void *userdata)
{
	((struct tidy *)userdata)->room++;
}

static void look_for_users(struct docker_volumes *v, struct id128 dataset)
{
	if (mounts_count_old(v->mounts, dataset) == 0 ||
		!mounts_look(v->mounts, dataset, mounted_is_used(v->mounted, dataset)))
		return;
	log_dataset(dataset, LOG_NOTICE, 0,
		"no container has it any more, though its engine has not said so");
	(void)docker_state_write(v);
}

static void tidy_one(struct tidy *t, struct id128 dataset)
{
	struct docker_volumes *v = t->v;

	if (t->idle_too)
		look_for_users(v, dataset);
	docker_keep(v, dataset);
	if (!docker_is_mounting(v, dataset) && !docker_is_releasing(v, dataset) &&
		mounts_is_over(v->mounts, dataset, t->idle_too ? IDLE_SWEEPS : 0))
		docker_release(v, dataset, NULL);
}

static bool any_old(const struct tidy *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (mounts_count_old(t->v->mounts, t->list[i]) > 0)
			return true;
	return false;
}

void docker_tidy(struct docker_volumes *v, bool idle_too)
{
	struct tidy t = { .v = v, .idle_too = idle_too };

	mounts_each(v->mounts, count_one, &t);
	t.list = calloc(t.room + 1, sizeof(*t.list));
	if (!t.list)
		return;
	mounts_each(v->mounts, collect, &t);
	if (idle_too && any_old(&t))
		mounted_scan(v->mounted);
	for (size_t i = 0; i < t.n; i++)
		tidy_one(&t, t.list[i]);
	free(t.list);
}
