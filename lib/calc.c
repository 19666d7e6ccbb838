// Expressions over nodes, for operations that are composed of others.
// In:  borrowed nodes whose types fit. Out: borrowed nodes, held until calc_done; NULL (no memory) passes
// through. Not here: checks (door.c), simplification (build*.c).
#include "lib.h"

struct node *calc_hold(struct calc *k, struct node *n)
{
	assert(k->n < CALC_MAX);
	return k->held[k->n++] = n;
}

struct node *calc_num(struct calc *k, const struct node *like, double v)
{
	if (!like)
		return NULL;
	tgc_type t = (tgc_type)like->type;
	return calc_hold(k, build_const(k->c, t, number_from_double(t, v)));
}

struct node *calc_op1(struct calc *k, int op, struct node *x)
{
	return calc_hold(k, build_unary(k->c, op, x));
}

// The common shape of operands that are known to broadcast.
static int common(int n, struct node *const *x, struct dim *d)
{
	int rank = 0;
	for (int k = 0; k < n; k++)
		rank = x[k]->rank > rank ? x[k]->rank : rank;
	for (int i = 0; i < rank; i++) {
		d[i] = (struct dim){1, 0};
		for (int k = 0; k < n; k++) {
			int at = i - (rank - x[k]->rank);
			if (at >= 0 && (d[i].n == 1 || (d[i].sym == 0 && x[k]->dims[at].n != 1)))
				d[i] = x[k]->dims[at];
		}
	}
	return rank;
}

static struct node *broadcast(struct calc *k, struct node *x, int rank, const struct dim *d)
{
	return calc_hold(k, build_broadcast(k->c, x, rank, d));
}

struct node *calc_op2(struct calc *k, int op, struct node *x, struct node *y)
{
	struct dim d[TGC_MAX_RANK];
	if (!x || !y)
		return NULL;
	if (node_same_shape(x, y))
		return calc_hold(k, build_binary(k->c, op, x, y));
	int rank = common(2, (struct node *[]){x, y}, d);
	x = broadcast(k, x, rank, d);
	y = broadcast(k, y, rank, d);
	return calc_hold(k, build_binary(k->c, op, x, y));
}

struct node *calc_select(struct calc *k, struct node *cond, struct node *x, struct node *y)
{
	struct dim d[TGC_MAX_RANK];
	if (!cond || !x || !y)
		return NULL;
	int rank = common(3, (struct node *[]){cond, x, y}, d);
	cond = broadcast(k, cond, rank, d);
	x = broadcast(k, x, rank, d);
	y = broadcast(k, y, rank, d);
	return calc_hold(k, build_select(k->c, cond, x, y));
}

struct node *calc_cast(struct calc *k, struct node *x, tgc_type t)
{
	return calc_hold(k, build_cast(k->c, x, t));
}

struct node *calc_reduce(struct calc *k, int op, struct node *x, uint32_t axes_mask)
{
	return calc_hold(k, build_reduce(k->c, op, x, axes_mask));
}

struct node *calc_mean(struct calc *k, struct node *x, uint32_t axes_mask, double correction)
{
	double count = 1;
	if (!x)
		return NULL;
	for (int i = 0; i < x->rank; i++)
		count *= axes_mask >> i & 1 ? (double)x->dims[i].n : 1;
	count -= correction;
	tgc_type t = (tgc_type)x->type;
	bool narrow = t == TGC_F16 || t == TGC_BF16; // which may not hold the sum, nor the count
	x = narrow ? calc_cast(k, x, TGC_F32) : x;
	struct node *n =
	    calc_num(k, x, count > 0 ? count : 0); // an empty or overcorrected mean is a division by 0
	struct node *mean = calc_op2(k, OP_DIV, calc_reduce(k, OP_SUM, x, axes_mask), n);
	return narrow ? calc_cast(k, mean, t) : mean;
}

struct node *calc_drop(struct calc *k, struct node *x, uint32_t axes_mask)
{
	struct dim d[TGC_MAX_RANK];
	int rank = 0;
	if (!x)
		return NULL;
	for (int i = 0; i < x->rank; i++)
		if (!(axes_mask >> i & 1))
			d[rank++] = x->dims[i];
	return calc_hold(k, build_reshape(k->c, x, rank, d));
}

struct node *calc_iota(struct calc *k, tgc_type t, int rank, int axis, struct dim n)
{
	struct dim d[TGC_MAX_RANK];
	for (int i = 0; i < rank; i++)
		d[i] = i == axis ? n : (struct dim){1, 0};
	return calc_hold(k, build_iota(k->c, t, rank, d, axis));
}

struct node *calc_done(struct calc *k, struct node *result)
{
	node_ref(result);
	for (int i = 0; i < k->n; i++)
		node_unref(k->c, k->held[i]);
	k->n = 0;
	return result;
}
