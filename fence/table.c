/* SPDX-License-Identifier: Apache-2.0 */
#include "table.h"

#define GRACE_NS (FENCE_GRACE_MS * UINT64_C(1000000))

void fence_table_init(struct fence_table *t, uint64_t limit_ns)
{
	memset(t, 0, sizeof(*t));
	t->limit_ns = limit_ns;
}

static uint16_t *bucket_of(struct fence_table *t, struct id128 id)
{
	return &t->buckets[id128_hash(id) % FENCE_DATASETS_MAX];
}

struct fence_entry *fence_find(struct fence_table *t, struct id128 id)
{
	for (uint16_t i = *bucket_of(t, id); i > 0; i = t->entries[i - 1].next)
		if (id128_equal(t->entries[i - 1].dataset_id, id))
			return &t->entries[i - 1];
	return NULL;
}

static struct fence_entry *entry_new(struct fence_table *t, struct id128 id)
{
	uint16_t *bucket = bucket_of(t, id), i = t->free;
	struct fence_entry *e;

	if (i > 0)
		t->free = t->entries[i - 1].next;
	else if (t->high < FENCE_DATASETS_MAX)
		i = ++t->high;
	else
		return NULL;
	e = &t->entries[i - 1];
	*e = (struct fence_entry){ .dataset_id = id, .next = *bucket };
	*bucket = i;
	return e;
}

static void entry_free(struct fence_table *t, struct fence_entry *e)
{
	uint16_t i = (uint16_t)(e - t->entries + 1), *p = bucket_of(t, e->dataset_id);

	while (*p != i)
		p = &t->entries[*p - 1].next;
	*p = e->next;
	*e = (struct fence_entry){ .next = t->free };
	t->free = i;
}

static struct fence_entry *entries_end(struct fence_table *t)
{
	return t->entries + t->high;
}

/* ---- requests ---- */

int fence_arm(struct fence_table *t, struct id128 id, uint64_t deadline_ns, enum fs_kind fs)
{
	struct fence_entry *e = fence_find(t, id);

	if (e && e->state != FENCE_ARMED)
		return -ESTALE;
	if (!e) {
		e = entry_new(t, id);
		if (!e)
			return -ENOSPC;
		e->state = FENCE_ARMED;
		t->n_guarded++;
	}
	e->fs = fs;
	e->deadline_ns = deadline_ns;
	return 0;
}

/* An armed one, or the errno that says why there is none. */
static int find_armed(struct fence_table *t, struct id128 id, struct fence_entry **ret)
{
	struct fence_entry *e = fence_find(t, id);

	if (!e)
		return -ENOENT;
	if (e->state != FENCE_ARMED)
		return -ESTALE;
	*ret = e;
	return 0;
}

int fence_set_device(struct fence_table *t, struct id128 id, dev_t devno, uint64_t diskseq)
{
	struct fence_entry *e;
	int r = find_armed(t, id, &e);

	if (r < 0)
		return r;
	e->devno = devno;
	e->diskseq = diskseq;
	return 0;
}

int fence_disarm(struct fence_table *t, struct id128 id)
{
	struct fence_entry *e = fence_find(t, id);

	if (!e)
		return 0;
	if (e->state == FENCE_FIRED || e->steps)
		return -EBUSY;
	if (e->state == FENCE_ARMED)
		t->n_guarded--;
	entry_free(t, e);
	return 0;
}

int fence_step_begin(struct fence_table *t, struct id128 id, unsigned session, uint64_t now)
{
	struct fence_entry *e;
	int r = find_armed(t, id, &e);

	if (r < 0)
		return r;
	if (e->deadline_ns <= now)
		return -ESTALE;
	e->steps |= (uint8_t)(1u << session);
	return 0;
}

int fence_step_goes_on(struct fence_table *t, struct id128 id, unsigned session)
{
	struct fence_entry *e;
	int r = find_armed(t, id, &e);

	if (r == 0)
		e->steps |= (uint8_t)(1u << session);
	return r;
}

