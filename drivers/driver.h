/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.h - where volumes come from: one table of calls a storage backend.
 *
 * A volume is a piece of storage with an identity (volume_id, chosen by control and durable there
 * before create). A driver yields a block device and never hears of filesystems or mountpoints.
 *
 * Calls block, so they belong on workers: any number at once for different volumes, one at a time
 * for one volume. A driver keeps no descriptors between calls (a worker closes all it inherited),
 * never logs, and never retries what failed: the next round of convergence does. So every call also
 * finishes what an earlier, interrupted one left half done, and each may be repeated at any time.
 *
 * Exclusion. The backend keeps a claim beside each volume: its holder and the highest epoch it
 * ever saw. Epochs come from control, grow with every grant, and start at 1. An attach writes the
 * claim durably before there is a device; a detach frees it only after the device is gone. A claim
 * is changed by its holder alone. The holder is (node, host): the same node certificate on another
 * machine is somebody else, the same machine after a reboot is still the holder.
 *
 * Each errno has one meaning; describe() and open() know only those below the line.
 *
 *   -ENOENT     no volume of this id. Said only when the backend was asked and answered so.
 *   -EBUSY      somebody else uses the volume, try later. lookup() tells who: with place
 *               DRIVER_ELSEWHERE it is the node `holder`; otherwise somebody on this machine has
 *               the device open, mounted (in any mount namespace), or made a device of their own
 *               on the volume's storage.
 *   -ESTALE     the order is old: its epoch is below the highest seen, or that grant was given
 *               back already (a grant is used once). Never retried, only replaced by a new grant.
 *   -ENODEV     the volume exists and is not attached here.
 *   -EEXIST     create: this id exists with another dataset or size.
 *   -EUCLEAN    the size of the storage differs from the record. Nobody may touch the data.
 *   -ETIMEDOUT  the backend gave no answer in time: nothing is known, least of all "none".
 *   -ENOSPC     no room (or quota) for it.
 *   -------------------------------------------------------------------------------------
 *   -EINVAL     our caller's mistake: size 0, epoch 0 or above DRIVER_EPOCH_MAX, a bad option.
 *   -EIO        the storage or its bookkeeping cannot be read, written or understood; or a device
 *               is there, and its volume is not.
 *   -ENOTSUP    the bookkeeping was written by a newer version of this program.
 *   -ENOMEM     and any other: the system call's own word (-EACCES, -EROFS, -EMFILE).
 */
#pragma once

#include <sys/types.h>

#include "id128.h"

/* Eighteen digits: with the dataset's id they still fit a loop device's name. */
#define DRIVER_EPOCH_MAX UINT64_C(999999999999999999)

struct driver; /* an open backend; any number of threads at once */

/* Who we are. */
struct driver_node {
	struct id128 node; /* of the certificate */
	struct id128 host; /* nonce of the state directory: one machine, one value */
	struct id128 boot; /* the kernel's boot_id */
};

/* What agent.yml's dataset: section says beside the backend's name. Borrowed during open(). */
struct driver_option {
	const char *key, *value;
	unsigned line; /* in agent.yml, for error texts */
};

struct driver_desc {
	const char *name;	  /* static */
	bool shared;		  /* its volumes can be attached by every node that has this backend */
	uint64_t allocation_unit; /* in bytes; sizes are rounded up to a multiple of it */
	uint64_t capacity_bytes, free_bytes; /* of the whole backend; 0: not known, free_bytes 0 only where
					      * capacity_bytes is as well */
	bool full;		  /* not even what its volumes were promised can be written: writes that need
				   * room fail */
	bool discards;		  /* what is discarded on a device becomes free in the backend */
};

enum driver_place {
	DRIVER_FREE,	  /* claimed by nobody */
	DRIVER_HERE,	  /* claimed by this node on this machine, in this boot or an earlier one */
	DRIVER_ELSEWHERE, /* claimed by another node, or by our name on another machine */
};

