// Slices of operands in shared memory, for products of tiles.
// In:  a product, the numbers of a slice and of its stage. Out: loops over the threads of a block that fill it
// with what its rows (columns) and terms are, 0 past their ends; or copy it asynchronously (K_COPY), where the
// operand is nothing but a load. Not here: when (threads_tile.c).
#include "pass/threads.h"

enum { PAD = 4, WIDE_PAD = 8 };
struct spot {          // a row or column and a term, as running indices
	int own, term; // of the first of n neighbours
	int64_t n;
	int lane; // which of them; K_NONE: the first
};

static int range(struct kbuild *b, enum axis_kind kind, int64_t n)
{
	return kb_for(b, kind, kb_int(b, 0), kb_int(b, n), 0, NULL, NULL);
}

static int sum2(struct kbuild *b, int64_t c0, int v0, int64_t c1, int v1)
{
	return kb_affine(b, 0, 2, (int64_t[]){c0, c1}, (int[]){v0, v1});
}

// ---- where things are

int threads_of_product(const struct product *p)
{
	if (p->mma)
		return (int)(p->size[0] * p->size[1] / MMA_WARP);
	return (int)(p->size[0] / p->each[0] * (p->size[1] / p->each[1]));
}

int64_t threads_slice_elems(const struct product *p, int side)
{
	return p->direct[side] ? 0 : (p->terms_first[side] ? p->depth : p->size[side]) * p->pitch[side];
}

int threads_slice_at(struct kbuild *b, const struct product *p, int side, int slice, int stage)
{
	if (p->direct[side])
		return sum2(b, p->pitch[side], p->tile[side], p->depth, slice);
	return kb_imul(b, stage, threads_slice_elems(p, side));
}

int threads_place(struct kbuild *b, const struct product *p, int side, int slice_at, int own, int term)
{
	bool turned = p->terms_first[side];
	int64_t coef[] = {1, p->pitch[side], 1};
	return kb_affine(b, 0, 3, coef, (int[]){slice_at, turned ? term : own, turned ? own : term});
}

void threads_indices(struct kcopy *cp, const struct moved *g, int at, int64_t n, int lane, bool map)
{
	struct threads *s = cp->user;
	struct kbuild *b = cp->b;
	at = kb_idiv(b, at, n);
	for (int i = g->count - 1; i >= 0; i--) {
		int64_t own = i == g->count - 1 ? n : 1;
		int index = i ? kb_imod(b, at, g->n[i] / own) : at;
		at = i ? kb_idiv(b, at, g->n[i] / own) : at;
		index = kb_imul(b, index, own);
		if (own > 1 && lane != K_NONE)
			index = kb_iadd(b, index, lane);
		int first = cp->from->loops[g->loop[i]].lo;
		if (map && !g->clipped[i])
			kcopy_expression(cp, first);
		int lo = g->clipped[i] ? kb_int(b, g->from[i]) : kcopy_value(cp, first);
		index = kb_iadd(b, index, lo);
		if (map)
			cp->map[cp->from->loops[g->loop[i]].index] = index;
		else
			s->tile.preset[g->loop[i]] = index;
	}
}

// ---- what an operand is there

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

static int inside(struct kcopy *cp, const struct product *p, int mask)
{
	for (int i = 0; i < p->terms.count; i++) {
		const struct kloop *l = &cp->from->loops[p->terms.loop[i]];
		if (!p->terms.clipped[i])
			continue;
		kcopy_expression(cp, l->lo);
		kcopy_expression(cp, l->hi);
		int at = kcopy_value(cp, l->index);
		mask = kb_and(cp->b, mask, kb_op2(cp->b, OP_LE, TGC_BOOL, kcopy_value(cp, l->lo), at));
		mask = kb_and(cp->b, mask, kb_op2(cp->b, OP_LT, TGC_BOOL, at, kcopy_value(cp, l->hi)));
	}
	return mask;
}

