// Contractions in the pass threads: which nests are some.
// In:  a nest of PAR loops. Out: if its body is one chain of reductions sum(x * y), the loops that move only x
// (rows), only y (columns), both (batches), the terms, and the size of tiles. The kernel is only read. Bounds
// of terms may move with rows or with columns: then all terms that any of them has are taken, and those outside
// are 0. Not here: the tiles (threads_tile.c).
#include "pass/threads.h"

enum { SMALL = 64, FEWEST = 16 };

static void put(struct moved *g, int loop, int64_t n)
{
	g->loop[g->count] = loop;
	g->n[g->count++] = n;
	g->total *= n;
}

// The only loop in the region; -1: none or several.
static int only_loop(const struct kernel *k, int region)
{
	const struct kregion *r = &k->regions[region];
	int loop = -1;
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		if (in->op == K_FOR && loop >= 0)
			return -1;
		loop = in->op == K_FOR ? in->aux : loop;
	}
	return loop;
}

// Bounds that only loops around the reductions move: all indices that any row has, the others masked.
static bool clip(const struct kernel *k, struct product *p, const struct kloop *l, int64_t *n)
{
	int64_t lo, hi, other;
	int at = p->terms.count, body = k->loops[p->red].body;
	if (kernel_region_within(k, k->insts[l->lo].region, body) || !kernel_interval(k, l->lo, &lo, &other) ||
	    kernel_region_within(k, k->insts[l->hi].region, body) || !kernel_interval(k, l->hi, &other, &hi) ||
	    hi <= lo || hi - lo > TILE_TERMS)
		return false;
	p->terms.clipped[at] = true;
	p->terms.from[at] = lo;
	*n = hi - lo;
	return true;
}

static bool find_terms(const struct kernel *k, struct product *p)
{
	int loop = p->red;
	for (int64_t n; loop >= 0; loop = tile_chained(k, loop)) {
		const struct kloop *l = &k->loops[loop];
		if (l->kind != AXIS_RED || l->ncarry != 1 || l->combine[0] != OP_ADD ||
		    k->insts[l->arg[0]].type != TGC_F32 || p->terms.count == TILE_AXES ||
		    kernel_region_stores(k, l->body))
			return false;
		if (!kernel_apart(k, loop, &n) && !clip(k, p, l, &n))
			return false;
		put(&p->terms, loop, n);
		int inner = only_loop(k, l->body), next = l->next[0];
		if (inner >= 0 && (inner != tile_chained(k, loop) || next != k->loops[inner].res[0]))
			return false;
		if (inner >= 0)
			continue;
		if (k->insts[next].op != OP_FMA || kernel_src(k, next, 2) != l->arg[0])
			return false;
		p->x = kernel_src(k, next, 0);
		p->y = kernel_src(k, next, 1);
	}
	return p->terms.count > 0;
}

// Only plain code stands between the value and what is outside of the nest.
static bool plain(const struct kernel *k, int v, int nest, int *budget)
{
	const struct kinst *in = &k->insts[v];
	if (!kernel_region_within(k, in->region, nest) || in->op == K_INDEX)
		return true;
	if (--*budget < 0 || in->op == K_ARG || in->op == K_RES)
		return false;
	for (int i = 0; i < in->nsrc; i++) {
		int s = kernel_src(k, v, i);
		if (s != K_NONE && !plain(k, s, nest, budget))
			return false;
	}
	return true;
}

// The bounds of clipped terms left aside.
bool threads_moves(const struct kernel *k, int v, int loop, int *budget)
{
	bool found = v == k->loops[loop].index || --*budget < 0;
	for (int i = 0; i < k->insts[v].nsrc && !found; i++)
		found = kernel_src(k, v, i) != K_NONE && threads_moves(k, kernel_src(k, v, i), loop, budget);
	return found;
}

static bool group_moves(const struct kernel *k, int v, const struct moved *g)
{
	bool found = false;
	for (int i = 0; i < g->count && !found; i++) {
		int budget = 1000;
		found = threads_moves(k, v, g->loop[i], &budget);
	}
	return found;
}

