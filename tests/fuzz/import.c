/* SPDX-License-Identifier: Apache-2.0 */
/* A state file of the original, perhaps damaged: what is taken can be stored, read back, and is told. */
#include "fuzz.h"
#include "import.h"
#include "jsonin.h"

static void dataset(const struct ds_record *ds)
{
	_cleanup_free_ char *text = ds_record_to_json(ds);
	struct ds_record back;

	PROMISE(text && ds_record_from_json(text, &back) == 0);
	PROMISE(id128_equal(ds->dataset_id, back.dataset_id) && !id128_is_nil(back.primary));
	/* Nothing that may hold data can be formatted, and what is deleted has nothing left. */
	PROMISE(back.deleted == id128_is_nil(back.volume_id));
	PROMISE(back.size_bytes >= back.maximum_size && back.size_bytes % DATASET_SIZE_UNIT == 0);
	ds_record_done(&back);
}

static void pin(const struct pin_record *p)
{
	_cleanup_free_ char *text = pin_record_to_json(p);
	struct pin_record back;

	PROMISE(text && pin_record_from_json(text, &back) == 0 && back.expires_ms == p->expires_ms);
	pin_record_done(&back);
}

static void is_printable(const char *text)
{
	const char *end = text + strlen(text);

	PROMISE(text < end);
	for (unsigned int n; text < end; text += n)
		PROMISE((n = utf8_printable(text, end)) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);
	char error[IMPORT_ERROR_MAX] = "";
	struct import im;
	int r = import_parse(text, size, 1800000000, &im, error);

	PROMISE(r == 0 || r == -EBADMSG);
	if (r < 0) {
		is_printable(error);
		return 0;
	}
	PROMISE(im.n_lines >= im.n_datasets + im.n_pins + im.n_left);
	for (size_t i = 0; i < im.n_datasets; i++)
		dataset(&im.datasets[i]);
	for (size_t i = 0; i < im.n_pins; i++)
		pin(&im.pins[i]);
	for (size_t i = 0; i < im.n_lines; i++)
		is_printable(im.lines[i]);
	import_done(&im);
	return 0;
}
