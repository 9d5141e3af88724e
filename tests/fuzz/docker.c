/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the Docker plugin reads of others, by the first byte of the input: a call of an engine with
 * its options, an answer over HTTP in pieces, a dataset of control, its own file of mounts, an
 * engine's list of containers.
 */
#include "answer.h"
#include "docker_mounts.h"
#include "docker_options.h"
#include "engine.h"
#include "fuzz.h"
#include "jsonin.h"

static void read_call(const char *text, size_t size)
{
	char error[DOCKER_ERROR_MAX] = "", path[64];
	struct docker_options o;
	struct docker_request q;
	int r;

	for (int call = 0; call < DOCKER_CALL_MAX; call++) {
		snprintf(path, sizeof(path), "/%s", docker_call_name((enum docker_call)call));
		r = docker_request_read(path, text, size, &q, error);
		PROMISE(r == 0 || (r == -EBADMSG && *error));
		if (r < 0)
			continue;
		PROMISE(!q.name || docker_name_valid(q.name));
		r = docker_options_read(q.options, &o, error);
		PROMISE(r == 0 || (r == -EINVAL && *error));
		if (r == 0 && q.name)
			json_object_put(docker_options_body(&o, q.name, ID128_NIL));
		docker_request_done(&q);
	}
}

static size_t read_answer(const char *text, size_t size, size_t piece, struct answer *a)
{
	const char *body = NULL;
	size_t at = 0, used, n, all = 0;

	memset(a, 0, sizeof(*a));
	while (at < size && a->state != ANSWER_DONE) {
		int r = answer_take(a, text + at, MIN(piece, size - at), &used, &body, &n);

		PROMISE(r == 0 || r == -EPROTO);
		if (r < 0)
			return SIZE_MAX;
		PROMISE(used > 0 && used <= MIN(piece, size - at) && n <= used);
		at += used;
		all += n;
	}
	return all;
}

/* However it is cut, it says the same. */
static void read_answers(const char *text, size_t size)
{
	struct answer a, b;
	size_t whole = read_answer(text, size, MAX(size, (size_t)1), &a);

	PROMISE(whole == read_answer(text, size, 1, &b));
	PROMISE(whole == SIZE_MAX || (a.state == b.state && a.status == b.status));
}

static void read_dataset(struct json_object *o)
{
	struct catalog *c;
	struct id128 id;

	PROMISE(catalog_new(&c) == 0);
	for (int i = 0; i < 2; i++)
		if (catalog_put(c, o, &id) == 0 && catalog_by_id(c, id))
			PROMISE(catalog_by_name(c, catalog_by_id(c, id)->name));
	(void)catalog_put_node(c, o);
	catalog_free(c);
}

static void read_mounts(struct json_object *o)
{
	struct mounts *m;
	int r;

	PROMISE(mounts_new(&m) == 0);
	r = mounts_read(m, o, ID128_NIL);
	PROMISE(r == 0 || r == -EBADMSG);
	json_object_put(mounts_write(m, ID128_NIL));
	mounts_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = size > 0 ? fuzz_text(data + 1, size - 1) : NULL;
	_cleanup_json_ struct json_object *o = NULL;
	char error[JSONIN_ERROR_MAX], names[ENGINE_NAMES_MAX + 1];

	if (!text)
		return 0;
	switch (data[0] % 5) {
	case 0:
		read_call(text, size - 1);
		break;
	case 1:
		read_answers(text, size - 1);
		break;
	case 2:
		engine_names(text, size - 1, names);
		PROMISE(strlen(names) <= ENGINE_NAMES_MAX);
		break;
	default:
		if (jsonin_parse(text, size - 1, &o, error) < 0)
			break;
		if (data[0] % 5 == 3)
			read_dataset(o);
		else
			read_mounts(o);
		break;
	}
	return 0;
}
