/* SPDX-License-Identifier: Apache-2.0 */
/* schema_private.h - what the readers of v1's and v2's bodies share. */
#pragma once

#include "schema.h"

#define SCHEMA_POINTER_MAX 160

void schema_violation(struct schema_errors *e, const char *fmt, ...) _printf_(2, 3);

/* @pointer: to @v; "" is the whole. */
bool schema_is_object(struct json_object *v, const char *pointer, struct schema_errors *e);

/* The part of a JSON pointer that a key makes. @buf is cut when too small; it is for people. */
const char *schema_pointer(const char *base, const char *key, char *buf, size_t size);

void schema_read_uuid(struct json_object *v, const char *pointer, struct id128 *ret, struct schema_errors *e);

/* One key of the metadata, and one value. */
void schema_check_metadata_key(const char *key, struct schema_errors *e);
void schema_check_metadata_text(const char *key, struct json_object *value, struct schema_errors *e);
