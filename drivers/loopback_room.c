/* SPDX-License-Identifier: Apache-2.0 */
/* How much room there is for images, and how much of it was promised. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "loopback.h"
#include "loopback_io.h"
#include "loopback_private.h"
#include "loopback_volume.h"

#define FULL_BYTES MIB
#define KEPT_BLOCKS UINT64_C(4096) /* that ext4 gives to nobody, or a fiftieth of what it has */

DEFINE_CLEANUP(DIR *, closedir);

/* Loop devices write as root, who may use what is kept back from others. */
static bool is_full(const struct statvfs *fs)
{
	uint64_t spare = FULL_BYTES / fs->f_frsize;

	return fs->f_bavail < spare && fs->f_bfree < MIN((uint64_t)fs->f_blocks / 50, KEPT_BLOCKS) + spare;
}

int loopback_describe(struct driver *d, struct driver_desc *ret)
{
	const struct loopback *lo = (const struct loopback *)d;
	struct statvfs fs;

	if (statvfs(lo->volumes, &fs) < 0)
		return loopback_errno();
	*ret = (struct driver_desc){
		.name = loopback_ops.name,
		.shared = true,
		.allocation_unit = lo->allocation_unit,
		.capacity_bytes = (uint64_t)fs.f_blocks * fs.f_frsize,
		.free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize,
		.full = is_full(&fs),
		.discards = true,
	};
	return 0;
}

int loopback_promised(struct driver *d, uint64_t *ret_bytes)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	const struct loopback *lo = (const struct loopback *)d;
	struct id128 volume_id;
	struct dirent *de;
	uint64_t sum = 0;
	int r;

	r = loopback_volumes_list(lo->volumes, &dir);
	if (r < 0)
		return r;
	for (errno = 0; (de = readdir(dir)); errno = 0) {
		char image[sizeof(de->d_name) + sizeof("/image")];
		struct stat st;

		if (!loopback_volume_name(de->d_name, &volume_id))
			continue;
		snprintf(image, sizeof(image), "%s/image", de->d_name);
		if (fstatat(dirfd(dir), image, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			sum += (uint64_t)st.st_size;
	}
	if (errno)
		return loopback_errno();
	*ret_bytes = sum;
	return 0;
}
