/* SPDX-License-Identifier: Apache-2.0 */
/* node_private.h - what the files of the node daemon's heart share. */
#pragma once

#include <inttypes.h>
#include <sys/stat.h>
#include <time.h>

#include "adopt.h"
#include "certs.h"
#include "devmon.h"
#include "fstree.h"
#include "guard.h"
#include "log.h"
#include "mountwatch.h"
#include "node.h"
#include "nodestate.h"
#include "nodeview.h"
#include "remember.h"
#include "steps.h"
#include "uplink.h"
#include "vmount.h"
#include "worker.h"

struct running; /* a job and its place in the list */

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
	struct event *plan, *timer, *tree_timer;
	struct remember *remember;
	struct driver_option *options;
	struct adopt *adopt;
	size_t n_found; /* claimed here */
	size_t unanswered; /* volumes of which it is not known whether they are claimed here */
	struct mountwatch *mountwatch, *runwatch; /* below the mount root; below the run directory */
	struct running *running;
	bool connected, adopted, settled;
	bool shared; /* other nodes can attach the volumes of the backend */
	struct timespec connected_at;
	char last_error[WIRE_WHY_MAX], tree_error[512], watchdog[96];
	const struct node_callbacks *cbs;
	void *userdata;
};

struct running {
	struct running *next, **prev;
	struct node *node;
	struct step_job step;
};

uint64_t node_now_ms(void); /* the roster's clock */
void node_plan_soon(struct node *n); /* one plan follows, however many things happened */
void node_after_s(struct event *ev, int seconds);

/* ---- node_watch.c; @userdata: the node ---- */

void node_on_mounts(int error, const struct vmount_entry *list, size_t count, void *userdata);
void node_on_run_mounts(int error, const struct vmount_entry *list, size_t count, void *userdata);
void node_on_device(const struct devmon_event *ev, void *userdata);
void node_on_overrun(void *userdata);
void node_on_certificates(void *userdata);

void node_show(struct node *n); /* the tree's .node as it is now */
