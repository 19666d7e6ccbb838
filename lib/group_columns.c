// Sums down long columns in chunks of rows.
// In:  a plan's groups. Out: those that reduce the leading axes of something large and wide, alone, have their rows split:
// a thread then reads whole rows one after another (codegen/pass/columns.c), as memory gives them fastest, and there
// are chunks for any number of threads. Chunks are as long as terms may go into one accumulator: the order of
// additions stays. Narrower ones are worth no barrier: threads take some columns each. Several reductions of one tensor
// stay together, so that it is read once.
// Not here: other splits (group.c).
#include "plan.h"

#include <stdlib.h>

enum { CHUNK = 512, MIN_CHUNKS = 8, MIN_COLUMNS = 2048 };

// Rows that are reduced, where they are the leading axes; 0: they are not.
static int64_t rows_of(const struct pnode *main, const struct pnode *x)
{
	int64_t rows = 1;
	bool kept = false;

	for (int i = 0; i < x->rank; i++) {
		bool reduced = main->attr[0] >> i & 1;

		if (x->dims[i].n == 1)
			continue;
		if (reduced && kept)
			return 0;
		rows *= reduced ? x->dims[i].n : 1;
		kept |= !reduced;
	}
	return kept ? rows : 0;
}

static bool alone(const struct plan *p, int group, bool *is)
{
	struct group_size size;
	struct source *reads;
	int n = group_walk(p, group, &reads, &size);

	*is = n >= 0 && size.reductions == 1 && !size.flags;
	free(reads);
	return n >= 0;
}

bool group_columns(struct plan *p, const struct target *t)
{
	const struct prog *prog = &p->prog;

	for (int i = 0; i < p->ngroups && t->family == FAMILY_CPU; i++) {
		struct group *g = &p->groups[i];
		const struct pnode *main = g->main < 0 ? NULL : &prog->nodes[g->main];
		int64_t rows, columns, bytes;
		bool is;

		if (g->kind != GROUP_REDUCE || g->split > 1 || op_info[main->op].cls != CLASS_REDUCE)
			continue;
		rows = rows_of(main, &prog->nodes[main->src[0]]);
		columns = prog_elems(prog, g->main);
		bytes = rows * columns * (int64_t)tgc_type_bytes((tgc_type)main->type);
		if (columns < MIN_COLUMNS || rows < CHUNK || rows / CHUNK < MIN_CHUNKS || 2 * bytes < t->l3_bytes)
			continue;
		if (!alone(p, i, &is))
			return false;
		if (!is)
			continue;
		g->split = (rows + CHUNK - 1) / CHUNK;
		plan_split(p, g);
	}
	return !p->arena.failed;
}
