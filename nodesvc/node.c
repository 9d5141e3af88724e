/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>

#include "node_private.h"

/* Terms go on while the machine sleeps. */
uint64_t node_now_ms(void)
{
	return clock_ms(CLOCK_BOOTTIME);
}

/* One plan follows, however many things happened. */
void node_plan_soon(struct node *n)
{
	event_active(n->plan, EV_TIMEOUT, 0);
}

void node_after_s(struct event *ev, int seconds)
{
	struct timeval tv = { seconds, 0 };

	event_add(ev, &tv);
}

/* ---- steps ---- */

static void step_done(void *arg)
{
	struct running *r = arg;
	struct node *n = r->node;
	struct step_job *j = &r->step;

	if (j->start.guarded)
		guard_step_end(n->guard, j->start.dataset_id);
	if (j->looked)
		guard_device(n->guard, j->start.dataset_id, j->seen.attached ? j->devno : 0, j->diskseq);
	if (j->described)
		node_take_backend(n, &j->backend);
	metrics_count(&n->metrics, j->start.step, j->ms, j->error);
	n->counted = true;
	*r->prev = r->next;
	if (r->next)
		r->next->prev = r->prev;
	(void)roster_done(n->roster, node_now_ms(), j->start.dataset_id, j->start.ticket, j->error,
		j->same_holders ? NULL : j->why, j->looked ? &j->seen : NULL, &j->extra);
	free(r);
	node_plan_soon(n);
}

static void step_on_worker(void *arg)
{
	struct running *r = arg;

	steps_run(&r->step);
}

static void step_refused(struct node *n, const struct roster_start *start, int error, const char *why)
{
	struct roster_extra nothing = { 0 };

	(void)roster_done(n->roster, node_now_ms(), start->dataset_id, start->ticket, error, why, NULL, &nothing);
}

static void submit_step(struct node *n, struct running *r)
{
	if (worker_submit(n->pool, step_on_worker, step_done, r) == 0) {
		r->next = n->running;
		r->prev = &n->running;
		if (r->next)
			r->next->prev = &r->next;
		n->running = r;
		return;
	}
	if (r->step.start.guarded)
		guard_step_end(n->guard, r->step.start.dataset_id);
	step_refused(n, &r->step.start, ENOMEM, NULL);
	free(r);
}

void node_start_step(struct node *n, const struct roster_start *start)
{
	struct running *r;

	if (node_trim_yields(n, start))
		return;
	r = calloc(1, sizeof(*r));
	if (!r) {
		step_refused(n, start, ENOMEM, NULL);
		return;
	}
	r->node = n;
	r->step.env = &n->env;
	r->step.start = *start;
	if (start->guarded)
		guard_step_begin(n->guard, start->dataset_id, r);
	else
		submit_step(n, r);
}

/* The helper agrees that a step begins, or does not. */
static void on_step(int result, void *step, void *userdata)
{
	const struct asked *asked = step;
	struct running *r = step;
	struct node *n = userdata;

	if (asked && asked->slice) {
		node_trim_agreed(n, result, step);
		return;
	}

	if (!r && result < 0) {
		(void)log_error(result, "a step under way can be guarded by nobody, and its term may be over: "
			"this daemon ends itself with all it started");
		kill(0, SIGKILL);
	}
	if (!r)
		return;
	if (result == 0) {
		submit_step(n, r);
		return;
	}
	step_refused(n, &r->step.start, ETIME, "its term is over, or the fence helper is away");
	free(r);
	node_plan_soon(n);
}

static void tell_stuck(const struct node *n, struct id128 dataset_id)
{
	for (const struct running *r = n->running; r; r = r->next)
		if (id128_equal(r->step.start.dataset_id, dataset_id))
			log_dataset_message(dataset_id, MESSAGE_DATASET_STUCK, LOG_ERR, 0,
				"%s does not return: the storage hangs, and other datasets go on",
				ds_step_name(r->step.start.step));
}

