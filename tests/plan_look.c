// In:  graphs as they are realized. Out: their plans for a target record, as the runtime would have them made.
// Not here: what is asked of a plan (test_counts.c, test_cubin.c, test_cuda_emit.c, test_emu_product.c, test_work.c).
#include "plan_look.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_OUTS = 2048 };

static const struct target *target;
static plan_look_fn *shown_to;

// Stands in for the runtime.
static tgc_status realize(struct tgc_context *c, int n, tgc_tensor *const *tensors)
{
	struct node *outs[MAX_OUTS];
	struct variable *assign[MAX_OUTS] = {0};
	struct arena a;
	struct linear l;

	arena_init(&a, NULL);
	n = check_outputs(c, n, tensors, MAX_OUTS, outs, assign);
	assert_true(linear_build(c, &l, &a, n, outs, assign, 0, NULL));
	struct plan *p = schedule_build(c, &l, target);
	assert_non_null(p);
	char *wrong = plan_verify(p);
	if (wrong)
		fail_msg("%s", wrong);
	shown_to(c, &l, p);
	plan_free(p);
	arena_free(&a);
	return TGC_OK;
}

void plan_look(tgc_context *c, const struct target *t, plan_look_fn *look)
{
	target = t;
	shown_to = look;
	c->backend.realize = realize;
}

void plan_look_workload(const struct bench_workload *w, const struct target *t, plan_look_fn *look)
{
	tgc_tensor *out[BENCH_OUT];
	struct bench_run r;
	int n;

	assert_true(bench_open(&r, w, 1));
	plan_look(r.c, t, look);
	tgc_scope_begin(r.c);
	assert_int_equal(bench_step(&r, out, &n), TGC_OK);
	assert_string_equal(tgc_error_message(r.c), "");
	tgc_scope_end(r.c);
	bench_close(&r);
}

const struct bench_workload *plan_look_find(const char *name)
{
	for (int i = 0; i < bench_workloads_count; i++)
		if (!strcmp(bench_workloads[i].name, name))
			return &bench_workloads[i];
	fail_msg("there is no workload %s", name);
	return NULL;
}
