// Gradients of movement and of reductions: each movement's adjoint is a movement.
// In:  a node and its gradient. Out: gradients given to its sources.
#include "lib.h"

static void permute(struct grad *w, struct node *n, struct node *g)
{
	int order[TGC_MAX_RANK];

	for (int i = 0; i < n->rank; i++)
		order[n->attr[i]] = i;
	grad_give(w, n->src[0], grad_hold(w, build_permute(w->c, g, order)));
}

static void expand(struct grad *w, struct node *n, struct node *g)
{
	const struct node *x = n->src[0];
	uint32_t mask = 0;

	for (int i = 0; i < n->rank; i++)
		if (x->dims[i].n == 1 && n->dims[i].n != 1)
			mask |= 1u << i;
	grad_give(w, n->src[0], mask ? grad_hold(w, build_reduce(w->c, OP_SUM, g, mask)) : g);
}

// What of the fill is in the result: everything outside x's places.
static void pad_fill(struct grad *w, struct node *n, struct node *g, const int64_t *lo, const int64_t *hi,
                     const int64_t *in)
{
	const struct node *x = n->src[0];
	struct node *yes = grad_hold(w, build_full(w->c, TGC_BOOL, x->rank, x->dims, (union number){.i = 1}));
	struct node *inside = grad_hold(w, build_pad(w->c, yes, lo, hi, in, grad_zero(w, TGC_BOOL)));
	struct node *outside = grad_select(w, inside, grad_num(w, g, 0), g);
	struct node *sum = grad_hold(w, build_reduce(w->c, OP_SUM, outside, (1u << n->rank) - 1));

	grad_give(w, n->src[1], grad_hold(w, build_reshape(w->c, sum, 0, NULL)));
}

// Element i of an axis lies at lo + i * (interior + 1); what was cropped gets zeros.
static void pad(struct grad *w, struct node *n, struct node *g)
{
	struct node *x = n->src[0];
	int64_t lo[TGC_MAX_RANK], hi[TGC_MAX_RANK], in[TGC_MAX_RANK];
	int64_t more_lo[TGC_MAX_RANK], more_hi[TGC_MAX_RANK], start[TGC_MAX_RANK], step[TGC_MAX_RANK];

	for (int i = 0; i < n->rank; i++) {
		lo[i] = n->attr[3 * i];
		hi[i] = n->attr[3 * i + 1];
		in[i] = n->attr[3 * i + 2];
		more_lo[i] = lo[i] < 0 ? -lo[i] : 0;
		more_hi[i] = hi[i] < 0 ? -hi[i] : 0;
		start[i] = lo[i] > 0 ? lo[i] : 0;
		step[i] = in[i] + 1;
	}
	if (grad_wants(w, x)) {
		struct node *whole =
		    grad_hold(w, build_pad(w->c, g, more_lo, more_hi, NULL, grad_zero(w, (tgc_type)g->type)));

		grad_give(w, x, grad_hold(w, build_slice(w->c, whole, start, step, x->dims)));
	}
	if (grad_wants(w, n->src[1]))
		pad_fill(w, n, g, lo, hi, in);
}

static void slice(struct grad *w, struct node *n, struct node *g)
{
	struct node *x = n->src[0];
	int64_t lo[TGC_MAX_RANK], hi[TGC_MAX_RANK], in[TGC_MAX_RANK];

	for (int i = 0; i < n->rank; i++) {
		lo[i] = n->attr[2 * i];
		in[i] = n->attr[2 * i + 1] - 1;
		hi[i] = x->dims[i].n - (lo[i] + (n->dims[i].n - 1) * (in[i] + 1) + 1);
		if (n->dims[i].n == 0)
			return; // nothing was read
	}
	grad_give(w, x, grad_hold(w, build_pad(w->c, g, lo, hi, in, grad_zero(w, (tgc_type)g->type))));
}

static void flip(struct grad *w, struct node *n, struct node *g)
{
	uint32_t mask = 0;

	for (int i = 0; i < n->rank; i++)
		if (n->attr[i])
			mask |= 1u << i;
	grad_give(w, n->src[0], grad_hold(w, build_flip(w->c, g, mask)));
}

static void concat(struct grad *w, struct node *n, struct node *g)
{
	int64_t start[TGC_MAX_RANK] = {0}, step[TGC_MAX_RANK], axis = n->attr[0];

	for (int i = 0; i < n->rank; i++)
		step[i] = 1;
	for (int i = 0; i < n->nsrc; i++) {
		struct node *x = n->src[i];

		if (grad_wants(w, x))
			grad_give(w, x, grad_hold(w, build_slice(w->c, g, start, step, x->dims)));
		start[axis] += x->dims[axis].n;
	}
}

