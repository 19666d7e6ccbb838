// Kernels side by side: groups that depend on nothing of each other become one.
// In:  a plan's groups in order, before outputs have memory. Out: fewer groups, still in order.
// Siblings read the same data in the same shape (x + 1 and x * 2; two column sums). Segments are elementwise
// groups of one structure over whole tensors, whatever their shapes (an optimizer's updates): one body, a table
// of tensors. A group moves down to the place of a later one if nothing in between needs it. Not here: what
// depends on each other (group.c, group_store.c).
#include "plan.h"

#include <stdlib.h>

enum { MAX_OPS = 64, MAX_REDUCTIONS = 5, MAX_ROOTS = 16, MAX_BODY = 96, MAX_SEGMENTS = 256 };
enum { MAX_SEGMENT_ELEMS = 1 << 26 }; // a launch more is nothing then, and the table of chunks is not

struct member {
	struct source *reads; // malloc'ed
	int nreads;
	int needed; // the first group that needs one of its values
	struct group_size size;
	int into;       // merged into this group, -1
	uint64_t shape; // of its structure if it can be a segment, else 0
};
struct merging {
	struct plan *p;
	struct arena *scratch;
	struct member *m;   // by group
	int32_t *root_of;   // by pnode: its group, -1
	int32_t *reader;    // by pnode: the last group that reads it and can take a sibling, -1
	int32_t *stored_to; // by pnode: the leaf that it is assigned to, -1
	int32_t *readers;   // by pnode: segment candidates that read it
};

// ---- facts --------------------------------------------------------------------------------------------------
static bool learn(struct merging *g)
{
	struct plan *p = g->p;

	for (int i = 0; i < p->prog.n; i++)
		g->root_of[i] = g->reader[i] = g->stored_to[i] = -1;
	for (int i = p->prog.nouts - 1; i >= 0; i--)
		if (p->prog.outs[i].assign >= 0)
			g->stored_to[prog_stored_as(&p->prog, p->prog.outs[i].node)] = p->prog.outs[i].assign;
	for (int i = 0; i < p->ngroups; i++) {
		struct member *m = &g->m[i];

		m->into = -1;
		m->needed = p->ngroups;
		m->nreads = group_walk(p, i, &m->reads, &m->size);
		if (m->nreads < 0)
			return false;
		for (int k = 0; k < p->groups[i].nroots; k++)
			g->root_of[p->groups[i].roots[k]] = i;
	}
	for (int i = p->ngroups - 1; i >= 0; i--) {
		for (int k = 0; k < g->m[i].nreads; k++) {
			int from = g->root_of[g->m[i].reads[k].node];

			if (from >= 0)
				g->m[from].needed = i;
		}
	}
	return true;
}

static bool same_rows(const struct prog *p, int r, int q)
{
	const struct pnode *x = &p->nodes[r], *y = &p->nodes[q];

	return x->attr[0] == y->attr[0] && p->nodes[x->src[0]].rank == p->nodes[y->src[0]].rank &&
	       same_space(p, x->src[0], y->src[0]) && same_space(p, r, q);
}

static bool only_rows(const struct prog *p, const struct group *g)
{
	for (int i = 0; i < g->nroots; i++)
		if (!same_space(p, g->main, g->roots[i]))
			return false;
	return true;
}

static bool alike(const struct merging *g, int i, int j)
{
	const struct prog *p = &g->p->prog;
	const struct group *a = &g->p->groups[i], *b = &g->p->groups[j];

	if (a->kind != b->kind || a->split > 1 || b->split > 1 || a->nroots + b->nroots > MAX_ROOTS ||
	    g->m[i].size.ops + g->m[j].size.ops > MAX_OPS ||
	    g->m[i].size.reductions + g->m[j].size.reductions > MAX_REDUCTIONS)
		return false;
	if (a->kind == GROUP_MAP)
		return same_space(p, a->roots[0], b->roots[0]);
	return a->kind == GROUP_REDUCE && same_rows(p, a->main, b->main) && only_rows(p, a) && only_rows(p, b);
}

