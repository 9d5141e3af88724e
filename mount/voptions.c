/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mount options that a dataset cannot have: each would make the mount something else than one whole
 * filesystem of one device, writable, whose fsync is kept. All others are the administrator's.
 */
#include <libmount.h>

#include "vmount.h"
#include "vwhy.h"

#define WRITABLE "a dataset is mounted read-write or not at all"
#define PLACE "the node decides what is mounted where"
#define ONE_DEVICE "a dataset is on one device, which the driver names"
#define WHOLE "the whole filesystem is the dataset"
#define DURABLE "what was fsynced must outlive a crash"
#define PROGRAM "no mount helpers and no fstab are used"
#define IDENTITY "two filesystems with one UUID are never mounted together"
#define REPAIR "mounting a damaged filesystem is for people"

/* A name that ends in '*' stands for all that begin so. */
static const struct {
	const char *name, *reason;
} refused[] = {
	/* clang-format off */
	{ "ro", WRITABLE },             { "norecovery", WRITABLE },
	{ "noload", WRITABLE },         { "nologreplay", WRITABLE },
	{ "remount", PLACE },           { "bind", PLACE },
	{ "rbind", PLACE },             { "move", PLACE },
	{ "private", PLACE },           { "rprivate", PLACE },
	{ "shared", PLACE },            { "rshared", PLACE },
	{ "slave", PLACE },             { "rslave", PLACE },
	{ "unbindable", PLACE },        { "runbindable", PLACE },
	{ "loop", ONE_DEVICE },         { "offset", ONE_DEVICE },
	{ "sizelimit", ONE_DEVICE },    { "encryption", ONE_DEVICE },
	{ "device", ONE_DEVICE },       { "logdev", ONE_DEVICE },
	{ "rtdev", ONE_DEVICE },        { "journal_dev", ONE_DEVICE },
	{ "journal_path", ONE_DEVICE }, { "sb", ONE_DEVICE },
	{ "subvol", WHOLE },            { "subvolid", WHOLE },
	{ "subvolrootid", WHOLE },      { "nobarrier", DURABLE },
	{ "nouuid", IDENTITY },         { "degraded", REPAIR },
	{ "rescue", REPAIR },           { "recovery", REPAIR },
	{ "usebackuproot", REPAIR },    { "abort", REPAIR },
	{ "helper", PROGRAM },          { "uhelper", PROGRAM },
	{ "user", PROGRAM },            { "nouser", PROGRAM },
	{ "users", PROGRAM },           { "owner", PROGRAM },
	{ "group", PROGRAM },           { "auto", PROGRAM },
	{ "noauto", PROGRAM },          { "nofail", PROGRAM },
	{ "comment", PROGRAM },         { "x-*", PROGRAM },
	{ "X-*", PROGRAM },             { "verity.*", ONE_DEVICE },
	{ "roothash", ONE_DEVICE },
	/* clang-format on */
};

static const char *reason_against(const char *name, size_t n, const char *value, size_t value_n)
{
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		size_t len = strlen(refused[i].name);
		bool prefix = refused[i].name[len - 1] == '*';

		if (prefix ? n >= len - 1 && memcmp(name, refused[i].name, len - 1) == 0
			   : n == len && memcmp(name, refused[i].name, len) == 0)
			return refused[i].reason;
	}
	if (n == 7 && memcmp(name, "barrier", 7) == 0 && value_n == 1 && value[0] == '0')
		return DURABLE;
	return NULL;
}

int vmount_options_check(const char *options, char *why_buf, size_t size)
{
	struct vwhy why = { why_buf, size };
	_cleanup_free_ char *copy = NULL;
	size_t name_n, value_n;
	char *rest, *name, *value;
	int r;

	copy = strdup(options);
	if (!copy)
		return -ENOMEM;

	rest = copy;
	while ((r = mnt_optstr_next_option(&rest, &name, &name_n, &value, &value_n)) == 0) {
		const char *reason = reason_against(name, name_n, value, value_n);

		if (reason)
			return vwhy_set(&why, -EINVAL, "mount option '%.*s' is refused: %s",
				(int)name_n, name, reason);
	}
	if (r < 0)
		return vwhy_set(&why, -EINVAL, "mount options '%s' cannot be read", options);
	return 0;
}
