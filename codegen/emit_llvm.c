// The LLVM emitter: phases, regions and loops.
// In:  a kernel at the machine level, expanded. Out: an LLVM module with one function a phase.
// Not here: what varies over what (emit_llvm_analyse.c), values, memory, object code.
#include "emit_llvm.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/DebugInfo.h>
#include <stdlib.h>

// ---- loops that are emitted as loops ----

struct eserial {
	const struct kloop *l;
	LLVMValueRef lo, hi;
	bool guarded;
	LLVMBasicBlockRef before, body, after;
	LLVMValueRef index;
	LLVMValueRef **init, **phi; // by carry, combination
};

static bool known_nonempty(const struct kernel *k, const struct kloop *l)
{
	int64_t lo, lo_max, hi_min, hi;

	return l->kind != AXIS_BLOCK && kernel_interval(k, l->lo, &lo, &lo_max) &&
	       kernel_interval(k, l->hi, &hi_min, &hi) && lo_max < hi_min;
}

static void carry_inits(struct emit *e, struct eserial *s, int i)
{
	int arg = s->l->arg[i];
	struct ecombo c = {0};
	int n = 0;

	s->init[i] = ARENA_ARRAY(&e->arena, LLVMValueRef, e->values[arg].combos);
	s->phi[i] = ARENA_ARRAY(&e->arena, LLVMValueRef, e->values[arg].combos);
	if (e->arena.failed)
		return;
	do
		s->init[i][n++] = emit_fetch_for(e, s->l->init[i], &c, arg);
	while (emit_next(e, e->values[arg].deps, &c));
}

static LLVMValueRef phi_of(struct emit *e, LLVMValueRef from, LLVMBasicBlockRef block)
{
	LLVMValueRef phi = LLVMBuildPhi(e->b, LLVMTypeOf(from), "");
	LLVMAddIncoming(phi, &from, &block, 1);
	return phi;
}

static void define_all(struct emit *e, int v, LLVMValueRef *x)
{
	struct ecombo c = {0};
	int n = 0;

	do
		emit_define(e, v, &c, x[n++]);
	while (emit_next(e, e->values[v].deps, &c));
}

static void open_serial(struct emit *e, struct eserial *s)
{
	s->before = LLVMGetInsertBlock(e->b);
	s->body = LLVMAppendBasicBlockInContext(e->c, e->fn, "loop");
	s->after = LLVMAppendBasicBlockInContext(e->c, e->fn, "after");
	LLVMValueRef branch;
	if (s->guarded)
		branch =
		    LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, s->lo, s->hi, ""), s->body, s->after);
	else
		branch = LLVMBuildBr(e->b, s->body);
	LLVMPositionBuilderAtEnd(e->b, s->body);
	s->index = phi_of(e, s->lo, s->before);
	for (int i = 0; i < s->l->ncarry; i++)
		for (int n = 0; n < e->values[s->l->arg[i]].combos; n++)
			s->phi[i][n] = phi_of(e, s->init[i][n], s->before);
	emit_scope_open(e, s->l->body, branch);
	define_all(e, s->l->index, &s->index);
	for (int i = 0; i < s->l->ncarry; i++)
		define_all(e, s->l->arg[i], s->phi[i]);
}

static void close_carry(struct emit *e, struct eserial *s, int i, LLVMBasicBlockRef latch, LLVMValueRef *next)
{
	struct ecombo c = {0};
	int n = 0;

	do {
		next[n] = emit_fetch_for(e, s->l->next[i], &c, s->l->arg[i]);
		LLVMAddIncoming(s->phi[i][n], &next[n], &latch, 1);
		n++;
	} while (emit_next(e, e->values[s->l->arg[i]].deps, &c));
}

// The value after the loop, which may have been left out.
static void merge_empty(struct emit *e, struct eserial *s, int i, LLVMBasicBlockRef latch, LLVMValueRef *next)
{
	if (!s->guarded)
		return;
	for (int n = 0; n < e->values[s->l->arg[i]].combos; n++) {
		LLVMValueRef phi = phi_of(e, s->init[i][n], s->before);
		LLVMAddIncoming(phi, &next[n], &latch, 1);
		next[n] = phi;
	}
}

