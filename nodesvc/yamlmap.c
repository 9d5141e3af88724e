/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <stdarg.h>

#include "yamlmap.h"

/* What came from the file is quoted in the line: control characters in it become '?'. */
static void one_line(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			*p = '?';
}

int yamlmap_refuse(struct yamlmap *y, unsigned int line, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	one_line(text);
	if (line)
		snprintf(y->why, y->why_size, "%s line %u: %s", y->file, line, text);
	else
		snprintf(y->why, y->why_size, "%s: %s", y->file, text);
	return -EBADMSG;
}

int yamlmap_no_memory(struct yamlmap *y)
{
	snprintf(y->why, y->why_size, "%s: out of memory", y->file);
	return -ENOMEM;
}

static int refuse_yaml(struct yamlmap *y)
{
	const yaml_parser_t *p = &y->parser;
	const char *problem = p->problem ? p->problem : "not readable as YAML";
	unsigned int line = 1;

	if (p->error == YAML_MEMORY_ERROR)
		return yamlmap_no_memory(y);
	if (p->error != YAML_READER_ERROR)
		return yamlmap_refuse(y, (unsigned int)p->problem_mark.line + 1, "%s", problem);
	/* Bytes that are no UTF-8: there is an offset, but no mark yet. */
	for (size_t i = 0; i < MIN(p->problem_offset, y->size); i++)
		line += y->text[i] == '\n';
	return yamlmap_refuse(y, line, "%s", problem);
}

/* Anchors are refused where they are set, so nothing is ever left for an alias to name. */
static int refuse_decoration(struct yamlmap *y, const yaml_event_t *ev)
{
	const yaml_char_t *anchor = NULL, *tag = NULL;

	switch (ev->type) {
	case YAML_ALIAS_EVENT:
		anchor = ev->data.alias.anchor;
		break;
	case YAML_SCALAR_EVENT:
		anchor = ev->data.scalar.anchor;
		tag = ev->data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = ev->data.sequence_start.anchor;
		tag = ev->data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = ev->data.mapping_start.anchor;
		tag = ev->data.mapping_start.tag;
		break;
	default:
		return 0;
	}
	if (anchor)
		return yamlmap_refuse(y, yamlmap_line(ev),
			"anchors and aliases ('%.64s') are not allowed here", (const char *)anchor);
	if (tag)
		return yamlmap_refuse(y, yamlmap_line(ev), "tags ('%.64s') are not allowed here",
			(const char *)tag);
	return 0;
}

static int next_event(struct yamlmap *y, yaml_event_t *ret)
{
	if (!yaml_parser_parse(&y->parser, ret))
		return refuse_yaml(y);
	return refuse_decoration(y, ret);
}

/* Fewest insertions, deletions and replacements from @a to @b; '_' and '-' count as the same. */
static unsigned int edit_distance(const char *a, const char *b)
{
	unsigned int row[YAMLMAP_KEY_MAX + 1];
	size_t n = strlen(b);

	assert(n <= YAMLMAP_KEY_MAX);
	for (size_t j = 0; j <= n; j++)
		row[j] = (unsigned int)j;
	for (size_t i = 0; a[i]; i++) {
		unsigned int diagonal = row[0];

		row[0] = (unsigned int)i + 1;
		for (size_t j = 0; j < n; j++) {
			bool same = a[i] == b[j] || (a[i] == '_' && b[j] == '-');
			unsigned int best = diagonal + !same;

			diagonal = row[j + 1];
			best = MIN(best, row[j] + 1);
			row[j + 1] = MIN(best, diagonal + 1);
		}
	}
	return row[n];
}

static const char *nearest_field(const struct yamlmap_table *map, const char *key)
{
	unsigned int best = UINT_MAX;
	const char *name = NULL;

	for (size_t i = 0; i < map->n_fields; i++) {
		unsigned int d = edit_distance(key, map->fields[i].name);

		if (d < best) {
			best = d;
			name = map->fields[i].name;
		}
	}
	return name && best <= 1 + strlen(name) / 4 ? name : NULL;
}

static int refuse_unknown(
	struct yamlmap *y, const struct yamlmap_table *map, const char *key, unsigned int line)
{
	const char *near = nearest_field(map, key);
	char known[256] = "";
	size_t len = 0;

	if (near)
		return yamlmap_refuse(y, line, "unknown key '%s'; did you mean '%s'?", key, near);
	for (size_t i = 0; i < map->n_fields; i++)
		len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", i ? ", " : "",
			map->fields[i].name);
	return yamlmap_refuse(y, line, "unknown key '%s'; the keys%s%s are: %s", key,
		map->name ? " of " : " here", map->name ? map->name : "", known);
}

