// The load-bearing walls: state, late scalars, random counters and plans found by structure. Each case asserts
// the values and how many plans were built and kernels compiled.
// Not here: what the operations compute (test_primitives.c).
#include "check.h"

#include <math.h>

struct spent { // since the last look
	uint64_t plans, kernels;
	tgc_stats last;
};

static struct spent spend(tgc_context *ctx, struct spent before)
{
	struct spent s = {.last = tgc_get_stats(ctx)};

	s.plans = s.last.plans_built - before.last.plans_built;
	s.kernels = s.last.kernels_compiled - before.last.kernels_compiled;
	return s;
}

static struct spent start(tgc_context *ctx)
{
	return (struct spent){.last = tgc_get_stats(ctx)};
}

static void assert_nothing_built(tgc_context *ctx, struct spent *at)
{
	*at = spend(ctx, *at);
	assert_int_equal(at->plans, 0);
	assert_int_equal(at->kernels, 0);
}

static void assert_values(tgc_tensor *t, const float *want, int n, double rtol)
{
	float got[64];

	assert_true(n <= TG_COUNT(got));
	check_read_f32(t, got, n);
	for (int i = 0; i < n; i++)
		if (!(fabs((double)got[i] - (double)want[i]) <= rtol * (1 + fabs((double)want[i]))))
			fail_msg("element %d: %g, want %g", i, (double)got[i], (double)want[i]);
}

static tgc_tensor *vector(tgc_context *ctx, int n, float first, float step)
{
	float data[64];

	for (int i = 0; i < n; i++)
		data[i] = first + step * (float)i;
	return tgc_from_data(ctx, TGC_F32, TGC_SHAPE(n), data);
}

// ---- a rate that changes -----------------------------------------------------------------------------------

static void late_rate(tgc_context *ctx)
{
	tgc_tensor *w = tgc_variable(vector(ctx, 4, 1, 1)), *lr = tgc_scalar(ctx, 0.5);
	struct spent at = start(ctx);
	float want[] = {1, 2, 3, 4};

	for (int step = 0; step < 6; step++) {
		double rate = 0.5 / (1 + step);
		tgc_tensor *loss, *g;

		tgc_scope_begin(ctx);
		assert_int_equal(tgc_set(lr, rate), TGC_OK);
		loss = tgc_sum(tgc_mul(w, w), TGC_ALL_AXES, false);
		assert_int_equal(tgc_grad(loss, 1, &w, &g), TGC_OK);
		assert_int_equal(tgc_assign(w, tgc_sub(w, tgc_mul(g, lr))), TGC_OK);
		assert_int_equal(tgc_realize(loss, w), TGC_OK);
		for (int i = 0; i < 4; i++)
			want[i] -= (float)rate * 2 * want[i];
		assert_values(w, want, 4, 1e-6);
		tgc_scope_end(ctx);
		if (step > 1)
			assert_nothing_built(ctx, &at);
		else
			at = spend(ctx, at);
	}
	assert_ok(ctx);
}

// A literal in the place of the rate: its third value makes it a late scalar.
static void literal_rate(tgc_context *ctx)
{
	tgc_tensor *w = tgc_variable(vector(ctx, 4, 1, 1));
	struct spent all, at;
	float want[] = {1, 2, 3, 4};

	assert_int_equal(tgc_realize(w), TGC_OK);
	all = at = start(ctx);
	for (int step = 0; step < 12; step++) {
		double rate = 0.01 * (step + 1);

		tgc_scope_begin(ctx);
		assert_int_equal(tgc_assign(w, tgc_sub(w, tgc_mul(w, rate))), TGC_OK);
		assert_int_equal(tgc_realize(w), TGC_OK);
		for (int i = 0; i < 4; i++)
			want[i] -= want[i] * (float)rate;
		assert_values(w, want, 4, 1e-6);
		tgc_scope_end(ctx);
		if (step > 3)
			assert_nothing_built(ctx, &at);
		else
			at = spend(ctx, at);
	}
	all = spend(ctx, all);
	assert_true(all.plans <= 3);
	if (all.plans > 0)
		assert_true(all.last.promoted_literals >= 1);
}

// ---- dropout -----------------------------------------------------------------------------------------------

