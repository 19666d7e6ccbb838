// Composed operations: activations, softmax and losses as expressions over primitives, for the scheduler to
// fuse. In:  tensors. Out: a tensor, or one in error. Not here: layers over several axes (compose_nn.c). Maxima
// that only keep exponents in range are detached: the result does not depend on them, so neither should the
// gradient's work.
#include "lib.h"

#include <math.h>

typedef struct node *formula(struct calc *k, struct node *x);

static tgc_tensor *apply(const char *op, formula *f, tgc_tensor *x, char types, const void *site)
{
	struct door d = door_open(op, site, "x", 1, &x);
	struct calc k = {.c = d.c};
	struct node *r = NULL;
	if (d.ok && door_type(&d, "x", (tgc_type)x->node->type, types))
		r = calc_done(&k, f(&k, x->node));
	return door_close(&d, r);
}

// NaN stays, -0 becomes 0, the gradient at 0 is 0.
static struct node *relu(struct calc *k, struct node *x)
{
	struct node *zero = calc_num(k, x, 0);
	return calc_select(k, calc_op2(k, OP_LE, x, zero), zero, x);
}

// 1 / (1 + e) with e = exp(-x), and e / (1 + e) with e = exp(x) below 0: no overflow, no cancellation.
static struct node *sigmoid(struct calc *k, struct node *x)
{
	struct node *one = calc_num(k, x, 1);
	struct node *below = calc_op2(k, OP_LT, x, calc_num(k, x, 0));
	struct node *e = calc_op1(k, OP_EXP, calc_select(k, below, x, calc_op1(k, OP_NEG, x)));
	return calc_op2(k, OP_DIV, calc_select(k, below, e, one), calc_op2(k, OP_ADD, e, one));
}

static struct node *silu(struct calc *k, struct node *x)
{
	return calc_op2(k, OP_MUL, x, sigmoid(k, x));
}
static struct node *square(struct calc *k, struct node *x)
{
	return calc_op2(k, OP_MUL, x, x);
}

static struct node *half_times_one_plus(struct calc *k, struct node *x, struct node *y)
{
	struct node *half = calc_op2(k, OP_MUL, x, calc_num(k, x, 0.5));
	return calc_op2(k, OP_MUL, half, calc_op2(k, OP_ADD, y, calc_num(k, x, 1)));
}

static struct node *gelu(struct calc *k, struct node *x)
{
	struct node *y = calc_op1(k, OP_ERF, calc_op2(k, OP_MUL, x, calc_num(k, x, 0.7071067811865476)));
	return half_times_one_plus(k, x, y);
}

// sqrt(2/pi) (x + 0.044715 x^3). Source: Hendrycks and Gimpel 2016.
static struct node *gelu_tanh(struct calc *k, struct node *x)
{
	struct node *x2 = calc_op2(k, OP_MUL, x, x);
	struct node *p = calc_op2(k, OP_MUL, x2, calc_num(k, x, 0.7978845608028654 * 0.044715));
	struct node *inner = calc_op2(k, OP_MUL, x, calc_op2(k, OP_ADD, p, calc_num(k, x, 0.7978845608028654)));
	return half_times_one_plus(k, x, calc_op1(k, OP_TANH, inner));
}

tgc_tensor *tgc_relu(tgc_tensor *x)
{
	return apply("relu", relu, x, 'N', DOOR_SITE);
}
tgc_tensor *tgc_sigmoid(tgc_tensor *x)
{
	return apply("sigmoid", sigmoid, x, 'F', DOOR_SITE);
}
tgc_tensor *tgc_silu(tgc_tensor *x)
{
	return apply("silu", silu, x, 'F', DOOR_SITE);
}
tgc_tensor *tgc_square(tgc_tensor *x)
{
	return apply("square", square, x, 'N', DOOR_SITE);
}
tgc_tensor *tgc_gelu(tgc_tensor *x)
{
	return apply("gelu", gelu, x, 'F', DOOR_SITE);
}
tgc_tensor *tgc_gelu_tanh(tgc_tensor *x)
{
	return apply("gelu_tanh", gelu_tanh, x, 'F', DOOR_SITE);
}

