// Gradients of gather, scatter and check. Indices have none.
// In:  a node and its gradient. Out: gradients given to its sources.
#include "lib.h"

enum { MODE_SET, MODE_ADD, MODE_MAX };

static struct node *zeros(struct grad *w, const struct node *like)
{
	return grad_num(w, like, 0);
}

static struct node *gather(struct grad *w, struct node *x, struct node *index, int axis)
{
	return grad_hold(w, build_gather(w->c, x, index, axis));
}

static struct node *scatter(struct grad *w, struct node *base, struct node *index, struct node *upd, int axis,
                            int mode)
{
	return grad_hold(w, build_scatter(w->c, base, index, upd, axis, mode));
}

// A value shaped like the index, along the axes of updates that the index stands for.
static struct node *along(struct grad *w, struct node *x, const struct node *upd, int axis)
{
	struct dim d[TGC_MAX_RANK];
	struct node *r;

	for (int i = 0; i < upd->rank; i++)
		d[i] = i >= axis && i < axis + x->rank ? x->dims[i - axis] : (struct dim){1, 0};
	r = grad_hold(w, build_reshape(w->c, x, upd->rank, d));
	return grad_hold(w, build_expand(w->c, r, upd->dims));
}

// Which updates stayed: where several go to one place, the last one. Found by scattering their numbers.
static struct node *winners(struct grad *w, const struct node *n)
{
	struct node *index = n->src[1], *number, *last, *flat;
	struct dim line = {node_elems(index), 0}, places = n->dims[n->attr[0]];

	flat = grad_hold(w, build_reshape(w->c, index, 1, &line));
	number = grad_hold(w, build_iota(w->c, TGC_I64, 1, &line, 0));
	last = grad_hold(w, build_full(w->c, TGC_I64, 1, &places, (union number){.i = -1}));
	last = scatter(w, last, flat, number, 0, MODE_SET);
	last = grad_binary(w, OP_EQ, gather(w, last, flat, 0), number);
	last = grad_hold(w, build_reshape(w->c, last, index->rank, index->dims));
	return along(w, last, n->src[2], (int)n->attr[0]);
}

static void set(struct grad *w, struct node *n, struct node *g)
{
	struct node *base = n->src[0], *index = n->src[1], *upd = n->src[2];
	int axis = (int)n->attr[0];

	if (grad_wants(w, base))
		grad_give(w, base, scatter(w, g, index, zeros(w, upd), axis, MODE_SET));
	if (grad_wants(w, upd))
		grad_give(w, upd, grad_select(w, winners(w, n), gather(w, g, index, axis), zeros(w, upd)));
}

// Shared equally among base and updates that equal the maximum.
static void maximum(struct grad *w, struct node *n, struct node *g)
{
	struct node *base = n->src[0], *index = n->src[1], *upd = n->src[2];
	int axis = (int)n->attr[0];
	tgc_type t = (tgc_type)n->type;
	struct node *kept = grad_binary(w, OP_EQ, base, n);
	struct node *came = grad_binary(w, OP_EQ, upd, gather(w, n, index, axis));
	struct node *count = scatter(w, grad_hold(w, build_cast(w->c, kept, t)), index,
	                             grad_hold(w, build_cast(w->c, came, t)), axis, MODE_ADD);
	struct node *part = grad_binary(w, OP_DIV, g, count);

	grad_give(w, base, grad_select(w, kept, part, zeros(w, base)));
	if (grad_wants(w, upd))
		grad_give(w, upd, grad_select(w, came, gather(w, part, index, axis), zeros(w, upd)));
}

void grad_index(struct grad *w, struct node *n, struct node *g)
{
	struct node *x = n->src[0];
	int axis = n->nattr ? (int)n->attr[0] : 0;

	if (n->op == OP_CHECK) {
		grad_give(w, x, g);
	} else if (n->op == OP_GATHER) {
		if (grad_wants(w, x))
			grad_give(w, x, scatter(w, zeros(w, x), n->src[1], g, axis, MODE_ADD));
	} else if (n->attr[1] == MODE_SET) {
		set(w, n, g);
	} else if (n->attr[1] == MODE_ADD) {
		grad_give(w, x, g);
		if (grad_wants(w, n->src[2]))
			grad_give(w, n->src[2], gather(w, g, n->src[1], axis));
	} else {
		maximum(w, n, g);
	}
}
