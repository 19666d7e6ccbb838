// Outputs to memory, and the order of steps.
// In:  a plan with groups whose roots all lie in the arena. Out: roots that are outputs lie in the output's or
// the variable's memory, the rest of the outputs are copied; groups sorted, one step each. A variable is
// overwritten in place when its group reads the old value at the same index only and every other reader can
// come first; else through a temporary that is copied at the end: one by a copy, several by groups, that may run
// beside others. Groups that may raise an error come before every group that overwrites a variable, unless another one
// raises it, and overwrite none, so that a run can stop in time.
// Not here: offsets in the arena (memory.c).
#include "plan.h"

#include <stdlib.h>

struct edge {
	int32_t to, next;
	bool war; // from a reader of a variable to the group that overwrites it
};
struct copy {
	int32_t node; // the value, a leaf or a root
	int32_t dst;  // plan buffer
	int32_t out;  // of an assigned variable: which output; else -1
};
struct order {
	struct plan *p;
	struct arena *scratch;
	struct source **reads; // by group; malloc'ed lists
	int *nreads;
	int32_t *root_of; // by pnode: its group, -1
	int32_t *root_at; // by pnode: which root
	bool *raises;     // by group: it may raise an error
	int32_t *writer;  // by leaf: the group that overwrites it in place, -1
	int32_t *dropped; // by leaf: the arena buffer that its root had before
	struct copy *early, *late;
	int nearly, nlate;
	struct edge *edges;
	int nedges;
	int32_t *head, *raw, *war; // by group
	int32_t *heap;
	int nheap;
	bool *flags, *stores; // by group: it may raise an error first; it overwrites a variable
	int nflags;           // groups that may raise an error first and have not run
	int32_t *held;        // groups that are ready but store, while errors may come
	int nheld;
	int32_t *sorted;
	int nsorted;
};

// ---- outputs ------------------------------------------------------------------------------------------------
static int32_t *root_buf(const struct order *o, int node)
{
	return &o->p->groups[o->root_of[node]].root_bufs[o->root_at[node]];
}

static bool same_dims(const struct prog *p, int a, int b)
{
	const struct pnode *x = &p->nodes[a], *y = &p->nodes[b];

	for (int i = 0; i < x->rank && x->rank == y->rank; i++)
		if (x->dims[i].n != y->dims[i].n)
			return false;
	return x->rank == y->rank;
}

static int reads_leaf(const struct order *o, int group, int node)
{
	for (int i = 0; i < o->nreads[group]; i++)
		if (o->reads[group][i].node == node)
			return o->reads[group][i].how;
	return 0;
}

// The group may write the leaf's memory while it reads the old value.
static bool sound(const struct order *o, int group, int leaf, int value)
{
	const struct prog *p = &o->p->prog;
	const struct group *g = &o->p->groups[group];
	int node = p->leaves[leaf].node, how = node < 0 ? 0 : reads_leaf(o, group, node);

	if (o->raises[group])
		return false;
	if (how == 0)
		return true;
	if (how != READ_EXACT || !same_dims(p, node, value))
		return false;
	return g->kind != GROUP_REDUCE || !same_space(p, g->main, p->nodes[g->main].src[0]);
}

// The buffer of an assigned variable's memory.
static int leaf_buf(struct order *o, int leaf, int value)
{
	int node = o->p->prog.leaves[leaf].node;

	return node >= 0 ? o->p->node_buf[node] : plan_buf(o->p, BUF_LEAF, leaf, value);
}

static void rebind(struct order *o, int value, int buf)
{
	*root_buf(o, value) = buf;
	if (o->p->node_buf[value] >= 0)
		o->p->node_buf[value] = buf;
}

