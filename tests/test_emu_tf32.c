// Products of f32 on tensor cores, where the context permits TF32: matmul, convolution, attention on the emulated GPU.
// In:  a table of shapes, whole tiles and ragged ones, operands as they lie, turned or computed. Out: the interpreter's
// values within the bounds that 10 bits of fraction give; how many kernels multiply as TF32, none without the permission;
// operands rounded to the nearest, ties away from zero. Not here: machine code (test_cubin.c), cuBLASLt (test_cuda_product.c).
#include "check.h"
#include "device.h"

#include <stdlib.h>
#include <string.h>

enum { LEFT_TURNED = 1, RIGHT_TURNED = 2, LEFT_COMPUTED = 4, RIGHT_COMPUTED = 8 };

static struct found {
	int tf32, halves, copies;
} found;

static void look(void *user, const char *name, const char *text)
{
	(void)user;
	(void)name;
	found.tf32 += strstr(text, "tg_mma_1688_tf32") != NULL;
	found.halves += strstr(text, "tg_mma_16816") != NULL;
	found.copies += strstr(text, "tg_cp_async") != NULL;
}

// Since the last call.
static struct found count(void)
{
	static struct found before;
	struct found old = before;
	found = (struct found){0};
	emu_each_source(look, NULL);
	before = found;
	return (struct found){found.tf32 - old.tf32, found.halves - old.halves, found.copies - old.copies};
}

static tgc_context *open_emu(tgc_precision precision)
{
	tgc_context_options o = {.struct_size = sizeof o, .device = "cuda-emu", .threads = 1, .seed = 1,
	                         .matmul_precision = precision};
	tgc_context *c = tgc_context_new(&o);
	assert_ok(c);
	return c;
}

static tgc_tensor *noise(tgc_context *c, tgc_type type, tgc_shape s)
{
	tgc_tensor *x = tgc_cast(tgc_randn(c, TGC_F32, s), type);
	assert_int_equal(tgc_realize(x), TGC_OK);
	return x;
}

static void check_found(tgc_context *c, int n, tgc_tensor **outs, struct found want, const char *what, int row)
{
	struct tally t = {0};
	count();
	check_tensors(c, n, outs, &t);
	struct found got = count();
	if (t.failed)
		fail_msg("%s %d: %s", what, row, t.message);
	assert_true(t.compared > 0);
	if (got.tf32 != want.tf32 || got.halves != want.halves || got.copies != want.copies)
		fail_msg("%s %d: %d kernels of TF32, %d of 16 bits, %d that copy asynchronously", what, row, got.tf32,
		         got.halves, got.copies);
}

// ---- products ----------------------------------------------------------------------------------------------------------

static const struct product {
	int batch, m, n, k, how;
	tgc_type type;
	struct found want;
} products[] = {
    {1, 64, 64, 64, 0, TGC_F32, {1, 0, 1}},
    {1, 64, 64, 64, LEFT_TURNED, TGC_F32, {1, 0, 1}},
    {1, 64, 64, 64, RIGHT_TURNED, TGC_F32, {1, 0, 1}},
    {1, 64, 64, 64, LEFT_TURNED | RIGHT_TURNED, TGC_F32, {1, 0, 1}},
    {1, 61, 47, 83, 0, TGC_F32, {1, 0, 1}}, // nothing is a whole tile, rows are not aligned
    {1, 61, 47, 83, LEFT_TURNED | RIGHT_TURNED, TGC_F32, {1, 0, 1}},
    {1, 130, 70, 1100, 0, TGC_F32, {1, 0, 1}}, // more terms than one sum takes
    {3, 40, 36, 52, RIGHT_TURNED, TGC_F32, {1, 0, 1}},
    {1, 64, 96, 48, LEFT_COMPUTED, TGC_F32, {1, 0, 0}},
    {1, 33, 65, 50, RIGHT_COMPUTED | LEFT_TURNED, TGC_F32, {1, 0, 0}},
    {1, 64, 64, 8, 0, TGC_F32, {0, 0, 1}},   // few terms
    {1, 64, 64, 64, 0, TGC_BF16, {0, 1, 1}}, // 16-bit floats stay what they are
    {1, 64, 64, 64, 0, TGC_F64, {0, 0, 0}},
};

static tgc_tensor *operand(tgc_context *c, const struct product *p, int rows, int columns, bool turned, bool computed)
{
	tgc_tensor *x = noise(c, p->type, TGC_SHAPE(p->batch, turned ? columns : rows, turned ? rows : columns));
	x = turned ? tgc_transpose(x, -1, -2) : x;
	return computed ? tgc_add(tgc_mul(x, x), 0.5) : x;
}

