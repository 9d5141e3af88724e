/* SPDX-License-Identifier: Apache-2.0 */
/*
 * types.h - the words that control, node, REST API, status tree and log share, as enums with one
 * name each. Plain data: no I/O, no allocation.
 */
#pragma once

#include "id128.h"

/* The original's default (80530636800 bytes) and limits: 64 MiB, multiples of 1024. */
#define DATASET_DEFAULT_SIZE (UINT64_C(75) * GIB)
#define DATASET_MINIMUM_SIZE (UINT64_C(64) * MIB)
#define DATASET_SIZE_UNIT UINT64_C(1024)

enum fs_kind {
	FS_EXT4,
	FS_XFS,
	FS_BTRFS,
	FS_KIND_MAX,
};

/* The smallest device that mkfs of this kind takes, in bytes. */
uint64_t fs_minimum_size(enum fs_kind kind);

/* The smallest size that the kernel grows a mounted one of this kind to, in bytes. */
uint64_t fs_minimum_grown(enum fs_kind kind);

/* What is known of the filesystem on a volume; each step is durable at control before the next. */
enum format_state {
	FORMAT_NEVER,	/* nothing was ever written */
	FORMAT_STARTED, /* mkfs may have run; the volume was never published */
	FORMAT_DONE,	/* holds the filesystem named by fs_uuid: never mkfs again */
	FORMAT_STATE_MAX,
};

/* What a grant lets its owner do. */
enum grant_kind {
	GRANT_HOLD,    /* attach, format once, mount */
	GRANT_DESTROY, /* destroy the volume */
	GRANT_KIND_MAX,
};

/* How a dataset may leave a node that is lost. */
enum failover_kind {
	FAILOVER_MANUAL, /* that node comes back, or an operator says that it is fenced */
	FAILOVER_LEASE,	 /* the owner writes only within a term, which it renews */
	FAILOVER_KIND_MAX,
};

struct failover {
	enum failover_kind kind;
	uint32_t term_ms; /* of FAILOVER_LEASE; else meaningless */
};

bool failover_equal(struct failover a, struct failover b);

/* Why nobody else writes any more under an epoch that was not given back. */
enum proof_kind {
	PROOF_NONE,
	PROOF_TERM,	/* its term ended: a node stops itself by then */
	PROOF_OPERATOR, /* an operator said that the node is fenced */
	PROOF_KIND_MAX,
};

/* The epochs whose claims are void, since their owners were fenced or gave them back; to 0: none. */
struct fenced {
	uint64_t from, to;
	uint64_t also; /* one more, that was found later: of a node that an operator gave up; 0: none */
};

static inline bool fenced_covers(struct fenced f, uint64_t epoch)
{
	return (f.to && epoch >= f.from && epoch <= f.to) || (f.also && epoch == f.also);
}

static inline bool fenced_equal(struct fenced a, struct fenced b)
{
	return a.from == b.from && a.to == b.to && a.also == b.also;
}

/* What control tells a node about one dataset. */
enum wish_kind {
	WISH_KEEP,    /* control does not know it: touch nothing */
	WISH_WAIT,    /* wished here, but not owned: shown, nothing done; carries no authority */
	WISH_HOLD,    /* owned under this epoch: create, attach, format, mount */
	WISH_RELEASE, /* unmount, detach, give the epoch back */
	WISH_DESTROY, /* owned under this epoch for destruction only */
	WISH_FORGET,  /* a former WISH_WAIT or WISH_KEEP is over: drop it from the tree */
	WISH_KIND_MAX,
};

/*
 * Where a dataset is on one node, as operators read it. Discovered, never stored.
 *
 *   waiting -> creating -> attaching -> attached -> formatting -> mounting -> mounted
 *                                          |                         ^           |
 *                                          +-------------------------+           |
 *   released <- detaching <- unmounting <----------------------------------------+
 *   detached -> destroying -> destroyed
 *
 * Beside the road: failed (an attempt failed, another follows), blocked (needs a person: says what),
 * lost (formatted once, and its volume is missing), faulty (mounted, but read-only or in error), fenced
 * (its grant is over and its device takes no more writes: it is being cleaned up).
 */
