/* SPDX-License-Identifier: Apache-2.0 */
/*
 * terms.h - the file in a node's run directory that tells from when the terms of its leased
 * datasets last. It is on a tmpfs: reading it waits for nobody, neither for the node nor for
 * control.
 */
#pragma once

#include "macro.h"

#define TERMS_FILE "terms"

/* Times are of CLOCK_BOOTTIME. */
struct terms {
	uint64_t renewed_ms; /* the last renewal that control has answered was sent then */
	uint64_t term_ms;    /* the shortest of them all, maybe extended by control for its own restart */
};

int terms_write(const char *path, const struct terms *t); /* 0 or negative errno */

/* 0; -ENOENT: nothing was leased yet; -EBADMSG; or another errno. */
int terms_read(const char *path, struct terms *ret);

/**
 * terms_left() - how long until so much of a term is over that its users should end
 * @term_ms: of the dataset
 * @known_ms: since when it is known to have a term at all
 *
 * Half of it is theirs. Returns: ms, 0 when it is time.
 */
uint64_t terms_left(const struct terms *t, uint64_t term_ms, uint64_t known_ms, uint64_t now_ms);
