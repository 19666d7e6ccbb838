// Gradients: a reverse walk over the graph that appends ordinary nodes, so gradients have gradients.
// In:  a scalar and the values to differentiate by. Out: their gradients as nodes.
// Here: the walk, and the rules of elementwise operations, which come from ops.def.
// Not here: movement and reductions (autograd_move.c), index operations (autograd_index.c), contractions
// (autograd_contract.c).
#include "lib.h"

// ---- what rules call ----
static bool grow(struct grad *w, struct node ***array, int n, int *cap)
{
	struct node **more;

	if (n < *cap)
		return true;
	more = ARENA_ARRAY(&w->arena, struct node *, n * 2 + 64);
	if (!more) {
		w->failed = true;
		return false;
	}
	if (n)
		memcpy(more, *array, sizeof *more * (size_t)n);
	*array = more;
	*cap = n * 2 + 64;
	return true;
}

struct node *grad_hold(struct grad *w, struct node *n)
{
	if (!n) {
		w->failed = true;
		return NULL;
	}
	if (!grow(w, &w->held, w->nheld, &w->held_cap)) {
		node_unref(w->c, n);
		return NULL;
	}
	return w->held[w->nheld++] = n;
}

bool grad_wants(const struct grad *w, const struct node *x)
{
	return w->active[x->slot];
}

void grad_give(struct grad *w, struct node *x, struct node *g)
{
	if (!g || !grad_wants(w, x))
		return;
	assert(g->type == x->type);
	if (!node_same_shape(g, x)) // only symbols may differ
		g = grad_hold(w, build_reshape(w->c, g, x->rank, x->dims));
	w->sum[x->slot] = w->sum[x->slot] ? grad_binary(w, OP_ADD, w->sum[x->slot], g) : g;
}

struct node *grad_unary(struct grad *w, int op, struct node *x)
{
	return grad_hold(w, build_unary(w->c, op, x));
}

struct node *grad_binary(struct grad *w, int op, struct node *x, struct node *y)
{
	return grad_hold(w, build_binary(w->c, op, x, y));
}

struct node *grad_select(struct grad *w, struct node *cond, struct node *x, struct node *y)
{
	return grad_hold(w, build_select(w->c, cond, x, y));
}

struct node *grad_num(struct grad *w, const struct node *x, double v)
{
	tgc_type t = (tgc_type)x->type;

	return grad_hold(w, build_full(w->c, t, x->rank, x->dims, number_from_double(t, v)));
}

struct node *grad_zero(struct grad *w, tgc_type t)
{
	return grad_hold(w, build_const(w->c, t, number_from_double(t, 0)));
}

// ---- the vocabulary of ops.def's gradient columns; w, g, x, y, out are in scope ----
#define neg(a) grad_unary(w, OP_NEG, a)
#define exp_(a) grad_unary(w, OP_EXP, a)
#define sin_(a) grad_unary(w, OP_SIN, a)
#define cos_(a) grad_unary(w, OP_COS, a)
#define floor_(a) grad_unary(w, OP_FLOOR, a)
#define mul(a, b) grad_binary(w, OP_MUL, a, b)
#define div(a, b) grad_binary(w, OP_DIV, a, b)
#define sub(a, b) grad_binary(w, OP_SUB, a, b)
#define lt(a, b) grad_binary(w, OP_LT, a, b)
#define tie(a, b) grad_binary(w, OP_EQ, a, b)
#define select(c, a, b) grad_select(w, c, a, b)
#define num(a, v) grad_num(w, a, v)
#define zero(a) grad_num(w, a, 0)
#define sign(a) select(lt(a, zero(a)), num(a, -1), select(lt(zero(a), a), num(a, 1), zero(a)))
#define TG_ZERO NULL
#define TG_NOGRAD refuse(w, out)

static struct node *refuse(struct grad *w, const struct node *n)
{
	w->refused = n;
	return NULL;
}

