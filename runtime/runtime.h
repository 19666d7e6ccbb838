// Private header of floor 3: devices, memory, threads, compiling, caches, running plans, the interpreter.
// Sectioned by .c file. Not here: what is fused or how a kernel looks (lib/, codegen/).
#ifndef TG_RUNTIME_H
#define TG_RUNTIME_H

#include "codegen.h"

// ---- process.c: what must be process-wide, reference-counted and locked --------------------------------------
// LLVM's targets, the kernel cache. The first context opens it, the last one closes it.
struct runtime *process_open(void); // NULL: out of memory
void process_close(struct runtime *r);
bool process_forked(const struct runtime *r);

// ---- target.c: target records ---------------------------------------------------------------------------------
const struct target *target_host(void);            // by the processor's features
const struct target *target_find(const char *name); // NULL if unknown

// ---- pool.c: threads that take ranges of blocks ---------------------------------------------------------------
// Results never depend on the number of threads. Workers spin about 20 us, then sleep.
struct pool *pool_new(int threads); // counts the caller; NULL: out of memory
void pool_free(struct pool *p);
int pool_threads(const struct pool *p);
typedef void pool_fn(void *user, int thread, int64_t begin, int64_t end);
void pool_run(struct pool *p, int64_t n, pool_fn *fn, void *user); // contiguous ranges; returns when all are done

// ---- memory.c: a caching allocator of 64-byte aligned memory ---------------------------------------------------
// Large blocks come from huge pages and are kept for reuse; free lists by size class.
struct buffer {
	int32_t refs;
	struct allocator *owner;
	void *data;
	int64_t bytes;
};
struct allocator *allocator_new(size_t limit_bytes);
void allocator_free(struct allocator *a);
struct buffer *buffer_new(struct allocator *a, int64_t bytes); // one reference; NULL: out of memory
struct buffer *buffer_ref(struct buffer *b);
void buffer_unref(struct buffer *b); // NULL allowed

// ---- jit.c: kernels to machine code, once per canonical text ---------------------------------------------------
// A compiled kernel lives as long as the process-wide cache; phases in order.
struct code {
	kernel_fn *fn[16];
	int64_t blocks[16];
	int nphases;
	int64_t scratch_bytes;
	double compile_ms;
};
bool jit_available(void);
// Compiles what the cache does not hold, several threads side by side. codes[i] belongs to the cache.
tgc_status jit_compile(struct tgc_context *c, struct runtime *r, int n, struct kernel *const *kernels,
                       const struct target *t, const struct code **codes);

// ---- plans.c: plans found by structure, literals promoted --------------------------------------------------------
struct plan_entry { // a plan ready to run
	struct plan *plan;
	const struct code **codes; // by kernel
	int64_t id;
};
// Finds or builds. May turn literals of `l` into scalar leaves (promotion) before it looks.
struct plan_entry *plans_get(struct tgc_context *c, struct linear *l);

// ---- exec.c: runs a plan ------------------------------------------------------------------------------------------
// leaf_data by leaf (scalars: pointers to values in their own type), out_data by output.
tgc_status exec_run(struct tgc_context *c, const struct plan_entry *e, void *const *leaf_data, void *const *out_data);

// ---- realize.c: the seam of floor 1; program.c, export.c: tgc_program -------------------------------------------
tgc_status realize_tensors(struct tgc_context *c, int n, tgc_tensor *const *tensors);

// ---- interp.c: the oracle ------------------------------------------------------------------------------------------
// Naive loops in f64 (64-bit integers for integer types), rounding to each node's type, with an error bound.
// Own scalar, shape and index code, on purpose. Runs a program that went through no pass.
struct interp_value {
	tgc_type type;
	int64_t elems;
	double *f;        // floats; NULL for integers and bool
	int64_t *i;       // integers and bool; NULL for floats
	double *bound;    // absolute error any sound implementation may show (floats)
	uint8_t *unsure;  // 1: hangs on a decision inside the bound; not to be compared
};
// values: p->n entries, filled; interp_values_free. *flag_node: pnode of the first failed check, -1 if none.
tgc_status interp_run(struct tgc_context *c, const struct prog *p, const void *const *leaf_data,
                      struct interp_value *values, int32_t *flag_node);
void interp_values_free(const struct prog *p, struct interp_value *values);
void interp_store(const struct interp_value *v, void *data); // to host memory in v's own type

#endif
