// Loads, stores and constant tables.
// In:  addresses taken apart into terms (emit_llvm_address.c). Out: vector, masked, scalar or gathering accesses.
#include "emit_llvm.h"

// ---- accesses ----

struct access {
	struct address a;
	int buf, seg, guard; // K_NONE
	bool lane;           // of a whole lane loop
	LLVMTypeRef element; // in memory
	unsigned bytes;
};

static struct access access_of(struct emit *e, int inst)
{
	const struct kernel *k = e->k;
	const struct kinst *in = &k->insts[inst];
	int guard = in->op == K_STORE ? 2 : 1;
	tgc_type type = k->bufs[in->aux].type;
	struct access m = {.buf = in->aux, .seg = K_NONE, .guard = K_NONE, .lane = e->values[inst].lane};

	m.bytes = (unsigned)tgc_type_bytes(type);
	m.element = emit_memory_type(e, type);
	m.a = emit_address(e, kernel_src(k, inst, 0), m.bytes);
	if (in->nsrc > guard)
		m.guard = kernel_src(k, inst, guard);
	if (in->nsrc > guard + 1)
		m.seg = kernel_src(k, inst, guard + 1);
	return m;
}

static bool guard_by_lane(const struct emit *e, const struct access *m)
{
	return m->guard != K_NONE && e->values[m->guard].lane;
}

// NULL: no guard, or one that always holds.
static LLVMValueRef guard_value(struct emit *e, const struct access *m, const struct ecombo *c, bool lane)
{
	if (m->guard == K_NONE)
		return NULL;
	LLVMValueRef g = emit_fetch(e, m->guard, c, lane, false);
	return emit_all_true(g) ? NULL : g;
}

static void align(struct emit *e, LLVMValueRef call, unsigned param, unsigned bytes)
{
	unsigned kind = LLVMGetEnumAttributeKindForName("align", 5);
	LLVMAddCallSiteAttribute(call, param, LLVMCreateEnumAttribute(e->c, kind, bytes));
}

// The masked intrinsics lost their alignment operand in LLVM 22; args[at] is its place.
static LLVMValueRef masked(struct emit *e, const char *name, LLVMTypeRef types[2], LLVMValueRef args[4], int n,
                           int at, unsigned bytes)
{
	unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
	LLVMTypeRef ft = LLVMIntrinsicGetType(e->c, id, types, 2);
	LLVMValueRef f = LLVMGetIntrinsicDeclaration(e->m, id, types, 2);

	if (LLVMCountParamTypes(ft) == (unsigned)n)
		return LLVMBuildCall2(e->b, ft, f, args, (unsigned)n, "");
	for (int i = at; i < n - 1; i++)
		args[i] = args[i + 1];
	LLVMValueRef r = LLVMBuildCall2(e->b, ft, f, args, (unsigned)n - 1, "");
	align(e, r, (unsigned)at, bytes); // its pointer operand stands before it; parameters count from 1
	return r;
}

static LLVMValueRef reversed(struct emit *e, LLVMValueRef x)
{
	int n = emit_lanes_of(x);
	LLVMValueRef mask[EMIT_MAX_LANES];

	if (n == 1)
		return x;
	for (int i = 0; i < n; i++)
		mask[i] = LLVMConstInt(e->i32, (unsigned)(n - 1 - i), 0);
	return LLVMBuildShuffleVector(e->b, x, LLVMGetPoison(LLVMTypeOf(x)), LLVMConstVector(mask, (unsigned)n),
	                              "");
}

enum { ZERO_BYTES = 64 * EMIT_AXES };

// Readable zeros: a load whose guard is false goes there, so that no branch and no select of values is needed.
static LLVMValueRef zeros(struct emit *e)
{
	if (!e->zeros) {
		LLVMTypeRef t = LLVMArrayType2(e->i8, ZERO_BYTES);
		e->zeros = LLVMAddGlobal(e->m, t, "zeros");
		LLVMSetInitializer(e->zeros, LLVMConstNull(t));
		LLVMSetGlobalConstant(e->zeros, 1);
		LLVMSetLinkage(e->zeros, LLVMPrivateLinkage);
		LLVMSetAlignment(e->zeros, 64);
	}
	return e->zeros;
}

