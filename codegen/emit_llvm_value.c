// The values of kernel instructions: types, constants, broadcasts, affine index values, reduction trees.
// In:  instructions whose operands were emitted. Out: LLVM values, by combination of unroll indices.
// Not here: elementwise instructions (emit_llvm_op.c), memory.
#include "emit_llvm.h"

void emit_fail(struct emit *e, const char *error)
{
	if (!e->error)
		e->error = error;
}

// ---- types and constants ----

LLVMTypeRef emit_type(const struct emit *e, tgc_type t)
{
	switch (t) {
	case TGC_F64:
		return LLVMDoubleTypeInContext(e->c);
	case TGC_F32:
		return LLVMFloatTypeInContext(e->c);
	case TGC_F16:
	case TGC_BF16:
		return LLVMInt16TypeInContext(e->c);
	case TGC_BOOL:
		return e->i1;
	default:
		return LLVMIntTypeInContext(e->c, (unsigned)tgc_type_bytes(t) * 8);
	}
}

LLVMTypeRef emit_memory_type(const struct emit *e, tgc_type t)
{
	return t == TGC_BOOL ? e->i8 : emit_type(e, t);
}

LLVMTypeRef emit_vector_of(LLVMTypeRef element, int lanes)
{
	return lanes <= 1 ? element : LLVMVectorType(element, (unsigned)lanes);
}

int emit_lanes_of(LLVMValueRef x)
{
	LLVMTypeRef t = LLVMTypeOf(x);
	return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? (int)LLVMGetVectorSize(t) : 1;
}

LLVMTypeRef emit_like(LLVMTypeRef element, LLVMValueRef x)
{
	return emit_vector_of(element, emit_lanes_of(x));
}

LLVMValueRef emit_int(const struct emit *e, int64_t v)
{
	return LLVMConstInt(e->i64, (unsigned long long)v, 1);
}

LLVMValueRef emit_const(const struct emit *e, tgc_type t, union number v)
{
	LLVMTypeRef type = emit_type(e, t);

	if (t == TGC_F16)
		return LLVMConstBitCast(LLVMConstReal(LLVMHalfTypeInContext(e->c), v.f), type);
	if (t == TGC_BF16)
		return LLVMConstBitCast(LLVMConstReal(LLVMBFloatTypeInContext(e->c), v.f), type);
	if (type_is_float(t))
		return LLVMConstReal(type, v.f);
	return LLVMConstInt(type, (unsigned long long)v.i, 1);
}

static LLVMValueRef const_splat(LLVMValueRef x, int lanes)
{
	LLVMValueRef all[EMIT_MAX_LANES];

	for (int i = 0; i < lanes; i++)
		all[i] = x;
	return lanes <= 1 ? x : LLVMConstVector(all, (unsigned)lanes);
}

LLVMValueRef emit_const_like(LLVMValueRef element, LLVMValueRef x)
{
	return const_splat(element, emit_lanes_of(x));
}

static LLVMTypeRef element_of(LLVMTypeRef t, int *lanes)
{
	bool vector = LLVMGetTypeKind(t) == LLVMVectorTypeKind;
	*lanes = vector ? (int)LLVMGetVectorSize(t) : 1;
	return vector ? LLVMGetElementType(t) : t;
}

LLVMValueRef emit_fconst(LLVMTypeRef t, double v)
{
	int lanes;
	LLVMTypeRef element = element_of(t, &lanes);
	return const_splat(LLVMConstReal(element, v), lanes);
}

LLVMValueRef emit_iconst(LLVMTypeRef t, int64_t v)
{
	int lanes;
	LLVMTypeRef element = element_of(t, &lanes);
	return const_splat(LLVMConstInt(element, (unsigned long long)v, 1), lanes);
}

LLVMValueRef emit_iota(LLVMTypeRef element, int n, int64_t step)
{
	LLVMValueRef all[EMIT_MAX_LANES];

	for (int i = 0; i < n; i++)
		all[i] = LLVMConstInt(element, (unsigned long long)(i * step), 1);
	return n <= 1 ? all[0] : LLVMConstVector(all, (unsigned)n);
}

