/* SPDX-License-Identifier: Apache-2.0 */
/*
 * screen.h - a terminal that shows one picture, drawn again in place, and is left as it was found: the picture
 * is on the terminal's other screen (as editors use), the cursor is hidden, and keys are not echoed.
 *
 * While a screen is open the signals that end, stop or resize a program are blocked, and are let in only
 * by screen_mask(), for ppoll(2). One at a time in a program.
 */
#pragma once

#include <signal.h>

#include "macro.h"

enum screen_event {
	SCREEN_NOTHING,
	SCREEN_AGAIN, /* it has another size, or was away: draw again */
	SCREEN_END,   /* close it, then screen_die() */
};

/* Takes over standard output, a terminal. Negative errno; with -ENOTTY nothing has been changed. */
int screen_open(void);

/* Shows @text, lines with escape sequences for colours: as much of it as the terminal has room for. */
void screen_draw(const char *text);

/* What signals came since the last call. Stops here, and goes on, when the program is to be stopped. */
enum screen_event screen_signals(void);

const sigset_t *screen_mask(void);

/* Gives the terminal back; harmless when it is not open. */
void screen_close(void);

/* Ends the program by the signal that said so. After screen_close(). */
void screen_die(void);
