// Reductions, contractions and fold for the oracle. Sums run in long double, so that they stand for the true
// sum; the bound is that of any order of summing: u * (32 + log2 n) * sum|terms|.
// Not here: movement (interp_move.c).
#include "interp.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_AXES = 32 };

void interp_sum_start(struct fsum *s)
{
	*s = (struct fsum){.finite = true};
}

void interp_sum_add(struct fsum *s, struct fnum x)
{
	s->sum += (long double)x.v;
	if (isfinite(x.v))
		s->mag += fabsl((long double)x.v);
	s->b += x.b;
	s->n++;
	s->unsure |= x.unsure;
	s->finite &= isfinite(x.v);
}

struct fnum interp_sum_end(const struct fsum *s, tgc_type t)
{
	tgc_type acc = t == TGC_F64 ? TGC_F64 : TGC_F32; // sixteen bits accumulate in f32
	double b = s->b, unit = interp_eps(acc) / 2;
	struct fnum r;

	if (s->n > 1 && s->finite)
		b += unit * (32 + log2((double)s->n)) * (double)s->mag;
	r = interp_finish(t, (double)s->sum, b, s->n > 1 ? 1 : 0, s->finite);
	// A partial sum that overflows meets what else is infinite.
	r.unsure |= s->unsure || s->mag + (long double)b > (long double)interp_max(acc);
	return r;
}

static int64_t row_elems(const struct pnode *s, int64_t mask)
{
	int64_t n = 1;

	for (int a = 0; a < s->rank; a++)
		if (mask >> a & 1)
			n *= s->dims[a].n;
	return n;
}

// Source position of step k of the row that reduces into output index o.
static int64_t row_at(const struct pnode *s, int64_t mask, const int64_t *o, int64_t k)
{
	int64_t idx[MAX_AXES];

	for (int a = s->rank - 1; a >= 0; a--) {
		idx[a] = o[a];
		if (mask >> a & 1) {
			idx[a] = k % s->dims[a].n;
			k /= s->dims[a].n;
		}
	}
	return interp_ravel(s->rank, s->dims, idx);
}

struct row {
	const struct pnode *n, *s;
	const struct interp_value *from;
	const int64_t *o;
	int64_t mask, elems;
};

static struct fnum sum_f(const struct row *w, tgc_type t)
{
	struct fsum s;

	interp_sum_start(&s);
	for (int64_t k = 0; k < w->elems; k++)
		interp_sum_add(&s, interp_get(w->from, row_at(w->s, w->mask, w->o, k)));
	return interp_sum_end(&s, t);
}

static struct fnum extreme_f(const struct row *w, tgc_type t, int op)
{
	struct fnum r = {op == OP_MAX ? -INFINITY : INFINITY, 0, false};

	for (int64_t k = 0; k < w->elems; k++)
		r = interp_binary_f(op, t, r, interp_get(w->from, row_at(w->s, w->mask, w->o, k)));
	return r;
}

static int64_t reduce_i(const struct row *w, tgc_type t, int op, uint8_t *unsure)
{
	int64_t r = 0;

	for (int64_t k = 0; k < w->elems; k++) {
		int64_t at = row_at(w->s, w->mask, w->o, k);

		r = op == OP_ADD || k > 0 ? interp_binary_i(op, t, r, w->from->i[at]) : w->from->i[at];
		*unsure |= w->from->unsure[at];
	}
	return r;
}

static bool beats(const struct row *w, int64_t at, int64_t best)
{
	const struct interp_value *v = w->from;

	if (v->f)
		return !isnan(v->f[best]) && (isnan(v->f[at]) || v->f[at] > v->f[best]);
	return interp_compare_i(OP_LT, v->type, v->i[best], v->i[at]);
}

static int64_t argmax(const struct row *w, uint8_t *unsure)
{
	int64_t best = 0, best_at = row_at(w->s, w->mask, w->o, 0);

	for (int64_t k = 0; k < w->elems; k++) {
		int64_t at = row_at(w->s, w->mask, w->o, k);

		*unsure |= w->from->unsure[at];
		if (beats(w, at, best_at)) {
			best = k;
			best_at = at;
		}
	}
	for (int64_t k = 0; w->from->f && k < w->elems; k++) {
		int64_t at = row_at(w->s, w->mask, w->o, k);
		double b = w->from->bound[at] + w->from->bound[best_at];

		if (k != best && b > 0 && w->from->f[at] + b >= w->from->f[best_at])
			*unsure = 1;
	}
	return best;
}

