/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.h - small texts that people and the kernel write.
 */
#pragma once

#include "macro.h"

/**
 * text_number() - decimal digits and nothing beside: no sign, no blank, no unit
 * @ret: set on success only
 *
 * Returns: 0, or -EINVAL for anything else and for what is not from @min to @max.
 */
int text_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret);