static LLVMValueRef load_at(struct emit *e, LLVMTypeRef t, LLVMValueRef p, unsigned bytes)
{
	LLVMValueRef r = LLVMBuildLoad2(e->b, t, p, "");
	LLVMSetAlignment(r, bytes);
	return r;
}

static LLVMValueRef load_plain(struct emit *e, const struct access *m, LLVMValueRef p, LLVMValueRef guard,
                               int lanes)
{
	if (guard)
		p = LLVMBuildSelect(e->b, guard, p, zeros(e), "");
	return load_at(e, emit_vector_of(m->element, lanes), p, m->bytes);
}

static LLVMValueRef load_masked(struct emit *e, const struct access *m, LLVMValueRef p, LLVMValueRef mask)
{
	LLVMTypeRef types[2] = {emit_vector_of(m->element, e->lanes), e->ptr};
	LLVMValueRef args[4] = {p, LLVMConstInt(e->i32, m->bytes, 0), mask, LLVMConstNull(types[0])};
	return masked(e, "llvm.masked.load", types, args, 4, 1, m->bytes);
}

static LLVMValueRef load_gather(struct emit *e, const struct access *m, LLVMValueRef p, LLVMValueRef mask,
                                const struct ecombo *c)
{
	LLVMTypeRef types[2] = {emit_vector_of(m->element, e->lanes), emit_vector_of(e->ptr, e->lanes)};
	LLVMTypeRef bits = emit_vector_of(e->i1, e->lanes);
	LLVMValueRef args[4] = {emit_lane_pointers(e, &m->a, m->element, p, c), LLVMConstInt(e->i32, m->bytes, 0),
	                        mask ? mask : LLVMConstAllOnes(bits), LLVMConstNull(types[0])};
	return masked(e, "llvm.masked.gather", types, args, 4, 1, m->bytes);
}

static LLVMValueRef load_lanes(struct emit *e, const struct access *m, LLVMValueRef p, const struct ecombo *c)
{
	bool by_lane = guard_by_lane(e, m),
	     contiguous = !m->a.nlane && (m->a.lane_step == 1 || m->a.lane_step == -1);
	LLVMValueRef guard = guard_value(e, m, c, by_lane);

	if (!contiguous || (guard && !by_lane && e->lanes * (int)m->bytes > ZERO_BYTES))
		return load_gather(e, m, p, guard ? emit_splat(e, guard, e->lanes) : NULL, c);
	bool back = m->a.lane_step < 0;
	if (back)
		p = emit_at_offset(e, p, -(int64_t)m->bytes * (e->lanes - 1));
	LLVMValueRef r;
	if (guard && by_lane)
		r = load_masked(e, m, p, back ? reversed(e, guard) : guard);
	else
		r = load_plain(e, m, p, guard, e->lanes);
	return back ? reversed(e, r) : r;
}

// ---- blocks: strided along the lanes, contiguous along an unroll axis ----

// Such an axis, *n of whose indices make rows of a block; -1: the access is none. A guard may differ by lane
// only.
static int block_axis(const struct emit *e, int inst, const struct access *m, int *n)
{
	uint32_t by = e->values[inst].deps, guard = m->guard == K_NONE ? 0 : e->values[m->guard].deps;
	uint32_t other = guard | (m->seg == K_NONE ? 0 : e->values[m->seg].deps);

	if (!m->lane || e->lanes & (e->lanes - 1) || m->a.nlane || m->a.nunroll || m->a.lane_step == 1 ||
	    m->a.lane_step == -1 || (m->guard != K_NONE && !guard_by_lane(e, m)))
		return -1;
	for (int x = 0; x < EMIT_AXES; x++) {
		if (!(by >> x & 1) || other >> x & 1 || m->a.axis_step[x] != m->bytes)
			continue;
		for (*n = e->lanes; e->extent[x] % *n; *n /= 2)
			;
		if (*n >= 4 && *n * (int)m->bytes <= ZERO_BYTES)
			return x;
	}
	return -1;
}

