// Runs a plan group by group through lowering and the scalar evaluator of kernels.
// In: a plan, leaves. Out: outputs and overwritten variables. Not here: passes, machine code.
#include "plan_eval.h"

#include <stdlib.h>

#include "kernel_eval.h"

int lower_segment_buf(const struct plan *p, int group, int plan_buf, int seg);

enum { MAX_ARGS = 512 };

struct machine {
	const struct plan *p;
	void **mem; // by plan buffer
	void *args[MAX_ARGS];
	void **tables[MAX_ARGS];
	int nargs, ntables;
};

static char *say(const char *what, int group, char *detail)
{
	struct text t = {0};

	text_add(&t, "g%d: %s: %s", group, what, detail ? detail : "");
	free(detail);
	return text_take(&t);
}

static void *table(struct machine *m, const struct pstep *step, const struct kernel *k, int buf)
{
	void **t = calloc((size_t)k->nsegs, sizeof *t);

	for (int s = 0; t && s < k->nsegs; s++)
		t[s] = m->mem[plan_step_buf(step, lower_segment_buf(m->p, step->group, k->bufs[buf].node, s))];
	m->tables[m->ntables++] = t;
	return t;
}

static char *run_group(struct machine *m, const struct pstep *step, const struct target *t, void *const *leaf_data)
{
	int group = step->group;
	char *error = NULL;
	struct kernel *k = lower_step(m->p, step, t, &error);

	if (!k)
		return say("lower", group, error);
	error = t->family == FAMILY_CUDA ? kernel_run_passes(k, t, true) : kernel_verify(k, LEVEL_FREE);
	m->nargs = m->ntables = 0;
	for (int i = 0; i < k->nbufs && k->bufs[i].space == SPACE_GLOBAL; i++)
		m->args[m->nargs++] = k->bufs[i].segmented ? table(m, step, k, i)
		                                              : m->mem[plan_step_buf(step, k->bufs[i].node)];
	for (int i = 0; i < k->nscalars; i++)
		m->args[m->nargs++] = leaf_data[k->scalar_leaf[i]];
	if (error)
		error = say("verify", group, error);
	else if ((error = kernel_eval(k, m->args)))
		error = say("eval", group, error);
	for (int i = 0; i < m->ntables; i++)
		free(m->tables[i]);
	kernel_free(k);
	return error;
}

char *plan_eval(const struct plan *p, const struct target *t, void *const *leaf_data, void *const *out_data,
                int32_t *flags)
{
	struct machine m = {.p = p, .mem = calloc((size_t)p->nbufs + 1, sizeof *m.mem)};
	char *arena = malloc((size_t)p->arena_bytes + 64), *error = NULL;

	memset(arena, 0xa5, (size_t)p->arena_bytes);
	for (int i = 0; i < p->nbufs; i++) {
		const struct pbuf *b = &p->bufs[i];

		m.mem[i] = b->cls == BUF_LEAF    ? leaf_data[b->index]
		           : b->cls == BUF_OUT   ? out_data[b->index]
		           : b->cls == BUF_FLAGS ? (void *)flags
		                                 : arena + b->offset_bytes;
	}
	for (int i = 0; i < p->nsteps && !error; i++) {
		const struct pstep *s = &p->steps[i];

		if (s->kind == STEP_KERNEL)
			error = run_group(&m, s, t, leaf_data);
		else
			memcpy(m.mem[s->dst], m.mem[s->src], (size_t)p->bufs[s->dst].bytes);
	}
	free(m.mem);
	free(arena);
	return error;
}
