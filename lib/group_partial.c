// Column sums beside row work: each block of rows leaves its part of them.
// In:  a plan with its steps in order, a group each. Out: a group that computes rows also takes sums down those rows of
// what it reads or computes: it goes through blocks of rows, and each row is added to the block's parts while it is at
// hand. What is left of the sum's own group adds the parts up in order (HALF_FINISH). So the gradients of a norm's
// parameters do not read its rows again, and what only they need is stored nowhere. Which sums: the leading axes
// are reduced, and the walk from the sum back through its operands asks for the group's values in the row alone. Blocks
// follow from the shape. It pays where rows do not stay in the cache.
// Not here: loops (codegen/lower_chain.c), where an index goes (group_shared.c), finishing (group_late.c).
#include "plan.h"

#include <stdlib.h>

enum { MAX_SUMS = 4, MAX_ROOTS = 16, MAX_OPS = 64 };
enum { BLOCKS = 64, MIN_BLOCKS = 8, MIN_ROWS = 16, MAX_ROWS = 512 }; // MAX_ROWS: terms of one accumulator
enum { MIN_COLUMNS = 64 }; // shorter rows are better computed side by side

struct facts { // of a group
	struct source *reads; // malloc'ed
	int nreads;
	struct group_size size;
	int step;             // its place; of a sum that was taken along: the one behind which it is finished
	int nsums;            // that it takes along
	struct group *finish; // what is left of a sum that was taken along
	int nfinish;
	int32_t next; // of the groups that are finished behind one step, plus one
};
struct taking { // sums of one group that another one is asked to take along
	int row, column; // the two groups
	int n;
	int32_t sums[MAX_SUMS];
	int shared;
	int64_t rows, blocks;
	double saved, parts; // bytes
};
struct partial {
	struct plan *p;
	const struct target *t;
	struct arena *scratch;
	struct facts *facts; // by group
	int32_t *root_of;    // by pnode: its group, -1
	int32_t *readers, *reader_at, *reader; // by pnode: how many groups read it, the first of them in the list
	int32_t *behind;                       // by step: the first group that is finished behind it, plus one
	bool any;                              // sums were taken along
	int32_t *seen;                         // by pnode: the walk that met it
	struct shared_axes *axes;                     // by pnode: of that walk
	int32_t *stack;
	int32_t walk;
};

// ---- facts --------------------------------------------------------------------------------------------------
static bool list_readers(struct partial *s)
{
	const struct plan *p = s->p;
	int total = 0;

	for (int i = 0; i < p->ngroups; i++)
		for (int k = 0; k < s->facts[i].nreads; k++)
			s->readers[s->facts[i].reads[k].node]++;
	for (int v = 0; v < p->prog.n; v++) {
		s->reader_at[v] = total;
		total += s->readers[v];
		s->readers[v] = 0;
	}
	s->reader = ARENA_ARRAY(s->scratch, int32_t, total + 1);
	for (int i = 0; s->reader && i < p->ngroups; i++)
		for (int k = 0; k < s->facts[i].nreads; k++) {
			int node = s->facts[i].reads[k].node;

			s->reader[s->reader_at[node] + s->readers[node]++] = i;
		}
	return s->reader != NULL;
}

static bool learn(struct partial *s)
{
	const struct plan *p = s->p;

	for (int v = 0; v < p->prog.n; v++)
		s->root_of[v] = -1;
	for (int i = 0; i < p->ngroups; i++) {
		struct facts *f = &s->facts[i];

		f->nreads = group_walk(p, i, &f->reads, &f->size);
		if (f->nreads < 0)
			return false;
		for (int k = 0; k < p->groups[i].nroots; k++)
			s->root_of[p->groups[i].roots[k]] = i;
	}
	for (int i = 0; i < p->nsteps; i++)
		if (p->steps[i].kind == STEP_KERNEL)
			s->facts[p->steps[i].group].step = i;
	return list_readers(s);
}

static double bytes_of(const struct prog *p, int node)
{
	return (double)prog_elems(p, node) * (double)tgc_type_bytes((tgc_type)p->nodes[node].type);
}

static bool reads(const struct facts *f, int node)
{
	for (int k = 0; k < f->nreads; k++)
		if (f->reads[k].node == node)
			return true;
	return false;
}

static bool one_memory(const struct pbuf *a, const struct pbuf *b)
{
	return a == b || (a->cls == BUF_LEAF && b->cls == BUF_LEAF && a->index == b->index);
}

