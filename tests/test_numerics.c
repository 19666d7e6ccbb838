// NUMERICS: the cases that trip such systems, with the values they must give. Numbers as in its list.
// Not here: what random graphs and tables find (fuzz_graph.c, test_primitives.c).
#include "check.h"

#include <math.h>
#include <stdlib.h>

#define F32(...) ((float[]){__VA_ARGS__})

static tgc_tensor *f32(tgc_context *ctx, tgc_shape shape, const float *data)
{
	return tgc_from_data(ctx, TGC_F32, shape, data);
}

static tgc_tensor *i32(tgc_context *ctx, int n, const int32_t *data)
{
	return tgc_from_data(ctx, TGC_I32, TGC_SHAPE(n), data);
}

static void assert_f32(tgc_tensor *t, int n, const float *want, double rtol)
{
	float got[64];

	assert_int_equal(tgc_tensor_elems(t), n);
	check_read_f32(t, got, n);
	for (int i = 0; i < n; i++) {
		double g = (double)got[i], w = (double)want[i];
		bool same = isnan(w) ? isnan(g) : isinf(w) ? g == w : fabs(g - w) <= rtol * fabs(w);

		if (!same)
			fail_msg("element %d: %.9g, want %.9g", i, g, w);
	}
}

static void assert_i64(tgc_tensor *t, int n, const int64_t *want)
{
	int64_t got[64];

	assert_int_equal(tgc_tensor_elems(t), n);
	check_read_i64(t, got, n);
	for (int i = 0; i < n; i++)
		if (got[i] != want[i])
			fail_msg("element %d: %lld, want %lld", i, (long long)got[i], (long long)want[i]);
}

static void assert_error(tgc_context *ctx, tgc_tensor *t, tgc_status status)
{
	assert_true(tgc_is_error(t));
	assert_string_equal(tgc_status_name(tgc_error_status(ctx)), tgc_status_name(status));
	tgc_clear_error(ctx);
}

// 1: empty and broadcast shapes.
static void shapes(tgc_context *ctx)
{
	tgc_tensor *none = tgc_zeros(ctx, TGC_F32, TGC_SHAPE(0)), *e = tgc_zeros(ctx, TGC_F32, TGC_SHAPE(4, 0));

	assert_f32(tgc_add(none, tgc_ones(ctx, TGC_F32, TGC_SHAPE(1))), 0, NULL, 0);
	assert_error(ctx, tgc_add(none, tgc_ones(ctx, TGC_F32, TGC_SHAPE(3))), TGC_ERROR_SHAPE);
	assert_f32(tgc_add(tgc_ones(ctx, TGC_F32, TGC_SCALAR_SHAPE), tgc_ones(ctx, TGC_F32, TGC_SHAPE(2))), 2,
	           F32(2, 2), 0);
	assert_f32(tgc_sum(e, TGC_AXES(0), false), 0, NULL, 0);
	assert_f32(tgc_sum(e, TGC_AXES(1), false), 4, F32(0, 0, 0, 0), 0);
	assert_error(ctx, tgc_max(e, TGC_AXES(1), false), TGC_ERROR_SHAPE);
	assert_error(ctx, tgc_argmax(e, 1, false), TGC_ERROR_SHAPE);
	assert_f32(
	    tgc_matmul(tgc_zeros(ctx, TGC_F32, TGC_SHAPE(2, 0)), tgc_zeros(ctx, TGC_F32, TGC_SHAPE(0, 2))), 4,
	    F32(0, 0, 0, 0), 0);
}

// 2: reshape and slice.
static void views(tgc_context *ctx)
{
	tgc_tensor *x = tgc_iota(ctx, TGC_F32, TGC_SHAPE(8), 0), *e = tgc_zeros(ctx, TGC_F32, TGC_SHAPE(0, 3));
	int64_t start = -2, stop = -5, step = 1;

	assert_error(ctx, tgc_reshape(x, TGC_SHAPE(-1, -1, 2)), TGC_ERROR_SHAPE);
	assert_error(ctx, tgc_reshape(e, TGC_SHAPE(-1, 0)), TGC_ERROR_SHAPE);
	assert_f32(tgc_slice(x, &start, &stop, &step), 0, NULL, 0);
	start = -3;
	stop = 100;
	assert_f32(tgc_slice(x, &start, &stop, &step), 3, F32(5, 6, 7), 0);
	assert_f32(tgc_reshape(x, TGC_SHAPE(2, -1)), 8, F32(0, 1, 2, 3, 4, 5, 6, 7), 0);
}

