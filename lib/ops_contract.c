// Public doors of contractions: matrix product and convolution. Each is one CONTRACT node.
// In:  two tensors. Out: a tensor, or one in error.
// Not here: einsum (einsum.c).
#include "lib.h"

static void put_axis(struct tg_caxis *ax, int *n, enum role role, int a, int b, int o)
{
	ax[(*n)++] =
	    (struct tg_caxis){.role = role, .a = a, .b = b, .o = o, .stride = 1, .dil_a = 1, .dil_b = 1};
}

// x[...,M,K] times w[...,K,N]. A batch axis that one side lacks, or has with one element only, belongs to the
// other side alone; nothing is repeated.
struct node *calc_matmul(struct calc *k, struct node *x, struct node *w)
{
	struct tg_caxis ax[TGC_MAX_RANK + 1];
	struct dim d[TGC_MAX_RANK];
	uint32_t drop_x = 0, drop_w = 0;
	int n = 0, ia = 0, ib = 0;
	if (!x || !w)
		return NULL;
	int rank = x->rank > w->rank ? x->rank : w->rank, batch = rank - 2;
	for (int i = 0; i < batch; i++) {
		int at_x = i - (rank - x->rank), at_w = i - (rank - w->rank);
		bool has_x = at_x >= 0, has_w = at_w >= 0;
		if (has_x && has_w && x->dims[at_x].n != w->dims[at_w].n) {
			bool one = x->dims[at_x].n == 1; // which is not there, then
			drop_x |= one ? 1u << at_x : 0;
			drop_w |= one ? 0 : 1u << at_w;
			has_x = !one;
			has_w = one;
		}
		d[i] = has_x ? x->dims[at_x] : w->dims[at_w];
		if (has_x && has_w && !d[i].sym)
			d[i] = w->dims[at_w];
		put_axis(ax, &n,
		         has_x && has_w ? ROLE_BATCH
		         : has_x        ? ROLE_LEFT
		                        : ROLE_RIGHT,
		         has_x ? ia : -1, has_w ? ib : -1, i);
		ia += has_x;
		ib += has_w;
	}
	d[batch] = x->dims[x->rank - 2];
	d[batch + 1] = w->dims[w->rank - 1];
	put_axis(ax, &n, ROLE_LEFT, ia, -1, batch);
	put_axis(ax, &n, ROLE_RIGHT, -1, ib + 1, batch + 1);
	put_axis(ax, &n, ROLE_CONTRACTED, ia + 1, ib, -1);
	x = drop_x ? calc_drop(k, x, drop_x) : x;
	w = drop_w ? calc_drop(k, w, drop_w) : w;
	return calc_hold(k, build_contract(k->c, x, w, n, ax, rank, d));
}

static bool matmul_fits(struct door *d, const struct node *x, const struct node *w)
{
	struct dim out[TGC_MAX_RANK];
	if (x->rank < 2 || w->rank < 2)
		return door_fail(d, TGC_ERROR_RANK, "x %s and w %s; each needs two axes", NODE_TEXT(x),
		                 NODE_TEXT(w));
	if (!door_type(d, "x", (tgc_type)x->type, 'N') || !door_same_type(d, x, w))
		return false;
	int64_t kx = x->dims[x->rank - 1].n, kw = w->dims[w->rank - 2].n;
	if (kx != kw)
		return door_fail(d, TGC_ERROR_SHAPE, "x %s and w %s: inner sizes %lld and %lld", NODE_TEXT(x),
		                 NODE_TEXT(w), (long long)kx, (long long)kw);
	int rank = x->rank > w->rank ? x->rank : w->rank;
	for (int i = 0; i < rank - 2; i++) {
		int at_x = i - (rank - x->rank), at_w = i - (rank - w->rank);
		int64_t nx = at_x >= 0 ? x->dims[at_x].n : 1, nw = at_w >= 0 ? w->dims[at_w].n : 1;
		if (nx != nw && nx != 1 && nw != 1)
			return door_fail(d, TGC_ERROR_SHAPE,
			                 "batch axes of x %s and w %s do not broadcast: %lld against %lld",
			                 NODE_TEXT(x), NODE_TEXT(w), (long long)nx, (long long)nw);
		out[i] = (struct dim){nx == 1 ? nw : nx, 0};
	}
	out[rank - 2] = x->dims[x->rank - 2];
	out[rank - 1] = w->dims[w->rank - 1];
	return door_dims(d, (tgc_type)x->type, rank, out);
}

tgc_tensor *tgc_matmul(tgc_tensor *x, tgc_tensor *w)
{
	tgc_tensor *t[2] = {x, w};
	struct door d = door_open("matmul", DOOR_SITE, "x,w", 2, t);
	struct calc k = {.c = d.c};
	struct node *r = NULL, *a = d.ok ? calc_narrow(&k, x->node) : NULL, *b = d.ok ? calc_narrow(&k, w->node) : NULL;
	if (a && b && matmul_fits(&d, a, b))
		r = calc_matmul(&k, a, b);
	return door_close(&d, calc_done(&k, r));
}

