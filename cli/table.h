/* SPDX-License-Identifier: Apache-2.0 */
/* table.h - columns as wide as their widest cell, left-aligned, without borders. */
#pragma once

#include "macro.h"

#define TABLE_COLUMNS_MAX 8

struct table;

/* The first row has the titles. NULL when there is no memory. */
struct table *table_new(size_t n_columns, const char *const titles[]);

/* Copies one cell each; NULL is an empty one. 0 or -ENOMEM. */
int table_add(struct table *t, const char *const cells[]);

/* Prints one cell of the last row behind the escape sequence @colour, static text; "": as it is. */
void table_paint(struct table *t, size_t column, const char *colour);

/* Control characters of cells print as '?'. */
void table_print(const struct table *t, bool titles, FILE *out);

struct table *table_free(struct table *t);
DEFINE_CLEANUP(struct table *, table_free);
