// Runs a plan as its kernels say, one scalar at a time: before any pass, for a GPU after them all.
#ifndef TG_PLAN_EVAL_H
#define TG_PLAN_EVAL_H

#include "runtime.h"

// leaf_data by leaf (scalars too, in their own type), out_data by output, flags: one a site. NULL, or what went
// wrong (malloc'ed).
char *plan_eval(const struct plan *p, const struct target *t, void *const *leaf_data, void *const *out_data,
                int32_t *flags);

#endif
