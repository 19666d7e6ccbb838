// Names, types and literals of the CUDA emitter, and index arithmetic.
// In:  values of the kernel. Out: C expressions, in the emitter's arena. i64 values whose bounds fit are ints.
// Not here: elementwise instructions (emit_cuda_op.c), memory.
#include "emit_cuda.h"

#include <math.h>

void cuda_fail(struct cuda *e, const char *error)
{
	if (!e->error)
		e->error = error;
}

static const char *format(struct cuda *e, const char *fmt, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	char *p = n >= 0 ? arena_alloc(&e->arena, (size_t)n + 1) : NULL;
	if (!p)
		return "";
	vsnprintf(p, (size_t)n + 1, fmt, ap);
	return p;
}

const char *cuda_text(struct cuda *e, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	const char *s = format(e, fmt, ap);
	va_end(ap);
	return s;
}

void cuda_line(struct cuda *e, const char *fmt, ...)
{
	static const char tabs[] = "\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t";
	va_list ap;
	va_start(ap, fmt);
	const char *s = format(e, fmt, ap);
	va_end(ap);
	int n = e->indent < (int)sizeof tabs - 1 ? e->indent : (int)sizeof tabs - 1;
	text_add(e->out, "%.*s%s\n", n, tabs, s);
}

// ---- types and literals

const char *cuda_type(tgc_type t)
{
	switch (t) {
	case TGC_F64:
		return "double";
	case TGC_F32:
		return "float";
	case TGC_F16:
		return "tg_f16";
	case TGC_BF16:
		return "tg_bf16";
	case TGC_I8:
		return "signed char";
	case TGC_I16:
		return "short";
	case TGC_I32:
		return "int";
	case TGC_I64:
		return "long long";
	case TGC_U8:
		return "unsigned char";
	case TGC_U16:
		return "unsigned short";
	case TGC_U32:
		return "unsigned int";
	case TGC_U64:
		return "unsigned long long";
	default:
		return "tg_bool";
	}
}

const char *cuda_memory_type(tgc_type t)
{
	return t == TGC_BOOL ? "unsigned char" : cuda_type(t);
}

const char *cuda_type_of(const struct cuda *e, int v)
{
	return e->values[v].narrow ? "int" : cuda_type((tgc_type)e->k->insts[v].type);
}

static const char *float_literal(struct cuda *e, tgc_type t, double v)
{
	char digits[40];
	bool wide = t == TGC_F64;
	if (isnan(v))
		return wide ? "tg_f64_from_bits(0x7ff8000000000000ULL)" : "tg_f32_from_bits(0x7fc00000u)";
	if (isinf(v) && wide)
		return v > 0 ? "tg_f64_from_bits(0x7ff0000000000000ULL)"
		             : "tg_f64_from_bits(0xfff0000000000000ULL)";
	if (isinf(v))
		return v > 0 ? "tg_f32_from_bits(0x7f800000u)" : "tg_f32_from_bits(0xff800000u)";
	snprintf(digits, sizeof digits, "%.*g", wide ? 17 : 9, v);
	bool plain = !strpbrk(digits, ".e");
	return cuda_text(e, signbit(v) ? "(%s%s%s)" : "%s%s%s", digits, plain ? ".0" : "", wide ? "" : "f");
}

const char *cuda_literal(struct cuda *e, tgc_type t, union number n, bool narrow)
{
	if (t == TGC_F16 || t == TGC_BF16)
		return cuda_text(e, "tg_%s_from_f32(%s)", tgc_type_name(t), float_literal(e, TGC_F32, n.f));
	if (type_is_float(t))
		return float_literal(e, t, n.f);
	if (t == TGC_U64)
		return cuda_text(e, "%lluULL", (unsigned long long)n.i);
	if (t == TGC_U32)
		return cuda_text(e, "%uu", (unsigned)n.i);
	if (n.i == INT64_MIN)
		return "(-9223372036854775807LL - 1)";
	if (n.i == INT32_MIN && (t == TGC_I32 || narrow))
		return "(-2147483647 - 1)";
	return cuda_text(e, n.i < 0 ? "(%lld%s)" : "%lld%s", (long long)n.i,
	                 t == TGC_I64 && !narrow ? "LL" : "");
}

const char *cuda_identity(struct cuda *e, int combine, tgc_type t)
{
	union number n = {.i = 0};
	switch (combine) {
	case OP_MUL:
		n = number_from_double(t, 1);
		break;
	case OP_MAX:
		n = number_from_double(t, -(double)INFINITY);
		break;
	case OP_MIN:
		n = number_from_double(t, (double)INFINITY);
		break;
	case OP_AND:
		n.i = t == TGC_BOOL ? 1 : -1;
		break;
	default:
		break;
	}
	return cuda_literal(e, t, n, false);
}

// ---- names

static int slot(const struct cuda *e, uint32_t deps, const struct combo *c)
{
	int at = 0;
	for (int a = 0; a < CUDA_AXES; a++)
		if (deps >> a & 1)
			at = at * (int)e->extent[a] + c->i[a];
	return at;
}

