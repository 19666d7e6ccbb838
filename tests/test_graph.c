// The graph core without a device: interning, folding, scopes, state, deep chains, failing memory.
// Not here: bad calls, and which shapes follow (test_doors.c).
#include "lib.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static int buffers;

static struct buffer *upload(struct tgc_context *c, const void *data, size_t bytes)
{
	void *p = malloc(bytes);
	(void)c;
	memcpy(p, data, bytes);
	buffers++;
	return p;
}

static void buffer_drop(struct buffer *b)
{
	buffers--;
	free(b);
}

static struct tgc_context *open_with(tgc_alloc_fn *alloc, void *user)
{
	tgc_context_options o = {.struct_size = sizeof o, .alloc = alloc, .alloc_user = user};
	struct tgc_context *c = context_create(&o);
	if (c) {
		c->backend.upload = upload;
		c->backend.buffer_unref = buffer_drop;
	}
	return c;
}

static struct tgc_context *open_context(void)
{
	return open_with(NULL, NULL);
}

static tgc_tensor *data(tgc_context *c, tgc_type t, tgc_shape s)
{
	static const double zeros[4096];
	return tgc_from_data(c, t, s, zeros);
}

static void equal_expressions_are_one_node(void **state)
{
	(void)state;
	struct tgc_context *c = open_context();
	tgc_tensor *x = data(c, TGC_F32, TGC_SHAPE(4, 8)), *y = data(c, TGC_F32, TGC_SHAPE(8));
	tgc_tensor *a = tgc_mul(tgc_add(x, y), 3), *b = tgc_mul(tgc_add(x, y), 3.0);
	assert_ptr_equal(a->node, b->node);
	assert_ptr_not_equal(a->node, tgc_mul(tgc_add(x, y), 4)->node);
	assert_ptr_not_equal(x->node, data(c, TGC_F32, TGC_SHAPE(4, 8))->node);
	tgc_tensor *z = tgc_zeros(c, TGC_F32, TGC_SHAPE(3));
	assert_ptr_equal(z->node, tgc_zeros(c, TGC_F32, TGC_SHAPE(3))->node);
	assert_ptr_not_equal(tgc_variable(z)->node, tgc_variable(z)->node);
	assert_ptr_not_equal(tgc_scalar(c, 1)->node, tgc_scalar(c, 1)->node);
	assert_ptr_not_equal(tgc_input(c, TGC_F32, TGC_SHAPE(3))->node,
	                     tgc_input(c, TGC_F32, TGC_SHAPE(3))->node);
	assert_ptr_not_equal(tgc_rand(c, TGC_F32, TGC_SHAPE(3))->node,
	                     tgc_rand(c, TGC_F32, TGC_SHAPE(3))->node);
	assert_int_equal(tgc_error_status(c), TGC_OK);
	context_destroy(c);
	assert_int_equal(buffers, 0);
}

// What an expression of x (f32 [4,8]), i (i32 [4,8]) and b (bool [4,8]) folds to.
struct fold_case {
	const char *what;
	tgc_tensor *(*make)(tgc_tensor *x, tgc_tensor *i, tgc_tensor *b);
	int same_as; // 'x', 'i', 'b': that operand itself; 'c': a literal; else an operation that stays
};
#define X(name, expr)                                                                                          \
	static tgc_tensor *name(tgc_tensor *x, tgc_tensor *i, tgc_tensor *b)                                   \
	{                                                                                                      \
		(void)x, (void)i, (void)b;                                                                     \
		return expr;                                                                                   \
	}
