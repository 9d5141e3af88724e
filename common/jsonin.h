/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jsonin.h - strict reading of JSON that a stranger wrote (RFC 8259 and nothing beside).
 *
 * Refused, beyond what the grammar refuses: text that is not UTF-8 or starts with a byte order
 * mark, more than JSONIN_DEPTH_MAX levels, a key that appears twice in an object, U+0000 in a
 * string, a surrogate without its other half. A number is json_type_int when it is written as an
 * integer and fits into int64_t or uint64_t; any other number is json_type_double and keeps its
 * text. Does no I/O.
 */
#pragma once

#include <json-c/json.h>

#include "macro.h"

#define JSONIN_DEPTH_MAX 32
#define JSONIN_ERROR_MAX 320

static inline void json_object_putp(struct json_object **o)
{
	if (*o)
		json_object_put(*o);
}
#define _cleanup_json_ _cleanup_(json_object_putp)

/**
 * jsonin_parse() - one JSON text, with nothing but blanks around it
 * @ret: set on success only; counted; NULL for the text "null"
 * @error: set on -EBADMSG: a JSON pointer to the place ("/" is the whole; of a long one the end), what is
 *   wrong there, and at which byte
 *
 * Returns: 0, -EBADMSG or -ENOMEM.
 */
int jsonin_parse(const char *text, size_t size, struct json_object **ret,
	char error[JSONIN_ERROR_MAX]);

/* The same with another number of levels; each costs some 200 bytes of stack. */
int jsonin_parse_deep(const char *text, size_t size, unsigned int depth_max, struct json_object **ret,
	char error[JSONIN_ERROR_MAX]);

/* Bytes of the UTF-8 character at @p, 1 to 4; 0 when there is no valid one before @end. */
unsigned int utf8_length(const char *p, const char *end);

/* The same, but 0 also for control characters: those of ASCII, and U+0080 to U+009F, which some
 * terminals obey as well. */
unsigned int utf8_printable(const char *p, const char *end);

/* Bytes of the longest beginning of @text that is whole characters and no longer than @max. */
size_t utf8_fit(const char *text, size_t max);

/* Characters (code points) in @size bytes of valid UTF-8. */
size_t utf8_count(const char *text, size_t size);
