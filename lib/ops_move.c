// Public doors of movement.
// In:  a tensor and what to do with its indices. Out: a tensor, or one in error.
// Not here: how views compose (build_move.c).
#include "lib.h"

static bool node_dims_from(struct door *d, const struct node *x, tgc_shape shape, struct dim *out)
{
	if (!door_shape(d, (tgc_type)x->type, shape.rank, shape.dims))
		return false;
	for (int i = 0; i < shape.rank; i++)
		out[i] = (struct dim){shape.dims[i], 0};
	return true;
}

// Replaces one -1 by what is left.
static bool infer(struct door *d, const struct node *x, tgc_shape *s)
{
	int64_t known = 1, all = node_elems(x);
	int open = -1;
	if (s->rank < 0 || s->rank > TGC_MAX_RANK)
		return door_shape(d, (tgc_type)x->type, s->rank, s->dims);
	for (int i = 0; i < s->rank; i++) {
		if (s->dims[i] == -1 && open >= 0)
			return door_fail(d, TGC_ERROR_SHAPE, "axes %d and %d are both -1", open, i);
		if (s->dims[i] == -1)
			open = i;
		else if (__builtin_mul_overflow(known, s->dims[i], &known))
			return door_shape(d, (tgc_type)x->type, s->rank, s->dims);
	}
	if (open < 0)
		return true;
	if (known <= 0 || all % known != 0)
		return door_fail(d, TGC_ERROR_SHAPE, "-1 on axis %d: %lld elements of %s over %lld", open,
		                 (long long)all, NODE_TEXT(x), (long long)known);
	s->dims[open] = all / known;
	return true;
}

// A size that stays where it was, seen from either end, keeps its symbol.
static void keep_symbols(const struct node *x, int rank, struct dim *d)
{
	for (int i = 0; i < rank && i < x->rank && d[i].n == x->dims[i].n; i++)
		d[i].sym = x->dims[i].sym;
	for (int i = rank - 1, j = x->rank - 1; i >= 0 && j >= 0 && d[i].n == x->dims[j].n; i--, j--)
		d[i].sym = x->dims[j].sym;
}

tgc_tensor *tgc_reshape(tgc_tensor *x, tgc_shape shape)
{
	struct door d = door_open("reshape", DOOR_SITE, "x", 1, &x);
	struct dim dims[TGC_MAX_RANK];
	struct node *r = NULL;
	if (d.ok && infer(&d, x->node, &shape) && node_dims_from(&d, x->node, shape, dims)) {
		int64_t n = 1, all = node_elems(x->node);
		for (int i = 0; i < shape.rank; i++)
			n *= shape.dims[i];
		keep_symbols(x->node, shape.rank, dims);
		if (n == all)
			r = build_reshape(d.c, x->node, shape.rank, dims);
		else
			door_fail(&d, TGC_ERROR_SHAPE, "%s has %lld elements, %s %lld", NODE_TEXT(x->node),
			          (long long)all, shape_text(shape.rank, dims).s, (long long)n);
	}
	return door_close(&d, r);
}

tgc_tensor *tgc_permute(tgc_tensor *x, tgc_axes order)
{
	struct door d = door_open("permute", DOOR_SITE, "x", 1, &x);
	struct node *r = NULL;
	uint32_t mask;
	int from[TGC_MAX_RANK];
	if (d.ok && order.count != x->node->rank)
		door_fail(&d, TGC_ERROR_AXIS, "%d axes are named, x has %d", order.count, x->node->rank);
	if (d.ok && door_axes(&d, x->node->rank, order, &mask)) {
		for (int i = 0; i < order.count; i++)
			from[i] = order.axes[i] < 0 ? order.axes[i] + x->node->rank : order.axes[i];
		r = build_permute(d.c, x->node, from);
	}
	return door_close(&d, r);
}

tgc_tensor *tgc_transpose(tgc_tensor *x, int axis_a, int axis_b)
{
	struct door d = door_open("transpose", DOOR_SITE, "x", 1, &x);
	struct node *r = NULL;
	int a, b, order[TGC_MAX_RANK];
	if (d.ok && door_axis(&d, x->node->rank, axis_a, &a) && door_axis(&d, x->node->rank, axis_b, &b)) {
		for (int i = 0; i < x->node->rank; i++)
			order[i] = i == a ? b : i == b ? a : i;
		r = build_permute(d.c, x->node, order);
	}
	return door_close(&d, r);
}

