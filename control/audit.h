/* SPDX-License-Identifier: Apache-2.0 */
/* audit.h - one line in the log for each write that a client asked for: who, what, and what came of it. */
#pragma once

#include "http.h"
#include "record.h"

#define AUDIT_CHANGE_MAX 512

struct audit_write {
	const struct http_peer *peer;
	const char *request;		   /* its id */
	const char *method, *path;
	const struct id128 *dataset, *node; /* that it is about, or NULL */
	int status;			   /* of the answer */
	bool undecided;			   /* control stopped before it was known whether it is durable */
	const char *words;		   /* what changed; of a refused one what the client was told */
};

void audit_log(const struct audit_write *w);

#define AUDIT_NO_CHANGE "nothing to change"

/* What a write changed in a record, for people; or AUDIT_NO_CHANGE. @before: NULL for a new one. Returns @buf. */
char *audit_change(const struct ds_record *before, const struct ds_record *after,
	char buf[AUDIT_CHANGE_MAX]);
