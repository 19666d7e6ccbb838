// Sketches: what each operation requires of its operands, and the shape and type of its result.
// Written from the header's contracts, not from lib/. Not here: running (sketch_prog.c, sketch_api.c).
#include "sketch.h"

#include <math.h>
#include <stdlib.h>

uint64_t sk_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15); // splitmix64

	z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
	return z ^ z >> 31;
}

int64_t sk_elems(const struct snode *n)
{
	int64_t count = 1;

	for (int a = 0; a < n->rank; a++)
		count *= n->dims[a];
	return count;
}

int64_t sk_most(const struct sketch *s)
{
	return s->most ? s->most : SK_MAX_ELEMS;
}

const char *sk_name(int op)
{
	switch (op) {
	case SK_MATMUL:
		return "matmul";
	case SK_EINSUM:
		return "einsum";
	case SK_CONV:
		return "conv2d";
	case SK_RAND:
		return "rand";
	default:
		return op_info[op].name;
	}
}

static void like(struct snode *n, const struct snode *x)
{
	n->type = x->type;
	n->rank = x->rank;
	memcpy(n->dims, x->dims, sizeof n->dims);
}

static bool broadcast(struct snode *n, const struct snode *x)
{
	struct snode old = *n;

	n->rank = old.rank > x->rank ? old.rank : x->rank;
	for (int a = 1; a <= n->rank; a++) {
		int64_t p = a <= old.rank ? old.dims[old.rank - a] : 1;
		int64_t q = a <= x->rank ? x->dims[x->rank - a] : 1;

		if (p != q && p != 1 && q != 1)
			return false;
		n->dims[n->rank - a] = p == 1 ? q : p;
	}
	return true;
}

static bool infer_elementwise(const struct sketch *s, struct snode *n)
{
	const struct snode *x = &s->nodes[n->src[0]];
	tgc_type to = n->type;
	bool compare = n->op == OP_LT || n->op == OP_LE || n->op == OP_EQ || n->op == OP_NE;
	int first = n->op == OP_SELECT ? 1 : 0;
	char types = op_info[n->op].types;

	like(n, x);
	for (int k = 1; k < n->nsrc; k++)
		if (!broadcast(n, &s->nodes[n->src[k]]))
			return false;
	for (int k = first + 1; k < n->nsrc; k++)
		if (s->nodes[n->src[k]].type != s->nodes[n->src[first]].type)
			return false;
	n->type = s->nodes[n->src[first]].type;
	if (n->op == OP_CAST || n->op == OP_BITCAST) {
		bool fits = n->op == OP_CAST || (interp_bits(to) == interp_bits(x->type) &&
		                                 (to == TGC_BOOL) == (x->type == TGC_BOOL));
		n->type = to;
		return fits;
	}
	if (n->op == OP_SELECT)
		return x->type == TGC_BOOL;
	if ((n->op == OP_FMA || types == 'F') && !interp_is_float(n->type))
		return false;
	if ((types == 'N' && n->type == TGC_BOOL) || (types == 'I' && interp_is_float(n->type)))
		return false;
	if ((n->op == OP_SHL || n->op == OP_SHR) && n->type == TGC_BOOL)
		return false;
	if (compare)
		n->type = TGC_BOOL;
	return true;
}

static bool infer_pad(struct snode *n)
{
	for (int a = 0; a < n->rank; a++) {
		n->dims[a] += n->attr[3 * a] + n->attr[3 * a + 1];
		if (n->dims[a] < 0)
			return false;
	}
	return true;
}

static bool infer_slice(struct snode *n)
{
	for (int a = 0; a < n->rank; a++) { // attr: start, step, stop
		int64_t start = n->attr[3 * a], step = n->attr[3 * a + 1], stop = n->attr[3 * a + 2];

		if (start < 0 || stop > n->dims[a] || start > stop || step < 1)
			return false;
		n->dims[a] = (stop - start + step - 1) / step;
	}
	return true;
}

