// Is a kernel sound? Structure, scope, types, reductions, bounds of memory accesses, the level's loop kinds.
// In:  any kernel whose numbers are in range (as the parser and the builder make them). Out: NULL, or what is
// wrong, naming values as the text form does. Not here: whether it computes the right thing.
#include "codegen.h"

#include <stdlib.h>

enum { MAX_NESTING = 64, WARP = 32, MAX_THREADS = 1024 };

struct checker {
	const struct kernel *k;
	enum kernel_level level;
	bool *visible;   // by instruction
	int32_t *number; // as printed
	int32_t *uses;
	int next, phase;
	int64_t lanes; // of the open lane loops; 1: none
	int empty; // loops around that run zero times
	char *error;
};

static bool fail(struct checker *c, int v, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static const char *inst_name(int op)
{
	static const char *const names[] = {"const",  "scalar", "index", "carry", "result", "for",
	                                    "affine", "idiv",   "imod",  "load",  "store",  "table",
	                                    "mma",    "copy",   "commit", "wait"};
	return op < OP_COUNT ? op_info[op].name : op < K_END ? names[op - K_CONST] : "?";
}

static bool fail(struct checker *c, int v, const char *fmt, ...)
{
	struct text t = {0};
	char what[200];
	va_list ap;
	if (c->error)
		return false;
	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	text_add(&t, "phase %d: ", c->phase);
	if (v != K_NONE) {
		if (c->number[v] >= 0)
			text_add(&t, "%%%d ", c->number[v]);
		text_add(&t, "(%s): ", inst_name(c->k->insts[v].op));
	}
	text_add(&t, "%s", what);
	c->error = text_take(&t);
	return false;
}

static int type_of(const struct checker *c, int v)
{
	return c->k->insts[v].type;
}

static void define(struct checker *c, int v)
{
	c->visible[v] = true;
	if (c->k->insts[v].op != K_CONST)
		c->number[v] = c->next++;
}

static bool operand_visible(struct checker *c, int user, int v)
{
	if (v < 0 || v >= c->k->n)
		return fail(c, user, "an operand is missing");
	if (!c->visible[v])
		return fail(c, user, "operand #%d (%s) is not available here", v, inst_name(c->k->insts[v].op));
	return true;
}

static bool operand_type(struct checker *c, int user, int v, tgc_type t)
{
	return type_of(c, v) == (int)t ||
	       fail(c, user, "operand is %s, not %s", tgc_type_name((tgc_type)type_of(c, v)), tgc_type_name(t));
}

// ---- instructions

static bool count(struct checker *c, int v, int n)
{
	int have = c->k->insts[v].nsrc;
	return have == n || fail(c, v, "%d operands, not %d", have, n);
}

static bool all_typed(struct checker *c, int v, int from, tgc_type t)
{
	for (int i = from; i < c->k->insts[v].nsrc; i++)
		if (!operand_type(c, v, kernel_src(c->k, v, i), t))
			return false;
	return true;
}

static bool allowed(struct checker *c, int v, tgc_type t)
{
	int op = c->k->insts[v].op;
	return op_allows(op, t) || fail(c, v, "no %s of %s", op_info[op].name, tgc_type_name(t));
}

static bool check_unary(struct checker *c, int v)
{
	const struct kinst *in = &c->k->insts[v];
	if (!count(c, v, 1))
		return false;
	tgc_type from = type_of(c, kernel_src(c->k, v, 0));
	if (in->op == OP_CAST)
		return true;
	if (in->op == OP_BITCAST)
		return tgc_type_bytes(from) == tgc_type_bytes(in->type) || fail(c, v, "of another width");
	return allowed(c, v, in->type) && all_typed(c, v, 0, in->type);
}

static bool check_ternary(struct checker *c, int v)
{
	const struct kinst *in = &c->k->insts[v];
	if (!count(c, v, 3))
		return false;
	if (in->op == OP_SELECT)
		return operand_type(c, v, kernel_src(c->k, v, 0), TGC_BOOL) && all_typed(c, v, 1, in->type);
	return (type_is_float(in->type) || fail(c, v, "of integers")) && all_typed(c, v, 0, in->type);
}

static bool check_op(struct checker *c, int v)
{
	const struct kinst *in = &c->k->insts[v];
	switch (op_info[in->op].cls) {
	case CLASS_UNARY:
		return check_unary(c, v);
	case CLASS_BINARY:
		return count(c, v, 2) && allowed(c, v, in->type) && all_typed(c, v, 0, in->type);
	case CLASS_COMPARE:
		return count(c, v, 2) && (in->type == TGC_BOOL || fail(c, v, "result is not bool")) &&
		       all_typed(c, v, 0, type_of(c, kernel_src(c->k, v, 0)));
	case CLASS_TERNARY:
		return check_ternary(c, v);
	case CLASS_KERNEL:
		return (in->nsrc > 0 || fail(c, v, "no operands")) && all_typed(c, v, 0, in->type);
	default:
		return fail(c, v, "is no kernel operation");
	}
}

static bool check_affine(struct checker *c, int v)
{
	const struct kinst *in = &c->k->insts[v];
	const int32_t *src = c->k->operands + in->src_at;
	if (in->nsrc == 0 || (in->nsrc == 1 && c->k->coefs[in->src_at] == 1 && in->imm == 0))
		return fail(c, v, "not canonical: it is its operand or a constant");
	if (in->nsrc > KSUM_MAX)
		return fail(c, v, "more than %d terms", KSUM_MAX);
	for (int i = 0; i < in->nsrc; i++) {
		int op = c->k->insts[src[i]].op;
		if (c->k->coefs[in->src_at + i] == 0)
			return fail(c, v, "not canonical: a coefficient is 0");
		if (op == K_AFFINE || op == K_CONST)
			return fail(c, v, "not canonical: an operand is a%s",
			            op == K_CONST ? " constant" : " sum");
		if (i && src[i] <= src[i - 1])
			return fail(c, v, "not canonical: operands are not sorted");
	}
	return all_typed(c, v, 0, TGC_I64);
}

static bool check_table(struct checker *c, int v)
{
	const struct kinst *in = &c->k->insts[v];
	int64_t lo, hi;
	int at = kernel_src(c->k, v, 0);
	if (in->aux < 0 || in->aux >= c->k->ntables)
		return fail(c, v, "no such table");
	if (!kernel_interval(c->k, at, &lo, &hi) || lo < 0 || hi >= c->k->tables[in->aux].n)
		return c->empty > 0 || fail(c, v, "index may leave the table");
	return operand_type(c, v, at, TGC_I64);
}

static bool check_access(struct checker *c, int v, int guard, int segment)
{
	const struct kinst *in = &c->k->insts[v];
	const struct kbuf *b = &c->k->bufs[in->aux];
	int index = kernel_src(c->k, v, 0);
	int64_t lo, hi;
	if (!operand_type(c, v, index, TGC_I64) || (guard != K_NONE && !operand_type(c, v, guard, TGC_BOOL)) ||
	    (segment != K_NONE && !operand_type(c, v, segment, TGC_I64)))
		return false;
	if ((segment != K_NONE) != b->segmented)
		return fail(c, v, b->segmented ? "b%d wants a segment" : "b%d has no segments", in->aux);
	if (guard != K_NONE || c->empty || b->segmented) // segments' lengths are known to the tables only
		return true;
	if (!kernel_interval(c->k, index, &lo, &hi))
		return fail(c, v, "unguarded index of b%d has no known bounds", in->aux);
	if (lo < 0 || hi >= b->elems)
		return fail(c, v, "unguarded index %lld..%lld leaves b%d of %lld elements", (long long)lo,
		            (long long)hi, in->aux, (long long)b->elems);
	return true;
}

static bool check_memory(struct checker *c, int v)
{
	const struct kinst *in = &c->k->insts[v];
	const int32_t *src = c->k->operands + in->src_at;
	int at = in->op == K_LOAD ? 1 : 2; // of the guard
	if (in->aux < 0 || in->aux >= c->k->nbufs)
		return fail(c, v, "no such buffer");
	if (in->nsrc < at || in->nsrc > at + 2)
		return fail(c, v, "%d operands", in->nsrc);
	tgc_type have = in->op == K_LOAD ? in->type : type_of(c, src[1]);
	if (have != c->k->bufs[in->aux].type)
		return fail(c, v, "%s in a buffer of %s", tgc_type_name(have),
		            tgc_type_name(c->k->bufs[in->aux].type));
	return check_access(c, v, in->nsrc > at ? src[at] : K_NONE, in->nsrc > at + 1 ? src[at + 1] : K_NONE);
}

// Does the slice that begins at operand `side` lie in its buffer, in whole pieces of ldmatrix?
static bool check_slice(struct checker *c, int v, const struct kmma *m, int side)
{
	const struct kernel *k = c->k;
	const struct kbuf *b = &k->bufs[side ? m->b : m->a];
	int at = kernel_src(k, v, side), size = side ? m->columns : m->rows;
	int align = MMA_BYTES / (int)tgc_type_bytes((tgc_type)b->type);
	bool turned = m->terms_first[side];
	int64_t lo = 0, hi = 0, last = (turned ? m->depth : size) - 1, row = turned ? size : m->depth;
	if (!operand_type(c, v, at, TGC_I64) || !kernel_interval(k, at, &lo, &hi))
		return fail(c, v, "a slice that begins anywhere");
	if (!kernel_multiple(k, at, align) || m->pitch[side] < row || m->pitch[side] % align)
		return fail(c, v, "a slice that is not aligned");
	return c->empty || (lo >= 0 && hi + last * m->pitch[side] + row <= b->elems) ||
	       fail(c, v, "a slice that leaves its buffer");
}

static bool check_mma(struct checker *c, int v)
{
	const struct kernel *k = c->k;
	struct kmma m = kernel_mma(k, v);
	int sums = k->insts[v].aux;
	if (c->lanes > 1 || c->level == LEVEL_MACHINE)
		return fail(c, v, "not by all lanes of a block together");
	if (sums < 0 || sums >= k->nbufs || m.a >= k->nbufs || m.b >= k->nbufs)
		return fail(c, v, "no such buffer");
	const struct kbuf *s = &k->bufs[sums], *a = &k->bufs[m.a], *b = &k->bufs[m.b];
	if (s->space != SPACE_LOCAL || s->type != TGC_F32 || a->space == SPACE_GLOBAL ||
	    b->space == SPACE_GLOBAL || a->type != b->type ||
	    (a->type != TGC_F16 && a->type != TGC_BF16 && a->type != TGC_F32))
		return fail(c, v, "sums are local f32, slices are 16-bit floats or f32 in shared memory");
	if (!m.depth || !m.rows || !m.columns || s->elems != (int64_t)m.rows * m.columns ||
	    k->insts[v].nsrc != 2)
		return fail(c, v, "no whole tiles");
	return check_slice(c, v, &m, 0) && check_slice(c, v, &m, 1);
}

static bool check_copy(struct checker *c, int v)
{
	const struct kernel *k = c->k;
	const struct kinst *in = &k->insts[v];
	const int32_t *src = k->operands + in->src_at;
	struct kcopied x = kernel_copied(k, v);
	if (in->nsrc < 2 || in->nsrc > 3 || in->aux < 0 || in->aux >= k->nbufs || x.from >= k->nbufs)
		return fail(c, v, "no such buffer, or a segment");
	const struct kbuf *to = &k->bufs[in->aux], *from = &k->bufs[x.from];
	int64_t bytes = x.n * (int64_t)tgc_type_bytes(to->type), lo, hi;
	if (to->type != from->type || to->space != SPACE_SHARED || from->space != SPACE_GLOBAL ||
	    from->segmented || (bytes != 4 && bytes != 8 && bytes != 16))
		return fail(c, v, "not 4, 8 or 16 bytes from global to shared memory");
	if (!operand_type(c, v, src[0], TGC_I64) || !operand_type(c, v, src[1], TGC_I64) ||
	    (in->nsrc > 2 && !operand_type(c, v, src[2], TGC_BOOL)))
		return false;
	if (!kernel_multiple(k, src[0], x.n) || !kernel_multiple(k, src[1], x.n))
		return fail(c, v, "not aligned");
	for (int i = 0; i < 2 && !c->empty; i++) {
		if (i && in->nsrc > 2)
			break;
		if (!kernel_interval(k, src[i], &lo, &hi) || lo < 0 || hi + x.n > (i ? from : to)->elems)
			return fail(c, v, "may leave b%d", i ? x.from : in->aux);
	}
	return true;
}

// What all lanes of a block do together.
static bool check_meeting(struct checker *c, int v)
{
	return (c->level != LEVEL_MACHINE && c->lanes == 1) ||
	       fail(c, v, "not by all lanes of a block together");
}

static bool check_operands(struct checker *c, int v)
{
	const struct kinst *in = &c->k->insts[v];
	int guard = in->op == K_LOAD ? 1 : in->op == K_STORE ? 2 : -1;
	for (int i = 0; i < in->nsrc; i++) {
		int s = kernel_src(c->k, v, i);
		if (s == K_NONE && guard >= 0 && i >= guard)
			continue;
		if (!operand_visible(c, v, s))
			return false;
	}
	return true;
}

static bool check_inst(struct checker *c, int v)
{
	const struct kinst *in = &c->k->insts[v];
	if (!check_operands(c, v))
		return false;
	switch (in->op) {
	case K_CONST:
		return true;
	case K_SCALAR:
		return (in->aux >= 0 && in->aux < c->k->nscalars && c->k->scalar_types[in->aux] == in->type) ||
		       fail(c, v, "no such scalar");
	case K_AFFINE:
		return check_affine(c, v);
	case K_IDIV:
	case K_IMOD:
		return count(c, v, 1) && (in->imm > 0 || fail(c, v, "divisor is not positive")) &&
		       all_typed(c, v, 0, TGC_I64);
	case K_TABLE:
		return count(c, v, 1) && check_table(c, v);
	case K_MMA:
		return check_mma(c, v);
	case K_COPY:
		return check_copy(c, v);
	case K_COMMIT:
	case K_WAIT:
		return check_meeting(c, v);
	case K_LOAD:
	case K_STORE:
		return check_memory(c, v);
	default:
		return in->op < OP_COUNT ? check_op(c, v) : fail(c, v, "misplaced");
	}
}

// ---- loops

// What folding left behind does not count.
static bool count_uses(struct checker *c)
{
	const struct kernel *k = c->k;
	bool *live = kernel_live(k, true);
	for (int i = 0; live && i < k->n; i++) {
		const struct kinst *in = &k->insts[i];
		for (int s = 0; live[i] && s < in->nsrc; s++)
			if (k->operands[in->src_at + s] >= 0)
				c->uses[k->operands[in->src_at + s]]++;
	}
	for (int i = 0; live && i < k->nloops; i++)
		for (int j = 0; live[k->loops[i].inst] && j < k->loops[i].ncarry; j++) {
			c->uses[k->loops[i].init[j]]++;
			c->uses[k->loops[i].next[j]]++;
		}
	free(live);
	return live || fail(c, K_NONE, "out of memory");
}

static bool combines(int op, tgc_type t)
{
	bool known =
	    op == OP_ADD || op == OP_MUL || op == OP_MAX || op == OP_MIN || op == OP_AND || op == OP_OR;
	return known && op_allows(op, t);
}

// One step back from a yielded value towards the carry, through what may be re-associated; K_NONE: none.
static int chain_step(const struct kernel *k, int v, int combine)
{
	const struct kinst *in = &k->insts[v];
	if (in->op == combine)
		return kernel_src(k, v, 0);
	if (in->op == OP_FMA && combine == OP_ADD)
		return kernel_src(k, v, 2);
	if (in->op == K_RES && k->loops[in->aux].combine[in->imm] == combine)
		return k->loops[in->aux].init[in->imm];
	return K_NONE;
}

// Does v come from x by steps alone? Some may count under a condition: select(condition, steps from y, y), and
// y then has several uses. *shared: a value on the way has other uses.
static bool leads_to(const struct checker *c, int v, int x, int combine, bool *conditions, bool *shared)
{
	const struct kernel *k = c->k;
	while (v != x && v != K_NONE) {
		*shared |= c->uses[v] > 1 && !*conditions;
		if (k->insts[v].op == OP_SELECT) {
			int skip = kernel_src(k, v, 2);
			*conditions = true;
			if (!leads_to(c, kernel_src(k, v, 1), skip, combine, conditions, shared))
				return false;
			v = skip;
		} else {
			v = chain_step(k, v, combine);
		}
	}
	return v == x;
}

static bool check_chain(struct checker *c, const struct kloop *l, int i)
{
	bool conditions = false, shared = false;
	bool ok = leads_to(c, l->next[i], l->arg[i], l->combine[i], &conditions, &shared);
	if (shared)
		return fail(c, l->inst, "carry %d: a partial result of the reduction has other uses", i);
	if (!ok)
		return fail(c, l->inst, "carry %d is not yielded as %s(carry, term)", i,
		            op_info[l->combine[i]].name);
	return conditions || c->uses[l->arg[i]] <= 1 ||
	       fail(c, l->inst, "carry %d has other uses than its combination", i);
}

static bool check_carry(struct checker *c, const struct kloop *l, int i)
{
	tgc_type t = type_of(c, l->arg[i]);
	if (type_of(c, l->init[i]) != (int)t || type_of(c, l->next[i]) != (int)t ||
	    type_of(c, l->res[i]) != (int)t)
		return fail(c, l->inst, "carry %d changes its type", i);
	if (l->kind != AXIS_SERIAL && !combines(l->combine[i], t))
		return fail(c, l->inst, "carry %d has no combining operation", i);
	if ((l->kind == AXIS_UNROLL || l->kind == AXIS_LANE) && c->uses[l->arg[i]])
		return fail(c, l->inst, "carry %d is read inside a replicating loop", i);
	return l->kind != AXIS_RED || check_chain(c, l, i);
}

// Lanes in lanes are the threads of a block: groups of them, that a warp holds whole.
static bool check_lanes(struct checker *c, const struct kloop *l, int64_t n)
{
	if (c->lanes > 1 && c->level == LEVEL_MACHINE)
		return fail(c, l->inst, "lane loop inside a lane loop");
	if (c->lanes > 1 && (n > WARP || n & (n - 1)))
		return fail(c, l->inst, "%lld lanes inside a lane loop do not divide a warp", (long long)n);
	return c->level != LEVEL_THREADS || n * c->lanes <= MAX_THREADS ||
	       fail(c, l->inst, "%lld threads a block", (long long)(n * c->lanes));
}

static bool check_kind(struct checker *c, const struct kloop *l, int depth)
{
	union number lo, hi;
	switch (l->kind) {
	case AXIS_PAR:
	case AXIS_RED:
		if (c->level != LEVEL_FREE)
			return fail(c, l->inst, "%s loop at the machine level", axis_name(l->kind));
		break;
	case AXIS_BLOCK:
		if (depth)
			return fail(c, l->inst, "block loop inside another loop");
		break;
	case AXIS_LANE:
	case AXIS_UNROLL:
		if (!kernel_is_const(c->k, l->lo, &lo) || !kernel_is_const(c->k, l->hi, &hi) || lo.i ||
		    hi.i < 1)
			return fail(c, l->inst, "bounds of %s are not 0 and a positive constant",
			            axis_name(l->kind));
		if (l->kind == AXIS_LANE && !check_lanes(c, l, hi.i))
			return false;
		break;
	default:
		break;
	}
	if (l->ncarry && (l->kind == AXIS_PAR || l->kind == AXIS_BLOCK))
		return fail(c, l->inst, "%s loop with carries", axis_name(l->kind));
	return true;
}

static bool check_region(struct checker *c, int r, int depth);

static bool enter_loop(struct checker *c, int loop, int region)
{
	const struct kloop *l = &c->k->loops[loop];
	const struct kregion *body = &c->k->regions[l->body];
	if (body->parent != region || body->loop != loop || body->n < 1 + l->ncarry ||
	    body->insts[0] != l->index)
		return fail(c, l->inst, "its body is not its own");
	if (!operand_visible(c, l->inst, l->lo) || !operand_visible(c, l->inst, l->hi) ||
	    !operand_type(c, l->inst, l->lo, TGC_I64) || !operand_type(c, l->inst, l->hi, TGC_I64))
		return false;
	for (int i = 0; i < l->ncarry; i++)
		if (!operand_visible(c, l->inst, l->init[i]))
			return false;
	define(c, l->index);
	for (int i = 0; i < l->ncarry; i++) {
		if (body->insts[1 + i] != l->arg[i])
			return fail(c, l->inst, "carry %d does not open the body", i);
		define(c, l->arg[i]);
	}
	return true;
}

static bool check_loop(struct checker *c, int loop, int region, int depth)
{
	const struct kloop *l = &c->k->loops[loop];
	int64_t trip;
	if (depth == MAX_NESTING)
		return fail(c, l->inst, "loops nest too deep");
	if (!check_kind(c, l, depth) || !enter_loop(c, loop, region))
		return false;
	int64_t lanes = c->lanes;
	bool empty = kernel_trip(c->k, loop, &trip) && trip == 0;
	c->lanes *= l->kind == AXIS_LANE ? trip : 1;
	c->empty += empty;
	if (!check_region(c, l->body, depth + 1))
		return false;
	c->lanes = lanes;
	c->empty -= empty;
	for (int i = 0; i < l->ncarry; i++)
		if (!operand_visible(c, l->inst, l->next[i]) || !check_carry(c, l, i))
			return false;
	const struct kregion *body = &c->k->regions[l->body];
	for (int i = 0; i < body->n; i++)
		c->visible[body->insts[i]] = false;
	return true;
}

// Results stand right behind their loop.
static bool check_results(struct checker *c, const struct kregion *r, int at)
{
	const struct kloop *l = &c->k->loops[c->k->insts[r->insts[at]].aux];
	for (int i = 0; i < l->ncarry; i++) {
		if (at + 1 + i >= r->n || r->insts[at + 1 + i] != l->res[i])
			return fail(c, l->inst, "result %d does not follow it", i);
		define(c, l->res[i]);
	}
	return true;
}

static bool check_region(struct checker *c, int region, int depth)
{
	const struct kregion *r = &c->k->regions[region];
	int skip = r->loop >= 0 ? 1 + c->k->loops[r->loop].ncarry : 0;
	for (int i = skip; i < r->n; i++) {
		int v = r->insts[i];
		const struct kinst *in = &c->k->insts[v];
		if (in->region != region || c->visible[v])
			return fail(c, v, "stands in two places");
		if (in->op == K_FOR) {
			if (c->k->loops[in->aux].inst != v || !check_loop(c, in->aux, region, depth) ||
			    !check_results(c, r, i))
				return fail(c, v, "is not the head of its loop");
			c->visible[v] = true;
			i += c->k->loops[in->aux].ncarry;
			continue;
		}
		if (!check_inst(c, v))
			return false;
		if (in->op != K_STORE && (in->op < K_MMA || in->op > K_WAIT))
			define(c, v);
	}
	return true;
}

// ---- phases

static bool check_machine_phase(struct checker *c, int phase)
{
	const struct kernel *k = c->k;
	const struct kregion *r = &k->regions[k->phases[phase]];
	int blocks = 0;
	int64_t trip;
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		bool block = in->op == K_FOR && k->loops[in->aux].kind == AXIS_BLOCK;
		bool writes = in->op == K_STORE
		                  ? k->bufs[in->aux].space == SPACE_GLOBAL
		                  : in->op == K_FOR &&
		                        kernel_region_stores(k, k->loops[in->aux].body) & (1 << SPACE_GLOBAL);
		blocks += block;
		if (block && (i != r->n - 1 || !kernel_is_const(k, k->loops[in->aux].lo, NULL) ||
		              kernel_int(k, k->loops[in->aux].lo) != 0 || !kernel_trip(k, in->aux, &trip) ||
		              trip != k->blocks[phase]))
			return fail(c, r->insts[i],
			            "the block loop is not last, from 0 to the number of blocks");
		if (!block && writes)
			return fail(c, r->insts[i], "global memory is written outside the block loop");
	}
	return blocks == 1 || fail(c, K_NONE, "%d block loops, not 1", blocks);
}

