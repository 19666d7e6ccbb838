// A chain of groups to one kernel: loops around blocks of the shared axes, in them the nests of each stage.
// In:  a CHAIN group, or one that takes sums over the shared axes along, as a chain of one stage. Out: a phase over
// whole blocks, and one over what is left of the last shared axis.
// A block's part of a value that stays is a scratch buffer of the kernel; its address counts rows from the
// block's first one. A block's part of a sum is a row of its buffer: cleared before the nest, whose rows are added to
// it one after another. Not here: what is a stage (lib/group_chain.c), the nests themselves (lower_nest.c).
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

// The address of element `at` of the block's part.
static int part_at(struct lower *lo, const struct lower_root *r, int at)
{
	int64_t elems = prog_elems(&lo->plan->prog, r->sum);
	return kb_affine(&lo->b, 0, 2, (int64_t[]){elems, 1}, (int[]){lo->part, at});
}

void lower_part_clear(struct lower *lo, const struct lower_root *r)
{
	const struct pnode *n = NODE(lo, r->sum);
	struct kbuild *b = &lo->b;
	int64_t elems = prog_elems(&lo->plan->prog, r->sum);
	int loop = kb_for(b, AXIS_PAR, kb_int(b, 0), kb_int(b, elems), 0, NULL, NULL);
	kb_store(b, lower_buf(lo, r->buf), part_at(lo, r, kb_index(b, loop)),
	         kb_identity(b, lower_combine(n->op), (tgc_type)n->type), K_NONE, K_NONE);
	kb_end(b, loop, NULL);
}

void lower_part_add(struct lower *lo, const struct lower_root *r, const int *idx, int value)
{
	const struct pnode *n = NODE(lo, r->sum);
	struct kbuild *b = &lo->b;
	int buf = lower_buf(lo, r->buf), kept[LOWER_RANK], at;
	for (int a = 0; a < n->rank; a++)
		kept[a] = n->dims[a].n == 1 ? kb_int(b, 0) : idx[a];
	lower_linear(lo, n->rank, n->dims, kept, &at);
	at = part_at(lo, r, at);
	int x = lower_cast(lo, value, (tgc_type)n->type), sum = kb_load(b, buf, at, K_NONE, K_NONE);
	kb_store(b, buf, at, kb_op2(b, lower_combine(n->op), (tgc_type)n->type, sum, x), K_NONE, K_NONE);
	lower_count_node(lo, r->sum);
}

static void stages(struct lower *lo)
{
	const struct group *g = lo->group;
	bool *done = ARENA_ARRAY(&lo->arena, bool, g->nroots);
	if (!done)
		return;
	for (int i = 0; i < g->nroots; i++)
		lo->own[g->roots[i]] = true;
	int last = g->stage ? g->stage[g->nroots - 1] : 0;
	for (int s = 0; s <= last; s++) {
		for (int i = 0; i < g->nroots; i++)
			done[i] = g->stage && g->stage[i] != s;
		lower_left(lo, done);
	}
}

// Blocks of `rows` indices each, from index `from` of the last shared axis on.
static void blocks(struct lower *lo, const int64_t *size, int64_t from, int64_t count, int64_t rows)
{
	struct kbuild *b = &lo->b;
	int64_t tiles = size[lo->shared - 1] / lo->group->rows + (size[lo->shared - 1] % lo->group->rows != 0);
	int loops[LOWER_RANK], n = 0, last = lo->shared - 1;
	kbuild_init(b, lo->k, kernel_phase(lo->k));
	lo->k->beside[lo->k->nphases - 1] = lo->k->nphases > 1; // blocks share nothing
	lo->part = kb_int(b, 0);
	for (int a = 0; a < last; a++) {
		loops[n] = kb_for(b, AXIS_PAR, kb_int(b, 0), kb_int(b, size[a]), 0, NULL, NULL);
		lo->block[a] = kb_index(b, loops[n++]);
		lo->part = kb_affine(b, 0, 2, (int64_t[]){size[a], 1}, (int[]){lo->part, lo->block[a]});
	}
	lo->rows = rows;
	lo->block[last] = kb_int(b, from);
	int tile = kb_int(b, from / lo->group->rows);
	if (count > 1) {
		loops[n] = kb_for(b, AXIS_PAR, kb_int(b, 0), kb_int(b, count), 0, NULL, NULL);
		tile = kb_index(b, loops[n++]);
		lo->block[last] = kb_affine(b, from, 1, &rows, &tile);
	}
	lo->part = kb_affine(b, 0, 2, (int64_t[]){tiles, 1}, (int[]){lo->part, tile});
	stages(lo);
	while (n--)
		kb_end(b, loops[n], NULL);
	kbuild_done(b);
}

void lower_chain(struct lower *lo)
{
	const struct group *g = lo->group;
	int like = g->roots[0];
	const struct pnode *first = NODE(lo, plan_is_part(lo->plan, g, 0) ? NODE(lo, like)->src[0] : like);
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