X(add_minus_zero, tgc_add(x, -0.0))
X(add_zero, tgc_add(x, 0.0))
X(sub_zero, tgc_sub(x, 0.0))
X(mul_one, tgc_mul(1, x))
X(mul_zero, tgc_mul(x, 0))
X(mul_minus_one, tgc_mul(x, -1))
X(div_one, tgc_div(x, 1))
X(div_four, tgc_div(x, 4))
X(div_three, tgc_div(x, 3))
X(div_self, tgc_div(x, x))
X(sub_self, tgc_sub(x, x))
X(eq_self, tgc_eq(x, x))
X(neg_neg, tgc_neg(tgc_neg(x)))
X(sub_neg, tgc_sub(x, tgc_neg(tgc_exp(x))))
X(int_add_zero, tgc_add(i, 0))
X(int_mul_zero, tgc_mul(i, 0))
X(int_sub_self, tgc_sub(i, i))
X(int_eq_self, tgc_eq(i, i))
X(int_div_four, tgc_div(i, 4))
X(and_true, tgc_and(b, 1))
X(or_true, tgc_or(b, 1))
X(not_not, tgc_not(tgc_not(b)))
X(select_same, tgc_select(b, x, x))
X(select_true, tgc_select(tgc_or(b, 1), x, 0))
X(cast_same, tgc_cast(x, TGC_F32))
X(cast_detour, tgc_cast(tgc_cast(x, TGC_F64), TGC_F32))
X(cast_lossy, tgc_cast(tgc_cast(x, TGC_F16), TGC_F32))
X(cast_int_by_float, tgc_cast(tgc_cast(tgc_cast(i, TGC_F64), TGC_I8), TGC_I32))
X(permute_back, tgc_transpose(tgc_transpose(x, 0, 1), 1, 0))
X(permute_same, tgc_permute(x, TGC_AXES(0, -1)))
X(reshape_back, tgc_reshape(tgc_reshape(x, TGC_SHAPE(-1)), TGC_SHAPE(4, 8)))
X(expand_same, tgc_expand(x, TGC_SHAPE(4, 8)))
X(slice_all, tgc_slice(x, NULL, NULL, NULL))
X(flip_twice, tgc_flip(tgc_flip(x, TGC_AXES(0)), TGC_AXES(0)))
X(pad_none, tgc_pad(x, (int64_t[]){0, 0}, (int64_t[]){0, 0}, 7))
X(pad_crop, tgc_pad(x, (int64_t[]){-1, 0}, (int64_t[]){0, -2}, 7))
X(concat_one, tgc_concat(1, &x, 0))
X(sum_of_one, tgc_sum(tgc_unsqueeze(x, 1), TGC_AXES(1), false))
X(sum_zeros, tgc_sum(tgc_mul(i, 0), TGC_ALL_AXES, false))
X(sum_ones, tgc_sum(tgc_full(x->ctx, TGC_F32, TGC_SHAPE(100, 100), 0.5), TGC_ALL_AXES, false))
X(sum_tenths, tgc_sum(tgc_full(x->ctx, TGC_F32, TGC_SHAPE(100, 100), 0.1), TGC_ALL_AXES, false))
X(max_full, tgc_max(tgc_full(x->ctx, TGC_F32, TGC_SHAPE(3, 3), 2), TGC_ALL_AXES, false))
X(exp_full, tgc_exp(tgc_full(x->ctx, TGC_F32, TGC_SHAPE(3, 3), 2)))
X(sqrt_full, tgc_sqrt(tgc_full(x->ctx, TGC_F32, TGC_SHAPE(3, 3), 2)))
X(exp_of_broadcast, tgc_exp(tgc_expand(tgc_slice_axis(x, 0, 0, 1), TGC_SHAPE(4, 8))))
X(empty_matmul,
  tgc_matmul(tgc_zeros(x->ctx, TGC_F32, TGC_SHAPE(8, 0)), tgc_zeros(x->ctx, TGC_F32, TGC_SHAPE(0, 8))))