typedef struct node *row_formula(struct calc *k, struct node *x, uint32_t mask);

static tgc_tensor *apply_row(const char *op, row_formula *f, tgc_tensor *x, int axis, const void *site)
{
	struct door d = door_open(op, site, "x", 1, &x);
	struct calc k = {.c = d.c};
	struct node *r = NULL;
	int a;
	if (d.ok && door_type(&d, "x", (tgc_type)x->node->type, 'F') &&
	    door_axis(&d, x->node->rank, axis, &a)) {
		if (x->node->dims[a].n == 0)
			door_fail(&d, TGC_ERROR_SHAPE, "axis %d of %s is empty", axis, NODE_TEXT(x->node));
		else
			r = calc_done(&k, f(&k, calc_wide(&k, x->node), 1u << a));
	}
	return door_close(&d, r);
}

static struct node *row_max(struct calc *k, struct node *x, uint32_t mask)
{
	return calc_op1(k, OP_DETACH, calc_reduce(k, OP_RMAX, x, mask));
}

struct node *calc_softmax(struct calc *k, struct node *x, uint32_t mask)
{
	struct node *e = calc_op1(k, OP_EXP, calc_op2(k, OP_SUB, x, row_max(k, x, mask)));
	return calc_op2(k, OP_DIV, e, calc_reduce(k, OP_SUM, e, mask));
}

static struct node *log_sum_exp(struct calc *k, struct node *shifted, uint32_t mask)
{
	return calc_op1(k, OP_LOG, calc_reduce(k, OP_SUM, calc_op1(k, OP_EXP, shifted), mask));
}

static struct node *log_softmax(struct calc *k, struct node *x, uint32_t mask)
{
	struct node *shifted = calc_op2(k, OP_SUB, x, row_max(k, x, mask));
	return calc_op2(k, OP_SUB, shifted, log_sum_exp(k, shifted, mask));
}

// An infinite maximum is not subtracted: all -inf gives -inf, one +inf gives +inf.
static struct node *logsumexp(struct calc *k, struct node *x, uint32_t mask)
{
	struct node *m = row_max(k, x, mask), *zero = calc_num(k, x, 0);
	struct node *is_inf =
	    m ? calc_op2(k, OP_EQ, calc_op1(k, OP_ABS, m), calc_num(k, m, (double)INFINITY)) : NULL;
	struct node *safe = calc_select(k, is_inf, zero, m);
	struct node *y = calc_op2(k, OP_ADD, log_sum_exp(k, calc_op2(k, OP_SUB, x, safe), mask), safe);
	return calc_drop(k, y, mask);
}

tgc_tensor *tgc_softmax(tgc_tensor *x, int axis)
{
	return apply_row("softmax", calc_softmax, x, axis, DOOR_SITE);
}

tgc_tensor *tgc_log_softmax(tgc_tensor *x, int axis)
{
	return apply_row("log_softmax", log_softmax, x, axis, DOOR_SITE);
}

tgc_tensor *tgc_logsumexp(tgc_tensor *x, int axis)
{
	return apply_row("logsumexp", logsumexp, x, axis, DOOR_SITE);
}

// labels[N] as [N,1] of i32 (i64 where there are more classes), checked to lie in [0, classes).
static struct node *checked_labels(struct calc *k, struct node *labels, int64_t classes)
{
	struct node *y = labels;
	if (y->type != TGC_I32 && y->type != TGC_I64)
		y = calc_cast(k, y, TGC_I32);
	if (!y)
		return NULL;
	struct node *low = calc_op2(k, OP_LE, calc_num(k, y, 0), y);
	struct node *high = calc_op2(k, OP_LT, y, calc_num(k, y, (double)classes));
	struct node *ok = calc_op2(k, OP_AND, low, high);
	y = calc_hold(k, build_check(k->c, y, ok));
	y = calc_cast(k, y, classes > INT32_MAX ? TGC_I64 : TGC_I32);
	return y ? calc_hold(k, build_reshape(k->c, y, 2, (struct dim[]){y->dims[0], {1, 0}})) : NULL;
}

