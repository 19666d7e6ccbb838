// Pass threads: from free loops to the blocks and threads of a GPU; what tile is on a CPU.
// Requires the free level. A nest of PAR loops becomes one running index over blocks and threads (FLAT), rows
// that groups of a warp's threads share (ROWS), or rows of a block each (BLOCKS); reductions that threads share
// are LANE loops with carries (tile_red.c). Threads past the end are kept out by a SERIAL loop of no or one
// iteration: from i to min(i + 1, n). Leaves PAR loops only for blocks and inside threads: bind does the rest.
// Choices (threads_choose.c) follow from shape and target. Values stay but for the grouping of reductions.
#include "pass/threads.h"

#include <stdlib.h>

static enum place place_of(const struct threads *s)
{
	return s->tile.in_lane ? IN_LANE : s->place;
}

static int range(struct kbuild *b, enum axis_kind kind, int64_t n)
{
	return kb_for(b, kind, kb_int(b, 0), kb_int(b, n), 0, NULL, NULL);
}

int threads_guard(struct kbuild *b, int *at, int end, bool needed)
{
	if (!needed)
		return -1;
	int next = kb_op2(b, OP_MIN, TGC_I64, kb_iadd(b, *at, kb_int(b, 1)), end);
	int loop = kb_for(b, AXIS_SERIAL, *at, next, 0, NULL, NULL);
	*at = kb_index(b, loop);
	return loop;
}

static void close(struct kbuild *b, int loop)
{
	if (loop >= 0)
		kb_end(b, loop, NULL);
}

// The nest's body at running index `at`, times `vector` where it is more than 1, plus `lane`.
static void body(struct kcopy *cp, const struct axes *a, int at, int vector, int lane)
{
	struct threads *s = cp->user;
	struct kbuild *b = cp->b;
	for (int i = a->count - 1; i >= 0; i--) {
		int64_t n = i == a->count - 1 ? a->n[i] / vector : a->n[i];
		int index = i ? kb_imod(b, at, n) : at;
		at = i ? kb_idiv(b, at, n) : at;
		if (i == a->count - 1 && vector > 1)
			index = kb_affine(b, 0, 2, (int64_t[]){vector, 1}, (int[]){index, lane});
		int lo = kcopy_value(cp, cp->from->loops[a->loop[i]].lo);
		s->tile.preset[a->loop[i]] = kb_iadd(b, index, lo);
	}
	kcopy_body(cp, a->loop[0], s->tile.preset[a->loop[0]], NULL, NULL);
	for (int i = 0; i < a->count; i++)
		s->tile.preset[a->loop[i]] = K_NONE;
}

static void body_in_lane(struct kcopy *cp, const struct axes *a, int at, int vector)
{
	struct threads *s = cp->user;
	int loop = vector > 1 ? range(cp->b, AXIS_UNROLL, vector) : -1;
	s->tile.in_lane = true;
	body(cp, a, at, vector, loop >= 0 ? kb_index(cp->b, loop) : K_NONE);
	s->tile.in_lane = false;
	close(cp->b, loop);
}

// ---- one running index

// What a thread of `width`, number `lane`, takes of `units` (a value; n: its number, -1 unknown).
static void strided(struct kcopy *cp, const struct axes *a, int lane, int units, int64_t n, int vector)
{
	struct threads *s = cp->user;
	struct kbuild *b = cp->b;
	int64_t w = s->width;
	int steps = kb_idiv(b, kb_iadd(b, units, kb_int(b, w - 1)), w);
	int loop = kb_for(b, AXIS_SERIAL, kb_int(b, 0), steps, 0, NULL, NULL);
	int at = kb_affine(b, 0, 2, (int64_t[]){w, 1}, (int[]){kb_index(b, loop), lane});
	int kept = threads_guard(b, &at, units, n < 0 || n % w);
	body_in_lane(cp, a, at, vector);
	close(b, kept);
	kb_end(b, loop, NULL);
}

// The last of n elements (a value), fewer than a vector: single ones, by the first threads.
static void rest(struct kcopy *cp, const struct axes *a, int thread, int n, int vector)
{
	struct kbuild *b = cp->b;
	if (vector == 1 || (a->total >= 0 && a->total % vector == 0))
		return;
	int done = kb_imul(b, kb_idiv(b, n, vector), vector);
	int left = kb_affine(b, 0, 2, (int64_t[]){1, -1}, (int[]){n, done});
	int kept = threads_guard(b, &thread, left, true);
	body_in_lane(cp, a, kb_iadd(b, thread, done), 1);
	close(b, kept);
}

