// Pass tile: from scalar loops to vectors and register tiles.
// Requires the free level. A perfect nest of PAR loops is opened as a whole: tile loops outside, then UNROLL,
// then LANE, then the body; what does not fill a tile gets smaller tiles and masked lanes. Reductions: see
// tile_red.c. Choices: tile_choose.c; they follow from shape and target alone. Leaves PAR, RED, UNROLL and
// LANE. Keeps the values of everything but reductions, whose terms are grouped anew.
#include "pass/tile.h"

#include <stdlib.h>

enum { SMALL_WORK = 16000, BLOCK_ELEMS = 8192 };

struct nest {
	struct tile_axis axis[TILE_AXES + 1];
	int n, first; // loops; the outermost as it was
	bool coarse;  // nothing around it and little work an iteration: blocks of many tiles
};

// ---- masks

// Loads and stores that vary with the masked loop happen only where the mask says so.
static bool masked_access(struct kcopy *cp, int inst)
{
	struct tile *s = cp->user;
	const struct kernel *k = cp->from;
	const struct kinst *in = &k->insts[inst];
	bool store = in->op == K_STORE;
	int at = store ? 2 : 1, src[4] = {K_NONE, K_NONE, K_NONE, K_NONE};
	if (!store && (in->op != K_LOAD || !s->varies[inst]))
		return false;
	for (int i = 0; i < in->nsrc; i++)
		src[i] = kcopy_value(cp, kernel_src(k, inst, i));
	src[at] = kb_and(cp->b, src[at], s->mask);
	if (store)
		kb_store(cp->b, in->aux, src[0], src[1], src[2], src[3]);
	cp->map[inst] = store ? 0 : kb_load(cp->b, in->aux, src[0], src[1], src[2]);
	return true;
}

void tile_mask(struct kcopy *cp, int loop, int index, int end)
{
	struct tile *s = cp->user;
	s->mask = kb_op2(cp->b, OP_LT, TGC_BOOL, index, end);
	union number c;
	if (kernel_is_const(cp->b->k, s->mask, &c) && c.i) {
		s->mask = K_NONE;
		return;
	}
	kernel_depends(cp->from, loop, s->varies);
	cp->inst = masked_access;
}

void tile_unmask(struct kcopy *cp)
{
	((struct tile *)cp->user)->mask = K_NONE;
	cp->inst = NULL;
}

// ---- nests

static enum axis_kind outer_kind(const struct tile *s)
{
	return s->small ? AXIS_SERIAL : AXIS_PAR;
}

int tile_inner(const struct kcopy *cp, int loop)
{
	const struct kernel *k = cp->from;
	const struct kregion *r = &k->regions[k->loops[loop].body];
	int inner = -1;
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		if (!cp->live[r->insts[i]])
			continue;
		if (in->op == K_STORE ||
		    (in->op == K_FOR && (inner >= 0 || k->loops[in->aux].kind != AXIS_PAR)))
			return -1;
		if (in->op == K_FOR)
			inner = in->aux;
	}
	return inner;
}

// Its bounds are known where the outermost loop of the nest stands.
static bool rectangular(const struct kcopy *cp, const struct nest *t, int loop)
{
	const struct kernel *k = cp->from;
	int region = k->insts[k->loops[t->first].inst].region;
	return kernel_region_within(k, region, k->insts[k->loops[loop].lo].region) &&
	       kernel_region_within(k, region, k->insts[k->loops[loop].hi].region);
}

static void find_nest(struct kcopy *cp, int loop, struct nest *t)
{
	t->n = 0;
	t->first = loop;
	const struct tile *s = cp->user;
	while (loop >= 0 && t->n < TILE_AXES && !s->whole[loop] && rectangular(cp, t, loop)) {
		struct tile_axis *a = &t->axis[t->n++];
		*a = (struct tile_axis){.loop = loop, .base = K_NONE};
		if (!kernel_trip(cp->from, loop, &a->n))
			a->n = -1;
		loop = tile_inner(cp, loop);
	}
}

static void emit_axis(struct kcopy *cp, struct nest *t, int at);

