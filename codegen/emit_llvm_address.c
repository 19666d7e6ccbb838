// Addresses of loads and stores.
// In:  index values. Out: a pointer shared by all copies of an access, plus a constant that becomes the displacement
// of the instruction; the part that does not change in a loop is computed ahead of it and frozen, because
// LoopStrengthReduce explodes on what it can see through. Not here: the accesses (emit_llvm_memory.c).
#include "emit_llvm.h"

void emit_scope_open(struct emit *e, int body, LLVMValueRef before)
{
	e->scopes[e->nscopes++] = (struct escope){body, before};
}

void emit_scope_close(struct emit *e)
{
	e->nscopes--;
	int kept = 0;
	for (int i = 0; i < e->npointers; i++) {
		if (e->pointers[i].level > e->nscopes)
			e->pointers[i].value = NULL;
		else
			kept = i + 1;
	}
	e->npointers = kept;
}

static void add_term(struct emit *e, struct address *a, int v, int64_t elements, int64_t bytes)
{
	const struct kinst *in = &e->k->insts[v];
	int64_t coef = elements * bytes;
	struct eterm t = {coef, v};

	if (in->op == K_CONST) {
		a->imm += coef * in->imm;
	} else if (in->op == K_INDEX && e->loops[in->aux].copied) {
		a->imm += coef * e->loops[in->aux].index;
	} else if (in->op == K_INDEX && emit_replicates(e, in->aux)) {
		if (e->k->loops[in->aux].kind == AXIS_LANE)
			a->lane_step += elements;
		else
			a->axis_step[e->loops[in->aux].axis] += coef;
	} else if (e->values[v].lane) {
		a->lane[a->nlane++] = (struct eterm){elements, v};
	} else if (e->values[v].deps) {
		a->unroll[a->nunroll++] = t;
	} else {
		a->fixed[a->nfixed++] = t;
	}
}

struct address emit_address(struct emit *e, int index, int64_t bytes)
{
	const struct kernel *k = e->k;
	const struct kinst *in = &k->insts[index];
	struct address a = {0};
	int n = in->op == K_AFFINE ? in->nsrc : 1;

	a.fixed = ARENA_ARRAY(&e->arena, struct eterm, n);
	a.unroll = ARENA_ARRAY(&e->arena, struct eterm, n);
	a.lane = ARENA_ARRAY(&e->arena, struct eterm, n);
	if (e->arena.failed)
		return a;
	if (in->op != K_AFFINE) {
		add_term(e, &a, index, 1, bytes);
		return a;
	}
	a.imm = in->imm * bytes;
	for (int s = 0; s < in->nsrc; s++)
		add_term(e, &a, kernel_src(k, index, s), k->coefs[in->src_at + s], bytes);
	return a;
}

// ---- pointers, shared and hoisted ----

// Number of open scopes that value v needs.
static int level_of(const struct emit *e, int v)
{
	int region = e->k->insts[v].region;

	for (int l = e->nscopes; l > 0; l--)
		if (kernel_region_within(e->k, region, e->scopes[l - 1].body))
			return l;
	return 0;
}

// Puts the builder where something with that many scopes around it is computed once. Returns whether that is
// ahead of a loop; *level: the scopes it then really has.
static bool go_ahead(struct emit *e, int *level)
{
	for (int l = *level; l < e->nscopes; l++) {
		if (!e->scopes[l].before)
			continue;
		LLVMPositionBuilderBefore(e->b, e->scopes[l].before);
		*level = l;
		return true;
	}
	*level = e->nscopes;
	return false;
}

static bool same_terms(const struct epointer *p, const struct eterm *t, int n)
{
	if (p->nterms != n)
		return false;
	for (int i = 0; i < n; i++)
		if (p->terms[i].coef != t[i].coef || p->terms[i].v != t[i].v)
			return false;
	return true;
}

static int find_pointer(const struct emit *e, int buf, int seg, int slot, int parent, const struct eterm *t,
                        int n)
{
	for (int i = 0; i < e->npointers; i++) {
		const struct epointer *p = &e->pointers[i];
		if (p->value && p->buf == buf && p->seg == seg && p->seg_slot == slot && p->parent == parent &&
		    same_terms(p, t, n))
			return i;
	}
	return -1;
}

static int keep_pointer(struct emit *e, struct epointer p)
{
	if (e->npointers == e->pointers_cap) {
		int cap = e->pointers_cap ? e->pointers_cap * 2 : 64;
		struct epointer *more = ARENA_ARRAY(&e->arena, struct epointer, cap);
		if (!more)
			return -1;
		if (e->npointers)
			memcpy(more, e->pointers, sizeof *more * (size_t)e->npointers);
		e->pointers = more;
		e->pointers_cap = cap;
	}
	e->pointers[e->npointers] = p;
	return e->npointers++;
}

static LLVMValueRef byte_offset(struct emit *e, LLVMValueRef p, LLVMValueRef offset)
{
	return LLVMBuildGEP2(e->b, e->i8, p, &offset, 1, "");
}

LLVMValueRef emit_at_offset(struct emit *e, LLVMValueRef p, int64_t bytes)
{
	return bytes ? byte_offset(e, p, emit_int(e, bytes)) : p;
}

static LLVMValueRef scaled(struct emit *e, LLVMValueRef x, int64_t coef)
{
	return coef == 1 ? x : LLVMBuildMul(e->b, x, emit_iconst(LLVMTypeOf(x), coef), "");
}