// With respect to the first operand.
static struct node *first(struct grad *w, struct node *out, struct node *g, struct node *x, struct node *y)
{
	(void)y;
	switch (out->op) {
#define TG_UNARY(ID, NAME, TYPES, LF, LI, LU, C, FOLD, GX, LO, HI)                                             \
	case OP_##ID:                                                                                          \
		return GX;
#define TG_BINARY(ID, NAME, TYPES, LF, LI, LU, C, FOLD, GX, GY, LO, HI)                                        \
	case OP_##ID:                                                                                          \
		return GX;
#include "ops.def"
	default:
		return refuse(w, out);
	}
}

// With respect to the second operand.
static struct node *second(struct grad *w, struct node *out, struct node *g, struct node *x, struct node *y)
{
	switch (out->op) {
#define TG_BINARY(ID, NAME, TYPES, LF, LI, LU, C, FOLD, GX, GY, LO, HI)                                        \
	case OP_##ID:                                                                                          \
		return GY;
#include "ops.def"
	default:
		return refuse(w, out);
	}
}

static void ternary(struct grad *w, struct node *n, struct node *g)
{
	struct node *x = n->src[0], *y = n->src[1], *z = n->src[2];

	if (n->op == OP_FMA) {
		if (grad_wants(w, x))
			grad_give(w, x, mul(g, y));
		if (grad_wants(w, y))
			grad_give(w, y, mul(g, x));
		grad_give(w, z, g);
		return;
	}
	if (grad_wants(w, y))
		grad_give(w, y, select(x, g, zero(g)));
	if (grad_wants(w, z))
		grad_give(w, z, select(x, zero(g), g));
}

static void elementwise(struct grad *w, struct node *n, struct node *g)
{
	struct node *x = n->src[0], *y = n->nsrc > 1 ? n->src[1] : x;

	if (n->op == OP_CAST) {
		if (grad_wants(w, x))
			grad_give(w, x, grad_hold(w, build_cast(w->c, g, (tgc_type)x->type)));
		return;
	}
	if (grad_wants(w, x))
		grad_give(w, x, first(w, n, g, x, y));
	if (n->nsrc > 1 && grad_wants(w, y))
		grad_give(w, y, second(w, n, g, x, y));
}

static void apply(struct grad *w, struct node *n, struct node *g)
{
	switch (op_info[n->op].cls) {
	case CLASS_UNARY:
	case CLASS_BINARY:
		elementwise(w, n, g);
		break;
	case CLASS_TERNARY:
		ternary(w, n, g);
		break;
	case CLASS_MOVE:
		grad_move(w, n, g);
		break;
	case CLASS_REDUCE:
		grad_reduce(w, n, g);
		break;
	case CLASS_CONTRACT:
		grad_contract(w, n, g);
		break;
	case CLASS_INDEX:
		grad_index(w, n, g);
		break;
	default: // sources: nothing behind them
		break;
	}
}

// ---- the walk ----
struct frame {
	struct node *n;
	int32_t next;
};

static bool push(struct grad *w, struct frame **stack, int *depth, int *cap, struct node *n)
{
	struct frame *more;

	if (*depth == *cap) {
		more = ARENA_ARRAY(&w->arena, struct frame, *cap * 2 + 64);
		if (!more) {
			w->failed = true;
			return false;
		}
		if (*depth)
			memcpy(more, *stack, sizeof *more * (size_t)*depth);
		*stack = more;
		*cap = *cap * 2 + 64;
	}
	(*stack)[(*depth)++] = (struct frame){n, 0};
	return true;
}

// Post-order of what the loss depends on, through realized values to their operands.
static void collect(struct grad *w, struct node *loss)
{
	uint32_t epoch = ++w->c->epoch;
	struct frame *stack = NULL;
	int depth = 0, cap = 0;

	push(w, &stack, &depth, &cap, loss);
	while (depth && !w->failed) {
		struct frame *f = &stack[depth - 1];

		while (f->next < f->n->nsrc && f->n->src[f->next]->mark == epoch)
			f->next++;
		if (f->next < f->n->nsrc) {
			push(w, &stack, &depth, &cap, f->n->src[f->next++]);
		} else if (grow(w, &w->order, w->n, &w->cap)) {
			f->n->mark = epoch;
			f->n->slot = w->n;
			w->order[w->n++] = f->n;
			depth--;
		}
	}
}

