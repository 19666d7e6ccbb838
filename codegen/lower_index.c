// Gather, scatter and check.
// In:  an index pnode. Out: values that never touch memory outside a buffer, and a store of 1 into the flags
// buffer at the site's number where an index or a condition is wrong.
// Scatter is deterministic: positions are taken in order, in parallel over the axes that are not scattered.
#include "lower.h"

static void raise(struct lower *lo, int node, int bad)
{
	const struct plan *p = lo->plan;
	int site = 0;
	if (lower_never(lo, bad))
		return;
	while (site < p->nflags && p->flag_nodes[site] != node)
		site++;
	if (site == p->nflags) {
		lower_fail(lo, "pnode %d has no error site", node);
		return;
	}
	int one = kb_const(&lo->b, TGC_I32, (union number){.i = 1});
	kb_store(&lo->b, lower_flags(lo), kb_int(&lo->b, site), one, kb_and(&lo->b, lo->guard, bad), K_NONE);
}

int lower_check(struct lower *lo, int node, const int *idx)
{
	const struct pnode *n = NODE(lo, node);
	raise(lo, node, kb_op1(&lo->b, OP_NOT, TGC_BOOL, lower_value(lo, n->src[1], idx)));
	return lower_value(lo, n->src[0], idx);
}

static int clamp(struct lower *lo, int v, int64_t n)
{
	struct kbuild *b = &lo->b;
	return kb_op2(b, OP_MAX, TGC_I64, kb_op2(b, OP_MIN, TGC_I64, v, kb_int(b, n - 1)), kb_int(b, 0));
}

int lower_gather(struct lower *lo, int node, const int *idx)
{
	const struct pnode *n = NODE(lo, node), *x = NODE(lo, n->src[0]), *index = NODE(lo, n->src[1]);
	int64_t axis = n->attr[0], size = x->dims[axis].n;
	int at[LOWER_RANK];
	int pick = lower_cast(lo, lower_value(lo, n->src[1], idx + axis), TGC_I64);
	int good = lower_inside(lo, pick, 0, size);
	if (good != K_NONE)
		raise(lo, node, kb_op1(&lo->b, OP_NOT, TGC_BOOL, good));
	if (size == 0)
		return kb_const(&lo->b, n->type, (union number){.i = 0});
	for (int a = 0; a < x->rank; a++)
		at[a] = a < axis ? idx[a] : a == axis ? pick : idx[a + index->rank - 1];
	if (good != K_NONE)
		at[axis] = clamp(lo, pick, size);
	return lower_value(lo, n->src[0], at);
}

struct scatter {
	const struct pnode *n, *index;
	int64_t axis;
	int at[LOWER_RANK]; // index vector of the result
	const struct pbuf *to;
	int buf;
};

static void copy_base(struct lower *lo, struct scatter *s)
{
	struct kbuild *b = &lo->b;
	const struct pnode *n = s->n;
	if (lower_loaded(lo, n->src[0]) && lower_buf(lo, lower_plan_buf(lo, n->src[0])) == s->buf)
		return; // updated in place
	int loop = kb_for(b, AXIS_PAR, kb_int(b, 0), kb_int(b, n->dims[s->axis].n), 0, NULL, NULL);
	s->at[s->axis] = kb_index(b, loop);
	kb_store(b, s->buf, lower_at(lo, s->to, s->at), lower_value(lo, n->src[0], s->at), K_NONE, K_NONE);
	kb_end(b, loop, NULL);
	lower_forget(lo);
}

static void update(struct lower *lo, struct scatter *s, int node, const int *pos)
{
	struct kbuild *b = &lo->b;
	const struct pnode *n = s->n;
	int from[LOWER_RANK], next;
	for (int a = 0; a < NODE(lo, n->src[2])->rank; a++) {
		bool in = a >= s->axis && a < s->axis + s->index->rank;
		from[a] = a < s->axis ? s->at[a] : in ? pos[a - s->axis] : s->at[a - s->index->rank + 1];
	}
	int pick = lower_cast(lo, lower_value(lo, n->src[1], pos), TGC_I64);
	int good = lower_inside(lo, pick, 0, n->dims[s->axis].n);
	if (good != K_NONE)
		raise(lo, node, kb_op1(b, OP_NOT, TGC_BOOL, good));
	int old = lower_with(lo, good);
	next = lower_value(lo, n->src[2], from);
	s->at[s->axis] = pick;
	int where = lower_at(lo, s->to, s->at);
	if (n->attr[1]) {
		int x = kb_load(b, s->buf, where, lo->guard, K_NONE);
		next = kb_op2(b, n->attr[1] == 1 ? OP_ADD : OP_MAX, n->type, x, next);
	}
	kb_store(b, s->buf, where, next, lo->guard, K_NONE);
	lo->guard = old;
}

static void updates(struct lower *lo, struct scatter *s, int node)
{
	struct kbuild *b = &lo->b;
	int loop[LOWER_RANK], pos[LOWER_RANK];
	for (int a = 0; a < s->index->rank; a++) {
		loop[a] = kb_for(b, AXIS_SERIAL, kb_int(b, 0), kb_int(b, s->index->dims[a].n), 0, NULL, NULL);
		pos[a] = kb_index(b, loop[a]);
	}
	update(lo, s, node, pos);
	for (int a = s->index->rank - 1; a >= 0; a--)
		kb_end(b, loop[a], NULL);
}

void lower_scatter(struct lower *lo)
{
	const struct group *g = lo->group;
	int node = g->main, loop[LOWER_RANK], nloops = 0;
	struct scatter s = {.n = NODE(lo, node), .index = NODE(lo, NODE(lo, node)->src[1])};
	if (g->nroots != 1 || g->roots[0] != node) {
		lower_fail(lo, "a scatter must be the only root of its group");
		return;
	}
	s.axis = s.n->attr[0];
	s.to = &lo->plan->bufs[g->root_bufs[0]];
	s.buf = lower_buf(lo, g->root_bufs[0]);
	kbuild_init(&lo->b, lo->k, kernel_phase(lo->k));
	lo->home = lo->b.region;
	for (int a = 0; a < s.n->rank; a++) {
		if (a == s.axis)
			continue;
		loop[nloops] =
		    kb_for(&lo->b, AXIS_PAR, kb_int(&lo->b, 0), kb_int(&lo->b, s.n->dims[a].n), 0, NULL, NULL);
		s.at[a] = kb_index(&lo->b, loop[nloops++]);
	}
	copy_base(lo, &s);
	updates(lo, &s, node);
	while (nloops)
		kb_end(&lo->b, loop[--nloops], NULL);
	kbuild_done(&lo->b);
}
