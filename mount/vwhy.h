/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vwhy.h - the one line that tells a person what went wrong. Private to mount/.
 */
#pragma once

#include <stdarg.h>

#include "macro.h"

/* Where the line goes: the caller's buffer, which may be NULL with size 0. */
struct vwhy {
	char *buf;
	size_t size;
};

/* Writes the line and returns @r, so that "return vwhy_set(why, -EBUSY, ...)" reads well. */
_printf_(3, 4) static inline int vwhy_set(struct vwhy *why, int r, const char *fmt, ...)
{
	va_list ap;

	if (why->size == 0)
		return r;
	va_start(ap, fmt);
	vsnprintf(why->buf, why->size, fmt, ap);
	va_end(ap);
	return r;
}
