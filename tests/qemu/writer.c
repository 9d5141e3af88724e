/* SPDX-License-Identifier: Apache-2.0 */
/*
 * writer FILE OUT - append numbered lines, each on stable storage before it is acknowledged on OUT,
 * and the next one follows. Ends with the first error, and says it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int out = argc == 3 ? open(argv[2], O_WRONLY | O_NOCTTY) : -1;
	int fd = out < 0 ? -1 : open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0600);

	for (unsigned long n = 0; fd >= 0; n++) {
		if (dprintf(fd, "%08lu\n", n) < 0 || fsync(fd) < 0)
			break;
		dprintf(out, "ack %lu\n", n);
	}
	dprintf(out, "writer ended: %s\n", strerror(errno));
	return 1;
}
