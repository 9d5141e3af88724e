/* SPDX-License-Identifier: Apache-2.0 */
#include "args.h"
#include "say.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int add_pair(
	struct json_object *object, const char *pair, size_t len, const char **ret_problem)
{
	const char *equals = memchr(pair, '=', len);
	_cleanup_free_ char *key = NULL;
	struct json_object *value;

	if (!equals || equals == pair) {
		*ret_problem = equals ? "a key is empty" : "a pair lacks its '='";
		return -EINVAL;
	}
	key = strndup(pair, (size_t)(equals - pair));
	if (!key)
		return -ENOMEM;
	if (json_object_object_get_ex(object, key, NULL)) {
		*ret_problem = "a key is given a second time";
		return -EEXIST;
	}
	value = json_object_new_string_len(equals + 1, (int)(pair + len - equals - 1));
	if (!value || json_object_object_add(object, key, value) < 0) {
		json_object_put(value);
		return -ENOMEM;
	}
	return 0;
}

int args_metadata(const char *text, struct json_object *object, const char **ret_problem)
{
	if (!say_is_clean(text)) {
		*ret_problem = "there is something else than UTF-8 without control characters";
		return -EINVAL;
	}
	for (;;) {
		size_t len = strcspn(text, ",");
		int r = add_pair(object, text, len, ret_problem);

		if (r < 0 || text[len] == '\0')
			return r;
		text += len + 1;
	}
}

bool args_means(const char *text, const struct candidate *c)
{
	if (*text == '\0')
		return false;
	return strncasecmp(c->id, text, strlen(text)) == 0 || (c->name && STREQ(c->name, text));
}

int args_match(const char *text, const struct candidate *c, size_t n)
{
	int found = -ENOENT;

	for (size_t i = 0; i < n; i++) {
		if (!args_means(text, &c[i]))
			continue;
		if (found >= 0)
			return -ENOTUNIQ;
		found = (int)i;
	}
	return found;
}

int args_seconds(const char *text, uint64_t *ret_ms)
{
	char *end;
	double s;

	if (!is_digit(*text))
		return -EINVAL;
	s = strtod(text, &end);
	if (*end != '\0' || strpbrk(text, "xXeE"))
		return -EINVAL;
	if (s > 365.0 * 86400)
		return -ERANGE;
	*ret_ms = (uint64_t)(s * 1000);
	return 0;
}

int args_duration(const char *text, uint64_t *ret_s)
{
	static const struct {
		char letter;
		uint64_t seconds;
	} units[] = { { '\0', 1 }, { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 7 * 86400 } };
	size_t digits = strspn(text, "0123456789");
	uint64_t n = 0;

	if (digits == 0)
		return -EINVAL;
	for (size_t i = 0; i < digits; i++) {
		n = n * 10 + (uint64_t)(text[i] - '0');
		if (n > UINT32_MAX)
			return -ERANGE;
	}
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (text[digits] != units[i].letter || (text[digits] && text[digits + 1]))
			continue;
		*ret_s = n * units[i].seconds;
		return 0;
	}
	return -EINVAL;
}