// 3: variance and mean at the edge, and far from zero.
static void moments(tgc_context *ctx)
{
	float far[64];
	double sum = 0, square = 0, var;
	tgc_tensor *x = f32(ctx, TGC_SHAPE(2), F32(1, 3));

	assert_f32(tgc_var(x, TGC_ALL_AXES, 1, false), 1, F32(2), 1e-6);
	assert_true(isnan(check_item(tgc_mean(tgc_zeros(ctx, TGC_F32, TGC_SHAPE(0)), TGC_ALL_AXES, false))));
	assert_true(isnan(check_item(tgc_var(tgc_zeros(ctx, TGC_F32, TGC_SHAPE(0)), TGC_ALL_AXES, 0, false))));
	for (int i = 0; i < 64; i++) {
		far[i] = 1e6f + (float)i / 4;
		sum += (double)far[i];
	}
	for (int i = 0; i < 64; i++)
		square += ((double)far[i] - sum / 64) * ((double)far[i] - sum / 64);
	var = check_item(tgc_var(f32(ctx, TGC_SHAPE(64), far), TGC_ALL_AXES, 0, false));
	if (fabs(var - square / 64) > 1e-4 * square / 64)
		fail_msg("variance %g, want %g", var, square / 64);
	var = check_item(tgc_var(f32(ctx, TGC_SHAPE(1), F32(3)), TGC_ALL_AXES, 1, false));
	assert_true(isnan(var) || isinf(var));
}

// 4: NaN goes through every maximum.
static void nan_maximum(tgc_context *ctx)
{
	tgc_tensor *x = f32(ctx, TGC_SHAPE(2), F32(NAN, 1)), *y = f32(ctx, TGC_SHAPE(2), F32(1, NAN));

	assert_f32(tgc_maximum(x, y), 2, F32(NAN, NAN), 0);
	assert_f32(tgc_minimum(x, y), 2, F32(NAN, NAN), 0);
	assert_f32(tgc_maximum(x, 1.0), 2, F32(NAN, 1), 0);
	assert_f32(tgc_max(x, TGC_ALL_AXES, false), 1, F32(NAN), 0);
	assert_f32(tgc_min(y, TGC_ALL_AXES, false), 1, F32(NAN), 0);
	assert_f32(tgc_relu(x), 2, F32(NAN, 1), 0);
	assert_i64(tgc_argmax(f32(ctx, TGC_SHAPE(4), F32(1, NAN, 7, NAN)), 0, false), 1, (int64_t[]){1});
	assert_i64(tgc_argmax(f32(ctx, TGC_SHAPE(4), F32(1, 7, 7, 2)), 0, false), 1, (int64_t[]){1});
}

// 5: gradients at the edge.
static void edge_gradients(tgc_context *ctx)
{
	tgc_tensor *x = f32(ctx, TGC_SHAPE(2), F32(0, 4)), *big = f32(ctx, TGC_SHAPE(2), F32(300, -300)), *g;

	assert_int_equal(tgc_grad(tgc_sum(tgc_sqrt(x), TGC_ALL_AXES, false), 1, &x, &g), TGC_OK);
	assert_f32(g, 2, F32(INFINITY, 0.25f), 1e-6);
	assert_int_equal(tgc_grad(tgc_sum(tgc_sigmoid(big), TGC_ALL_AXES, false), 1, &big, &g), TGC_OK);
	assert_f32(g, 2, F32(0, 0), 0);
	assert_f32(tgc_sigmoid(big), 2, F32(1, 0), 1e-6);
	x = f32(ctx, TGC_SHAPE(4), F32(1, 5, 5, 2)); // shared equally among ties
	assert_int_equal(tgc_grad(tgc_max(x, TGC_ALL_AXES, false), 1, &x, &g), TGC_OK);
	assert_f32(g, 4, F32(0, 0.5f, 0.5f, 0), 0);
	x = f32(ctx, TGC_SHAPE(1, 1, 2, 2), F32(5, 5, 1, 5)); // the first maximum
	assert_int_equal(tgc_grad(tgc_sum(tgc_max_pool2d(x, 2, 2, 0), TGC_ALL_AXES, false), 1, &x, &g), TGC_OK);
	assert_f32(g, 4, F32(1, 0, 0, 0), 0);
}

