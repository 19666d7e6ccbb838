// The accuracy of what the pass `expand` makes of functions, as machine code, and 16-bit floats to f32 and back.
// In:  arguments of all sizes. Out: distances from libm's wide functions in units of the last place; rounding as the
// compiler's own. Not here: operations that are exact (test_emit.c).
#include "emit_run.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

// Distance in units of the last place of the type; special values must be hit.
static double ulps(double got, long double want, bool wide)
{
	int digits = wide ? 53 : 24, lowest = wide ? -1021 : -125, e = lowest;
	long double top = wide ? 0x1.fffffffffffff8p1023L : 0x1.ffffffp127L;

	if (isnan(want) || isnan(got))
		return isnan(want) && isnan(got) ? 0 : 1e30;
	if (fabsl(want) >= top || isinf(got))
		return isinf(got) && fabsl(want) >= top * 0.999999L && (got > 0) == (want > 0) ? 0 : 1e30;
	if (want != 0)
		frexpl(want, &e);
	return (double)(fabsl(got - want) / ldexpl(1, (e < lowest ? lowest : e) - digits));
}

static const struct accuracy {
	int op;
	double (*f)(double);
	long double (*exact)(long double);
	double f32, f64; // ULP allowed
} accuracies[] = {
    {OP_EXP, exp, expl, 2, 4}, {OP_LOG, log, logl, 2, 4}, {OP_SQRT, sqrt, sqrtl, 0.5, 0.5},
    {OP_SIN, sin, sinl, 4, 4}, {OP_COS, cos, cosl, 4, 4}, {OP_TANH, tanh, tanhl, 4, 4},
    {OP_ERF, erf, erfl, 4, 4},
};

enum { MANY = 1 << 16, MOST = 1 << 20 };

static struct kernel *over_many(int n, int op, tgc_type from, tgc_type to, const struct target *t)
{
	struct kernel *k = kernel_new();
	struct kbuild b;
	int in = kernel_buf(k, from, SPACE_GLOBAL, n), out = kernel_buf(k, to, SPACE_GLOBAL, n);

	kbuild_init(&b, k, kernel_phase(k));
	int outer = kb_for(&b, AXIS_PAR, kb_int(&b, 0), kb_int(&b, n / 16), 0, NULL, NULL);
	int inner = kb_for(&b, AXIS_LANE, kb_int(&b, 0), kb_int(&b, 16), 0, NULL, NULL);
	int at = kb_affine(&b, 0, 2, (int64_t[]){16, 1}, (int[]){kb_index(&b, outer), kb_index(&b, inner)});
	kb_store(&b, out, at, kb_op1(&b, op, to, kb_load(&b, in, at, K_NONE, K_NONE)), K_NONE, K_NONE);
	kb_end(&b, inner, NULL);
	kb_end(&b, outer, NULL);
	kbuild_done(&b);
	run_prepare(k, t);
	return k;
}

static void check_f32(const struct accuracy *a, const struct target *t)
{
	static float x[MOST], y[MOST];
	struct kernel *k = over_many(MOST, a->op, TGC_F32, TGC_F32, t);
	double worst = 0;
	float at = 0;

	for (uint64_t bits = 0; bits < UINT64_C(1) << 32;) {
		int n = 0;
		for (; n < MOST && bits < UINT64_C(1) << 32; bits += 977) {
			uint32_t low = (uint32_t)bits;
			memcpy(&x[n++], &low, 4);
		}
		run_fail(op_info[a->op].name, t, k, run_emitted(k, t, (void *[]){x, y}));
		for (int i = 0; i < n; i++) {
			double e = ulps(y[i], (long double)a->f((double)x[i]), false);
			at = e > worst ? x[i] : at;
			worst = e > worst ? e : worst;
		}
	}
	if (worst > a->f32)
		fail_msg("%s f32 on %s: %g ULP at %a", op_info[a->op].name, t->name, worst, (double)at);
	kernel_free(k);
}

static void fill_f64(double *x)
{
	uint64_t seed = 88172645463325252u;
	for (int i = 0; i < MANY; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		memcpy(&x[i], &seed, 8);
		double unit = (double)(seed >> 11) * 0x1p-53 - 0.5;
		const double scale[] = {2, 12, 1500, 1e6, 1e17};
		if (i % 2)
			x[i] = unit * scale[i / 2 % 5];
	}
	const double special[] = {0,   INFINITY, -INFINITY, NAN, 0x1.fffffffffffffp1023, 0x1p-1074, 709.78,
	                          745, 6,        1,         -1};
	memcpy(x, special, sizeof special);
}

static void check_f64(const struct accuracy *a, const struct target *t)
{
	static double x[MANY], y[MANY];
	struct kernel *k = over_many(MANY, a->op, TGC_F64, TGC_F64, t);

	fill_f64(x);
	run_fail(op_info[a->op].name, t, k, run_emitted(k, t, (void *[]){x, y}));
	for (int i = 0; i < MANY; i++) {
		double e = ulps(y[i], a->exact((long double)x[i]), true);
		if (e > a->f64)
			fail_msg("%s f64 on %s: %g ULP at %a", op_info[a->op].name, t->name, e, x[i]);
	}
	kernel_free(k);
}

static void test_accuracy(void **state)
{
	(void)state;
	for (int i = 0; i < TG_COUNT(accuracies); i++) {
		check_f32(&accuracies[i], &run_targets[0]);
		check_f64(&accuracies[i], &run_targets[0]);
		check_f64(&accuracies[i], &run_targets[run_targets_count - 1]);
	}
}

// Every 16-bit float is what it was after a trip to f32, and f32 to 16 bits rounds as the compiler's own does.
static void test_halves(void **state)
{
	(void)state;
	static _Float16 h[MANY], back[MANY];
	static float f[MANY];

	for (int i = 0; i < MANY; i++) {
		uint16_t bits = (uint16_t)i;
		memcpy(&h[i], &bits, 2);
	}
	for (int i = 0; i < run_targets_count; i++) {
		const struct target *t = &run_targets[i];
		struct kernel *up = over_many(MANY, OP_CAST, TGC_F16, TGC_F32, t);
		struct kernel *down = over_many(MANY, OP_CAST, TGC_F32, TGC_F16, t);
		run_fail("f16 to f32", t, up, run_emitted(up, t, (void *[]){h, f}));
		for (int e = 0; e < MANY; e++)
			assert_true(f[e] == (float)h[e] || h[e] != h[e]);
		for (int e = 0; e < MANY; e++)
			f[e] *= 1 + (float)(e % 5 - 2) * 0x1p-12f;
		run_fail("f32 to f16", t, down, run_emitted(down, t, (void *[]){f, back}));
		for (int e = 0; e < MANY; e++)
			assert_true(back[e] == (_Float16)f[e] || f[e] != f[e]);
		kernel_free(up);
		kernel_free(down);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_halves),
	    cmocka_unit_test(test_accuracy),
	};
	return cmocka_run_group_tests_name("emit_accuracy", tests, NULL, NULL);
}
