/* SPDX-License-Identifier: Apache-2.0 */
/* reboot.h - the last means, in a file of its own so that a test can stand in for it. */
#pragma once

/* The machine starts anew at once, and writes nothing more. Negative errno when it may not. */
int fence_reboot(void);
