/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h - what control and nodes say to each other, as structs and as JSON objects.
 *
 * A frame is a 4-byte big-endian length and one JSON object of at most WIRE_FRAME_MAX bytes.
 * Each side numbers its frames of one session from 1 (`seq`). A receiver drops a number it has seen
 * and ends the session at a gap; the next hello then repairs everything by resending state. So
 * within a session the frames that have effect are an unbroken run, whatever carried them.
 * Unknown keys are ignored and unknown message types answered with nothing, so that neighbouring
 * versions understand each other. Nothing here blocks or does I/O.
 */
#pragma once

#include <json-c/json.h>

#include "types.h"

/*
 * 1  up to the words and keys of this list
 * 2  backends; growth; a word that is not known is told and not taken for a fault, see wire_decode()
 */
#define WIRE_VERSION 2
#define WIRE_FRAME_MAX MIB
#define WIRE_HEADER 4
#define WIRE_HOLDS_MAX 4096
#define WIRE_WHY_MAX 512
#define WIRE_LEASE_MAX 128
#define WIRE_UNKNOWN_MAX 96
#define WIRE_BACKENDS_MAX 16 /* of one node; more are not heard */
#define WIRE_BACKEND_DEFAULT "default" /* what the one backend of agent.yml is called */

enum wire_type {
	WIRE_HELLO,   /* node: who I am, what I hold */
	WIRE_WELCOME, /* control: you are in */
	WIRE_ASSIGN,  /* control: one dataset's wish */
	WIRE_REPORT,  /* node: one dataset's status, and what it asks for */
	WIRE_PING,    /* either: answer with PONG; shows that the sender lives */
	WIRE_PONG,
	WIRE_BYE,     /* either: this session ends, and why */
	WIRE_TYPE_MAX,
};

/* One dataset on one node: in hello for each that is held, in report for the one it is about. */
struct wire_status {
	struct id128 dataset_id, volume_id;
	uint64_t epoch;		  /* of the claim or the accepted grant; 0: none */
	enum ds_state state;
	bool mounted;		  /* at its mountpoint, verified */
	bool releasing;		  /* @epoch is being given back, or used up by a destroy: not recalled */
	uint64_t failover_rev;	  /* of the failover that this node acts by; 0: none yet */
	struct id128 claimant;	  /* another node that has the volume, as the backend says; nil: none */
	uint64_t claim_epoch;	  /* the highest that the backend has seen; 0: none, or not known */
	uint64_t size_bytes;	  /* of the device or volume; 0: not known */
	uint64_t grown_bytes;	  /* of EXPANDED and GROWN: what it was brought to */
	uint64_t used_bytes, available_bytes; /* of the mounted filesystem; both 0: not known */
	struct id128 fs_uuid;	  /* seen on the device; nil: not known */
	char why[WIRE_WHY_MAX];	  /* one line for people */
	enum ds_step step;	  /* that last_error speaks of */
	int error;		  /* errno of the last failed attempt, positive; 0: none */
	unsigned int attempts;	  /* failed in a row */
	uint64_t retry_in_ms;	  /* from when it was said; 0: nothing is to be tried again */
	char *mountpoint, *device, *holders; /* allocated or NULL; holders: lines */
};

/* One backend of a node. Plain data, copied by assignment. */
struct wire_backend {
	char name[32];		/* among the node's, and in records */
	char driver[32];	/* "loopback"; "": not known */
	char capabilities[128];	/* words, lower case, with one blank between: see driver_capabilities() */
	char warning[256];	/* one line for people; "": all is well */
	uint64_t capacity_bytes;  /* 0: not known */
	uint64_t free_bytes;	  /* 0: not known where the capacity is not either */
	uint64_t promised_bytes;  /* sizes of all its volumes, whoever has them; 0: not known */
	uint64_t allocation_unit; /* sizes are rounded up to it; 0: not known */
	bool shared;		/* its volumes can be attached by other nodes that have it */
};

struct wire_hello {
	unsigned int wire;	/* version that the sender speaks; written as WIRE_VERSION, whatever is here */
	char *version;		/* of the software, for people */
	struct id128 host;	/* of the state directory: one machine, one value */
	struct id128 boot;	/* the kernel's boot_id: the era of REST v1 */
	char *address;		/* configured address, or NULL: take the connection's */
	struct wire_backend *backends; /* of a sender of version 1 one, made of the next four */
	size_t n_backends;
	char *backend;		/* driver of the first backend, "loopback"; also for neighbours of version 1 */
	enum fs_kind filesystem; /* that this node makes where the metadata names none */
	bool partial;		/* not all that is held is known yet: what is not named is not given back */
	bool shared;		/* of the first backend, as is the next */
	uint64_t free_bytes;	/* for volumes, as last seen; 0: not known */
	uint64_t incarnation, version_seen; /* highest of control that this node has seen */
	struct id128 line;	/* of the store that version_seen was in; nil: not known */
	struct wire_status *holds;
	size_t n_holds;
};

