// Attention and its gradients on the emulated GPU: chains of products on tensor cores or register tiles, and rows.
// In:  a table of shapes, whole tiles and ragged ones, of every float type, causal or not. Out: the interpreter's
// values, and as many kernels as the table says; bugs planted into the text of those kernels are noticed. Not here:
// kernels of one product (test_emu_product.c).
#include "emu_rows.h"
#include "plant.h"

#include <stdlib.h>

struct row {
	tgc_type type;
	int heads, queries, keys, width, values; // values: width of v
	bool causal, backward;
	struct emu_counts counts;
};
static const struct row rows[] = {
    {TGC_BF16, 8, 64, 64, 64, 64, false, false, {1, 1, 1}},
    {TGC_BF16, 4, 128, 128, 32, 64, true, false, {1, 1, 1}},
    {TGC_F16, 4, 128, 192, 64, 32, false, false, {1, 1, 1}}, // more columns than a tile has
    {TGC_F16, 8, 100, 80, 48, 40, true, false, {1, 1, 1}},   // nothing is a whole tile
    {TGC_BF16, 8, 33, 65, 17, 33, false, false, {1, 1, 0}},
    {TGC_BF16, 16, 40, 528, 16, 32, false, false, {1, 1, 1}}, // more terms than one sum takes
    {TGC_F32, 8, 64, 64, 32, 32, true, false, {2, 0, 2}},     // so few blocks that two kernels are faster
    {TGC_F32, 8, 65, 70, 24, 40, false, false, {1, 0, 1}},
    {TGC_BF16, 8, 64, 64, 64, 64, true, true, {1, 1, 1}},
    {TGC_F16, 4, 100, 80, 48, 40, false, true, {6, 5, 5}},
    {TGC_F32, 8, 65, 65, 32, 32, true, true, {5, 0, 4}},
};

static tgc_tensor *operand(tgc_context *c, const struct row *r, int length, int width)
{
	tgc_tensor *x = tgc_cast(tgc_randn(c, TGC_F32, TGC_SHAPE(r->heads, length, width)), r->type);
	assert_int_equal(tgc_realize(x), TGC_OK);
	return x;
}

static int record(tgc_context *c, int row, tgc_tensor **outs)
{
	const struct row *r = &rows[row];
	tgc_tensor *x[3] = {operand(c, r, r->queries, r->width), operand(c, r, r->keys, r->width),
	                    operand(c, r, r->keys, r->values)};

	outs[0] = tgc_attention(x[0], x[1], x[2], r->causal);
	if (!r->backward)
		return 1;
	tgc_tensor *w = operand(c, r, r->queries, r->values);
	tgc_tensor *loss = tgc_sum(tgc_cast(tgc_mul(outs[0], w), TGC_F32), TGC_ALL_AXES, false);
	assert_int_equal(tgc_grad(loss, 3, x, outs + 1), TGC_OK);
	return 4;
}

static const struct emu_counts *counts(int row)
{
	return &rows[row].counts;
}

static void test_values(void **state)
{
	(void)state;
	emu_rows_check(TG_COUNT(rows), record, counts);
}

static const struct {
	int row;
	struct emu_bug bug;
} planted[] = {
    {1, {"no barrier before the softmax", "\ttg_barrier();\n", "", 1}},
    {1, {"no barrier in the second product", "\ttg_barrier();\n", "", EMU_LAST}},
    {1, {"a wait too late in the second product", "tg_cp_async_wait(1)", "tg_cp_async_wait(2)", EMU_LAST}},
    {1, {"swapped fragments of probabilities", "x[1], y[0] + 0", "x[0], y[0] + 0", EMU_LAST}},
    {1, {"swapped fragments of values", ", y[1] + 0", ", y[1] + 2", EMU_LAST}},
    {1, {"probabilities of other keys", "tg_ldmatrix_x4(x[0], b", "tg_ldmatrix_x4(x[0], 8 + b", EMU_LAST}},
    {1, {"a sum without half of its lanes", "_0, 16);", "_0, 8);", EMU_LAST}},
    {1, {"a mask without the diagonal", " <= v", " < v", EMU_ALL}},
    {3, {"a partial tile of values read past the end", "tg_cp_async16_if(v", "tg_cp_async16_if(1 || v", 0}},
    {3, {"a sum with one key too many", " < 80;", " < 81;", EMU_LAST}},
    {3, {"a column too many stored", "< 40) {", "< 41) {", 0}},
};

static void test_planted(void **state)
{
	int missed = 0;
	(void)state;
	for (int i = 0; i < TG_COUNT(planted); i++) {
		struct tally t = {0};
		tgc_tensor *outs[EMU_ROW_OUTS];
		tgc_context *c = check_context("cuda-emu", 1);
		assert_non_null(c);
		int n = record(c, planted[i].row, outs);
		emu_plant(&planted[i].bug);
		check_tensors(c, n, outs, &t);
		int changed = emu_planted();
		emu_plant(NULL);
		print_message("%-44s %.*s\n", planted[i].bug.what, (int)strcspn(t.message, "\n"), t.failed ? t.message : "-");
		if (!changed)
			fail_msg("%s: \"%s\" is in no kernel", planted[i].bug.what, planted[i].bug.from);
		missed += !t.failed;
		tgc_context_free(&c);
	}
	assert_int_equal(missed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_values),
	    cmocka_unit_test(test_planted),
	};
	return cmocka_run_group_tests_name("emu_attention", tests, NULL, NULL);
}
