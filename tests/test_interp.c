// The oracle against values worked out by hand or known from elsewhere; no device, no context.
// Not here: comparing devices with it (test_elementwise.c, fuzz_graph.c).
#include "check.h"

#include <math.h>

static double value(const struct sketch *s, int node, int64_t at)
{
	struct oracle o;
	const struct interp_value *v;
	double r;

	assert_true(oracle_run(&o, s, NULL));
	v = oracle_value(&o, node);
	assert_true(at < v->elems);
	r = v->f ? v->f[at] : (double)v->i[at];
	oracle_free(&o);
	return r;
}

static int constant(struct sketch *s, tgc_type t, double v)
{
	return sk_add(s, (struct snode){.op = OP_CONST, .type = t, .num = v});
}

static int vector(struct sketch *s, tgc_type t, int64_t n)
{
	return sk_add(s, (struct snode){.op = OP_IOTA, .type = t, .rank = 1, .dims = {n}});
}

struct scalar_row {
	int op;
	tgc_type t;
	double x, y, want;
};

static const struct scalar_row scalar_rows[] = {
    {OP_DIV, TGC_I32, -7, 2, -4},
    {OP_MOD, TGC_I32, -7, 2, 1},
    {OP_MOD, TGC_I32, 7, -2, -1},
    {OP_DIV, TGC_I32, 5, 0, -1},
    {OP_MOD, TGC_I32, 5, 0, 5},
    {OP_DIV, TGC_U8, 5, 0, 255},
    {OP_DIV, TGC_I32, -2147483648.0, -1, -2147483648.0},
    {OP_MOD, TGC_I32, -2147483648.0, -1, 0},
    {OP_ADD, TGC_U8, 255, 1, 0},
    {OP_ADD, TGC_I32, 2147483647, 1, -2147483648.0},
    {OP_MUL, TGC_I8, 100, 3, 44},
    {OP_SHL, TGC_I32, 1, 31, -2147483648.0},
    {OP_SHL, TGC_I32, 1, 32, 0},
    {OP_SHR, TGC_I32, -8, 40, -1},
    {OP_SHR, TGC_U8, 200, 3, 25},
    {OP_SHR, TGC_U8, 200, 8, 0},
    {OP_MAX, TGC_F32, NAN, 1, NAN},
    {OP_MAX, TGC_F32, 1, NAN, NAN},
    {OP_MIN, TGC_F64, NAN, 1, NAN},
    {OP_MIN, TGC_F64, 2, 1, 1},
    {OP_MOD, TGC_F32, -7, 2, 1},
    {OP_MOD, TGC_F32, 7, -2, -1},
    {OP_ADD, TGC_F32, 16777216, 1, 16777216},
    {OP_ADD, TGC_F16, 2048, 1, 2048},
    {OP_ADD, TGC_BF16, 256, 1, 256},
    {OP_MUL, TGC_F16, 300, 300, INFINITY},
    {OP_DIV, TGC_F32, 1, 0, INFINITY},
    {OP_LT, TGC_F32, NAN, 1, 0},
    {OP_NE, TGC_F32, NAN, NAN, 1},
    {OP_LT, TGC_U8, 200, 100, 0},
};

static void scalars(void **state)
{
	(void)state;
	for (int i = 0; i < TG_COUNT(scalar_rows); i++) {
		const struct scalar_row *r = &scalar_rows[i];
		struct sketch s = {0};
		int x = constant(&s, r->t, r->x), y = constant(&s, r->t, r->y);
		double got = value(&s, sk_op2(&s, r->op, x, y), 0);

		if (!(got == r->want || (isnan(got) && isnan(r->want))))
			fail_msg("%s %s of %g, %g: %g, want %g", tgc_type_name(r->t), sk_name(r->op), r->x,
			         r->y, got, r->want);
	}
}

struct cast_row {
	tgc_type from, to;
	double x, want;
};

