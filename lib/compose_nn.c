// Composed operations of networks: layer norm, pooling, dropout, attention.
// In:  tensors. Out: a tensor, or one in error.
// Not here: modules with parameters (kit/).
#include "lib.h"

#include <math.h>

static bool is_row(struct door *d, const char *name, const struct node *x, const struct node *p)
{
	if (!p || !door_same_type(d, x, p))
		return !p;
	if (p->rank == 1 && p->dims[0].n == x->dims[x->rank - 1].n)
		return true;
	return door_fail(d, TGC_ERROR_SHAPE, "%s is %s, x %s", name, NODE_TEXT(p), NODE_TEXT(x));
}

static struct node *layer_norm(struct calc *k, struct node *x, struct node *gamma, struct node *beta,
                               double eps)
{
	tgc_type t = (tgc_type)x->type;
	uint32_t mask = 1u << (x->rank - 1);
	bool narrow = t == TGC_F16 || t == TGC_BF16; // statistics in f32
	if (narrow)
		x = calc_cast(k, x, TGC_F32);
	struct node *centered = calc_op2(k, OP_SUB, x, calc_mean(k, x, mask, 0));
	struct node *var = calc_mean(k, calc_op2(k, OP_MUL, centered, centered), mask, 0);
	if (!var)
		return NULL;
	struct node *std = calc_op1(k, OP_SQRT, calc_op2(k, OP_ADD, var, calc_num(k, var, eps)));
	struct node *y = calc_op2(k, OP_MUL, centered, calc_op2(k, OP_DIV, calc_num(k, var, 1), std));
	y = narrow ? calc_cast(k, y, t) : y;
	y = gamma ? calc_op2(k, OP_MUL, y, gamma) : y;
	return beta ? calc_op2(k, OP_ADD, y, beta) : y;
}

tgc_tensor *tgc_layer_norm(tgc_tensor *x, tgc_tensor *gamma, tgc_tensor *beta, double eps)
{
	tgc_tensor *t[3] = {x};
	int n = 1;
	if (gamma)
		t[n++] = gamma;
	if (beta)
		t[n++] = beta;
	struct door d = door_open("layer_norm", DOOR_SITE, gamma ? "x,gamma,beta" : "x,beta", n, t);
	struct calc k = {.c = d.c};
	struct node *r = NULL, *v[3] = {NULL};
	bool cast = d.ok; // there was memory for the casts
	for (int i = 0; i < n && cast; i++)
		cast = (v[i] = calc_wide(&k, t[i]->node)) != NULL;
	struct node *g = gamma ? v[1] : NULL, *b = beta ? v[n - 1] : NULL;
	if (d.ok && x->node->rank < 1)
		door_fail(&d, TGC_ERROR_RANK, "x is a scalar, it has no last axis");
	if (d.ok && !(eps >= 0))
		door_fail(&d, TGC_ERROR_ARG, "eps is %g", eps);
	if (d.ok && cast && door_type(&d, "x", (tgc_type)v[0]->type, 'F') && is_row(&d, "gamma", v[0], g) &&
	    is_row(&d, "beta", v[0], b))
		r = layer_norm(&k, v[0], g, b, eps);
	return door_close(&d, calc_done(&k, r));
}

// x[N,C,H,W] -> [N,C,Ho,Wo,size,size]
static struct node *windows(struct calc *k, struct node *x, int64_t size, int64_t stride)
{
	x = calc_hold(k, build_window(k->c, x, 2, size, stride, 1));
	return calc_hold(k, build_window(k->c, x, 3, size, stride, 1));
}

