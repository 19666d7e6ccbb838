// The device's part of the prelude of generated CUDA C, for NVRTC: no include. common.h follows it.
// In:  nothing. Out: the names emit_cuda.c lists. Not here: kernels, what is plain C.
#define TG_KERNEL(name, threads) extern "C" __global__ void __launch_bounds__(threads) name
#define TG_GLOBAL
#define TG_RESTRICT __restrict__
#define TG_SHARED(type, name, n) __shared__ TG_ALIGN(16) type name[n]
#define TG_SHARED_ALL extern __shared__ TG_ALIGN(16) char tg_shared[]
#define TG_SHARED_PART(type, name, n, offset) type *const name = (type *)(tg_shared + offset)
#define TG_TABLE(type, name, n) static __device__ const type name[n]
#define TG_DEV static __device__ __forceinline__
#define TG_PRAGMA(text) _Pragma(#text)
#define TG_UNROLL TG_PRAGMA(unroll)
#define TG_UNROLL_BY(n) TG_PRAGMA(unroll n)
#define TG_ALIGN(n) __align__(n)
#define tg_thread() ((int)threadIdx.x)
#define tg_block() ((int)blockIdx.x)
#define tg_barrier() __syncthreads()
#define tg_warp_sync(mask) __syncwarp(mask)
#define tg_shfl_xor_f32(mask, x, m) __shfl_xor_sync(mask, x, m)
#define tg_shfl_xor_f64(mask, x, m) __shfl_xor_sync(mask, x, m)
#define tg_shfl_xor_i32(mask, x, m) __shfl_xor_sync(mask, x, m)
#define tg_shfl_xor_i64(mask, x, m) __shfl_xor_sync(mask, x, m)
typedef bool tg_bool;
typedef unsigned short tg_f16;
typedef unsigned short tg_bf16;
TG_DEV float tg_f32_from_f16(tg_f16 x) { float r; asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(x)); return r; }
TG_DEV tg_f16 tg_f16_from_f32(float x) { tg_f16 r; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(x)); return r; }
TG_DEV unsigned int tg_bits_from_f32(float x) { return __float_as_uint(x); }
TG_DEV float tg_f32_from_bits(unsigned int x) { return __uint_as_float(x); }
TG_DEV unsigned long long tg_bits_from_f64(double x) { return (unsigned long long)__double_as_longlong(x); }
TG_DEV double tg_f64_from_bits(unsigned long long x) { return __longlong_as_double((long long)x); }
TG_DEV float tg_f32_from_bf16(tg_bf16 x) { return tg_f32_from_bits((unsigned int)x << 16); }
#if __CUDA_ARCH__ >= 800
TG_DEV tg_bf16 tg_bf16_from_f32(float x) { tg_bf16 r; asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(x)); return r; }
#else
TG_DEV tg_bf16 tg_bf16_from_f32(float x)
{
	unsigned int b = tg_bits_from_f32(x);
	return (tg_bf16)(x != x ? 0x7fff : (b + 0x7fff + (b >> 16 & 1)) >> 16);
}
#endif
TG_DEV float tg_abs_f32(float x) { return fabsf(x); }
TG_DEV double tg_abs_f64(double x) { return fabs(x); }
TG_DEV float tg_sqrt_f32(float x) { return __fsqrt_rn(x); }
TG_DEV double tg_sqrt_f64(double x) { return __dsqrt_rn(x); }
TG_DEV float tg_floor_f32(float x) { return floorf(x); }
TG_DEV double tg_floor_f64(double x) { return floor(x); }
TG_DEV float tg_rint_f32(float x) { return rintf(x); }
TG_DEV double tg_rint_f64(double x) { return rint(x); }
TG_DEV float tg_fma_f32(float x, float y, float z) { return __fmaf_rn(x, y, z); }
TG_DEV double tg_fma_f64(double x, double y, double z) { return __fma_rn(x, y, z); }
TG_DEV float tg_copysign_f32(float x, float y) { return copysignf(x, y); }
TG_DEV double tg_copysign_f64(double x, double y) { return copysign(x, y); }
TG_DEV unsigned int tg_mulhi_u32(unsigned int x, unsigned int y) { return __umulhi(x, y); }
TG_DEV unsigned int tg_shared_address(const void *p) { return (unsigned int)__cvta_generic_to_shared(p); }
#if __CUDA_ARCH__ >= 800
// Zeros unless `ok`.
#define TG_CP_ASYNC(bytes, kind) TG_DEV void tg_cp_async##bytes##_if(int ok, void *to, const void *from) \
{ \
	asm volatile("cp.async." kind ".shared.global [%0], [%1], " #bytes ", %2;" \
	             ::"r"(tg_shared_address(to)), "l"(from), "r"(ok ? bytes : 0) : "memory"); \
}
TG_CP_ASYNC(4, "ca")
TG_CP_ASYNC(8, "ca")
TG_CP_ASYNC(16, "cg")
#define tg_cp_async_commit() asm volatile("cp.async.commit_group;" ::: "memory")
#define tg_cp_async_wait(n) asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory")
TG_DEV void tg_mma_16816_bf16(float *c, const unsigned int *a, const unsigned int *b)
{
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
	             : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
	             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
TG_DEV unsigned int tg_tf32_from_f32(float x)
{
	unsigned int r;
	asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
	return r;
}
TG_DEV void tg_mma_1688_tf32(float *c, const unsigned int *a, const unsigned int *b)
{
	asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
	             : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
	             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
TG_DEV void tg_mma_16816_f16(float *c, const unsigned int *a, const unsigned int *b)
{
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
	             : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
	             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif
#define TG_LDMATRIX(name, kind) TG_DEV void name(unsigned int *r, const void *row) \
{ \
	asm volatile("ldmatrix.sync.aligned.m8n8.x4" kind ".shared.b16 {%0,%1,%2,%3}, [%4];" \
	             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(tg_shared_address(row)) : "memory"); \
}
TG_LDMATRIX(tg_ldmatrix_x4, "")
TG_LDMATRIX(tg_ldmatrix_x4_trans, ".trans")