static bool writes(const struct plan *p, int group, int node)
{
	const struct group *g = &p->groups[group];

	for (int i = 0; i < g->nroots; i++)
		if (one_memory(&p->bufs[g->root_bufs[i]], &p->bufs[p->node_buf[node]]))
			return true;
	return false;
}

// ---- which sums ---------------------------------------------------------------------------------------------
// How many axes it reduces, those of size 1 put aside, where they are the leading ones of several; 0: they are not.
static int leading_axes(const struct prog *p, int sum)
{
	const struct pnode *n = &p->nodes[sum], *x = &p->nodes[n->src[0]];
	int reduced = 0, kept = 0;

	for (int i = 0; i < x->rank; i++) {
		if (x->dims[i].n == 1)
			continue;
		if (!(n->attr[0] >> i & 1))
			kept++;
		else if (kept)
			return 0;
		else
			reduced++;
	}
	return kept && reduced <= MAX_SHARED ? reduced : 0;
}

// The only reduction that the root is computed from; -1: there is another one, or none.
static int sum_of(struct partial *s, const struct group *g, int root)
{
	const struct prog *p = &s->p->prog;
	int n = 0, found = -1;

	s->seen[root] = ++s->walk;
	s->stack[n++] = root;
	while (n > 0) {
		int node = s->stack[--n];
		const struct pnode *x = &p->nodes[node];

		if (s->p->node_buf[node] >= 0 && s->root_of[node] != s->root_of[root])
			continue;
		if (op_info[x->op].cls == CLASS_REDUCE) {
			if (found >= 0)
				return -1;
			found = node;
			continue;
		}
		if (op_info[x->op].cls == CLASS_CONTRACT || op_info[x->op].cls == CLASS_INDEX)
			return -1;
		for (int k = 0; k < x->nsrc; k++) {
			if (s->seen[x->src[k]] == s->walk)
				continue;
			s->seen[x->src[k]] = s->walk;
			s->stack[n++] = x->src[k];
		}
	}
	return found >= 0 && same_space(p, found, g->main) ? found : -1;
}

// Lists the sums of a group; false: not each of its roots hangs on one alone.
static bool list_sums(struct partial *s, int group, struct taking *t, int32_t *sum_of_root)
{
	const struct group *g = &s->p->groups[group];

	t->n = 0;
	for (int i = 0; i < g->nroots; i++) {
		int sum = sum_of(s, g, g->roots[i]), k = 0;

		if (sum < 0)
			return false;
		while (k < t->n && t->sums[k] != sum)
			k++;
		if (k == MAX_SUMS)
			return false;
		t->sums[k] = sum_of_root[i] = sum;
		t->n += k == t->n;
	}
	t->shared = leading_axes(&s->p->prog, t->sums[0]);
	for (int k = 0; k < t->n; k++)
		if (leading_axes(&s->p->prog, t->sums[k]) != t->shared ||
		    !same_space(&s->p->prog, s->p->prog.nodes[t->sums[k]].src[0], s->p->prog.nodes[t->sums[0]].src[0]))
			return false;
	return t->shared > 0;
}

// ---- may the rows' group take them along? -------------------------------------------------------------------
// A stored value: it is there before the rows' group runs. What that group has at hand is counted.
static bool stored_value(const struct partial *s, int node, struct taking *t)
{
	const struct plan *p = s->p;
	int from = s->root_of[node];
	bool whole = same_space(&p->prog, node, p->prog.nodes[t->sums[0]].src[0]);

	if (from == t->column || writes(p, t->row, node))
		return false;
	if (whole && reads(&s->facts[t->row], node))
		t->saved += bytes_of(&p->prog, node);
	return from < 0 || s->facts[from].step < s->facts[t->row].step;
}

// A value of the rows' group; what nobody else reads need not be stored.
static bool own_value(const struct partial *s, int node, struct taking *t)
{
	const struct plan *p = s->p;
	bool last = s->readers[node] == 1 && p->bufs[p->node_buf[node]].cls == BUF_ARENA;

	if (same_space(&p->prog, node, p->prog.nodes[t->sums[0]].src[0]))
		t->saved += bytes_of(&p->prog, node) * (last ? 2 : 1);
	return true;
}

