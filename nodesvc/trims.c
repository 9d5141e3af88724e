/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "trims.h"

#define STRANGER_S (5 * TRIMS_PERIOD_S)

static struct trim *find(const struct trims *t, struct id128 dataset_id)
{
	for (size_t i = 0; i < t->n; i++)
		if (id128_equal(t->list[i].dataset_id, dataset_id))
			return &t->list[i];
	return NULL;
}

static struct trim *add(struct trims *t, struct id128 dataset_id)
{
	struct trim *list = reallocarray(t->list, t->n + 1, sizeof(*list));

	if (!list)
		return NULL;
	t->list = list;
	t->dirty = true;
	list[t->n] = (struct trim){ .dataset_id = dataset_id };
	return &list[t->n++];
}

int trims_parse(struct trims *t, const char *text)
{
	while (*text) {
		size_t n = strcspn(text, "\n");
		struct trim line = { 0 }, *entry;
		char id[ID128_TEXT];

		if (n < 256 && sscanf(text, "%36s %" SCNd64 " %" SCNd64 " %" SCNu64, id, &line.base_s, &line.at_s,
				       &line.bytes) == 4 &&
			id128_parse(id, &line.dataset_id) == 0 && !find(t, line.dataset_id)) {
			entry = add(t, line.dataset_id);
			if (!entry)
				return -ENOMEM;
			*entry = line;
		}
		text += n + (text[n] == '\n');
	}
	t->dirty = false;
	return 0;
}

void trims_done(struct trims *t)
{
	free(t->list);
	*t = (struct trims){ 0 };
}

char *trims_text(struct trims *t)
{
	enum { LINE = ID128_TEXT + 3 * 22 };
	char *text = malloc(t->n * LINE + 1), *p = text;

	if (!text)
		return NULL;
	*p = '\0';
	for (size_t i = 0; i < t->n; i++)
		p += snprintf(p, LINE, "%s %" PRId64 " %" PRId64 " %" PRIu64 "\n", ID128_STR(t->list[i].dataset_id),
			t->list[i].base_s, t->list[i].at_s, t->list[i].bytes);
	t->dirty = false;
	return text;
}

const struct trim *trims_find(const struct trims *t, struct id128 dataset_id)
{
	return find(t, dataset_id);
}

int64_t trims_due(struct trims *t, struct id128 dataset_id, int64_t now_s)
{
	struct trim *e = find(t, dataset_id);

	if (!e) {
		e = add(t, dataset_id);
		if (!e)
			return INT64_MAX;
		e->base_s = now_s - (int64_t)(id128_hash(dataset_id) % (uint64_t)TRIMS_PERIOD_S);
	}
	if (e->base_s > now_s) { /* the clock was wrong then, or is now */
		e->base_s = now_s;
		t->dirty = true;
	}
	return e->base_s + TRIMS_PERIOD_S;
}

void trims_trimmed(struct trims *t, struct id128 dataset_id, int64_t now_s, uint64_t bytes)
{
	struct trim *e = find(t, dataset_id);

	if (!e)
		return;
	e->base_s = e->at_s = now_s;
	e->bytes = bytes;
	t->dirty = true;
}

void trims_put_off(struct trims *t, struct id128 dataset_id, int64_t now_s, int64_t seconds)
{
	struct trim *e = find(t, dataset_id);

	if (!e)
		return;
	e->base_s = now_s - TRIMS_PERIOD_S + seconds;
	t->dirty = true;
}

void trims_drop_strangers(struct trims *t, int64_t now_s,
	bool (*is_known)(struct id128 dataset_id, void *userdata), void *userdata)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->n; i++)
		if (now_s - t->list[i].base_s < STRANGER_S || is_known(t->list[i].dataset_id, userdata))
			t->list[kept++] = t->list[i];
	t->dirty |= kept < t->n;
	t->n = kept;
}
