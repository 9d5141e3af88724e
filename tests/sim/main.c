/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flocker-sim - histories of a cluster under seeds, each checked after every event.
 *
 * A history is some thousand events under faults, then calm, in which everything has to converge
 * within BOUND_MS of virtual time. A failing seed is run again with its story printed.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <time.h>

#include "sim.h"

#define BOUND_MS 200000 /* two rounds of the 60 s back-off for what needs a person, and then some */

/* ---- randomness: xoroshiro-like, the same everywhere ---- */

uint64_t sim_random(struct sim *s)
{
	uint64_t a = s->rng.s[0], b = s->rng.s[1], sum = a + b;

	b ^= a;
	s->rng.s[0] = (a << 24 | a >> 40) ^ b ^ b << 16;
	s->rng.s[1] = b << 37 | b >> 27;
	return sum;
}

uint64_t sim_below(struct sim *s, uint64_t n)
{
	return n ? (sim_random(s) >> 11) % n : 0;
}

bool sim_chance(struct sim *s, unsigned int per_mille)
{
	return sim_below(s, 1000) < per_mille;
}

/* ---- the heap of events ---- */

static bool earlier(const struct event *a, const struct event *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

/* The returned event may be filled in until the next call; at and order must stay. */
struct event *sim_after(struct sim *s, uint64_t delay, enum event_type type)
{
	struct event ev = { .at = s->now + delay, .order = s->order++, .type = type };
	size_t i = s->n_heap++;

	if (s->n_heap > s->heap_size) {
		s->heap_size = s->heap_size ? s->heap_size * 2 : 256;
		s->heap = realloc(s->heap, s->heap_size * sizeof(*s->heap));
		if (!s->heap)
			abort();
	}
	for (; i && earlier(&ev, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
		s->heap[i] = s->heap[(i - 1) / 2];
	s->heap[i] = ev;
	return &s->heap[i];
}

uint64_t sim_wire_delay(struct sim *s, uint64_t *last_at)
{
	uint64_t delay = 1 + sim_below(s, 5);

	if (!s->calm && sim_chance(s, s->faults.reorder))
		return delay + sim_below(s, 3000);
	if (!s->calm && sim_chance(s, s->faults.slow))
		delay += sim_below(s, 4000);
	*last_at = MAX(*last_at, s->now + delay);
	return *last_at - s->now;
}

static struct event pop(struct sim *s)
{
	struct event top = s->heap[0], last = s->heap[--s->n_heap];
	size_t i = 0;

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= s->n_heap)
			break;
		if (child + 1 < s->n_heap && earlier(&s->heap[child + 1], &s->heap[child]))
			child++;
		if (!earlier(&s->heap[child], &last))
			break;
		s->heap[i] = s->heap[child];
		i = child;
	}
	s->heap[i] = last;
	return top;
}

/* ---- telling ---- */

void sim_log(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (!s->verbose)
		return;
	printf("%8" PRIu64 ".%03" PRIu64 " ", s->now / 1000, s->now % 1000);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (*s->failure)
		return;
	va_start(ap, fmt);
	vsnprintf(s->failure, sizeof(s->failure), fmt, ap);
	va_end(ap);
	sim_log(s, "BROKEN: %s", s->failure);
}

int sim_dataset_index(const struct sim *s, struct id128 id)
{
	for (int i = 0; i < s->n_datasets; i++)
		if (id128_equal(s->dataset_ids[i], id))
			return i;
	return -1;
}

int sim_node_index(const struct sim *s, struct id128 id)
{
	for (int i = 0; i < s->n_nodes; i++)
		if (id128_equal(s->nodes[i].uuid, id))
			return i;
	return -1;
}

/* ---- trouble ---- */

static void make_history_repeat(struct sim *s, uint64_t dice)
{
	if (dice < 840) {
		control_backup(s);
	} else if (dice < 845) {
		control_restore(s);
		sim_after(s, sim_below(s, 10000), EV_CONTROL_START);
	}
}

/* Somebody has to be left: node 0 never is, and is not the one that dies. */
static bool may_forget(const struct sim *s, int node)
{
	return node > 0 && s->control.disk.have_node[node];
}

static void make_trouble(struct sim *s)
{
	int node = (int)sim_below(s, (uint64_t)s->n_nodes);
	uint64_t dice = sim_below(s, 1000);
	struct event *ev;

	if (dice < 470 || (dice < 500 && !s->wide)) {
		client_wish(s);
	} else if (dice < 490) {
		client_undelete(s);
	} else if (dice < 500) {
		control_drain(s, node);
	} else if (dice < 560) {
		if (!s->nodes[node].suspended)
			node_kill(s, node, false);
		sim_after(s, sim_below(s, 8000), EV_NODE_START)->node = node;
	} else if (dice < 580) {
		node_kill(s, node, true);
		sim_after(s, 1000 + sim_below(s, 20000), EV_NODE_START)->node = node;
	} else if (dice < 610) {
		control_kill(s);
		sim_after(s, sim_below(s, 10000), EV_CONTROL_START);
	} else if (dice < 620) {
		control_stop(s);
	} else if (dice < 660) {
		uint64_t which = sim_below(s, 3);

		s->nodes[node].cut_in = which != 0;
		s->nodes[node].cut_out = which != 1;
		sim_log(s, "network: node %d is cut off (%s%s)", node, which ? "in" : "",
			which != 1 ? " out" : "");
		ev = sim_after(s, sim_below(s, 60000), EV_HEAL_LINK);
		ev->node = node;
	} else if (dice < 760) {
		node_touch(s, node);
	} else if (dice < 780) {
		control_impostor(s, node);
	} else if (dice < 800) {
		world_vanish(s);
	} else if (dice >= 900 && dice < 930) {
		node_stop(s, node, dice < 905);
	} else if (dice >= 930 && dice < 945) {
		node_kill(s, node, true);
		(void)control_fence(s, node, dice == 944 && may_forget(s, node));
		sim_after(s, sim_below(s, 20000), EV_NODE_START)->node = node;
	} else if (dice >= 945 && dice < 960) {
		node_lose_helper(s, node);
	} else if (dice >= 960 && dice < 995) {
		client_pin(s);
	} else if (dice >= 995) {
		client_expire(s);
	} else if (s->restores) {
		make_history_repeat(s, dice);
	}
	sim_after(s, 1 + sim_below(s, 1500), EV_CLIENT);
}

static void begin(struct sim *s)
{
	s->rng.s[0] = s->seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	s->rng.s[1] = ~s->seed * UINT64_C(0xd6e8feb86659fd93) + 7;
	for (int i = 0; i < 16; i++)
		sim_random(s);
	s->n_nodes = 2 + (int)sim_below(s, SIM_NODES - 1);
	s->n_datasets = 1 + (int)sim_below(s, SIM_DATASETS);
	for (int i = 0; i < s->n_datasets; i++)
		s->dataset_ids[i] = id128_make_v4(sim_random(s), sim_random(s));
	for (int i = 0; i < s->n_nodes; i++) {
		s->nodes[i].uuid = id128_make_v4(sim_random(s), sim_random(s));
		s->nodes[i].host = id128_make_v4(sim_random(s), sim_random(s));
		s->nodes[i].boot = id128_make_v4(sim_random(s), sim_random(s));
		s->nodes[i].clock_rate = 960 + (unsigned int)sim_below(s, 80);
		s->nodes[i].old = i > 0 && sim_chance(s, 100);
	}
	/* Each history has its own temper, from quiet to wild. */
	s->faults = (struct faults){
		.lose = (unsigned int)sim_below(s, 30),
		.repeat = (unsigned int)sim_below(s, 50),
		.reorder = (unsigned int)sim_below(s, 40),
		.slow = (unsigned int)sim_below(s, 40),
		.step_fails = (unsigned int)sim_below(s, 120),
		.step_acts_then_fails = (unsigned int)sim_below(s, 80),
		.list_lags = (unsigned int)sim_below(s, 800),
		.busy = (unsigned int)sim_below(s, 500),
		.commit_fails = (unsigned int)sim_below(s, 40),
		.commit_slow = (unsigned int)sim_below(s, 60),
	};
	s->restores = sim_chance(s, 250);
	s->leases = sim_chance(s, 500);
	s->wide = sim_chance(s, 500);
	s->control.clock_rate = 960 + (unsigned int)sim_below(s, 80);
	s->control.last_commit = &s->control.commits;
	s->control.incarnation = 1;
	s->dead = -1;
	control_start(s);
	for (int i = 0; i < s->n_nodes; i++)
		node_start(s, i);
	sim_after(s, 100, EV_CLIENT);
}

static void dispatch(struct sim *s, struct event *ev)
{
	switch (ev->type) {
	case EV_CLIENT:
		if (!s->calm)
			make_trouble(s);
		else if (!client_unpin_all(s))
			sim_after(s, 1000, EV_CLIENT);
		break;
	case EV_HEAL_LINK:
		s->nodes[ev->node].cut_in = s->nodes[ev->node].cut_out = false;
		break;
	case EV_RESUME:
		if (s->nodes[ev->node].generation == ev->generation)
			node_resume(s, ev->node);
		break;
	case EV_FENCE:
		node_fence(s, ev);
		break;
	case EV_OPERATOR:
		if (!control_give_up(s, ev->node))
			sim_after(s, 1000, EV_OPERATOR)->node = ev->node;
		break;
	case EV_MKFS_ORPHAN:
		world_mkfs_orphan(s, ev->volume);
		break;
	case EV_CONTROL_START:
	case EV_CONTROL_KILL:
	case EV_CONTROL_WAKE:
	case EV_COMMIT:
	case EV_TO_CONTROL:
	case EV_CLOSED_AT_CONTROL:
		control_event(s, ev);
		break;
	default:
		if (ev->type != EV_NODE_START || ev->node != s->dead)
			node_event(s, ev);
		break;
	}
}

static void step(struct sim *s)
{
	struct event ev = pop(s);

	s->now = ev.at;
	/* Renewals would fill the history. */
	s->steps += ev.type != EV_FENCE && !(ev.type == EV_TO_CONTROL && ev.msg.type == WIRE_PING) &&
		!(ev.type == EV_TO_NODE && ev.msg.type == WIRE_PONG);
	dispatch(s, &ev);
	if (ev.type == EV_TO_CONTROL || ev.type == EV_TO_NODE)
		wire_msg_done(&ev.msg);
	world_check(s);
	client_check_acked(s);
}

static void calm_down(struct sim *s)
{
	char why[256] = "";
	uint64_t end;

	s->calm = true;
	sim_log(s, "the faults end");
	if (sim_chance(s, 300)) {
		s->dead = 1 + (int)sim_below(s, (uint64_t)s->n_nodes - 1);
		node_kill(s, s->dead, true);
		sim_after(s, 1000, EV_OPERATOR)->node = s->dead;
	}
	for (int i = 0; i < s->n_nodes; i++) {
		s->nodes[i].cut_in = s->nodes[i].cut_out = false;
		node_resume(s, i);
		if (i != s->dead)
			node_start(s, i);
		if (s->control.disk.nodes[i].forgotten && i != s->dead)
			sim_after(s, 1000, EV_OPERATOR)->node = i;
	}
	world_find_again(s);
	control_start(s);
	end = s->now + BOUND_MS;
	while (s->n_heap && s->now < end && !*s->failure) {
		step(s);
		if (world_converged(s, why, sizeof(why)))
			return;
	}
	if (!*s->failure)
		sim_fail(s, "no convergence within %d s: %s", BOUND_MS / 1000, why);
}

static void end(struct sim *s)
{
	while (s->n_heap) {
		struct event ev = pop(s);

		if (ev.type == EV_TO_CONTROL || ev.type == EV_TO_NODE)
			wire_msg_done(&ev.msg);
	}
	free(s->heap);
	for (int i = 0; i < s->n_nodes; i++)
		s->nodes[i].roster = roster_free(s->nodes[i].roster);
	control_done(s);
	for (int i = 0; i < SIM_DATASETS; i++) {
		if (s->control.disk.have[i])
			ds_record_done(&s->control.disk.records[i]);
		if (s->control.backup.have[i])
			ds_record_done(&s->control.backup.records[i]);
	}
	free(s);
}

static bool history(uint64_t seed, uint64_t n_steps, bool verbose, uint64_t *ret_steps)
{
	struct sim *s = calloc(1, sizeof(*s));
	bool good;

	if (!s)
		abort();
	s->seed = seed;
	s->verbose = verbose;
	begin(s);
	while (s->n_heap && s->steps < n_steps && !*s->failure)
		step(s);
	if (!*s->failure)
		calm_down(s);
	good = !*s->failure;
	if (!good)
		printf("seed %" PRIu64 ": %s (event %" PRIu64 ", %" PRIu64 " ms)\n", seed, s->failure,
			s->steps, s->now);
	*ret_steps += s->steps;
	end(s);
	return good;
}

/* ---- the program ---- */

struct plan {
	uint64_t first, count, steps, seconds;
	int jobs;
};

static int run_share(const struct plan *p, int share, int out)
{
	struct timespec t0, t;
	uint64_t totals[2] = { 0, 0 };
	int failed = 0;

	clock_gettime(CLOCK_MONOTONIC, &t0);
	for (uint64_t i = (uint64_t)share; i < p->count; i += (uint64_t)p->jobs) {
		if (!history(p->first + i, p->steps, false, &totals[1])) {
			failed = 1;
			break;
		}
		totals[0]++;
		clock_gettime(CLOCK_MONOTONIC, &t);
		if (p->seconds && (uint64_t)(t.tv_sec - t0.tv_sec) >= p->seconds)
			break;
	}
	fflush(stdout);
	if (write(out, totals, sizeof(totals)) != sizeof(totals))
		failed = 1;
	return failed;
}

static int run_all(const struct plan *p)
{
	uint64_t totals[2], sum[2] = { 0, 0 };
	int fds[2], failed = 0;

	if (pipe(fds) < 0)
		return 1;
	for (int i = 0; i < p->jobs; i++)
		if (fork() == 0)
			_exit(run_share(p, i, fds[1]));
	close(fds[1]);
	while (read(fds[0], totals, sizeof(totals)) == sizeof(totals)) {
		sum[0] += totals[0];
		sum[1] += totals[1];
	}
	for (int i = 0, status; i < p->jobs; i++)
		failed |= wait(&status) < 0 || status != 0;
	printf("%" PRIu64 " histories from seed %" PRIu64 ", %" PRIu64 " events: %s\n", sum[0], p->first,
		sum[1], failed ? "BROKEN; replay it with --replay SEED" : "all invariants held");
	return failed;
}

static const char usage[] =
	"flocker-sim - a whole cluster under seeds, checked after every event\n\n"
	"  --first SEED    first seed (default: $FLOCKER_SEED, else 1)\n"
	"  --seeds N       how many histories (default 10000)\n"
	"  --steps N       events of a history before the faults end (default 1000)\n"
	"  --seconds S     stop after so long, whatever is left (default: no limit)\n"
	"  --jobs N        processes (default 2)\n"
	"  --replay SEED   one history, with its story\n";

int main(int argc, char **argv)
{
	static const struct option options[] = { { "first", required_argument, NULL, 'f' },
		{ "seeds", required_argument, NULL, 'n' }, { "steps", required_argument, NULL, 's' },
		{ "seconds", required_argument, NULL, 't' }, { "jobs", required_argument, NULL, 'j' },
		{ "replay", required_argument, NULL, 'r' }, { "help", no_argument, NULL, 'h' }, { 0 } };
	struct plan p = { .first = 1, .count = 10000, .steps = 1000, .jobs = 2 };
	const char *seed = getenv("FLOCKER_SEED");
	uint64_t ignored = 0;
	int c;

	if (seed)
		p.first = strtoull(seed, NULL, 0);
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		uint64_t v = optarg ? strtoull(optarg, NULL, 0) : 0;

		if (c == 'f')
			p.first = v;
		else if (c == 'n')
			p.count = v;
		else if (c == 's')
			p.steps = v;
		else if (c == 't')
			p.seconds = v;
		else if (c == 'j')
			p.jobs = (int)MAX(v, UINT64_C(1));
		else if (c == 'r')
			return history(v, p.steps, true, &ignored) ? 0 : 1;
		else
			return fputs(usage, c == 'h' ? stdout : stderr), c != 'h';
	}
	return run_all(&p);
}