// Visits a value with its axes; false: it cannot be computed among the rows.
static bool visit(struct partial *s, int node, struct shared_axes a, int *n, struct taking *t)
{
	const struct plan *p = s->p;
	const struct pnode *x = &p->prog.nodes[node];
	bool own = s->root_of[node] == t->row, stored = p->node_buf[node] >= 0;

	if (own && !shared_equal(a, shared_leading(x, t->shared), t->shared))
		return false;
	if (s->seen[node] == s->walk)
		return stored || op_info[x->op].cls == CLASS_SOURCE ||
		       shared_equal(s->axes[node], a, t->shared);
	s->seen[node] = s->walk;
	s->axes[node] = a;
	if (stored)
		return own ? own_value(s, node, t) : stored_value(s, node, t);
	if (!op_is_elementwise(x->op) && op_info[x->op].cls != CLASS_MOVE && op_info[x->op].cls != CLASS_SOURCE)
		return false;
	s->stack[(*n)++] = node;
	return true;
}

static bool operands(struct partial *s, int node, struct shared_axes a, int *n, struct taking *t)
{
	const struct pnode *x = &s->p->prog.nodes[node];

	for (int k = 0; k < x->nsrc; k++)
		if (!visit(s, x->src[k], shared_all_through(&s->p->prog, node, k, a, t->shared), n, t))
			return false;
	return true;
}

static bool walk_sums(struct partial *s, struct taking *t)
{
	const struct prog *p = &s->p->prog;
	int n = 0;

	s->walk++;
	for (int k = 0; k < t->n; k++) {
		struct shared_axes a = shared_leading(&p->nodes[p->nodes[t->sums[k]].src[0]], t->shared);

		if (!operands(s, t->sums[k], a, &n, t))
			return false;
		while (n > 0) {
			int node = s->stack[--n];

			if (!operands(s, node, s->axes[node], &n, t))
				return false;
		}
	}
	return true;
}

// The sums' group goes behind the rows' one, if it stands before it: nobody in between needs or disturbs it.
static bool may_wait(const struct partial *s, const struct taking *t)
{
	const struct plan *p = s->p;
	const struct group *g = &p->groups[t->column];
	const struct facts *f = &s->facts[t->column];

	for (int i = f->step + 1; i <= s->facts[t->row].step; i++) {
		int group = p->steps[i].group;

		if (p->steps[i].kind == STEP_COPY)
			return false;
		for (int k = 0; k < g->nroots; k++)
			if (reads(&s->facts[group], g->roots[k]))
				return false;
		for (int k = 0; k < f->nreads; k++)
			if (writes(p, group, f->reads[k].node))
				return false;
	}
	return true;
}

static bool same_rows(const struct partial *s, const struct taking *t)
{
	const struct prog *p = &s->p->prog;
	const struct group *g = &s->p->groups[t->row];
	const struct pnode *x = &p->nodes[p->nodes[t->sums[0]].src[0]];

	if (!same_space(p, p->nodes[t->sums[0]].src[0], g->main < 0 ? g->roots[0] : p->nodes[g->main].src[0]))
		return false;
	for (int i = 0; i < g->nroots - s->facts[t->row].nsums; i++)
		for (int k = 0; k < t->shared; k++) {
			int axis = shared_axis(&p->nodes[g->roots[i]], k);

			if (axis < 0 || p->nodes[g->roots[i]].dims[axis].n != x->dims[shared_axis(x, k)].n)
				return false;
		}
	return true;
}

// Blocks of even size, enough for any number of threads; each leaves little beside what its rows are.
static bool choose_rows(const struct partial *s, struct taking *t)
{
	const struct prog *p = &s->p->prog;
	const struct pnode *x = &p->nodes[p->nodes[t->sums[0]].src[0]];
	int64_t outer = 1, n = x->dims[shared_axis(x, t->shared - 1)].n, most, tiles;

	for (int k = 0; k < t->shared - 1; k++)
		outer *= x->dims[shared_axis(x, k)].n;
	most = outer * n / BLOCKS;
	most = most < MIN_ROWS ? MIN_ROWS : most > MAX_ROWS ? MAX_ROWS : most;
	tiles = (n + most - 1) / most;
	t->rows = (n + tiles - 1) / tiles;
	for (int64_t even = tiles; even < 2 * tiles && n / even >= MIN_ROWS; even++)
		if (n % even == 0) {
			t->rows = n / even;
			break;
		}
	t->blocks = outer * ((n + t->rows - 1) / t->rows);
	t->parts = 0;
	for (int k = 0; k < t->n; k++)
		t->parts += (double)t->blocks * bytes_of(p, t->sums[k]);
	return n >= MIN_ROWS && t->blocks >= MIN_BLOCKS && prog_elems(p, t->sums[0]) >= MIN_COLUMNS;
}

