/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words people type. A line of the input is an argument of flocker-control, an endpoint, and each
 * of what flockerctl reads: a size, a time, metadata, the name of a dataset.
 */
#include <getopt.h>

#include "args.h"
#include "fuzz.h"
#include "options.h"
#include "say.h"
#include "text.h"

#define WORDS_MAX 8

static void quiet(void)
{
	static bool done;

	if (done)
		return;
	done = true;
	stdout = fopen("/dev/null", "we");
	stderr = fopen("/dev/null", "we");
	PROMISE(stdout && stderr);
}

static void endpoint(const char *text)
{
	struct endpoint e;
	int r = endpoint_parse(text, &e);

	PROMISE(r == 0 || r == -EINVAL);
	PROMISE(r < 0 || (e.port > 0 && e.address[0] && strnlen(e.address, sizeof(e.address)) <
		sizeof(e.address)));
}

static void command_line(char **words, int n)
{
	struct options o;
	int r;

	optind = 0;
	r = options_parse(n, words, &o);
	PROMISE(r == 1 || r == 0 || r == -EINVAL);
	PROMISE(r != 1 || (o.data_path && o.certificates && o.user && o.rest.port && o.agents.port));
}

static void size_and_time(const char *text)
{
	uint64_t v;
	int r = text_size(text, &v);

	PROMISE(r == 0 || r == -EINVAL || r == -ERANGE);
	PROMISE(r < 0 || (v > 0 && v <= INT64_MAX && v % 1024 == 0));
	r = args_seconds(text, &v);
	PROMISE(r == 0 || r == -EINVAL || r == -ERANGE);
	PROMISE(r < 0 || v <= UINT64_C(365) * 86400 * 1000);
	r = args_duration(text, &v);
	PROMISE(r == 0 || r == -EINVAL || r == -ERANGE);
	PROMISE(r < 0 || v <= UINT32_MAX * UINT64_C(7) * 86400);
}

static void metadata(const char *text)
{
	struct json_object *o = json_object_new_object();
	const char *problem = NULL;
	int r;

	PROMISE(o);
	r = args_metadata(text, o, &problem);
	PROMISE(r == 0 || ((r == -EINVAL || r == -EEXIST) && problem));
	json_object_object_foreach(o, key, value) {
		PROMISE(*key && say_is_clean(key) && json_object_is_type(value, json_type_string));
		PROMISE(say_is_clean(json_object_get_string(value)));
	}
	json_object_put(o);
}

static void match(const char *text)
{
	static const struct candidate candidates[] = {
		{ "11111111-1111-4111-8111-111111111111", "here" },
		{ "11111111-1111-4111-8111-222222222222", NULL },
		{ "abcdef12-1111-4111-8111-333333333333", "1" },
	};
	int r = args_match(text, candidates, ARRAY_SIZE(candidates));

	PROMISE(r == -ENOENT || r == -ENOTUNIQ || (r >= 0 && args_means(text, &candidates[r])));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);
	char program[] = "flocker-control", *words[WORDS_MAX + 2] = { program }, *rest = text;
	int n = 1;

	quiet();
	while (rest && n <= WORDS_MAX) {
		char *word = strsep(&rest, "\n");

		endpoint(word);
		size_and_time(word);
		metadata(word);
		match(word);
		PROMISE(say_width(word) >= 0);
		words[n++] = word;
	}
	command_line(words, n);
	return 0;
}
