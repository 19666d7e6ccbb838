// Numbers of every element type, exactly as devices compute them: rounding, conversion, folding.
// In:  64-bit numbers (union number) and a type. Out: numbers of that type.
// Not here: operations whose last bit a device may choose (exp, sin, ...); they are not folded.
#include "lib.h"

#include <float.h>
#include <math.h>

__extension__ typedef __int128 wide; // holds every i64 and u64, and their sums and products

static double round_to(double v, int digits, int min_exponent, double max)
{
	if (v == 0 || isnan(v) || isinf(v))
		return v;
	int e = ilogb(v);
	if (e < min_exponent)
		e = min_exponent;
	double unit = ldexp(1, e - digits + 1);
	double r = rint(v / unit) * unit; // exact but for the rint: unit is a power of two
	return fabs(r) > max ? copysign((double)INFINITY, v) : copysign(r, v);
}

static double round_float(tgc_type t, double v)
{
	if (isnan(v))
		return (double)NAN; // one NaN, so that equal literals are equal bits
	switch (t) {
	case TGC_F32:
		return (double)(float)v;
	case TGC_F16:
		return round_to(v, 11, -14, 65504.0);
	case TGC_BF16:
		return round_to(v, 8, -126, 0x1.fep127);
	default:
		return v;
	}
}

static int64_t wrap(tgc_type t, uint64_t v)
{
	switch (t) {
	case TGC_I8:
		return (int8_t)v;
	case TGC_I16:
		return (int16_t)v;
	case TGC_I32:
		return (int32_t)v;
	case TGC_U8:
		return (uint8_t)v;
	case TGC_U16:
		return (uint16_t)v;
	case TGC_U32:
		return (uint32_t)v;
	case TGC_BOOL:
		return (int64_t)(v & 1);
	default:
		return (int64_t)v;
	}
}

static union number of_int(tgc_type t, uint64_t v)
{
	return (union number){.i = wrap(t, v)};
}
static union number of_float(tgc_type t, double v)
{
	return (union number){.f = round_float(t, v)};
}
static wide widen(tgc_type t, union number v)
{
	return t == TGC_U64 ? (wide)(uint64_t)v.i : (wide)v.i;
}

union number number_round(tgc_type t, union number v)
{
	return type_is_float(t) ? of_float(t, v.f) : of_int(t, (uint64_t)v.i);
}

bool number_equal(union number a, union number b)
{
	return a.i == b.i;
}

union number number_from_double(tgc_type t, double v)
{
	if (type_is_float(t))
		return of_float(t, v);
	if (t == TGC_BOOL)
		return (union number){.i = v != 0};
	if (isnan(v))
		return (union number){.i = 0};
	int bits = (int)tgc_type_bytes(t) * 8 - (type_is_signed(t) ? 1 : 0);
	double end = ldexp(1, bits); // first value above the range
	if (v >= end)
		return of_int(t, bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1);
	if (!type_is_signed(t))
		return of_int(t, v <= 0 ? 0 : (uint64_t)v);
	return of_int(t, v <= -end ? (uint64_t)0 - ((uint64_t)1 << bits) : (uint64_t)(int64_t)v);
}

// Directly, so that there is one rounding: int64 to double to float would be two.
static double float_of_int(tgc_type from, tgc_type to, int64_t v)
{
	if (from == TGC_U64)
		return to == TGC_F32 ? (double)(float)(uint64_t)v : round_float(to, (double)(uint64_t)v);
	return to == TGC_F32 ? (double)(float)v : round_float(to, (double)v);
}

union number number_cast(tgc_type from, tgc_type to, union number v)
{
	if (type_is_float(from))
		return number_from_double(to, v.f);
	if (type_is_float(to))
		return (union number){.f = float_of_int(from, to, v.i)};
	if (to == TGC_BOOL)
		return (union number){.i = v.i != 0};
	return of_int(to, (uint64_t)v.i);
}

// One formula of the table in f64, f32 or exact integers; 16-bit floats compute in f32.
#define IN_ARITHMETIC(type, member, RESULT, FOLD)                                                              \
	{                                                                                                      \
		const type x = in->x_##member, y = in->y_##member;                                             \
		(void)x, (void)y;                                                                              \
		RESULT = (FOLD);                                                                               \
		break;                                                                                         \
	}
struct operands {
	tgc_type t;
	double x_f64, y_f64;
	float x_f32, y_f32;
	wide x_int, y_int;
	bool folded;
	double f;
	wide i;
};

#define TG_NOFOLD (in->folded = false)
#define VALUE_CASE(ID, FOLD)                                                                                   \
	case OP_##ID:                                                                                          \
		if (in->t == TGC_F64)                                                                          \
			IN_ARITHMETIC(double, f64, in->f, FOLD)                                                \
		if (type_is_float(in->t))                                                                      \
			IN_ARITHMETIC(float, f32, in->f, (double)(FOLD))                                       \
		IN_ARITHMETIC(wide, int, in->i, FOLD)