LLVMValueRef emit_splat(struct emit *e, LLVMValueRef x, int lanes)
{
	LLVMTypeRef t = LLVMTypeOf(x);

	if (lanes <= 1 || LLVMGetTypeKind(t) == LLVMVectorTypeKind)
		return x;
	if (LLVMIsConstant(x))
		return const_splat(x, lanes);
	LLVMTypeRef vector = LLVMVectorType(t, (unsigned)lanes);
	LLVMValueRef none = LLVMGetPoison(vector);
	LLVMValueRef one = LLVMBuildInsertElement(e->b, none, x, LLVMConstInt(e->i32, 0, 0), "");
	LLVMValueRef all_first = LLVMConstNull(LLVMVectorType(e->i32, (unsigned)lanes));
	return LLVMBuildShuffleVector(e->b, one, none, all_first, "");
}

bool emit_all_true(LLVMValueRef mask)
{
	return LLVMIsConstant(mask) && mask == LLVMConstAllOnes(LLVMTypeOf(mask));
}

LLVMValueRef emit_intrinsic(struct emit *e, const char *name, int ntypes, LLVMTypeRef *types, int n,
                            LLVMValueRef *args)
{
	unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
	assert(id);
	LLVMValueRef f = LLVMGetIntrinsicDeclaration(e->m, id, types, (size_t)ntypes);
	LLVMTypeRef ft = LLVMIntrinsicGetType(e->c, id, types, (size_t)ntypes);
	return LLVMBuildCall2(e->b, ft, f, args, (unsigned)n, "");
}

// ---- combinations of unroll indices ----

bool emit_next(const struct emit *e, uint32_t deps, struct ecombo *c)
{
	for (int a = EMIT_AXES - 1; a >= 0; a--) {
		if (!(deps >> a & 1))
			continue;
		if (++c->i[a] < e->extent[a])
			return true;
		c->i[a] = 0;
	}
	return false;
}

int emit_slot(const struct emit *e, uint32_t deps, const struct ecombo *c)
{
	int slot = 0;

	for (int a = 0; a < EMIT_AXES; a++)
		if (deps >> a & 1)
			slot = slot * (int)e->extent[a] + c->i[a];
	return slot;
}

// ---- values ----

static LLVMValueRef held(struct emit *e, int v, const struct ecombo *c)
{
	const struct kinst *in = &e->k->insts[v];
	const struct evalue *x = &e->values[v];

	if (in->op == K_CONST)
		return emit_const(e, in->type, (union number){.i = in->imm});
	if (in->op == K_SCALAR)
		return e->scalars[in->aux];
	if (in->op == K_INDEX && e->loops[in->aux].copied)
		return emit_int(e, e->loops[in->aux].index);
	if (in->op == K_INDEX && emit_replicates(e, in->aux)) {
		if (x->lane)
			return emit_iota(x->narrow ? e->i32 : e->i64, e->lanes, 1);
		return emit_int(e, c->i[e->loops[in->aux].axis]);
	}
	LLVMValueRef r = x->v[emit_slot(e, x->deps, c)];
	assert(r);
	return r;
}

static LLVMValueRef resize(struct emit *e, LLVMValueRef x, bool narrow)
{
	LLVMTypeRef to = emit_like(narrow ? e->i32 : e->i64, x);
	if (LLVMTypeOf(x) == to)
		return x;
	return narrow ? LLVMBuildTrunc(e->b, x, to, "") : LLVMBuildSExt(e->b, x, to, "");
}

LLVMValueRef emit_fetch(struct emit *e, int v, const struct ecombo *c, bool lane, bool narrow)
{
	const struct evalue *x = &e->values[v];
	LLVMValueRef r = held(e, v, c);

	if (lane && !x->lane && !narrow && x->splat && x->splat[emit_slot(e, x->deps, c)])
		return x->splat[emit_slot(e, x->deps, c)];
	if (e->k->insts[v].type == TGC_I64 && narrow != x->narrow)
		r = resize(e, r, narrow);
	return lane ? emit_splat(e, r, e->lanes) : r;
}

LLVMValueRef emit_fetch_for(struct emit *e, int v, const struct ecombo *c, int user)
{
	const struct evalue *u = &e->values[user];
	return emit_fetch(e, v, c, u->lane, u->narrow && e->k->insts[v].type == TGC_I64);
}

void emit_define(struct emit *e, int v, const struct ecombo *c, LLVMValueRef x)
{
	struct evalue *to = &e->values[v];
	int slot = emit_slot(e, to->deps, c);

	to->v[slot] = x;
	if (to->spread)
		to->splat[slot] = e->lanes > 1 ? emit_splat(e, x, e->lanes) : NULL;
}

