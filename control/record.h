/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - what control keeps for ever: one record a dataset, one a node.
 * In the store they are JSON maps with a "version"; keys that this version does not know are kept.
 * Plain data with a few counted json-c references; nothing blocks.
 */
#pragma once

#include <json-c/json.h>

#include "types.h"

#define RECORD_BACKEND_MAX 32
#define RECORD_METADATA_MAX 16
#define RECORD_NAME_KEY "name" /* of the metadata: what people call the dataset */

/* Keys in the store: these and the id. */
#define RECORD_KEY_DATASET "dataset/"
#define RECORD_KEY_NODE "node/"
#define RECORD_KEY_PIN "lease/"
#define RECORD_KEY_FLOOR "epoch-floor" /* the whole key */

struct ds_record {
	struct id128 dataset_id;
	struct json_object *metadata; /* of strings, never NULL in a valid record; counted */
	struct json_object *extra;    /* unknown keys of the stored map, or NULL; counted */
	uint64_t maximum_size;	      /* as asked for, bytes; 0: not given */
	uint64_t size_bytes;	      /* of the volume: at first what was wished then */
	uint64_t want_bytes;	      /* the wish: never below @size_bytes */
	uint64_t growing_bytes;	      /* what its owner was told to bring the volume to, which may be done: from
				       * @size_bytes, when nothing is under way, to @want_bytes */
	uint64_t fs_bytes;	      /* the size of the volume that its filesystem was made for, or grown to */
	int64_t created_at;	      /* seconds since the epoch */
	struct id128 primary;	      /* the wish: where it should be; nil: nowhere, until somebody asks */
	struct json_object *chosen;   /* why control chose @primary, a string; NULL: a client did; counted */
	bool failed_over;	      /* control chose @primary, since the node that was wished for is lost */
	bool deleted;		      /* the wish: gone. volume_id nil then means: done */
	int64_t deleted_at;	      /* seconds since the epoch; 0: not known */
	uint64_t deleted_in;	      /* the incarnation of control in which that was wished with a window; 0 */
	int64_t undelete_until;	      /* as well; until then its volume is kept, at no node. 0: not, or over */
	struct json_object *idempotency; /* with which it was made, a string; NULL: none; counted */
	char backend[RECORD_BACKEND_MAX];
	struct id128 volume_id;	      /* chosen before create; nil: none (only when deleted) */
	enum fs_kind filesystem;
	struct id128 fs_uuid;	      /* chosen before mkfs */
	enum format_state format_state;
	struct id128 owner;	      /* the only node that may attach; nil: nobody */
	uint64_t epoch;		      /* of the last grant; grows by one with each */
	uint64_t born_epoch;	      /* what @epoch was before the first grant */
	enum grant_kind grant;	      /* what the owner may do; meaningless without owner */
	struct failover failover;     /* the wish: what governs a grant once its owner has said so */
	uint64_t extended_ms;	      /* a longer term that was granted over a planned stop of control; 0: none */
	uint64_t failover_rev;	      /* grows with each change of it; what the owner says back */
	struct failover in_force;     /* of the present epoch: a lease only when the owner can act by nothing
				       * else, and then with the longest term that it can know of */
	uint64_t sure_from;	      /* all grants from this epoch on are known, also after a restore */
	struct fenced fenced;
	enum proof_kind proof;	      /* of the fence of epoch @fenced.to */
	uint64_t incarnation;	      /* of control when the owner was last confirmed */
	char request[REQUEST_ID_SIZE]; /* the client's last that changed it; "": not known */
};

struct node_record {
	struct id128 uuid;
	struct id128 host;	      /* whose hello may use this identity; nil: the next one's */
	uint64_t given_up;	      /* the incarnation in which an operator said that nothing there writes any
				       * more; 0: nobody did, or it was heard since */
	bool forgotten;		      /* given up for ever: this identity is not let in again */
	int64_t draining_since;	      /* seconds since the epoch: its datasets go elsewhere; 0: they do not */
	struct json_object *extra;
};

/* What the API calls a lease: who asks for a move meanwhile waits. Neither its dataset nor its node need
 * exist. */
struct pin_record {
	struct id128 dataset_id, node;
	int64_t expires_ms;	      /* of the wall clock; PIN_ENDLESS */
	struct json_object *extra;
};

#define PIN_ENDLESS INT64_MAX

void ds_record_done(struct ds_record *r);
void ds_record_copy(const struct ds_record *r, struct ds_record *ret); /* takes references */
bool ds_record_equal(const struct ds_record *a, const struct ds_record *b); /* texts by pointer */

/* Volume and filesystem have the size that is wished. */
bool ds_record_is_grown(const struct ds_record *r);

void node_record_done(struct node_record *r);
void pin_record_done(struct pin_record *r);

/* Made before @b; of two of one second the smaller id is the older. */
bool ds_record_is_older(const struct ds_record *a, const struct ds_record *b);

/* A value of the metadata, or NULL; borrowed. */
const char *ds_record_text(const struct ds_record *r, const char *key);

/**
 * ds_record_to_json() and the like - the stored form
 * Returns: an allocated JSON text that the caller frees, or NULL when out of memory.
 */
char *ds_record_to_json(const struct ds_record *r);
char *node_record_to_json(const struct node_record *r);
char *pin_record_to_json(const struct pin_record *r);
char *floor_to_json(uint64_t floor);

/**
 * ds_record_from_json() and the like - read a stored map
 * @ret: set on success only; end it with *_done()
 *
 * Returns: 0, -EBADMSG when the text is no such record (the store is damaged), or -ENOMEM.
 */
int ds_record_from_json(const char *text, struct ds_record *ret);
int node_record_from_json(const char *text, struct node_record *ret);
int pin_record_from_json(const char *text, struct pin_record *ret);
int floor_from_json(const char *text, uint64_t *ret);
