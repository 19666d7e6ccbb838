// Contractions in the pass threads: tiles that the threads of a block share.
// In:  a nest of PAR loops around one chain of reductions sum(x * y), where some loops move only x (rows), some
// only y (columns), others both (batches). Out: blocks of a tile of rows x columns each. The threads put a
// slice of x and of y into shared memory, whatever they are computed from, and each keeps a few rows and
// columns of sums in registers: a LOCAL buffer of which each lane has a part of its own. Sums longer than
// TILE_TERMS are taken in parts. 16-bit floats stay what they are in shared memory, and tensor cores multiply
// the slices (K_MMA). Not here: which nests are left to other forms (threads_choose.c).
#include "pass/threads.h"

enum { PAD = 4 };

// ---- its parts

static int range(struct kbuild *b, enum axis_kind kind, int64_t n)
{
	return kb_for(b, kind, kb_int(b, 0), kb_int(b, n), 0, NULL, NULL);
}

static int sum2(struct kbuild *b, int64_t c0, int v0, int64_t c1, int v1)
{
	return kb_affine(b, 0, 2, (int64_t[]){c0, c1}, (int[]){v0, v1});
}

// The indices of the group's loops at running index `at`: into map if `map`, else into presets.
static void set_indices(struct kcopy *cp, const struct moved *g, int at, bool map)
{
	struct threads *s = cp->user;
	struct kbuild *b = cp->b;
	for (int i = g->count - 1; i >= 0; i--) {
		int index = i ? kb_imod(b, at, g->n[i]) : at;
		at = i ? kb_idiv(b, at, g->n[i]) : at;
		int lo =
		    g->clipped[i] ? kb_int(b, g->from[i]) : kcopy_value(cp, cp->from->loops[g->loop[i]].lo);
		index = kb_iadd(b, index, lo);
		if (map)
			cp->map[cp->from->loops[g->loop[i]].index] = index;
		else
			s->tile.preset[g->loop[i]] = index;
	}
}

static bool masked_load(struct kcopy *cp, int inst)
{
	const struct threads *s = cp->user;
	const struct kernel *k = cp->from;
	const struct kinst *in = &k->insts[inst];
	if (in->op != K_LOAD)
		return false;
	int guard = in->nsrc > 1 ? kcopy_value(cp, kernel_src(k, inst, 1)) : K_NONE;
	int segment = in->nsrc > 2 ? kcopy_value(cp, kernel_src(k, inst, 2)) : K_NONE;
	cp->map[inst] = kb_load(cp->b, in->aux, kcopy_value(cp, kernel_src(k, inst, 0)),
	                        kb_and(cp->b, guard, s->tile.mask), segment);
	return true;
}

static void copy_expression(struct kcopy *cp, int v)
{
	const struct kernel *k = cp->from;
	if (cp->map[v] != K_NONE || cp->b->k->arena.failed)
		return;
	for (int i = 0; i < k->insts[v].nsrc; i++)
		if (kernel_src(k, v, i) != K_NONE)
			copy_expression(cp, kernel_src(k, v, i));
	kcopy_inst(cp, v);
}

static int inside(struct kcopy *cp, const struct product *p, int mask)
{
	for (int i = 0; i < p->terms.count; i++) {
		const struct kloop *l = &cp->from->loops[p->terms.loop[i]];
		if (!p->terms.clipped[i])
			continue;
		copy_expression(cp, l->lo);
		copy_expression(cp, l->hi);
		int at = kcopy_value(cp, l->index);
		mask = kb_and(cp->b, mask, kb_op2(cp->b, OP_LE, TGC_BOOL, kcopy_value(cp, l->lo), at));
		mask = kb_and(cp->b, mask, kb_op2(cp->b, OP_LT, TGC_BOOL, at, kcopy_value(cp, l->hi)));
	}
	return mask;
}

