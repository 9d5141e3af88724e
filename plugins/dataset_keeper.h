/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dataset_keeper.h - does the work in a child, and does it again when that is killed. systemd stops
 * what is bound to a unit when the unit's main process dies; so that is a process that does next to
 * nothing, and what may crash, or run out of memory, is its child.
 */
#pragma once

/**
 * keeper_run() - run @work until it ends by itself
 *
 * Passes SIGTERM, SIGINT and SIGHUP on. The child is killed when this process is, and does not
 * return from @work, whose result is its exit status. To be called before anything is open.
 *
 * Returns: that exit status.
 */
int keeper_run(int (*work)(void *userdata), void *userdata);

/* By the child, when it handles these signals: none is lost before. */
void keeper_listen(void);

/* By the child, when all is done: a signal that comes twice, as from a terminal, kills it no more. */
void keeper_be_deaf(void);
