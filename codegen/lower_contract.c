// Contractions: a chain of RED loops over taps and contracted axes around one fused multiply-add.
// In:  a CONTRACT pnode and the index of one result. Out: its value.
// Window axes: taps outside the operand are left out by the loop's bounds (outer axes, where neighbouring
// results share them) or read 0 (the innermost one, if it is short and unrolled, or contiguous and vectors).
// Not here: register tiles, chunks of long sums (pass/tile*.c).
#include "lower.h"

enum { LONG_TAPS = 8 };

struct contraction {
	const struct pnode *n, *a, *b;
	const struct tg_caxis *axes;
	int naxes;
	const int *idx;
	int ia[LOWER_RANK], ib[LOWER_RANK]; // index vectors of the operands
	int inside;                         // condition under which the current step counts; K_NONE: always
	double steps;
};

static int64_t size_of(const struct contraction *c, int axis)
{
	const struct tg_caxis *x = &c->axes[axis];
	return x->b >= 0 ? c->b->dims[x->b].n : c->a->dims[x->a].n;
}

static void free_axes(struct lower *lo, struct contraction *c)
{
	for (int i = 0; i < c->a->rank; i++)
		c->ia[i] = kb_int(&lo->b, 0);
	for (int i = 0; i < c->b->rank; i++)
		c->ib[i] = kb_int(&lo->b, 0);
	for (int i = 0; i < c->naxes; i++) {
		const struct tg_caxis *x = &c->axes[i];
		if (x->role == ROLE_CONTRACTED || x->role == ROLE_WINDOW)
			continue;
		if (x->a >= 0)
			c->ia[x->a] = c->idx[x->o];
		if (x->b >= 0)
			c->ib[x->b] = c->idx[x->o];
	}
}

static void contracted_axes(struct lower *lo, struct contraction *c, struct lower_red *r, int node)
{
	int64_t size[LOWER_RANK] = {0};
	int at[LOWER_RANK], axis[LOWER_RANK], n = 0;
	for (int i = 0; i < c->naxes; i++) {
		if (c->axes[i].role != ROLE_CONTRACTED || size_of(c, i) == 1)
			continue;
		axis[n] = i;
		size[n++] = size_of(c, i);
		c->steps *= (double)size_of(c, i);
	}
	lower_red_axes(lo, r, node, n, size, at);
	for (int i = 0; i < n; i++) {
		if (c->axes[axis[i]].a >= 0)
			c->ia[c->axes[axis[i]].a] = at[i];
		if (c->axes[axis[i]].b >= 0)
			c->ib[c->axes[axis[i]].b] = at[i];
	}
}

// The taps t with 0 <= o * stride + t * dil - pad <= last form a range.
static int tap_loop(struct lower *lo, struct lower_red *r, int shifted, int64_t dil, int64_t last, int64_t taps)
{
	struct kbuild *b = &lo->b;
	int zero = kb_int(b, 0), all = kb_int(b, taps);
	int from = kb_idiv(b, kb_affine(b, dil - 1, 1, (int64_t[]){-1}, &shifted), dil);
	int to = kb_iadd(b, kb_idiv(b, kb_affine(b, last, 1, (int64_t[]){-1}, &shifted), dil), kb_int(b, 1));
	from = kb_op2(b, OP_MAX, TGC_I64, zero, from);
	to = kb_op2(b, OP_MIN, TGC_I64, all, to);
	return lower_red_loop(lo, r, from, to);
}

static void require(struct lower *lo, struct contraction *c, int cond)
{
	if (cond != K_NONE)
		c->inside = kb_and(&lo->b, c->inside, cond);
}

// Opens the loop over the taps of one window axis. Negative dilation walks the taps backwards.
static void window_axis(struct lower *lo, struct contraction *c, struct lower_red *r, const struct tg_caxis *x,
                        bool bounds)
{
	struct kbuild *b = &lo->b;
	int64_t taps = c->b->dims[x->b].n, last = (c->a->dims[x->a].n - 1) * x->dil_a;
	int64_t dil = x->dil_b, pad = x->pad;
	bool back = dil < 0;
	if (back) {
		dil = -dil;
		pad += (taps - 1) * dil;
	}
	int shifted = kb_affine(b, -pad, 1, &x->stride, &c->idx[x->o]);
	int t;
	c->steps *= (double)taps;
	if (taps == 1)
		t = kb_int(b, 0);
	else if (bounds && x->dil_a == 1)
		t = tap_loop(lo, r, shifted, dil, last, taps);
	else
		t = lower_red_loop(lo, r, kb_int(b, 0), kb_int(b, taps));
	int p = kb_affine(b, 0, 2, (int64_t[]){1, dil}, (int[]){shifted, t});
	if (taps == 1 || !bounds || x->dil_a != 1)
		require(lo, c, lower_inside(lo, p, 0, last + 1));
	if (x->dil_a > 1)
		require(lo, c, lower_inside(lo, kb_imod(b, p, x->dil_a), 0, 1));
	else if (taps > 1 && bounds) // in range by the loop's bounds, which interval analysis cannot see
		p = kb_op2(b, OP_MAX, TGC_I64, kb_op2(b, OP_MIN, TGC_I64, p, kb_int(b, last)), kb_int(b, 0));
	c->ia[x->a] = kb_idiv(b, p, x->dil_a);
	c->ib[x->b] = back ? kb_affine(b, taps - 1, 1, (int64_t[]){-1}, &t) : t;
}

