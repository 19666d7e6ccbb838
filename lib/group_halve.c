// A split reduction's second phase in the next step: a barrier less.
// In:  a plan with its steps in order, memory not placed yet. Out: on a CPU as many steps; where a step's split groups
// can all be finished by the next one, they only store their partial results, and groups that finish them stand
// in the next step. What of that step reads their roots need not wait: each thread finishes those it needs for
// itself, into its scratch, in the same order (group.pre). So the sums of a batch norm are finished where they
// are used first, and a bias's update runs beside the next kernel. On a GPU, where every block would finish them
// again, both halves are steps of their own instead, which may find others to run beside, each for itself
// (plan_part). Not here: how that is computed (codegen/lower_pre.c), steps side by side (group_side.c).
#include "plan.h"

#include <stdlib.h>

enum { MOST_GROUPS = 12, MOST_PHASES = 16, MOST_SCALARS = 64, MOST_PRE = 4, MOST_ROOTS = 16, LONG = 1000 };

struct facts { // of a group
	struct source *reads; // malloc'ed
	int nreads;
	bool fits;
	double ns;
};
struct halving {
	struct plan *p;
	const struct target *t;
	struct facts *facts;  // by group, as they stood
	struct group *groups; // as they will stand
	int ngroups;
	int32_t *carried, ncarried; // groups whose finish comes in the step that is looked at
};

static bool learn(struct halving *h, const bool *raises)
{
	const struct plan *p = h->p;

	for (int i = 0; i < p->ngroups; i++) {
		const struct group *g = &p->groups[i];
		struct facts *f = &h->facts[i];
		struct group_size size;
		double bytes = 0;

		f->nreads = group_walk(p, i, &f->reads, &size);
		if (f->nreads < 0)
			return false;
		for (int k = 0; k < f->nreads; k++)
			bytes += (double)p->bufs[p->node_buf[f->reads[k].node]].bytes;
		for (int k = 0; k < g->nroots; k++)
			bytes += (double)p->bufs[g->root_bufs[k]].bytes;
		f->ns = group_ns(p, h->t, g, bytes, &size);
		f->fits = (g->kind == GROUP_MAP || g->kind == GROUP_REDUCE || g->kind == GROUP_CONTRACT) &&
		          !raises[i] && !size.flags && g->nroots <= MOST_ROOTS;
	}
	return true;
}

// ---- what touches what --------------------------------------------------------------------------------------
static bool one_memory(const struct plan *p, int a, int b)
{
	const struct pbuf *x = &p->bufs[a], *y = &p->bufs[b];

	return a == b || (x->cls == BUF_LEAF && y->cls == BUF_LEAF && x->index == y->index);
}

static bool writes(const struct plan *p, int group, int buf)
{
	const struct group *g = &p->groups[group];

	for (int i = 0; i < g->nroots; i++)
		if (one_memory(p, g->root_bufs[i], buf))
			return true;
	return false;
}

static bool is_root(const struct group *g, int node)
{
	for (int i = 0; i < g->nroots; i++)
		if (g->roots[i] == node)
			return true;
	return false;
}

enum touch { APART, READS, CLASH };

// What group b of the next step does to what split group a stores when it is finished beside it.
static enum touch touches(const struct halving *h, int a, int b)
{
	const struct plan *p = h->p;
	const struct facts *fa = &h->facts[a], *fb = &h->facts[b];
	enum touch how = APART;

	for (int i = 0; i < p->groups[a].nroots; i++)
		if (writes(p, b, p->groups[a].root_bufs[i]))
			return CLASH;
	for (int i = 0; i < fa->nreads; i++)
		if (writes(p, b, p->node_buf[fa->reads[i].node]))
			return CLASH;
	for (int i = 0; i < fb->nreads; i++) {
		int node = fb->reads[i].node;

		if (is_root(&p->groups[a], node))
			how = READS;
		else if (writes(p, a, p->node_buf[node]))
			return CLASH;
	}
	return how;
}

// ---- may a step be finished by the next one? ------------------------------------------------------------------
static bool is_split(const struct group *g)
{
	return g->split > 1 && g->half == HALF_NONE;
}

