// Autocast: which types come out of a scope, that values and gradients agree with the interpreter, and the loss scale.
// In:  small graphs, recorded on each device. Out: types, values beside f32. Not here: rounding of 16-bit chains.
#include "check.h"

#include <math.h>
#include <tgc/tgc.h>

static tgc_tensor *wave(tgc_context *c, tgc_shape s, double step)
{
	int64_t n = 1;
	for (int i = 0; i < s.rank; i++)
		n *= s.dims[i];
	tgc_tensor *x = tgc_sin(tgc_mul(tgc_iota(c, TGC_F32, TGC_SHAPE(n), 0), step));
	return tgc_variable(tgc_reshape(x, s));
}

static void types(tgc_context *c)
{
	tgc_tensor *x = wave(c, TGC_SHAPE(4, 6), 0.7), *w = wave(c, TGC_SHAPE(6, 8), 0.3), *row = wave(c, TGC_SHAPE(8), 0.9);
	tgc_tensor *image = wave(c, TGC_SHAPE(1, 2, 4, 4), 0.2), *filter = wave(c, TGC_SHAPE(3, 2, 3, 3), 0.4);
	const int32_t label[4] = {0, 7, 3, 1};
	for (int i = 0; i < 2; i++) {
		tgc_type t = i ? TGC_F16 : TGC_BF16;
		tgc_autocast_begin(c, t);
		tgc_tensor *y = tgc_matmul(x, w);
		const struct {
			tgc_tensor *x;
			tgc_type type;
		} rows[] = {
		    {y, t}, {tgc_einsum("ij,jk->ik", x, w), t}, {tgc_conv2d(image, filter), t}, {tgc_attention(x, x, x, true), t},
		    {tgc_relu(y), t}, {tgc_add(y, 1), t}, {tgc_transpose(y, 0, 1), t}, {tgc_max(y, TGC_AXES(1), true), t},
		    {tgc_exp(y), TGC_F32}, {tgc_log(y), TGC_F32}, {tgc_sum(y, TGC_AXES(0), false), TGC_F32},
		    {tgc_mean(y, TGC_AXES(0), false), TGC_F32}, {tgc_var(y, TGC_AXES(0), 0, false), TGC_F32},
		    {tgc_softmax(y, 1), TGC_F32}, {tgc_log_softmax(y, 1), TGC_F32}, {tgc_logsumexp(y, 1), TGC_F32},
		    {tgc_layer_norm(y, row, row, 1e-5), TGC_F32},
		    {tgc_cross_entropy(y, tgc_from_data(c, TGC_I32, TGC_SHAPE(4), label)), TGC_F32},
		    {tgc_add(y, row), TGC_F32}, {tgc_mul(row, y), TGC_F32}, {tgc_fma(y, y, tgc_add(y, row)), TGC_F32},
		    {tgc_select(tgc_lt(y, row), row, y), TGC_F32},
		    {tgc_matmul(tgc_cast(x, TGC_I32), tgc_cast(w, TGC_I32)), TGC_I32},
		    {tgc_matmul(tgc_cast(x, TGC_F64), tgc_cast(w, TGC_F64)), TGC_F64},
		};
		for (int k = 0; k < TG_COUNT(rows); k++)
			if (tgc_tensor_type(rows[k].x) != rows[k].type)
				fail_msg("row %d in %s is %s: %s", k, tgc_type_name(t), tgc_type_name(tgc_tensor_type(rows[k].x)),
				         tgc_error_message(c));
		tgc_autocast_begin(c, TGC_F32); // off, inside
		assert_int_equal(tgc_tensor_type(tgc_matmul(x, w)), TGC_F32);
		assert_true(tgc_is_error(tgc_add(y, row)));
		tgc_clear_error(c);
		tgc_autocast_end(c);
		assert_int_equal(tgc_tensor_type(tgc_matmul(x, w)), t);
		assert_true(tgc_is_error(tgc_add(y, tgc_cast(row, TGC_F64)))); // nothing else is promoted
		tgc_clear_error(c);
		tgc_autocast_end(c);
		assert_int_equal(tgc_tensor_type(tgc_matmul(x, w)), TGC_F32);
	}
	tgc_release(x), tgc_release(w), tgc_release(row), tgc_release(image), tgc_release(filter);
}

