/* SPDX-License-Identifier: Apache-2.0 */
/*
 * say.h - how the command line tools speak to people: errors on standard error, and no control
 * character of a foreign text on anybody's terminal.
 */
#pragma once

#include <stdarg.h>

#include "macro.h"

/* Prints "Error: ..." as one line to standard error; returns @result, for "return say_error(...)". */
int say_error(int result, const char *fmt, ...) _printf_(2, 3);

/* What was to be formatted, as say_text() copies it; "out of memory" when there is none. */
void say_format(FILE *out, const char *fmt, va_list ap) _printf_(2, 0);

/*
 * Copies @text to @out (a terminal or a file) with a '?' for what is no text to be read: control
 * characters, and those that hide or turn round what stands beside them. NULL prints nothing.
 */
void say_text(FILE *out, const char *text);

/* The same of a JSON text, where each of these becomes the escape \uXXXX that means it. */
void say_json(FILE *out, const char *text);

/* Is @text valid UTF-8 without control characters? */
bool say_is_clean(const char *text);

/* Columns that @text takes on a terminal of the current locale. */
int say_width(const char *text);
