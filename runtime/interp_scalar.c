// Scalar meaning of the elementwise operations for the oracle, by NUMERICS: floats in f64 with an error
// bound, integers in 64 bits wrapped to their type.
// Not here: casts (interp_convert.c), anything with an index.
#include "interp.h"

#include <float.h>
#include <math.h>

struct format {     // of a float type
	int digits; // of the significand, with the hidden one
	int lowest; // exponent of the smallest positive value
	double max;
};

static struct format format_of(tgc_type t)
{
	switch (t) {
	case TGC_F64:
		return (struct format){53, -1074, DBL_MAX};
	case TGC_F16:
		return (struct format){11, -24, 65504.0};
	case TGC_BF16:
		return (struct format){8, -133, 0x1.fep127};
	default:
		return (struct format){24, -149, FLT_MAX};
	}
}

bool interp_is_float(tgc_type t)
{
	return t == TGC_F32 || t == TGC_F64 || t == TGC_F16 || t == TGC_BF16;
}

bool interp_is_unsigned(tgc_type t)
{
	return t == TGC_U8 || t == TGC_U16 || t == TGC_U32 || t == TGC_U64 || t == TGC_BOOL;
}

int interp_bits(tgc_type t)
{
	switch (t) {
	case TGC_I8:
	case TGC_U8:
	case TGC_BOOL:
		return 8;
	case TGC_I16:
	case TGC_U16:
	case TGC_F16:
	case TGC_BF16:
		return 16;
	case TGC_I32:
	case TGC_U32:
	case TGC_F32:
		return 32;
	default:
		return 64;
	}
}

double interp_eps(tgc_type t)
{
	return ldexp(1.0, 1 - format_of(t).digits);
}

double interp_max(tgc_type t)
{
	return format_of(t).max;
}

double interp_tiny(tgc_type t)
{
	return ldexp(1.0, format_of(t).lowest);
}

double interp_round(tgc_type t, double v)
{
	struct format f = format_of(t);
	int e;

	if (t == TGC_F64 || v == 0 || !isfinite(v))
		return v;
	if (t == TGC_F32)
		return (double)(float)v;
	(void)frexp(v, &e); // |v| in [2^(e-1), 2^e)
	e -= f.digits;
	if (e < f.lowest)
		e = f.lowest;
	v = ldexp(rint(ldexp(v, -e)), e);
	return fabs(v) > f.max ? copysign(INFINITY, v) : v;
}

int64_t interp_wrap(tgc_type t, int64_t v)
{
	int shift = 64 - interp_bits(t);

	if (t == TGC_BOOL)
		return v & 1;
	if (interp_is_unsigned(t))
		return (int64_t)((uint64_t)v << shift >> shift);
	return (int64_t)((uint64_t)v << shift) >> shift;
}

struct fnum interp_finish(tgc_type t, double r, double b, double ulps, bool finite)
{
	struct fnum out = {interp_round(t, r), 0, false};
	double max = interp_max(t);

	if (isnan(out.v))
		return out;
	if (isinf(out.v)) {
		// An overflow is certain only when the whole interval overflows.
		out.unsure = finite && (isinf(r) ? b > 0 : fabs(r) - b < max * (1 + 4 * interp_eps(t)));
		return out;
	}
	out.b = b + ulps * interp_eps(t) * fabs(out.v);
	if (ulps > 0 && fabs(out.v) < ldexp(interp_tiny(t), format_of(t).digits + 2))
		out.b += 2 * interp_tiny(t);
	out.unsure = !(fabs(out.v) + out.b <= max);
	return out;
}

// The own error of a correctly rounded operation on operands with error b. From equal operands f32 and f64
// come out equal; sixteen bits may be kept wider, so there only an exact result is certain.
static double own_ulps(tgc_type t, double b, bool exact)
{
	return b == 0 && (exact || interp_bits(t) > 16) ? 0 : 1;
}

static struct fnum unsure_at(tgc_type t, double r)
{
	return (struct fnum){interp_round(t, r), 0, true};
}

