// What the pass tile decides: which loops become lanes, and how far nests are unrolled.
// In:  a kernel at the free level and the target. Out: choices; the kernel is only read.
// Lanes: the tree of loops is walked for the cheapest choice, counted in vector instructions: neighbouring
// memory is one access, one address for all lanes is one, anything else is one a lane.
#include "pass/tile.h"

#include <stdlib.h>

enum { GUESS = 64, PANEL_BLOCKS = 4, MANY_ROWS = 512, MANY_TILES = 4, LINE = 64, LONG_BODY = 100 };
// Steps a multiplication takes until its sum can be added to; accumulators more than that for loads that come late.
enum { LATENCY = 4, SPARE = 2 };

// ---- iterations

static int64_t upper(const struct kernel *k, int hi, int lo)
{
	const struct kinst *h = &k->insts[hi], *l = &k->insts[lo];
	int64_t best = INT64_MAX, d, coef_h, coef_l;
	if (h->op == OP_MIN || l->op == OP_MAX) {
		for (int i = 0; i < 2; i++) {
			d = h->op == OP_MIN ? upper(k, kernel_src(k, hi, i), lo)
			                    : upper(k, hi, kernel_src(k, lo, i));
			best = d < best ? d : best;
		}
		return best;
	}
	if (kernel_interval(k, hi, &d, &coef_h) && kernel_interval(k, lo, &coef_l, &d))
		best = coef_h - coef_l;
	if (h->op != K_AFFINE)
		return best;
	bool same = l->op == K_AFFINE ? h->nsrc == l->nsrc : h->nsrc == 1;
	for (int i = 0; i < h->nsrc && same; i++) {
		if (l->op == K_AFFINE)
			same = kernel_src(k, hi, i) == kernel_src(k, lo, i) &&
			       k->coefs[h->src_at + i] == k->coefs[l->src_at + i];
		else
			same = kernel_src(k, hi, i) == lo && k->coefs[h->src_at + i] == 1;
	}
	d = h->imm - (l->op == K_AFFINE ? l->imm : 0);
	return same && d < best ? d : best;
}

int64_t tile_trip(const struct kernel *k, int loop)
{
	int64_t n;
	if (kernel_trip(k, loop, &n))
		return n;
	n = upper(k, k->loops[loop].hi, k->loops[loop].lo);
	return n == INT64_MAX ? GUESS : n < 0 ? 0 : n;
}

int tile_chained(const struct kernel *k, int loop)
{
	const struct kloop *l = &k->loops[loop];
	const struct kregion *r = &k->regions[l->body];
	for (int i = 0; i < r->n && l->ncarry; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		if (in->op == K_FOR && k->loops[in->aux].kind == AXIS_RED &&
		    k->loops[in->aux].ncarry == l->ncarry && k->loops[in->aux].init[0] == l->arg[0])
			return in->aux;
	}
	return -1;
}

int64_t tile_terms(const struct kernel *k, int loop)
{
	int64_t n = 1;
	for (; loop >= 0; loop = tile_chained(k, loop))
		if (__builtin_mul_overflow(n, tile_trip(k, loop), &n))
			return INT64_MAX;
	return n;
}

// ---- cost

static double op_cost(int op, tgc_type t)
{
	bool is_float = type_is_float(t);
	switch (op) {
	case OP_EXP:
	case OP_LOG:
	case OP_TANH:
	case OP_ERF:
	case OP_SIN:
	case OP_COS:
		return 16;
	case OP_SQRT:
	case OP_DIV:
	case OP_MOD:
		return is_float ? 4 : 20;
	default:
		return 1;
	}
}

