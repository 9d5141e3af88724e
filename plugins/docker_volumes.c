/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>

#include "docker_private.h"
#include "jsonin.h"
#include "jsonput.h"
#include "log.h"

#define HELD_MAX 1024
#define HELD_LIMIT_S 15 /* for the first list; then it is said that control cannot be asked */
#define SWEEP_S 10

struct held {
	struct held *next;
	struct docker_volumes *v;
	struct docker_request q;
	struct docker_caller *caller;
	struct event *limit;
};

static void dispatch(struct docker_volumes *v, struct docker_request *q, struct docker_caller *c);

/* ---- answers ---- */

void docker_succeed(struct docker_caller *c, char *text)
{
	c->answer(c, 200, text);
}

void docker_fail(struct docker_caller *c, int status, const char *fmt, ...)
{
	char text[DOCKER_ERROR_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->answer(c, status, docker_error(text));
}

void docker_take(struct docker_volumes *v, const struct link_answer *a)
{
	struct id128 id;

	if (a->body && catalog_put(v->catalog, a->body, &id) < 0)
		log_warning(0, "the control service's answer is no dataset, ignoring");
}

/* ---- what is known ---- */

bool docker_is_here(const struct docker_volumes *v, const struct volume *volume)
{
	return mounted_is_here(v->mounted, volume, v->c.node);
}

void docker_place(const struct docker_volumes *v, const struct volume *volume, char *buf, size_t size)
{
	*buf = '\0';
	if (docker_is_here(v, volume))
		snprintf(buf, size, "%s/%s", v->c.mount_root, ID128_STR(volume->id));
}

static int put_text(struct json_object *o, const char *key, const char *text)
{
	return text && *text ? json_put_member(o, key, json_object_new_string(text)) : 0;
}

static int put_id(struct json_object *o, const char *key, struct id128 id)
{
	return id128_is_nil(id) ? 0 : put_text(o, key, ID128_STR(id));
}

/* What `docker volume inspect` shows beside the protocol's own. */
static struct json_object *status_of(const struct docker_volumes *v, const struct volume *volume)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();

	if (put_id(o, "dataset_id", volume->id) < 0 || put_text(o, "state", volume->state) < 0 ||
		put_text(o, "why", volume->why) < 0 || put_id(o, "node", volume->node) < 0 ||
		put_id(o, "owner", volume->owner) < 0 || put_id(o, "in_use_on", volume->leased) < 0 ||
		(!id128_is_nil(volume->leased) && put_text(o, "in_use_by", volume->used_by) < 0) ||
		put_text(o, "filesystem", volume->filesystem) < 0 || put_text(o, "failover", volume->failover) < 0 ||
		put_text(o, "profile", volume->profile) < 0 || put_text(o, "last_error", volume->last_error) < 0 ||
		put_text(o, "on-remove", volume->delete_on_remove ? "delete" : "keep") < 0 ||
		json_put_member(o, "size", json_object_new_int64((int64_t)volume->size_bytes)) < 0 ||
		(volume->used && json_put_member(o, "used", json_object_get(volume->used)) < 0) ||
		(volume->available && json_put_member(o, "available", json_object_get(volume->available)) < 0) ||
		json_put_member(o, "mounts", json_object_new_int64(mounts_count(v->mounts, volume->id))) < 0 ||
		(!mirror_live(v->mirror) && put_text(o, "warning", "control is away: this is as it was") < 0))
		return NULL;
	return TAKE_PTR(o);
}

static void get(struct docker_volumes *v, const struct volume *volume, struct docker_caller *c)
{
	_cleanup_json_ struct json_object *status = status_of(v, volume);
	char place[4096 + ID128_TEXT];
	struct docker_volume d = { .name = volume->name, .mountpoint = place, .created_at = volume->created_at,
		.status = status };

	docker_place(v, volume, place, sizeof(place));
	docker_succeed(c, docker_got(&d));
}

/* Of one that was deleted or got another name while a container has it: dockerd asks for it before
 * it unmounts it, and does not unmount what is not there. */
