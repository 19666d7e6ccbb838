// Pass expand: operations whose row in the table says "*" become simpler instructions.
// Requires nothing. Afterwards the emitters know every instruction; RED loops have become SERIAL ones.
// 16-bit floats are computed in f32. Not here: the approximations (expand_math.c, expand_trig.c).
#include "expand.h"

#include <math.h>

// ---- short names ----

int m_num(const struct math *m, double v)
{
	return kb_const(m->b, m->t, (union number){.f = v});
}

int m_op1(const struct math *m, int op, int x)
{
	return kb_op1(m->b, op, m->t, x);
}

int m_op2(const struct math *m, int op, int x, int y)
{
	return kb_op2(m->b, op, m->t, x, y);
}

int m_add(const struct math *m, int x, int y)
{
	return m_op2(m, OP_ADD, x, y);
}

int m_sub(const struct math *m, int x, int y)
{
	return m_op2(m, OP_SUB, x, y);
}

int m_mul(const struct math *m, int x, int y)
{
	return m_op2(m, OP_MUL, x, y);
}

int m_div(const struct math *m, int x, int y)
{
	return m_op2(m, OP_DIV, x, y);
}

int m_fma(const struct math *m, int x, int y, int z)
{
	return kb_op(m->b, OP_FMA, m->t, 3, (const int[]){x, y, z});
}

int m_neg(const struct math *m, int x)
{
	return m_op1(m, OP_NEG, x);
}

int m_abs(const struct math *m, int x)
{
	return m_op1(m, OP_ABS, x);
}

int m_lt(const struct math *m, int x, int y)
{
	return kb_op2(m->b, OP_LT, TGC_BOOL, x, y);
}

int m_eq(const struct math *m, int x, int y)
{
	return kb_op2(m->b, OP_EQ, TGC_BOOL, x, y);
}

int m_select(const struct math *m, int c, int x, int y)
{
	return kb_select(m->b, c, x, y);
}

// FMAX and FMIN give their second operand when one is NaN.
int m_clamp(const struct math *m, int x, double lo, double hi)
{
	return m_op2(m, OP_FMIN, m_num(m, hi), m_op2(m, OP_FMAX, m_num(m, lo), x));
}

int m_poly(const struct math *m, int x, int n, const double *c)
{
	int r = m_num(m, c[n - 1]);

	for (int i = n - 2; i >= 0; i--)
		r = m_fma(m, r, x, m_num(m, c[i]));
	return r;
}

// ---- floats ----

// max and min that hand NaN on. The test for NaN is on the operand that is not carried by a loop, so that it
// stays off the critical path.
static int extremum(const struct math *m, int op, int x, int y)
{
	if (m->b->k->insts[x].op == K_ARG) {
		int swap = x;
		x = y;
		y = swap;
	}
	int r = m_op2(m, op == OP_MAX ? OP_FMAX : OP_FMIN, x, y);
	return m_select(m, kb_op2(m->b, OP_NE, TGC_BOOL, x, x), x, r);
}

// x - floor(x / y) * y, with the divisor's sign. The rounded quotient may be one too large; one that overflows
// stands for a remainder that is lost anyway, unless it is 0.
static int float_mod(const struct math *m, int x, int y)
{
	int zero = m_num(m, 0), inf = m_num(m, INFINITY), q = m_op1(m, OP_FLOOR, m_div(m, x, y));
	int r = m_select(m, m_eq(m, q, zero), x, m_fma(m, m_neg(m, q), y, x));
	int signs = kb_op2(m->b, OP_NE, TGC_BOOL, m_lt(m, r, zero), m_lt(m, y, zero));
	int some = kb_op2(m->b, OP_NE, TGC_BOOL, r, zero);
	r = m_select(m, kb_and(m->b, signs, some), m_add(m, r, y), r);
	int over = kb_and(m->b, m_eq(m, m_abs(m, q), inf), m_lt(m, m_abs(m, x), inf));
	over = kb_and(m->b, over, kb_op2(m->b, OP_NE, TGC_BOOL, y, zero));
	return m_select(m, over, zero, r);
}

static int expand_float(const struct math *m, int op, int x, int y)
{
	switch (op) {
	case OP_EXP:
		return expand_exp(m, x);
	case OP_LOG:
		return expand_log(m, x);
	case OP_SIN:
		return expand_sin(m, x);
	case OP_COS:
		return expand_cos(m, x);
	case OP_TANH:
		return expand_tanh(m, x);
	case OP_ERF:
		return expand_erf(m, x);
	case OP_TRUNC:
		return m_op2(m, OP_COPYSIGN, m_op1(m, OP_FLOOR, m_op1(m, OP_ABS, x)), x);
	case OP_MOD:
		return float_mod(m, x, y);
	case OP_MAX:
	case OP_MIN:
		return extremum(m, op, x, y);
	default:
		return K_NONE;
	}
}

// ---- integers ----

static int number(const struct math *m, int64_t v)
{
	return kb_const(m->b, m->t, (union number){.i = v});
}

