// Tensors: making them, asking about them, variables, late scalars.
// In:  host data, shapes, numbers. Out: handles on lazy values; nothing runs here.
// Not here: operations (ops.h), running (run.h).
#ifndef TGC_TENSOR_H
#define TGC_TENSOR_H

#include <tgc/context.h>

#ifdef __cplusplus
extern "C" {
#endif

// A tgc_tensor is a handle on an immutable value of a fixed type and shape. It belongs to the scope it was
// made in. A tensor in error stands for a failed operation; whatever is built on it is in error too.

TGC_API tgc_context *tgc_tensor_context(const tgc_tensor *t);
TGC_API tgc_type tgc_tensor_type(const tgc_tensor *t);
TGC_API tgc_shape tgc_tensor_shape(const tgc_tensor *t);
TGC_API int64_t tgc_tensor_elems(const tgc_tensor *t);
TGC_API bool tgc_is_error(const tgc_tensor *t);

// Lets a tensor outlive its scope; it then lives until tgc_release or the context's end. Returns t.
TGC_API tgc_tensor *tgc_keep(tgc_tensor *t);
// Gives a tensor back before its scope ends. NULL is allowed.
TGC_API void tgc_release(tgc_tensor *t);

// Every element the same number. Types: any; the number is converted.
TGC_API tgc_tensor *tgc_full(tgc_context *ctx, tgc_type type, tgc_shape shape, double value);
TGC_API tgc_tensor *tgc_full_int(tgc_context *ctx, tgc_type type, tgc_shape shape, int64_t value);
TGC_API tgc_tensor *tgc_zeros(tgc_context *ctx, tgc_type type, tgc_shape shape);
TGC_API tgc_tensor *tgc_ones(tgc_context *ctx, tgc_type type, tgc_shape shape);
// 0, 1, 2, ... along `axis`, the same on all others.
TGC_API tgc_tensor *tgc_iota(tgc_context *ctx, tgc_type type, tgc_shape shape, int axis);
// A copy of host data, row-major, tgc_type_bytes(type) * elems bytes.
TGC_API tgc_tensor *tgc_from_data(tgc_context *ctx, tgc_type type, tgc_shape shape, const void *data);
// A place for data given when a program runs (tgc_compile). It has no value of its own.
TGC_API tgc_tensor *tgc_input(tgc_context *ctx, tgc_type type, tgc_shape shape);
// Gives an axis a symbol: equal names mean equal sizes. Programs are specialised on sizes for now.
TGC_API tgc_tensor *tgc_name_axis(tgc_tensor *t, int axis, const char *name);

// Random numbers. Element i of a draw uses Philox4x32-10 counter base + i/4, lane i%4; the base advances
// in call order. Same seed, same bits on every device (normal deviates: to rounding).
typedef struct tgc_random_options {
	size_t struct_size TGC_ZERO;
	double mean TGC_ZERO, std TGC_ZERO;  // randn: std 0 means 1
	double low TGC_ZERO, high TGC_ZERO;  // rand: both 0 means [0, 1)
} tgc_random_options;
TGC_API tgc_tensor *tgc_randn_with(tgc_context *ctx, tgc_type type, tgc_shape shape, tgc_random_options o);
TGC_API tgc_tensor *tgc_rand_with(tgc_context *ctx, tgc_type type, tgc_shape shape, tgc_random_options o);
#define tgc_randn(ctx, type, shape, ...)                                                                     \
	tgc_randn_with(ctx, type, shape, TGC_OPTIONS(tgc_random_options, __VA_ARGS__))
#define tgc_rand(ctx, type, shape, ...)                                                                      \
	tgc_rand_with(ctx, type, shape, TGC_OPTIONS(tgc_random_options, __VA_ARGS__))
// Named options: TGC_OPTIONS(type, .field = value, ...). Fields left out are 0, which means their default.
#ifdef __cplusplus
#define TGC_OPTIONS(type, ...) (type{.struct_size = sizeof(type), __VA_ARGS__})
#else
#define TGC_OPTIONS(type, ...) ((type){.struct_size = sizeof(type), __VA_ARGS__})
#endif

// State with an identity and one home address for life. `initial` gives type, shape and first value, which
// is computed when first needed. Not bound to a scope.
// Owner: the context; tgc_release gives it back earlier.
TGC_API tgc_tensor *tgc_variable(tgc_tensor *initial);
TGC_API bool tgc_is_variable(const tgc_tensor *t);
// Rebinds the variable to `value` at once: reads recorded before keep the old value, the last assignment
// wins. Stored at the next realize of anything in the context.
// Errors: ARG if v is no variable, SHAPE and TYPE if value differs from it; v is then unchanged.
TGC_API tgc_status tgc_assign(tgc_tensor *v, tgc_tensor *value);

// A late scalar: a rank-0 number that may change between runs without a new plan.
TGC_API tgc_tensor *tgc_scalar(tgc_context *ctx, double value);                          // f32
TGC_API tgc_tensor *tgc_scalar_typed(tgc_context *ctx, tgc_type type, double value);
// Its value for everything recorded from now on. Errors: ARG if s is no late scalar.
TGC_API tgc_status tgc_set(tgc_tensor *s, double value);

#ifdef __cplusplus
}
#endif
#endif
