// One element in memory, in its own type.
// In:  a number that its type holds exactly; or bytes. Out: bytes; or a double.
// Not here: rounding (lib/number.c).
#include "runtime.h"

#include <math.h>

static uint16_t half_bits(double v)
{
	uint16_t sign = signbit(v) ? 0x8000 : 0;
	double a = fabs(v);
	int e;

	if (isnan(v))
		return sign | 0x7e00;
	if (a > 65504)
		return sign | 0x7c00;
	if (a < 0x1p-14)
		return (uint16_t)(sign | (uint16_t)(a * 0x1p24));
	double f = frexp(a, &e); // a = f * 2^e, f in [0.5, 1)
	return (uint16_t)(sign | ((e + 14) << 10) | ((int)(f * 2048) - 1024));
}

static double half_value(uint16_t b)
{
	int e = b >> 10 & 31, m = b & 1023;
	double a = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(m + 1024, e - 25) : ldexp(m, -24);

	return b & 0x8000 ? -a : a;
}

void cell_store(tgc_type t, union number v, void *p)
{
	float f = (float)(type_is_float(t) ? v.f : 0);
	uint32_t bits;
	uint16_t half;

	memcpy(&bits, &f, sizeof bits);
	switch (t) {
	case TGC_F32:
		memcpy(p, &f, sizeof f);
		break;
	case TGC_F64:
		memcpy(p, &v.f, sizeof v.f);
		break;
	case TGC_F16:
		half = half_bits(v.f);
		memcpy(p, &half, sizeof half);
		break;
	case TGC_BF16:
		half = (uint16_t)(bits >> 16 | (isnan(f) ? 64 : 0));
		memcpy(p, &half, sizeof half);
		break;
	default: // integers and bool: the low bytes
		memcpy(p, &v.i, tgc_type_bytes(t));
	}
}

static double load_int(tgc_type t, const void *p)
{
	size_t bytes = tgc_type_bytes(t);
	int shift = 64 - 8 * (int)bytes;
	uint64_t u = 0;

	memcpy(&u, p, bytes);
	if (type_is_signed(t))
		return (double)((int64_t)(u << shift) >> shift);
	return (double)u;
}

double cell_load(tgc_type t, const void *p)
{
	double d;
	float f;
	uint16_t half;
	uint32_t bits;

	switch (t) {
	case TGC_F32:
		memcpy(&f, p, sizeof f);
		return f;
	case TGC_F64:
		memcpy(&d, p, sizeof d);
		return d;
	case TGC_F16:
		memcpy(&half, p, sizeof half);
		return half_value(half);
	case TGC_BF16:
		memcpy(&half, p, sizeof half);
		bits = (uint32_t)half << 16;
		memcpy(&f, &bits, sizeof f);
		return f;
	default:
		return load_int(t, p);
	}
}
