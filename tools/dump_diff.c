// Two traces compared by structure: kernels are equal if they compute the same operations on the same shapes.
// In:  two folders or plan files. Out: kernels that only one has, and the times of those that both have.
#include "dump.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct item {
	const struct dump_step *step;
	char *key;
	bool paired;
};
struct side {
	struct dump dump;
	struct item *items;
	int n;
};

// "reduce;sum f32[4,1];..." in the order of the operations; names and numbers of nodes left out.
static char *key_of(const struct dump_step *s)
{
	size_t bytes = 64 + 128 * (json_array_size(s->operations) + 1), n;
	char *key = malloc(bytes), shape[96];
	size_t i;
	json_t *op;
	if (!key)
		return NULL;
	n = (size_t)snprintf(key, bytes, "%s;", s->group);
	json_array_foreach(s->operations, i, op) {
		dump_shape(json_object_get(op, "shape"), json_string_value(json_object_get(op, "type")), shape, sizeof shape);
		const char *name = json_string_value(json_object_get(op, "op"));
		n += (size_t)snprintf(key + n, bytes - n, "%.24s %s;", name ? name : "", shape);
	}
	return key;
}

static bool fill(struct side *s, const char *path)
{
	int all = 0;
	if (dump_load(&s->dump, path))
		return false;
	for (int i = 0; i < s->dump.nplans; i++)
		all += s->dump.plans[i].nsteps;
	s->items = calloc((size_t)all + 1, sizeof *s->items);
	for (int i = 0; s->items && i < s->dump.nplans; i++)
		for (int k = 0; k < s->dump.plans[i].nsteps; k++) {
			struct item *to = &s->items[s->n++];
			to->step = &s->dump.plans[i].steps[k];
			to->key = key_of(to->step);
			if (!to->key)
				return false;
		}
	return s->items != NULL;
}

static void drop(struct side *s)
{
	for (int i = 0; s->items && i < s->n; i++)
		free(s->items[i].key);
	free(s->items);
	dump_free(&s->dump);
}

static int print_alone(const char *what, const struct side *s)
{
	int n = 0;
	for (int i = 0; i < s->n; i++)
		n += !s->items[i].paired;
	if (!n)
		return 0;
	printf("only in %s: %d\n", what, n);
	for (int i = 0; i < s->n; i++)
		if (!s->items[i].paired)
			printf("  %-9s %10.1f us  %-56.56s %s\n", s->items[i].step->group, s->items[i].step->median_us,
			       s->items[i].step->title, s->items[i].step->site);
	return n;
}

int dump_diff(const char *a, const char *b)
{
	struct side x = {0}, y = {0};
	double sum[2] = {0, 0};
	int both = 0, status = 1;
	if (fill(&x, a) && fill(&y, b)) {
		printf("%10s %10s %7s  in both\n", "A us", "B us", "B/A");
		for (int i = 0; i < x.n; i++)
			for (int k = 0; k < y.n && !x.items[i].paired; k++) {
				if (y.items[k].paired || strcmp(x.items[i].key, y.items[k].key) != 0)
					continue;
				x.items[i].paired = y.items[k].paired = true;
				double ta = x.items[i].step->median_us, tb = y.items[k].step->median_us;
				printf("%10.1f %10.1f %7.2f  %s\n", ta, tb, ta > 0 ? tb / ta : 0, x.items[i].step->title);
				sum[0] += ta;
				sum[1] += tb;
				both++;
			}
		printf("%10.1f %10.1f %7.2f  %d kernels and copies in both\n", sum[0], sum[1],
		       sum[0] > 0 ? sum[1] / sum[0] : 0, both);
		int alone = print_alone(a, &x);
		alone += print_alone(b, &y);
		if (!alone)
			printf("the same kernels\n");
		status = 0;
	}
	drop(&x);
	drop(&y);
	return status;
}
