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

#endif
