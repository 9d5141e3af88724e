/* SPDX-License-Identifier: Apache-2.0 */
#include "audit.h"
#include "plan.h"
#include "text.h"

#define ORDERS_EACH_MAX 32 /* that one dataset can take; more would be a circle */

/* An order on its way to its node. */
struct order {
	struct id128 node;
	uint64_t session;
	struct wire_assign assign; /* its metadata are not here */
};

/* What a node has of a dataset. */
struct place {
	struct id128 node, dataset;
	bool attached, mounted;
	uint64_t size_bytes;
};

struct plan {
	struct assign *assign;
	uint64_t now_ms, random;
	struct id128 dataset;	/* that the write is about; nil: a node */
	struct id128 *touched;	/* datasets that something happens to */
	size_t n_touched;
	struct plan_step *steps;
	size_t n_steps;
	struct order *orders;
	size_t n_orders, n_obeyed;
	struct place *places;
	size_t n_places;
};

static const char *const words[] = {
	[PLAN_RECORD] = "record", [PLAN_WAIT] = "wait", [PLAN_UNMOUNT] = "unmount", [PLAN_DETACH] = "detach",
	[PLAN_CREATE] = "create", [PLAN_ATTACH] = "attach", [PLAN_PROBE] = "probe", [PLAN_FORMAT] = "format",
	[PLAN_MOUNT] = "mount", [PLAN_EXPAND] = "expand", [PLAN_GROW] = "grow", [PLAN_DESTROY] = "destroy",
	[PLAN_FENCE] = "fence", [PLAN_FORGET] = "forget",
};
static_assert(ARRAY_SIZE(words) == PLAN_WORD_MAX, "the last word has no row");

const char *plan_word_name(enum plan_word v)
{
	return words[v];
}

/* Room for one more of @list; it is zeroed. */
static void *grow_list(void *list, size_t n, size_t size)
{
	char *p = reallocarray(list, n + 1, size);

	if (!p)
		abort();
	memset(p + n * size, 0, size);
	return p;
}

static void touch(struct plan *p, struct id128 dataset)
{
	for (size_t i = 0; i < p->n_touched; i++)
		if (id128_equal(p->touched[i], dataset))
			return;
	p->touched = grow_list(p->touched, p->n_touched, sizeof(*p->touched));
	p->touched[p->n_touched++] = dataset;
}

static void _printf_(5, 6) add_step(struct plan *p, enum plan_word word, struct id128 dataset, struct id128 node,
	const char *fmt, ...)
{
	struct plan_step *s;
	va_list ap;

	p->steps = grow_list(p->steps, p->n_steps, sizeof(*p->steps));
	s = &p->steps[p->n_steps++];
	s->word = word;
	s->dataset = dataset;
	s->node = node;
	va_start(ap, fmt);
	vsnprintf(s->what, sizeof(s->what), fmt, ap);
	va_end(ap);
	if (!id128_is_nil(dataset))
		touch(p, dataset);
}

/* ---- what control does ---- */

static void take_orders(struct plan *p, const struct assign_result *r)
{
	for (size_t i = 0; i < r->n_sends; i++) {
		const struct assign_send *s = &r->sends[i];

		if (s->msg.type != WIRE_ASSIGN)
			continue;
		p->orders = grow_list(p->orders, p->n_orders, sizeof(*p->orders));
		p->orders[p->n_orders++] = (struct order){ s->node, s->session, s->msg.assign };
		p->orders[p->n_orders - 1].assign.metadata = NULL;
	}
}

static void note_dataset(struct plan *p, const struct assign *before, const struct ds_record *after)
{
	struct assign_view v;
	bool known = assign_dataset(before, p->now_ms, after->dataset_id, &v) == 0;
	char what[AUDIT_CHANGE_MAX];

	audit_change(known ? v.record : NULL, after, what);
	touch(p, after->dataset_id);
	if (!STREQ(what, AUDIT_NO_CHANGE))
		add_step(p, PLAN_RECORD, after->dataset_id, ID128_NIL, "%s", what);
}

