// Runs a kernel as machine code and as its IR says, and compares.
#ifndef TG_EMIT_RUN_H
#define TG_EMIT_RUN_H

#include "codegen.h"

enum { RUN_BUFS = 64 };
struct run_data { // of a kernel's GLOBAL buffers and scalars
	void *args[RUN_BUFS + 64];
	int64_t bytes[RUN_BUFS];
	int n;
	uint64_t scalars[64];
};

extern const struct target run_targets[]; // the host with wide, middle and narrow vectors, and named records
extern const int run_targets_count;

// Emits, loads and runs all phases of k, the blocks in two calls. NULL, or what went wrong (malloc'ed).
char *run_emitted(const struct kernel *k, const struct target *t, void *const *args);

// Fills the buffers of k with numbers by seed: floats in -4..4 with some special ones, integers in all sizes.
void run_fill(struct run_data *d, const struct kernel *k, uint32_t seed);
void run_free(struct run_data *d);
// Both ways from equal buffers; NULL, or the first difference (malloc'ed). NaN equals NaN.
char *run_both(const struct kernel *k, const struct target *t, uint32_t seed);

void run_prepare(struct kernel *k, const struct target *t); // expanded and bound: what needs no other pass
// Fails the test, printing k, unless error is NULL.
void run_fail(const char *name, const struct target *t, const struct kernel *k, char *error);

#define RUN_FRAME(BLOCKS)                                                                                          \
	"kernel segments 0 scratch 4096\n  b0 f32 4096 global\n  b1 f32 4096 global\n  b2 i64 4096 global\n"   \
	"  b3 f32 4096 global\n  b4 bool 4096 global\n  b5 f32 512 local\n  t0 5 3 1 4 1 5 9 2 6 0 7 8\n"      \
	"phase " #BLOCKS "\n"

#endif