// Maps the indices of the old loops to the spot. Returns whether there is anything (K_NONE: surely).
static int go_to(struct kcopy *cp, const struct product *p, int side, const struct spot *at)
{
	struct kbuild *b = cp->b;
	const struct moved *g = side ? &p->columns : &p->rows;
	bool terms = p->along_terms[side];
	int own = at->own, term = at->term, mask = K_NONE;
	if (at->lane != K_NONE && terms && p->terms.total % at->n) // else all neighbours are there, or none
		term = kb_iadd(b, term, at->lane);
	if (at->lane != K_NONE && !terms && g->total % at->n)
		own = kb_iadd(b, own, at->lane);
	if (g->total % p->size[side])
		mask = kb_op2(b, OP_LT, TGC_BOOL, own, kb_int(b, g->total));
	if (p->terms.total % p->depth)
		mask = kb_and(b, kb_op2(b, OP_LT, TGC_BOOL, term, kb_int(b, p->terms.total)), mask);
	kcopy_forget(cp, p->first);
	threads_indices(cp, &p->batches, p->batch, 1, K_NONE, true);
	threads_indices(cp, g, at->own, terms ? 1 : at->n, at->lane, true);
	threads_indices(cp, &p->terms, at->term, terms ? at->n : 1, at->lane, true);
	return side == p->bounds ? inside(cp, p, mask) : mask;
}

static int value_at(struct kcopy *cp, const struct product *p, int side, const struct spot *at)
{
	struct threads *s = cp->user;
	struct kbuild *b = cp->b;
	int v = side ? p->y : p->x, mask = go_to(cp, p, side, at);
	s->tile.mask = mask;
	cp->inst = mask == K_NONE ? NULL : masked_load;
	kcopy_expression(cp, v);
	cp->inst = NULL;
	s->tile.mask = K_NONE;
	v = kcopy_value(cp, v);
	return mask == K_NONE ? v : kb_select(b, mask, v, kb_const(b, p->type, (union number){.f = 0}));
}

// ---- filling

// The loop over what one thread takes of a slice, n neighbours each time: neighbouring threads take neighbours
// in memory. *own and *term lie in the tile and in the slice.
static int share(struct kbuild *b, const struct product *p, int side, int lane, int *own, int *term)
{
	int64_t size = p->size[side], t = threads_of_product(p), n = p->neighbours[side];
	int loop = range(b, AXIS_UNROLL, size * p->depth / (t * n));
	int at = sum2(b, t, kb_index(b, loop), 1, lane);
	if (p->along_terms[side]) {
		*own = kb_idiv(b, at, p->depth / n);
		*term = kb_imul(b, kb_imod(b, at, p->depth / n), n);
	} else {
		*own = kb_imul(b, kb_imod(b, at, size / n), n);
		*term = kb_idiv(b, at, size / n);
	}
	return loop;
}

static struct spot spot_of(struct kbuild *b, const struct product *p, int side, int own, int slice, int term,
                           int lane)
{
	return (struct spot){kb_iadd(b, p->tile[side], own), sum2(b, p->depth, slice, 1, term),
	                     p->neighbours[side], lane};
}

static void fill(struct kcopy *cp, const struct product *p, int side, int lane, int slice)
{
	struct kbuild *b = cp->b;
	int own, term, loop = share(b, p, side, lane, &own, &term);
	int inner = range(b, AXIS_UNROLL, p->neighbours[side]);
	struct spot at = spot_of(b, p, side, own, slice, term, kb_index(b, inner));
	int x = value_at(cp, p, side, &at), *moves = p->along_terms[side] ? &term : &own;
	*moves = kb_iadd(b, *moves, kb_index(b, inner));
	kb_store(b, p->slice[side], threads_place(b, p, side, kb_int(b, 0), own, term), x, K_NONE, K_NONE);
	kb_end(b, inner, NULL);
	kb_end(b, loop, NULL);
}

static void copy(struct kcopy *cp, const struct product *p, int side, int lane, int slice, int stage)
{
	struct kbuild *b = cp->b;
	const struct kernel *k = cp->from;
	int v = side ? p->y : p->x, own, term, loop = share(b, p, side, lane, &own, &term);
	struct spot at = spot_of(b, p, side, own, slice, term, K_NONE);
	int mask = go_to(cp, p, side, &at);
	kcopy_operands(cp, v);
	int guard = k->insts[v].nsrc > 1 ? kcopy_value(cp, kernel_src(k, v, 1)) : K_NONE;
	int to = threads_place(b, p, side, threads_slice_at(b, p, side, slice, stage), own, term);
	kb_copy(b, p->slice[side], to, k->insts[v].aux, kcopy_value(cp, kernel_src(k, v, 0)),
	        p->neighbours[side], kb_and(b, guard, mask));
	kb_end(b, loop, NULL);
}

