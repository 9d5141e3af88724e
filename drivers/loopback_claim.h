/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback_claim.h - who may attach a loopback volume: the file `claim` beside its image.
 *
 * The file holds two slots of one page. Each is one JSON object with a serial and a checksum; the
 * valid one with the higher serial counts, and a change overwrites the other. So a change is atomic
 * and costs one fdatasync() of bytes that are already allocated: a temporary file and rename() would
 * cost four times that, twice in every move. It also keeps the file in place, so that it can
 * carry the lock under which it is changed.
 *
 * Private to the loopback driver. Calls block on the disk.
 */
#pragma once

#include "driver.h"

enum loopback_claim_state {
	LOOPBACK_CLAIM_NEW,  /* created under this epoch, which may still attach */
	LOOPBACK_CLAIM_HELD, /* by node and host since boot */
	LOOPBACK_CLAIM_FREE, /* given back by node and host: this epoch attaches no more */
	LOOPBACK_CLAIM_STATE_MAX,
};

struct loopback_claim {
	enum loopback_claim_state state;
	uint64_t epoch;
	struct driver_node by; /* of NEW and FREE: who wrote that */
	uint64_t serial;       /* of the slot; loopback_claim_write() counts it up */
};

/* Fills the empty file @fd with @c in both slots; not durable yet. */
int loopback_claim_init(int fd, struct loopback_claim *c);

/**
 * loopback_claim_read() - needs no lock: a change under way is seen whole or not at all
 * @ret: set on success only
 *
 * Returns: 0; -EIO when neither slot is valid; -ENOTSUP when a newer version wrote it.
 */
int loopback_claim_read(int fd, struct loopback_claim *ret);

/*
 * Writes @c and waits until it is durable; the caller has the lock. After a failure the file may
 * say either, and what it says may not be durable: write again before building on it.
 */
int loopback_claim_write(int fd, struct loopback_claim *c);

/* Whom the claim allows to attach, as @self sees it. */
enum driver_place loopback_claim_place(const struct loopback_claim *c,
	const struct driver_node *self);

/* The claim was written by this node on this machine, in whatever boot. */
bool loopback_claim_is_by(const struct loopback_claim *c, const struct driver_node *self);