static void on_plan(evutil_socket_t fd, short what, void *userdata)
{
	struct node *n = userdata;
	struct roster_out out;
	uint64_t now = node_now_ms(), wake;

	roster_run(n->roster, now, &out);
	for (size_t i = 0; i < out.n_arms; i++)
		guard_arm(n->guard, out.arms[i].dataset_id, out.arms[i].until_ms, out.arms[i].rev,
			out.arms[i].filesystem);
	for (size_t i = 0; i < out.n_starts; i++)
		node_start_step(n, &out.starts[i]);
	for (size_t i = 0; i < out.n_sends; i++)
		uplink_send(n->uplink, &out.sends[i]);
	for (size_t i = 0; i < out.n_stuck; i++)
		tell_stuck(n, out.stuck[i]);
	for (size_t i = 0; i < out.n_changed; i++)
		node_show_change(n, &out.changed[i]);
	if (out.n_changed)
		node_space_soon(n);
	if (out.n_changed || n->counted)
		node_show(n);
	n->counted = false;
	node_terms_tell(n);
	roster_out_done(&out);

	wake = roster_next_wake(n->roster);
	if (wake == CONVERGE_NEVER) {
		event_del(n->timer);
		return;
	}
	now = node_now_ms();
	wake = wake > now ? wake - now : 0;
	event_add(n->timer, &(struct timeval){ (time_t)(wake / 1000),
		(suseconds_t)(wake % 1000 * 1000) });
}

static void on_timer(evutil_socket_t fd, short what, void *userdata)
{
	node_plan_soon(userdata);
}

/* ---- the fence helper ---- */

/* All is known that is here: now control may hear of it. Once. */
static void adopted(struct node *n)
{
	if (n->adopted)
		return;
	n->adopted = true;
	uplink_start(n->uplink);
	n->cbs->on_ready(n->userdata);
	node_show(n);
}

static void on_inherited(struct id128 dataset_id, uint64_t until_ms, void *userdata)
{
	struct node *n = userdata;

	roster_inherit(n->roster, dataset_id, until_ms);
}

static void on_armed(struct id128 dataset_id, uint64_t until_ms, uint64_t rev, void *userdata)
{
	struct node *n = userdata;

	roster_armed(n->roster, node_now_ms(), dataset_id, until_ms, rev);
	node_plan_soon(n);
}

static void on_fired(struct id128 dataset_id, void *userdata)
{
	struct node *n = userdata;

	log_dataset(dataset_id, LOG_WARNING, 0, "its term is over: the fence helper takes writing away from it");
	roster_term_over(n->roster, node_now_ms(), dataset_id);
	node_plan_soon(n);
}

static void on_fenced(struct id128 dataset_id, void *userdata)
{
	struct node *n = userdata;

	roster_fenced(n->roster, node_now_ms(), dataset_id);
	node_plan_soon(n);
}

static void on_guard_ready(void *userdata)
{
	adopted(userdata);
}

static void on_watchdog(enum fence_watchdog state, uint64_t late_ms, int error, void *userdata)
{
	struct node *n = userdata;

	nodeview_watchdog(state, late_ms, error, n->watchdog, sizeof(n->watchdog));
	node_show(n);
}

static void on_guard_lost(const char *why, void *userdata)
{
	struct node *n = userdata;

	(void)log_warning(0, "the fence helper is gone (%s): another is started, and what is leased armed anew",
		why);
	roster_unarmed(n->roster, node_now_ms());
	node_plan_soon(n);
	adopted(n);
}

/* ---- control ---- */

static bool is_known(struct id128 dataset_id, void *userdata)
{
	const struct node *n = userdata;
	struct roster_view v;

	return roster_view(n->roster, dataset_id, &v) == 0;
}

static int on_hello(struct wire_hello *h, void *userdata)
{
	struct node *n = userdata;

	h->version = strdup(FLOCKER_VERSION);
	h->host = n->state.host;
	h->boot = n->state.boot;
	h->address = n->c->address ? strdup(n->c->address) : NULL;
	h->backend = strdup(n->c->backend);
	h->filesystem = n->c->filesystem;
	h->partial = n->unanswered > 0;
	h->shared = n->space.told.shared;
	h->free_bytes = n->space.told.free_bytes;
	return roster_hello(n->roster, h);
}