// Steps one instruction takes: for one iteration, or for `lanes` of loop `lane` at once.
static double inst_cost(const struct tile *s, int v, int lane, int lanes)
{
	const struct kernel *k = s->k;
	const struct kinst *in = &k->insts[v];
	int64_t stride;
	bool vector = lane >= 0 && s->scratch[v];
	switch (in->op) {
	case K_CONST:
	case K_SCALAR:
	case K_INDEX:
	case K_ARG:
	case K_RES:
		return 0;
	case K_AFFINE:
		return 0.25;
	case K_IDIV:
	case K_IMOD:
		return vector ? 6 * lanes : 4;
	case K_TABLE:
		return vector ? 1e9 : 1;
	case K_LOAD:
	case K_STORE:
		if (!vector)
			return 1;
		if (!kernel_stride(k, kernel_src(k, v, 0), lane, &stride))
			return 3 * lanes;
		return stride == 1 || stride == 0 ? 1 : stride == -1 ? 3 : (in->op == K_LOAD ? 1.5 : 2) * lanes;
	default:
		break;
	}
	double cost = op_cost(in->op, (tgc_type)in->type);
	double parts =
	    vector ? (double)lanes * (double)tgc_type_bytes((tgc_type)in->type) / s->t->vector_bytes : 1;
	return cost * (parts > 1 ? parts : 1);
}

// All of a region with `loop` as lanes; infinite where a loop inside has bounds that differ between lanes.
static double region_lanes(const struct tile *s, int region, int lane, int lanes)
{
	const struct kernel *k = s->k;
	const struct kregion *r = &k->regions[region];
	double cost = 0;
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		if (in->op != K_FOR) {
			cost += inst_cost(s, r->insts[i], lane, lanes);
			continue;
		}
		const struct kloop *l = &k->loops[in->aux];
		if (s->scratch[l->lo] || s->scratch[l->hi])
			return 1e30;
		cost += (double)tile_trip(k, in->aux) * region_lanes(s, l->body, lane, lanes) + 1;
	}
	return cost;
}

// The widest type of data in the region; index arithmetic is none.
static size_t widest(const struct kernel *k, int region)
{
	const struct kregion *r = &k->regions[region];
	size_t bytes = 1;
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		size_t n = 1;
		if (in->op == K_FOR)
			n = widest(k, k->loops[in->aux].body);
		else if (in->op == K_LOAD || in->op == K_STORE)
			n = tgc_type_bytes((tgc_type)k->bufs[in->aux].type);
		else if (in->op < OP_COUNT && in->type != TGC_I64 && in->type != TGC_BOOL)
			n = tgc_type_bytes((tgc_type)in->type);
		bytes = n > bytes ? n : bytes;
	}
	return bytes;
}

static double region_best(struct tile *s, int region);

static double as_lanes(struct tile *s, int loop)
{
	const struct kernel *k = s->k;
	const struct kloop *l = &k->loops[loop];
	int lanes = s->t->vector_bytes / (int)widest(k, l->body);
	int64_t trip = tile_trip(k, loop);
	if ((l->kind != AXIS_PAR && l->kind != AXIS_RED) || trip < 2 || lanes < 2 || s->whole[loop])
		return 1e30;
	s->width[loop] = lanes;
	kernel_depends(k, loop, s->scratch);
	double cost = region_lanes(s, l->body, loop, lanes) * (double)((trip + lanes - 1) / lanes);
	return cost + (l->kind == AXIS_RED ? 16.0 * l->ncarry : 0);
}

static double loop_best(struct tile *s, int loop)
{
	double inside = region_best(s, s->k->loops[loop].body) * (double)tile_trip(s->k, loop);
	double lanes = as_lanes(s, loop);
	s->lane[loop] = lanes < inside;
	s->best[loop] = lanes < inside ? lanes : inside;
	return s->best[loop];
}

static double region_best(struct tile *s, int region)
{
	const struct kregion *r = &s->k->regions[region];
	double cost = 0;
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &s->k->insts[r->insts[i]];
		cost += in->op == K_FOR ? loop_best(s, in->aux) + 1 : inst_cost(s, r->insts[i], -1, 1);
	}
	return cost;
}

// Lanes hold everything inside, so there are no others there.
static void settle(struct tile *s, int region, bool inside)
{
	const struct kregion *r = &s->k->regions[region];
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &s->k->insts[r->insts[i]];
		if (in->op != K_FOR)
			continue;
		s->lane[in->aux] &= !inside;
		settle(s, s->k->loops[in->aux].body, inside || s->lane[in->aux]);
	}
}

// A place in scratch that is the same for all iterations is written: side by side they would meet there.
static bool shares_scratch(const struct tile *s, int region)
{
	const struct kernel *k = s->k;
	const struct kregion *r = &k->regions[region];
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		if (in->op == K_FOR && shares_scratch(s, k->loops[in->aux].body))
			return true;
		if (in->op == K_STORE && k->bufs[in->aux].space != SPACE_GLOBAL &&
		    !s->scratch[kernel_src(k, r->insts[i], 0)])
			return true;
	}
	return false;
}

