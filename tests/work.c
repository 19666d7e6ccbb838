// In:  a kernel at the machine level of a processor. Out: how often each instruction runs, summed by class.
// Not here: programs and what is expected of them (test_work.c); what a processor makes of it (tgc bench).
#include "work.h"

#include <stdlib.h>

const char *const work_names[WORK_CLASSES] = {"vectors", "scalars", "loaded", "stored", "apart"};

enum { MAX_AXES = 32, MAX_INDICES = 3 };

struct walk {
	const struct kernel *k;
	const struct target *t;
	struct work *out;
	uint32_t *axis, *axes; // by loop, by instruction: kernel_axes
	double extent[MAX_AXES];
	int lane;              // the open lane loop; -1: none
	int64_t *index;        // by loop: of the iteration that is looked at
};

static bool replicates(const struct kernel *k, int loop)
{
	return k->loops[loop].kind == AXIS_LANE || k->loops[loop].kind == AXIS_UNROLL;
}

// ---- how long loops are ---------------------------------------------------------------------------------------------

// The value of v where the loops around have these indices; *known turns false where memory decides.
static int64_t value(const struct kernel *k, int v, const int64_t *index, bool *known)
{
	const struct kinst *in = &k->insts[v];
	int64_t x[3] = {0}, sum = in->imm;

	if (in->op == K_CONST)
		return in->imm;
	if (in->op == K_INDEX)
		return index[in->aux];
	for (int i = 0; in->op == K_AFFINE && i < in->nsrc; i++)
		sum += k->coefs[in->src_at + i] * value(k, kernel_src(k, v, i), index, known);
	if (in->op == K_AFFINE)
		return sum;
	*known &= in->op != K_LOAD && in->op != K_ARG && in->op != K_RES && in->nsrc <= 3;
	for (int i = 0; *known && i < in->nsrc; i++)
		x[i] = value(k, kernel_src(k, v, i), index, known);
	switch (*known ? in->op : K_END) {
	case K_IDIV:
		return x[0] / in->imm - (x[0] % in->imm < 0);
	case K_IMOD:
		return (x[0] % in->imm + in->imm) % in->imm;
	case K_TABLE:
		return k->tables[in->aux].values[x[0]];
	case OP_MIN:
		return x[0] < x[1] ? x[0] : x[1];
	case OP_MAX:
		return x[0] > x[1] ? x[0] : x[1];
	case OP_LT:
		return x[0] < x[1];
	case OP_SELECT:
		return x[0] ? x[1] : x[2];
	default:
		*known = false;
		return 0;
	}
}

// Appends the loops whose indices v is computed from.
static int find_indices(const struct kernel *k, int v, int *loops, int n)
{
	const struct kinst *in = &k->insts[v];

	for (int i = 0; in->op == K_INDEX && i < n; i++)
		if (loops[i] == in->aux)
			return n;
	if (in->op == K_INDEX && n < MAX_INDICES)
		loops[n++] = in->aux;
	for (int i = 0; i < in->nsrc; i++)
		if (kernel_src(k, v, i) != K_NONE)
			n = find_indices(k, kernel_src(k, v, i), loops, n);
	return n;
}

// Over all indices that its bounds are computed from, or many: the parts of a kernel that share its blocks each have
// some of them, the last tile of a row is shorter.
static double mean_extent(const struct kernel *k, int loop, int64_t *index)
{
	const struct kloop *l = &k->loops[loop];
	int loops[MAX_INDICES], n = find_indices(k, l->hi, loops, find_indices(k, l->lo, loops, 0));
	int64_t lo[MAX_INDICES], range[MAX_INDICES], size[MAX_INDICES], all = 1;
	double sum = 0;
	bool known = true;

	for (int i = 0; i < n; i++) {
		lo[i] = k->insts[k->loops[loops[i]].index].lo;
		if (!kernel_trip(k, loops[i], &range[i]))
			range[i] = k->insts[k->loops[loops[i]].index].hi - lo[i] + 1;
		int64_t most = n == 1 ? 1 << 14 : 128;
		size[i] = range[i] < most ? range[i] : most;
		all *= size[i];
	}
	for (int64_t at = 0; at < all && known; at++) {
		int64_t rest = at;
		for (int i = 0; i < n; rest /= size[i], i++)
			index[loops[i]] = lo[i] + rest % size[i] * range[i] / size[i];
		int64_t from = value(k, l->lo, index, &known), to = value(k, l->hi, index, &known);
		sum += to > from ? (double)(to - from) : 0;
	}
	return known ? sum / (double)all : (double)(k->insts[l->hi].hi - k->insts[l->lo].lo);
}

static double extent(const struct walk *w, int loop)
{
	int64_t n;

	if (kernel_trip(w->k, loop, &n) || kernel_apart(w->k, loop, &n))
		return (double)n;
	return mean_extent(w->k, loop, w->index);
}

// ---- what varies over what ------------------------------------------------------------------------------------------

static void find_axes(struct walk *w)
{
	const struct kernel *k = w->k;

	for (int i = 0; i < k->nloops; i++) {
		int depth = 0;
		for (int r = k->insts[k->loops[i].inst].region; r >= 0; r = k->regions[r].parent)
			depth += k->regions[r].loop >= 0 && replicates(k, k->regions[r].loop);
		w->axis[i] = replicates(k, i) && depth < MAX_AXES ? 1u << depth : 0;
	}
	kernel_axes(k, w->axis, w->axes);
}