// The value of a function that grows (or falls) everywhere: the bound from the ends of the interval.
static struct fnum monotone(tgc_type t, struct fnum x, double (*fn)(double), double ulps)
{
	double r = fn(x.v), lo = fn(x.v - x.b), hi = fn(x.v + x.b), b = 0;

	if (x.b > 0)
		b = fmax(fabs(hi - r), fabs(r - lo));
	return interp_finish(t, r, b, ulps, isfinite(x.v));
}

// floor and round: certain when both ends agree.
static struct fnum step(tgc_type t, struct fnum x, double (*fn)(double))
{
	if (x.b > 0 && fn(x.v - x.b) != fn(x.v + x.b))
		return unsure_at(t, fn(x.v));
	return interp_finish(t, fn(x.v), 0, 0, isfinite(x.v));
}

static struct fnum logarithm(tgc_type t, struct fnum x)
{
	double b = 0;

	if (x.b > 0) {
		if (x.v + x.b < 0)
			return (struct fnum){NAN, 0, false};
		if (x.v - x.b <= 0)
			return unsure_at(t, log(x.v));
		b = log(x.v) - log(x.v - x.b);
	}
	return interp_finish(t, log(x.v), b, 5, true);
}

static struct fnum root(tgc_type t, struct fnum x)
{
	double b = 0;

	if (x.b > 0) {
		if (x.v + x.b < 0)
			return (struct fnum){NAN, 0, false};
		if (x.v - x.b < 0)
			return unsure_at(t, sqrt(x.v));
		b = x.b / (sqrt(x.v) + sqrt(x.v - x.b)); // the difference, which would cancel
	}
	return interp_finish(t, sqrt(x.v), b, own_ulps(t, b, false), true);
}

static struct fnum wave(tgc_type t, struct fnum x, double (*fn)(double))
{
	return interp_finish(t, fn(x.v), fmin(x.b, 2), 5, true);
}

struct fnum interp_unary_f(int op, tgc_type t, struct fnum x)
{
	struct fnum r;

	switch (op) {
	case OP_DETACH:
		r = x;
		break;
	case OP_NEG:
		r = (struct fnum){-x.v, x.b, false};
		break;
	case OP_ABS:
		r = (struct fnum){fabs(x.v), x.b, false};
		break;
	case OP_EXP:
		r = monotone(t, x, exp, 5);
		break;
	case OP_LOG:
		r = logarithm(t, x);
		break;
	case OP_SQRT:
		r = root(t, x);
		break;
	case OP_SIN:
		r = wave(t, x, sin);
		break;
	case OP_COS:
		r = wave(t, x, cos);
		break;
	case OP_TANH:
		r = monotone(t, x, tanh, 5);
		break;
	case OP_ERF:
		r = monotone(t, x, erf, 5);
		break;
	case OP_FLOOR:
		r = step(t, x, floor);
		break;
	case OP_ROUND:
		r = step(t, x, rint);
		break;
	case OP_TRUNC:
		r = step(t, x, trunc);
		break;
	default:
		assert(!"a unary operation on floats");
		r = unsure_at(t, x.v);
		break;
	}
	r.unsure |= x.unsure;
	return r;
}

int64_t interp_unary_i(int op, tgc_type t, int64_t x)
{
	uint64_t u = (uint64_t)x;

	switch (op) {
	case OP_DETACH:
		return x;
	case OP_NEG:
		return interp_wrap(t, (int64_t)(0 - u));
	case OP_ABS:
		return !interp_is_unsigned(t) && x < 0 ? interp_wrap(t, (int64_t)(0 - u)) : x;
	case OP_NOT:
		return interp_wrap(t, (int64_t)~u);
	default:
		assert(!"a unary operation on integers");
		return x;
	}
}

static struct fnum sum(tgc_type t, struct fnum x, struct fnum y)
{
	double r = x.v + y.v, b = x.b + y.b;

	return interp_finish(t, r, b, own_ulps(t, b, interp_round(t, r) == r), isfinite(x.v) && isfinite(y.v));
}

