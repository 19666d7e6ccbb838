// Which groups may raise an error: those that compute a gather, a scatter or a check.
// In:  a plan with groups and node_buf. Out: a flag a group.
// Not here: what a group reads (group_inputs.c).
#include "lib.h"

struct walk {
	const struct plan *p;
	int32_t *seen;  // by pnode: the last group that met it, + 1
	int32_t *stack; // a node is put there once a group
	int n;
};

static bool is_site(const struct prog *p, int node)
{
	int op = p->nodes[node].op;

	return op == OP_GATHER || op == OP_SCATTER || op == OP_CHECK;
}

static void push(struct walk *w, int group, int node)
{
	if (w->seen[node] == group + 1)
		return;
	w->seen[node] = group + 1;
	w->stack[w->n++] = node;
}

static bool look(struct walk *w, int group)
{
	const struct group *g = &w->p->groups[group];
	int roots = g->nroots;
	bool found = false;

	w->n = 0;
	for (int i = 0; i < roots; i++)
		push(w, group, g->roots[i]);
	// The roots are computed here though they have a buffer; they are the first `roots` that are taken.
	for (int i = 0; i < w->n && !found; i++) {
		int node = w->stack[i];
		const struct pnode *n = &w->p->prog.nodes[node];

		if (i >= roots && w->p->node_buf[node] >= 0)
			continue;
		found = is_site(&w->p->prog, node);
		for (int k = 0; k < n->nsrc; k++)
			push(w, group, n->src[k]);
	}
	return found;
}

bool *group_raises(const struct plan *p, struct arena *scratch)
{
	bool *raises = ARENA_ARRAY(scratch, bool, p->ngroups + 1);
	struct walk w = {.p = p};

	if (!raises || p->nflags == 0)
		return raises;
	w.seen = ARENA_ARRAY(scratch, int32_t, p->prog.n);
	w.stack = ARENA_ARRAY(scratch, int32_t, p->prog.n);
	if (!w.seen || !w.stack)
		return NULL;
	for (int i = 0; i < p->ngroups; i++)
		raises[i] = look(&w, i);
	return raises;
}
