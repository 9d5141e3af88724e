/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any JSON text. What was read can be written and read again, and is the same; what is refused is
 * refused in words of UTF-8, since they go into an answer. json-c, which wrote more
 * parsers than we did, must not refuse what we take. The same bytes as a name go through the writer.
 */
#include "fuzz.h"
#include "jsonin.h"
#include "jsonout.h"

static void check_error(const char error[JSONIN_ERROR_MAX])
{
	const char *end = memchr(error, '\0', JSONIN_ERROR_MAX);

	PROMISE(end && end > error);
	for (const char *p = error; p < end;) {
		unsigned int n = utf8_length(p, end);

		PROMISE(n > 0);
		p += n;
	}
}

static void check_value(struct json_object *v, const char *text, size_t size)
{
	_cleanup_json_ struct json_object *again = NULL, *theirs = NULL;
	struct json_tokener *tok = json_tokener_new_ex(JSONIN_DEPTH_MAX + 2);
	char error[JSONIN_ERROR_MAX];
	const char *out;
	size_t out_size;

	PROMISE(tok);
	out = json_object_to_json_string_length(v, JSON_C_TO_STRING_PLAIN, &out_size);
	PROMISE(out && jsonin_parse(out, out_size, &again, error) == 0);
	PROMISE(json_object_equal(v, again));

	json_tokener_set_flags(tok, JSON_TOKENER_VALIDATE_UTF8);
	theirs = json_tokener_parse_ex(tok, text, (int)size + 1);
	PROMISE(json_tokener_get_error(tok) == json_tokener_success);
	json_tokener_free(tok);
}

static void check_written(const char *text)
{
	_cleanup_json_ struct json_object *back = NULL;
	_cleanup_free_ char *out = NULL;
	struct jsonout o = { 0 };
	char error[JSONIN_ERROR_MAX];
	struct json_object *v;
	size_t size, n = strlen(text), clean = 0;

	jsonout_open(&o, NULL, '{');
	jsonout_text(&o, "text", text);
	jsonout_bool(&o, text, true);
	jsonout_close(&o, '}');
	PROMISE(jsonout_finish(&o, &out, &size) == 0);
	if (STREQ(text, "text"))
		return;
	PROMISE(jsonin_parse(out, size, &back, error) == 0);
	PROMISE(json_object_object_get_ex(back, "text", &v));
	while (clean < n && utf8_length(text + clean, text + n))
		clean += utf8_length(text + clean, text + n);
	PROMISE(clean < n || STREQ(json_object_get_string(v), text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_json_ struct json_object *v = NULL;
	_cleanup_free_ char *text = fuzz_text(data, size), *bare = malloc(size ?: 1);
	char error[JSONIN_ERROR_MAX];
	int r;

	PROMISE(bare);
	if (size > 0)
		memcpy(bare, data, size);
	r = jsonin_parse(bare, size, &v, error); /* without the NUL: it must not look there */
	PROMISE(r == 0 || r == -EBADMSG);
	if (r < 0)
		check_error(error);
	else
		check_value(v, text, size);
	check_written(text);
	return 0;
}
