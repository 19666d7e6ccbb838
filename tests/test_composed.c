// Composed operations against plain loops in f64, on every device, through the public headers only.
#include <tgc/tgc.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *devices[] = {"interp", "cpu"}; // TGC_DEVICE replaces the second
enum { ROWS = 5, COLS = 17, MAX = 4096 };

static tgc_context *open_device(const char *name)
{
	tgc_context *c = tgc_context_new(
	    &(tgc_context_options){.struct_size = sizeof(tgc_context_options), .device = name, .seed = 3});
	if (tgc_error_status(c) == TGC_ERROR_NODEVICE)
		tgc_context_free(&c);
	return c;
}

static double wave(int i)
{
	return 4 * sin(1.7 * i + 0.3);
}

// The same values on both sides: f32 for the library, f64 for the loops.
static tgc_tensor *input(tgc_context *c, tgc_shape s, int offset, double *copy)
{
	static float f[MAX];
	int64_t n = 1;
	for (int i = 0; i < s.rank; i++)
		n *= s.dims[i];
	for (int i = 0; i < n; i++) {
		f[i] = (float)wave(i + offset);
		copy[i] = (double)f[i];
	}
	return tgc_from_data(c, TGC_F32, s, f);
}

static void check(tgc_context *c, const char *what, tgc_tensor *t, int n, const double *want)
{
	static float got[MAX];
	if (tgc_read(t, got, sizeof *got * (size_t)n) != TGC_OK)
		fail_msg("%s: %s", what, tgc_error_message(c));
	for (int i = 0; i < n; i++)
		if (!(fabs((double)got[i] - want[i]) <= 1e-5 + 1e-5 * fabs(want[i])))
			fail_msg("%s on %s: element %d is %g, want %g", what, tgc_device_name(c), i,
			         (double)got[i], want[i]);
}

