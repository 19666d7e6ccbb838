// What a group reads: the same walk that lowering makes, from its roots back to memory.
// In:  a plan with groups and node_buf. Out: leaves and stored values it reads, and whether at the roots'
// index. Not here: lowering itself (codegen/lower*.c).
#include "plan.h"

#include <stdlib.h>

struct walk {
	const struct plan *p;
	int32_t *seen; // open addressing: node * 2 + exact + 1, 0: free
	int32_t *stack;
	struct source *out;
	int32_t *out_at; // seen slot's source; by slot
	int cap, nseen, nstack, stack_cap, nout, out_cap;
	struct group_size size;
	bool failed;
};

static int slot(const struct walk *w, int32_t key)
{
	uint32_t mask = (uint32_t)w->cap - 1, at = (uint32_t)key * 2654435761u;

	for (at = (at ^ at >> 16) & mask; w->seen[at] && w->seen[at] != key; at = (at + 1) & mask)
		;
	return (int)at;
}

static bool grow_seen(struct walk *w)
{
	struct walk old = *w;

	if (w->cap && w->nseen * 2 < w->cap)
		return true;
	w->cap = w->cap ? 2 * w->cap : 256;
	w->seen = calloc((size_t)w->cap, sizeof *w->seen);
	w->out_at = calloc((size_t)w->cap, sizeof *w->out_at);
	if (!w->seen || !w->out_at) {
		free(w->seen);
		free(w->out_at);
		*w = old;
		w->failed = true;
		return false;
	}
	for (int i = 0; i < old.cap; i++) {
		if (old.seen[i]) {
			int at = slot(w, old.seen[i]);

			w->seen[at] = old.seen[i];
			w->out_at[at] = old.out_at[i];
		}
	}
	free(old.seen);
	free(old.out_at);
	return true;
}

// First visit of the node in this way.
static bool enter(struct walk *w, int node, bool exact)
{
	int32_t key = node * 2 + exact + 1;
	int at;

	if (w->failed || !grow_seen(w))
		return false;
	at = slot(w, key);
	if (w->seen[at])
		return false;
	w->seen[at] = key;
	w->out_at[at] = -1;
	w->nseen++;
	return true;
}

static bool room(struct walk *w, void *array, int n, int *cap, size_t bytes)
{
	void *old, *fresh;
	int want = n * 2 + 64;

	if (n < *cap)
		return true;
	memcpy(&old, array, sizeof old);
	fresh = realloc(old, bytes * (size_t)want);
	if (!fresh) {
		w->failed = true;
		return false;
	}
	memcpy(array, &fresh, sizeof fresh);
	*cap = want;
	return true;
}

static void push(struct walk *w, int node, bool exact)
{
	if (enter(w, node, exact) && room(w, &w->stack, w->nstack, &w->stack_cap, sizeof *w->stack))
		w->stack[w->nstack++] = node * 2 + exact;
}

static void found(struct walk *w, int node, bool exact)
{
	int other = slot(w, node * 2 + !exact + 1), at;

	if (w->seen[other] && w->out_at[other] >= 0) {
		w->out[w->out_at[other]].how |= exact ? READ_EXACT : READ_OTHER;
		return;
	}
	if (!room(w, &w->out, w->nout, &w->out_cap, sizeof *w->out))
		return;
	at = slot(w, node * 2 + exact + 1);
	w->out_at[at] = w->nout;
	w->out[w->nout++] = (struct source){node, exact ? READ_EXACT : READ_OTHER};
}

static bool keeps_index(const struct prog *p, int node, int k)
{
	const struct pnode *n = &p->nodes[node];

	if (op_is_elementwise(n->op) || n->op == OP_CHECK)
		return true;
	if (n->op == OP_SCATTER)
		return k == 0;
	return n->op == OP_RESHAPE && same_space(p, node, n->src[0]);
}

static bool is_root(const struct group *g, int node)
{
	for (int i = 0; i < g->nroots; i++)
		if (g->roots[i] == node)
			return true;
	return false;
}