static void on_up(void *userdata)
{
	struct node *n = userdata;

	log_info("connected to control at %s:%u", n->c->control_hostname, n->c->control_port);
	n->connected = true;
	n->last_error[0] = '\0';
	clock_gettime(CLOCK_MONOTONIC, &n->connected_at);
	steps_remove_places(&n->env, is_known, n); /* again what could not be removed at the start */
	roster_connected(n->roster, node_now_ms());
	remember(n->remember, true);
	node_show(n);
	node_plan_soon(n);
}

static void on_down(const char *why, void *userdata)
{
	struct node *n = userdata;

	/* Each reason once, not each attempt. */
	if (n->connected || !STREQ(why, n->last_error))
		(void)log_warning(0, "no session with control at %s:%u: %s; what is here is kept",
			n->c->control_hostname, n->c->control_port, why);
	if (n->connected)
		clock_gettime(CLOCK_MONOTONIC, &n->connected_at);
	snprintf(n->last_error, sizeof(n->last_error), "%s", why);
	n->connected = false;
	roster_disconnected(n->roster, node_now_ms());
	uplink_hurry(n->uplink, MAX(roster_shortest_term(n->roster) / 2, UINT64_C(500)));
	node_show(n);
	node_plan_soon(n);
}

static void on_order(const struct wire_assign *o, void *userdata)
{
	struct node *n = userdata;
	int r = roster_order(n->roster, node_now_ms(), o);

	if (r < 0)
		log_dataset_request(o->dataset_id, NULL, o->request, LOG_WARNING, r,
			"refused the order to %s under epoch %" PRIu64, wish_kind_name(o->wish), o->epoch);
	remember(n->remember, false);
	node_plan_soon(n);
}

/* What it orders is not known, so what it ordered before stays in force. */
static void on_unknown(const struct wire_msg *m, void *userdata)
{
	const struct node *n = userdata;

	if (m->type == WIRE_ASSIGN)
		log_dataset(m->assign.dataset_id, LOG_WARNING, 0,
			"an order of control has %s, which this version does not know: it is not obeyed, and what "
			"was ordered before stays in force; upgrade this node", m->unknown);
	else
		log_node(n->uuid, LOG_WARNING, 0,
			"control says %s, which this version does not know, ignoring", m->unknown);
}

static void on_renewed(uint64_t stamp_ms, void *userdata)
{
	struct timespec now;
	struct node *n = userdata;

	clock_gettime(CLOCK_REALTIME, &now);
	n->renewed_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	n->counted = true;

	roster_renewed(n->roster, node_now_ms(), stamp_ms);
	node_plan_soon(n);
}

static void on_seen(void *userdata, struct control_mark *ret)
{
	const struct node *n = userdata;

	*ret = uplink_seen(n->uplink);
}

/* ---- adoption: what is claimed here, before a word is said to control ---- */

static void on_open(struct driver *driver, const struct driver_desc *backend, void *userdata)
{
	struct node *n = userdata;

	n->env.driver = driver;
	node_space_open(n, backend);
}

static void on_found(const struct driver_volume *v, void *userdata)
{
	struct node *n = userdata;
	bool claimed = v->place == DRIVER_HERE;

	/* On a kernel with several nodes the mount tells whose device is left. */
	if (!claimed && !steps_is_mounted(&n->env, v->dataset_id))
		return;
	n->n_found += claimed;
	roster_adopt(n->roster, node_now_ms(), v->dataset_id, v->volume_id, claimed ? v->epoch : v->left_epoch,
		v->cut);
	node_plan_soon(n);
}

static void on_adopted(size_t unanswered, void *userdata)
{
	struct node *n = userdata;

	steps_remove_places(&n->env, is_known, n);
	log_info("%zu volume%s claimed here found on backend %s", n->n_found, n->n_found == 1 ? "" : "s",
		n->c->backend);
	if (unanswered)
		(void)log_error(0, "%zu volume%s on backend %s did not answer: the storage hangs; other "
				   "datasets go on", unanswered, unanswered == 1 ? "" : "s", n->c->backend);
	n->unanswered = unanswered;
	n->last_error[0] = '\0';
	node_plan_soon(n);
	/* What an earlier daemon's helper guards is known before control speaks of it. */
	if (!guard_is_left(n->guard) || guard_start(n->guard) < 0)
		adopted(n);
}

