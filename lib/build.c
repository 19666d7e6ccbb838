// Smart constructors of sources and elementwise operations: they fold and simplify as they build.
// In:  borrowed nodes that fit (the public door checked). Out: a new reference, or NULL (no memory).
// Only rewrites that keep every bit, NaN and signed zero included, unless the context asks for fast_math.
#include "lib.h"

#include <math.h>

static bool has_none(int rank, const struct dim *d) // an axis without elements
{
	bool none = false;
	for (int i = 0; i < rank; i++)
		none |= d[i].n == 0;
	return none;
}

struct node *build_node(struct tgc_context *c, int op, tgc_type type, int rank, const struct dim *dims,
                        int nsrc, struct node *const *src, int nattr, const int64_t *attr)
{
	for (int i = 0; i < nsrc; i++)
		if (!src[i])
			return NULL;
	if (has_none(rank, dims))
		return build_full(c, type, rank, dims, (union number){.i = 0});
	return node_new(c, op, type, rank, dims, nsrc, src, nattr, attr);
}

// The same for an operation whose sources are there and all of one shape.
static struct node *elementwise(struct tgc_context *c, int op, tgc_type type, int nsrc, struct node *const *src)
{
	const struct node *x = src[0];
	if (x->flags & NODE_EMPTY)
		return build_full(c, type, x->rank, x->dims, (union number){.i = 0});
	return node_new(c, op, type, x->rank, x->dims, nsrc, src, 0, NULL);
}

struct node *build_const(struct tgc_context *c, tgc_type t, union number v)
{
	v = number_round(t, v);
	return node_new(c, OP_CONST, t, 0, NULL, 0, NULL, 1, &v.i);
}

static struct node *move(struct tgc_context *c, int op, struct node *x, int rank, const struct dim *d)
{
	struct node *r = x ? node_new(c, op, x->type, rank, d, 1, &x, 0, NULL) : NULL;
	node_unref(c, x);
	return r;
}

// ---- values of one element, spread ---------------------------------------------------------------------------------
static struct unit *unit_place(struct tgc_context *c, tgc_type t, int rank, uint64_t of)
{
	uint64_t h = (of ^ (uint64_t)(rank << 8 | (int)t)) * 0x9e3779b97f4a7c15u;
	return &c->units[h >> 32 & (UNITS - 1)];
}

void build_forget(struct tgc_context *c, const struct node *unit)
{
	struct unit *u = &c->units[unit->flags >> NODE_UNIT_SHIFT];
	if (u->node == unit)
		u->node = NULL;
}

// x, of rank 0, as a value of that rank. Takes x.
static struct node *unit_new(struct tgc_context *c, struct unit *u, struct node *x, int rank)
{
	static const struct dim ones[TGC_MAX_RANK] = {{1, 0}, {1, 0}, {1, 0}, {1, 0},
	                                              {1, 0}, {1, 0}, {1, 0}, {1, 0}};
	if (rank > 0)
		x = move(c, OP_RESHAPE, x, rank, ones);
	if (!x)
		return NULL;
	u->node = x;
	x->flags = (uint16_t)((x->flags & ((1 << NODE_UNIT_SHIFT) - 1)) | NODE_UNIT | (u - c->units) << NODE_UNIT_SHIFT);
	return x;
}

static struct node *literal(struct tgc_context *c, tgc_type t, int rank, union number v)
{
	struct unit *u = unit_place(c, t, rank, (uint64_t)v.i);
	struct node *n = u->node;
	if (n && !u->of && u->bits == v.i && n->type == t && n->rank == rank)
		return node_ref(n);
	*u = (struct unit){.bits = v.i};
	return unit_new(c, u, build_const(c, t, v), rank);
}

