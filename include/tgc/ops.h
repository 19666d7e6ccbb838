// Operations: they record, nothing runs. Shapes, types and attributes are checked at once.
// In:  tensors and numbers. Out: a tensor of the current scope, or a tensor in error.
// Not here: state (tensor.h), running (run.h), layers (nn.h).
//
// Operands written TGC_ARG may be tensors or plain numbers (which take the tensor's type); shapes broadcast
// from the last axis back. Both tensors must have one type: nothing is promoted silently.
#ifndef TGC_OPS_H
#define TGC_OPS_H

#include <tgc/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---- elementwise, one operand: x[...] -> [...], same type ------------------------------------------------
TGC_API tgc_tensor *tgc_neg(tgc_tensor *x);   // -x; integers wrap
TGC_API tgc_tensor *tgc_abs(tgc_tensor *x);   // |x|
TGC_API tgc_tensor *tgc_exp(tgc_tensor *x);   // e^x, floats, <= 2 ULP in f32
TGC_API tgc_tensor *tgc_log(tgc_tensor *x);   // natural logarithm, floats, <= 2 ULP in f32
TGC_API tgc_tensor *tgc_sqrt(tgc_tensor *x);  // square root, floats, correctly rounded
TGC_API tgc_tensor *tgc_sin(tgc_tensor *x);   // sine, radians, floats, <= 4 ULP in f32
TGC_API tgc_tensor *tgc_cos(tgc_tensor *x);   // cosine, radians, floats, <= 4 ULP in f32
TGC_API tgc_tensor *tgc_tanh(tgc_tensor *x);  // hyperbolic tangent, floats, <= 4 ULP in f32
TGC_API tgc_tensor *tgc_erf(tgc_tensor *x);   // error function, floats, <= 4 ULP in f32
TGC_API tgc_tensor *tgc_floor(tgc_tensor *x); // largest integral value not above x, floats
TGC_API tgc_tensor *tgc_round(tgc_tensor *x); // nearest integral value, halves to even, floats
TGC_API tgc_tensor *tgc_trunc(tgc_tensor *x); // integral part, towards zero, floats
TGC_API tgc_tensor *tgc_not(tgc_tensor *x);   // bitwise complement; logical for bool; integers
TGC_API tgc_tensor *tgc_detach(tgc_tensor *x); // x, for which no gradient is taken
// To another type. Float to integer truncates, saturates, NaN -> 0; to bool: x != 0.
TGC_API tgc_tensor *tgc_cast(tgc_tensor *x, tgc_type type);
// The same bits as another type of the same width. Errors: TYPE if the widths differ.
TGC_API tgc_tensor *tgc_bitcast(tgc_tensor *x, tgc_type type);