struct activation {
	const char *name;
	tgc_tensor *(*op)(tgc_tensor *x);
	double (*f)(double x);
};
static double relu(double x)
{
	return x > 0 ? x : 0;
}
static double sigmoid(double x)
{
	return 1 / (1 + exp(-x));
}
static double silu(double x)
{
	return x / (1 + exp(-x));
}
static double gelu(double x)
{
	return x * 0.5 * erfc(-x / sqrt(2));
}
static double gelu_tanh(double x)
{
	return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
static double square(double x)
{
	return x * x;
}
static const struct activation activations[] = {
    {"relu", tgc_relu, relu}, {"sigmoid", tgc_sigmoid, sigmoid},       {"silu", tgc_silu, silu},
    {"gelu", tgc_gelu, gelu}, {"gelu_tanh", tgc_gelu_tanh, gelu_tanh}, {"square", tgc_square, square},
};

static void activations_agree(tgc_context *c)
{
	static double x[MAX], want[MAX];
	tgc_tensor *t = input(c, TGC_SHAPE(ROWS, COLS), 0, x);
	for (size_t k = 0; k < sizeof activations / sizeof *activations; k++) {
		for (int i = 0; i < ROWS * COLS; i++)
			want[i] = activations[k].f(x[i]);
		check(c, activations[k].name, activations[k].op(t), ROWS * COLS, want);
	}
}

static double sum_exp(const double *x, int n)
{
	double s = 0;
	for (int i = 0; i < n; i++)
		s += exp(x[i]);
	return s;
}

static void rows_agree(tgc_context *c)
{
	static double x[MAX], soft[MAX], logs[MAX], norm[MAX], sums[ROWS];
	tgc_tensor *t = input(c, TGC_SHAPE(ROWS, COLS), 0, x);
	int32_t labels[ROWS] = {0, 16, 3, 3, 9};
	double loss = 0;
	for (int r = 0; r < ROWS; r++) {
		const double *row = x + r * COLS;
		double s = sum_exp(row, COLS), mean = 0, var = 0;
		sums[r] = log(s);
		loss += (log(s) - row[labels[r]]) / ROWS;
		for (int i = 0; i < COLS; i++)
			mean += row[i] / COLS;
		for (int i = 0; i < COLS; i++)
			var += (row[i] - mean) * (row[i] - mean) / COLS;
		for (int i = 0; i < COLS; i++) {
			soft[r * COLS + i] = exp(row[i]) / s;
			logs[r * COLS + i] = row[i] - log(s);
			norm[r * COLS + i] = (row[i] - mean) / sqrt(var + 1e-5) * x[i] + x[i];
		}
	}
	check(c, "softmax", tgc_softmax(t, -1), ROWS * COLS, soft);
	check(c, "log_softmax", tgc_log_softmax(t, 1), ROWS * COLS, logs);
	check(c, "logsumexp", tgc_logsumexp(t, 1), ROWS, sums);
	tgc_tensor *gamma = tgc_reshape(tgc_slice_axis(t, 0, 0, 1), TGC_SHAPE(COLS));
	check(c, "layer_norm", tgc_layer_norm(t, gamma, gamma, 1e-5), ROWS * COLS, norm);
	check(c, "cross_entropy", tgc_cross_entropy(t, tgc_from_data(c, TGC_I32, TGC_SHAPE(ROWS), labels)), 1,
	      &loss);
	labels[2] = COLS;
	double v = tgc_item(tgc_cross_entropy(t, tgc_from_data(c, TGC_I32, TGC_SHAPE(ROWS), labels)));
	assert_true(isnan(v));
	assert_int_equal(tgc_error_status(c), TGC_ERROR_INDEX);
	tgc_clear_error(c);
}

// q[2,3,T,D], k[2,3,S,D], v[2,1,S,E]
static void attention_agrees(tgc_context *c)
{
	enum { B = 6, T = 4, S = 5, D = 3, E = 2 };
	static double q[MAX], key[MAX], v[MAX], want[MAX], p[S];
	tgc_tensor *tq = input(c, TGC_SHAPE(2, 3, T, D), 1, q), *tk = input(c, TGC_SHAPE(2, 3, S, D), 50, key);
	tgc_tensor *tv = input(c, TGC_SHAPE(2, 1, S, E), 99, v);
	for (int causal = 0; causal < 2; causal++) {
		for (int b = 0; b < B; b++)
			for (int t = 0; t < T; t++) {
				int seen = causal ? t + 1 : S;
				for (int s = 0; s < seen; s++) {
					p[s] = 0;
					for (int i = 0; i < D; i++)
						p[s] +=
						    q[(b * T + t) * D + i] * key[(b * S + s) * D + i] / sqrt(D);
				}
				double total = sum_exp(p, seen);
				for (int e = 0; e < E; e++) {
					double *o = &want[(b * T + t) * E + e];
					*o = 0;
					for (int s = 0; s < seen; s++)
						*o += exp(p[s]) / total * v[(b / 3 * S + s) * E + e];
				}
			}
		check(c, "attention", tgc_attention(tq, tk, tv, causal), B * T * E, want);
	}
}

static void einsum_agrees(tgc_context *c)
{
	enum { I = 3, J = 4, K = 5 };
	static double x[MAX], y[MAX], z[MAX], want[MAX];
	tgc_tensor *tx = input(c, TGC_SHAPE(2, I, J), 1, x), *ty = input(c, TGC_SHAPE(J, K), 50, y);
	tgc_tensor *tz = input(c, TGC_SHAPE(2, I, I), 7, z);
	memset(want, 0, sizeof want);
	for (int b = 0; b < 2; b++)
		for (int i = 0; i < I; i++)
			for (int j = 0; j < J; j++)
				for (int k = 0; k < K; k++)
					want[(k * 2 + b) * I + i] += x[(b * I + i) * J + j] * y[j * K + k];
	check(c, "einsum bij,jk->kbi", tgc_einsum("bij,jk->kbi", tx, ty), K * 2 * I, want);
	for (int b = 0; b < 2; b++)
		for (int i = 0; i < I; i++)
			want[b * I + i] = z[(b * I + i) * I + i];
	check(c, "einsum ...ii->...i", tgc_einsum("...ii->...i", tz, NULL), 2 * I, want);
	memset(want, 0, sizeof want);
	for (int b = 0; b < 2; b++)
		for (int i = 0; i < I; i++)
			for (int j = 0; j < J; j++)
				want[j] += z[(b * I + i) * I + i] * x[(b * I + i) * J + j];
	check(c, "einsum bii,bij->j", tgc_einsum("bii,bij->j", tz, tx), J, want);
}

static void conv_agrees(tgc_context *c)
{
	enum { N = 2, G = 2, CI = 2, CO = 3, H = 6, W = 5, KH = 3, KW = 2, HO = 3, WO = 6 };
	static double x[MAX], w[MAX], want[MAX];
	tgc_tensor *tx = input(c, TGC_SHAPE(N, G * CI, H, W), 1, x);
	tgc_tensor *tw = input(c, TGC_SHAPE(G * CO, CI, KH, KW), 50, w);
	for (int o = 0; o < N * G * CO * HO * WO; o++) {
		int ow = o % WO, oh = o / WO % HO, co = o / (WO * HO) % (G * CO), n = o / (WO * HO * G * CO);
		want[o] = 0;
		for (int t = 0; t < CI * KH * KW; t++) {
			int kw = t % KW, kh = t / KW % KH, ci = t / (KW * KH);
			int h = oh * 2 + kh - 1, v = ow + kw * 2 - 1;
			if (h >= 0 && h < H && v >= 0 && v < W)
				want[o] += x[((n * G * CI + co / CO * CI + ci) * H + h) * W + v] *
				           w[co * CI * KH * KW + t];
		}
	}
	check(c, "conv2d",
	      tgc_conv2d(tx, tw, .groups = G, .stride = {2, 1}, .padding = {1, 0, 1, 2}, .dilation = {1, 2}),
	      N * G * CO * HO * WO, want);
}

static void one_hot_agrees(tgc_context *c)
{
	static double want[16];
	int8_t labels[4] = {2, 0, -1, 3};
	want[2] = want[4] = want[15] = 1;
	check(c, "one_hot", tgc_one_hot(tgc_from_data(c, TGC_I8, TGC_SHAPE(4), labels), 4, TGC_F32), 16, want);
}

static void random_is_random(tgc_context *c)
{
	static const tgc_type types[] = {TGC_F32, TGC_F64};
	tgc_tensor *masked = tgc_dropout(tgc_ones(c, TGC_F32, TGC_SHAPE(100, 100)), 0.25);
	tgc_tensor *kept = tgc_mean(tgc_cast(tgc_ne(masked, 0), TGC_F32), TGC_ALL_AXES, false);
	assert_true(fabs(tgc_item(kept) - 0.75) < 0.02);
	assert_true(fabs(tgc_item(tgc_max(masked, TGC_ALL_AXES, false)) - 4 / 3.0) < 1e-6);
	for (int k = 0; k < 2; k++) {
		tgc_tensor *n = tgc_randn(c, types[k], TGC_SHAPE(100, 100), .mean = 1, .std = 2);
		tgc_tensor *u = tgc_rand(c, types[k], TGC_SHAPE(100, 100), .low = -1, .high = 3);
		double mean = tgc_item(tgc_mean(n, TGC_ALL_AXES, false)),
		       var = tgc_item(tgc_var(n, TGC_ALL_AXES, 1, false));
		assert_true(fabs(mean - 1) < 0.08 && fabs(var - 4) < 0.25);
		assert_true(tgc_item(tgc_min(u, TGC_ALL_AXES, false)) >= -1);
		assert_true(tgc_item(tgc_max(u, TGC_ALL_AXES, false)) < 3);
		assert_true(fabs(tgc_item(tgc_mean(u, TGC_ALL_AXES, false)) - 1) < 0.05);
		double fourth = tgc_item(tgc_mean(tgc_square(tgc_square(tgc_sub(n, 1))), TGC_ALL_AXES, false));
		assert_true(fabs(fourth / 48 - 1) < 0.15);
	}
}

static void on_devices(void (*run)(tgc_context *c))
{
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
		tgc_context *c = open_device(devices[i]);
		if (!c)
			continue;
		run(c);
		if (tgc_error_status(c) != TGC_OK)
			fail_msg("%s: %s", devices[i], tgc_error_message(c));
		tgc_context_free(&c);
	}
}

