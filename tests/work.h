// How much work a kernel is, counted and not timed.
#ifndef TG_WORK_H
#define TG_WORK_H

#include "codegen.h"

enum work_class {
	WORK_VECTORS, // arithmetic on whole vectors: instructions
	WORK_SCALARS, // arithmetic outside of vectors
	WORK_LOADED,  // bytes, of scratch too
	WORK_STORED,
	WORK_APART,   // elements that the lanes of a vector load or store one by one
	WORK_CLASSES
};
extern const char *const work_names[WORK_CLASSES];
struct work {
	double n[WORK_CLASSES];
};

// Adds what a kernel after its last pass does for t, a processor, in one run. Sums of indices are left out: they are
// parts of addresses. A loop whose bounds vary counts with its mean length.
void work_add(struct work *w, const struct kernel *k, const struct target *t);

#endif