static bool pool_fits(struct door *d, const struct node *x, int64_t size, int64_t stride, int64_t padding)
{
	if (x->rank != 4)
		return door_fail(d, TGC_ERROR_RANK, "x is %s, it has four axes", NODE_TEXT(x));
	if (size < 1 || stride < 1)
		return door_fail(d, TGC_ERROR_ARG, "size %lld, stride %lld; each must be positive",
		                 (long long)size, (long long)stride);
	if (padding < 0 || padding > size / 2) // else a window would see padding only
		return door_fail(d, TGC_ERROR_ARG, "padding %lld of a window of %lld", (long long)padding,
		                 (long long)size);
	for (int i = 2; i < 4; i++)
		if (size - 2 * padding > x->dims[i].n)
			return door_fail(d, TGC_ERROR_SHAPE,
			                 "a window of %lld on %lld elements with padding %lld", (long long)size,
			                 (long long)x->dims[i].n, (long long)padding);
	int64_t out[6] = {x->dims[0].n, x->dims[1].n, 0, 0, size, size};
	for (int i = 2; i < 4; i++)
		out[i] = (x->dims[i].n + 2 * padding - size) / stride + 1;
	return door_shape(d, (tgc_type)x->type, 6, out);
}

enum { TAPS = 1 << 4 | 1 << 5 };

tgc_tensor *tgc_max_pool2d(tgc_tensor *x, int64_t size, int64_t stride, int64_t padding)
{
	struct door d = door_open("max_pool2d", DOOR_SITE, "x", 1, &x);
	struct calc k = {.c = d.c};
	struct node *r = NULL;
	if (d.ok && door_type(&d, "x", (tgc_type)x->node->type, 'N') &&
	    pool_fits(&d, x->node, size, stride, padding)) {
		int64_t pad[4] = {0, 0, padding, padding};
		struct node *least = calc_num(&k, x->node, -(double)INFINITY); // of integers the least
		struct node *y = calc_hold(&k, build_pad(d.c, x->node, pad, pad, NULL, least));
		y = calc_hold(&k, build_max_first(d.c, windows(&k, y, size, stride), TAPS));
		r = calc_done(&k, calc_drop(&k, y, TAPS));
	}
	return door_close(&d, r);
}

tgc_tensor *tgc_avg_pool2d(tgc_tensor *x, int64_t size, int64_t stride)
{
	struct door d = door_open("avg_pool2d", DOOR_SITE, "x", 1, &x);
	struct calc k = {.c = d.c};
	struct node *r = NULL;
	if (d.ok && door_type(&d, "x", (tgc_type)x->node->type, 'F') && pool_fits(&d, x->node, size, stride, 0))
		r = calc_done(&k,
		              calc_drop(&k, calc_mean(&k, windows(&k, x->node, size, stride), TAPS, 0), TAPS));
	return door_close(&d, r);
}

// Kept with probability 1 - p: the bits, as a number below 2^32, are compared in integers.
static struct node *dropout(struct calc *k, struct node *x, double p)
{
	if (p == 0)
		return x;
	struct node *zero = calc_num(k, x, 0);
	if (p == 1)
		return calc_hold(k, build_broadcast(k->c, zero, x->rank, x->dims));
	struct node *bits = calc_bits(k, x->rank, x->dims);
	if (!bits)
		return NULL;
	struct node *kept = calc_op2(k, OP_LE, calc_num(k, bits, floor(p * 0x1p32)), bits);
	return calc_select(k, kept, calc_op2(k, OP_MUL, x, calc_num(k, x, 1 / (1 - p))), zero);
}

tgc_tensor *tgc_dropout(tgc_tensor *x, double p)
{
	struct door d = door_open("dropout", DOOR_SITE, "x", 1, &x);
	struct calc k = {.c = d.c};
	struct node *r = NULL;
	uint64_t counter = d.c ? d.c->counter : 0;
	if (d.ok && !(p >= 0 && p <= 1))
		door_fail(&d, TGC_ERROR_ARG, "p is %g, it must lie in [0, 1]", p);
	if (d.ok && door_type(&d, "x", (tgc_type)x->node->type, 'F'))
		r = calc_done(&k, dropout(&k, x->node, p));
	tgc_tensor *t = door_close(&d, r);
	if (d.c && !t->node)
		d.c->counter = counter; // nothing was drawn
	return t;
}

