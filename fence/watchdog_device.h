/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watchdog_device.h - the kernel's watchdogs, in a file of its own so that a test can stand in for
 * it. These calls may wait for the hardware (of IPMI for long), so they belong on keeper.h's thread.
 */
#pragma once

#include "macro.h"

#define WATCHDOG_NAME_MAX 33

/**
 * watchdog_open() - from here on the machine is reset unless it is kicked
 * @path: such as /dev/watchdog0
 * @ret_name: what it calls itself; WATCHDOG_NAME_MAX bytes
 *
 * Returns: a descriptor, -ENOENT, -EBUSY when somebody has it, -EPERM when it could not be switched
 * off again (nowayout), -ENOTTY when it is none; other negative errno.
 */
int watchdog_open(const char *path, char *ret_name);

/* A kick with this timeout. The timeout that it has now, in seconds, or -EINVAL: takes no such. */
int watchdog_kick(int fd, unsigned timeout_s);

/* Switches it off. Negative errno: it may go on, and reset the machine. */
int watchdog_close(int fd);

/* Is it process 1 that has a watchdog, as systemd does for RuntimeWatchdogSec=? */
bool watchdog_is_with_init(void);
