// Steps side by side: kernels that need nothing of each other become one, a barrier and a launch less.
// In:  a plan with its steps in order, memory not placed yet. Out: fewer steps; a step may run several groups,
// which stand one behind the other. A step moves up to an earlier one over steps that it does not touch: neither
// reads or writes what the other writes, and nothing is stored to a variable before what may raise an error.
// It pays where one of the two is short, or where they read the same memory; two long kernels would only get in
// each other's way. What draws random numbers is a long text: alone, it compiles once for all draws of its size.
// On a GPU maps, sums in chunks and what finishes those join: what others share of a block's memory would add up.
// Not here: groups with one body (group_merge.c), how blocks are shared (codegen/pass/bind.c).
#include "plan.h"

#include <stdlib.h>

enum { WINDOW = 16, MOST_GROUPS = 8, MOST_PHASES = 16, MOST_SCALARS = 64, HINDER = 100 };

struct item { // a step
	struct source *reads; // malloc'ed
	int nreads;
	int phases;           // at most
	double ns;
	bool fits, raises, stores;
	int next;             // runs side by side with it, -1
	int last, count;      // of those that begin with it; 0: it is no beginning
};
struct siding {
	struct plan *p;
	const struct target *t;
	struct item *items; // by step
	int32_t *memory;    // by buffer: the first one of the same memory
	int32_t *read, *written; // by buffer: step + 1 that reads, writes it
	int32_t *order, norder;  // of beginnings
};

// ---- facts --------------------------------------------------------------------------------------------------
static bool share_memory(struct siding *s, struct arena *scratch)
{
	const struct plan *p = s->p;
	int32_t *leaf = ARENA_ARRAY(scratch, int32_t, p->prog.nleaves + 1); // its first buffer + 1

	for (int i = 0; leaf && i < p->nbufs; i++) {
		int at = p->bufs[i].index;

		s->memory[i] = i;
		if (p->bufs[i].cls != BUF_LEAF)
			continue;
		leaf[at] = leaf[at] ? leaf[at] : i + 1;
		s->memory[i] = leaf[at] - 1;
	}
	return leaf != NULL;
}

static bool joins(const struct target *t, const struct group *g)
{
	if (t->family == FAMILY_CUDA)
		return g->kind == GROUP_MAP || (g->kind == GROUP_REDUCE && g->split > 1) || g->half == HALF_FINISH;
	return g->kind == GROUP_MAP || g->kind == GROUP_REDUCE || g->kind == GROUP_CONTRACT;
}

static bool learn(struct siding *s, const bool *raises)
{
	struct plan *p = s->p;

	for (int i = 0; i < p->nsteps; i++) {
		struct item *x = &s->items[i];
		const struct group *g;
		struct group_size size;
		double bytes = 0;

		*x = (struct item){.next = -1, .last = i, .count = 1};
		if (p->steps[i].kind != STEP_KERNEL)
			continue;
		g = &p->groups[p->steps[i].group];
		x->nreads = group_walk(p, p->steps[i].group, &x->reads, &size);
		if (x->nreads < 0)
			return false;
		for (int k = 0; k < x->nreads; k++)
			bytes += (double)p->bufs[p->node_buf[x->reads[k].node]].bytes;
		for (int k = 0; k < g->nroots; k++) {
			bytes += (double)p->bufs[g->root_bufs[k]].bytes;
			x->stores |= p->bufs[g->root_bufs[k]].cls == BUF_LEAF;
		}
		x->ns = group_ns(p, s->t, g, bytes, &size);
		x->phases = group_phases(g);
		x->raises = raises[p->steps[i].group];
		x->fits = joins(s->t, g) && !x->raises && !size.flags && !size.draws;
	}
	return true;
}

