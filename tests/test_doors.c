// The doors of operations: what a bad call records, and which shapes follow from good ones.
// In:  tables of calls. Out: statuses and texts with both values; shapes. Nothing runs.
// Not here: what the graph makes of them (test_graph.c); bad calls of actions, files and devices (test_walls.c).
#include "check.h"
#include "lib.h"

#define X(name, expr)                                                                                          \
	static tgc_tensor *name(tgc_tensor *x, tgc_tensor *i, tgc_tensor *b)                                   \
	{                                                                                                      \
		(void)x, (void)i, (void)b;                                                                     \
		return expr;                                                                                   \
	}

static tgc_tensor *data(tgc_context *c, tgc_type t, tgc_shape s)
{
	static const double zeros[64];
	return tgc_from_data(c, t, s, zeros);
}

// Bad calls: what is recorded, and a piece of the text with both values.
struct bad_case {
	const char *what;
	tgc_tensor *(*make)(tgc_tensor *x, tgc_tensor *i, tgc_tensor *b);
	tgc_status status;
	const char *text;
};
static tgc_tensor *of(tgc_tensor *x, tgc_type t, tgc_shape s)
{
	return tgc_zeros(x->ctx, t, s);
}
static tgc_tensor *other_context;
X(bad_shapes, tgc_add(x, of(x, TGC_F32, TGC_SHAPE(3))))
X(bad_types, tgc_add(x, i))
X(bad_set, tgc_exp(i))
X(bad_null, tgc_add(x, (tgc_tensor *)NULL))
X(bad_index_null, tgc_gather(x, NULL, 0))
X(bad_rank, of(x, TGC_F32, (tgc_shape){.rank = 9}))
X(bad_dim, of(x, TGC_F32, TGC_SHAPE(2, -1)))
X(bad_product, of(x, TGC_F32, TGC_SHAPE((int64_t)1 << 32, (int64_t)1 << 32)))
X(bad_wrap, of(x, TGC_I8, TGC_SHAPE((int64_t)1 << 62, 4, 3)))
X(bad_bytes, of(x, TGC_F64, TGC_SHAPE((int64_t)1 << 61)))
X(bad_expand,
  tgc_add(of(x, TGC_I8, TGC_SHAPE((int64_t)1 << 40, 1)), of(x, TGC_I8, TGC_SHAPE((int64_t)1 << 40))))
X(bad_axis, tgc_sum(x, TGC_AXES(2), false))
X(bad_axis_low, tgc_sum(x, TGC_AXES(-3), false))
X(bad_twice, tgc_sum(x, TGC_AXES(0, -2), false))
X(bad_reshape, tgc_reshape(x, TGC_SHAPE(5, 7)))
X(bad_two_open, tgc_reshape(x, TGC_SHAPE(-1, -1, 2)))
X(bad_open_empty, tgc_reshape(of(x, TGC_F32, TGC_SHAPE(0)), TGC_SHAPE(-1, 0)))
X(bad_matmul, tgc_matmul(x, x))
X(bad_matmul_rank, tgc_matmul(x, of(x, TGC_F32, TGC_SHAPE(8))))
X(bad_batch, tgc_matmul(of(x, TGC_F32, TGC_SHAPE(2, 3, 4)), of(x, TGC_F32, TGC_SHAPE(3, 4, 5))))
X(bad_groups,
  tgc_conv2d(of(x, TGC_F32, TGC_SHAPE(1, 3, 5, 5)), of(x, TGC_F32, TGC_SHAPE(4, 3, 3, 3)), .groups = 2))
X(bad_stride,
  tgc_conv2d(of(x, TGC_F32, TGC_SHAPE(1, 3, 5, 5)), of(x, TGC_F32, TGC_SHAPE(4, 3, 3, 3)), .stride = {-1, 1}))
X(bad_kernel,
  tgc_conv2d(of(x, TGC_F32, TGC_SHAPE(1, 3, 5, 5)), of(x, TGC_F32, TGC_SHAPE(4, 3, 4, 4)), .dilation = {2, 2}))