tgc_tensor *tgc_expand(tgc_tensor *x, tgc_shape shape)
{
	struct door d = door_open("expand", DOOR_SITE, "x", 1, &x);
	struct dim dims[TGC_MAX_RANK];
	struct node *r = NULL;
	if (d.ok && node_dims_from(&d, x->node, shape, dims)) {
		const struct node *n = x->node;
		int lead = shape.rank - n->rank;
		bool fits = lead >= 0;
		for (int i = 0; fits && i < n->rank; i++) {
			fits = n->dims[i].n == 1 || n->dims[i].n == dims[lead + i].n;
			if (n->dims[i].n == dims[lead + i].n)
				dims[lead + i].sym = n->dims[i].sym;
		}
		if (fits)
			r = build_broadcast(d.c, x->node, shape.rank, dims);
		else
			door_fail(&d, TGC_ERROR_SHAPE, "%s does not broadcast to %s", NODE_TEXT(n),
			          shape_text(shape.rank, dims).s);
	}
	return door_close(&d, r);
}

tgc_tensor *tgc_pad(tgc_tensor *x, const int64_t *lo, const int64_t *hi, double fill)
{
	struct door d = door_open("pad", DOOR_SITE, "x", 1, &x);
	struct node *r = NULL;
	int64_t dims[TGC_MAX_RANK];
	if (d.ok && x->node->rank > 0 && (!lo || !hi))
		door_fail(&d, TGC_ERROR_ARG, "%s is NULL", lo ? "hi" : "lo");
	for (int i = 0; d.ok && i < x->node->rank; i++) {
		int64_t n = x->node->dims[i].n;
		if (__builtin_add_overflow(n, lo[i], &dims[i]) ||
		    __builtin_add_overflow(dims[i], hi[i], &dims[i]) || lo[i] < -INT64_MAX ||
		    hi[i] < -INT64_MAX)
			door_fail(&d, TGC_ERROR_OVERFLOW,
			          "axis %d of %lld elements, %lld before and %lld after", i, (long long)n,
			          (long long)lo[i], (long long)hi[i]);
		else if (dims[i] < 0)
			door_fail(&d, TGC_ERROR_SHAPE, "axis %d of %lld elements is cropped by %lld", i,
			          (long long)n, (long long)(n - dims[i]));
	}
	if (d.ok && door_shape(&d, (tgc_type)x->node->type, x->node->rank, dims)) {
		tgc_type t = (tgc_type)x->node->type;
		struct node *f = build_const(d.c, t, number_from_double(t, fill));
		r = build_pad(d.c, x->node, lo, hi, NULL, f);
		node_unref(d.c, f);
	}
	return door_close(&d, r);
}

// Python's reading of x[start:stop:step] on an axis of n elements, step > 0.
static int64_t slice_axis(int64_t n, int64_t *start, int64_t stop, int64_t step)
{
	int64_t from = *start < 0 ? *start + n : *start, to = stop < 0 ? stop + n : stop;
	from = from < 0 ? 0 : from > n ? n : from;
	to = to < 0 ? 0 : to > n ? n : to;
	*start = from;
	return to > from ? (to - from - 1) / step + 1 : 0;
}

static struct node *slice(struct door *d, struct node *x, const int64_t *start, const int64_t *stop,
                          const int64_t *step)
{
	int64_t from[TGC_MAX_RANK], by[TGC_MAX_RANK];
	struct dim dims[TGC_MAX_RANK];
	for (int i = 0; i < x->rank; i++) {
		int64_t n = x->dims[i].n;
		from[i] = start ? start[i] : 0;
		by[i] = step ? step[i] : 1;
		if (by[i] <= 0) {
			door_fail(d, TGC_ERROR_ARG, "step %lld on axis %d must be positive", (long long)by[i],
			          i);
			return NULL;
		}
		int64_t count = slice_axis(n, &from[i], stop ? stop[i] : n, by[i]);
		dims[i] = (struct dim){count, count == n ? x->dims[i].sym : 0};
	}
	return build_slice(d->c, x, from, by, dims);
}

tgc_tensor *tgc_slice(tgc_tensor *x, const int64_t *start, const int64_t *stop, const int64_t *step)
{
	struct door d = door_open("slice", DOOR_SITE, "x", 1, &x);
	return door_close(&d, d.ok ? slice(&d, x->node, start, stop, step) : NULL);
}

