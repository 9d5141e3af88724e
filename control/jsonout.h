/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jsonout.h - writes JSON as bytes, without building a tree: a list costs little more than its
 * text. The text is ASCII: everything else is escaped, and what is not UTF-8 becomes U+FFFD.
 * Running out of memory is kept and told by jsonout_finish().
 */
#pragma once

#include <json-c/json.h>

#include "id128.h"

struct jsonout {
	char *data;
	size_t size, room;
	bool comma; /* the next value needs one before it */
	bool failed;
};

void jsonout_done(struct jsonout *o);

/* @key: NULL inside an array and at the top. @bracket: '{' or '['. */
void jsonout_open(struct jsonout *o, const char *key, char bracket);
void jsonout_close(struct jsonout *o, char bracket); /* '}' or ']' */
void jsonout_reopen(struct jsonout *o); /* the object that was closed last: more members follow */

void jsonout_text(struct jsonout *o, const char *key, const char *text); /* NULL: null */
void jsonout_id(struct jsonout *o, const char *key, struct id128 id);	 /* nil: null */
void jsonout_u64(struct jsonout *o, const char *key, uint64_t v);
void jsonout_number(struct jsonout *o, const char *key, double v); /* finite; always with a fraction */
void jsonout_bool(struct jsonout *o, const char *key, bool v);
void jsonout_null(struct jsonout *o, const char *key);

/* Milliseconds of the wall clock as "2026-01-31T23:59:59.123Z"; 0: null. */
void jsonout_time(struct jsonout *o, const char *key, int64_t ms);

/* An object whose values are strings. */
void jsonout_strings(struct jsonout *o, const char *key, struct json_object *map);

/**
 * jsonout_finish() - the text, NUL-terminated
 * Returns: 0, or -ENOMEM when any of it is missing. The caller frees @ret; @o is empty again.
 */
int jsonout_finish(struct jsonout *o, char **ret, size_t *ret_size);