// x (side 0) or y at a running index of its group and of the terms; 0 past their ends.
static int value_at(struct kcopy *cp, const struct product *p, int side, int at, int term)
{
	struct threads *s = cp->user;
	struct kbuild *b = cp->b;
	const struct moved *g = side ? &p->columns : &p->rows;
	int v = side ? p->y : p->x, mask = K_NONE;
	if (g->total % p->size[side])
		mask = kb_op2(b, OP_LT, TGC_BOOL, at, kb_int(b, g->total));
	if (p->terms.total % p->depth)
		mask = kb_and(b, kb_op2(b, OP_LT, TGC_BOOL, term, kb_int(b, p->terms.total)), mask);
	kcopy_forget(cp, p->first);
	set_indices(cp, &p->batches, p->batch, true);
	set_indices(cp, g, at, true);
	set_indices(cp, &p->terms, term, true);
	if (side == p->bounds)
		mask = inside(cp, p, mask);
	s->tile.mask = mask;
	cp->inst = mask == K_NONE ? NULL : masked_load;
	copy_expression(cp, v);
	cp->inst = NULL;
	s->tile.mask = K_NONE;
	v = kcopy_value(cp, v);
	return mask == K_NONE ? v : kb_select(b, mask, v, kb_const(b, p->type, (union number){.f = 0}));
}

static int threads_of(const struct product *p)
{
	if (p->type != TGC_F32)
		return (int)(p->size[0] * p->size[1] / MMA_WARP);
	return (int)(p->size[0] / p->each[0] * (p->size[1] / p->each[1]));
}

// A slice's place of a row (column) and a term: terms first for threads that each have sums of their own, rows
// first for tensor cores.
static int place_in(struct kbuild *b, const struct product *p, int side, int own, int term)
{
	if (p->type != TGC_F32)
		return sum2(b, p->depth + MMA_PAD, own, 1, term);
	return sum2(b, p->size[side] + PAD, term, 1, own);
}

static int64_t slice_elems(const struct product *p, int side)
{
	return p->type != TGC_F32 ? p->size[side] * (p->depth + MMA_PAD) : (p->size[side] + PAD) * p->depth;
}

// Neighbours in memory that one thread takes at once.
static int64_t vector_of(const struct threads *s, const struct product *p, int side)
{
	const struct moved *g = p->along_terms[side] ? &p->terms : side ? &p->columns : &p->rows;
	int64_t v = s->tile.t->vector_bytes / (int64_t)tgc_type_bytes(p->type),
	        n = g->count ? g->n[g->count - 1] : 1;
	bool all = p->size[side] * p->depth % (threads_of(p) * v) == 0;
	return (p->along_terms[side] || p->along_own[side]) && n % v == 0 && all ? v : 1;
}

// Neighbouring threads take neighbours in memory.
static void fill(struct kcopy *cp, const struct product *p, int side, int lane, int slice)
{
	struct threads *s = cp->user;
	struct kbuild *b = cp->b;
	int64_t size = p->size[side], t = threads_of(p), v = vector_of(s, p, side);
	int loop = range(b, AXIS_UNROLL, size * p->depth / (t * v));
	int at = sum2(b, t, kb_index(b, loop), 1, lane);
	int inner = range(b, AXIS_UNROLL, v), own, term;
	if (p->along_terms[side]) {
		own = kb_idiv(b, at, p->depth / v);
		term = sum2(b, v, kb_imod(b, at, p->depth / v), 1, kb_index(b, inner));
	} else {
		own = sum2(b, v, kb_imod(b, at, size / v), 1, kb_index(b, inner));
		term = kb_idiv(b, at, size / v);
	}
	int x = value_at(cp, p, side, kb_iadd(b, p->tile[side], own), sum2(b, p->depth, slice, 1, term));
	kb_store(b, p->slice[side], place_in(b, p, side, own, term), x, K_NONE, K_NONE);
	kb_end(b, inner, NULL);
	kb_end(b, loop, NULL);
}

// Loops over the rows and columns of a thread; each side's are fours that stand far apart, so that threads next
// to one another read neighbouring memory.
struct each {
	int loop[4];
	int at[2];  // index in the tile
	int number; // of the sum, in the thread's part of the buffer
};

// The sums of a lane as mma.m16n8k16 leaves them: see kernel_mma_sum.
static struct each open_fragments(struct kcopy *cp, const struct product *p, int lane)
{
	struct kbuild *b = cp->b;
	int64_t across = p->size[1] / MMA_WARP;
	int warp = kb_idiv(b, lane, WARP), in = kb_imod(b, lane, WARP), i[4];
	struct each e;
	for (int l = 0; l < 4; l++) { // 16 rows, 8 columns, 8 rows, 1 column
		e.loop[l] = range(b, AXIS_UNROLL, l == 1 ? 4 : 2);
		i[l] = kb_index(b, e.loop[l]);
	}
	e.at[0] = kb_affine(b, 0, 4, (int64_t[]){MMA_WARP, 16, 8, 1},
	                    (int[]){kb_idiv(b, warp, across), i[0], i[2], kb_idiv(b, in, 4)});
	e.at[1] = kb_affine(b, 0, 4, (int64_t[]){MMA_WARP, 8, 2, 1},
	                    (int[]){kb_imod(b, warp, across), i[1], kb_imod(b, in, 4), i[3]});
	e.number =
	    kb_affine(b, 0, 5, (int64_t[]){MMA_WARP, 16, 4, 2, 1}, (int[]){lane, i[0], i[1], i[2], i[3]});
	return e;
}