// A kernel's gradient slides one image over another: then the taps are many and the results few.
static bool is_long(const struct contraction *c, int axis)
{
	return size_of(c, axis) > LONG_TAPS || size_of(c, axis) > c->n->dims[c->axes[axis].o].n;
}

// The taps are what becomes lanes, whose number had better be known: they fill a vector, and both operands lie
// in memory along them.
static bool fills_lanes(const struct lower *lo, const struct contraction *c, const struct tg_caxis *x)
{
	int a = lower_plan_buf(lo, c->n->src[0]), b = lower_plan_buf(lo, c->n->src[1]);
	int64_t bytes = c->b->dims[x->b].n * (int64_t)tgc_type_bytes(c->n->type);
	return bytes >= lo->target->vector_bytes && a >= 0 && b >= 0 && lo->plan->bufs[a].strides[x->a] == 1 &&
	       lo->plan->bufs[b].strides[x->b] == 1;
}

static void window_axes(struct lower *lo, struct contraction *c, struct lower_red *r)
{
	int last = -1;
	for (int i = 0; i < c->naxes; i++)
		if (c->axes[i].role == ROLE_WINDOW)
			last = i;
	for (int i = 0; i < c->naxes; i++)
		if (c->axes[i].role == ROLE_WINDOW)
			window_axis(lo, c, r, &c->axes[i],
			            i != last || (is_long(c, i) && !fills_lanes(lo, c, &c->axes[i])));
}

static bool taps_are_long(const struct contraction *c)
{
	for (int i = 0; i < c->naxes; i++)
		if (c->axes[i].role == ROLE_WINDOW && is_long(c, i))
			return true;
	return false;
}

// Outside the operand it reads 0, as loads under a false guard do; a cast of 0 is 0.
static int padded(struct lower *lo, const struct contraction *c, int a)
{
	const struct kinst *in = &lo->k->insts[a];
	bool cast = in->op == OP_CAST;
	int v = cast ? kernel_src(lo->k, a, 0) : a;
	tgc_type t = (tgc_type)lo->k->insts[v].type;
	if (c->inside == K_NONE || lo->k->insts[v].op == K_LOAD)
		return a;
	v = kb_select(&lo->b, c->inside, v, kb_const(&lo->b, t, (union number){.i = 0}));
	return cast ? lower_cast(lo, v, c->n->type) : v;
}

static int step(struct lower *lo, struct contraction *c, const struct lower_red *r)
{
	tgc_type t = c->n->type;
	int acc = lower_red_arg(lo, r), old = lower_with(lo, c->inside);
	int a = lower_cast(lo, lower_value(lo, c->n->src[0], c->ia), t);
	lo->guard = old;
	a = padded(lo, c, a);
	int b = lower_cast(lo, lower_value(lo, c->n->src[1], c->ib), t);
	if (!r->n)
		return kb_op2(&lo->b, OP_MUL, t, a, b);
	if (type_is_float(t))
		return kb_op(&lo->b, OP_FMA, t, 3, (int[]){a, b, acc});
	return kb_op2(&lo->b, OP_ADD, t, acc, kb_op2(&lo->b, OP_MUL, t, a, b));
}

int lower_contract(struct lower *lo, int node, const int *idx)
{
	const struct pnode *n = NODE(lo, node);
	struct contraction c = {.n = n,
	                        .a = NODE(lo, n->src[0]),
	                        .b = NODE(lo, n->src[1]),
	                        .axes = (const struct tg_caxis *)n->attr,
	                        .naxes = n->nattr / 8,
	                        .idx = idx,
	                        .inside = K_NONE,
	                        .steps = 2};
	struct lower_red r;
	if (lo->combine && node == lo->group->main)
		return lower_reduce(lo, node, idx);
	lower_red_begin(lo, &r, OP_ADD, n->type, n->rank, idx);
	free_axes(lo, &c);
	bool first = taps_are_long(&c) || (lo->chunk != K_NONE && node == lo->group->main);
	if (first)
		contracted_axes(lo, &c, &r, node);
	window_axes(lo, &c, &r);
	if (!first)
		contracted_axes(lo, &c, &r, node);
	lower_note(lo, node, n->rank, idx, &r);
	int v = lower_red_end(lo, &r, step(lo, &c, &r));
	if (!lo->counted[node])
		lower_count(lo, c.steps * (double)prog_elems(&lo->plan->prog, node), 1);
	return v;
}
