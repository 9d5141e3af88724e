/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Mounts of one volume are one job, however many wait for it:
 *
 *   leasing -> moving -> waiting -> gone                    each Mount is answered, and counted
 *      ^---------^----------'
 *
 * leasing: control is asked for the lease, which one node has at a time. Woken by its answer, and when that says
 *   that another has it and we are to wait: by what is told of the dataset. One that this plugin is just releasing
 *   is asked for when that has ended.
 * moving: the dataset is wished here. Woken by control's answer.
 * waiting: woken by what is told of the dataset, and by the mount table.
 *
 * A job that nobody waits for any more is dropped: what was wished goes on without it, and the next
 * Mount asks for the same again, which changes nothing. Its lease ends, but where it came to its
 * end and only nobody was there to hear of it: who asks again soon finds that it still has the
 * lease.
 */
#include "clock.h"
#include "docker_private.h"
#include "log.h"

#define RETRY_MS 500
#define AWAY_LIMIT_MS 20000 /* a Mount waits that long for a control service that cannot be asked */

enum job_state {
	JOB_LEASING,
	JOB_MOVING,
	JOB_WAITING,
};

struct waiter {
	struct waiter *next;
	struct job *job;
	struct docker_caller *caller;
	struct event *limit;
	uint64_t since_ms; /* CLOCK_MONOTONIC */
	char id[];
};

struct job {
	struct job *next;
	struct docker_volumes *v;
	struct id128 dataset;
	enum job_state state;
	bool in_use; /* elsewhere, and its end is waited for */
	bool asking; /* an answer will come, and the job has to be there */
	struct event *retry;
	struct waiter *first;
	char problem[LINK_WHY_MAX]; /* what keeps it, when that is not the dataset's own state */
};

static void job_step(struct job *j);

/* ---- jobs and who waits for them ---- */

static struct job *find_job(const struct docker_volumes *v, struct id128 dataset)
{
	struct job *j = v->jobs;

	while (j && !id128_equal(j->dataset, dataset))
		j = j->next;
	return j;
}

bool docker_is_mounting(const struct docker_volumes *v, struct id128 dataset)
{
	const struct job *j = find_job(v, dataset);

	return j && j->first;
}

static void waiter_free(struct waiter *w)
{
	struct waiter **p = &w->job->first;

	while (*p != w)
		p = &(*p)->next;
	*p = w->next;
	event_free(w->limit);
	free(w);
}

static void job_free(struct job *j)
{
	struct job **p = &j->v->jobs;

	while (*p != j)
		p = &(*p)->next;
	*p = j->next;
	event_free(j->retry);
	free(j);
}

/* Nobody waits for it any more: false, and it is gone unless an answer is still to come. */
static bool job_is_wanted(struct job *j)
{
	if (j->first)
		return true;
	if (!j->asking)
		job_free(j);
	return false;
}

static void on_retry(evutil_socket_t fd, short what, void *userdata)
{
	job_step(userdata);
}

static struct job *get_job(struct docker_volumes *v, struct id128 dataset)
{
	struct job *j = find_job(v, dataset);

	if (j)
		return j;
	j = calloc(1, sizeof(*j));
	if (!j)
		return NULL;
	*j = (struct job){ .v = v, .dataset = dataset, .next = v->jobs };
	j->retry = evtimer_new(v->base, on_retry, j);
	if (!j->retry) {
		free(j);
		return NULL;
	}
	v->jobs = j;
	return j;
}

/* ---- how it ends ---- */

static void release_if_idle(struct docker_volumes *v, struct id128 dataset)
{
	if (mounts_count(v->mounts, dataset) == 0 && mounts_leased(v->mounts, dataset) &&
		!docker_is_mounting(v, dataset) && !docker_is_releasing(v, dataset))
		docker_release(v, dataset, NULL);
}

/* Everybody who waits is told. @release: nothing of it is to go on. */
static void job_fail(struct job *j, bool release, const char *why)
{
	struct docker_volumes *v = j->v;
	struct id128 dataset = j->dataset;

	log_dataset(dataset, LOG_WARNING, 0, "not mounted: %s", why);
	while (j->first) {
		docker_fail(j->first->caller, STATUS_FAILED, "%s", why);
		waiter_free(j->first);
	}
	(void)job_is_wanted(j);
	if (release)
		release_if_idle(v, dataset);
}

