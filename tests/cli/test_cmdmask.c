/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's command line as an archive for others has it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cmdmask.h"

static void expect(void (*mask)(const char *text, FILE *out), const char *text, const char *expected)
{
	char *shown = NULL;
	size_t size;
	FILE *out = open_memstream(&shown, &size);

	assert_non_null(out);
	mask(text, out);
	fclose(out);
	assert_string_equal(shown, expected);
	free(shown);
}

static void names_are_shown_and_values_of_harmless_ones(void **state)
{
	expect(cmdmask, "BOOT_IMAGE=/vmlinuz root=UUID=1-2 ro quiet console=ttyS0,115200\n",
		"BOOT_IMAGE=/vmlinuz root=UUID=1-2 ro quiet console=ttyS0,115200\n");
	expect(cmdmask, "ro password=hunter2 rd.luks.key=/k=1 quiet",
		"ro password=(left out) rd.luks.key=(left out) quiet\n");
	expect(cmdmask, "", "\n");
}

static void a_quoted_value_is_left_out_whole(void **state)
{
	expect(cmdmask, "a=\"one hunter2\" \"b=one hunter2\" quiet", "a=(left out) \"b=(left out) quiet\n");
	expect(cmdmask, "rooted=hunter2 \"root=a hunter2\"", "rooted=(left out) \"root=(left out)\n");
	expect(cmdmask, "a=\"no end hunter2", "a=(left out)\n");
}

static void what_is_meant_for_init_is_left_out(void **state)
{
	expect(cmdmask, "quiet -- --token hunter2 b=1", "quiet -- (left out)\n");
}

static void the_kernels_log_tells_it_without_values(void **state)
{
	expect(cmdmask_log, "host kernel: Command line: root=/dev/vda token=hunter2\n",
		"host kernel: Command line (left out)\n");
	expect(cmdmask_log, "host kernel: Unknown kernel command line parameters \"token=hunter2\", will be passed\n",
		"host kernel: Unknown kernel command line (left out)\n");
	expect(cmdmask_log, "host kernel: loop0: detected capacity change\n",
		"host kernel: loop0: detected capacity change\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_shown_and_values_of_harmless_ones),
		cmocka_unit_test(a_quoted_value_is_left_out_whole),
		cmocka_unit_test(what_is_meant_for_init_is_left_out),
		cmocka_unit_test(the_kernels_log_tells_it_without_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
