// One element in memory, in its own type.
// In:  a number that its type holds exactly, or bytes. Out: bytes, or a number.
// Not here: rounding (lib/number.c). Memory is little-endian.
#include "runtime.h"

#include <math.h>

static uint16_t half_bits(double v)
{
	uint16_t sign = signbit(v) ? 0x8000 : 0;
	double a = fabs(v);
	int e;

	if (isnan(v))
		return (uint16_t)(sign | 0x7e00);
	if (a > 65504)
		return (uint16_t)(sign | 0x7c00);
	if (a < 0x1p-14)
		return (uint16_t)(sign | (int)(a * 0x1p24));
	double f = frexp(a, &e); // a = f * 2^e, f in [0.5, 1)
	return (uint16_t)(sign | ((e + 14) << 10) | ((int)(f * 2048) - 1024));
}

static double half_value(uint16_t b)
{
	int e = b >> 10 & 31, m = b & 1023;
	double a = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(m + 1024, e - 25) : ldexp(m, -24);

	return b & 0x8000 ? -a : a;
}

static uint32_t float_bits(float f)
{
	uint32_t bits;

	memcpy(&bits, &f, sizeof bits);
	return bits;
}

void number_store(tgc_type t, union number v, void *to)
{
	uint32_t bits = type_is_float(t) ? float_bits((float)v.f) : 0;
	uint16_t half;

	switch (t) {
	case TGC_F32:
		memcpy(to, &bits, sizeof bits);
		break;
	case TGC_F64:
		memcpy(to, &v.f, sizeof v.f);
		break;
	case TGC_F16:
		half = half_bits(v.f);
		memcpy(to, &half, sizeof half);
		break;
	case TGC_BF16:
		half = (uint16_t)(bits >> 16 | (isnan(v.f) ? 64 : 0));
		memcpy(to, &half, sizeof half);
		break;
	default: // the low bytes
		memcpy(to, &v.i, tgc_type_bytes(t));
	}
}

static int64_t load_int(tgc_type t, const void *from)
{
	size_t bytes = tgc_type_bytes(t);
	int shift = 64 - 8 * (int)bytes;
	uint64_t u = 0;

	memcpy(&u, from, bytes);
	return type_is_signed(t) ? (int64_t)(u << shift) >> shift : (int64_t)u;
}

union number number_load(tgc_type t, const void *from)
{
	union number v;
	uint32_t bits = 0;
	uint16_t half;
	float f;

	switch (t) {
	case TGC_F32:
		memcpy(&f, from, sizeof f);
		v.f = (double)f;
		break;
	case TGC_F64:
		memcpy(&v.f, from, sizeof v.f);
		break;
	case TGC_F16:
		memcpy(&half, from, sizeof half);
		v.f = half_value(half);
		break;
	case TGC_BF16:
		memcpy(&half, from, sizeof half);
		bits = (uint32_t)half << 16;
		memcpy(&f, &bits, sizeof f);
		v.f = (double)f;
		break;
	default:
		v.i = load_int(t, from);
	}
	return v;
}