// The part of a guard that is for one lane. NULL: it always holds.
static LLVMValueRef lane_guard(struct emit *e, LLVMValueRef guard, int lane)
{
	LLVMValueRef g = guard ? emit_part(e, guard, lane, 1) : NULL;
	return !g || (LLVMIsConstant(g) && !LLVMIsNull(g)) ? NULL : g;
}

static LLVMValueRef row_pointer(struct emit *e, const struct access *m, LLVMValueRef p, int lane)
{
	return emit_at_offset(e, p, m->a.lane_step * (int64_t)m->bytes * lane);
}

// v[i]: the lanes' elements at index i of the axis, i < n.
static void load_block(struct emit *e, const struct access *m, LLVMValueRef p, const struct ecombo *c, int n,
                       LLVMValueRef *v)
{
	LLVMValueRef guard = guard_value(e, m, c, true), rows[EMIT_MAX_LANES];
	int parts = e->lanes / n;

	for (int i = 0; i < n; i++) {
		for (int j = 0; j < parts; j++)
			rows[j] = load_plain(e, m, row_pointer(e, m, p, j * n + i),
			                     lane_guard(e, guard, j * n + i), n);
		v[i] = emit_join(e, parts, rows);
	}
	emit_turn(e, v, n);
}

static LLVMValueRef from_memory(struct emit *e, tgc_type t, LLVMValueRef x)
{
	if (t != TGC_BOOL)
		return x;
	return LLVMBuildICmp(e->b, LLVMIntNE, x, LLVMConstNull(LLVMTypeOf(x)), "");
}

static void load_blocks(struct emit *e, int inst, const struct access *m, int axis, int n)
{
	LLVMValueRef v[EMIT_MAX_LANES];
	struct ecombo c = {0};

	do {
		if (c.i[axis] % n)
			continue;
		struct ecombo at = c;
		e->turned = true;
		load_block(e, m, emit_pointer(e, &m->a, m->buf, m->seg, &c), &c, n, v);
		for (int i = 0; i < n; i++, at.i[axis]++)
			emit_define(e, inst, &at, from_memory(e, e->k->insts[inst].type, v[i]));
	} while (emit_next(e, e->values[inst].deps, &c));
}

void emit_load(struct emit *e, int inst)
{
	const struct kinst *in = &e->k->insts[inst];
	struct access m = access_of(e, inst);
	struct ecombo c = {0};
	int n, axis;

	if (e->arena.failed)
		return;
	if ((axis = block_axis(e, inst, &m, &n)) >= 0) {
		load_blocks(e, inst, &m, axis, n);
		return;
	}
	do {
		LLVMValueRef p = emit_pointer(e, &m.a, m.buf, m.seg, &c), r;
		if (m.lane && e->lanes > 1) {
			emit_prefetch_row(e, inst, &m.a, &c, p);
			r = load_lanes(e, &m, p, &c);
		} else {
			r = load_plain(e, &m, p, guard_value(e, &m, &c, false), 1);
		}
		emit_define(e, inst, &c, from_memory(e, in->type, r));
	} while (emit_next(e, e->values[inst].deps, &c));
}

// ---- stores ----

static void store_at(struct emit *e, LLVMValueRef x, LLVMValueRef p, unsigned bytes)
{
	LLVMSetAlignment(LLVMBuildStore(e->b, x, p), bytes);
}

enum { AHEAD_VECTORS = 1 };

// The place of the same element a few tiles on. Rows of blocks are more streams than the processor follows by
// itself.
static void prefetch(struct emit *e, const struct access *m, LLVMValueRef p)
{
	emit_prefetch(e, p, AHEAD_VECTORS * e->lanes * m->a.lane_step * (int64_t)m->bytes, true, CACHE_FIRST);
}

