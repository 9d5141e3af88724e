/* SPDX-License-Identifier: Apache-2.0 */
#include "space.h"
#include "text.h"

#define BACK_PERCENT 2 /* a warning ends that much above its limit, or it would come and go */

static enum space_level level_of(const struct space *s, const struct driver_desc *desc)
{
	unsigned int limit = s->percent + (s->percent && s->level != SPACE_FINE ? BACK_PERCENT : 0);

	if (desc->full)
		return SPACE_FULL;
	if (!desc->capacity_bytes)
		return SPACE_FINE;
	return desc->free_bytes < desc->capacity_bytes / 100 * limit ? SPACE_LOW : SPACE_FINE;
}

static void put_warning(struct space *s)
{
	struct wire_backend *b = &s->told;
	char promised[48] = "";

	b->warning[0] = '\0';
	if (s->level == SPACE_FINE)
		return;
	if (b->promised_bytes)
		snprintf(promised, sizeof(promised), ", and %s are promised", TEXT_BYTES(b->promised_bytes));
	if (s->level == SPACE_FULL)
		snprintf(b->warning, sizeof(b->warning), "backend %s is full: writes to its datasets fail until there "
			"is room (it has %s%s)", b->name, TEXT_BYTES(b->capacity_bytes), promised);
	else
		snprintf(b->warning, sizeof(b->warning), "backend %s has less than %u %% of its %s free%s: when it is "
			"full, writes to its datasets fail", b->name, s->percent, TEXT_BYTES(b->capacity_bytes),
			promised);
}

void space_init(struct space *s, unsigned int percent, const struct driver_ops *ops, const struct driver_desc *desc)
{
	*s = (struct space){ .percent = percent, .told = { .name = WIRE_BACKEND_DEFAULT,
		.allocation_unit = desc->allocation_unit, .shared = desc->shared } };
	snprintf(s->told.driver, sizeof(s->told.driver), "%s", desc->name);
	driver_capabilities(ops, desc, s->told.capabilities, sizeof(s->told.capabilities));
}

bool space_look(struct space *s, const struct driver_desc *desc)
{
	enum space_level before = s->level;

	s->level = level_of(s, desc);
	s->told.capacity_bytes = desc->capacity_bytes;
	s->told.free_bytes = desc->free_bytes;
	put_warning(s);
	return s->level != before;
}

void space_promised(struct space *s, uint64_t bytes)
{
	s->told.promised_bytes = bytes;
	put_warning(s);
}
