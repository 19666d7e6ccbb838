// In:  a table of graphs. Out: values against the interpreter on the device cuda-emu, and which kernels they took.
// Not here: the tables (test_emu_attention.c, test_emu_conv.c).
#include "emu_rows.h"

#include <string.h>

#include "device.h"

static void look(void *user, const char *name, const char *text)
{
	struct emu_counts *found = user;

	(void)name;
	found->products += strstr(text, "tg_mma") != NULL;
	found->copies += strstr(text, "tg_cp_async") != NULL;
}

static struct emu_counts so_far(tgc_context *c)
{
	struct emu_counts n = {.launches = (int)tgc_get_stats(c).launches};

	emu_each_source(look, &n);
	return n;
}

static bool check_row(tgc_context *c, int row, int n, tgc_tensor **outs, const struct emu_counts *want)
{
	struct tally t = {0};
	struct emu_counts before = so_far(c);

	check_tensors(c, n, outs, &t);
	struct emu_counts got = so_far(c);
	got.launches -= before.launches;
	got.products -= before.products;
	got.copies -= before.copies;
	bool good = !t.failed && t.compared && !memcmp(&got, want, sizeof got);
	if (!good)
		print_error("row %d: %d launches, %d products, %d copies; %s\n", row, got.launches, got.products,
		            got.copies, t.failed ? t.message : "right");
	return good;
}

void emu_rows_check(int n, int (*record)(tgc_context *c, int row, tgc_tensor **outs),
                    const struct emu_counts *(*counts)(int row))
{
	tgc_context *c = check_context("cuda-emu", 1);
	int bad = 0;

	assert_non_null(c);
	for (int i = 0; i < n; i++) {
		tgc_tensor *outs[EMU_ROW_OUTS];

		tgc_scope_begin(c);
		int nouts = record(c, i, outs);
		bad += !check_row(c, i, nouts, outs, counts(i));
		tgc_scope_end(c);
	}
	tgc_context_free(&c);
	assert_int_equal(bad, 0);
}