// 6: wrapping and saturation.
static void conversions(tgc_context *ctx)
{
	const uint8_t bytes[] = {255, 200};
	const int8_t minus = -1;
	tgc_tensor *x = tgc_from_data(ctx, TGC_U8, TGC_SHAPE(2), bytes);

	assert_i64(tgc_add(x, 1), 2, (int64_t[]){0, 201});
	assert_i64(tgc_add(i32(ctx, 1, (int32_t[]){INT32_MAX}), 1), 1, (int64_t[]){INT32_MIN});
	assert_i64(tgc_cast(tgc_from_data(ctx, TGC_I8, TGC_SHAPE(1), &minus), TGC_U16), 1, (int64_t[]){65535});
	assert_i64(tgc_cast(f32(ctx, TGC_SHAPE(4), F32(3e9f, -3e9f, NAN, INFINITY)), TGC_I32), 4,
	           (int64_t[]){INT32_MAX, INT32_MIN, 0, INT32_MAX});
	assert_i64(tgc_cast(f32(ctx, TGC_SHAPE(3), F32(-1.5f, 300, 7.9f)), TGC_U8), 3, (int64_t[]){0, 255, 7});
	assert_i64(tgc_cast(f32(ctx, TGC_SHAPE(3), F32(0, NAN, -0.5f)), TGC_BOOL), 3, (int64_t[]){0, 1, 1});
}

// The same from literals, which fold.
static void folded(tgc_context *ctx)
{
	const tgc_shape one = TGC_SHAPE(1);

	assert_i64(tgc_add(tgc_full_int(ctx, TGC_U8, one, 255), 1), 1, (int64_t[]){0});
	assert_i64(tgc_cast(tgc_full(ctx, TGC_F32, one, 3e9), TGC_I32), 1, (int64_t[]){INT32_MAX});
	assert_i64(tgc_cast(tgc_full(ctx, TGC_F32, one, NAN), TGC_I32), 1, (int64_t[]){0});
	assert_i64(tgc_cast(tgc_full(ctx, TGC_F32, one, 300), TGC_U8), 1, (int64_t[]){255});
	assert_i64(tgc_div(tgc_full_int(ctx, TGC_I32, one, -7), 2), 1, (int64_t[]){-4});
	assert_i64(tgc_mod(tgc_full_int(ctx, TGC_I32, one, 7), -2), 1, (int64_t[]){-1});
	assert_i64(tgc_div(tgc_full_int(ctx, TGC_I32, one, INT32_MIN), -1), 1, (int64_t[]){INT32_MIN});
	assert_i64(tgc_shl(tgc_full_int(ctx, TGC_I32, one, 1), 32), 1, (int64_t[]){0});
	assert_f32(tgc_mul(tgc_full(ctx, TGC_F32, one, INFINITY), 0.0), 1, F32(NAN), 0);
}

// No x * 0 -> 0, x - x -> 0, x / x -> 1 on floats.
static void no_rewriting(tgc_context *ctx)
{
	tgc_tensor *x = f32(ctx, TGC_SHAPE(3), F32(NAN, INFINITY, 2));

	assert_f32(tgc_mul(x, 0.0), 3, F32(NAN, NAN, 0), 0);
	assert_f32(tgc_sub(x, x), 3, F32(NAN, NAN, 0), 0);
	assert_f32(tgc_div(x, x), 3, F32(NAN, NAN, 1), 0);
}

static void integer_division(tgc_context *ctx)
{
	const int32_t a[] = {-7, 7, -7, 7, 5, INT32_MIN, 0}, b[] = {2, 2, -2, -2, 0, -1, 0};
	tgc_tensor *x = i32(ctx, 7, a), *y = i32(ctx, 7, b);

	assert_i64(tgc_div(x, y), 7, (int64_t[]){-4, 3, 3, -4, -1, INT32_MIN, -1});
	assert_i64(tgc_mod(x, y), 7, (int64_t[]){1, 1, -1, -1, 5, 0, 0});
	assert_i64(tgc_shr(i32(ctx, 3, (int32_t[]){-8, 8, -8}), i32(ctx, 3, (int32_t[]){1, 40, 40})), 3,
	           (int64_t[]){-4, 0, -1});
}

// 7: rounding and waves.
static void rounding(tgc_context *ctx)
{
	assert_f32(tgc_round(f32(ctx, TGC_SHAPE(4), F32(0.5f, 1.5f, 2.5f, -1.5f))), 4, F32(0, 2, 2, -2), 0);
	assert_f32(tgc_sin(f32(ctx, TGC_SHAPE(3), F32(1e10f, INFINITY, 3e4f))), 3,
	           F32((float)sin(1e10), NAN, (float)sin(3e4)), 1e-6);
	assert_f32(tgc_cos(f32(ctx, TGC_SHAPE(2), F32(1e10f, 1e37f))), 2,
	           F32((float)cos(1e10), (float)cos((double)1e37f)), 1e-6);
}