// A short loop begins a line of the instruction cache: a processor takes decoded instructions a line at a time, and
// with another thread on the core every second cycle only.
static void align_loop(struct emit *e, LLVMValueRef again)
{
	enum { LINE = 64 };
	LLVMMetadataRef place = LLVMTemporaryMDNode(e->c, NULL, 0);
	LLVMMetadataRef align[] = {LLVMMDStringInContext2(e->c, "llvm.loop.align", 15),
	                           LLVMValueAsMetadata(LLVMConstInt(e->i32, LINE, 0))};
	LLVMMetadataRef loop[] = {place, LLVMMDNodeInContext2(e->c, align, 2)}; // a loop's first operand is itself
	loop[0] = LLVMMDNodeInContext2(e->c, loop, 2);
	LLVMMetadataReplaceAllUsesWith(place, loop[0]);
	LLVMSetMetadata(again, LLVMGetMDKindIDInContext(e->c, "llvm.loop", 9), LLVMMetadataAsValue(e->c, loop[0]));
}

static void close_serial(struct emit *e, struct eserial *s)
{
	const struct kloop *l = s->l;
	LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->b);
	LLVMValueRef **next = ARENA_ARRAY(&e->arena, LLVMValueRef *, l->ncarry + 1);

	for (int i = 0; next && i < l->ncarry; i++) {
		next[i] = ARENA_ARRAY(&e->arena, LLVMValueRef, e->values[l->arg[i]].combos);
		if (next[i])
			close_carry(e, s, i, latch, next[i]);
	}
	LLVMValueRef step = LLVMBuildNSWAdd(e->b, s->index, emit_int(e, 1), "");
	LLVMAddIncoming(s->index, &step, &latch, 1);
	LLVMValueRef again =
	    LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, step, s->hi, ""), s->body, s->after);
	if (latch == s->body)
		align_loop(e, again);
	emit_scope_close(e);
	LLVMPositionBuilderAtEnd(e->b, s->after);
	if (e->arena.failed)
		return;
	for (int i = 0; i < l->ncarry; i++)
		merge_empty(e, s, i, latch, next[i]);
	for (int i = 0; i < l->ncarry; i++)
		define_all(e, l->res[i], next[i]);
}

static void emit_region(struct emit *e, int region);

static void emit_serial(struct emit *e, int loop)
{
	const struct kloop *l = &e->k->loops[loop];
	struct ecombo none = {0};
	struct eserial s = {.l = l, .guarded = !known_nonempty(e->k, l)};

	s.init = ARENA_ARRAY(&e->arena, LLVMValueRef *, l->ncarry + 1);
	s.phi = ARENA_ARRAY(&e->arena, LLVMValueRef *, l->ncarry + 1);
	s.lo = emit_fetch(e, l->lo, &none, false, false);
	s.hi = emit_fetch(e, l->hi, &none, false, false);
	if (l->kind == AXIS_BLOCK) { // the caller says which part of lo..hi
		s.hi = LLVMBuildAdd(e->b, s.lo, LLVMGetParam(e->fn, 2), "");
		s.lo = LLVMBuildAdd(e->b, s.lo, LLVMGetParam(e->fn, 1), "");
	}
	for (int i = 0; !e->arena.failed && i < l->ncarry; i++)
		carry_inits(e, &s, i);
	if (e->arena.failed)
		return;
	emit_ahead(e, loop);
	open_serial(e, &s);
	emit_next_rows(e, loop, s.index, s.hi);
	emit_region(e, l->body);
	close_serial(e, &s);
}

// ---- loops whose iterations stand side by side ----

// What is defined outside of a lane loop and read as a vector inside.
static void spread_outer(struct emit *e, int region, int body)
{
	const struct kernel *k = e->k;
	const struct kregion *r = &k->regions[region];

	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		for (int s = 0; s < in->nsrc && in->op < OP_COUNT; s++) {
			int v = kernel_src(k, r->insts[i], s);
			if (e->values[r->insts[i]].lane && e->values[v].spread &&
			    !kernel_region_within(k, k->insts[v].region, body))
				emit_spread(e, v);
		}
		if (in->op == K_FOR)
			spread_outer(e, k->loops[in->aux].body, body);
	}
}

static void forget_spread(struct emit *e)
{
	for (int i = 0; i < e->k->n; i++)
		for (int c = 0; e->values[i].spread && c < e->values[i].combos; c++)
			e->values[i].splat[c] = NULL;
}

static LLVMValueRef over_lanes(struct emit *e, const struct kloop *l, int i, const struct ecombo *c)
{
	const struct kinst *in = &e->k->insts[l->res[i]];
	LLVMValueRef x = emit_fetch(e, l->next[i], c, true, false);
	return e->lanes > 1 ? emit_lane_tree(e, l->combine[i], in->type, x, e->lanes) : x;
}

