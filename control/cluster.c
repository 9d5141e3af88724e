/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <sys/random.h>
#include <time.h>

#include "cluster.h"
#include "log.h"
#include "text.h"
#include "touch.h"

#define KEY_MAX 64
#define PROBE_S 5

/* Somebody who waits for the outcome of a transaction. */
struct waiter {
	struct waiter *next;
	int status;
	void (*done)(int status, int err, void *userdata);
	void *userdata;
};

/* A transaction on its way to the disk. */
struct flight {
	struct flight *next;
	uint64_t txn, changes; /* assign_changes() with it */
	struct assign_change *records;
	size_t n_records;
	struct waiter *first, **last;
};

struct cluster {
	struct event_base *base;
	struct store *store;
	struct assign *assign;
	struct history *history;
	const struct cluster_outlet *outlet;
	void *outlet_userdata;
	struct touch touch;
	struct event *tick, *expire, *probe;
	uint64_t retention_s;
	struct flight *flights, **last_flight; /* oldest first */
	uint64_t durable_txn, durable_changes;
	struct id128 salt; /* tags of two runs never match */
	uint64_t incarnation;
	int store_error; /* of the last commit */
	struct cluster_commits commits;
};

uint64_t cluster_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int64_t cluster_wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

const struct assign *cluster_assign(const struct cluster *c)
{
	return c->assign;
}

const struct history *cluster_history(const struct cluster *c)
{
	return c->history;
}

uint64_t cluster_revision(const struct cluster *c)
{
	return store_revision(c->store);
}

void cluster_stamp(const struct cluster *c, struct wire_welcome *welcome)
{
	welcome->revision = store_revision(c->store);
	welcome->line = store_line(c->store);
}

uint64_t cluster_revision_in(const struct cluster *c, struct id128 line)
{
	return store_line_end(c->store, line);
}

uint64_t cluster_incarnation(const struct cluster *c)
{
	return c->incarnation;
}

int cluster_store_error(const struct cluster *c)
{
	return c->store_error;
}

const struct cluster_commits *cluster_commits(const struct cluster *c)
{
	return &c->commits;
}

bool cluster_idle(const struct cluster *c)
{
	return !c->flights;
}

