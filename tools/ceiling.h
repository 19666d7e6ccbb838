// Ceilings of the machine at hand, measured in the same run as what is compared with them.
// In:  a thread count. Out: f32 FMA rate and copy bandwidth. Not here: workloads (bench_workloads.c).
#ifndef TG_CEILING_H
#define TG_CEILING_H

#include <stddef.h>

double ceiling_now(void); // seconds
// Threads that sleep between samples. NULL: out of memory. Threads: one at a time.
struct ceiling *ceiling_open(int threads);
void ceiling_close(struct ceiling *c);
double ceiling_fma(struct ceiling *c); // f32 GFLOP/s of independent fused multiply-adds
// GB/s moved (read plus written) by the better of plain and non-temporal copy of `bytes` bytes.
double ceiling_copy(struct ceiling *c, float *to, const float *from, size_t bytes);

#endif