static const struct fold_case folds[] = {
    {"x + -0.0", add_minus_zero, 'x'},
    {"x + 0.0", add_zero, OP_ADD},
    {"x - 0.0", sub_zero, 'x'},
    {"1 * x", mul_one, 'x'},
    {"x * 0", mul_zero, OP_MUL},
    {"x * -1", mul_minus_one, OP_NEG},
    {"x / 1", div_one, 'x'},
    {"x / 4", div_four, OP_MUL},
    {"x / 3", div_three, OP_DIV},
    {"x / x", div_self, OP_DIV},
    {"x - x", sub_self, OP_SUB},
    {"x == x", eq_self, OP_EQ},
    {"--x", neg_neg, 'x'},
    {"x - -y", sub_neg, OP_ADD},
    {"i + 0", int_add_zero, 'i'},
    {"i * 0", int_mul_zero, 'c'},
    {"i - i", int_sub_self, 'c'},
    {"i == i", int_eq_self, 'c'},
    {"i / 4", int_div_four, OP_DIV},
    {"b and true", and_true, 'b'},
    {"b or true", or_true, 'c'},
    {"not not b", not_not, 'b'},
    {"b ? x : x", select_same, 'x'},
    {"true ? x : 0", select_true, 'x'},
    {"cast to its type", cast_same, 'x'},
    {"cast by a wider type", cast_detour, 'x'},
    {"cast by a narrower type", cast_lossy, OP_CAST},
    {"integer by float to integer", cast_int_by_float, OP_CAST},
    {"permute and back", permute_back, 'x'},
    {"identity permute", permute_same, 'x'},
    {"reshape and back", reshape_back, 'x'},
    {"expand to its shape", expand_same, 'x'},
    {"slice of all", slice_all, 'x'},
    {"flip twice", flip_twice, 'x'},
    {"pad by nothing", pad_none, 'x'},
    {"pad that only crops", pad_crop, OP_SLICE},
    {"concat of one", concat_one, 'x'},
    {"sum of size 1", sum_of_one, 'x'},
    {"sum of zeros", sum_zeros, 'c'},
    {"sum of halves is exact", sum_ones, 'c'},
    {"sum of tenths is not", sum_tenths, OP_RESHAPE},
    {"max of a literal", max_full, 'c'},
    {"exp of a literal", exp_full, OP_EXPAND},
    {"sqrt of a literal", sqrt_full, 'c'},
    {"exp of a broadcast", exp_of_broadcast, OP_EXPAND},
    {"product without terms", empty_matmul, 'c'},
};

static void folding_keeps_every_bit(void **state)
{
	(void)state;
	struct tgc_context *c = open_context();
	tgc_tensor *x = data(c, TGC_F32, TGC_SHAPE(4, 8)), *i = data(c, TGC_I32, TGC_SHAPE(4, 8));
	tgc_tensor *b = data(c, TGC_BOOL, TGC_SHAPE(4, 8));
	for (int k = 0; k < TG_COUNT(folds); k++) {
		const struct fold_case *f = &folds[k];
		tgc_tensor *r = f->make(x, i, b);
		union number v;
		if (tgc_is_error(r))
			fail_msg("%s: %s", f->what, tgc_error_message(c));
		const struct node *want = f->same_as == 'x' ? x->node : f->same_as == 'i' ? i->node : b->node;
		bool ok = f->same_as == 'c' ? node_is_full(r->node, &v)
		          : f->same_as == 'x' || f->same_as == 'i' || f->same_as == 'b'
		              ? r->node == want
		              : r->node->op == f->same_as;
		if (!ok)
			fail_msg("%s became %s", f->what, op_info[r->node->op].name);
	}
	context_destroy(c);
}

