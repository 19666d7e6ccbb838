// Elementwise instructions as C expressions, by the operation table.
// In:  operation, operand type, operands as C expressions. Out: an expression of the result's type.
// Integers wrap: they are computed unsigned. 16-bit floats are computed in f32. Not here: what the pass expand
// rewrites.
#include "emit_cuda.h"

static bool is_sixteen(tgc_type t)
{
	return t == TGC_F16 || t == TGC_BF16;
}

static const char *widened(struct cuda *e, tgc_type t, const char *x)
{
	return is_sixteen(t) ? cuda_text(e, "tg_f32_from_%s(%s)", tgc_type_name(t), x) : x;
}

// ---- casts, by NUMERICS: to integers truncating and saturating, NaN to 0; 16-bit floats round once

static const char *to_sixteen(struct cuda *e, tgc_type from, tgc_type to, const char *x)
{
	const char *name = tgc_type_name(to);
	size_t bytes = from == TGC_BOOL ? 1 : tgc_type_bytes(from);
	if (from == TGC_F32 || (!type_is_float(from) && bytes <= 2))
		return cuda_text(e, "tg_%s_from_f32((float)%s)", name, x);
	if (!type_is_float(from) && bytes == 8)
		return cuda_text(e, "tg_%s_from_f64(tg_f64_sticky_%s(%s))", name, tgc_type_name(from), x);
	return cuda_text(e, "tg_%s_from_f64((double)%s)", name, x);
}

const char *cuda_cast(struct cuda *e, tgc_type from, tgc_type to, const char *x)
{
	if (from == to)
		return x;
	if (is_sixteen(from)) {
		x = widened(e, from, x);
		return cuda_cast(e, TGC_F32, to, x);
	}
	if (to == TGC_BOOL)
		return cuda_text(e, type_is_float(from) ? "(tg_bool)(%s != 0.0f)" : "(tg_bool)(%s != 0)", x);
	if (is_sixteen(to))
		return to_sixteen(e, from, to, x);
	if (type_is_float(from) && !type_is_float(to))
		return cuda_text(e, "tg_%s_from_%s(%s)", tgc_type_name(to), tgc_type_name(from), x);
	return cuda_text(e, "(%s)%s", cuda_type(to), x);
}

static const char *bitcast(struct cuda *e, tgc_type from, tgc_type to, const char *x)
{
	size_t bytes = tgc_type_bytes(from);
	bool was = type_is_float(from) && bytes > 2, is = type_is_float(to) && bytes > 2;
	const char *name = bytes == 8 ? "f64" : "f32";
	if (was == is) // 16-bit floats are their bits
		return to == TGC_BOOL ? cuda_text(e, "(tg_bool)(%s != 0)", x)
		                      : cuda_text(e, "(%s)%s", cuda_type(to), x);
	if (was)
		return cuda_text(e, "(%s)tg_bits_from_%s(%s)", cuda_type(to), name, x);
	return cuda_text(e, "tg_%s_from_bits((%s)%s)", name, bytes == 8 ? "unsigned long long" : "unsigned int",
	                 x);
}

// ---- the table's C spellings

// "$0 + $1", "tg_max($0, $1)": a function's name gets the type's.
static const char *spelled(struct cuda *e, const char *form, tgc_type t, const char *const *x)
{
	const char *r = "";
	for (const char *p = form; *p; p++) {
		if (*p == '$')
			r = cuda_text(e, "%s%s", r, x[*++p - '0']);
		else if (*p == '(' && form[0] == 't')
			r = cuda_text(e, "%s_%s(", r, tgc_type_name(t));
		else
			r = cuda_text(e, "%s%c", r, *p);
	}
	return r;
}

static bool is_unsigned(tgc_type t)
{
	return t == TGC_U32 || t == TGC_U64;
}

static bool wraps(int op)
{
	return op == OP_ADD || op == OP_SUB || op == OP_MUL || op == OP_NEG || op == OP_SHLX;
}

// Unsigned operands, at least an int wide, so that nothing overflows as a signed number.
static void unsign(struct cuda *e, tgc_type t, const char *const *x, const char **u, int n)
{
	for (int i = 0; i < n; i++)
		u[i] = cuda_text(e, "(%s)%s", tgc_type_bytes(t) == 8 ? "unsigned long long" : "unsigned int",
		                 x[i]);
}

