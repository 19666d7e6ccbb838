// Pass merge: neighbouring loops over one range become one loop, so that what both read is read once.
// RED: independent, and both load from a common buffer; the merged loop carries the union (max and sum of a row
// in one pass). PAR: neither touches what the other stores. On a GPU a store of what a member has come to may stand
// between them, if the later ones do not touch that buffer.
// Requires the free level. Order within each reduction stays, so values do not change by a bit.
#include "codegen.h"

#include <stdlib.h>

enum { MAX_CARRIES = 5, MAX_MEMBERS = 8, MAX_WORK = 128 };

struct merging {
	const struct target *t;
	bool changed;
};
struct siblings {
	int loops[MAX_MEMBERS];
	int n, carries, last; // position of the last member's K_FOR in the region
	bool *tainted;        // by instruction: hangs on a result of the group
	uint8_t *access;      // by buffer
	bool passes_stores;
	bool *stored;         // by buffer: between the members
};

static bool reads_tainted(const struct kernel *k, int v, const bool *tainted);

static bool loop_reads_tainted(const struct kernel *k, const struct kloop *l, const bool *tainted)
{
	const struct kregion *r = &k->regions[l->body];
	bool found = tainted[l->lo] || tainted[l->hi];
	for (int i = 0; i < l->ncarry; i++)
		found |= tainted[l->init[i]] || tainted[l->next[i]];
	for (int i = 0; i < r->n && !found; i++)
		found = reads_tainted(k, r->insts[i], tainted);
	return found;
}

static bool reads_tainted(const struct kernel *k, int v, const bool *tainted)
{
	const struct kinst *in = &k->insts[v];
	bool found = in->op == K_FOR && loop_reads_tainted(k, &k->loops[in->aux], tainted);
	if (in->op == K_RES)
		found = tainted[k->loops[in->aux].inst];
	for (int i = 0; i < in->nsrc && !found; i++) {
		int s = kernel_src(k, v, i);
		found = s != K_NONE && tainted[s];
	}
	return found;
}

// May b join, by what both do to memory?
static bool memory_allows(const struct kernel *k, const struct siblings *g, int b, enum axis_kind kind)
{
	uint8_t *mine = calloc((size_t)k->nbufs + 1, 1);
	bool shared = false, conflict = !mine;
	if (mine)
		kernel_access(k, k->loops[b].inst, mine);
	for (int i = 0; i < k->nbufs && !conflict; i++) {
		bool scratch = k->bufs[i].space != SPACE_GLOBAL;
		shared |= (mine[i] & ACCESS_READ) && (g->access[i] & ACCESS_READ);
		conflict = (mine[i] && (g->access[i] & ACCESS_WRITE)) ||
		           ((mine[i] & ACCESS_WRITE) && g->access[i]) ||
		           ((mine[i] | g->access[i]) & ACCESS_WRITE && (scratch || kind == AXIS_RED));
	}
	for (int i = 0; i < k->nbufs && !conflict && (shared || kind == AXIS_PAR); i++)
		g->access[i] |= mine[i];
	free(mine);
	return !conflict && (shared || kind == AXIS_PAR);
}

static bool joins(const struct kcopy *cp, const struct siblings *g, int b)
{
	const struct kernel *k = cp->from;
	const struct kloop *x = &k->loops[g->loops[0]], *y = &k->loops[b];
	return g->n < MAX_MEMBERS && x->kind == y->kind && x->lo == y->lo && x->hi == y->hi &&
	       cp->live[y->inst] && cp->map[y->inst] == K_NONE && g->carries + y->ncarry <= MAX_CARRIES &&
	       memory_allows(k, g, b, y->kind);
}

static bool touches_stored(const struct kernel *k, const struct siblings *g, int inst)
{
	uint8_t *mine = calloc((size_t)k->nbufs + 1, 1);
	bool touches = !mine;
	if (mine)
		kernel_access(k, inst, mine);
	for (int i = 0; i < k->nbufs && !touches; i++)
		touches = mine[i] && g->stored[i];
	free(mine);
	return touches;
}

static int position(const struct kregion *r, int inst)
{
	int at = 0;
	while (r->insts[at] != inst)
		at++;
	return at;
}

