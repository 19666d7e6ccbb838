// What each kernel value varies over, before anything is printed.
// In:  the kernel. Out: cvalue, cloop; questions about loops. Not here: text.
#include "emit_cuda.h"

static void number_axes(struct cuda *e)
{
	const struct kernel *k = e->k;
	for (int i = 0; i < k->nloops; i++) {
		struct cloop *l = &e->loops[i];
		int kind = k->loops[i].kind, depth = 0;
		l->axis = -1;
		if (kind != AXIS_LANE && kind != AXIS_UNROLL)
			continue;
		if (!kernel_trip(k, i, &l->n) || l->n < 1)
			cuda_fail(e, "a lane or unroll loop without a constant extent");
		for (int r = k->insts[k->loops[i].inst].region; r >= 0; r = k->regions[r].parent)
			depth += k->regions[r].loop >= 0 && k->loops[k->regions[r].loop].kind == AXIS_UNROLL;
		if (depth >= CUDA_AXES)
			cuda_fail(e, "unroll loops nested too deep");
		else if (kind == AXIS_UNROLL)
			l->axis = depth;
	}
}

static uint32_t axis_bit(const struct cuda *e, int loop)
{
	const struct cloop *l = &e->loops[loop];
	return l->axis >= 0 && !l->copied ? 1u << l->axis : 0;
}

static uint32_t bounds_deps(const struct cuda *e, int loop)
{
	const struct kloop *l = &e->k->loops[loop];
	return e->values[l->lo].deps | e->values[l->hi].deps;
}

static void find_deps(struct cuda *e)
{
	const struct kernel *k = e->k;
	uint32_t *axis = ARENA_ARRAY(&e->arena, uint32_t, k->nloops + 1), *axes = ARENA_ARRAY(&e->arena, uint32_t, k->n + 1);
	if (!axis || !axes)
		return;
	for (int i = 0; i < k->nloops; i++)
		axis[i] = axis_bit(e, i);
	kernel_axes(k, axis, axes);
	for (int i = 0; i < k->n; i++)
		e->values[i].deps = axes[i];
}

static int axis_loop(const struct cuda *e, int region, int axis)
{
	for (int r = region; r >= 0; r = e->k->regions[r].parent) {
		int l = e->k->regions[r].loop;
		if (l >= 0 && e->loops[l].axis == axis)
			return l;
	}
	return -1;
}

// Loops whose bounds differ along an axis: that axis becomes a C loop.
static bool mark_copied(struct cuda *e)
{
	const struct kernel *k = e->k;
	bool any = false;
	for (int i = 0; i < k->n; i++) {
		const struct kinst *in = &k->insts[i];
		uint32_t deps = in->op == K_FOR ? bounds_deps(e, in->aux) : 0;
		for (int a = 0; a < CUDA_AXES && deps; a++) {
			int l = deps >> a & 1 ? axis_loop(e, in->region, a) : -1;
			if (l < 0)
				continue;
			any |= !e->loops[l].copied;
			e->loops[l].copied = true;
		}
	}
	return any;
}

static void shape_values(struct cuda *e)
{
	const struct kernel *k = e->k;
	for (int i = 0; i < k->n; i++) {
		struct cvalue *v = &e->values[i];
		int64_t combos = 1, lo, hi;
		for (int a = 0; a < CUDA_AXES; a++) {
			int l = v->deps >> a & 1 ? axis_loop(e, k->insts[i].region, a) : -1;
			combos *= l >= 0 ? e->loops[l].n : 1;
			if (combos > CUDA_MAX_COMBOS) {
				cuda_fail(e, "a register tile of too many values");
				return;
			}
		}
		v->combos = (int)combos;
		v->narrow = k->insts[i].type == TGC_I64 && kernel_interval(k, i, &lo, &hi) && lo >= INT32_MIN &&
		            hi <= INT32_MAX;
	}
}

// ---- buffers of which each thread has a part of its own

int cuda_lane_around(const struct cuda *e, int region)
{
	for (int r = region; r >= 0; r = e->k->regions[r].parent)
		if (e->k->regions[r].loop >= 0 && e->k->loops[e->k->regions[r].loop].kind == AXIS_LANE)
			return e->k->regions[r].loop;
	return -1;
}