static const char *kernel_op(struct cuda *e, int op, tgc_type t, const char *const *x)
{
	const char *type = cuda_type(t), *name = tgc_type_name(t);
	switch (op) {
	case OP_TDIV:
		return cuda_text(e, "(%s)((%s)%s / (%s)%s)", type, type, x[0], type, x[1]);
	case OP_TMOD:
		return cuda_text(e, "(%s)((%s)%s %% (%s)%s)", type, type, x[0], type, x[1]);
	case OP_SHLX:
		return cuda_text(e, "(%s)(%s << (int)%s)", type, x[0], x[1]);
	case OP_SHRX:
		return cuda_text(e, "(%s)((%s)%s >> (int)%s)", type, type, x[0], x[1]);
	case OP_MULHI:
		return cuda_text(e, "tg_mulhi_u32(%s, %s)", x[0], x[1]);
	case OP_COPYSIGN:
		return cuda_text(e, "tg_copysign_%s(%s, %s)", name, x[0], x[1]);
	case OP_FMAX:
		return cuda_text(e, "%s > %s ? %s : %s", x[0], x[1], x[0], x[1]);
	case OP_FMIN:
		return cuda_text(e, "%s < %s ? %s : %s", x[0], x[1], x[0], x[1]);
	case OP_LDEXP:
		return cuda_text(e, "tg_ldexp_%s(%s, %s)", name, x[0], x[1]);
	default:
		cuda_fail(e, "an operation that CUDA C does not know");
		return x[0];
	}
}

const char *cuda_op(struct cuda *e, int op, tgc_type t, const char *const *x)
{
	const struct op_info *info = &op_info[op];
	const char *u[3] = {x[0], x[1], x[2]}, *r;
	int n = info->cls == CLASS_UNARY ? 1 : op == OP_FMA ? 3 : 2;
	if (op == OP_SELECT)
		return cuda_text(e, "%s ? %s : %s", x[0], x[1], x[2]);
	if (is_sixteen(t)) {
		for (int i = 0; i < n; i++)
			u[i] = widened(e, t, x[i]);
		r = cuda_op(e, op, TGC_F32, u);
		return info->cls == CLASS_COMPARE ? r : cuda_text(e, "tg_%s_from_f32(%s)", tgc_type_name(t), r);
	}
	if (op == OP_FMA)
		return cuda_text(e, "tg_fma_%s(%s, %s, %s)", tgc_type_name(t), x[0], x[1], x[2]);
	if (op == OP_NOT && t == TGC_BOOL)
		return cuda_text(e, "(tg_bool)!%s", x[0]);
	if (!type_is_float(t) && !is_unsigned(t) && wraps(op))
		unsign(e, t, x, u, n);
	if (info->cls == CLASS_KERNEL)
		return kernel_op(e, op, t, u);
	if (op == OP_ABS && !type_is_float(t)) // unsigned; others are expanded
		return x[0];
	if (info->c[0] == '*' || !info->c[0]) {
		cuda_fail(e, "an operation that has no C spelling (the pass expand rewrites it)");
		return x[0];
	}
	r = spelled(e, info->c, t, u);
	return type_is_float(t) || is_unsigned(t) || info->cls == CLASS_COMPARE
	           ? r
	           : cuda_text(e, "(%s)(%s)", cuda_type(t), r);
}

// ---- instructions

// i64 values are computed as int where operands and result fit, and the operation can be done on any part.
static bool in_int(const struct cuda *e, int inst)
{
	const struct kinst *in = &e->k->insts[inst];
	bool fits = in->type != TGC_I64 || e->values[inst].narrow;
	bool some = in->op == OP_ADD || in->op == OP_SUB || in->op == OP_MUL || in->op == OP_NEG ||
	            in->op == OP_MAX || in->op == OP_MIN || in->op == OP_SELECT ||
	            op_info[in->op].cls == CLASS_COMPARE || in->op == OP_CAST;
	for (int s = 0; s < in->nsrc; s++) {
		int v = kernel_src(e->k, inst, s);
		fits &= e->k->insts[v].type != TGC_I64 || e->values[v].narrow;
	}
	return fits && some;
}

const char *cuda_elementwise(struct cuda *e, int inst, const struct combo *c)
{
	const struct kernel *k = e->k;
	const struct kinst *in = &k->insts[inst];
	const char *x[3] = {0};
	bool small = in_int(e, inst);
	for (int s = 0; s < in->nsrc && s < 3; s++) {
		int v = kernel_src(k, inst, s);
		x[s] = cuda_ref(e, v, c);
		if (!small && e->values[v].narrow)
			x[s] = cuda_text(e, "(long long)%s", x[s]);
	}
	tgc_type from = (tgc_type)k->insts[kernel_src(k, inst, in->nsrc - 1)].type, to = (tgc_type)in->type;
	from = small && from == TGC_I64 ? TGC_I32 : from;
	to = e->values[inst].narrow && small ? TGC_I32 : to;
	const char *r = in->op == OP_CAST      ? cuda_cast(e, from, to, x[0])
	                : in->op == OP_BITCAST ? bitcast(e, from, to, x[0])
	                                       : cuda_op(e, in->op, from, x);
	return e->values[inst].narrow && !small ? cuda_text(e, "(int)(%s)", r) : r;
}
