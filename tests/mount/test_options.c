/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "macro.h"
#include "vmount.h"

static void ordinary_options_are_taken(void **state)
{
	static const char *const good[] = { "", "noatime", "nosuid,nodev,noexec",
		"rw,relatime,discard", "commit=30,data=journal", "compress=zstd:3,ssd", "barrier=1",
		"barrier", "context=\"system_u:object_r:ro,loop:s0\"", "logbsize=256k" };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_int_equal(vmount_options_check(good[i], NULL, 0), 0);
}

static void dangerous_options_are_named(void **state)
{
	static const char *const bad[] = { "ro", "loop", "loop=/dev/loop7", "remount", "bind",
		"X-mount.mkdir", "x-systemd.automount", "norecovery", "noload", "subvol=a",
		"device=/dev/sdb", "nouuid", "barrier=0", "nobarrier", "offset=512", "users",
		"shared", "logdev=/dev/sdb" };
	char text[80], why[200];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(text, sizeof(text), "noatime,%s,nodiratime", bad[i]);
		assert_int_equal(vmount_options_check(text, why, sizeof(why)), -EINVAL);
		snprintf(text, sizeof(text), "'%.*s'", (int)strcspn(bad[i], "="), bad[i]);
		assert_non_null(strstr(why, text));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ordinary_options_are_taken),
		cmocka_unit_test(dangerous_options_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