void threads_fill(struct kcopy *cp, const struct product *p, int slice)
{
	struct kbuild *b = cp->b;
	int lanes = range(b, AXIS_LANE, threads_of_product(p));
	for (int side = 0; side < 2; side++)
		if (!p->direct[side])
			fill(cp, p, side, kb_index(b, lanes), slice);
	kb_end(b, lanes, NULL);
}

void threads_copy(struct kcopy *cp, const struct product *p, int slice, int stage)
{
	struct kbuild *b = cp->b;
	int lanes = range(b, AXIS_LANE, threads_of_product(p));
	for (int side = 0; side < 2; side++)
		if (!p->direct[side])
			copy(cp, p, side, kb_index(b, lanes), slice, stage);
	kb_end(b, lanes, NULL);
}

// ---- how

static int64_t neighbours(const struct threads *s, const struct product *p, int side)
{
	const struct moved *g = p->along_terms[side] ? &p->terms : side ? &p->columns : &p->rows;
	int64_t v = s->tile.t->vector_bytes / (int64_t)tgc_type_bytes(p->type),
	        n = g->count ? g->n[g->count - 1] : 1;
	bool all = p->size[side] * p->depth % (threads_of_product(p) * v) == 0;
	return (p->along_terms[side] || p->along_own[side]) && n % v == 0 && all ? v : 1;
}

// Does the value, or what it is made of, move with the loop's index?
static bool moves(const struct kernel *k, int v, int loop)
{
	int budget = 1000;
	return v != K_NONE && threads_moves(k, v, loop, &budget);
}

// Do n neighbours of the operand lie in one aligned piece, there or not there together?
static bool together(const struct threads *s, const struct product *p, int side, int64_t n)
{
	const struct kernel *k = s->tile.k;
	const struct moved *g = p->along_terms[side] ? &p->terms : side ? &p->columns : &p->rows;
	int v = side ? p->y : p->x, at = kernel_src(k, v, 0), last = g->loop[g->count - 1];
	const struct kinst *in = &k->insts[at];
	union number lo;
	bool ok = !g->clipped[g->count - 1] && (k->insts[v].nsrc < 2 || !moves(k, kernel_src(k, v, 1), last));
	for (int i = 0; i < p->terms.count; i++) {
		const struct kloop *l = &k->loops[p->terms.loop[i]];
		ok &= side != p->bounds || !p->terms.clipped[i] || (!moves(k, l->lo, last) && !moves(k, l->hi, last));
	}
	ok &= kernel_is_const(k, k->loops[last].lo, &lo) && lo.i % n == 0;
	if (in->op != K_AFFINE)
		return ok && at == k->loops[last].index;
	for (int i = 0; i < in->nsrc; i++) {
		int64_t coef = k->coefs[in->src_at + i];
		int x = kernel_src(k, at, i);
		ok &= x == k->loops[last].index ? coef == 1 : coef % n == 0 && !moves(k, x, last);
	}
	return ok && in->imm % n == 0;
}

// Neighbours that one asynchronous copy takes; 0: it takes none.
static int64_t copied(const struct threads *s, const struct product *p, int side)
{
	const struct kernel *k = s->tile.k;
	const struct kinst *in = &k->insts[side ? p->y : p->x];
	int64_t n = p->neighbours[side];
	if (s->tile.t->sm < 80 || in->op != K_LOAD || k->bufs[in->aux].space != SPACE_GLOBAL ||
	    k->bufs[in->aux].segmented || k->bufs[in->aux].written)
		return 0;
	if (n > 1 && together(s, p, side, n))
		return n;
	return tgc_type_bytes(p->type) == 4 ? 1 : 0;
}