// One tile size: `start` is the first index.
static void emit_tile(struct kcopy *cp, struct nest *t, int at, int start, int replicas, bool masked)
{
	int base = t->axis[at].base;
	t->axis[at].start = base == K_NONE ? start : kb_iadd(cp->b, base, start);
	t->axis[at].replicas = replicas;
	t->axis[at].masked = masked;
	emit_axis(cp, t, at + 1);
}

static int open_loop(struct kcopy *cp, int from, int to)
{
	struct tile *s = cp->user;
	return kb_for(cp->b, outer_kind(s), from, to, 0, NULL, NULL);
}

// Tiles [from, to) of `step` indices each, counted from `base`.
static void emit_tiles(struct kcopy *cp, struct nest *t, int at, int64_t base, int64_t from, int64_t to)
{
	struct kbuild *b = cp->b;
	const struct tile_axis *x = &t->axis[at];
	int64_t step = (int64_t)x->unroll * x->width;
	if (to - from < 1)
		return;
	if (to - from == 1) {
		emit_tile(cp, t, at, kb_int(b, base + from * step), x->unroll, false);
		return;
	}
	int loop = open_loop(cp, kb_int(b, from), kb_int(b, to)), index = kb_index(b, loop);
	emit_tile(cp, t, at, kb_affine(b, base, 1, &step, &index), x->unroll, false);
	kb_end(b, loop, NULL);
}

// Indices [base, base + n).
static void emit_known(struct kcopy *cp, struct nest *t, int at, int64_t base, int64_t n)
{
	const struct tile_axis *x = &t->axis[at];
	int64_t step = (int64_t)x->unroll * x->width, full = n / step, rest = n - full * step;
	if (x->peel && full > 1) {
		emit_tiles(cp, t, at, base, 0, 1);
		emit_tiles(cp, t, at, base, 1, full - 1);
		emit_tiles(cp, t, at, base, full - 1, full);
	} else {
		emit_tiles(cp, t, at, base, 0, full);
	}
	if (rest)
		emit_tile(cp, t, at, kb_int(cp->b, base + full * step), (int)((rest + x->width - 1) / x->width),
		          rest % x->width != 0);
}

// Panels of an axis that stands further inside, and the rest.
static void emit_panels(struct kcopy *cp, struct nest *t, int at)
{
	struct kbuild *b = cp->b;
	const struct tile_axis *x = &t->axis[at];
	struct tile_axis *y = &t->axis[at + 1];
	while (y->loop != x->loop)
		y++;
	int64_t full = x->n / x->panel;
	int loop = open_loop(cp, kb_int(b, 0), kb_int(b, full));
	y->base = kb_imul(b, kb_index(b, loop), x->panel);
	y->n = x->panel;
	emit_axis(cp, t, at + 1);
	kb_end(b, loop, NULL);
	y->base = kb_int(b, full * x->panel);
	y->n = x->n - full * x->panel;
	if (y->n)
		emit_axis(cp, t, at + 1);
	y->base = K_NONE;
	y->n = x->n;
}

// A range of lanes with an end that only the kernel knows: full tiles, then single vectors, masked.
static void emit_range(struct kcopy *cp, struct nest *t, int at, int start, int count)
{
	struct kbuild *b = cp->b;
	const struct tile_axis *x = &t->axis[at];
	int64_t step = (int64_t)x->unroll * x->width, w = x->width;
	int full = kb_idiv(b, count, step);
	int loop = kb_for(b, AXIS_SERIAL, kb_int(b, 0), full, 0, NULL, NULL);
	emit_tile(cp, t, at, kb_affine(b, 0, 2, (int64_t[]){1, step}, (int[]){start, kb_index(b, loop)}),
	          x->unroll, false);
	kb_end(b, loop, NULL);
	int done = kb_imul(b, full, step);
	int rest = kb_idiv(b, kb_affine(b, w - 1, 2, (int64_t[]){1, -1}, (int[]){count, done}), w);
	loop = kb_for(b, AXIS_SERIAL, kb_int(b, 0), rest, 0, NULL, NULL);
	int v[] = {start, done, kb_index(b, loop)};
	emit_tile(cp, t, at, kb_affine(b, 0, 3, (int64_t[]){1, 1, w}, v), 1, true);
	kb_end(b, loop, NULL);
}