struct driver_volume {
	struct id128 volume_id, dataset_id;
	uint64_t size_bytes; /* as created or expanded, rounded up */
	enum driver_place place;
	struct id128 holder; /* the claim's node; nil when DRIVER_FREE */
	uint64_t epoch;	     /* the highest ever seen, also when DRIVER_FREE */
	bool attached;	     /* place is DRIVER_HERE and the device is really there now */
	uint64_t left_epoch; /* else: of a device of a claim that is no more and was not given back: its
			      * node was fenced; 0: none. On a kernel with several nodes, of any */
	bool cut;	     /* that device was, by cut() */
};

struct driver_device {
	char path[64];	   /* of the device node */
	dev_t devno;
	uint64_t diskseq;  /* the kernel's serial of this use of the device; 0: kernel has none */
	uint64_t size_bytes;
	bool cut;	   /* by cut(): takes no writes any more, and size_bytes tells nothing */
};

struct driver_ops {
	const char *name; /* as in agent.yml: "loopback" */

	/**
	 * open() - read the options, see that the backend can work at all
	 * @ret: set on success only; end it with close()
	 * @ret_error: set on failure only, may then still be NULL (out of memory): one line for
	 *	people that names the line of agent.yml where one is to blame; the caller frees it
	 *
	 * Touches no volume, so one on hung storage does not keep the others from being used.
	 */
	int (*open)(const struct driver_node *self, const struct driver_option *opts, size_t n,
		struct driver **ret, char **ret_error);

	/* Detaches nothing. NULL in, NULL out; no call may be under way. */
	struct driver *(*close)(struct driver *d);

	int (*describe)(struct driver *d, struct driver_desc *ret);

	/*
	 * Optional, NULL where volumes take all of their room when they are made. The sum of the sizes of
	 * all volumes, whoever holds them; damaged ones are left out. Looks at each.
	 */
	int (*promised)(struct driver *d, uint64_t *ret_bytes);

	/*
	 * The ids of all volumes of the backend, whoever holds them, in no order; the caller frees
	 * @ret. Each is true at some moment during the call. No volume is asked, so that one which is
	 * damaged or on hung storage hides no other; lookup() tells about each.
	 */
	int (*list)(struct driver *d, struct id128 **ret, size_t *ret_n);

	/*
	 * Clears away what killed creates and destroys left behind, and devices that were cut and that
	 * nobody has open: space, and nothing else.
	 * -EBUSY: some of it is still in somebody's hands, perhaps a killed one's that hangs
	 */
	int (*tidy)(struct driver *d);

	/* One volume. -ENOENT */
	int (*lookup)(struct driver *d, struct id128 volume_id, struct driver_volume *ret);

	/*
	 * A new volume that reads as zeros, free, whole and durable when this returns; never half
	 * of it. 0 also when it is there already with this dataset and size. Attaches under an
	 * epoch below @epoch are refused from now on.
	 * -EEXIST, -ESTALE, -ENOSPC
	 */
	int (*create)(struct driver *d, struct id128 volume_id, struct id128 dataset_id,
		uint64_t size_bytes, uint64_t epoch);

	/*
	 * Optional, NULL where a backend cannot. A new volume with the content of an image file, then
	 * zeros up to the next unit; free, as if @epoch had been given back; whole and durable when
	 * this returns, never half of it. For an operator's command: it copies all of the image.
	 * @ret_size: of the volume, in bytes
	 * -EEXIST (there is one, whatever it holds), -ENOSPC, -EINVAL: no regular file, or empty
	 */
	int (*take)(struct driver *d, struct id128 volume_id, struct id128 dataset_id, int image_fd,
		uint64_t epoch, uint64_t *ret_size);

	/*
	 * Ends a volume that is attached nowhere: free, or ours without a device. 0 also when
	 * there is none. The epoch of a claim that was given back serves only for who gave it back.
	 * -EBUSY (attached, or claimed elsewhere), -ESTALE
	 */
	int (*destroy)(struct driver *d, struct id128 volume_id, uint64_t epoch);

	/*
	 * Claims the volume, durably, then makes its device. 0 also when it is attached here
	 * already; a higher @epoch is then taken over into the claim. After a failure the claim
	 * may be ours without a device: repeat, or detach.
	 * @size_bytes: that the record says
	 * @growing_bytes: that an expand() was ordered to, whose end is not recorded; else 0. A volume of
	 *	that size is attached as well, and one that was left between the two is brought to it;
	 *	never anything else (-EUCLEAN)
	 * -ENOENT, -EBUSY, -ESTALE, -EUCLEAN, -ETIMEDOUT
	 */
	int (*attach)(struct driver *d, struct id128 volume_id, uint64_t epoch,
		uint64_t size_bytes, uint64_t growing_bytes);