static LLVMValueRef over_copies(struct emit *e, int loop, int i, struct ecombo c)
{
	const struct kloop *l = &e->k->loops[loop];
	int axis = e->loops[loop].axis, n = (int)e->loops[loop].n;
	LLVMValueRef *x = ARENA_ARRAY(&e->arena, LLVMValueRef, n);

	for (int j = 0; x && j < n; j++) {
		c.i[axis] = j;
		x[j] = emit_fetch(e, l->next[i], &c, e->values[l->res[i]].lane, false);
	}
	return x ? emit_tree(e, l->combine[i], e->k->insts[l->res[i]].type, n, x) : NULL;
}

static LLVMValueRef with_init(struct emit *e, const struct kloop *l, int i, LLVMValueRef tree,
                              const struct ecombo *c)
{
	LLVMValueRef both[2] = {emit_fetch(e, l->init[i], c, e->values[l->res[i]].lane, false), tree};
	return emit_op(e, l->combine[i], e->k->insts[l->res[i]].type, both);
}

static void emit_lanes(struct emit *e, int loop)
{
	const struct kloop *l = &e->k->loops[loop];
	int axis = e->loops[loop].axis;

	e->lanes = (int)e->loops[loop].n;
	e->extent[axis] = 1;
	e->turned = false;
	spread_outer(e, l->body, l->body);
	emit_region(e, l->body);
	LLVMValueRef **trees = ARENA_ARRAY(&e->arena, LLVMValueRef *, l->ncarry + 1);
	for (int i = 0; trees && i < l->ncarry; i++) {
		struct ecombo c = {0};
		int n = 0;
		trees[i] = ARENA_ARRAY(&e->arena, LLVMValueRef, e->values[l->res[i]].combos);
		do
			trees[i][n++] = trees[i] ? with_init(e, l, i, over_lanes(e, l, i, &c), &c) : NULL;
		while (trees[i] && emit_next(e, e->values[l->res[i]].deps, &c));
	}
	forget_spread(e);
	e->lanes = 0;
	for (int i = 0; !e->arena.failed && i < l->ncarry; i++)
		define_all(e, l->res[i], trees[i]);
}

static void emit_unrolled(struct emit *e, int loop)
{
	const struct kloop *l = &e->k->loops[loop];

	e->extent[e->loops[loop].axis] = e->loops[loop].n;
	emit_region(e, l->body);
	for (int i = 0; !e->arena.failed && i < l->ncarry; i++) {
		struct ecombo c = {0};
		do {
			LLVMValueRef tree = over_copies(e, loop, i, c);
			if (tree)
				emit_define(e, l->res[i], &c, with_init(e, l, i, tree, &c));
		} while (emit_next(e, e->values[l->res[i]].deps, &c));
	}
}

// Once an index, because a loop inside has its own bounds for each.
static void emit_copied(struct emit *e, int loop)
{
	const struct kloop *l = &e->k->loops[loop];
	int n = (int)e->loops[loop].n, most = 1;

	for (int i = 0; i < l->ncarry; i++)
		most = e->values[l->res[i]].combos > most ? e->values[l->res[i]].combos : most;
	LLVMValueRef *next = ARENA_ARRAY(&e->arena, LLVMValueRef, (int64_t)n * most * l->ncarry + n);
	if (!next)
		return;
	LLVMValueRef *one = next + (int64_t)n * most * l->ncarry;
	for (int j = 0; j < n; j++) {
		e->loops[loop].index = j;
		emit_scope_open(e, l->body, NULL);
		emit_region(e, l->body);
		for (int i = 0; i < l->ncarry; i++) {
			struct ecombo c = {0};
			int at = 0;
			do
				next[((int64_t)i * most + at++) * n + j] =
				    emit_fetch(e, l->next[i], &c, e->values[l->res[i]].lane, false);
			while (emit_next(e, e->values[l->res[i]].deps, &c));
		}
		emit_scope_close(e);
	}
	for (int i = 0; i < l->ncarry; i++) {
		struct ecombo c = {0};
		int at = 0;
		do {
			memcpy(one, &next[((int64_t)i * most + at++) * n], sizeof *one * (size_t)n);
			LLVMValueRef tree = emit_tree(e, l->combine[i], e->k->insts[l->res[i]].type, n, one);
			emit_define(e, l->res[i], &c, with_init(e, l, i, tree, &c));
		} while (emit_next(e, e->values[l->res[i]].deps, &c));
	}
}

