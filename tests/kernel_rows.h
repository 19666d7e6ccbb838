// Rows of kernels as text, before and after something: what the tests of the kernel IR and of its passes share.
#ifndef TG_KERNEL_ROWS_H
#define TG_KERNEL_ROWS_H

#include "check.h"
#include "kernel_eval.h"
#include "runtime.h"

#define KERNEL_FRAME                                                                                           \
	"kernel segments 0 scratch 0\n"                                                                        \
	"  b0 f32 4096 global\n"                                                                               \
	"  b1 f32 4096 global\n"                                                                               \
	"  b2 i64 4096 global\n"                                                                               \
	"  b3 bool 4096 global\n"                                                                              \
	"  b4 f32 64 local at 0\n"                                                                             \
	"  b5 f32 64 shared at 0\n"                                                                            \
	"  s0 f32\n"                                                                                           \
	"  t0 3 5 9 12\n"

struct kernel_row {
	const char *name;
	void (*pass)(struct kernel *k, const struct target *t);
	const char *before, *after; // bodies, behind KERNEL_FRAME; after NULL: the same
};
const struct target *kernel_row_target(void);

char *kernel_row_print(const struct kernel *k);    // malloc'ed
struct kernel *kernel_row_parse(const char *body); // behind the frame; fails the test if it is no kernel
void kernel_row_same_text(const char *text);       // parsed, cloned and printed it is the same
// Each row's pass makes `after` of `before`, the verifier takes it, and it does to memory what it did before.
void kernel_rows_check(const struct kernel_row *rows, int n);
void kernel_rows_round_trip(const struct kernel_row *rows, int n); // their texts, before and after all passes

#endif