static void assigned(struct order *o, const struct pout *out)
{
	struct plan *p = o->p;
	const struct prog *prog = &p->prog;
	int value = prog_stored_as(prog, out->node), leaf = out->assign, node = prog->leaves[leaf].node, buf;

	if (o->root_of[value] < 0) { // a leaf
		if (value == node)
			return;
		o->late[o->nlate++] = (struct copy){value, leaf_buf(o, leaf, out->node), (int32_t)(out - prog->outs)};
		return;
	}
	buf = *root_buf(o, value);
	if (p->bufs[buf].cls != BUF_ARENA || !sound(o, o->root_of[value], leaf, value)) {
		o->late[o->nlate++] = (struct copy){value, leaf_buf(o, leaf, out->node), (int32_t)(out - prog->outs)};
		return;
	}
	o->writer[leaf] = o->root_of[value];
	o->dropped[leaf] = buf;
	if (node >= 0 && same_dims(prog, node, value)) {
		rebind(o, value, p->node_buf[node]);
	} else {
		rebind(o, value, plan_buf(p, BUF_LEAF, leaf, value));
	}
}

static void returned(struct order *o, int index)
{
	struct plan *p = o->p;
	int value = prog_stored_as(&p->prog, p->prog.outs[index].node);
	struct copy c = {value, -1, -1};

	if (o->root_of[value] >= 0 && p->bufs[*root_buf(o, value)].cls == BUF_ARENA) {
		p->bufs[*root_buf(o, value)].cls = BUF_OUT;
		p->bufs[*root_buf(o, value)].index = index;
		return;
	}
	c.dst = plan_buf(p, BUF_OUT, index, p->prog.outs[index].node);
	if (o->root_of[value] >= 0)
		o->late[o->nlate++] = c;
	else
		o->early[o->nearly++] = c;
}

// A variable's old value that is copied at the end is put aside first if the variable is assigned too.
static void put_aside(struct order *o)
{
	struct plan *p = o->p;
	int n = o->nlate;

	for (int i = 0; i < n; i++) {
		struct copy *c = &o->late[i];
		int leaf = p->prog.nodes[c->node].leaf;
		bool overwritten = false;

		for (int k = 0; o->root_of[c->node] < 0 && k < p->prog.nouts; k++)
			overwritten |= p->prog.outs[k].assign == leaf;
		if (!overwritten)
			continue;
		int temp = plan_buf(p, BUF_ARENA, 0, c->node);
		o->early[o->nearly++] = (struct copy){c->node, temp, -1};
		c->node = -1 - temp; // a buffer, not a node
	}
}

// ---- order --------------------------------------------------------------------------------------------------
static void edge(struct order *o, int from, int to, bool war)
{
	o->edges[o->nedges] = (struct edge){to, o->head[from], war};
	o->head[from] = o->nedges++;
	(war ? o->war : o->raw)[to]++;
}

// What may raise an error comes before what overwrites a variable.
static void connect_raisers(struct order *o)
{
	for (int i = 0; i < o->p->ngroups; i++)
		for (int leaf = 0; leaf < o->p->prog.nleaves && o->flags[i]; leaf++)
			if (o->writer[leaf] >= 0)
				edge(o, i, o->writer[leaf], true);
}

static bool connect(struct order *o)
{
	const struct plan *p = o->p;
	int total = 0, raisers = 0, written = 0;

	for (int i = 0; i < p->ngroups; i++) {
		total += o->nreads[i];
		raisers += o->flags[i];
	}
	for (int leaf = 0; leaf < p->prog.nleaves; leaf++)
		written += o->writer[leaf] >= 0;
	total += raisers * written;
	o->edges = ARENA_ARRAY(o->scratch, struct edge, total + 1);
	if (!o->edges)
		return false;
	for (int i = 0; i < p->ngroups; i++)
		o->head[i] = -1;
	for (int i = 0; i < p->ngroups; i++) {
		for (int k = 0; k < o->nreads[i]; k++) {
			int node = o->reads[i][k].node, leaf = p->prog.nodes[node].leaf;

			if (o->root_of[node] >= 0)
				edge(o, o->root_of[node], i, false);
			else if (o->writer[leaf] >= 0 && o->writer[leaf] != i)
				edge(o, i, o->writer[leaf], true);
		}
	}
	connect_raisers(o);
	return true;
}