void tile_whole(struct tile *s)
{
	bool any = false;
	for (int i = 0; i < s->k->nbufs; i++)
		any |= s->k->bufs[i].space != SPACE_GLOBAL;
	for (int i = 0; i < s->k->nloops && any; i++) {
		kernel_depends(s->k, i, s->scratch);
		s->whole[i] = s->k->loops[i].kind == AXIS_PAR && shares_scratch(s, s->k->loops[i].body);
	}
}

bool tile_lanes(struct tile *s)
{
	if (!s->lane || !s->width || !s->best || !s->scratch || !s->whole)
		return false;
	tile_whole(s);
	for (int i = 0; i < s->k->nphases; i++) {
		region_best(s, s->k->phases[i]);
		settle(s, s->k->phases[i], false);
	}
	return true;
}

double tile_phase_cost(const struct tile *s, int region)
{
	const struct kregion *r = &s->k->regions[region];
	double cost = 0;
	for (int i = 0; i < r->n; i++)
		if (s->k->insts[r->insts[i]].op == K_FOR)
			cost += s->best[s->k->insts[r->insts[i]].aux];
	return cost;
}

// ---- reductions

// It hangs on where, not on what: known indices decide it.
static bool of_indices(const struct kernel *k, int cond)
{
	const struct kinst *in = &k->insts[cond];
	if (in->op == OP_AND || in->op == OP_OR || in->op == OP_NOT)
		return of_indices(k, kernel_src(k, cond, 0)) ||
		       (in->nsrc > 1 && of_indices(k, kernel_src(k, cond, 1)));
	return in->nsrc > 0 && in->op < OP_COUNT && k->insts[kernel_src(k, cond, 0)].type == TGC_I64;
}

static bool has_condition(const struct tile *s, int region)
{
	const struct kernel *k = s->k;
	const struct kregion *r = &k->regions[region];
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		if (in->op == K_FOR && has_condition(s, k->loops[in->aux].body))
			return true;
		int guard = in->op == K_LOAD && in->nsrc > 1 ? kernel_src(k, r->insts[i], 1) : K_NONE;
		if (guard != K_NONE && s->scratch[guard])
			return true;
		int cond = in->op == OP_SELECT ? kernel_src(k, r->insts[i], 0) : K_NONE;
		if (cond != K_NONE && s->scratch[cond] && of_indices(k, cond))
			return true;
	}
	return false;
}

bool tile_is_tap(struct tile *s, int loop)
{
	int64_t n;
	if (!kernel_trip(s->k, loop, &n) || n > 8)
		return false;
	kernel_depends(s->k, loop, s->scratch);
	return has_condition(s, s->k->loops[loop].body);
}

int tile_red_unroll(const struct tile *s, int loop)
{
	int64_t trip = tile_trip(s->k, loop);
	int u = s->accumulators >= 4 ? 1 : 4 / s->accumulators;
	while (u > 1 && trip < (int64_t)u * s->width[loop])
		u /= 2;
	double work = kernel_region_work(s->k, s->k->loops[loop].body);
	return work > 40 ? 1 : work > 16 && u > 2 ? 2 : u;
}

// ---- perfect nests

static bool contains_red(const struct kernel *k, int region, bool lanes, const bool *lane)
{
	const struct kregion *r = &k->regions[region];
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		if (in->op != K_FOR)
			continue;
		if (k->loops[in->aux].kind == AXIS_RED && (!lanes || lane[in->aux]))
			return true;
		if (contains_red(k, k->loops[in->aux].body, lanes, lane))
			return true;
	}
	return false;
}

// Is there a condition inside the region's reductions? A select behind them costs the same everywhere.
static bool red_has_condition(const struct tile *s, int region)
{
	const struct kernel *k = s->k;
	const struct kregion *r = &k->regions[region];
	bool found = false;
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		int body = in->op == K_FOR ? k->loops[in->aux].body : -1;
		if (body >= 0 && k->loops[in->aux].kind == AXIS_RED)
			found |= has_condition(s, body);
		else if (body >= 0)
			found |= red_has_condition(s, body);
	}
	return found;
}

