/* SPDX-License-Identifier: Apache-2.0 */
/* test_id128.c - UUIDs as strangers write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "id128.h"

static const char text[] = "56780f44-0499-4153-9352-92344b180021";

static void dashes_and_case_do_not_matter_in_the_loose_form(void **state)
{
	static const char *const forms[] = { "56780f44-0499-4153-9352-92344b180021", "56780F44-0499-4153-9352-92344B180021",
		"56780f4404994153935292344b180021", "56780F44049941539352-92344B180021", "-5-6780f4404994153935292344b180021--" };
	struct id128 id;

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		assert_int_equal(id128_parse_loose(forms[i], &id), 0);
		assert_string_equal(ID128_STR(id), text);
	}
}

static void anything_but_32_digits_is_no_id(void **state)
{
	static const char *const bad[] = { "", "-", "zzz", "56780f4404994153935292344b18002", "56780f4404994153935292344b1800211",
		"56780f4404994153935292344b18002g", "{56780f44-0499-4153-9352-92344b180021}", " 56780f4404994153935292344b180021" };
	struct id128 id = { 1, 2 };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(id128_parse_loose(bad[i], &id), -EINVAL);
	assert_true(id.hi == 1 && id.lo == 2);
}

static void bodies_may_hold_version_4_only(void **state)
{
	struct id128 id;

	assert_int_equal(id128_parse_v4(text, &id), 0);
	assert_int_equal(id128_parse_v4("56780f44-0499-1153-9352-92344b180021", &id), -EINVAL);
	assert_int_equal(id128_parse_v4("56780f44-0499-4153-c352-92344b180021", &id), -EINVAL);
	assert_int_equal(id128_parse_v4("56780f4404994153935292344b180021", &id), -EINVAL);
	assert_int_equal(id128_parse_v4("56780f44-0499-4153-9352-92344b180021\n", &id), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dashes_and_case_do_not_matter_in_the_loose_form),
		cmocka_unit_test(anything_but_32_digits_is_no_id),
		cmocka_unit_test(bodies_may_hold_version_4_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