// Scalar meanings, as NUMERICS has them.
struct number_case {
	int op;
	tgc_type t;
	double x, y, want;
};
static const struct number_case numbers[] = {
    {OP_ADD, TGC_U8, 255, 1, 0},
    {OP_ADD, TGC_I32, 2147483647, 1, -2147483648.0},
    {OP_DIV, TGC_I32, -7, 2, -4},
    {OP_MOD, TGC_I32, -7, 2, 1},
    {OP_MOD, TGC_I32, 7, -2, -1},
    {OP_DIV, TGC_I32, 7, 0, -1},
    {OP_MOD, TGC_I32, 7, 0, 7},
    {OP_DIV, TGC_I32, -2147483648.0, -1, -2147483648.0},
    {OP_MOD, TGC_I32, -2147483648.0, -1, 0},
    {OP_SHL, TGC_I32, 1, 32, 0},
    {OP_SHR, TGC_I32, -8, 40, -1},
    {OP_SHR, TGC_U8, 200, 3, 25},
    {OP_MAX, TGC_F32, (double)NAN, 1, (double)NAN},
    {OP_MAX, TGC_F32, 1, (double)NAN, (double)NAN},
    {OP_MIN, TGC_F32, 1, (double)NAN, (double)NAN},
    {OP_ROUND, TGC_F32, 2.5, 0, 2},
    {OP_ROUND, TGC_F32, -1.5, 0, -2},
    {OP_ABS, TGC_F32, -0.0, 0, 0.0},
    {OP_NEG, TGC_I8, -128, 0, -128},
    {OP_ADD, TGC_F16, 2048, 1, 2048},
    {OP_MUL, TGC_F16, 256, 256, (double)INFINITY},
    {OP_ADD, TGC_BF16, 256, 1, 256},
    {OP_MUL, TGC_F32, 0x1p-100, 0x1p-49, 0x1p-149},
    {OP_LT, TGC_F32, (double)NAN, 1, 0},
    {OP_NE, TGC_F32, (double)NAN, (double)NAN, 1},
    {OP_LT, TGC_U64, 5, 18446744073709551615.0, 1},
    {OP_NOT, TGC_BOOL, 1, 0, 0},
    {OP_NOT, TGC_U8, 1, 0, 254},
};
struct cast_case {
	tgc_type from, to;
	double x, want;
};
static const struct cast_case casts[] = {
    {TGC_F32, TGC_I32, 3e9, 2147483647},
    {TGC_F32, TGC_I32, -3e9, -2147483648.0},
    {TGC_F32, TGC_I32, (double)NAN, 0},
    {TGC_F32, TGC_U8, -1.5, 0},
    {TGC_F32, TGC_U8, 300, 255},
    {TGC_F32, TGC_I8, -1.9, -1},
    {TGC_I8, TGC_U16, -1, 65535},
    {TGC_I32, TGC_F32, 16777217, 16777216},
    {TGC_F32, TGC_BOOL, (double)NAN, 1},
    {TGC_F64, TGC_F16, 65519, 65504},
    {TGC_F64, TGC_F16, 65520, (double)INFINITY},
    {TGC_F64, TGC_F16, 0x1p-25, 0},
    {TGC_F64, TGC_F16, 0x1.8p-24, 0x1p-23},
    {TGC_F64, TGC_I64, 1e19, 9223372036854775807.0},
};

static double value_of(tgc_type t, union number v)
{
	return type_is_float(t) ? v.f : t == TGC_U64 ? (double)(uint64_t)v.i : (double)v.i;
}

static bool same_double(double a, double b)
{
	return isnan(a) ? isnan(b) : a == b && signbit(a) == signbit(b);
}

static void numbers_mean_what_the_contract_says(void **state)
{
	(void)state;
	for (int k = 0; k < TG_COUNT(numbers); k++) {
		const struct number_case *n = &numbers[k];
		union number in[2] = {number_from_double(n->t, n->x), number_from_double(n->t, n->y)}, out;
		tgc_type t = op_info[n->op].cls == CLASS_COMPARE ? TGC_BOOL : n->t;
		if (!op_fold(n->op, n->t, in, &out) || !same_double(value_of(t, out), n->want))
			fail_msg("%s of %s %g, %g", op_info[n->op].name, tgc_type_name(n->t), n->x, n->y);
	}
	for (int k = 0; k < TG_COUNT(casts); k++) {
		const struct cast_case *n = &casts[k];
		union number v = number_cast(n->from, n->to, number_from_double(n->from, n->x));
		if (!same_double(value_of(n->to, v), n->want))
			fail_msg("%g from %s to %s is %g", n->x, tgc_type_name(n->from), tgc_type_name(n->to),
			         value_of(n->to, v));
	}
}

// op_is_elementwise asks for a range of rows.
static void elementwise_rows_stand_together(void **state)
{
	(void)state;
	for (int op = 0; op < OP_COUNT; op++) {
		enum op_class k = op_info[op].cls;
		bool wanted = k == CLASS_UNARY || k == CLASS_BINARY || k == CLASS_COMPARE || k == CLASS_TERNARY;

		if (op_is_elementwise(op) != wanted)
			fail_msg("%s: its row stands among others of ops.def", op_info[op].name);
	}
}