bool interp_reduce(struct interp *it, int32_t node)
{
	const struct pnode *n = &it->p->nodes[node];
	struct interp_value *out = &it->v[node];
	struct row w = {.n = n, .s = &it->p->nodes[n->src[0]], .from = &it->v[n->src[0]], .mask = n->attr[0]};
	int op = n->op == OP_SUM ? OP_ADD : n->op == OP_RMAX ? OP_MAX : OP_MIN;
	int64_t o[MAX_AXES];

	w.elems = row_elems(w.s, w.mask);
	w.o = o;
	for (int64_t i = 0; i < out->elems; i++) {
		interp_unravel(n->rank, n->dims, i, o);
		if (n->op == OP_ARGMAX)
			out->i[i] = argmax(&w, &out->unsure[i]);
		else if (!out->f)
			out->i[i] = reduce_i(&w, out->type, op, &out->unsure[i]);
		else
			interp_put(out, i,
			           n->op == OP_SUM ? sum_f(&w, out->type) : extreme_f(&w, out->type, op));
	}
	return true;
}

struct contraction {
	const struct pnode *n, *a, *b;
	const struct interp_value *av, *bv;
	const struct tg_caxis *ax;
	int naxes;
	int64_t taps; // terms of one result element
	bool tf32;    // operands may be rounded
};

static int64_t axis_taps(const struct contraction *c, int i)
{
	const struct tg_caxis *ax = &c->ax[i];

	if (ax->role == ROLE_WINDOW)
		return c->b->dims[ax->b].n;
	if (ax->role == ROLE_CONTRACTED)
		return ax->a >= 0 ? c->a->dims[ax->a].n : c->b->dims[ax->b].n;
	return 1;
}

// The operands' positions of term k of result index o; false: a tap outside a, only *at_b is set.
static bool term_at(const struct contraction *c, const int64_t *o, int64_t k, int64_t *at_a, int64_t *at_b)
{
	int64_t ia[MAX_AXES] = {0}, ib[MAX_AXES] = {0};
	bool inside = true;

	for (int i = c->naxes - 1; i >= 0; i--) {
		const struct tg_caxis *ax = &c->ax[i];
		int64_t taps = axis_taps(c, i), t = k % taps, pa, pb;

		k /= taps;
		pa = pb = ax->role == ROLE_CONTRACTED ? t : ax->o >= 0 ? o[ax->o] : 0;
		if (ax->role == ROLE_WINDOW) {
			pa = o[ax->o] * ax->stride + t * ax->dil_b - ax->pad;
			pb = t;
			inside &= pa >= 0 && pa <= (c->a->dims[ax->a].n - 1) * ax->dil_a && pa % ax->dil_a == 0;
			pa /= ax->dil_a;
		}
		if (ax->a >= 0)
			ia[ax->a] = pa;
		if (ax->b >= 0)
			ib[ax->b] = pb;
	}
	*at_b = interp_ravel(c->b->rank, c->b->dims, ib);
	if (inside)
		*at_a = interp_ravel(c->a->rank, c->a->dims, ia);
	return inside;
}

// The product of one term, not rounded: implementations may keep it in a wider register.
static struct fnum term(struct fnum x, struct fnum y)
{
	struct fnum r = {x.v * y.v, fabs(x.v) * y.b + fabs(y.v) * x.b + x.b * y.b, x.unsure || y.unsure};

	if (!isfinite(x.v) || !isfinite(y.v)) {
		r.unsure |= x.b > 0 || y.b > 0;
		r.b = 0;
	} else if (!isfinite(r.v)) {
		r.unsure = true; // a fused step adds it before it overflows
	}
	return r;
}

// As one that may be rounded to 10 bits of fraction, beyond the largest f32 to infinity.
static struct fnum rounded(struct fnum x)
{
	x.b += fmax(ldexp(fabs(x.v) + x.b, -11), ldexp(1, -137));
	x.unsure |= isfinite(x.v) && fabs(x.v) + x.b > interp_max(TGC_F32);
	return x;
}

