// Private header of floor 3: devices, memory, threads, compiling, caches, running plans, the interpreter.
// Sectioned by .c file. Not here: what is fused or how a kernel looks (lib/, codegen/).
#ifndef TG_RUNTIME_H
#define TG_RUNTIME_H

#include "codegen.h"

#include <pthread.h>

// ---- process.c: what must be process-wide, reference-counted and locked --------------------------------------
// LLVM's targets, the kernel cache. The first context opens it, the last one closes it.
struct runtime {
	int refs;
	int pid;
	pthread_mutex_t lock; // of jit
	struct jit *jit;      // NULL until the first kernel
};
struct runtime *process_open(void); // NULL: out of memory
void process_close(struct runtime *r);
bool process_forked(const struct runtime *r);

// ---- parallel.c: jobs on threads with large stacks, for compiling --------------------------------------------
// fn(user, i) for each i < n, on at most `threads` threads; returns when all are done.
void parallel_run(int n, int threads, void (*fn)(void *user, int i), void *user);

// ---- context_open.c: the runtime's part of a context -----------------------------------------------------------
struct device {
	struct runtime *process;
	const char *name, *reason;
	char reason_text[256];
	bool interp;
	bool ready;
	bool skip_kernels; // host time is being measured
	struct pool *pool;
	struct allocator *memory;
	const struct target *target;
	struct plans *plans;
	struct buffer *arena;   // of the largest plan so far
	struct buffer *scratch; // one slice a thread
	struct tgc_later *later; // asked for with the next realize
};
static inline struct device *device_of(const struct tgc_context *c) { return c->rt; }
// TGC_OK, or the recorded reason why nothing can run: no device, or a fork since the context started.
tgc_status device_check(struct tgc_context *c, const char *op);

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
	struct buffer *next; // of a free list
	int32_t refs, cls;
	struct allocator *owner;
	void *data;
	int64_t bytes;
};
struct allocator *allocator_new(size_t limit_bytes);
void allocator_free(struct allocator *a);
struct buffer *buffer_new(struct allocator *a, int64_t bytes); // one reference; NULL: out of memory
struct buffer *buffer_ref(struct buffer *b);
void buffer_unref(struct buffer *b); // NULL allowed
int64_t allocator_bytes(const struct allocator *a); // in use and kept
int64_t allocator_peak(const struct allocator *a);

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
tgc_status jit_compile(struct tgc_context *c, struct runtime *r, int threads, int n, struct kernel *const *kernels,
                       const struct target *t, const struct code **codes);
void jit_close(struct runtime *r); // the caller holds the last reference

// ---- plans.c: plans found by structure, literals promoted --------------------------------------------------------
struct step_run { // a step, ready to run: what does not change from run to run
	const struct code *code; // NULL: copy
	int32_t nargs, nscalars, nsegs;
	bool *segmented; // [nargs]
	int32_t *bufs;   // [nargs, or nargs * nsegs]: plan buffers; segment after segment within a parameter
	int32_t *scalars; // [nscalars]: leaves
	int64_t src, dst, bytes; // copy
	bool parallel;   // worth waking threads for
};
struct plan_entry { // a plan ready to run
	struct plan_entry *next;
	union number *consts; // the literals it was built for
	int nconsts;
	struct plan *plan;
	struct step_run *steps;
	void **memory; // [nbufs]: filled at each run
	void **args;   // room for the widest step
	int32_t *flags;
	struct arena arena;
};
// Finds or builds. May turn literals of `l` into scalar leaves (promotion) before it looks. NULL: error recorded.
struct plan_entry *plans_get(struct tgc_context *c, struct linear *l);
void plans_free(struct tgc_context *c);
// Lowers, compiles and binds a plan that was just scheduled; takes it over, also on failure.
struct plan_entry *plan_ready(struct tgc_context *c, struct plan *p);
void plan_entry_free(struct plan_entry *e);

// ---- exec.c: runs a plan ------------------------------------------------------------------------------------------
// leaf_data by leaf (scalars: pointers to values in their own type), out_data by output (assigned ones: unused).
tgc_status exec_run(struct tgc_context *c, struct plan_entry *e, void *const *leaf_data, void *const *out_data);
void exec_skip_kernels(struct tgc_context *c, bool skip); // everything but the kernels: measures the host
void number_store(tgc_type t, union number v, void *to);
union number number_load(tgc_type t, const void *from);

// ---- realize.c: the seam of floor 1 ------------------------------------------------------------------------------
tgc_status realize_tensors(struct tgc_context *c, int n, tgc_tensor *const *tensors);
tgc_status realize_initial(struct tgc_context *c); // pending first values of variables
tgc_status realize_read(struct tgc_context *c, struct node *n, void *data, size_t bytes);

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
