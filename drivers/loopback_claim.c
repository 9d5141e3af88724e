/* SPDX-License-Identifier: Apache-2.0 */
#include "loopback_claim.h"

#include <inttypes.h>

#include "jsonin.h"
#include "loopback_io.h"

#define CLAIM_VERSION 1
#define CLAIM_SLOT 4096 /* a slot never shares a disk sector or a page with the other */
#define CLAIM_SLOTS 2
#define CLAIM_CHECK ",\"check\":\""
#define CLAIM_READS 8

static const char *const state_names[] = {
	[LOOPBACK_CLAIM_NEW] = "new",
	[LOOPBACK_CLAIM_HELD] = "held",
	[LOOPBACK_CLAIM_FREE] = "free",
};
static_assert(ARRAY_SIZE(state_names) == LOOPBACK_CLAIM_STATE_MAX, "a state has no name");

/* FNV-1a: finds a torn or rotten slot, which is all it is for. */
static uint64_t checksum(const char *text, size_t size)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < size; i++)
		h = (h ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
	return h;
}

static void slot_format(const struct loopback_claim *c, char slot[CLAIM_SLOT])
{
	int n, m;

	n = snprintf(slot, CLAIM_SLOT,
		"{\"version\":%d,\"serial\":%" PRIu64 ",\"state\":\"%s\",\"epoch\":%" PRIu64
		",\"node\":\"%s\",\"host\":\"%s\",\"boot\":\"%s\"",
		CLAIM_VERSION, c->serial, state_names[c->state], c->epoch, ID128_STR(c->by.node),
		ID128_STR(c->by.host), ID128_STR(c->by.boot));
	m = snprintf(slot + n, (size_t)(CLAIM_SLOT - n), CLAIM_CHECK "%016" PRIx64 "\"}",
		checksum(slot, (size_t)n));
	memset(slot + n + m, ' ', (size_t)(CLAIM_SLOT - n - m));
	slot[CLAIM_SLOT - 1] = '\n';
}

static int get_number(struct json_object *o, const char *key, uint64_t *ret)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_int) ||
		json_object_get_int64(v) < 0)
		return -EIO;
	*ret = json_object_get_uint64(v);
	return 0;
}

static int get_id(struct json_object *o, const char *key, struct id128 *ret)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_string))
		return -EIO;
	return id128_parse(json_object_get_string(v), ret) < 0 ? -EIO : 0;
}

static int get_state(struct json_object *o, enum loopback_claim_state *ret)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, "state", &v))
		return -EIO;
	for (size_t i = 0; i < ARRAY_SIZE(state_names); i++)
		if (STREQ(json_object_get_string(v) ?: "", state_names[i])) {
			*ret = (enum loopback_claim_state)i;
			return 0;
		}
	return -EIO;
}

static bool check_holds(const char *slot, size_t size)
{
	const char *mark = memmem(slot, size, CLAIM_CHECK, strlen(CLAIM_CHECK));
	char want[17];

	if (!mark || size - (size_t)(mark - slot) < strlen(CLAIM_CHECK) + 16)
		return false;
	snprintf(want, sizeof(want), "%016" PRIx64, checksum(slot, (size_t)(mark - slot)));
	return memcmp(mark + strlen(CLAIM_CHECK), want, 16) == 0;
}

static int slot_parse(const char *slot, size_t size, struct loopback_claim *ret)
{
	_cleanup_json_ struct json_object *o = NULL;
	char error[JSONIN_ERROR_MAX];
	struct loopback_claim c;
	uint64_t version;
	int r;

	if (!check_holds(slot, size))
		return -EIO;
	r = jsonin_parse(slot, size, &o, error);
	if (r < 0)
		return r == -ENOMEM ? r : -EIO;
	if (!json_object_is_type(o, json_type_object) || get_number(o, "version", &version) < 0)
		return -EIO;
	if (version != CLAIM_VERSION)
		return -ENOTSUP;
	if (get_number(o, "serial", &c.serial) < 0 || get_number(o, "epoch", &c.epoch) < 0 ||
		get_state(o, &c.state) < 0 || get_id(o, "node", &c.by.node) < 0 ||
		get_id(o, "host", &c.by.host) < 0 || get_id(o, "boot", &c.by.boot) < 0)
		return -EIO;
	*ret = c;
	return 0;
}

static int read_once(int fd, struct loopback_claim *ret)
{
	char text[CLAIM_SLOTS * CLAIM_SLOT];
	struct loopback_claim c, best = { .serial = 0 };
	bool newer = false, found = false;
	ssize_t n;
	int r;

	n = loopback_pread(fd, text, sizeof(text), 0);
	if (n < 0)
		return (int)n;
	if ((size_t)n < sizeof(text))
		return -EIO; /* a whole slot may be left, but it need not be the current one */
	for (size_t at = 0; at < sizeof(text); at += CLAIM_SLOT) {
		r = slot_parse(text + at, CLAIM_SLOT, &c);
		if (r == -ENOMEM)
			return r;
		newer = newer || r == -ENOTSUP;
		if (r == 0 && (!found || c.serial > best.serial)) {
			best = c;
			found = true;
		}
	}
	if (newer)
		return -ENOTSUP; /* even beside a slot that we can read: it may be the current one */
	if (!found)
		return -EIO;
	*ret = best;
	return 0;
}

int loopback_claim_read(int fd, struct loopback_claim *ret)
{
	int r = -EIO;

	/* Without the lock two changes in a row may pass through our one pread(). */
	for (unsigned i = 0; i < CLAIM_READS && r == -EIO; i++)
		r = read_once(fd, ret);
	return r;
}

static int slot_write(int fd, const struct loopback_claim *c)
{
	char slot[CLAIM_SLOT];

	slot_format(c, slot);
	return loopback_pwrite(fd, slot, sizeof(slot), (off_t)(c->serial % CLAIM_SLOTS * CLAIM_SLOT));
}

int loopback_claim_init(int fd, struct loopback_claim *c)
{
	int r;

	c->serial = 0;
	for (unsigned i = 0; i < CLAIM_SLOTS; i++) {
		c->serial++;
		r = slot_write(fd, c);
		if (r < 0)
			return r;
	}
	return 0;
}

int loopback_claim_write(int fd, struct loopback_claim *c)
{
	int r;

	c->serial++;
	r = slot_write(fd, c);
	if (r < 0)
		return r;
	return fdatasync(fd) < 0 ? loopback_errno() : 0;
}

bool loopback_claim_is_by(const struct loopback_claim *c, const struct driver_node *self)
{
	return id128_equal(c->by.node, self->node) && id128_equal(c->by.host, self->host);
}

enum driver_place loopback_claim_place(const struct loopback_claim *c,
	const struct driver_node *self)
{
	if (c->state != LOOPBACK_CLAIM_HELD)
		return DRIVER_FREE;
	return loopback_claim_is_by(c, self) ? DRIVER_HERE : DRIVER_ELSEWHERE;
}
