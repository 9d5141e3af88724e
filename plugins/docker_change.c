/* SPDX-License-Identifier: Apache-2.0 */
/* Create and Remove, and the end of a lease: a few requests to control, one after another. */
#include "docker_private.h"
#include "jsonin.h"
#include "jsonput.h"
#include "log.h"

#define REMOVE_S 60 /* more than two requests may take */
#define PATIENCE_S 3 /* of an engine that lets a volume go: podman hangs up after 5 */

struct change {
	struct change *prev, *next;
	struct docker_volumes *v;
	struct docker_caller *caller; /* NULL: nobody waits for it */
	char *name;
	struct json_object *options; /* of a Create; what @read borrows from */
	struct docker_options read;
	struct id128 dataset;
	bool releases, keeps; /* the lease of @dataset */
	int lock; /* of users_leave() */
	struct event *patience;
};

/* A Mount of what was being released waits for the end of that. */
static void change_free(struct change *ch)
{
	struct docker_volumes *v = ch->v;
	struct id128 dataset = ch->dataset;
	bool released = ch->releases;

	if (ch->prev)
		ch->prev->next = ch->next;
	else
		ch->v->changes = ch->next;
	if (ch->next)
		ch->next->prev = ch->prev;
	json_object_put(ch->options);
	close_keep_errno(ch->lock);
	if (ch->patience)
		event_free(ch->patience);
	free(ch->name);
	free(ch);
	if (released)
		docker_jobs_look(v, &dataset);
}

static struct change *change_new(struct docker_volumes *v, const char *name, struct docker_caller *c)
{
	struct change *ch = calloc(1, sizeof(*ch));

	if (!ch)
		return NULL;
	*ch = (struct change){ .v = v, .caller = c, .next = v->changes, .name = strdup(name),
		.lock = -EBADF };
	if (ch->next)
		ch->next->prev = ch;
	v->changes = ch;
	if (ch->name)
		return ch;
	change_free(ch);
	return NULL;
}

void docker_changes_free(struct docker_volumes *v)
{
	while (v->changes) {
		if (v->changes->caller)
			docker_fail(v->changes->caller, STATUS_FAILED, "the Flocker volume plugin is being stopped");
		change_free(v->changes);
	}
}

static void fail(struct change *ch, const char *why)
{
	if (ch->caller)
		docker_fail(ch->caller, STATUS_FAILED, "%s", why);
	change_free(ch);
}

static void done(struct change *ch)
{
	if (ch->caller)
		docker_succeed(ch->caller, docker_done());
	change_free(ch);
}

static const char *code_of(const struct link_answer *a)
{
	struct json_object *v = NULL;

	(void)json_object_object_get_ex(a->body, "code", &v);
	return v ? json_object_get_string(v) : "";
}

/* Asks; when that fails at once, so does the change. */
static void ask(struct change *ch, const char *method, const char *path, struct json_object *body, link_done_fn fn)
{
	if (link_call(ch->v->link, method, path, body, fn, ch) < 0)
		fail(ch, "too many requests wait for the control service");
}

/* ---- create ---- */

/* Does the volume that is there do? */
static void answer_existing(const struct docker_options *o, const struct volume *volume, struct docker_caller *c)
{
	char error[DOCKER_ERROR_MAX];

	if (docker_options_differ(o, volume, error))
		docker_fail(c, STATUS_REFUSED, "%s", error);
	else
		docker_succeed(c, docker_done());
}

static void on_named(const struct link_answer *a, void *userdata)
{
	struct change *ch = userdata;
	struct json_object *list = NULL;
	const struct volume *volume;
	struct id128 id;

	if (a->status != 200) {
		fail(ch, a->why);
		return;
	}
	(void)json_object_object_get_ex(a->body, "datasets", &list);
	for (size_t i = 0; json_object_is_type(list, json_type_array) && i < json_object_array_length(list); i++)
		(void)catalog_put(ch->v->catalog, json_object_array_get_idx(list, i), &id);
	volume = catalog_by_name(ch->v->catalog, ch->name);
	if (!volume) {
		fail(ch, "a dataset of this name came and went: please repeat the command");
		return;
	}
	answer_existing(&ch->read, volume, ch->caller);
	change_free(ch);
}

static void on_created(const struct link_answer *a, void *userdata)
{
	struct change *ch = userdata;
	char path[64 + DOCKER_NAME_MAX];

	if (a->status == 201) {
		docker_take(ch->v, a);
		log_info("volume %s is made", ch->name);
		done(ch);
	} else if (a->status == 409 && STREQ(code_of(a), "name-in-use")) {
		/* Somebody else made it just now, or this plugin did before its connection broke. */
		snprintf(path, sizeof(path), "/v2/datasets?name=%s", ch->name);
		ask(ch, "GET", path, NULL, on_named);
	} else {
		fail(ch, a->why);
	}
}

