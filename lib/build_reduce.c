// Smart constructors of reductions, contractions and index operations.
// In:  borrowed nodes and checked attributes. Out: a new reference, or NULL (no memory).
// Sums are never reordered here; what is folded is exact.
#include "lib.h"

#include <math.h>

// n times v, if every partial sum is exact.
static bool repeat_exactly(tgc_type t, union number v, int64_t n, union number *out)
{
	static const int digits[] = {[TGC_F32] = 24, [TGC_F64] = 53, [TGC_F16] = 11, [TGC_BF16] = 8};
	if (!type_is_float(t)) {
		*out = number_round(t, (union number){.i = (int64_t)((uint64_t)v.i * (uint64_t)n)});
		return true;
	}
	int e;
	double m = isfinite(v.f) ? frexp(v.f, &e) : (double)NAN;
	double limit = ldexp(1, digits[t]);
	if (isnan(m) || (v.f == 0 && signbit(v.f)))
		return false;
	double units = ldexp(fabs(m), digits[t]); // an integer; its trailing zeros are room to grow
	while (units > 0 && fmod(units, 2) == 0)
		units /= 2;
	out->f = v.f * (double)n;
	return units * (double)n <= limit && isfinite(number_from_double(t, out->f).f);
}

static bool fold_reduce(int op, const struct node *x, int64_t reduced, union number *out)
{
	union number v;
	if (op == OP_SUM && reduced == 0) {
		out->i = 0;
		return true;
	}
	if (op == OP_ARGMAX || reduced == 0 || !node_is_full(x, &v))
		return false;
	if (op == OP_SUM)
		return repeat_exactly((tgc_type)x->type, v, reduced, out);
	*out = v;
	return true;
}

static struct node *reduce(struct tgc_context *c, int op, struct node *x, uint32_t mask, int64_t first)
{
	struct dim d[TGC_MAX_RANK];
	union number v;
	int64_t reduced = 1;
	if (!x)
		return NULL;
	for (int i = 0; i < x->rank; i++) {
		if (x->dims[i].n == 1 && op != OP_ARGMAX)
			mask &= ~(1u << i);
		bool in = mask >> i & 1;
		reduced *= in ? x->dims[i].n : 1;
		d[i] = in ? (struct dim){1, 0} : x->dims[i];
	}
	tgc_type t = op == OP_ARGMAX ? TGC_I64 : (tgc_type)x->type;
	if (mask == 0)
		return node_ref(x);
	if (fold_reduce(op, x, reduced, &v))
		return build_full(c, t, x->rank, d, v);
	if (op == OP_ARGMAX && reduced == 1)
		return build_full(c, t, x->rank, d, (union number){.i = 0});
	int64_t attr[2] = {mask, first};
	return build_node(c, op, t, x->rank, d, 1, &x, first ? 2 : 1, attr);
}

struct node *build_reduce(struct tgc_context *c, int op, struct node *x, uint32_t axes_mask)
{
	return reduce(c, op, x, axes_mask, 0);
}

struct node *build_max_first(struct tgc_context *c, struct node *x, uint32_t axes_mask)
{
	return reduce(c, OP_RMAX, x, axes_mask, 1);
}

struct node *build_contract(struct tgc_context *c, struct node *a, struct node *b, int naxes,
                            const struct tg_caxis *ax, int orank, const struct dim *odims)
{
	if (!a || !b)
		return NULL;
	if (node_elems(a) == 0 || node_elems(b) == 0) // no terms
		return build_full(c, (tgc_type)a->type, orank, odims, (union number){.i = 0});
	return build_node(c, OP_CONTRACT, (tgc_type)a->type, orank, odims, 2, (struct node *[]){a, b},
	                  naxes * 8, &ax->role);
}

struct node *build_gather(struct tgc_context *c, struct node *x, struct node *index, int axis)
{
	struct dim d[TGC_MAX_RANK];
	int64_t attr = axis;
	int rank = 0;
	if (!x || !index)
		return NULL;
	for (int i = 0; i < axis; i++)
		d[rank++] = x->dims[i];
	for (int i = 0; i < index->rank; i++)
		d[rank++] = index->dims[i];
	for (int i = axis + 1; i < x->rank; i++)
		d[rank++] = x->dims[i];
	return build_node(c, OP_GATHER, (tgc_type)x->type, rank, d, 2, (struct node *[]){x, index}, 1, &attr);
}

struct node *build_scatter(struct tgc_context *c, struct node *base, struct node *index, struct node *upd,
                           int axis, int mode)
{
	int64_t attr[2] = {axis, mode};
	if (!base || !index || !upd)
		return NULL;
	if (node_elems(upd) == 0)
		return node_ref(base);
	return build_node(c, OP_SCATTER, (tgc_type)base->type, base->rank, base->dims, 3,
	                  (struct node *[]){base, index, upd}, 2, attr);
}

struct node *build_check(struct tgc_context *c, struct node *x, struct node *cond)
{
	union number v;
	if (!x || !cond)
		return NULL;
	if (node_is_full(cond, &v) && v.i)
		return node_ref(x);
	return build_node(c, OP_CHECK, (tgc_type)x->type, x->rank, x->dims, 2, (struct node *[]){x, cond}, 0,
	                  NULL);
}
