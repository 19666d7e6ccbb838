// Random graphs, built forwards: each operation with operands that it allows. Values stay in a range where the
// oracle's bounds say something, except in raw graphs.
// In: a seed. Out: a sketch. Not here: movement (fuzz_move.c), contractions and indexing (fuzz_contract.c).
#include "fuzz.h"

#include <math.h>

enum { LONG_PERCENT = 5, LONG_ELEMS = 80000 }; // few: they take longer

int64_t gen_below(struct gen *g, int64_t n)
{
	return (int64_t)(sk_random(&g->rng) % (uint64_t)n);
}

static bool chance(struct gen *g, int percent)
{
	return gen_below(g, 100) < percent;
}

static int64_t random_size(struct gen *g, int64_t limit)
{
	static const int64_t sizes[] = {0,  1,  2,  3,   7,   8,   15,  16,  17,  31,   32,   33,
	                                63, 64, 65, 127, 128, 129, 255, 256, 257, 1023, 1024, 1025};
	int64_t n;

	do {
		n = sizes[gen_below(g, chance(g, 60) ? 8 : TG_COUNT(sizes))];
	} while (n > limit || (n == 0 && !chance(g, 8)));
	return n;
}

static int random_shape(struct gen *g, int64_t *dims)
{
	int rank = (int)(chance(g, 70) ? 1 + gen_below(g, 3) : gen_below(g, 7));
	int64_t room = SK_MAX_ELEMS / 2;

	for (int a = 0; a < rank; a++) {
		dims[a] = random_size(g, room);
		room = dims[a] > 1 ? room / dims[a] : room;
	}
	return rank;
}

// One long axis, so that sums are split and rows are worth keeping.
static int long_shape(struct gen *g, int64_t *dims)
{
	static const int64_t sizes[] = {64, 65, 513, 1024, 2049, 4097, 10000, 20001, 40000};
	int rank = 1 + (int)gen_below(g, 3), at = (int)gen_below(g, rank);
	int64_t room = sk_most(g->s);

	dims[at] = sizes[gen_below(g, TG_COUNT(sizes))];
	room /= dims[at];
	for (int a = 0; a < rank; a++) {
		if (a == at)
			continue;
		dims[a] = chance(g, 50) && room <= 40 ? room : 1 + gen_below(g, room < 40 ? room : 40);
		room /= dims[a];
	}
	return rank;
}

static tgc_type random_type(struct gen *g)
{
	static const tgc_type types[] = {TGC_F32, TGC_F32, TGC_F32, TGC_F32, TGC_F32, TGC_F32, TGC_F64,
	                                 TGC_F64, TGC_I32, TGC_I32, TGC_I64, TGC_U8,  TGC_BOOL};
	static const tgc_type rare[] = {TGC_F16, TGC_BF16, TGC_I8, TGC_I16, TGC_U16, TGC_U32, TGC_U64};

	if (chance(g, 8))
		return rare[gen_below(g, TG_COUNT(rare))];
	return types[gen_below(g, TG_COUNT(types))];
}

static double src_mag(const struct sketch *s, const struct snode *n, int k)
{
	return k < n->nsrc ? s->nodes[n->src[k]].mag : 0;
}

// The largest magnitude that the result may show, roughly.
static double magnitude(const struct sketch *s, const struct snode *n)
{
	double x = src_mag(s, n, 0), y = src_mag(s, n, 1), z = src_mag(s, n, 2);

	switch (n->op) {
	case OP_DATA:
	case OP_CONST:
	case SK_RAND:
		return n->mag;
	case OP_IOTA:
		return (double)n->dims[n->attr[0]];
	case OP_EXP:
		return exp(fmin(x, 700));
	case OP_LOG:
		return 1.5 + log(1 + x);
	case OP_SIN:
	case OP_COS:
	case OP_TANH:
	case OP_ERF:
		return 1;
	case OP_SQRT:
		return sqrt(x) + 1;
	case OP_ADD:
	case OP_SUB:
		return x + y;
	case OP_MUL:
		return x * y;
	case OP_DIV:
		return 2 * x;
	case OP_MOD:
		return y;
	case OP_FMA:
		return x * y + z;
	case OP_SELECT:
		return fmax(y, z);
	case OP_SUM:
		return x * (double)(sk_elems(&s->nodes[n->src[0]]) + 1) / (double)(sk_elems(n) + 1);
	case OP_FOLD:
		return x * (double)n->attr[1];
	case OP_PAD:
		return fmax(x, fabs(n->num));
	case SK_MATMUL:
	case SK_EINSUM:
	case SK_CONV:
		return x * y * 64;
	case OP_SCATTER:
		return n->attr[1] == 1 ? x + 8 * z : fmax(x, z);
	default:
		return fmax(x, y);
	}
}

