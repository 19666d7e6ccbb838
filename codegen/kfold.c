// Folding of elementwise operations as they are built.
// In:  an operation and its operands. Out: an operand, a constant, a simpler operation, or the operation
// itself. Exact rewriting only (NUMERICS.md): floats keep every bit, NaN payloads aside. Not here: indices
// (kindex.c).
#include "codegen.h"

#include <math.h>

static bool is_number(const struct kbuild *b, int v, double x)
{
	union number n;
	if (!kernel_is_const(b->k, v, &n))
		return false;
	if (type_is_float(b->k->insts[v].type)) {
		union number m = {.f = x};
		return n.i == m.i;
	}
	return n.i == (int64_t)x;
}

static bool all_ones(const struct kbuild *b, int v)
{
	tgc_type t = b->k->insts[v].type;
	return is_number(b, v, t == TGC_BOOL ? 1 : -1) ||
	       (!type_is_float(t) && t != TGC_BOOL && kernel_is_const(b->k, v, NULL) &&
	        kernel_int(b->k, v) == number_round(t, (union number){.i = -1}).i);
}

static int type_of(const struct kbuild *b, int v)
{
	return b->k->insts[v].type;
}

static bool fold_cast(tgc_type from, tgc_type to, union number x, union number *out)
{
	if (type_is_float(from)) {
		if (to == TGC_BOOL)
			out->i = x.f != 0; // NaN is true
		else
			*out = type_is_float(to) ? number_round(to, x) : number_from_double(to, x.f);
		return true;
	}
	if (to == TGC_BOOL) {
		out->i = x.i != 0;
		return true;
	}
	if (!type_is_float(to)) {
		*out = number_round(to, x);
		return true;
	}
	int64_t exact = INT64_C(1) << 53; // beyond it a float would round twice
	if (x.i > exact || x.i < (from == TGC_U64 ? 0 : -exact))
		return false;
	*out = number_from_double(to, (double)x.i);
	return true;
}

// Constants to a constant.
static int fold_constants(struct kbuild *b, int op, tgc_type type, int nsrc, const int *src)
{
	union number x[3], out;
	if (nsrc < 1 || nsrc > 3)
		return K_NONE;
	for (int i = 0; i < nsrc; i++)
		if (!kernel_is_const(b->k, src[i], &x[i]))
			return K_NONE;
	int from = type_of(b, src[0]);
	if (op == OP_CAST)
		return fold_cast(from, type, x[0], &out) ? kb_const(b, type, out) : K_NONE;
	if (op == OP_SELECT)
		return x[0].i ? src[1] : src[2];
	if (op == OP_BITCAST || !op_fold(op, from, x, &out))
		return K_NONE;
	return kb_const(b, type, out);
}

// Compares of integers that their bounds decide.
static int fold_compare(struct kbuild *b, int op, int x, int y)
{
	struct ksum d = {0};
	int64_t lo, hi;
	tgc_type t = type_of(b, x);
	if (type_is_float(t) || t == TGC_U64)
		return K_NONE;
	if (t == TGC_I64) {
		ksum_add(b, &d, 1, x);
		ksum_add(b, &d, -1, y);
		if (!ksum_bounds(b, &d, &lo, &hi))
			return K_NONE;
	} else {
		lo = b->k->insts[x].lo - b->k->insts[y].hi;
		hi = b->k->insts[x].hi - b->k->insts[y].lo;
		if (x == y)
			lo = hi = 0;
	}
	bool never = lo > 0 || hi < 0, equal = lo == 0 && hi == 0;
	switch (op) {
	case OP_LT:
		return hi < 0 ? kb_bool(b, true) : lo >= 0 ? kb_bool(b, false) : K_NONE;
	case OP_LE:
		return hi <= 0 ? kb_bool(b, true) : lo > 0 ? kb_bool(b, false) : K_NONE;
	case OP_EQ:
		return equal ? kb_bool(b, true) : never ? kb_bool(b, false) : K_NONE;
	default:
		return never ? kb_bool(b, true) : equal ? kb_bool(b, false) : K_NONE;
	}
}

static int fold_unary(struct kbuild *b, int op, tgc_type type, int x)
{
	const struct kinst *in = &b->k->insts[x];
	switch (op) {
	case OP_CAST:
	case OP_BITCAST:
		return in->type == type ? x : K_NONE;
	case OP_NEG:
	case OP_NOT:
		return in->op == op ? kernel_src(b->k, x, 0) : K_NONE;
	default:
		return K_NONE;
	}
}

// A carry, or what was combined with one: a reduction has to hold on to it, whatever bounds say.
static bool combines(const struct kbuild *b, int op, int v)
{
	int of = b->k->insts[v].op;
	return of == K_ARG || of == K_RES || of == op;
}

// The one of x and y that maximum or minimum gives, where bounds decide that.
static int extreme(const struct kbuild *b, int op, tgc_type type, int x, int y)
{
	const struct kinst *ix = &b->k->insts[x], *iy = &b->k->insts[y];
	int less, more;
	if (x == y)
		return x;
	if (type_is_float(type) || type == TGC_U64 || (ix->lo < iy->hi && iy->lo < ix->hi))
		return K_NONE;
	more = ix->lo >= iy->hi ? x : y;
	less = more == x ? y : x;
	if (combines(b, op, op == OP_MAX ? less : more))
		return K_NONE;
	return op == OP_MAX ? more : less;
}