static bool along(const struct kernel *k, int v, int loop, int *budget)
{
	const struct kinst *in = &k->insts[v];
	int64_t stride;
	bool found = in->op == K_LOAD && kernel_stride(k, kernel_src(k, v, 0), loop, &stride) && stride == 1;
	for (int i = 0; i < in->nsrc && !found && --*budget > 0; i++)
		found = kernel_src(k, v, i) != K_NONE && along(k, kernel_src(k, v, i), loop, budget);
	return found;
}

// Tensor cores multiply 16-bit floats that were widened as they are, f32 where it may be rounded.
static void choose_type(const struct threads *s, struct product *p)
{
	const struct kernel *k = s->tile.k;
	bool able = s->tile.t->sm >= 80 && p->terms.total >= MMA_DEPTH;
	p->type = TGC_F32;
	p->mma = able && s->tile.t->tf32;
	if (!able || k->insts[p->x].op != OP_CAST || k->insts[p->y].op != OP_CAST)
		return;
	int x = kernel_src(k, p->x, 0), y = kernel_src(k, p->y, 0);
	tgc_type t = (tgc_type)k->insts[x].type;
	if (t != (tgc_type)k->insts[y].type || (t != TGC_F16 && t != TGC_BF16))
		return;
	p->x = x;
	p->y = y;
	p->type = t;
	p->mma = true;
}

static void swap_sides(struct product *p)
{
	struct moved g = p->rows;
	int v = p->x;
	p->rows = p->columns;
	p->columns = g;
	p->x = p->y;
	p->y = v;
}

// The side that moves the bounds of clipped terms; false: both do.
static bool find_bounds(const struct threads *s, struct product *p, int nest)
{
	const struct kernel *k = s->tile.k;
	bool rows = false, columns = false;
	int budget = 200;
	for (int i = 0; i < p->terms.count; i++) {
		const struct kloop *l = &k->loops[p->terms.loop[i]];
		if (!p->terms.clipped[i])
			continue;
		if (!plain(k, l->lo, nest, &budget) || !plain(k, l->hi, nest, &budget))
			return false;
		rows |= group_moves(k, l->lo, &p->rows) || group_moves(k, l->hi, &p->rows);
		columns |= group_moves(k, l->lo, &p->columns) || group_moves(k, l->hi, &p->columns);
	}
	p->bounds = columns;
	return !rows || !columns;
}

// Bounds that move together belong to the batch.
static bool bounds_stand(const struct kernel *k, const struct product *p, int nest)
{
	bool stand = true;
	int budget = 200;
	for (int i = 0; i < p->terms.count && stand; i++) {
		int lo = k->loops[p->terms.loop[i]].lo;
		stand = p->terms.clipped[i] || (plain(k, lo, nest, &budget) && !group_moves(k, lo, &p->rows) &&
		                                !group_moves(k, lo, &p->columns) && !group_moves(k, lo, &p->terms));
	}
	return stand;
}

static bool along_loop(const struct kernel *k, int v, int loop)
{
	int budget = 200;
	return along(k, v, loop, &budget);
}

// Rows (columns) that are neighbours in memory become the last of them.
static void neighbours_last(const struct kernel *k, int v, struct moved *g)
{
	int last = g->count - 1, at = last;
	while (at >= 0 && !along_loop(k, v, g->loop[at]))
		at--;
	int loop = at < 0 ? -1 : g->loop[at];
	int64_t n = at < 0 ? 0 : g->n[at];
	for (; at >= 0 && at < last; at++) {
		g->loop[at] = g->loop[at + 1];
		g->n[at] = g->n[at + 1];
	}
	if (loop >= 0) {
		g->loop[last] = loop;
		g->n[last] = n;
	}
}

