// Reductions in the pass tile.
// In:  a RED loop, the first of its chain. Out: the chain, its terms grouped: along the lanes and a few
// independent accumulators where the reduction itself has the lanes, and at most TILE_TERMS terms in a row into
// one accumulator, longer ones in chunks that are combined in order.
#include "pass/tile.h"

struct range { // iterations i of [from, to): the old loop's index is offset + scale * i
	int loop, from, to, offset;
	int64_t scale, trip; // trip: iterations at most
	int end;             // index < end is asked; K_NONE
};

static int ncarry(const struct kcopy *cp, int loop)
{
	return cp->from->loops[loop].ncarry;
}

static void identities(struct kcopy *cp, int loop, int *v)
{
	const struct kloop *l = &cp->from->loops[loop];
	for (int i = 0; i < l->ncarry; i++)
		v[i] = kb_identity(cp->b, l->combine[i], (tgc_type)cp->from->insts[l->arg[i]].type);
}

static void combine(struct kcopy *cp, int loop, const int *x, const int *y, int *out)
{
	const struct kloop *l = &cp->from->loops[loop];
	for (int i = 0; i < l->ncarry; i++)
		out[i] = kb_op2(cp->b, l->combine[i], (tgc_type)cp->from->insts[l->arg[i]].type, x[i], y[i]);
}

static void results(struct kcopy *cp, int loop, int n, int *out)
{
	for (int i = 0; i < n; i++)
		out[i] = kb_res(cp->b, loop, i);
}

// One step at iteration `at`.
static void step(struct kcopy *cp, const struct range *r, int at, const int *args, int *next)
{
	struct kbuild *b = cp->b;
	int index = kb_affine(b, 0, 2, (int64_t[]){1, r->scale}, (int[]){r->offset, at});
	struct tile *s = cp->user;
	if (r->end != K_NONE)
		tile_mask(cp, r->loop, index, r->end);
	int mask = r->end != K_NONE ? s->mask : K_NONE;
	kcopy_body(cp, r->loop, index, args, next);
	for (int i = 0; mask != K_NONE && i < ncarry(cp, r->loop); i++)
		next[i] = kb_select(b, mask, next[i], args[i]);
	if (r->end != K_NONE)
		tile_unmask(cp);
}

static int open_red(struct kcopy *cp, int old, int from, int to, const int *init, int *args)
{
	const struct kloop *l = &cp->from->loops[old];
	int loop = kb_for(cp->b, AXIS_RED, from, to, l->ncarry, init, l->combine);
	for (int i = 0; i < l->ncarry; i++)
		args[i] = kb_arg(cp->b, loop, i);
	return loop;
}

static void run(struct kcopy *cp, const struct range *r, const int *init, int *out)
{
	int args[TILE_CARRIES], next[TILE_CARRIES];
	int loop = open_red(cp, r->loop, r->from, r->to, init, args);
	step(cp, r, kb_index(cp->b, loop), args, next);
	kb_end(cp->b, loop, next);
	results(cp, loop, ncarry(cp, r->loop), out);
}

// Every iteration, or every `size` of them, starts afresh and is then added.
static void run_chunks(struct kcopy *cp, const struct range *r, int64_t size, const int *init, int *out)
{
	struct kbuild *b = cp->b;
	int args[TILE_CARRIES], fresh[TILE_CARRIES], next[TILE_CARRIES], n = ncarry(cp, r->loop), loop;
	int64_t chunks = (r->trip + size - 1) / size;
	size = (r->trip + chunks - 1) / chunks;
	if (size == 1) {
		loop = open_red(cp, r->loop, r->from, r->to, init, args);
		identities(cp, r->loop, fresh);
		step(cp, r, kb_index(b, loop), fresh, next);
	} else {
		struct range part = *r;
		loop = open_red(cp, r->loop, kb_int(b, 0), kb_int(b, chunks), init, args);
		identities(cp, r->loop, fresh);
		part.from = kb_affine(b, 0, 2, (int64_t[]){1, size}, (int[]){r->from, kb_index(b, loop)});
		part.to = kb_iadd(b, part.from, kb_int(b, size));
		part.to = kb_op2(b, OP_MIN, TGC_I64, part.to, r->to);
		run(cp, &part, fresh, next);
	}
	combine(cp, r->loop, args, next, next);
	kb_end(b, loop, next);
	results(cp, loop, n, out);
}

static void run_range(struct kcopy *cp, const struct range *r, const int *init, int *out)
{
	int inner = tile_chained(cp->from, r->loop);
	int64_t terms = inner >= 0 ? tile_terms(cp->from, inner) : 1, all;
	bool longer = __builtin_mul_overflow(terms, r->trip, &all) || all > TILE_TERMS;
	if (longer && terms <= TILE_TERMS)
		run_chunks(cp, r, terms ? TILE_TERMS / terms : 1, init, out);
	else
		run(cp, r, init, out);
}

static struct range whole(struct kcopy *cp, int loop)
{
	const struct kloop *l = &cp->from->loops[loop];
	return (struct range){.loop = loop,
	                      .from = kcopy_value(cp, l->lo),
	                      .to = kcopy_value(cp, l->hi),
	                      .offset = kb_int(cp->b, 0),
	                      .scale = 1,
	                      .trip = tile_trip(cp->from, loop),
	                      .end = K_NONE};
}

// ---- lanes along the reduction