// More literals than the context remembers, of several types and ranks, dying and asked for again.
static void literals_are_found_again(void **state)
{
	tgc_context *c = tgc_context_new(NULL);

	(void)state;
	for (int round = 0; round < 3; round++) {
		tgc_scope_begin(c);
		tgc_tensor *x = tgc_zeros(c, TGC_F32, TGC_SHAPE(2, 3)), *all[2 * 3 * UNITS];
		int n = 0;

		for (int again = 0; again < 2; again++)
			for (int i = 0; i < UNITS; i++) {
				all[n++] = tgc_full(c, TGC_F32, TGC_SHAPE(4, 5), i + 0.5);
				all[n++] = tgc_full(c, TGC_F64, TGC_SHAPE(4), i + 0.5);
				all[n++] = tgc_full(c, TGC_I32, TGC_SHAPE(4), i);
			}
		for (int i = 0; i < n / 2; i++) {
			union number v = {.i = 0};

			assert_ptr_equal(all[i]->node, all[i + n / 2]->node);
			assert_true(node_is_full(all[i]->node, &v));
			if (i % 3 < 2)
				assert_true(v.f == i / 3 + 0.5);
			else
				assert_int_equal(v.i, i / 3);
		}
		assert_ptr_equal(tgc_add(x, 1.5)->node, tgc_add(x, 1.5)->node);
		tgc_scope_end(c);
	}
	assert_int_equal(tgc_get_stats(c).handles_live, 0);
	tgc_context_free(&c);
}

static void scopes_own_handles(void **state)
{
	(void)state;
	struct tgc_context *c = open_context();
	tgc_tensor *x = data(c, TGC_F32, TGC_SHAPE(4));
	tgc_stats before = tgc_get_stats(c);
	tgc_scope_begin(c);
	tgc_tensor *kept = tgc_keep(tgc_exp(x));
	tgc_scope_begin(c);
	tgc_release(tgc_sin(tgc_exp(x)));
	tgc_cos(x);
	tgc_scope_end(c);
	tgc_scope_end(c);
	assert_int_equal(tgc_get_stats(c).handles_live, before.handles_live + 1);
	assert_int_equal(tgc_get_stats(c).nodes_live, before.nodes_live + 1);
	assert_int_equal(kept->node->op, OP_EXP);
	tgc_release(kept);
	assert_int_equal(tgc_get_stats(c).nodes_live, before.nodes_live);
	tgc_scope_end(c);
	assert_int_equal(tgc_error_status(c), TGC_ERROR_ARG);
	context_destroy(c);
	assert_int_equal(buffers, 0);
}

static void assignment_rebinds_at_once(void **state)
{
	(void)state;
	struct tgc_context *c = open_context();
	tgc_tensor *v = tgc_variable(tgc_zeros(c, TGC_F32, TGC_SHAPE(4)));
	struct node *home = v->node;
	tgc_tensor *old = tgc_add(v, 1), *loss = tgc_sum(tgc_square(v), TGC_ALL_AXES, false), *g[1];
	assert_int_equal(tgc_assign(v, tgc_mul(v, 2)), TGC_OK);
	assert_int_equal(c->assigns_pending, 1);
	assert_ptr_equal(old->node->src[0], home);
	assert_int_equal(v->node->op, OP_MUL);
	assert_int_equal(tgc_grad(loss, 1, &v, g), TGC_ERROR_GRAD);
	assert_non_null(strstr(tgc_error_message(c), "assignment at"));
	assert_true(tgc_is_error(g[0]));
	tgc_clear_error(c);
	assert_int_equal(tgc_assign(v, tgc_zeros(c, TGC_F32, TGC_SHAPE(5))), TGC_ERROR_SHAPE);
	tgc_clear_error(c);
	assert_int_equal(tgc_assign(v, tgc_zeros(c, TGC_I32, TGC_SHAPE(4))), TGC_ERROR_TYPE);
	assert_int_equal(v->node->op, OP_MUL);
	assert_true(tgc_assign(v, tgc_matmul(v, v)) != TGC_OK);
	assert_int_equal(v->node->op, OP_MUL);
	tgc_clear_error(c);
	struct node *next = variable_next(c, v->var);
	variable_stored(c, v->var, next);
	assert_int_equal(c->assigns_pending, 0);
	assert_ptr_equal(v->node, next);
	assert_true(old->node->src[0]->flags & NODE_STALE);
	assert_int_equal(tgc_grad(loss, 1, &v, g), TGC_ERROR_GRAD); // the loss reads the version before
	tgc_clear_error(c);
	tgc_release(loss);
	assert_int_equal(tgc_assign(old, v), TGC_ERROR_ARG);
	tgc_clear_error(c);
	tgc_tensor *reads = tgc_exp(v);
	tgc_release(v); // the read keeps the variable
	assert_non_null(node_variable(reads->node->src[0])->initial);
	context_destroy(c);
}