tgc_tensor *tgc_slice_axis(tgc_tensor *x, int axis, int64_t start, int64_t stop)
{
	struct door d = door_open("slice_axis", DOOR_SITE, "x", 1, &x);
	struct node *r = NULL;
	int64_t from[TGC_MAX_RANK], to[TGC_MAX_RANK];
	int a;
	if (d.ok && door_axis(&d, x->node->rank, axis, &a)) {
		for (int i = 0; i < x->node->rank; i++) {
			from[i] = i == a ? start : 0;
			to[i] = i == a ? stop : x->node->dims[i].n;
		}
		r = slice(&d, x->node, from, to, NULL);
	}
	return door_close(&d, r);
}

tgc_tensor *tgc_flip(tgc_tensor *x, tgc_axes axes)
{
	struct door d = door_open("flip", DOOR_SITE, "x", 1, &x);
	struct node *r = NULL;
	uint32_t mask;
	if (d.ok && door_axes(&d, x->node->rank, axes, &mask))
		r = build_flip(d.c, x->node, mask);
	return door_close(&d, r);
}

static bool joins(struct door *d, const struct node *a, const struct node *b, int axis)
{
	bool fits = a->rank == b->rank;
	for (int i = 0; fits && i < a->rank; i++)
		fits = i == axis || a->dims[i].n == b->dims[i].n;
	return fits ||
	       door_fail(d, TGC_ERROR_SHAPE, "%s and %s differ off axis %d", NODE_TEXT(a), NODE_TEXT(b), axis);
}

static struct node *concat(struct door *d, int count, tgc_tensor *const *xs, int axis)
{
	struct tgc_context *c = d->c;
	struct dim dims[TGC_MAX_RANK];
	int a;
	size_t bytes = sizeof(struct node *) * (size_t)count;
	if (!door_axis(d, xs[0]->node->rank, axis, &a))
		return NULL;
	memcpy(dims, xs[0]->node->dims, sizeof *dims * xs[0]->node->rank);
	for (int i = 1; i < count; i++) {
		if (!door_same_type(d, xs[0]->node, xs[i]->node) || !joins(d, xs[0]->node, xs[i]->node, a))
			return NULL;
		if (__builtin_add_overflow(dims[a].n, xs[i]->node->dims[a].n, &dims[a].n))
			return door_fail(d, TGC_ERROR_OVERFLOW, "axis %d has no 63-bit length", a), NULL;
	}
	if (!door_dims(d, (tgc_type)xs[0]->node->type, xs[0]->node->rank, dims))
		return NULL;
	struct node **nodes = host_realloc(&c->host, NULL, 0, bytes), *r = NULL;
	if (!nodes) {
		door_fail(d, TGC_ERROR_MEMORY, "no memory for a list of %d tensors", count);
		return NULL;
	}
	for (int i = 0; i < count; i++)
		nodes[i] = xs[i]->node;
	r = build_concat(c, count, nodes, a);
	host_realloc(&c->host, nodes, bytes, 0);
	return r;
}

tgc_tensor *tgc_concat(int count, tgc_tensor *const *xs, int axis)
{
	struct door d = door_open("concat", DOOR_SITE, "xs", xs && count > 0 ? count : 0, xs);
	return door_close(&d, d.ok ? concat(&d, count, xs, axis) : NULL);
}

static bool window_fits(struct door *d, const struct node *x, int a, int64_t size, int64_t stride,
                        int64_t dilation)
{
	int64_t n = x->dims[a].n, span;
	if (size < 1 || stride < 1 || dilation < 1)
		return door_fail(d, TGC_ERROR_ARG,
		                 "size %lld, stride %lld, dilation %lld; each must be positive",
		                 (long long)size, (long long)stride, (long long)dilation);
	if (__builtin_mul_overflow(dilation, size - 1, &span) || span >= n)
		return door_fail(d, TGC_ERROR_SHAPE,
		                 "a window of %lld elements, dilation %lld, on an axis of %lld",
		                 (long long)size, (long long)dilation, (long long)n);
	return true;
}