/* The hello that was said named not everything: say one that does. */
static void on_all_known(void *userdata)
{
	struct node *n = userdata;

	n->unanswered = 0;
	log_notice("the volumes that did not answer have answered");
	uplink_again(n->uplink);
	node_plan_soon(n);
}

static void on_adopt_trouble(const char *why, void *userdata)
{
	struct node *n = userdata;

	if (!STREQ(why, n->last_error)) /* each reason once, not each attempt */
		(void)log_error(0, "%s", why);
	snprintf(n->last_error, sizeof(n->last_error), "%s", why);
	node_show(n);
}

static void on_adopt_failed(int err, const char *why, void *userdata)
{
	struct node *n = userdata;

	(void)log_error(0, "backend %s: %s", n->c->backend, why);
	n->cbs->on_failed(n->userdata);
}

/* ---- beginning and end ---- */

static int make_adopt(struct node *n, char *why, size_t size)
{
	static const struct adopt_callbacks cbs = { on_open, on_found, on_adopted, on_all_known,
		on_adopt_trouble, on_adopt_failed };
	struct adopt_config c = { n->pool, PRIO_PLAN, driver_find(n->c->backend),
		{ n->uuid, n->state.host, n->state.boot } };

	if (!c.ops) {
		snprintf(why, size, "there is no backend '%s'; this version has: %s", n->c->backend,
			driver_names());
		return -EINVAL;
	}
	n->options = calloc(n->c->n_options + 1, sizeof(*n->options));
	if (!n->options)
		return -ENOMEM;
	for (size_t i = 0; i < n->c->n_options; i++)
		n->options[i] = (struct driver_option){ n->c->options[i].key, n->c->options[i].value,
			n->c->options[i].line };
	c.options = n->options;
	c.n_options = n->c->n_options;
	n->env.ops = c.ops;
	return adopt_new(n->base, &c, &cbs, n, &n->adopt);
}

static struct event *new_event(struct node *n, int fd, short what, event_callback_fn fn, int prio)
{
	struct event *ev = event_new(n->base, fd, what, fn, n);

	if (ev)
		event_priority_set(ev, prio);
	return ev;
}

static int make_events(struct node *n)
{
	int r;

	n->plan = new_event(n, -1, 0, on_plan, PRIO_PLAN);
	n->timer = new_event(n, -1, 0, on_timer, PRIO_PLAN);
	if (!n->plan || !n->timer)
		return -ENOMEM;
	r = mountwatch_new(n->base, PRIO_UEVENT, n->pool, n->c->mount_root, node_on_mounts, n, &n->mountwatch);
	if (r < 0)
		return r;
	return mountwatch_new(n->base, PRIO_UEVENT, n->pool, n->c->run_directory, node_on_run_mounts, n,
		&n->runwatch);
}

static int make_uplink(struct node *n)
{
	static const struct uplink_callbacks cbs = { on_hello, on_up, on_down, on_order, on_unknown, on_renewed };
	struct uplink_config c = {
		.host = n->c->control_hostname,
		.port = n->c->control_port,
		.address = n->c->address,
		.ctx = n->tls,
		.seen = n->state.seen,
	};

	return uplink_new(n->base, &c, &cbs, n, &n->uplink);
}

static int make_certs(struct node *n)
{
	struct certs_config c = { .files = { n->c->cluster_crt, n->c->node_crt, n->c->node_key,
		n->c->cluster_crl }, .contexts = { n->tls }, .priority = PRIO_SIGNAL,
		.on_change = node_on_certificates, .userdata = n };

	tls_dates(n->tls, &n->dates);
	return certs_new(n->base, &c, &n->certs);
}

static int make_guard(struct node *n)
{
	static const struct guard_callbacks cbs = { on_inherited, on_guard_ready, on_armed, on_fired, on_fenced,
		on_step, on_watchdog, on_guard_lost };
	bool any = !STREQ(n->c->watchdog, "none");

	n->fence = (struct fence_client_options){
		.helper = FENCE_HELPER,
		.run_directory = n->c->run_directory,
		.mount_root = n->c->mount_root,
		.reboot = n->c->self_fence_reboot,
		.watchdog = any ? n->c->watchdog : NULL,
	};
	nodeview_watchdog(any ? FENCE_WATCHDOG_IDLE : FENCE_WATCHDOG_NONE, 0, 0, n->watchdog,
		sizeof(n->watchdog));
	return guard_new(n->base, PRIO_LINK, &n->fence, &cbs, n, &n->guard);
}