struct uses {         // loads inside reductions
	int loads;    // that vary with the loop asked about
	int reused;   // that do not, but vary with the lanes (or: with the reduction, where that has the lanes)
	bool uniform; // bounds of loops inside do not vary with it
	int carries;  // of the largest chain
};

static void look(const struct tile *s, int region, const bool *varies, const bool *vector, bool in_red,
                 struct uses *u)
{
	const struct kernel *k = s->k;
	const struct kregion *r = &k->regions[region];
	for (int i = 0; i < r->n; i++) {
		int v = r->insts[i];
		const struct kinst *in = &k->insts[v];
		if (in->op == K_LOAD && in_red && vector[v]) {
			u->loads += varies[v];
			u->reused += !varies[v];
		}
		if (in->op != K_FOR)
			continue;
		const struct kloop *l = &k->loops[in->aux];
		u->uniform &= !varies[l->lo] && !varies[l->hi];
		u->carries = l->kind == AXIS_RED && l->ncarry > u->carries ? l->ncarry : u->carries;
		look(s, l->body, varies, vector, in_red || l->kind == AXIS_RED, u);
	}
}

// How the nest's body would profit from replicas of `loop`. vector: what varies with the lanes.
static struct uses look_at(struct tile *s, int body, int loop, const bool *vector)
{
	struct uses u = {.uniform = true};
	kernel_depends(s->k, loop, s->scratch);
	look(s, body, s->scratch, vector, false, &u);
	return u;
}

// The lane loop of the reductions in the body.
static int red_lane_loop(const struct tile *s, int region)
{
	const struct kernel *k = s->k;
	const struct kregion *r = &k->regions[region];
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		int found = in->op == K_FOR
		                ? s->lane[in->aux] ? in->aux : red_lane_loop(s, k->loops[in->aux].body)
		                : -1;
		if (found >= 0)
			return found;
	}
	return -1;
}

int tile_heaviest(const struct kernel *k, int region, bool in_red)
{
	const struct kregion *r = &k->regions[region];
	int own = 0, most = 0;
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		if (in->op == K_FOR) {
			int m = tile_heaviest(k, k->loops[in->aux].body,
			                      in_red || k->loops[in->aux].kind == AXIS_RED);
			most = m > most ? m : most;
		} else if (in_red && in->op < OP_COUNT) {
			own += (int)op_cost(in->op, (tgc_type)in->type);
		}
	}
	return own > most ? own : most;
}

// At most `most` of n, a divisor if a good one is near, else tiles of even size. Where there are many tiles, less
// than `least` is no good one: the last tile is another then, and one in many.
static int even(int64_t n, int most, int least)
{
	if (n <= most)
		return n < 1 ? 1 : (int)n;
	for (int m = most; m > most / 2; m--)
		if (n % m == 0 && (m >= least || n < (int64_t)MANY_TILES * most))
			return m;
	int64_t tiles = (n + most - 1) / most;
	return (int)((n + tiles - 1) / tiles);
}

static int vectors(const struct tile *s, int64_t nv)
{
	bool wide = s->t->vector_regs >= 32;
	if (nv <= (wide ? 4 : 3))
		return (int)nv;
	return nv % 2 == 0 ? 2 : nv % 3 == 0 ? 3 : wide && nv % 5 == 0 ? 5 : 2;
}

static int rows(const struct tile *s, int nv)
{
	static const int wide[] = {16, 16, 12, 8, 6, 5}, narrow[] = {12, 12, 6, 4, 3, 2};
	return s->t->vector_regs >= 32 ? wide[nv] : narrow[nv];
}

static void swap(struct tile_axis *axis, int i, int j)
{
	struct tile_axis t = axis[i];
	axis[i] = axis[j];
	axis[j] = t;
}

static int64_t tiles(const struct tile_axis *x)
{
	int64_t step = (int64_t)x->unroll * x->width;
	return (x->n + step - 1) / step;
}