/* The last step of a fired dataset may have brought something up after it was stopped. */
static void steps_clear(struct fence_entry *e, unsigned session)
{
	if (!(e->steps & (1u << session)))
		return;
	e->steps &= (uint8_t) ~(1u << session);
	if (!e->steps && e->state == FENCE_FIRED)
		e->again = true;
}

int fence_step_end(struct fence_table *t, struct id128 id, unsigned session)
{
	struct fence_entry *e = fence_find(t, id);

	if (!e)
		return -ENOENT;
	steps_clear(e, session);
	return 0;
}

void fence_session_ended(struct fence_table *t, unsigned session)
{
	for (struct fence_entry *e = t->entries; e < entries_end(t); e++)
		steps_clear(e, session);
}

/* ---- firing ---- */

static struct fence_entry *behind(struct fence_table *t, const struct fence_entry *after)
{
	return after ? t->entries + (after - t->entries) + 1 : t->entries;
}

struct fence_entry *fence_fire(struct fence_table *t, const struct fence_entry *after, uint64_t now)
{
	for (struct fence_entry *e = behind(t, after); e < entries_end(t); e++) {
		if (e->state != FENCE_ARMED || e->deadline_ns > now)
			continue;
		e->state = FENCE_FIRED;
		e->fired_ns = now;
		e->again = e->tell = true;
		return e;
	}
	return NULL;
}

static bool wants_job(const struct fence_entry *e)
{
	return e->state == FENCE_FIRED && e->again && !e->running;
}

struct fence_entry *fence_next_job(struct fence_table *t, const struct fence_entry *after,
	uint64_t now)
{
	for (struct fence_entry *e = behind(t, after); e < entries_end(t); e++) {
		if (!wants_job(e) || e->retry_ns > now)
			continue;
		e->again = false;
		e->running = true;
		return e;
	}
	return NULL;
}

bool fence_stopped(struct fence_table *t, struct fence_entry *e, int r, uint64_t now)
{
	assert(e->running && e->state == FENCE_FIRED);
	e->running = false;
	e->error = r;
	if (r < 0) {
		e->again = true;
		e->retry_ns = now + FENCE_RETRY_NS;
	}
	if (e->again || e->steps)
		return false;
	e->state = FENCE_FENCED;
	e->tell = true;
	t->n_guarded--;
	return true;
}

bool fence_must_die(const struct fence_table *t, unsigned session, uint64_t now)
{
	for (const struct fence_entry *e = t->entries; e < t->entries + t->high; e++)
		if (e->state == FENCE_FIRED && (e->steps & (1u << session)) &&
			e->fired_ns + GRACE_NS <= now)
			return true;
	return false;
}

struct fence_entry *fence_next_late(struct fence_table *t, const struct fence_entry *after,
	uint64_t now)
{
	for (struct fence_entry *e = behind(t, after); e < entries_end(t); e++) {
		if (e->state != FENCE_FIRED || e->late || e->fired_ns + t->limit_ns > now)
			continue;
		e->late = true;
		return e;
	}
	return NULL;
}

uint64_t fence_next_wake(const struct fence_table *t, uint64_t now)
{
	uint64_t wake = FENCE_NEVER;

	for (const struct fence_entry *e = t->entries; e < t->entries + t->high; e++) {
		if (e->state == FENCE_ARMED)
			wake = MIN(wake, e->deadline_ns);
		if (e->state != FENCE_FIRED)
			continue;
		if (wants_job(e))
			wake = MIN(wake, e->retry_ns);
		if (!e->late)
			wake = MIN(wake, e->fired_ns + t->limit_ns);
		/* Once it has passed, the daemon is dying, and its death is an event. */
		if (e->steps && e->fired_ns + GRACE_NS > now)
			wake = MIN(wake, e->fired_ns + GRACE_NS);
	}
	return wake;
}

/* ---- telling ---- */

struct fence_entry *fence_next_untold(struct fence_table *t, const struct fence_entry *after)
{
	for (struct fence_entry *e = behind(t, after); e < entries_end(t); e++)
		if (e->tell)
			return e;
	return NULL;
}

void fence_tell_all(struct fence_table *t)
{
	for (struct fence_entry *e = t->entries; e < entries_end(t); e++)
		e->tell = e->state != FENCE_NONE;
}