// A store under a guard that is the same for all lanes: a branch.
static void store_if(struct emit *e, LLVMValueRef guard, LLVMValueRef x, LLVMValueRef p, unsigned bytes)
{
	LLVMBasicBlockRef yes = LLVMAppendBasicBlockInContext(e->c, e->fn, "store");
	LLVMBasicBlockRef done = LLVMAppendBasicBlockInContext(e->c, e->fn, "stored");

	LLVMBuildCondBr(e->b, guard, yes, done);
	LLVMPositionBuilderAtEnd(e->b, yes);
	store_at(e, x, p, bytes);
	LLVMBuildBr(e->b, done);
	LLVMPositionBuilderAtEnd(e->b, done);
}

static void store_masked(struct emit *e, const struct access *m, LLVMValueRef x, LLVMValueRef p,
                         LLVMValueRef mask)
{
	LLVMTypeRef types[2] = {LLVMTypeOf(x), e->ptr};
	LLVMValueRef args[4] = {x, p, LLVMConstInt(e->i32, m->bytes, 0), mask};
	masked(e, "llvm.masked.store", types, args, 4, 2, m->bytes);
}

static void store_scatter(struct emit *e, const struct access *m, LLVMValueRef x, LLVMValueRef p,
                          LLVMValueRef mask, const struct ecombo *c)
{
	LLVMTypeRef types[2] = {LLVMTypeOf(x), emit_vector_of(e->ptr, e->lanes)};
	LLVMTypeRef bits = emit_vector_of(e->i1, e->lanes);
	LLVMValueRef args[4] = {x, emit_lane_pointers(e, &m->a, m->element, p, c), LLVMConstInt(e->i32, m->bytes, 0),
	                        mask ? mask : LLVMConstAllOnes(bits)};
	masked(e, "llvm.masked.scatter", types, args, 4, 2, m->bytes);
}

static void store_lanes(struct emit *e, const struct access *m, LLVMValueRef x, LLVMValueRef p,
                        const struct ecombo *c)
{
	bool by_lane = guard_by_lane(e, m),
	     contiguous = !m->a.nlane && (m->a.lane_step == 1 || m->a.lane_step == -1);
	LLVMValueRef guard = guard_value(e, m, c, by_lane);

	if (!contiguous) {
		store_scatter(e, m, x, p, guard ? emit_splat(e, guard, e->lanes) : NULL, c);
		return;
	}
	if (m->a.lane_step < 0) {
		p = emit_at_offset(e, p, -(int64_t)m->bytes * (e->lanes - 1));
		x = reversed(e, x);
		guard = guard && by_lane ? reversed(e, guard) : guard;
	}
	LLVMValueRef past = guard || m->seg != K_NONE ? NULL : emit_streams_to(e, m->buf, &m->a, m->bytes);
	if (e->turned && !past)
		prefetch(e, m, p);
	if (past)
		emit_stream_store(e, past, x, p, m->bytes);
	else if (!guard)
		store_at(e, x, p, m->bytes);
	else if (by_lane)
		store_masked(e, m, x, p, guard);
	else
		store_if(e, guard, x, p, m->bytes);
}

static LLVMValueRef stored_value(struct emit *e, int inst, const struct access *m, const struct ecombo *c)
{
	LLVMValueRef x = emit_fetch(e, kernel_src(e->k, inst, 1), c, m->lane && e->lanes > 1, false);
	return e->k->bufs[m->buf].type == TGC_BOOL ? LLVMBuildZExt(e->b, x, emit_like(e->i8, x), "") : x;
}

static void store_block(struct emit *e, const struct access *m, LLVMValueRef p, const struct ecombo *c, int n,
                        LLVMValueRef *v)
{
	LLVMValueRef guard = guard_value(e, m, c, true);

	emit_turn(e, v, n);
	for (int i = 0; i < e->lanes; i++) {
		LLVMValueRef row = emit_part(e, v[i % n], i / n * n, n), g = lane_guard(e, guard, i);
		LLVMValueRef to = row_pointer(e, m, p, i);
		prefetch(e, m, to);
		if (!g)
			store_at(e, row, to, m->bytes);
		else if (!LLVMIsNull(g))
			store_if(e, g, row, to, m->bytes);
	}
}

