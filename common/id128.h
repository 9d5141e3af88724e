/* SPDX-License-Identifier: Apache-2.0 */
/*
 * id128.h - the 128-bit identities of datasets, volumes, nodes, sessions and filesystems.
 * Text is the 36 lower-case characters of RFC 4122. Values are plain data; nothing blocks,
 * but id128_random() which reads the kernel's generator.
 */
#pragma once

#include "macro.h"

#define ID128_TEXT 37 /* with the closing NUL */

struct id128 {
	uint64_t hi, lo;
};

#define ID128_NIL ((struct id128){ 0, 0 })

static inline bool id128_equal(struct id128 a, struct id128 b)
{
	return a.hi == b.hi && a.lo == b.lo;
}

static inline bool id128_is_nil(struct id128 a)
{
	return a.hi == 0 && a.lo == 0;
}

/* Order by text; negative, 0 or positive. */
int id128_compare(struct id128 a, struct id128 b);

/* A fast hash for tables inside this process; not stable between versions. */
static inline uint64_t id128_hash(struct id128 a)
{
	uint64_t x = a.hi ^ (a.lo * UINT64_C(0x9e3779b97f4a7c15));

	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	return x;
}

/**
 * id128_parse() - read the 36 characters of a UUID, either case
 * @ret: set on success only
 *
 * Returns: 0, or -EINVAL when @text is anything else (braces, blanks, missing dashes).
 */
int id128_parse(const char *text, struct id128 *ret);

/* As id128_parse(), but only version 4 with the RFC 4122 variant, as REST v1 asks of ids. */
int id128_parse_v4(const char *text, struct id128 *ret);

/* 32 hexadecimal digits of either case, with dashes anywhere between them or nowhere. As above. */
int id128_parse_loose(const char *text, struct id128 *ret);

/* Writes 36 lower-case characters and NUL to @buf and returns it. */
char *id128_format(struct id128 id, char buf[ID128_TEXT]);
#define ID128_STR(id) id128_format((id), (char[ID128_TEXT]){ 0 })

/* A random version-4 UUID. Returns 0 or negative errno. */
int id128_random(struct id128 *ret);

/* Sets version 4 and the variant on any 128 bits: for seeded generators. */
struct id128 id128_make_v4(uint64_t hi, uint64_t lo);