// Group i overwrites a variable that j reads at other indices: together, neither could be done in place.
static bool disturbs(const struct merging *g, int i, int j)
{
	const struct plan *p = g->p;

	for (int k = 0; k < p->groups[i].nroots; k++) {
		int leaf = g->stored_to[p->groups[i].roots[k]];

		for (int r = 0; leaf >= 0 && r < g->m[j].nreads; r++)
			if (g->m[j].reads[r].node == p->prog.leaves[leaf].node &&
			    g->m[j].reads[r].how & READ_OTHER)
				return true;
	}
	return false;
}

// ---- joining two groups -------------------------------------------------------------------------------------
static bool append_roots(struct plan *p, const struct group *from, struct group *to)
{
	int n = from->nroots + to->nroots;
	int32_t *roots = ARENA_ARRAY(&p->arena, int32_t, n), *bufs = ARENA_ARRAY(&p->arena, int32_t, n);

	if (!roots || !bufs)
		return false;
	memcpy(roots, from->roots, sizeof *roots * (size_t)from->nroots);
	memcpy(roots + from->nroots, to->roots, sizeof *roots * (size_t)to->nroots);
	memcpy(bufs, from->root_bufs, sizeof *bufs * (size_t)from->nroots);
	memcpy(bufs + from->nroots, to->root_bufs, sizeof *bufs * (size_t)to->nroots);
	to->roots = roots;
	to->root_bufs = bufs;
	to->nroots = n;
	return true;
}

// Group i moves down into j.
static bool join(struct merging *g, int i, int j)
{
	struct plan *p = g->p;
	struct member *a = &g->m[i], *b = &g->m[j];
	struct source *reads = realloc(b->reads, sizeof *reads * (size_t)(a->nreads + b->nreads + 1));

	if (!reads || !append_roots(p, &p->groups[i], &p->groups[j])) {
		b->reads = reads ? reads : b->reads;
		return false;
	}
	if (a->nreads)
		memcpy(reads + b->nreads, a->reads, sizeof *reads * (size_t)a->nreads);
	b->reads = reads;
	b->nreads += a->nreads;
	b->needed = a->needed < b->needed ? a->needed : b->needed;
	b->size.ops += a->size.ops;
	b->size.reductions += a->size.reductions;
	a->into = j;
	for (int k = 0; k < p->groups[j].nroots; k++)
		g->root_of[p->groups[j].roots[k]] = j;
	p->groups[j].why = p->groups[i].why;
	return true;
}

static bool siblings(struct merging *g)
{
	struct plan *p = g->p;

	for (int j = 0; j < p->ngroups; j++) {
		int n = g->m[j].nreads;

		if (p->groups[j].kind != GROUP_MAP && p->groups[j].kind != GROUP_REDUCE)
			continue;
		for (int k = 0; k < n; k++) {
			int i = g->reader[g->m[j].reads[k].node];

			if (prog_elems(&p->prog, g->m[j].reads[k].node) >=
			        prog_elems(&p->prog, p->groups[j].roots[0]) &&
			    i >= 0 && i != j && g->m[i].into < 0 && g->m[i].needed > j && alike(g, i, j) &&
			    !disturbs(g, i, j) && !disturbs(g, j, i) && !join(g, i, j))
				return false;
		}
		for (int k = 0; k < g->m[j].nreads; k++)
			g->reader[g->m[j].reads[k].node] = j;
	}
	return true;
}

// ---- segments -----------------------------------------------------------------------------------------------
struct body { // a group's structure, as words
	const struct merging *g;
	const struct group *group;
	int64_t words[MAX_BODY * 6];
	int nwords;
	int32_t nodes[MAX_BODY]; // numbered in the order they are finished
	int n;
	int64_t elems;
};

static bool word(struct body *b, int64_t v)
{
	if (b->nwords == TG_COUNT(b->words))
		return false;
	b->words[b->nwords++] = v;
	return true;
}

static int number_of(const struct body *b, int node)
{
	for (int i = 0; i < b->n; i++)
		if (b->nodes[i] == node)
			return i;
	return -1;
}