static struct node *lifted(struct tgc_context *c, struct node *x, int rank)
{
	struct unit *u = unit_place(c, (tgc_type)x->type, rank, (uintptr_t)x);
	if (x->op == OP_CONST)
		return literal(c, (tgc_type)x->type, rank, (union number){.i = x->attr[0]});
	if (u->node && u->of == x && u->node->rank == rank)
		return node_ref(u->node);
	*u = (struct unit){.of = x};
	return unit_new(c, u, node_ref(x), rank);
}

// Repeats a value of one element; takes it.
static struct node *spread(struct tgc_context *c, struct node *unit, int rank, const struct dim *d)
{
	bool grows = false;
	for (int i = 0; i < rank; i++)
		grows |= d[i].n != 1 || d[i].sym != 0;
	return grows ? move(c, OP_EXPAND, unit, rank, d) : unit;
}

struct node *build_full(struct tgc_context *c, tgc_type t, int rank, const struct dim *d, union number v)
{
	return spread(c, literal(c, t, rank, v), rank, d);
}

static struct node *full_like(struct tgc_context *c, const struct node *x, double v)
{
	return build_full(c, x->type, x->rank, x->dims, number_from_double(x->type, v));
}

// An operand that is the same along whole axes: the operation moves to where it is small.
static struct node *small_source(struct node *x)
{
	return x->op == OP_EXPAND ? x->src[0] : NULL;
}

static struct node *expanded(struct tgc_context *c, struct node *small, const struct node *like)
{
	struct node *r = small ? build_expand(c, small, like->dims) : NULL;
	node_unref(c, small);
	return r;
}

static struct node *simplify_unary(struct tgc_context *c, int op, struct node *x)
{
	static const uint8_t undone[] = {OP_NEG, OP_NOT};
	for (int i = 0; i < TG_COUNT(undone); i++)
		if (op == undone[i] && x->op == op)
			return node_ref(x->src[0]);
	if (op == OP_ABS && x->op == OP_NEG && type_is_float(x->type))
		return build_unary(c, OP_ABS, x->src[0]);
	if ((op == OP_ABS || op == OP_FLOOR || op == OP_ROUND || op == OP_DETACH) && x->op == op)
		return node_ref(x);
	if (op == OP_ABS && !type_is_signed(x->type))
		return node_ref(x);
	if (op == OP_DETACH && !type_is_float(x->type))
		return node_ref(x);
	if (op == OP_NOT && (x->op == OP_EQ || x->op == OP_NE))
		return build_binary(c, x->op == OP_EQ ? OP_NE : OP_EQ, x->src[0], x->src[1]);
	return NULL;
}

struct node *build_unary(struct tgc_context *c, int op, struct node *x)
{
	union number v, out;
	if (!x)
		return NULL;
	if (node_is_full(x, &v) && op_fold(op, x->type, &v, &out))
		return build_full(c, x->type, x->rank, x->dims, out);
	struct node *r = simplify_unary(c, op, x);
	if (r)
		return r;
	if (small_source(x))
		return expanded(c, build_unary(c, op, small_source(x)), x);
	return elementwise(c, op, (tgc_type)x->type, 1, &x);
}

// Whether every value of `from` is one of `to`.
static bool holds(tgc_type to, tgc_type from)
{
	int to_bits = (int)tgc_type_bytes(to) * 8, from_bits = (int)tgc_type_bytes(from) * 8;
	if (from == TGC_BOOL)
		return true;
	if (to == TGC_BOOL)
		return false;
	if (type_is_float(from))
		return to == TGC_F64 || (to == TGC_F32 && from != TGC_F64);
	if (type_is_float(to))
		return (to == TGC_F64 && from_bits <= 32) || (to == TGC_F32 && from_bits <= 16) ||
		       (to == TGC_F16 && from_bits <= 8) || (to == TGC_BF16 && from_bits <= 8);
	if (type_is_signed(from))
		return type_is_signed(to) && to_bits >= from_bits;
	return type_is_signed(to) ? to_bits > from_bits : to_bits >= from_bits;
}

