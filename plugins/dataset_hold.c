/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>

#include "dataset_private.h"
#include "text.h"
#include "vbind.h"

#define RETRY_MS 500

static void step(struct hold *h);

const struct volume *hold_volume(const struct hold *h)
{
	return id128_is_nil(h->dataset) ? NULL : catalog_by_id(h->catalog, h->dataset);
}

void hold_say(struct hold *h, const char *fmt, ...)
{
	char text[WHY_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* Names and users are as others wrote them; and to systemd another line is another fact, such
	 * as READY=1. */
	text_one_line(text);
	if (STREQ(text, h->status))
		return;
	memcpy(h->status, text, sizeof(text));
	h->changed = true;
	h->cbs->on_status(text, h->userdata);
}

void hold_again(struct hold *h)
{
	(void)event_add(h->retry, &(struct timeval){ .tv_usec = RETRY_MS * 1000 });
}

/* ---- the lease ---- */

/* True: an answer came for somebody who has given up meanwhile. */
bool hold_is_stopping(struct hold *h)
{
	h->asking = false;
	if (h->state == HOLD_RELEASING)
		hold_release(h);
	return h->state >= HOLD_RELEASING;
}

static void wait_for_end(struct hold *h, const char *why)
{
	h->in_use = true;
	hold_say(h, "waits for the end of its use elsewhere: %s", why);
	(void)event_add(h->retry, &(struct timeval){ .tv_sec = 5 }); /* for an end that was not told of */
}

static void refuse(struct hold *h, const struct link_answer *a)
{
	const struct volume *v = hold_volume(h);
	char user[WHY_MAX / 2] = "";

	if (v)
		claim_user_text(h->catalog, v, h->c.client->node, user, sizeof(user));
	if (h->c.wait_in_use) {
		wait_for_end(h, *user ? user : a->why);
		return;
	}
	users_forget(h->c.client->users_directory, h->dataset, h->who);
	h->joined = false;
	hold_fail(h, "%s; stop what uses it there first", *user ? user : a->why);
}

static void on_leased(const struct link_answer *a, void *userdata)
{
	struct hold *h = userdata;

	if (hold_is_stopping(h))
		return;
	if (a->err || a->status >= 500) {
		hold_say(h, "%s", a->why);
		hold_again(h);
	} else if (a->status == 409) {
		refuse(h, a);
	} else if (a->status >= 300) {
		hold_fail(h, "%s", a->why);
	} else {
		h->state = HOLD_MOVING;
		step(h);
	}
}

static void asked(struct hold *h, int r)
{
	h->asking = r == 0;
	if (r < 0)
		hold_fail(h, "out of memory");
}

/* 0: this one is among the users of the lease; -EAGAIN: soon; or another errno, after which it has
 * failed. */
static int join(struct hold *h)
{
	const char *users = h->c.client->users_directory;
	int r = h->joined ? 0 : users_join(users, h->dataset, h->who, &h->user);

	if (r == 0 && !h->joined && ftruncate(h->user, 0) < 0) /* a term of before counts no more */
		r = -errno;
	h->joined = r == 0;
	if (r == -EBUSY)
		hold_fail(h, "another flocker-dataset has it at %s", h->c.place);
	else if (r < 0 && r != -EAGAIN)
		hold_fail(h, "the users of its lease cannot be written to %s: %s", users,
			strerror(-r));
	return r;
}

static void ask_for_lease(struct hold *h)
{
	int r = join(h);

	h->in_use = false;
	(void)event_del(h->retry);
	if (r == -EAGAIN)
		hold_again(h);
	else if (r == 0)
		asked(h, claim_lease(h->link, h->dataset, h->c.client->node, on_leased, h));
}

/* ---- the wish ---- */

static void on_noted(const struct link_answer *a, void *userdata)
{
}

static void note_user(struct hold *h)
{
	const struct volume *v = hold_volume(h);

	if (v && !STREQ(v->used_by ?: "", h->c.user))
		(void)claim_note_user(h->link, h->dataset, h->c.user, on_noted, NULL);
}

static void on_wished(const struct link_answer *a, void *userdata)
{
	struct hold *h = userdata;
	struct id128 id;

	if (hold_is_stopping(h))
		return;
	if (a->status == 200 && a->body)
		(void)catalog_put(h->catalog, a->body, &id);
	if (a->err || a->status >= 500) {
		hold_say(h, "%s", a->why);
		hold_again(h);
	} else if (a->status >= 300) {
		hold_fail(h, "%s", a->why);
	} else {
		note_user(h);
		h->state = HOLD_WAITING;
		step(h);
	}
}

/* ---- at its place ---- */

static void bind_it(struct hold *h)
{
	char why[WHY_MAX / 2] = "";
	dev_t devno;
	int r = mounted_find(h->mounted, h->dataset, &devno) ? 0 : -ENOENT;

	if (r == 0)
		r = vbind_make(h->c.client->mount_root, ID128_STR(h->dataset), devno, h->c.place,
			why, sizeof(why));
	if (r == 0) {
		h->devno = devno;
		r = claim_set_owner(h->c.place, h->c.owner, h->c.group, h->c.mode);
		if (r < 0)
			snprintf(why, sizeof(why), "its owner and mode cannot be set: %s",
				strerror(-r));
	}
	if (r < 0) {
		hold_fail(h, "it is mounted, but not at %s: %s", h->c.place,
			*why ? why : strerror(-r));
		return;
	}
	log_dataset(h->dataset, LOG_NOTICE, 0, "dataset %s is at %s", h->c.dataset, h->c.place);
	h->state = HOLD_HELD;
	*h->c.bound = devno;
	hold_say_held(h);
	h->cbs->on_ready(h->userdata);
	hold_check(h); /* which times its term */
}

static void wait_for_mount(struct hold *h, const struct volume *v)
{
	char why[WHY_MAX / 2];

	claim_describe(h->catalog, v, why, sizeof(why));
	if (mounted_is_here(h->mounted, v, h->c.client->node) &&
		id128_equal(v->node, h->c.client->node))
		bind_it(h);
	else if (claim_is_hopeless(v, h->c.client->node))
		hold_fail(h, "dataset %s cannot be mounted: %s", h->c.dataset, why);
	else
		hold_say(h, "%s", why);
}

/* ---- the next step ---- */

static void find(struct hold *h)
{
	const struct volume *v;

	if (!mirror_listed(h->mirror)) {
		hold_say(h, "waits for the control service");
		return;
	}
	v = catalog_by_name(h->catalog, h->c.dataset);
	if (!v && id128_parse(h->c.dataset, &h->dataset) == 0)
		v = hold_volume(h);
	if (!v) {
		hold_fail(h, "there is no dataset %s", h->c.dataset);
	} else if (v->deleted) {
		hold_fail(h, "dataset %s is deleted", h->c.dataset);
	} else {
		h->dataset = v->id;
		h->state = HOLD_LEASING;
		step(h);
	}
}

static void step(struct hold *h)
{
	const struct volume *v = hold_volume(h);

	if (h->state == HOLD_HELD)
		hold_check(h);
	if (h->asking)
		return;
	if (h->state > HOLD_LISTING && h->state < HOLD_HELD && (!v || v->deleted)) {
		hold_fail(h, "dataset %s was deleted meanwhile", h->c.dataset);
		return;
	}
	switch (h->state) {
	case HOLD_LISTING:
		find(h);
		break;
	case HOLD_LEASING:
		ask_for_lease(h);
		break;
	case HOLD_MOVING:
		asked(h, claim_wish(h->link, h->dataset, h->c.client->node, on_wished, h));
		break;
	case HOLD_WAITING:
		wait_for_mount(h, v);
		break;
	case HOLD_RELEASING:
		hold_release(h);
		break;
	case HOLD_HELD:
	case HOLD_LOST:
	case HOLD_OVER:
		break;
	}
}

static void on_retry(evutil_socket_t fd, short what, void *userdata)
{
	step(userdata);
}

/* ---- events ---- */

/* What is to be tried again later is not tried with each event. */
static void look(struct hold *h)
{
	const struct volume *v = hold_volume(h);

	if (h->in_use ? !v || id128_is_nil(v->leased) : !event_pending(h->retry, EV_TIMEOUT, NULL))
		step(h);
}

static void on_volume(struct id128 id, void *userdata)
{
	struct hold *h = userdata;

	if (h->state != HOLD_LISTING) /* names are known when the list is */
		look(h);
}

static void on_told(void *userdata)
{
	look(userdata);
}

static void on_term(evutil_socket_t fd, short what, void *userdata)
{
	step(userdata);
}

bool hold_goes_on(struct hold *h)
{
	static const char *const busy[] = { "creating", "attaching", "attached", "formatting", "mounting", "unmounting",
		"detaching" };
	const struct volume *v = hold_volume(h);
	bool goes_on = h->in_use || h->changed;

	h->changed = false;
	for (size_t i = 0; v && mirror_live(h->mirror) && i < ARRAY_SIZE(busy); i++)
		goes_on |= STREQ(v->state, busy[i]);
	return goes_on && (h->in_use || !v || !v->last_error);
}

void hold_reconnect(struct hold *h)
{
	link_hang_up(h->link);
	link_hang_up(h->stream);
}

/* ---- beginning and end ---- */

/* What one that was killed has left is as good as held; and what one has held is lost when it is
 * there no more, since those who use it run on. */
static void resume(struct hold *h)
{
	struct id128 id;
	dev_t devno = 0;
	bool is_there;
	int r;

	if (users_find(h->c.client->users_directory, h->who, &id) < 0)
		return;
	is_there = mounted_find(h->mounted, id, &devno) && vbind_look(h->c.place, devno) == 1;
	if (!is_there && !*h->c.bound)
		return;
	r = users_join(h->c.client->users_directory, id, h->who, &h->user);
	if (r < 0) /* it is told when it is asked for anew */
		return;
	h->joined = true;
	h->dataset = id;
	h->devno = *h->c.bound ?: devno;
	*h->c.bound = h->devno;
	h->state = HOLD_HELD;
	hold_recall_term(h);
	(void)evtimer_add(h->term, &(struct timeval){ 0 });
	snprintf(h->only, sizeof(h->only), "%s", ID128_STR(id)); /* whatever has its name by now */
	if (is_there)
		log_dataset(id, LOG_NOTICE, 0, "dataset %s is at %s, as it was left there",
			h->c.dataset, h->c.place);
}

struct hold *hold_free(struct hold *h)
{
	if (!h)
		return NULL;
	mirror_free(h->mirror);
	link_free(h->stream);
	link_free(h->link);
	mounted_free(h->mounted);
	catalog_free(h->catalog);
	if (h->retry)
		event_free(h->retry);
	if (h->over)
		event_free(h->over);
	if (h->term)
		event_free(h->term);
	close_keep_errno(h->user);
	close_keep_errno(h->lock);
	free(h);
	return NULL;
}
DEFINE_CLEANUP(struct hold *, hold_free);

static int start(struct hold *h, struct event_base *base)
{
	static const struct mirror_callbacks cbs = { on_volume, on_told };
	const struct client *client = h->c.client;
	struct link_config control = { client->host, client->port, client->ctx, "flocker-dataset" };
	int r = -ENOMEM;

	h->retry = evtimer_new(base, on_retry, h);
	h->over = evtimer_new(base, hold_on_over, h);
	h->term = evtimer_new(base, on_term, h);
	if (h->retry && h->over && h->term)
		r = catalog_new(&h->catalog);
	if (r == 0)
		r = link_new(base, &control, &h->link);
	if (r == 0)
		r = link_new(base, &control, &h->stream);
	if (r == 0)
		r = mounted_new(base, client->mount_root, on_told, h, &h->mounted);
	if (r < 0)
		return r;
	catalog_keep_all(h->catalog);
	resume(h);
	return mirror_new(base, h->stream, h->catalog, *h->only ? h->only : h->c.dataset, &cbs, h,
		&h->mirror);
}

int hold_new(struct event_base *base, const struct hold_config *c, const struct hold_callbacks *cbs,
	void *userdata, struct hold **ret)
{
	_cleanup_(hold_freep) struct hold *h = calloc(1, sizeof(*h));
	char id[PATH_MAX + 300], why[WHY_MAX / 2];
	int r;

	if (!h)
		return log_error(ENOMEM, "cannot start");
	r = vbind_check(c->client->mount_root, c->place, why, sizeof(why));
	if (r < 0)
		return log_error(0, "%s", why) ?: r;
	*h = (struct hold){ .c = *c, .cbs = cbs, .userdata = userdata, .user = -EBADF,
		.lock = -EBADF };
	r = snprintf(id, sizeof(id), "%s\n%s", c->dataset, c->place);
	snprintf(h->who, sizeof(h->who), "dataset-%016lx",
		text_hash(id, MIN((size_t)r, sizeof(id) - 1)));
	r = start(h, base);
	if (r < 0)
		return log_error(r, "cannot start");
	*ret = TAKE_PTR(h);
	if ((*ret)->state == HOLD_HELD) {
		hold_say_held(*ret);
		cbs->on_ready(userdata);
	}
	return 0;
}
