// What a kernel finishes for itself: sums whose partial results an earlier step left (group.pre).
// In:  a group that reads roots of groups which finish such sums beside it. Out: at the head of a phase, before
// its blocks, nests that compute those of them that the phase reads, into scratch of the thread: in the same
// order as beside it, so with the same bits. Not here: which groups those are (lib/group_halve.c).
#include "lower.h"

#include <stdlib.h>

// Parameters come before scratch.
void lower_parameters(struct lower *lo)
{
	const struct plan *p = lo->plan;
	int group = (int)(lo->group - p->groups), n = group_inputs(p, group, NULL, 0);
	int32_t *bufs = n < 0 ? NULL : ARENA_ARRAY(&lo->arena, int32_t, n + 1);
	if (!bufs || group_inputs(p, group, bufs, n) != n) {
		lo->k->arena.failed = true;
		return;
	}
	for (int i = 0; i < n; i++) {
		bool finished = false;
		for (int j = 0; j < lo->npre; j++)
			for (int r = 0; r < lo->pre[j].g->nroots; r++)
				finished |= lo->pre[j].g->root_bufs[r] == bufs[i];
		if (!finished)
			lower_buf(lo, bufs[i]);
	}
	for (int i = 0; i < lo->group->nroots; i++)
		if (p->bufs[lo->group->root_bufs[i]].cls != BUF_SCRATCH)
			lower_buf(lo, lo->group->root_bufs[i]);
}

static bool learn(struct lower *lo, struct lower_pre *x, const struct source *reads, int nreads)
{
	struct source *from;
	x->used = ARENA_ARRAY(&lo->arena, bool, x->g->nroots);
	x->wanted = ARENA_ARRAY(&lo->arena, bool, x->g->nroots);
	if (!x->used || !x->wanted)
		return false;
	int n = group_finish(lo->plan, x->g, reads, nreads, x->used, &from);
	for (int i = 0; i < n; i++)
		lower_buf(lo, lo->plan->node_buf[from[i].node]);
	lower_buf(lo, x->g->scratch_buf);
	free(from);
	return n >= 0;
}

bool lower_pre_begin(struct lower *lo)
{
	const struct group *g = lo->group;
	struct source *reads;
	if (g->npre == 0)
		return true;
	lo->pre = ARENA_ARRAY(&lo->arena, struct lower_pre, g->npre);
	int n = group_sources(lo->plan, (int)(g - lo->plan->groups), &reads);
	bool ok = lo->pre && n >= 0;
	for (int i = 0; i < g->npre && ok; i++) {
		lo->pre[i].g = &lo->plan->groups[g->pre[i]];
		ok = learn(lo, &lo->pre[i], reads, n);
	}
	free(reads);
	lo->npre = ok ? g->npre : 0;
	if (ok)
		lower_parameters(lo);
	if (ok && g->scratch_buf >= 0)
		lower_buf(lo, g->scratch_buf);
	return ok;
}

void lower_pre_note(struct lower *lo, const struct lower *dry)
{
	for (int i = 0; i < lo->npre; i++) {
		struct lower_pre *x = &lo->pre[i];
		for (int r = 0; r < x->g->nroots; r++)
			x->wanted[r] = x->used[r] && dry->buf_of[x->g->root_bufs[r]] >= 0;
	}
}

static void own(struct lower *lo, const struct group *g, bool is)
{
	for (int i = 0; i < g->nroots; i++)
		lo->own[g->roots[i]] = is;
}

// As if it were the group's own kernel, but into scratch, and no phase.
static void finish(struct lower *lo, struct lower_pre *x)
{
	const struct group *g = lo->group;
	const struct plan *p = lo->plan;
	int64_t chunk_len = lo->chunk_len, chunks = lo->chunks;
	int npre = lo->npre;
	bool combine = lo->combine, *done = ARENA_ARRAY(&lo->arena, bool, x->g->nroots);
	if (!done)
		return;
	lo->npre = 0;
	lo->group = x->g;
	own(lo, x->g, true);
	lower_chunks(lo);
	for (int i = 0; i < x->g->nroots; i++) {
		int32_t buf = x->g->root_bufs[i];
		done[i] = !x->wanted[i];
		if (x->wanted[i]) // another one in each phase: they may run at once
			lo->buf_of[buf] = kernel_buf(lo->k, (tgc_type)p->bufs[buf].type, SPACE_LOCAL,
			                             prog_elems(&p->prog, x->g->roots[i]));
	}
	lo->inside = true;
	lower_left(lo, done);
	lo->inside = false;
	own(lo, x->g, false);
	lo->group = g;
	lo->npre = npre;
	lo->combine = combine;
	lo->chunk_len = chunk_len;
	lo->chunks = chunks;
}

void lower_pre(struct lower *lo)
{
	for (int i = 0; i < lo->npre && !lo->error; i++) {
		bool any = false;
		for (int r = 0; r < lo->pre[i].g->nroots; r++)
			any |= lo->pre[i].wanted[r];
		if (any)
			finish(lo, &lo->pre[i]);
	}
}