/* What is not written down would be taken from under its container after a restart. */
static int count(struct docker_volumes *v, const struct volume *volume, const char *id)
{
	int r = mounts_add(v->mounts, volume->id, volume->name, id);

	if (r == 0 && (r = docker_state_write(v)) < 0 &&
		mounts_drop(v->mounts, volume->id, volume->name, id))
		(void)mounts_doubt(v->mounts, volume->id, volume->name, id);
	return r;
}

static void answer_mounted(struct docker_volumes *v, const struct volume *volume, const char *id,
	struct docker_caller *c)
{
	char place[4096 + ID128_TEXT];
	int r;

	if (!c->is_there(c)) { /* who comes again finds it here */
		docker_fail(c, STATUS_FAILED, "nobody waits");
		return;
	}
	r = count(v, volume, id);
	if (r < 0) {
		docker_fail(c, STATUS_FAILED, "this mount cannot be counted: %s", strerror(-r));
		return;
	}
	docker_place(v, volume, place, sizeof(place));
	docker_succeed(c, docker_mountpoint(place));
	docker_note_user(v, volume);
}

static void job_done(struct job *j, const struct volume *volume)
{
	log_dataset(j->dataset, LOG_INFO, 0, "volume %s is mounted for a container", volume->name);
	while (j->first) {
		answer_mounted(j->v, volume, j->first->id, j->first->caller);
		waiter_free(j->first);
	}
	(void)job_is_wanted(j);
}

static void describe(const struct job *j, const struct volume *volume, char *buf, size_t size)
{
	if (*j->problem)
		snprintf(buf, size, "%s", j->problem);
	else
		claim_describe(j->v->catalog, volume, buf, size);
}

/* dockerd would hang up soon. The wish goes on; the lease would keep others from it if it cannot
 * come here. */
static void on_limit(evutil_socket_t fd, short what, void *userdata)
{
	struct waiter *w = userdata;
	struct job *j = w->job;
	struct docker_volumes *v = j->v;
	struct id128 dataset = j->dataset;
	const struct volume *volume = catalog_by_id(v->catalog, dataset);
	char why[DOCKER_ERROR_MAX / 2] = "it is gone";

	if (volume)
		describe(j, volume, why, sizeof(why));
	docker_fail(w->caller, STATUS_FAILED,
		"volume %s is not here yet: %s; that goes on, please start the container "
		"again",
		volume ? volume->name : "", why);
	waiter_free(w);
	if (!job_is_wanted(j))
		release_if_idle(v, dataset);
}

/* Control cannot be asked: tried again, but not for as long as a dataset is waited for. */
static void job_again(struct job *j, const char *why)
{
	snprintf(j->problem, sizeof(j->problem), "%s", why);
	for (struct waiter *next, *w = j->first; w; w = next) {
		next = w->next;
		if (clock_ms(CLOCK_MONOTONIC) - w->since_ms < AWAY_LIMIT_MS)
			continue;
		docker_fail(w->caller, STATUS_FAILED, "%s", why);
		waiter_free(w);
	}
	if (job_is_wanted(j))
		(void)event_add(j->retry, &(struct timeval){ .tv_usec = RETRY_MS * 1000 });
}

/* ---- the lease ---- */

static void say_in_use(struct job *j, const struct link_answer *a)
{
	const struct volume *volume = catalog_by_id(j->v->catalog, j->dataset);
	char user[DOCKER_ERROR_MAX / 2] = "";

	if (volume)
		claim_user_text(j->v->catalog, volume, j->v->c.node, user, sizeof(user));
	if (j->v->c.wait_in_use) {
		if (!*j->problem)
			log_dataset(j->dataset, LOG_NOTICE, 0, "waits for its end: %s",
				*user ? user : a->why);
		snprintf(j->problem, sizeof(j->problem), "%.400s", *user ? user : a->why);
		j->in_use = true;
		if (job_is_wanted(j)) /* is_due() when its lease ends; this is for one that was not told of */
			(void)event_add(j->retry, &(struct timeval){ .tv_sec = 5 });
		return;
	}
	if (mounts_count(j->v->mounts, j->dataset) == 0) {
		(void)mounts_set_leased(j->v->mounts, j->dataset, false);
		users_forget(j->v->c.users_directory, j->dataset, USERS_DOCKER);
	}
	(void)docker_state_write(j->v);
	snprintf(j->problem, sizeof(j->problem), "%.400s; stop what uses it there first", *user ? user : a->why);
	job_fail(j, false, j->problem);
}

