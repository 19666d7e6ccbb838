// What every kernel value varies over, before anything is emitted.
// In:  the kernel. Out: evalue.deps, lane, narrow, needed, spread, combos; eloop.axis, n, copied.
// Not here: code.
#include "emit_llvm.h"

static bool replicating(const struct kloop *l)
{
	return l->kind == AXIS_UNROLL || l->kind == AXIS_LANE;
}

bool emit_replicates(const struct emit *e, int loop)
{
	return replicating(&e->k->loops[loop]) && !e->loops[loop].copied;
}

static void number_axes(struct emit *e)
{
	const struct kernel *k = e->k;

	for (int i = 0; i < k->nloops; i++) {
		struct eloop *l = &e->loops[i];
		l->axis = -1;
		if (!replicating(&k->loops[i]) || k->loops[i].body < 0)
			continue;
		if (!kernel_trip(k, i, &l->n) || l->n < 1)
			emit_fail(e, "a lane or unroll loop without a constant extent");
		int depth = 0, lanes = 0;
		for (int r = k->insts[k->loops[i].inst].region; r >= 0; r = k->regions[r].parent) {
			int outer = k->regions[r].loop;
			if (outer < 0 || !replicating(&k->loops[outer]))
				continue;
			depth++;
			lanes += k->loops[outer].kind == AXIS_LANE;
		}
		l->axis = depth;
		if (depth >= EMIT_AXES)
			emit_fail(e, "lane and unroll loops nested too deep");
		if (k->loops[i].kind == AXIS_LANE && (lanes || l->n > EMIT_MAX_LANES))
			emit_fail(e, "a lane loop inside another, or too wide");
		l->copied = l->n == 1;
	}
}

static uint32_t axis_bit(const struct emit *e, int loop)
{
	return emit_replicates(e, loop) ? 1u << e->loops[loop].axis : 0;
}

static uint32_t bounds_deps(const struct emit *e, int loop)
{
	const struct kloop *l = &e->k->loops[loop];
	return e->values[l->lo].deps | e->values[l->hi].deps;
}

static void find_deps(struct emit *e)
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

// The replicating loop that is axis `axis` around a region; -1: none.
static int axis_loop(const struct emit *e, int region, int axis)
{
	const struct kernel *k = e->k;

	for (int r = region; r >= 0; r = k->regions[r].parent) {
		int l = k->regions[r].loop;
		if (l >= 0 && e->loops[l].axis == axis)
			return l;
	}
	return -1;
}

static bool copy_axes(struct emit *e, int region, uint32_t deps)
{
	bool any = false;

	for (int a = 0; a < EMIT_AXES; a++) {
		int l = deps >> a & 1 ? axis_loop(e, region, a) : -1;
		if (l < 0)
			continue;
		any |= !e->loops[l].copied;
		e->loops[l].copied = true;
	}
	return any;
}

static uint32_t lane_axes(const struct emit *e, int region)
{
	uint32_t bits = 0;

	for (int r = region; r >= 0; r = e->k->regions[r].parent) {
		int l = e->k->regions[r].loop;
		if (l >= 0 && e->k->loops[l].kind == AXIS_LANE)
			bits |= axis_bit(e, l);
	}
	return bits;
}

static int segment_of(const struct kernel *k, int inst)
{
	const struct kinst *in = &k->insts[inst];

	if (in->op == K_LOAD && in->nsrc > 2)
		return kernel_src(k, inst, 2);
	if (in->op == K_STORE && in->nsrc > 3)
		return kernel_src(k, inst, 3);
	return K_NONE;
}

static bool mark_copied(struct emit *e)
{
	const struct kernel *k = e->k;
	bool any = false;

	for (int i = 0; i < k->n; i++) {
		const struct kinst *in = &k->insts[i];
		if (in->region < 0)
			continue;
		if (in->op == K_FOR && !replicating(&k->loops[in->aux]))
			any |= copy_axes(e, in->region, bounds_deps(e, in->aux));
		int seg = segment_of(k, i);
		if (seg != K_NONE)
			any |= copy_axes(e, in->region, e->values[seg].deps & lane_axes(e, in->region));
	}
	return any;
}