static void collect(const struct kcopy *cp, struct siblings *g)
{
	const struct kernel *k = cp->from;
	const struct kloop *first = &k->loops[g->loops[0]];
	const struct kregion *r = &k->regions[k->insts[first->inst].region];
	g->last = position(r, first->inst);
	g->tainted[first->inst] = true;
	for (int at = g->last + 1; at < r->n; at++) {
		int v = r->insts[at];
		const struct kinst *in = &k->insts[v];
		g->tainted[v] = reads_tainted(k, v, g->tainted);
		if (in->op == K_STORE && (!g->passes_stores || !g->tainted[v]))
			return;
		if (in->op == K_STORE)
			g->stored[in->aux] = true;
		else if (in->op == K_LOAD || in->op == K_FOR)
			g->tainted[v] |= touches_stored(k, g, v);
		if (in->op != K_FOR)
			continue;
		if (!g->tainted[v] && joins(cp, g, in->aux)) {
			g->loops[g->n++] = in->aux;
			g->carries += k->loops[in->aux].ncarry;
			g->last = at;
			g->tainted[v] = true;
		} else if (kernel_region_stores(k, k->loops[in->aux].body)) {
			return;
		}
	}
}

static void build(struct kcopy *cp, const struct siblings *g)
{
	const struct kernel *k = cp->from;
	const struct kloop *first = &k->loops[g->loops[0]];
	int init[MAX_CARRIES], args[MAX_CARRIES], next[MAX_CARRIES], n = 0;
	uint8_t combine[MAX_CARRIES];
	for (int m = 0; m < g->n; m++)
		for (int i = 0; i < k->loops[g->loops[m]].ncarry; i++, n++) {
			init[n] = kcopy_value(cp, k->loops[g->loops[m]].init[i]);
			combine[n] = k->loops[g->loops[m]].combine[i];
		}
	int loop = kb_for(cp->b, first->kind, kcopy_value(cp, first->lo), kcopy_value(cp, first->hi), n, init,
	                  combine);
	for (int i = 0; i < n; i++)
		args[i] = kb_arg(cp->b, loop, i);
	n = 0;
	for (int m = 0; m < g->n; n += k->loops[g->loops[m++]].ncarry)
		kcopy_body(cp, g->loops[m], kb_index(cp->b, loop), args + n, next + n);
	kb_end(cp->b, loop, next);
	n = 0;
	for (int m = 0; m < g->n; m++)
		for (int i = 0; i < k->loops[g->loops[m]].ncarry; i++)
			kcopy_result(cp, g->loops[m], i, kb_res(cp->b, loop, n++));
}

// What later members need and stands behind the first one goes before the merged loop.
static void bring_forward(struct kcopy *cp, const struct siblings *g)
{
	const struct kernel *k = cp->from;
	const struct kloop *first = &k->loops[g->loops[0]];
	const struct kregion *r = &k->regions[k->insts[first->inst].region];
	for (int m = 0; m < g->n; m++)
		cp->map[k->loops[g->loops[m]].inst] = 0;
	for (int at = position(r, first->inst) + 1; at < g->last; at++)
		if (!g->tainted[r->insts[at]])
			kcopy_inst(cp, r->insts[at]);
}

static bool merge(struct kcopy *cp, int loop)
{
	const struct kernel *k = cp->from;
	const struct kloop *l = &k->loops[loop];
	struct merging *m = cp->user;
	struct siblings g = {
	    .loops = {loop}, .n = 1, .carries = l->ncarry, .passes_stores = m->t->family == FAMILY_CUDA};
	if ((l->kind != AXIS_RED && l->kind != AXIS_PAR) || l->ncarry > MAX_CARRIES)
		return false;
	g.tainted = calloc((size_t)k->n + 1, sizeof *g.tainted);
	g.access = calloc((size_t)k->nbufs + 1, 1);
	g.stored = calloc((size_t)k->nbufs + 1, sizeof *g.stored);
	if (g.tainted && g.access && g.stored) {
		kernel_access(k, l->inst, g.access);
		collect(cp, &g);
	}
	if (g.n > 1) {
		bring_forward(cp, &g);
		build(cp, &g);
		m->changed = true;
	}
	free(g.tainted);
	free(g.access);
	free(g.stored);
	return g.n > 1;
}

void kpass_merge(struct kernel *k, const struct target *t)
{
	struct merging m = {.t = t, .changed = true};
	for (int round = 0; round < 4 && m.changed;
	     round++) { // merged loops make neighbours of their inner loops
		m.changed = false;
		kernel_rebuild(k, merge, &m);
	}
}
