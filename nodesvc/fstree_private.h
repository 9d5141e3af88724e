/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fstree_private.h - what the files of the status tree share; for fstree*.c only.
 *
 *   fstree.c         what changes the objects
 *   fstree_table.c   finding objects, and the names of links
 *   fstree_view.c    copies of views
 *   fstree_ops.c     FUSE requests, answered from the objects
 *   fstree_render.c  the content of the files
 *   fstree_name.c    escaping
 *   fstree_mount.c   mounting, the remains of a killed daemon, the session on the loop
 *   fstree_notify.c  telling the kernel what it may not cache any longer
 *
 * Inode numbers. An object (a dataset, or the node in slot 0) sits in a slot. The number is made of
 * the slot, the generation of the slot's use, and an index within the object:
 *
 *	gen:24  slot:20  idx:20
 *
 * So a number is found without a table and is not used twice, and the kernel's FORGET needs no
 * books: nothing lives on because the kernel remembers it.
 */
#pragma once

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <sys/queue.h>

#include "fstree.h"

#define FSTREE_NAME_MAX 255
#define FSTREE_SOURCE "flocker:"	    /* and the node's uuid */
#define FSTREE_LINK_TARGET (3 + ID128_TEXT) /* "../<dataset_id>" */

/*
 * How long the kernel may believe what it was told, in seconds. Changes are pushed, so this only
 * bounds how long a lost push (a queue that was full) could show something old.
 */
#define FSTREE_CACHE_S 60.0

enum fs_idx {
	/* slot 0 */
	IDX_ROOT = FUSE_ROOT_ID,
	IDX_BY_NAME,
	IDX_NODE,
	/* a dataset */
	IDX_DIR = 1,
	IDX_METADATA,
	IDX_LINK,
	/* either: one for each row of its table of files */
	IDX_FILE,
	/* metadata files, numbered as the keys appear; what is below has a bit in masks */
	IDX_KEY = 32,
	IDX_BITS = 20,
	SLOT_BITS = 20,
	GEN_BITS = 24,
};

enum ds_file {
	FILE_STATE,
	FILE_WANTED,
	FILE_WHY,
	FILE_SINCE,
	FILE_OWNER,
	FILE_EPOCH,
	FILE_PRIMARY,
	FILE_SIZE,
	FILE_WANTED_SIZE,
	FILE_USED,
	FILE_AVAILABLE,
	FILE_TRIMMED,
	FILE_TRIMMED_BYTES,
	FILE_DEVICE,
	FILE_FILESYSTEM,
	FILE_FS_UUID,
	FILE_MOUNTPOINT,
	FILE_LEASE,
	FILE_HOLDERS,
	FILE_LAST_ERROR,
	FILE_STATUS,
	FILE_EVENTS,
	FILE_MAX,
};

enum node_file {
	NODE_UUID,
	NODE_ERA,
	NODE_CONTROL,
	NODE_CONNECTED,
	NODE_VERSION,
	NODE_CERTIFICATE_EXPIRES,
	NODE_AUTHORITY_EXPIRES,
	NODE_WATCHDOG,
	NODE_CAPACITY,
	NODE_FREE,
	NODE_PROMISED,
	NODE_WARNINGS,
	NODE_METRICS,
	NODE_STATUS,
	NODE_FILE_MAX,
};

extern const char *const fs_ds_files[FILE_MAX];
extern const char *const fs_node_files[NODE_FILE_MAX];

static_assert(IDX_FILE + FILE_MAX <= IDX_KEY, "a file has no bit");

/* One open file. */
struct fs_handle {
	LIST_ENTRY(fs_handle) list;
	struct fs_object *object; /* NULL: the dataset is gone, and the handle among the orphans */
	unsigned int idx;
	int64_t seen; /* change time of what was last read; 0: nothing was */
	char *text;   /* what was last read from the start, or NULL */
	size_t size;
	struct fuse_pollhandle *poll; /* to be told of the next change, or NULL */
};
LIST_HEAD(fs_handles, fs_handle);

struct fs_key {
	unsigned int idx;
	bool known, dirty;
	int64_t changed;
	const char *key, *value; /* the metadata object's */
};

struct fs_object {
	uint64_t base;	/* inode number of idx 0 */
	uint32_t known; /* a bit an idx: the kernel may cache the attributes */
	uint32_t dirty; /* and must be told to forget them */
	bool queued;	/* on the list of dirty objects */
	bool plain;	/* the oldest of its name: the link has no id */
	STAILQ_ENTRY(fs_object) dirty_list;
	struct fs_handles handles;
	int64_t changed[IDX_FILE + FILE_MAX]; /* by idx: nanoseconds since 1970, ever growing */
	/* of datasets only */
	struct ds_view *view; /* one block with its strings */
	char *link;	      /* escaped name, or NULL */
	char *events;	      /* lines */
	size_t events_size;
	struct fs_key *keys; /* by idx */
	size_t n_keys;
	unsigned int next_key;
	struct fs_object *next_id, *next_link; /* in their hash chains */
};

/* A name that the kernel must look up again. */
struct fs_gone {
	STAILQ_ENTRY(fs_gone) list;
	uint64_t parent;
	char name[];
};
STAILQ_HEAD(fs_gone_list, fs_gone);

struct fs_notifier;

struct fstree {
	struct event_base *base;
	char *mountpoint, *bind_target;
	char source[sizeof(FSTREE_SOURCE) + ID128_TEXT]; /* in the mount table */
	int priority;
	void (*on_gone)(void *userdata);
	void *userdata;