// Floor division; by zero -1 (all ones), INT_MIN / -1 wraps. The machine's division only sees divisors that
// cannot trap.
static int int_div(const struct math *m, int x, int y)
{
	int zero = number(m, 0), one = number(m, 1), minus = number(m, -1);
	int by_zero = m_eq(m, y, zero);

	if (!type_is_signed(m->t))
		return m_select(m, by_zero, minus, m_op2(m, OP_TDIV, x, m_select(m, by_zero, one, y)));
	int by_minus = m_eq(m, y, minus);
	int safe = m_select(m, kb_op2(m->b, OP_OR, TGC_BOOL, by_zero, by_minus), one, y);
	int q = m_op2(m, OP_TDIV, x, safe), r = m_sub(m, x, m_mul(m, q, safe));
	int signs = kb_op2(m->b, OP_NE, TGC_BOOL, m_lt(m, r, zero), m_lt(m, safe, zero));
	int some = kb_op2(m->b, OP_NE, TGC_BOOL, r, zero);
	q = m_select(m, kb_and(m->b, signs, some), m_sub(m, q, one), q);
	return m_select(m, by_zero, minus, m_select(m, by_minus, m_neg(m, x), q));
}

// The divisor's sign; by zero the dividend.
static int int_mod(const struct math *m, int x, int y)
{
	int zero = number(m, 0), one = number(m, 1);
	int by_zero = m_eq(m, y, zero);

	if (!type_is_signed(m->t))
		return m_select(m, by_zero, x, m_op2(m, OP_TMOD, x, m_select(m, by_zero, one, y)));
	int by_minus = m_eq(m, y, number(m, -1));
	int safe = m_select(m, kb_op2(m->b, OP_OR, TGC_BOOL, by_zero, by_minus), one, y);
	int r = m_op2(m, OP_TMOD, x, safe);
	int signs = kb_op2(m->b, OP_NE, TGC_BOOL, m_lt(m, r, zero), m_lt(m, safe, zero));
	int some = kb_op2(m->b, OP_NE, TGC_BOOL, r, zero);
	r = m_select(m, kb_and(m->b, signs, some), m_add(m, r, safe), r);
	return m_select(m, by_zero, x, r);
}

static int shift(const struct math *m, int op, int x, int y)
{
	int bits = (int)tgc_type_bytes(m->t) * 8;
	bool sign = type_is_signed(m->t);
	int fits = m_lt(m, y, number(m, bits));

	if (sign) // a negative amount is a large one
		fits = kb_and(m->b, fits, kb_op2(m->b, OP_LE, TGC_BOOL, number(m, 0), y));
	int last = number(m, bits - 1), amount = m_select(m, fits, y, last);
	if (op == OP_SHR && sign)
		return m_op2(m, OP_SHRX, x, amount);
	return m_select(m, fits, m_op2(m, op == OP_SHL ? OP_SHLX : OP_SHRX, x, amount), number(m, 0));
}

static int expand_int(const struct math *m, int op, int x, int y)
{
	switch (op) {
	case OP_ABS:
		return m_select(m, m_lt(m, x, number(m, 0)), m_neg(m, x), x);
	case OP_DIV:
		return int_div(m, x, y);
	case OP_MOD:
		return int_mod(m, x, y);
	case OP_SHL:
	case OP_SHR:
		return shift(m, op, x, y);
	default:
		return K_NONE;
	}
}

// ---- the pass ----

static bool is_sixteen(tgc_type t)
{
	return t == TGC_F16 || t == TGC_BF16;
}

static int expand_one(struct kbuild *b, int op, tgc_type type, int x, int y)
{
	struct math m = {b, is_sixteen(type) ? TGC_F32 : type};

	if (!type_is_float(type))
		return expand_int(&m, op, x, y);
	if (m.t == type)
		return expand_float(&m, op, x, y);
	x = kb_op1(b, OP_CAST, m.t, x);
	y = y == K_NONE ? y : kb_op1(b, OP_CAST, m.t, y);
	int r = expand_float(&m, op, x, y);
	return r == K_NONE ? r : kb_op1(b, OP_CAST, type, r);
}

static bool is_starred(int op, tgc_type t)
{
	if (op >= OP_COUNT || op_info[op].cls == CLASS_KERNEL)
		return false;
	const char *row = type_is_float(t)    ? op_info[op].llvm_f
	                  : type_is_signed(t) ? op_info[op].llvm_i
	                                      : op_info[op].llvm_u;
	return !strcmp(row, "*");
}

static bool rewrite(struct kcopy *cp, int inst)
{
	const struct kinst *in = &cp->from->insts[inst];

	if (!is_starred(in->op, in->type))
		return false;
	int x = kcopy_value(cp, kernel_src(cp->from, inst, 0));
	int y = in->nsrc > 1 ? kcopy_value(cp, kernel_src(cp->from, inst, 1)) : K_NONE;
	int v = expand_one(cp->b, in->op, in->type, x, y);
	if (v == K_NONE)
		return false;
	cp->map[inst] = v;
	return true;
}

static void copy_phase(struct kcopy *cp, int phase)
{
	cp->inst = rewrite;
	kcopy_phase_begin(cp);
	cp->b->k->blocks[cp->b->k->nphases - 1] = cp->from->blocks[phase];
	cp->b->k->beside[cp->b->k->nphases - 1] = cp->from->beside[phase];
	kcopy_region(cp, cp->from->phases[phase]);
	kcopy_phase_end(cp);
}

// What combines a reduction's terms may be expanded, too: it is then any loop with a carry.
static bool reduction(struct kcopy *cp, int loop)
{
	if (cp->from->loops[loop].kind != AXIS_RED)
		return false;
	kcopy_loop_as(cp, loop, AXIS_SERIAL);
	return true;
}

void kpass_expand(struct kernel *k, const struct target *t)
{
	(void)t;
	kernel_rebuild_phases(k, copy_phase, reduction, NULL);
}
