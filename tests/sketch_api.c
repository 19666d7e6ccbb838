// A sketch through the public API, as a user would write it.
// In: a sketch and a context. Out: one tensor a node. Not here: running and comparing (check.c).
#include "sketch.h"

#include <math.h>
#include <stdlib.h>

struct record {
	const struct sketch *s;
	tgc_context *ctx;
	tgc_tensor **t;
};

static tgc_shape shape_of(const struct snode *n)
{
	tgc_shape shape = {.rank = n->rank};

	memcpy(shape.dims, n->dims, sizeof shape.dims);
	return shape;
}

static tgc_tensor *record_leaf(struct record *b, const struct snode *n)
{
	void *data = sk_data(n);
	tgc_tensor *t;

	if (n->leaf == SK_LATE && n->rank == 0) {
		int64_t whole = interp_is_float(n->type) ? 0 : interp_load_i(n->type, data, 0);
		double v = interp_is_float(n->type) ? interp_load_f(n->type, data, 0)
		           : n->type == TGC_U64     ? (double)(uint64_t)whole
		                                    : (double)whole;
		t = tgc_scalar_typed(b->ctx, n->type, v);
	} else {
		t = tgc_from_data(b->ctx, n->type, shape_of(n), data);
		if (n->leaf == SK_VARIABLE)
			t = tgc_variable(t);
	}
	free(data);
	return t;
}

// A plain number where the sketch has a constant scalar and another operand gives the type.
static tgc_arg operand(const struct record *b, const struct snode *n, int k, int first)
{
	const struct snode *x = &b->s->nodes[n->src[k]];
	bool number = x->op == OP_CONST && x->rank == 0;

	for (int j = first; number && j < k; j++)
		number = b->s->nodes[n->src[j]].op != OP_CONST;
	if (!number || n->nsrc - first < 2 || (k == first && b->s->nodes[n->src[k + 1]].op == OP_CONST))
		return tgc_arg_tensor(b->t[n->src[k]]);
	return interp_is_float(x->type) ? tgc_arg_number(x->num) : tgc_arg_integer((int64_t)x->num);
}

// The rows of the table are the public functions.
tgc_tensor *sk_record1(int op, tgc_tensor *x, tgc_type type)
{
	switch (op) {
#define TG_UNARY(ID, NAME, ...)                                                                                \
	case OP_##ID:                                                                                          \
		return tgc_##NAME(x);
#include "ops.def"
	case OP_CAST:
		return tgc_cast(x, type);
	case OP_BITCAST:
		return tgc_bitcast(x, type);
	default:
		return NULL;
	}
}

tgc_tensor *sk_record2(int op, tgc_arg x, tgc_arg y)
{
	switch (op) {
#define TG_BINARY(ID, NAME, ...)                                                                               \
	case OP_##ID:                                                                                          \
		return tgc_##NAME##_arg(x, y);
#define TG_COMPARE(ID, NAME, ...)                                                                              \
	case OP_##ID:                                                                                          \
		return tgc_##NAME##_arg(x, y);
#include "ops.def"
	default:
		return NULL;
	}
}

static tgc_tensor *record_elementwise(struct record *b, const struct snode *n)
{
	tgc_tensor **t = b->t;

	if (n->op == OP_SELECT)
		return tgc_select_arg(t[n->src[0]], operand(b, n, 1, 1), operand(b, n, 2, 1));
	if (n->op == OP_FMA)
		return tgc_fma(t[n->src[0]], t[n->src[1]], t[n->src[2]]);
	if (n->nsrc == 1)
		return sk_record1(n->op, t[n->src[0]], n->type);
	return sk_record2(n->op, operand(b, n, 0, 0), operand(b, n, 1, 0));
}

static tgc_axes axes_of(int count, const int64_t *attr)
{
	tgc_axes axes = {.count = count};

	for (int a = 0; a < count; a++)
		axes.axes[a] = (int)attr[a];
	return axes;
}

static tgc_tensor *record_pad(tgc_tensor *x, const struct snode *n)
{
	int64_t lo[TGC_MAX_RANK], hi[TGC_MAX_RANK];

	for (int a = 0; a < n->rank; a++) {
		lo[a] = n->attr[3 * a];
		hi[a] = n->attr[3 * a + 1];
	}
	return tgc_pad(x, lo, hi, n->num);
}

static tgc_tensor *record_slice(tgc_tensor *x, const struct snode *n)
{
	int64_t start[TGC_MAX_RANK], stop[TGC_MAX_RANK], step[TGC_MAX_RANK];

	for (int a = 0; a < n->rank; a++) {
		start[a] = n->attr[3 * a];
		step[a] = n->attr[3 * a + 1];
		stop[a] = n->attr[3 * a + 2];
	}
	return tgc_slice(x, start, stop, step);
}