static bool infer_concat(const struct sketch *s, struct snode *n)
{
	for (int k = 1; k < n->nsrc; k++) {
		const struct snode *y = &s->nodes[n->src[k]];

		if (y->type != n->type || y->rank != n->rank)
			return false;
		for (int a = 0; a < n->rank; a++)
			if (a != n->attr[0] && y->dims[a] != n->dims[a])
				return false;
		n->dims[n->attr[0]] += y->dims[n->attr[0]];
	}
	return n->attr[0] < n->rank;
}

static bool infer_window(struct snode *n)
{
	int64_t axis = n->attr[0], size = n->attr[1], reach = n->attr[3] * (size - 1) + 1;

	if (axis >= n->rank || n->rank == TGC_MAX_RANK || size < 1 || reach > n->dims[axis])
		return false;
	n->dims[axis] = (n->dims[axis] - reach) / n->attr[2] + 1;
	n->dims[n->rank++] = size;
	return true;
}

static bool infer_fold(struct snode *n, int64_t to) // attr: axis, size, stride, dilation
{
	int64_t axis = n->attr[0];

	if (n->rank < 2 || axis >= n->rank - 1 || n->dims[axis] < 1 || n->dims[n->rank - 1] < 1 ||
	    n->type == TGC_BOOL)
		return false;
	n->attr[1] = n->dims[n->rank - 1];
	if ((to - n->attr[3] * (n->attr[1] - 1) - 1) / n->attr[2] + 1 != n->dims[axis] ||
	    to < n->attr[3] * (n->attr[1] - 1) + 1)
		return false;
	n->rank--;
	n->dims[axis] = to;
	return true;
}

static bool infer_reshape(struct snode *n, const struct snode *want)
{
	tgc_type t = n->type;

	if (sk_elems(n) != sk_elems(want))
		return false;
	like(n, want);
	n->type = t;
	return true;
}

static bool infer_expand(struct snode *n, const struct snode *want)
{
	struct snode x = *n;

	if (want->rank < x.rank)
		return false;
	for (int a = 1; a <= x.rank; a++)
		if (x.dims[x.rank - a] != 1 && x.dims[x.rank - a] != want->dims[want->rank - a])
			return false;
	like(n, want);
	n->type = x.type;
	return true;
}

static void permute(struct snode *n, const struct snode *x)
{
	for (int a = 0; a < n->rank; a++)
		n->dims[a] = x->dims[n->attr[a]];
}

static bool infer_move(const struct sketch *s, struct snode *n)
{
	struct snode want = *n;

	like(n, &s->nodes[n->src[0]]);
	switch (n->op) {
	case OP_RESHAPE:
		return infer_reshape(n, &want);
	case OP_EXPAND:
		return infer_expand(n, &want);
	case OP_PERMUTE:
		permute(n, &s->nodes[n->src[0]]);
		return true;
	case OP_PAD:
		return infer_pad(n);
	case OP_SLICE:
		return infer_slice(n);
	case OP_FLIP:
		return true;
	case OP_CONCAT:
		return infer_concat(s, n);
	case OP_WINDOW:
		return infer_window(n);
	default:
		return infer_fold(n, want.dims[n->attr[0]]);
	}
}

static bool infer_reduce(const struct sketch *s, struct snode *n)
{
	struct snode x = s->nodes[n->src[0]];
	int64_t row = 1;

	like(n, &x);
	n->rank = 0;
	if (x.type == TGC_BOOL)
		return false;
	for (int a = 0; a < x.rank; a++) {
		if (n->attr[0] >> a & 1) {
			row *= x.dims[a];
			if (n->attr[1])
				n->dims[n->rank++] = 1;
		} else {
			n->dims[n->rank++] = x.dims[a];
		}
	}
	if (n->op == OP_ARGMAX)
		n->type = TGC_I64;
	return n->op == OP_SUM || row > 0;
}

