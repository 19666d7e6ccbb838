// Which machine instructions a kernel has, counted in its ELF file.
#ifndef TG_TESTS_CUBIN_H
#define TG_TESTS_CUBIN_H

#include <stdbool.h>
#include <stddef.h>

enum cubin_op {
	CUBIN_LDG,    // loads of global memory
	CUBIN_STG,    // stores
	CUBIN_LDS,    // of shared memory
	CUBIN_STS,
	CUBIN_LDL,    // of local memory: spills and arrays with an index that is not known
	CUBIN_STL,
	CUBIN_LDGSTS, // asynchronous copies from global to shared memory
	CUBIN_LDSM,   // fragments from shared memory
	CUBIN_HMMA,   // products by tensor cores
	CUBIN_FFMA,
	CUBIN_BAR,
	CUBIN_OPS
};
extern const char *const cubin_names[CUBIN_OPS];
enum { CUBIN_WIDTHS = 5 }; // of memory accesses: 8, 16, 32, 64, 128 bits
struct cubin_count {
	int instructions;
	int n[CUBIN_OPS];
	int tf32; // of HMMA
	int width[CUBIN_OPS][CUBIN_WIDTHS];
};
// Of one function of a cubin for sm_90; false: it has none of that name, or the file is no ELF.
bool cubin_count(const void *cubin, size_t bytes, const char *function, struct cubin_count *c);

#endif