static void sift(int32_t *h, int n, int at)
{
	for (int child; (child = 2 * at + 1) < n; at = child) {
		int32_t t = h[at];

		child += child + 1 < n && h[child + 1] < h[child];
		if (t <= h[child])
			return;
		h[at] = h[child];
		h[child] = t;
	}
}

static void push(struct order *o, int group)
{
	int at = o->nheap++;

	o->heap[at] = group;
	for (; at > 0 && o->heap[(at - 1) / 2] > o->heap[at]; at = (at - 1) / 2) {
		int32_t t = o->heap[at];

		o->heap[at] = o->heap[(at - 1) / 2];
		o->heap[(at - 1) / 2] = t;
	}
}

static int next(struct order *o)
{
	int first = o->heap[0];

	o->heap[0] = o->heap[--o->nheap];
	sift(o->heap, o->nheap, 0);
	return first;
}

// Nothing is stored before everything that may raise an error has run, where that is possible.
static void ready(struct order *o, int group)
{
	if (o->nflags > 0 && o->stores[group] && !o->flags[group])
		o->held[o->nheld++] = group;
	else
		push(o, group);
}

static void release(struct order *o)
{
	for (int i = 0; i < o->nheld; i++)
		push(o, o->held[i]);
	o->nheld = 0;
}

static void done(struct order *o, int group)
{
	o->sorted[o->nsorted++] = group;
	o->nflags -= o->flags[group];
	if (o->nflags == 0)
		release(o);
	o->raw[group] = -1;
	for (int e = o->head[group]; e >= 0; e = o->edges[e].next) {
		int to = o->edges[e].to;

		if (o->raw[to] < 0) // went ahead through a temporary
			continue;
		(o->edges[e].war ? o->war : o->raw)[to]--;
		if (o->raw[to] == 0 && o->war[to] == 0)
			ready(o, to);
	}
}

// Readers of a variable need what its writer computes: the first such writer goes through a temporary.
static void break_cycle(struct order *o)
{
	struct plan *p = o->p;
	int group = 0;

	while (o->raw[group] != 0)
		group++;
	for (int leaf = 0; leaf < p->prog.nleaves; leaf++) {
		if (o->writer[leaf] != group)
			continue;
		for (int i = 0; i < p->prog.nouts; i++) {
			int value = prog_stored_as(&p->prog, p->prog.outs[i].node);

			if (p->prog.outs[i].assign != leaf)
				continue;
			rebind(o, value, o->dropped[leaf]);
			o->late[o->nlate++] = (struct copy){value, leaf_buf(o, leaf, p->prog.outs[i].node), i};
		}
		o->writer[leaf] = -1;
	}
	o->war[group] = 0;
	push(o, group);
}

static void sort(struct order *o)
{
	const struct plan *p = o->p;

	for (int i = 0; i < p->prog.nleaves; i++)
		if (o->writer[i] >= 0)
			o->stores[o->writer[i]] = true;
	for (int i = 0; i < p->ngroups; i++)
		if (o->raw[i] == 0 && o->war[i] == 0)
			ready(o, i);
	while (o->nsorted < p->ngroups) {
		if (o->nheap == 0)
			release(o);
		if (o->nheap == 0)
			break_cycle(o);
		done(o, next(o));
	}
}

// ---- steps --------------------------------------------------------------------------------------------------
static bool empty(const struct plan *p, const struct group *g)
{
	for (int i = 0; i < g->nroots; i++)
		if (prog_elems(&p->prog, g->roots[i]) > 0)
			return false;
	return true;
}

static void kernel_step(struct plan *p, int group)
{
	p->steps[p->nsteps++] = (struct pstep){
	    .kind = STEP_KERNEL, .group = group, .ngroups = 1, .src = -1, .dst = -1, .kernel = -1};
}

