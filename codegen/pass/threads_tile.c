// Contractions in the pass threads: tiles that the threads of a block share.
// In:  a nest of PAR loops around one chain of reductions sum(x * y), where some loops move only x (rows), some
// only y (columns), others both (batches). Out: blocks of a tile of rows x columns each. The threads put a
// slice of x and of y into shared memory, whatever they are computed from, and each keeps a few rows and
// columns of sums in registers: a LOCAL buffer of which each lane has a part of its own. Sums longer than
// TILE_TERMS are taken in parts. 16-bit floats stay what they are in shared memory, and tensor cores multiply
// the slices (K_MMA); those of f32 too where the target says that TF32 will do. Operands that are plain loads are
// copied asynchronously (K_COPY), a slice or two ahead. Not here: which nests are products (threads_product.c), how
// slices are filled (threads_slice.c).
#include "pass/threads.h"

// ---- its parts

static int range(struct kbuild *b, enum axis_kind kind, int64_t n)
{
	return kb_for(b, kind, kb_int(b, 0), kb_int(b, n), 0, NULL, NULL);
}

static int sum2(struct kbuild *b, int64_t c0, int v0, int64_t c1, int v1)
{
	return kb_affine(b, 0, 2, (int64_t[]){c0, c1}, (int[]){v0, v1});
}

// Loops over the rows and columns of a thread; each side's are fours that stand far apart, so that threads next
// to one another read neighbouring memory.
struct each {
	int loop[4];
	int at[2];  // index in the tile
	int number; // of the sum, in the thread's part of the buffer
};

// The sums of a lane as mma.m16n8 leaves them: see kernel_mma_sum.
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
	if (p->mma)
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

// slice: where those of x and y begin.
static void multiply_term(struct kcopy *cp, const struct product *p, int lane, const int *slice, int term)
{
	struct kbuild *b = cp->b;
	struct each e = open_each(cp, p, lane);
	int v[3];
	for (int side = 0; side < 2; side++)
		v[side] = kb_load(b, p->slice[side], threads_place(b, p, side, slice[side], e.at[side], term), K_NONE,
		                  K_NONE);
	v[2] = kb_load(b, p->sums, e.number, K_NONE, K_NONE);
	kb_store(b, p->sums, e.number, kb_op(b, OP_FMA, TGC_F32, 3, v), K_NONE, K_NONE);
	close_each(cp, &e);
}

// Where terms are neighbours in a slice, some in a row: one access reads them.
static void multiply(struct kcopy *cp, const struct product *p, int lane, const int *slice)
{
	struct kbuild *b = cp->b;
	int each = p->terms_first[0] && p->terms_first[1] ? 1 : THREAD_FOUR;
	int loop = range(b, AXIS_SERIAL, p->depth / each);
	for (int i = 0; i < each; i++)
		multiply_term(cp, p, lane, slice,
		              kb_affine(b, i, 1, (int64_t[]){each}, (int[]){kb_index(b, loop)}));
	kb_end(b, loop, NULL);
}