	struct fs_object node;	     /* slot 0: root, by-name and .node */
	struct node_view *node_view; /* one block with its strings */
	struct fs_object **slots;    /* [0] is &node; NULL: free */
	size_t n_slots, n_used, low_free;
	uint32_t generation;
	struct fs_object **ids, **links; /* chains; both have n_chains, a power of two */
	size_t n_chains;
	struct fs_handles orphans; /* of removed datasets */
	size_t n_open;

	STAILQ_HEAD(, fs_object) dirty;
	struct fs_gone_list gone;
	size_t n_gone;

	struct fuse_session *session; /* NULL: not mounted */
	struct fuse_buf buf;
	struct event *event;
	struct fs_notifier *notifier;
};

/* Text that is being put together. A failed allocation shows at the end, in @failed. */
struct fs_text {
	char *s; /* @len bytes, no NUL after them */
	size_t len, size;
	bool failed;
};

/* fstree.c */
void fs_touch(struct fstree *t, struct fs_object *o, unsigned int idx); /* it changed just now */
void fs_handle_free(struct fstree *t, struct fs_handle *h);
void fs_forget_kernel(struct fstree *t); /* the session is over: nothing is open or cached */

/* fstree_table.c */
struct fs_object *fs_find(struct fstree *t, struct id128 dataset_id);
struct fs_object *fs_find_link(struct fstree *t, const char *name);
struct fs_object *fs_object_of(struct fstree *t, uint64_t ino); /* NULL when it is no more */
struct fs_key *fs_key_of(struct fs_object *o, unsigned int idx);
int64_t fs_changed(struct fs_object *o, unsigned int idx); /* 0: there is no such file */
void fs_link_name(const struct fs_object *o, char ret[FSTREE_NAME_MAX + 1]);
void fs_name_settle(struct fstree *t, const char *link); /* makes the oldest of it plain */
void fs_name_add(struct fstree *t, struct fs_object *o, char *link); /* takes over @link, or NULL */
void fs_name_remove(struct fstree *t, struct fs_object *o);
int fs_table_add(struct fstree *t, struct fs_object *o); /* by its view's id; -ENOSPC */
void fs_table_remove(struct fstree *t, struct fs_object *o);
int fs_table_init(struct fstree *t);
void fs_table_done(struct fstree *t);

/* fstree_view.c */
struct ds_view *fs_ds_view_copy(const struct ds_view *v);
void fs_ds_view_free(struct ds_view *v);
DEFINE_CLEANUP(struct ds_view *, fs_ds_view_free);
struct node_view *fs_node_view_copy(const struct node_view *v); /* free() ends it */
/* The files that differ, a bit each by number; events aside. Out of memory counts as different. */
uint32_t fs_ds_differences(const struct ds_view *old, const struct ds_view *new);
uint32_t fs_node_differences(const struct node_view *old, const struct node_view *new);

static inline unsigned int fs_idx_of(uint64_t ino)
{
	return ino & ((1u << IDX_BITS) - 1);
}

static inline unsigned int fs_slot_of(uint64_t ino)
{
	return ino >> IDX_BITS & ((1u << SLOT_BITS) - 1);
}

/* fstree_ops.c */
extern const struct fuse_lowlevel_ops fs_ops;
void fs_wake(struct fs_handle *h); /* who polls it */

/* fstree_render.c */
void fs_text_put(struct fs_text *b, const char *s, size_t size);
void fs_text_time(struct fs_text *b, int64_t ms); /* 2026-01-31T23:59:59.999Z */
void fs_text_done(struct fs_text *b);
const char *fs_metadata_text(struct json_object *value); /* borrowed */
void fs_render_ds(const struct ds_view *v, enum ds_file file, struct fs_text *b);
void fs_render_node(const struct node_view *v, enum node_file file, struct fs_text *b);
/* The content of a file as it is now; 0 or -ENOMEM. */
int fs_render(const struct fstree *t, struct fs_object *o, unsigned int idx, struct fs_text *b);

/* fstree_name.c */
void fs_name_escape(const char *name, char ret[FSTREE_NAME_MAX + 1]);
void fs_name_add_id(const char *escaped, struct id128 id, char ret[FSTREE_NAME_MAX + 1]);

/* fstree_mount.c */
int fs_places_init(struct fstree *t, const struct fstree_config *c, char *why, size_t size);
void fs_places_done(struct fstree *t);
void fs_unmount(struct fstree *t); /* and ends the session */
int fs_serve(struct fstree *t);	   /* 1: answered one; -EAGAIN: nothing is asked; -ENODEV: over */

/*
 * fstree_notify.c: a thread, since the kernel may let an invalidation wait for a lock that a
 * process holds while it waits for our answer.
 */
int fs_notifier_new(struct fstree *t, struct fs_notifier **ret);
/* Serves the session until the thread left. false: it hangs in the kernel, with the session. */
bool fs_notifier_free(struct fstree *t, struct fs_notifier *n);
void fs_notify_attr(struct fstree *t, struct fs_object *o, unsigned int idx);
void fs_notify_entry(struct fstree *t, uint64_t parent, const char *name);
void fs_notify_pump(struct fstree *t);			      /* hands over what the thread takes */
void fs_notify_forget(struct fstree *t, struct fs_object *o); /* it is about to end */