struct node *build_cast(struct tgc_context *c, struct node *x, tgc_type t)
{
	union number v;
	if (!x)
		return NULL;
	if (x->type == t)
		return node_ref(x);
	if (node_is_full(x, &v))
		return build_full(c, t, x->rank, x->dims, number_cast(x->type, t, v));
	// A detour that loses nothing. Not from integers by way of floats to integers: one wraps, one
	// saturates.
	if (x->op == OP_CAST && holds(x->type, x->src[0]->type)) {
		struct node *from = x->src[0];
		bool saturates = type_is_int(from->type) && type_is_float(x->type) && !type_is_float(t);
		if (!saturates || from->type == t)
			return build_cast(c, from, t);
	}
	if (small_source(x))
		return expanded(c, build_cast(c, small_source(x), t), x);
	return elementwise(c, OP_CAST, t, 1, &x);
}

struct node *build_bitcast(struct tgc_context *c, struct node *x, tgc_type t)
{
	if (!x)
		return NULL;
	if (x->type == t)
		return node_ref(x);
	if (x->op == OP_BITCAST)
		return build_bitcast(c, x->src[0], t);
	if (small_source(x))
		return expanded(c, build_bitcast(c, small_source(x), t), x);
	return elementwise(c, OP_BITCAST, t, 1, &x);
}

struct pair { // the operands of a binary operation and their values, where they are literals
	struct node *x, *y;
	union number xv, yv;
	bool x_full, y_full;
};

static bool is_num(const struct pair *p, double v)
{
	tgc_type t = (tgc_type)p->y->type; // v is a value of every type of floats
	union number n = {.f = v};
	return p->y_full && number_equal(p->yv, type_is_float(t) ? n : number_from_double(t, v));
}

static bool is_zero(const struct pair *p) // of either sign
{
	return p->y_full && (type_is_float(p->y->type) ? p->yv.f == 0 : p->yv.i == 0);
}

static struct node *simplify_add(struct tgc_context *c, const struct pair *p)
{
	bool loose = !type_is_float(p->x->type) || c->fast_math;
	if (is_num(p, -0.0) || (loose && is_zero(p))) // x + 0.0 turns -0.0 into 0.0
		return node_ref(p->x);
	if (p->y->op == OP_NEG)
		return build_binary(c, OP_SUB, p->x, p->y->src[0]);
	return NULL;
}

static struct node *simplify_sub(struct tgc_context *c, const struct pair *p)
{
	bool loose = !type_is_float(p->x->type) || c->fast_math;
	if (is_num(p, 0.0) || (loose && is_zero(p)))
		return node_ref(p->x);
	if (p->y->op == OP_NEG)
		return build_binary(c, OP_ADD, p->x, p->y->src[0]);
	if (loose && p->x == p->y)
		return full_like(c, p->x, 0);
	if (p->x_full &&
	    (type_is_float(p->x->type) ? p->xv.f == 0 && (signbit(p->xv.f) || c->fast_math) : p->xv.i == 0))
		return build_unary(c, OP_NEG, p->y);
	return NULL;
}

static struct node *simplify_mul(struct tgc_context *c, const struct pair *p)
{
	bool loose = !type_is_float(p->x->type) || c->fast_math;
	if (is_num(p, 1))
		return node_ref(p->x);
	if (loose && is_zero(p))
		return node_ref(p->y);
	if (type_is_signed(p->x->type) && is_num(p, -1))
		return build_unary(c, OP_NEG, p->x);
	if (p->x->op == OP_NEG && p->y->op == OP_NEG)
		return build_binary(c, OP_MUL, p->x->src[0], p->y->src[0]);
	return NULL;
}

// Division by a power of two is the product with its inverse, to the bit, while that is a normal number.
static bool exact_inverse(tgc_type t, double v, double *inverse)
{
	static const double least[] = {
	    [TGC_F32] = 0x1p-126, [TGC_F64] = 0x1p-1022, [TGC_F16] = 0x1p-14, [TGC_BF16] = 0x1p-126};
	int e;
	if (!isfinite(v) || fabs(frexp(v, &e)) != 0.5)
		return false;
	*inverse = 1 / v;
	return fabs(*inverse) >= least[t] && isfinite(number_from_double(t, *inverse).f);
}

