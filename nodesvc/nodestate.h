/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nodestate.h - the few facts a node keeps across restarts, in its state directory:
 *
 *   host	the nonce that tells this machine from another with the same certificate
 *   control	the highest incarnation and revision of control's state that was seen, and its line
 *   trims	when datasets were trimmed last, see trims.h; without it they are trimmed once too often
 *   lock	held as long as the daemon lives: one daemon a directory
 *
 * Nothing else about datasets: those are discovered.
 */
#pragma once

#include "types.h"

struct nodestate {
	char *directory;
	int lock_fd;
	struct id128 host, boot;
	struct control_mark seen; /* as on disk */
};

/**
 * nodestate_open() - make the directory when missing, lock it, read what is there. Blocks.
 * @why: on failure one line
 *
 * Returns: 0; -EBUSY when another daemon has it, and keeps it for 2 s; -EBADMSG when a file is damaged; or negative errno.
 */
int nodestate_open(const char *directory, struct nodestate *ret, char *why, size_t size);
void nodestate_done(struct nodestate *s);

/* A file of the state directory: whole and durable, or as before. For a worker. */
int nodestate_write(const char *directory, const char *name, const char *text);

/* Makes it durable. For a worker: it waits for the disk. @directory as opened. */
int nodestate_save(const char *directory, const struct control_mark *seen);