static void dropout(tgc_context *ctx)
{
	float a[64], b[64];
	struct spent at = start(ctx);
	int kept = 0, differ = 0;

	for (int round = 0; round < 5; round++) {
		tgc_scope_begin(ctx);
		if (round == 3)
			tgc_seed(ctx, 1); // the fourth repeats the first
		check_read_f32(tgc_dropout(vector(ctx, 64, 1, 0), 0.5), round == 1 ? b : a, 64);
		for (int i = 0; i < 64; i++)
			assert_true(a[i] == 0 || a[i] == 2);
		for (int i = 0; round == 1 && i < 64; i++)
			differ += a[i] != b[i];
		for (int i = 0; round == 0 && i < 64; i++)
			kept += a[i] != 0;
		if (round > 0)
			assert_nothing_built(ctx, &at);
		else
			at = spend(ctx, at);
		tgc_scope_end(ctx);
	}
	assert_true(kept > 16 && kept < 48);
	assert_true(differ > 16);
}

static void seeds_repeat(tgc_context *ctx)
{
	float a[64], b[64];

	tgc_seed(ctx, 42);
	check_read_f32(tgc_rand(ctx, TGC_F32, TGC_SHAPE(64), .low = 0), a, 64);
	tgc_seed(ctx, 42);
	check_read_f32(tgc_rand(ctx, TGC_F32, TGC_SHAPE(64), .low = 0), b, 64);
	assert_memory_equal(a, b, sizeof a);
	check_read_f32(tgc_rand(ctx, TGC_F32, TGC_SHAPE(64), .low = 0), b, 64);
	assert_memory_not_equal(a, b, sizeof a);
}

// ---- running statistics ------------------------------------------------------------------------------------

static void running_statistics(tgc_context *ctx)
{
	tgc_tensor *mean = tgc_variable(tgc_zeros(ctx, TGC_F32, TGC_SHAPE(3)));
	tgc_tensor *var = tgc_variable(tgc_ones(ctx, TGC_F32, TGC_SHAPE(3)));
	struct spent at = start(ctx);
	float m[3] = {0, 0, 0}, v[3] = {1, 1, 1};

	for (int step = 0; step < 5; step++) {
		float data[12];
		tgc_tensor *x, *mu, *s2, *y;

		tgc_scope_begin(ctx);
		for (int i = 0; i < 12; i++)
			data[i] = (float)(i % 5) + (float)step;
		x = tgc_from_data(ctx, TGC_F32, TGC_SHAPE(4, 3), data);
		mu = tgc_mean(x, TGC_AXES(0), false);
		s2 = tgc_var(x, TGC_AXES(0), 0, false);
		y = tgc_div(tgc_sub(x, mu), tgc_sqrt(tgc_add(s2, 1e-5)));
		assert_int_equal(tgc_assign(mean, tgc_add(tgc_mul(mean, 0.9), tgc_mul(mu, 0.1))), TGC_OK);
		assert_int_equal(tgc_assign(var, tgc_add(tgc_mul(var, 0.9), tgc_mul(s2, 0.1))), TGC_OK);
		assert_int_equal(tgc_realize(y), TGC_OK);
		for (int c = 0; c < 3; c++) {
			float sum = 0, square = 0;

			for (int r = 0; r < 4; r++)
				sum += data[3 * r + c] / 4;
			for (int r = 0; r < 4; r++)
				square += (data[3 * r + c] - sum) * (data[3 * r + c] - sum) / 4;
			m[c] = m[c] * 0.9f + sum * 0.1f;
			v[c] = v[c] * 0.9f + square * 0.1f;
		}
		tgc_scope_end(ctx);
		if (step > 1)
			assert_nothing_built(ctx, &at);
		else
			at = spend(ctx, at);
	}
	assert_values(mean, m, 3, 1e-5);
	assert_values(var, v, 3, 1e-5);
	assert_nothing_built(ctx, &at); // both were stored already
}

// ---- a smaller last batch ----------------------------------------------------------------------------------

static void smaller_last_batch(tgc_context *ctx)
{
	const int batches[] = {8, 8, 3, 8, 8, 3};
	struct spent at = start(ctx);

	for (int i = 0; i < TG_COUNT(batches); i++) {
		float want;

		tgc_scope_begin(ctx);
		want = (float)(1 + batches[i]) / 2;
		assert_values(tgc_mean(vector(ctx, batches[i], 1, 1), TGC_ALL_AXES, false), &want, 1, 1e-6);
		tgc_scope_end(ctx);
		if (i == 1 || i > 2)
			assert_nothing_built(ctx, &at);
		else
			at = spend(ctx, at);
	}
}