// Elements of a lane's part, if the access is at part * lane + something in it; else 0.
static int own_part(const struct cuda *e, int inst)
{
	const struct kernel *k = e->k;
	int index = kernel_src(k, inst, 0), lane = cuda_lane_around(e, k->insts[inst].region);
	const struct kinst *in = &k->insts[index];
	int64_t part = 0, lo = in->imm, hi = in->imm;
	if (lane < 0 || in->op != K_AFFINE || cuda_lane_around(e, k->insts[k->loops[lane].inst].region) >= 0)
		return 0;
	for (int i = 0; i < in->nsrc; i++) {
		const struct kinst *x = &k->insts[kernel_src(k, index, i)];
		int64_t c = k->coefs[in->src_at + i];
		if (kernel_src(k, index, i) == k->loops[lane].index) {
			part = c;
			continue;
		}
		if (c < 0 || c > CUDA_OWN || x->lo < 0 || x->hi > CUDA_OWN)
			return 0;
		lo += c * x->lo;
		hi += c * x->hi;
	}
	bool fits = part > 0 && part <= CUDA_OWN && lo >= 0 && hi < part &&
	            part * e->loops[lane].n == k->bufs[k->insts[inst].aux].elems;
	return fits ? (int)part : 0;
}

static void find_own(struct cuda *e)
{
	const struct kernel *k = e->k;
	for (int i = 0; i < k->nbufs; i++)
		e->own[i] = k->bufs[i].space == SPACE_LOCAL && !e->shared[i] ? -1 : 0;
	for (int r = 0; r < k->nregions; r++)
		for (int i = 0; i < k->regions[r].n; i++) {
			const struct kinst *in = &k->insts[k->regions[r].insts[i]];
			if ((in->op != K_LOAD && in->op != K_STORE) || !e->own[in->aux])
				continue;
			int part = own_part(e, k->regions[r].insts[i]);
			e->own[in->aux] = e->own[in->aux] < 0 || e->own[in->aux] == part ? part : 0;
		}
	for (int i = 0; i < k->nbufs; i++)
		e->own[i] = e->own[i] < 0 ? 0 : e->own[i];
}

// Index sums that are addresses only are printed where they are used.
static void find_needed(struct cuda *e)
{
	const struct kernel *k = e->k;
	for (int i = 0; i < k->n; i++) {
		const struct kinst *in = &k->insts[i];
		bool address = in->op == K_LOAD || in->op == K_STORE || in->op == K_TABLE;
		for (int s = in->op == K_COPY ? 2 : address ? 1 : 0; s < in->nsrc; s++)
			if (kernel_src(k, i, s) != K_NONE)
				e->values[kernel_src(k, i, s)].needed = true;
	}
	for (int i = 0; i < k->nloops; i++) {
		const struct kloop *l = &k->loops[i];
		e->values[l->lo].needed = e->values[l->hi].needed = true;
		for (int c = 0; c < l->ncarry; c++)
			e->values[l->init[c]].needed = e->values[l->next[c]].needed = true;
	}
}

static void find_shared(struct cuda *e)
{
	const struct kernel *k = e->k;
	for (int r = 0; r < k->nregions; r++)
		for (int i = 0; i < k->regions[r].n; i++) {
			const struct kinst *in = &k->insts[k->regions[r].insts[i]];
			if (in->op == K_COPY)
				e->shared[in->aux] = true;
			if (in->op == K_MMA) {
				struct kmma m = kernel_mma(k, k->regions[r].insts[i]);
				e->shared[m.a] = e->shared[m.b] = true;
			}
		}
}

// ---- loops that load again what another one of the same thread did

// A thread of a full block has half the registers of one of a smaller block.
enum { STRAIGHT_VALUES = 32, STRAIGHT_CODE = 4096, FULL_BLOCK = 1024 };

// Statements of the body, each as often as the loops make it; -1: a longer loop is inside. *most: of one of
// them.
static int64_t straight_code(const struct cuda *e, int region, int64_t *most)
{
	const struct kernel *k = e->k;
	const struct kregion *r = &k->regions[region];
	int64_t n = 0;
	*most = 1;
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		if (in->op != K_FOR) {
			n++;
			continue;
		}
		int64_t each, inner = straight_code(e, k->loops[in->aux].body, &each);
		if (inner < 0 || k->loops[in->aux].kind != AXIS_UNROLL)
			return -1;
		n += inner * e->loops[in->aux].n;
		each *= e->loops[in->aux].n;
		*most = each > *most ? each : *most;
	}
	return n;
}