// One window axis of a convolution: the number of positions, or -1 with the error recorded.
static int64_t positions(struct door *d, const tgc_conv_options *o, int i, int64_t n, int64_t taps)
{
	int64_t lo = o->padding[2 * i], hi = o->padding[2 * i + 1], padded, span;
	if (o->stride[i] < 1 || o->dilation[i] < 1)
		door_fail(d, TGC_ERROR_ARG, "stride %lld, dilation %lld; each must be positive",
		          (long long)o->stride[i], (long long)o->dilation[i]);
	else if (__builtin_add_overflow(n, lo, &padded) || __builtin_add_overflow(padded, hi, &padded) ||
	         __builtin_mul_overflow(o->dilation[i], taps - 1, &span))
		door_fail(d, TGC_ERROR_OVERFLOW,
		          "%lld elements, padding %lld and %lld, %lld taps, dilation %lld", (long long)n,
		          (long long)lo, (long long)hi, (long long)taps, (long long)o->dilation[i]);
	else if (taps < 1 || span >= padded)
		door_fail(d, TGC_ERROR_SHAPE,
		          "a kernel of %lld (%lld taps, dilation %lld) on %lld elements, %lld with padding",
		          (long long)(taps < 1 ? 0 : span + 1), (long long)taps, (long long)o->dilation[i],
		          (long long)n, (long long)padded);
	else
		return (padded - span - 1) / o->stride[i] + 1;
	return -1;
}

static bool conv_fits(struct door *d, const struct node *x, const struct node *w, const tgc_conv_options *o,
                      struct dim *out)
{
	if (x->rank != 4 || w->rank != 4)
		return door_fail(d, TGC_ERROR_RANK, "x %s and w %s; each has four axes", NODE_TEXT(x),
		                 NODE_TEXT(w));
	if (!door_type(d, "x", (tgc_type)x->type, 'N') || !door_same_type(d, x, w))
		return false;
	int64_t ci = x->dims[1].n, co = w->dims[0].n;
	if (o->groups < 1 || ci % o->groups || co % o->groups)
		return door_fail(d, TGC_ERROR_ARG, "%lld groups do not divide %lld channels in and %lld out",
		                 (long long)o->groups, (long long)ci, (long long)co);
	if (w->dims[1].n != ci / o->groups)
		return door_fail(d, TGC_ERROR_SHAPE, "w %s takes %lld channels a group, x %s has %lld",
		                 NODE_TEXT(w), (long long)w->dims[1].n, NODE_TEXT(x),
		                 (long long)(ci / o->groups));
	int64_t h = positions(d, o, 0, x->dims[2].n, w->dims[2].n);
	int64_t v = h < 0 ? -1 : positions(d, o, 1, x->dims[3].n, w->dims[3].n);
	if (v < 0)
		return false;
	out[0] = x->dims[0];
	out[1] = w->dims[0];
	out[2] = (struct dim){h, h == x->dims[2].n ? x->dims[2].sym : 0};
	out[3] = (struct dim){v, v == x->dims[3].n ? x->dims[3].sym : 0};
	return door_dims(d, (tgc_type)x->type, 4, out);
}

static struct tg_caxis window_axis(const tgc_conv_options *o, int i, int a, int b, int out)
{
	return (struct tg_caxis){ROLE_WINDOW, a, b, out, o->stride[i], o->padding[2 * i], 1, o->dilation[i]};
}

static struct node *conv(struct calc *k, struct node *x, struct node *w, const tgc_conv_options *o,
                         const struct dim *out)
{
	struct tg_caxis ax[6];
	int n = 0;
	if (o->groups == 1) {
		put_axis(ax, &n, ROLE_LEFT, 0, -1, 0);
		put_axis(ax, &n, ROLE_RIGHT, -1, 0, 1);
		put_axis(ax, &n, ROLE_CONTRACTED, 1, 1, -1);
		ax[n++] = window_axis(o, 0, 2, 2, 2);
		ax[n++] = window_axis(o, 1, 3, 3, 3);
		return calc_hold(k, build_contract(k->c, x, w, n, ax, 4, out));
	}
	int64_t g = o->groups, ci = x->dims[1].n / g, co = w->dims[0].n / g;
	struct dim dx[5] = {x->dims[0], {g, 0}, {ci, 0}, x->dims[2], x->dims[3]};
	struct dim dw[5] = {{g, 0}, {co, 0}, {ci, 0}, w->dims[2], w->dims[3]};
	struct dim grouped[5] = {out[0], {g, 0}, {co, 0}, out[2], out[3]};
	x = calc_hold(k, build_reshape(k->c, x, 5, dx));
	w = calc_hold(k, build_reshape(k->c, w, 5, dw));
	put_axis(ax, &n, ROLE_LEFT, 0, -1, 0);
	put_axis(ax, &n, ROLE_BATCH, 1, 0, 1);
	put_axis(ax, &n, ROLE_RIGHT, -1, 1, 2);
	put_axis(ax, &n, ROLE_CONTRACTED, 2, 2, -1);
	ax[n++] = window_axis(o, 0, 3, 3, 3);
	ax[n++] = window_axis(o, 1, 4, 4, 4);
	struct node *y = calc_hold(k, build_contract(k->c, x, w, n, ax, 5, grouped));
	return calc_hold(k, build_reshape(k->c, y, 4, out));
}

tgc_tensor *tgc_conv2d_with(tgc_tensor *x, tgc_tensor *w, tgc_conv_options o)
{
	tgc_tensor *t[2] = {x, w};
	struct door d = door_open("conv2d", DOOR_SITE, "x,w", 2, t);
	struct calc k = {.c = d.c};
	struct node *r = NULL, *a = d.ok ? calc_narrow(&k, x->node) : NULL, *b = d.ok ? calc_narrow(&k, w->node) : NULL;
	struct dim out[4];
	for (int i = 0; i < 2; i++) {
		o.stride[i] = o.stride[i] ? o.stride[i] : 1;
		o.dilation[i] = o.dilation[i] ? o.dilation[i] : 1;
	}
	o.groups = o.groups ? o.groups : 1;
	if (a && b && conv_fits(&d, a, b, &o, out))
		r = conv(&k, a, b, &o, out);
	return door_close(&d, calc_done(&k, r));
}