// ---- elementwise, two operands: shapes broadcast ----------------------------------------------------------
TGC_API tgc_tensor *tgc_add_arg(tgc_arg x, tgc_arg y);
TGC_API tgc_tensor *tgc_sub_arg(tgc_arg x, tgc_arg y);
TGC_API tgc_tensor *tgc_mul_arg(tgc_arg x, tgc_arg y);
TGC_API tgc_tensor *tgc_div_arg(tgc_arg x, tgc_arg y);
TGC_API tgc_tensor *tgc_mod_arg(tgc_arg x, tgc_arg y);
TGC_API tgc_tensor *tgc_maximum_arg(tgc_arg x, tgc_arg y);
TGC_API tgc_tensor *tgc_minimum_arg(tgc_arg x, tgc_arg y);
TGC_API tgc_tensor *tgc_and_arg(tgc_arg x, tgc_arg y);
TGC_API tgc_tensor *tgc_or_arg(tgc_arg x, tgc_arg y);
TGC_API tgc_tensor *tgc_xor_arg(tgc_arg x, tgc_arg y);
TGC_API tgc_tensor *tgc_shl_arg(tgc_arg x, tgc_arg y);
TGC_API tgc_tensor *tgc_shr_arg(tgc_arg x, tgc_arg y);
TGC_API tgc_tensor *tgc_lt_arg(tgc_arg x, tgc_arg y);
TGC_API tgc_tensor *tgc_le_arg(tgc_arg x, tgc_arg y);
TGC_API tgc_tensor *tgc_eq_arg(tgc_arg x, tgc_arg y);
TGC_API tgc_tensor *tgc_ne_arg(tgc_arg x, tgc_arg y);
#define tgc_add(x, y) tgc_add_arg(TGC_ARG(x), TGC_ARG(y))         // x + y; integers wrap
#define tgc_sub(x, y) tgc_sub_arg(TGC_ARG(x), TGC_ARG(y))         // x - y; integers wrap
#define tgc_mul(x, y) tgc_mul_arg(TGC_ARG(x), TGC_ARG(y))         // x * y; integers wrap
#define tgc_div(x, y) tgc_div_arg(TGC_ARG(x), TGC_ARG(y))         // x / y; integers: floor, by zero -1
#define tgc_mod(x, y) tgc_mod_arg(TGC_ARG(x), TGC_ARG(y))         // sign of y; floats: |x/y| < 2^23, f64 2^52
#define tgc_maximum(x, y) tgc_maximum_arg(TGC_ARG(x), TGC_ARG(y)) // NaN if either is NaN
#define tgc_minimum(x, y) tgc_minimum_arg(TGC_ARG(x), TGC_ARG(y)) // NaN if either is NaN
#define tgc_and(x, y) tgc_and_arg(TGC_ARG(x), TGC_ARG(y))         // integers and bool
#define tgc_or(x, y) tgc_or_arg(TGC_ARG(x), TGC_ARG(y))
#define tgc_xor(x, y) tgc_xor_arg(TGC_ARG(x), TGC_ARG(y))
#define tgc_shl(x, y) tgc_shl_arg(TGC_ARG(x), TGC_ARG(y)) // by >= the width: 0
#define tgc_shr(x, y) tgc_shr_arg(TGC_ARG(x), TGC_ARG(y)) // arithmetic if signed; by >= the width: sign fill
#define tgc_lt(x, y) tgc_lt_arg(TGC_ARG(x), TGC_ARG(y))   // bool
#define tgc_le(x, y) tgc_le_arg(TGC_ARG(x), TGC_ARG(y))
#define tgc_eq(x, y) tgc_eq_arg(TGC_ARG(x), TGC_ARG(y))
#define tgc_ne(x, y) tgc_ne_arg(TGC_ARG(x), TGC_ARG(y))
#define tgc_gt(x, y) tgc_lt_arg(TGC_ARG(y), TGC_ARG(x))
#define tgc_ge(x, y) tgc_le_arg(TGC_ARG(y), TGC_ARG(x))
// cond ? x : y, elementwise; cond is bool.
TGC_API tgc_tensor *tgc_select_arg(tgc_tensor *cond, tgc_arg x, tgc_arg y);
#define tgc_select(cond, x, y) tgc_select_arg(cond, TGC_ARG(x), TGC_ARG(y))
// x * y + z with one rounding. Types: floats.
TGC_API tgc_tensor *tgc_fma(tgc_tensor *x, tgc_tensor *y, tgc_tensor *z);

