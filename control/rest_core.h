/* SPDX-License-Identifier: Apache-2.0 */
/* rest_core.h - the port itself, for those who take requests (rest.c) and who answer them (rest_answer.c). */
#pragma once

#include "rest_watch.h"

struct rest {
	struct cluster *cluster;
	struct rest_settings settings;
	struct http *http;
	struct rest_watch *watch;
	SSL_CTX *tls;
	bool stopping;
	struct metrics_requests requests;
	struct rest_request *first; /* unanswered */
};

void rest_request_free(struct rest_request *q);

uint64_t rest_clock_us(void); /* what begun_us is of */

bool rest_is_v2(const struct rest_request *q); /* by its path */
