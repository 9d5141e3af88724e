/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much room the backend has: looked at with each step of a dataset, since that asks the backend anyway, and by
 * a clock of the node's own, which is also that of trims. One wake-up for all datasets.
 */
#include "node_private.h"

#define LOOK_S 30
#define LOOK_LOW_S 5 /* while there is a warning, its end, or what follows it, is seen sooner */
#define LOOK_SOON_S 2

struct look {
	struct node *node;
	int error; /* 0 or negative errno */
	struct driver_desc desc;
	uint64_t promised_bytes; /* when it cannot be asked, as before */
};

static void say_level(struct node *n)
{
	const struct space *s = &n->space;

	if (s->level == SPACE_FINE)
		log_notice("backend %s has room again", s->told.name);
	else
		log_node_message(n->uuid, s->level == SPACE_FULL ? MESSAGE_SPACE_FULL : MESSAGE_SPACE_LOW,
			s->level == SPACE_FULL ? LOG_ERR : LOG_WARNING, 0, "%s", s->told.warning);
}

void node_take_backend(struct node *n, const struct driver_desc *desc)
{
	enum space_level before = n->space.level;

	if (space_look(&n->space, desc)) {
		say_level(n);
		node_show(n);
		/* Who is mounted says so, or says so no more. */
		if (before == SPACE_FULL || n->space.level == SPACE_FULL)
			roster_touch_all(n->roster, node_now_ms());
		node_plan_soon(n);
	}
	uplink_tell_backends(n->uplink, &n->space.told, 1);
}

static void look_on_worker(void *arg)
{
	struct look *l = arg;
	const struct step_env *env = &l->node->env;

	l->error = env->ops->describe(env->driver, &l->desc);
	if (l->error == 0 && env->ops->promised)
		(void)env->ops->promised(env->driver, &l->promised_bytes);
}

static void look_after(struct node *n, int seconds)
{
	n->space_due_ms = node_now_ms() + (uint64_t)seconds * 1000;
	node_after_s(n->space_timer, seconds);
}

static void look_again(struct node *n)
{
	look_after(n, n->space.level == SPACE_FINE ? LOOK_S : LOOK_LOW_S);
}

static void look_done(void *arg)
{
	struct look *l = arg;
	struct node *n = l->node;

	if (l->error == 0) {
		space_promised(&n->space, l->promised_bytes);
		node_take_backend(n, &l->desc);
	}
	node_show(n);
	look_again(n);
	free(l);
}

/* The next look comes when this one has returned: storage that hangs is asked once. */
static void on_space_timer(evutil_socket_t fd, short what, void *userdata)
{
	struct node *n = userdata;
	struct look *l = n->env.driver ? calloc(1, sizeof(*l)) : NULL;

	node_trim_tick(n);
	if (l)
		*l = (struct look){ .node = n, .promised_bytes = n->space.told.promised_bytes };
	if (l && worker_submit(n->pool, look_on_worker, look_done, l) == 0)
		return;
	free(l);
	look_again(n);
}

void node_space_open(struct node *n, const struct driver_desc *desc)
{
	space_init(&n->space, n->c->space_percent, n->env.ops, desc);
	node_take_backend(n, desc);
	look_after(n, 0);
}

void node_space_soon(struct node *n)
{
	/* Without a timer it is not open, or being looked at. */
	if (event_pending(n->space_timer, EV_TIMEOUT, NULL) && n->space_due_ms > node_now_ms() + LOOK_SOON_S * 1000)
		look_after(n, LOOK_SOON_S);
}

int node_space_new(struct node *n)
{
	n->space_timer = evtimer_new(n->base, on_space_timer, n);
	if (!n->space_timer || event_priority_set(n->space_timer, PRIO_PLAN) < 0)
		return -ENOMEM;
	return 0;
}