static const struct cast_row cast_rows[] = {
    {TGC_F32, TGC_I32, 3e9, 2147483647},
    {TGC_F32, TGC_I32, -3e9, -2147483648.0},
    {TGC_F32, TGC_I32, NAN, 0},
    {TGC_F32, TGC_I32, INFINITY, 2147483647},
    {TGC_F32, TGC_U8, -1.5, 0},
    {TGC_F32, TGC_U8, 300, 255},
    {TGC_F32, TGC_I8, -1.9, -1},
    {TGC_F32, TGC_BOOL, 0.25, 1},
    {TGC_F32, TGC_BOOL, NAN, 1},
    {TGC_F64, TGC_U64, 1e30, -1},
    {TGC_F64, TGC_I64, -1e30, -0x1p63},
    {TGC_I8, TGC_U16, -1, 65535},
    {TGC_I32, TGC_U8, 256 + 7, 7},
    {TGC_I32, TGC_BOOL, 256, 1},
    {TGC_I32, TGC_F32, 16777217, 16777216},
    {TGC_F64, TGC_F16, 65519, 65504},
    {TGC_F64, TGC_F16, 65520, INFINITY},
    {TGC_F64, TGC_F16, 0x1p-25, 0},
    {TGC_F64, TGC_F16, 0x1.8p-25, 0x1p-24},
    {TGC_F64, TGC_BF16, 1.00390625, 1},
    {TGC_F64, TGC_BF16, 1.01171875, 1.015625},
};

static void casts(void **state)
{
	(void)state;
	for (int i = 0; i < TG_COUNT(cast_rows); i++) {
		const struct cast_row *r = &cast_rows[i];
		struct sketch s = {0};
		int x = constant(&s, r->from, r->x);
		int y = sk_add(&s, (struct snode){.op = OP_CAST, .type = r->to, .nsrc = 1, .src = {x}});
		double got = value(&s, y, 0);

		if (got != r->want)
			fail_msg("%s to %s of %g: %g, want %g", tgc_type_name(r->from), tgc_type_name(r->to),
			         r->x, got, r->want);
	}
}

// Every 16-bit pattern survives being read and written.
static void sixteen_bits(void **state)
{
	const tgc_type types[] = {TGC_F16, TGC_BF16};

	(void)state;
	for (int k = 0; k < 2; k++) {
		for (uint32_t bits = 0; bits < 65536; bits++) {
			uint16_t in = (uint16_t)bits, out = 0;
			double v = interp_load_f(types[k], &in, 0);

			interp_store_f(types[k], &out, 0, v);
			if (!isnan(v))
				assert_int_equal(in, out);
			else
				assert_true(isnan(interp_load_f(types[k], &out, 0)));
		}
	}
}

