// Plans that are made and looked at, and never run.
#ifndef TG_PLAN_LOOK_H
#define TG_PLAN_LOOK_H

#include "bench.h"
#include "check.h"
#include "runtime.h"

typedef void plan_look_fn(struct tgc_context *c, const struct linear *l, const struct plan *p);

// From here on what is realized in c is planned for t, and the plan, which is sound, is shown to `look`. One context at
// a time.
void plan_look(tgc_context *c, const struct target *t, plan_look_fn *look);
// One step of a workload of the benchmark, or of a row like one.
void plan_look_workload(const struct bench_workload *w, const struct target *t, plan_look_fn *look);
const struct bench_workload *plan_look_find(const char *name); // the benchmark's; fails the test if there is none

#endif