static void emit_for(struct emit *e, int loop)
{
	enum axis_kind kind = e->k->loops[loop].kind;

	if (kind == AXIS_BLOCK || kind == AXIS_SERIAL)
		emit_serial(e, loop);
	else if (kind != AXIS_LANE && kind != AXIS_UNROLL)
		emit_fail(e, "a free loop at the machine level");
	else if (e->loops[loop].copied)
		emit_copied(e, loop);
	else if (kind == AXIS_LANE)
		emit_lanes(e, loop);
	else
		emit_unrolled(e, loop);
}

// ---- instructions ----

static LLVMValueRef as_kept(struct emit *e, const struct evalue *v, LLVMValueRef r)
{
	bool small = LLVMTypeOf(r) == emit_like(e->i32, r);

	if (small == v->narrow)
		return r;
	LLVMTypeRef t = emit_like(small ? e->i64 : e->i32, r);
	return small ? LLVMBuildSExt(e->b, r, t, "") : LLVMBuildTrunc(e->b, r, t, "");
}

// Floor semantics; the dividend is known to be >= 0 mostly.
static LLVMValueRef divide(struct emit *e, int op, LLVMValueRef x, int64_t by, bool natural)
{
	LLVMValueRef d = emit_iconst(LLVMTypeOf(x), by), zero = LLVMConstNull(LLVMTypeOf(x));

	if (natural)
		return LLVMBuildBinOp(e->b, op == K_IDIV ? LLVMUDiv : LLVMURem, x, d, "");
	LLVMValueRef rem = LLVMBuildSRem(e->b, x, d, "");
	LLVMValueRef below = LLVMBuildICmp(e->b, LLVMIntSLT, rem, zero, "");
	if (op == K_IMOD)
		return LLVMBuildSelect(e->b, below, LLVMBuildAdd(e->b, rem, d, ""), rem, "");
	LLVMValueRef q = LLVMBuildSDiv(e->b, x, d, "");
	return LLVMBuildAdd(e->b, q, LLVMBuildSExt(e->b, below, LLVMTypeOf(q), ""), "");
}

static void emit_divide(struct emit *e, int inst)
{
	const struct kinst *in = &e->k->insts[inst];
	const struct evalue *v = &e->values[inst];
	int x = kernel_src(e->k, inst, 0);
	int64_t lo = INT64_MIN, hi = INT64_MAX;
	bool known = kernel_interval(e->k, x, &lo, &hi);
	bool small = v->lane && known && lo >= INT32_MIN && hi <= INT32_MAX && in->imm <= INT32_MAX;
	struct ecombo c = {0};

	do {
		LLVMValueRef r = emit_fetch(e, x, &c, v->lane, small);
		r = divide(e, in->op, r, in->imm, known && lo >= 0);
		emit_define(e, inst, &c, as_kept(e, v, r));
	} while (emit_next(e, v->deps, &c));
}

static bool all_narrow(const struct emit *e, int inst)
{
	for (int s = 0; s < e->k->insts[inst].nsrc; s++) {
		int v = kernel_src(e->k, inst, s);
		int64_t lo, hi;
		if (e->k->insts[v].type != TGC_I64)
			continue;
		if (!kernel_interval(e->k, v, &lo, &hi) || lo < INT32_MIN || hi > INT32_MAX)
			return false;
	}
	return true;
}

static tgc_type kept_as(tgc_type t, bool narrow)
{
	return t == TGC_I64 && narrow ? TGC_I32 : t;
}

static LLVMValueRef computed(struct emit *e, int inst, LLVMValueRef *x, bool small)
{
	const struct kernel *k = e->k;
	const struct kinst *in = &k->insts[inst];
	tgc_type from = kept_as(k->insts[kernel_src(k, inst, in->nsrc - 1)].type, small);

	if (in->op == OP_CAST)
		return emit_cast(e, from, kept_as(in->type, e->values[inst].narrow), x[0]);
	if (in->op == OP_BITCAST)
		return LLVMBuildBitCast(e->b, x[0], emit_like(emit_type(e, in->type), x[0]), "");
	return emit_op(e, in->op, from, x);
}