// ---- what touches what --------------------------------------------------------------------------------------
static void mark(const struct siding *s, int step)
{
	const struct item *x = &s->items[step];
	const struct group *g = &s->p->groups[s->p->steps[step].group];

	for (int k = 0; k < x->nreads; k++)
		s->read[s->memory[s->p->node_buf[x->reads[k].node]]] = step + 1;
	for (int k = 0; k < g->nroots; k++)
		s->written[s->memory[g->root_bufs[k]]] = step + 1;
	if (g->half == HALF_FINISH)
		s->read[s->memory[g->scratch_buf]] = step + 1;
}

static bool touched(const struct siding *s, int step, int buf, bool write)
{
	int at = s->memory[buf];

	return s->written[at] == step + 1 || (write && s->read[at] == step + 1);
}

// The marked step may not run before `other` has. What both read is counted in *shared.
static bool follows(const struct siding *s, int step, int other, double *shared)
{
	const struct plan *p = s->p;
	const struct pstep *o = &p->steps[other];
	const struct item *x = &s->items[other];

	if (o->kind == STEP_COPY)
		return touched(s, step, o->src, false) || touched(s, step, o->dst, true);
	if (x->raises && s->items[step].stores)
		return true;
	for (int k = 0; k < x->nreads; k++) {
		int buf = p->node_buf[x->reads[k].node];

		if (touched(s, step, buf, false))
			return true;
		*shared += s->read[s->memory[buf]] == step + 1 ? (double)p->bufs[buf].bytes : 0;
	}
	for (int k = 0; k < p->groups[o->group].nroots; k++)
		if (touched(s, step, p->groups[o->group].root_bufs[k], true))
			return true;
	return false;
}

// ---- joining ------------------------------------------------------------------------------------------------
static bool pays(const struct siding *s, int step, int first, double shared)
{
	double longest = 0, mine = s->items[step].ns;
	int phases = s->items[step].phases;

	for (int m = first; m >= 0; m = s->items[m].next) {
		longest = s->items[m].ns > longest ? s->items[m].ns : longest;
		phases += s->items[m].phases;
		if (!s->items[m].fits)
			return false;
	}
	return phases <= MOST_PHASES && s->items[first].count < MOST_GROUPS &&
	       s->t->launch_ns + shared / s->t->bandwidth > (mine < longest ? mine : longest) / HINDER;
}

// The nearest earlier beginning that the step can run beside; on a GPU the farthest: what is short and has little to
// wait for gathers where the first of its kind stands. -1.
static int place(const struct siding *s, int step)
{
	int found = -1;

	for (int k = s->norder - 1; k >= 0 && k >= s->norder - WINDOW; k--) {
		double shared = 0;

		for (int m = s->order[k]; m >= 0; m = s->items[m].next)
			if (follows(s, step, m, &shared))
				return found;
		if (pays(s, step, s->order[k], shared))
			found = s->order[k];
		if (found >= 0 && s->t->family == FAMILY_CPU)
			return found;
	}
	return found;
}

static bool same_size(const struct plan *p, int step, int other)
{
	const struct group *a = &p->groups[p->steps[step].group], *b = &p->groups[p->steps[other].group];

	return a->kind == b->kind && a->split == b->split && a->nroots == b->nroots &&
	       same_space(&p->prog, a->main, b->main);
}

// Those of one size stand together: then kernels of several are equal, and compile once.
static void by_size(const struct plan *p, int32_t *steps, int n)
{
	for (int i = 1; i < n; i++) {
		int step = steps[i], at = i;

		while (at > 0 && !same_size(p, steps[at - 1], step))
			at--;
		for (int k = i; at > 0 && k > at; k--)
			steps[k] = steps[k - 1];
		steps[at > 0 ? at : i] = step;
	}
}