static void on_leased(const struct link_answer *a, void *userdata)
{
	struct job *j = userdata;

	j->asking = false;
	if (a->err || a->status >= 500) {
		job_again(j, a->why);
	} else if (a->status == 409) {
		say_in_use(j, a);
	} else if (a->status >= 300) {
		job_fail(j, true, a->why);
	} else {
		if (!docker_is_releasing(j->v, j->dataset)) { /* else it is ended at once */
			mounts_set_ending(j->v->mounts, j->dataset, false);
			j->state = JOB_MOVING;
		}
		job_step(j);
	}
}

/* @r: of the request */
static void asked(struct job *j, int r)
{
	j->asking = r == 0;
	if (r < 0)
		job_fail(j, false, "too many requests wait for the control service");
}

/* Others here learn that the lease is needed, and that it will have to be released is written down,
 * before it is asked for. 0 or -errno. */
static int join_users(struct job *j)
{
	int r = users_join(j->v->c.users_directory, j->dataset, USERS_DOCKER, NULL);

	if (r == 0)
		r = mounts_set_leased(j->v->mounts, j->dataset, true);
	if (r == 0)
		r = docker_state_write(j->v);
	if (r < 0)
		(void)mounts_set_leased(j->v->mounts, j->dataset, false);
	return r;
}

/* One that a user took for this node becomes the container's. While it is being released, or its
 * dataset removed, that is waited for. */
static void ask_for_lease(struct job *j)
{
	char why[LINK_WHY_MAX];
	int r;

	if (docker_is_releasing(j->v, j->dataset))
		return;
	r = mounts_leased(j->v->mounts, j->dataset) ? 0 : join_users(j);
	if (r == -EAGAIN) {
		job_again(j, "another user of it on this machine is just releasing it");
		return;
	}
	if (r < 0) {
		snprintf(why, sizeof(why), "that it will be used here cannot be written: %s",
			strerror(-r));
		job_fail(j, false, why);
		return;
	}
	j->in_use = false;
	asked(j, claim_lease(j->v->link, j->dataset, j->v->c.node, on_leased, j));
}

/* ---- the wish ---- */

static void on_moved(const struct link_answer *a, void *userdata)
{
	struct job *j = userdata;

	j->asking = false;
	if (a->status == 200)
		docker_take(j->v, a);
	if (a->err || a->status >= 500) {
		job_again(j, a->why);
	} else if (a->status >= 300) {
		job_fail(j, true, a->why);
	} else {
		j->state = JOB_WAITING;
		j->problem[0] = '\0';
		job_step(j);
	}
}

/* ---- the next step ---- */

/* Mounted, wished and leased here: nothing is to be asked, and control need not be there. */
static bool is_ready(const struct docker_volumes *v, const struct volume *volume)
{
	return docker_is_here(v, volume) && id128_equal(volume->node, v->c.node) &&
	       id128_equal(volume->leased, v->c.node) && mounts_leased(v->mounts, volume->id) &&
	       !mounts_ending(v->mounts, volume->id);
}

static void wait_for(struct job *j, const struct volume *volume)
{
	char why[DOCKER_ERROR_MAX / 2], text[DOCKER_ERROR_MAX];

	if (!id128_equal(volume->leased, j->v->c.node)) { /* somebody has ended it meanwhile */
		j->state = JOB_LEASING;
		ask_for_lease(j);
	} else if (claim_is_hopeless(volume, j->v->c.node)) {
		describe(j, volume, why, sizeof(why));
		snprintf(text, sizeof(text), "volume %.255s cannot be mounted: %s", volume->name, why);
		job_fail(j, true, text);
	}
}