static bool find(struct threads *s, const struct axes *a, struct product *p)
{
	const struct kernel *k = s->tile.k;
	int last = a->loop[a->count - 1], body = k->loops[last].body, nest = k->loops[a->loop[0]].body;
	int budget = 200;
	*p = (struct product){.first = a->loop[0], .red = only_loop(k, body)};
	p->rows.total = p->columns.total = p->batches.total = p->terms.total = 1;
	if (p->red < 0 || !find_terms(k, p) || !plain(k, p->x, nest, &budget) || !plain(k, p->y, nest, &budget))
		return false;
	for (int i = 0; i < a->count; i++) {
		int budgets[2] = {1000, 1000};
		bool x = threads_moves(k, p->x, a->loop[i], &budgets[0]),
		     y = threads_moves(k, p->y, a->loop[i], &budgets[1]);
		put(x && !y ? &p->rows : y && !x ? &p->columns : &p->batches, a->loop[i], a->n[i]);
	}
	if (p->rows.count && p->rows.loop[p->rows.count - 1] == last)
		swap_sides(p);
	if (!find_bounds(s, p, nest) || !bounds_stand(k, p, nest))
		return false;
	int inner = p->terms.loop[p->terms.count - 1];
	for (int side = 0; side < 2; side++) {
		struct moved *g = side ? &p->columns : &p->rows;
		int v = side ? p->y : p->x;
		p->along_terms[side] = along_loop(k, v, inner);
		if (!p->along_terms[side])
			neighbours_last(k, v, g);
		p->along_own[side] = g->count && along_loop(k, v, g->loop[g->count - 1]);
	}
	return true;
}

// The least tile side, of those there are, that has them all; 0: they are too few.
static int64_t side_of(int64_t n, int64_t least)
{
	int64_t size = least;
	while (size < n && size < SMALL)
		size *= 2;
	return n < FEWEST ? 0 : size;
}

static int64_t tiles(const struct product *p)
{
	return (p->rows.total + p->size[0] - 1) / p->size[0] *
	       ((p->columns.total + p->size[1] - 1) / p->size[1]) * p->batches.total;
}

// Large tiles where they fill the device, else small ones.
static void size_in_grid(const struct threads *s, struct product *p)
{
	if (p->size[0] != SMALL)
		return;
	p->size[0] *= 2;
	p->each[0] *= 2;
	if (tiles(p) < s->tile.t->processors) {
		p->size[0] /= 2;
		p->each[0] /= 2;
	}
}

// Inside of a block there are as many rows as it has, and columns for its threads.
static void size_in_block(const struct threads *s, struct product *p)
{
	p->size[0] = p->rows.total <= SMALL / 2 ? SMALL / 2 : SMALL;
	if (p->size[1] == SMALL && 2 * threads_of_product(p) <= s->threads && p->columns.total > SMALL)
		p->size[1] *= 2;
}

// false: not worth any.
static bool choose(const struct threads *s, struct product *p)
{
	bool mma = p->mma, inside = s->place == IN_BLOCK;
	bool shallow = p->type == TGC_F32 || (inside && p->terms.total % (2 * MMA_DEPTH) == MMA_DEPTH);
	p->size[0] = side_of(p->rows.total, MMA_WARP);
	p->size[1] = side_of(p->columns.total, mma ? MMA_WARP : FEWEST);
	p->depth = shallow ? MMA_DEPTH : 2 * MMA_DEPTH;
	p->each[0] = p->each[1] = THREAD_FOUR;
	if ((!p->size[0] && !(inside && p->rows.total >= THREAD_FOUR)) || !p->size[1] ||
	    p->terms.total < 2 * THREAD_FOUR)
		return false;
	if (inside)
		size_in_block(s, p);
	else
		size_in_grid(s, p);
	return threads_of_product(p) <= s->threads;
}

bool threads_find_product(struct threads *s, const struct axes *a, struct product *p)
{
	int v[2];
	if (!find(s, a, p))
		return false;
	memcpy(v, (int[]){p->x, p->y}, sizeof v);
	choose_type(s, p);
	if (!choose(s, p))
		return false;
	if (threads_slices(s, p))
		return true;
	p->x = v[0];
	p->y = v[1];
	p->type = TGC_F32;
	p->mma = false;
	return choose(s, p) && threads_slices(s, p);
}