static void same_bits_from_one_seed(void **state)
{
	(void)state;
	static float got[2][301];
	for (int i = 0; i < 2; i++) {
		tgc_context *c = open_device(devices[i]);
		if (!c)
			return;
		tgc_rand(c, TGC_F32, TGC_SHAPE(7)); // draws reserve their counters in call order, used or not
		assert_int_equal(tgc_read(tgc_rand(c, TGC_F32, TGC_SHAPE(7, 43)), got[i], sizeof got[i]),
		                 TGC_OK);
		tgc_context_free(&c);
	}
	assert_memory_equal(got[0], got[1], sizeof got[0]);
}

#define ON_DEVICES(f)                                                                                          \
	static void test_##f(void **state)                                                                     \
	{                                                                                                      \
		(void)state;                                                                                   \
		on_devices(f);                                                                                 \
	}
ON_DEVICES(activations_agree)
ON_DEVICES(rows_agree)
ON_DEVICES(attention_agrees)
ON_DEVICES(einsum_agrees)
ON_DEVICES(conv_agrees)
ON_DEVICES(one_hot_agrees)
ON_DEVICES(random_is_random)

int main(void)
{
	const char *wanted = getenv("TGC_DEVICE");
	devices[1] = wanted && *wanted ? wanted : devices[1];
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_activations_agree), cmocka_unit_test(test_rows_agree),
	    cmocka_unit_test(test_attention_agrees),  cmocka_unit_test(test_einsum_agrees),
	    cmocka_unit_test(test_conv_agrees),       cmocka_unit_test(test_one_hot_agrees),
	    cmocka_unit_test(test_random_is_random),  cmocka_unit_test(same_bits_from_one_seed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