static struct each open_each(struct kcopy *cp, const struct product *p, int lane)
{
	struct kbuild *b = cp->b;
	if (p->type != TGC_F32)
		return open_fragments(cp, p, lane);
	int64_t across = p->size[1] / p->each[1];
	int place[2] = {kb_idiv(b, lane, across), kb_imod(b, lane, across)}, own[2];
	struct each e;
	for (int side = 0; side < 2; side++) {
		int64_t fours = p->each[side] / THREAD_FOUR, apart = p->size[side] / fours;
		e.loop[2 * side] = range(b, AXIS_UNROLL, fours);
		e.loop[2 * side + 1] = range(b, AXIS_UNROLL, THREAD_FOUR);
		int far = kb_index(b, e.loop[2 * side]), near = kb_index(b, e.loop[2 * side + 1]);
		e.at[side] =
		    kb_affine(b, 0, 3, (int64_t[]){apart, THREAD_FOUR, 1}, (int[]){far, place[side], near});
		own[side] = sum2(b, THREAD_FOUR, far, 1, near);
	}
	e.number = kb_affine(b, 0, 3, (int64_t[]){p->each[0] * p->each[1], p->each[1], 1},
	                     (int[]){lane, own[0], own[1]});
	return e;
}

static void close_each(struct kcopy *cp, const struct each *e)
{
	for (int i = 3; i >= 0; i--)
		kb_end(cp->b, e->loop[i], NULL);
}

static void multiply(struct kcopy *cp, const struct product *p, int lane)
{
	struct kbuild *b = cp->b;
	int loop = range(b, AXIS_SERIAL, p->depth), term = kb_index(b, loop), v[3];
	struct each e = open_each(cp, p, lane);
	for (int side = 0; side < 2; side++)
		v[side] = kb_load(b, p->slice[side], place_in(b, p, side, e.at[side], term), K_NONE, K_NONE);
	v[2] = kb_load(b, p->sums, e.number, K_NONE, K_NONE);
	kb_store(b, p->sums, e.number, kb_op(b, OP_FMA, TGC_F32, 3, v), K_NONE, K_NONE);
	close_each(cp, &e);
	kb_end(b, loop, NULL);
}

// sums := 0, or parts := parts + sums and then sums := 0.
static void start(struct kcopy *cp, const struct product *p, bool add)
{
	struct kbuild *b = cp->b;
	int zero = kb_const(b, TGC_F32, (union number){.f = 0});
	int lanes = range(b, AXIS_LANE, threads_of(p));
	struct each e = open_each(cp, p, kb_index(b, lanes));
	if (p->parts >= 0) {
		int v = zero;
		if (add)
			v = kb_op2(b, OP_ADD, TGC_F32, kb_load(b, p->parts, e.number, K_NONE, K_NONE),
			           kb_load(b, p->sums, e.number, K_NONE, K_NONE));
		kb_store(b, p->parts, e.number, v, K_NONE, K_NONE);
	}
	kb_store(b, p->sums, e.number, zero, K_NONE, K_NONE);
	close_each(cp, &e);
	kb_end(b, lanes, NULL);
}

static void slices(struct kcopy *cp, const struct product *p, int from, int64_t n)
{
	struct kbuild *b = cp->b;
	int64_t t = threads_of(p);
	int loop = range(b, AXIS_SERIAL, n), slice = kb_iadd(b, from, kb_index(b, loop));
	int lanes = range(b, AXIS_LANE, t);
	for (int side = 0; side < 2; side++)
		fill(cp, p, side, kb_index(b, lanes), slice);
	kb_end(b, lanes, NULL);
	if (p->type != TGC_F32) {
		kb_mma(b, p->sums, p->slice[0], p->slice[1], (int)p->depth);
	} else {
		lanes = range(b, AXIS_LANE, t);
		multiply(cp, p, kb_index(b, lanes));
		kb_end(b, lanes, NULL);
	}
	kb_end(b, loop, NULL);
}