static struct node *simplify_div(struct tgc_context *c, const struct pair *p)
{
	double inverse;
	if (is_num(p, 1))
		return node_ref(p->x);
	if (!p->y_full || !type_is_float(p->x->type) || !exact_inverse((tgc_type)p->x->type, p->yv.f, &inverse))
		return NULL;
	struct node *f = full_like(c, p->y, inverse), *r = build_binary(c, OP_MUL, p->x, f);
	node_unref(c, f);
	return r;
}

// and, or, xor, max, min of a value with itself or with all zeros, all ones.
static struct node *simplify_lattice(struct tgc_context *c, int op, const struct pair *p)
{
	union number ones = number_round((tgc_type)p->x->type, (union number){.i = -1});
	bool is_int = !type_is_float(p->x->type), zero = is_int && is_zero(p);
	bool all = is_int && p->y_full && number_equal(p->yv, ones);
	if (op == OP_XOR)
		return p->x == p->y ? full_like(c, p->x, 0) : zero ? node_ref(p->x) : NULL;
	if (p->x == p->y)
		return node_ref(p->x);
	if (op == OP_AND)
		return zero ? node_ref(p->y) : all ? node_ref(p->x) : NULL;
	if (op == OP_OR)
		return zero ? node_ref(p->x) : all ? node_ref(p->y) : NULL;
	return NULL;
}

static struct node *simplify_compare(struct tgc_context *c, int op, const struct pair *p)
{
	if (p->x != p->y || type_is_float(p->x->type)) // NaN differs from itself
		return NULL;
	union number v = {.i = op == OP_EQ || op == OP_LE};
	return build_full(c, TGC_BOOL, p->x->rank, p->x->dims, v);
}

static struct node *simplify_binary(struct tgc_context *c, int op, const struct pair *p)
{
	switch (op) {
	case OP_ADD:
		return simplify_add(c, p);
	case OP_SUB:
		return simplify_sub(c, p);
	case OP_MUL:
		return simplify_mul(c, p);
	case OP_DIV:
		return simplify_div(c, p);
	case OP_SHL:
	case OP_SHR:
		return is_zero(p) ? node_ref(p->x) : NULL;
	case OP_AND:
	case OP_OR:
	case OP_XOR:
	case OP_MAX:
	case OP_MIN:
		return simplify_lattice(c, op, p);
	default:
		return op_info[op].cls == CLASS_COMPARE ? simplify_compare(c, op, p) : NULL;
	}
}

static bool commutes(int op)
{
	return op == OP_ADD || op == OP_MUL || op == OP_AND || op == OP_OR || op == OP_XOR || op == OP_EQ ||
	       op == OP_NE || op == OP_MAX || op == OP_MIN;
}

// Both operands repeat along the same axes (a literal does along all): compute one element of each repeat.
static struct node *shrink_binary(struct tgc_context *c, int op, const struct pair *p)
{
	struct node *a = small_source(p->x), *b = small_source(p->y);
	if (!a || !b)
		return NULL;
	tgc_type t = (tgc_type)p->x->type;
	struct node *fx = p->x_full ? build_full(c, t, b->rank, b->dims, p->xv) : node_ref(a);
	struct node *fy = p->y_full ? build_full(c, t, a->rank, a->dims, p->yv) : node_ref(b);
	struct node *r = NULL;
	if (fx && fy && node_same_shape(fx, fy))
		r = expanded(c, build_binary(c, op, fx, fy), p->x);
	node_unref(c, fx);
	node_unref(c, fy);
	return r;
}

