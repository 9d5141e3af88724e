/* SPDX-License-Identifier: Apache-2.0 */
/* The body of a POST: taken within every limit, or refused with sentences for people. */
#include "fuzz.h"
#include "jsonin.h"
#include "schema_v2.h"

static void check_errors(const struct schema_errors *e, int r)
{
	PROMISE((r == 0) == (e->n == 0) && e->n <= SCHEMA_ERRORS_MAX);
	for (size_t i = 0; i < e->n; i++)
		PROMISE(e->list[i] && e->list[i][0] == '/');
}

static void check_metadata(struct json_object *map)
{
	PROMISE(json_object_is_type(map, json_type_object));
	PROMISE(json_object_object_length(map) <= RECORD_METADATA_MAX);
	json_object_object_foreach(map, key, value) {
		PROMISE(*key && json_object_is_type(value, json_type_string));
		PROMISE(utf8_count(key, strlen(key)) <= SCHEMA_TEXT_MAX + 1);
		PROMISE(utf8_count(json_object_get_string(value),
				(size_t)json_object_get_string_len(value)) <= SCHEMA_TEXT_MAX);
	}
}

static void create(struct json_object *body, enum fs_kind filesystem)
{
	struct schema_errors e = { 0 };
	struct dataset_create d;
	int r = schema_dataset_create(body, filesystem, (struct failover){ FAILOVER_MANUAL, 6000 }, &d, &e);

	PROMISE(r == 0 || r == -EINVAL);
	check_errors(&e, r);
	schema_errors_done(&e);
	if (r < 0)
		return;
	PROMISE(!id128_is_nil(d.primary) && (unsigned)d.filesystem < FS_KIND_MAX);
	PROMISE(d.maximum_size == 0 || (d.maximum_size >= fs_minimum_size(d.filesystem) &&
		d.maximum_size % DATASET_SIZE_UNIT == 0 && d.maximum_size <= INT64_MAX));
	PROMISE((unsigned)d.failover.kind < FAILOVER_KIND_MAX && d.failover.term_ms >= SCHEMA_TERM_MIN_S * 1000);
	check_metadata(d.metadata);
	dataset_create_done(&d);
}

static void update(struct json_object *body)
{
	struct schema_errors e = { 0 };
	struct id128 primary;
	int r = schema_dataset_update(body, &primary, &e);

	PROMISE(r == 0 || r == -EINVAL);
	check_errors(&e, r);
	schema_errors_done(&e);
}

static void check_failover(struct failover f)
{
	PROMISE((unsigned)f.kind < FAILOVER_KIND_MAX);
	PROMISE(f.term_ms >= SCHEMA_TERM_MIN_S * 1000 && f.term_ms <= SCHEMA_TERM_MAX_S * 1000);
}

static void create_v2(struct json_object *body)
{
	struct schema_errors e = { 0 };
	struct create_v2 c;
	int r = schema_create_v2(body, (struct failover){ FAILOVER_MANUAL, 6000 }, &c, &e);

	PROMISE(r == 0 || r == -EINVAL);
	check_errors(&e, r);
	schema_errors_done(&e);
	if (r < 0)
		return;
	PROMISE(!(c.place && !id128_is_nil(c.node)) && (unsigned)c.filesystem < FS_KIND_MAX);
	PROMISE(c.size_bytes == 0 || (c.size_bytes >= fs_minimum_size(c.filesystem) &&
		c.size_bytes % DATASET_SIZE_UNIT == 0 && c.size_bytes <= INT64_MAX));
	check_failover(c.failover);
	check_metadata(c.metadata);
	create_v2_done(&c);
}

static void patch_v2(struct json_object *body)
{
	struct schema_errors e = { 0 };
	struct patch_v2 p;
	int r = schema_patch_v2(body, (struct failover){ FAILOVER_LEASE, 6000 }, &p, &e);

	PROMISE(r == 0 || r == -EINVAL);
	check_errors(&e, r);
	schema_errors_done(&e);
	if (r < 0)
		return;
	PROMISE(p.has_size == (p.size_bytes > 0) && p.size_bytes % DATASET_SIZE_UNIT == 0);
	PROMISE(p.has_node || id128_is_nil(p.node));
	check_failover(p.failover);
	if (p.metadata) {
		json_object_object_foreach(p.metadata, key, value)
			PROMISE(*key && (!value || json_object_is_type(value, json_type_string)));
	}
	patch_v2_done(&p);
}

static void lease_v2(struct json_object *body)
{
	struct schema_errors e = { 0 };
	uint64_t seconds = 0;
	struct id128 node = ID128_NIL;
	int r = schema_lease_v2(body, &node, &seconds, &e);

	PROMISE(r == 0 || r == -EINVAL);
	check_errors(&e, r);
	schema_errors_done(&e);
	PROMISE(id128_is_nil(node) == (r < 0) && seconds <= (uint64_t)SCHEMA_LEASE_MAX_S);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_json_ struct json_object *body = NULL;
	char error[JSONIN_ERROR_MAX];

	if (jsonin_parse((const char *)data, size, &body, error) < 0)
		return 0;
	create(body, FS_EXT4);
	create(body, FS_XFS);
	update(body);
	create_v2(body);
	patch_v2(body);
	lease_v2(body);
	return 0;
}
