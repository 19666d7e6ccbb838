// Parts of sums are finished in the step that leaves them, behind a barrier.
// In:  a plan with its steps in order, those side by side joined. Out: a step that does nothing but add up the parts that
// the one before it left (group_partial.c) is no step of its own: a barrier is less than a launch. Where such a sum is
// finished beside something else it stays there, and costs neither.
// Not here: the order of phases in the kernel (codegen/kjoin.c).
#include "plan.h"

enum { MOST_GROUPS = 12, MOST_PHASES = 16 };

bool plan_is_late(const struct plan *p, const struct pstep *s, int group)
{
	const struct group *f = &p->groups[group];

	for (int k = s->group; k < s->group + s->ngroups && f->half == HALF_FINISH && f->rows; k++)
		for (int i = 0; i < p->groups[k].nroots; i++)
			if (p->groups[k].root_bufs[i] == f->scratch_buf)
				return true;
	return false;
}

static int phases(const struct plan *p, const struct pstep *s)
{
	int n = 0;

	for (int k = s->group; k < s->group + s->ngroups; k++)
		n += group_phases(&p->groups[k]);
	return n;
}

// All that the step does is to finish what the one before it leaves: a barrier is less than a launch.
static bool joins(const struct plan *p, const struct pstep *s, const struct pstep *next)
{
	struct pstep both = *s;

	if (s->kind != STEP_KERNEL || next->kind != STEP_KERNEL || s->ngroups + next->ngroups > MOST_GROUPS ||
	    phases(p, s) + phases(p, next) > MOST_PHASES)
		return false;
	both.ngroups += next->ngroups;
	for (int k = next->group; k < next->group + next->ngroups; k++)
		if (!plan_is_late(p, &both, k))
			return false;
	return true;
}

void plan_finish_parts(struct plan *p)
{
	int n = 0;

	for (int i = 0; i < p->nsteps; i++) {
		if (n && joins(p, &p->steps[n - 1], &p->steps[i]))
			p->steps[n - 1].ngroups += p->steps[i].ngroups;
		else
			p->steps[n++] = p->steps[i];
	}
	p->nsteps = n;
}
