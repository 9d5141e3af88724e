/* SPDX-License-Identifier: Apache-2.0 */
/* take_image.h - the command that makes a volume of an image file that another program wrote. */
#pragma once

#include "config.h"

/*
 * The volume's id is the dataset's, as `flocker-control import` has it. Blocks, copies the whole image, and
 * leaves that as it is; the daemon may run meanwhile. Says what it did on standard output, and what went
 * wrong on standard error. 0 or -errno.
 */
int take_image(const struct node_config *c, const char *image, struct id128 dataset_id);
