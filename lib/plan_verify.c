// Is a plan sound?
// In:  a plan. Out: NULL, or the first thing that is wrong.
// Checks numbers and shapes of groups, that every value is read after it was written and before its memory is
// written again, that no two live ranges of the arena overlap, that outputs and variables get their values, and that
// nothing is stored to a variable before what may raise an error.
// Not here: the program (prog_verify.c), kernels.
#include "plan.h"

#include <stdlib.h>

struct check {
	const struct plan *p;
	struct text t;
	int32_t *holds; // by buffer: the pnode whose value is there now, -1
};

static bool fail(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool fail(struct check *c, const char *fmt, ...)
{
	char line[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	if (!c->t.p)
		text_add(&c->t, "%s", line);
	return false;
}

static bool check_buf(struct check *c, int at)
{
	const struct pbuf *b = &c->p->bufs[at];
	int64_t elems = 1;

	for (int i = 0; i < b->rank; i++)
		elems *= b->dims[i].n;
	if (elems * (int64_t)tgc_type_bytes((tgc_type)b->type) > b->bytes)
		return fail(c, "b%d: %lld bytes do not hold its shape", at, (long long)b->bytes);
	if (b->node >= c->p->prog.n)
		return fail(c, "b%d: no such pnode", at);
	if (b->cls == BUF_LEAF && (b->index < 0 || b->index >= c->p->prog.nleaves))
		return fail(c, "b%d: no such leaf", at);
	if (b->cls == BUF_OUT && (b->index < 0 || b->index >= c->p->prog.nouts))
		return fail(c, "b%d: no such output", at);
	if (b->cls == BUF_ARENA && b->bytes > 0 && b->first >= 0 &&
	    (b->offset_bytes < 0 || b->offset_bytes % 64 || b->offset_bytes + b->bytes > c->p->arena_bytes))
		return fail(c, "b%d: outside of the arena", at);
	return true;
}

static bool shares_rows(const struct prog *p, int main, int node)
{
	return same_space(p, main, node) || same_space(p, p->nodes[main].src[0], node);
}

// Size of the k-th axis that is not of size 1; of `like`, which is shaped like it, at that axis.
static int64_t leading(const struct dim *d, int rank, int k, const struct dim *like)
{
	for (int i = 0; i < rank; i++)
		if (d[i].n != 1 && k-- == 0)
			return like[i].n;
	return -1;
}

// What has the group's shape: of a part of a sum, the operand.
static const struct pnode *whole_root(const struct plan *p, const struct group *g, int i)
{
	int node = g->roots[i];

	return &p->prog.nodes[plan_is_part(p, g, i) ? p->prog.nodes[node].src[0] : node];
}

// Blocks of the axes that all roots share.
static bool check_blocks(struct check *c, int at)
{
	const struct plan *p = c->p;
	const struct group *g = &p->groups[at];
	const struct pnode *first = whole_root(p, g, 0);
	int64_t blocks = 1;

	if (g->shared < 1 || g->rows < 1 || (g->kind == GROUP_CHAIN && g->stage[0] != 0))
		return fail(c, "g%d: no shared axes, rows or first stage", at);
	for (int k = 0; k < g->shared; k++) {
		int64_t size = leading(first->dims, first->rank, k, first->dims);

		blocks *= k < g->shared - 1 ? size : (size + g->rows - 1) / g->rows;
	}
	for (int i = 0; i < g->nroots; i++) {
		const struct pnode *n = whole_root(p, g, i);
		const struct pbuf *b = &p->bufs[g->root_bufs[i]];

		if (plan_is_part(p, g, i) && b->bytes != blocks * prog_elems(&p->prog, g->roots[i]) *
		                                           (int64_t)tgc_type_bytes((tgc_type)b->type))
			return fail(c, "g%d: b%d does not hold a part a block", at, g->root_bufs[i]);
		if (g->kind == GROUP_CHAIN && i && g->stage[i] != g->stage[i - 1] && g->stage[i] != g->stage[i - 1] + 1)
			return fail(c, "g%d: stages out of order", at);
		for (int k = 0; k < g->shared; k++) {
			int64_t size = leading(n->dims, n->rank, k, n->dims);
			int64_t part = b->rank == n->rank ? leading(n->dims, n->rank, k, b->dims) : -1;

			if (size < 0 || size != leading(first->dims, first->rank, k, first->dims))
				return fail(c, "g%d: root %%%d does not share axis %d", at, g->roots[i], k);
			if (b->cls == BUF_SCRATCH && part != (k < g->shared - 1 ? 1 : g->rows))
				return fail(c, "g%d: b%d does not hold a block", at, g->root_bufs[i]);
		}
	}
	return true;
}

static bool check_group(struct check *c, int at)
{
	const struct plan *p = c->p;
	const struct group *g = &p->groups[at];

	if (g->nroots == 0)
		return fail(c, "g%d: no roots", at);
	if ((g->main >= 0) !=
	    (g->kind == GROUP_REDUCE || g->kind == GROUP_CONTRACT || g->kind == GROUP_SCATTER))
		return fail(c, "g%d: main does not fit its kind", at);
	if ((g->split > 1) != (g->scratch_buf >= 0))
		return fail(c, "g%d: a split needs scratch, and only it", at);
	if (g->half && (g->split < 2 || (g->half == HALF_CHUNKS && (g->nroots != 1 || g->roots[0] != g->main ||
	                                                             g->root_bufs[0] != g->scratch_buf))))
		return fail(c, "g%d: not a half of a split group", at);
	if ((g->kind == GROUP_CHAIN || (g->rows && !g->half)) && !check_blocks(c, at))
		return false;
	for (int i = 0; i < g->nroots; i++) {
		int node = g->roots[i], like = g->main >= 0 ? g->main : g->roots[0];
		const struct pnode *n = &p->prog.nodes[node];
		const struct pbuf *b = &p->bufs[g->root_bufs[i]];

		if (b->type != n->type)
			return fail(c, "g%d: b%d has another type than %%%d", at, g->root_bufs[i], node);
		if (g->half == HALF_CHUNKS || plan_is_part(p, g, i))
			continue;
		if (b->rank != n->rank)
			return fail(c, "g%d: b%d has another rank than %%%d", at, g->root_bufs[i], node);
		if (g->kind == GROUP_SEGMENTED || g->kind == GROUP_CHAIN)
			continue;
		if (g->kind == GROUP_REDUCE ? !shares_rows(&p->prog, like, node)
		                            : !same_space(&p->prog, like, node))
			return fail(c, "g%d: root %%%d does not have the group's shape", at, node);
	}
	return g->kind != GROUP_SEGMENTED || (g->nsegs > 1 && g->nroots % g->nsegs == 0) ||
	       fail(c, "g%d: %d roots in %d segments", at, g->nroots, g->nsegs);
}

// Buffers of one leaf are one piece of memory.
static void write(struct check *c, int buf, int node)
{
	const struct plan *p = c->p;

	for (int i = 0; p->bufs[buf].cls == BUF_LEAF && i < p->nbufs; i++)
		if (p->bufs[i].cls == BUF_LEAF && p->bufs[i].index == p->bufs[buf].index)
			c->holds[i] = -1;
	c->holds[buf] = node;
}

static bool one_leaf(const struct pbuf *a, const struct pbuf *b)
{
	return a->cls == BUF_LEAF && b->cls == BUF_LEAF && a->index == b->index;
}

static bool is_root(const struct group *g, int node)
{
	for (int i = 0; i < g->nroots; i++)
		if (g->roots[i] == node)
			return true;
	return false;
}

// Does it finish the value for itself?
static bool finishes(const struct plan *p, const struct group *g, int node)
{
	for (int i = 0; i < g->npre; i++)
		if (is_root(&p->groups[g->pre[i]], node))
			return true;
	return false;
}

// `group` writes no leaf that it reads (it is the reader) elsewhere, and nothing that another one of its step reads and
// does not finish for itself; -1: nobody in particular.
static bool apart(struct check *c, int group, int reader, const struct source *s, int n)
{
	const struct plan *p = c->p;
	const struct group *g = &p->groups[group];
	bool own = group == reader;

	for (int i = 0; i < g->nroots; i++) {
		const struct pbuf *b = &p->bufs[g->root_bufs[i]];

		for (int k = 0; k < n; k++) {
			const struct pbuf *r = &p->bufs[p->node_buf[s[k].node]];

			if (reader >= 0 && g->roots[i] == s[k].node && finishes(p, &p->groups[reader], s[k].node))
				continue;
			if (own && one_leaf(b, r) && (s[k].how != READ_EXACT || r != b))
				return fail(c, "g%d: reads %%%d elsewhere than where it writes", group, s[k].node);
			if (!own && (r == b || one_leaf(b, r)))
				return fail(c, "g%d: a group beside it reads %%%d, which it overwrites", group,
				            s[k].node);
		}
	}
	return true;
}

// A buffer may stand for another one of the arena that is just like it.
static bool check_moved(struct check *c, int step)
{
	const struct pstep *s = &c->p->steps[step];

	for (int i = 0; i < s->nmoved; i++) {
		int from = s->moved[2 * i], to = s->moved[2 * i + 1];
		const struct pbuf *a = &c->p->bufs[from], *b = &c->p->bufs[to];

		if (a->cls != BUF_ARENA || b->cls != BUF_ARENA || a->type != b->type || a->bytes != b->bytes ||
		    a->rank != b->rank ||
		    (a->rank && (memcmp(a->dims, b->dims, sizeof *a->dims * a->rank) != 0 ||
		                 memcmp(a->strides, b->strides, sizeof *a->strides * a->rank) != 0)))
			return fail(c, "step %d: b%d cannot stand for b%d", step, to, from);
	}
	return true;
}

static bool check_read(struct check *c, int step, int node)
{
	const struct plan *p = c->p;
	int buf = p->node_buf[node] < 0 ? -1 : plan_step_buf(&p->steps[step], p->node_buf[node]);

	if (buf < 0)
		return fail(c, "step %d: %%%d is not in memory", step, node);
	if (p->bufs[buf].bytes > 0 && c->holds[buf] != node)
		return fail(c, "step %d: b%d does not hold %%%d", step, buf, node);
	if (p->bufs[buf].cls == BUF_SCRATCH)
		return fail(c, "step %d: b%d never leaves its kernel", step, buf);
	return p->bufs[buf].cls != BUF_ARENA || (p->bufs[buf].first <= step && p->bufs[buf].last >= step) ||
	       fail(c, "step %d: b%d is not live", step, buf);
}

// What the group finishes for itself stands in its step, and nobody there overwrites what it comes from.
static bool check_pre(struct check *c, int step, int group, const struct source *reads, int nreads)
{
	const struct plan *p = c->p;
	const struct pstep *at = &p->steps[step];
	const struct group *g = &p->groups[group];
	bool ok = true;

	for (int i = 0; i < g->npre && ok; i++) {
		const struct group *f = &p->groups[g->pre[i]];
		bool *used = calloc((size_t)f->nroots + 1, sizeof *used);
		struct source *s = NULL;
		int n = used ? group_finish(p, f, reads, nreads, used, &s) : -1;

		ok = n >= 0 || fail(c, "out of memory");
		for (int k = at->group; k < at->group + at->ngroups && ok; k++)
			ok = apart(c, k, -1, s, n);
		free(used);
		free(s);
	}
	return ok;
}

static bool check_reads(struct check *c, int step, int group)
{
	const struct plan *p = c->p;
	const struct pstep *at = &p->steps[step];
	const struct group *g = &p->groups[group];
	struct source *s;
	int n = group_sources(p, group, &s);
	bool ok = n >= 0 || fail(c, "out of memory");

	for (int i = 0; i < n && ok; i++)
		ok = finishes(p, g, s[i].node) || check_read(c, step, s[i].node);
	if (ok && g->half == HALF_FINISH && c->holds[plan_step_buf(at, g->scratch_buf)] != g->main)
		ok = fail(c, "step %d: b%d does not hold parts of %%%d", step, g->scratch_buf, g->main);
	for (int k = at->group; k < at->group + at->ngroups && ok; k++)
		ok = plan_is_late(p, at, k) != plan_is_late(p, at, group) || apart(c, k, group, s, n);
	ok = ok && check_pre(c, step, group, s, n);
	free(s);
	return ok;
}

static bool check_kernel(struct check *c, int step)
{
	const struct plan *p = c->p;
	const struct pstep *at = &p->steps[step];
	struct matmul x;
	bool ok = (!at->library || (at->ngroups == 1 && plan_product(p, &p->groups[at->group], &x)) ||
	           fail(c, "step %d: what a library computes is no plain product", step)) &&
	          check_moved(c, step) &&
	          (at->ngroups == 1 || at->nmoved == 0 || fail(c, "step %d: several groups run again", step));

	for (int k = at->group; k < at->group + at->ngroups && ok; k++)
		for (int i = 0; i < p->groups[k].npre && ok; i++)
			ok = (p->groups[k].pre[i] >= at->group && p->groups[k].pre[i] < at->group + at->ngroups &&
			      p->groups[p->groups[k].pre[i]].half == HALF_FINISH) ||
			     fail(c, "g%d: nothing beside it that it could finish", k);
	for (int late = 0; late < 2; late++) {
		for (int k = at->group; k < at->group + at->ngroups && ok; k++)
			ok = plan_is_late(p, at, k) != late || check_reads(c, step, k);
		for (int k = at->group; k < at->group + at->ngroups && ok; k++)
			for (int i = 0; i < p->groups[k].nroots && plan_is_late(p, at, k) == late; i++)
				write(c, plan_step_buf(at, p->groups[k].root_bufs[i]), p->groups[k].roots[i]);
	}
	return ok;
}

static bool check_copy(struct check *c, int step)
{
	const struct pstep *s = &c->p->steps[step];
	const struct pbuf *a = &c->p->bufs[s->src], *b = &c->p->bufs[s->dst];

	if (a->bytes != b->bytes || a->type != b->type)
		return fail(c, "step %d: b%d and b%d differ in size or type", step, s->src, s->dst);
	if (c->holds[s->src] < 0)
		return fail(c, "step %d: b%d holds nothing", step, s->src);
	write(c, s->dst, c->holds[s->src]);
	return true;
}

// Every output's memory holds its value (reshapes put aside) at the end.
static bool check_outs(struct check *c)
{
	const struct plan *p = c->p;

	for (int i = 0; i < p->prog.nouts; i++) {
		const struct pout *o = &p->prog.outs[i];
		int value = prog_stored_as(&p->prog, o->node), cls = o->assign < 0 ? BUF_OUT : BUF_LEAF;
		int index = o->assign < 0 ? i : o->assign;
		bool found = prog_elems(&p->prog, value) == 0 ||
		             (o->assign >= 0 && p->prog.leaves[o->assign].node == value);

		for (int k = 0; k < p->nbufs && !found; k++)
			found = p->bufs[k].cls == cls && p->bufs[k].index == index && c->holds[k] == value;
		if (!found)
			return fail(c, "output %d: nothing leaves %%%d in its memory", i, value);
	}
	return true;
}

static int by_offset(const void *x, const void *y)
{
	const struct pbuf *a = *(const struct pbuf *const *)x, *b = *(const struct pbuf *const *)y;

	return a->offset_bytes < b->offset_bytes ? -1 : a->offset_bytes > b->offset_bytes;
}

static bool check_arena(struct check *c)
{
	const struct plan *p = c->p;
	const struct pbuf **list = malloc(sizeof(const struct pbuf *) * (size_t)(p->nbufs + 1));
	bool ok = list || fail(c, "out of memory");
	int n = 0;

	for (int i = 0; i < p->nbufs && ok; i++)
		if (p->bufs[i].cls == BUF_ARENA && p->bufs[i].first >= 0 && p->bufs[i].bytes > 0)
			list[n++] = &p->bufs[i];
	if (n)
		qsort(list, (size_t)n, sizeof *list, by_offset);
	for (int i = 0; i < n && ok; i++) {
		int64_t end = list[i]->offset_bytes + list[i]->bytes;

		for (int k = i + 1; k < n && list[k]->offset_bytes < end && ok; k++)
			if (list[i]->first <= list[k]->last && list[k]->first <= list[i]->last)
				ok = fail(c, "b%d and b%d overlap in the arena", (int)(list[i] - p->bufs),
				          (int)(list[k] - p->bufs));
	}
	free(list);
	return ok;
}

static bool check_steps(struct check *c)
{
	const struct plan *p = c->p;

	for (int i = 0; i < p->nbufs; i++) {
		const struct pbuf *b = &p->bufs[i];

		c->holds[i] = b->cls == BUF_LEAF && b->node >= 0 && p->prog.nodes[b->node].leaf == b->index &&
		                      op_info[p->prog.nodes[b->node].op].cls == CLASS_SOURCE
		                  ? b->node
		                  : -1;
	}
	for (int i = 0; i < p->nsteps; i++)
		if (p->steps[i].kind == STEP_KERNEL ? !check_kernel(c, i) : !check_copy(c, i))
			return false;
	return true;
}

static bool stores(const struct plan *p, const struct pstep *s)
{
	if (s->kind == STEP_COPY)
		return p->bufs[s->dst].cls == BUF_LEAF;
	for (int k = s->group; k < s->group + s->ngroups; k++)
		for (int i = 0; i < p->groups[k].nroots; i++)
			if (p->bufs[plan_step_buf(s, p->groups[k].root_bufs[i])].cls == BUF_LEAF)
				return true;
	return false;
}

static bool check_raises(struct check *c)
{
	const struct plan *p = c->p;
	struct arena scratch;
	int stored = -1;
	arena_init(&scratch, p->arena.host);
	const bool *raises = group_raises(p, &scratch, false);
	bool *ran = ARENA_ARRAY(&scratch, bool, p->ngroups + 1); // what runs again only repeats its checks
	bool ok = (raises && ran) || fail(c, "out of memory");
	for (int i = 0; i < p->nsteps && ok; i++) {
		const struct pstep *s = &p->steps[i];

		stored = stored < 0 && stores(p, s) ? i : stored;
		for (int k = s->group; k < s->group + s->ngroups && s->kind == STEP_KERNEL && stored >= 0 && ok; k++)
			ok = !raises[k] || ran[k] ||
			     fail(c, "g%d: may raise an error after step %d stored to a variable", k, stored);
		for (int k = s->group; k < s->group + s->ngroups && s->kind == STEP_KERNEL; k++)
			ran[k] = true;
	}
	arena_free(&scratch);
	return ok;
}

char *plan_verify(const struct plan *p)
{
	struct check c = {.p = p};
	char *program = prog_verify(&p->prog);
	bool ok = true;

	if (program)
		return program;
	c.holds = calloc((size_t)p->nbufs + 1, sizeof *c.holds);
	if (!c.holds)
		ok = fail(&c, "out of memory");
	for (int i = 0; i < p->nbufs && ok; i++)
		ok = check_buf(&c, i);
	for (int i = 0; i < p->ngroups && ok; i++)
		ok = check_group(&c, i);
	if (ok && check_steps(&c) && check_outs(&c) && check_raises(&c))
		check_arena(&c);
	free(c.holds);
	return c.t.p ? text_take(&c.t) : NULL;
}