// What finishes sums that no later step reads goes to the end, to the others of its kind.
static bool sink(struct siding *s, struct arena *scratch)
{
	struct plan *p = s->p;
	int32_t *last = ARENA_ARRAY(scratch, int32_t, p->nsteps + 1);
	struct pstep *steps = ARENA_ARRAY(&p->arena, struct pstep, p->nsteps + 1);
	struct item *items = ARENA_ARRAY(scratch, struct item, p->nsteps + 1);
	int n = 0, nlast = 0;

	if (scratch->failed || p->arena.failed)
		return false;
	for (int i = 0; i < p->nsteps; i++) {
		bool sinks = p->steps[i].kind == STEP_KERNEL && s->items[i].fits &&
		             p->groups[p->steps[i].group].half == HALF_FINISH;
		double shared = 0;

		if (sinks)
			mark(s, i);
		for (int k = i + 1; k < p->nsteps && sinks; k++)
			sinks = !follows(s, i, k, &shared);
		if (sinks) {
			last[nlast++] = i;
			continue;
		}
		items[n] = s->items[i];
		steps[n++] = p->steps[i];
	}
	by_size(p, last, nlast);
	for (int i = 0; i < nlast; i++) {
		items[n] = s->items[last[i]];
		steps[n++] = p->steps[last[i]];
	}
	for (int i = 0; i < n; i++)
		items[i].last = i;
	memset(s->read, 0, sizeof *s->read * (size_t)p->nbufs);
	memset(s->written, 0, sizeof *s->written * (size_t)p->nbufs);
	p->steps = steps;
	s->items = items;
	return true;
}

static void join_all(struct siding *s)
{
	for (int i = 0; i < s->p->nsteps; i++) {
		struct item *x = &s->items[i];
		int to = -1;

		if (x->fits) {
			mark(s, i);
			to = place(s, i);
		}
		if (to < 0) {
			s->order[s->norder++] = i;
			continue;
		}
		s->items[s->items[to].last].next = i;
		s->items[to].last = i;
		s->items[to].count++;
	}
}

// Steps and groups in the new order.
static bool rebuild(struct siding *s)
{
	struct plan *p = s->p;
	struct pstep *steps = ARENA_ARRAY(&p->arena, struct pstep, s->norder + 1);
	struct group *groups = ARENA_ARRAY(&p->arena, struct group, p->ngroups + 1);
	int n = 0;

	if (p->arena.failed)
		return false;
	for (int i = 0; i < s->norder; i++) {
		steps[i] = p->steps[s->order[i]];
		if (steps[i].kind != STEP_KERNEL)
			continue;
		steps[i].group = n;
		steps[i].ngroups = s->items[s->order[i]].count;
		for (int m = s->order[i]; m >= 0; m = s->items[m].next)
			groups[n++] = p->groups[p->steps[m].group];
	}
	p->steps = steps;
	p->nsteps = s->norder;
	p->groups = groups;
	p->ngroups = n;
	return true;
}

bool plan_beside(struct plan *p, const struct target *t, struct arena *scratch)
{
	struct siding s = {.p = p, .t = t};
	bool *raises = group_raises(p, scratch, true), ok;
	int scalars = 0, n = p->nsteps;

	for (int i = 0; i < p->prog.nleaves; i++)
		scalars += p->prog.leaves[i].cls == LEAF_SCALAR;
	s.items = ARENA_ARRAY(scratch, struct item, p->nsteps + 1);
	s.memory = ARENA_ARRAY(scratch, int32_t, p->nbufs + 1);
	s.read = ARENA_ARRAY(scratch, int32_t, p->nbufs + 1);
	s.written = ARENA_ARRAY(scratch, int32_t, p->nbufs + 1);
	s.order = ARENA_ARRAY(scratch, int32_t, p->nsteps + 1);
	if (scratch->failed || !raises)
		return false;
	if (scalars > MOST_SCALARS)
		return true;
	ok = share_memory(&s, scratch) && learn(&s, raises) && (t->family == FAMILY_CPU || sink(&s, scratch));
	if (ok) {
		join_all(&s);
		ok = rebuild(&s);
	}
	for (int i = 0; i < n; i++)
		free(s.items[i].reads);
	return ok;
}