// Blocks of whole tiles, and in the same loop a last one that takes the rest.
static void emit_coarse(struct kcopy *cp, struct nest *t, int at)
{
	struct kbuild *b = cp->b;
	const struct tile_axis *x = &t->axis[at];
	int64_t step = (int64_t)x->unroll * x->width,
	        size = x->n / 256 > BLOCK_ELEMS ? x->n / 256 : BLOCK_ELEMS;
	size = (size + step - 1) / step * step;
	int64_t blocks = x->n / size, tiles = -(size / step), base = blocks * size;
	int loop = open_loop(cp, kb_int(b, 0), kb_int(b, blocks + 1)), block = kb_index(b, loop);
	int last = kb_idiv(b, block, blocks);
	int inner = kb_for(b, AXIS_SERIAL, kb_int(b, 0), kb_affine(b, -tiles, 1, &tiles, &last), 0, NULL, NULL);
	int v[] = {kb_op2(b, OP_MIN, TGC_I64, block, kb_int(b, blocks - 1)), kb_index(b, inner)};
	emit_tile(cp, t, at, kb_affine(b, 0, 2, (int64_t[]){size, step}, v), x->unroll, false);
	kb_end(b, inner, NULL);
	inner = kb_for(b, AXIS_SERIAL, kb_int(b, 0), last, 0, NULL, NULL);
	emit_known(cp, t, at, base, x->n - base);
	kb_end(b, inner, NULL);
	kb_end(b, loop, NULL);
}

static void emit_plain(struct kcopy *cp, struct nest *t, int at)
{
	struct kbuild *b = cp->b;
	const struct kloop *l = &cp->from->loops[t->axis[at].loop];
	int loop = open_loop(cp, kcopy_value(cp, l->lo), kcopy_value(cp, l->hi));
	emit_tile(cp, t, at, kb_index(b, loop), 1, false);
	kb_end(b, loop, NULL);
}

static void emit_unknown(struct kcopy *cp, struct nest *t, int at)
{
	const struct kloop *l = &cp->from->loops[t->axis[at].loop];
	int lo = kcopy_value(cp, l->lo), hi = kcopy_value(cp, l->hi);
	if (t->axis[at].width == 1)
		emit_plain(cp, t, at);
	else
		emit_range(cp, t, at, lo, kb_affine(cp->b, 0, 2, (int64_t[]){1, -1}, (int[]){hi, lo}));
}

// ---- the tile itself

// One loop of the tile: its replicas, if there are several.
static void open_axis(struct kcopy *cp, struct tile_axis *x, int *loops, int *n)
{
	struct tile *s = cp->user;
	struct kbuild *b = cp->b;
	int index = x->start;
	if (x->replicas > 1) {
		loops[*n] = kb_for(b, AXIS_UNROLL, kb_int(b, 0), kb_int(b, x->replicas), 0, NULL, NULL);
		index = kb_affine(b, 0, 2, (int64_t[]){1, x->width}, (int[]){index, kb_index(b, loops[(*n)++])});
		s->accumulators *= x->replicas;
	}
	s->preset[x->loop] = index;
}

// Vectors stand inside of rows, whatever the order of their tiles: what a row repeats is needed once then, and
// not kept in a register a row.
static void emit_body(struct kcopy *cp, struct nest *t)
{
	struct tile *s = cp->user;
	struct kbuild *b = cp->b;
	int loops[2 * TILE_AXES], n = 0, lane = -1, replicas = s->accumulators;
	for (int i = 0; i < t->n; i++) {
		if (t->axis[i].panel)
			continue;
		if (t->axis[i].width > 1)
			lane = i;
		else
			open_axis(cp, &t->axis[i], loops, &n);
	}
	if (lane >= 0)
		open_axis(cp, &t->axis[lane], loops, &n);
	if (lane >= 0) {
		struct tile_axis *x = &t->axis[lane];
		loops[n] = kb_for(b, AXIS_LANE, kb_int(b, 0), kb_int(b, x->width), 0, NULL, NULL);
		s->preset[x->loop] = kb_iadd(b, s->preset[x->loop], kb_index(b, loops[n++]));
		s->in_lane = true;
		if (x->masked)
			tile_mask(cp, x->loop, s->preset[x->loop],
			          kcopy_value(cp, cp->from->loops[x->loop].hi));
	}
	kcopy_body(cp, t->first, s->preset[t->first], NULL, NULL);
	if (lane >= 0) {
		s->in_lane = false;
		if (t->axis[lane].masked)
			tile_unmask(cp);
	}
	while (n--)
		kb_end(b, loops[n], NULL);
	for (int i = 0; i < t->n; i++)
		s->preset[t->axis[i].loop] = K_NONE;
	s->accumulators = replicas;
}