// Elements from row to row, if the operand is what lies in the block's scratch, there for whole tiles; else 0.
static int64_t lies_there(const struct threads *s, const struct product *p, int side)
{
	const struct kernel *k = s->tile.k;
	const struct moved *g = side ? &p->columns : &p->rows;
	const struct kinst *in = &k->insts[side ? p->y : p->x];
	int64_t pitch, next, tiles = (g->total + p->size[side] - 1) / p->size[side] * p->size[side];
	union number lo;
	if (in->op != K_LOAD || in->nsrc > 1 || k->bufs[in->aux].space == SPACE_GLOBAL || g->count != 1 ||
	    p->terms.count != 1 || p->terms.clipped[0] || p->terms.total % p->depth)
		return 0;
	int64_t align = MMA_BYTES / (int64_t)tgc_type_bytes(p->type);
	int at = k->operands[in->src_at], own = g->loop[0], term = p->terms.loop[0];
	if (k->insts[at].op != K_AFFINE || k->insts[at].nsrc != 2 || k->insts[at].imm ||
	    !kernel_stride(k, at, own, &pitch) || !kernel_stride(k, at, term, &next) || next != 1)
		return 0;
	for (int i = 0; i < 2; i++)
		if (!kernel_is_const(k, k->loops[i ? own : term].lo, &lo) || lo.i)
			return 0;
	bool fits = pitch > 0 && pitch % align == 0 && pitch <= MMA_PITCH_MOST &&
	            (tiles - 1) * pitch + p->terms.total <= k->bufs[in->aux].elems;
	return fits ? pitch : 0;
}

// Rows that are read at once, or terms, lie in different banks: 16 bytes of 8 rows each by ldmatrix; of f32 with its
// terms first, 8 neighbours of 4 terms by lane.
static void layout(struct product *p, bool copies)
{
	for (int side = 0; side < 2; side++) {
		bool rows = p->along_terms[side] && p->neighbours[side] > 1;
		if (p->direct[side])
			continue;
		p->terms_first[side] = !p->mma              ? !copies || !rows
		                       : p->type == TGC_F32 ? !p->along_terms[side]
		                                            : !p->along_terms[side] && p->neighbours[side] > 1;
		bool wide = p->mma && (p->type != TGC_F32 || p->terms_first[side]);
		p->pitch[side] = (p->terms_first[side] ? p->size[side] : p->depth) + (wide ? WIDE_PAD : PAD);
	}
}

static int64_t bytes_of(const struct product *p)
{
	return (threads_slice_elems(p, 0) + threads_slice_elems(p, 1)) * (int64_t)tgc_type_bytes(p->type);
}

// Slices of one kernel share the shared memory that there is for them.
bool threads_slices(struct threads *s, struct product *p)
{
	int64_t left = s->most_bytes - s->slice_bytes, n[2];
	bool copies = true;
	for (int side = 0; side < 2; side++) {
		int64_t pitch = s->place == IN_BLOCK ? lies_there(s, p, side) : 0;
		p->direct[side] = pitch > 0;
		p->pitch[side] = pitch;
		p->terms_first[side] = false;
		p->neighbours[side] = neighbours(s, p, side);
		n[side] = p->direct[side] ? p->neighbours[side] : copied(s, p, side);
		copies &= n[side] > 0;
	}
	for (int side = 0; side < 2 && copies; side++)
		p->neighbours[side] = n[side];
	layout(p, copies);
	p->stages = 1;
	for (int stages = MOST_STAGES; copies && stages > 1 && p->stages == 1; stages--)
		if (stages * bytes_of(p) <= left)
			p->stages = stages;
	if (copies && p->stages == 1) {
		for (int side = 0; side < 2; side++)
			p->neighbours[side] = neighbours(s, p, side);
		layout(p, false);
	}
	if (p->mma && bytes_of(p) > left)
		return false;
	if (s->place == IN_GRID)
		s->slice_bytes += p->stages * bytes_of(p);
	return true;
}

// A buffer for the slices of one side. Products inside of a block run one after the other and take the same ones.
static int slice_buf(struct threads *s, struct kernel *k, const struct product *p, int side)
{
	int64_t elems = p->stages * threads_slice_elems(p, side);
	int *shared = p->type == TGC_F32 ? &s->slices[side] : &s->halves[side];
	if (s->place == IN_GRID || *shared < 0 || k->bufs[*shared].type != p->type) {
		int buf = kernel_buf(k, p->type, SPACE_SHARED, elems);
		*shared = s->place == IN_GRID ? *shared : buf;
		return buf;
	}
	if (k->bufs[*shared].elems < elems)
		k->bufs[*shared].elems = elems;
	return *shared;
}

void threads_slice_bufs(struct threads *s, struct kernel *k, struct product *p)
{
	for (int side = 0; side < 2; side++)
		p->slice[side] = p->direct[side] ? s->tile.k->insts[side ? p->y : p->x].aux
		                                 : slice_buf(s, k, p, side);
}