const char *cuda_name(struct cuda *e, int v, const struct combo *c)
{
	const struct kinst *in = &e->k->insts[v];
	const struct cvalue *x = &e->values[v];
	const char *stem = in->op == K_INDEX                    ? cuda_text(e, "i%d", in->aux)
	                   : in->op == K_ARG || in->op == K_RES ? cuda_text(e, "c%d_%d", in->aux, (int)in->imm)
	                                                        : cuda_text(e, "v%d", v);
	return x->deps ? cuda_text(e, "%s_%d", stem, slot(e, x->deps, c)) : stem;
}

const char *cuda_ref(struct cuda *e, int v, const struct combo *c)
{
	const struct kinst *in = &e->k->insts[v];
	if (in->op == K_CONST)
		return cuda_literal(e, (tgc_type)in->type, (union number){.i = in->imm}, e->values[v].narrow);
	if (in->op == K_SCALAR)
		return cuda_text(e, in->type == TGC_BOOL ? "(s%d[0] != 0)" : "s%d[0]", in->aux);
	if (in->op == K_INDEX && e->loops[in->aux].axis >= 0 && !e->loops[in->aux].copied)
		return cuda_text(e, "%d", c->i[e->loops[in->aux].axis]);
	return cuda_name(e, v, c);
}

// ---- index arithmetic

// No partial sum of the terms leaves the range of int.
static bool sums_fit(const struct cuda *e, int v)
{
	const struct kernel *k = e->k;
	const struct kinst *in = &k->insts[v];
	int64_t lo = in->imm < 0 ? in->imm : 0, hi = in->imm > 0 ? in->imm : 0;
	for (int i = 0; i < in->nsrc; i++) {
		const struct kinst *x = &k->insts[kernel_src(k, v, i)];
		int64_t c = k->coefs[in->src_at + i], a, b;
		if (!e->values[kernel_src(k, v, i)].narrow || __builtin_mul_overflow(c, x->lo, &a) ||
		    __builtin_mul_overflow(c, x->hi, &b))
			return false;
		int64_t least = a < b ? a : b, most = a < b ? b : a;
		if (__builtin_add_overflow(lo, least < 0 ? least : 0, &lo) ||
		    __builtin_add_overflow(hi, most > 0 ? most : 0, &hi))
			return false;
	}
	return lo >= INT32_MIN && hi <= INT32_MAX;
}

const char *cuda_affine(struct cuda *e, int v, const struct combo *c, int without)
{
	const struct kernel *k = e->k;
	const struct kinst *in = &k->insts[v];
	bool narrow = e->values[v].narrow && sums_fit(e, v);
	const char *suffix = narrow ? "" : "LL", *sum = NULL;
	int64_t imm = in->imm;
	for (int i = 0; i < in->nsrc; i++) {
		int x = kernel_src(k, v, i), loop = k->insts[x].aux;
		int64_t coef = k->coefs[in->src_at + i];
		if (x == without)
			continue;
		if (k->insts[x].op == K_INDEX && e->loops[loop].axis >= 0 && !e->loops[loop].copied) {
			imm += coef * c->i[e->loops[loop].axis];
			continue;
		}
		const char *term = cuda_ref(e, x, c);
		if (!narrow)
			term = cuda_text(e, "(long long)%s", term);
		if (coef == -1 && sum) {
			sum = cuda_text(e, "%s - %s", sum, term);
			continue;
		}
		if (coef != 1)
			term = cuda_text(e, coef < 0 ? "%s * (%lld%s)" : "%s * %lld%s", term, (long long)coef,
			                 suffix);
		sum = sum ? cuda_text(e, "%s + %s", sum, term) : term;
	}
	if (!sum)
		return cuda_text(e, "%lld%s", (long long)imm, suffix);
	if (imm)
		sum = cuda_text(e, imm < 0 ? "%s - %lld%s" : "%s + %lld%s", sum,
		                (long long)(imm < 0 ? -imm : imm), suffix);
	return e->values[v].narrow && !narrow ? cuda_text(e, "(int)(%s)", sum) : sum;
}

const char *cuda_divide(struct cuda *e, int v, const struct combo *c)
{
	const struct kinst *in = &e->k->insts[v];
	int x = kernel_src(e->k, v, 0);
	bool narrow = e->values[x].narrow && in->imm <= INT32_MAX, natural = e->k->insts[x].lo >= 0;
	const char *ref = cuda_ref(e, x, c), *r;
	if (natural)
		r = cuda_text(e,
		              narrow ? "(int)((unsigned int)%s %c %lldu)"
		                     : "(long long)((unsigned long long)%s %c %lldULL)",
		              ref, in->op == K_IDIV ? '/' : '%', (long long)in->imm);
	else
		r = cuda_text(e, "tg_%s_%s(%s, %lld%s)", in->op == K_IDIV ? "floordiv" : "floormod",
		              narrow ? "i32" : "i64", ref, (long long)in->imm, narrow ? "" : "LL");
	return e->values[v].narrow && !narrow ? cuda_text(e, "(int)%s", r) : r;
}