static struct fnum product(tgc_type t, struct fnum x, struct fnum y)
{
	double b = 0, r = x.v * y.v;
	bool exact = interp_round(t, r) == r && fma(x.v, y.v, -r) == 0;

	if ((isinf(x.v) && y.b > 0 && fabs(y.v) <= y.b) || (isinf(y.v) && x.b > 0 && fabs(x.v) <= x.b))
		return unsure_at(t, r);
	if (isfinite(x.v) && isfinite(y.v))
		b = fabs(x.v) * y.b + fabs(y.v) * x.b + x.b * y.b;
	// An inexact product may be fused into a sum, which then sees more of it.
	return interp_finish(t, r, b, exact && b == 0 ? 0 : 1, isfinite(x.v) && isfinite(y.v));
}

static struct fnum quotient(tgc_type t, struct fnum x, struct fnum y)
{
	double r = x.v / y.v, b = 0;

	if (y.b > 0 && fabs(y.v) <= y.b)
		return unsure_at(t, r);
	if (y.v == 0 && x.b > 0 && fabs(x.v) <= x.b)
		return unsure_at(t, r);
	if (isfinite(r) && isfinite(y.v))
		b = (x.b + fabs(r) * y.b) / (fabs(y.v) - y.b);
	return interp_finish(t, r, b, own_ulps(t, b, false), isfinite(x.v) && isfinite(y.v) && y.v != 0);
}

// x - floor(x / y) * y, with the divisor's sign. An implementation may round the quotient, so a quotient
// next to an integer is a decision, and one too large to have a fraction leaves no remainder to speak of.
static struct fnum modulo(tgc_type t, struct fnum x, struct fnum y)
{
	double r = fmod(x.v, y.v), q = x.v / y.v, spread;

	if (isnan(r))
		return y.b > 0 && fabs(y.v) <= y.b ? unsure_at(t, r) : (struct fnum){NAN, 0, false};
	if (r != 0 && (r < 0) != (y.v < 0))
		r += y.v;
	if (isinf(y.v) || (y.b > 0 && fabs(y.v) <= y.b) || fabs(q) * interp_eps(t) > 1)
		return unsure_at(t, r);
	spread = (x.b + fabs(q) * y.b) / (fabs(y.v) - y.b);
	if (x.b > 0 || y.b > 0 || fmod(x.v, y.v) != 0) {
		spread += 4 * interp_eps(t) * (fabs(q) + 1e-3);
		if (floor(q - spread) != floor(q + spread))
			return unsure_at(t, r);
	}
	return interp_finish(t, r, x.b + (fabs(q) + 1) * y.b + 2 * interp_eps(t) * (fabs(x.v) + fabs(y.v)), 1,
	                     true);
}

static struct fnum extremum(bool max, struct fnum x, struct fnum y)
{
	struct fnum hi, lo, out;

	if (isnan(x.v) || isnan(y.v))
		return (struct fnum){NAN, 0, false};
	hi = max == (x.v >= y.v) ? x : y;
	lo = max == (x.v >= y.v) ? y : x;
	out = hi;
	if (isfinite(hi.v) && fabs(hi.v - lo.v) <= hi.b + lo.b)
		out.b = fmax(hi.b, lo.b);
	if (hi.v == 0 && lo.v == 0 && signbit(hi.v) != signbit(lo.v)) // either zero is right
		out.b = fmax(out.b, interp_tiny(TGC_F64));
	return out;
}

struct fnum interp_binary_f(int op, tgc_type t, struct fnum x, struct fnum y)
{
	struct fnum r;

	switch (op) {
	case OP_ADD:
		r = sum(t, x, y);
		break;
	case OP_SUB:
		r = sum(t, x, (struct fnum){-y.v, y.b, y.unsure});
		break;
	case OP_MUL:
		r = product(t, x, y);
		break;
	case OP_DIV:
		r = quotient(t, x, y);
		break;
	case OP_MOD:
		r = modulo(t, x, y);
		break;
	case OP_MAX:
		r = extremum(true, x, y);
		break;
	case OP_MIN:
		r = extremum(false, x, y);
		break;
	default:
		assert(!"a binary operation on floats");
		r = unsure_at(t, x.v);
		break;
	}
	r.unsure |= x.unsure | y.unsure;
	return r;
}