	/*
	 * Optional, NULL where a backend cannot. Makes a volume larger that is attached here under
	 * @epoch, while its device is used. When this returns 0, size and room of the volume are
	 * durable, its device has the new size, and what is new reads as zeros; a device never shows a
	 * size that is not durable. 0 also when it has that size already. Takes nothing away: a
	 * killed expand() is finished by another, or by an attach(), and a device that was cut
	 * stays as it is.
	 *
	 * A backend that hands out room only when it is written to (thin) refuses what is more than it
	 * has free at this moment. That promises nothing: others may take the room.
	 * -ENOENT, -ENODEV (also: cut, or attached under another epoch), -EBUSY (elsewhere), -ESTALE,
	 * -EUCLEAN (it is larger), -ENOSPC (nothing was changed), -ETIMEDOUT
	 */
	int (*expand)(struct driver *d, struct id128 volume_id, uint64_t epoch, uint64_t size_bytes);

	/*
	 * Gives the volume back. When this returns 0, nobody had the device open exclusively (no
	 * filesystem in any mount namespace), the device is gone, everything written is on stable
	 * storage, the claim is free, and no attach under @epoch or less will ever succeed again.
	 * In this order, so that an interrupted detach is repeated. 0 also when this had happened
	 * already, or when we never attached under @epoch. A device that was cut goes in any case,
	 * also when others have the volume by now (-ESTALE) or it is gone (-ENOENT).
	 * -EIO: a write that nobody waited for was lost; said once, a repeated detach goes on.
	 * -ENOENT, -EBUSY, -ESTALE
	 */
	int (*detach)(struct driver *d, struct id128 volume_id, uint64_t epoch);

	/*
	 * Who has a claim under an epoch @from to @to was fenced: whatever it still has takes no writes.
	 * Such a claim becomes free, durably, as if it had been given back under its epoch. Any other
	 * claim, and our own, stays as it is. 0 also when there is no such volume.
	 */
	int (*fence)(struct driver *d, struct id128 volume_id, uint64_t from, uint64_t to);

	/*
	 * Optional, NULL where a backend cannot. This node's device of the volume takes no more
	 * writes, whatever still has it open. When this returns 0 nothing is in flight and nothing
	 * waits in memory: the storage changes no more by this node's doing. Claim and data are
	 * left alone; attached it stays. 0 also when it was cut before.
	 *
	 * What the kernel holds of the device itself is written before the cut is complete, and a
	 * wait for storage has no limit. What an fsync acknowledged before this was called is kept;
	 * one under way at the time may still say 0 and have kept nothing, since filesystems are not
	 * all careful about who waits while they fail.
	 * A cut ends with the device: detach() under the epoch works as ever once the filesystem is
	 * unmounted, and so does attach(), which then makes a new device.
	 * -ENOENT, -ENODEV, -ETIMEDOUT (repeat it: something still came through)
	 */
	int (*cut)(struct driver *d, struct id128 volume_id);

	/*
	 * The device of a volume that is attached here, or that is left of an earlier claim, found anew and checked against what the
	 * kernel says of it at every call. Good until the next attach or detach of the volume.
	 * -ENOENT, -ENODEV
	 */
	int (*device)(struct driver *d, struct id128 volume_id, struct driver_device *ret);
};

/* The backend called @name in agent.yml, or NULL; static. */
const struct driver_ops *driver_find(const char *name);

/*
 * What a backend can beside the needful, as words with one blank between: "take", "cut", "failover" (its
 * datasets may have the policy lease: it has what ends a grant), "discard", "grow". Cut to @size. Returns @buf.
 */
char *driver_capabilities(const struct driver_ops *ops, const struct driver_desc *desc, char *buf, size_t size);

/* All names, "loopback" or "loopback, lvm", for error texts; static. */
const char *driver_names(void);