static bool may_be_straight(const struct cuda *e, int loop)
{
	const struct kloop *l = &e->k->loops[loop];
	int64_t trip, values, threads = 1;
	if (l->kind != AXIS_SERIAL || !kernel_trip(e->k, loop, &trip) || trip < 2 || trip > STRAIGHT_VALUES)
		return false;
	int64_t code = straight_code(e, l->body, &values);
	for (int r = e->k->insts[l->inst].region; r >= 0; r = e->k->regions[r].parent) {
		int around = e->k->regions[r].loop, kind = around >= 0 ? e->k->loops[around].kind : AXIS_SERIAL;
		threads *= kind == AXIS_LANE ? e->loops[around].n : 1;
		values *= kind == AXIS_UNROLL ? e->loops[around].n : 1;
		code *= kind == AXIS_UNROLL ? e->loops[around].n : 1;
	}
	values *= trip * (threads >= FULL_BLOCK ? 2 : 1);
	return threads > 1 && code > 0 && code * trip <= STRAIGHT_CODE && values <= STRAIGHT_VALUES;
}

// Counts each buffer once a loop; then marks the loops of those that were counted more than once.
static void find_again(struct cuda *e)
{
	const struct kernel *k = e->k;
	int *loads = ARENA_ARRAY(&e->arena, int, k->nbufs + 1);
	if (!loads)
		return;
	memset(loads, 0, sizeof *loads * (size_t)k->nbufs);
	for (int pass = 0; pass < 2; pass++)
		for (int l = 0; l < k->nloops; l++) {
			uint8_t *access = e->access;
			if (k->loops[l].kind != AXIS_SERIAL || !may_be_straight(e, l))
				continue;
			memset(access, 0, (size_t)k->nbufs);
			kernel_access(k, k->loops[l].inst, access);
			for (int i = 0; i < k->nbufs; i++) {
				bool constant = k->bufs[i].space == SPACE_GLOBAL && !k->bufs[i].written &&
				                !k->bufs[i].segmented && access[i];
				loads[i] += !pass && constant;
				e->loops[l].again |= pass && constant && loads[i] > 1;
			}
		}
}

void cuda_analyse(struct cuda *e)
{
	number_axes(e);
	if (e->error)
		return;
	find_shared(e);
	find_own(e);
	find_again(e);
	find_needed(e);
	do
		find_deps(e);
	while (mark_copied(e));
	shape_values(e);
}

bool cuda_next(const struct cuda *e, uint32_t deps, struct combo *c)
{
	for (int a = CUDA_AXES - 1; a >= 0; a--) {
		if (!(deps >> a & 1))
			continue;
		if (++c->i[a] < e->extent[a])
			return true;
		c->i[a] = 0;
	}
	return false;
}

// ---- loops

int cuda_lanes_inside(const struct kernel *k, int region)
{
	const struct kregion *r = &k->regions[region];
	int most = 1;
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		int64_t n = 1;
		if (in->op != K_FOR)
			continue;
		if (k->loops[in->aux].kind == AXIS_LANE)
			kernel_trip(k, in->aux, &n);
		int inner = cuda_lanes_inside(k, k->loops[in->aux].body) * (int)n;
		most = inner > most ? inner : most;
	}
	return most;
}

bool cuda_has_lanes(const struct kernel *k, int region)
{
	const struct kregion *r = &k->regions[region];
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		if (in->op == K_MMA || (in->op == K_FOR && (k->loops[in->aux].kind == AXIS_LANE ||
		                                            cuda_has_lanes(k, k->loops[in->aux].body))))
			return true;
	}
	return false;
}

static bool is_next(const struct kernel *k, int v, int lo)
{
	const struct kinst *in = &k->insts[v], *l = &k->insts[lo];
	union number a, b;
	if (kernel_is_const(k, v, &a) && kernel_is_const(k, lo, &b))
		return a.i == b.i + 1;
	if (in->op != K_AFFINE)
		return false;
	if (l->op != K_AFFINE)
		return in->nsrc == 1 && in->imm == 1 && kernel_src(k, v, 0) == lo && k->coefs[in->src_at] == 1;
	bool same = in->nsrc == l->nsrc && in->imm == l->imm + 1;
	for (int i = 0; i < in->nsrc && same; i++)
		same = kernel_src(k, v, i) == kernel_src(k, lo, i) &&
		       k->coefs[in->src_at + i] == k->coefs[l->src_at + i];
	return same;
}

bool cuda_at_most_once(const struct kernel *k, int loop, int *end)
{
	int lo = k->loops[loop].lo, hi = k->loops[loop].hi;
	*end = hi;
	for (int i = 0; k->insts[lo].op == OP_MAX && i < 2; i++)
		if (is_next(k, hi, kernel_src(k, lo, i)))
			return true;
	if (k->insts[hi].op != OP_MIN)
		return is_next(k, hi, lo);
	for (int i = 0; i < 2; i++) {
		*end = kernel_src(k, hi, 1 - i);
		if (is_next(k, kernel_src(k, hi, i), lo))
			return true;
	}
	*end = hi;
	return false;
}