static void copy_step(struct order *o, const struct copy *c)
{
	struct plan *p = o->p;
	int src = c->node < 0                ? -1 - c->node
	          : o->root_of[c->node] >= 0 ? *root_buf(o, c->node)
	                                     : p->node_buf[c->node];

	if (p->bufs[src].bytes > 0)
		p->steps[p->nsteps++] =
		    (struct pstep){.kind = STEP_COPY, .group = -1, .src = src, .dst = c->dst, .kernel = -1};
}

// A computed value that is copied to the variable that it is assigned to.
static bool late_store(const struct order *o, const struct copy *c)
{
	return c->node >= 0 && o->root_of[c->node] >= 0 && c->out >= 0 && prog_elems(&o->p->prog, c->node) > 0;
}

// A kernel that does that: as any other it may run beside others.
static bool copy_group(struct order *o, const struct copy *c, struct group *g)
{
	struct plan *p = o->p;
	int n = p->prog.n, from = p->prog.outs[c->out].node;
	int node = prog_add1(&p->prog, OP_RESHAPE, (tgc_type)p->prog.nodes[from].type, from);
	int32_t *bufs = arena_grow(&p->arena, p->node_buf, sizeof *bufs * (size_t)n, sizeof *bufs * (size_t)(n + 1));

	*g = (struct group){.kind = GROUP_MAP, .main = -1, .split = 1, .scratch_buf = -1, .nroots = 1};
	g->roots = ARENA_ARRAY(&p->arena, int32_t, 1);
	g->root_bufs = ARENA_ARRAY(&p->arena, int32_t, 1);
	g->why = "a variable is stored when nothing can fail any more";
	if (node < 0 || !bufs || p->arena.failed)
		return false;
	p->node_buf = bufs;
	p->prog.outs[c->out].node = g->roots[0] = node;
	p->node_buf[node] = g->root_bufs[0] = plan_buf(p, BUF_LEAF, p->prog.outs[c->out].assign, node);
	return true;
}

// Copies refer to groups by their old numbers, so groups are put in order last.
static bool emit(struct order *o)
{
	struct plan *p = o->p;
	struct group *groups = ARENA_ARRAY(&p->arena, struct group, p->ngroups + o->nlate + 1);
	int n = 0, stores = 0;

	for (int i = 0; i < o->nlate; i++)
		stores += late_store(o, &o->late[i]);
	p->steps = ARENA_ARRAY(&p->arena, struct pstep, p->ngroups + o->nearly + o->nlate + 1);
	if (p->arena.failed)
		return false;
	for (int i = 0; i < o->nearly; i++)
		copy_step(o, &o->early[i]);
	for (int i = 0; i < o->nsorted; i++) {
		const struct group *g = &p->groups[o->sorted[i]];

		if (empty(p, g))
			continue;
		groups[n] = *g;
		kernel_step(p, n++);
	}
	for (int i = 0; i < o->nlate; i++) {
		const struct copy *c = &o->late[i];

		if (stores < 2 || !late_store(o, c)) // one alone is best copied
			copy_step(o, c);
		else if (copy_group(o, c, &groups[n]))
			kernel_step(p, n++);
		else
			return false;
	}
	p->groups = groups;
	p->ngroups = n;
	return true;
}

static void mark(int32_t *map, int buf)
{
	if (buf >= 0)
		map[buf] = 0;
}

static int mapped(const int32_t *map, int buf)
{
	return buf < 0 ? -1 : map[buf];
}