static void misuse(tgc_context *c)
{
	tgc_autocast_end(c);
	assert_int_equal(tgc_error_status(c), TGC_ERROR_ARG);
	tgc_clear_error(c);
	tgc_autocast_begin(c, TGC_I32);
	assert_int_equal(tgc_error_status(c), TGC_ERROR_TYPE);
	tgc_clear_error(c);
	for (int i = 0; i < 16; i++)
		tgc_autocast_begin(c, i % 2 ? TGC_F32 : TGC_F16);
	assert_ok(c);
	tgc_autocast_begin(c, TGC_F16);
	assert_int_equal(tgc_error_status(c), TGC_ERROR_ARG);
	tgc_clear_error(c);
	for (int i = 0; i < 16; i++)
		tgc_autocast_end(c);
	assert_ok(c);
	tgc_autocast_begin(NULL, TGC_F16);
	tgc_autocast_end(NULL);
}

// A weight is cast once, and an operation recorded again is the same node.
static void cast_once(tgc_context *c)
{
	tgc_tensor *x = wave(c, TGC_SHAPE(4, 6), 0.7), *w = wave(c, TGC_SHAPE(6, 8), 0.3);
	tgc_autocast_begin(c, TGC_BF16);
	tgc_matmul(x, w);
	uint64_t built = tgc_get_stats(c).nodes_built;
	tgc_matmul(x, w);
	assert_int_equal(tgc_get_stats(c).nodes_built, built);
	tgc_matmul(tgc_cast(x, TGC_BF16), tgc_transpose(tgc_transpose(w, 0, 1), 0, 1));
	assert_int_equal(tgc_get_stats(c).nodes_built, built + 1); // the first transpose alone
	tgc_autocast_end(c);
	tgc_release(x);
	tgc_release(w);
}

static tgc_tensor *network(tgc_tensor *x, tgc_tensor *w, tgc_tensor *v, tgc_tensor *gain)
{
	tgc_tensor *h = tgc_gelu_tanh(tgc_layer_norm(tgc_matmul(x, w), gain, NULL, 1e-5));
	tgc_tensor *y = tgc_softmax(tgc_matmul(tgc_add(h, tgc_attention(h, h, h, true)), v), 1);
	return tgc_mean(tgc_mul(y, tgc_log(y)), TGC_ALL_AXES, false);
}

// Loss and gradients in three types: the devices agree with the interpreter, 16 bits with f32 as far as they reach.
static void values(tgc_context *c)
{
	static const tgc_type scopes[] = {TGC_F32, TGC_BF16, TGC_F16};
	static float got[3][16 * 8];
	tgc_tensor *x = wave(c, TGC_SHAPE(12, 16), 0.7), *p[] = {wave(c, TGC_SHAPE(16, 8), 0.3), wave(c, TGC_SHAPE(8, 8), 0.5),
	                                                      wave(c, TGC_SHAPE(8), 0.9)};
	assert_int_equal(tgc_realize(x, p[0], p[1], p[2]), TGC_OK);
	for (int i = 0; i < 3; i++) {
		tgc_tensor *all[4];
		tgc_autocast_begin(c, scopes[i]);
		all[3] = network(x, p[0], p[1], p[2]);
		assert_int_equal(tgc_grad(all[3], 3, p, all), TGC_OK);
		tgc_autocast_end(c);
		for (int k = 0; k < 4; k++)
			assert_int_equal(tgc_tensor_type(all[k]), TGC_F32);
		struct tally t = {0};
		check_tensors(c, 4, all, &t);
		if (t.failed)
			fail_msg("%s: %s", tgc_type_name(scopes[i]), t.message);
		check_read_f32(all[0], got[i], 16 * 8);
	}
	double most = 0, off[3] = {0};
	for (int k = 0; k < 16 * 8; k++) {
		most = fmax(most, fabs((double)got[0][k]));
		for (int i = 1; i < 3; i++)
			off[i] = fmax(off[i], fabs((double)got[i][k] - (double)got[0][k]));
	}
	assert_true(most > 0 && off[1] > 0 && off[1] < 0.1 * most && off[2] > 0 && off[2] < 0.0125 * most);
	for (int k = 0; k < 3; k++)
		tgc_release(p[k]);
	tgc_release(x);
}

