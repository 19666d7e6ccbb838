// Kernels side by side as one.
// In:  kernels at the free level, of groups that need nothing of each other, and some that need what the others leave.
// Out: one kernel with all their phases: the first ones of all, then the second ones, those of the late kernels last;
// bind finds what needs no barrier.
// Parameters of one plan buffer and scalars of one leaf are one. Not here: segmented kernels.
#include "codegen.h"

#include <stdlib.h>

struct joining {
	struct kernel *to;
	const struct kernel *from;
	int32_t *buf;                          // of from: the number in to
	int32_t scalar[64];                    // the same
	int32_t *table;                        // the same
	int insts, operands, regions, loops;   // in to before from
};

static bool room(struct kernel *k, void *array, int n, int more, int *cap, size_t bytes)
{
	void *old, *fresh;
	memcpy(&old, array, sizeof old);
	if (n + more <= *cap)
		return true;
	*cap = 2 * n + more;
	fresh = arena_grow(&k->arena, old, bytes * (size_t)n, bytes * (size_t)*cap);
	if (fresh)
		memcpy(array, &fresh, sizeof fresh);
	return fresh != NULL;
}

static void join_buffers(struct joining *j, bool scratch)
{
	const struct kernel *from = j->from;
	for (int i = 0; i < from->nbufs; i++) {
		const struct kbuf *b = &from->bufs[i];
		int at = 0;
		if ((b->space != SPACE_GLOBAL) != scratch)
			continue;
		while (at < j->to->nbufs && (scratch || j->to->bufs[at].node != b->node))
			at++;
		if (at == j->to->nbufs) {
			at = kernel_buf(j->to, b->type, b->space, b->elems);
			j->to->bufs[at].node = b->node;
		}
		j->buf[i] = at;
	}
}

static void join_scalars(struct joining *j)
{
	struct kernel *to = j->to;
	for (int i = 0; i < j->from->nscalars; i++) {
		int at = 0;
		while (at < to->nscalars && to->scalar_leaf[at] != j->from->scalar_leaf[i])
			at++;
		if (at == to->nscalars) {
			at = kernel_scalar(to, j->from->scalar_types[i]);
			to->scalar_leaf[at] = j->from->scalar_leaf[i];
		}
		j->scalar[i] = at;
	}
}

static int32_t moved(int32_t v, int by)
{
	return v < 0 ? v : v + by;
}

static int32_t *moved_list(struct kernel *k, const int32_t *list, int n, int by)
{
	int32_t *to = n ? ARENA_ARRAY(&k->arena, int32_t, n) : NULL;
	for (int i = 0; to && i < n; i++)
		to[i] = moved(list[i], by);
	return to;
}

static void join_insts(struct joining *j)
{
	struct kernel *to = j->to;
	for (int i = 0; i < j->from->n; i++) {
		struct kinst *in = &to->insts[j->insts + i];
		*in = j->from->insts[i];
		in->region = moved(in->region, j->regions);
		in->src_at += j->operands;
		if (in->op == K_LOAD || in->op == K_STORE)
			in->aux = j->buf[in->aux];
		else if (in->op == K_SCALAR)
			in->aux = j->scalar[in->aux];
		else if (in->op == K_TABLE)
			in->aux = j->table[in->aux];
		else if (in->op == K_INDEX || in->op == K_ARG || in->op == K_RES || in->op == K_FOR)
			in->aux += j->loops;
	}
	for (int i = 0; i < j->from->noperands; i++) {
		to->operands[j->operands + i] = moved(j->from->operands[i], j->insts);
		to->coefs[j->operands + i] = j->from->coefs[i];
	}
}

