// f16 and bf16 in f32: arithmetic is done wide, and a chain is rounded once, at its end.
// In:  any program without ARGMAX. Out: one where 16-bit values are only stored, moved, compared with nothing
//      and cast; every operation that computes is f32.
// A value stays wide, unrounded, where its one user is arithmetic of its type or a reduction. Everything else
// (several users, movement, contractions, compares, casts, outputs) sees it rounded. The rule looks at the
// program alone, so fusion never changes bits.
#include "plan.h"

struct widen {
	int32_t *uses;
	bool *whole;   // the one user takes the value unrounded; by old node
	int32_t *wide; // by old node: f32 number in the new program, -1: not made yet
};

static bool narrow(const struct pnode *n)
{
	return n->type == TGC_F16 || n->type == TGC_BF16;
}

// Elementwise operations that compute: their value may be kept wide.
static bool arithmetic(const struct pnode *n)
{
	return narrow(n) && op_is_elementwise(n->op) && n->op != OP_CAST && n->op != OP_BITCAST;
}

static bool is_reduction(const struct pnode *n)
{
	return n->op == OP_SUM || n->op == OP_RMAX || n->op == OP_RMIN;
}

// Operations that compute on 16-bit operands and must not.
static bool widened(const struct prog *p, const struct pnode *n)
{
	if (op_info[n->op].cls == CLASS_COMPARE)
		return narrow(&p->nodes[n->src[0]]);
	if (!narrow(n))
		return false;
	return arithmetic(n) || is_reduction(n) || n->op == OP_CONTRACT || n->op == OP_FOLD ||
	       n->op == OP_IOTA || (n->op == OP_SCATTER && n->attr[1] != 0);
}

static void find_whole(const struct prog *p, struct widen *w)
{
	for (int i = 0; i < p->n; i++) {
		const struct pnode *n = &p->nodes[i];

		for (int s = 0; s < n->nsrc; s++) {
			const struct pnode *x = &p->nodes[n->src[s]];

			if ((arithmetic(n) || (narrow(n) && is_reduction(n))) && arithmetic(x))
				w->whole[n->src[s]] = w->uses[n->src[s]] == 1;
		}
	}
}

// The f32 number of an operand: the unrounded value where it stays whole, else a cast of the rounded one.
static int wide_source(struct widen *w, struct prog *to, const struct prog *from, int old, int32_t now)
{
	if (!narrow(&from->nodes[old]))
		return now;
	if (w->wide[old] < 0) {
		const struct pnode *n = &from->nodes[old];
		union number v;

		w->wide[old] = prog_const(from, old, &v) ? prog_add_full(to, TGC_F32, n->rank, n->dims, v)
		                                         : prog_add1(to, OP_CAST, TGC_F32, now);
	}
	return w->wide[old];
}

static int visit(void *user, struct prog *to, const struct prog *from, int node, const int32_t *src)
{
	struct widen *w = user;
	const struct pnode *n = &from->nodes[node];
	bool compare = op_info[n->op].cls == CLASS_COMPARE;
	int32_t inline_src[4], *wide = inline_src;
	int value;

	w->wide[node] = -1;
	if (!widened(from, n))
		return prog_keep(to, n, src);
	assert(n->nsrc <= TG_COUNT(inline_src));
	for (int s = 0; s < n->nsrc; s++)
		wide[s] = wide_source(w, to, from, n->src[s], src[s]);
	value = prog_add(to, n->op, compare ? TGC_BOOL : TGC_F32, n->rank, n->dims, n->nsrc, wide, n->nattr,
	                 n->attr);
	if (compare || value < 0)
		return value;
	if (w->whole[node]) {
		w->wide[node] = value;
		return value;
	}
	return prog_add1(to, OP_CAST, (tgc_type)n->type, value);
}

static bool any_narrow(const struct prog *p)
{
	for (int i = 0; i < p->n; i++)
		if (narrow(&p->nodes[i]))
			return true;
	return false;
}

void pass_widen(struct prog *p)
{
	struct widen w;

	if (!any_narrow(p))
		return;
	w.uses = prog_uses(p);
	w.whole = ARENA_ARRAY(p->arena, bool, p->n);
	w.wide = ARENA_ARRAY(p->arena, int32_t, p->n);
	if (!w.uses || !w.whole || !w.wide)
		return;
	find_whole(p, &w);
	prog_rewrite(p, visit, &w);
}
