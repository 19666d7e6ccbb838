// Which groups may raise an error: those that compute a gather, a scatter or a check.
// In:  a plan with groups and node_buf. Out: a flag a group. A site that only repeats what an earlier one checks (the
// scatter that is a gather's gradient: the same indices, as many places) may be left out.
// Not here: what a group reads (group_inputs.c).
#include "plan.h"

struct walk {
	const struct plan *p;
	int32_t *seen;  // by pnode: the last group that met it, + 1
	int32_t *stack; // a node is put there once a group
	int n;
	const bool *site; // by pnode
};

// Where the elements of an index come from.
static int index_of(const struct prog *p, int node)
{
	while (p->nodes[node].op == OP_RESHAPE || p->nodes[node].op == OP_EXPAND)
		node = p->nodes[node].src[0];
	return node;
}

static const bool *find_sites(const struct prog *p, struct arena *scratch, bool repeated)
{
	bool *site = ARENA_ARRAY(scratch, bool, p->n);
	int64_t *checked = ARENA_ARRAY(scratch, int64_t, p->n); // by index: the places it fits, plus one; 0: any

	for (int v = 0; v < p->n && site && checked; v++) {
		const struct pnode *n = &p->nodes[v];
		int64_t places, *least;

		site[v] = n->op == OP_GATHER || n->op == OP_SCATTER || n->op == OP_CHECK;
		if (!site[v] || n->op == OP_CHECK || prog_elems(p, v) == 0 ||
		    prog_elems(p, n->src[n->nsrc - 1]) == 0) // empty ones check nothing
			continue;
		places = p->nodes[n->src[0]].dims[n->attr[0]].n + 1;
		least = &checked[index_of(p, n->src[1])];
		site[v] = repeated || *least == 0 || *least > places;
		*least = *least == 0 || *least > places ? places : *least;
	}
	return checked ? site : NULL;
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
		found = w->site[node];
		for (int k = 0; k < n->nsrc; k++)
			push(w, group, n->src[k]);
	}
	return found;
}

bool *group_raises(const struct plan *p, struct arena *scratch, bool repeated)
{
	bool *raises = ARENA_ARRAY(scratch, bool, p->ngroups + 1);
	struct walk w = {.p = p};

	if (!raises || p->nflags == 0)
		return raises;
	w.seen = ARENA_ARRAY(scratch, int32_t, p->prog.n);
	w.stack = ARENA_ARRAY(scratch, int32_t, p->prog.n);
	w.site = find_sites(&p->prog, scratch, repeated);
	if (!w.seen || !w.stack || !w.site)
		return NULL;
	for (int i = 0; i < p->ngroups; i++)
		raises[i] = look(&w, i);
	return raises;
}
