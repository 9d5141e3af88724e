/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vnamespaces.h - the mounts of one device in every mount namespace. Private to mount/.
 *
 * Read once, from the mountinfo of one process for each namespace and root directory. Everything
 * is answered from that copy, by mount id and by path, so a hung filesystem is never touched.
 */
#pragma once

#include <sys/types.h>

#include "vmountinfo.h"

#define VNS_ID_SIZE 24

/* One view: a namespace as seen from one root directory. */
struct vns_view {
	char ns[VNS_ID_SIZE]; /* the namespace's inode, as text */
	char *root;	      /* the root directory of its processes, "/" for most */
	bool own;	      /* this process's namespace */
	bool remote; /* has network filesystems, whose cached inodes cannot be asked safely */
	pid_t pid;   /* one process in it, of */
	unsigned int n_tasks; /* this many processes and odd threads */
	struct libmnt_table *table;
};

struct vns {
	dev_t devno;
	struct vns_view *views;
	size_t n_views;
	int *ids; /* of the mounts of the device */
	size_t n_ids;
	uint8_t *known; /* one bit for each mount id in any view */
	int n_known;	/* bits */
	dev_t anon;	/* the number btrfs gave itself for this device; else devno */
};

/* 0 or negative errno; vns_done() also after failure. */
int vns_init(struct vns *v, dev_t devno);
void vns_done(struct vns *v);

/* The view of a task, given as "123" or "123/task/125"; NULL when it is gone. */
const struct vns_view *vns_view_of(const struct vns *v, const char *task);

/* Is @id a mount of the device? Is it a mount anybody can see? */
bool vns_id_on_device(const struct vns *v, int id);
bool vns_id_known(const struct vns *v, int id);
/* Is @dev, as stat(2) or a memory map tells it, the filesystem on the device? */
bool vns_dev_on_device(const struct vns *v, dev_t dev);
/* Does @path lead onto the device, as procfs writes paths of processes in @view? */
bool vns_path_on_device(const struct vns *v, const struct vns_view *view, const char *path);

/* There is a better view of its namespace: a process with another root sees fewer mounts. */
bool vns_is_partial(const struct vns *v, const struct vns_view *view);

/*
 * Fills @buf with the path of a mount in @view as the links of a process are written: from the root
 * of the namespace. mountinfo itself is written from the root directory of the process.
 */
const char *vns_mountpoint(
	const struct vns_view *view, struct libmnt_fs *fs, char *buf, size_t size);