static void get_used(struct docker_volumes *v, const char *name, struct docker_caller *c)
{
	_cleanup_json_ struct json_object *status = json_object_new_object();
	struct docker_volume d = { .name = name, .mountpoint = "", .status = status };

	if (put_text(status, "warning",
		"it was deleted or has another name, and containers here still have it") < 0)
		d.status = NULL;
	docker_succeed(c, docker_got(&d));
}

struct listing {
	const struct docker_volumes *v;
	struct json_object *list;
	int r;
};

/* Names that engines cannot say are not shown to them. */
static void add_to_list(const struct volume *volume, void *userdata)
{
	struct listing *l = userdata;
	char place[4096 + ID128_TEXT];
	struct docker_volume d = { .name = volume->name, .mountpoint = place, .created_at = volume->created_at };

	if (l->r < 0 || !docker_name_valid(volume->name))
		return;
	docker_place(l->v, volume, place, sizeof(place));
	l->r = docker_list_add(l->list, &d);
}

static void list(struct docker_volumes *v, struct docker_caller *c)
{
	struct listing l = { .v = v, .list = docker_list_begin() };

	if (l.list)
		catalog_each(v->catalog, add_to_list, &l);
	if (l.r < 0)
		json_object_put(TAKE_PTR(l.list));
	docker_succeed(c, docker_list_end(l.list));
}

static void path(struct docker_volumes *v, const struct volume *volume, struct docker_caller *c)
{
	char place[4096 + ID128_TEXT];

	docker_place(v, volume, place, sizeof(place));
	docker_succeed(c, docker_mountpoint(place));
}

/* ---- requests ---- */

static void say_unknown(struct docker_volumes *v, const struct docker_request *q, struct docker_caller *c)
{
	if (q->call == DOCKER_REMOVE && mirror_live(v->mirror))
		docker_succeed(c, docker_done());
	else
		docker_fail(c, STATUS_FAILED, "there is no volume %s%s%s", q->name,
			mirror_live(v->mirror) ? "" : ", as far as is known: ",
			mirror_live(v->mirror) ? "" : mirror_why(v->mirror));
}

static void dispatch(struct docker_volumes *v, struct docker_request *q, struct docker_caller *c)
{
	const struct volume *volume = q->name ? catalog_by_name(v->catalog, q->name) : NULL;
	struct id128 dataset;

	if (!volume && q->call == DOCKER_GET && mounts_find(v->mounts, q->name, NULL, &dataset)) {
		get_used(v, q->name, c);
		return;
	}
	if (q->name && !volume && q->call != DOCKER_CREATE && q->call != DOCKER_UNMOUNT) {
		say_unknown(v, q, c);
		return;
	}
	switch (q->call) {
	case DOCKER_CREATE:
		docker_create(v, q, c);
		break;
	case DOCKER_REMOVE:
		docker_remove(v, volume, c);
		break;
	case DOCKER_MOUNT:
		docker_mount(v, volume, q->id, c);
		break;
	case DOCKER_UNMOUNT:
		docker_unmount(v, q, volume, c);
		break;
	case DOCKER_PATH:
		path(v, volume, c);
		break;
	case DOCKER_GET:
		get(v, volume, c);
		break;
	default:
		list(v, c);
		break;
	}
}

/* ---- before anything is known ---- */

static void held_free(struct held *h)
{
	struct held **p = &h->v->held;

	while (*p != h)
		p = &(*p)->next;
	*p = h->next;
	event_free(h->limit);
	docker_request_done(&h->q);
	free(h);
}

static void on_held_limit(evutil_socket_t fd, short what, void *userdata)
{
	struct held *h = userdata;
	const char *why = mirror_why(h->v->mirror);

	docker_fail(h->caller, STATUS_FAILED, "volumes are not known yet: %s",
		*why ? why : "the control service has not listed them");
	held_free(h);
}

static void hold(struct docker_volumes *v, struct docker_request *q, struct docker_caller *c)
{
	struct held *h = calloc(1, sizeof(*h)), **p = &v->held;
	size_t n = 0;

	for (; *p; p = &(*p)->next)
		n++;
	if (h)
		h->limit = evtimer_new(v->base, on_held_limit, h);
	if (!h || !h->limit || n >= HELD_MAX ||
		evtimer_add(h->limit, &(struct timeval){.tv_sec = HELD_LIMIT_S}) < 0) {
		if (h && h->limit)
			event_free(h->limit);
		free(h);
		docker_request_done(q);
		docker_fail(c, STATUS_FAILED, "too many requests wait for the control service");
		return;
	}
	h->v = v;
	h->q = *q;
	h->caller = c;
	*p = h;
}

