// Attention and its gradients against plain loops in f64, on shapes that fill no block, tile or vector.
// In:  a table of lengths and widths, causal or not. Not here: how many kernels it becomes (test_schedule.c).
#include <tgc/tgc.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { HEADS = 8, MAX = HEADS * 257 * 64, LENGTH = 257 };
static float data[4][MAX], got[MAX]; // q, k, v, and the gradient of the result
static double want[4][MAX];          // result, dq, dk, dv
static double sums[4][MAX];          // of the terms' sizes

static void term(int out, int at, double x)
{
	want[out][at] += x;
	sums[out][at] += fabs(x);
}

// One query row of one head, which begins at element `head` of every operand.
static void row(int t, int length, int width, int head, bool causal)
{
	double p[LENGTH], dp[LENGTH], total = 0, most = -INFINITY, dot = 0;
	int seen = causal ? t + 1 : length, q = head + t * width;
	for (int s = 0; s < seen; s++) {
		p[s] = dp[s] = 0;
		for (int d = 0; d < width; d++) {
			p[s] += (double)data[0][q + d] * (double)data[1][head + s * width + d] / sqrt(width);
			dp[s] += (double)data[3][q + d] * (double)data[2][head + s * width + d];
		}
		most = fmax(most, p[s]);
	}
	for (int s = 0; s < seen; s++)
		total += p[s] = exp(p[s] - most);
	for (int s = 0; s < seen; s++)
		dot += (p[s] /= total) * dp[s];
	for (int s = 0; s < seen; s++) {
		double ds = p[s] * (dp[s] - dot) / sqrt(width);
		for (int d = 0; d < width; d++) {
			int k = head + s * width + d;
			term(0, q + d, p[s] * (double)data[2][k]);
			term(1, q + d, ds * (double)data[1][k]);
			term(2, k, ds * (double)data[0][q + d]);
			term(3, k, p[s] * (double)data[3][q + d]);
		}
	}
}

static void compare(tgc_context *c, int out, tgc_tensor *t, int n, const char *what)
{
	if (tgc_read(t, got, sizeof *got * (size_t)n) != TGC_OK)
		fail_msg("%s: %s", what, tgc_error_message(c));
	for (int i = 0; i < n; i++)
		if (!(fabs((double)got[i] - want[out][i]) <= 2e-5 + 2e-5 * sums[out][i]))
			fail_msg("%s, output %d: element %d is %g, want %g", what, out, i, (double)got[i],
			         want[out][i]);
}

static void agrees(int length, int width, bool causal, bool backward)
{
	tgc_context *c = tgc_context_new(
	    &(tgc_context_options){.struct_size = sizeof(tgc_context_options), .device = getenv("TGC_DEVICE") ? NULL : "cpu"});
	if (tgc_error_status(c) == TGC_ERROR_NODEVICE) {
		tgc_context_free(&c);
		skip();
	}
	int n = HEADS * length * width;
	tgc_tensor *x[4], *out[4];
	char what[64];
	for (int k = 0; k < 4; k++) {
		for (int i = 0; i < n; i++) {
			data[k][i] = (float)sin(1.7 * i + 5 * k + 0.3);
			want[k][i] = sums[k][i] = 0;
		}
		x[k] = tgc_from_data(c, TGC_F32, TGC_SHAPE(2, HEADS / 2, length, width), data[k]);
	}
	for (int i = 0; i < HEADS * length; i++)
		row(i % length, length, width, i / length * length * width, causal);
	out[0] = tgc_attention(x[0], x[1], x[2], causal);
	tgc_tensor *loss = tgc_sum(tgc_mul(out[0], x[3]), TGC_ALL_AXES, false);
	assert_int_equal(tgc_grad(loss, 3, x, out + 1), TGC_OK);
	snprintf(what, sizeof what, "T %d, D %d%s%s", length, width, causal ? ", causal" : "",
	         backward ? ", backward" : "");
	if (backward)
		assert_int_equal(tgc_realize_n(4, out), TGC_OK); // as one plan
	for (int k = 0; k < (backward ? 4 : 1); k++)
		compare(c, k, out[k], n, what);
	tgc_context_free(&c);
}

static void all(bool backward)
{
	static const int lengths[] = {1, 3, 17, 65, 257}, widths[] = {1, 8, 64};
	for (int t = 0; t < 5; t++)
		for (int d = 0; d < 3; d++)
			for (int causal = 0; causal < 2; causal++)
				agrees(lengths[t], widths[d], causal, backward);
}

static void forward(void **state)
{
	(void)state;
	all(false);
}

static void backward(void **state)
{
	(void)state;
	all(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(forward), cmocka_unit_test(backward)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