enum ds_state {
	DS_WAITING,    /* for control, or for another node to release */
	DS_DETACHED,   /* the volume exists and is attached to nobody */
	DS_CREATING,
	DS_ATTACHING,
	DS_ATTACHED,
	DS_FORMATTING,
	DS_MOUNTING,
	DS_MOUNTED,
	DS_UNMOUNTING,
	DS_DETACHING,
	DS_RELEASED,
	DS_DESTROYING,
	DS_DESTROYED,
	DS_FAILED,
	DS_BLOCKED,
	DS_LOST,
	DS_FAULTY,
	DS_FENCED,
	DS_STATE_MAX,
};

/* The steps that a node takes, one at a time for each dataset. */
enum ds_step {
	STEP_NONE,
	STEP_OBSERVE,  /* look again */
	STEP_CREATE,   /* make the volume; idempotent by volume_id */
	STEP_ATTACH,   /* claim and attach */
	STEP_PROBE,    /* attached, format_state never: prove that the device is empty */
	STEP_FORMAT,   /* mkfs, the one time */
	STEP_VERIFY,   /* format_state started without a permit: is the filesystem whole? */
	STEP_DISCARD,  /* destroy the volume of an interrupted format */
	STEP_MOUNT,
	STEP_UNMOUNT,
	STEP_DETACH,
	STEP_DESTROY,
	STEP_CUT,	/* the device takes no more writes, whatever still has it open */
	STEP_EXPAND,	/* make volume and device larger, while mounted */
	STEP_GROW,	/* the filesystem fills the device, while mounted */
	DS_STEP_MAX,
};

/* What a node's report says beside its status. */
enum report_kind {
	REPORT_STATUS,	  /* nothing beside */
	REPORT_READY,	  /* attached and proven empty: asks for format_state started */
	REPORT_FORMATTED, /* the filesystem is whole: asks for format_state done */
	REPORT_DISCARDED, /* the volume of an interrupted format is gone: asks for a new volume_id */
	REPORT_RELEASED,  /* nothing of it is left here; this epoch is given back */
	REPORT_DESTROYED, /* the volume is gone; this epoch is given back */
	REPORT_EXPANDED,  /* the volume was brought to a size, durably: asks for that to be recorded */
	REPORT_GROWN,	  /* and so was its filesystem */
	REPORT_KIND_MAX,
};

/* How far control's state was seen: which incarnation, which line of its store, which revision. */
struct control_mark {
	uint64_t incarnation, revision;
	struct id128 line; /* nil: not known */
};

/* Of a client's request, as X-Request-Id and logs have it: 1 to 64 of A-Z a-z 0-9 . _ - or "": none. */
#define REQUEST_ID_SIZE 65

bool request_id_valid(const char *text);

/* The word for each value, as in the log, the status tree, the API and on the wire. */
const char *fs_kind_name(enum fs_kind v);
const char *format_state_name(enum format_state v);
const char *grant_kind_name(enum grant_kind v);
const char *failover_kind_name(enum failover_kind v);
const char *proof_kind_name(enum proof_kind v);
const char *wish_kind_name(enum wish_kind v);
const char *ds_state_name(enum ds_state v);
const char *ds_step_name(enum ds_step v);
const char *report_kind_name(enum report_kind v);

/* The value for a word, or -EINVAL. */
int fs_kind_parse(const char *name);
int format_state_parse(const char *name);
int grant_kind_parse(const char *name);
int failover_kind_parse(const char *name);
int proof_kind_parse(const char *name);
int wish_kind_parse(const char *name);
int ds_state_parse(const char *name);
int ds_step_parse(const char *name);
int report_kind_parse(const char *name);
