// Random numbers: draws reserve counters in call order and are ordinary graphs over their bits.
// In:  the context's generator. Out: bits, uniform and normal deviates.
// Not here: Philox itself, which is a primitive (RANDOM).
#include "lib.h"

#include <math.h>

// The draws are made flat, since they may need one more axis than a tensor can have.
static struct node *draw(struct calc *k, int64_t sets, int64_t n)
{
	struct tgc_context *c = k->c;
	struct dim d[2] = {{sets, 0}, {n, 0}};
	struct node *at = calc_hold(k, scalar_node(c, TGC_U64, 0, 0, (union number){.i = (int64_t)c->counter}));
	c->counter += ((uint64_t)(sets * n) + 3) / 4;
	return calc_hold(k, build_random(c, 2, d, c->seed_node, at));
}

static struct node *row(struct calc *k, struct node *x, int64_t i)
{
	if (!x)
		return NULL;
	int64_t start[2] = {i, 0}, step[2] = {1, 1};
	struct dim d[2] = {{1, 0}, x->dims[1]};
	return calc_hold(k, build_slice(k->c, x, start, step, d));
}

static struct node *shaped(struct calc *k, struct node *x, int rank, const struct dim *d)
{
	return calc_hold(k, build_reshape(k->c, x, rank, d));
}

static int64_t count(int rank, const struct dim *d)
{
	int64_t n = 1;
	for (int i = 0; i < rank; i++)
		n *= d[i].n;
	return n;
}

struct node *calc_bits(struct calc *k, int rank, const struct dim *d)
{
	return shaped(k, draw(k, 1, count(rank, d)), rank, d);
}

// The upper `digits` (at most 31) bits of u32 words as a number of type t in [0, 1), exactly.
static struct node *fraction(struct calc *k, struct node *bits, tgc_type t, int digits)
{
	if (!bits)
		return NULL;
	struct node *upper = calc_op2(k, OP_SHR, bits, calc_num(k, bits, 32 - digits));
	struct node *x =
	    calc_cast(k, calc_hold(k, build_bitcast(k->c, upper, TGC_I32)), t); // signed converts faster
	return x ? calc_op2(k, OP_MUL, x, calc_num(k, x, ldexp(1, -digits))) : NULL;
}

// Two words make one f64 of 53 digits.
static struct node *fraction_f64(struct calc *k, struct node *hi, struct node *lo)
{
	struct node *h = fraction(k, hi, TGC_F64, 26), *l = fraction(k, lo, TGC_F64, 27);
	return l ? calc_op2(k, OP_ADD, h, calc_op2(k, OP_MUL, l, calc_num(k, l, 0x1p-26))) : NULL;
}

struct node *calc_uniform(struct calc *k, tgc_type t, int rank, const struct dim *d)
{
	static const int digits[] = {[TGC_F32] = 24, [TGC_F64] = 53, [TGC_F16] = 11, [TGC_BF16] = 8};
	int64_t n = count(rank, d);
	if (t == TGC_F64) {
		struct node *bits = draw(k, 2, n);
		return shaped(k, fraction_f64(k, row(k, bits, 0), row(k, bits, 1)), rank, d);
	}
	return fraction(k, calc_bits(k, rank, d), t, digits[t]);
}

// Box and Muller 1958: sqrt(-2 ln u) cos(2 pi v), u in (0, 1]. f32: u from 32 bits, so that the tails reach
// 6.6 deviations.
static struct node *normal(struct calc *k, tgc_type t, int rank, const struct dim *d)
{
	bool wide = t == TGC_F64;
	struct node *bits = draw(k, wide ? 4 : 2, count(rank, d)), *u, *v;
	if (wide) {
		u = fraction_f64(k, row(k, bits, 0), row(k, bits, 1));
		v = fraction_f64(k, row(k, bits, 2), row(k, bits, 3));
		u = u ? calc_op2(k, OP_ADD, u, calc_num(k, u, 0x1p-53)) : NULL;
	} else {
		u = calc_cast(k, row(k, bits, 0), TGC_F32);
		u = u ? calc_op2(k, OP_MUL, u, calc_num(k, u, 0x1p-32)) : NULL;
		u = u ? calc_op2(k, OP_ADD, u, calc_num(k, u, 0x1p-33)) : NULL;
		v = fraction(k, row(k, bits, 1), TGC_F32, 24);
	}
	if (!u || !v)
		return NULL;
	struct node *r = calc_op1(k, OP_SQRT, calc_op2(k, OP_MUL, calc_op1(k, OP_LOG, u), calc_num(k, u, -2)));
	struct node *angle = calc_op2(k, OP_MUL, v, calc_num(k, v, 6.283185307179586));
	struct node *z = calc_op2(k, OP_MUL, r, calc_op1(k, OP_COS, angle));
	return calc_cast(k, shaped(k, z, rank, d), t);
}

// x * scale + shift, each left out where it changes nothing.
static struct node *affine(struct calc *k, struct node *x, double scale, double shift)
{
	if (x && scale != 1)
		x = calc_op2(k, OP_MUL, x, calc_num(k, x, scale));
	if (x && shift != 0)
		x = calc_op2(k, OP_ADD, x, calc_num(k, x, shift));
	return x;
}

static tgc_tensor *random(const char *op, tgc_context *ctx, tgc_type type, tgc_shape shape, bool is_normal,
                          double scale, double shift, const void *site)
{
	struct door d = door_open_context(op, site, ctx);
	struct dim dims[TGC_MAX_RANK];
	struct node *r = NULL;
	uint64_t counter = d.c ? d.c->counter : 0;
	if (d.ok && door_type(&d, "type", type, 'F') && door_shape(&d, type, shape.rank, shape.dims)) {
		for (int i = 0; i < shape.rank; i++)
			dims[i] = (struct dim){shape.dims[i], 0};
		if (!isfinite(scale) || !isfinite(shift))
			door_fail(&d, TGC_ERROR_ARG, "scale %g and shift %g must be finite", scale, shift);
		else if (count(shape.rank, dims) > INT64_MAX / 64)
			door_fail(&d, TGC_ERROR_OVERFLOW, "%s has more elements than one draw gives",
			          shape_text(shape.rank, dims).s);
	}
	if (d.ok) {
		struct calc k = {.c = ctx};
		struct node *x =
		    is_normal ? normal(&k, type, shape.rank, dims) : calc_uniform(&k, type, shape.rank, dims);
		r = calc_done(&k, affine(&k, x, scale, shift));
	}
	tgc_tensor *t = door_close(&d, r);
	if (d.c && !t->node)
		d.c->counter = counter; // nothing was drawn
	return t;
}

tgc_tensor *tgc_randn_with(tgc_context *ctx, tgc_type type, tgc_shape shape, tgc_random_options o)
{
	return random("randn", ctx, type, shape, true, o.std == 0 ? 1 : o.std, o.mean, DOOR_SITE);
}

tgc_tensor *tgc_rand_with(tgc_context *ctx, tgc_type type, tgc_shape shape, tgc_random_options o)
{
	bool unit = o.low == 0 && o.high == 0;
	return random("rand", ctx, type, shape, false, unit ? 1 : o.high - o.low, unit ? 0 : o.low, DOOR_SITE);
}
