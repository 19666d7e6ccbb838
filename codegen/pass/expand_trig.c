// sin and cos: a quarter turn number and a rest in [-pi/4, pi/4], then a polynomial.
// In:  a value of f32 or f64. Out: within 4 ULP for every x; NaN for infinities and NaN. The reductions follow
// Payne and Hanek, Radian reduction for trigonometric functions, 1983, in floating point.
// Coefficients: expand_fit.py.
#include "expand.h"

#include <math.h>

static const double sin_f32[] = {-0x1.555556p-3, 0x1.111108p-7, -0x1.a00f94p-13, 0x1.6cd5ecp-19};  // 5e-12
static const double cos_f32[] = {0x1.555556p-5, -0x1.6c16b8p-10, 0x1.a010d6p-16, -0x1.241caap-22}; // 1e-13
static const double sin_f64[] = {-0x1.5555555555555p-3, 0x1.111111111110bp-7,   -0x1.a01a01a018ab3p-13,
                                 0x1.71de3a533561ep-19, -0x1.ae645292df961p-26, 0x1.61208f330d607p-33,
                                 -0x1.aaa380e9ddceep-41}; // 2e-21
static const double cos_f64[] = {0x1.5555555555555p-5,   -0x1.6c16c16c16c0fp-10, 0x1.a01a01a018c98p-16,
                                 -0x1.27e4fb75e82ffp-22, 0x1.1eed8c8d0353dp-29,  -0x1.93931fd4787f1p-37,
                                 0x1.aabb28a968940p-45}; // 3e-23
static const double half_pi[] = {0x1.921fb54442d18p+0, 0x1.1a62633145c06p-54};

// 2^shift 2/pi mod 4 in three parts: the first two have exact products with 24-bit numbers. |x| from 2^32 on is
// brought by 2^-shift to an integer in 2^24..2^48, so that dropping multiples of 4 is right.
static const struct {
	int from, shift;
	double part[3];
} turns[] = {
    {-1, 0, {0x1.45f3068000000p-1, 0x1.727220a000000p-27, 0x1.29fc2757d1f53p-56}},
    {32, 8, {0x1.7cc1b72000000p+1, 0x1.c882a50000000p-29, 0x1.fc2757d1f534ep-56}},
    {56, 32, {0x1.27220a8000000p+1, 0x1.4fe13ab000000p-27, 0x1.d1f534ddc0db6p-56}},
    {80, 56, {0x1.29fc274000000p+0, 0x1.7d1f534000000p-28, 0x1.bb81b6c52b328p-57}},
    {104, 80, {0x1.abe8fa8000000p+1, 0x1.a6ee06d000000p-27, 0x1.6295993c43904p-56}},
};

struct turn {
	int rest;    // in radians, of the type wanted
	int quarter; // i32; only its rest mod 4 counts
};

// In -2..2; what is small stays as it is.
static int mod_4(const struct math *m, int n)
{
	return m_fma(m, m_op1(m, OP_ROUND, m_mul(m, n, m_num(m, 0.25))), m_num(m, -4), n);
}

static int quarter_of(const struct math *m, int n)
{
	return kb_op1(m->b, OP_CAST, TGC_I32, mod_4(m, n));
}

// ---- f64 ----
// x 2/pi mod 4 = sum of y c_j 2^(-48 j), where y = x 2^(-48 q) and c_j is 48 bits of 2/pi from bit 48 (q - 1 +
// j) on: q is the largest that leaves y a multiple of 2^-46, so that the bits ahead of c_0 only give multiples
// of 4.

enum { TURN_TERMS = 5, TURN_LAST = 21 };
static const int64_t turn_bits[TURN_LAST + TURN_TERMS] = {
    0x000000000000, 0xa2f9836e4e44, 0x1529fc2757d1, 0xf534ddc0db62, 0x95993c439041, 0xfe5163abdebb,
    0xc561b7246e3a, 0x424dd2e00649, 0x2eea09d1921c, 0xfe1deb1cb129, 0xa73ee88235f5, 0x2ebb4484e99c,
    0x7026b45f7e41, 0x3991d6398353, 0x39f49c845f8b, 0xbdf9283b1ff8, 0x97ffde05980f, 0xef2f118b5a0a,
    0x6d1f6d367ecf, 0x27cb09b74f46, 0x3f669e5fea2d, 0x7527bac7ebe5, 0xf17b3d0739f7, 0x8a5292ea6bfb,
    0x5fb11f8d5d08, 0x56033046fc7b};

static int i64_clamp(const struct math *m, int x, int64_t lo, int64_t hi)
{
	x = kb_op2(m->b, OP_MAX, TGC_I64, x, kb_int(m->b, lo));
	return kb_op2(m->b, OP_MIN, TGC_I64, x, kb_int(m->b, hi));
}

static int turn_word(const struct math *m, int x)
{
	struct kbuild *b = m->b;
	int bits = kb_op1(b, OP_BITCAST, TGC_I64, m_abs(m, x));
	int exponent = i64_clamp(m, kb_op2(b, OP_SHRX, TGC_I64, bits, kb_int(b, 52)), 0, 2047);
	int q = kb_idiv(b, kb_iadd(b, exponent, kb_int(b, 22 * 48 - 1023 - 6)), 48);
	return i64_clamp(m, kb_iadd(b, q, kb_int(b, -22)), 0, TURN_LAST);
}

struct sum { // hi + lo
	int hi, lo;
};

// Adds v; what the addition loses goes to lo.
static void sum_add(const struct math *m, struct sum *s, int v)
{
	int r = m_add(m, s->hi, v), back = m_sub(m, r, s->hi);
	int lost = m_add(m, m_sub(m, s->hi, m_sub(m, r, back)), m_sub(m, v, back));

	s->hi = r;
	s->lo = m_add(m, s->lo, lost);
}