static tgc_tensor *record_flip(tgc_tensor *x, const struct snode *n)
{
	tgc_axes axes = {.count = 0};

	for (int a = 0; a < n->rank; a++)
		if (n->attr[a])
			axes.axes[axes.count++] = a;
	return tgc_flip(x, axes);
}

static tgc_tensor *record_move(struct record *b, const struct snode *n)
{
	tgc_tensor *x = b->t[n->src[0]], *xs[SK_SRC];
	const int64_t *at = n->attr;

	switch (n->op) {
	case OP_RESHAPE:
		return tgc_reshape(x, shape_of(n));
	case OP_PERMUTE:
		return tgc_permute(x, axes_of(n->rank, at));
	case OP_EXPAND:
		return tgc_expand(x, shape_of(n));
	case OP_PAD:
		return record_pad(x, n);
	case OP_SLICE:
		return record_slice(x, n);
	case OP_FLIP:
		return record_flip(x, n);
	case OP_WINDOW:
		return tgc_window(x, (int)at[0], at[1], at[2], at[3]);
	case OP_FOLD:
		return tgc_fold(x, (int)at[0], n->dims[at[0]], at[2], at[3]);
	default:
		for (int k = 0; k < n->nsrc; k++)
			xs[k] = b->t[n->src[k]];
		return tgc_concat(n->nsrc, xs, (int)at[0]);
	}
}

static tgc_tensor *record_reduce(struct record *b, const struct snode *n)
{
	tgc_tensor *x = b->t[n->src[0]];
	tgc_axes axes = {.count = 0};

	for (int a = 0; a < TGC_MAX_RANK; a++)
		if (n->attr[0] >> a & 1)
			axes.axes[axes.count++] = a;
	switch (n->op) {
	case OP_SUM:
		return tgc_sum(x, axes, n->attr[1] != 0);
	case OP_RMAX:
		return tgc_max(x, axes, n->attr[1] != 0);
	case OP_RMIN:
		return tgc_min(x, axes, n->attr[1] != 0);
	default:
		return tgc_argmax(x, axes.axes[0], n->attr[1] != 0);
	}
}

static tgc_tensor *record_conv(tgc_tensor *x, tgc_tensor *w, const int64_t *at)
{
	return tgc_conv2d(x, w, .stride = {at[0], at[1]}, .padding = {at[2], at[3], at[4], at[5]},
	                  .dilation = {at[6], at[7]}, .groups = at[8]);
}

static tgc_tensor *record_full(tgc_context *ctx, const struct snode *n)
{
	if (interp_is_float(n->type))
		return tgc_full(ctx, n->type, shape_of(n), n->num);
	return tgc_full_int(ctx, n->type, shape_of(n), (int64_t)n->num);
}

static tgc_tensor *record_node(struct record *b, const struct snode *n)
{
	tgc_tensor **t = b->t;
	const int *src = n->src;

	switch (n->op) {
	case OP_DATA:
		return record_leaf(b, n);
	case OP_CONST:
		return record_full(b->ctx, n);
	case OP_IOTA:
		return tgc_iota(b->ctx, n->type, shape_of(n), (int)n->attr[0]);
	case SK_RAND:
		tgc_seed(b->ctx, n->seed);
		return tgc_rand(b->ctx, TGC_F32, shape_of(n), .low = 0);
	case SK_MATMUL:
		return tgc_matmul(t[src[0]], t[src[1]]);
	case SK_EINSUM:
		return tgc_einsum(n->spec, t[src[0]], t[src[1]]);
	case SK_CONV:
		return record_conv(t[src[0]], t[src[1]], n->attr);
	case OP_GATHER:
		return tgc_gather(t[src[0]], t[src[1]], (int)n->attr[0]);
	case OP_SCATTER:
		return tgc_scatter(t[src[0]], t[src[1]], t[src[2]], (int)n->attr[0],
		                   (tgc_scatter_mode)n->attr[1]);
	case OP_CHECK:
		return tgc_check(t[src[0]], t[src[1]]);
	default:
		break;
	}
	if (op_info[n->op].cls == CLASS_MOVE)
		return record_move(b, n);
	if (op_info[n->op].cls == CLASS_REDUCE)
		return record_reduce(b, n);
	return record_elementwise(b, n);
}

void sk_build(const struct sketch *s, tgc_context *ctx, tgc_tensor **t)
{
	struct record b = {s, ctx, t};

	for (int i = 0; i < s->n; i++)
		t[i] = record_node(&b, &s->nodes[i]);
}
