/* SPDX-License-Identifier: Apache-2.0 */
/* DHV_PARAMETERS, which whoever may create volumes in Nomad can fill as they like. */
#include "fuzz.h"
#include "nomad_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nomad_request q = { .name = "v", .space = "shop" };
	_cleanup_free_ char *text = fuzz_text(data, size), *dataset = NULL;
	char error[NOMAD_ERROR_MAX] = "";
	int r = nomad_parameters_read(text, &q, error);

	PROMISE(r == 0 || (r == -EINVAL && *error));
	if (r == 0) {
		PROMISE(q.uid >= -1 && q.gid >= -1 && q.mode >= -1 && q.mode <= 07777);
		PROMISE(!q.dataset || *q.dataset);
		dataset = nomad_dataset_name(&q);
		PROMISE(dataset && strcmp(dataset, q.dataset ?: "shop.v") == 0);
	}
	nomad_request_done(&q);
	return 0;
}