static bool may_narrow(int op)
{
	switch (op) {
	case K_AFFINE:
	case K_INDEX:
	case K_IDIV:
	case K_IMOD:
	case K_TABLE:
	case OP_CAST:
	case OP_SELECT:
	case OP_ADD:
	case OP_SUB:
	case OP_MUL:
	case OP_MAX:
	case OP_MIN:
		return true;
	default:
		return false;
	}
}

static void shape_values(struct emit *e)
{
	const struct kernel *k = e->k;

	for (int i = 0; i < k->n; i++) {
		const struct kinst *in = &k->insts[i];
		struct evalue *v = &e->values[i];
		int64_t combos = 1, lo, hi;
		if (in->region < 0)
			continue;
		for (int a = 0; a < EMIT_AXES; a++) {
			int l = v->deps >> a & 1 ? axis_loop(e, in->region, a) : -1;
			if (l < 0)
				continue;
			if (k->loops[l].kind == AXIS_LANE)
				v->lane = true;
			else
				combos *= e->loops[l].n;
			if (combos > 4096) {
				emit_fail(e, "a register tile of more than 4096 values");
				return;
			}
		}
		v->combos = (int)combos;
		v->v = ARENA_ARRAY(&e->arena, LLVMValueRef, combos);
		v->splat = ARENA_ARRAY(&e->arena, LLVMValueRef, combos);
		v->narrow = in->type == TGC_I64 && v->lane && may_narrow(in->op) &&
		            kernel_interval(k, i, &lo, &hi) && lo >= INT32_MIN && hi <= INT32_MAX;
	}
}

static bool is_index_operand(const struct kinst *in, int s)
{
	return (in->op == K_LOAD || in->op == K_STORE) && s == 0;
}

static void need_operands(struct emit *e, int inst)
{
	for (int s = 0; s < e->k->insts[inst].nsrc; s++)
		e->values[kernel_src(e->k, inst, s)].needed = true;
}

static void find_needed(struct emit *e)
{
	const struct kernel *k = e->k;

	for (int i = 0; i < k->n; i++) {
		const struct kinst *in = &k->insts[i];
		if (in->region < 0 || in->op == K_AFFINE)
			continue;
		for (int s = 0; s < in->nsrc; s++) {
			int v = kernel_src(k, i, s);
			if (v == K_NONE)
				continue;
			if (is_index_operand(in, s) && k->insts[v].op == K_AFFINE)
				need_operands(e, v);
			else
				e->values[v].needed = true;
		}
		if (in->op != K_FOR)
			continue;
		const struct kloop *l = &k->loops[in->aux];
		e->values[l->lo].needed = e->values[l->hi].needed = true;
		for (int c = 0; c < l->ncarry; c++)
			e->values[l->init[c]].needed = e->values[l->next[c]].needed = true;
	}
	for (int i = 0; i < k->n; i++)
		if (k->insts[i].region >= 0 && k->insts[i].op == K_AFFINE && e->values[i].needed)
			need_operands(e, i);
}

static void spread_operand(struct emit *e, int v)
{
	if (!e->values[v].lane && e->k->insts[v].op != K_CONST)
		e->values[v].spread = true;
}

static void find_spread(struct emit *e)
{
	const struct kernel *k = e->k;

	for (int i = 0; i < k->n; i++) {
		const struct kinst *in = &k->insts[i];
		if (in->region < 0)
			continue;
		if (in->op == K_STORE && lane_axes(e, in->region) & e->values[i].deps)
			spread_operand(e, kernel_src(k, i, 1));
		if (in->op < OP_COUNT && e->values[i].lane)
			for (int s = 0; s < in->nsrc; s++)
				spread_operand(e, kernel_src(k, i, s));
		if (in->op == K_RES && e->values[i].lane) {
			spread_operand(e, k->loops[in->aux].init[in->imm]);
			spread_operand(e, k->loops[in->aux].next[in->imm]);
		}
	}
}

void emit_analyse(struct emit *e)
{
	number_axes(e);
	if (e->error)
		return;
	do
		find_deps(e);
	while (mark_copied(e));
	shape_values(e);
	find_needed(e);
	find_spread(e);
}