// Goes through axis `of` a panel at a time, the axes from `at` on inside.
static int put_panel(struct tile_axis *axis, int n, int at, int of, int64_t size)
{
	struct tile_axis panel = {
	    .loop = axis[of].loop, .n = axis[of].n, .panel = size, .unroll = 1, .width = 1};
	memmove(axis + at + 1, axis + at, sizeof *axis * (size_t)(n - at));
	axis[at] = panel;
	return n + 1;
}

// Steps of the longest reduction in the body.
static int64_t reduction_steps(const struct tile *s, int body)
{
	int64_t steps = 1;
	const struct kregion *r = &s->k->regions[body];
	for (int i = 0; i < r->n; i++)
		if (s->k->insts[r->insts[i]].op == K_FOR &&
		    tile_terms(s->k, s->k->insts[r->insts[i]].aux) > steps)
			steps = tile_terms(s->k, s->k->insts[r->insts[i]].aux);
	return steps;
}

// Indices of an axis, in whole tiles, that read so much of `step_bytes` each that it stays in cache while
// another axis goes by; 0: all of them do, or not even a few.
static int64_t panel_size(const struct tile *s, const struct tile_axis *x, int64_t index_bytes)
{
	int64_t size = s->t->l2_bytes / 4 / index_bytes / x->unroll * x->unroll;
	return x->peel || x->n * index_bytes <= s->t->l2_bytes || size < 2 * x->unroll ? 0 : size;
}

// Panels of what the lanes read go outside where they would not stay in cache between the rows' tiles, or
// where there are too few rows for all threads.
static int order(const struct tile *s, struct tile_axis *axis, int n, int lane, int row, int body)
{
	int64_t each = reduction_steps(s, body) * s->t->vector_bytes / axis[lane].width;
	bool far = axis[lane].n * each > s->t->l2_bytes,
	     few = tiles(&axis[row]) < 16 && tiles(&axis[lane]) > tiles(&axis[row]);
	if (row > lane || !(far || few))
		return n;
	swap(axis, row, lane);
	int64_t size = far ? panel_size(s, &axis[lane], each) : 0;
	return size ? put_panel(axis, n, row, lane, size) : n;
}

// Independent columns: enough accumulators to hide the latency, and more where rows are far apart and there are
// plenty of columns, so that whole cache lines in a row are used.
static int columns(const struct tile *s, int64_t nv, int carries)
{
	int most = nv >= 256 ? 16 : nv >= 64 ? 8 : 4;
	while (most > 1 && (most * (carries > 1 ? carries : 1) * 2 > s->t->vector_regs || nv < most))
		most /= 2;
	return nv > most && nv < 4 ? (int)nv : most;
}

// Lanes along a PAR loop, with reductions inside: a register tile of rows x vectors of accumulators.
static int register_tile(struct tile *s, struct tile_axis *axis, int n, int lane, bool *vector)
{
	int body = s->k->loops[axis[n - 1].loop].body, row = -1;
	int64_t nv = (axis[lane].n + axis[lane].width - 1) / axis[lane].width;
	kernel_depends(s->k, axis[lane].loop, vector);
	struct uses u = look_at(s, body, axis[lane].loop, vector);
	for (int i = n - 1; i >= 0 && row < 0; i--) {
		if (i == lane || axis[i].n < 2)
			continue;
		u = look_at(s, body, axis[i].loop, vector);
		if (u.uniform && u.reused)
			row = i;
	}
	if (row < 0) {
		axis[lane].unroll = columns(s, nv, u.carries);
		return n;
	}
	int v = vectors(s, nv), carries = u.carries > 1 ? u.carries : 1;
	axis[lane].unroll = v;
	int most = rows(s, v) / carries;
	if (tile_heaviest(s->k, body, false) > 24) // registers for what operands are computed from
		most = most > 4 ? 4 : most;
	kernel_depends(s->k, axis[row].loop, s->scratch);
	axis[row].peel = red_has_condition(s, body);
	int least = axis[row].peel ? 1 : (s->t->fma_ports * LATENCY + SPARE) / (v * carries);
	axis[row].unroll = even(axis[row].n, most < 1 ? 1 : most, least);
	return order(s, axis, n, lane, row, body);
}

