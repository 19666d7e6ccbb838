// Convolutions as products of tiles on the emulated GPU: forward, both gradients, with and without a batch norm around.
// In:  random data, a table of shapes. Out: values against the interpreter, and how many kernels multiply on tensor
// cores and copy asynchronously. Not here: speed, machine code (test_cubin.c).
#include "emu_rows.h"

struct sizes {
	int64_t batch, in, out, side, taps, stride, pad;
};

static const struct row {
	tgc_type type;
	struct sizes s;
	bool norm;
	struct emu_counts counts;
} rows[] = {
    // Leaves lie row by row: their channels are no neighbours.
    {TGC_BF16, {3, 16, 16, 9, 3, 1, 1}, false, {4, 3, 0}},
    {TGC_F16, {3, 20, 20, 7, 3, 1, 0}, false, {4, 3, 0}},
    {TGC_BF16, {3, 3, 16, 8, 3, 1, 1}, false, {4, 2, 0}}, // 3 channels are few for dx
    {TGC_F32, {3, 16, 16, 9, 3, 1, 1}, false, {4, 0, 3}},
    {TGC_F32, {3, 16, 32, 9, 3, 2, 1}, false, {4, 0, 3}},
    {TGC_F32, {2, 20, 64, 7, 3, 1, 1}, false, {4, 0, 3}},
    {TGC_F32, {3, 3, 16, 8, 3, 1, 1}, false, {4, 0, 2}},
    // Intermediate values have their channels last.
    {TGC_BF16, {3, 16, 16, 9, 3, 1, 1}, true, {10, 3, 3}},
    {TGC_F16, {2, 32, 16, 8, 3, 1, 1}, true, {10, 3, 3}},
    {TGC_BF16, {3, 16, 32, 9, 3, 2, 1}, true, {10, 3, 3}},
    {TGC_BF16, {2, 64, 64, 6, 3, 1, 1}, true, {10, 3, 3}},
    {TGC_F16, {3, 20, 20, 7, 3, 1, 0}, true, {10, 3, 0}}, // rows of 40 bytes
    {TGC_BF16, {4, 16, 32, 8, 1, 2, 0}, true, {10, 3, 3}},
    {TGC_F16, {5, 32, 64, 5, 1, 1, 0}, true, {10, 3, 3}},
    {TGC_BF16, {2, 16, 16, 12, 5, 1, 2}, true, {10, 3, 3}},
    {TGC_F32, {3, 16, 16, 9, 3, 1, 1}, true, {10, 0, 3}},
};

static tgc_tensor *noise(tgc_context *c, tgc_type type, tgc_shape s)
{
	tgc_tensor *x = tgc_cast(tgc_sub(tgc_rand(c, TGC_F32, s), 0.5), type);
	assert_int_equal(tgc_realize(x), TGC_OK);
	return x;
}

// Of each channel, as a network in mixed precision has it: wide inside, narrow outside.
static tgc_tensor *normalised(tgc_tensor *x)
{
	tgc_type type = tgc_tensor_type(x);
	tgc_axes over = TGC_AXES(0, 2, 3);
	x = tgc_cast(x, TGC_F32);
	tgc_tensor *y = tgc_sub(x, tgc_mean(x, over, true));
	return tgc_relu(tgc_cast(tgc_div(y, tgc_sqrt(tgc_add(tgc_var(x, over, 0, true), 1e-5))), type));
}

static int record(tgc_context *c, int row, tgc_tensor **outs)
{
	const struct row *r = &rows[row];
	const struct sizes *s = &r->s;
	tgc_tensor *x = noise(c, r->type, TGC_SHAPE(s->batch, s->in, s->side, s->side)),
	           *w = noise(c, r->type, TGC_SHAPE(s->out, s->in, s->taps, s->taps)), *of[] = {x, w};
	tgc_tensor *y = tgc_conv2d(r->norm ? normalised(x) : x, w, .stride = {s->stride, s->stride},
	                           .padding = {s->pad, s->pad, s->pad, s->pad});
	outs[0] = y;
	y = r->norm ? normalised(y) : y;
	tgc_shape shape = {4, {s->batch, s->out, tgc_tensor_shape(y).dims[2], tgc_tensor_shape(y).dims[3]}};
	tgc_tensor *loss = tgc_sum(tgc_cast(tgc_mul(y, noise(c, r->type, shape)), TGC_F32), TGC_ALL_AXES, false);
	assert_int_equal(tgc_grad(loss, 2, of, outs + 1), TGC_OK);
	return 3;
}

static const struct emu_counts *counts(int row)
{
	return &rows[row].counts;
}

static void test_convolutions(void **state)
{
	(void)state;
	emu_rows_check(TG_COUNT(rows), record, counts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_convolutions),
	};
	return cmocka_run_group_tests_name("emu_conv", tests, NULL, NULL);
}