static int find_node(const struct docker_volumes *v, const char *text, struct id128 *ret,
	char error[DOCKER_ERROR_MAX])
{
	int r = text ? catalog_find_node(v->catalog, text, ret) : 0;

	if (r < 0)
		snprintf(error, DOCKER_ERROR_MAX,
			"option node: %s node is meant by '%.64s'; give its UUID (flockerctl "
			"list-nodes)",
			r == -ENOTUNIQ ? "more than one" : "no", text);
	return r;
}

void docker_create(struct docker_volumes *v, struct docker_request *q, struct docker_caller *c)
{
	const struct volume *volume = catalog_by_name(v->catalog, q->name);
	_cleanup_json_ struct json_object *body = NULL;
	struct id128 node = ID128_NIL;
	char error[DOCKER_ERROR_MAX];
	struct docker_options o;
	struct change *ch;

	if (docker_options_read(q->options, &o, error) < 0 || find_node(v, o.node, &node, error) < 0) {
		docker_fail(c, STATUS_REFUSED, "%s", error);
		return;
	}
	if (volume) {
		answer_existing(&o, volume, c);
		return;
	}
	body = docker_options_body(&o, q->name, node);
	ch = body ? change_new(v, q->name, c) : NULL;
	if (!ch) {
		docker_fail(c, STATUS_FAILED, "out of memory");
		return;
	}
	ch->read = o;
	ch->options = json_object_get(q->options);
	ask(ch, "POST", "/v2/datasets", body, on_created);
}

/* ---- leases ---- */

static bool is_changing(const struct docker_volumes *v, struct id128 dataset, bool releases,
	bool keeps)
{
	for (const struct change *ch = v->changes; ch; ch = ch->next)
		if (id128_equal(ch->dataset, dataset) &&
			((ch->releases && releases) || (ch->keeps && keeps)))
			return true;
	return false;
}

bool docker_is_releasing(const struct docker_volumes *v, struct id128 dataset)
{
	return is_changing(v, dataset, true, false);
}

static bool is_idle(const struct docker_volumes *v, struct id128 dataset)
{
	return mounts_count(v->mounts, dataset) == 0 && !docker_is_mounting(v, dataset);
}

static void note_end(struct docker_volumes *v, struct id128 dataset)
{
	(void)mounts_set_leased(v->mounts, dataset, false);
	(void)docker_state_write(v);
	log_dataset(dataset, LOG_INFO, 0, "not in use here any more, by containers");
}

static void on_released(const struct link_answer *a, void *userdata)
{
	struct change *ch = userdata;
	struct docker_volumes *v = ch->v;
	bool gone = claim_is_released(a);
	bool over = is_idle(v, ch->dataset) && (gone || !mounts_leased(v->mounts, ch->dataset));

	if (!gone) {
		log_dataset(ch->dataset, LOG_WARNING, 0, "its lease is not released yet: %s", a->why);
		mounts_set_ending(v->mounts, ch->dataset, !a->unsent);
	}
	users_left(v->c.users_directory, ch->dataset, USERS_DOCKER, TAKE_FD(ch->lock), over);
	if (over)
		note_end(v, ch->dataset);
	done(ch);
}

/* Where control cannot be asked, or others are just leaving, docker_tidy() tries again. */
static void release(struct change *ch)
{
	struct docker_volumes *v = ch->v;
	int r = users_leave(v->c.users_directory, ch->dataset, USERS_DOCKER, &ch->lock);

	ch->releases = r == 1;
	mounts_set_ending(v->mounts, ch->dataset, ch->releases);
	if (r == 1 && claim_release(v->link, ch->dataset, v->c.node, on_released, ch) == 0)
		return;
	mounts_set_ending(v->mounts, ch->dataset, false);
	if (r == 0)
		note_end(v, ch->dataset);
	done(ch);
}

/* It is let go, by what is counted; control hears of it when it can. */
static void on_impatient(evutil_socket_t fd, short what, void *userdata)
{
	struct change *ch = userdata;

	docker_succeed(TAKE_PTR(ch->caller), docker_done());
}

void docker_release(struct docker_volumes *v, struct id128 dataset, struct docker_caller *c)
{
	struct change *ch = change_new(v, "", c);

	if (!ch) {
		if (c)
			docker_succeed(c, docker_done());
		return;
	}
	ch->dataset = dataset;
	ch->patience = c ? evtimer_new(v->base, on_impatient, ch) : NULL;
	if (ch->patience)
		(void)evtimer_add(ch->patience, &(struct timeval){ .tv_sec = PATIENCE_S });
	release(ch);
}

static void on_kept(const struct link_answer *a, void *userdata)
{
	struct change *ch = userdata;

	if (a->err || a->status >= 300)
		log_dataset(ch->dataset, LOG_ERR, 0,
			"a container here uses it, and its lease is gone: %s", a->why);
	else
		log_dataset(ch->dataset, LOG_NOTICE, 0,
			"a container here uses it: its lease, which was gone, is taken again");
	change_free(ch);
}