static void late_scalars_keep_old_reads(void **state)
{
	(void)state;
	struct tgc_context *c = open_context();
	tgc_tensor *s = tgc_scalar(c, 0.5), *a = tgc_exp(s);
	assert_int_equal(tgc_set(s, 0.25), TGC_OK);
	assert_true(node_scalar_value(a->node->src[0]).f == 0.5);
	assert_true(node_scalar_value(s->node).f == 0.25);
	assert_int_equal(a->node->src[0]->attr[0], s->node->attr[0]);
	assert_int_equal(tgc_set(a, 1), TGC_ERROR_ARG);
	context_destroy(c);
}

static void symbols_travel_through_broadcasts(void **state)
{
	(void)state;
	struct tgc_context *c = open_context();
	tgc_tensor *x = tgc_name_axis(data(c, TGC_F32, TGC_SHAPE(4, 8)), 0, "batch");
	tgc_tensor *b = data(c, TGC_F32, TGC_SHAPE(8)), *full = data(c, TGC_F32, TGC_SHAPE(4, 8));
	int64_t sym = x->node->dims[0].sym;
	assert_true(sym != 0);
	assert_int_equal(tgc_add(x, b)->node->dims[0].sym, sym);
	assert_int_equal(tgc_add(full, x)->node->dims[0].sym, sym);
	assert_int_equal(tgc_matmul(x, data(c, TGC_F32, TGC_SHAPE(8, 2)))->node->dims[0].sym, sym);
	assert_int_equal(tgc_reshape(x, TGC_SHAPE(4, 2, 4))->node->dims[0].sym, sym);
	assert_true(tgc_is_error(tgc_name_axis(b, 0, "batch")));
	assert_int_equal(tgc_error_status(c), TGC_ERROR_SHAPE);
	context_destroy(c);
}

enum { CHAIN = 100000 };

static double now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void *build_chain(void *user)
{
	struct tgc_context *c = user;
	struct node *x = tgc_input(c, TGC_F32, TGC_SHAPE(32, 512))->node, *y = node_ref(x);
	double t[2];
	for (int pass = 0; pass < 2; pass++) { // the second finds its storage
		t[0] = now_ns();
		for (int i = 0; i < CHAIN; i++) {
			struct node *z = build_binary(c, i % 2 ? OP_ADD : OP_MUL, y, x);
			node_unref(c, y);
			y = z;
		}
		node_unref(c, y);
		y = node_ref(x);
		t[1] = now_ns();
	}
	node_unref(c, y);
	print_message("a node built, interned and freed: %.0f ns\n", (t[1] - t[0]) / CHAIN);
	tgc_scope_begin(c);
	tgc_tensor *h = tgc_input(c, TGC_F32, TGC_SHAPE(32, 512));
	t[0] = now_ns();
	for (int i = 0; i < CHAIN; i++)
		h = tgc_add(h, h);
	t[1] = now_ns();
	tgc_scope_end(c);
	print_message("through a public door, with its handle: %.0f ns; freed in %.0f ns\n",
	              (t[1] - t[0]) / CHAIN, (now_ns() - t[1]) / CHAIN);
	return NULL;
}