static bool infer_matmul(const struct sketch *s, struct snode *n)
{
	struct snode x = s->nodes[n->src[0]], w = s->nodes[n->src[1]];

	like(n, &x);
	if (x.rank < 2 || w.rank < 2 || x.type != w.type || x.type == TGC_BOOL ||
	    x.dims[x.rank - 1] != w.dims[w.rank - 2])
		return false;
	n->rank -= 2;
	w.rank -= 2;
	if (!broadcast(n, &w))
		return false;
	n->dims[n->rank++] = x.dims[x.rank - 2];
	n->dims[n->rank++] = s->nodes[n->src[1]].dims[w.rank + 1];
	return true;
}

static bool infer_einsum(const struct sketch *s, struct snode *n)
{
	const struct snode *x = &s->nodes[n->src[0]], *y = &s->nodes[n->src[1]];
	int64_t size[128];
	const char *p = n->spec;

	memset(size, -1, sizeof size);
	if (x->type != y->type || x->type == TGC_BOOL)
		return false;
	for (int a = 0; *p != ','; a++, p++) {
		if (a >= x->rank)
			return false;
		size[(int)*p] = x->dims[a];
	}
	if (p - n->spec != x->rank)
		return false;
	p++;
	for (int a = 0; *p != '-'; a++, p++) {
		if (a >= y->rank || (size[(int)*p] >= 0 && size[(int)*p] != y->dims[a]))
			return false;
		size[(int)*p] = y->dims[a];
	}
	if (p - strchr(n->spec, ',') - 1 != y->rank)
		return false;
	n->type = x->type;
	n->rank = 0;
	for (p += 2; *p; p++)
		n->dims[n->rank++] = size[(int)*p];
	return true;
}

static bool infer_conv(const struct sketch *s, struct snode *n)
{
	const struct snode *x = &s->nodes[n->src[0]], *w = &s->nodes[n->src[1]];
	const int64_t *at = n->attr;
	int64_t groups = at[8];

	if (x->rank != 4 || w->rank != 4 || x->type != w->type || x->type == TGC_BOOL)
		return false;
	if (x->dims[1] != w->dims[1] * groups || w->dims[0] % groups != 0)
		return false;
	like(n, x);
	n->dims[1] = w->dims[0];
	for (int a = 0; a < 2; a++) {
		int64_t padded = x->dims[2 + a] + at[2 + 2 * a] + at[3 + 2 * a];
		int64_t reach = at[6 + a] * (w->dims[2 + a] - 1) + 1;

		if (w->dims[2 + a] < 1 || reach > padded)
			return false;
		n->dims[2 + a] = (padded - reach) / at[a] + 1;
	}
	return true;
}

static bool infer_index(const struct sketch *s, struct snode *n)
{
	const struct snode *x = &s->nodes[n->src[0]], *index = &s->nodes[n->src[1]];
	int64_t axis = n->attr[0];
	struct snode g;

	if (n->op == OP_CHECK) {
		like(n, x);
		return index->type == TGC_BOOL && broadcast(n, index) && n->rank == x->rank;
	}
	if (axis >= x->rank || (index->type != TGC_I32 && index->type != TGC_I64) ||
	    x->rank + index->rank - 1 > TGC_MAX_RANK || (x->dims[axis] == 0 && sk_elems(index) > 0))
		return false;
	like(&g, x);
	g.rank = 0;
	for (int a = 0; a < x->rank; a++) {
		if (a != axis)
			g.dims[g.rank++] = x->dims[a];
		for (int b = 0; a == axis && b < index->rank; b++)
			g.dims[g.rank++] = index->dims[b];
	}
	if (n->op == OP_GATHER) {
		like(n, &g);
		return true;
	}
	like(n, x);
	if (s->nodes[n->src[2]].type != x->type || s->nodes[n->src[2]].rank != g.rank ||
	    (x->type == TGC_BOOL && n->attr[1]))
		return false;
	return memcmp(s->nodes[n->src[2]].dims, g.dims, sizeof(int64_t) * (size_t)g.rank) == 0;
}