static void flat_inside(struct kcopy *cp, const struct axes *a, int vector)
{
	struct threads *s = cp->user;
	struct kbuild *b = cp->b;
	const struct kloop *l = &cp->from->loops[a->loop[0]];
	int n = a->total >= 0 ? kb_int(b, a->total)
	                      : kb_affine(b, 0, 2, (int64_t[]){1, -1},
	                                  (int[]){kcopy_value(cp, l->hi), kcopy_value(cp, l->lo)});
	int lanes = range(b, AXIS_LANE, s->width), lane = kb_index(b, lanes);
	strided(cp, a, lane, kb_idiv(b, n, vector), a->total >= 0 ? a->total / vector : -1, vector);
	rest(cp, a, lane, n, vector);
	kb_end(b, lanes, NULL);
}

static void flat(struct kcopy *cp, const struct axes *a, int vector)
{
	struct threads *s = cp->user;
	struct kbuild *b = cp->b;
	if (s->place != IN_GRID) {
		flat_inside(cp, a, vector);
		return;
	}
	int64_t units = a->total / vector, t = threads_of_flat(s, units), blocks = (units + t - 1) / t;
	int loop = blocks > 1 ? range(b, AXIS_PAR, blocks) : -1;
	int lanes = range(b, AXIS_LANE, t);
	int at = kb_affine(b, 0, 2, (int64_t[]){t, 1},
	                   (int[]){loop >= 0 ? kb_index(b, loop) : kb_int(b, 0), kb_index(b, lanes)});
	int first = at, kept = threads_guard(b, &at, kb_int(b, units), units % t);
	body_in_lane(cp, a, at, vector);
	close(b, kept);
	rest(cp, a, first, kb_int(b, a->total), vector);
	kb_end(b, lanes, NULL);
	close(b, loop);
}

// ---- rows

// Inside of a row that `width` threads share, or of some rows that are neighbours in memory.
static void row(struct kcopy *cp, const struct axes *a, int at, enum place place, int width, int vector)
{
	struct threads *s = cp->user;
	enum place was = s->place;
	int width_was = s->width;
	s->place = place;
	s->width = width;
	int loop = vector > 1 ? range(cp->b, AXIS_UNROLL, vector) : -1;
	s->tile.accumulators = vector > 1 ? 2 : 1;
	body(cp, a, at, vector, loop >= 0 ? kb_index(cp->b, loop) : K_NONE);
	s->tile.accumulators = 1;
	close(cp->b, loop);
	s->place = was;
	s->width = width_was;
}

static void rows(struct kcopy *cp, const struct axes *a, int width, int vector)
{
	struct threads *s = cp->user;
	struct kbuild *b = cp->b;
	int64_t units = a->total / vector, groups = s->threads / width, tiles = (units + groups - 1) / groups;
	bool outside = s->place == IN_GRID;
	int loop = outside && tiles > 1 ? range(b, AXIS_PAR, tiles) : -1;
	int lanes = range(b, AXIS_LANE, groups);
	if (!outside && tiles > 1)
		loop = range(b, AXIS_SERIAL, tiles);
	int tile = loop >= 0 ? kb_index(b, loop) : kb_int(b, 0);
	int at = kb_affine(b, 0, 2, (int64_t[]){groups, 1}, (int[]){tile, kb_index(b, lanes)});
	int kept = threads_guard(b, &at, kb_int(b, units), units % groups);
	row(cp, a, at, IN_ROW, width, vector);
	close(b, kept);
	if (!outside)
		close(b, loop);
	kb_end(b, lanes, NULL);
	if (outside)
		close(b, loop);
}

static void blocks(struct kcopy *cp, const struct axes *a, int threads, int vector)
{
	struct threads *s = cp->user;
	struct kbuild *b = cp->b;
	bool outside = s->place == IN_GRID;
	int was = s->threads;
	s->threads = outside ? threads : s->threads;
	int64_t units = a->total / vector;
	int loop = units > 1 ? range(b, outside ? AXIS_PAR : AXIS_SERIAL, units) : -1;
	row(cp, a, loop >= 0 ? kb_index(b, loop) : kb_int(b, 0), outside ? IN_BLOCK : s->place,
	    outside ? threads : s->width, vector);
	close(b, loop);
	s->threads = was;
}

// ---- hooks

static bool spread_par(struct kcopy *cp, int loop)
{
	struct threads *s = cp->user;
	struct axes a;
	if (place_of(s) == IN_LANE)
		return false;
	threads_axes(cp, loop, &a);
	if (a.count == 0 || a.total == 0)
		return false;
	if (a.total < 0 && s->place == IN_GRID) // bind knows no blocks without a number
		return false;
	if (threads_product(cp, &a) || threads_permute(cp, &a))
		return true;
	struct spread how = threads_spread(s, &a);
	switch (how.kind) {
	case SPREAD_FLAT:
		flat(cp, &a, how.vector);
		break;
	case SPREAD_ROWS:
		rows(cp, &a, how.width, how.vector);
		break;
	case SPREAD_BLOCKS:
		blocks(cp, &a, how.width, how.vector);
		break;
	}
	return true;
}