int gen_push(struct gen *g, struct snode n)
{
	int at = sk_add(g->s, n);
	struct snode *made;

	if (at < 0)
		return -1;
	made = &g->s->nodes[at];
	made->mag = magnitude(g->s, made);
	if (interp_is_float(made->type) && made->mag > (made->type == TGC_F16 ? 1e3 : 1e5) &&
	    !g->raw) { // keep the bounds meaningful
		struct snode squash = {.op = chance(g, 50) ? OP_TANH : OP_SIN, .nsrc = 1, .src = {at}};
		int small = made->mag < 1e7 ? gen_const(g, made->type, 1.0 / 4096) : -1;

		if (small >= 0)
			squash = (struct snode){.op = OP_MUL, .nsrc = 2, .src = {at, small}};
		return gen_push(g, squash);
	}
	return at;
}

int gen_leaf(struct gen *g, tgc_type t, int rank, const int64_t *dims)
{
	struct snode n = {
	    .op = OP_DATA, .type = t, .rank = rank, .lo = -3, .hi = 3, .seed = sk_random(&g->rng)};

	memcpy(n.dims, dims, sizeof(int64_t) * (size_t)rank);
	if (!interp_is_float(t)) {
		n.lo = interp_is_unsigned(t) ? 0 : -100;
		n.hi = 120;
		n.special = chance(g, 20);
	} else if (g->raw) {
		n.special = chance(g, 70);
	}
	if (chance(g, 15))
		n.leaf = SK_VARIABLE;
	if (rank == 0 && t != TGC_BOOL && chance(g, 50))
		n.leaf = SK_LATE;
	n.mag = 120;
	if (interp_is_float(t))
		n.mag = 3;
	return gen_push(g, n);
}

int gen_const(struct gen *g, tgc_type t, double v)
{
	return gen_push(g, (struct snode){.op = OP_CONST, .type = t, .num = v, .mag = fabs(v)});
}

static int random_const(struct gen *g, tgc_type t)
{
	static const double values[] = {0, 1, 2, 0.5, -1, 3, 0.1, 7, 1.25};
	double v = values[gen_below(g, TG_COUNT(values))];

	if (t == TGC_BOOL)
		v = v > 0;
	else if (!interp_is_float(t))
		v = fabs(floor(v));
	return gen_const(g, t, v);
}

int gen_pick(struct gen *g)
{
	int n = g->s->n;

	if (n > 6 && chance(g, 60))
		return (int)(n - 1 - gen_below(g, 6));
	return (int)gen_below(g, n);
}

static int first_source(struct gen *g)
{
	int64_t dims[TGC_MAX_RANK];
	tgc_type t = random_type(g);
	int rank = g->s->most ? long_shape(g, dims) : random_shape(g, dims);

	if (t == TGC_F32 && chance(g, 5)) {
		struct snode n = {.op = SK_RAND, .type = t, .rank = rank, .seed = sk_random(&g->rng), .mag = 1};

		memcpy(n.dims, dims, sizeof(int64_t) * (size_t)rank);
		return gen_push(g, n);
	}
	if (rank > 0 && t != TGC_BOOL && chance(g, 10)) {
		struct snode n = {.op = OP_IOTA, .type = t, .rank = rank, .attr = {gen_below(g, rank)}};

		memcpy(n.dims, dims, sizeof(int64_t) * (size_t)rank);
		if ((t != TGC_U8 && t != TGC_I8) || n.dims[n.attr[0]] <= 128)
			return gen_push(g, n);
	}
	return gen_leaf(g, t, rank, dims);
}

// A partner of x's type that broadcasts with it: another node, x itself, a number, or a new leaf.
static int partner(struct gen *g, int x)
{
	const struct snode n = g->s->nodes[x];
	int64_t dims[TGC_MAX_RANK];
	int drop;

	if (chance(g, 12))
		return x;
	for (int tries = 0; tries < 12; tries++) {
		int y = gen_pick(g);
		struct snode probe = {.op = OP_EQ, .nsrc = 2, .src = {x, y}};

		if (y != x && g->s->nodes[y].type == n.type && sk_infer(g->s, &probe) &&
		    sk_elems(&probe) <= sk_most(g->s))
			return y;
	}
	if (chance(g, 30))
		return random_const(g, n.type);
	drop = n.rank > 0 && chance(g, 40) ? 1 + (int)gen_below(g, n.rank) : 0;
	for (int a = 0; a < n.rank - drop; a++)
		dims[a] = chance(g, 20) ? 1 : n.dims[a + drop];
	return gen_leaf(g, n.type, n.rank - drop, dims);
}