// 8: padding.
static void padding(tgc_context *ctx)
{
	tgc_tensor *x = tgc_iota(ctx, TGC_F32, TGC_SHAPE(4), 0);

	assert_f32(tgc_pad(x, (int64_t[]){-1}, (int64_t[]){-2}, 9), 1, F32(1), 0);
	assert_f32(tgc_pad(x, (int64_t[]){1}, (int64_t[]){1}, -INFINITY), 6,
	           F32(-INFINITY, 0, 1, 2, 3, -INFINITY), 0);
	assert_error(ctx, tgc_pad(x, (int64_t[]){-3}, (int64_t[]){-2}, 0), TGC_ERROR_SHAPE);
}

// 9, 10: pooling and convolution.
static void windows(tgc_context *ctx)
{
	tgc_tensor *x = tgc_reshape(tgc_iota(ctx, TGC_F32, TGC_SHAPE(16), 0), TGC_SHAPE(1, 1, 4, 4));
	tgc_tensor *w = tgc_ones(ctx, TGC_F32, TGC_SHAPE(1, 1, 3, 3)),
	           *big = tgc_ones(ctx, TGC_F32, TGC_SHAPE(1, 1, 5, 5));

	assert_f32(tgc_max_pool2d(x, 2, 2, 0), 4, F32(5, 7, 13, 15), 0);
	assert_f32(tgc_max_pool2d(tgc_sub(x, 100.0), 3, 2, 1), 4, F32(-95, -93, -87, -85), 0);
	assert_f32(tgc_avg_pool2d(x, 2, 2), 4, F32(2.5f, 4.5f, 10.5f, 12.5f), 1e-6);
	assert_f32(tgc_conv2d(x, w, .stride = {1, 1}), 4, F32(45, 54, 81, 90), 1e-6);
	assert_error(ctx, tgc_conv2d(x, big, .stride = {1, 1}), TGC_ERROR_SHAPE);
	assert_error(ctx, tgc_conv2d(x, w, .groups = 2), TGC_ERROR_ARG);
}

// 13: softmax and its relations.
static void softmax(tgc_context *ctx)
{
	tgc_tensor *x = f32(ctx, TGC_SHAPE(3, 2), F32(0, -INFINITY, -INFINITY, -INFINITY, 100, 0));
	const int lengths[] = {1, 3, 15, 16, 17, 31, 32, 33, 1000, 1023, 1024, 1025, 4096};

	assert_f32(tgc_softmax(x, 1), 6, F32(1, 0, NAN, NAN, 1, 3.783506e-44f), 0.1);
	assert_f32(tgc_logsumexp(x, 1), 3, F32(0, -INFINITY, 100), 1e-6);
	for (int i = 0; i < TG_COUNT(lengths); i++) {
		tgc_tensor *row = tgc_mul(tgc_iota(ctx, TGC_F32, TGC_SHAPE(2, lengths[i]), 1), 1.0 / 64);
		float sums[2];

		check_read_f32(tgc_sum(tgc_softmax(row, 1), TGC_AXES(1), false), sums, 2);
		assert_true(fabs((double)sums[0] - 1) < 1e-5 && sums[0] == sums[1]);
	}
}

static void labels(tgc_context *ctx)
{
	tgc_tensor *x = f32(ctx, TGC_SHAPE(2, 3), F32(1, 2, 3, 3, 2, 1)), *loss;
	float value;

	loss = tgc_cross_entropy(x, i32(ctx, 2, (int32_t[]){2, 0}));
	assert_f32(loss, 1, F32(0.40760595f), 1e-5);
	loss = tgc_cross_entropy(x, i32(ctx, 2, (int32_t[]){2, 3}));
	assert_int_equal(tgc_read(loss, &value, sizeof value), TGC_ERROR_INDEX);
	tgc_clear_error(ctx);
	assert_true(isnan(tgc_item(tgc_gather(x, i32(ctx, 1, (int32_t[]){7}), 0))) || tgc_error_status(ctx));
	tgc_clear_error(ctx);
}

static void layer_norm(tgc_context *ctx)
{
	const int lengths[] = {1, 3, 16, 17, 768, 1025};

	for (int i = 0; i < TG_COUNT(lengths); i++) {
		int n = lengths[i];
		tgc_tensor *x = tgc_iota(ctx, TGC_F32, TGC_SHAPE(2, n), 1),
		           *y = tgc_layer_norm(x, NULL, NULL, 1e-5);
		float square[2];

		check_read_f32(tgc_mean(tgc_mul(y, y), TGC_AXES(1), false), square, 2);
		if (fabs((double)square[0] - (n > 1)) > 1e-3)
			fail_msg("length %d: mean square %g", n, (double)square[0]);
	}
}