int yamlmap_text(struct yamlmap *y, const char *name, const yaml_event_t *ev, const char **ret)
{
	const char *text = (const char *)ev->data.scalar.value;

	if (ev->type != YAML_SCALAR_EVENT)
		return yamlmap_refuse(y, yamlmap_line(ev), "'%s' must be a single value, not a %s",
			name, ev->type == YAML_MAPPING_START_EVENT ? "mapping" : "list");
	for (size_t i = 0; i < ev->data.scalar.length; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return yamlmap_refuse(
				y, yamlmap_line(ev), "'%s' holds a control character", name);
	if (ev->data.scalar.plain_implicit &&
		(text[0] == '\0' || STREQ(text, "~") || strcasecmp(text, "null") == 0))
		return yamlmap_refuse(y, yamlmap_line(ev), "'%s' has no value", name);
	*ret = text;
	return 0;
}

static int read_entry(struct yamlmap *y, const struct yamlmap_table *map,
	const yaml_event_t *key_event, unsigned int *seen)
{
	_cleanup_(yaml_event_delete) yaml_event_t value = { 0 };
	unsigned int line = yamlmap_line(key_event);
	const char *key;
	int rc;

	if (key_event->type != YAML_SCALAR_EVENT)
		return yamlmap_refuse(y, line, "a key must be a plain word");
	rc = yamlmap_text(y, "key", key_event, &key);
	if (rc < 0)
		return rc;
	if (strlen(key) > YAMLMAP_KEY_MAX)
		return yamlmap_refuse(
			y, line, "a key is longer than %d characters", YAMLMAP_KEY_MAX);
	rc = next_event(y, &value);
	if (rc < 0)
		return rc;

	for (size_t i = 0; i < map->n_fields; i++) {
		if (!STREQ(map->fields[i].name, key))
			continue;
		if (seen[i])
			return yamlmap_refuse(
				y, line, "'%s' is given twice, first on line %u", key, seen[i]);
		seen[i] = line;
		return map->fields[i].read(y, &map->fields[i], &value);
	}
	return map->other ? map->other(y, key, &value, line) : refuse_unknown(y, map, key, line);
}

/* Reads from behind the mapping's start to its end; @line is where it started, 0 for the file. */
static int read_mapping(struct yamlmap *y, const struct yamlmap_table *map, unsigned int line)
{
	unsigned int seen[YAMLMAP_FIELDS_MAX] = { 0 };

	assert(map->n_fields <= YAMLMAP_FIELDS_MAX);
	for (;;) {
		_cleanup_(yaml_event_delete) yaml_event_t key = { 0 };
		int rc = next_event(y, &key);

		if (rc < 0)
			return rc;
		if (key.type == YAML_MAPPING_END_EVENT)
			break;
		rc = read_entry(y, map, &key, seen);
		if (rc < 0)
			return rc;
	}
	for (size_t i = 0; i < map->n_fields; i++)
		if (map->fields[i].required && !seen[i])
			return yamlmap_refuse(y, line, "'%s' is missing%s%s", map->fields[i].name,
				map->name ? " in " : "", map->name ? map->name : "");
	return 0;
}

int yamlmap_nested(struct yamlmap *y, const struct yamlmap_table *table, const yaml_event_t *ev)
{
	if (ev->type != YAML_MAPPING_START_EVENT)
		return yamlmap_refuse(y, yamlmap_line(ev), "'%s' must be a mapping that holds '%s'",
			table->name, table->fields[0].name);
	return read_mapping(y, table, yamlmap_line(ev));
}

int yamlmap_skip(struct yamlmap *y, const yaml_event_t *first)
{
	unsigned int depth = first->type != YAML_SCALAR_EVENT;

	while (depth > 0) {
		_cleanup_(yaml_event_delete) yaml_event_t ev = { 0 };
		int rc = next_event(y, &ev);

		if (rc < 0)
			return rc;
		if (ev.type == YAML_MAPPING_START_EVENT || ev.type == YAML_SEQUENCE_START_EVENT)
			depth++;
		else if (ev.type == YAML_MAPPING_END_EVENT || ev.type == YAML_SEQUENCE_END_EVENT)
			depth--;
	}
	return 0;
}

/* The stream's frame: one document, and that is a mapping. */
static int read_stream(struct yamlmap *y, const struct yamlmap_table *top)
{
	static const yaml_event_type_t before[] = { YAML_STREAM_START_EVENT,
		YAML_DOCUMENT_START_EVENT, YAML_MAPPING_START_EVENT };
	static const yaml_event_type_t after[] = { YAML_DOCUMENT_END_EVENT, YAML_STREAM_END_EVENT };
	int rc;

	for (size_t i = 0; i < ARRAY_SIZE(before); i++) {
		_cleanup_(yaml_event_delete) yaml_event_t ev = { 0 };

		rc = next_event(y, &ev);
		if (rc < 0)
			return rc;
		if (ev.type == YAML_STREAM_END_EVENT)
			return yamlmap_refuse(y, 0, "the file is empty");
		if (ev.type != before[i])
			return yamlmap_refuse(y, yamlmap_line(&ev),
				"the file must be one mapping of keys to values");
	}
	rc = read_mapping(y, top, 0);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < ARRAY_SIZE(after); i++) {
		_cleanup_(yaml_event_delete) yaml_event_t ev = { 0 };

		rc = next_event(y, &ev);
		if (rc < 0)
			return rc;
		if (ev.type != after[i])
			return yamlmap_refuse(
				y, yamlmap_line(&ev), "a second document begins; one is allowed");
	}
	return 0;
}

int yamlmap_read(struct yamlmap *y, const char *text, size_t size, const struct yamlmap_table *top)
{
	int rc;

	y->text = text;
	y->size = size;
	if (!yaml_parser_initialize(&y->parser))
		return yamlmap_no_memory(y);
	yaml_parser_set_encoding(&y->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&y->parser, (const unsigned char *)text, size);
	rc = read_stream(y, top);
	yaml_parser_delete(&y->parser);
	return rc;
}