// Parts of at most TILE_TERMS terms, added in order.
static void reduce(struct kcopy *cp, const struct product *p)
{
	struct kbuild *b = cp->b;
	int64_t n = (p->terms.total + p->depth - 1) / p->depth, most = TILE_TERMS / p->depth;
	start(cp, p, false);
	if (p->parts < 0) {
		slices(cp, p, kb_int(b, 0), n);
		return;
	}
	if (n / most) {
		int loop = range(b, AXIS_SERIAL, n / most);
		slices(cp, p, kb_imul(b, kb_index(b, loop), most), most);
		start(cp, p, true);
		kb_end(b, loop, NULL);
	}
	if (n % most) {
		slices(cp, p, kb_int(b, n / most * most), n % most);
		start(cp, p, true);
	}
}

// What the nest does with its sums. Past the ends a loop of no iterations keeps it out.
static void store(struct kcopy *cp, const struct product *p)
{
	struct threads *s = cp->user;
	struct kbuild *b = cp->b;
	int lanes = range(b, AXIS_LANE, threads_of(p)), kept[2], at[2];
	struct each e = open_each(cp, p, kb_index(b, lanes));
	for (int side = 0; side < 2; side++) {
		const struct moved *g = side ? &p->columns : &p->rows;
		at[side] = kb_iadd(b, p->tile[side], e.at[side]);
		kept[side] = threads_guard(b, &at[side], kb_int(b, g->total), g->total % p->size[side]);
	}
	int init = kcopy_value(cp, cp->from->loops[p->red].init[0]);
	int v = kb_load(b, p->parts >= 0 ? p->parts : p->sums, e.number, K_NONE, K_NONE);
	union number zero;
	if (!kernel_is_const(b->k, init, &zero) || zero.f != 0)
		v = kb_op2(b, OP_ADD, TGC_F32, init, v);
	set_indices(cp, &p->batches, p->batch, false);
	set_indices(cp, &p->rows, at[0], false);
	set_indices(cp, &p->columns, at[1], false);
	s->done = p->red;
	s->done_value = v;
	s->tile.in_lane = true;
	kcopy_body(cp, p->first, s->tile.preset[p->first], NULL, NULL);
	s->tile.in_lane = false;
	s->done = -1;
	for (int side = 1; side >= 0; side--)
		if (kept[side] >= 0)
			kb_end(b, kept[side], NULL);
	close_each(cp, &e);
	kb_end(b, lanes, NULL);
}

static void clear_presets(struct kcopy *cp, const struct moved *g)
{
	struct threads *s = cp->user;
	for (int i = 0; i < g->count; i++)
		s->tile.preset[g->loop[i]] = K_NONE;
}

bool threads_product(struct kcopy *cp, const struct axes *a)
{
	struct threads *s = cp->user;
	struct kbuild *b = cp->b;
	struct product p;
	if (s->place != IN_GRID || !threads_find_product(s, a, &p))
		return false;
	int64_t sums = p.size[0] * p.size[1];
	for (int side = 0; side < 2; side++)
		p.slice[side] = kernel_buf(b->k, p.type, SPACE_SHARED, slice_elems(&p, side));
	p.sums = kernel_buf(b->k, TGC_F32, SPACE_LOCAL, sums);
	p.parts = p.terms.total > TILE_TERMS ? kernel_buf(b->k, TGC_F32, SPACE_LOCAL, sums) : -1;
	int64_t rows = (p.rows.total + p.size[0] - 1) / p.size[0],
	        columns = (p.columns.total + p.size[1] - 1) / p.size[1];
	int loop =
	    rows * columns * p.batches.total > 1 ? range(b, AXIS_PAR, rows * columns * p.batches.total) : -1;
	int at = loop >= 0 ? kb_index(b, loop) : kb_int(b, 0);
	p.tile[1] = kb_imul(b, kb_imod(b, at, columns), p.size[1]);
	at = kb_idiv(b, at, columns);
	p.tile[0] = kb_imul(b, kb_imod(b, at, rows), p.size[0]);
	p.batch = kb_idiv(b, at, rows);
	reduce(cp, &p);
	store(cp, &p);
	if (loop >= 0)
		kb_end(b, loop, NULL);
	clear_presets(cp, &p.batches);
	clear_presets(cp, &p.rows);
	clear_presets(cp, &p.columns);
	return true;
}