// Lanes of i64 are computed in i32 where operands and result fit.
static void emit_elementwise(struct emit *e, int inst)
{
	const struct kinst *in = &e->k->insts[inst];
	const struct evalue *v = &e->values[inst];
	bool small =
	    v->lane && in->op != OP_BITCAST && (v->narrow || in->type != TGC_I64) && all_narrow(e, inst);
	LLVMValueRef x[3];
	struct ecombo c = {0};

	assert(in->nsrc >= 1 && in->nsrc <= 3);
	do {
		for (int s = 0; s < in->nsrc; s++) {
			int from = kernel_src(e->k, inst, s);
			x[s] = emit_fetch(e, from, &c, v->lane, small && e->k->insts[from].type == TGC_I64);
		}
		LLVMValueRef r = computed(e, inst, x, small);
		emit_define(e, inst, &c, in->type == TGC_I64 ? as_kept(e, v, r) : r);
	} while (emit_next(e, v->deps, &c));
}

void emit_inst(struct emit *e, int inst)
{
	const struct kinst *in = &e->k->insts[inst];
	struct ecombo none = {0};

	if (in->op == K_FOR)
		emit_for(e, in->aux);
	else if (in->op == K_STORE)
		emit_store(e, inst);
	else if (!e->values[inst].needed || in->op == K_CONST || in->op == K_INDEX || in->op == K_ARG ||
	         in->op == K_RES)
		return;
	else if (in->op == K_SCALAR)
		emit_define(e, inst, &none, e->scalars[in->aux]);
	else if (in->op == K_AFFINE)
		emit_affine(e, inst);
	else if (in->op == K_IDIV || in->op == K_IMOD)
		emit_divide(e, inst);
	else if (in->op == K_LOAD)
		emit_load(e, inst);
	else if (in->op == K_TABLE)
		emit_table(e, inst);
	else
		emit_elementwise(e, inst);
}

// Recursion follows the nesting of loops, which is small.
static void emit_region(struct emit *e, int region)
{
	const struct kregion *r = &e->k->regions[region];

	for (int i = 0; i < r->n && !e->error && !e->arena.failed; i++)
		emit_inst(e, r->insts[i]);
}

// ---- phases ----

static void text_attribute(struct emit *e, const char *key, const char *value)
{
	LLVMAttributeRef a =
	    LLVMCreateStringAttribute(e->c, key, (unsigned)strlen(key), value, (unsigned)strlen(value));
	LLVMAddAttributeAtIndex(e->fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, a);
}

static void set_attributes(struct emit *e)
{
	unsigned nounwind = LLVMGetEnumAttributeKindForName("nounwind", 8);
	char *cpu = emit_cpu(e->t), *features = emit_features(e->t), width[16];

	LLVMAddAttributeAtIndex(e->fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
	                        LLVMCreateEnumAttribute(e->c, nounwind, 0));
	snprintf(width, sizeof width, "%d", e->t->vector_bytes * 8);
	text_attribute(e, "prefer-vector-width", width);
	if (cpu)
		text_attribute(e, "target-cpu", cpu);
	if (features)
		text_attribute(e, "target-features", features);
	free(cpu);
	free(features);
}

static LLVMValueRef load_arg(struct emit *e, int i)
{
	LLVMValueRef at = emit_int(e, i);
	return LLVMBuildLoad2(e->b, e->ptr, LLVMBuildGEP2(e->b, e->ptr, LLVMGetParam(e->fn, 0), &at, 1, ""),
	                      "");
}

static void load_args(struct emit *e)
{
	const struct kernel *k = e->k;
	int n = 0;

	for (int i = 0; i < k->nbufs; i++) {
		if (k->bufs[i].space == SPACE_GLOBAL) {
			e->bufs[i] = load_arg(e, n++);
			continue;
		}
		LLVMValueRef at = emit_int(e, k->bufs[i].offset_bytes);
		e->bufs[i] = LLVMBuildGEP2(e->b, e->i8, LLVMGetParam(e->fn, 3), &at, 1, "");
	}
	for (int i = 0; i < k->nscalars; i++) {
		LLVMValueRef p = load_arg(e, n++);
		LLVMValueRef x = LLVMBuildLoad2(e->b, emit_memory_type(e, k->scalar_types[i]), p, "");
		if (k->scalar_types[i] == TGC_BOOL)
			x = LLVMBuildICmp(e->b, LLVMIntNE, x, LLVMConstNull(e->i8), "");
		e->scalars[i] = x;
	}
}

