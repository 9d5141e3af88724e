/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - the node daemon's end of the fence. See proto.h for the rules that make it one.
 *
 * For an event loop: watch fence_client_fd() for reading, and then call fence_client_read() until
 * it returns 0. Only fence_client_new() waits, for as long as a process takes to start. One thread.
 *
 * A helper that dies is noticed at once: the descriptor becomes readable, and fence_client_read()
 * says -ECONNRESET. Nothing is guarded then. Free the client, make a new one, and arm anew whatever
 * it does not name before READY. One that lives and does not answer (stopped, starved) is noticed
 * by nobody but who waits for an answer: fence_client_kill() ends it.
 *
 * The daemon should lead a process group, since that is what is killed. Programs that it started in
 * groups of their own (mkfs, fsck) live on, and can write no more once the device is cut.
 */
#pragma once

#include <sys/types.h>

#include "proto.h"
#include "types.h"

struct fence_client;

struct fence_arm {
	struct id128 dataset_id;
	uint64_t deadline_ns;
	enum fs_kind fs;
	dev_t devno; /* 0: not known yet */
	uint64_t diskseq;
	bool step; /* one of it is in flight */
};

struct fence_client_options {
	const char *helper;	   /* path of flocker-fence */
	const char *run_directory; /* exists; one a node */
	const char *mount_root;	   /* exists */
	unsigned limit_ms;	   /* how long a fence may take; 0: the helper's own 1000 */
	bool reboot;		   /* when it takes longer, restart the machine */
	const char *watchdog;	   /* "auto" or a device; NULL: none */
};

/**
 * fence_client_new() - connect to this node's helper, or start one
 * @ret: set on success only; nothing may be armed before READY was read
 *
 * A helper that an earlier daemon left keeps the options it has.
 *
 * Returns: 0 or negative errno. A helper that cannot begin says so on standard error, and closes.
 */
int fence_client_new(const struct fence_client_options *o, struct fence_client **ret);

/* The helper guards on. NULL in, NULL out. */
struct fence_client *fence_client_free(struct fence_client *c);

int fence_client_fd(const struct fence_client *c);

/**
 * fence_client_read() - one answer, one dataset's state, the watchdog's, or READY
 *
 * Returns: 1 with @ret set, 0 when there is nothing now, -ECONNRESET when the helper is gone,
 * -EPROTO when it is of another version. No errno but by these.
 */
int fence_client_read(struct fence_client *c, struct fence_packet *ret);

/*
 * Requests of proto.h. Sent at once and answered by FENCE_ANSWER with @cookie, or by nothing when
 * it is 0. 0; -EAGAIN when the helper takes nothing any more, so hangs or is stopped; -ECONNRESET.
 */
int fence_client_arm(struct fence_client *c, const struct fence_arm *a, uint64_t cookie);
int fence_client_set_device(struct fence_client *c, struct id128 dataset_id, dev_t devno,
	uint64_t diskseq, uint64_t cookie);
int fence_client_disarm(struct fence_client *c, struct id128 dataset_id, uint64_t cookie);
int fence_client_step_begin(struct fence_client *c, struct id128 dataset_id, uint64_t cookie);
int fence_client_step_end(struct fence_client *c, struct id128 dataset_id, uint64_t cookie);

/* Ends a helper that does not answer (SIGKILL), once READY was read. 0; -ESRCH before. */
int fence_client_kill(struct fence_client *c);