static void note_pin(struct plan *p, const struct assign_change *c)
{
	if (c->drop)
		add_step(p, PLAN_RECORD, c->pin.dataset_id, ID128_NIL, "the lease for node %s ends: %s",
			ID128_STR(c->pin.node), c->why);
	else
		add_step(p, PLAN_RECORD, c->pin.dataset_id, ID128_NIL, "leased for node %s", ID128_STR(c->pin.node));
}

static void note_node(struct plan *p, const struct assign_event *ev)
{
	const char *node = ID128_STR(ev->node);

	switch (ev->type) {
	case ASSIGN_FENCE:
		add_step(p, PLAN_FENCE, ID128_NIL, ev->node, "node %s counts as one that writes no more", node);
		break;
	case ASSIGN_FORGET:
		add_step(p, PLAN_FORGET, ID128_NIL, ev->node, "node %s counts as one that writes no more, and is never "
			"let in again", node);
		break;
	case ASSIGN_DRAIN:
		add_step(p, PLAN_RECORD, ID128_NIL, ID128_NIL, "node %s drains", node);
		break;
	case ASSIGN_UNDRAIN:
		add_step(p, PLAN_RECORD, ID128_NIL, ID128_NIL, "node %s drains no more", node);
		break;
	default:
		add_step(p, PLAN_RECORD, ID128_NIL, ID128_NIL, "another machine may use the identity %s", node);
		break;
	}
}

/* The wish and what follows from it at once may be two changes. */
static bool is_last(const struct assign_result *r, size_t i)
{
	for (size_t j = i + 1; j < r->n_changes; j++)
		if (r->changes[j].kind == CHANGE_DATASET &&
			id128_equal(r->changes[j].ds.dataset_id, r->changes[i].ds.dataset_id))
			return false;
	return true;
}

/* What the write itself changes. Nodes come first: what becomes of datasets follows from them. */
static void note_changes(struct plan *p, const struct assign *before, const struct assign_event *ev,
	const struct assign_result *r)
{
	bool said = ev->type == ASSIGN_FENCE || ev->type == ASSIGN_FORGET; /* it counts whenever it is said */

	for (size_t i = 0; i < r->n_changes && !said; i++)
		said = r->changes[i].kind == CHANGE_NODE && id128_equal(r->changes[i].node.uuid, ev->node);
	if (said)
		note_node(p, ev);
	for (size_t i = 0; i < r->n_changes; i++) {
		if (r->changes[i].kind == CHANGE_DATASET && !r->changes[i].drop && is_last(r, i))
			note_dataset(p, before, &r->changes[i].ds);
		else if (r->changes[i].kind == CHANGE_PIN)
			note_pin(p, &r->changes[i]);
	}
}

/* @before: NULL for what nodes say. */
static void decide(struct plan *p, const struct assign *before, struct assign_event *ev)
{
	struct assign_result r;

	ev->random[0] = ++p->random;
	assign_decide(p->assign, p->now_ms, ev, &r);
	if (before && r.status == 0)
		note_changes(p, before, ev, &r);
	if (r.n_changes > 0)
		assign_committed(p->assign, r.txn);
	take_orders(p, &r);
	assign_result_done(&r);
}

/* ---- what nodes do ---- */

static struct place *place_of(struct plan *p, const struct order *o)
{
	const struct wire_status *s;
	struct assign_view v;
	struct place *place;