static int fold_arithmetic(struct kbuild *b, int op, tgc_type type, int x, int y)
{
	bool is_float = type_is_float(type);
	double zero = is_float ? -0.0 : 0; // x + -0 is x for every x, x + 0 is not
	double neutral = op == OP_MAX || op == OP_FMAX ? -(double)INFINITY : (double)INFINITY;
	switch (op) {
	case OP_ADD:
		return is_number(b, y, zero) ? x : is_number(b, x, zero) ? y : K_NONE;
	case OP_SUB:
		if (is_number(b, y, 0))
			return x;
		return x == y && !is_float ? kb_const(b, type, (union number){.i = 0}) : K_NONE;
	case OP_MUL:
		if (!is_float && (is_number(b, x, 0) || is_number(b, y, 0)))
			return kb_const(b, type, (union number){.i = 0});
		return is_number(b, y, 1) ? x : is_number(b, x, 1) ? y : K_NONE;
	case OP_DIV:
		return is_number(b, y, 1) ? x : K_NONE;
	case OP_MAX:
	case OP_MIN:
		if (is_float && is_number(b, x, neutral))
			return y;
		if (is_float && is_number(b, y, neutral))
			return x;
		return extreme(b, op, type, x, y);
	case OP_FMAX: // y if unordered: only a neutral x tells y apart from nothing
	case OP_FMIN:
		return is_number(b, x, neutral) ? y : K_NONE;
	case OP_MULHI:
		return is_number(b, x, 0) ? x : is_number(b, y, 0) ? y : K_NONE;
	default:
		return K_NONE;
	}
}

static int fold_bits(struct kbuild *b, int op, tgc_type type, int x, int y)
{
	switch (op) {
	case OP_AND:
		if (x == y || all_ones(b, y) || is_number(b, x, 0))
			return x;
		return all_ones(b, x) || is_number(b, y, 0) ? y : K_NONE;
	case OP_OR:
		if (x == y || all_ones(b, x) || is_number(b, y, 0))
			return x;
		return all_ones(b, y) || is_number(b, x, 0) ? y : K_NONE;
	case OP_XOR:
		if (x == y)
			return kb_const(b, type, (union number){.i = 0});
		if (is_number(b, x, 0))
			return y;
		if (is_number(b, y, 0))
			return x;
		return type == TGC_BOOL && all_ones(b, y) ? kb_op1(b, OP_NOT, type, x) : K_NONE;
	case OP_SHL:
	case OP_SHR:
	case OP_SHLX:
	case OP_SHRX:
		return is_number(b, y, 0) ? x : K_NONE;
	default:
		return K_NONE;
	}
}

static int fold_select(struct kbuild *b, tgc_type type, int c, int x, int y)
{
	union number n;
	if (kernel_is_const(b->k, c, &n))
		return n.i ? x : y;
	if (x == y)
		return x;
	if (b->k->insts[c].op == OP_NOT)
		return kb_select(b, kernel_src(b->k, c, 0), y, x);
	if (type == TGC_BOOL && kernel_is_const(b->k, x, NULL) && kernel_is_const(b->k, y, NULL))
		return kernel_int(b->k, x) ? c : kb_op1(b, OP_NOT, TGC_BOOL, c);
	return K_NONE;
}

static int fold(struct kbuild *b, int op, tgc_type type, int nsrc, const int *src)
{
	int v = fold_constants(b, op, type, nsrc, src);
	if (v != K_NONE)
		return v;
	if (op == OP_SELECT)
		return fold_select(b, type, src[0], src[1], src[2]);
	if (op_info[op].cls == CLASS_COMPARE)
		return fold_compare(b, op, src[0], src[1]);
	if (nsrc == 1)
		return fold_unary(b, op, type, src[0]);
	if (nsrc != 2)
		return K_NONE;
	v = fold_arithmetic(b, op, type, src[0], src[1]);
	return v != K_NONE ? v : fold_bits(b, op, type, src[0], src[1]);
}

int kb_op(struct kbuild *b, int op, tgc_type type, int nsrc, const int *src)
{
	if (b->k->arena.failed)
		return 0;
	assert(op < OP_COUNT && (op_is_elementwise(op) || op_info[op].cls == CLASS_KERNEL));
	if (op_info[op].cls == CLASS_COMPARE)
		type = TGC_BOOL;
	int v = fold(b, op, type, nsrc, src);
	return v != K_NONE ? v : kb_place(b, op, type, 0, 0, nsrc, src, NULL);
}

int kb_op1(struct kbuild *b, int op, tgc_type type, int x)
{
	return kb_op(b, op, type, 1, &x);
}

int kb_op2(struct kbuild *b, int op, tgc_type type, int x, int y)
{
	return kb_op(b, op, type, 2, (const int[]){x, y});
}

int kb_select(struct kbuild *b, int c, int x, int y)
{
	return kb_op(b, OP_SELECT, b->k->insts[x].type, 3, (const int[]){c, x, y});
}

int kb_and(struct kbuild *b, int x, int y)
{
	if (x == K_NONE)
		return y;
	if (y == K_NONE)
		return x;
	return kb_op2(b, OP_AND, TGC_BOOL, x, y);
}
