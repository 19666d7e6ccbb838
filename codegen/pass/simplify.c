// Pass simplify: rebuilds the kernel, so that everything folds, hoists and shares again.
// Requires nothing. Drops dead instructions, loads and loops without effect; resolves loops of 0 or 1
// iterations. Keeps the level. Values computed do not change by a bit.
#include "codegen.h"

void kpass_simplify(struct kernel *k, const struct target *t)
{
	(void)t;
	int before;
	kernel_rebuild(k, NULL, NULL);
	do { // what folded leaves its operands without use
		before = k->n;
		kernel_rebuild(k, NULL, NULL);
	} while (k->n < before && !k->arena.failed);
}
