/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fstree.h - the read-only status tree, a FUSE filesystem on the daemon's loop (libfuse3).
 *
 * Everything it says is kept in memory, so no answer waits for the network, a disk or a lock. All
 * calls belong to the loop thread and none of them waits for a reader of the tree; only
 * fstree_new(), fstree_mount() and fstree_free() make system calls that look up the mountpoints.
 * The program must never open a path below its own tree: nobody would be there to answer.
 * What the files mean is told in flocker-datasets(5).
 */
#pragma once

#include <event2/event.h>

#include "dsview.h"

#define FSTREE_EVENTS_MAX 64	     /* lines kept of a dataset's events ... */
#define FSTREE_EVENTS_SIZE (4 * KIB) /* ... and bytes */
#define FSTREE_OPEN_MAX 16384	     /* files of the tree open at once; -ENFILE beyond */

struct fstree;

struct fstree_config {
	struct id128 node; /* in the mount table: tells our own remains from another node's tree */
	const char *mountpoint;	 /* absolute; made when missing, its parent (0700) as well */
	const char *bind_target; /* a second place for the same tree, or NULL */
	const char *group; /* may enter bind_target's parent, which becomes 0750 root:group, or
			    * 0700 where there is no such group; NULL: the parent is left alone */
	int priority;	   /* of its events in the loop */
	/*
	 * The tree was taken down from outside (umount, or the connection aborted). It is whole
	 * in memory: call fstree_mount(), at once or later, or fstree_free(); from here, too.
	 */
	void (*on_gone)(void *userdata);
	void *userdata;
};

/**
 * fstree_new() - make an empty tree; fstree_mount() shows it
 * @c: strings are copied
 * @why: on failure one line for people, cut to @size
 *
 * Returns: 0, -ENOMEM, or negative errno of mkdir(2) and chown(2) of the directories above.
 */
int fstree_new(struct event_base *base, const struct fstree_config *c, struct fstree **ret,
	char *why, size_t size);

/**
 * fstree_mount() - see that the tree is at both places
 * @why: as of fstree_new()
 *
 * Mounts it, with all it holds, unless it is served and stands at both. Also for on_gone(), and for
 * changes of the mount table.
 *
 * A tree of the same node that stands at either place is taken for the remains of a killed daemon:
 * its connection is aborted, and it is detached, without ever being looked into, since a killed
 * process with a thread in a hung disk keeps it unanswered for ever. So the caller must be the only
 * daemon of this node. The tree of another node (it comes through a shared mount root) is left
 * alone and covered; anything else that is mounted there is refused.
 *
 * Returns: 0, or, with the tree unmounted, so that it may be tried again, -EBUSY (something else is
 * mounted there), -ENOENT or -ENODEV (no /dev/fuse), -ENOTDIR, or negative errno of mkdir(2) and
 * mount(2).
 */
int fstree_mount(struct fstree *t, char *why, size_t size);

/* Unmounts, also under readers (they get ENOTCONN), and frees. NULL in, NULL out. */
struct fstree *fstree_free(struct fstree *t);
DEFINE_CLEANUP(struct fstree *, fstree_free);

/**
 * fstree_set() - show a dataset, new or changed
 *
 * Copies @v. Only files whose content differs get a new modification time, and only of those the
 * kernel's cached attributes are called back and polling readers woken.
 *
 * Returns: 0, -ENOSPC beyond a million datasets, or -ENOMEM (the tree still shows the former view).
 */
int fstree_set(struct fstree *t, const struct ds_view *v);

/* Adds one line, with the time before it, to the dataset's events. -ENOENT, -ENOMEM. */
int fstree_event(struct fstree *t, struct id128 dataset_id, const char *line);

/* Takes a dataset out; unknown ones are fine. Open files keep what they last read. */
void fstree_remove(struct fstree *t, struct id128 dataset_id);

/* As fstree_set(), for .node. 0 or -ENOMEM. */
int fstree_set_node(struct fstree *t, const struct node_view *v);