static bool spread_red(struct kcopy *cp, int loop)
{
	struct threads *s = cp->user;
	if (loop == s->done) {
		kcopy_result(cp, loop, 0, s->done_value);
		return true;
	}
	if (place_of(s) != IN_LANE)
		threads_lanes_of_red(s, loop);
	return tile_red(cp, loop);
}

static bool spread_loop(struct kcopy *cp, int loop)
{
	struct threads *s = cp->user;
	if (s->tile.preset[loop] != K_NONE) {
		kcopy_body(cp, loop, s->tile.preset[loop], NULL, NULL);
		return true;
	}
	switch (cp->from->loops[loop].kind) {
	case AXIS_PAR:
		return spread_par(cp, loop);
	case AXIS_RED:
		return spread_red(cp, loop);
	default:
		return false;
	}
}

static void spread_phase(struct kcopy *cp, int phase)
{
	struct threads *s = cp->user;
	int region = cp->from->phases[phase];
	kcopy_phase_begin(cp);
	int one = threads_one_block(s, region);
	s->width = s->threads = one ? one : BLOCK_THREADS;
	s->place = one ? IN_BLOCK : IN_GRID;
	kcopy_region(cp, region);
	kcopy_phase_end(cp);
}

// Does a statement there read global memory that one before it stores to? So do the stages of a chain.
static bool hands_on(const struct kernel *k, int region, uint8_t *before, uint8_t *access)
{
	const struct kregion *r = &k->regions[region];
	bool found = false;
	memset(before, 0, (size_t)k->nbufs);
	for (int i = 0; i < r->n && !found; i++) {
		memset(access, 0, (size_t)k->nbufs);
		kernel_access(k, r->insts[i], access);
		for (int b = 0; b < k->nbufs; b++) {
			found |= (before[b] & ACCESS_WRITE) && (access[b] & ACCESS_READ);
			before[b] |= k->bufs[b].space == SPACE_GLOBAL ? access[b] : 0;
		}
	}
	return found;
}

// Iterations of such a loop, and of those around it, have a block each, as if they shared scratch.
static bool mark_stages(struct threads *s)
{
	const struct kernel *k = s->tile.k;
	uint8_t *access = calloc(2, (size_t)k->nbufs + 1);
	for (int i = 0; access && i < k->nloops; i++) {
		if (k->loops[i].kind != AXIS_PAR || !hands_on(k, k->loops[i].body, access, access + k->nbufs))
			continue;
		for (int r = k->loops[i].body; r >= 0; r = k->regions[r].parent)
			if (k->regions[r].loop >= 0 && k->loops[k->regions[r].loop].kind == AXIS_PAR)
				s->tile.whole[k->regions[r].loop] = true;
	}
	free(access);
	return access != NULL;
}

// Shared memory that is left for slices. What blocks have of their own lies there if it fits (emit_cuda.c).
static int64_t shared_left(const struct kernel *k, const struct target *t)
{
	int64_t scratch = 0;
	for (int i = 0; i < k->nbufs; i++)
		if (k->bufs[i].space != SPACE_GLOBAL)
			scratch += (k->bufs[i].elems * (int64_t)tgc_type_bytes(k->bufs[i].type) + 15) / 16 * 16;
	int64_t most = scratch ? t->block_shared_bytes - scratch : t->shared_bytes;
	most = most < RESERVED_BYTES ? t->shared_bytes : most;
	return most - RESERVED_BYTES;
}

void kpass_threads(struct kernel *k, const struct target *t)
{
	size_t loops = (size_t)k->nloops + 1, insts = (size_t)k->n + 1;
	for (int i = 0; i < k->nloops; i++)
		if (k->loops[i].kind == AXIS_LANE) // done before
			return;
	struct kernel old = *k;
	struct threads s = {.done = -1,
	                    .slices = {-1, -1},
	                    .halves = {-1, -1},
	                    .tile = {.k = &old, .t = t, .mask = K_NONE, .accumulators = 1, .lane_loop = -1}};
	struct tile *x = &s.tile;
	x->whole = calloc(loops, sizeof *x->whole);
	x->lane = calloc(loops, sizeof *x->lane);
	x->width = calloc(loops, sizeof *x->width);
	x->preset = malloc(loops * sizeof *x->preset);
	x->varies = calloc(insts, sizeof *x->varies);
	x->scratch = calloc(insts, sizeof *x->scratch);
	bool ok = x->whole && x->lane && x->width && x->preset && x->varies && x->scratch;
	if (ok)
		tile_whole(x);
	if (ok && mark_stages(&s)) {
		memset(x->preset, 0xff, loops * sizeof *x->preset);
		s.most_bytes = shared_left(&old, t);
		kernel_rebuild_phases(k, spread_phase, spread_loop, &s);
	} else {
		k->arena.failed = true;
	}
	free(x->whole);
	free(x->lane);
	free(x->width);
	free(x->preset);
	free(x->varies);
	free(x->scratch);
}
