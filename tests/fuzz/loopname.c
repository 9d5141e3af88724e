/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands in the kernel about a loop device: its name field, which the udev helper and the driver
 * both read, and the path of its backing file. Anybody who is root may have written them.
 */
int helper_main(int argc, char **argv);
#define main helper_main
#include "../../udev/helper.c"
#undef main
#undef NAME_PREFIX
#include "../../drivers/loopback_device.c"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char field[LO_NAME_SIZE] = "", line[LO_NAME_SIZE];
	_cleanup_free_ char *path = fuzz_text(data, size);
	struct loop_info64 info = { 0 };
	struct id128 id, volume;
	const char *text;
	uint64_t epoch;

	if (size > 0)
		memcpy(field, data, MIN(size, sizeof(field) - 1));
	if (name_parse(field, &id, &text) == 0) {
		/* These two lines become properties of the device: one word each, nothing beside. */
		PROMISE(*text && strspn(text, "0123456789") == strlen(text));
		snprintf(line, sizeof(line), NAME_PREFIX "%s:%s", ID128_STR(id), text);
		PROMISE(strcasecmp(line, field) == 0);
		/* What the driver calls its own, the helper announces. */
		if (name_is_ours(field, id, &epoch) && epoch <= DRIVER_EPOCH_MAX) {
			name_set(&info, id, epoch);
			PROMISE(name_parse((char *)info.lo_file_name, &volume, &text) == 0);
			PROMISE(id128_equal(id, volume));
		}
	} else {
		PROMISE(!name_is_ours(field, (struct id128){ 1, 2 }, &epoch));
	}
	(void)backing_parse(path, size % 2 == 0, &volume);
	return 0;
}
