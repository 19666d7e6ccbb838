// The plan behind the kernels: its steps, the arena over time, the peak and who holds it.
// In:  a plan. Out: text. Columns of the map are steps, or equal parts of them where there are more than COLUMNS.
#include "dump.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 64, ROWS = 40 };

static bool in_arena(const struct dump_buffer *b) { return strcmp(b->class, "arena") == 0 && b->first >= 0; }

static int by_offset(const void *a, const void *b)
{
	const struct dump_buffer *x = *(struct dump_buffer *const *)a, *y = *(struct dump_buffer *const *)b;
	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return x->first - y->first;
}

static int by_bytes(const void *a, const void *b)
{
	const struct dump_buffer *x = *(struct dump_buffer *const *)a, *y = *(struct dump_buffer *const *)b;
	return (x->bytes < y->bytes) - (x->bytes > y->bytes);
}

static double held_at(const struct dump_plan *p, int step)
{
	double sum = 0;
	for (int i = 0; i < p->nbuffers; i++)
		if (in_arena(&p->buffers[i]) && p->buffers[i].first <= step && step <= p->buffers[i].last)
			sum += p->buffers[i].bytes;
	return sum;
}

static void print_steps(const struct dump_plan *p)
{
	printf("  steps\n");
	for (int i = 0; i < p->nsteps; i++) {
		const struct dump_step *s = &p->steps[i];
		printf("    %3d  %-9s %-50.50s  holds %s\n", i, s->group, s->title, dump_bytes(held_at(p, i)));
	}
}

static void print_row(const struct dump_plan *p, const struct dump_buffer *b)
{
	char line[COLUMNS + 1], shape[96];
	int columns = p->nsteps < COLUMNS ? p->nsteps : COLUMNS;
	for (int k = 0; k < columns; k++) {
		int from = k * p->nsteps / columns, to = (k + 1) * p->nsteps / columns;
		line[k] = b->first < to && from <= b->last ? '#' : '.';
	}
	line[columns] = 0;
	dump_shape(b->shape, b->type, shape, sizeof shape);
	printf("    %10.0f %9s  %s  b%d %s %s%s%s\n", b->offset, dump_bytes(b->bytes), line, (int)(b - p->buffers), shape,
	       b->holds, b->name[0] ? " of " : "", b->name);
}

static int peak_step(const struct dump_plan *p)
{
	int peak = 0;
	for (int i = 1; i < p->nsteps; i++)
		peak = held_at(p, i) > held_at(p, peak) ? i : peak;
	return peak;
}

// The arena's buffers, the largest first; malloc'ed. step: only those that live then; -1: all.
static struct dump_buffer **arena_buffers(const struct dump_plan *p, int step, int *n)
{
	struct dump_buffer **rows = calloc((size_t)p->nbuffers + 1, sizeof *rows);
	*n = 0;
	for (int i = 0; rows && i < p->nbuffers; i++)
		if (in_arena(&p->buffers[i]) && (step < 0 || (p->buffers[i].first <= step && step <= p->buffers[i].last)))
			rows[(*n)++] = &p->buffers[i];
	if (rows)
		qsort(rows, (size_t)*n, sizeof(struct dump_buffer *), by_bytes);
	return rows;
}

void dump_peak(const struct dump_plan *p, int number)
{
	enum { SHOWN = 5 };
	int n, peak = peak_step(p);
	struct dump_buffer **rows = arena_buffers(p, peak, &n);
	printf("p%d.%d: ", number, peak);
	for (int i = 0; i < n && i < SHOWN; i++)
		printf("%sb%d %s", i ? ", " : "", (int)(rows[i] - p->buffers), dump_bytes(rows[i]->bytes));
	if (n > SHOWN)
		printf(" and %d smaller", n - SHOWN);
	free(rows);
}

void dump_arena(const struct dump_plan *p)
{
	int n, peak = peak_step(p), shown;
	struct dump_buffer **rows = arena_buffers(p, -1, &n);
	print_steps(p);
	if (n == 0)
		printf("  arena: empty, every value is an output, a variable or stays in registers\n");
	if (n > 0) {
		shown = n < ROWS ? n : ROWS;
		qsort(rows, (size_t)shown, sizeof(struct dump_buffer *), by_offset);
		printf("  arena: offset, bytes, live by step%s\n", shown < n ? " (the largest)" : "");
		for (int i = 0; i < shown; i++)
			print_row(p, rows[i]);
		free(rows);
		rows = arena_buffers(p, peak, &n);
		printf("  peak: %s in step %d (%s), held by\n", dump_bytes(held_at(p, peak)), peak, p->steps[peak].title);
		for (int i = 0; i < n; i++)
			print_row(p, rows[i]);
	}
	free(rows);
}