// ---- an early look at the loss -----------------------------------------------------------------------------

enum look { LOOK_AFTER, LOOK_LATER, LOOK_EARLY };

static void train(tgc_context *ctx, enum look look, float *w_out, uint64_t *plans)
{
	tgc_tensor *w = tgc_variable(vector(ctx, 4, 1, 1)), *lr = tgc_scalar(ctx, 0.1);
	struct spent at = start(ctx);
	float mirror[] = {1, 2, 3, 4};

	*plans = 0;
	for (int step = 0; step < 5; step++) {
		tgc_tensor *loss, *g;
		tgc_later *later = NULL;
		double want = 0, got = 0;

		for (int i = 0; i < 4; i++)
			want += (double)mirror[i] * (double)mirror[i];
		tgc_scope_begin(ctx);
		loss = tgc_sum(tgc_mul(w, w), TGC_ALL_AXES, false);
		if (look == LOOK_EARLY)
			got = check_item(loss);
		if (look == LOOK_LATER)
			later = tgc_item_later(loss);
		assert_int_equal(tgc_grad(loss, 1, &w, &g), TGC_OK);
		assert_int_equal(tgc_assign(w, tgc_sub(w, tgc_mul(g, lr))), TGC_OK);
		assert_int_equal(look == LOOK_LATER ? tgc_realize(w) : tgc_realize(loss, w), TGC_OK);
		if (look == LOOK_AFTER)
			got = check_item(loss);
		if (look == LOOK_LATER)
			got = tgc_later_get(later);
		if (!(fabs(got - want) < 1e-5 * want))
			fail_msg("look %d, step %d: loss %g, want %g", (int)look, step, got, want);
		for (int i = 0; i < 4; i++)
			mirror[i] -= 0.1f * 2 * mirror[i];
		tgc_scope_end(ctx);
		at = spend(ctx, at);
		*plans += at.plans;
		if (step > 1) {
			assert_int_equal(at.plans, 0);
			assert_int_equal(at.kernels, 0);
		}
	}
	check_read_f32(w, w_out, 4);
	assert_values(w, mirror, 4, 1e-5);
}

static void early_look(tgc_context *ctx)
{
	float a[4], b[4], c[4];
	uint64_t after, later, early;

	train(ctx, LOOK_AFTER, a, &after);
	train(ctx, LOOK_LATER, b, &later);
	train(ctx, LOOK_EARLY, c, &early);
	assert_memory_equal(a, b, sizeof a);
	assert_memory_equal(a, c, sizeof a);
	assert_true(later <= after + 1); // its outputs may stand in another order
	assert_true(early <= 3);
}

// ---- variables ---------------------------------------------------------------------------------------------

static void equal_variables(tgc_context *ctx)
{
	tgc_tensor *a = tgc_variable(tgc_zeros(ctx, TGC_F32, TGC_SHAPE(3)));
	tgc_tensor *b = tgc_variable(tgc_zeros(ctx, TGC_F32, TGC_SHAPE(3)));
	const float zeros[3] = {0, 0, 0}, ones[3] = {1, 1, 1}, ten[3] = {10, 10, 10}, nine[3] = {-9, -9, -9};

	assert_int_equal(tgc_assign(a, tgc_add(a, 1.0)), TGC_OK);
	assert_int_equal(tgc_realize(a, b), TGC_OK);
	assert_values(a, ones, 3, 0);
	assert_values(b, zeros, 3, 0);
	assert_int_equal(tgc_assign(b, tgc_add(b, 10.0)), TGC_OK);
	assert_values(tgc_sub(a, b), nine, 3, 0);
	assert_values(b, ten, 3, 0);
	assert_values(a, ones, 3, 0);
}

