// Smart constructors of movement: views compose, identities vanish, literals stay literals.
// In:  borrowed nodes and checked attributes. Out: a new reference, or NULL (no memory).
// Not here: what an index becomes on the way to memory (codegen/).
#include "lib.h"

static bool same_dims(const struct node *x, int rank, const struct dim *d)
{
	return x->rank == rank && dims_equal(x->dims, d, rank);
}

struct node *build_reshape(struct tgc_context *c, struct node *x, int rank, const struct dim *d)
{
	union number v;
	if (!x)
		return NULL;
	if (same_dims(x, rank, d))
		return node_ref(x);
	if (node_is_full(x, &v))
		return build_full(c, (tgc_type)x->type, rank, d, v);
	if (x->op == OP_RESHAPE)
		return build_reshape(c, x->src[0], rank, d);
	return build_node(c, OP_RESHAPE, (tgc_type)x->type, rank, d, 1, &x, 0, NULL);
}

// Where only axes of size 1 move, the row-major order stays.
static bool moves_only_ones(const struct node *x, const int64_t *order)
{
	int64_t last = -1;
	for (int i = 0; i < x->rank; i++) {
		if (x->dims[order[i]].n == 1)
			continue;
		if (order[i] < last)
			return false;
		last = order[i];
	}
	return true;
}

struct node *build_permute(struct tgc_context *c, struct node *x, const int *order)
{
	int64_t attr[TGC_MAX_RANK];
	struct dim d[TGC_MAX_RANK];
	union number v;
	if (!x)
		return NULL;
	bool through = x->op == OP_PERMUTE;
	struct node *from = through ? x->src[0] : x;
	for (int i = 0; i < x->rank; i++) {
		attr[i] = through ? x->attr[order[i]] : order[i];
		d[i] = x->dims[order[i]];
	}
	if (node_is_full(x, &v))
		return build_full(c, (tgc_type)x->type, x->rank, d, v);
	if (moves_only_ones(from, attr))
		return build_reshape(c, from, x->rank, d);
	return build_node(c, OP_PERMUTE, (tgc_type)x->type, x->rank, d, 1, &from, x->rank, attr);
}

struct node *build_expand(struct tgc_context *c, struct node *x, const struct dim *d)
{
	union number v;
	if (!x)
		return NULL;
	if (same_dims(x, x->rank, d))
		return node_ref(x);
	if (node_is_full(x, &v))
		return build_full(c, (tgc_type)x->type, x->rank, d, v);
	if (x->op == OP_EXPAND)
		return build_expand(c, x->src[0], d);
	bool grows = false;
	for (int i = 0; i < x->rank; i++)
		grows |= x->dims[i].n != d[i].n;
	if (!grows) // only symbols differ
		return build_reshape(c, x, x->rank, d);
	return build_node(c, OP_EXPAND, (tgc_type)x->type, x->rank, d, 1, &x, 0, NULL);
}

static struct node *crop(struct tgc_context *c, struct node *x, const int64_t *lo, const struct dim *d)
{
	int64_t start[TGC_MAX_RANK], step[TGC_MAX_RANK];
	for (int i = 0; i < x->rank; i++) {
		start[i] = -lo[i];
		step[i] = 1;
	}
	return build_slice(c, x, start, step, d);
}

struct node *build_pad(struct tgc_context *c, struct node *x, const int64_t *lo, const int64_t *hi,
                       const int64_t *interior, struct node *fill)
{
	int64_t attr[3 * TGC_MAX_RANK];
	struct dim d[TGC_MAX_RANK];
	bool same = true, grows = false;
	union number v, f;
	if (!x || !fill)
		return NULL;
	for (int i = 0; i < x->rank; i++) {
		int64_t in = interior ? interior[i] : 0, n = x->dims[i].n;
		attr[3 * i] = lo[i];
		attr[3 * i + 1] = hi[i];
		attr[3 * i + 2] = in;
		int64_t size = n + (n > 0 ? (n - 1) * in : 0) + lo[i] + hi[i];
		d[i] = (struct dim){size, size == n ? x->dims[i].sym : 0};
		same &= lo[i] == 0 && hi[i] == 0 && (in == 0 || n <= 1);
		grows |= lo[i] > 0 || hi[i] > 0 || (in != 0 && n > 1);
		grows |= -lo[i] > n || -hi[i] > n; // cropped beyond the other end: nothing but fill
	}
	if (same)
		return node_ref(x);
	if (node_is_full(x, &v) && node_is_full(fill, &f) && number_equal(v, f))
		return build_full(c, (tgc_type)x->type, x->rank, d, v);
	if (!grows)
		return crop(c, x, lo, d);
	return build_node(c, OP_PAD, (tgc_type)x->type, x->rank, d, 2, (struct node *[]){x, fill}, 3 * x->rank,
	                  attr);
}