static int make_remember(struct node *n)
{
	struct remember_config c = { n->pool, PRIO_PLAN, &n->state, on_seen, n };

	return remember_new(n->base, &c, &n->remember);
}

static int make_devmon(struct node *n, char *why, size_t size)
{
	struct devmon_config c = { .priority = PRIO_UEVENT, .on_device = node_on_device,
		.on_rescan = node_on_overrun, .userdata = n };
	int r = devmon_new(n->base, &c, &n->devmon);

	if (r < 0)
		snprintf(why, size, "cannot listen to device events: %s", strerror(-r));
	return r;
}

static int make_mount_options(struct node *n)
{
	const char *given = n->c->mount_options;

	if (asprintf(&n->mount_options, "%s%s%s", given, *given && n->c->discard == DISCARD_ON ? "," : "",
		n->c->discard == DISCARD_ON ? "discard" : "") < 0)
		return -ENOMEM;
	n->env.mount_options = n->mount_options;
	return 0;
}

int node_new(struct event_base *base, const struct node_config *c, struct id128 uuid, SSL_CTX *ctx,
	struct node **ret, char *why, size_t size)
{
	struct node *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return -ENOMEM;
	n->c = c;
	n->base = base;
	n->uuid = uuid;
	n->tls = ctx;
	n->state.lock_fd = -EBADF;
	n->env.mount_root = c->mount_root;
	clock_gettime(CLOCK_MONOTONIC, &n->connected_at);

	r = nodestate_open(c->state_directory, &n->state, why, size);
	if (r == 0)
		r = roster_new(&n->roster);
	if (r == 0)
		r = worker_pool_new(base, PRIO_JOB, &n->pool);
	if (r == 0)
		r = make_adopt(n, why, size);
	if (r == 0)
		r = make_mount_options(n);
	if (r == 0)
		r = node_trim_new(n);
	if (r == 0)
		r = node_space_new(n);
	if (r == 0)
		r = node_tree_new(n, why, size);
	if (r == 0)
		r = make_events(n);
	if (r == 0)
		r = make_devmon(n, why, size);
	if (r == 0)
		r = make_guard(n);
	if (r == 0)
		r = make_remember(n);
	if (r == 0)
		r = make_uplink(n);
	if (r == 0)
		r = make_certs(n);
	if (r < 0) {
		node_free(n);
		return r;
	}
	node_show(n);
	*ret = n;
	return 0;
}

void node_cap_steps(struct node *n, unsigned int seconds)
{
	roster_cap_limits(n->roster, seconds * UINT64_C(1000));
}

void node_use_fence_helper(struct node *n, const char *path)
{
	n->fence.helper = path;
}

void node_start(struct node *n, const struct node_callbacks *cbs, void *userdata)
{
	n->cbs = cbs;
	n->userdata = userdata;
	node_tree_mount(n);
	adopt_start(n->adopt);
}

unsigned int node_stop(struct node *n)
{
	struct node_view v = { 0 };

	uplink_stop(n->uplink, "the node's daemon is stopped; its mounts stay");
	nodeview_count(n->roster, &v, NULL);
	return v.mounted;
}

struct node *node_free(struct node *n)
{
	struct event **events[] = { &n->plan, &n->timer, &n->tree_timer, &n->space_timer };
	bool busy = n->pool && worker_pending(n->pool) > 0;

	certs_free(n->certs);
	uplink_free(n->uplink);
	guard_free(n->guard);
	devmon_free(n->devmon);
	mountwatch_free(n->mountwatch);
	mountwatch_free(n->runwatch);
	adopt_free(n->adopt);
	fstree_free(n->tree);
	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		if (*events[i])
			event_free(*events[i]);
	remember_free(n->remember);
	node_trim_free(n);
	worker_pool_free(n->pool);
	roster_free(n->roster);
	/* A worker that did not return still uses the driver. */
	if (n->env.driver && !busy)
		n->env.ops->close(n->env.driver);
	nodestate_done(&n->state);
	if (busy)
		return NULL;
	free(n->options);
	free(n->mount_options);
	free(n);
	return NULL;
}
