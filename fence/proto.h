/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto.h - what the node daemon and its fence helper say to each other.
 *
 * One SOCK_SEQPACKET connection on one machine, packets of fixed layout in the machine's byte
 * order. The daemon asks; the helper answers each question that carries a cookie, in order, and
 * tells of its own accord what happens to a dataset.
 *
 * The life of a dataset here:
 *
 *	ARM --> armed --(its deadline)--> fired --(nothing writes any more)--> fenced
 *	          |  ^ ARM                                                       |
 *	          `--'-------------------- DISARM -------------------------------'
 *
 * A deadline that is over is armed as well, and fires at once: so what a helper that was killed
 * guarded comes to its end in the same way, however late the next one is told.
 *
 * and the rules that make it a fence:
 *
 * - ARM is answered before the volume is attached, SET_DEVICE before anything is written to its
 *   device (mkfs, fsck, mount). A dataset whose device is not known is fenced by doing nothing.
 * - A step that may write to the volume, its claim included, runs only between STEP_BEGIN's
 *   answer 0 and STEP_END. When a dataset fires, a daemon with a step of it in flight has
 *   FENCE_GRACE_MS to end that, then its process group is killed; nobody is killed for a dataset
 *   without one, since no other step can begin.
 * - What has fired stays fired: ARM and STEP_BEGIN are refused. The daemon unmounts and detaches
 *   a dataset only once it is fenced, then disarms it.
 * - A connection that closes changes nothing: the helper guards on and fires in time. The next
 *   daemon connects to it, is told of every dataset, then READY, and goes on arming.
 *
 * Deadlines are on CLOCK_BOOTTIME, in nanoseconds: time spent in suspend counts.
 */
#pragma once

#include "id128.h"

#define FENCE_VERSION 2
#define FENCE_DATASETS_MAX 4096
#define FENCE_GRACE_MS 200

/* In the run directory. Who has the lock is the node's one helper. */
#define FENCE_SOCKET "fence.sock"
#define FENCE_LOCK "fence.lock"

enum fence_kind {
	/*
	 * Guard this dataset from now on: dataset_id, deadline_ns, fs, and what SET_DEVICE has, when
	 * there is a device; state: 1 when a step of it is in flight, which may have begun under
	 * another helper. For one that is armed already the deadline is the new one, also when
	 * that is earlier, and without a device it keeps the one it has.
	 * -ESTALE: has fired, or, by a helper that an upgrade left, the deadline is over;
	 * -ENOSPC: FENCE_DATASETS_MAX are armed
	 */
	FENCE_ARM = 1,
	/* Its device: dataset_id, dev_major, dev_minor, diskseq. -ENOENT: not armed; -ESTALE: fired */
	FENCE_SET_DEVICE,
	/* Guard it no more: it was released, or never attached. -EBUSY: a step is in flight, or it
	 * has fired and is not fenced yet. 0 also when it is not armed. */
	FENCE_DISARM,
	/* -ENOENT: not armed; -ESTALE: fired, or about to. Then the step must not be taken. */
	FENCE_STEP_BEGIN,
	FENCE_STEP_END,

	/* From the helper. */
	FENCE_ANSWER, /* cookie, result: 0 or negative errno; -EPROTO: no such question */
	FENCE_STATE,  /* all of one dataset: after a connect, when it fires, when it is fenced */
	FENCE_READY,  /* all that was armed before this connection has been told; pid */
	/* Of the machine's watchdog, before READY and when it changes: state (enum fence_watchdog),
	 * result, deadline_ns: LATE by that much. No other version, since who does not know it may
	 * leave it unread. */
	FENCE_WATCHDOG,
};

/* What becomes of the machine when nobody stops its datasets in time. */
enum fence_watchdog {
	FENCE_WATCHDOG_NONE,   /* nothing: there is none, or it is not wanted */
	FENCE_WATCHDOG_IDLE,   /* nothing is armed, so it is off */
	FENCE_WATCHDOG_ARMED,  /* it is reset before another node may have one of them */
	FENCE_WATCHDOG_LATE,   /* it is reset, but later than that */
	FENCE_WATCHDOG_FAILED, /* nothing: there is one, and result says why it cannot be had */
};

enum fence_state {
	FENCE_NONE,
	FENCE_ARMED,
	FENCE_FIRED,  /* its time is over; being stopped */
	FENCE_FENCED, /* nothing that is ours writes to it any more */
};

struct fence_packet {
	uint16_t version, kind;
	int32_t result; /* ANSWER; STATE of a fired one: of the last attempt to stop it */
	uint64_t cookie;
	struct id128 dataset_id;
	uint64_t deadline_ns;
	uint64_t diskseq; /* 0: not known */
	uint32_t dev_major, dev_minor;
	uint16_t fs, state; /* enum fs_kind, enum fence_state or fence_watchdog; see ARM */
	uint32_t pid;	    /* READY: the helper's */
};
static_assert(sizeof(struct fence_packet) == 64, "the same for every compiler");