static void emit_phase(struct emit *e, int phase, const char *name)
{
	LLVMTypeRef params[4] = {e->ptr, e->i64, e->i64, e->ptr};
	LLVMTypeRef ft = LLVMFunctionType(LLVMVoidTypeInContext(e->c), params, 4, 0);
	char *full = arena_printf(&e->arena, "%s_p%d", name, phase);

	if (!full)
		return;
	e->fn = LLVMAddFunction(e->m, full, ft);
	set_attributes(e);
	LLVMPositionBuilderAtEnd(e->b, LLVMAppendBasicBlockInContext(e->c, e->fn, "entry"));
	e->nscopes = e->npointers = 0;
	load_args(e);
	emit_streams(e);
	emit_region(e, e->k->phases[phase]);
	emit_streams_end(e);
	LLVMBuildRetVoid(e->b);
}

static bool allocate(struct emit *e)
{
	const struct kernel *k = e->k;

	arena_init(&e->arena, NULL);
	e->values = ARENA_ARRAY(&e->arena, struct evalue, k->n + 1);
	e->loops = ARENA_ARRAY(&e->arena, struct eloop, k->nloops + 1);
	e->scopes = ARENA_ARRAY(&e->arena, struct escope, k->nloops + 1);
	e->bufs = ARENA_ARRAY(&e->arena, LLVMValueRef, k->nbufs + 1);
	e->streams = ARENA_ARRAY(&e->arena, LLVMValueRef, k->nbufs + 1);
	e->scalars = ARENA_ARRAY(&e->arena, LLVMValueRef, k->nscalars + 1);
	e->tables = ARENA_ARRAY(&e->arena, LLVMValueRef, k->ntables + 1);
	return !e->arena.failed;
}

static void find_features(struct emit *e)
{
	char *cpu = emit_cpu(e->t), *features = emit_features(e->t);
	const char *have = features ? features : "";
	bool v4 = cpu && !strcmp(cpu, "x86-64-v4"), v3 = v4 || (cpu && !strcmp(cpu, "x86-64-v3"));
	bool v2 = v3 || (cpu && !strcmp(cpu, "x86-64-v2"));

	e->has_avx512 = v4 || (strstr(have, "+avx512f,") && strstr(have, "+avx512vl"));
	e->has_f16c = v3 || strstr(have, "+f16c");
	e->has_fma = v3 || strstr(have, "+fma,") || strstr(have, "+avx512f");
	e->has_sse41 = v2 || strstr(have, "+sse4.1") || strstr(have, "+avx");
	free(cpu);
	free(features);
}

static void open_module(struct emit *e, LLVMContextRef c, const char *name)
{
	e->c = c;
	e->m = LLVMModuleCreateWithNameInContext(name, c);
	e->b = LLVMCreateBuilderInContext(c);
	e->i1 = LLVMInt1TypeInContext(c);
	e->i8 = LLVMInt8TypeInContext(c);
	e->i32 = LLVMInt32TypeInContext(c);
	e->i64 = LLVMInt64TypeInContext(c);
	e->ptr = LLVMPointerTypeInContext(c, 0);
	for (int i = 0; i < EMIT_AXES; i++)
		e->extent[i] = 1;
}

// What the emitter broke, if anything; checked in debug builds only.
static char *broken(const struct emit *e)
{
	char *text = NULL;
#ifndef NDEBUG
	char *message = NULL;
	if (LLVMVerifyModule(e->m, LLVMReturnStatusAction, &message))
		text = strdup(message);
	LLVMDisposeMessage(message);
#else
	(void)e;
#endif
	return text;
}

char *emit_llvm(const struct kernel *k, const struct target *t, const char *name, void *llvm_context,
                void **module)
{
	struct emit e = {.k = k, .t = t};
	char *error = NULL;

	*module = NULL;
	if (!allocate(&e)) {
		arena_free(&e.arena);
		return strdup("out of memory");
	}
	open_module(&e, llvm_context, name);
	find_features(&e);
	emit_analyse(&e);
	emit_rows(&e);
	for (int i = 0; i < k->nphases && !e.error && !e.arena.failed; i++)
		emit_phase(&e, i, name);
	if (e.arena.failed)
		emit_fail(&e, "out of memory");
	error = e.error ? strdup(e.error) : broken(&e);
	LLVMDisposeBuilder(e.b);
	if (error)
		LLVMDisposeModule(e.m);
	else
		*module = e.m;
	arena_free(&e.arena);
	return error;
}