// Its partial results are computed from none of its roots.
static bool comes_apart(const struct plan *p, int a)
{
	struct group g = p->groups[a];
	struct source *s, main = {.node = g.main};
	bool used, ok;
	int n;

	g.roots = &g.main;
	g.nroots = 1;
	n = group_finish(p, &g, &main, 1, &used, &s);
	ok = n >= 0;
	for (int i = 0; i < n; i++)
		ok &= !is_root(&p->groups[a], s[i].node);
	free(s);
	return ok;
}

static bool overwritten(const struct halving *h, int buf, const struct pstep *next)
{
	for (int k = 0; k < h->ncarried; k++)
		if (writes(h->p, h->carried[k], buf))
			return true;
	for (int b = next->group; b < next->group + next->ngroups; b++)
		if (writes(h->p, b, buf))
			return true;
	return false;
}

// Group b can compute the roots that it reads for itself: from what nobody overwrites meanwhile.
static bool stands_still(const struct halving *h, int a, int b, const struct pstep *next)
{
	const struct plan *p = h->p;
	struct group g = p->groups[a];
	struct source *s;
	bool used[MOST_ROOTS], ok;
	int n;

	g.half = HALF_FINISH;
	n = group_finish(p, &g, h->facts[b].reads, h->facts[b].nreads, used, &s);
	ok = n >= 0; // without memory it stays as it is
	for (int i = 0; i < n && ok; i++)
		ok = !overwritten(h, p->node_buf[s[i].node], next);
	free(s);
	return ok;
}

// The groups of `next` that read split group a's roots are counted in readers[]; *ns: what they finish for
// themselves.
static bool movable(const struct halving *h, int a, const struct pstep *next, int *readers, double *ns)
{
	const struct plan *p = h->p;

	if (!h->facts[a].fits || !comes_apart(p, a))
		return false;
	for (int b = next->group; b < next->group + next->ngroups; b++) {
		enum touch how = touches(h, a, b);

		if (how == CLASH || !h->facts[b].fits)
			return false;
		if (how == APART)
			continue;
		if (p->groups[b].rows && !p->groups[b].half) // its blocks would finish them
			return false;
		if (++readers[b - next->group] > MOST_PRE || !stands_still(h, a, b, next))
			return false;
		*ns += (double)p->bufs[p->groups[a].scratch_buf].bytes / h->t->bandwidth;
	}
	return true;
}

// A kernel that takes so long that a barrier is nothing is better left as it is: equal ones compile once.
static bool long_one(const struct halving *h, const struct pstep *next)
{
	double longest = 0;

	for (int b = next->group; b < next->group + next->ngroups; b++)
		longest = h->facts[b].ns > longest ? h->facts[b].ns : longest;
	return longest > LONG * h->t->launch_ns;
}

// It pays where finishing for oneself takes no longer than a barrier. carried: the groups to be finished.
static bool moves(struct halving *h, const struct pstep *s, const struct pstep *next)
{
	const struct plan *p = h->p;
	int readers[MOST_GROUPS] = {0}, n = 0;
	double ns = 0;

	h->ncarried = 0;
	if (s->kind != STEP_KERNEL || next->kind != STEP_KERNEL || next->ngroups > MOST_GROUPS)
		return false;
	for (int b = next->group; b < next->group + next->ngroups; b++)
		n += group_phases(&p->groups[b]);
	for (int a = s->group; a < s->group + s->ngroups; a++) {
		if (!is_split(&p->groups[a]))
			continue;
		n += p->groups[a].nroots;
		h->carried[h->ncarried++] = a;
	}
	for (int i = 0; i < h->ncarried; i++)
		if (!movable(h, h->carried[i], next, readers, &ns))
			return false;
	return h->ncarried > 0 && n <= MOST_PHASES && next->ngroups + h->ncarried <= MOST_GROUPS &&
	       ns <= h->t->launch_ns && (ns > 0 || !long_one(h, next));
}

// ---- the new groups -----------------------------------------------------------------------------------------
static bool only_chunks(struct plan *p, struct group *g)
{
	g->roots = arena_dup(&p->arena, &g->main, sizeof g->main);
	g->root_bufs = arena_dup(&p->arena, &g->scratch_buf, sizeof g->scratch_buf);
	g->nroots = 1;
	g->half = HALF_CHUNKS;
	return g->roots && g->root_bufs;
}

