// Shapes at which the CPU's tiles change their form: weight gradients along an image's rows, products whose
// operands do not stay in cache or lie across the tiles, permuted maps read and written in blocks, sums of
// columns in chunks, each with and without tails. In:  numbers from a small generator. Out: the device cpu
// against plain loops in f64. Small shapes are others' job.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <tgc/tgc.h>

static float *numbers(size_t n, uint32_t seed)
{
	float *x = malloc(n * sizeof *x);
	assert_non_null(x);
	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525u + 1013904223u;
		x[i] = (float)(seed >> 8) * 0x1p-23f - 1;
	}
	return x;
}

static tgc_context *device(int threads)
{
	tgc_context_options o = {
	    .struct_size = sizeof o, .device = getenv("TGC_DEVICE") ? NULL : "cpu", .threads = threads};
	tgc_context *c = tgc_context_new(&o);
	if (tgc_error_status(c) == TGC_OK)
		return c;
	tgc_context_free(&c);
	return NULL;
}

static void near_to(float got, double want, double scale)
{
	if (!(fabs((double)got - want) <= 1e-5 * scale + 1e-6))
		fail_msg("got %.9g, expected %.9g", (double)got, want);
}

// dW of a 3x3 convolution, padding 1: the sum of x[n, ci, y + ky - 1, x + kx - 1] * g[n, co, y, x].
static void weight_gradient(tgc_context *c, int n, int ci, int co, int side)
{
	size_t image = (size_t)side * (size_t)side;
	float *x = numbers((size_t)(n * ci) * image, 1), *g = numbers((size_t)(n * co) * image, 2);
	float *got = malloc(sizeof *got * (size_t)(co * ci * 9));
	tgc_tensor *tx = tgc_from_data(c, TGC_F32, TGC_SHAPE(n, ci, side, side), x);
	tgc_tensor *tg = tgc_from_data(c, TGC_F32, TGC_SHAPE(n, co, side, side), g);
	tgc_tensor *w = tgc_variable(tgc_zeros(c, TGC_F32, TGC_SHAPE(co, ci, 3, 3))), *dw;
	tgc_tensor *y = tgc_conv2d(tx, w, .padding = {1, 1, 1, 1});
	assert_int_equal(tgc_grad(tgc_sum(tgc_mul(y, tg), TGC_ALL_AXES, false), 1, &w, &dw), TGC_OK);
	assert_int_equal(tgc_realize(dw), TGC_OK);
	assert_int_equal(tgc_read(dw, got, sizeof *got * (size_t)(co * ci * 9)), TGC_OK);
	for (int i = 0; i < co * ci * 9; i++) {
		int o = i / (ci * 9), k = i / 9 % ci, dy = i / 3 % 3 - 1, dx = i % 3 - 1;
		double sum = 0;
		for (int b = 0; b < n; b++)
			for (int r = 0; r < side; r++)
				for (int q = 0; q < side; q++)
					if (r + dy >= 0 && r + dy < side && q + dx >= 0 && q + dx < side)
						sum +=
						    (double)x[((b * ci + k) * side + r + dy) * side + q + dx] *
						    (double)g[((b * co + o) * side + r) * side + q];
		near_to(got[i], sum, sqrt((double)n * (double)image));
	}
	free(x);
	free(g);
	free(got);
}

// Every element is checked where the product is small, a sample of rows where it is not.
static void product(tgc_context *c, int m, int n, int k, bool turned)
{
	float *x = numbers((size_t)m * (size_t)k, 3), *w = numbers((size_t)k * (size_t)n, 4);
	float *got = malloc(sizeof *got * (size_t)m * (size_t)n);
	tgc_tensor *tx = tgc_from_data(c, TGC_F32, TGC_SHAPE(m, k), x);
	tgc_tensor *tw = turned ? tgc_transpose(tgc_from_data(c, TGC_F32, TGC_SHAPE(n, k), w), 0, 1)
	                        : tgc_from_data(c, TGC_F32, TGC_SHAPE(k, n), w);
	tgc_tensor *y = tgc_matmul(tx, tw);
	assert_int_equal(tgc_realize(y), TGC_OK);
	assert_int_equal(tgc_read(y, got, sizeof *got * (size_t)m * (size_t)n), TGC_OK);
	for (int i = 0; i<m; i += m> 16 ? 7 : 1)
		for (int j = 0; j < n; j++) {
			double sum = 0;
			for (int p = 0; p < k; p++)
				sum += (double)x[i * k + p] * (double)(turned ? w[j * k + p] : w[p * n + j]);
			near_to(got[(size_t)i * (size_t)n + (size_t)j], sum, sqrt(k));
		}
	free(x);
	free(w);
	free(got);
}

