/* SPDX-License-Identifier: Apache-2.0 */
/*
 * say.h - the helper's lines on standard error, with the <N> prefix that the journal reads.
 *
 * Not common/log.h: that waits for whoever reads the log, and its library would be locked in
 * memory. Here a line that nobody takes at once is dropped.
 */
#pragma once

#include <syslog.h>

#include "id128.h"

/* @dataset: that it is about, or NULL. A non-zero @err (either sign) adds its text. */
void fence_say(int level, const struct id128 *dataset, int err, const char *fmt, ...)
	_printf_(4, 5);
