/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume ROOT VOLUME_ID DATASET_ID BYTES - make a volume as a node does, before a node does: create is
 * idempotent, so a node that is granted the dataset finds the volume with whatever was put on it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

int main(int argc, char **argv)
{
	const struct driver_ops *ops = driver_find("loopback");
	struct driver_node self = { { 1, 1 }, { 2, 2 }, { 3, 3 } };
	struct id128 volume_id, dataset_id;
	struct driver_option root;
	struct driver *d;
	char *error = NULL;
	int r;

	if (argc != 5 || id128_parse(argv[2], &volume_id) < 0 || id128_parse(argv[3], &dataset_id) < 0) {
		fputs("usage: volume ROOT VOLUME_ID DATASET_ID BYTES\n", stderr);
		return 2;
	}
	root = (struct driver_option){ "root_path", argv[1], 1 };
	r = ops->open(&self, &root, 1, &d, &error);
	if (r == 0) {
		r = ops->create(d, volume_id, dataset_id, strtoull(argv[4], NULL, 10), 1);
		ops->close(d);
	}
	if (r < 0)
		fprintf(stderr, "volume: %s\n", error ? error : strerror(-r));
	free(error);
	return r < 0;
}