// x^T w with a bias and a factor that is computed: what goes into the copies and what is done to the sums.
static void left_turned(tgc_context *c, int m, int n, int k)
{
	float *x = numbers((size_t)m * (size_t)k, 7), *w = numbers((size_t)k * (size_t)n, 8);
	float *bias = numbers((size_t)n, 9), *got = malloc(sizeof *got * (size_t)m * (size_t)n);
	tgc_tensor *tx = tgc_transpose(tgc_from_data(c, TGC_F32, TGC_SHAPE(k, m), x), 0, 1);
	tgc_tensor *tw = tgc_mul(tgc_from_data(c, TGC_F32, TGC_SHAPE(k, n), w), 0.5);
	tgc_tensor *y = tgc_add(tgc_matmul(tx, tw), tgc_from_data(c, TGC_F32, TGC_SHAPE(1, n), bias));
	assert_int_equal(tgc_realize(y), TGC_OK);
	assert_int_equal(tgc_read(y, got, sizeof *got * (size_t)m * (size_t)n), TGC_OK);
	for (int i = 0; i < m; i++)
		for (int j = 0; j < n; j++) {
			double sum = (double)bias[j];
			for (int p = 0; p < k; p++)
				sum += (double)x[p * m + i] * 0.5 * (double)w[p * n + j];
			near_to(got[i * n + j], sum, sqrt(k));
		}
	free(x);
	free(w);
	free(bias);
	free(got);
}

// One turned by another, so that one of the operands is contiguous along the lanes whatever they are.
static void turned_map(tgc_context *c, int rows, int columns, tgc_type type)
{
	size_t n = (size_t)rows * (size_t)columns;
	float *x = numbers(n, 5), *y = numbers(n, 6), *got = malloc(n * sizeof *got);
	tgc_tensor *a = tgc_cast(tgc_mul(tgc_from_data(c, TGC_F32, TGC_SHAPE(rows, columns), x), 100.0), type);
	tgc_tensor *b = tgc_cast(tgc_mul(tgc_from_data(c, TGC_F32, TGC_SHAPE(columns, rows), y), 100.0), type);
	assert_int_equal(tgc_realize(a, b), TGC_OK);
	tgc_tensor *z = tgc_maximum(tgc_transpose(a, 0, 1), b);
	assert_int_equal(tgc_realize(z), TGC_OK);
	z = tgc_cast(z, TGC_F32);
	tgc_tensor *p = tgc_cast(a, TGC_F32), *q = tgc_cast(b, TGC_F32);
	assert_int_equal(tgc_realize(z, p, q), TGC_OK);
	assert_int_equal(tgc_read(z, got, n * sizeof *got), TGC_OK);
	assert_int_equal(tgc_read(p, x, n * sizeof *x), TGC_OK);
	assert_int_equal(tgc_read(q, y, n * sizeof *y), TGC_OK);
	for (int i = 0; i < columns; i++)
		for (int j = 0; j < rows; j++) {
			float u = x[j * columns + i], v = y[i * rows + j];
			assert_true(got[i * rows + j] == (u > v ? u : v));
		}
	free(x);
	free(y);
	free(got);
}

// Columns of mean 0 and variance 1, then what follows their means. Sums in chunks are finished by each thread
// for itself: the bits must not tell how many threads there are.
static float *normalised(tgc_context *c, int rows, int columns, const float *x)
{
	size_t n = (size_t)rows * (size_t)columns, k = (size_t)columns;
	float *got = malloc((n + k) * sizeof *got);
	tgc_tensor *tx = tgc_from_data(c, TGC_F32, TGC_SHAPE(rows, columns), x);
	tgc_tensor *seen = tgc_variable(tgc_ones(c, TGC_F32, TGC_SHAPE(1, columns)));
	tgc_tensor *mean = tgc_mean(tx, TGC_AXES(0), true), *var = tgc_var(tx, TGC_AXES(0), 0, true);
	tgc_tensor *y = tgc_div(tgc_sub(tx, mean), tgc_sqrt(var));
	assert_non_null(got);
	assert_int_equal(tgc_assign(seen, tgc_add(tgc_mul(seen, 0.5), mean)), TGC_OK);
	assert_int_equal(tgc_realize(y), TGC_OK);
	assert_int_equal(tgc_read(y, got, n * sizeof *got), TGC_OK);
	assert_int_equal(tgc_read(seen, got + n, k * sizeof *got), TGC_OK);
	for (int j = 0; j < columns; j++) {
		double sum = 0, square = 0;
		for (int i = 0; i < rows; i++)
			sum += (double)x[i * columns + j];
		for (int i = 0; i < rows; i++)
			square += pow((double)x[i * columns + j] - sum / rows, 2);
		near_to(got[n + (size_t)j], 0.5 + sum / rows, 1);
		for (int i = 0; i < rows; i += 11)
			near_to(got[i * columns + j],
			        ((double)x[i * columns + j] - sum / rows) / sqrt(square / rows), 4);
	}
	return got;
}