// ---- movement ---------------------------------------------------------------------------------------------
// Row-major order kept; one dimension may be -1. Errors: SHAPE if the product differs.
TGC_API tgc_tensor *tgc_reshape(tgc_tensor *x, tgc_shape shape);
TGC_API tgc_tensor *tgc_permute(tgc_tensor *x, tgc_axes order);
// Swaps two axes.
TGC_API tgc_tensor *tgc_transpose(tgc_tensor *x, int axis_a, int axis_b);
// Broadcast to `shape` (rank may grow at the front).
TGC_API tgc_tensor *tgc_expand(tgc_tensor *x, tgc_shape shape);
// lo and hi elements of `fill` on either side of each axis; negative amounts crop.
TGC_API tgc_tensor *tgc_pad(tgc_tensor *x, const int64_t *lo, const int64_t *hi, double fill);
// x[start:stop:step] per axis as in Python, also for negative start and stop; step > 0.
TGC_API tgc_tensor *tgc_slice(tgc_tensor *x, const int64_t *start, const int64_t *stop, const int64_t *step);
// x[start:stop] along one axis.
TGC_API tgc_tensor *tgc_slice_axis(tgc_tensor *x, int axis, int64_t start, int64_t stop);
TGC_API tgc_tensor *tgc_flip(tgc_tensor *x, tgc_axes axes);
TGC_API tgc_tensor *tgc_concat(int count, tgc_tensor *const *xs, int axis);
// Sliding view: axis of n becomes (n - dilation * (size - 1) - 1) / stride + 1 positions; a new last axis
// holds the `size` taps. Errors: SHAPE if the dilated window is larger than the axis.
TGC_API tgc_tensor *tgc_window(tgc_tensor *x, int axis, int64_t size, int64_t stride, int64_t dilation);
// Adjoint of tgc_window: adds the taps (last axis) back onto an axis of n elements.
TGC_API tgc_tensor *tgc_fold(tgc_tensor *x, int axis, int64_t n, int64_t stride, int64_t dilation);
TGC_API tgc_tensor *tgc_squeeze(tgc_tensor *x, int axis);
TGC_API tgc_tensor *tgc_unsqueeze(tgc_tensor *x, int axis);
TGC_API tgc_tensor *tgc_flatten(tgc_tensor *x, int first_axis);

// ---- reductions: over `axes` (TGC_ALL_AXES: all); keep leaves axes of size 1 ---------------------------------
// Types: any but bool, mean and var floats; sum of f16/bf16 accumulates in f32. Empty: sum 0, mean NaN, max and min SHAPE.
TGC_API tgc_tensor *tgc_sum(tgc_tensor *x, tgc_axes axes, bool keep);
TGC_API tgc_tensor *tgc_mean(tgc_tensor *x, tgc_axes axes, bool keep);
TGC_API tgc_tensor *tgc_max(tgc_tensor *x, tgc_axes axes, bool keep);
TGC_API tgc_tensor *tgc_min(tgc_tensor *x, tgc_axes axes, bool keep);
// Index of the first maximum along one axis, i64; the first NaN wins.
TGC_API tgc_tensor *tgc_argmax(tgc_tensor *x, int axis, bool keep);
// Variance over axes; divides by n - correction.
TGC_API tgc_tensor *tgc_var(tgc_tensor *x, tgc_axes axes, int correction, bool keep);

// ---- contractions -------------------------------------------------------------------------------------------
// Matrix product of the last two axes; batch axes broadcast. x[...,M,K], w[...,K,N] -> [...,M,N].
TGC_API tgc_tensor *tgc_matmul(tgc_tensor *x, tgc_tensor *w);
// Einstein summation: "bij,bjk->bik", "...ii->...i" (y NULL). An axis in neither other operand nor result is
// summed; axes of size 1 broadcast. Without "->": the labels that appear once, in alphabetical order.
TGC_API tgc_tensor *tgc_einsum(const char *spec, tgc_tensor *x, tgc_tensor *y);
// Convolution, cross-correlation as in PyTorch. x[N,Ci,H,W], w[Co,Ci/groups,Kh,Kw] -> [N,Co,Ho,Wo].
// Fields left 0: stride 1, dilation 1, groups 1, padding 0; padding is {top, bottom, left, right}.
typedef struct tgc_conv_options {
	size_t struct_size TGC_ZERO;
	int64_t stride[2] TGC_ZERO;
	int64_t padding[4] TGC_ZERO;
	int64_t dilation[2] TGC_ZERO;
	int64_t groups TGC_ZERO;
} tgc_conv_options;
TGC_API tgc_tensor *tgc_conv2d_with(tgc_tensor *x, tgc_tensor *w, tgc_conv_options o);
#define tgc_conv2d(x, w, ...) tgc_conv2d_with(x, w, TGC_OPTIONS(tgc_conv_options, __VA_ARGS__))