static void test_products(void **state)
{
	tgc_context *c = open_emu(TGC_PRECISION_TF32);
	(void)state;
	for (int i = 0; i < TG_COUNT(products); i++) {
		const struct product *p = &products[i];
		tgc_scope_begin(c);
		tgc_tensor *x = operand(c, p, p->m, p->k, p->how & LEFT_TURNED, p->how & LEFT_COMPUTED),
		           *y = operand(c, p, p->k, p->n, p->how & RIGHT_TURNED, p->how & RIGHT_COMPUTED), *o = tgc_matmul(x, y);
		check_found(c, 1, &o, p->want, "product", i);
		tgc_scope_end(c);
	}
	tgc_context_free(&c);
}

// A kernel that somebody compiled before is not counted again: sizes are other ones than above.
static void test_not_asked(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		tgc_context *c = open_emu(i ? TGC_PRECISION_HIGHEST : TGC_PRECISION_DEFAULT);
		tgc_tensor *o = tgc_matmul(noise(c, TGC_F32, TGC_SHAPE(96, 32 + i)), noise(c, TGC_F32, TGC_SHAPE(32 + i, 96)));
		check_found(c, 1, &o, (struct found){0, 0, 1}, "not asked", i);
		tgc_context_free(&c);
	}
}

static void test_environment(void **state)
{
	(void)state;
	setenv("TGC_MATMUL_PRECISION", "tf32", 1);
	for (int i = 0; i < 2; i++) { // the option goes before the variable
		tgc_context *c = open_emu(i ? TGC_PRECISION_HIGHEST : TGC_PRECISION_DEFAULT);
		tgc_tensor *o = tgc_matmul(noise(c, TGC_F32, TGC_SHAPE(80, 48 + i)), noise(c, TGC_F32, TGC_SHAPE(48 + i, 80)));
		check_found(c, 1, &o, (struct found){!i, 0, 1}, "environment", i);
		tgc_context_free(&c);
	}
	setenv("TGC_MATMUL_PRECISION", "fast", 1);
	tgc_context_options o = {.struct_size = sizeof o, .device = "interp"};
	tgc_context *c = tgc_context_new(&o);
	assert_int_equal(tgc_error_status(c), TGC_ERROR_ARG);
	assert_non_null(strstr(tgc_error_message(c), "TGC_MATMUL_PRECISION is \"fast\", neither \"highest\" nor \"tf32\""));
	tgc_context_free(&c);
	unsetenv("TGC_MATMUL_PRECISION");
	o.matmul_precision = (tgc_precision)7;
	c = tgc_context_new(&o);
	assert_int_equal(tgc_error_status(c), TGC_ERROR_ARG);
	tgc_context_free(&c);
}

// The processor and the interpreter give the bits that they give without it.
static void test_elsewhere(void **state)
{
	static const char *const devices[] = {"interp", "cpu"};
	static float got[2][32 * 32];
	(void)state;
	for (int d = 0; d < TG_COUNT(devices); d++) {
		for (int i = 0; i < 2; i++) {
			tgc_context_options o = {.struct_size = sizeof o, .device = devices[d], .seed = 1,
			                         .matmul_precision = i ? TGC_PRECISION_TF32 : TGC_PRECISION_HIGHEST};
			tgc_context *c = tgc_context_new(&o);
			if (tgc_error_status(c) == TGC_ERROR_NODEVICE) {
				tgc_context_free(&c);
				return;
			}
			tgc_tensor *x = noise(c, TGC_F32, TGC_SHAPE(32, 32));
			check_read_f32(tgc_matmul(x, x), got[i], 32 * 32);
			tgc_context_free(&c);
		}
		assert_memory_equal(got[0], got[1], sizeof got[0]);
	}
}

// ---- rounding ----------------------------------------------------------------------------------------------------------

enum { SIDE = 32 };