static void statistics(void **state)
{
	static const int sizes[][2] = {{4096, 32}, {5003, 16}, {3001, 37}, {40000, 1}, {2050, 130}, {5003, 1040}, {4099, 2064}};
	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		size_t n = (size_t)(sizes[i][0] + 1) * (size_t)sizes[i][1];
		float *x = numbers(n, 11), *first = NULL;
		for (int threads = 1; threads <= 3; threads++) {
			tgc_context *c = device(threads);
			if (!c)
				skip();
			float *got = normalised(c, sizes[i][0], sizes[i][1], x);
			if (first)
				assert_memory_equal(got, first, n * sizeof *got);
			free(first);
			first = got;
			tgc_context_free(&c);
		}
		free(first);
		free(x);
	}
}

static void weight_gradients(void **state)
{
	(void)state;
	for (int threads = 1; threads <= 2; threads++) {
		tgc_context *c = device(threads);
		if (!c)
			skip();
		weight_gradient(c, 3, 16, 16, 32);
		weight_gradient(c, 5, 7, 9, 16);
		weight_gradient(c, 2, 3, 5, 19);
		weight_gradient(c, 4, 8, 8, 8);
		tgc_context_free(&c);
	}
}

static void products(void **state)
{
	(void)state;
	for (int threads = 1; threads <= 2; threads++) {
		tgc_context *c = device(threads);
		if (!c)
			skip();
		product(c, 96, 1100, 700, false);
		product(c, 37, 2500, 300, false);
		product(c, 64, 1030, 770, true);
		product(c, 5, 3000, 130, true);
		product(c, 130, 150, 1030, false);
		product(c, 131, 170, 1100, true);
		product(c, 64, 512, 96, true);
		left_turned(c, 250, 101, 1100);
		left_turned(c, 97, 333, 80);
		left_turned(c, 1030, 70, 600);
		left_turned(c, 128, 384, 768);
		product(c, 37, 53, 29, true);
		product(c, 64, 64, 32, true);
		product(c, 100, 33, 200, true);
		tgc_context_free(&c);
	}
}

static void turned_maps(void **state)
{
	static const tgc_type types[] = {TGC_F32, TGC_F64, TGC_F16, TGC_I32, TGC_I8, TGC_I64};
	(void)state;
	for (int threads = 1; threads <= 2; threads++) {
		tgc_context *c = device(threads);
		if (!c)
			skip();
		for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
			turned_map(c, 1024, 512, types[i]);
			turned_map(c, 523, 1031, types[i]);
			turned_map(c, 33, 20, types[i]);
		}
		tgc_context_free(&c);
	}
}

// More than the caches hold goes past them in whole aligned vectors: results lie anywhere, and end anywhere.
static void past_the_caches(void **state)
{
	static const int64_t sizes[] = {9 << 20, (9 << 20) + 5};
	(void)state;
	for (int i = 0; i < 2; i++) {
		int64_t n = sizes[i];
		tgc_context *c = device(2);
		if (!c)
			skip();
		float *x = numbers((size_t)n, 3), *to = malloc(sizeof *to * (size_t)(n + 32));
		tgc_tensor *in = tgc_input(c, TGC_F32, TGC_SHAPE(n)), *y = tgc_add(tgc_mul(in, 2), 1);
		tgc_program *p = tgc_compile(c, 1, &in, 1, &y);
		assert_non_null(p);
		for (int at = 0; at < 17; at += at < 2 ? 1 : 14) {
			for (int64_t k = 0; k < n + 32; k++)
				to[k] = -77;
			float *out = to + (64 - (uintptr_t)to % 64) / 4 % 16 + at;
			assert_int_equal(tgc_program_run(p, (const void *[]){x}, (void *[]){out}), TGC_OK);
			for (int64_t k = 0; k < n; k++)
				if (out[k] != x[k] * 2 + 1)
					fail_msg("element %lld of %lld, %d off", (long long)k, (long long)n,
					         at);
			assert_true(out[-1 + (out == to)] == (out == to ? out[0] : -77) && out[n] == -77);
		}
		tgc_program_free(&p);
		tgc_context_free(&c);
		free(x);
		free(to);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(past_the_caches),
	                                   cmocka_unit_test(weight_gradients), cmocka_unit_test(products),
	                                   cmocka_unit_test(turned_maps), cmocka_unit_test(statistics)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
