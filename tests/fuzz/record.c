/* SPDX-License-Identifier: Apache-2.0 */
/* A stored record, perhaps of a newer version or of a damaged store. What is read is kept whole. */
#include "fuzz.h"
#include "record.h"

static void dataset(const char *text)
{
	_cleanup_free_ char *first = NULL, *second = NULL;
	struct ds_record r, again, copy;
	int rc = ds_record_from_json(text, &r);

	PROMISE(rc == 0 || rc == -EBADMSG);
	if (rc < 0)
		return;
	PROMISE(r.metadata && !id128_is_nil(r.dataset_id));
	PROMISE((unsigned)r.filesystem < FS_KIND_MAX && (unsigned)r.grant < GRANT_KIND_MAX);
	PROMISE((unsigned)r.format_state < FORMAT_STATE_MAX);
	first = ds_record_to_json(&r);
	PROMISE(first && ds_record_from_json(first, &again) == 0);
	second = ds_record_to_json(&again);
	PROMISE(second && STREQ(first, second));
	ds_record_copy(&r, &copy);
	PROMISE(ds_record_equal(&r, &copy));
	ds_record_done(&copy);
	ds_record_done(&again);
	ds_record_done(&r);
}

static void node(const char *text)
{
	_cleanup_free_ char *first = NULL, *second = NULL;
	struct node_record r, again;
	int rc = node_record_from_json(text, &r);

	PROMISE(rc == 0 || rc == -EBADMSG);
	if (rc < 0)
		return;
	PROMISE(!id128_is_nil(r.uuid));
	first = node_record_to_json(&r);
	PROMISE(first && node_record_from_json(first, &again) == 0);
	second = node_record_to_json(&again);
	PROMISE(second && STREQ(first, second));
	node_record_done(&again);
	node_record_done(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);

	dataset(text);
	node(text);
	return 0;
}