X(bad_window, tgc_window(x, 1, 5, 1, 2))
X(bad_window_stride, tgc_window(x, 1, 5, 0, 1))
X(bad_fold, tgc_fold(of(x, TGC_F32, TGC_SHAPE(4, 3)), 0, 5, 1, 1))
X(bad_step, tgc_slice(x, NULL, NULL, ((int64_t[]){1, 0})))
X(bad_pad, tgc_pad(x, (int64_t[]){-5, 0}, (int64_t[]){0, 0}, 0))
X(bad_pad_huge, tgc_pad(x, (int64_t[]){INT64_MAX, 0}, (int64_t[]){1, 0}, 0))
X(bad_concat, tgc_concat(2, (tgc_tensor *[]){x, of(x, TGC_F32, TGC_SHAPE(4, 7))}, 0))
X(bad_permute, tgc_permute(x, TGC_AXES(0)))
X(bad_index, tgc_gather(x, x, 0))
X(bad_empty, tgc_gather(of(x, TGC_F32, TGC_SHAPE(0, 2)), tgc_reshape(i, TGC_SHAPE(-1)), 0))
X(bad_updates, tgc_scatter(x, i, x, 0, TGC_SCATTER_ADD))
X(bad_cond, tgc_select(x, x, x))
X(bad_numbers, tgc_select(b, 1.0, 2.0))
X(bad_fraction, tgc_add(i, 0.5))
X(bad_range, tgc_add(of(x, TGC_U8, TGC_SHAPE(2)), 256))
X(bad_max, tgc_max(of(x, TGC_F32, TGC_SHAPE(3, 0)), TGC_AXES(1), false))
X(bad_mean, tgc_mean(i, TGC_ALL_AXES, false))
X(bad_bits, tgc_bitcast(x, TGC_F64))
X(bad_type, tgc_cast(x, (tgc_type)99))
X(bad_context, tgc_add(x, other_context))
X(bad_labels, tgc_cross_entropy(x, of(x, TGC_I32, TGC_SHAPE(5))))
X(bad_label_type, tgc_cross_entropy(x, of(x, TGC_F32, TGC_SHAPE(4))))
X(bad_p, tgc_dropout(x, 1.5))
X(bad_pool, tgc_max_pool2d(of(x, TGC_F32, TGC_SHAPE(1, 1, 2, 2)), 5, 1, 1))
X(bad_spec, tgc_einsum("ij,jk>ik", x, x))
X(bad_spec_size, tgc_einsum("ij,jk->ik", x, x))
X(bad_spec_rank, tgc_einsum("ijk,k->ij", x, x))
X(bad_spec_out, tgc_einsum("ij,ij->k", x, x))
X(bad_ones, tgc_unsqueeze(of(x, TGC_F32, TGC_SHAPE(1, 1, 1, 1, 1, 1, 1, 1)), 0))
X(bad_squeeze, tgc_squeeze(x, 0))
X(bad_iota, tgc_iota(x->ctx, TGC_I32, TGC_SCALAR_SHAPE, 0))
X(bad_data, tgc_from_data(x->ctx, TGC_F32, TGC_SHAPE(2), NULL))
static const struct bad_case bad[] = {
    {"shapes", bad_shapes, TGC_ERROR_SHAPE, "add: [4,8] and [3] do not broadcast: 8 against 3"},
    {"types", bad_types, TGC_ERROR_TYPE, "f32 and i32"},
    {"type set", bad_set, TGC_ERROR_TYPE, "exp: x is i32"},
    {"NULL", bad_null, TGC_ERROR_ARG, "argument 2 (y) is NULL"},
    {"NULL index", bad_index_null, TGC_ERROR_ARG, "argument 2 (index) is NULL"},
    {"rank 9", bad_rank, TGC_ERROR_RANK, "9 axes"},
    {"dimension -1", bad_dim, TGC_ERROR_SHAPE, "axis 1 has -1"},
    {"2^32 x 2^32", bad_product, TGC_ERROR_OVERFLOW, "[4294967296,4294967296]"},
    {"a product that wraps", bad_wrap, TGC_ERROR_OVERFLOW, "i8"},
    {"bytes that do not fit", bad_bytes, TGC_ERROR_OVERFLOW, "f64"},
    {"a broadcast that does not fit", bad_expand, TGC_ERROR_OVERFLOW, "[1099511627776,1099511627776]"},
    {"axis", bad_axis, TGC_ERROR_AXIS, "axis 2 of a tensor with 2"},
    {"axis from the end", bad_axis_low, TGC_ERROR_AXIS, "axis -3"},
    {"axis twice", bad_twice, TGC_ERROR_AXIS, "twice"},
    {"reshape", bad_reshape, TGC_ERROR_SHAPE, "[4,8] has 32 elements, [5,7] 35"},
    {"two -1", bad_two_open, TGC_ERROR_SHAPE, "both -1"},
    {"-1 of nothing", bad_open_empty, TGC_ERROR_SHAPE, "-1 on axis 0"},
    {"matmul", bad_matmul, TGC_ERROR_SHAPE, "inner sizes 8 and 4"},
    {"matmul of a vector", bad_matmul_rank, TGC_ERROR_RANK, "w [8]"},
    {"matmul batch", bad_batch, TGC_ERROR_SHAPE, "2 against 3"},
    {"groups", bad_groups, TGC_ERROR_ARG, "2 groups do not divide 3"},
    {"stride", bad_stride, TGC_ERROR_ARG, "stride -1"},
    {"kernel too large", bad_kernel, TGC_ERROR_SHAPE, "a kernel of 7 (4 taps, dilation 2) on 5"},
    {"window too large", bad_window, TGC_ERROR_SHAPE, "window of 5"},
    {"window stride", bad_window_stride, TGC_ERROR_ARG, "stride 0"},
    {"fold", bad_fold, TGC_ERROR_SHAPE, "beyond 5"},
    {"step", bad_step, TGC_ERROR_ARG, "step 0 on axis 1"},
    {"crop", bad_pad, TGC_ERROR_SHAPE, "4 elements is cropped by 5"},
    {"pad overflow", bad_pad_huge, TGC_ERROR_OVERFLOW, "axis 0"},
    {"concat", bad_concat, TGC_ERROR_SHAPE, "[4,8] and [4,7]"},
    {"permute", bad_permute, TGC_ERROR_AXIS, "1 axes are named, x has 2"},
    {"index type", bad_index, TGC_ERROR_TYPE, "index is f32"},
    {"gather of nothing", bad_empty, TGC_ERROR_SHAPE, "empty"},
    {"updates", bad_updates, TGC_ERROR_SHAPE, "updates are [4,8]"},
    {"condition", bad_cond, TGC_ERROR_TYPE, "cond is f32"},
    {"numbers only", bad_numbers, TGC_ERROR_TYPE, "plain numbers only"},
    {"a fraction to an integer", bad_fraction, TGC_ERROR_TYPE, "0.5 is no i32"},
    {"a number out of range", bad_range, TGC_ERROR_TYPE, "256 is no u8"},
    {"max of nothing", bad_max, TGC_ERROR_SHAPE, "axis 1 of [3,0] is empty"},
    {"mean of integers", bad_mean, TGC_ERROR_TYPE, "mean: x is i32"},
    {"bitcast", bad_bits, TGC_ERROR_TYPE, "f64"},
    {"no type", bad_type, TGC_ERROR_TYPE, "99"},
    {"another context", bad_context, TGC_ERROR_HANDLE, "argument 2 (y)"},
    {"labels", bad_labels, TGC_ERROR_SHAPE, "labels [5]"},
    {"label type", bad_label_type, TGC_ERROR_TYPE, "labels are f32"},
    {"p", bad_p, TGC_ERROR_ARG, "p is 1.5"},
    {"pool window", bad_pool, TGC_ERROR_SHAPE, "window of 5 on 2"},
    {"einsum text", bad_spec, TGC_ERROR_ARG, ">ik"},
    {"einsum size", bad_spec_size, TGC_ERROR_SHAPE, "4 elements, its label 8"},
    {"einsum rank", bad_spec_rank, TGC_ERROR_RANK, "3 axes"},
    {"einsum result", bad_spec_out, TGC_ERROR_ARG, "in no operand"},
    {"ninth axis", bad_ones, TGC_ERROR_RANK, "9 axes"},
    {"squeeze", bad_squeeze, TGC_ERROR_SHAPE, "is not 1"},
    {"iota of a scalar", bad_iota, TGC_ERROR_AXIS, "axis 0"},
    {"no data", bad_data, TGC_ERROR_ARG, "data is NULL"},
};

