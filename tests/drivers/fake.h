/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake.h - a driver whose volumes are in memory and which fails when it is told to.
 *
 * Its option `store` names an instance: drivers opened on the same name share their volumes, as
 * nodes share a directory. Devices are names that lead nowhere. It keeps the whole contract, so
 * the conformance suite runs over it as well.
 */
#pragma once

#include "driver.h"

extern const struct driver_ops fake_ops;

enum fake_call {
	FAKE_LIST,
	FAKE_LOOKUP,
	FAKE_CREATE,
	FAKE_DESTROY,
	FAKE_ATTACH,
	FAKE_DETACH,
	FAKE_EXPAND,
	FAKE_DEVICE,
	FAKE_CUT,
	FAKE_CALL_MAX,
};

/**
 * fake_fail() - the @nth such call from now (1: the next) returns @error
 * @act: it does its work first, and then says that it failed
 *
 * One plan a kind of call; a new one replaces it. @nth 0 takes it back.
 */
void fake_fail(struct driver *d, enum fake_call call, unsigned nth, int error, bool act);

/* From now on list() shows what was @changes changes ago; at most FAKE_LAG_MAX; 0: the present. */
#define FAKE_LAG_MAX 8
void fake_lag(struct driver *d, unsigned changes);

/* The device vanishes, as in a reboot; the claim stays. */
void fake_unplug(struct driver *d, struct id128 volume_id);

/* Calls of this kind so far, whatever came of them. */
unsigned fake_calls(struct driver *d, enum fake_call call);
