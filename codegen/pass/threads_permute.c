// Permutations in the pass threads: through tiles in shared memory.
// In:  a nest of PAR loops whose body is straight code, with loads that lie contiguously along another loop
// than the last, which its stores go along. Out: blocks of 32 x 32 iterations of these two loops: threads next
// to one another load neighbours into a tile (a column more, so that its columns lie in different banks), then
// compute and store neighbours. Not here: nests that are left to other forms (threads.c).
#include "pass/threads.h"

enum { SIDE = 32, PITCH = SIDE + 1, MOST_LOADS = 4, LEAST_TOTAL = 4096, LEAST_SIDE = 16 };

struct permute {
	const struct axes *axes;
	int turned; // number of the axis that the loads lie along
	int loads[MOST_LOADS], tiles[MOST_LOADS], n;
	int place; // in the tile, of what is computed
};

static int range(struct kbuild *b, enum axis_kind kind, int64_t n)
{
	return kb_for(b, kind, kb_int(b, 0), kb_int(b, n), 0, NULL, NULL);
}

// ---- which

// The axis that the load lies along, -1: the last, or none.
static int lies_along(const struct kernel *k, const struct axes *a, int load)
{
	int64_t stride;
	int at = kernel_src(k, load, 0), last = a->loop[a->count - 1];
	if (!kernel_stride(k, at, last, &stride) || stride == 0 || stride == 1 || stride == -1)
		return -1;
	for (int i = 0; i < a->count - 1; i++)
		if (kernel_stride(k, at, a->loop[i], &stride) && stride == 1)
			return i;
	return -1;
}

static bool may_turn(const struct kernel *k, int v)
{
	const struct kbuf *b = &k->bufs[k->insts[v].aux];
	return k->insts[v].op == K_LOAD && b->space == SPACE_GLOBAL && !b->segmented && !b->written;
}

static bool find(const struct threads *s, const struct axes *a, struct permute *p)
{
	const struct kernel *k = s->tile.k;
	const struct kregion *r = &k->regions[k->loops[a->loop[a->count - 1]].body];
	bool stores = false;
	int64_t stride;
	*p = (struct permute){.axes = a, .turned = -1};
	for (int i = 0; i < r->n; i++) {
		int v = r->insts[i], along = may_turn(k, v) ? lies_along(k, a, v) : -1;
		const struct kinst *in = &k->insts[v];
		if (in->op == K_FOR)
			return false;
		stores |= in->op == K_STORE &&
		          kernel_stride(k, kernel_src(k, v, 0), a->loop[a->count - 1], &stride) && stride == 1;
		if (along < 0 || (p->turned >= 0 && along != p->turned) || p->n == MOST_LOADS)
			continue;
		p->turned = along;
		p->loads[p->n++] = v;
	}
	return stores && p->n;
}

static bool worth_it(struct threads *s, const struct axes *a, const struct permute *p)
{
	int64_t bytes = 0;
	for (int i = 0; i < p->n; i++)
		bytes += SIDE * PITCH * (int64_t)tgc_type_bytes((tgc_type)s->tile.k->insts[p->loads[i]].type);
	if (a->total < LEAST_TOTAL || a->n[p->turned] < LEAST_SIDE || a->n[a->count - 1] < LEAST_SIDE ||
	    s->slice_bytes + bytes > s->most_bytes)
		return false;
	s->slice_bytes += bytes;
	return true;
}

// ---- tiles

struct at { // values: first of the tile's two sides, indices of the other axes
	int row, column, other[TILE_AXES];
};

static int64_t tiles_of(int64_t n)
{
	return (n + SIDE - 1) / SIDE;
}

static struct at block_of(struct kbuild *b, const struct permute *p, int block)
{
	const struct axes *a = p->axes;
	struct at at;
	int64_t columns = tiles_of(a->n[a->count - 1]), rows = tiles_of(a->n[p->turned]);
	at.column = kb_imul(b, kb_imod(b, block, columns), SIDE);
	block = kb_idiv(b, block, columns);
	at.row = kb_imul(b, kb_imod(b, block, rows), SIDE);
	block = kb_idiv(b, block, rows);
	for (int i = a->count - 2; i >= 0; i--) {
		at.other[i] = i == p->turned ? K_NONE : kb_imod(b, block, a->n[i]);
		block = i == p->turned ? block : kb_idiv(b, block, a->n[i]);
	}
	return at;
}

// Index i of the old nest where the tile's row and column are these.
static int index_of(struct kcopy *cp, const struct permute *p, const struct at *at, int i, int row, int column)
{
	const struct axes *a = p->axes;
	int index = i == a->count - 1 ? column : i == p->turned ? row : at->other[i];
	return kb_iadd(cp->b, index, kcopy_value(cp, cp->from->loops[a->loop[i]].lo));
}