static int op1(struct gen *g, int op, int x)
{
	return x < 0 ? -1 : gen_push(g, (struct snode){.op = op, .nsrc = 1, .src = {x}});
}

static int op2(struct gen *g, int op, int x, int y)
{
	return x < 0 || y < 0 ? -1 : gen_push(g, (struct snode){.op = op, .nsrc = 2, .src = {x, y}});
}

// |x| + floor, so that log, sqrt and division stay away from their poles.
static int positive(struct gen *g, int x, double floor_at)
{
	return op2(g, OP_ADD, op1(g, OP_ABS, x), gen_const(g, g->s->nodes[x].type, floor_at));
}

static int gen_unary(struct gen *g)
{
	static const int ops[] = {
#define TG_UNARY(ID, ...) OP_##ID,
#include "ops.def"
	};
	int op = ops[gen_below(g, TG_COUNT(ops))], x = gen_pick(g);

	if (!g->raw && interp_is_float(g->s->nodes[x].type)) {
		if (op == OP_LOG || op == OP_SQRT)
			x = positive(g, x, 0.25);
		else if (op == OP_EXP && g->s->nodes[x].mag > 6)
			x = op1(g, OP_TANH, x);
	}
	return op1(g, op, x);
}

static int gen_binary(struct gen *g)
{
	static const int ops[] = {OP_ADD, OP_MUL, // these twice
#define TG_BINARY(ID, ...) OP_##ID,
#define TG_COMPARE(ID, ...) OP_##ID,
#include "ops.def"
	};
	int op = ops[gen_below(g, TG_COUNT(ops))], x = gen_pick(g), y = partner(g, x);
	tgc_type t;

	if (y < 0)
		return -1;
	t = g->s->nodes[x].type;
	if (interp_is_float(t) && !g->raw && (op == OP_DIV || op == OP_MOD))
		y = positive(g, y, op == OP_DIV ? 0.5 : 1.0);
	if ((op == OP_SHL || op == OP_SHR) && !interp_is_unsigned(t))
		y = op2(g, OP_AND, y, gen_const(g, t, 127)); // a negative amount has no meaning
	return chance(g, 50) || op == OP_DIV || op == OP_MOD || op == OP_SHL || op == OP_SHR ? op2(g, op, x, y)
	                                                                                     : op2(g, op, y, x);
}

static int gen_cast(struct gen *g)
{
	return gen_push(g,
	                (struct snode){.op = OP_CAST, .type = random_type(g), .nsrc = 1, .src = {gen_pick(g)}});
}

static int gen_bitcast(struct gen *g)
{
	int x = gen_pick(g);
	tgc_type from = g->s->nodes[x].type;
	tgc_type to = from == TGC_F32   ? TGC_I32
	              : from == TGC_F64 ? TGC_I64
	              : from == TGC_I32 ? TGC_F32
	              : from == TGC_I64 ? TGC_F64
	              : from == TGC_U32 ? TGC_I32
	                                : TGC_I64;

	if (interp_bits(from) < 32 || (interp_is_float(from) && g->s->nodes[x].op != OP_DATA) ||
	    (interp_is_float(to) && !g->raw))
		return -1;
	return gen_push(g, (struct snode){.op = OP_BITCAST, .type = to, .nsrc = 1, .src = {x}});
}

static int gen_ternary(struct gen *g)
{
	int x = gen_pick(g), y = partner(g, x), z;
	struct snode n = {.nsrc = 3};

	if (y < 0)
		return -1;
	if (interp_is_float(g->s->nodes[x].type) && chance(g, 40)) {
		z = partner(g, x);
		n.op = OP_FMA;
		n.src[0] = x;
		n.src[1] = y;
	} else {
		z = op2(g, chance(g, 50) ? OP_LT : OP_NE, x, partner(g, x));
		n.op = OP_SELECT;
		n.src[0] = z;
		n.src[1] = x;
		z = y;
	}
	n.src[2] = z;
	return z < 0 || n.src[0] < 0 ? -1 : gen_push(g, n);
}

static int64_t random_mask(struct gen *g, const struct snode *x)
{
	int longest = 0;

	for (int a = 1; a < x->rank; a++)
		longest = x->dims[a] > x->dims[longest] ? a : longest;
	if (g->s->most && x->rank > 0 && chance(g, 70))
		return (int64_t)1 << longest;
	return x->rank == 0 ? 0 : 1 + gen_below(g, ((int64_t)1 << x->rank) - 1);
}