// How many there are of what varies over these axes: the lanes are *lanes, 0 where it is no vector.
static double copies(const struct walk *w, uint32_t axes, double *lanes)
{
	double n = 1;

	*lanes = 0;
	for (int a = 0; a < MAX_AXES; a++) {
		if (!(axes >> a & 1))
			continue;
		if (w->lane >= 0 && w->axis[w->lane] == 1u << a)
			*lanes = w->extent[a];
		else
			n *= w->extent[a];
	}
	return n;
}

static int widest_bytes(const struct kernel *k, int inst)
{
	size_t most = tgc_type_bytes((tgc_type)k->insts[inst].type);

	for (int i = 0; i < k->insts[inst].nsrc; i++) {
		int v = kernel_src(k, inst, i);
		size_t bytes = v == K_NONE ? 0 : tgc_type_bytes((tgc_type)k->insts[v].type);
		most = bytes > most ? bytes : most;
	}
	return (int)most;
}

static void add_arithmetic(struct walk *w, int bytes, double times, double lanes)
{
	double all = lanes * bytes / w->t->vector_bytes;

	if (lanes > 0)
		w->out->n[WORK_VECTORS] += times * (double)(int64_t)(all + 0.999);
	else
		w->out->n[WORK_SCALARS] += times;
}

static void add_access(struct walk *w, int inst, double times, double lanes)
{
	const struct kinst *in = &w->k->insts[inst];
	double elems = times * (lanes > 0 ? lanes : 1);
	int64_t stride = 1;

	w->out->n[in->op == K_LOAD ? WORK_LOADED : WORK_STORED] +=
	    elems * (double)tgc_type_bytes((tgc_type)w->k->bufs[in->aux].type);
	if (lanes > 0 && !kernel_stride(w->k, kernel_src(w->k, inst, 0), w->lane, &stride))
		stride = 0;
	if (lanes > 0 && stride != 1 && stride != -1)
		w->out->n[WORK_APART] += elems;
}

// axes: what the loops around have one copy for each index of, whether the instruction varies or not.
static void add_inst(struct walk *w, int inst, double times, uint32_t axes)
{
	const struct kinst *in = &w->k->insts[inst];
	double lanes, n = times * copies(w, w->axes[inst] | axes, &lanes);

	if (lanes > 0 && axes & w->axis[w->lane]) {
		n *= lanes;
		lanes = 0;
	}
	if (in->op == K_LOAD || in->op == K_STORE)
		add_access(w, inst, n, lanes);
	else if (in->op < OP_COUNT || in->op == K_IDIV || in->op == K_IMOD || in->op == K_TABLE)
		add_arithmetic(w, widest_bytes(w->k, inst), n, lanes);
}

// What a replicating loop's carries add up to is a tree: pairs of registers, and in the end halves of a vector.
static void add_tree(struct walk *w, int loop, double times)
{
	const struct kloop *l = &w->k->loops[loop];
	double n = extent(w, loop), lanes;

	for (int c = 0; c < l->ncarry; c++) {
		double each = times * copies(w, w->axes[l->res[c]], &lanes);
		double steps = n - 1;
		if (l->kind == AXIS_LANE)
			for (steps = 0; n > 1; n /= 2)
				steps++;
		add_arithmetic(w, widest_bytes(w->k, l->res[c]), each * steps, lanes > 0 ? lanes : l->kind == AXIS_LANE);
	}
}

static void add_region(struct walk *w, int region, double times, uint32_t axes)
{
	const struct kernel *k = w->k;

	for (int i = 0; i < k->regions[region].n; i++) {
		int inst = k->regions[region].insts[i], loop = k->insts[inst].aux, around = w->lane;
		if (k->insts[inst].op != K_FOR) {
			add_inst(w, inst, times, axes);
			continue;
		}
		const struct kloop *l = &k->loops[loop];
		if (!replicates(k, loop)) {
			add_region(w, l->body, times * extent(w, loop), axes | w->axes[l->lo] | w->axes[l->hi]);
			continue;
		}
		for (int a = 0; a < MAX_AXES; a++)
			if (w->axis[loop] >> a & 1)
				w->extent[a] = extent(w, loop);
		w->lane = l->kind == AXIS_LANE ? loop : around;
		add_region(w, l->body, times, axes);
		w->lane = around;
		add_tree(w, loop, times);
	}
}

void work_add(struct work *w, const struct kernel *k, const struct target *t)
{
	struct walk walk = {.k = k,
	                    .t = t,
	                    .out = w,
	                    .axis = calloc((size_t)k->nloops + 1, sizeof *walk.axis),
	                    .axes = calloc((size_t)k->n + 1, sizeof *walk.axes),
	                    .lane = -1,
	                    .index = calloc((size_t)k->nloops + 1, sizeof *walk.index)};

	find_axes(&walk);
	for (int i = 0; i < k->nphases; i++)
		add_region(&walk, k->phases[i], 1, 0);
	free(walk.axis);
	free(walk.axes);
	free(walk.index);
}