	for (size_t i = 0; i < p->n_places; i++)
		if (id128_equal(p->places[i].node, o->node) && id128_equal(p->places[i].dataset, o->assign.dataset_id))
			return &p->places[i];
	p->places = grow_list(p->places, p->n_places, sizeof(*p->places));
	place = &p->places[p->n_places++];
	place->node = o->node;
	place->dataset = o->assign.dataset_id;
	if (assign_dataset(p->assign, p->now_ms, place->dataset, &v) < 0 || !v.status ||
		!id128_equal(v.status_node, o->node) || v.status->epoch != o->assign.epoch)
		return place; /* what it said of an earlier epoch is over */
	s = v.status;
	place->mounted = s->mounted;
	place->attached = s->mounted || s->state == DS_ATTACHED || s->state == DS_FORMATTING ||
			  s->state == DS_MOUNTING || s->state == DS_UNMOUNTING || s->state == DS_FAULTY;
	place->size_bytes = s->size_bytes;
	return place;
}

static void report(struct plan *p, const struct order *o, enum report_kind kind, enum ds_state state,
	const struct place *place)
{
	struct wire_report r = { .kind = kind,
		.status = {
			.dataset_id = o->assign.dataset_id,
			.volume_id = o->assign.volume_id,
			.epoch = o->assign.epoch,
			.state = state,
			.mounted = place->mounted,
			.failover_rev = o->assign.failover_rev,
			.size_bytes = place->size_bytes,
			.grown_bytes = kind == REPORT_EXPANDED ? o->assign.growing_bytes : o->assign.size_bytes,
			.fs_uuid = kind == REPORT_FORMATTED || place->mounted ? o->assign.fs_uuid : ID128_NIL,
		} };
	struct assign_event ev = { .type = ASSIGN_REPORT, .node = o->node, .session = o->session, .report = &r };

	snprintf(r.status.why, sizeof(r.status.why), "%s", ds_state_name(state));
	decide(p, NULL, &ev);
}

static void step(struct plan *p, const struct order *o, enum plan_word word, const char *what)
{
	add_step(p, word, o->assign.dataset_id, o->node, "%s", what);
}

static void attach(struct plan *p, const struct order *o, struct place *place)
{
	if (!place->attached)
		step(p, o, PLAN_ATTACH, "the volume is attached");
	place->attached = true;
}

/* What is mounted, in its two halves; each has an order of its own. */
static void grow(struct plan *p, const struct order *o, struct place *place)
{
	const struct wire_assign *a = &o->assign;

	if (a->fs_bytes < a->size_bytes) {
		add_step(p, PLAN_GROW, a->dataset_id, o->node, "its filesystem grows to %s", TEXT_BYTES(a->size_bytes));
		report(p, o, REPORT_GROWN, DS_MOUNTED, place);
	} else if (a->growing_bytes > a->size_bytes) {
		add_step(p, PLAN_EXPAND, a->dataset_id, o->node, "its volume grows to %s", TEXT_BYTES(a->growing_bytes));
		place->size_bytes = a->growing_bytes;
		report(p, o, REPORT_EXPANDED, DS_MOUNTED, place);
	} else {
		report(p, o, REPORT_STATUS, DS_MOUNTED, place);
	}
}

static void hold(struct plan *p, const struct order *o)
{
	struct place *place = place_of(p, o);

	if (o->assign.format_state == FORMAT_NEVER) {
		if (!place->attached)
			add_step(p, PLAN_CREATE, o->assign.dataset_id, o->node, "a volume of %s is made",
				TEXT_BYTES(o->assign.size_bytes));
		place->size_bytes = o->assign.size_bytes;
		attach(p, o, place);
		step(p, o, PLAN_PROBE, "the volume is proven to be empty");
		report(p, o, REPORT_READY, DS_ATTACHED, place);
		return;
	}
	attach(p, o, place);
	if (o->assign.format_state == FORMAT_STARTED) {
		add_step(p, PLAN_FORMAT, o->assign.dataset_id, o->node, "it is formatted, this once: %s",
			fs_kind_name(o->assign.filesystem));
		report(p, o, REPORT_FORMATTED, DS_ATTACHED, place);
		return;
	}
	if (!place->mounted)
		step(p, o, PLAN_MOUNT, "it is mounted");
	place->mounted = true;
	grow(p, o, place);
}

