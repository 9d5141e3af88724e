/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/stat.h>

#include <yaml.h>

#include "ymlmask.h"

#define DEPTH_MAX 32
#define VALUE_MAX 512 /* longer ones are no settings */
#define FILE_MAX MIB

/* What flocker-agent.yml(5) knows of, and the original's cluster.yml. A backend's other keys may be secrets. */
static const char *const shown[] = { "version", "control-service", "hostname", "port", "dataset", "backend",
	"root_path", "allocation_unit", "address", "mount-root", "run-directory", "state-directory", "filesystem",
	"mount-options", "self-fence", "watchdog", "space-warning", "discard", "cluster_name", "users", "control_node" };

struct level {
	bool is_map, at_key;
	bool is_known; /* what is in here may be shown, as far as its keys are known */
	bool is_shown; /* the value that comes next */
};

struct mask {
	yaml_parser_t parser;
	yaml_emitter_t emitter;
	struct level levels[DEPTH_MAX];
	size_t depth; /* 0: outside of all */
};

static bool is_shown_key(const char *key)
{
	for (size_t i = 0; i < ARRAY_SIZE(shown); i++)
		if (STREQ(key, shown[i]))
			return true;
	return false;
}

static bool is_plain_value(const yaml_event_t *e)
{
	const char *text = (const char *)e->data.scalar.value;

	return e->data.scalar.length < VALUE_MAX && strlen(text) == e->data.scalar.length &&
	       !strstr(text, "PRIVATE KEY");
}

/* A value is over: in a mapping a key follows. */
static void next(struct mask *m)
{
	struct level *l = m->depth ? &m->levels[m->depth - 1] : NULL;

	if (l && l->is_map)
		l->at_key = true;
}

static int scalar(struct mask *m, const char *text, yaml_event_t *out)
{
	return yaml_scalar_event_initialize(out, NULL, NULL, (yaml_char_t *)(uintptr_t)text, (int)strlen(text), 1, 1,
		YAML_ANY_SCALAR_STYLE);
}

static int on_scalar(struct mask *m, const yaml_event_t *e, yaml_event_t *out)
{
	struct level *l = m->depth ? &m->levels[m->depth - 1] : NULL;
	const char *text = (const char *)e->data.scalar.value;
	bool is_key = l && l->is_map && l->at_key, plain = is_plain_value(e);

	if (is_key) {
		l->at_key = false;
		l->is_shown = plain && l->is_known && is_shown_key(text);
		return scalar(m, plain ? text : YMLMASK_HIDDEN, out);
	}
	next(m);
	return scalar(m, plain && l && l->is_shown ? text : YMLMASK_HIDDEN, out);
}

/* Keys that are no scalars are none of ours: all of such a mapping is hidden. */
static int push(struct mask *m, bool is_map, yaml_event_t *out)
{
	struct level *l = m->depth ? &m->levels[m->depth - 1] : NULL;
	bool is_known = !l || (l->is_shown && !(l->is_map && l->at_key));

	if (m->depth == DEPTH_MAX)
		return 0;
	m->levels[m->depth++] = (struct level){ .is_map = is_map, .at_key = is_map, .is_known = is_known,
		.is_shown = !is_map && is_known };
	return is_map ? yaml_mapping_start_event_initialize(out, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE)
		      : yaml_sequence_start_event_initialize(out, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE);
}

static int pop(struct mask *m, yaml_event_t *out)
{
	bool is_map = m->levels[--m->depth].is_map;
	struct level *l = m->depth ? &m->levels[m->depth - 1] : NULL;

	if (l && l->is_map && l->at_key) {
		l->at_key = false; /* it was a key */
		l->is_shown = false;
	} else {
		next(m);
	}
	return is_map ? yaml_mapping_end_event_initialize(out) : yaml_sequence_end_event_initialize(out);
}

/* Nothing of @e is handed on as it is: tags, anchors and comments could hold anything. */
static int translate(struct mask *m, const yaml_event_t *e, yaml_event_t *out)
{
	switch (e->type) {
	case YAML_STREAM_START_EVENT:
		return yaml_stream_start_event_initialize(out, YAML_UTF8_ENCODING);
	case YAML_STREAM_END_EVENT:
		return yaml_stream_end_event_initialize(out);
	case YAML_DOCUMENT_START_EVENT:
		return yaml_document_start_event_initialize(out, NULL, NULL, NULL, 1);
	case YAML_DOCUMENT_END_EVENT:
		return yaml_document_end_event_initialize(out, 1);
	case YAML_MAPPING_START_EVENT:
		return push(m, true, out);
	case YAML_SEQUENCE_START_EVENT:
		return push(m, false, out);
	case YAML_MAPPING_END_EVENT:
	case YAML_SEQUENCE_END_EVENT:
		return pop(m, out);
	case YAML_SCALAR_EVENT:
		return on_scalar(m, e, out);
	default: /* an alias */
		next(m);
		return scalar(m, YMLMASK_HIDDEN, out);
	}
}

static int run(struct mask *m)
{
	yaml_event_t in, out;
	bool done = false;
	int ok;

	while (!done) {
		if (!yaml_parser_parse(&m->parser, &in))
			return m->parser.error == YAML_MEMORY_ERROR ? -ENOMEM : -EBADMSG;
		done = in.type == YAML_STREAM_END_EVENT;
		ok = translate(m, &in, &out);
		yaml_event_delete(&in);
		if (!ok)
			return -EBADMSG;
		if (!yaml_emitter_emit(&m->emitter, &out)) /* takes @out over */
			return m->emitter.error == YAML_MEMORY_ERROR ? -ENOMEM : -EBADMSG;
	}
	return 0;
}

int ymlmask(const char *path, FILE *out)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	_cleanup_fclose_ FILE *in = NULL;
	struct mask m = { 0 };
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size > (off_t)FILE_MAX)
		return -EFBIG;
	in = fdopen(fd, "r");
	if (!in)
		return -errno;
	(void)TAKE_FD(fd);
	if (!yaml_parser_initialize(&m.parser))
		return -ENOMEM;
	if (!yaml_emitter_initialize(&m.emitter)) {
		yaml_parser_delete(&m.parser);
		return -ENOMEM;
	}
	yaml_parser_set_input_file(&m.parser, in);
	yaml_emitter_set_output_file(&m.emitter, out);
	yaml_emitter_set_unicode(&m.emitter, 1);
	r = run(&m);
	(void)yaml_emitter_flush(&m.emitter);
	yaml_emitter_delete(&m.emitter);
	yaml_parser_delete(&m.parser);
	return r;
}
