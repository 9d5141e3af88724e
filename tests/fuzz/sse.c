/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The events that come back to flockerctl. However a stream is cut into pieces, it means the same. The first
 * byte of the input chooses the pieces.
 */
#include "fuzz.h"
#include "sse.h"

struct outcome {
	int rc;
	char *said; /* the events, one after the other */
	size_t size;
	char id[SSE_WORD_SIZE];
};

static struct outcome read_all(const char *data, size_t size, size_t piece)
{
	_cleanup_(sse_freep) struct sse *s = sse_new();
	struct outcome o = { 0 };
	struct sse_event e;
	size_t used;
	FILE *out = open_memstream(&o.said, &o.size);

	PROMISE(s && out);
	while (size > 0 && o.rc >= 0) {
		o.rc = sse_take(s, data, MIN(size, piece), &used, &e);
		if (o.rc < 0)
			break;
		PROMISE(used <= MIN(size, piece) && (o.rc == 1 || used == MIN(size, piece)));
		data += used;
		size -= used;
		if (o.rc == 1) {
			PROMISE(e.data[e.size] == '\0' && strlen(e.type) < SSE_WORD_SIZE);
			fprintf(out, "%s %s ", sse_id(s), e.type);
			fwrite(e.data, 1, e.size, out);
			fputc('\n', out);
		}
	}
	PROMISE(o.rc >= 0 || o.rc == -EMSGSIZE);
	strcpy(o.id, sse_id(s));
	fclose(out);
	return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);
	struct outcome whole, pieces;

	if (size == 0)
		return 0;
	whole = read_all(text + 1, size - 1, SIZE_MAX);
	pieces = read_all(text + 1, size - 1, (size_t)data[0] + 1);
	PROMISE((whole.rc < 0) == (pieces.rc < 0) && whole.size == pieces.size);
	PROMISE(memcmp(whole.said, pieces.said, whole.size) == 0 && STREQ(whole.id, pieces.id));
	free(whole.said);
	free(pieces.said);
	return 0;
}
