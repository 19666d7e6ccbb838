// The order of the kernel passes, and running them.
// In:  a kernel at the free level. Out: one at the machine level, ready for an emitter.
// Not here: the passes (pass/*.c).
#include "codegen.h"

#include <stdlib.h>

const struct kpass kernel_passes[] = {
    {"merge", kpass_merge},       // sees neighbouring reductions as lowering left them
    {"tile", kpass_tile},         // sees the reductions whole
    {"unroll", kpass_unroll},     // after tile: what is short now stays short
    {"expand", kpass_expand},
    {"simplify", kpass_simplify}, // after expand: shares what the expansions have in common
    {"bind", kpass_bind},         // last: the machine level
    {NULL, NULL},
};

char *kernel_run_passes(struct kernel *k, const struct target *t, bool verify)
{
	struct text what = {0};
	char *error = NULL;
	for (const struct kpass *p = kernel_passes; p->name && !error; p++) {
		p->run(k, t);
		bool machine = p->run == kpass_bind;
		if (k->arena.failed)
			text_add(&what, "out of memory");
		else if (verify && (error = kernel_verify(k, machine)))
			text_add(&what, "after %s: %s", p->name, error);
		free(error);
		error = what.n ? text_take(&what) : NULL;
	}
	return error;
}
