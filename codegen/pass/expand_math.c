// exp, log, tanh and erf from fused multiply-adds.
// In:  a value of f32 or f64. Out: its function, within 2 ULP (exp, log) or 4 (tanh, erf; f64: 4), over the
// whole range, NaN, infinities and denormals included. Coefficients: expand_fit.py, minimax fits of the
// relative error; the figure behind each is its maximum before rounding.
#include "expand.h"

#include <math.h>

static bool is_f64(const struct math *m)
{
	return m->t == TGC_F64;
}

// ---- exp: 2^n e^r, n = round(x / ln 2) ----

static const double exp_f32[] = {0x1.fffffcp-2, 0x1.55548ap-3, 0x1.555916p-5, 0x1.123fc6p-7,
                                 0x1.6a1a72p-10}; // 3e-9
static const double exp_f64[] = {0x1.0000000000000p-1,  0x1.555555555555cp-3,  0x1.55555555554fap-5,
                                 0x1.111111110e95ep-7,  0x1.6c16c16c325f3p-10, 0x1.a01a01b4ab5b7p-13,
                                 0x1.a01a0130280a0p-16, 0x1.71dded27b1288p-19, 0x1.27e5bbaa0e61dp-22,
                                 0x1.af71233a7e0a9p-26, 0x1.1e39b7048b41ep-29}; // 6e-20
static const double ln2_f32[] = {0x1.62ep-1, 0x1.0bfbe8p-15};
static const double ln2_f64[] = {0x1.62e42fefa2000p-1, 0x1.9ef35793c7673p-41};

// e^x - 1 = 2^n (q + 1) - 1 for the returned q; *n integral.
static int reduced_expm1(const struct math *m, int x, int *n)
{
	const double *ln2 = is_f64(m) ? ln2_f64 : ln2_f32;

	*n = m_op1(m, OP_ROUND, m_mul(m, x, m_num(m, M_LOG2E)));
	int r = m_fma(m, *n, m_num(m, -ln2[0]), x);
	r = m_fma(m, *n, m_num(m, -ln2[1]), r);
	int p = is_f64(m) ? M_POLY(m, r, exp_f64) : M_POLY(m, r, exp_f32);
	return m_fma(m, m_mul(m, r, r), p, r);
}

int expand_exp(const struct math *m, int x)
{
	double low = is_f64(m) ? -746 : -104, high = is_f64(m) ? 710 : 89;
	// What would underflow to 0 (masked scores, all of them) is not computed: processors take a trap of 100
	// cycles and more for each vector that holds a lane with such a result.
	int none = m_lt(m, x, m_num(m, low)), n;
	int c = m_op2(m, OP_FMIN, m_num(m, high), m_select(m, none, m_num(m, 0), x)); // NaN stays
	int q = reduced_expm1(m, c, &n);
	return m_select(m, none, m_num(m, 0), m_op2(m, OP_LDEXP, m_add(m, q, m_num(m, 1)), n));
}

// ---- log: e ln 2 + log(1 + f), 1 + f in [sqrt(1/2), sqrt(2)) ----

static const double log_f32[] = {0x1.555548p-2,  -0x1.000006p-2, 0x1.99a4b6p-3,  -0x1.555c4ep-3, 0x1.233768p-3,
                                 -0x1.fc220ap-4, 0x1.e6f06ap-4,  -0x1.de3c04p-4, 0x1.145794p-4}; // 7e-10
static const double log_f64[] = {0x1.5555555555555p-1, 0x1.9999999999e51p-2, 0x1.2492492424d86p-2,
                                 0x1.c71c72608a73fp-3, 0x1.745cdbd8fde39p-3, 0x1.3b2112e682367p-3,
                                 0x1.0f53ad8ad2328p-3, 0x1.0fb5ecdabb0bdp-3}; // 2e-20