static bool check_scratch(struct checker *c)
{
	for (int i = 0; i < c->k->nbufs; i++) {
		const struct kbuf *b = &c->k->bufs[i];
		int64_t bytes = b->elems * (int64_t)tgc_type_bytes(b->type);
		if (b->space != SPACE_GLOBAL && (b->offset_bytes < 0 || b->offset_bytes % 64 ||
		                                 b->offset_bytes + bytes > c->k->scratch_bytes))
			return fail(c, K_NONE, "b%d does not lie in the scratch", i);
	}
	return true;
}

static bool check_buffers(struct checker *c)
{
	bool scratch = false;
	for (int i = 0; i < c->k->nbufs; i++) {
		const struct kbuf *b = &c->k->bufs[i];
		scratch |= b->space != SPACE_GLOBAL;
		if (scratch && b->space == SPACE_GLOBAL)
			return fail(c, K_NONE, "b%d: parameters come before scratch buffers", i);
		if (b->segmented && (c->k->nsegs < 1 || b->space != SPACE_GLOBAL))
			return fail(c, K_NONE, "b%d: segments in a kernel without", i);
	}
	return true;
}

static void check_kernel(struct checker *c)
{
	const struct kernel *k = c->k;
	if (!count_uses(c) || !check_buffers(c) || (c->level != LEVEL_FREE && !check_scratch(c)))
		return;
	for (c->phase = 0; c->phase < k->nphases; c->phase++) {
		int r = k->phases[c->phase];
		if (!check_region(c, r, 0) || (c->level != LEVEL_FREE && !check_machine_phase(c, c->phase)))
			return;
		for (int i = 0; i < k->regions[r].n; i++)
			c->visible[k->regions[r].insts[i]] = false;
	}
}

char *kernel_verify(const struct kernel *k, enum kernel_level level)
{
	size_t n = (size_t)k->n + 1;
	struct checker c = {.k = k, .level = level, .lanes = 1};
	c.visible = calloc(n, sizeof *c.visible);
	c.number = malloc(n * sizeof *c.number);
	c.uses = calloc(n, sizeof *c.uses);
	if (!c.visible || !c.number || !c.uses || k->arena.failed) {
		fail(&c, K_NONE, "out of memory");
	} else {
		memset(c.number, 0xff, n * sizeof *c.number);
		check_kernel(&c);
	}
	free(c.visible);
	free(c.number);
	free(c.uses);
	return c.error;
}