// 14: a reduced value back over its input; transposed views; x with itself; read and assigned in one step.
static void overlaps(tgc_context *ctx)
{
	tgc_tensor *v = tgc_variable(tgc_reshape(tgc_iota(ctx, TGC_F32, TGC_SHAPE(4), 0), TGC_SHAPE(2, 2)));

	assert_f32(tgc_sub(v, tgc_max(v, TGC_AXES(1), true)), 4, F32(-1, 0, -1, 0), 0);
	assert_f32(tgc_mul(v, tgc_transpose(v, 0, 1)), 4, F32(0, 2, 2, 9), 0);
	assert_f32(tgc_matmul(v, v), 4, F32(2, 3, 6, 11), 0);
	assert_int_equal(tgc_assign(v, tgc_sub(v, tgc_sum(v, TGC_AXES(0), true))), TGC_OK);
	assert_f32(v, 4, F32(-2, -3, 0, -1), 0);
	assert_int_equal(tgc_assign(v, tgc_matmul(v, v)), TGC_OK);
	assert_f32(v, 4, F32(4, 9, 0, 1), 0);
}

// 15: rank 8, sizes of 1, 200 inputs.
static void extremes(tgc_context *ctx)
{
	tgc_tensor *x = tgc_reshape(tgc_iota(ctx, TGC_F32, TGC_SHAPE(4), 0), TGC_SHAPE(1, 2, 1, 1, 1, 2, 1, 1)),
	           *sum;

	assert_f32(tgc_permute(x, TGC_AXES(7, 5, 3, 2, 4, 1, 0, 6)), 4, F32(0, 2, 1, 3), 0);
	assert_error(ctx, tgc_unsqueeze(x, 0), TGC_ERROR_RANK);
	sum = tgc_zeros(ctx, TGC_F32, TGC_SHAPE(3));
	for (int i = 0; i < 200; i++)
		sum = tgc_add(sum, f32(ctx, TGC_SHAPE(3), F32((float)i, 1, -2)));
	assert_f32(sum, 3, F32(19900, 200, -400), 0);
}

// A check that fails stores nothing.
static void failed_step(tgc_context *ctx)
{
	tgc_tensor *v = tgc_variable(tgc_ones(ctx, TGC_F32, TGC_SHAPE(3))), *bad;

	assert_int_equal(tgc_realize(v), TGC_OK);
	bad = tgc_gather(v, i32(ctx, 3, (int32_t[]){0, 1, 9}), 0);
	assert_int_equal(tgc_assign(v, tgc_add(v, bad)), TGC_OK);
	assert_int_equal(tgc_flush(ctx), TGC_ERROR_INDEX);
	tgc_clear_error(ctx);
}

DEVICE_TEST(test_shapes, shapes)
DEVICE_TEST(test_views, views)
DEVICE_TEST(test_moments, moments)
DEVICE_TEST(test_nan_maximum, nan_maximum)
DEVICE_TEST(test_edge_gradients, edge_gradients)
DEVICE_TEST(test_conversions, conversions)
DEVICE_TEST(test_folded, folded)
DEVICE_TEST(test_no_rewriting, no_rewriting)
DEVICE_TEST(test_integer_division, integer_division)
DEVICE_TEST(test_rounding, rounding)
DEVICE_TEST(test_padding, padding)
DEVICE_TEST(test_windows, windows)
DEVICE_TEST(test_softmax, softmax)
DEVICE_TEST(test_labels, labels)
DEVICE_TEST(test_layer_norm, layer_norm)
DEVICE_TEST(test_overlaps, overlaps)
DEVICE_TEST(test_extremes, extremes)
DEVICE_TEST(test_failed_step, failed_step)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_shapes),           cmocka_unit_test(test_views),
	    cmocka_unit_test(test_moments),          cmocka_unit_test(test_nan_maximum),
	    cmocka_unit_test(test_edge_gradients),   cmocka_unit_test(test_conversions),
	    cmocka_unit_test(test_folded),           cmocka_unit_test(test_no_rewriting),
	    cmocka_unit_test(test_integer_division), cmocka_unit_test(test_rounding),
	    cmocka_unit_test(test_padding),          cmocka_unit_test(test_windows),
	    cmocka_unit_test(test_softmax),          cmocka_unit_test(test_labels),
	    cmocka_unit_test(test_layer_norm),       cmocka_unit_test(test_overlaps),
	    cmocka_unit_test(test_extremes),         cmocka_unit_test(test_failed_step),
	};

	return cmocka_run_group_tests_name("numerics", tests, NULL, NULL);
}
