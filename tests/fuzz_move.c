// Random movement: reshape, permute, expand, pad, slice, flip, concat, window, fold.
// In: a sketch under construction. Out: a new node, or -1. Not here: the choice of class (fuzz_gen.c).
#include "fuzz.h"

static struct snode on(int op, int x)
{
	return (struct snode){.op = op, .nsrc = 1, .src = {x}};
}

// Another factorisation of the element count.
static int random_reshape(struct gen *g, int x)
{
	const struct snode *n = &g->s->nodes[x];
	struct snode r = on(OP_RESHAPE, x);
	int64_t left = sk_elems(n);

	r.rank = 0;
	if (left == 0) {
		r.rank = n->rank;
		for (int a = 0; a < n->rank; a++)
			r.dims[a] = n->dims[n->rank - 1 - a];
		return gen_push(g, r);
	}
	for (int64_t f = 2; f <= left && r.rank < 5; f++) {
		int64_t dim = 1;

		while (left % f == 0 && (dim == 1 || gen_below(g, 2))) {
			dim *= f;
			left /= f;
		}
		if (dim > 1)
			r.dims[r.rank++] = dim;
	}
	if (left > 1 || gen_below(g, 4) == 0)
		r.dims[r.rank++] = left;
	for (int a = 0; a + 1 < r.rank; a++) { // in any order
		int b = a + (int)gen_below(g, r.rank - a);
		int64_t swap = r.dims[a];

		r.dims[a] = r.dims[b];
		r.dims[b] = swap;
	}
	return gen_push(g, r);
}

static int random_permute(struct gen *g, int x)
{
	struct snode r = on(OP_PERMUTE, x);
	int rank = g->s->nodes[x].rank;

	for (int a = 0; a < rank; a++)
		r.attr[a] = a;
	for (int a = 0; a + 1 < rank; a++) {
		int b = a + (int)gen_below(g, rank - a);
		int64_t swap = r.attr[a];

		r.attr[a] = r.attr[b];
		r.attr[b] = swap;
	}
	return gen_push(g, r);
}

static int random_expand(struct gen *g, int x)
{
	const struct snode *n = &g->s->nodes[x];
	struct snode r = on(OP_EXPAND, x);
	int front = n->rank < 6 && gen_below(g, 2) ? 1 : 0;
	int64_t room = sk_most(g->s) / (sk_elems(n) + 1);

	r.rank = n->rank + front;
	for (int a = 0; a < r.rank; a++) {
		int64_t own = a < front ? 1 : n->dims[a - front];

		r.dims[a] = own;
		if (own == 1 && room > 1) {
			r.dims[a] = 1 + gen_below(g, room < 9 ? room : 9);
			room /= r.dims[a];
		}
	}
	return gen_push(g, r);
}

static int random_pad(struct gen *g, int x)
{
	const struct snode *n = &g->s->nodes[x];
	struct snode r = on(OP_PAD, x);

	for (int a = 0; a < n->rank; a++) {
		if (gen_below(g, 2)) {
			r.attr[3 * a] = gen_below(g, 5) - 1;
			r.attr[3 * a + 1] = gen_below(g, 5) - 1;
		}
	}
	r.num = (double)gen_below(g, 2);
	return gen_push(g, r);
}

static int random_slice(struct gen *g, int x)
{
	const struct snode *n = &g->s->nodes[x];
	struct snode r = on(OP_SLICE, x);

	for (int a = 0; a < n->rank; a++) {
		int64_t start = gen_below(g, n->dims[a] < 3 ? n->dims[a] + 1 : n->dims[a] / 2 + 1);

		r.attr[3 * a] = start;
		r.attr[3 * a + 1] = gen_below(g, 3) ? 1 : 1 + gen_below(g, 3);
		r.attr[3 * a + 2] = n->dims[a] - gen_below(g, (n->dims[a] - start) / 3 + 1);
	}
	return gen_push(g, r);
}

static int random_flip(struct gen *g, int x)
{
	struct snode r = on(OP_FLIP, x);

	for (int a = 0; a < g->s->nodes[x].rank; a++)
		r.attr[a] = gen_below(g, 2);
	return gen_push(g, r);
}

static int random_concat(struct gen *g, int x)
{
	const struct snode n = g->s->nodes[x];
	struct snode r = {.op = OP_CONCAT, .nsrc = 1, .src = {x}};
	int count = 2 + (int)gen_below(g, 2);

	if (n.rank == 0)
		return -1;
	r.attr[0] = gen_below(g, n.rank);
	for (int k = 1; k < count; k++) {
		int64_t dims[TGC_MAX_RANK];
		int y = x;

		for (int tries = 0; tries < 8 && y == x; tries++) {
			struct snode probe = {
			    .op = OP_CONCAT, .nsrc = 2, .src = {x, gen_pick(g)}, .attr = {r.attr[0]}};

			if (sk_infer(g->s, &probe))
				y = probe.src[1];
		}
		if (y == x && gen_below(g, 2)) {
			memcpy(dims, n.dims, sizeof dims);
			dims[r.attr[0]] = 1 + gen_below(g, 4);
			y = gen_leaf(g, n.type, n.rank, dims);
		}
		if (y >= 0)
			r.src[r.nsrc++] = y;
	}
	return gen_push(g, r);
}

static int random_window(struct gen *g, int x)
{
	const struct snode *n = &g->s->nodes[x];
	struct snode r = on(OP_WINDOW, x);

	if (n->rank == 0 || n->rank >= 6)
		return -1;
	r.attr[0] = gen_below(g, n->rank);
	r.attr[1] = 1 + gen_below(g, 4);
	r.attr[2] = 1 + gen_below(g, 3);
	r.attr[3] = 1 + gen_below(g, 2);
	return gen_push(g, r);
}

static int random_fold(struct gen *g, int x)
{
	const struct snode *n = &g->s->nodes[x];
	struct snode r = on(OP_FOLD, x);
	int64_t axis, slack;

	if (n->rank < 2 || n->dims[n->rank - 1] > 8 || n->dims[n->rank - 1] < 1)
		return -1;
	axis = r.attr[0] = gen_below(g, n->rank - 1);
	r.attr[2] = 1 + gen_below(g, 3);
	r.attr[3] = 1 + gen_below(g, 2);
	slack = gen_below(g, r.attr[2]);
	r.rank = n->rank - 1;
	memcpy(r.dims, n->dims, sizeof r.dims);
	r.dims[axis] = (n->dims[axis] - 1) * r.attr[2] + r.attr[3] * (n->dims[n->rank - 1] - 1) + 1 + slack;
	return gen_push(g, r);
}

int gen_move(struct gen *g)
{
	int x = gen_pick(g);

	switch (gen_below(g, 11)) {
	case 0:
	case 1:
		return random_reshape(g, x);
	case 2:
	case 3:
		return random_permute(g, x);
	case 4:
		return random_expand(g, x);
	case 5:
		return random_pad(g, x);
	case 6:
		return random_slice(g, x);
	case 7:
		return random_flip(g, x);
	case 8:
		return random_concat(g, x);
	case 9:
		return random_window(g, x);
	default:
		return random_fold(g, x);
	}
}
