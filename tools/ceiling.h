// Ceilings of the machine at hand, measured in the same run as what is compared with them.
// In:  a thread count. Out: f32 FMA rate and copy bandwidth. Not here: workloads (bench_workloads.c).
#ifndef TG_CEILING_H
#define TG_CEILING_H

#include <stddef.h>

double ceiling_now(void);                 // seconds
double ceiling_fma(int threads);          // f32 GFLOP/s of independent fused multiply-adds
// GB/s moved (read plus written) by the better of plain and non-temporal copy of `bytes` bytes.
double ceiling_copy(int threads, float *to, const float *from, size_t bytes);

#endif
