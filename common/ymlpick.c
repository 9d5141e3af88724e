/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>
#include <yaml.h>

#include "text.h"
#include "ymlpick.h"

#define SIZE_LIMIT MIB

static yaml_node_t *item_of(yaml_document_t *doc, const yaml_node_t *list, const char *number)
{
	size_t n = (size_t)(list->data.sequence.items.top - list->data.sequence.items.start);
	uint64_t i;

	if (n == 0 || text_number(number, 0, n - 1, &i) < 0)
		return NULL;
	return yaml_document_get_node(doc, list->data.sequence.items.start[i]);
}

static const char *text_of(const yaml_node_t *node)
{
	return node && node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value : NULL;
}

static yaml_node_t *child_of(yaml_document_t *doc, const yaml_node_t *node, const char *key)
{
	if (node->type == YAML_SEQUENCE_NODE)
		return item_of(doc, node, key);
	if (node->type != YAML_MAPPING_NODE)
		return NULL;
	for (const yaml_node_pair_t *p = node->data.mapping.pairs.start;
		p < node->data.mapping.pairs.top; p++) {
		const char *name = text_of(yaml_document_get_node(doc, p->key));

		if (name && STREQ(name, key))
			return yaml_document_get_node(doc, p->value);
	}
	return NULL;
}

static int pick(yaml_document_t *doc, const char *where, char **ret)
{
	_cleanup_free_ char *keys = strdup(where), *text = NULL;
	yaml_node_t *node = yaml_document_get_root_node(doc);
	char *rest = keys;

	if (!keys)
		return -ENOMEM;
	for (char *key; node && (key = strsep(&rest, "/"));)
		node = child_of(doc, node, key);
	if (text_of(node) && !(text = strdup(text_of(node))))
		return -ENOMEM;
	*ret = TAKE_PTR(text);
	return 0;
}

static int parse(FILE *f, const char *where, char **ret)
{
	yaml_parser_t parser;
	yaml_document_t doc;
	int r;

	if (!yaml_parser_initialize(&parser))
		return -ENOMEM;
	yaml_parser_set_input_file(&parser, f);
	if (yaml_parser_load(&parser, &doc)) {
		r = pick(&doc, where, ret);
		yaml_document_delete(&doc);
	} else {
		r = parser.error == YAML_MEMORY_ERROR ? -ENOMEM : -EBADMSG;
	}
	yaml_parser_delete(&parser);
	return r;
}

int ymlpick(const char *path, const char *where, char **ret)
{
	_cleanup_fclose_ FILE *f = NULL;
	struct stat st;

	/* Before it is opened, which waits for ever on a FIFO. */
	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((uint64_t)st.st_size > SIZE_LIMIT)
		return -EFBIG;
	f = fopen(path, "re");
	return f ? parse(f, where, ret) : -errno;
}