static void bad_calls_name_both_values(void **state)
{
	(void)state;
	tgc_context *c = check_context("interp", 1), *far = check_context("interp", 1);
	tgc_tensor *x = data(c, TGC_F32, TGC_SHAPE(4, 8)), *i = data(c, TGC_I32, TGC_SHAPE(4, 8));
	tgc_tensor *b = data(c, TGC_BOOL, TGC_SHAPE(4, 8));
	other_context = data(far, TGC_F32, TGC_SHAPE(4, 8));
	tgc_name_push(c, "layer1");
	for (int k = 0; k < TG_COUNT(bad); k++) {
		tgc_tensor *r = bad[k].make(x, i, b);
		const char *m = tgc_error_message(c);
		if (!tgc_is_error(r) || tgc_error_status(c) != bad[k].status || !strstr(m, bad[k].text) ||
		    !strstr(m, "in layer1, called from"))
			fail_msg("%s: %s: %s", bad[k].what, tgc_status_name(tgc_error_status(c)), m);
		assert_int_equal(c->depth, 0);
		tgc_clear_error(c);
	}
	tgc_tensor *e = tgc_exp(tgc_add(x, i));
	assert_true(tgc_is_error(tgc_add(e, 1)));
	assert_non_null(strstr(tgc_error_message(c), "add: f32 and i32")); // the first error stays
	assert_true(tgc_is_error(tgc_exp(NULL)) && tgc_is_error(tgc_add(1, 2)) && tgc_is_error(tgc_keep(e)));
	assert_true(tgc_is_error(tgc_zeros(NULL, TGC_F32, TGC_SHAPE(2))));
	struct tgc_context stand_in = {.status = TGC_ERROR_MEMORY, .name = ""};
	tgc_name_push(&stand_in, "x");
	tgc_scope_begin(&stand_in);
	tgc_clear_error(&stand_in);
	assert_true(tgc_is_error(tgc_rand(&stand_in, TGC_F32, TGC_SHAPE(2))));
	tgc_scope_end(&stand_in);
	tgc_name_pop(&stand_in);
	tgc_seed(&stand_in, 1);
	assert_int_equal(tgc_error_status(&stand_in), TGC_ERROR_MEMORY);
	tgc_context_free(&far);
	tgc_context_free(&c);
}

