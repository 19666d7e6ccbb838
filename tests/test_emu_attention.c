// Attention and its gradients on the emulated GPU: chains of products on tensor cores or register tiles, and rows.
// In:  a table of shapes, whole tiles and ragged ones, of every float type, causal or not. Out: the interpreter's
// values, and as many kernels as the table says. Not here: bugs planted into such kernels (test_emu_product.c).
#include "check.h"
#include "runtime.h"

struct row {
	tgc_type type;
	int heads, queries, keys, width, values; // values: width of v
	bool causal, backward;
	int launches;
};
static const struct row rows[] = {
    {TGC_BF16, 8, 64, 64, 64, 64, false, false, 1},
    {TGC_BF16, 4, 128, 128, 32, 64, true, false, 1},
    {TGC_F16, 4, 128, 192, 64, 32, false, false, 1}, // more columns than a tile has
    {TGC_F16, 8, 100, 80, 48, 40, true, false, 1},   // nothing is a whole tile
    {TGC_BF16, 8, 33, 65, 17, 33, false, false, 1},
    {TGC_BF16, 16, 40, 528, 16, 32, false, false, 1}, // more terms than one sum takes
    {TGC_F32, 8, 64, 64, 32, 32, true, false, 2},     // so few blocks that two kernels are faster
    {TGC_F32, 8, 65, 70, 24, 40, false, false, 1},
    {TGC_BF16, 8, 64, 64, 64, 64, true, true, 1},
    {TGC_F16, 4, 100, 80, 48, 40, false, true, 6},
    {TGC_F32, 8, 65, 65, 32, 32, true, true, 5},
};

static tgc_tensor *operand(tgc_context *c, const struct row *r, int length, int width)
{
	tgc_tensor *x = tgc_cast(tgc_randn(c, TGC_F32, TGC_SHAPE(r->heads, length, width)), r->type);
	assert_int_equal(tgc_realize(x), TGC_OK);
	return x;
}

static bool check_row(tgc_context *c, const struct row *r, int number)
{
	struct tally t = {0};
	tgc_scope_begin(c);
	tgc_tensor *x[3] = {operand(c, r, r->queries, r->width), operand(c, r, r->keys, r->width),
	                    operand(c, r, r->keys, r->values)},
	           *outs[4] = {tgc_attention(x[0], x[1], x[2], r->causal)};
	if (r->backward) {
		tgc_tensor *w = operand(c, r, r->queries, r->values);
		tgc_tensor *loss = tgc_sum(tgc_cast(tgc_mul(outs[0], w), TGC_F32), TGC_ALL_AXES, false);
		assert_int_equal(tgc_grad(loss, 3, x, outs + 1), TGC_OK);
	}
	uint64_t before = tgc_get_stats(c).launches;
	check_tensors(c, r->backward ? 4 : 1, outs, &t);
	int launches = (int)(tgc_get_stats(c).launches - before);
	if (t.failed)
		fail_msg("row %d: %s", number, t.message);
	assert_true(t.compared > 0);
	if (launches != r->launches)
		print_error("row %d: %d launches, not %d\n", number, launches, r->launches);
	tgc_scope_end(c);
	return launches == r->launches;
}

static void test_values(void **state)
{
	int bad = 0;
	(void)state;
	for (int i = 0; i < TG_COUNT(rows); i++) {
		tgc_context *c = check_context("cuda-emu", 1);
		assert_non_null(c);
		bad += !check_row(c, &rows[i], i);
		tgc_context_free(&c);
	}
	assert_int_equal(bad, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_values),
	};
	return cmocka_run_group_tests_name("emu_attention", tests, NULL, NULL);
}