void docker_volumes_ask(struct docker_volumes *v, struct docker_request *q, bool handshake, struct docker_caller *c)
{
	struct docker_request own = *q;

	*q = (struct docker_request){ 0 };
	if (own.call == DOCKER_ACTIVATE) {
		if (handshake) {
			mounts_activate(v->mounts);
			(void)docker_state_write(v);
		}
		docker_succeed(c, docker_activated());
	} else if (own.call == DOCKER_CAPABILITIES) {
		docker_succeed(c, docker_capabilities());
	} else if (!mirror_listed(v->mirror)) {
		hold(v, &own, c);
		return;
	} else {
		dispatch(v, &own, c);
	}
	docker_request_done(&own);
}

/* ---- events ---- */

static void on_volume(struct id128 id, void *userdata)
{
	docker_jobs_look(userdata, &id);
	docker_keep(userdata, id);
}

static void on_listed(void *userdata)
{
	struct docker_volumes *v = userdata;

	while (v->held) {
		struct held *h = v->held;

		dispatch(v, &h->q, h->caller);
		held_free(h);
	}
	docker_jobs_look(v, NULL);
	docker_tidy(v, false);
}

static void on_mounts(void *userdata)
{
	docker_jobs_look(userdata, NULL);
}

static void on_sweep(evutil_socket_t fd, short what, void *userdata)
{
	docker_tidy(userdata, true);
}

void docker_volumes_reconnect(struct docker_volumes *v)
{
	link_hang_up(v->link);
	link_hang_up(v->stream);
}

/* ---- beginning and end ---- */

struct docker_volumes *docker_volumes_free(struct docker_volumes *v)
{
	if (!v)
		return NULL;
	while (v->held) {
		docker_fail(v->held->caller, STATUS_FAILED, "the Flocker volume plugin is being stopped");
		held_free(v->held);
	}
	docker_jobs_free(v);
	docker_changes_free(v);
	docker_users_free(v);
	mirror_free(v->mirror);
	link_free(v->stream);
	link_free(v->link);
	if (v->sweep)
		event_free(v->sweep);
	mounted_free(v->mounted);
	mounts_free(v->mounts);
	catalog_free(v->catalog);
	close_keep_errno(v->lock_fd);
	free(v);
	return NULL;
}
DEFINE_CLEANUP(struct docker_volumes *, docker_volumes_free);

static int start(struct docker_volumes *v)
{
	static const struct mirror_callbacks cbs = { on_volume, on_listed };
	struct timeval every = { .tv_sec = SWEEP_S };
	int r;

	v->sweep = event_new(v->base, -1, EV_PERSIST, on_sweep, v);
	if (!v->sweep || event_add(v->sweep, &every) < 0)
		return -ENOMEM;
	r = catalog_new(&v->catalog);
	if (r == 0)
		r = mounts_new(&v->mounts);
	if (r == 0)
		r = link_new(v->base, &v->c.control, &v->link);
	if (r == 0)
		r = link_new(v->base, &v->c.control, &v->stream);
	if (r == 0)
		r = mounted_new(v->base, v->c.mount_root, on_mounts, v, &v->mounted);
	if (r == 0)
		r = mirror_new(v->base, v->stream, v->catalog, NULL, &cbs, v, &v->mirror);
	return r;
}

int docker_volumes_new(struct event_base *base, const struct docker_volumes_config *c, struct docker_volumes **ret)
{
	_cleanup_(docker_volumes_freep) struct docker_volumes *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return log_error(ENOMEM, "cannot start");
	v->base = base;
	v->c = *c;
	v->lock_fd = -EBADF;
	r = start(v);
	if (r < 0)
		return log_error(r, "cannot start");
	r = docker_state_read(v);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(v);
	return 0;
}
