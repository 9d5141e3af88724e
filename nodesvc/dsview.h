/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsview.h - what the status tree shows of one dataset and of the node itself.
 * Plain data that the daemon fills on its stack and lends to fstree_set(); strings are borrowed and
 * may be NULL, which shows as an empty file. Times are milliseconds since 1970 (UTC), sizes bytes;
 * 0 in either means: not known, an empty file.
 */
#pragma once

#include <json-c/json.h>

#include "types.h"

struct ds_view {
	struct id128 dataset_id;
	const char *name;   /* for by-name, any bytes; NULL or "": no link */
	int64_t created_at; /* seconds since 1970; the oldest of a name is shown plain */
	enum ds_state state;
	enum wish_kind wanted;
	const char *why;	     /* one line for people */
	int64_t since_ms;	     /* of the state */
	struct id128 owner, primary; /* nil: nobody */
	uint64_t epoch;		     /* 0: none */
	uint64_t size_bytes, want_bytes; /* that it has, and is to have */
	uint64_t used_bytes, available_bytes; /* known as of used_at_ms */
	int64_t used_at_ms;		      /* 0: both not known */
	int64_t trimmed_at_ms;	/* 0: never here */
	uint64_t trimmed_bytes; /* given back to the backend then */
	const char *device, *filesystem;
	struct id128 fs_uuid; /* nil: not known */
	const char *mountpoint;
	const char *lease;   /* what pins it, one line */
	const char *holders; /* lines, each with its newline */
	const char *last_error;
	/* Of strings, or NULL. The tree takes a reference, so it must never change afterwards. */
	struct json_object *metadata;
};

struct node_view {
	struct id128 uuid, era;
	const char *control; /* "host:port" */
	bool connected;
	int64_t connected_since_ms; /* of the present connection, or of its loss */
	int64_t certificate_expires_ms, authority_expires_ms; /* the node's, and what signed it */
	const char *version, *backend, *last_error;
	const char *watchdog; /* none, idle, armed, late by N ms, failed: why */
	uint64_t capacity_bytes; /* of the backend; 0: this and the next are not known */
	uint64_t free_bytes;
	uint64_t promised_bytes; /* sum of its volumes' sizes */
	const char *warnings;	 /* lines, each with its newline */
	const char *metrics;	 /* Prometheus text */
	unsigned int datasets, mounted, troubled; /* troubled: failed, blocked, lost or faulty */
};