static void deep_chains_need_no_stack(void **state)
{
	(void)state;
	struct tgc_context *c = open_context();
	pthread_attr_t attr;
	pthread_t thread;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 512 << 10);
	assert_int_equal(pthread_create(&thread, &attr, build_chain, c), 0);
	pthread_join(thread, NULL);
	pthread_attr_destroy(&attr);
	assert_int_equal(tgc_get_stats(c).nodes_live, 2); // the input and the seed
	context_destroy(c);
}

struct failing { // the n-th allocation from now on fails, once
	int64_t left, live_bytes;
};

static void *failing_alloc(void *user, void *p, size_t old_bytes, size_t new_bytes)
{
	struct failing *f = user;
	if (new_bytes > old_bytes && f->left-- == 0)
		return NULL;
	if (new_bytes == 0) {
		free(p);
		f->live_bytes -= (int64_t)(p ? old_bytes : 0);
		return NULL;
	}
	void *q = realloc(p, new_bytes);
	f->live_bytes += (int64_t)new_bytes - (int64_t)(p ? old_bytes : 0);
	return q;
}

// A bit of everything; returns a tensor that is in error if anything failed.
static tgc_tensor *everything(struct tgc_context *c)
{
	tgc_tensor *x = tgc_input(c, TGC_F32, TGC_SHAPE(4, 8)),
	           *v = tgc_variable(tgc_rand(c, TGC_F32, TGC_SHAPE(8, 8)));
	tgc_tensor *y = tgc_softmax(tgc_matmul(x, v), 1), *parts[3] = {y, tgc_einsum("ij,ij->ij", y, x), y};
	y = tgc_concat(3, parts, 0);
	y = tgc_layer_norm(y, NULL, NULL, 1e-5);
	tgc_name_axis(y, 0, "rows");
	y = tgc_mul(tgc_dropout(y, 0.25), tgc_scalar(c, 2));
	if (tgc_assign(v, tgc_mul(v, 2)) != TGC_OK)
		return tgc_error_tensor(c);
	tgc_tensor *loss = tgc_sum(y, TGC_ALL_AXES, false), *g;
	tgc_grad(loss, 1, &x, &g);
	return tgc_add(g, x);
}

static void failing_memory_is_an_error(void **state)
{
	(void)state;
	struct failing f = {.left = -1};
	bool done = false;
	for (int64_t n = 0; !done; n++) {
		f.left = n;
		struct tgc_context *c = open_with(failing_alloc, &f);
		if (!c) {
			assert_int_equal(f.live_bytes, 0);
			continue;
		}
		tgc_scope_begin(c);
		tgc_tensor *r = everything(c);
		done = f.left >= 0;
		if (!done && tgc_error_status(c) != TGC_OK) {
			assert_int_equal(tgc_error_status(c), TGC_ERROR_MEMORY);
			assert_true(tgc_error_message(c)[0] != 0);
		}
		if (tgc_is_error(r))
			assert_int_equal(tgc_error_status(c), TGC_ERROR_MEMORY);
		tgc_scope_end(c);
		tgc_clear_error(c);
		f.left = -1;
		assert_false(tgc_is_error(everything(c))); // the context is usable
		context_destroy(c);
		assert_int_equal(f.live_bytes, 0);
		assert_true(n < 10000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(equal_expressions_are_one_node),
	    cmocka_unit_test(folding_keeps_every_bit),
	    cmocka_unit_test(numbers_mean_what_the_contract_says),
	    cmocka_unit_test(elementwise_rows_stand_together),
	    cmocka_unit_test(literals_are_found_again),
	    cmocka_unit_test(scopes_own_handles),
	    cmocka_unit_test(assignment_rebinds_at_once),
	    cmocka_unit_test(late_scalars_keep_old_reads),
	    cmocka_unit_test(symbols_travel_through_broadcasts),
	    cmocka_unit_test(deep_chains_need_no_stack),
	    cmocka_unit_test(failing_memory_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