static int64_t divide_floor(tgc_type t, int64_t x, int64_t y)
{
	int64_t q;

	if (y == 0)
		return interp_wrap(t, -1);
	if (interp_is_unsigned(t))
		return (int64_t)((uint64_t)x / (uint64_t)y);
	if (y == -1)
		return interp_wrap(t, (int64_t)(0 - (uint64_t)x));
	q = x / y;
	return q * y != x && (x < 0) != (y < 0) ? q - 1 : q;
}

static int64_t modulo_floor(tgc_type t, int64_t x, int64_t y)
{
	int64_t r;

	if (y == 0)
		return x;
	if (interp_is_unsigned(t))
		return (int64_t)((uint64_t)x % (uint64_t)y);
	if (y == -1)
		return 0;
	r = x % y;
	return r != 0 && (r < 0) != (y < 0) ? r + y : r;
}

static int64_t shift(tgc_type t, bool left, int64_t x, int64_t y)
{
	bool wide = (uint64_t)y >= (uint64_t)interp_bits(t);

	if (left)
		return wide ? 0 : interp_wrap(t, (int64_t)((uint64_t)x << y));
	if (interp_is_unsigned(t))
		return wide ? 0 : (int64_t)((uint64_t)x >> y);
	return wide ? -(int64_t)(x < 0) : x >> y;
}

int64_t interp_binary_i(int op, tgc_type t, int64_t x, int64_t y)
{
	uint64_t a = (uint64_t)x, b = (uint64_t)y;

	switch (op) {
	case OP_ADD:
		return interp_wrap(t, (int64_t)(a + b));
	case OP_SUB:
		return interp_wrap(t, (int64_t)(a - b));
	case OP_MUL:
		return interp_wrap(t, (int64_t)(a * b));
	case OP_DIV:
		return divide_floor(t, x, y);
	case OP_MOD:
		return modulo_floor(t, x, y);
	case OP_MAX:
		return interp_compare_i(OP_LT, t, x, y) ? y : x;
	case OP_MIN:
		return interp_compare_i(OP_LT, t, x, y) ? x : y;
	case OP_AND:
		return x & y;
	case OP_OR:
		return x | y;
	case OP_XOR:
		return x ^ y;
	case OP_SHL:
		return shift(t, true, x, y);
	case OP_SHR:
		return shift(t, false, x, y);
	default:
		assert(!"a binary operation on integers");
		return x;
	}
}

struct fnum interp_fma(tgc_type t, struct fnum x, struct fnum y, struct fnum z)
{
	bool finite = isfinite(x.v) && isfinite(y.v) && isfinite(z.v);
	double r = t == TGC_F32 ? (double)fmaf((float)x.v, (float)y.v, (float)z.v) : fma(x.v, y.v, z.v);
	struct fnum p = product(t, x, y), out;
	double b = finite ? fabs(x.v) * y.b + fabs(y.v) * x.b + x.b * y.b + z.b : 0;

	out = interp_finish(t, r, b, own_ulps(t, b, false), finite);
	out.unsure |= x.unsure | y.unsure | z.unsure | (!finite && p.unsure);
	return out;
}

bool interp_compare_f(int op, struct fnum x, struct fnum y, bool *unsure)
{
	*unsure = x.unsure || y.unsure || (x.b + y.b > 0 && fabs(x.v - y.v) <= x.b + y.b);
	switch (op) {
	case OP_LT:
		return x.v < y.v;
	case OP_LE:
		return x.v <= y.v;
	case OP_EQ:
		return x.v == y.v;
	default:
		return x.v != y.v;
	}
}

bool interp_compare_i(int op, tgc_type t, int64_t x, int64_t y)
{
	bool less = interp_is_unsigned(t) ? (uint64_t)x < (uint64_t)y : x < y;

	switch (op) {
	case OP_LT:
		return less;
	case OP_LE:
		return less || x == y;
	case OP_EQ:
		return x == y;
	default:
		return x != y;
	}
}
