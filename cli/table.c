/* SPDX-License-Identifier: Apache-2.0 */
#include "say.h"
#include "table.h"

struct cell {
	char *text;
	const char *colour;
};

struct table {
	size_t n_columns, n_cells;
	struct cell *cells; /* row by row */
	int width[TABLE_COLUMNS_MAX];
};

struct table *table_new(size_t n_columns, const char *const titles[])
{
	struct table *t = calloc(1, sizeof(*t));

	assert(n_columns > 0 && n_columns <= TABLE_COLUMNS_MAX);
	if (!t)
		return NULL;
	t->n_columns = n_columns;
	return table_add(t, titles) < 0 ? table_free(t) : t;
}

int table_add(struct table *t, const char *const cells[])
{
	struct cell *more = reallocarray(t->cells, t->n_cells + t->n_columns, sizeof(*more));

	if (!more)
		return -ENOMEM;
	t->cells = more;
	for (size_t i = 0; i < t->n_columns; i++) {
		char *cell = strdup(cells[i] ? cells[i] : "");

		if (!cell)
			return -ENOMEM;
		t->cells[t->n_cells++] = (struct cell){ cell, "" };
		t->width[i] = MAX(t->width[i], say_width(cell));
	}
	return 0;
}

void table_paint(struct table *t, size_t column, const char *colour)
{
	assert(column < t->n_columns);
	t->cells[t->n_cells - t->n_columns + column].colour = colour;
}

void table_print(const struct table *t, bool titles, FILE *out)
{
	for (size_t i = titles ? 0 : t->n_columns; i < t->n_cells; i++) {
		const struct cell *cell = &t->cells[i];
		size_t column = i % t->n_columns;

		fputs(cell->colour, out);
		say_text(out, cell->text);
		if (cell->colour[0])
			fputs("\033[0m", out);
		if (column + 1 < t->n_columns)
			fprintf(out, "%*s", t->width[column] - say_width(cell->text) + 3, "");
		else
			fputc('\n', out);
	}
}

struct table *table_free(struct table *t)
{
	if (!t)
		return NULL;
	for (size_t i = 0; i < t->n_cells; i++)
		free(t->cells[i].text);
	free(t->cells);
	free(t);
	return NULL;
}