static bool in_memory(const struct body *b, int node)
{
	const struct plan *p = b->g->p;
	const struct pnode *n = &p->prog.nodes[node];

	if (n->op == OP_VARIABLE || n->op == OP_DATA)
		return true;
	for (int i = 0; i < b->group->nroots; i++)
		if (b->group->roots[i] == node)
			return false;
	return p->node_buf[node] >= 0;
}

// One value per segment, whatever the index: literals and late scalars, spread out.
static int constant(const struct prog *p, int node)
{
	while ((p->nodes[node].op == OP_RESHAPE || p->nodes[node].op == OP_EXPAND) &&
	       prog_elems(p, p->nodes[node].src[0]) == 1)
		node = p->nodes[node].src[0];
	return p->nodes[node].op == OP_CONST || p->nodes[node].op == OP_SCALAR ? node : -1;
}

// The words of one node whose sources are numbered; false: it hangs on the index, or there is no room.
static bool describe(struct body *b, int node)
{
	const struct prog *p = &b->g->p->prog;
	const struct pnode *n = &p->nodes[node];
	int c = constant(p, node);
	bool ok = b->n < MAX_BODY && word(b, n->op) && word(b, n->type);

	if (!ok)
		return false;
	if (c >= 0) {
		ok = word(b, p->nodes[c].op) && word(b, p->nodes[c].leaf) &&
		     word(b, p->nodes[c].op == OP_CONST ? p->nodes[c].attr[0] : 0);
	} else if (in_memory(b, node)) {
		ok = prog_elems(p, node) == b->elems && word(b, -1);
	} else {
		ok = op_is_elementwise(n->op) && prog_elems(p, node) == b->elems;
		for (int k = 0; k < n->nsrc && ok; k++)
			ok = word(b, number_of(b, n->src[k]));
	}
	b->nodes[b->n++] = node;
	return ok;
}

static bool describe_from(struct body *b, int root)
{
	const struct prog *p = &b->g->p->prog;
	int32_t stack[MAX_BODY];
	int depth = 0;

	stack[depth++] = root;
	while (depth > 0) {
		int node = stack[depth - 1], next = -1;
		const struct pnode *n = &p->nodes[node];

		if (number_of(b, node) >= 0) {
			depth--;
			continue;
		}
		for (int k = 0; k < n->nsrc && next < 0 && constant(p, node) < 0 && !in_memory(b, node); k++)
			next = number_of(b, n->src[k]) < 0 ? n->src[k] : -1;
		if (next < 0) {
			if (!describe(b, node))
				return false;
			depth--;
		} else if (depth == MAX_BODY) {
			return false;
		} else {
			stack[depth++] = next;
		}
	}
	return true;
}

// Where a root goes: the same place in the body's list of loads if it overwrites a variable that is read.
static int64_t target(const struct body *b, int root)
{
	int leaf = b->g->stored_to[root];

	if (leaf < 0)
		return -3;
	leaf = b->g->p->prog.leaves[leaf].node;
	return leaf < 0 ? -2 : number_of(b, leaf);
}

static bool describe_group(struct body *b, const struct merging *g, int group)
{
	const struct prog *p = &g->p->prog;

	b->g = g;
	b->group = &g->p->groups[group];
	b->n = b->nwords = 0;
	b->elems = prog_elems(p, b->group->roots[0]);
	if (b->group->kind != GROUP_MAP || b->elems == 0 || b->elems > MAX_SEGMENT_ELEMS)
		return false;
	for (int i = 0; i < b->group->nroots; i++)
		if (!describe_from(b, b->group->roots[i]))
			return false;
	for (int i = 0; i < b->group->nroots; i++)
		if (!word(b, number_of(b, b->group->roots[i])) || !word(b, target(b, b->group->roots[i])))
			return false;
	return word(b, p->nodes[b->group->roots[0]].rank == 0); // without an axis there is no index that others could use
}

static uint64_t hash(const struct body *b)
{
	uint64_t h = 1469598103934665603u;

	for (int i = 0; i < b->nwords; i++)
		h = (h ^ (uint64_t)b->words[i]) * 1099511628211u;
	return h | 1;
}

