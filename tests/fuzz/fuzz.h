/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz.h - what the fuzz targets share. One target is one file with LLVMFuzzerTestOneInput(); linked
 * with libFuzzer it looks for new inputs, linked with replay.c it runs those of its corpus.
 *
 * A target that wants a static function includes the .c file that holds it: so what is fuzzed is
 * what runs, and nothing is made public for the test's sake.
 */
#pragma once

#include "macro.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A promise of the code under test; broken, it ends the run and leaves the input behind. */
#define PROMISE(condition)                                                                         \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			dprintf(STDERR_FILENO, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* A copy of exactly @size bytes and a NUL, so that reading further is found. The caller frees it. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	PROMISE(text);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}
