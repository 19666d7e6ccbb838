// Pass simplify: rebuilds the kernel, so that everything folds, hoists and shares again.
// Requires nothing. Drops dead instructions, loads and loops without effect; resolves loops of 0 or 1
// iterations. Keeps the level. Values computed do not change by a bit.
#include "codegen.h"

void kpass_simplify(struct kernel *k, const struct target *t)
{
	(void)t;
	for (int round = 0; round < 4; round++) { // what falls away may leave more without use
		int before = k->n;
		kernel_rebuild(k, NULL, NULL);
		if (k->n >= before)
			break;
	}
}
