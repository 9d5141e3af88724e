/* SPDX-License-Identifier: Apache-2.0 */
/* How a hold ends: what uses the dataset first, then its bind, then the lease. */
#include <stdarg.h>

#include "clock.h"
#include "dataset_private.h"
#include "vbind.h"
#include "vholders.h"

#define RELEASE_LIMIT_MS 5000 /* for a control service that is away while the lease is to end */

void hold_on_over(evutil_socket_t fd, short what, void *userdata)
{
	struct hold *h = userdata;

	h->cbs->on_over(h->failed, h->userdata);
}

static void set_over(struct hold *h)
{
	h->state = HOLD_OVER;
	(void)evtimer_add(h->over, &(struct timeval){ 0 });
}

static void on_released(const struct link_answer *a, void *userdata)
{
	struct hold *h = userdata;
	bool gone = claim_is_released(a);

	h->asking = false;
	users_left(h->c.client->users_directory, h->dataset, h->who, TAKE_FD(h->lock), gone);
	if (gone) {
		set_over(h);
	} else if (clock_ms(CLOCK_MONOTONIC) - h->released_ms < RELEASE_LIMIT_MS) {
		hold_again(h);
	} else {
		log_dataset(h->dataset, LOG_WARNING, 0,
			"the lease of this node stays, since %s; the next stop releases it, or flockerctl lease "
			"release", a->why);
		set_over(h);
	}
}

/* What another node has by now is not ours to release. */
static bool is_elsewhere(const struct hold *h)
{
	const struct volume *v = hold_volume(h);

	return v && !id128_is_nil(v->leased) && !id128_equal(v->leased, h->c.client->node);
}

/* One that was killed as it began or ended has left its part in a lease. */
static int inherit(struct hold *h)
{
	const char *users = h->c.client->users_directory;
	int r;

	if (h->joined || users_find(users, h->who, &h->dataset) < 0)
		return 0;
	r = users_join(users, h->dataset, h->who, &h->user);
	h->joined = r == 0;
	return r;
}

void hold_release(struct hold *h)
{
	const char *users = h->c.client->users_directory;
	int r = inherit(h);

	if (r == -EAGAIN) {
		hold_again(h);
		return;
	}
	if (!h->joined || is_elsewhere(h)) {
		if (h->joined)
			users_forget(users, h->dataset, h->who);
		set_over(h);
		return;
	}
	r = users_leave(users, h->dataset, h->who, &h->lock);
	if (r == 1 && claim_release(h->link, h->dataset, h->c.client->node, on_released, h) == 0) {
		h->asking = true;
	} else if (r == 0) {
		log_dataset(h->dataset, LOG_INFO, 0,
			"the lease of this node stays: others here use it");
		set_over(h);
	} else if (r == -EAGAIN) {
		hold_again(h);
	} else {
		log_dataset(h->dataset, LOG_WARNING, r < 0 ? r : ENOMEM,
			"the lease of this node is not released");
		set_over(h);
	}
}

/* Whoever still uses it keeps what is open, and the device cannot leave this node before. */
static void unbind_lazily(struct hold *h)
{
	_cleanup_free_ char *text = NULL, *own = NULL;
	size_t n = 0;
	char *save = NULL;

	if (asprintf(&own, "mounted at %s/%s", h->c.client->mount_root, ID128_STR(h->dataset)) < 0)
		own = NULL;
	if (vholders_find(h->devno, h->c.place, &text, &n) == 0)
		for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
			if (own && !STREQ(line, own))
				log_dataset(h->dataset, LOG_WARNING, 0, "%s is in use by %s",
					h->c.place, line);
	log_dataset(h->dataset, LOG_WARNING, 0, "%s is taken away all the same: what is open there stays open, and the "
		"dataset on this node, until that ends", h->c.place);
	(void)vbind_remove(h->c.place, h->devno, true);
}

static void unbind(struct hold *h)
{
	int r;

	*h->c.bound = 0; /* first: what a successor does not find then is not lost, but given back */
	r = h->devno ? vbind_remove(h->c.place, h->devno, false) : 0;
	if (r == -EBUSY)
		unbind_lazily(h);
	else if (r < 0)
		log_dataset(h->dataset, LOG_WARNING, r, "%s is left as it is", h->c.place);
	h->devno = 0;
}

void hold_stop(struct hold *h)
{
	if (h->state == HOLD_RELEASING || h->state == HOLD_OVER)
		return;
	h->state = HOLD_RELEASING;
	h->released_ms = clock_ms(CLOCK_MONOTONIC);
	(void)event_del(h->retry);
	unbind(h);
	if (!h->asking) /* else when that answer has come */
		hold_release(h);
}

_printf_(3, 0) static void say_end(struct hold *h, const char *then, const char *fmt, va_list ap)
{
	char text[WHY_MAX];

	vsnprintf(text, sizeof(text), fmt, ap);
	h->failed = true;
	if (id128_is_nil(h->dataset))
		log_error(0, "%s%s", text, then);
	else
		log_dataset(h->dataset, LOG_ERR, 0, "%s%s", text, then);
	hold_say(h, "%s", text);
}

void hold_fail(struct hold *h, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say_end(h, "", fmt, ap);
	va_end(ap);
	hold_stop(h);
}

void hold_lose(struct hold *h, const char *fmt, ...)
{
	va_list ap;

	h->state = HOLD_LOST;
	va_start(ap, fmt);
	say_end(h, "; what uses it has to end", fmt, ap);
	va_end(ap);
	h->cbs->on_lost(h->userdata);
}