static void read_before_assign(tgc_context *ctx)
{
	tgc_tensor *v = tgc_variable(vector(ctx, 4, 1, 1)), *before, *after;
	const float old[4] = {2, 4, 6, 8}, new[4] = {3, 4, 5, 6}, twice[4] = {6, 8, 10, 12};

	before = tgc_mul(v, 2.0);
	assert_int_equal(tgc_assign(v, tgc_add(v, 1.0)), TGC_OK);
	assert_int_equal(tgc_assign(v, tgc_add(v, 1.0)), TGC_OK);
	after = tgc_mul(v, 2.0);
	assert_int_equal(tgc_realize(before, after), TGC_OK);
	assert_values(before, old, 4, 0);
	assert_values(after, twice, 4, 0);
	assert_values(v, new, 4, 0);
}

// A tensor that reads an old value and is still held when the variable is overwritten keeps that value.
static void late_read(tgc_context *ctx)
{
	tgc_tensor *v = tgc_variable(vector(ctx, 4, 1, 1)), *old = tgc_mul(v, 2.0);

	assert_int_equal(tgc_assign(v, tgc_add(v, 1.0)), TGC_OK);
	assert_int_equal(tgc_realize(v), TGC_OK);
	assert_int_equal(tgc_assign(v, tgc_add(v, 1.0)), TGC_OK);
	assert_int_equal(tgc_realize(v), TGC_OK);
	assert_values(old, (const float[]){2, 4, 6, 8}, 4, 0);
	assert_values(v, (const float[]){3, 4, 5, 6}, 4, 0);
}

static void assign_views(tgc_context *ctx)
{
	tgc_tensor *v = tgc_variable(tgc_reshape(vector(ctx, 9, 0, 1), TGC_SHAPE(3, 3)));
	const float transposed[9] = {0, 3, 6, 1, 4, 7, 2, 5, 8}, sums[9] = {0, 4, 8, 4, 8, 12, 8, 12, 16};
	const float shifted[9] = {4, 8, 12, 8, 12, 16, 0, 4, 8}, flipped[9] = {8, 4, 0, 16, 12, 8, 12, 8, 4};
	struct spent at = start(ctx);

	for (int i = 0; i < 5; i++) { // odd times: transposed
		assert_int_equal(tgc_assign(v, tgc_transpose(v, 0, 1)), TGC_OK);
		assert_int_equal(tgc_realize(v), TGC_OK);
		if (i > 1)
			assert_nothing_built(ctx, &at);
		at = spend(ctx, at);
	}
	assert_values(v, transposed, 9, 0);
	assert_int_equal(tgc_assign(v, tgc_add(v, tgc_transpose(v, 0, 1))), TGC_OK);
	assert_int_equal(tgc_flush(ctx), TGC_OK);
	assert_values(v, sums, 9, 0);
	assert_int_equal(
	    tgc_assign(
	        v, tgc_concat(2, (tgc_tensor *[]){tgc_slice_axis(v, 0, 1, 3), tgc_slice_axis(v, 0, 0, 1)}, 0)),
	    TGC_OK);
	assert_values(v, shifted, 9, 0);
	assert_int_equal(tgc_assign(v, tgc_flip(v, TGC_AXES(0, 1))), TGC_OK);
	assert_values(v, flipped, 9, 0);
}

static void swap_variables(tgc_context *ctx)
{
	tgc_tensor *a = tgc_variable(vector(ctx, 4, 1, 1)), *b = tgc_variable(vector(ctx, 4, 10, 10)), *old;

	for (int i = 0; i < 3; i++) {
		tgc_scope_begin(ctx);
		old = tgc_reshape(a, TGC_SHAPE(4));
		assert_int_equal(tgc_assign(a, b), TGC_OK);
		assert_int_equal(tgc_assign(b, old), TGC_OK);
		assert_int_equal(tgc_flush(ctx), TGC_OK);
		tgc_scope_end(ctx);
	}
	assert_values(a, (const float[]){10, 20, 30, 40}, 4, 0);
	assert_values(b, (const float[]){1, 2, 3, 4}, 4, 0);
}

// b gets a, a gets something else, and a copy of a is read too: one step, one value each.
static void assign_chain(tgc_context *ctx)
{
	tgc_tensor *a = tgc_variable(vector(ctx, 4, 1, 1)),
	           *b = tgc_variable(tgc_zeros(ctx, TGC_F32, TGC_SHAPE(4)));
	tgc_tensor *sum;

	assert_int_equal(tgc_assign(b, tgc_flip(a, TGC_AXES(0))), TGC_OK);
	assert_int_equal(tgc_assign(a, tgc_mul(b, 3.0)), TGC_OK);
	sum = tgc_add(a, b);
	assert_int_equal(tgc_realize(sum), TGC_OK);
	assert_values(a, (const float[]){12, 9, 6, 3}, 4, 0);
	assert_values(b, (const float[]){4, 3, 2, 1}, 4, 0);
	assert_values(sum, (const float[]){16, 12, 8, 4}, 4, 0);
}