static struct node *cross_entropy(struct calc *k, struct node *x, struct node *labels)
{
	struct node *y = checked_labels(k, labels, x->dims[1].n);
	struct node *shifted = calc_op2(k, OP_SUB, x, row_max(k, x, 2));
	if (!y || !shifted)
		return NULL;
	struct node *at = calc_op2(k, OP_EQ, calc_iota(k, (tgc_type)y->type, 2, 1, x->dims[1]), y);
	struct node *picked = calc_reduce(k, OP_SUM, calc_select(k, at, shifted, calc_num(k, x, 0)), 2);
	struct node *loss = calc_op2(k, OP_SUB, log_sum_exp(k, shifted, 2), picked);
	return calc_drop(k, calc_mean(k, loss, 3, 0), 3);
}

static bool is_label(tgc_type t)
{
	return type_is_int(t) && t != TGC_U64 && t != TGC_U32;
}

tgc_tensor *tgc_cross_entropy(tgc_tensor *logits, tgc_tensor *labels)
{
	tgc_tensor *t[2] = {logits, labels};
	struct door d = door_open("cross_entropy", DOOR_SITE, "logits,labels", 2, t);
	struct calc k = {.c = d.c};
	struct node *r = NULL, *x = d.ok ? logits->node : NULL, *y = d.ok ? labels->node : NULL;
	if (d.ok && (x->rank != 2 || y->rank != 1))
		door_fail(&d, TGC_ERROR_RANK, "logits %s and labels %s; they have two axes and one",
		          NODE_TEXT(x), NODE_TEXT(y));
	if (d.ok && x->dims[0].n != y->dims[0].n)
		door_fail(&d, TGC_ERROR_SHAPE, "logits %s and labels %s", NODE_TEXT(x), NODE_TEXT(y));
	if (d.ok && x->dims[1].n == 0)
		door_fail(&d, TGC_ERROR_SHAPE, "logits %s have no class", NODE_TEXT(x));
	if (d.ok && !is_label((tgc_type)y->type))
		door_fail(&d, TGC_ERROR_TYPE, "labels are %s, they must be signed integers or u8",
		          tgc_type_name((tgc_type)y->type));
	if (d.ok && door_type(&d, "logits", (tgc_type)x->type, 'F'))
		r = calc_done(&k, (x = calc_wide(&k, x)) ? cross_entropy(&k, x, y) : NULL);
	return door_close(&d, r);
}

tgc_tensor *tgc_one_hot(tgc_tensor *labels, int64_t classes, tgc_type type)
{
	struct door d = door_open("one_hot", DOOR_SITE, "labels", 1, &labels);
	struct calc k = {.c = d.c};
	struct node *r = NULL;
	struct dim dims[TGC_MAX_RANK + 1];
	if (d.ok && type_is_float((tgc_type)labels->node->type))
		door_fail(&d, TGC_ERROR_TYPE, "labels are %s, they must be integers or bool",
		          tgc_type_name((tgc_type)labels->node->type));
	if (d.ok && classes < 1)
		door_fail(&d, TGC_ERROR_ARG, "%lld classes", (long long)classes);
	if (d.ok && door_type(&d, "type", type, 'A')) {
		struct node *y = labels->node;
		int rank = y->rank;
		memcpy(dims, y->dims, sizeof *dims * (size_t)rank);
		dims[rank] = (struct dim){classes, 0};
		if (door_dims(&d, type, rank + 1, dims)) {
			dims[rank] = (struct dim){1, 0};
			bool narrow = classes <= INT32_MAX && tgc_type_bytes((tgc_type)y->type) < 4;
			y = calc_cast(&k, y, narrow || y->type == TGC_I32 ? TGC_I32 : TGC_I64);
			y = calc_hold(&k, build_reshape(d.c, y, rank + 1, dims));
			struct node *i =
			    y ? calc_iota(&k, (tgc_type)y->type, rank + 1, rank, (struct dim){classes, 0})
			      : NULL;
			r = calc_done(&k, calc_cast(&k, calc_op2(&k, OP_EQ, i, y), type));
		}
	}
	return door_close(&d, r);
}
