/* SPDX-License-Identifier: Apache-2.0 */
/* node_private.h - what the files of the node daemon's heart share. */
#pragma once

#include <inttypes.h>
#include <sys/stat.h>
#include <time.h>

#include "adopt.h"
#include "certs.h"
#include "clock.h"
#include "devmon.h"
#include "fstree.h"
#include "guard.h"
#include "log.h"
#include "metrics.h"
#include "mountwatch.h"
#include "node.h"
#include "nodestate.h"
#include "nodeview.h"
#include "remember.h"
#include "space.h"
#include "steps.h"
#include "terms.h"
#include "trims.h"
#include "uplink.h"
#include "vmount.h"
#include "worker.h"

struct running;	 /* a job and its place in the list */
struct trimming; /* of node_trim.c */

/* What the fence helper is asked about is one of these, of which it is the first member. */
struct asked {
	bool slice; /* of node_trim.c; else a struct running */
};

struct node {
	const struct node_config *c;
	struct event_base *base;
	struct id128 uuid;
	struct nodestate state;
	struct step_env env;
	struct roster *roster;
	struct worker_pool *pool;
	struct fstree *tree;
	struct devmon *devmon;
	struct uplink *uplink;
	SSL_CTX *tls; /* borrowed */
	struct certs *certs;
	struct tls_dates dates;
	struct guard *guard;
	struct fence_client_options fence;
	struct event *plan, *timer, *tree_timer, *space_timer;
	struct space space; /* of the one backend */
	uint64_t space_due_ms; /* of the timer */
	struct trimming *trimming;
	struct metrics metrics;
	char *mount_options;
	int64_t renewed_ms; /* of the wall clock: when terms were renewed last; 0: not yet */
	struct terms terms; /* as they were told last */
	int terms_error;
	struct remember *remember;
	struct driver_option *options;
	struct adopt *adopt;
	size_t n_found; /* claimed here */
	size_t unanswered; /* volumes of which it is not known whether they are claimed here */
	struct mountwatch *mountwatch, *runwatch; /* below the mount root; below the run directory */
	struct running *running;
	bool connected, adopted, settled;
	bool counted; /* something that metrics tell has changed */
	struct timespec connected_at;
	char last_error[WIRE_WHY_MAX], tree_error[512], watchdog[96];
	const struct node_callbacks *cbs;
	void *userdata;
};

struct running {
	struct asked asked;
	struct running *next, **prev;
	struct node *node;
	struct step_job step;
};

uint64_t node_now_ms(void); /* the roster's clock */
void node_plan_soon(struct node *n); /* one plan follows, however many things happened */
void node_after_s(struct event *ev, int seconds);
void node_start_step(struct node *n, const struct roster_start *start);

/* ---- node_space.c ---- */

int node_space_new(struct node *n);
void node_space_open(struct node *n, const struct driver_desc *desc); /* looked at from now on */
void node_take_backend(struct node *n, const struct driver_desc *desc); /* somebody looked */
void node_space_soon(struct node *n); /* what waits for that clock waits no longer than some seconds */

/* ---- node_trim.c; what is asked and answered there, see above ---- */

int node_trim_new(struct node *n); /* reads what was remembered: blocks on the state directory */
void node_trim_free(struct node *n);
void node_trim_tick(struct node *n); /* begins the next one that is due */

/* A trim is in the way of this step: it is started, by node_start_step(), as soon as that is over. */
bool node_trim_yields(struct node *n, const struct roster_start *start);
void node_trim_agreed(struct node *n, int result, void *slice);

/* NULL: it was never trimmed here, nor will it be. Good until the loop's next turn. */
const struct trim *node_trim_of(const struct node *n, struct id128 dataset_id);
void node_trim_totals(const struct node *n, uint64_t *ret_trims, uint64_t *ret_bytes);

/* ---- node_watch.c; @userdata: the node ---- */

void node_on_mounts(int error, const struct vmount_entry *list, size_t count, void *userdata);
void node_on_run_mounts(int error, const struct vmount_entry *list, size_t count, void *userdata);
void node_on_device(const struct devmon_event *ev, void *userdata);
void node_on_overrun(void *userdata);
void node_on_certificates(void *userdata);

/* ---- node_terms.c ---- */

void node_terms_tell(struct node *n);

/* ---- node_tree.c ---- */

int node_tree_new(struct node *n, char *why, size_t size); /* as fstree_new() */
void node_tree_mount(struct node *n); /* shows it, now or as soon as it can be */
void node_show(struct node *n); /* the tree's .node as it is now */
void node_show_change(struct node *n, const struct roster_change *c);
void node_show_dataset(struct node *n, struct id128 dataset_id); /* something beside its state changed */