// A loss whose gradient is `x`, at a scale of 8: nothing moves where it is infinite, or where only the scaled one is.
static void scaled_steps(tgc_context *c)
{
	static const struct {
		float x;
		bool taken;
	} steps[] = {{INFINITY, false}, {1, true}, {NAN, false}, {1e38f, false}, {1e-3f, true}};
	for (int kind = 0; kind < 2; kind++) {
		tgc_module *m = tgc_linear(c, 1, 1);
		tgc_optim *o = kind ? tgc_adamw(m, .lr = 0.5, .loss_scale = 64) : tgc_sgd(m, .lr = 0.5, .momentum = 0.9, .loss_scale = 64);
		double scale = 64, moment = 0, m1 = 0, m2 = 0, t = 0, w = check_item(tgc_param(m, 0));
		for (int i = 0; i < TG_COUNT(steps); i++) {
			double x = (double)steps[i].x;
			tgc_scope_begin(c);
			tgc_tensor *in = tgc_from_data(c, TGC_F32, TGC_SHAPE(1, 1), &steps[i].x);
			assert_int_equal(tgc_step(o, tgc_sum(tgc_mul(tgc_param(m, 0), in), TGC_ALL_AXES, false)), TGC_OK);
			scale *= steps[i].taken ? 1 : 0.5;
			if (steps[i].taken) {
				t++;
				moment = 0.9 * moment + x;
				m1 = 0.9 * m1 + 0.1 * x;
				m2 = 0.999 * m2 + 0.001 * x * x;
				w -= 0.5 * (kind ? m1 / (1 - pow(0.9, t)) / (sqrt(m2 / (1 - pow(0.999, t))) + 1e-8) : moment);
			}
			assert_true(check_item(tgc_optim_loss_scale(o)) == scale);
			assert_float_equal(check_item(tgc_param(m, 0)), w, 1e-4);
			tgc_scope_end(c);
		}
		assert_int_equal(tgc_optim_steps(o), TG_COUNT(steps));
		tgc_optim_free(&o);
		tgc_module_free(&m);
	}
	assert_null(tgc_optim_loss_scale(NULL));
}

// It doubles after 2000 good steps, not before, and never beyond 2^24.
static void grows(tgc_context *c)
{
	const float one = 1;
	tgc_module *m = tgc_linear(c, 1, 1);
	tgc_optim *o = tgc_sgd(m, .loss_scale = 12582912); // 3 * 2^22
	for (int i = 1; i <= 2000; i++) {
		tgc_scope_begin(c);
		tgc_tensor *in = tgc_from_data(c, TGC_F32, TGC_SHAPE(1, 1), &one);
		assert_int_equal(tgc_step(o, tgc_sum(tgc_mul(tgc_param(m, 0), in), TGC_ALL_AXES, false)), TGC_OK);
		if (i >= 1999)
			assert_true(check_item(tgc_optim_loss_scale(o)) == (i < 2000 ? 12582912 : 16777216));
		tgc_scope_end(c);
	}
	tgc_optim_free(&o);
	assert_null(tgc_sgd(m, .loss_scale = -1));
	assert_int_equal(tgc_error_status(c), TGC_ERROR_ARG);
	tgc_clear_error(c);
	tgc_module_free(&m);
}

DEVICE_TEST(test_types, types)
DEVICE_TEST(test_misuse, misuse)
DEVICE_TEST(test_cast_once, cast_once)
DEVICE_TEST(test_values, values)
DEVICE_TEST(test_scaled_steps, scaled_steps)
DEVICE_TEST(test_grows, grows)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_types),  cmocka_unit_test(test_misuse),       cmocka_unit_test(test_cast_once),
	    cmocka_unit_test(test_values), cmocka_unit_test(test_scaled_steps), cmocka_unit_test(test_grows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