// A thread's share of a tile: neighbouring threads are neighbours of `near`.
static int share(struct kbuild *b, int lane, int *near, int *far)
{
	int loop = range(b, AXIS_UNROLL, SIDE * SIDE / BLOCK_THREADS);
	*near = kb_imod(b, lane, SIDE);
	*far = kb_affine(b, 0, 2, (int64_t[]){1, BLOCK_THREADS / SIDE},
	                 (int[]){kb_idiv(b, lane, SIDE), kb_index(b, loop)});
	return loop;
}

static int below(struct kbuild *b, int mask, int index, int64_t n)
{
	return n % SIDE ? kb_and(b, mask, kb_op2(b, OP_LT, TGC_BOOL, index, kb_int(b, n))) : mask;
}

static void load(struct kcopy *cp, const struct permute *p, const struct at *at)
{
	struct kbuild *b = cp->b;
	const struct kernel *k = cp->from;
	const struct axes *a = p->axes;
	int lanes = range(b, AXIS_LANE, BLOCK_THREADS), row, column;
	int loop = share(b, kb_index(b, lanes), &row, &column);
	int place = kb_affine(b, 0, 2, (int64_t[]){PITCH, 1}, (int[]){column, row});
	row = kb_iadd(b, at->row, row);
	column = kb_iadd(b, at->column, column);
	int mask = below(b, below(b, K_NONE, row, a->n[p->turned]), column, a->n[a->count - 1]);
	kcopy_forget(cp, a->loop[0]);
	for (int i = 0; i < a->count; i++)
		cp->map[k->loops[a->loop[i]].index] = index_of(cp, p, at, i, row, column);
	for (int i = 0; i < p->n; i++) {
		int v = p->loads[i];
		kcopy_operands(cp, v);
		int guard = k->insts[v].nsrc > 1 ? kcopy_value(cp, kernel_src(k, v, 1)) : K_NONE;
		int x = kb_load(b, k->insts[v].aux, kcopy_value(cp, kernel_src(k, v, 0)),
		                kb_and(b, guard, mask), K_NONE);
		kb_store(b, p->tiles[i], place, x, K_NONE, K_NONE);
	}
	kb_end(b, loop, NULL);
	kb_end(b, lanes, NULL);
}

static bool from_tile(struct kcopy *cp, int inst)
{
	const struct threads *s = cp->user;
	for (int i = 0; i < s->permute->n; i++)
		if (s->permute->loads[i] == inst) {
			cp->map[inst] = kb_load(cp->b, s->permute->tiles[i], s->permute->place, K_NONE, K_NONE);
			return true;
		}
	return false;
}

static void compute(struct kcopy *cp, struct permute *p, const struct at *at)
{
	struct threads *s = cp->user;
	struct kbuild *b = cp->b;
	const struct axes *a = p->axes;
	int64_t rows = a->n[p->turned], columns = a->n[a->count - 1];
	int lanes = range(b, AXIS_LANE, BLOCK_THREADS), row, column;
	int loop = share(b, kb_index(b, lanes), &column, &row);
	p->place = kb_affine(b, 0, 2, (int64_t[]){PITCH, 1}, (int[]){column, row});
	row = kb_iadd(b, at->row, row);
	column = kb_iadd(b, at->column, column);
	int kept[] = {threads_guard(b, &row, kb_int(b, rows), rows % SIDE),
	              threads_guard(b, &column, kb_int(b, columns), columns % SIDE)};
	kcopy_forget(cp, a->loop[0]);
	for (int i = 0; i < a->count; i++)
		s->tile.preset[a->loop[i]] = index_of(cp, p, at, i, row, column);
	s->permute = p;
	s->tile.in_lane = true;
	cp->inst = from_tile;
	kcopy_body(cp, a->loop[0], s->tile.preset[a->loop[0]], NULL, NULL);
	cp->inst = NULL;
	s->tile.in_lane = false;
	for (int i = 0; i < a->count; i++)
		s->tile.preset[a->loop[i]] = K_NONE;
	for (int i = 1; i >= 0; i--)
		if (kept[i] >= 0)
			kb_end(b, kept[i], NULL);
	kb_end(b, loop, NULL);
	kb_end(b, lanes, NULL);
}

bool threads_permute(struct kcopy *cp, const struct axes *a)
{
	struct threads *s = cp->user;
	struct kbuild *b = cp->b;
	struct permute p;
	if (s->place != IN_GRID || s->tile.whole[a->loop[0]] || a->total < 0 || !find(s, a, &p) ||
	    !worth_it(s, a, &p))
		return false;
	int64_t columns = a->n[a->count - 1], rows = a->n[p.turned],
	        blocks = a->total / columns / rows * tiles_of(columns) * tiles_of(rows);
	for (int i = 0; i < p.n; i++)
		p.tiles[i] =
		    kernel_buf(b->k, (tgc_type)cp->from->insts[p.loads[i]].type, SPACE_SHARED, SIDE * PITCH);
	int loop = blocks > 1 ? range(b, AXIS_PAR, blocks) : -1;
	struct at at = block_of(b, &p, loop >= 0 ? kb_index(b, loop) : kb_int(b, 0));
	load(cp, &p, &at);
	compute(cp, &p, &at);
	if (loop >= 0)
		kb_end(b, loop, NULL);
	return true;
}