// More windows may fit into the folded axis than there were.
static void fold(struct grad *w, struct node *n, struct node *g)
{
	struct node *x = n->src[0];
	struct node *all =
	    grad_hold(w, build_window(w->c, g, (int)n->attr[0], n->attr[1], n->attr[2], n->attr[3]));
	int64_t start[TGC_MAX_RANK] = {0}, step[TGC_MAX_RANK];

	for (int i = 0; i < x->rank; i++)
		step[i] = 1;
	grad_give(w, x, grad_hold(w, build_slice(w->c, all, start, step, x->dims)));
}

void grad_move(struct grad *w, struct node *n, struct node *g)
{
	struct node *x = n->src[0];

	switch (n->op) {
	case OP_RESHAPE:
		grad_give(w, x, grad_hold(w, build_reshape(w->c, g, x->rank, x->dims)));
		break;
	case OP_PERMUTE:
		permute(w, n, g);
		break;
	case OP_EXPAND:
		expand(w, n, g);
		break;
	case OP_PAD:
		pad(w, n, g);
		break;
	case OP_SLICE:
		slice(w, n, g);
		break;
	case OP_FLIP:
		flip(w, n, g);
		break;
	case OP_CONCAT:
		concat(w, n, g);
		break;
	case OP_WINDOW:
		grad_give(w, x,
		          grad_hold(w, build_fold(w->c, g, (int)n->attr[0], x->dims[n->attr[0]].n, n->attr[2],
		                                  n->attr[3])));
		break;
	case OP_FOLD:
		fold(w, n, g);
		break;
	default:
		w->refused = n;
	}
}

// A reduced value spread over x again.
static struct node *spread(struct grad *w, struct node *r, const struct node *x)
{
	return grad_hold(w, build_expand(w->c, r, x->dims));
}

// Shared equally among the elements that equal the extreme.
static void share(struct grad *w, struct node *n, struct node *g)
{
	struct node *x = n->src[0];
	struct node *hit = grad_binary(w, OP_EQ, x, spread(w, n, x));
	struct node *ones = grad_hold(w, build_cast(w->c, hit, (tgc_type)x->type));
	struct node *count = grad_hold(w, build_reduce(w->c, OP_SUM, ones, (uint32_t)n->attr[0]));
	struct node *part = spread(w, grad_binary(w, OP_DIV, g, count), x);

	grad_give(w, x, grad_select(w, hit, part, grad_num(w, x, 0)));
}

// Row-major position within the reduced axes.
static struct node *positions(struct grad *w, const struct node *x, uint32_t mask, tgc_type t)
{
	struct node *at = NULL;
	int64_t stride = 1;

	for (int i = x->rank - 1; i >= 0; i--) {
		struct node *along, *by;

		if (!(mask >> i & 1))
			continue;
		along = grad_hold(w, build_iota(w->c, t, x->rank, x->dims, i));
		by = grad_hold(w, build_full(w->c, t, x->rank, x->dims, (union number){.i = stride}));
		along = grad_binary(w, OP_MUL, along, by);
		at = at ? grad_binary(w, OP_ADD, at, along) : along;
		stride *= x->dims[i].n;
	}
	return at;
}

// All of it to the first element that equals the extreme.
static void first(struct grad *w, struct node *n, struct node *g)
{
	struct node *x = n->src[0];
	uint32_t mask = (uint32_t)n->attr[0];
	tgc_type t = node_elems(x) <= INT32_MAX ? TGC_I32 : TGC_I64;
	struct node *at = positions(w, x, mask, t);
	struct node *far =
	    grad_hold(w, build_full(w->c, t, x->rank, x->dims, (union number){.i = node_elems(x)}));
	struct node *hit = grad_select(w, grad_binary(w, OP_EQ, x, spread(w, n, x)), at, far);
	struct node *least = grad_hold(w, build_reduce(w->c, OP_RMIN, hit, mask));

	hit = grad_binary(w, OP_EQ, at, spread(w, least, x));
	grad_give(w, x, grad_select(w, hit, spread(w, g, x), grad_num(w, x, 0)));
}

void grad_reduce(struct grad *w, struct node *n, struct node *g)
{
	if (!grad_wants(w, n->src[0]))
		return;
	if (n->op == OP_SUM)
		grad_give(w, n->src[0], spread(w, g, n->src[0]));
	else if (n->op == OP_RMAX && n->nattr == 2 && n->attr[1])
		first(w, n, g);
	else if (n->op == OP_RMAX || n->op == OP_RMIN)
		share(w, n, g);
	else
		w->refused = n;
}
