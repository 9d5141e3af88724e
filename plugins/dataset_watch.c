/* SPDX-License-Identifier: Apache-2.0 */
/*
 * While a dataset is held: is it still mounted, ours, and renewed? It is lost as soon as one of
 * these is not so, and then its users can still write, but when its device is gone already.
 */
#include "clock.h"
#include "dataset_private.h"
#include "vbind.h"

void hold_say_held(struct hold *h)
{
	const struct volume *v = hold_volume(h);
	char node[CATALOG_NODE_SIZE];

	if (!mirror_live(h->mirror))
		hold_say(h, "at %s; control is away", h->c.place);
	else if (v && v->deleted)
		hold_say(h, "at %s; it is deleted, once it is not used any more", h->c.place);
	else if (v && !id128_equal(v->node, h->c.client->node))
		hold_say(h, "at %s; it is wanted on %s, once it is not used any more", h->c.place,
			id128_is_nil(v->node) ? "no node" :
			catalog_node_text(h->catalog, v->node, node));
	else if (v && STREQ(v->state, "faulty"))
		hold_say(h, "at %s; it is faulty: %s", h->c.place, v->why);
	else
		hold_say(h, "at %s", h->c.place);
}

static void check_mounts(struct hold *h)
{
	dev_t devno;

	if (!mounted_find(h->mounted, h->dataset, &devno) || devno != h->devno)
		hold_lose(h, "dataset %s was unmounted", h->c.dataset);
	else if (vbind_look(h->c.place, h->devno) != 1)
		hold_lose(h, "dataset %s was unmounted from %s", h->c.dataset, h->c.place);
}

/* Why it cannot go on, by what is told; false: it can. */
static bool is_taken(struct hold *h, char *why, size_t size)
{
	const struct volume *v = hold_volume(h);
	struct id128 node = h->c.client->node;
	char text[CATALOG_NODE_SIZE];

	if (!v)
		snprintf(why, size, "dataset %s is gone", h->c.dataset);
	else if (!id128_equal(v->owner, node))
		snprintf(why, size, "dataset %s was taken from this node: %s", h->c.dataset,
			v->why);
	else if (STREQ(v->state, "lost") || STREQ(v->state, "fenced"))
		snprintf(why, size, "dataset %s is %s: %s", h->c.dataset, v->state, v->why);
	else if (!id128_is_nil(v->leased) && !id128_equal(v->leased, node))
		snprintf(why, size, "the lease of dataset %s is now of %s", h->c.dataset,
			catalog_node_text(h->catalog, v->leased, text));
	else
		return false;
	return true;
}

/* It was released by a slip, or control was restored from before it: nobody else has it yet. */
static bool has_no_lease(const struct hold *h)
{
	const struct volume *v = hold_volume(h);

	return v && id128_is_nil(v->leased);
}

static void on_kept(const struct link_answer *a, void *userdata)
{
	struct hold *h = userdata;

	if (hold_is_stopping(h) || h->state != HOLD_HELD)
		return;
	if (a->err || a->status >= 500)
		hold_again(h);
	else if (a->status >= 300)
		hold_lose(h, "the lease of dataset %s was taken away: %s", h->c.dataset, a->why);
	else
		log_dataset(h->dataset, LOG_NOTICE, 0, "its lease, which was gone, is taken again");
}

static void on_looked(const struct link_answer *a, void *userdata)
{
	struct hold *h = userdata;
	char why[WHY_MAX];
	struct id128 id;

	if (hold_is_stopping(h) || h->state != HOLD_HELD)
		return;
	if (a->status == 404) {
		catalog_drop(h->catalog, h->dataset);
	} else if (a->status != 200 || catalog_put(h->catalog, a->body, &id) < 0) {
		hold_again(h);
		return;
	}
	if (is_taken(h, why, sizeof(why)))
		hold_lose(h, "%s", why);
	else if (has_no_lease(h))
		h->asking = claim_lease(h->link, h->dataset, h->c.client->node, on_kept, h) == 0;
}

/* What comes by the stream may be older than the answers to our own requests: so it is asked about
 * once more. */
static void check_volume(struct hold *h)
{
	char path[64], why[WHY_MAX];

	if (!mirror_live(h->mirror) || (!is_taken(h, why, sizeof(why)) && !has_no_lease(h)))
		return;
	snprintf(path, sizeof(path), "/v2/datasets/%s", ID128_STR(h->dataset));
	h->asking = link_call(h->link, "GET", path, NULL, on_looked, h) == 0;
}

static const char *term_file(const struct hold *h, char buf[PATH_MAX])
{
	return users_file(h->c.client->users_directory, h->dataset, h->who, buf);
}

/* Also for who succeeds this one, maybe while control is away. */
static void know_term(struct hold *h, uint64_t term_ms)
{
	char path[PATH_MAX];
	int r;

	if (term_ms == h->known.term_ms)
		return;
	if (term_ms == 0 || h->known.term_ms == 0)
		h->known.renewed_ms = term_ms ? clock_ms(CLOCK_BOOTTIME) : 0;
	h->known.term_ms = term_ms;
	r = terms_write(term_file(h, path), &h->known);
	if (r < 0)
		log_warning(r, "cannot write %s, ignoring", path);
}

void hold_recall_term(struct hold *h)
{
	char path[PATH_MAX];

	(void)terms_read(term_file(h, path), &h->known); /* empty as long as it had none */
}

/* How long its users may go on; a half-written file is read again. */
static uint64_t term_left(const struct hold *h)
{
	uint64_t term_ms = h->known.term_ms;
	struct terms t;
	uint64_t left = 0;

	for (int i = 0; left == 0 && i < 2; i++)
		left = terms_read(h->c.client->terms_file, &t) < 0 ?
			       term_ms / 2 :
			       terms_left(&t, term_ms, h->known.renewed_ms, clock_ms(CLOCK_BOOTTIME));
	return left;
}

/* Its node takes writing away at the end of its term, which nobody renews when the node or control
 * is away. */
static void check_term(struct hold *h)
{
	const struct volume *v = hold_volume(h);
	uint64_t left;

	if (v) /* else what was known before counts */
		know_term(h, v->term_ms);
	if (h->known.term_ms == 0)
		return;
	left = term_left(h);
	if (left == 0)
		hold_lose(h, "the term of dataset %s is half over and not renewed: its node, or control, is away",
			h->c.dataset);
	else
		(void)event_add(h->term, &(struct timeval){ (time_t)(left / 1000),
			(suseconds_t)(left % 1000 * 1000) });
}

void hold_check(struct hold *h)
{
	check_mounts(h);
	if (h->state == HOLD_HELD)
		check_term(h);
	if (h->state == HOLD_HELD && !h->asking)
		check_volume(h);
	if (h->state == HOLD_HELD)
		hold_say_held(h);
}