void emit_spread(struct emit *e, int v)
{
	struct evalue *x = &e->values[v];

	for (int i = 0; i < x->combos; i++)
		x->splat[i] = x->v[i] ? emit_splat(e, x->v[i], e->lanes) : NULL;
}

// ---- affine index values ----

static bool is_unrolled_index(const struct emit *e, int v)
{
	const struct kinst *in = &e->k->insts[v];
	return in->op == K_INDEX && emit_replicates(e, in->aux) && !e->values[v].lane;
}

static LLVMValueRef add_scaled(struct emit *e, LLVMValueRef sum, LLVMValueRef x, int64_t coef)
{
	if (coef != 1)
		x = LLVMBuildMul(e->b, x, emit_iconst(LLVMTypeOf(x), coef), "");
	return sum ? LLVMBuildAdd(e->b, sum, x, "") : x;
}

// Terms of one kind: 0 the same everywhere, 1 differing by unroll index, 2 by lane. NULL: none.
static LLVMValueRef add_terms(struct emit *e, int inst, int kind, const struct ecombo *c, int64_t *imm)
{
	const struct kernel *k = e->k;
	const struct kinst *in = &k->insts[inst];
	LLVMValueRef sum = NULL;

	for (int s = 0; s < in->nsrc; s++) {
		int v = kernel_src(k, inst, s);
		int64_t coef = k->coefs[in->src_at + s];
		const struct evalue *x = &e->values[v];
		if ((x->lane ? 2 : x->deps ? 1 : 0) != kind)
			continue;
		if (is_unrolled_index(e, v))
			*imm += coef * c->i[e->loops[k->insts[v].aux].axis];
		else
			sum = add_scaled(e, sum, emit_fetch(e, v, c, kind == 2, e->values[inst].narrow), coef);
	}
	return sum;
}

void emit_affine(struct emit *e, int inst)
{
	const struct evalue *x = &e->values[inst];
	struct ecombo c = {0};
	int64_t none = 0;

	if (!x->needed)
		return;
	LLVMValueRef uniform = add_terms(e, inst, 0, &c, &none);
	do {
		int64_t imm = e->k->insts[inst].imm;
		LLVMValueRef own = add_terms(e, inst, 1, &c, &imm), r = uniform;
		if (own)
			r = add_scaled(e, r, own, 1);
		if (imm || !r)
			r = add_scaled(e, r, emit_iconst(x->narrow ? e->i32 : e->i64, imm), 1);
		if (x->lane)
			r = add_scaled(e, emit_splat(e, r, e->lanes), add_terms(e, inst, 2, &c, &none), 1);
		emit_define(e, inst, &c, r);
	} while (emit_next(e, x->deps, &c));
}

// ---- reduction trees ----
// n values pair i with i + half, half = n / 2 rounded up, until one is left.

static LLVMValueRef combine(struct emit *e, int op, tgc_type t, LLVMValueRef x, LLVMValueRef y)
{
	LLVMValueRef both[2] = {x, y};
	return emit_op(e, op, t, both);
}

LLVMValueRef emit_tree(struct emit *e, int op, tgc_type t, int n, LLVMValueRef *x)
{
	while (n > 1) {
		int half = (n + 1) / 2;
		for (int i = 0; i + half < n; i++)
			x[i] = combine(e, op, t, x[i], x[i + half]);
		n = half;
	}
	return x[0];
}

LLVMValueRef emit_part(struct emit *e, LLVMValueRef x, int from, int n)
{
	LLVMValueRef mask[EMIT_MAX_LANES];

	for (int i = 0; i < n; i++)
		mask[i] = LLVMConstInt(e->i32, (unsigned)(from + i), 0);
	if (n == 1)
		return LLVMBuildExtractElement(e->b, x, mask[0], "");
	return LLVMBuildShuffleVector(e->b, x, LLVMGetPoison(LLVMTypeOf(x)), LLVMConstVector(mask, (unsigned)n),
	                              "");
}

LLVMValueRef emit_lane_tree(struct emit *e, int op, tgc_type t, LLVMValueRef x, int n)
{
	if (n & (n - 1)) {
		LLVMValueRef all[EMIT_MAX_LANES];
		for (int i = 0; i < n; i++)
			all[i] = emit_part(e, x, i, 1);
		return emit_tree(e, op, t, n, all);
	}
	for (; n > 1; n /= 2)
		x = combine(e, op, t, emit_part(e, x, 0, n / 2), emit_part(e, x, n / 2, n / 2));
	return x;
}