static struct pstep step_of(int group)
{
	return (struct pstep){.kind = STEP_KERNEL, .group = group, .ngroups = 1, .kernel = -1};
}

bool plan_part(struct plan *p, const struct target *t)
{
	struct group *groups = ARENA_ARRAY(&p->arena, struct group, 2 * p->ngroups + 1);
	struct pstep *steps = ARENA_ARRAY(&p->arena, struct pstep, p->nsteps + p->ngroups + 1);
	int ngroups = 0, nsteps = 0;

	if (p->arena.failed)
		return false;
	if (t->family != FAMILY_CUDA)
		return true;
	for (int i = 0; i < p->nsteps; i++) {
		const struct pstep *s = &p->steps[i];
		bool parts;

		steps[nsteps] = *s;
		steps[nsteps++].group = ngroups;
		if (s->kind != STEP_KERNEL)
			continue;
		assert(s->ngroups == 1);
		parts = is_split(&p->groups[s->group]) && comes_apart(p, s->group);
		groups[ngroups++] = p->groups[s->group];
		if (!parts)
			continue;
		steps[nsteps] = step_of(ngroups);
		nsteps++;
		groups[ngroups] = p->groups[s->group];
		groups[ngroups].half = HALF_FINISH;
		if (!only_chunks(p, &groups[ngroups++ - 1]))
			return false;
	}
	p->groups = groups;
	p->ngroups = ngroups;
	p->steps = steps;
	p->nsteps = nsteps;
	return true;
}

// Groups of a step, and behind them those that finish what the step before it left (first, n).
static bool emit(struct halving *h, struct pstep *s, const int32_t *from, int n, bool halve)
{
	struct plan *p = h->p;
	int first = h->ngroups, finish = first + s->ngroups;

	for (int b = s->group; b < s->group + s->ngroups; b++) {
		struct group *g = &h->groups[h->ngroups++];

		*g = p->groups[b];
		if (n && !(g->pre = ARENA_ARRAY(&p->arena, int32_t, n)))
			return false;
		for (int i = 0; i < n; i++)
			if (touches(h, from[i], b) == READS)
				g->pre[g->npre++] = finish + i;
		if (halve && is_split(g) && !only_chunks(p, g))
			return false;
	}
	for (int i = 0; i < n; i++) {
		h->groups[h->ngroups] = p->groups[from[i]];
		h->groups[h->ngroups++].half = HALF_FINISH;
	}
	s->group = first;
	s->ngroups += n;
	return true;
}

static bool rebuild(struct halving *h, int32_t *from)
{
	struct plan *p = h->p;
	int n = 0;

	for (int i = 0; i < p->nsteps; i++) {
		bool halve = i + 1 < p->nsteps && moves(h, &p->steps[i], &p->steps[i + 1]);

		if (p->steps[i].kind == STEP_KERNEL && !emit(h, &p->steps[i], from, n, halve))
			return false;
		n = halve ? h->ncarried : 0;
		for (int k = 0; k < n; k++)
			from[k] = h->carried[k];
	}
	p->groups = h->groups;
	p->ngroups = h->ngroups;
	return true;
}

bool plan_halve(struct plan *p, const struct target *t, struct arena *scratch)
{
	struct halving h = {.p = p, .t = t};
	bool *raises = group_raises(p, scratch, true), ok;
	int32_t *from = ARENA_ARRAY(scratch, int32_t, p->ngroups + 1);
	int scalars = 0, n = p->ngroups;

	for (int i = 0; i < p->prog.nleaves; i++)
		scalars += p->prog.leaves[i].cls == LEAF_SCALAR;
	h.facts = ARENA_ARRAY(scratch, struct facts, n + 1);
	h.carried = ARENA_ARRAY(scratch, int32_t, n + 1);
	h.groups = ARENA_ARRAY(&p->arena, struct group, 2 * n + 1);
	if (scratch->failed || p->arena.failed || !raises)
		return false;
	if (scalars > MOST_SCALARS || t->family != FAMILY_CPU)
		return true;
	ok = learn(&h, raises) && rebuild(&h, from);
	for (int i = 0; i < n; i++)
		free(h.facts[i].reads);
	return ok;
}
