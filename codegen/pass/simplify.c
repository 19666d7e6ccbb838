// Pass simplify: rebuilds the kernel, so that everything folds, hoists and shares again.
// Requires nothing. Drops dead instructions, loads and loops without effect; resolves loops of 0 or 1
// iterations. Keeps the level. Values computed do not change by a bit.
#include "codegen.h"

#include <stdlib.h>

// A rebuild leaves nothing dead but carries that lost their last reader in it.
static bool any_dead(const struct kernel *k)
{
	bool *live = k->arena.failed ? NULL : kernel_live(k, false), found = false;
	for (int i = 0; live && i < k->nloops && !found; i++)
		for (int c = 0; c < k->loops[i].ncarry; c++)
			found |= live[k->loops[i].inst] && !live[k->loops[i].res[c]];
	free(live);
	return found;
}

void kpass_simplify(struct kernel *k, const struct target *t)
{
	(void)t;
	for (int round = 0; round < 4 && (round == 0 || any_dead(k)); round++)
		kernel_rebuild(k, NULL, NULL);
}
