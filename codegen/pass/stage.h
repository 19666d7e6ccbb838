// Private header of the pass stage (stage*.c).
#ifndef TG_STAGE_H
#define TG_STAGE_H

#include "codegen.h"

enum { STAGE_AXES = 16 };

struct stage_operand { // of the multiplication
	int value;
	bool copied;   // into scratch, as tiles of `tile` indices, contiguous, for each step
	bool far;      // contiguous along its own axis, a page or more from step to step: copied step by step
	int64_t tile;  // indices of its own axis
	int64_t pitch; // elements from step to step: whole vectors, what is behind a tile's indices is not used
	int64_t tiles; // in a block; one of all its rows where it is not copied
	int scratch;   // buffer
	int64_t stride; // of its tiles
};
struct product { // a nest of PAR loops around one sum of products
	int axis[STAGE_AXES], naxes; // loops, outermost first
	int row, lane;               // the loops that become rows and lanes of tiles
	int red;                     // the sum's loop
	int64_t m, n, k;             // iterations of the three
	int64_t bytes;               // of a factor
	struct stage_operand a, b;   // a varies with row and red, b with lane and red
	int64_t steps;               // of the sum in one go; less than k: results wait in scratch
	int sums;                    // that buffer
};
struct stage {
	const struct target *t;
	bool *dep;         // by instruction, for whoever asks
	int32_t *preset;   // by loop: its index in the new kernel; K_NONE
	bool *padded;      // by instruction: varies with an axis whose last block is not full
	struct product p;  // the one being copied
	int result;        // of its sum; K_NONE: not now
	int guard;         // of what is padded; K_NONE: none
};

// ---- stage_choose.c
// Is this the outermost loop of a product that gains from copies of its operands in scratch? Fills s->p.
bool stage_choose(struct stage *s, const struct kcopy *cp, int loop);

#endif