// A positive finite x: returns f, and e as a float.
static int parts(const struct math *m, int x, int *e)
{
	struct kbuild *b = m->b;
	bool wide = is_f64(m);
	tgc_type it = wide ? TGC_I64 : TGC_I32;
	int digits = wide ? 52 : 23;
	double scale = wide ? 0x1p54 : 0x1p25;
	int denormal = m_lt(m, x, m_num(m, wide ? 0x1p-1022 : 0x1p-126));

	x = m_select(m, denormal, m_mul(m, x, m_num(m, scale)), x);
	int bits = kb_op1(b, OP_BITCAST, it, x);
	int64_t root = wide ? INT64_C(0x3fe6a09e667f3bcd) : 0x3f3504f3; // sqrt(1/2)
	int above = kb_op2(b, OP_SUB, it, bits, kb_const(b, it, (union number){.i = root}));
	int shift = kb_const(b, it, (union number){.i = digits});
	int exponent = kb_op2(b, OP_SHRX, it, above, shift);
	int back = kb_op2(b, OP_SUB, it, bits, kb_op2(b, OP_SHLX, it, exponent, shift));
	int fe = kb_op1(b, OP_CAST, m->t, exponent);
	*e = m_add(m, fe, m_select(m, denormal, m_num(m, wide ? -54 : -25), m_num(m, 0)));
	return m_sub(m, kb_op1(b, OP_BITCAST, m->t, back), m_num(m, 1));
}

static int log_of_f32(const struct math *m, int f, int e)
{
	int z = m_mul(m, f, f);
	int r = m_mul(m, m_mul(m, z, f), M_POLY(m, f, log_f32));

	r = m_fma(m, e, m_num(m, ln2_f32[1]), r);
	r = m_fma(m, z, m_num(m, -0.5), r);
	return m_fma(m, e, m_num(m, ln2_f32[0]), m_add(m, r, f));
}

// log(1 + f) = f - f^2/2 + s (f^2/2 + z R(z)), s = f / (2 + f), z = s^2: the large terms are exact.
static int log_of_f64(const struct math *m, int f, int e)
{
	int s = m_div(m, f, m_add(m, f, m_num(m, 2))), z = m_mul(m, s, s);
	int half = m_mul(m, m_mul(m, f, f), m_num(m, 0.5));
	int r = m_mul(m, s, m_fma(m, z, M_POLY(m, z, log_f64), half));

	r = m_fma(m, e, m_num(m, ln2_f64[1]), r);
	r = m_sub(m, f, m_sub(m, half, r));
	return m_fma(m, e, m_num(m, ln2_f64[0]), r);
}

int expand_log(const struct math *m, int x)
{
	int e, f = parts(m, x, &e), zero = m_num(m, 0);
	int r = is_f64(m) ? log_of_f64(m, f, e) : log_of_f32(m, f, e);
	int low = m_select(m, m_eq(m, x, zero), m_num(m, -INFINITY), m_num(m, NAN));

	r = m_select(m, m_lt(m, x, m_num(m, INFINITY)), r, x);
	return m_select(m, m_lt(m, zero, x), r, low);
}

// ---- tanh: u / (u + 2), u = e^2x - 1 ----

int expand_tanh(const struct math *m, int x)
{
	int size = m_abs(m, x), n, one = m_num(m, 1);
	int q = reduced_expm1(m, m_op2(m, OP_FMIN, m_num(m, is_f64(m) ? 44 : 22), m_add(m, size, size)), &n);
	int power = m_op2(m, OP_LDEXP, one, n);
	int u = m_fma(m, power, q, m_sub(m, power, one));
	return m_op2(m, OP_COPYSIGN, m_div(m, u, m_add(m, u, m_num(m, 2))), x);
}

// ---- erf ----

static const double erf_num_f32[] = {
    0x1.20dd76p+0,  0x1.7b4cd2p-3,  0x1.bcf6ecp-5,  0x1.f89544p-9,
    0x1.8e0a7ap-12, 0x1.3a5f96p-18, -0x1.c595b8p-27}; // 2e-9, of x P(x^2) / Q(x^2) up to 4
static const double erf_den_f32[] = {1.0,           0x1.fd6808p-2,  0x1.d2c6b2p-4,
                                     0x1.faaa10p-7, 0x1.56c592p-10, 0x1.08b1f8p-14};
