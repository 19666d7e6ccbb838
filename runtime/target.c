// Target records: what the scheduler, the passes and the emitter assume of a processor.
// In:  the processor's features, or a name. Out: a checked-in record, so that plans are reproducible.
// Not here: measuring anything.
#include "runtime.h"

// Host records have no feature string: code may use whatever this processor has.
#define RECORD(NAME, FEATURES, VECTOR, REGS, PORTS, L2_KIB, FLOPS)                                             \
	{                                                                                                      \
		.name = NAME, .features = FEATURES, .vector_bytes = VECTOR, .vector_regs = REGS,               \
		.fma_ports = PORTS, .l1_bytes = 32 << 10, .l2_bytes = (L2_KIB) << 10, .l3_bytes = 32 << 20,    \
		.bandwidth = 20, .flops = FLOPS, .launch_ns = 500, TARGET_CHUNKS                               \
	}

static const struct target hosts[] = {
    RECORD("x86-64-v4", NULL, 64, 32, 2, 1024, 120),
    RECORD("x86-64-v3", NULL, 32, 16, 2, 512, 100),
    RECORD("x86-64", NULL, 16, 16, 2, 512, 25),
};
static const struct target portable[] = {
    RECORD("x86-64-v4", "", 64, 32, 2, 1024, 120),
    RECORD("x86-64-v3", "", 32, 16, 2, 512, 100),
    RECORD("x86-64", "", 16, 16, 2, 512, 25),
};

// Peaks are f32 without tensor cores, as the vendor states them; launches as nodes of a graph.
#define GPU(SM, PROCESSORS, SHARED_KIB, L2_MIB, BANDWIDTH, FLOPS)                                              \
	{                                                                                                      \
		.family = FAMILY_CUDA, .name = "sm_" #SM, .vector_bytes = 16, .vector_regs = 128,              \
		.fma_ports = 4, .l1_bytes = 48 << 10, .l2_bytes = (int64_t)L2_MIB << 20,                       \
		.l3_bytes = (int64_t)L2_MIB << 20, .bandwidth = BANDWIDTH, .flops = FLOPS, .launch_ns = 1200,  \
		.sm = SM, .processors = PROCESSORS, .shared_bytes = 48 << 10,                                  \
		.block_shared_bytes = SHARED_KIB << 10, .halves = true, .again_ops = 16,                       \
		.sum_columns = 16, .sum_blocks = 2 * (PROCESSORS), .sum_elems = 4096, .product_results = 2048, \
		.product_blocks = PROCESSORS, .product_terms = 5e6                                             \
	}

static const struct target gpus[] = {
    GPU(75, 40, 64, 4, 320, 8100),       // T4
    GPU(80, 108, 163, 40, 1555, 19500),   // A100
    GPU(90, 132, 227, 50, 3350, 66900),   // H100
    GPU(100, 148, 227, 126, 8000, 80000), // B200
    GPU(120, 170, 99, 96, 1792, 104800), // RTX 5090
};

const struct target *target_host(void)
{
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
	    __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
		return &hosts[0];
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		return &hosts[1];
#endif
	return &hosts[2];
}

const struct target *target_rounding(const struct target *t, bool tf32, struct target *record)
{
	if (!t || !tf32 || t->sm < 80)
		return t;
	*record = *t;
	record->tf32 = true;
	return record;
}

const struct target *target_find(const char *name)
{
	for (int i = 0; i < TG_COUNT(portable); i++)
		if (strcmp(portable[i].name, name) == 0)
			return &portable[i];
	for (int i = 0; i < TG_COUNT(gpus); i++)
		if (strcmp(gpus[i].name, name) == 0)
			return &gpus[i];
	return NULL;
}