static bool takes(struct partial *s, struct taking *t)
{
	const struct group *g = &s->p->groups[t->row];
	const struct facts *f = &s->facts[t->row], *c = &s->facts[t->column];

	t->saved = 0;
	return t->row != t->column && (g->kind == GROUP_MAP || g->kind == GROUP_REDUCE) && g->split <= 1 && !g->half &&
	       !f->size.flags && !f->nfinish && f->nsums + t->n <= MAX_SUMS && g->nroots + t->n <= MAX_ROOTS &&
	       f->size.ops + c->size.ops <= MAX_OPS && (g->rows == 0 || g->shared == t->shared) && same_rows(s, t) &&
	       choose_rows(s, t) && may_wait(s, t) && walk_sums(s, t) && t->saved >= (double)s->t->l2_bytes &&
	       t->saved >= 8 * t->parts && 4 * (t->parts / (double)t->blocks) <= (double)s->t->l2_bytes;
}

// ---- the new groups -----------------------------------------------------------------------------------------
static int part_buf(struct plan *p, int sum, int64_t blocks)
{
	struct group g = {.main = sum, .split = blocks};

	plan_split(p, &g);
	return g.scratch_buf;
}

static bool take(struct partial *s, const struct taking *t, const int32_t *sum_of_root)
{
	struct plan *p = s->p;
	struct group *row = &p->groups[t->row];
	const struct group *column = &p->groups[t->column];
	struct facts *f = &s->facts[t->row], *c = &s->facts[t->column];
	size_t n = sizeof *row->roots * (size_t)row->nroots, more = sizeof *row->roots * (size_t)(row->nroots + t->n);

	row->roots = arena_grow(&p->arena, row->roots, n, more);
	row->root_bufs = arena_grow(&p->arena, row->root_bufs, n, more);
	c->finish = ARENA_ARRAY(&p->arena, struct group, t->n);
	for (int k = 0; k < t->n && !p->arena.failed; k++) {
		struct group *finish = &c->finish[c->nfinish++];

		*finish = *column;
		finish->main = t->sums[k];
		finish->half = HALF_FINISH;
		finish->split = t->blocks;
		finish->shared = t->shared;
		finish->rows = t->rows;
		finish->scratch_buf = part_buf(p, t->sums[k], t->blocks);
		finish->nroots = 0;
		finish->roots = ARENA_ARRAY(&p->arena, int32_t, column->nroots);
		finish->root_bufs = ARENA_ARRAY(&p->arena, int32_t, column->nroots);
		for (int i = 0; i < column->nroots && !p->arena.failed; i++) {
			if (sum_of_root[i] != t->sums[k])
				continue;
			finish->roots[finish->nroots] = column->roots[i];
			finish->root_bufs[finish->nroots++] = column->root_bufs[i];
		}
		row->roots[row->nroots] = t->sums[k];
		row->root_bufs[row->nroots++] = finish->scratch_buf;
	}
	row->shared = t->shared;
	row->rows = t->rows;
	f->nsums += t->n;
	f->size.ops += c->size.ops;
	c->step = c->step > f->step ? c->step : f->step;
	s->any = true;
	return !p->arena.failed;
}

// Hands the group's sums to the one that saves most by taking them along.
static bool give(struct partial *s, int column)
{
	const struct plan *p = s->p;
	const struct group *g = &p->groups[column];
	const struct facts *f = &s->facts[column];
	struct taking t = {.column = column}, best = {0};
	int32_t sum_of_root[MAX_ROOTS];

	if (g->kind != GROUP_REDUCE || g->half || g->rows || f->size.flags || g->nroots > MAX_ROOTS ||
	    !leading_axes(&p->prog, g->main) || !list_sums(s, column, &t, sum_of_root))
		return true;
	for (int k = 0; k < f->nreads; k++) {
		int node = f->reads[k].node;

		if (bytes_of(&p->prog, node) < (double)s->t->l2_bytes / 2)
			continue;
		for (int i = -1; i < s->readers[node]; i++) {
			t.row = i < 0 ? s->root_of[node] : s->reader[s->reader_at[node] + i];
			if (t.row >= 0 && takes(s, &t) && t.saved > best.saved)
				best = t;
		}
	}
	return best.saved == 0 || take(s, &best, sum_of_root);
}

static bool copied(const struct plan *p, int buf)
{
	for (int i = 0; i < p->nsteps; i++)
		if (p->steps[i].kind == STEP_COPY && p->steps[i].src == buf)
			return true;
	return false;
}

