// A chain of groups to one kernel: loops around blocks of the shared axes, in them the nests of each stage.
// In:  a CHAIN group. Out: a phase over whole blocks, and one over what is left of the last shared axis.
// A block's part of a value that stays is a scratch buffer of the kernel; its address counts rows from the
// block's first one. Not here: what is a stage (lib/group_chain.c), the nests themselves (lower_nest.c).
#include "lower.h"

int lower_block_at(struct lower *lo, int node, int at, const struct pbuf *p)
{
	int last = lo->shared - 1;
	if (p->cls != BUF_SCRATCH)
		return at;
	int axis = last < 0 ? -1 : shared_axis(NODE(lo, node), last);
	if (axis < 0)
		return lower_fail(lo, "pnode %d lies in scratch outside of a chain", node);
	int64_t stride = p->strides[axis];
	return kb_affine(&lo->b, 0, 2, (int64_t[]){1, -stride}, (int[]){at, lo->block[last]});
}

static void stages(struct lower *lo)
{
	const struct group *g = lo->group;
	bool *done = ARENA_ARRAY(&lo->arena, bool, g->nroots);
	if (!done)
		return;
	for (int i = 0; i < g->nroots; i++)
		lo->own[g->roots[i]] = true;
	for (int s = 0; s <= g->stage[g->nroots - 1]; s++) {
		for (int i = 0; i < g->nroots; i++)
			done[i] = g->stage[i] != s;
		lower_left(lo, done);
	}
}

// Blocks of `rows` indices each, from index `from` of the last shared axis on.
static void blocks(struct lower *lo, const int64_t *size, int64_t from, int64_t count, int64_t rows)
{
	struct kbuild *b = &lo->b;
	int loops[LOWER_RANK], n = 0, last = lo->shared - 1;
	kbuild_init(b, lo->k, kernel_phase(lo->k));
	lo->k->beside[lo->k->nphases - 1] = lo->k->nphases > 1; // blocks share nothing
	for (int a = 0; a < last; a++) {
		loops[n] = kb_for(b, AXIS_PAR, kb_int(b, 0), kb_int(b, size[a]), 0, NULL, NULL);
		lo->block[a] = kb_index(b, loops[n++]);
	}
	lo->rows = rows;
	lo->block[last] = kb_int(b, from);
	if (count > 1) {
		loops[n] = kb_for(b, AXIS_PAR, kb_int(b, 0), kb_int(b, count), 0, NULL, NULL);
		int tile = kb_index(b, loops[n++]);
		lo->block[last] = kb_affine(b, from, 1, &rows, &tile);
	}
	stages(lo);
	while (n--)
		kb_end(b, loops[n], NULL);
	kbuild_done(b);
}

void lower_chain(struct lower *lo)
{
	const struct group *g = lo->group;
	const struct pnode *first = NODE(lo, g->roots[0]);
	int64_t size[LOWER_RANK];
	if (g->shared > LOWER_RANK) {
		lower_fail(lo, "%d shared axes", g->shared);
		return;
	}
	lo->shared = g->shared;
	for (int k = 0; k < g->shared; k++)
		size[k] = first->dims[shared_axis(first, k)].n;
	lower_parameters(lo);
	int64_t n = size[g->shared - 1], whole = n / g->rows;
	if (whole)
		blocks(lo, size, 0, whole, g->rows);
	if (n % g->rows)
		blocks(lo, size, whole * g->rows, 1, n % g->rows);
}
