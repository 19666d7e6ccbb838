// Argmax by operations that fuse: m = max(x); hit = x == m or x is NaN; min of (hit ? position : size).
// In:  any program. Out: one without ARGMAX. The first of equals wins, the first NaN before everything.
// Positions are i32 where they fit: twice the lanes.
#include "plan.h"

static int positions(struct prog *to, tgc_type t, const struct pnode *x, int64_t axis)
{
	return prog_add(to, OP_IOTA, t, x->rank, x->dims, 0, NULL, 1, &axis);
}

static int spread(struct prog *to, const struct pnode *x, int reduced)
{
	int32_t src = reduced;

	return prog_add(to, OP_EXPAND, (tgc_type)x->type, x->rank, x->dims, 1, &src, 0, NULL);
}

static int pick_first(struct prog *to, const struct pnode *n, const struct pnode *x, int hit)
{
	int axis = __builtin_ctzll((unsigned long long)n->attr[0]);
	tgc_type t = x->dims[axis].n <= INT32_MAX ? TGC_I32 : TGC_I64;
	int32_t src[3] = {hit, positions(to, t, x, axis),
	                  prog_add_full(to, t, x->rank, x->dims, (union number){.i = x->dims[axis].n})};
	int32_t at = prog_add(to, OP_SELECT, t, x->rank, x->dims, 3, src, 0, NULL);

	at = prog_add(to, OP_RMIN, t, n->rank, n->dims, 1, &at, 1, n->attr);
	return t == TGC_I64 ? at : prog_add1(to, OP_CAST, TGC_I64, at);
}

static int visit(void *user, struct prog *to, const struct prog *from, int node, const int32_t *src)
{
	const struct pnode *n = &from->nodes[node], *x;
	int max, hit;

	(void)user;
	if (n->op != OP_ARGMAX)
		return prog_keep(to, n, src);
	x = &from->nodes[n->src[0]];
	max = prog_add(to, OP_RMAX, (tgc_type)x->type, n->rank, n->dims, 1, src, 1, n->attr);
	hit = prog_add2(to, OP_EQ, TGC_BOOL, src[0], spread(to, x, max));
	if (type_is_float((tgc_type)x->type))
		hit = prog_add2(to, OP_OR, TGC_BOOL, hit, prog_add2(to, OP_NE, TGC_BOOL, src[0], src[0]));
	return pick_first(to, n, x, hit);
}

void pass_argmax(struct prog *p)
{
	for (int i = 0; i < p->n; i++) {
		if (p->nodes[i].op == OP_ARGMAX) {
			prog_rewrite(p, visit, NULL);
			return;
		}
	}
}
