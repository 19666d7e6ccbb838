// Public doors of elementwise operations and reductions: one row of ops.def is one function here.
// In:  tensors and plain numbers. Out: a tensor, or a tensor in error with the first mistake on record.
// Not here: movement (ops_move.c), contractions (ops_contract.c), index operations (ops_index.c).
#include "lib.h"

// A new reference.
static struct node *wide(struct tgc_context *c, struct node *x)
{
	return build_cast(c, x, autocast_wide(c, x));
}

static tgc_tensor *unary(int op, tgc_tensor *x, const void *site)
{
	struct door d = door_open(op_info[op].name, site, "x", 1, &x);
	struct node *r = NULL;
	if (d.ok && door_type(&d, "x", (tgc_type)x->node->type, op_info[op].types)) {
		struct node *y = op == OP_EXP || op == OP_LOG ? wide(d.c, x->node) : node_ref(x->node);
		r = build_unary(d.c, op, y);
		node_unref(d.c, y);
	}
	return door_close(&d, r);
}

#define TG_UNARY(ID, NAME, ...)                                                                                \
	tgc_tensor *tgc_##NAME(tgc_tensor *x)                                                                  \
	{                                                                                                      \
		return unary(OP_##ID, x, DOOR_SITE);                                                           \
	}
#include "ops.def"

// Operands that may be numbers; n at most 3. The tensors among them, for door_open.
static int tensors_of(int n, const tgc_arg *args, tgc_tensor **out)
{
	int count = 0;
	for (int i = 0; i < n; i++)
		if (args[i].kind == 0)
			out[count++] = args[i].u.tensor;
	return count;
}

// Mostly all shapes are one; then nothing is computed. `space` holds the shape where it is a new one.
static bool common_shape(struct door *d, int n, struct node *const *x, int *rank, const struct dim **dims,
                         struct dim *space)
{
	bool same = true;
	for (int i = 1; same && i < n; i++)
		same = node_same_shape(x[0], x[i]);
	*rank = x[0]->rank;
	*dims = same ? x[0]->dims : space;
	return same || door_broadcast(d, n, x, rank, space);
}

// The nodes of the operands, broadcast to one shape; out[] holds references, also on failure (NULL or a node).
static bool broadcast(struct door *d, int n, const tgc_arg *args, struct node *const *in, const struct node *also,
                      struct node **out)
{
	struct node *shaped[4];
	struct dim space[TGC_MAX_RANK];
	const struct dim *dims;
	union number v;
	const struct node *first = NULL;
	int rank, count = 0;
	for (int i = 0; i < n; i++) {
		if (in[i] && first && !door_same_type(d, first, in[i]))
			return false;
		if (in[i]) {
			shaped[count++] = in[i];
			first = first ? first : in[i];
		}
	}
	if (!first)
		return door_fail(d, TGC_ERROR_TYPE, "plain numbers only: one operand must be a tensor");
	if (also)
		shaped[count++] = (struct node *)(uintptr_t)also;
	if (!common_shape(d, count, shaped, &rank, &dims, space))
		return false;
	for (int i = 0; i < n; i++) {
		if (in[i])
			out[i] = in[i]->dims == dims ? node_ref(in[i]) : build_broadcast(d->c, in[i], rank, dims);
		else if (door_number(d, args[i], (tgc_type)first->type, &v))
			out[i] = build_full(d->c, (tgc_type)first->type, rank, dims, v);
		if (!out[i])
			return false;
	}
	if (also)
		out[n] = build_broadcast(d->c, shaped[count - 1], rank, dims);
	return true;
}

static bool operands(struct door *d, int n, const tgc_arg *args, const struct node *also, struct node **out)
{
	struct node *in[3] = {NULL};
	const struct node *first = NULL;
	bool join = false, ok = true;
	for (int i = 0; i < n; i++) {
		struct node *x = args[i].kind == 0 ? args[i].u.tensor->node : NULL;
		join = join || (x && first && autocast_joins(d->c, first, x));
		first = x ? x : first;
	}
	for (int i = 0; i < n; i++) {
		struct node *x = args[i].kind == 0 ? args[i].u.tensor->node : NULL;
		if (x)
			ok = (in[i] = join ? wide(d->c, x) : node_ref(x)) && ok;
	}
	ok = ok && broadcast(d, n, args, in, also, out);
	for (int i = 0; i < n; i++)
		node_unref(d->c, in[i]);
	return ok;
}

static tgc_tensor *binary(int op, tgc_arg x, tgc_arg y, const void *site)
{
	tgc_arg args[2] = {x, y};
	tgc_tensor *t[2];
	int n = tensors_of(2, args, t);
	struct door d = door_open(op_info[op].name, site, n == 2 || x.kind == 0 ? "x,y" : "y", n, t);
	struct node *o[2] = {NULL, NULL}, *r = NULL;
	if (d.ok && door_type(&d, "x", (tgc_type)t[0]->node->type, op_info[op].types) &&
	    operands(&d, 2, args, NULL, o))
		r = build_binary(d.c, op, o[0], o[1]);
	if (d.c) {
		node_unref(d.c, o[0]);
		node_unref(d.c, o[1]);
	}
	return door_close(&d, r);
}

#define TG_BINARY(ID, NAME, ...)                                                                               \
	tgc_tensor *tgc_##NAME##_arg(tgc_arg x, tgc_arg y)                                                     \
	{                                                                                                      \
		return binary(OP_##ID, x, y, DOOR_SITE);                                                       \
	}
#define TG_COMPARE(ID, NAME, ...)                                                                              \
	tgc_tensor *tgc_##NAME##_arg(tgc_arg x, tgc_arg y)                                                     \
	{                                                                                                      \
		return binary(OP_##ID, x, y, DOOR_SITE);                                                       \
	}
#include "ops.def"

tgc_tensor *tgc_select_arg(tgc_tensor *cond, tgc_arg x, tgc_arg y)
{
	tgc_arg args[2] = {x, y};
	tgc_tensor *t[3] = {cond};
	int n = tensors_of(2, args, t + 1);
	struct door d = door_open("select", DOOR_SITE, n == 2 || x.kind == 0 ? "cond,x,y" : "cond,y", 1 + n, t);
	struct node *o[3] = {NULL, NULL, NULL}, *r = NULL;
	if (d.ok && cond->node->type != TGC_BOOL)
		door_fail(&d, TGC_ERROR_TYPE, "cond is %s, it must be bool",
		          tgc_type_name((tgc_type)cond->node->type));
	if (d.ok && operands(&d, 2, args, cond->node, o))
		r = build_select(d.c, o[2], o[0], o[1]);
	for (int i = 0; d.c && i < 3; i++)
		node_unref(d.c, o[i]);
	return door_close(&d, r);
}

tgc_tensor *tgc_fma(tgc_tensor *x, tgc_tensor *y, tgc_tensor *z)
{
	tgc_arg args[3] = {tgc_arg_tensor(x), tgc_arg_tensor(y), tgc_arg_tensor(z)};
	tgc_tensor *t[3] = {x, y, z};
	struct door d = door_open("fma", DOOR_SITE, "x,y,z", 3, t);
	struct node *o[3] = {NULL, NULL, NULL}, *r = NULL;
	if (d.ok && door_type(&d, "x", (tgc_type)x->node->type, 'F') && operands(&d, 3, args, NULL, o))
		r = build_fma(d.c, o[0], o[1], o[2]);
	for (int i = 0; d.c && i < 3; i++)
		node_unref(d.c, o[i]);
	return door_close(&d, r);
}

tgc_tensor *tgc_cast(tgc_tensor *x, tgc_type type)
{
	struct door d = door_open("cast", DOOR_SITE, "x", 1, &x);
	struct node *r = NULL;
	if (d.ok && door_type(&d, "type", type, 'A') && door_dims(&d, type, x->node->rank, x->node->dims))
		r = build_cast(d.c, x->node, type);
	return door_close(&d, r);
}

tgc_tensor *tgc_bitcast(tgc_tensor *x, tgc_type type)
{
	struct door d = door_open("bitcast", DOOR_SITE, "x", 1, &x);
	struct node *r = NULL;
	if (d.ok && door_type(&d, "type", type, 'A')) {
		tgc_type from = (tgc_type)x->node->type;
		bool bools = (from == TGC_BOOL) != (type == TGC_BOOL); // a byte of 2 is no bool
		if (tgc_type_bytes(from) == tgc_type_bytes(type) && !bools)
			r = build_bitcast(d.c, x->node, type);
		else
			door_fail(&d, TGC_ERROR_TYPE, "%s has other bits than %s", tgc_type_name(from),
			          tgc_type_name(type));
	}
	return door_close(&d, r);
}

// Reductions keep axes of size 1; `keep` false drops them.
static struct node *reduced(struct door *d, struct node *r, uint32_t mask, bool keep)
{
	struct calc k = {.c = d->c};
	struct node *x = calc_hold(&k, r);
	return calc_done(&k, keep ? x : calc_drop(&k, x, mask));
}

static bool not_empty(struct door *d, const struct node *x, uint32_t mask)
{
	for (int i = 0; i < x->rank; i++)
		if ((mask >> i & 1) && x->dims[i].n == 0)
			return door_fail(d, TGC_ERROR_SHAPE, "axis %d of %s is empty and has no extreme", i,
			                 NODE_TEXT(x));
	return true;
}

static tgc_tensor *reduce(int op, tgc_tensor *x, tgc_axes axes, bool keep, const void *site)
{
	struct door d = door_open(op_info[op].name, site, "x", 1, &x);
	struct node *r = NULL;
	uint32_t mask;
	if (d.ok && door_type(&d, "x", (tgc_type)x->node->type, 'N') &&
	    door_axes(&d, x->node->rank, axes, &mask) && (op == OP_SUM || not_empty(&d, x->node, mask))) {
		struct node *y = op == OP_SUM ? wide(d.c, x->node) : node_ref(x->node);
		r = reduced(&d, build_reduce(d.c, op, y, mask), mask, keep);
		node_unref(d.c, y);
	}
	return door_close(&d, r);
}

tgc_tensor *tgc_sum(tgc_tensor *x, tgc_axes axes, bool keep)
{
	return reduce(OP_SUM, x, axes, keep, DOOR_SITE);
}
tgc_tensor *tgc_max(tgc_tensor *x, tgc_axes axes, bool keep)
{
	return reduce(OP_RMAX, x, axes, keep, DOOR_SITE);
}
tgc_tensor *tgc_min(tgc_tensor *x, tgc_axes axes, bool keep)
{
	return reduce(OP_RMIN, x, axes, keep, DOOR_SITE);
}

tgc_tensor *tgc_argmax(tgc_tensor *x, int axis, bool keep)
{
	struct door d = door_open("argmax", DOOR_SITE, "x", 1, &x);
	struct node *r = NULL;
	int a;
	if (d.ok && door_type(&d, "x", (tgc_type)x->node->type, 'N') &&
	    door_axis(&d, x->node->rank, axis, &a) && not_empty(&d, x->node, 1u << a))
		r = reduced(&d, build_reduce(d.c, OP_ARGMAX, x->node, 1u << a), 1u << a, keep);
	return door_close(&d, r);
}

static tgc_tensor *moment(const char *op, tgc_tensor *x, tgc_axes axes, int correction, bool keep,
                          const void *site)
{
	struct door d = door_open(op, site, "x", 1, &x);
	struct node *r = NULL;
	uint32_t mask;
	if (d.ok && door_type(&d, "x", (tgc_type)x->node->type, 'F') &&
	    door_axes(&d, x->node->rank, axes, &mask)) {
		struct calc k = {.c = d.c};
		struct node *v = calc_wide(&k, x->node), *y = calc_mean(&k, v, mask, 0);
		if (op[0] == 'v') {
			struct node *centered = calc_op2(&k, OP_SUB, v, y);
			y = calc_mean(&k, calc_op2(&k, OP_MUL, centered, centered), mask, correction);
		}
		r = calc_done(&k, keep ? y : calc_drop(&k, y, mask));
	}
	return door_close(&d, r);
}

tgc_tensor *tgc_mean(tgc_tensor *x, tgc_axes axes, bool keep)
{
	return moment("mean", x, axes, 0, keep, DOOR_SITE);
}

tgc_tensor *tgc_var(tgc_tensor *x, tgc_axes axes, int correction, bool keep)
{
	return moment("var", x, axes, correction, keep, DOOR_SITE);
}