// Full vectors from `lo` on, `unroll` of them side by side.
static void full_vectors(struct kcopy *cp, int old, int lo, int full, int unroll, const int *init, int *out)
{
	struct tile *s = cp->user;
	struct kbuild *b = cp->b;
	const struct kloop *l = &cp->from->loops[old];
	int64_t w = s->width[old], step_elems = unroll * w;
	struct range r = {.loop = old, .from = kb_int(b, 0), .to = full, .scale = step_elems, .end = K_NONE};
	int fresh[TILE_CARRIES], next[TILE_CARRIES], loop = -1;
	r.trip = tile_trip(cp->from, old) / step_elems;
	r.offset = kb_affine(b, 0, 2, (int64_t[]){1, s->packed ? unroll : 1}, (int[]){lo, s->lane_index});
	if (unroll == 1) {
		run_range(cp, &r, init, out);
		return;
	}
	loop = kb_for(b, AXIS_UNROLL, kb_int(b, 0), kb_int(b, unroll), l->ncarry, init, l->combine);
	r.offset = kb_affine(b, 0, 2, (int64_t[]){1, s->packed ? 1 : w}, (int[]){r.offset, kb_index(b, loop)});
	identities(cp, old, fresh);
	run_range(cp, &r, fresh, next);
	kb_end(b, loop, next);
	results(cp, loop, l->ncarry, out);
}

static void lanes_body(struct kcopy *cp, int old, int unroll, const int *init, int *out)
{
	struct tile *s = cp->user;
	struct kbuild *b = cp->b;
	int64_t w = s->width[old], n;
	int lo = kcopy_value(cp, cp->from->loops[old].lo), hi = kcopy_value(cp, cp->from->loops[old].hi);
	int count = kb_affine(b, 0, 2, (int64_t[]){1, -1}, (int[]){hi, lo}),
	    full = kb_idiv(b, count, unroll * w);
	bool known = kernel_apart(cp->from, old, &n);
	memcpy(out, init, sizeof *out * (size_t)ncarry(cp, old));
	if (!known || n >= unroll * w)
		full_vectors(cp, old, lo, full, unroll, init, out);
	if (known && n % (unroll * w) == 0)
		return;
	int done = kb_imul(b, full, unroll * w);
	int rest = kb_idiv(b, kb_affine(b, w - 1, 2, (int64_t[]){1, -1}, (int[]){count, done}), w);
	struct range r = {
	    .loop = old, .from = kb_int(b, 0), .to = rest, .scale = w, .trip = unroll, .end = K_NONE};
	r.offset = kb_affine(b, 0, 3, (int64_t[]){1, 1, 1}, (int[]){lo, done, s->lane_index});
	if (!known || n % w)
		r.end = hi;
	run(cp, &r, out, out);
}

static int lane_in_chain(const struct tile *s, int loop)
{
	for (; loop >= 0; loop = tile_chained(s->k, loop))
		if (s->lane[loop])
			return loop;
	return -1;
}

static void lanes(struct kcopy *cp, int top, int lane, const int *init, int *out)
{
	struct tile *s = cp->user;
	struct kbuild *b = cp->b;
	const struct kloop *l = &cp->from->loops[top];
	int fresh[TILE_CARRIES], next[TILE_CARRIES];
	int loop = kb_for(b, AXIS_LANE, kb_int(b, 0), kb_int(b, s->width[lane]), l->ncarry, init, l->combine);
	s->lane_index = kb_index(b, loop);
	s->lane_loop = lane;
	s->in_lane = true;
	identities(cp, top, fresh);
	if (lane == top) {
		lanes_body(cp, lane, s->packed ? s->packed : tile_red_unroll(s, lane), fresh, next);
	} else {
		struct range r = whole(cp, top);
		run_range(cp, &r, fresh, next);
	}
	s->lane_loop = -1;
	s->in_lane = false;
	kb_end(b, loop, next);
	results(cp, loop, l->ncarry, out);
}

// ---- short loops

static void straight(struct kcopy *cp, int loop, const int *init, int *out)
{
	const struct kloop *l = &cp->from->loops[loop];
	int args[TILE_CARRIES];
	int64_t from = kernel_int(cp->from, l->lo), to = kernel_int(cp->from, l->hi);
	memcpy(out, init, sizeof *out * (size_t)l->ncarry);
	for (int64_t i = from; i < to; i++) {
		memcpy(args, out, sizeof args);
		kcopy_body(cp, loop, kb_int(cp->b, i), args, out);
	}
}

bool tile_red(struct kcopy *cp, int loop)
{
	struct tile *s = cp->user;
	const struct kloop *l = &cp->from->loops[loop];
	int init[TILE_CARRIES] = {0}, out[TILE_CARRIES] = {0}, lane = s->in_lane ? -1 : lane_in_chain(s, loop);
	if (l->ncarry > TILE_CARRIES || l->ncarry == 0)
		return false;
	for (int i = 0; i < l->ncarry; i++)
		init[i] = kcopy_value(cp, l->init[i]);
	if (s->in_lane && loop == s->lane_loop) {
		lanes_body(cp, loop, 1, init, out);
	} else if (lane >= 0) {
		lanes(cp, loop, lane, init, out);
	} else if ((s->in_lane || s->accumulators > 1) && tile_is_tap(s, loop)) {
		straight(cp, loop, init, out);
	} else {
		struct range r = whole(cp, loop);
		run_range(cp, &r, init, out);
	}
	for (int i = 0; i < l->ncarry; i++)
		kcopy_result(cp, loop, i, out[i]);
	return true;
}