// Known answers of Random123's kat_vectors for philox4x32-10.
static void random_bits(void **state)
{
	const uint32_t want[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
	struct dim four = {4, 0};
	struct pnode nodes[] = {
	    {.op = OP_CONST, .type = TGC_U64, .nattr = 1, .leaf = -1, .attr = (int64_t[]){0}},
	    {.op = OP_RANDOM,
	     .type = TGC_U32,
	     .rank = 1,
	     .nsrc = 2,
	     .leaf = -1,
	     .src = (int32_t[]){0, 0},
	     .dims = &four}};
	struct prog p = {.nodes = nodes, .n = 2};
	struct interp_value v[2];
	int32_t flag;

	(void)state;
	assert_int_equal(interp_run(NULL, &p, NULL, v, &flag), TGC_OK);
	for (int i = 0; i < 4; i++)
		assert_int_equal((uint32_t)v[1].i[i], want[i]);
	interp_values_free(&p, v);
}

static void movement(void **state)
{
	struct sketch s = {0};
	int x = vector(&s, TGC_I32, 6), y, w;

	(void)state;
	y = sk_add(&s, (struct snode){.op = OP_PAD, .nsrc = 1, .src = {x}, .attr = {2, -3}, .num = 9});
	assert_int_equal(s.nodes[y].dims[0], 5);
	assert_int_equal(value(&s, y, 1), 9);
	assert_int_equal(value(&s, y, 4), 2);
	w = sk_add(&s, (struct snode){.op = OP_WINDOW, .nsrc = 1, .src = {x}, .attr = {0, 3, 2, 1}});
	assert_int_equal(s.nodes[w].dims[0], 2);
	assert_int_equal(value(&s, w, 3), 2);
	y = sk_add(&s, (struct snode){
	                   .op = OP_FOLD, .nsrc = 1, .src = {w}, .rank = 1, .dims = {6}, .attr = {0, 0, 2, 1}});
	assert_int_equal(value(&s, y, 2), 4); // in both windows
	assert_int_equal(value(&s, y, 3), 3);
	assert_int_equal(value(&s, y, 5), 0); // in none
	y = sk_add(&s, (struct snode){.op = OP_FLIP, .nsrc = 1, .src = {x}, .attr = {1}});
	assert_int_equal(value(&s, y, 0), 5);
	y = sk_add(&s, (struct snode){.op = OP_SLICE, .nsrc = 1, .src = {x}, .attr = {1, 2, 6}});
	assert_int_equal(s.nodes[y].dims[0], 3);
	assert_int_equal(value(&s, y, 2), 5);
}

// A hole between the elements, and an unreachable tap of a contraction: only gradients make these.
static void pad_interior(void **state)
{
	struct dim three = {3, 0}, six = {6, 0};
	struct pnode nodes[] = {
	    {.op = OP_IOTA,
	     .type = TGC_F32,
	     .rank = 1,
	     .nattr = 1,
	     .leaf = -1,
	     .dims = &three,
	     .attr = (int64_t[]){0}},
	    {.op = OP_CONST, .type = TGC_F32, .nattr = 1, .leaf = -1, .attr = (int64_t[]){0}},
	    {.op = OP_PAD,
	     .type = TGC_F32,
	     .rank = 1,
	     .nsrc = 2,
	     .leaf = -1,
	     .dims = &six,
	     .src = (int32_t[]){0, 1},
	     .attr = (int64_t[]){-1, 2, 1}}};
	const double want[] = {0, 1, 0, 2, 0, 0};
	struct prog p = {.nodes = nodes, .n = 3};
	struct interp_value v[3];
	int32_t flag;

	(void)state;
	assert_int_equal(interp_run(NULL, &p, NULL, v, &flag), TGC_OK);
	for (int i = 0; i < 6; i++)
		assert_float_equal(v[2].f[i], want[i], 0);
	interp_values_free(&p, v);
}

static void reductions(void **state)
{
	struct sketch s = {0};
	int x = vector(&s, TGC_F32, 5), y = sk_op1(&s, OP_NEG, x), e = vector(&s, TGC_F32, 0);

	(void)state;
	assert_float_equal(
	    value(&s, sk_add(&s, (struct snode){.op = OP_SUM, .nsrc = 1, .src = {x}, .attr = {1}}), 0), 10, 0);
	assert_float_equal(
	    value(&s, sk_add(&s, (struct snode){.op = OP_SUM, .nsrc = 1, .src = {e}, .attr = {1}}), 0), 0, 0);
	assert_int_equal(
	    value(&s, sk_add(&s, (struct snode){.op = OP_ARGMAX, .nsrc = 1, .src = {y}, .attr = {1}}), 0), 0);
	assert_float_equal(
	    value(&s, sk_add(&s, (struct snode){.op = OP_RMIN, .nsrc = 1, .src = {y}, .attr = {1}}), 0), -4, 0);
}

static void contractions(void **state)
{
	struct sketch s = {0};
	int v = vector(&s, TGC_I32, 6), a, b, c;

	(void)state;
	a = sk_add(&s, (struct snode){.op = OP_RESHAPE, .nsrc = 1, .src = {v}, .rank = 2, .dims = {2, 3}});
	b = sk_add(&s, (struct snode){.op = OP_RESHAPE, .nsrc = 1, .src = {v}, .rank = 2, .dims = {3, 2}});
	c = sk_op2(&s, SK_MATMUL, a, b);
	assert_int_equal(value(&s, c, 0), 10);
	assert_int_equal(value(&s, c, 3), 40);
	c = sk_add(&s, (struct snode){.op = SK_EINSUM, .nsrc = 2, .src = {a, b}, .spec = "ij,jk->ki"});
	assert_int_equal(value(&s, c, 1), 28);
	a = sk_add(&s,
	           (struct snode){.op = OP_RESHAPE, .nsrc = 1, .src = {v}, .rank = 4, .dims = {1, 1, 2, 3}});
	b = sk_add(&s,
	           (struct snode){.op = OP_RESHAPE, .nsrc = 1, .src = {v}, .rank = 4, .dims = {1, 1, 3, 2}});
	// Padded by one all round, dilated 1: out (2 + 2 - 3 + 1) x (3 + 2 - 2 + 1).
	c = sk_add(
	    &s, (struct snode){.op = SK_CONV, .nsrc = 2, .src = {a, b}, .attr = {1, 1, 1, 1, 1, 1, 1, 1, 1}});
	assert_int_equal(s.nodes[c].dims[2], 2);
	assert_int_equal(s.nodes[c].dims[3], 4);
	assert_int_equal(value(&s, c, 0), 3 * 0 + 5 * 3);
	assert_int_equal(value(&s, c, 1), 2 * 0 + 3 * 1 + 4 * 3 + 5 * 4);
}

static void indexing(void **state)
{
	struct sketch s = {0};
	struct oracle o;
	int x = vector(&s, TGC_F32, 4), i = vector(&s, TGC_I32, 6), g, z;

	(void)state;
	g = sk_add(&s, (struct snode){.op = OP_GATHER, .nsrc = 2, .src = {x, i}, .attr = {0}});
	z = sk_add(&s, (struct snode){.op = OP_SCATTER, .nsrc = 3, .src = {x, i, g}, .attr = {0, 1}});
	assert_true(oracle_run(&o, &s, NULL));
	assert_float_equal(oracle_value(&o, g)->f[5], 3, 0); // clamped
	assert_float_equal(oracle_value(&o, z)->f[3], 6, 0); // the clamped ones are skipped
	assert_int_equal(o.flag, o.at[g]);
	oracle_free(&o);
}

// What hangs on a rounding is not compared; what does not, is.
static void decisions(void **state)
{
	struct sketch s = {0};
	struct oracle o;
	int x = constant(&s, TGC_F32, 0.1), e = sk_op1(&s, OP_EXP, x), l = sk_op1(&s, OP_LOG, e), c, d;

	(void)state;
	c = sk_op2(&s, OP_LT, l, x);
	d = sk_op2(&s, OP_LT, x, e);
	assert_true(oracle_run(&o, &s, NULL));
	assert_true(oracle_value(&o, c)->unsure[0]);
	assert_false(oracle_value(&o, d)->unsure[0]);
	assert_true(oracle_value(&o, e)->bound[0] > 0);
	assert_true(oracle_value(&o, e)->bound[0] < 1e-6);
	oracle_free(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(scalars),     cmocka_unit_test(casts),        cmocka_unit_test(sixteen_bits),
	    cmocka_unit_test(random_bits), cmocka_unit_test(movement),     cmocka_unit_test(pad_interior),
	    cmocka_unit_test(reductions),  cmocka_unit_test(contractions), cmocka_unit_test(indexing),
	    cmocka_unit_test(decisions),
	};

	return cmocka_run_group_tests_name("interp", tests, NULL, NULL);
}
