// Casts, bit casts and host memory for the oracle: its own reading of every type.
// Not here: arithmetic (interp_scalar.c).
#include "interp.h"

#include <math.h>

int64_t interp_float_to_int(tgc_type t, double v)
{
	int bits = interp_bits(t);

	if (t == TGC_BOOL)
		return v != 0;
	if (isnan(v))
		return 0;
	v = trunc(v);
	if (interp_is_unsigned(t)) {
		if (v <= 0)
			return 0;
		if (v >= ldexp(1.0, bits))
			return interp_wrap(t, -1);
		return (int64_t)(uint64_t)v;
	}
	if (v >= ldexp(1.0, bits - 1))
		return (int64_t)((UINT64_C(1) << (bits - 1)) - 1);
	if (v <= -ldexp(1.0, bits - 1))
		return -(int64_t)((UINT64_C(1) << (bits - 1)) - 1) - 1;
	return (int64_t)v;
}

double interp_int_to_float(tgc_type to, tgc_type from, int64_t v)
{
	if (to == TGC_F32) // once, not by way of f64
		return from == TGC_U64 ? (double)(float)(uint64_t)v : (double)(float)v;
	return interp_round(to, from == TGC_U64 ? (double)(uint64_t)v : (double)v);
}

static double decode16(uint16_t bits, int digits)
{
	int fraction_bits = digits - 1, exponent_bits = 15 - fraction_bits;
	int bias = (1 << (exponent_bits - 1)) - 1;
	int e = bits >> fraction_bits & ((1 << exponent_bits) - 1);
	int m = bits & ((1 << fraction_bits) - 1);
	double v;

	if (e == (1 << exponent_bits) - 1)
		v = m ? NAN : INFINITY;
	else if (e == 0)
		v = ldexp(m, 1 - bias - fraction_bits);
	else
		v = ldexp(m + (1 << fraction_bits), e - bias - fraction_bits);
	return bits & 0x8000 ? -v : v;
}

// v is a value of the type already.
static uint16_t encode16(double v, int digits)
{
	int fraction_bits = digits - 1, exponent_bits = 15 - fraction_bits;
	int bias = (1 << (exponent_bits - 1)) - 1, e;
	int top = ((1 << exponent_bits) - 1) << fraction_bits;
	int sign = signbit(v) ? 0x8000 : 0;
	double m = fabs(v);

	if (isnan(v))
		return (uint16_t)(top | 1 << (fraction_bits - 1));
	if (isinf(v))
		return (uint16_t)(sign | top);
	if (m < ldexp(1.0, 1 - bias))
		return (uint16_t)(sign | (int)ldexp(m, bias - 1 + fraction_bits));
	m = frexp(m, &e); // m in [1/2, 1)
	return (uint16_t)(sign | (e - 1 + bias) << fraction_bits |
	                  ((int)ldexp(m, digits) - (1 << fraction_bits)));
}

double interp_load_f(tgc_type t, const void *data, int64_t at)
{
	const uint16_t *half = data;

	switch (t) {
	case TGC_F64:
		return ((const double *)data)[at];
	case TGC_F16:
		return decode16(half[at], 11);
	case TGC_BF16:
		return decode16(half[at], 8);
	default:
		return (double)((const float *)data)[at];
	}
}

void interp_store_f(tgc_type t, void *data, int64_t at, double v)
{
	uint16_t *half = data;

	switch (t) {
	case TGC_F64:
		((double *)data)[at] = v;
		break;
	case TGC_F16:
		half[at] = encode16(interp_round(t, v), 11);
		break;
	case TGC_BF16:
		half[at] = encode16(interp_round(t, v), 8);
		break;
	default:
		((float *)data)[at] = (float)v;
		break;
	}
}

int64_t interp_load_i(tgc_type t, const void *data, int64_t at)
{
	switch (t) {
	case TGC_I8:
		return ((const int8_t *)data)[at];
	case TGC_I16:
		return ((const int16_t *)data)[at];
	case TGC_I32:
		return ((const int32_t *)data)[at];
	case TGC_U8:
		return ((const uint8_t *)data)[at];
	case TGC_U16:
		return ((const uint16_t *)data)[at];
	case TGC_U32:
		return ((const uint32_t *)data)[at];
	case TGC_BOOL:
		return ((const uint8_t *)data)[at] != 0;
	default:
		return ((const int64_t *)data)[at];
	}
}

void interp_store_i(tgc_type t, void *data, int64_t at, int64_t v)
{
	switch (interp_bits(t)) {
	case 8:
		((uint8_t *)data)[at] = (uint8_t)v;
		break;
	case 16:
		((uint16_t *)data)[at] = (uint16_t)v;
		break;
	case 32:
		((uint32_t *)data)[at] = (uint32_t)v;
		break;
	default:
		((int64_t *)data)[at] = v;
		break;
	}
}

static struct fnum cast_float(tgc_type from, tgc_type to, struct fnum x)
{
	struct fnum r = interp_finish(to, x.v, x.b, interp_eps(to) > interp_eps(from) ? 1 : 0, isfinite(x.v));

	r.unsure |= x.unsure;
	return r;
}

void interp_cast(struct interp *it, const struct pnode *n, struct interp_value *out)
{
	const struct interp_value *src = &it->v[n->src[0]];
	tgc_type from = src->type, to = out->type;

	for (int64_t i = 0; i < out->elems; i++) {
		struct fnum x = interp_get(src, i);

		if (src->f && out->f) {
			interp_put(out, i, cast_float(from, to, x));
		} else if (src->f) {
			out->i[i] = interp_float_to_int(to, x.v);
			out->unsure[i] =
			    x.unsure || (x.b > 0 && (interp_float_to_int(to, x.v - x.b) != out->i[i] ||
			                             interp_float_to_int(to, x.v + x.b) != out->i[i]));
			if (to == TGC_BOOL && x.b > 0 && fabs(x.v) <= x.b)
				out->unsure[i] = 1;
		} else if (out->f) {
			out->f[i] = interp_int_to_float(to, from, src->i[i]);
			// Sixteen bits may be reached by way of f32.
			out->bound[i] = interp_bits(to) == 16 ? interp_eps(to) * fabs(out->f[i]) : 0;
			out->unsure[i] = src->unsure[i];
		} else {
			out->i[i] = to == TGC_BOOL ? src->i[i] != 0 : interp_wrap(to, src->i[i]);
			out->unsure[i] = src->unsure[i];
		}
	}
}

void interp_bitcast(struct interp *it, const struct pnode *n, struct interp_value *out)
{
	const struct interp_value *src = &it->v[n->src[0]];

	for (int64_t i = 0; i < out->elems; i++) {
		_Alignas(8) uint8_t bits[8] = {0};

		if (src->f)
			interp_store_f(src->type, bits, 0, src->f[i]);
		else
			interp_store_i(src->type, bits, 0, src->i[i]);
		if (out->f)
			out->f[i] = interp_load_f(out->type, bits, 0);
		else
			out->i[i] = interp_load_i(out->type, bits, 0);
		// The bits of a NaN are nobody's promise, nor those of a value known to a bound.
		out->unsure[i] =
		    src->unsure[i] || (src->f && !out->f && (src->bound[i] > 0 || isnan(src->f[i])));
		if (out->f && src->f)
			out->bound[i] = src->bound[i];
	}
}