static bool met(const struct grad *w, const struct node *n)
{
	return n->mark == w->c->epoch;
}

static bool activate(struct grad *w, int n, struct node *const *wrt)
{
	w->active = ARENA_ARRAY(&w->arena, bool, w->n);
	w->sum = ARENA_ARRAY(&w->arena, struct node *, w->n);
	if (!w->active || !w->sum)
		return false;
	for (int i = 0; i < n; i++)
		if (met(w, wrt[i]))
			w->active[wrt[i]->slot] = true;
	for (int i = 0; i < w->n; i++) {
		const struct node *x = w->order[i];

		for (int s = 0; s < x->nsrc && type_is_float((tgc_type)x->type); s++)
			w->active[i] |= w->active[x->src[s]->slot];
	}
	return true;
}

// The loss may have read an earlier, overwritten version of a variable: zeros would be a lie.
static tgc_status check_versions(const struct grad *w, int n, struct node *const *wrt)
{
	for (int i = 0; i < w->n; i++) {
		const struct node *x = w->order[i];

		for (int k = 0; x->op == OP_VARIABLE && x->flags & NODE_STALE && k < n; k++)
			if (wrt[k] != x && wrt[k]->op == OP_VARIABLE &&
			    node_variable(wrt[k]) == node_variable(x))
				return context_fail(w->c, TGC_ERROR_GRAD, "grad",
				                    "wrt[%d] was assigned and stored since the loss read it: "
				                    "build the loss anew",
				                    k);
	}
	return TGC_OK;
}

static void reverse(struct grad *w, struct node *loss)
{
	grad_give(w, loss, grad_num(w, loss, 1));
	for (int i = w->n - 1; i >= 0 && !w->failed && !w->refused; i--) {
		int before = w->nheld;

		if (w->sum[i])
			apply(w, w->order[i], w->sum[i]);
		if (w->c->origins)
			origins_of_gradient(w->c, w->order[i], w->nheld - before, w->held + before);
	}
}

static tgc_status finish(struct grad *w, int n, struct node *const *wrt, struct node **out)
{
	if (w->refused)
		return context_fail(w->c, TGC_ERROR_GRAD, "grad", "%s%s has no derivative",
		                    op_info[w->refused->op].name, NODE_TEXT(w->refused));
	for (int i = 0; i < n && !w->failed; i++) {
		struct node *g = met(w, wrt[i]) ? w->sum[wrt[i]->slot] : NULL;

		out[i] = node_ref(g ? g : grad_num(w, wrt[i], 0));
	}
	if (!w->failed)
		return TGC_OK;
	return context_fail(w->c, TGC_ERROR_MEMORY, "grad", "out of host memory for the gradients of %d values",
	                    w->n);
}

tgc_status autograd_build(struct tgc_context *c, struct node *loss, int n, struct node *const *wrt,
                          struct node **out)
{
	struct grad w = {.c = c};
	tgc_status status;

	assert(type_is_float((tgc_type)loss->type) && node_elems(loss) == 1);
	arena_init(&w.arena, &c->host);
	for (int i = 0; i < n; i++)
		out[i] = NULL;
	collect(&w, loss);
	status = w.failed ? TGC_OK : check_versions(&w, n, wrt);
	origins_of_handles(c);
	origins_inherit(c, w.n, w.order);
	if (status == TGC_OK && !w.failed && activate(&w, n, wrt))
		reverse(&w, loss);
	if (status == TGC_OK) {
		w.failed |= !w.sum;
		status = finish(&w, n, wrt, out);
	}
	for (int i = 0; i < n && status != TGC_OK; i++) {
		node_unref(c, out[i]);
		out[i] = NULL;
	}
	for (int i = 0; i < w.nheld; i++)
		node_unref(c, w.held[i]);
	arena_free(&w.arena);
	return status;
}
