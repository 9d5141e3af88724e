/* SPDX-License-Identifier: Apache-2.0 */
/*
 * args.h - the words that people type, as values: sizes, metadata, and which of many they mean.
 * Pure; prints nothing.
 */
#pragma once

#include <json-c/json.h>

#include "macro.h"

#define ARGS_SIZE_FORM "such as 10G, 1.5G or 500MiB (K, M, G, T and P are powers of 1024)"

/**
 * args_size() - a size in bytes, rounded up to a multiple of 1024
 *
 * Digits, a fraction if there is a unit, a unit of K M G T P with "B" or "iB" behind it; any case;
 * always powers of 1024. Without a unit, bytes.
 *
 * Returns: 0, -EINVAL for another form or nothing at all, -ERANGE when beyond 2^63 - 1024.
 */
int args_size(const char *text, uint64_t *ret_bytes);

/**
 * args_metadata() - add the pairs of "a=b,c=d" to an object of strings
 * @ret_problem: set on -EINVAL and -EEXIST: a static phrase for "in '<text>' ..."
 *
 * Returns: 0, -EINVAL, -EEXIST for a key that is there already, or -ENOMEM.
 */
int args_metadata(const char *text, struct json_object *object, const char **ret_problem);

struct candidate {
	const char *id;	  /* UUID in lower case; any prefix means it */
	const char *name; /* host or name, whole; NULL: none */
};

/**
 * args_match() - the one candidate that @text means
 * Returns: its index, -ENOENT, or -ENOTUNIQ. An empty @text means nothing.
 */
int args_match(const char *text, const struct candidate *c, size_t n);

/* Does @text mean this one? */
bool args_means(const char *text, const struct candidate *c);

/* Seconds of "120" or "0.5"; -EINVAL, -ERANGE beyond a year. */
int args_seconds(const char *text, uint64_t *ret_ms);

/* Whole seconds of "3600", "90s", "15m", "2h", "7d" or "1w"; -EINVAL, -ERANGE. */
int args_duration(const char *text, uint64_t *ret_s);
