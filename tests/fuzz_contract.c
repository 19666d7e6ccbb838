// Random contractions (matmul, einsum, convolution) and indexing (gather, scatter, check).
// In: a sketch under construction. Out: a new node, or -1. Not here: the choice of class (fuzz_gen.c).
#include "fuzz.h"

static int64_t small(struct gen *g)
{
	static const int64_t sizes[] = {1, 2, 3, 5, 7, 8, 15, 16, 17, 33};

	return sizes[gen_below(g, TG_COUNT(sizes))];
}

static bool contractible(const struct snode *n)
{
	return n->type != TGC_BOOL && n->mag < 1e3;
}

static int random_matmul(struct gen *g)
{
	int x = gen_pick(g), y;
	const struct snode n = g->s->nodes[x];
	int64_t dims[TGC_MAX_RANK];
	int rank = n.rank > 2 && gen_below(g, 2) ? n.rank : 2;

	if (n.rank < 2 || n.rank > 5 || !contractible(&n))
		return -1;
	for (int a = 0; a < rank - 2; a++)
		dims[a] = gen_below(g, 3) ? n.dims[a] : 1;
	dims[rank - 2] = n.dims[n.rank - 1];
	dims[rank - 1] = small(g);
	y = gen_leaf(g, n.type, rank, dims);
	return y < 0 ? -1 : gen_push(g, (struct snode){.op = SK_MATMUL, .nsrc = 2, .src = {x, y}});
}

static int random_einsum(struct gen *g)
{
	static const char *const specs[] = {
	    "ij,jk->ik",   "ij,kj->ik",    "ji,jk->ki",   "ij,ij->i",        "ij,j->i",     "ij,jk->k",
	    "ij,kl->ikjl", "bij,bjk->bik", "bij,jk->bik", "bij,bkj->ibk",    "ijk,k->ij",   "ijk,ikj->i",
	    "i,j->ij",     "i,i->",        "ij,ji->",     "bhij,bhjk->bhik", "abc,cd->dab", "ij,ik->kj"};
	struct snode r = {.op = SK_EINSUM, .nsrc = 2};
	const char *spec = specs[gen_below(g, TG_COUNT(specs))], *comma = strchr(spec, ',');
	int64_t dims[TGC_MAX_RANK];
	int x = gen_pick(g), rank = 0;
	const struct snode n = g->s->nodes[x];

	if (n.rank != comma - spec || !contractible(&n) || sk_elems(&n) > 2048)
		return -1;
	for (const char *p = comma + 1; *p != '-'; p++, rank++) {
		const char *shared = memchr(spec, *p, (size_t)(comma - spec));

		dims[rank] = shared ? n.dims[shared - spec] : small(g);
	}
	strcpy(r.spec, spec);
	r.src[0] = x;
	r.src[1] = gen_leaf(g, n.type, rank, dims);
	return r.src[1] < 0 ? -1 : gen_push(g, r);
}

static int random_conv(struct gen *g)
{
	struct snode r = {.op = SK_CONV, .nsrc = 2};
	int x = gen_pick(g);
	struct snode n = g->s->nodes[x];
	int64_t groups, w[4];

	if (n.rank != 4 || !contractible(&n) || n.dims[1] > 12 || n.dims[1] < 1) {
		const int64_t dims[] = {1 + gen_below(g, 3), 1 + gen_below(g, 6), 1 + gen_below(g, 9),
		                        1 + gen_below(g, 9)};

		x = gen_leaf(g, gen_below(g, 4) ? TGC_F32 : TGC_F64, 4, dims);
		if (x < 0)
			return -1;
		n = g->s->nodes[x];
	}
	do
		groups = 1 + gen_below(g, n.dims[1]);
	while (n.dims[1] % groups != 0);
	w[0] = groups * (1 + gen_below(g, 4));
	w[1] = n.dims[1] / groups;
	for (int a = 0; a < 2; a++) {
		w[2 + a] = 1 + gen_below(g, 3);
		r.attr[a] = 1 + gen_below(g, 2);
		r.attr[2 + 2 * a] = gen_below(g, 4) - 1;
		r.attr[3 + 2 * a] = gen_below(g, 4) - 1;
		r.attr[6 + a] = 1 + gen_below(g, 2);
	}
	r.attr[8] = groups;
	r.src[0] = x;
	r.src[1] = gen_leaf(g, n.type, 4, w);
	return r.src[1] < 0 ? -1 : gen_push(g, r);
}