// sums := 0, or parts := parts + sums and then sums := 0.
static void start(struct kcopy *cp, const struct product *p, bool add)
{
	struct kbuild *b = cp->b;
	int zero = kb_const(b, TGC_F32, (union number){.f = 0});
	int lanes = range(b, AXIS_LANE, threads_of_product(p));
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

static void multiply_slice(struct kcopy *cp, const struct product *p, int slice, int stage)
{
	struct kbuild *b = cp->b;
	int at[2];
	for (int side = 0; side < 2; side++)
		at[side] = threads_slice_at(b, p, side, slice, stage);
	if (p->mma) {
		struct kmma m = {.a = p->slice[0],
		                 .b = p->slice[1],
		                 .rows = (int)p->size[0],
		                 .columns = (int)p->size[1],
		                 .depth = (int)p->depth,
		                 .pitch = {(int)p->pitch[0], (int)p->pitch[1]},
		                 .terms_first = {p->terms_first[0], p->terms_first[1]}};
		kb_mma(b, p->sums, &m, at);
		return;
	}
	int lanes = range(b, AXIS_LANE, threads_of_product(p));
	multiply(cp, p, kb_index(b, lanes), at);
	kb_end(b, lanes, NULL);
}

// The tile with this number, of those that the block takes one after the other.
static void go_to(struct kcopy *cp, struct product *p, int tile)
{
	struct kbuild *b = cp->b;
	int64_t rows = (p->rows.total + p->size[0] - 1) / p->size[0],
	        columns = (p->columns.total + p->size[1] - 1) / p->size[1];
	p->tile[1] = kb_imul(b, kb_imod(b, tile, columns), p->size[1]);
	tile = kb_idiv(b, tile, columns);
	p->tile[0] = kb_imul(b, kb_imod(b, tile, rows), p->size[0]);
	p->batch = kb_idiv(b, tile, rows);
}

// Sends the slice with this number, which may be one of the next tile, to its stage.
static void send(struct kcopy *cp, const struct product *p, int number)
{
	struct kbuild *b = cp->b;
	struct product next = *p;
	go_to(cp, &next, kb_idiv(b, number, p->slices));
	threads_copy(cp, &next, kb_imod(b, number, p->slices), kb_imod(b, number, p->stages));
}

// Slices are on their way, some stages ahead of the one that is multiplied; the first of them in iterations that
// multiply nothing yet, so that the code that copies stands there once. A stage is filled again when all threads have
// met after they read it. The last groups of copies are empty, so that one count serves all.
static void copied_slices(struct kcopy *cp, const struct product *p, int from, int64_t n)
{
	struct kbuild *b = cp->b;
	int ahead = p->stages - 1;
	int loop = range(b, AXIS_SERIAL, n + ahead), next = kb_index(b, loop), at = kb_iadd(b, next, kb_int(b, -ahead));
	kb_wait(b, ahead - 1);
	int kept = threads_guard(b, &next, kb_int(b, n), true);
	threads_copy(cp, p, kb_iadd(b, from, next), kb_imod(b, next, p->stages));
	kb_end(b, kept, NULL);
	kb_commit(b);
	kept = kb_for(b, AXIS_SERIAL, kb_op2(b, OP_MAX, TGC_I64, at, kb_int(b, 0)), kb_iadd(b, at, kb_int(b, 1)), 0, NULL,
	              NULL);
	at = kb_index(b, kept);
	multiply_slice(cp, p, kb_iadd(b, from, at), kb_imod(b, at, p->stages));
	kb_end(b, kept, NULL);
	kb_end(b, loop, NULL);
}

// The same where a block takes several tiles: while the last slices of one are multiplied, those of the next are on
// their way.
static void send_first(struct kcopy *cp, const struct product *p)
{
	for (int i = 0; i < p->stages - 1; i++) {
		if (i < p->tiles * p->slices)
			send(cp, p, kb_int(cp->b, i));
		kb_commit(cp->b);
	}
}

static void await(struct kcopy *cp, const struct product *p, int number)
{
	struct kbuild *b = cp->b;
	int ahead = p->stages - 1, next = kb_iadd(b, number, kb_int(b, ahead));
	int64_t lo, hi;
	kb_wait(b, ahead - 1);
	if (!kernel_interval(b->k, next, &lo, &hi) || lo < p->tiles * p->slices) {
		int kept = threads_guard(b, &next, kb_int(b, p->tiles * p->slices), true);
		send(cp, p, next);
		kb_end(b, kept, NULL);
	}
	kb_commit(b);
}

// n slices of the tile, one after another: all threads fill it, or wait for it, then all multiply.
static void part(struct kcopy *cp, const struct product *p, int from, int64_t n)
{
	struct kbuild *b = cp->b;
	if (p->stages > 1 && p->tiles == 1) {
		copied_slices(cp, p, from, n);
		return;
	}
	int loop = range(b, AXIS_SERIAL, n), slice = kb_iadd(b, from, kb_index(b, loop));
	int number = kb_iadd(b, p->from, slice);
	if (p->stages > 1)
		await(cp, p, number);
	else
		threads_fill(cp, p, slice);
	multiply_slice(cp, p, slice, kb_imod(b, number, p->stages));
	kb_end(b, loop, NULL);
}

// Parts of at most TILE_TERMS terms, added in order.
static void reduce(struct kcopy *cp, const struct product *p)
{
	struct kbuild *b = cp->b;
	int64_t n = p->slices, most = TILE_TERMS / p->depth;
	start(cp, p, false);
	if (p->parts < 0) {
		part(cp, p, kb_int(b, 0), n);
		return;
	}
	if (n / most) {
		int loop = range(b, AXIS_SERIAL, n / most);
		part(cp, p, kb_imul(b, kb_index(b, loop), most), most);
		start(cp, p, true);
		kb_end(b, loop, NULL);
	}
	if (n % most) {
		part(cp, p, kb_int(b, n / most * most), n % most);
		start(cp, p, true);
	}
}

// What the nest does with its sums. Past the ends a loop of no iterations keeps it out.
static void store(struct kcopy *cp, const struct product *p)
{
	struct threads *s = cp->user;
	struct kbuild *b = cp->b;
	int lanes = range(b, AXIS_LANE, threads_of_product(p)), kept[2], at[2];
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
	threads_indices(cp, &p->batches, p->batch, 1, K_NONE, false);
	threads_indices(cp, &p->rows, at[0], 1, K_NONE, false);
	threads_indices(cp, &p->columns, at[1], 1, K_NONE, false);
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

// In the grid each tile has a block; inside of a block it takes them one after the other.
bool threads_product(struct kcopy *cp, const struct axes *a)
{
	struct threads *s = cp->user;
	struct kbuild *b = cp->b;
	struct product p;
	if ((s->place != IN_GRID && s->place != IN_BLOCK) || !threads_find_product(s, a, &p))
		return false;
	int64_t sums = p.size[0] * p.size[1], rows = (p.rows.total + p.size[0] - 1) / p.size[0],
	        columns = (p.columns.total + p.size[1] - 1) / p.size[1], tiles = rows * columns * p.batches.total;
	bool inside = s->place == IN_BLOCK;
	threads_slice_bufs(s, b->k, &p);
	p.sums = kernel_buf(b->k, TGC_F32, SPACE_LOCAL, sums);
	p.parts = p.terms.total > TILE_TERMS ? kernel_buf(b->k, TGC_F32, SPACE_LOCAL, sums) : -1;
	p.tiles = inside ? tiles : 1;
	p.slices = (p.terms.total + p.depth - 1) / p.depth;
	int first = kb_int(b, 0), loop = -1;
	p.from = first;
	go_to(cp, &p, first);
	if (p.tiles > 1 && p.stages > 1)
		send_first(cp, &p);
	if (tiles > 1) {
		loop = range(b, inside ? AXIS_SERIAL : AXIS_PAR, tiles);
		go_to(cp, &p, kb_index(b, loop));
	}
	if (inside && loop >= 0)
		p.from = kb_imul(b, kb_index(b, loop), p.slices);
	reduce(cp, &p);
	store(cp, &p);
	if (loop >= 0)
		kb_end(b, loop, NULL);
	clear_presets(cp, &p.batches);
	clear_presets(cp, &p.rows);
	clear_presets(cp, &p.columns);
	return true;
}
