/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loopback driver's bookkeeping: `meta` and `claim`, on a directory that others share. The first
 * byte chooses; a claim also runs with its checksum mended, since no fuzzer guesses that.
 */
#include "../../drivers/loopback_claim.c"
#include "../../drivers/loopback_volume.c"

#include <sys/mman.h>

#include "fuzz.h"

static void meta(const char *text, size_t size)
{
	struct loopback_meta m;
	int r = meta_parse(text, size, &m);

	PROMISE(r == 0 || r == -EIO || r == -ENOTSUP);
	PROMISE(r < 0 || (m.size_bytes > 0 && m.allocation_unit > 0 && m.block_size > 0));
}

static void check_claim(const struct loopback_claim *c)
{
	char slot[CLAIM_SLOT];
	struct loopback_claim back;

	PROMISE((unsigned)c->state < LOOPBACK_CLAIM_STATE_MAX);
	slot_format(c, slot);
	PROMISE(slot_parse(slot, sizeof(slot), &back) == 0);
	PROMISE(back.serial == c->serial && back.epoch == c->epoch && back.state == c->state);
	PROMISE(id128_equal(back.by.node, c->by.node) && id128_equal(back.by.host, c->by.host));
	PROMISE(id128_equal(back.by.boot, c->by.boot));
}

static void claim_slot(const char *text, size_t size)
{
	struct loopback_claim c;
	int r = slot_parse(text, size, &c);

	PROMISE(r == 0 || r == -EIO || r == -ENOTSUP);
	if (r == 0)
		check_claim(&c);
}

/* The slot is the input up to its checksum, and then the right one. */
static void mended_slot(const char *text, size_t size)
{
	const char *mark = memmem(text, size, CLAIM_CHECK, strlen(CLAIM_CHECK));
	_cleanup_free_ char *slot = NULL;

	if (mark)
		size = (size_t)(mark - text);
	if (asprintf(&slot, "%.*s" CLAIM_CHECK "%016" PRIx64 "\"}", (int)size, text,
		    checksum(text, size)) < 0)
		slot = NULL;
	PROMISE(slot);
	claim_slot(slot, strlen(slot));
}

static void claim_file(const char *text, size_t size)
{
	static int fd = -EBADF;
	struct loopback_claim c;
	int r;

	if (fd < 0)
		fd = memfd_create("claim", MFD_CLOEXEC);
	PROMISE(fd >= 0 && ftruncate(fd, 0) == 0);
	PROMISE(pwrite(fd, text, size, 0) == (ssize_t)size);
	r = loopback_claim_read(fd, &c);
	PROMISE(r == 0 || r == -EIO || r == -ENOTSUP);
	if (r == 0)
		check_claim(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1;

	if (size == 0)
		return 0;
	size--;
	switch (data[0]) {
	case 'm':
		meta(text, size);
		break;
	case 'c':
		claim_slot(text, size);
		mended_slot(text, size);
		break;
	case 'f':
		claim_file(text, size);
		break;
	}
	return 0;
}