static int root_pointer(struct emit *e, int buf, int seg, const struct ecombo *c)
{
	int slot = seg == K_NONE ? 0 : emit_slot(e, e->values[seg].deps, c);
	int at = find_pointer(e, buf, seg, slot, -1, NULL, 0);

	if (at >= 0)
		return at;
	struct epointer p = {.buf = buf, .seg = seg, .seg_slot = slot, .parent = -1, .value = e->bufs[buf]};
	if (seg != K_NONE) {
		LLVMBasicBlockRef here = LLVMGetInsertBlock(e->b);
		LLVMValueRef s = emit_fetch(e, seg, c, false, false);
		p.level = level_of(e, seg);
		go_ahead(e, &p.level);
		p.value = LLVMBuildLoad2(e->b, e->ptr, LLVMBuildGEP2(e->b, e->ptr, p.value, &s, 1, ""), "");
		LLVMPositionBuilderAtEnd(e->b, here);
	}
	return keep_pointer(e, p);
}

static int add_level(struct emit *e, int parent, const struct eterm *t, int n, int level)
{
	struct epointer p = e->pointers[parent];
	int at = find_pointer(e, p.buf, p.seg, p.seg_slot, parent, t, n);
	struct ecombo none = {0};

	if (at >= 0)
		return at;
	LLVMBasicBlockRef here = LLVMGetInsertBlock(e->b);
	p.level = level > p.level ? level : p.level;
	bool ahead = go_ahead(e, &p.level);
	LLVMValueRef sum = NULL;
	for (int i = 0; i < n; i++) {
		LLVMValueRef x = scaled(e, emit_fetch(e, t[i].v, &none, false, false), t[i].coef);
		sum = sum ? LLVMBuildAdd(e->b, sum, x, "") : x;
	}
	p.value = byte_offset(e, p.value, sum);
	if (ahead)
		p.value = LLVMBuildFreeze(e->b, p.value, "");
	LLVMPositionBuilderAtEnd(e->b, here);
	p.parent = parent;
	p.nterms = n;
	p.terms = arena_dup(&e->arena, t, sizeof *t * (size_t)n);
	return p.terms ? keep_pointer(e, p) : -1;
}

// Pointer to the part of the address that is the same for all copies.
static LLVMValueRef base_pointer(struct emit *e, const struct address *a, int buf, int seg,
                                 const struct ecombo *c)
{
	int at = root_pointer(e, buf, seg, c), done = 0;
	struct eterm *t = ARENA_ARRAY(&e->arena, struct eterm, a->nfixed + 1);

	for (int level = 0; level <= e->nscopes && at >= 0 && t && done < a->nfixed; level++) {
		int n = 0;
		for (int i = 0; i < a->nfixed; i++)
			if (level_of(e, a->fixed[i].v) == level)
				t[n++] = a->fixed[i];
		if (n)
			at = add_level(e, at, t, n, level);
		done += n;
	}
	return at < 0 || !t ? e->bufs[buf] : e->pointers[at].value;
}

LLVMValueRef emit_pointer(struct emit *e, const struct address *a, int buf, int seg,
                                 const struct ecombo *c)
{
	LLVMValueRef p = base_pointer(e, a, buf, seg, c);
	int64_t imm = a->imm;

	for (int i = 0; i < a->nunroll; i++)
		p = byte_offset(e, p,
		                scaled(e, emit_fetch(e, a->unroll[i].v, c, false, false), a->unroll[i].coef));
	for (int x = 0; x < EMIT_AXES; x++)
		imm += a->axis_step[x] * c->i[x];
	return emit_at_offset(e, p, imm);
}

static bool lanes_fit_i32(const struct emit *e, const struct address *a)
{
	int64_t lo = 0, hi = 0, vlo, vhi;

	if (a->lane_step > INT32_MAX / EMIT_MAX_LANES || a->lane_step < -(INT32_MAX / EMIT_MAX_LANES))
		return false;
	lo = hi = a->lane_step * e->lanes;
	for (int i = 0; i < a->nlane; i++) {
		int64_t coef = a->lane[i].coef, x, y;
		if (!e->values[a->lane[i].v].narrow || !kernel_interval(e->k, a->lane[i].v, &vlo, &vhi) ||
		    __builtin_mul_overflow(vlo, coef, &x) || __builtin_mul_overflow(vhi, coef, &y) ||
		    __builtin_add_overflow(lo, x < y ? x : y, &lo) ||
		    __builtin_add_overflow(hi, x < y ? y : x, &hi))
			return false;
	}
	return lo >= INT32_MIN && hi <= INT32_MAX;
}

// Pointers of the lanes: p plus their own part of the index, in i32 elements where that is enough.
LLVMValueRef emit_lane_pointers(struct emit *e, const struct address *a, LLVMTypeRef element, LLVMValueRef p,
                                  const struct ecombo *c)
{
	bool narrow = lanes_fit_i32(e, a);
	LLVMTypeRef t = narrow ? e->i32 : e->i64;
	LLVMValueRef sum = a->lane_step ? emit_iota(t, e->lanes, a->lane_step) : NULL;

	for (int i = 0; i < a->nlane; i++) {
		LLVMValueRef x = scaled(e, emit_fetch(e, a->lane[i].v, c, true, narrow), a->lane[i].coef);
		sum = sum ? LLVMBuildAdd(e->b, sum, x, "") : x;
	}
	if (!sum)
		sum = LLVMConstNull(emit_vector_of(t, e->lanes));
	return LLVMBuildGEP2(e->b, element, p, &sum, 1, "");
}
