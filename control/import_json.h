/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import_json.h - the original's way to write Python objects as JSON: an object with the key
 * "$__class__$" that names what it is. Each reader knows where it is, so that an error can say it.
 * Private to import.c.
 */
#pragma once

#include <json-c/json.h>

#include "import.h"

/* A place in the file: one step of a JSON pointer, and the place that it starts from. On the stack. */
struct place {
	const struct place *up; /* NULL: the whole file */
	const char *key;	/* NULL: @index counts */
	size_t index;
	struct json_object *value; /* borrowed; NULL: null */
};

/* As a JSON pointer; cut when too long, it is for people. The keys in it may hold anything. */
const char *place_text(const struct place *p, char *buf, size_t size);

/* Writes @error: the place and the sentence. Returns -EBADMSG. */
int place_wrong(const struct place *p, char error[IMPORT_ERROR_MAX], const char *fmt, ...) _printf_(3, 4);

/* Copies with "?" for what a terminal would not print. */
void printable(const char *text, char *buf, size_t size);

/*
 * All below: 0, or -EBADMSG with @error written; @ret is set on success only, and borrowed.
 */
int place_is_class(const struct place *p, const char *name, char error[IMPORT_ERROR_MAX]);

/* A key that must be there; its value may be null. */
int place_member(const struct place *p, const char *key, struct place *ret, char error[IMPORT_ERROR_MAX]);

int place_string(const struct place *p, const char **ret, char error[IMPORT_ERROR_MAX]);
int place_bool(const struct place *p, bool *ret, char error[IMPORT_ERROR_MAX]);

/* A UUID as text, and one as {"$__class__$": "UUID", "hex": text}. */
int place_uuid_text(const struct place *p, struct id128 *ret, char error[IMPORT_ERROR_MAX]);
int place_uuid(const struct place *p, struct id128 *ret, char error[IMPORT_ERROR_MAX]);

/* Calls @fn for each until it fails; returns that. */
int place_items(const struct place *p, int (*fn)(const struct place *item, void *userdata), void *userdata,
	char error[IMPORT_ERROR_MAX]);

/* The same of a map, which is a PMap object with a list of pairs. */
int place_pairs(const struct place *p,
	int (*fn)(const struct place *key, const struct place *value, void *userdata), void *userdata,
	char error[IMPORT_ERROR_MAX]);