static void join_loops(struct joining *j)
{
	struct kernel *to = j->to;
	for (int i = 0; i < j->from->nregions; i++) {
		struct kregion *r = &to->regions[j->regions + i];
		*r = j->from->regions[i];
		r->parent = moved(r->parent, j->regions);
		r->loop = moved(r->loop, j->loops);
		r->insts = moved_list(to, r->insts, r->n, j->insts);
		r->cap = r->n;
	}
	for (int i = 0; i < j->from->nloops; i++) {
		struct kloop *l = &to->loops[j->loops + i];
		*l = j->from->loops[i];
		l->inst = moved(l->inst, j->insts);
		l->body += j->regions;
		l->index += j->insts;
		l->lo += j->insts;
		l->hi += j->insts;
		l->init = moved_list(to, l->init, l->ncarry, j->insts);
		l->arg = moved_list(to, l->arg, l->ncarry, j->insts);
		l->next = moved_list(to, l->next, l->ncarry, j->insts);
		l->res = moved_list(to, l->res, l->ncarry, j->insts);
		l->combine = arena_dup(&to->arena, l->combine, (size_t)l->ncarry);
	}
}

// Everything but the phases.
static void append(struct joining *j)
{
	struct kernel *to = j->to;
	const struct kernel *from = j->from;
	int coefs_cap = to->operands_cap;
	j->insts = to->n;
	j->operands = to->noperands;
	j->regions = to->nregions;
	j->loops = to->nloops;
	for (int i = 0; i < from->ntables; i++)
		j->table[i] = kernel_table(to, from->tables[i].values, from->tables[i].n);
	if (!room(to, &to->insts, to->n, from->n, &to->cap, sizeof *to->insts) ||
	    !room(to, &to->coefs, to->noperands, from->noperands, &coefs_cap, sizeof *to->coefs) ||
	    !room(to, &to->operands, to->noperands, from->noperands, &to->operands_cap, sizeof *to->operands) ||
	    !room(to, &to->regions, to->nregions, from->nregions, &to->regions_cap, sizeof *to->regions) ||
	    !room(to, &to->loops, to->nloops, from->nloops, &to->loops_cap, sizeof *to->loops))
		return;
	join_insts(j);
	join_loops(j);
	to->n += from->n;
	to->noperands += from->noperands;
	to->nregions += from->nregions;
	to->nloops += from->nloops;
	to->flops += from->flops;
	to->work += from->work;
}

// Phase `phase` of a part. Parts need nothing of each other, so only the phases of its own part may hold it up.
static void add_phase(struct kernel *k, const struct kernel *part, bool first, int phase, int region)
{
	assert(k->nphases < TG_COUNT(k->phases)); // the scheduler counted
	k->beside[k->nphases] = phase == 0 ? !first : part->beside[phase];
	k->phases[k->nphases++] = region;
}

static void add_phases(struct kernel *k, const struct joining *j, int n, const bool *late, bool which)
{
	for (int p = 0; p < TG_COUNT(k->phases); p++) {
		bool first = true;
		for (int i = 0; i < n; i++) {
			if (p >= j[i].from->nphases || late[i] != which)
				continue;
			add_phase(k, j[i].from, first, p, j[i].from->phases[p] + j[i].regions);
			first = false;
		}
	}
}

struct kernel *kernel_join(struct kernel *const *parts, const bool *late, int n)
{
	struct kernel *k = kernel_new();
	struct joining *j = calloc((size_t)n, sizeof *j);
	bool failed = !k || !j;
	for (int i = 0; i < n && !failed; i++) {
		j[i] = (struct joining){.to = k, .from = parts[i]};
		j[i].buf = ARENA_ARRAY(&k->arena, int32_t, parts[i]->nbufs + 1);
		j[i].table = ARENA_ARRAY(&k->arena, int32_t, parts[i]->ntables + 1);
		failed = k->arena.failed;
		if (!failed)
			join_buffers(&j[i], false);
	}
	for (int i = 0; i < n && !failed; i++) {
		join_buffers(&j[i], true);
		join_scalars(&j[i]);
		append(&j[i]);
		failed = k->arena.failed;
	}
	if (!failed) {
		add_phases(k, j, n, late, false);
		add_phases(k, j, n, late, true);
	}
	free(j);
	if (!failed) {
		kernel_finish(k);
		return k;
	}
	kernel_free(k);
	return NULL;
}
