/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flocker-udev-helper DEVICE - tells udev's rules whose device this is.
 *
 * The loopback driver writes "flocker:<dataset_id>:<epoch>" into the loop device's own name field,
 * which only root can do. Prints nothing, and fails, for a device of anybody else. Reads no data.
 */
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include "id128.h"

#define NAME_PREFIX "flocker:"

/* 0, or -EINVAL for a name that is not ours. */
static int name_parse(const char *name, struct id128 *ret_dataset_id, const char **ret_epoch)
{
	const size_t prefix = sizeof(NAME_PREFIX) - 1, id_size = ID128_TEXT - 1;
	char id[ID128_TEXT];
	const char *epoch;

	if (strncmp(name, NAME_PREFIX, prefix) != 0 || strlen(name) <= prefix + id_size + 1)
		return -EINVAL;
	epoch = name + prefix + id_size + 1;
	if (epoch[-1] != ':' || strspn(epoch, "0123456789") != strlen(epoch))
		return -EINVAL;
	memcpy(id, name + prefix, id_size);
	id[id_size] = '\0';
	*ret_epoch = epoch;
	return id128_parse(id, ret_dataset_id);
}

int main(int argc, char **argv)
{
	struct loop_info64 info;
	_cleanup_close_ int fd = -EBADF;
	struct id128 id;
	const char *epoch;

	if (argc != 2) {
		fprintf(stderr, "usage: %s DEVICE\n", argv[0]);
		return 2;
	}
	fd = open(argv[1], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
		return 1;
	info.lo_file_name[LO_NAME_SIZE - 1] = '\0';
	if (name_parse((const char *)info.lo_file_name, &id, &epoch) < 0)
		return 1;
	printf("FLOCKER_DATASET_ID=%s\nFLOCKER_EPOCH=%s\n", ID128_STR(id), epoch);
	return 0;
}