static struct node *attention(struct calc *k, struct node *q, struct node *key, struct node *v, bool causal)
{
	int order[TGC_MAX_RANK], rank = key->rank;
	for (int i = 0; i < rank; i++)
		order[i] = i;
	order[rank - 1] = rank - 2;
	order[rank - 2] = rank - 1;
	struct node *scores = calc_matmul(k, q, calc_hold(k, build_permute(k->c, key, order)));
	if (!scores)
		return NULL;
	double scale = 1 / sqrt((double)q->dims[q->rank - 1].n);
	int axes = scores->rank;
	struct dim t = scores->dims[axes - 2], s = scores->dims[axes - 1];
	scores = calc_wide(k, scores);
	scores = calc_op2(k, OP_MUL, scores, calc_num(k, scores, scale));
	if (causal) {
		struct node *seen = calc_op2(k, OP_LE, calc_iota(k, TGC_I32, axes, axes - 1, s),
		                             calc_iota(k, TGC_I32, axes, axes - 2, t));
		scores = calc_select(k, seen, scores, calc_num(k, scores, -(double)INFINITY));
	}
	return calc_matmul(k, calc_narrow(k, calc_softmax(k, scores, 1u << (axes - 1))), v);
}

static bool attention_fits(struct door *d, const struct node *q, const struct node *key, const struct node *v)
{
	struct dim all[TGC_MAX_RANK];
	int rank = q->rank;
	if (rank < 2 || key->rank != rank || v->rank != rank)
		return door_fail(d, TGC_ERROR_RANK, "q %s, k %s, v %s; two axes or more, the same number",
		                 NODE_TEXT(q), NODE_TEXT(key), NODE_TEXT(v));
	if (!door_type(d, "q", (tgc_type)q->type, 'F') || !door_same_type(d, q, key) ||
	    !door_same_type(d, q, v))
		return false;
	bool fits =
	    q->dims[rank - 1].n == key->dims[rank - 1].n && key->dims[rank - 2].n == v->dims[rank - 2].n;
	for (int i = 0; i < rank - 2; i++) {
		int64_t a = q->dims[i].n, b = key->dims[i].n, n = v->dims[i].n;
		int64_t most = a > b ? a : b;
		most = n > most ? n : most;
		fits = fits && (a == most || a == 1) && (b == most || b == 1) && (n == most || n == 1);
		all[i] = (struct dim){most, 0};
	}
	if (!fits)
		return door_fail(d, TGC_ERROR_SHAPE, "q %s, k %s, v %s do not go together", NODE_TEXT(q),
		                 NODE_TEXT(key), NODE_TEXT(v));
	all[rank - 2] = q->dims[rank - 2];
	all[rank - 1] = key->dims[rank - 2];
	if (all[rank - 1].n == 0)
		return door_fail(d, TGC_ERROR_SHAPE, "k %s is empty, there is nothing to attend to",
		                 NODE_TEXT(key));
	if (!door_dims(d, (tgc_type)q->type, rank, all))
		return false;
	all[rank - 1] = v->dims[rank - 1];
	return door_dims(d, (tgc_type)q->type, rank, all);
}

tgc_tensor *tgc_attention(tgc_tensor *q, tgc_tensor *k, tgc_tensor *v, bool causal)
{
	tgc_tensor *t[3] = {q, k, v};
	struct door d = door_open("attention", DOOR_SITE, "q,k,v", 3, t);
	struct calc expr = {.c = d.c};
	struct node *r = NULL, *x[3] = {NULL};
	for (int i = 0; i < 3 && d.ok; i++)
		x[i] = calc_narrow(&expr, t[i]->node);
	if (x[0] && x[1] && x[2] && attention_fits(&d, x[0], x[1], x[2]))
		r = attention(&expr, x[0], x[1], x[2], causal);
	return door_close(&d, calc_done(&expr, r));
}
