/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <inttypes.h>

#include "driver.h"
#include "take_image.h"

#define IMPORTED_EPOCH 1 /* as given back, in the record that the import made */

static int complain(int r, const char *what, const char *why)
{
	fprintf(stderr, "ERROR: %s: %s\n", what, why);
	return r;
}

/* Nobody: no machine is the holder of what was made so. */
static int open_driver(const struct driver_ops *ops, const struct node_config *c, struct driver **ret)
{
	_cleanup_free_ struct driver_option *options = calloc(c->n_options + 1, sizeof(*options));
	_cleanup_free_ char *error = NULL;
	struct driver_node nobody;
	int r;

	if (!options)
		return complain(-ENOMEM, c->backend, strerror(ENOMEM));
	if ((r = id128_random(&nobody.node)) < 0 || (r = id128_random(&nobody.host)) < 0 ||
		(r = id128_random(&nobody.boot)) < 0)
		return complain(r, c->backend, strerror(-r));
	for (size_t i = 0; i < c->n_options; i++)
		options[i] = (struct driver_option){ c->options[i].key, c->options[i].value, c->options[i].line };
	r = ops->open(&nobody, options, c->n_options, ret, &error);
	return r < 0 ? complain(r, c->backend, error ?: strerror(-r)) : 0;
}

static const char *explain(int r)
{
	switch (r) {
	case -EEXIST:
		return "this dataset has a volume already, and it is left as it is";
	case -EINVAL:
		return "this is no regular file, or it is empty";
	case -ENOSPC:
		return "the backend has no room for it";
	default:
		return strerror(-r);
	}
}

int take_image(const struct node_config *c, const char *image, struct id128 dataset_id)
{
	const struct driver_ops *ops = driver_find(c->backend);
	_cleanup_close_ int fd = -EBADF;
	struct driver *d = NULL;
	uint64_t size = 0;
	int r;

	if (!ops || !ops->take)
		return complain(-ENOTSUP, c->backend, "no backend that can take an image");
	fd = open(image, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return complain(-errno, image, strerror(errno));
	r = open_driver(ops, c, &d);
	if (r < 0)
		return r;
	r = ops->take(d, dataset_id, dataset_id, fd, IMPORTED_EPOCH, &size);
	ops->close(d);
	if (r < 0)
		return complain(r, image, explain(r));
	printf("%s: %" PRIu64 " bytes are the volume of dataset %s\n", image, size, ID128_STR(dataset_id));
	return 0;
}
