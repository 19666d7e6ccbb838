// Declarations of what the device's part of the CUDA prelude defines, so that a C compiler can read kernels.
// In:  nothing. Out: names and types. Not here: anything that runs.
#define TG_KERNEL(name, threads) void name
#define TG_GLOBAL
#define TG_RESTRICT __restrict
#define TG_SHARED(type, name, n) static type name[n]
#define TG_SHARED_ALL static char tg_shared[1 << 18]
#define TG_SHARED_PART(type, name, n, offset) type *const name = (type *)(void *)(tg_shared + offset)
#define TG_TABLE(type, name, n) static const type name[n]
#define TG_DEV static inline
#define TG_UNROLL
#define TG_UNROLL_BY(n)
#define TG_ALIGN(n) __attribute__((aligned(n)))
typedef _Bool tg_bool;
typedef unsigned short tg_f16, tg_bf16;
int tg_thread(void), tg_block(void);
void tg_barrier(void), tg_warp_sync(unsigned int mask);
float tg_shfl_xor_f32(unsigned int mask, float x, int m);
double tg_shfl_xor_f64(unsigned int mask, double x, int m);
int tg_shfl_xor_i32(unsigned int mask, int x, int m);
long long tg_shfl_xor_i64(unsigned int mask, long long x, int m);
float tg_f32_from_f16(tg_f16), tg_f32_from_bf16(tg_bf16), tg_f32_from_bits(unsigned int);
double tg_f64_from_bits(unsigned long long);
tg_f16 tg_f16_from_f32(float);
tg_bf16 tg_bf16_from_f32(float);
unsigned int tg_bits_from_f32(float), tg_mulhi_u32(unsigned int, unsigned int);
unsigned long long tg_bits_from_f64(double);
float tg_abs_f32(float), tg_sqrt_f32(float), tg_floor_f32(float), tg_rint_f32(float);
double tg_abs_f64(double), tg_sqrt_f64(double), tg_floor_f64(double), tg_rint_f64(double);
float tg_copysign_f32(float, float), tg_fma_f32(float, float, float);
double tg_copysign_f64(double, double), tg_fma_f64(double, double, double);
void tg_ldmatrix_x4(unsigned int *r, const void *row), tg_ldmatrix_x4_trans(unsigned int *r, const void *row);
void tg_cp_async4_if(int ok, void *to, const void *from), tg_cp_async8_if(int ok, void *to, const void *from);
void tg_cp_async16_if(int ok, void *to, const void *from), tg_cp_async_commit(void), tg_cp_async_wait(int groups);
void tg_mma_16816_f16(float *c, const unsigned int *a, const unsigned int *b);
void tg_mma_1688_tf32(float *c, const unsigned int *a, const unsigned int *b);
unsigned int tg_tf32_from_f32(float);
void tg_mma_16816_bf16(float *c, const unsigned int *a, const unsigned int *b);