static void job_step(struct job *j)
{
	const struct volume *volume = catalog_by_id(j->v->catalog, j->dataset);

	if (j->asking || !job_is_wanted(j))
		return;
	(void)event_del(j->retry); /* whatever woke it, is_due() is not to wait for that any more */
	if (!volume)
		job_fail(j, true, "the volume was removed meanwhile");
	else if (is_ready(j->v, volume))
		job_done(j, volume);
	else if (j->state == JOB_LEASING)
		ask_for_lease(j);
	else if (j->state == JOB_MOVING)
		asked(j, claim_wish(j->v->link, j->dataset, j->v->c.node, on_moved, j));
	else
		wait_for(j, volume);
}

/* What is to be tried again later is not tried with each event. */
static bool is_due(const struct job *j)
{
	const struct volume *volume = catalog_by_id(j->v->catalog, j->dataset);

	if (j->in_use)
		return !volume || id128_is_nil(volume->leased);
	return !event_pending(j->retry, EV_TIMEOUT, NULL);
}

void docker_jobs_look(struct docker_volumes *v, const struct id128 *dataset)
{
	for (struct job *next, *j = v->jobs; j; j = next) {
		next = j->next;
		if ((!dataset || id128_equal(*dataset, j->dataset)) && is_due(j))
			job_step(j);
	}
}

void docker_jobs_free(struct docker_volumes *v)
{
	while (v->jobs) {
		v->jobs->asking = false;
		while (v->jobs->first) {
			docker_fail(v->jobs->first->caller, STATUS_FAILED,
				"the Flocker volume plugin is being stopped");
			waiter_free(v->jobs->first);
		}
		job_free(v->jobs);
	}
}

/* ---- requests ---- */

static struct waiter *waiter_new(struct job *j, const char *id, struct docker_caller *c)
{
	struct waiter *w = malloc(sizeof(*w) + strlen(id) + 1);

	if (!w)
		return NULL;
	*w = (struct waiter){ .next = j->first, .job = j, .caller = c,
		.since_ms = clock_ms(CLOCK_MONOTONIC) };
	strcpy(w->id, id);
	w->limit = evtimer_new(j->v->base, on_limit, w);
	if (!w->limit || evtimer_add(w->limit, &(struct timeval){ .tv_sec = j->v->c.limit_s }) < 0) {
		if (w->limit)
			event_free(w->limit);
		free(w);
		return NULL;
	}
	j->first = w;
	return w;
}

void docker_mount(struct docker_volumes *v, const struct volume *volume, const char *id, struct docker_caller *c)
{
	struct job *j;

	mounted_look(v->mounted);
	if (is_ready(v, volume)) {
		answer_mounted(v, volume, id, c);
		return;
	}
	j = get_job(v, volume->id);
	if (!j || !waiter_new(j, id, c)) {
		docker_fail(c, STATUS_FAILED, "out of memory");
		if (j)
			(void)job_is_wanted(j);
		return;
	}
	if (!j->first->next && !j->asking)
		j->state = JOB_LEASING;
	job_step(j);
}

/* A count that is in doubt is brought back while a container has the volume. */
static void drop(struct docker_volumes *v, struct id128 dataset, const struct docker_request *q)
{
	if (!mounts_drop(v->mounts, dataset, q->name, q->id))
		return;
	mounted_scan(v->mounted);
	if (mounted_is_used(v->mounted, dataset))
		(void)mounts_doubt(v->mounts, dataset, q->name, q->id);
}

void docker_unmount(struct docker_volumes *v, const struct docker_request *q,
	const struct volume *volume, struct docker_caller *c)
{
	struct id128 dataset = volume ? volume->id : ID128_NIL;

	(void)mounts_find(v->mounts, q->name, q->id, &dataset);
	if (mounts_count(v->mounts, dataset) == 0) { /* it may be said again */
		docker_succeed(c, docker_done());
		return;
	}
	drop(v, dataset, q);
	(void)docker_state_write(v);
	if (mounts_count(v->mounts, dataset) == 0 && mounts_leased(v->mounts, dataset) &&
		!docker_is_mounting(v, dataset))
		docker_release(v, dataset, c);
	else
		docker_succeed(c, docker_done());
}