static struct fnum contract_f(const struct contraction *c, const int64_t *o, tgc_type t)
{
	struct fsum s;
	int64_t at_a, at_b;

	interp_sum_start(&s);
	for (int64_t k = 0; k < c->taps; k++) {
		if (term_at(c, o, k, &at_a, &at_b))
			interp_sum_add(&s, c->tf32 ? term(rounded(interp_get(c->av, at_a)), rounded(interp_get(c->bv, at_b)))
			                           : term(interp_get(c->av, at_a), interp_get(c->bv, at_b)));
		else if (!isfinite(c->bv->f[at_b]))
			s.unsure = true; // nothing, or 0 * b
	}
	s.n += s.n == 1; // even one product is rounded
	return interp_sum_end(&s, t);
}

static int64_t contract_i(const struct contraction *c, const int64_t *o, tgc_type t, uint8_t *unsure)
{
	int64_t at_a, at_b, r = 0;

	for (int64_t k = 0; k < c->taps; k++) {
		if (!term_at(c, o, k, &at_a, &at_b))
			continue;
		r = interp_binary_i(OP_ADD, t, r, interp_binary_i(OP_MUL, t, c->av->i[at_a], c->bv->i[at_b]));
		*unsure |= c->av->unsure[at_a] | c->bv->unsure[at_b];
	}
	return r;
}

bool interp_contract(struct interp *it, int32_t node)
{
	const struct pnode *n = &it->p->nodes[node];
	struct interp_value *out = &it->v[node];
	struct contraction c = {.n = n,
	                        .a = &it->p->nodes[n->src[0]],
	                        .b = &it->p->nodes[n->src[1]],
	                        .av = &it->v[n->src[0]],
	                        .bv = &it->v[n->src[1]],
	                        .ax = (const struct tg_caxis *)(const void *)n->attr,
	                        .naxes = n->nattr / 8,
	                        .taps = 1,
	                        .tf32 = it->tf32 && out->type == TGC_F32};
	int64_t o[MAX_AXES];

	for (int i = 0; i < c.naxes; i++)
		c.taps *= axis_taps(&c, i);
	for (int64_t i = 0; i < out->elems; i++) {
		interp_unravel(n->rank, n->dims, i, o);
		if (out->f)
			interp_put(out, i, contract_f(&c, o, out->type));
		else
			out->i[i] = contract_i(&c, o, out->type, &out->unsure[i]);
	}
	return true;
}

// Position on the folded axis q receives tap t of window w where q = w * stride + t * dilation.
static bool fold_tap(const struct pnode *n, const struct pnode *s, const int64_t *o, int64_t tap, int64_t *at)
{
	int64_t idx[MAX_AXES], axis = n->attr[0], q = o[axis] - tap * n->attr[3];

	if (q < 0 || q % n->attr[2] != 0 || q / n->attr[2] >= s->dims[axis].n)
		return false;
	for (int a = 0; a < n->rank; a++)
		idx[a] = a == axis ? q / n->attr[2] : o[a];
	idx[n->rank] = tap;
	*at = interp_ravel(s->rank, s->dims, idx);
	return true;
}

bool interp_fold(struct interp *it, int32_t node)
{
	const struct pnode *n = &it->p->nodes[node], *s = &it->p->nodes[n->src[0]];
	const struct interp_value *from = &it->v[n->src[0]];
	struct interp_value *out = &it->v[node];
	int64_t o[MAX_AXES], at;

	for (int64_t i = 0; i < out->elems; i++) {
		struct fsum sum;

		interp_unravel(n->rank, n->dims, i, o);
		interp_sum_start(&sum);
		for (int64_t tap = 0; tap < n->attr[1]; tap++) {
			if (!fold_tap(n, s, o, tap, &at))
				continue;
			if (out->f) {
				interp_sum_add(&sum, interp_get(from, at));
			} else {
				out->i[i] = interp_binary_i(OP_ADD, out->type, out->i[i], from->i[at]);
				out->unsure[i] |= from->unsure[at];
			}
		}
		if (out->f)
			interp_put(out, i, interp_sum_end(&sum, out->type));
	}
	return true;
}