static void release(struct plan *p, const struct order *o)
{
	struct place *place = place_of(p, o);

	if (place->mounted)
		step(p, o, PLAN_UNMOUNT, "it is unmounted");
	if (place->attached)
		step(p, o, PLAN_DETACH, "the volume is detached, and its epoch given back");
	place->mounted = place->attached = false;
	report(p, o, REPORT_RELEASED, DS_RELEASED, place);
}

static void destroy(struct plan *p, const struct order *o)
{
	step(p, o, PLAN_DESTROY, "the volume is destroyed");
	report(p, o, REPORT_DESTROYED, DS_DESTROYED, place_of(p, o));
}

static void obey(struct plan *p, const struct order *o)
{
	switch (o->assign.wish) {
	case WISH_HOLD:
		hold(p, o);
		break;
	case WISH_RELEASE:
		release(p, o);
		break;
	case WISH_DESTROY:
		destroy(p, o);
		break;
	default:
		break; /* it is shown there, and nothing is done */
	}
}

/* ---- what is waited for ---- */

bool plan_is_settled(const struct assign_view *v)
{
	const struct ds_record *r = v->record;

	if (r->deleted && !r->undelete_until)
		return id128_is_nil(r->volume_id);
	if (r->deleted || id128_is_nil(r->primary))
		return id128_is_nil(r->owner);
	return id128_equal(r->owner, r->primary) && v->status && v->status->state == DS_MOUNTED &&
	       id128_equal(v->status_node, r->owner) && v->status->epoch == r->epoch && ds_record_is_grown(r);
}

static void add_wait(struct plan *p, struct id128 dataset)
{
	struct assign_view v;
	char why[PLAN_WHAT_MAX];

	if (assign_dataset(p->assign, p->now_ms, dataset, &v) < 0 || plan_is_settled(&v))
		return;
	(void)assign_why(p->assign, p->now_ms, dataset, why, sizeof(why));
	add_step(p, PLAN_WAIT, dataset, id128_is_nil(v.record->owner) ? v.record->primary : v.record->owner, "%s",
		*why ? why : "it is not yet as wished");
}

/* ---- all of it ---- */

static struct id128 dataset_of(const struct assign_event *ev)
{
	return ev->type == ASSIGN_CREATE ? ev->record->dataset_id :
	       ev->type == ASSIGN_PIN	 ? ev->pin->dataset_id :
					   ev->dataset_id;
}

struct plan *plan_new(const struct assign *a, uint64_t now_ms, const struct assign_event *ev)
{
	struct plan *p = calloc(1, sizeof(*p));
	struct assign_event copy = *ev;

	if (!p)
		abort();
	p->now_ms = now_ms;
	p->dataset = dataset_of(ev);
	p->assign = assign_fork(a, id128_is_nil(p->dataset) ? NULL : &p->dataset);
	decide(p, a, &copy);
	if (!id128_is_nil(p->dataset))
		touch(p, p->dataset);
	return p;
}

struct plan *plan_free(struct plan *p)
{
	if (!p)
		return NULL;
	assign_free(p->assign);
	free(p->touched);
	free(p->steps);
	free(p->orders);
	free(p->places);
	free(p);
	return NULL;
}

const struct assign *plan_assign(const struct plan *p)
{
	return p->assign;
}

size_t plan_run(struct plan *p, const struct plan_step **ret)
{
	while (p->n_obeyed < p->n_orders && p->n_obeyed < ORDERS_EACH_MAX * (p->n_touched + 1)) {
		struct order o = p->orders[p->n_obeyed++]; /* the list may move */

		obey(p, &o);
	}
	for (size_t i = 0, n = p->n_touched; i < n; i++)
		add_wait(p, p->touched[i]);
	*ret = p->steps;
	return p->n_steps;
}