static void failed_assign(tgc_context *ctx)
{
	tgc_tensor *v = tgc_variable(vector(ctx, 4, 1, 1)), *bad, *g, *loss;

	assert_int_equal(tgc_realize(v), TGC_OK);
	bad = tgc_add(v, vector(ctx, 3, 0, 0));
	assert_true(tgc_is_error(bad));
	assert_int_equal(tgc_error_status(ctx), TGC_ERROR_SHAPE);
	assert_true(tgc_assign(v, bad) != TGC_OK);
	tgc_clear_error(ctx);
	assert_values(v, (const float[]){1, 2, 3, 4}, 4, 0);
	assert_true(tgc_assign(v, vector(ctx, 3, 0, 0)) == TGC_ERROR_SHAPE);
	tgc_clear_error(ctx);
	loss = tgc_sum(tgc_mul(v, v), TGC_ALL_AXES, false);
	assert_int_equal(tgc_assign(v, tgc_add(v, 1.0)), TGC_OK);
	assert_int_equal(tgc_grad(loss, 1, &v, &g), TGC_ERROR_GRAD);
	tgc_clear_error(ctx);
	assert_values(v, (const float[]){2, 3, 4, 5}, 4, 0);
}

// ---- one graph, two scopes ---------------------------------------------------------------------------------

static void built_twice(tgc_context *ctx)
{
	struct spent at = start(ctx);

	for (int i = 0; i < 4; i++) {
		float want[3];
		tgc_tensor *x;

		tgc_scope_begin(ctx);
		if (i % 2)
			tgc_name_push(ctx, "somewhere");
		x = vector(ctx, 3, (float)i, 1);
		for (int k = 0; k < 3; k++)
			want[k] = expf(-((float)i + (float)k)) + 1;
		assert_values(tgc_add(tgc_exp(tgc_neg(x)), 1.0), want, 3, 1e-6);
		if (i % 2)
			tgc_name_pop(ctx);
		tgc_scope_end(ctx);
		if (i > 0)
			assert_nothing_built(ctx, &at);
		else
			at = spend(ctx, at);
	}
}

DEVICE_TEST(test_late_rate, late_rate)
DEVICE_TEST(test_literal_rate, literal_rate)
DEVICE_TEST(test_dropout, dropout)
DEVICE_TEST(test_seeds_repeat, seeds_repeat)
DEVICE_TEST(test_running_statistics, running_statistics)
DEVICE_TEST(test_smaller_last_batch, smaller_last_batch)
DEVICE_TEST(test_early_look, early_look)
DEVICE_TEST(test_equal_variables, equal_variables)
DEVICE_TEST(test_read_before_assign, read_before_assign)
DEVICE_TEST(test_late_read, late_read)
DEVICE_TEST(test_assign_views, assign_views)
DEVICE_TEST(test_swap_variables, swap_variables)
DEVICE_TEST(test_assign_chain, assign_chain)
DEVICE_TEST(test_failed_assign, failed_assign)
DEVICE_TEST(test_built_twice, built_twice)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_late_rate),
	    cmocka_unit_test(test_literal_rate),
	    cmocka_unit_test(test_dropout),
	    cmocka_unit_test(test_seeds_repeat),
	    cmocka_unit_test(test_running_statistics),
	    cmocka_unit_test(test_smaller_last_batch),
	    cmocka_unit_test(test_early_look),
	    cmocka_unit_test(test_equal_variables),
	    cmocka_unit_test(test_read_before_assign),
	    cmocka_unit_test(test_late_read),
	    cmocka_unit_test(test_assign_views),
	    cmocka_unit_test(test_swap_variables),
	    cmocka_unit_test(test_assign_chain),
	    cmocka_unit_test(test_failed_assign),
	    cmocka_unit_test(test_built_twice),
	};

	return cmocka_run_group_tests_name("walls", tests, NULL, NULL);
}