// ---- index ----------------------------------------------------------------------------------------------------
// Rows of x along axis: x.shape[axis] is replaced by index's shape. index is i32 or i64.
// Out of range: clamped, and INDEX at the next sync.
TGC_API tgc_tensor *tgc_gather(tgc_tensor *x, tgc_tensor *index, int axis);
typedef enum tgc_scatter_mode { TGC_SCATTER_SET, TGC_SCATTER_ADD, TGC_SCATTER_MAX } tgc_scatter_mode;
// base with updates written (last wins), added or maximised at index along axis; updates is shaped like the
// gather. Out of range: skipped, and INDEX at the next sync.
TGC_API tgc_tensor *tgc_scatter(tgc_tensor *base, tgc_tensor *index, tgc_tensor *updates, int axis,
                                tgc_scatter_mode mode);
// x, and INDEX at the next sync if cond is false anywhere. cond: bool, broadcasts to x. A check whose value no
// result hangs on (it was folded away) is not made.
TGC_API tgc_tensor *tgc_check(tgc_tensor *x, tgc_tensor *cond);

// ---- composed ---------------------------------------------------------------------------------------------------
TGC_API tgc_tensor *tgc_relu(tgc_tensor *x);
TGC_API tgc_tensor *tgc_sigmoid(tgc_tensor *x);
TGC_API tgc_tensor *tgc_gelu(tgc_tensor *x);      // x * Phi(x), by erf
TGC_API tgc_tensor *tgc_gelu_tanh(tgc_tensor *x); // its tanh approximation
TGC_API tgc_tensor *tgc_silu(tgc_tensor *x);
TGC_API tgc_tensor *tgc_square(tgc_tensor *x);
TGC_API tgc_tensor *tgc_softmax(tgc_tensor *x, int axis);     // an all -inf row gives NaN
TGC_API tgc_tensor *tgc_log_softmax(tgc_tensor *x, int axis);
TGC_API tgc_tensor *tgc_logsumexp(tgc_tensor *x, int axis);   // the axis is dropped
// Mean negative log-likelihood of log-softmax(logits[N,C]) at labels[N] (i32, i64 or u8). -> []
// Errors: a label out of range is INDEX at the next sync.
TGC_API tgc_tensor *tgc_cross_entropy(tgc_tensor *logits, tgc_tensor *labels);
// Layer normalisation over the last axis; gamma and beta [C] may be NULL.
TGC_API tgc_tensor *tgc_layer_norm(tgc_tensor *x, tgc_tensor *gamma, tgc_tensor *beta, double eps);
// Pooling of x[N,C,H,W] with a square window; padding counts as -inf (max).
TGC_API tgc_tensor *tgc_max_pool2d(tgc_tensor *x, int64_t size, int64_t stride, int64_t padding);
TGC_API tgc_tensor *tgc_avg_pool2d(tgc_tensor *x, int64_t size, int64_t stride);
// Zeroes each element with probability p in [0, 1] and scales the rest by 1 / (1 - p).
TGC_API tgc_tensor *tgc_dropout(tgc_tensor *x, double p);
// Scaled dot-product attention. q[...,T,D], k[...,S,D], v[...,S,E] -> [...,T,E]; causal masks s > t.
TGC_API tgc_tensor *tgc_attention(tgc_tensor *q, tgc_tensor *k, tgc_tensor *v, bool causal);
// labels[...], integers or bool -> [..., classes] of 0 and 1; a label out of range gives zeros.
TGC_API tgc_tensor *tgc_one_hot(tgc_tensor *labels, int64_t classes, tgc_type type);

#ifdef __cplusplus
}
#endif
#endif
