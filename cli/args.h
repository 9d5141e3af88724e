/* SPDX-License-Identifier: Apache-2.0 */
/*
 * args.h - the words that people type, as values: metadata, times, and which of many they mean. Sizes
 * are in text.h.
 * Pure; prints nothing.
 */
#pragma once

#include <json-c/json.h>

#include "macro.h"

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
