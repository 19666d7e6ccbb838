// Contexts, scopes, errors and logging.
// In:  options from the program or the environment. Out: a context that every other call hangs on.
// Not here: tensors (tensor.h), running (run.h).
#ifndef TGC_CONTEXT_H
#define TGC_CONTEXT_H

#include <tgc/base.h>

#ifdef __cplusplus
extern "C" {
#endif

// A context owns scopes, the first error, a random generator, plans and one device's memory.
// Threads: used by one thread at a time; different contexts are independent.

typedef void tgc_log_fn(void *user, const char *line);

// Host allocator: realloc semantics; size 0 frees. NULL on failure.
typedef void *tgc_alloc_fn(void *user, void *ptr, size_t old_bytes, size_t new_bytes);

// How products of f32 (matmul, einsum, conv2d, attention, and their gradients) are computed. HIGHEST: as f32. TF32: the
// device may round their operands to 10 bits of fraction (the nearest, ties away from zero; beyond the largest f32: inf)
// and multiply them on tensor cores; exponents, sums and results stay f32. So a product of n terms is off by about
// 2^-10 * sum|terms|. It permits, and does not demand: CPU and interpreter compute as ever, a GPU takes it where it has
// tensor cores for it (sm_80 on) and a product is large enough to be tiled. f64 and 16-bit floats are not concerned.
// It belongs to the context: a saved program runs as the context says that loads it.
typedef enum tgc_precision {
	TGC_PRECISION_DEFAULT, // TGC_MATMUL_PRECISION ("highest" or "tf32"), else HIGHEST
	TGC_PRECISION_HIGHEST,
	TGC_PRECISION_TF32,
} tgc_precision;

// A field left 0 takes its default.
typedef struct tgc_context_options {
	size_t struct_size TGC_ZERO;      // sizeof(tgc_context_options)
	const char *device TGC_ZERO;      // "cpu", "cuda", "interp"; NULL: TGC_DEVICE, else the best one found
	int threads TGC_ZERO;             // 0: TGC_THREADS, else the processors this process may use
	uint64_t seed TGC_ZERO;           // of the random generator
	tgc_log_fn *log TGC_ZERO;         // NULL: standard error, and only what TGC_DEBUG asks for
	void *log_user TGC_ZERO;
	tgc_alloc_fn *alloc TGC_ZERO;     // NULL: malloc
	void *alloc_user TGC_ZERO;
	size_t memory_limit_bytes TGC_ZERO; // device memory this context may hold; 0: what the machine has
	// Memory for the intermediate values of one plan; its inputs, variables and results not counted. A plan that
	// needs more computes some of them again where they are used next, with the same bits; if that is not enough, the
	// action is a MEMORY error that says how much is missing. The interpreter has no plans and does not look at it.
	size_t memory_budget_bytes TGC_ZERO; // 0: TGC_MEMORY_BUDGET, else any amount
	tgc_precision matmul_precision TGC_ZERO;
} tgc_context_options;

// A new context. `options` may be NULL.
// Errors: never NULL; a context that could not start holds an error, which every action on it returns.
// Owner:  the caller; tgc_context_free.
TGC_API tgc_context *tgc_context_new(const tgc_context_options *options);
// Frees the context and every tensor in it, and sets *ctx to NULL. NULL and pointer to NULL are allowed.
TGC_API void tgc_context_free(tgc_context **ctx);

// The device in use ("cpu", "cuda", "interp"), and why it was chosen; never NULL.
TGC_API const char *tgc_device_name(const tgc_context *ctx);
TGC_API const char *tgc_device_reason(const tgc_context *ctx);

// Tensors made between begin and end belong to that scope and die with it; scopes nest. A context
// starts with one outermost scope. tgc_scope_end without begin is an ARG error.
TGC_API void tgc_scope_begin(tgc_context *ctx);
TGC_API void tgc_scope_end(tgc_context *ctx);

// Names what is recorded until the matching pop: "layer1" inside "resnet" reads "resnet.layer1" in errors
// and listings. Names never influence what is compiled. The text is copied.
TGC_API void tgc_name_push(tgc_context *ctx, const char *name);
TGC_API void tgc_name_pop(tgc_context *ctx);

// For libraries on top of tgc: between begin and end, errors and listings name `site`, an address in the code that
// called the library (__builtin_return_address(0)), and not the library's own lines. The outermost pair counts.
TGC_API void tgc_site_begin(tgc_context *ctx, const void *site);
TGC_API void tgc_site_end(tgc_context *ctx);

// Starts the random generator anew.
TGC_API void tgc_seed(tgc_context *ctx, uint64_t seed);

// The first error since the last clear: its code, and one line that names the operation, the argument,
// both values and the call site. TGC_OK and "" if there is none. Owner: the context, until the next call.
TGC_API tgc_status tgc_error_status(const tgc_context *ctx);
TGC_API const char *tgc_error_message(const tgc_context *ctx);
// Prints the first error to standard error; nothing if there is none.
TGC_API void tgc_print_error(const tgc_context *ctx);
// Records an error as tgc's own operations do (the first one is kept) and returns `status`; for libraries
// built on tgc. `operation` names the failing call.
TGC_API tgc_status tgc_fail(tgc_context *ctx, tgc_status status, const char *operation, const char *message);
// A tensor in error, for functions that return one. ctx may be NULL.
TGC_API tgc_tensor *tgc_error_tensor(tgc_context *ctx);
// Forgets the error. Tensors in error stay in error.
TGC_API void tgc_clear_error(tgc_context *ctx);

// Between begin and end, operations that are recorded choose their types themselves (mixed precision):
//   matmul, einsum, conv2d, attention   take floats as `type` and give `type`; sums are f32 as always
//   exp, log, sum, mean, var, softmax, log_softmax, logsumexp, cross_entropy, layer_norm
//                                       take 16-bit floats as f32 and give f32
//   other operations                    keep their operands' type; where these differ, f32 and 16 bits, they are f32
// f64 and integers stay as they are. The casts are ordinary ones: the same weight is cast once however often it is used,
// and gradients have the variables' types. `type`: TGC_BF16, TGC_F16 (with a loss scale: tgc_optim_options), or TGC_F32,
// which turns it off inside of an outer one. Scopes nest, 16 deep; values made in one may be used anywhere.
// Errors: TYPE for another type; ARG where too many are open, and for an end without a begin.
TGC_API void tgc_autocast_begin(tgc_context *ctx, tgc_type type);
TGC_API void tgc_autocast_end(tgc_context *ctx);

// Counters since the context started, for tests and tuning.
typedef struct tgc_stats {
	uint64_t nodes_live;         // interned values alive
	uint64_t nodes_built;        // interned values made so far
	uint64_t handles_live;       // tensors alive
	uint64_t plans_built;        // programs that went through the scheduler
	uint64_t plans_found;        // programs found by structure
	uint64_t kernels_compiled;   // kernels that went through a compiler
	uint64_t kernels_reused;     // kernels found compiled
	uint64_t launches;           // kernel launches
	uint64_t device_bytes;       // device memory held
	uint64_t device_bytes_peak;
	uint64_t host_ns_build;      // host time in linearising, looking up and binding, without kernels
	uint64_t promoted_literals;  // literals that became late scalars
	uint64_t kernels_loaded;     // kernels found compiled on the disk (cache.h)
	uint64_t planned_peak_bytes; // memory for intermediate values that the last plan built needs
	uint64_t planned_lower_bound_bytes; // what of it is in use at its fullest step: no packing needs less
} tgc_stats;
TGC_API tgc_stats tgc_get_stats(const tgc_context *ctx);

#ifdef __cplusplus
}
#endif
#endif
