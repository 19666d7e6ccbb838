// Bounds and strides of index values.
// In:  an instruction whose operands are bounded already. Out: its bounds; strides; dependence on loops.
// Not here: what is done with them (kindex.c, kfold.c, verify.c).
#include "codegen.h"

struct span {
	int64_t lo, hi;
};

// Every value a type can hold; for u64 its bits as i64.
static struct span type_span(int type)
{
	switch (type) {
	case TGC_BOOL:
		return (struct span){0, 1};
	case TGC_I8:
		return (struct span){INT8_MIN, INT8_MAX};
	case TGC_I16:
		return (struct span){INT16_MIN, INT16_MAX};
	case TGC_I32:
		return (struct span){INT32_MIN, INT32_MAX};
	case TGC_U8:
		return (struct span){0, UINT8_MAX};
	case TGC_U16:
		return (struct span){0, UINT16_MAX};
	case TGC_U32:
		return (struct span){0, UINT32_MAX};
	default:
		return (struct span){INT64_MIN, INT64_MAX};
	}
}

static struct span of(const struct kernel *k, int v)
{
	return (struct span){k->insts[v].lo, k->insts[v].hi};
}

static bool add(struct span *s, struct span x)
{
	return !__builtin_add_overflow(s->lo, x.lo, &s->lo) && !__builtin_add_overflow(s->hi, x.hi, &s->hi);
}

static bool multiply(struct span x, struct span y, struct span *out)
{
	int64_t p[4];
	if (__builtin_mul_overflow(x.lo, y.lo, &p[0]) || __builtin_mul_overflow(x.lo, y.hi, &p[1]) ||
	    __builtin_mul_overflow(x.hi, y.lo, &p[2]) || __builtin_mul_overflow(x.hi, y.hi, &p[3]))
		return false;
	*out = (struct span){p[0], p[0]};
	for (int i = 1; i < 4; i++) {
		out->lo = p[i] < out->lo ? p[i] : out->lo;
		out->hi = p[i] > out->hi ? p[i] : out->hi;
	}
	return true;
}

static int64_t floor_div(int64_t x, int64_t c)
{
	return x / c - (x % c < 0);
}

static bool affine(const struct kernel *k, const struct kinst *in, struct span *out)
{
	struct span s = {in->imm, in->imm};
	for (int i = 0; i < in->nsrc; i++) {
		int64_t c = k->coefs[in->src_at + i];
		struct span term;
		if (!multiply(of(k, k->operands[in->src_at + i]), (struct span){c, c}, &term) || !add(&s, term))
			return false;
	}
	*out = s;
	return true;
}

static struct span index_span(const struct kernel *k, int loop)
{
	int64_t lo = k->insts[k->loops[loop].lo].lo, hi = k->insts[k->loops[loop].hi].hi;
	hi -= hi > INT64_MIN && hi != INT64_MAX;
	return (struct span){lo, hi < lo ? lo : hi}; // an empty loop: nothing happens with the index
}

static struct span table_span(const struct ktable *t)
{
	struct span s = {INT64_MAX, INT64_MIN};
	for (int i = 0; i < t->n; i++) {
		s.lo = t->values[i] < s.lo ? t->values[i] : s.lo;
		s.hi = t->values[i] > s.hi ? t->values[i] : s.hi;
	}
	return t->n ? s : (struct span){0, 0};
}

// Operations of the table on integers; false: nothing is known beyond the type.
static bool operation(const struct kernel *k, const struct kinst *in, struct span *out)
{
	struct span x[3] = {{0, 0}, {0, 0}, {0, 0}};
	for (int i = 0; i < in->nsrc && i < 3; i++) {
		int v = k->operands[in->src_at + i];
		if (type_is_float(k->insts[v].type))
			return false;
		x[i] = of(k, v);
	}
	struct span minus_one = {-1, -1};
	switch (in->op) {
	case OP_CAST:
		*out = x[0];
		return true;
	case OP_ADD:
		*out = x[0];
		return add(out, x[1]);
	case OP_SUB:
		*out = x[0];
		return multiply(x[1], minus_one, &x[1]) && add(out, x[1]);
	case OP_NEG:
		return multiply(x[0], minus_one, out);
	case OP_MUL:
		return multiply(x[0], x[1], out);
	case OP_MAX:
		*out =
		    (struct span){x[0].lo > x[1].lo ? x[0].lo : x[1].lo, x[0].hi > x[1].hi ? x[0].hi : x[1].hi};
		return true;
	case OP_MIN:
		*out =
		    (struct span){x[0].lo < x[1].lo ? x[0].lo : x[1].lo, x[0].hi < x[1].hi ? x[0].hi : x[1].hi};
		return true;
	case OP_SELECT:
		*out =
		    (struct span){x[1].lo < x[2].lo ? x[1].lo : x[2].lo, x[1].hi > x[2].hi ? x[1].hi : x[2].hi};
		return true;
	default:
		return false;
	}
}

void kernel_bounds(struct kernel *k, int v)
{
	struct kinst *in = &k->insts[v];
	struct span all = type_span(in->type), s = all, x;
	switch (in->op) {
	case K_CONST:
		s = (struct span){in->imm, in->imm};
		break;
	case K_INDEX:
		s = index_span(k, in->aux);
		break;
	case K_AFFINE:
		if (!affine(k, in, &s))
			s = all;
		break;
	case K_IDIV:
		x = of(k, k->operands[in->src_at]);
		s = (struct span){floor_div(x.lo, in->imm), floor_div(x.hi, in->imm)};
		break;
	case K_IMOD:
		s = (struct span){0, in->imm - 1};
		break;
	case K_TABLE:
		s = table_span(&k->tables[in->aux]);
		break;
	default:
		if (in->op < OP_COUNT && !type_is_float(in->type) && in->type != TGC_U64 &&
		    !operation(k, in, &s))
			s = all;
	}
	if (s.lo < all.lo || s.hi > all.hi || s.lo > s.hi) // it may have wrapped
		s = all;
	in->lo = s.lo;
	in->hi = s.hi;
}