struct node *build_binary(struct tgc_context *c, int op, struct node *x, struct node *y)
{
	if (!x || !y)
		return NULL;
	assert(x->type == y->type && x->rank == y->rank);
	tgc_type t = (tgc_type)x->type, out_type = op_info[op].cls == CLASS_COMPARE ? TGC_BOOL : t;
	struct pair p = {.x = x, .y = y};
	p.x_full = node_is_full(x, &p.xv);
	p.y_full = node_is_full(y, &p.yv);
	union number v[2] = {p.xv, p.yv}, out;
	if (p.x_full && p.y_full && op_fold(op, t, v, &out))
		return build_full(c, out_type, x->rank, x->dims, out);
	if (p.x_full && !p.y_full && commutes(op))
		p = (struct pair){y, x, p.yv, p.xv, false, true};
	struct node *r = simplify_binary(c, op, &p);
	if (!r)
		r = shrink_binary(c, op, &p);
	if (r)
		return r;
	return elementwise(c, op, out_type, 2, (struct node *[]){p.x, p.y});
}

struct node *build_select(struct tgc_context *c, struct node *cond, struct node *x, struct node *y)
{
	union number v;
	if (!cond || !x || !y)
		return NULL;
	assert(cond->type == TGC_BOOL && x->type == y->type && node_same_shape(x, y) &&
	       node_same_shape(cond, x));
	if (node_is_full(cond, &v))
		return node_ref(v.i ? x : y);
	if (x == y)
		return node_ref(x);
	if (cond->op == OP_NOT)
		return build_select(c, cond->src[0], y, x);
	return elementwise(c, OP_SELECT, (tgc_type)x->type, 3, (struct node *[]){cond, x, y});
}

struct node *build_fma(struct tgc_context *c, struct node *x, struct node *y, struct node *z)
{
	union number v[3], out;
	if (!x || !y || !z)
		return NULL;
	assert(x->type == y->type && x->type == z->type && node_same_shape(x, y) && node_same_shape(x, z));
	if (node_is_full(x, &v[0]) && node_is_full(y, &v[1]) && node_is_full(z, &v[2]) &&
	    op_fold(OP_FMA, (tgc_type)x->type, v, &out))
		return build_full(c, (tgc_type)x->type, x->rank, x->dims, out);
	return elementwise(c, OP_FMA, (tgc_type)x->type, 3, (struct node *[]){x, y, z});
}

struct node *build_iota(struct tgc_context *c, tgc_type t, int rank, const struct dim *d, int axis)
{
	struct dim line[TGC_MAX_RANK];
	if (d[axis].n == 1)
		return build_full(c, t, rank, d, (union number){.i = 0});
	for (int i = 0; i < rank; i++)
		line[i] = i == axis ? d[i] : (struct dim){1, 0};
	int64_t a = axis;
	struct node *x = build_node(c, OP_IOTA, t, rank, line, 0, NULL, 1, &a), *r = build_expand(c, x, d);
	node_unref(c, x);
	return r;
}

struct node *build_random(struct tgc_context *c, int rank, const struct dim *d, struct node *seed,
                          struct node *counter)
{
	return build_node(c, OP_RANDOM, TGC_U32, rank, d, 2, (struct node *[]){seed, counter}, 0, NULL);
}

struct node *build_broadcast(struct tgc_context *c, struct node *x, int rank, const struct dim *d)
{
	struct dim r[TGC_MAX_RANK];
	if (!x)
		return NULL;
	if (x->rank == rank && dims_equal(x->dims, d, rank))
		return node_ref(x);
	if (x->rank == 0 && !has_none(rank, d))
		return spread(c, lifted(c, x, rank), rank, d);
	for (int i = 0, lead = rank - x->rank; i < rank; i++)
		r[i] = i < lead ? (struct dim){1, 0} : x->dims[i - lead];
	struct node *flat = build_reshape(c, x, rank, r), *out = build_expand(c, flat, d);
	node_unref(c, flat);
	return out;
}