tgc_tensor *tgc_window(tgc_tensor *x, int axis, int64_t size, int64_t stride, int64_t dilation)
{
	struct door d = door_open("window", DOOR_SITE, "x", 1, &x);
	struct node *r = NULL;
	struct dim dims[TGC_MAX_RANK + 1];
	int a;
	if (d.ok && door_axis(&d, x->node->rank, axis, &a) &&
	    window_fits(&d, x->node, a, size, stride, dilation)) {
		memcpy(dims, x->node->dims, sizeof *dims * x->node->rank);
		dims[a].n = (dims[a].n - dilation * (size - 1) - 1) / stride + 1;
		dims[x->node->rank] = (struct dim){size, 0};
		if (door_dims(&d, (tgc_type)x->node->type, x->node->rank + 1, dims))
			r = build_window(d.c, x->node, a, size, stride, dilation);
	}
	return door_close(&d, r);
}

tgc_tensor *tgc_fold(tgc_tensor *x, int axis, int64_t n, int64_t stride, int64_t dilation)
{
	struct door d = door_open("fold", DOOR_SITE, "x", 1, &x);
	struct node *r = NULL;
	struct dim dims[TGC_MAX_RANK];
	int a;
	if (d.ok && x->node->rank < 2)
		door_fail(&d, TGC_ERROR_RANK, "%s has no axis of positions before its taps",
		          NODE_TEXT(x->node));
	if (d.ok && door_type(&d, "x", (tgc_type)x->node->type, 'N') &&
	    door_axis(&d, x->node->rank - 1, axis, &a)) {
		int rank = x->node->rank - 1;
		int64_t size = x->node->dims[rank].n, positions = x->node->dims[a].n, end = 0;
		memcpy(dims, x->node->dims, sizeof *dims * (size_t)rank);
		dims[a] = (struct dim){n, 0};
		int64_t taps = 0;
		bool big = __builtin_mul_overflow(dilation, size > 0 ? size - 1 : 0, &taps) ||
		           __builtin_mul_overflow(stride, positions > 0 ? positions - 1 : 0, &end) ||
		           __builtin_add_overflow(end, taps, &end);
		if (stride < 1 || dilation < 1)
			door_fail(&d, TGC_ERROR_ARG, "stride %lld, dilation %lld; each must be positive",
			          (long long)stride, (long long)dilation);
		else if (size > 0 && positions > 0 && (big || end >= n))
			door_fail(&d, TGC_ERROR_SHAPE, "%lld positions of %lld taps reach beyond %lld elements",
			          (long long)positions, (long long)size, (long long)n);
		else if (door_dims(&d, (tgc_type)x->node->type, rank, dims))
			r = build_fold(d.c, x->node, a, n, stride, dilation);
	}
	return door_close(&d, r);
}

tgc_tensor *tgc_squeeze(tgc_tensor *x, int axis)
{
	struct door d = door_open("squeeze", DOOR_SITE, "x", 1, &x);
	struct node *r = NULL;
	int a;
	if (d.ok && door_axis(&d, x->node->rank, axis, &a)) {
		struct calc k = {.c = d.c};
		if (x->node->dims[a].n == 1)
			r = calc_done(&k, calc_drop(&k, x->node, 1u << a));
		else
			door_fail(&d, TGC_ERROR_SHAPE, "axis %d of %s is not 1", axis, NODE_TEXT(x->node));
	}
	return door_close(&d, r);
}

tgc_tensor *tgc_unsqueeze(tgc_tensor *x, int axis)
{
	struct door d = door_open("unsqueeze", DOOR_SITE, "x", 1, &x);
	struct node *r = NULL;
	struct dim dims[TGC_MAX_RANK + 1];
	int a;
	if (d.ok && door_axis(&d, x->node->rank + 1, axis, &a)) {
		int rank = x->node->rank + 1;
		for (int i = 0; i < rank; i++)
			dims[i] = i == a ? (struct dim){1, 0} : x->node->dims[i - (i > a)];
		if (door_dims(&d, (tgc_type)x->node->type, rank, dims))
			r = build_reshape(d.c, x->node, rank, dims);
	}
	return door_close(&d, r);
}

tgc_tensor *tgc_flatten(tgc_tensor *x, int first_axis)
{
	struct door d = door_open("flatten", DOOR_SITE, "x", 1, &x);
	struct node *r = NULL;
	struct dim dims[TGC_MAX_RANK];
	int a;
	if (d.ok && door_axis(&d, x->node->rank, first_axis, &a)) {
		for (int i = 0; i < x->node->rank; i++)
			dims[i] = x->node->dims[i];
		for (int i = a + 1; i < x->node->rank; i++)
			dims[a] = (struct dim){dims[a].n * dims[i].n, 0};
		r = build_reshape(d.c, x->node, a + 1, dims);
	}
	return door_close(&d, r);
}