static struct sum turns_f64(const struct math *m, int x)
{
	struct kbuild *b = m->b;
	int q = turn_word(m, x), table = kernel_table(b->k, turn_bits, TG_COUNT(turn_bits));
	int y = m_op2(m, OP_LDEXP, x, kb_op1(b, OP_CAST, TGC_F64, kb_imul(b, q, -48)));
	struct sum s = {m_num(m, 0), m_num(m, 0)};

	for (int j = 0; j < TURN_TERMS; j++) {
		int word = kb_table(b, table, kb_iadd(b, q, kb_int(b, j)));
		int c = m_mul(m, kb_op1(b, OP_CAST, TGC_F64, word), m_num(m, ldexp(1, -48 * j)));
		int high = m_mul(m, y, c), low = m_fma(m, y, c, m_neg(m, high));
		sum_add(m, &s, j < 3 ? mod_4(m, high) : high);
		sum_add(m, &s, j < 2 ? mod_4(m, low) : low);
	}
	return s;
}

static struct turn reduce_f64(const struct math *m, int x)
{
	struct sum s = turns_f64(m, x);
	int n = m_op1(m, OP_ROUND, s.hi), part = m_sub(m, s.hi, n);
	int rest = m_add(m, part, s.lo), lost = m_add(m, m_sub(m, part, rest), s.lo);
	int small = m_fma(m, rest, m_num(m, half_pi[1]), m_mul(m, lost, m_num(m, half_pi[0])));
	return (struct turn){m_fma(m, rest, m_num(m, half_pi[0]), small), quarter_of(m, n)};
}

// ---- f32 ----

// x 2^-shift and the parts of 2^shift 2/pi.
static void scaled(const struct math *wide, const struct math *m, int x, int *y, int part[3])
{
	int scale = m_num(wide, 1), size = m_abs(m, x);

	for (int i = 0; i < 3; i++)
		part[i] = m_num(wide, turns[0].part[i]);
	for (int j = 1; j < TG_COUNT(turns); j++) {
		int large = kb_op2(m->b, OP_LE, TGC_BOOL, m_num(m, ldexp(1, turns[j].from)), size);
		scale = m_select(wide, large, m_num(wide, ldexp(1, -turns[j].shift)), scale);
		for (int i = 0; i < 3; i++)
			part[i] = m_select(wide, large, m_num(wide, turns[j].part[i]), part[i]);
	}
	*y = m_mul(wide, kb_op1(m->b, OP_CAST, TGC_F64, x), scale);
}

// In f64 quarter turns: each product is taken apart into whole ones and the rest.
static struct turn reduce_f32(const struct math *m, int x)
{
	struct math wide = {m->b, TGC_F64};
	int y, part[3];

	scaled(&wide, m, x, &y, part);
	int a = m_mul(&wide, y, part[0]), b = m_mul(&wide, y, part[1]);
	int na = m_op1(&wide, OP_ROUND, a), nb = m_op1(&wide, OP_ROUND, b);
	int sum = m_add(&wide, m_sub(&wide, a, na), m_sub(&wide, b, nb));
	int ns = m_op1(&wide, OP_ROUND, sum);
	int rest = m_fma(&wide, y, part[2], m_sub(&wide, sum, ns));
	int n = m_add(&wide, m_add(&wide, mod_4(&wide, na), nb), ns);
	int r = kb_op1(m->b, OP_CAST, TGC_F32, m_mul(&wide, rest, m_num(&wide, M_PI_2)));
	return (struct turn){r, quarter_of(&wide, n)};
}

static int of_turn(const struct math *m, struct turn t, int ahead)
{
	struct kbuild *b = m->b;
	bool wide = m->t == TGC_F64;
	int r = t.rest, z = m_mul(m, r, r);
	int s = m_fma(m, m_mul(m, r, z), wide ? M_POLY(m, z, sin_f64) : M_POLY(m, z, sin_f32), r);
	int high = m_fma(m, z, m_num(m, -0.5), m_num(m, 1));
	// 1 - z/2 is rounded; what it lost is added back.
	int lost = m_fma(m, z, m_num(m, -0.5), m_sub(m, m_num(m, 1), high));
	int c = m_fma(m, m_mul(m, z, z), wide ? M_POLY(m, z, cos_f64) : M_POLY(m, z, cos_f32), lost);
	c = m_add(m, high, c);
	int zero = kb_const(b, TGC_I32, (union number){.i = 0});
	int q = kb_op2(b, OP_ADD, TGC_I32, t.quarter, kb_const(b, TGC_I32, (union number){.i = ahead}));
	int odd = kb_op2(b, OP_AND, TGC_I32, q, kb_const(b, TGC_I32, (union number){.i = 1}));
	int half = kb_op2(b, OP_AND, TGC_I32, q, kb_const(b, TGC_I32, (union number){.i = 2}));
	int v = m_select(m, kb_op2(b, OP_EQ, TGC_BOOL, odd, zero), s, c);
	return m_select(m, kb_op2(b, OP_EQ, TGC_BOOL, half, zero), v, m_neg(m, v));
}

static int turned(const struct math *m, int x, int ahead)
{
	struct turn t = m->t == TGC_F64 ? reduce_f64(m, x) : reduce_f32(m, x);
	int r = of_turn(m, t, ahead);
	return m_select(m, m_lt(m, m_abs(m, x), m_num(m, INFINITY)), r, m_num(m, NAN));
}

int expand_sin(const struct math *m, int x)
{
	return turned(m, x, 0);
}

int expand_cos(const struct math *m, int x)
{
	return turned(m, x, 1);
}
