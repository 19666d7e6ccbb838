// The order of the kernel passes, and running them.
// In:  a kernel at the free level. Out: one at the machine level, ready for an emitter.
// Not here: the passes (pass/*.c).
#include "codegen.h"

#include <stdlib.h>

static const struct kpass cpu[] = {
    {"merge", kpass_merge},       // sees neighbouring reductions as lowering left them
    {"keep", kpass_keep},         // sees the loops of a row side by side
    {"columns", kpass_columns},   // sees the reductions whole
    {"stage", kpass_stage},       // sees the products whole
    {"tile", kpass_tile},         // sees the reductions whole
    {"unroll", kpass_unroll},     // after tile: what is short now stays short
    {"expand", kpass_expand},
    {"simplify", kpass_simplify}, // after expand: shares what the expansions have in common
    {"bind", kpass_bind},         // last: the machine level
    {NULL, NULL},
};

static const struct kpass cuda[] = {
    {"gather", kpass_gather},     // before merge, which looks at one phase at a time
    {"merge", kpass_merge},
    {"threads", kpass_threads},   // where the CPU has tile
    {"unroll", kpass_unroll},
    {"expand", kpass_expand},
    {"simplify", kpass_simplify},
    {"bind", kpass_bind},
    {NULL, NULL},
};

const struct kpass *kernel_passes(const struct target *t)
{
	return t->family == FAMILY_CUDA ? cuda : cpu;
}

enum kernel_level kernel_machine_level(const struct target *t)
{
	return t->family == FAMILY_CUDA ? LEVEL_THREADS : LEVEL_MACHINE;
}

char *kernel_run_passes(struct kernel *k, const struct target *t, bool verify)
{
	struct text what = {0};
	char *error = NULL;
	for (const struct kpass *p = kernel_passes(t); p->name && !error; p++) {
		p->run(k, t);
		bool last = p[1].name == NULL;
		if (k->arena.failed)
			text_add(&what, "out of memory");
		else if (verify && (error = kernel_verify(k, last ? kernel_machine_level(t) : LEVEL_FREE)))
			text_add(&what, "after %s: %s", p->name, error);
		free(error);
		error = what.n ? text_take(&what) : NULL;
	}
	return error;
}
