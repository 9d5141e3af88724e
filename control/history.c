/* SPDX-License-Identifier: Apache-2.0 */
#include <json-c/linkhash.h>

#include "history.h"

struct ring {
	struct id128 dataset;
	struct history_step *steps; /* grows to HISTORY_STEPS_MAX, then turns */
	size_t first, n, size;
};

struct history {
	struct lh_table *rings; /* by dataset */
};

static unsigned long ring_hash(const void *key)
{
	return id128_hash(*(const struct id128 *)key);
}

static int ring_equal(const void *a, const void *b)
{
	return id128_equal(*(const struct id128 *)a, *(const struct id128 *)b);
}

static void step_done(struct history_step *s)
{
	free((void *)(uintptr_t)s->what);
}

static struct history_step *ring_at(const struct ring *r, size_t i)
{
	return &r->steps[(r->first + i) % r->size];
}

static void ring_free(struct lh_entry *e)
{
	struct ring *r = lh_entry_v(e);

	for (size_t i = 0; i < r->n; i++)
		step_done(ring_at(r, i));
	free(r->steps);
	free(r);
}

struct history *history_new(void)
{
	struct history *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->rings = lh_table_new(64, ring_free, ring_hash, ring_equal);
	if (!h->rings) {
		free(h);
		return NULL;
	}
	return h;
}

struct history *history_free(struct history *h)
{
	if (!h)
		return NULL;
	lh_table_free(h->rings);
	free(h);
	return NULL;
}

void history_drop(struct history *h, struct id128 dataset)
{
	(void)lh_table_delete(h->rings, &dataset);
}

static struct ring *find(const struct history *h, struct id128 dataset)
{
	struct lh_entry *e = lh_table_lookup_entry(h->rings, &dataset);

	return e ? lh_entry_v(e) : NULL;
}

static struct ring *find_or_make(struct history *h, struct id128 dataset)
{
	struct ring *r = find(h, dataset);

	if (r)
		return r;
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->dataset = dataset;
	if (lh_table_insert(h->rings, &r->dataset, r) < 0) {
		free(r);
		return NULL;
	}
	return r;
}

/* Room for one more; only a ring that has not turned yet grows, so order needs no care. */
static bool ring_grow(struct ring *r)
{
	size_t size = r->size ? MIN(r->size * 2, (size_t)HISTORY_STEPS_MAX) : 4;
	struct history_step *steps;

	if (r->n < r->size || r->size == HISTORY_STEPS_MAX)
		return true;
	steps = realloc(r->steps, size * sizeof(*steps));
	if (!steps)
		return false;
	r->steps = steps;
	r->size = size;
	return true;
}

static bool same(const struct history_step *a, const struct history_step *b)
{
	return id128_equal(a->node, b->node) && STREQ(a->state, b->state) &&
	       STREQ(a->what, b->what);
}

bool history_add(struct history *h, struct id128 dataset, const struct history_step *s)
{
	struct ring *r = find_or_make(h, dataset);
	struct history_step copy = *s;

	if (!r || (r->n > 0 && same(ring_at(r, r->n - 1), s)))
		return !r;
	copy.what = strdup(s->what);
	if (!copy.what || !ring_grow(r)) {
		step_done(&copy);
		return true;
	}
	if (r->n == r->size) {
		step_done(ring_at(r, 0));
		r->first = (r->first + 1) % r->size;
		r->n--;
	}
	*ring_at(r, r->n++) = copy;
	return true;
}

size_t history_count(const struct history *h, struct id128 dataset)
{
	const struct ring *r = find(h, dataset);

	return r ? r->n : 0;
}

const struct history_step *history_get(const struct history *h, struct id128 dataset, size_t i)
{
	const struct ring *r = find(h, dataset);

	return r && i < r->n ? ring_at(r, i) : NULL;
}

int64_t history_since(const struct history *h, struct id128 dataset)
{
	const struct ring *r = find(h, dataset);
	const struct history_step *last;
	size_t i;

	if (!r || r->n == 0)
		return 0;
	last = ring_at(r, r->n - 1);
	for (i = r->n - 1; i > 0; i--) {
		const struct history_step *s = ring_at(r, i - 1);

		if (!id128_equal(s->node, last->node) || !STREQ(s->state, last->state))
			break;
	}
	return ring_at(r, i)->time_ms;
}