static uint64_t scramble(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

char *cluster_tag(const struct cluster *c, bool newest, char buf[CLUSTER_TAG_SIZE])
{
	uint64_t changes = newest || !c->flights ? assign_changes(c->assign) : c->durable_changes;

	snprintf(buf, CLUSTER_TAG_SIZE, "%016llx%016llx",
		(unsigned long long)scramble(c->salt.hi + c->incarnation),
		(unsigned long long)scramble(c->salt.lo + changes));
	return buf;
}

/* ---- what people are told ---- */

static void tell(struct cluster *c, const struct ds_record *r, struct id128 node, const char *state,
	const char *what)
{
	struct history_step s = { cluster_wall_ms(), node, state, what };

	if (!history_add(c->history, r->dataset_id, &s))
		return;
	if (id128_is_nil(node))
		log_dataset_request(r->dataset_id, NULL, r->request, LOG_INFO, 0, "%s", what);
	else
		log_dataset_request(r->dataset_id, NULL, r->request, LOG_INFO, 0, "%s on node %s%s%s", state,
			ID128_STR(node), *what ? ": " : "", what);
}

static void tell_status(struct cluster *c, struct id128 node, const struct wire_status *s)
{
	struct assign_view v;

	if (assign_dataset(c->assign, cluster_now_ms(), s->dataset_id, &v) == 0)
		tell(c, v.record, node, ds_state_name(s->state), s->why);
}

static void _printf_(3, 4)
	tell_control(struct cluster *c, const struct ds_record *r, const char *fmt, ...)
{
	char what[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	tell(c, r, ID128_NIL, "control", what);
}

static const char *proof_words(const struct ds_record *r)
{
	return r->proof == PROOF_OPERATOR ? "an operator said that the node is fenced" :
					    "it did not renew its term, which has ended";
}

static void tell_place(struct cluster *c, const struct ds_record *new, const char *created)
{
	if (id128_is_nil(new->primary))
		tell_control(c, new, "%swanted at no node", created);
	else
		tell_control(c, new, "%swanted on node %s%s%s", created, ID128_STR(new->primary),
			new->chosen ? ": " : "", new->chosen ? json_object_get_string(new->chosen) : "");
}

static void tell_deletion(struct cluster *c, const struct ds_record *old, const struct ds_record *new)
{
	bool was_deleted = old && old->deleted;

	if (new->deleted && !was_deleted && new->undelete_until)
		tell_control(c, new, "deletion wanted; its volume is kept until %s", TEXT_TIME(new->undelete_until));
	else if (new->deleted && !was_deleted)
		tell_control(c, new, "deletion wanted");
	else if (was_deleted && !new->deleted)
		tell_control(c, new, "not deleted after all");
	else if (was_deleted && old->undelete_until && !new->undelete_until)
		tell_control(c, new, "its volume is not kept any longer");
}

/* A record has become durable: say what that changed. @old: NULL for a new dataset. */
static void tell_record(struct cluster *c, const struct ds_record *old, const struct ds_record *new)
{
	if (!old || !id128_equal(old->primary, new->primary))
		tell_place(c, new, old ? "" : "created, ");
	if (old && old->want_bytes != new->want_bytes)
		tell_control(c, new, "a size of %s wanted", TEXT_BYTES(new->want_bytes));
	if (old && old->size_bytes != new->size_bytes)
		tell_control(c, new, "its volume has %s", TEXT_BYTES(new->size_bytes));
	if (old && old->fs_bytes != new->fs_bytes)
		tell_control(c, new, "its filesystem has grown to %s", TEXT_BYTES(new->fs_bytes));
	if (old && !failover_equal(old->failover, new->failover))
		tell_control(c, new, "failover %s wanted", failover_kind_name(new->failover.kind));
	tell_deletion(c, old, new);
	if (old && new->fenced.to > old->fenced.to)
		tell_control(c, new, "node %s lost epoch %llu: %s", ID128_STR(old->owner),
			(unsigned long long)old->epoch, proof_words(new));
	else if (old && !fenced_equal(new->fenced, old->fenced))
		tell_control(c, new, "the claim of epoch %llu is void: an operator gave its node up",
			(unsigned long long)new->fenced.also);
	else if (old && !id128_is_nil(old->owner) &&
		 (old->epoch != new->epoch || id128_is_nil(new->owner)))
		tell_control(c, new, "node %s gave epoch %llu back", ID128_STR(old->owner),
			(unsigned long long)old->epoch);
	if (!id128_is_nil(new->owner) && !(old && old->epoch == new->epoch))
		tell_control(c, new, "granted to node %s under epoch %llu%s", ID128_STR(new->owner),
			(unsigned long long)new->epoch,
			new->grant == GRANT_DESTROY ? ", to be destroyed" : "");
	if (old && old->format_state != new->format_state)
		tell_control(c, new, "formatting %s: %s", format_state_name(new->format_state),
			fs_kind_name(new->filesystem));
	if (old && !id128_is_nil(old->volume_id) && id128_is_nil(new->volume_id))
		tell_control(c, new, "destroyed");
}

static void tell_pin(struct cluster *c, const struct assign_change *change)
{
	const struct pin_record *p = &change->pin;
	struct assign_view v;

	if (assign_dataset(c->assign, cluster_now_ms(), p->dataset_id, &v) < 0)
		return; /* leases of the original may name what is not there */
	if (change->drop)
		tell_control(c, v.record, "the lease for node %s ended: %s", ID128_STR(p->node), change->why);
	else
		tell_control(c, v.record, "leased for node %s", ID128_STR(p->node));
}

static void tell_flight(struct cluster *c, const struct flight *f)
{
	struct assign_view v;

	for (size_t i = 0; i < f->n_records; i++) {
		const struct ds_record *new = &f->records[i].ds;
		bool known;

		if (f->records[i].kind == CHANGE_PIN)
			tell_pin(c, &f->records[i]);
		if (f->records[i].kind != CHANGE_DATASET)
			continue;
		if (f->records[i].drop) {
			log_dataset(new->dataset_id, LOG_INFO, 0, "deleted long ago: its record is dropped");
			history_drop(c->history, new->dataset_id);
			continue;
		}
		known = assign_dataset(c->assign, cluster_now_ms(), new->dataset_id, &v) == 0;
		tell_record(c, known ? v.record : NULL, new);
	}
}

static void tell_store(struct cluster *c, int r)
{
	if (r < 0 && c->store_error == 0)
		log_context_full(&((struct log_context){ .message_id = MESSAGE_STORE_FAILED }), LOG_ERR,
			r, "the store cannot be written; changes are refused until it works again");
	else if (r == 0 && c->store_error < 0)
		log_notice("the store works again");
	c->store_error = r;
	if (r < 0)
		(void)event_add(c->probe, &(struct timeval){ .tv_sec = PROBE_S });
}

static void on_probed(int r, void *userdata)
{
	tell_store(userdata, r);
}

/* Who asks whether the store can be written sends no writes before that: it is tried without any. */
static void on_probe(evutil_socket_t fd, short what, void *userdata)
{
	struct cluster *c = userdata;
	struct store_batch *b;

	if (!c->store_error)
		return;
	b = store_batch_new();
	if (b)
		store_commit(c->store, b, on_probed, c);
	else
		(void)event_add(c->probe, &(struct timeval){ .tv_sec = PROBE_S });
}

/* ---- transactions ---- */

static void flight_finish(struct flight *f, int err)
{
	for (struct waiter *w = f->first, *next; w; w = next) {
		next = w->next;
		w->done(w->status, err, w->userdata);
		free(w);
	}
	for (size_t i = 0; i < f->n_records; i++) {
		ds_record_done(&f->records[i].ds);
		node_record_done(&f->records[i].node);
		pin_record_done(&f->records[i].pin);
	}
	free(f->records);
	free(f);
}

static void cluster_arm(struct cluster *c)
{
	uint64_t wake = assign_next_wake(c->assign), now = cluster_now_ms();
	uint64_t wait = wake > now ? wake - now : 0;
	struct timeval tv = { (time_t)(wait / 1000), (suseconds_t)(wait % 1000 * 1000) };

	if (wake == UINT64_MAX)
		(void)event_del(c->tick);
	else
		(void)event_add(c->tick, &tv);
}

static void flights_pop(struct cluster *c)
{
	c->flights = c->flights->next;
	if (!c->flights)
		c->last_flight = &c->flights;
}

static void flight_durable(struct cluster *c, struct flight *f)
{
	flights_pop(c);
	tell_flight(c, f);
	/* Before as well: whom it concerned may not be concerned any more. */
	touch_changes(&c->touch, f->records, f->n_records);
	assign_committed(c->assign, f->txn);
	touch_changes(&c->touch, f->records, f->n_records);
	c->durable_txn = f->txn;
	c->durable_changes = f->changes;
	if (c->outlet)
		c->outlet->durable(c->outlet_userdata, f->txn);
	flight_finish(f, 0);
}

/* What came after the failed one is void as well; the store fails it by itself, unheard. */
static void flights_failed(struct cluster *c, int err)
{
	struct flight *f = c->flights;
	uint64_t txn = f->txn;

	c->flights = NULL;
	c->last_flight = &c->flights;
	assign_failed(c->assign, cluster_now_ms(), txn);
	if (c->outlet)
		c->outlet->failed(c->outlet_userdata, txn);
	while (f) {
		struct flight *next = f->next;

		touch_changes(&c->touch, f->records, f->n_records);
		flight_finish(f, err);
		f = next;
	}
}

struct ticket {
	struct cluster *cluster;
	uint64_t txn;
	double begun_s;
};

static double clock_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void count_commit(struct cluster_commits *n, int r, double seconds)
{
	if (r < 0) {
		n->failed++;
	} else {
		n->durable++;
		promtext_observe(&n->durations, seconds);
	}
}

static void on_commit(int r, void *userdata)
{
	struct ticket t = *(struct ticket *)userdata;
	struct cluster *c = t.cluster;

	free(userdata);
	count_commit(&c->commits, r, clock_s() - t.begun_s);
	tell_store(c, r);
	if (!c->flights || c->flights->txn != t.txn)
		return; /* went down with an earlier one */
	if (r < 0)
		flights_failed(c, r);
	else
		flight_durable(c, c->flights);
	cluster_arm(c);
}

static void out_of_memory(void)
{
	log_error(ENOMEM, "cannot go on");
	abort(); /* a half-made decision is worse than a restart, which finds everything again */
}

static void add_record(struct store_batch *b, const struct assign_change *change)
{
	_cleanup_free_ char *text = NULL;
	char key[KEY_MAX] = RECORD_KEY_FLOOR;

	switch (change->kind) {
	case CHANGE_DATASET:
		snprintf(key, sizeof(key), RECORD_KEY_DATASET "%s", ID128_STR(change->ds.dataset_id));
		text = ds_record_to_json(&change->ds);
		break;
	case CHANGE_NODE:
		snprintf(key, sizeof(key), RECORD_KEY_NODE "%s", ID128_STR(change->node.uuid));
		text = node_record_to_json(&change->node);
		break;
	case CHANGE_PIN:
		snprintf(key, sizeof(key), RECORD_KEY_PIN "%s", ID128_STR(change->pin.dataset_id));
		text = pin_record_to_json(&change->pin);
		break;
	case CHANGE_FLOOR:
		text = floor_to_json(change->floor);
		break;
	}
	if (!text || (change->drop ? store_batch_delete(b, key) : store_batch_put(b, key, text)) < 0)
		out_of_memory();
}

static void commit(struct cluster *c, struct assign_result *result)
{
	struct flight *f = calloc(1, sizeof(*f));
	struct ticket *ticket = malloc(sizeof(*ticket));
	struct store_batch *b = store_batch_new();

	if (!f || !b || !ticket)
		out_of_memory();
	for (size_t i = 0; i < result->n_changes; i++)
		add_record(b, &result->changes[i]);
	*f = (struct flight){ .txn = result->txn, .changes = assign_changes(c->assign),
		.records = TAKE_PTR(result->changes), .n_records = result->n_changes };
	f->last = &f->first;
	result->n_changes = 0;
	*c->last_flight = f;
	c->last_flight = &f->next;
	*ticket = (struct ticket){ c, f->txn, clock_s() };
	store_commit(c->store, b, on_commit, ticket);
}

static void answer(struct cluster *c, uint64_t txn, int status,
	void (*done)(int status, int err, void *userdata), void *userdata)
{
	struct waiter *w;

	for (struct flight *f = c->flights; f && txn > c->durable_txn; f = f->next) {
		if (f->txn != txn)
			continue;
		w = calloc(1, sizeof(*w));
		if (!w)
			out_of_memory();
		*w = (struct waiter){ .status = status, .done = done, .userdata = userdata };
		*f->last = w;
		f->last = &w->next;
		return;
	}
	done(status, txn > c->durable_txn ? -EIO : 0, userdata);
}

static void tell_event(struct cluster *c, const struct assign_event *ev)
{
	struct assign_node_view n;

	if (ev->type == ASSIGN_REPORT) {
		tell_status(c, ev->node, &ev->report->status);
	} else if (ev->type == ASSIGN_HELLO) {
		if (assign_node(c->assign, cluster_now_ms(), ev->node, &n) < 0 ||
			n.session != ev->session)
			return; /* refused */
		for (size_t i = 0; i < ev->hello->n_holds; i++)
			tell_status(c, ev->node, &ev->hello->holds[i]);
	}
}

void cluster_decide(struct cluster *c, struct assign_event *ev,
	void (*done)(int status, int err, void *userdata), void *userdata)
{
	struct touch_mark mark = touch_begin(&c->touch, ev);
	struct assign_result result;
	uint64_t txn;
	int status;

	if (getrandom(ev->random, sizeof(ev->random), 0) != sizeof(ev->random))
		abort(); /* cannot happen after boot: getrandom(2) */
	ev->wall_ms = cluster_wall_ms();
	assign_decide(c->assign, cluster_now_ms(), ev, &result);
	txn = result.txn;
	status = result.status;
	if (result.n_changes > 0)
		commit(c, &result);
	for (size_t i = 0; c->outlet && i < result.n_sends; i++)
		c->outlet->send(c->outlet_userdata, &result.sends[i]);
	tell_event(c, ev);
	touch_event(&c->touch, &mark, ev, &result);
	assign_result_done(&result);
	if (done)
		answer(c, txn, status, done, userdata);
	cluster_arm(c);
}

#define EXPIRE_S UINT64_C(3600)

static void on_expire(evutil_socket_t fd, short what, void *userdata)
{
	struct cluster *c = userdata;
	struct assign_event ev = { .type = ASSIGN_EXPIRE, .now_s = cluster_wall_ms() / 1000,
		.retention_s = c->retention_s };

	cluster_decide(c, &ev, NULL, NULL);
	(void)event_add(c->expire, &(struct timeval){ .tv_sec = (time_t)MIN(c->retention_s, EXPIRE_S) });
}

int cluster_retain(struct cluster *c, uint64_t seconds)
{
	if (!seconds)
		return 0;
	c->retention_s = seconds;
	c->expire = evtimer_new(c->base, on_expire, c);
	if (!c->expire)
		return -ENOMEM;
	event_active(c->expire, EV_TIMEOUT, 0);
	return 0;
}

static void on_tick(evutil_socket_t fd, short what, void *userdata)
{
	struct assign_event ev = { .type = ASSIGN_TICK };

	cluster_decide(userdata, &ev, NULL, NULL);
}

/* ---- beginning and end ---- */

struct loading {
	struct cluster *cluster;
	char *error;
};

static int load_pin(struct assign *a, const char *value)
{
	struct pin_record p;
	int r = pin_record_from_json(value, &p);

	if (r < 0)
		return r;
	assign_load_pin(a, &p, p.expires_ms - cluster_wall_ms());
	pin_record_done(&p);
	return 0;
}

static int on_record(const char *key, const char *value, void *userdata)
{
	struct loading *l = userdata;
	struct ds_record ds;
	struct node_record node;
	uint64_t floor;
	int r = -EBADMSG;

	if (strncmp(key, RECORD_KEY_DATASET, strlen(RECORD_KEY_DATASET)) == 0) {
		r = ds_record_from_json(value, &ds);
		if (r == 0) {
			assign_load_dataset(l->cluster->assign, &ds, ds.undelete_until * 1000 - cluster_wall_ms());
			ds_record_done(&ds);
		}
	} else if (strncmp(key, RECORD_KEY_NODE, strlen(RECORD_KEY_NODE)) == 0) {
		r = node_record_from_json(value, &node);
		if (r == 0) {
			assign_load_node(l->cluster->assign, &node);
			node_record_done(&node);
		}
	} else if (strncmp(key, RECORD_KEY_PIN, strlen(RECORD_KEY_PIN)) == 0) {
		r = load_pin(l->cluster->assign, value);
	} else if (STREQ(key, RECORD_KEY_FLOOR)) {
		r = floor_from_json(value, &floor);
		if (r == 0)
			assign_load_floor(l->cluster->assign, floor);
	}
	if (r == -EBADMSG &&
		asprintf(&l->error, "the store's record '%s' cannot be read: it is damaged or of a "
			"newer version; restore a backup with flocker-control recover --from FILE",
			key) < 0)
		l->error = NULL;
	return r == -EBADMSG ? -EUCLEAN : r;
}

void cluster_set_watcher(struct cluster *c, const struct cluster_watcher *watcher, void *userdata)
{
	c->touch.watcher = watcher;
	c->touch.userdata = userdata;
}

void cluster_set_outlet(struct cluster *c, const struct cluster_outlet *outlet, void *userdata)
{
	c->outlet = outlet;
	c->outlet_userdata = userdata;
}

struct cluster *cluster_free(struct cluster *c)
{
	if (!c)
		return NULL;
	for (struct flight *f = c->flights, *next; f; f = next) {
		next = f->next;
		for (struct waiter *w = f->first, *after; w; w = after) {
			after = w->next;
			free(w);
		}
		f->first = NULL;
		flight_finish(f, 0);
	}
	if (c->tick)
		event_free(c->tick);
	if (c->expire)
		event_free(c->expire);
	if (c->probe)
		event_free(c->probe);
	assign_free(c->assign);
	history_free(c->history);
	free(c);
	return NULL;
}
DEFINE_CLEANUP(struct cluster *, cluster_free);

int cluster_new(struct event_base *base, struct store *store, uint64_t incarnation,
	struct cluster **ret, char **ret_error)
{
	_cleanup_(cluster_freep) struct cluster *c = calloc(1, sizeof(*c));
	struct loading l = { .cluster = c };
	int r;

	if (!c)
		return -ENOMEM;
	c->base = base;
	c->store = store;
	c->incarnation = incarnation;
	c->last_flight = &c->flights;
	c->history = history_new();
	c->tick = evtimer_new(base, on_tick, c);
	c->probe = evtimer_new(base, on_probe, c);
	if (!c->history || !c->tick || !c->probe)
		return -ENOMEM;
	r = id128_random(&c->salt);
	if (r < 0)
		return r;
	r = assign_new(incarnation, cluster_now_ms(), &c->assign);
	if (r < 0)
		return r;
	c->touch = (struct touch){ .assign = c->assign, .incarnation = incarnation };
	r = store_load(store, on_record, &l);
	if (r < 0) {
		*ret_error = l.error ?: strdup("the store cannot be read");
		return r;
	}
	assign_loaded(c->assign);
	cluster_arm(c);
	*ret = TAKE_PTR(c);
	return 0;
}