static const double erf_f64[] = {0x1.20dd750429b6dp+0,   -0x1.812746b0379e7p-2,  0x1.ce2f21a042bdcp-4,
                                 -0x1.b82ce31288934p-6,  0x1.565bcd0e6379bp-8,   -0x1.c02db3fe95a62p-11,
                                 0x1.f9a326b63905fp-14,  -0x1.f4d254fc1a0bfp-17, 0x1.b9e63e43f5d0bp-20,
                                 -0x1.5f6cc4701e81ap-23, 0x1.fc3728a143630p-27,  -0x1.4e2511e9873ecp-30,
                                 0x1.7db5e1de25764p-34,  -0x1.266bcf521f4e7p-38}; // 3e-21, of x P(x^2) up to 1
static const double erfc_num_f64[] = {0x1.000000008c95ep+0,  0x1.f372d1ab6e9a0p+0, 0x1.e42924f2b3046p+0,
                                      0x1.2743f2fa292d0p+0,  0x1.e9fffd49ce9ecp-2, 0x1.1a2ff92dcacf3p-3,
                                      0x1.b978e1662faa6p-6,  0x1.b047d3451a91ap-9, 0x1.9d3d6394a2f65p-13,
                                      -0x1.8776019a951a3p-45}; // 1e-21, of e^(x^2) erfc(x) in 1..6
static const double erfc_den_f64[] = {1.0,
                                      0x1.8a28235b32aa4p+1,
                                      0x1.176b597e73463p+2,
                                      0x1.e058a042778a6p+1,
                                      0x1.14edf33e9483fp+1,
                                      0x1.be633adcb86fcp-1,
                                      0x1.fa2674b072bd7p-3,
                                      0x1.88acd10ab916bp-5,
                                      0x1.7f1943e1029d9p-8,
                                      0x1.6e396744756d7p-12};

// Horner's last step, and what it lost.
static int poly_exact(const struct math *m, int x, int n, const double *c, int *lost)
{
	int high = m_poly(m, x, n - 1, c + 1), first = m_num(m, c[0]);
	int r = m_fma(m, high, x, first);
	*lost = m_add(m, m_fma(m, high, x, m_neg(m, r)), first);
	return r;
}

// x P / Q with the roundings of the last steps added back: the earlier ones are errors enough.
static int erf_of_f32(const struct math *m, int x)
{
	int c = m_clamp(m, x, -3.95, 3.95), z = m_mul(m, c, c), lost_p, lost_q;
	int p = poly_exact(m, z, TG_COUNT(erf_num_f32), erf_num_f32, &lost_p);
	int q = poly_exact(m, z, TG_COUNT(erf_den_f32), erf_den_f32, &lost_q);
	int num = m_mul(m, c, p), lost = m_fma(m, c, lost_p, m_fma(m, c, p, m_neg(m, num)));
	int inverse = m_div(m, m_num(m, 1), q), r = m_mul(m, num, inverse), minus = m_neg(m, r);
	int rest = m_add(m, m_fma(m, minus, q, num), m_fma(m, minus, lost_q, lost));
	return m_clamp(m, m_fma(m, rest, inverse, r), -1, 1);
}

static int erf_of_f64(const struct math *m, int x)
{
	int size = m_abs(m, x), z = m_mul(m, x, x);
	int near = m_mul(m, x, M_POLY(m, z, erf_f64));
	int c = m_op2(m, OP_FMIN, m_num(m, 6), size);
	int ratio = m_div(m, M_POLY(m, c, erfc_num_f64), M_POLY(m, c, erfc_den_f64));
	int far = m_fma(m, m_neg(m, expand_exp(m, m_neg(m, m_mul(m, c, c)))), ratio, m_num(m, 1));
	return m_select(m, m_lt(m, size, m_num(m, 1)), near, m_op2(m, OP_COPYSIGN, far, x));
}

int expand_erf(const struct math *m, int x)
{
	return is_f64(m) ? erf_of_f64(m, x) : erf_of_f32(m, x);
}
