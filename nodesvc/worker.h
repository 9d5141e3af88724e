/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.h - threads for what may block, so that the loop never does.
 *
 * A worker shares memory with the daemon and nothing else: it leaves the descriptor table first, so
 * that a thread which the kernel never lets go cannot keep the daemon's sockets and /dev/fuse open
 * after the daemon was killed. What runs on a worker must not log and must not use a descriptor that
 * it did not open itself.
 */
#pragma once

#include <event2/event.h>

#include "macro.h"

#define WORKER_BUSY_MAX 16  /* at work at once, beside those that are slow */
#define WORKER_SLOW_MS 2000 /* who works longer is written off: it holds nobody else up */
#define WORKER_MAX 512	    /* threads in all; what comes then waits for one to return */

struct worker_pool;

/**
 * worker_pool_new() - no thread is made before there is work
 * @priority: of the loop event that brings results back
 * Returns: 0 or negative errno.
 */
int worker_pool_new(struct event_base *base, int priority, struct worker_pool **ret);

/* Waits for nobody: jobs that run lose their pool, and their argument is leaked on purpose. */
struct worker_pool *worker_pool_free(struct worker_pool *p);

/**
 * worker_submit() - run a function on a worker, then another on the loop
 * @run: on the worker; may block as long as it likes
 * @done: on the loop, after @run returned; for a job that hangs that may be never
 * Returns: 0 or -ENOMEM.
 */
int worker_submit(struct worker_pool *p, void (*run)(void *arg), void (*done)(void *arg), void *arg);

/* Jobs waiting or running, those written off included. */
size_t worker_pending(const struct worker_pool *p);
