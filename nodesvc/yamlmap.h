/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yamlmap.h - strict reading of a small YAML file: one document of mappings with known keys.
 *
 * Each mapping is a table of fields. Reading it refuses duplicate, unknown and missing keys by line,
 * so a field's reader only looks at its own value. Events, not documents: a document would resolve
 * aliases before anyone could refuse them. Anchors, aliases, tags, second documents, and keys or
 * values with control characters are refused. Nothing blocks; the text is in memory.
 *
 * Functions return 0, -EBADMSG with a line in @why, or -ENOMEM (also with a line).
 */
#pragma once

#include <yaml.h>

#include "macro.h"

#define YAMLMAP_FIELDS_MAX 16
#define YAMLMAP_KEY_MAX 128 /* bytes */

struct yamlmap {
	const char *file; /* for messages; the four up to @userdata are the caller's to fill */
	char *why;
	size_t why_size;
	void *userdata;
	const char *text; /* borrowed, as is the rest below, by yamlmap_read() */
	size_t size;
	yaml_parser_t parser;
};

struct yamlmap_field {
	const char *name;
	bool required;
	/* @value: the first event of the value; for a mapping or list, read on to its end. */
	int (*read)(struct yamlmap *y, const struct yamlmap_field *f, const yaml_event_t *value);
	size_t offset; /* the reader's business */
};

struct yamlmap_table {
	const char *name; /* of the key that holds it; NULL: the whole file */
	const struct yamlmap_field *fields;
	size_t n_fields;
	/* Takes the keys that are no field, and finds duplicates of them; NULL: they are errors. */
	int (*other)(struct yamlmap *y, const char *key, const yaml_event_t *value,
		unsigned int line);
};

/* Reads the whole of @text; a valid UTF-8 stream of one document, which is a mapping. */
int yamlmap_read(struct yamlmap *y, const char *text, size_t size, const struct yamlmap_table *top);

/* For a field's reader: the value is a mapping by @table. */
int yamlmap_nested(struct yamlmap *y, const struct yamlmap_table *table, const yaml_event_t *value);

/* For a field's reader: the value is one piece of text, and not null; borrowed from @value. */
int yamlmap_text(struct yamlmap *y, const char *name, const yaml_event_t *value, const char **ret);

/* For a field's reader: passes over the value, whatever it is. */
int yamlmap_skip(struct yamlmap *y, const yaml_event_t *value);

/* Writes "FILE line N: ..." to @why and returns -EBADMSG; line 0 speaks of the whole file. */
int yamlmap_refuse(struct yamlmap *y, unsigned int line, const char *fmt, ...) _printf_(3, 4);

/* Writes that to @why and returns -ENOMEM. */
int yamlmap_no_memory(struct yamlmap *y);

static inline unsigned int yamlmap_line(const yaml_event_t *ev)
{
	return (unsigned int)ev->start_mark.line + 1;
}
