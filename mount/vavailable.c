/* SPDX-License-Identifier: Apache-2.0 */
/* Is the program that a filesystem needs installed? Asked before anything is promised or written. */
#include "vformat.h"

static bool in_path(const char *program)
{
	const char *path = getenv("PATH");
	char file[4096];

	for (const char *dir = path ? path : "/usr/sbin:/usr/bin:/sbin:/bin"; *dir;) {
		int len = (int)strcspn(dir, ":");

		snprintf(file, sizeof(file), "%.*s/%s", len, dir, program);
		if (access(file, X_OK) == 0)
			return true;
		dir += len;
		dir += *dir == ':';
	}
	return false;
}

int vformat_available(enum fs_kind fs, char *why, size_t size)
{
	static const struct {
		const char *program, *package;
	} needs[] = {
		[FS_EXT4] = { "mkfs.ext4", "e2fsprogs" },
		[FS_XFS] = { "mkfs.xfs", "xfsprogs" },
		[FS_BTRFS] = { "mkfs.btrfs", "btrfs-progs" },
	};
	static_assert(ARRAY_SIZE(needs) == FS_KIND_MAX, "a filesystem names no program");

	if (in_path(needs[fs].program))
		return 0;
	snprintf(why, size, "%s is not installed (Debian package %s)", needs[fs].program,
		needs[fs].package);
	return -ENOENT;
}