bool plan_compact(struct plan *p, struct arena *scratch)
{
	int32_t *map = ARENA_ARRAY(scratch, int32_t, p->nbufs + 1);
	int n = 0;

	if (!map)
		return false;
	for (int i = 0; i < p->nbufs; i++)
		map[i] = p->bufs[i].cls == BUF_ARENA ? -1 : 0;
	for (int v = 0; v < p->prog.n; v++)
		mark(map, p->node_buf[v]);
	for (int i = 0; i < p->ngroups; i++) {
		mark(map, p->groups[i].scratch_buf);
		for (int k = 0; k < p->groups[i].nroots; k++)
			mark(map, p->groups[i].root_bufs[k]);
	}
	for (int i = 0; i < p->nsteps; i++) {
		mark(map, p->steps[i].src);
		mark(map, p->steps[i].dst);
	}
	for (int i = 0; i < p->nbufs; i++) {
		if (map[i] < 0)
			continue;
		p->bufs[n] = p->bufs[i];
		map[i] = n++;
	}
	p->nbufs = n;
	for (int v = 0; v < p->prog.n; v++)
		p->node_buf[v] = mapped(map, p->node_buf[v]);
	for (int i = 0; i < p->ngroups; i++) {
		p->groups[i].scratch_buf = mapped(map, p->groups[i].scratch_buf);
		for (int k = 0; k < p->groups[i].nroots; k++)
			p->groups[i].root_bufs[k] = mapped(map, p->groups[i].root_bufs[k]);
	}
	for (int i = 0; i < p->nsteps; i++) {
		p->steps[i].src = mapped(map, p->steps[i].src);
		p->steps[i].dst = mapped(map, p->steps[i].dst);
	}
	return true;
}

static bool prepare(struct order *o)
{
	struct plan *p = o->p;
	struct arena *a = o->scratch;
	int n = p->ngroups + 1;

	o->reads = ARENA_ARRAY(a, struct source *, n);
	o->nreads = ARENA_ARRAY(a, int, n);
	o->root_of = ARENA_ARRAY(a, int32_t, p->prog.n);
	o->root_at = ARENA_ARRAY(a, int32_t, p->prog.n);
	o->raises = group_raises(p, a, true);
	o->flags = group_raises(p, a, false);
	o->writer = ARENA_ARRAY(a, int32_t, p->prog.nleaves + 1);
	o->dropped = ARENA_ARRAY(a, int32_t, p->prog.nleaves + 1);
	o->early = ARENA_ARRAY(a, struct copy, 2 * p->prog.nouts + 1);
	o->late = ARENA_ARRAY(a, struct copy, 2 * p->prog.nouts + 1);
	o->head = ARENA_ARRAY(a, int32_t, n);
	o->raw = ARENA_ARRAY(a, int32_t, n);
	o->war = ARENA_ARRAY(a, int32_t, n);
	o->heap = ARENA_ARRAY(a, int32_t, n);
	o->sorted = ARENA_ARRAY(a, int32_t, n);
	o->held = ARENA_ARRAY(a, int32_t, n);
	o->stores = ARENA_ARRAY(a, bool, n);
	if (a->failed)
		return false;
	for (int v = 0; v < p->prog.n; v++)
		o->root_of[v] = -1;
	for (int i = 0; i < p->prog.nleaves; i++)
		o->writer[i] = -1;
	for (int i = 0; i < p->ngroups; i++) {
		o->nreads[i] = group_sources(p, i, &o->reads[i]);
		if (o->nreads[i] < 0)
			return false;
		o->nflags += o->flags[i];
		for (int k = 0; k < p->groups[i].nroots; k++) {
			o->root_of[p->groups[i].roots[k]] = i;
			o->root_at[p->groups[i].roots[k]] = k;
		}
	}
	return true;
}

bool plan_order(struct plan *p, struct arena *scratch)
{
	struct order o = {.p = p, .scratch = scratch};
	int n = p->ngroups;
	bool ok = prepare(&o);

	for (int i = 0; ok && i < p->prog.nouts; i++)
		if (p->prog.outs[i].assign >= 0)
			assigned(&o, &p->prog.outs[i]);
	for (int i = 0; ok && i < p->prog.nouts; i++)
		if (p->prog.outs[i].assign < 0)
			returned(&o, i);
	if (ok) {
		put_aside(&o);
		ok = connect(&o);
	}
	if (ok) {
		sort(&o);
		ok = emit(&o) && plan_compact(p, scratch);
	}
	for (int i = 0; o.reads && i < n; i++)
		free(o.reads[i]);
	return ok && !p->arena.failed;
}