struct node *build_slice(struct tgc_context *c, struct node *x, const int64_t *start, const int64_t *step,
                         const struct dim *d)
{
	int64_t attr[2 * TGC_MAX_RANK];
	union number v;
	bool same = true;
	if (!x)
		return NULL;
	bool through = x->op == OP_SLICE;
	struct node *from = through ? x->src[0] : x;
	for (int i = 0; i < x->rank; i++) {
		int64_t at = start[i], by = d[i].n <= 1 ? 1 : step[i];
		same &= d[i].n == x->dims[i].n;
		if (through) {
			at = x->attr[2 * i] + at * x->attr[2 * i + 1];
			by = d[i].n <= 1 ? 1 : by * x->attr[2 * i + 1];
		}
		attr[2 * i] = at;
		attr[2 * i + 1] = by;
	}
	if (same)
		return build_reshape(c, x, x->rank, d); // the symbol may differ
	if (node_is_full(x, &v))
		return build_full(c, (tgc_type)x->type, x->rank, d, v);
	return build_node(c, OP_SLICE, (tgc_type)x->type, x->rank, d, 1, &from, 2 * x->rank, attr);
}

struct node *build_flip(struct tgc_context *c, struct node *x, uint32_t axes_mask)
{
	int64_t attr[TGC_MAX_RANK];
	union number v;
	bool any = false;
	if (!x)
		return NULL;
	bool through = x->op == OP_FLIP;
	struct node *from = through ? x->src[0] : x;
	for (int i = 0; i < x->rank; i++) {
		attr[i] = ((axes_mask >> i & 1) != 0) != (through && x->attr[i]);
		attr[i] = attr[i] && x->dims[i].n > 1;
		any |= attr[i] != 0;
	}
	if (!any || node_is_full(x, &v))
		return node_ref(from);
	return build_node(c, OP_FLIP, (tgc_type)x->type, x->rank, x->dims, 1, &from, x->rank, attr);
}

// All parts the same literal: so is the whole.
static bool same_literal(int n, struct node *const *xs, union number *v)
{
	union number w;
	for (int i = 0; i < n; i++)
		if (!node_is_full(xs[i], i ? &w : v) || (i && !number_equal(*v, w)))
			return false;
	return true;
}

enum { CONCAT_MAX = 256 }; // sources of one node; longer lists are joined by parts

static struct node *join(struct tgc_context *c, int n, struct node *const *xs, int64_t axis)
{
	struct dim d[TGC_MAX_RANK];
	union number v;
	for (int i = 0; i < xs[0]->rank; i++)
		d[i] = xs[0]->dims[i];
	for (int i = 1; i < n; i++)
		d[axis] = (struct dim){d[axis].n + xs[i]->dims[axis].n, 0};
	if (n == 1)
		return node_ref(xs[0]);
	if (same_literal(n, xs, &v))
		return build_full(c, (tgc_type)xs[0]->type, xs[0]->rank, d, v);
	return build_node(c, OP_CONCAT, (tgc_type)xs[0]->type, xs[0]->rank, d, n, xs, 1, &axis);
}

struct node *build_concat(struct tgc_context *c, int n, struct node *const *xs, int axis)
{
	struct node *part[CONCAT_MAX], *whole = NULL;
	int kept = 0;
	for (int i = 0; i < n; i++)
		if (!xs[i])
			return NULL;
	for (int i = 0; i < n; i++) {
		if (xs[i]->dims[axis].n > 0)
			part[kept++] = xs[i];
		if (kept < CONCAT_MAX)
			continue;
		struct node *all = join(c, kept, part, axis);
		node_unref(c, whole);
		if (!all)
			return NULL;
		part[0] = whole = all;
		kept = 1;
	}
	struct node *r = kept ? join(c, kept, part, axis) : node_ref(xs[0]);
	node_unref(c, whole);
	return r;
}

struct node *build_window(struct tgc_context *c, struct node *x, int axis, int64_t size, int64_t stride,
                          int64_t dilation)
{
	struct dim d[TGC_MAX_RANK];
	union number v;
	if (!x)
		return NULL;
	int rank = x->rank;
	for (int i = 0; i < rank; i++)
		d[i] = x->dims[i];
	int64_t n = (d[axis].n - dilation * (size - 1) - 1) / stride + 1;
	d[axis] = (struct dim){n, n == d[axis].n ? d[axis].sym : 0};
	d[rank] = (struct dim){size, 0};
	if (node_is_full(x, &v))
		return build_full(c, (tgc_type)x->type, rank + 1, d, v);
	if (size == 1 && stride == 1)
		return build_reshape(c, x, rank + 1, d);
	int64_t attr[4] = {axis, size, n > 1 ? stride : 1, size > 1 ? dilation : 1};
	return build_node(c, OP_WINDOW, (tgc_type)x->type, rank + 1, d, 1, &x, 4, attr);
}

struct node *build_fold(struct tgc_context *c, struct node *x, int axis, int64_t n, int64_t stride,
                        int64_t dilation)
{
	struct dim d[TGC_MAX_RANK];
	if (!x)
		return NULL;
	int rank = x->rank - 1;
	int64_t size = x->dims[rank].n;
	for (int i = 0; i < rank; i++)
		d[i] = x->dims[i];
	d[axis] = (struct dim){n, n == d[axis].n ? d[axis].sym : 0};
	if (node_elems(x) == 0)
		return build_full(c, (tgc_type)x->type, rank, d, (union number){.i = 0});
	if (size == 1 && stride == 1 && n == x->dims[axis].n)
		return build_reshape(c, x, rank, d);
	int64_t attr[4] = {axis, size, stride, dilation};
	return build_node(c, OP_FOLD, (tgc_type)x->type, rank, d, 1, &x, 4, attr);
}