struct shape_case {
	const char *what;
	tgc_tensor *(*make)(tgc_tensor *x, tgc_tensor *i, tgc_tensor *b);
	const char *shape;
};
static tgc_tensor *wide(tgc_tensor *x, tgc_shape s)
{
	return tgc_input(x->ctx, TGC_F32, s);
}
X(s_broadcast, tgc_add(wide(x, TGC_SHAPE(0)), wide(x, TGC_SHAPE(1))))
X(s_scalar, tgc_add(wide(x, TGC_SCALAR_SHAPE), wide(x, TGC_SHAPE(2))))
X(s_sum, tgc_sum(wide(x, TGC_SHAPE(4, 0)), TGC_AXES(0), false))
X(s_matmul, tgc_matmul(wide(x, TGC_SHAPE(5, 1, 2, 3)), wide(x, TGC_SHAPE(4, 3, 6))))
X(s_matmul_wide, tgc_matmul(wide(x, TGC_SHAPE(2, 3)), wide(x, TGC_SHAPE(4, 3, 6))))
X(s_einsum, tgc_einsum("bij,bjk->kbi", wide(x, TGC_SHAPE(2, 3, 4)), wide(x, TGC_SHAPE(2, 4, 5))))
X(s_einsum_diagonal, tgc_einsum("...ii->...i", wide(x, TGC_SHAPE(2, 3, 3)), NULL))
X(s_einsum_implicit, tgc_einsum("bj,jA", wide(x, TGC_SHAPE(2, 3)), wide(x, TGC_SHAPE(3, 5))))
X(s_einsum_dots, tgc_einsum("...ij,jk->...ik", wide(x, TGC_SHAPE(7, 2, 3)), wide(x, TGC_SHAPE(3, 5))))
X(s_einsum_sum, tgc_einsum("ij,kl->l", wide(x, TGC_SHAPE(7, 2)), wide(x, TGC_SHAPE(3, 5))))
X(s_conv, tgc_conv2d(wide(x, TGC_SHAPE(2, 6, 9, 8)), wide(x, TGC_SHAPE(4, 3, 3, 2)), .groups = 2,
                     .stride = {2, 1}, .padding = {1, 0, 0, 2}))
