// The order of a nest's loops, and which neighbours are one loop.
// In:  a nest. Out: its order, merges and levels, read off a kernel that is built one loop an axis and thrown
// away: rows that a reduction hangs on go outside, then the axes by falling stride of the first root's buffer;
// two loops merge if every address and every other use sees them only as one running index.
#include "lower.h"

#include <stdlib.h>

// Builds the nest with one loop an axis. false: out of memory or an error, which is passed on.
static bool rehearse(struct lower *lo, struct lower *dry, struct lower_nest *nest)
{
	for (int a = 0; a < nest->naxes; a++)
		nest->order[a] = a;
	nest->merges = 0;
	for (int i = 0; i < nest->nroots; i++)
		nest->roots[i].level = nest->naxes;
	if (!lower_begin(dry, lo->plan, lo->group, lo->target)) {
		lo->k->arena.failed = true;
		return false;
	}
	dry->dry = true;
	dry->combine = lo->combine;
	dry->shared = lo->shared;
	dry->chunk_len = lo->chunk_len;
	dry->chunks = lo->chunks;
	memcpy(dry->own, lo->own, sizeof *lo->own * (size_t)lo->plan->prog.n);
	kbuild_init(&dry->b, dry->k, kernel_phase(dry->k));
	for (int a = 0; a < lo->shared; a++)
		dry->block[a] = kb_int(&dry->b, 0);
	dry->part = lo->shared ? kb_int(&dry->b, 0) : K_NONE;
	lower_emit(dry, nest);
	kbuild_done(&dry->b);
	if (dry->error && !lo->error) {
		lo->error = dry->error;
		dry->error = NULL;
	}
	return !lo->error && !dry->k->arena.failed && !dry->arena.failed;
}

// How many reductions hang on each axis.
static void count_rows(const struct lower *dry, const struct lower_nest *nest, int *rows)
{
	bool *dep = calloc((size_t)dry->k->n + 1, sizeof *dep);
	for (int a = 0; a < nest->naxes; a++) {
		rows[a] = 0;
		if (!dep)
			continue;
		kernel_depends(dry->k, nest->loop[a], dep);
		for (int h = 0; h < dry->nheavy; h++) {
			bool any = false;
			for (int i = 0; i < dry->heavy[h].nidx; i++)
				any |= dep[dry->heavy[h].idx[i]];
			rows[a] += any;
		}
	}
	free(dep);
}

static void order_axes(const struct lower *lo, struct lower_nest *nest, const int *rows)
{
	const struct lower_root *r = &nest->roots[0];
	const struct pbuf *p = &lo->plan->bufs[r->buf];
	int64_t stride[LOWER_RANK] = {0};
	for (int a = 0; a < NODE(lo, r->node)->rank; a++)
		if (r->axis_of[a] >= 0)
			stride[r->axis_of[a]] = r->partial || r->sum >= 0 ? 0 : p->strides[a];
	int first = r->partial ? 1 : lo->shared ? lo->shared - 1 : 0; // those before have their place
	first += lower_sums(nest);                                    // rows are added one after another
	for (int i = first + 1; i < nest->naxes; i++) {
		int x = nest->order[i], j = i;
		for (; j > first; j--) {
			int y = nest->order[j - 1];
			if (rows[y] > rows[x] || (rows[y] == rows[x] && stride[y] >= stride[x]))
				break;
			nest->order[j] = y;
		}
		nest->order[j] = x;
	}
}

// A root stands in the outermost loops up to its last axis; they must be its axes only.
static void levels(struct lower_nest *nest, const struct lower *lo)
{
	for (int i = 1; i < nest->nroots; i++) {
		struct lower_root *r = &nest->roots[i];
		uint32_t axes = 0;
		if (r->linear)
			continue;
		for (int a = 0; a < NODE(lo, r->node)->rank; a++)
			axes |= r->axis_of[a] >= 0 ? 1u << r->axis_of[a] : 0;
		r->level = 0;
		while (r->level < nest->naxes && axes >> nest->order[r->level] & 1)
			axes &= ~(1u << nest->order[r->level++]);
		if (axes)
			r->level = -1;
	}
}

static int64_t coefficient(const struct kernel *k, int inst, int value)
{
	int at = k->insts[inst].src_at;
	for (int i = 0; i < k->insts[inst].nsrc; i++)
		if (k->operands[at + i] == value)
			return k->insts[inst].op == K_AFFINE ? k->coefs[at + i] : 1;
	return 0;
}

static bool uses_elsewhere(const struct kernel *k, int inst, int value)
{
	const struct kinst *in = &k->insts[inst];
	bool address = in->op == K_LOAD || in->op == K_STORE;
	if (in->op == K_AFFINE)
		return false;
	for (int i = address ? 1 : 0; i < in->nsrc; i++)
		if (k->operands[in->src_at + i] == value)
			return true;
	return false;
}

// Do all live instructions see outer * n + inner only?
static bool as_one(const struct kernel *k, const bool *live, int outer, int inner, int64_t n)
{
	int x = k->loops[outer].index, y = k->loops[inner].index;
	for (int i = 0; i < k->nloops; i++) {
		const struct kloop *l = &k->loops[i];
		if (l->lo == x || l->lo == y || l->hi == x || l->hi == y)
			return false;
	}
	for (int i = 0; i < k->n; i++) {
		if (!live[i])
			continue;
		if (uses_elsewhere(k, i, x) || uses_elsewhere(k, i, y))
			return false;
		if (coefficient(k, i, x) != coefficient(k, i, y) * n)
			return false;
	}
	return true;
}

static bool level_between(const struct lower_nest *nest, int at)
{
	for (int i = 0; i < nest->nroots; i++)
		if (nest->roots[i].level == at)
			return true;
	return false;
}

static void merge_axes(const struct lower *dry, struct lower_nest *nest, const bool *live)
{
	int first = nest->roots[0].partial ? 2 : dry->shared ? dry->shared : 1;
	for (int i = first; i < nest->naxes; i++) {
		int x = nest->order[i - 1], y = nest->order[i];
		if (!level_between(nest, i) &&
		    as_one(dry->k, live, nest->loop[x], nest->loop[y], nest->size[y]))
			nest->merges |= 1u << i;
	}
}

static void merge_reduced(struct lower *lo, const struct lower *dry, const bool *live)
{
	for (int h = 0; h < dry->nheavy; h++) {
		const struct lower_heavy *x = &dry->heavy[h];
		uint32_t bits = 0;
		bool again = false;
		for (int i = 1; i < x->nloops; i++) {
			int64_t n;
			if (kernel_trip(dry->k, x->loops[i], &n) &&
			    as_one(dry->k, live, x->loops[i - 1], x->loops[i], n))
				bits |= 1u << i;
		}
		for (int g = 0; g < h; g++)
			again |= dry->heavy[g].node == x->node;
		lo->merges[x->node] = again ? lo->merges[x->node] & bits : bits;
	}
}

void lower_choose(struct lower *lo, struct lower_nest *nest)
{
	struct lower dry;
	int rows[LOWER_RANK];
	if (rehearse(lo, &dry, nest)) {
		count_rows(&dry, nest, rows);
		order_axes(lo, nest, rows);
		levels(nest, lo);
		lower_pre_note(lo, &dry);
		bool *live = kernel_live(dry.k, false);
		if (live) {
			merge_axes(&dry, nest, live);
			merge_reduced(lo, &dry, live);
		}
		free(live);
	}
	lower_end(&dry);
}
