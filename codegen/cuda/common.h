// The part of the prelude of generated CUDA C that is plain C over the device's part; whatever stands in for the
// device (an emulation on a CPU, say) goes before it. Out: what emit_cuda*.c print besides operators.
TG_DEV int tg_floordiv_i32(int x, int d) { return x / d - (x % d < 0); }
TG_DEV int tg_floormod_i32(int x, int d) { int r = x % d; return r < 0 ? r + d : r; }
TG_DEV long long tg_floordiv_i64(long long x, long long d) { return x / d - (x % d < 0); }
TG_DEV long long tg_floormod_i64(long long x, long long d) { long long r = x % d; return r < 0 ? r + d : r; }
TG_DEV unsigned int tg_group_mask(int n)
{
	return n >= 32 ? 0xffffffffu : ((1u << n) - 1u) << (tg_thread() & 31 & ~(n - 1));
}
// max and min hand NaN on.
#define TG_EXTREMA(type, name) \
	TG_DEV type tg_max_##name(type x, type y) { return x != x || x > y ? x : y; } \
	TG_DEV type tg_min_##name(type x, type y) { return x != x || x < y ? x : y; }
TG_EXTREMA(float, f32)
TG_EXTREMA(double, f64)
TG_EXTREMA(signed char, i8)
TG_EXTREMA(short, i16)
TG_EXTREMA(int, i32)
TG_EXTREMA(long long, i64)
TG_EXTREMA(unsigned char, u8)
TG_EXTREMA(unsigned short, u16)
TG_EXTREMA(unsigned int, u32)
TG_EXTREMA(unsigned long long, u64)
// To integers: truncated, the ends where it is outside, 0 for NaN.
#define TG_TRUNCATE(type, name, float_type, float_name, lo, hi, least, most) \
	TG_DEV type tg_##name##_from_##float_name(float_type x) \
	{ \
		return x != x ? (type)0 : x <= lo ? (type)least : x >= hi ? (type)most : (type)x; \
	}
#define TG_TRUNCATES(type, name, lo, hi, least, most) \
	TG_TRUNCATE(type, name, float, f32, lo##f, hi##f, least, most) \
	TG_TRUNCATE(type, name, double, f64, lo, hi, least, most)
TG_TRUNCATES(signed char, i8, -128.0, 127.0, -128, 127)
TG_TRUNCATES(short, i16, -32768.0, 32767.0, -32768, 32767)
TG_TRUNCATES(int, i32, -2147483648.0, 2147483648.0, (-2147483647 - 1), 2147483647)
TG_TRUNCATES(long long, i64, -9223372036854775808.0, 9223372036854775808.0, (-9223372036854775807LL - 1), 9223372036854775807LL)
TG_TRUNCATES(unsigned char, u8, 0.0, 255.0, 0, 255)
TG_TRUNCATES(unsigned short, u16, 0.0, 65535.0, 0, 65535)
TG_TRUNCATES(unsigned int, u32, 0.0, 4294967296.0, 0, 4294967295u)
TG_TRUNCATES(unsigned long long, u64, 0.0, 18446744073709551616.0, 0, 18446744073709551615ULL)
// f64 to 16 bits: rounded to odd on the way, so that the last rounding is the only one that counts.
TG_DEV float tg_f32_odd(double x)
{
	float f = (float)x;
	unsigned int b = tg_bits_from_f32(f);
	if (x != x || (double)f == x)
		return f;
	return tg_f32_from_bits((tg_abs_f64((double)f) > tg_abs_f64(x) ? b - 1 : b) | 1u);
}
TG_DEV tg_f16 tg_f16_from_f64(double x) { return tg_f16_from_f32(tg_f32_odd(x)); }
TG_DEV tg_bf16 tg_bf16_from_f64(double x) { return tg_bf16_from_f32(tg_f32_odd(x)); }
// What a 53-bit significand would lose stays in its last bit.
#define TG_STICKY(type, name) TG_DEV double tg_f64_sticky_##name(type x) \
{ \
	unsigned long long u = (unsigned long long)x; \
	if (u + (1ULL << 52) >= 1ULL << 53) \
		u = (u & ~0xfffULL) | (unsigned long long)((u & 0xfffULL) != 0) << 11; \
	return (double)(type)u; \
}
TG_STICKY(long long, i64)
TG_STICKY(unsigned long long, u64)
// x * 2^n in two steps, so that the only rounding is the last product's.
TG_DEV float tg_ldexp_f32(float x, float n)
{
	int i = (int)(n < 252.0f ? n > -252.0f ? n : -252.0f : 252.0f), half = i >> 1;
	x *= tg_f32_from_bits((unsigned int)(half + 127) << 23);
	return x * tg_f32_from_bits((unsigned int)(i - half + 127) << 23);
}
TG_DEV double tg_ldexp_f64(double x, double n)
{
	int i = (int)(n < 2044.0 ? n > -2044.0 ? n : -2044.0 : 2044.0), half = i >> 1;
	x *= tg_f64_from_bits((unsigned long long)(half + 1023) << 52);
	return x * tg_f64_from_bits((unsigned long long)(i - half + 1023) << 52);
}
#ifndef TG_ALIGNED // a stand-in may look whether p is
#define TG_ALIGNED(p, bytes) (p)
#endif
#define TG_VECTOR(type, name, n) \
	typedef struct TG_ALIGN(n * sizeof(type)) { type x[n]; } tg_##name##x##n; \
	TG_DEV tg_##name##x##n tg_ld##n##_##name(TG_GLOBAL const type *p) \
	{ \
		return *(TG_GLOBAL const tg_##name##x##n *)TG_ALIGNED(p, n * sizeof(type)); \
	} \
	TG_DEV void tg_st##n##_##name(TG_GLOBAL type *p, tg_##name##x##n v) \
	{ \
		*(TG_GLOBAL tg_##name##x##n *)TG_ALIGNED(p, n * sizeof(type)) = v; \
	} \
	TG_DEV tg_##name##x##n tg_zero##n##_##name(void) \
	{ \
		tg_##name##x##n v = {{0}}; \
		return v; \
	}
#define TG_VECTORS_8(type, name) TG_VECTOR(type, name, 4) TG_VECTOR(type, name, 8) TG_VECTOR(type, name, 16)
#define TG_VECTORS_16(type, name) TG_VECTOR(type, name, 2) TG_VECTOR(type, name, 4) TG_VECTOR(type, name, 8)
#define TG_VECTORS_32(type, name) TG_VECTOR(type, name, 2) TG_VECTOR(type, name, 4)
TG_VECTOR(double, f64, 2)
TG_VECTOR(long long, i64, 2)
TG_VECTOR(unsigned long long, u64, 2)
TG_VECTORS_32(float, f32)
TG_VECTORS_32(int, i32)
TG_VECTORS_32(unsigned int, u32)
TG_VECTORS_16(tg_f16, f16)
TG_VECTORS_16(tg_bf16, bf16)
TG_VECTORS_16(short, i16)
TG_VECTORS_16(unsigned short, u16)
TG_VECTORS_8(signed char, i8)
TG_VECTORS_8(unsigned char, u8)