X(s_pool, tgc_max_pool2d(wide(x, TGC_SHAPE(2, 6, 9, 8)), 3, 2, 1))
X(s_window, tgc_window(wide(x, TGC_SHAPE(10, 3)), 0, 3, 2, 2))
X(s_fold, tgc_fold(wide(x, TGC_SHAPE(3, 3, 3)), 0, 10, 2, 2))
X(s_gather, tgc_gather(wide(x, TGC_SHAPE(10, 3)), i, 1))
X(s_slice, tgc_slice_axis(wide(x, TGC_SHAPE(10, 3)), 0, -2, -5))
X(s_attention, tgc_attention(wide(x, TGC_SHAPE(2, 4, 5, 8)), wide(x, TGC_SHAPE(2, 4, 7, 8)),
                             wide(x, TGC_SHAPE(2, 4, 7, 3)), true))
X(s_one_hot, tgc_one_hot(i, 10, TGC_F32))
X(s_cross_entropy, tgc_cross_entropy(x, tgc_input(x->ctx, TGC_U8, TGC_SHAPE(4))))
X(s_layer_norm, tgc_layer_norm(x, NULL, wide(x, TGC_SHAPE(8)), 1e-5))
X(s_randn, tgc_randn(x->ctx, TGC_F64, TGC_SHAPE(1, 2, 1, 2, 1, 2, 1, 3)))
X(s_dropout, tgc_dropout(x, 0.5))
X(s_many, tgc_var(tgc_logsumexp(tgc_gelu(tgc_gelu_tanh(tgc_silu(tgc_sigmoid(x)))), 1), TGC_ALL_AXES, 1, true))
X(s_avg, tgc_avg_pool2d(wide(x, TGC_SHAPE(2, 6, 9, 8)), 2, 2))
static const struct shape_case shapes[] = {
    {"(0)+(1)", s_broadcast, "[0]"},
    {"()+(2)", s_scalar, "[2]"},
    {"sum of (4,0)", s_sum, "[0]"},
    {"matmul", s_matmul, "[5,4,2,6]"},
    {"matmul, w wider", s_matmul_wide, "[4,2,6]"},
    {"einsum", s_einsum, "[5,2,3]"},
    {"einsum diagonal", s_einsum_diagonal, "[2,3]"},
    {"einsum implicit", s_einsum_implicit, "[5,2]"},
    {"einsum dots", s_einsum_dots, "[7,2,5]"},
    {"einsum sums", s_einsum_sum, "[5]"},
    {"conv", s_conv, "[2,4,4,9]"},
    {"pool", s_pool, "[2,6,5,4]"},
    {"window", s_window, "[3,3,3]"},
    {"fold", s_fold, "[10,3]"},
    {"gather", s_gather, "[10,4,8]"},
    {"slice", s_slice, "[0,3]"},
    {"attention", s_attention, "[2,4,5,3]"},
    {"one hot", s_one_hot, "[4,8,10]"},
    {"cross entropy", s_cross_entropy, "[]"},
    {"layer norm", s_layer_norm, "[4,8]"},
    {"randn of eight axes", s_randn, "[1,2,1,2,1,2,1,3]"},
    {"dropout", s_dropout, "[4,8]"},
    {"composed", s_many, "[1]"},
    {"average pool", s_avg, "[2,6,4,4]"},
};

static void shapes_follow(void **state)
{
	(void)state;
	tgc_context *c = check_context("interp", 1);
	tgc_tensor *x = data(c, TGC_F32, TGC_SHAPE(4, 8)), *i = data(c, TGC_I32, TGC_SHAPE(4, 8));
	for (int k = 0; k < TG_COUNT(shapes); k++) {
		tgc_tensor *r = shapes[k].make(x, i, NULL);
		if (tgc_is_error(r) || strcmp(NODE_TEXT(r->node), shapes[k].shape) != 0)
			fail_msg("%s: %s %s", shapes[k].what, tgc_is_error(r) ? "error" : NODE_TEXT(r->node),
			         tgc_error_message(c));
	}
	tgc_context_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bad_calls_name_both_values),
	    cmocka_unit_test(shapes_follow),
	};
	return cmocka_run_group_tests_name("doors", tests, NULL, NULL);
}
