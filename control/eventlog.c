/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "eventlog.h"
#include "text.h"

#define RUN_DIGITS 12
#define RUN_MASK ((UINT64_C(1) << 4 * RUN_DIGITS) - 1)

struct eventlog {
	uint64_t run, last;
	size_t bytes, limit;
	struct event_text **ring; /* event n stands at n % room */
	size_t room, count;	  /* room: a power of two */
};

static const char *const kinds[] = {
	[EVENT_DATASET] = "dataset", [EVENT_NODE] = "node", [EVENT_LEASE] = "lease",
};
static_assert(ARRAY_SIZE(kinds) == EVENT_KIND_MAX, "a kind has no name");

const char *event_kind_name(enum event_kind kind)
{
	return kinds[kind];
}

struct event_text *event_text_ref(struct event_text *e)
{
	e->refs++;
	return e;
}

void event_text_unref(struct event_text *e)
{
	if (e && --e->refs == 0)
		free(e);
}

bool event_passes(const struct event_filter *f, const struct event_about *about)
{
	if (!(f->kinds & 1u << about->kind))
		return false;
	if (!id128_is_nil(f->dataset) && (about->kind == EVENT_NODE || !id128_equal(f->dataset, about->id)))
		return false;
	if (id128_is_nil(f->node) || (about->kind == EVENT_NODE && id128_equal(f->node, about->id)))
		return true;
	for (size_t i = 0; i < EVENT_NODES_MAX; i++)
		if (id128_equal(f->node, about->nodes[i]))
			return true;
	return false;
}

/* ---- the log ---- */

struct eventlog *eventlog_free(struct eventlog *l)
{
	if (!l)
		return NULL;
	for (uint64_t n = l->last - l->count + 1; n <= l->last; n++)
		event_text_unref(l->ring[n & (l->room - 1)]);
	free(l->ring);
	free(l);
	return NULL;
}

int eventlog_new(size_t bytes, uint64_t run, struct eventlog **ret)
{
	struct eventlog *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	*l = (struct eventlog){ .run = run & RUN_MASK, .limit = bytes };
	*ret = l;
	return 0;
}

uint64_t eventlog_last(const struct eventlog *l)
{
	return l->last;
}

static size_t cost(const struct event_text *e)
{
	return sizeof(*e) + e->size;
}

static void drop_oldest(struct eventlog *l)
{
	struct event_text *e = l->ring[(l->last - l->count + 1) & (l->room - 1)];

	l->bytes -= cost(e);
	l->count--;
	event_text_unref(e);
}

static int make_room(struct eventlog *l)
{
	size_t room = l->room ? l->room * 2 : 64;
	struct event_text **ring;

	if (l->count < l->room)
		return 0;
	ring = calloc(room, sizeof(struct event_text *));
	if (!ring)
		return -ENOMEM;
	for (uint64_t n = l->last - l->count + 1; n <= l->last; n++)
		ring[n & (room - 1)] = l->ring[n & (l->room - 1)];
	free(l->ring);
	l->ring = ring;
	l->room = room;
	return 0;
}

static struct event_text *render(const struct eventlog *l, const struct event_about *about, const char *json,
	size_t size)
{
	char head[128], revision[EVENTLOG_REVISION_SIZE];
	int n = snprintf(head, sizeof(head), "id: %s\nevent: %s%s\ndata: ",
		eventlog_revision(l, l->last + 1, revision), kinds[about->kind], about->dropped ? "-dropped" : "");
	size_t head_size = (size_t)n, all = head_size + size + 2;
	struct event_text *e = malloc(sizeof(*e) + all);

	if (!e)
		return NULL;
	*e = (struct event_text){ .about = *about, .n = l->last + 1, .refs = 1, .size = all };
	memcpy(e->text, head, head_size);
	memcpy(e->text + head_size, json, size);
	memcpy(e->text + head_size + size, "\n\n", 2);
	return e;
}

void eventlog_add(struct eventlog *l, const struct event_about *about, const char *json, size_t size)
{
	struct event_text *e = json ? render(l, about, json, size) : NULL;

	while (l->count > 0 && (!e || l->bytes + cost(e) > l->limit))
		drop_oldest(l);
	if (e && make_room(l) < 0) {
		while (l->count > 0)
			drop_oldest(l);
		if (!l->room)
			event_text_unref(TAKE_PTR(e));
	}
	l->last++;
	if (!e)
		return;
	l->ring[e->n & (l->room - 1)] = e;
	l->bytes += cost(e);
	l->count++;
}

int eventlog_next(const struct eventlog *l, uint64_t n, struct event_text **ret)
{
	if (n == l->last)
		return -EAGAIN;
	if (n > l->last || l->last - n > l->count)
		return -ESTALE;
	*ret = l->ring[(n + 1) & (l->room - 1)];
	return 0;
}

/* ---- revisions ---- */

char *eventlog_revision(const struct eventlog *l, uint64_t n, char buf[EVENTLOG_REVISION_SIZE])
{
	snprintf(buf, EVENTLOG_REVISION_SIZE, "%0*" PRIx64 "-%" PRIu64, RUN_DIGITS, l->run, n);
	return buf;
}

int eventlog_parse(const struct eventlog *l, const char *text, uint64_t *ret_n)
{
	size_t digits = strspn(text, "0123456789abcdef");
	char run[RUN_DIGITS + 1];
	uint64_t n;

	if (digits != RUN_DIGITS || text[digits] != '-' || text_number(text + digits + 1, 0, UINT64_MAX, &n) < 0)
		return -EINVAL;
	snprintf(run, sizeof(run), "%0*" PRIx64, RUN_DIGITS, l->run);
	if (strncmp(text, run, digits) != 0 || n > l->last || l->last - n > l->count)
		return -ESTALE;
	*ret_n = n;
	return 0;
}