/*
 * Whether a container uses it is not a matter of counts here: they may be what the lease was ended
 * for. And where the dataset is not this node's any more, as after a fence, what a container still
 * has of it is dead.
 */
void docker_keep(struct docker_volumes *v, struct id128 dataset)
{
	const struct volume *volume = catalog_by_id(v->catalog, dataset);
	struct change *ch;

	if (!volume || !id128_is_nil(volume->leased) || mounts_count(v->mounts, dataset) == 0 ||
		docker_is_mounting(v, dataset) || is_changing(v, dataset, true, true))
		return;
	mounts_age(v->mounts, dataset);
	if (!docker_is_here(v, volume))
		return;
	mounted_scan(v->mounted);
	ch = mounted_is_used(v->mounted, dataset) ? change_new(v, "", NULL) : NULL;
	if (!ch)
		return;
	ch->dataset = dataset;
	ch->keeps = true;
	if (claim_lease(v->link, dataset, v->c.node, on_kept, ch) < 0)
		change_free(ch);
}

/* ---- remove ---- */

/* Others here need not wait any longer. */
static void let_go(struct change *ch)
{
	const struct docker_volumes *v = ch->v;

	users_left(v->c.users_directory, ch->dataset, USERS_DOCKER, TAKE_FD(ch->lock),
		!mounts_leased(v->mounts, ch->dataset));
}

/* The lease that it was removed with is of no further use. */
static void end_removal(struct change *ch)
{
	if (claim_release(ch->v->link, ch->dataset, ch->v->c.node, on_released, ch) == 0)
		return;
	let_go(ch);
	done(ch);
}

static void on_removed(const struct link_answer *a, void *userdata)
{
	struct change *ch = userdata;

	if (a->status == 200)
		docker_take(ch->v, a);
	if (a->status == 200 || a->status == 404) {
		log_dataset(ch->dataset, LOG_NOTICE, 0,
			"volume %s is removed, and with it its dataset", ch->name);
	} else {
		docker_fail(ch->caller, STATUS_FAILED, "%s", a->why);
		ch->caller = NULL;
	}
	end_removal(ch);
}

static void on_reserved(const struct link_answer *a, void *userdata)
{
	struct change *ch = userdata;
	char path[64];

	if (!a->err && a->status < 300) {
		snprintf(path, sizeof(path), "/v2/datasets/%s", ID128_STR(ch->dataset));
		ask(ch, "DELETE", path, NULL, on_removed);
		return;
	}
	let_go(ch);
	if (a->status == 404)
		done(ch);
	else
		fail(ch, a->why);
}

/* With a lease, which nobody gets who uses it elsewhere: that may not have been told of yet. It
 * ends by itself, if this process does. */
static void reserve(struct change *ch)
{
	_cleanup_json_ struct json_object *body = json_object_new_object();
	struct docker_volumes *v = ch->v;
	char path[64];
	int r = users_leave(v->c.users_directory, ch->dataset, USERS_DOCKER, &ch->lock);

	if (r == 0 && mounts_leased(v->mounts, ch->dataset))
		note_end(v, ch->dataset);
	if (r < 1) {
		fail(ch, r == 0 ? "the volume is in use on this machine" :
				  "the volume is just being let go on this machine: please repeat the command");
		return;
	}
	if (json_put_member(body, "node", json_object_new_string(ID128_STR(v->c.node))) < 0 ||
		json_put_member(body, "seconds", json_object_new_int(REMOVE_S)) < 0) {
		let_go(ch);
		fail(ch, "out of memory");
		return;
	}
	ch->releases = true;
	mounts_set_ending(v->mounts, ch->dataset, true);
	snprintf(path, sizeof(path), "/v2/leases/%s", ID128_STR(ch->dataset));
	ask(ch, "PUT", path, body, on_reserved);
}

void docker_remove(struct docker_volumes *v, const struct volume *volume, struct docker_caller *c)
{
	bool of_others = id128_equal(volume->leased, v->c.node) &&
		!mounts_leased(v->mounts, volume->id);
	char user[DOCKER_ERROR_MAX / 2];
	struct change *ch;

	claim_user_text(v->catalog, volume, v->c.node, user, sizeof(user));
	if (!is_idle(v, volume->id)) {
		docker_fail(c, STATUS_FAILED, "volume %s is in use on this machine", volume->name);
	} else if (!volume->delete_on_remove) {
		docker_succeed(c, docker_done());
	} else if (of_others) {
		docker_fail(c, STATUS_FAILED, "volume %s is in use on this machine, by no container; it is not removed",
			volume->name);
	} else if (*user) {
		docker_fail(c, STATUS_FAILED, "%s; it is not removed", user);
	} else {
		ch = change_new(v, volume->name, c);
		if (!ch) {
			docker_fail(c, STATUS_FAILED, "out of memory");
			return;
		}
		ch->dataset = volume->id;
		reserve(ch);
	}
}