int gen_contract(struct gen *g)
{
	for (int tries = 0; tries < 6; tries++) {
		int64_t kind = gen_below(g, 3);
		int r = kind == 0 ? random_matmul(g) : kind == 1 ? random_einsum(g) : random_conv(g);

		if (r >= 0)
			return r;
	}
	return -1;
}

// An index below size: drawn so, or any integers taken modulo. One in fifty is out of range.
static int random_index(struct gen *g, int64_t size)
{
	struct snode leaf = {
	    .op = OP_DATA, .type = gen_below(g, 2) ? TGC_I32 : TGC_I64, .rank = (int)gen_below(g, 3)};
	bool wild = gen_below(g, 50) == 0;
	int x;

	for (int a = 0; a < leaf.rank; a++)
		leaf.dims[a] = small(g);
	leaf.seed = sk_random(&g->rng);
	leaf.lo = wild ? -2 : 0;
	leaf.hi = (double)size + (wild ? 2 : 0);
	x = gen_push(g, leaf);
	if (x >= 0 && !wild && gen_below(g, 3) == 0) {
		x = gen_push(g, (struct snode){.op = OP_NEG, .nsrc = 1, .src = {x}});
		x = gen_push(
		    g,
		    (struct snode){.op = OP_MOD, .nsrc = 2, .src = {x, gen_const(g, leaf.type, (double)size)}});
	}
	return x;
}

static int random_gather(struct gen *g, int x, int64_t axis)
{
	int index = random_index(g, g->s->nodes[x].dims[axis]);

	return index < 0
	           ? -1
	           : gen_push(g, (struct snode){.op = OP_GATHER, .nsrc = 2, .src = {x, index}, .attr = {axis}});
}

static int random_scatter(struct gen *g, int x, int64_t axis)
{
	struct snode r = {.op = OP_SCATTER, .nsrc = 3, .attr = {axis, gen_below(g, 3)}};
	int index = random_index(g, g->s->nodes[x].dims[axis]), updates;
	struct snode probe = {.op = OP_GATHER, .nsrc = 2, .src = {x, index}, .attr = {axis}};

	if (index < 0 || !sk_infer(g->s, &probe) || sk_elems(&probe) > sk_most(g->s))
		return -1;
	updates = gen_leaf(g, probe.type, probe.rank, probe.dims);
	r.src[0] = x;
	r.src[1] = index;
	r.src[2] = updates;
	return updates < 0 ? -1 : gen_push(g, r);
}

static int random_check(struct gen *g, int x)
{
	tgc_type t = g->s->nodes[x].type;
	int limit, cond;

	if (t == TGC_BOOL)
		return -1;
	limit = gen_const(g, t, 113);
	if (limit < 0)
		return -1;
	cond = gen_push(g, (struct snode){.op = OP_NE, .nsrc = 2, .src = {x, limit}});
	return cond < 0 ? -1 : gen_push(g, (struct snode){.op = OP_CHECK, .nsrc = 2, .src = {x, cond}});
}

int gen_index(struct gen *g)
{
	int x = gen_pick(g);
	const struct snode *n = &g->s->nodes[x];
	int64_t axis;

	if (n->rank == 0 || n->rank > 5)
		return -1;
	axis = gen_below(g, n->rank);
	if (n->dims[axis] == 0)
		return -1;
	switch (gen_below(g, 5)) {
	case 0:
	case 1:
		return random_gather(g, x, axis);
	case 2:
	case 3:
		return random_scatter(g, x, axis);
	default:
		return random_check(g, x);
	}
}