bool sk_infer(const struct sketch *s, struct snode *n)
{
	enum op_class cls = n->op < OP_COUNT   ? op_info[n->op].cls
	                    : n->op == SK_RAND ? CLASS_SOURCE
	                                       : CLASS_CONTRACT;

	switch (cls) {
	case CLASS_SOURCE:
		return n->op != OP_IOTA || n->attr[0] < n->rank;
	case CLASS_UNARY:
	case CLASS_BINARY:
	case CLASS_COMPARE:
	case CLASS_TERNARY:
		return infer_elementwise(s, n);
	case CLASS_MOVE:
		return infer_move(s, n);
	case CLASS_REDUCE:
		return infer_reduce(s, n);
	case CLASS_INDEX:
		return infer_index(s, n);
	default:
		return n->op == SK_MATMUL ? infer_matmul(s, n)
		       : n->op == SK_CONV ? infer_conv(s, n)
		                          : infer_einsum(s, n);
	}
}

int sk_add(struct sketch *s, struct snode n)
{
	if (s->n == SK_NODES || !sk_infer(s, &n) || sk_elems(&n) > sk_most(s))
		return -1;
	s->nodes[s->n] = n;
	return s->n++;
}

int sk_leaf(struct sketch *s, tgc_type t, tgc_shape shape, double lo, double hi, uint64_t seed)
{
	struct snode n = {.op = OP_DATA, .type = t, .rank = shape.rank, .lo = lo, .hi = hi, .seed = seed};

	memcpy(n.dims, shape.dims, sizeof n.dims);
	n.mag = fmax(fabs(lo), fabs(hi));
	return sk_add(s, n);
}

int sk_op1(struct sketch *s, int op, int x)
{
	return sk_add(s, (struct snode){.op = op, .nsrc = 1, .src = {x}});
}

int sk_op2(struct sketch *s, int op, int x, int y)
{
	return sk_add(s, (struct snode){.op = op, .nsrc = 2, .src = {x, y}});
}

void sk_out(struct sketch *s, int node)
{
	assert(node >= 0 && s->nouts < SK_OUTS);
	s->outs[s->nouts++] = node;
}

static double special_float(tgc_type t, uint64_t r)
{
	const double table[] = {NAN, INFINITY, -INFINITY, 0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -1.5, 3e9, -3e9};
	uint64_t k = r % (TG_COUNT(table) + 3);

	if (k < (uint64_t)TG_COUNT(table))
		return table[k];
	if (k == TG_COUNT(table))
		return interp_max(t);
	return k == TG_COUNT(table) + 1 ? interp_tiny(t) : ldexp(-1, -60);
}

static int64_t special_int(tgc_type t, uint64_t r)
{
	int bits = interp_bits(t);
	const int64_t table[] = {0,
	                         1,
	                         -1,
	                         2,
	                         -7,
	                         7,
	                         31,
	                         32,
	                         63,
	                         64,
	                         (int64_t)(UINT64_C(1) << (bits - 1)),
	                         (int64_t)((UINT64_C(1) << (bits - 1)) - 1)};

	return interp_wrap(t, table[r % (uint64_t)TG_COUNT(table)]);
}

void *sk_data(const struct snode *n)
{
	int64_t count = sk_elems(n);
	void *data = calloc((size_t)count + 1, 8);
	uint64_t state = n->seed;

	for (int64_t i = 0; data && i < count; i++) {
		uint64_t r = sk_random(&state), pick = sk_random(&state);
		double v = n->lo + (n->hi - n->lo) * ((double)(r >> 11) * 0x1p-53);
		bool special = n->special && pick % 3 == 0;

		if (n->special == 2 && special)
			v = NAN;
		else if (special && interp_is_float(n->type))
			v = special_float(n->type, r);
		if (interp_is_float(n->type))
			interp_store_f(n->type, data, i, v);
		else if (n->type == TGC_BOOL)
			interp_store_i(n->type, data, i, (int64_t)(r >> 40 & 1));
		else
			interp_store_i(n->type, data, i, special ? special_int(n->type, r) : (int64_t)floor(v));
	}
	return data;
}