bool kernel_interval(const struct kernel *k, int v, int64_t *lo, int64_t *hi)
{
	const struct kinst *in = &k->insts[v];
	*lo = in->lo;
	*hi = in->hi;
	return !type_is_float(in->type) && in->lo != INT64_MIN && in->hi != INT64_MAX;
}

// Index expressions share subterms, so the walk is bounded by a budget, not by depth.
static bool varies(const struct kernel *k, int v, int loop, int *budget)
{
	const struct kinst *in = &k->insts[v];
	if (--*budget < 0)
		return true;
	if (!kernel_region_within(k, in->region, k->loops[loop].body))
		return false;
	if (in->op == K_INDEX) {
		const struct kloop *l = &k->loops[in->aux];
		return in->aux == loop || varies(k, l->lo, loop, budget) || varies(k, l->hi, loop, budget);
	}
	if (in->op == K_ARG || in->op == K_RES || in->op == K_FOR)
		return true;
	for (int i = 0; i < in->nsrc; i++) {
		int s = k->operands[in->src_at + i];
		if (s != K_NONE && varies(k, s, loop, budget))
			return true;
	}
	return false;
}

bool kernel_stride(const struct kernel *k, int v, int loop, int64_t *stride)
{
	const struct kinst *in = &k->insts[v];
	int budget = 4096;
	*stride = 0;
	if (v == k->loops[loop].index) {
		*stride = 1;
		return true;
	}
	if (in->op != K_AFFINE)
		return !varies(k, v, loop, &budget);
	for (int i = 0; i < in->nsrc; i++) {
		int s = k->operands[in->src_at + i];
		if (s == k->loops[loop].index)
			*stride += k->coefs[in->src_at + i];
		else if (varies(k, s, loop, &budget))
			return false;
	}
	return true;
}

static bool any_dependent(const struct kernel *k, const struct kinst *in, const bool *dep)
{
	for (int i = 0; i < in->nsrc; i++) {
		int s = k->operands[in->src_at + i];
		if (s != K_NONE && dep[s])
			return true;
	}
	return false;
}

// One sweep over a region and those nested in it; true if something new was found. Loads from scratch that
// depends on the loop are not seen through memory: scratch is per iteration by its index.
static bool sweep(const struct kernel *k, int region, bool *dep)
{
	bool grew = false;
	const struct kregion *r = &k->regions[region];
	for (int i = 0; i < r->n; i++) {
		int v = r->insts[i];
		const struct kinst *in = &k->insts[v];
		bool d = dep[v];
		if (in->op == K_FOR) {
			const struct kloop *l = &k->loops[in->aux];
			bool range = dep[l->lo] || dep[l->hi];
			for (int c = 0; c < l->ncarry; c++)
				dep[l->arg[c]] |= range || dep[l->init[c]] || dep[l->next[c]];
			dep[l->index] |= range;
			grew |= sweep(k, l->body, dep);
			for (int c = 0; c < l->ncarry; c++)
				dep[l->res[c]] |= range || dep[l->init[c]] || dep[l->next[c]];
		} else if (in->op != K_INDEX && in->op != K_ARG && in->op != K_RES) {
			d |= any_dependent(k, in, dep);
		}
		grew |= d != dep[v];
		dep[v] = d;
	}
	return grew;
}

void kernel_depends(const struct kernel *k, int loop, bool *dep)
{
	const struct kloop *l = &k->loops[loop];
	memset(dep, 0, sizeof *dep * (size_t)k->n);
	dep[l->index] = true;
	if (l->kind == AXIS_SERIAL || l->kind == AXIS_RED)
		for (int c = 0; c < l->ncarry; c++)
			dep[l->arg[c]] = true;
	while (sweep(k, l->body, dep))
		;
}

static uint32_t operand_axes(const struct kernel *k, const struct kinst *in, const uint32_t *axes)
{
	uint32_t bits = 0;
	for (int i = 0; i < in->nsrc; i++) {
		int v = k->operands[in->src_at + i];
		bits |= v == K_NONE ? 0 : axes[v];
	}
	return bits;
}

static uint32_t loop_value_axes(const struct kernel *k, const struct kinst *in, const uint32_t *axis,
                                const uint32_t *axes)
{
	const struct kloop *l = &k->loops[in->aux];
	uint32_t bounds = axes[l->lo] | axes[l->hi];
	if (in->op == K_INDEX)
		return axis[in->aux] | bounds;
	return (axes[l->init[in->imm]] | axes[l->next[in->imm]] | bounds) & ~axis[in->aux];
}

// A least fixed point: sets only grow, and carries feed back.
void kernel_axes(const struct kernel *k, const uint32_t *axis, uint32_t *axes)
{
	memset(axes, 0, sizeof *axes * (size_t)k->n);
	for (bool changed = true; changed;) {
		changed = false;
		for (int i = 0; i < k->n; i++) {
			const struct kinst *in = &k->insts[i];
			bool of_loop = in->op == K_INDEX || in->op == K_ARG || in->op == K_RES;
			if (in->region < 0 || in->op == K_FOR)
				continue;
			uint32_t bits = of_loop ? loop_value_axes(k, in, axis, axes) : operand_axes(k, in, axes);
			changed |= (bits | axes[i]) != axes[i];
			axes[i] |= bits;
		}
	}
}