// Is memory accessed that is strided along the lanes and contiguous along `loop`?
static bool crosses(const struct kernel *k, int region, int lane, int loop)
{
	const struct kregion *r = &k->regions[region];
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		int64_t by_lane, by_loop;
		if (in->op == K_FOR && crosses(k, k->loops[in->aux].body, lane, loop))
			return true;
		if ((in->op == K_LOAD || in->op == K_STORE) &&
		    kernel_stride(k, kernel_src(k, r->insts[i], 0), lane, &by_lane) && by_lane * by_lane > 1 &&
		    kernel_stride(k, kernel_src(k, r->insts[i], 0), loop, &by_loop) && by_loop == 1)
			return true;
	}
	return false;
}

// What the lanes store goes past the caches, in whole lines: one after another along the rows that are read, so
// that these are streams which the processor follows.
static void whole_lines(const struct tile *s, struct tile_axis *axis, int row, int lane)
{
	int64_t bytes = (int64_t)axis[lane].width * (int64_t)widest(s->k, s->k->loops[axis[lane].loop].body);
	struct tile_axis lanes = axis[lane];
	lanes.unroll = bytes < LINE && axis[lane].n >= 2 * axis[lane].width ? (int)(LINE / bytes) : 1;
	if (row < lane)
		memmove(axis + row + 1, axis + row, sizeof *axis * (size_t)(lane - row));
	axis[row < lane ? row : lane] = lanes;
}

// Lanes with no reduction inside. Where they cross the rows of some memory, replicas along those rows make
// blocks that are transposed in registers; beside a long computation that gains nothing, and replicas of it take long to
// compile.
static int plain_tile(const struct tile *s, struct tile_axis *axis, int n, int lane)
{
	int body = s->k->loops[axis[n - 1].loop].body;
	double work = kernel_region_work(s->k, body);
	axis[lane].unroll = work <= 14 ? 4 : work <= 40 ? 2 : 1;
	for (int i = n - 1; i >= 0 && work <= LONG_BODY && !contains_red(s->k, body, false, NULL); i--) {
		if (i == lane || axis[i].n < 4 || !crosses(s->k, body, axis[lane].loop, axis[i].loop))
			continue;
		int most = axis[lane].width < 16 ? axis[lane].width : 16,
		    u = 4; // a rest may cost a phase of its own
		while (u * 2 <= most && u * 2 <= axis[i].n &&
		       (axis[i].n >= MANY_ROWS || axis[i].n % (u * 2) == 0))
			u *= 2;
		if (axis[i].n < MANY_ROWS && axis[i].n % u)
			continue;
		axis[i].unroll = u;
		axis[lane].unroll = 1;
		if (kernel_streams(s->k, s->t)) {
			whole_lines(s, axis, i, lane);
			return n;
		}
		int64_t size = (int64_t)PANEL_BLOCKS * u;
		if (i > lane || axis[i].n < 2 * size || axis[i].n % size)
			return n;
		struct tile_axis rows = axis[i];
		memmove(axis + i, axis + i + 1, sizeof *axis * (size_t)(lane - i));
		axis[lane] = rows;
		return put_panel(axis, n, i, lane, size);
	}
	return n;
}

int tile_axes(struct tile *s, struct tile_axis *axis, int n)
{
	const struct kernel *k = s->k;
	int body = k->loops[axis[n - 1].loop].body, lane = -1;
	bool *vector = calloc((size_t)k->n + 1, sizeof *vector);
	for (int i = 0; i < n; i++) {
		axis[i].unroll = axis[i].width = 1;
		if (s->lane[axis[i].loop])
			lane = i;
	}
	if (vector && lane >= 0) {
		axis[lane].width = s->width[axis[lane].loop];
		if (contains_red(k, body, false, NULL) && axis[lane].n >= 0)
			n = register_tile(s, axis, n, lane, vector);
		else
			n = plain_tile(s, axis, n, lane);
		for (lane = 0; !s->lane[axis[lane].loop] || axis[lane].panel;) // the tile may have moved it
			lane++;
		while (axis[lane].unroll > 1 && axis[lane].n >= 0 &&
		       axis[lane].n <= (int64_t)(axis[lane].unroll - 1) * axis[lane].width)
			axis[lane].unroll--;
	} else if (vector && contains_red(k, body, true, s->lane)) {
		kernel_depends(k, red_lane_loop(s, body), vector);
		tile_dot(s, axis, n, vector);
	}
	free(vector);
	return n;
}