static void store_blocks(struct emit *e, int inst, const struct access *m, int axis, int n)
{
	LLVMValueRef v[EMIT_MAX_LANES];
	struct ecombo c = {0};

	do {
		if (c.i[axis] % n)
			continue;
		struct ecombo at = c;
		for (int i = 0; i < n; i++, at.i[axis]++)
			v[i] = stored_value(e, inst, m, &at);
		store_block(e, m, emit_pointer(e, &m->a, m->buf, m->seg, &c), &c, n, v);
	} while (emit_next(e, e->values[inst].deps, &c));
}

void emit_store(struct emit *e, int inst)
{
	struct access m = access_of(e, inst);
	struct ecombo c = {0};
	int n, axis;

	if (e->arena.failed)
		return;
	if ((axis = block_axis(e, inst, &m, &n)) >= 0) {
		store_blocks(e, inst, &m, axis, n);
		return;
	}
	do {
		bool lane = m.lane && e->lanes > 1;
		LLVMValueRef p = emit_pointer(e, &m.a, m.buf, m.seg, &c);
		LLVMValueRef x = stored_value(e, inst, &m, &c);
		LLVMValueRef guard = lane ? NULL : guard_value(e, &m, &c, false);
		if (lane)
			store_lanes(e, &m, x, p, &c);
		else if (guard)
			store_if(e, guard, x, p, m.bytes);
		else
			store_at(e, x, p, m.bytes);
	} while (emit_next(e, e->values[inst].deps, &c));
}

// ---- tables ----

static LLVMValueRef table_global(struct emit *e, int table)
{
	const struct ktable *t = &e->k->tables[table];

	if (e->tables[table])
		return e->tables[table];
	LLVMValueRef *values = ARENA_ARRAY(&e->arena, LLVMValueRef, t->n);
	if (!values)
		return LLVMGetUndef(e->ptr);
	for (int i = 0; i < t->n; i++)
		values[i] = emit_int(e, t->values[i]);
	LLVMValueRef array = LLVMConstArray2(e->i64, values, (uint64_t)t->n);
	LLVMValueRef g = LLVMAddGlobal(e->m, LLVMTypeOf(array), "table");
	LLVMSetInitializer(g, array);
	LLVMSetGlobalConstant(g, 1);
	LLVMSetLinkage(g, LLVMPrivateLinkage);
	LLVMSetAlignment(g, 64);
	return e->tables[table] = g;
}

void emit_table(struct emit *e, int inst)
{
	const struct evalue *v = &e->values[inst];
	struct access m = {.element = e->i64, .bytes = 8};
	struct ecombo c = {0};
	LLVMValueRef g = table_global(e, e->k->insts[inst].aux);
	int index = kernel_src(e->k, inst, 0);

	m.a.lane = ARENA_ARRAY(&e->arena, struct eterm, 1);
	if (e->arena.failed)
		return;
	m.a.nlane = 1;
	m.a.lane[0] = (struct eterm){1, index};
	do {
		LLVMValueRef r;
		if (v->lane && e->lanes > 1) {
			r = load_gather(e, &m, g, NULL, &c);
			if (v->narrow)
				r = LLVMBuildTrunc(e->b, r, emit_vector_of(e->i32, e->lanes), "");
		} else {
			LLVMValueRef i = emit_fetch(e, index, &c, false, false);
			r = load_at(e, e->i64, LLVMBuildGEP2(e->b, e->i64, g, &i, 1, ""), 8);
			if (v->narrow)
				r = LLVMBuildTrunc(e->b, r, e->i32, "");
		}
		emit_define(e, inst, &c, r);
	} while (emit_next(e, v->deps, &c));
}