// Steps and groups in the new order: sums are finished behind the step where their parts are, or where they were.
static bool rebuild(struct partial *s)
{
	struct plan *p = s->p;
	int room = p->ngroups * MAX_SUMS, n = 0;
	struct group *groups = ARENA_ARRAY(&p->arena, struct group, room + 1);
	struct pstep *steps = ARENA_ARRAY(&p->arena, struct pstep, p->nsteps + room + 1);
	int nsteps = 0;

	for (int j = p->ngroups - 1; j >= 0; j--) {
		struct facts *f = &s->facts[j];

		if (!f->nfinish)
			continue;
		f->next = s->behind[f->step];
		s->behind[f->step] = j + 1;
	}
	for (int i = 0; i < p->nsteps && !p->arena.failed; i++) {
		int group = p->steps[i].group;

		if (p->steps[i].kind == STEP_COPY) {
			steps[nsteps++] = p->steps[i];
		} else if (!s->facts[group].nfinish) {
			steps[nsteps] = p->steps[i];
			steps[nsteps++].group = n;
			groups[n++] = p->groups[group];
		}
		for (int j = s->behind[i]; j > 0; j = s->facts[j - 1].next)
			for (int k = 0; k < s->facts[j - 1].nfinish; k++) {
				steps[nsteps++] =
				    (struct pstep){.kind = STEP_KERNEL, .group = n, .ngroups = 1, .kernel = -1};
				groups[n++] = s->facts[j - 1].finish[k];
			}
	}
	p->groups = groups;
	p->ngroups = n;
	p->steps = steps;
	p->nsteps = nsteps;
	return !p->arena.failed;
}

// What only the sums needed is stored no longer.
static bool drop_unread(struct partial *s)
{
	struct plan *p = s->p;
	bool *read = ARENA_ARRAY(s->scratch, bool, p->prog.n);

	for (int i = 0; read && i < p->ngroups; i++) {
		struct source *from;
		int n = group_sources(p, i, &from);

		for (int k = 0; k < n; k++)
			read[from[k].node] = true;
		free(from);
		if (n < 0)
			return false;
	}
	for (int i = 0; read && i < p->ngroups; i++) {
		struct group *g = &p->groups[i];
		int n = 0;

		if (!g->rows || g->kind == GROUP_CHAIN || g->half)
			continue;
		for (int k = 0; k < g->nroots; k++) {
			int buf = g->root_bufs[k], node = g->roots[k];

			if (!plan_is_part(p, g, k) && p->bufs[buf].cls == BUF_ARENA && !read[node] && !copied(p, buf)) {
				p->node_buf[node] = -1;
				continue;
			}
			g->roots[n] = node;
			g->root_bufs[n++] = buf;
		}
		g->nroots = n;
	}
	return read != NULL;
}

static bool reserve(struct partial *s)
{
	struct plan *p = s->p;
	int more = MAX_SUMS * p->ngroups;

	p->bufs = arena_grow(&p->arena, p->bufs, sizeof *p->bufs * (size_t)p->nbufs,
	                     sizeof *p->bufs * (size_t)(p->nbufs + more));
	return p->bufs != NULL;
}

bool plan_partial(struct plan *p, const struct target *t, struct arena *scratch)
{
	struct partial s = {.p = p, .t = t, .scratch = scratch};
	int n = p->ngroups;
	bool ok;

	if (t->family != FAMILY_CPU)
		return true;
	s.facts = ARENA_ARRAY(scratch, struct facts, n + 1);
	s.root_of = ARENA_ARRAY(scratch, int32_t, p->prog.n);
	s.readers = ARENA_ARRAY(scratch, int32_t, p->prog.n);
	s.reader_at = ARENA_ARRAY(scratch, int32_t, p->prog.n);
	s.behind = ARENA_ARRAY(scratch, int32_t, p->nsteps + 1);
	s.seen = ARENA_ARRAY(scratch, int32_t, p->prog.n);
	s.axes = ARENA_ARRAY(scratch, struct shared_axes, p->prog.n);
	s.stack = ARENA_ARRAY(scratch, int32_t, p->prog.n + 1);
	ok = !scratch->failed && learn(&s) && reserve(&s);
	for (int i = 0; i < n && ok; i++)
		ok = give(&s, i);
	if (ok && s.any)
		ok = rebuild(&s) && drop_unread(&s) && plan_compact(p, scratch);
	for (int i = 0; s.facts && i < n; i++)
		free(s.facts[i].reads);
	return ok;
}
