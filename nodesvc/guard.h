/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard.h - the daemon's side of its fence helper: what is leased is armed, steps are announced, and a
 * helper that dies or hangs is replaced.
 *
 * Per dataset it brings what the helper has to what was last asked for, one question at a time. Starting
 * a helper takes as long as a process takes to start; nothing else blocks. On the loop's thread.
 */
#pragma once

#include <event2/event.h>

#include "client.h"

struct guard;

struct guard_callbacks {
	/* From a helper that an earlier daemon left; before on_ready. */
	void (*on_inherited)(struct id128 dataset_id, uint64_t until_ms, void *userdata);
	/* Connected, and all that was inherited has been told. After on_lost once more. */
	void (*on_ready)(void *userdata);
	void (*on_armed)(struct id128 dataset_id, uint64_t until_ms, uint64_t rev, void *userdata);
	/* Its time is over: no step of it begins any more. Once more when a helper that was stopping it died. */
	void (*on_fired)(struct id128 dataset_id, void *userdata);
	/* Nothing of this node writes to it any more: it may be unmounted. */
	void (*on_fenced)(struct id128 dataset_id, void *userdata);
	/* The answer to guard_step_begin(): 0, or negative errno and the step must not be taken. @step NULL:
	 * one is under way that a new helper does not guard, so nobody would end it in time. */
	void (*on_step)(int result, void *step, void *userdata);
	/* Of the machine, see proto.h: ARMED, LATE by @late_ms, FAILED by @error, ... */
	void (*on_watchdog)(enum fence_watchdog state, uint64_t late_ms, int error, void *userdata);
	/* The helper is gone and nothing is armed; a new one is being started. */
	void (*on_lost)(const char *why, void *userdata);
};

/* Starts nothing. @o: borrowed, with its texts, until guard_free(). 0 or -ENOMEM. */
int guard_new(struct event_base *base, int priority, const struct fence_client_options *o,
	const struct guard_callbacks *cbs, void *userdata, struct guard **ret);

/* The helper guards on. NULL in, NULL out. */
struct guard *guard_free(struct guard *g);

/* Did an earlier daemon leave a helper? Then connect to it before control is told anything. */
bool guard_is_left(const struct guard *g);
int guard_start(struct guard *g); /* negative errno: it is tried again later */

/* @until_ms: CLOCK_BOOTTIME; 0: guard it no more. Starts a helper when there is none. */
void guard_arm(struct guard *g, struct id128 dataset_id, uint64_t until_ms, uint64_t rev, enum fs_kind fs);

/* Its device, before anything is written to it, and whether it is leased or not; 0: it has none. */
void guard_device(struct guard *g, struct id128 dataset_id, dev_t devno, uint64_t diskseq);

/*
 * Around each step that may write to a leased dataset; one at a time. @step: handed to on_step(). A step that
 * is under way when the helper dies is told to the next one, which ends it in time, or at once when it is late.
 */
void guard_step_begin(struct guard *g, struct id128 dataset_id, void *step);
void guard_step_end(struct guard *g, struct id128 dataset_id);