static bool equal(const struct body *a, const struct body *b)
{
	return a->nwords == b->nwords && !memcmp(a->words, b->words, sizeof *a->words * (size_t)a->nwords);
}

// What one segment overwrites no other one may read: segments run in any order.
static bool alone(const struct merging *g, int group)
{
	const struct plan *p = g->p;

	for (int k = 0; k < p->groups[group].nroots; k++) {
		int leaf = g->stored_to[p->groups[group].roots[k]];
		int node = leaf < 0 ? -1 : p->prog.leaves[leaf].node, others;

		if (node < 0)
			continue;
		others = g->readers[node];
		for (int r = 0; r < g->m[group].nreads; r++)
			others -= g->m[group].reads[r].node == node;
		if (others > 0)
			return false;
	}
	return true;
}

static void count_readers(struct merging *g, struct body *b)
{
	for (int i = 0; i < g->p->ngroups; i++) {
		if (g->m[i].into >= 0 || !describe_group(b, g, i))
			continue;
		g->m[i].shape = hash(b);
		for (int r = 0; r < g->m[i].nreads; r++)
			g->readers[g->m[i].reads[r].node]++;
	}
}

// Merges later groups of the same structure into a table that stands at the last one's place.
static bool segments(struct merging *g)
{
	struct plan *p = g->p;
	struct body *a = ARENA_ARRAY(g->scratch, struct body, 1), *b = ARENA_ARRAY(g->scratch, struct body, 1);
	int cap = 64;
	int32_t *slots;

	while (cap < 2 * p->ngroups)
		cap *= 2;
	slots = ARENA_ARRAY(g->scratch, int32_t, cap); // last group of a structure, plus one
	if (g->scratch->failed)
		return false;
	count_readers(g, b);
	for (int j = 0; j < p->ngroups; j++) {
		uint64_t at;

		if (!g->m[j].shape || !alone(g, j) || !describe_group(b, g, j))
			continue;
		at = g->m[j].shape & (uint64_t)(cap - 1);
		while (slots[at] && g->m[slots[at] - 1].shape != g->m[j].shape)
			at = (at + 1) & (uint64_t)(cap - 1);
		if (slots[at]) {
			int i = slots[at] - 1;
			int segs = p->groups[i].nsegs ? p->groups[i].nsegs : 1;

			// The first segment stands for all of them.
			struct group first = p->groups[i];

			first.nroots /= segs;
			first.kind = GROUP_MAP;
			p->groups[p->ngroups] = first;
			if (describe_group(a, g, p->ngroups) && equal(a, b) && g->m[i].needed > j &&
			    segs < MAX_SEGMENTS) {
				if (!join(g, i, j))
					return false;
				p->groups[j].kind = GROUP_SEGMENTED;
				p->groups[j].nsegs = segs + 1;
			}
		}
		slots[at] = j + 1;
	}
	return true;
}

static void close_up(struct merging *g)
{
	struct plan *p = g->p;
	int n = 0;

	for (int i = 0; i < p->ngroups; i++)
		if (g->m[i].into < 0)
			p->groups[n++] = p->groups[i];
	p->ngroups = n;
}

bool group_merge(struct plan *p, struct arena *scratch)
{
	struct merging g = {.p = p, .scratch = scratch};
	int n = p->ngroups;
	bool ok;

	g.m = ARENA_ARRAY(scratch, struct member, n + 1);
	g.root_of = ARENA_ARRAY(scratch, int32_t, p->prog.n);
	g.reader = ARENA_ARRAY(scratch, int32_t, p->prog.n);
	g.stored_to = ARENA_ARRAY(scratch, int32_t, p->prog.n);
	g.readers = ARENA_ARRAY(scratch, int32_t, p->prog.n);
	ok = !scratch->failed && learn(&g) && siblings(&g) && segments(&g);
	if (ok)
		close_up(&g);
	for (int i = 0; g.m && i < n; i++)
		free(g.m[i].reads);
	return ok;
}