/* Why a control server that knows less than a node is not obeyed, in the words of both. */
#define WIRE_STORE_IS_OLD                                                                          \
	"the store of the control server is older than what nodes have seen (an old copy was put back, or " \
	"a part of it is lost): stop it, and see flocker-control recover"

struct wire_welcome {
	unsigned int wire;     /* as in hello; 1 where it is not said */
	char *version;
	uint64_t incarnation, revision;
	struct id128 line;     /* of the store that the revisions of this session are in */
	uint32_t heartbeat_ms; /* send something at least this often */
};

struct wire_assign {
	struct id128 dataset_id;
	enum wish_kind wish;
	uint64_t epoch;		/* 0 for WAIT, KEEP and FORGET */
	struct id128 volume_id;
	uint64_t size_bytes;	/* that the volume has or shall have */
	uint64_t growing_bytes;	/* that it is to be brought to, and may have already; else @size_bytes */
	uint64_t fs_bytes;	/* that its filesystem was made for, or grown to; else @size_bytes */
	uint64_t want_bytes;	/* the wish, to be shown; else @size_bytes */
	enum fs_kind filesystem;
	struct id128 fs_uuid;
	enum format_state format_state;
	struct failover failover; /* that governs the epoch once the node says its @failover_rev */
	uint64_t failover_rev;
	struct fenced fenced;
	struct id128 owner, primary; /* nil: nobody */
	int64_t created_at;	/* seconds since 1970 */
	uint64_t revision;	/* of control's state; stamped when sent */
	char request[REQUEST_ID_SIZE]; /* of the client that asked for it last; "": not known */
	char why[WIRE_WHY_MAX];	/* of WAIT: who has it and what that node is doing */
	char lease[WIRE_LEASE_MAX]; /* what pins it, one line for people; "": nothing */
	struct json_object *metadata; /* of strings; NULL: none. Referenced */
};

struct wire_report {
	enum report_kind kind;
	struct wire_status status;
};

/* A node's PING with a stamp asks for its terms to be renewed from then on; the PONG brings it back. */
struct wire_ping {
	uint64_t stamp_ms; /* CLOCK_BOOTTIME of the node as it sent the PING; 0: only a sign of life */
	uint64_t free_bytes; /* as in hello; of a node's PING */
	struct wire_backend *backends; /* of a node's PING, all of them, when one changed; or NULL */
	size_t n_backends;
};

struct wire_bye {
	char *reason; /* one line for people */
	bool refused; /* the hello was refused; come back later, not at once */
};

struct wire_msg {
	enum wire_type type;
	uint64_t seq;
	char unknown[WIRE_UNKNOWN_MAX]; /* of a decoded one: the first word that is not known; "": all are */
	union {
		struct wire_hello hello;
		struct wire_welcome welcome;
		struct wire_assign assign;
		struct wire_report report;
		struct wire_bye bye;
		struct wire_ping ping; /* of PING and PONG */
	};
};

const char *wire_type_name(enum wire_type v);

/* Frees what @m points to and zeroes it; NULL is fine. */
void wire_msg_done(struct wire_msg *m);
void wire_status_done(struct wire_status *s);

bool wire_backend_equal(const struct wire_backend *a, const struct wire_backend *b);

/* Has it this word among its capabilities? */
bool wire_backend_can(const struct wire_backend *b, const char *word);

/* @n of them, allocated; NULL for none, or when there is no memory. */
struct wire_backend *wire_backends_copy(const struct wire_backend *list, size_t n);

/* Copies; @ret is overwritten, not freed first. 0 or -ENOMEM. */
int wire_status_copy(const struct wire_status *s, struct wire_status *ret);

/*
 * Leaves out of a node's message what a control server that speaks @wire would take for a fault. For a copy
 * by assignment: nothing that @m points to is changed or freed.
 */
void wire_lower(struct wire_msg *m, unsigned int wire);

/**
 * wire_encode() - a whole frame, header included
 * @ret_frame: allocated; the caller frees it
 *
 * Returns: 0, -EMSGSIZE beyond WIRE_FRAME_MAX, or -ENOMEM.
 */
int wire_encode(const struct wire_msg *m, uint8_t **ret_frame, size_t *ret_size);

/**
 * wire_decode() - one JSON object without its header; the bytes are a stranger's
 *
 * A word that this version does not know is one of a later version, and does not end the session. It is
 * named in @ret->unknown and stands for the value that does no harm: a state is DS_WAITING, a step
 * STEP_NONE, a report REPORT_STATUS, which asks for nothing, a filesystem of a hello FS_EXT4. In an assign
 * nothing can stand for it, since what it orders is not known: whoever gets an assign with @unknown must not
 * obey it, and what was ordered before stays in force.
 *
 * @ret: set on success only; end it with wire_msg_done()
 * @ret_error: a static sentence naming what was wrong; set on -EBADMSG only
 *
 * Returns: 0; -EBADMSG for what is no valid message; -ENOTSUP for an unknown type; -ENOMEM.
 */
int wire_decode(const uint8_t *json, size_t size, struct wire_msg *ret, const char **ret_error);