static int gen_reduce(struct gen *g)
{
	static const int ops[] = {OP_SUM, OP_SUM, OP_RMAX, OP_RMIN, OP_ARGMAX};
	int op = ops[gen_below(g, TG_COUNT(ops))], x = gen_pick(g), r;
	const struct snode *n = &g->s->nodes[x];
	struct snode red = {.op = op, .nsrc = 1, .src = {x}, .attr = {random_mask(g, n), chance(g, 50)}};

	if (n->rank == 0)
		return -1;
	if (op == OP_ARGMAX)
		red.attr[0] = INT64_C(1) << gen_below(g, n->rank);
	if (op != OP_ARGMAX && chance(g, 40)) { // and back over its input
		red.attr[1] = 1;
		r = gen_push(g, red);
		return r < 0 || g->s->nodes[r].type != n->type ? r
		                                               : op2(g, chance(g, 50) ? OP_SUB : OP_MUL, x, r);
	}
	return gen_push(g, red);
}

// Softmax of the last axis, as a user's function would record it.
static int gen_softmax(struct gen *g)
{
	int x = gen_pick(g), m, e;
	const struct snode *n = &g->s->nodes[x];
	int64_t mask = n->rank > 0 ? INT64_C(1) << (n->rank - 1) : 0;

	if (!interp_is_float(n->type) || n->rank == 0 || n->dims[n->rank - 1] == 0 || n->mag > 200)
		return -1;
	m = gen_push(g, (struct snode){.op = OP_RMAX, .nsrc = 1, .src = {x}, .attr = {mask, 1}});
	e = op1(g, OP_EXP, op2(g, OP_SUB, x, m));
	if (e < 0 || m < 0)
		return -1;
	g->s->nodes[e].mag = 1;
	m = gen_push(g, (struct snode){.op = OP_SUM, .nsrc = 1, .src = {e}, .attr = {mask, 1}});
	m = op2(g, OP_DIV, e, m);
	if (m >= 0)
		g->s->nodes[m].mag = 1;
	return m;
}

// Weights in percent; a movement that does not fit is tried again, so that views stay frequent.
static int step(struct gen *g)
{
	int64_t r = gen_below(g, 100);

	if (r < 53) {
		int at = gen_move(g);

		return at < 0 ? gen_move(g) : at;
	}
	if (r < 60)
		return gen_unary(g);
	if (r < 71)
		return gen_binary(g);
	if (r < 85)
		return gen_cast(g);
	if (r < 87)
		return gen_ternary(g);
	if (r < 92)
		return gen_reduce(g);
	if (r < 93)
		return gen_softmax(g);
	if (r < 96)
		return gen_contract(g);
	if (r < 98)
		return gen_index(g);
	return r < 99 ? gen_bitcast(g) : first_source(g);
}

// Of a graph with a long axis: mostly reductions along it and what is made of them.
static int long_step(struct gen *g)
{
	int64_t r = gen_below(g, 100);

	if (r < 25)
		return gen_reduce(g);
	if (r < 40)
		return gen_softmax(g);
	if (r < 60)
		return gen_binary(g);
	return r < 70 ? gen_unary(g) : step(g);
}

// What nothing reads is an output; so are one or two that are read.
static void choose_outputs(struct gen *g)
{
	struct sketch *s = g->s;
	bool read[SK_NODES] = {false};
	int extra = (int)gen_below(g, 3);

	for (int i = 0; i < s->n; i++)
		for (int k = 0; k < s->nodes[i].nsrc; k++)
			read[s->nodes[i].src[k]] = true;
	for (int i = s->n - 1; i >= 0 && s->nouts < SK_OUTS - 2; i--)
		if (!read[i] && (s->nodes[i].op != OP_DATA || s->nouts == 0))
			sk_out(s, i);
	for (int i = 0; i < extra; i++) {
		int at = (int)gen_below(g, s->n);
		bool twice = false;

		for (int k = 0; k < s->nouts; k++)
			twice |= s->outs[k] == at;
		if (!twice && read[at])
			sk_out(s, at);
	}
}

void gen_graph(struct sketch *s, uint64_t seed, bool *raw)
{
	struct gen g = {.s = s, .rng = seed * UINT64_C(0xD1342543DE82EF95) + 1};
	int leaves, target;

	memset(s, 0, sizeof *s);
	(void)sk_random(&g.rng);
	g.raw = *raw = *raw || gen_below(&g, 100) < 10;
	leaves = 1 + (int)gen_below(&g, 3);
	target = 3 + (int)(chance(&g, 70) ? gen_below(&g, 14) : gen_below(&g, 38));
	if (!g.raw && chance(&g, LONG_PERCENT)) {
		s->most = LONG_ELEMS;
		target = 3 + (int)gen_below(&g, 8);
	}
	for (int i = 0; i < leaves; i++)
		first_source(&g);
	for (int tries = 0; s->n < target && s->n < SK_NODES - 16 && tries < 400; tries++)
		if (s->most)
			long_step(&g);
		else
			step(&g);
	choose_outputs(&g);
}