static double contraction_flops(const struct prog *p, int node)
{
	const struct pnode *n = &p->nodes[node];
	const struct tg_caxis *x = (const struct tg_caxis *)(const void *)n->attr;
	double flops = 2 * (double)prog_elems(p, node);

	for (int i = 0; i < n->nattr / 8; i++)
		if (x[i].role == ROLE_WINDOW || x[i].role == ROLE_CONTRACTED)
			flops *= (double)(x[i].b >= 0 ? p->nodes[n->src[1]].dims[x[i].b].n
			                              : p->nodes[n->src[0]].dims[x[i].a].n);
	return flops;
}

static void visit(struct walk *w, const struct group *g, int32_t entry)
{
	const struct plan *p = w->p;
	int node = entry / 2;
	const struct pnode *n = &p->prog.nodes[node];
	bool exact = (entry & 1) && g->kind != GROUP_CHAIN; // a stage may store before another one reads

	if (n->op == OP_VARIABLE || n->op == OP_DATA || (p->node_buf[node] >= 0 && !is_root(g, node))) {
		found(w, node, exact);
		return;
	}
	if (g->half == HALF_FINISH && node == g->main) // comes from scratch_buf
		return;
	w->size.ops += op_info[n->op].cls != CLASS_MOVE && op_info[n->op].cls != CLASS_SOURCE;
	w->size.reductions += op_info[n->op].cls == CLASS_REDUCE;
	w->size.flags |= op_info[n->op].cls == CLASS_INDEX;
	w->size.draws |= n->op == OP_RANDOM;
	w->size.flops += n->op == OP_CONTRACT ? contraction_flops(&p->prog, node) : 0;
	for (int k = n->nsrc - 1; k >= 0; k--)
		push(w, n->src[k], exact && keeps_index(&p->prog, node, k));
}

// From the roots that are `used`; NULL: from all.
static int walk(const struct plan *p, const struct group *g, const bool *used, struct source **out,
                struct group_size *size)
{
	struct walk w = {.p = p};

	for (int i = g->nroots - 1; i >= 0; i--)
		if (!used || used[i])
			push(&w, g->roots[i], true);
	while (w.nstack > 0 && !w.failed)
		visit(&w, g, w.stack[--w.nstack]);
	free(w.seen);
	free(w.out_at);
	free(w.stack);
	*out = w.out;
	*size = w.size;
	return w.failed ? -1 : w.nout;
}

int group_walk(const struct plan *p, int group, struct source **out, struct group_size *size)
{
	return walk(p, &p->groups[group], NULL, out, size);
}

int group_finish(const struct plan *p, const struct group *g, const struct source *reads, int nreads, bool *used,
                 struct source **out)
{
	struct group_size size;

	for (int i = 0; i < g->nroots; i++) {
		used[i] = false;
		for (int k = 0; k < nreads; k++)
			used[i] |= reads[k].node == g->roots[i];
	}
	return walk(p, g, used, out, &size);
}

int group_sources(const struct plan *p, int group, struct source **out)
{
	struct group_size size;

	return group_walk(p, group, out, &size);
}

int group_inputs(const struct plan *p, int group, int32_t *bufs, int cap)
{
	struct source *s;
	int n = group_sources(p, group, &s), count = 0;

	for (int i = 0; i < n; i++) {
		int buf = p->node_buf[s[i].node];
		bool dup = false;

		for (int j = 0; j < i && !dup; j++)
			dup = p->node_buf[s[j].node] == buf;
		if (!dup && count++ < cap)
			bufs[count - 1] = buf;
	}
	free(s);
	return n < 0 ? -1 : count;
}

int group_phases(const struct group *g)
{
	return g->nroots + (g->half != HALF_FINISH && (g->split > 1 || g->rows > 0) ? 2 : 0);
}

double group_ns(const struct plan *p, const struct target *t, const struct group *g, double bytes,
                const struct group_size *size)
{
	double flops = size->flops, elems = 0;

	for (int i = 0; i < g->nroots; i++) {
		double n = (double)prog_elems(&p->prog, g->roots[i]);

		elems = n > elems ? n : elems;
	}
	if (g->kind == GROUP_REDUCE)
		elems = (double)prog_elems(&p->prog, p->prog.nodes[g->main].src[0]);
	flops += 4 * elems * size->ops; // elementwise code reaches a quarter of the peak
	return t->launch_ns + bytes / t->bandwidth + flops / t->flops;
}