#define TG_UNARY(ID, NAME, TYPES, LF, LI, LU, C, FOLD, GX, LO, HI) VALUE_CASE(ID, FOLD)
#define TG_BINARY(ID, NAME, TYPES, LF, LI, LU, C, FOLD, GX, GY, LO, HI) VALUE_CASE(ID, FOLD)
#define TG_COMPARE(ID, NAME, TYPES, LF, LI, LU, C, FOLD)                                                       \
	case OP_##ID:                                                                                          \
		if (type_is_float(in->t))                                                                      \
			IN_ARITHMETIC(double, f64, in->i, FOLD)                                                \
		IN_ARITHMETIC(wide, int, in->i, FOLD)
static bool by_formula(int op, struct operands *in)
{
	in->folded = true;
	switch (op) {
#include "ops.def"
	default:
		in->folded = false;
	}
	return in->folded;
}

static wide floor_div(wide x, wide y)
{
	wide q = x / y;
	return x % y != 0 && (x < 0) != (y < 0) ? q - 1 : q;
}

// Shifts by the width or more: nothing is left but the sign.
static wide shift(int op, tgc_type t, wide x, wide y)
{
	int width = t == TGC_BOOL ? 1 : (int)tgc_type_bytes(t) * 8;
	bool beyond = y < 0 || y >= width; // a negative amount is a huge one
	if (op == OP_SHL)
		return beyond ? 0 : (wide)((uint64_t)x << (int)y);
	return beyond ? (x < 0 ? -1 : 0) : x >> (int)y;
}

// Exact although the table leaves them to instructions: integers.
static bool by_hand_int(int op, struct operands *in)
{
	wide x = in->x_int, y = in->y_int;
	switch (op) {
	case OP_NOT:
		in->i = in->t == TGC_BOOL ? x == 0 : ~x;
		return true;
	case OP_MUL: // before the formula: the exact product of two u64 does not fit
		in->i = (wide)((uint64_t)x * (uint64_t)y);
		return true;
	case OP_DIV:
		in->i = y == 0 ? -1 : floor_div(x, y);
		return true;
	case OP_MOD:
		in->i = y == 0 ? x : x - floor_div(x, y) * y;
		return true;
	case OP_MAX:
		in->i = x > y ? x : y;
		return true;
	case OP_MIN:
		in->i = x < y ? x : y;
		return true;
	case OP_AND:
		in->i = x & y;
		return true;
	case OP_OR:
		in->i = x | y;
		return true;
	case OP_XOR:
		in->i = x ^ y;
		return true;
	case OP_SHL:
	case OP_SHR:
		in->i = shift(op, in->t, x, y);
		return true;
	default:
		return false;
	}
}

// The same for floats: correctly rounded in every implementation. 16-bit results of f32 arithmetic are too,
// since f32 has more than twice their digits.
static bool by_hand_float(int op, struct operands *in)
{
	double x = in->x_f64, y = in->y_f64;
	bool f64 = in->t == TGC_F64;
	switch (op) {
	case OP_ABS:
		in->f = fabs(x);
		return true;
	case OP_SQRT:
		in->f = f64 ? sqrt(x) : (double)sqrtf(in->x_f32);
		return true;
	case OP_FLOOR:
		in->f = floor(x);
		return true;
	case OP_ROUND:
		in->f = rint(x);
		return true;
	case OP_DIV:
		in->f = f64 ? x / y : (double)(in->x_f32 / in->y_f32);
		return true;
	case OP_MAX:
		in->f = isnan(x) || x > y ? x : y;
		return true;
	case OP_MIN:
		in->f = isnan(x) || x < y ? x : y;
		return true;
	default:
		return false;
	}
}

static bool fold_ternary(int op, tgc_type t, const union number *src, union number *out)
{
	if (op == OP_SELECT) {
		*out = src[0].i ? src[1] : src[2];
		return true;
	}
	if (op != OP_FMA || (t != TGC_F32 && t != TGC_F64))
		return false;
	double r = t == TGC_F64 ? fma(src[0].f, src[1].f, src[2].f)
	                        : (double)fmaf((float)src[0].f, (float)src[1].f, (float)src[2].f);
	*out = of_float(t, r);
	return true;
}

bool op_fold(int op, tgc_type t, const union number *src, union number *out)
{
	enum op_class k = op_info[op].cls;
	if (k == CLASS_TERNARY)
		return fold_ternary(op, t, src, out);
	if (op == OP_CAST || op == OP_BITCAST || !op_is_elementwise(op))
		return false;
	bool is_float = type_is_float(t), binary = k != CLASS_UNARY;
	struct operands in = {.t = t};
	if (is_float) {
		in.x_f64 = src[0].f;
		in.y_f64 = binary ? src[1].f : 0;
		in.x_f32 = (float)in.x_f64;
		in.y_f32 = (float)in.y_f64;
	} else {
		in.x_int = widen(t, src[0]);
		in.y_int = binary ? widen(t, src[1]) : 0;
	}
	if (!(is_float ? by_hand_float(op, &in) : by_hand_int(op, &in)) && !by_formula(op, &in))
		return false;
	if (k == CLASS_COMPARE)
		out->i = in.i != 0;
	else
		*out = is_float ? of_float(t, in.f) : of_int(t, (uint64_t)in.i);
	return true;
}
