/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h - asks the engine of this host which containers have a volume, so that others can be
 * told who uses it. That is for people alone: when there is no answer, nothing depends on it.
 * Nothing blocks and nothing logs.
 */
#pragma once

#include <event2/event.h>

#include "macro.h"

#define ENGINE_NAMES_MAX 200 /* bytes of all names together; more are cut */

struct engine_question;

/**
 * engine_ask() - the names of the containers that have a volume
 * @socket: of dockerd's API
 * @volume: a valid name
 * @fn: called once, from the loop, and the question is gone then; @names: "web, worker"; "" when none is known
 *
 * Returns: 0, or negative errno when nothing was asked.
 */
int engine_ask(struct event_base *base, const char *socket, const char *volume,
	void (*fn)(const char *names, void *userdata), void *userdata, struct engine_question **ret);

/* Before @fn was called, which it is not then. NULL is fine. */
void engine_cancel(struct engine_question *q);

/* For engine_ask(): names out of the answer's body; pure. */
void engine_names(const char *json, size_t size, char names[ENGINE_NAMES_MAX + 1]);