static void emit_axis(struct kcopy *cp, struct nest *t, int at)
{
	const struct tile_axis *x = &t->axis[at];
	if (at == t->n)
		emit_body(cp, t);
	else if (x->panel)
		emit_panels(cp, t, at);
	else if (x->n < 0)
		emit_unknown(cp, t, at);
	else if (x->unroll == 1 && x->width == 1 && x->base == K_NONE)
		emit_plain(cp, t, at);
	else if (t->coarse && x->n % ((int64_t)x->unroll * x->width) && x->n > BLOCK_ELEMS)
		emit_coarse(cp, t, at);
	else
		emit_known(cp, t, at, 0, x->n);
}

// The loops from `before` on that stand outermost come from one PAR loop: no barrier between them.
static void number_nest(struct kernel *k, int before, int nest)
{
	for (int i = before; i < k->nloops; i++)
		if (k->loops[i].inst >= 0 && kernel_region_depth(k, k->insts[k->loops[i].inst].region) == 0)
			k->loops[i].nest = nest;
}

static bool tile_par(struct kcopy *cp, int loop)
{
	struct tile *s = cp->user;
	const struct kernel *k = cp->from;
	struct nest t;
	bool outermost = kernel_region_depth(k, k->insts[k->loops[loop].inst].region) == 0;
	if (s->in_lane)
		return false;
	if (outermost)
		s->small = s->best[loop] < SMALL_WORK;
	if (s->whole[loop]) {
		kcopy_loop_as(cp, loop, outer_kind(s));
		return true;
	}
	find_nest(cp, loop, &t);
	if (t.n == 0)
		return false;
	t.n = tile_axes(s, t.axis, t.n);
	t.coarse = outermost && t.n == 1 && !s->small && s->best[loop] / (double)tile_trip(k, loop) < 64;
	int before = cp->b->k->nloops;
	emit_axis(cp, &t, 0);
	if (outermost)
		number_nest(cp->b->k, before, loop + 1);
	return true;
}

static bool tile_loop(struct kcopy *cp, int loop)
{
	struct tile *s = cp->user;
	if (s->preset[loop] != K_NONE) {
		kcopy_body(cp, loop, s->preset[loop], NULL, NULL);
		return true;
	}
	switch (cp->from->loops[loop].kind) {
	case AXIS_PAR:
		return tile_par(cp, loop);
	case AXIS_RED:
		return tile_red(cp, loop);
	default:
		return false;
	}
}

void kpass_tile(struct kernel *k, const struct target *t)
{
	size_t loops = (size_t)k->nloops + 1, insts = (size_t)k->n + 1;
	for (int i = 0; i < k->nloops; i++)
		if (k->loops[i].kind == AXIS_LANE) // tiled before
			return;
	struct kernel old = *k;
	struct tile s = {.k = &old, .t = t, .mask = K_NONE, .accumulators = 1, .lane_loop = -1};
	s.whole = calloc(loops, sizeof *s.whole);
	s.lane = calloc(loops, sizeof *s.lane);
	s.width = calloc(loops, sizeof *s.width);
	s.preset = malloc(loops * sizeof *s.preset);
	s.varies = calloc(insts, sizeof *s.varies);
	s.scratch = calloc(insts, sizeof *s.scratch);
	s.best = calloc(loops, sizeof *s.best);
	if (s.preset && s.varies && tile_lanes(&s)) {
		memset(s.preset, 0xff, loops * sizeof *s.preset);
		kernel_rebuild(k, tile_loop, &s);
	} else {
		k->arena.failed = true;
	}
	free(s.whole);
	free(s.lane);
	free(s.width);
	free(s.preset);
	free(s.varies);
	free(s.scratch);
	free(s.best);
}
