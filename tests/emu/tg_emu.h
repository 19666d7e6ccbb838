// The vocabulary of generated CUDA C on a CPU: what a kernel's text is compiled behind instead of CUDA's prelude.
// In:  text over tg_* names. Out: GNU C; whatever threads do together goes through tg_machine (machine.c), which
// runs one fiber a thread. No includes: a compiler starts faster without.
// Not here: scheduling, shared memory, fragments (machine.c, warp.c).
#ifndef TG_EMU_H
#define TG_EMU_H

typedef signed char tg_i8;
typedef unsigned char tg_u8;
typedef short tg_i16;
typedef unsigned short tg_u16;
typedef int tg_i32;
typedef unsigned tg_u32;
typedef long long tg_i64;
typedef unsigned long long tg_u64;
typedef _Bool tg_bool;
typedef unsigned short tg_f16, tg_bf16; // their bits

#include "abi.h"
__attribute__((visibility("default"))) struct tg_machine *tg_machine; // set when the library is loaded

#define TG_KERNEL(NAME, THREADS) __attribute__((visibility("default"))) void NAME
#define TG_GLOBAL
#define TG_DEV static inline
#define TG_UNROLL
#define TG_UNROLL_BY(n)
#define TG_RESTRICT
#define TG_ALIGN(n) __attribute__((aligned(n)))
#define TG_TABLE(T, NAME, N) static const T NAME[N]
#define TG_SHARED(T, NAME, N)                                                                                   \
	static char NAME##_key;                                                                                \
	T *const NAME = (T *)tg_machine->shared(&NAME##_key, (long)sizeof(T) * (N), __LINE__)

#define TG_SHARED_ALL
#define TG_SHARED_PART(T, NAME, N, OFFSET) TG_SHARED(T, NAME, N)

#define tg_thread() (tg_machine->thread)
#define tg_block() (tg_machine->block)
#define tg_barrier() tg_machine->barrier(__LINE__)
#define tg_warp_sync(mask) tg_machine->warp_sync(mask, __LINE__)

// ---- shuffles: the bits of a value, by lane -------------------------------------------------------------------
#define TG_SHUFFLE(T, S)                                                                                        \
	static inline T tg_shfl_##S(unsigned mask, T v, int from, int line)                                     \
	{                                                                                                       \
		union {                                                                                         \
			T v;                                                                                    \
			tg_u64 bits;                                                                            \
		} u = {.bits = 0};                                                                              \
		u.v = v;                                                                                        \
		u.bits = tg_machine->shuffle(mask, u.bits, from, line);                                         \
		return u.v;                                                                                     \
	}
TG_SHUFFLE(float, f32)
TG_SHUFFLE(double, f64)
TG_SHUFFLE(int, i32)
TG_SHUFFLE(tg_u32, u32)
TG_SHUFFLE(tg_i64, i64)
TG_SHUFFLE(tg_u64, u64)
#define TG_LANE (tg_machine->thread & 31)
#define tg_shfl_xor_f32(mask, v, x) tg_shfl_f32(mask, v, TG_LANE ^ (x), __LINE__)
#define tg_shfl_xor_f64(mask, v, x) tg_shfl_f64(mask, v, TG_LANE ^ (x), __LINE__)
#define tg_shfl_xor_i32(mask, v, x) tg_shfl_i32(mask, v, TG_LANE ^ (x), __LINE__)
#define tg_shfl_xor_u32(mask, v, x) tg_shfl_u32(mask, v, TG_LANE ^ (x), __LINE__)
#define tg_shfl_xor_i64(mask, v, x) tg_shfl_i64(mask, v, TG_LANE ^ (x), __LINE__)
#define tg_shfl_xor_u64(mask, v, x) tg_shfl_u64(mask, v, TG_LANE ^ (x), __LINE__)
// Past the warp's end a lane keeps its own value.
#define TG_DOWN(d) (TG_LANE + (d) < 32 ? TG_LANE + (d) : TG_LANE)
#define tg_shfl_down_f32(mask, v, d) tg_shfl_f32(mask, v, TG_DOWN(d), __LINE__)
#define tg_shfl_down_f64(mask, v, d) tg_shfl_f64(mask, v, TG_DOWN(d), __LINE__)
#define tg_shfl_down_i32(mask, v, d) tg_shfl_i32(mask, v, TG_DOWN(d), __LINE__)
#define tg_shfl_down_u32(mask, v, d) tg_shfl_u32(mask, v, TG_DOWN(d), __LINE__)
#define tg_shfl_down_i64(mask, v, d) tg_shfl_i64(mask, v, TG_DOWN(d), __LINE__)
#define tg_shfl_down_u64(mask, v, d) tg_shfl_u64(mask, v, TG_DOWN(d), __LINE__)

// Wide accesses are aligned, or the machine stops.
#define TG_ALIGNED(p, bytes) ((tg_u64)(p) % (bytes) ? tg_machine->misaligned(p, (int)(bytes)), (p) : (p))

// ---- one thread's arithmetic ----------------------------------------------------------------------------------
static inline float tg_f32_from_bits(tg_u32 b)
{
	float f;
	__builtin_memcpy(&f, &b, 4);
	return f;
}
static inline tg_u32 tg_bits_from_f32(float f)
{
	tg_u32 b;
	__builtin_memcpy(&b, &f, 4);
	return b;
}
static inline float tg_f32_from_bf16(tg_bf16 h) { return tg_f32_from_bits((tg_u32)h << 16); }
static inline tg_bf16 tg_bf16_from_f32(float f)
{
	tg_u32 b = tg_bits_from_f32(f);
	if ((b & 0x7fffffff) > 0x7f800000)
		return 0x7fff;
	return (tg_bf16)((b + 0x7fff + ((b >> 16) & 1)) >> 16);
}
static inline float tg_f32_from_f16(tg_f16 h)
{
	tg_u32 sign = (tg_u32)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;
	if (e == 31)
		return tg_f32_from_bits(sign | 0x7f800000 | m << 13);
	if (e)
		return tg_f32_from_bits(sign | (e + 112) << 23 | m << 13);
	return tg_f32_from_bits(sign | tg_bits_from_f32((float)m * 0x1p-24f));
}
static inline tg_f16 tg_f16_from_f32(float f)
{
	tg_u32 b = tg_bits_from_f32(f), sign = b >> 16 & 0x8000;
	b &= 0x7fffffff;
	if (b > 0x7f800000)
		return 0x7fff;
	if (b >= 0x477ff000)
		return (tg_f16)(sign | 0x7c00);
	if (b < 0x38800000) // adding one half rounds to its last place, which is that of subnormals
		return (tg_f16)(sign | (tg_bits_from_f32(tg_f32_from_bits(b) + 0.5f) - 0x3f000000));
	return (tg_f16)(sign | (b - 0x38000000 + 0xfff + (b >> 13 & 1)) >> 13);
}
static inline double tg_f64_from_bits(tg_u64 b)
{
	double f;
	__builtin_memcpy(&f, &b, 8);
	return f;
}
static inline tg_u64 tg_bits_from_f64(double f)
{
	tg_u64 b;
	__builtin_memcpy(&b, &f, 8);
	return b;
}
#define TG_UNARY(NAME)                                                                                          \
	static inline float tg_##NAME##_f32(float x) { return __builtin_##NAME##f(x); }                         \
	static inline double tg_##NAME##_f64(double x) { return __builtin_##NAME(x); }
TG_UNARY(sqrt)
TG_UNARY(floor)
TG_UNARY(rint)
static inline float tg_abs_f32(float x) { return __builtin_fabsf(x); }
static inline double tg_abs_f64(double x) { return __builtin_fabs(x); }
static inline float tg_copysign_f32(float x, float y) { return __builtin_copysignf(x, y); }
static inline double tg_copysign_f64(double x, double y) { return __builtin_copysign(x, y); }
static inline float tg_fma_f32(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline double tg_fma_f64(double a, double b, double c) { return __builtin_fma(a, b, c); }
static inline tg_u32 tg_mulhi_u32(tg_u32 x, tg_u32 y) { return (tg_u32)((tg_u64)x * y >> 32); }
static inline int tg_atomic_or_i32(int *p, int v)
{
	int old = *p;
	*p = old | v;
	return old;
}

// ---- copies that a thread waits for, and fragments ------------------------------------------------------------
#define tg_cp_async4_if(ok, to, from) tg_machine->copy(to, from, 4, ok, __LINE__)
#define tg_cp_async8_if(ok, to, from) tg_machine->copy(to, from, 8, ok, __LINE__)
#define tg_cp_async16_if(ok, to, from) tg_machine->copy(to, from, 16, ok, __LINE__)
#define tg_cp_async16(to, from) tg_cp_async16_if(1, to, from)
#define tg_cp_async_commit() tg_machine->copy_commit()
#define tg_cp_async_wait(n) tg_machine->copy_wait(n)
#define tg_ldmatrix_x4(r, row) tg_machine->ldmatrix(r, row, 4, 0, __LINE__)
#define tg_ldmatrix_x4_trans(r, row) tg_machine->ldmatrix(r, row, 4, 1, __LINE__)
#define tg_ldmatrix_x2(r, row) tg_machine->ldmatrix(r, row, 2, 0, __LINE__)
#define tg_ldmatrix_x2_trans(r, row) tg_machine->ldmatrix(r, row, 2, 1, __LINE__)
#define tg_mma_16816_f16(c, a, b) tg_machine->mma(c, a, b, TG_MMA_F16, __LINE__)
#define tg_mma_16816_bf16(c, a, b) tg_machine->mma(c, a, b, TG_MMA_BF16, __LINE__)
#define tg_mma_1688_tf32(c, a, b) tg_machine->mma(c, a, b, TG_MMA_TF32, __LINE__)
// Ten bits of fraction, ties away from zero (cvt.rna).
static inline tg_u32 tg_tf32_from_f32(float f)
{
	tg_u32 b = tg_bits_from_f32(f);
	return (b & 0x7fffffff) >= 0x7f800000 ? b : (b + 0x1000) & ~0x1fffu;
}

#endif
