// Rows of a table on the emulated GPU: what test_emu_attention.c and test_emu_conv.c share.
#ifndef TG_EMU_ROWS_H
#define TG_EMU_ROWS_H

#include "check.h"

enum { EMU_ROW_OUTS = 4 };
struct emu_counts {
	int launches, products, copies; // kernels run; that multiply on tensor cores, that copy asynchronously
};

// Each of n rows is recorded, run and compared with the interpreter; the test fails, having named every such row,
// where a value or a count is another.
void emu_rows_check(int n, int (*record)(tgc_context *c, int row, tgc_tensor **outs), // returns how many outs
                    const struct emu_counts *(*counts)(int row));

#endif