// Of both operands: the other one is the identity.
static void test_rounding(void **state)
{
	static const struct {
		float from, to;
	} cases[] = {
	    {1 + 0x1p-10f, 1 + 0x1p-10f}, // fits
	    {1 + 0x1p-11f, 1 + 0x1p-10f}, // ties: away from zero
	    {-1 - 0x1p-11f, -1 - 0x1p-10f},
	    {1 + 0x1p-10f + 0x1p-11f, 1 + 0x1p-9f},
	    {1 + 0x1.ffep-12f, 1},        // just below a tie
	    {2 - 0x1p-20f, 2},            // into the next binade
	    {0x1.234567p30f, 0x1.234p30f},
	    {0x1.234567p-30f, 0x1.234p-30f},
	    {-0x1.fffffep-100f, -0x1p-99f},
	    {0x1.ffdp127f, 0x1.ffcp127f}, // the largest that fits
	};
	static float x[SIDE * SIDE], one[SIDE * SIDE], got[SIDE * SIDE];
	(void)state;
	tgc_context *c = open_emu(TGC_PRECISION_TF32);
	for (int i = 0; i < TG_COUNT(cases); i++)
		x[i * SIDE + (i * 7 + 3) % SIDE] = cases[i].from;
	for (int i = 0; i < SIDE; i++)
		one[i * SIDE + i] = 1;
	for (int side = 0; side < 2; side++) {
		tgc_tensor *v = tgc_from_data(c, TGC_F32, TGC_SHAPE(SIDE, SIDE), x),
		           *e = tgc_from_data(c, TGC_F32, TGC_SHAPE(SIDE, SIDE), one);
		check_read_f32(side ? tgc_matmul(e, v) : tgc_matmul(v, e), got, SIDE * SIDE);
		for (int i = 0; i < TG_COUNT(cases); i++)
			if (got[i * SIDE + (i * 7 + 3) % SIDE] != cases[i].to)
				fail_msg("side %d: %a becomes %a, not %a", side, (double)cases[i].from,
				         (double)got[i * SIDE + (i * 7 + 3) % SIDE], (double)cases[i].to);
	}
	tgc_context_free(&c);
}

// ---- convolutions, attention -------------------------------------------------------------------------------------------

static const struct convolution {
	int64_t batch, in, out, side, taps, stride, pad;
	struct found want; // forward and both gradients
} convolutions[] = {
    {3, 16, 16, 9, 3, 1, 1, {3, 0, 3}},
    {3, 16, 32, 9, 3, 2, 1, {3, 0, 3}},
    {2, 20, 64, 7, 3, 1, 1, {3, 0, 3}},
};

static void test_convolutions(void **state)
{
	tgc_context *c = open_emu(TGC_PRECISION_TF32);
	(void)state;
	for (int i = 0; i < TG_COUNT(convolutions); i++) {
		const struct convolution *r = &convolutions[i];
		tgc_scope_begin(c);
		tgc_tensor *x = noise(c, TGC_F32, TGC_SHAPE(r->batch, r->in, r->side, r->side)),
		           *w = noise(c, TGC_F32, TGC_SHAPE(r->out, r->in, r->taps, r->taps)), *of[] = {x, w}, *outs[3];
		outs[0] = tgc_conv2d(x, w, .stride = {r->stride, r->stride}, .padding = {r->pad, r->pad, r->pad, r->pad});
		tgc_tensor *d = noise(c, TGC_F32, tgc_tensor_shape(outs[0]));
		assert_int_equal(tgc_grad(tgc_sum(tgc_mul(outs[0], d), TGC_ALL_AXES, false), 2, of, outs + 1), TGC_OK);
		check_found(c, 3, outs, r->want, "convolution", i);
		tgc_scope_end(c);
	}
	tgc_context_free(&c);
}

static const struct attention {
	int heads, queries, keys, width, values;
	bool causal, backward;
	struct found want;
} attentions[] = {
    {8, 64, 64, 32, 32, true, false, {2, 0, 2}},
    {8, 65, 70, 24, 40, false, false, {1, 0, 1}},
    {8, 65, 65, 32, 32, true, true, {4, 0, 4}},
};

static void test_attention(void **state)
{
	tgc_context *c = open_emu(TGC_PRECISION_TF32);
	(void)state;
	for (int i = 0; i < TG_COUNT(attentions); i++) {
		const struct attention *r = &attentions[i];
		tgc_scope_begin(c);
		tgc_tensor *x[] = {noise(c, TGC_F32, TGC_SHAPE(r->heads, r->queries, r->width)),
		                   noise(c, TGC_F32, TGC_SHAPE(r->heads, r->keys, r->width)),
		                   noise(c, TGC_F32, TGC_SHAPE(r->heads, r->keys, r->values))};
		tgc_tensor *outs[4] = {tgc_attention(x[0], x[1], x[2], r->causal)};
		tgc_tensor *d = noise(c, TGC_F32, TGC_SHAPE(r->heads, r->queries, r->values));
		if (r->backward)
			assert_int_equal(tgc_grad(tgc_sum(tgc_mul(outs[0], d), TGC_ALL_AXES, false), 3, x, outs + 1), TGC_OK);
		check_found(c, r->backward ? 4 : 1, outs, r->want, "attention", i);
		tgc_scope_end(c);
	}
	tgc_context_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_products),  cmocka_unit_test(test_not_asked),    cmocka_unit_test(test_environment),
	    cmocka_unit_test(test_elsewhere), cmocka_unit_test(test_rounding),     cmocka_unit_test(test_convolutions),
	    cmocka_unit_test(test_attention),
	};
	return cmocka_run_group_tests_name("emu_tf32", tests, NULL, NULL);
}
