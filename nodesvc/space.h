/* SPDX-License-Identifier: Apache-2.0 */
/*
 * space.h - how much room a backend has left, and from when on that is worth a warning.
 *
 * Volumes are thin, so a backend may have promised more than it has. What is told of that, and when, is
 * decided here. Pure: no I/O, no clock, no log.
 */
#pragma once

#include "driver.h"
#include "wire.h"

enum space_level {
	SPACE_FINE,
	SPACE_LOW,  /* less is free than agent.yml's space-warning: */
	SPACE_FULL, /* volumes that are there cannot have what they were promised: writes fail */
};

struct space {
	unsigned int percent; /* that has to be free; 0: nothing but a full backend is told */
	enum space_level level;
	struct wire_backend told; /* for control and the tree; names and capabilities are there from the start */
};

/* The backend @desc is open. */
void space_init(struct space *s, unsigned int percent, const struct driver_ops *ops, const struct driver_desc *desc);

/* As it is now. True when @level is another than before: that is to be said, with @told.warning. */
bool space_look(struct space *s, const struct driver_desc *desc);

/* The sum of what its volumes may take; 0: not known. */
void space_promised(struct space *s, uint64_t bytes);
