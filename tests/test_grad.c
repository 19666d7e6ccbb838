// Gradients of every differentiable operation, first and second order, against central differences in f64.
// A row has eight variants of its shapes or attributes. The loss is a weighted sum of the result, so that no
// two elements' gradients can cancel; the second order differentiates a weighted sum of the gradients.
#include "check.h"

#include <math.h>
#include <stdlib.h>

enum { VARIANTS = 8, MAX_IN = 3, MAX_ELEMS = 64 };

typedef tgc_tensor *function(tgc_tensor **x, int variant);
struct grad_row {
	const char *name;
	function *f;
	int nin;
	const tgc_shape *shapes; // [VARIANTS][nin]
	double lo, hi;
	int op; // for the rows that come from the operation table
};

static int row_op; // of the table's rows: a function of tensors alone has no other way to know

struct problem {
	const struct grad_row *row;
	tgc_context *ctx;
	int variant;
	double x[MAX_IN][MAX_ELEMS];
	double direction[MAX_IN][MAX_ELEMS];
	tgc_tensor *in[MAX_IN];
};

static tgc_shape shape_at(const struct problem *p, int k)
{
	return p->row->shapes[p->variant * p->row->nin + k];
}

static int64_t elems_at(const struct problem *p, int k)
{
	tgc_shape s = shape_at(p, k);
	int64_t n = 1;

	for (int a = 0; a < s.rank; a++)
		n *= s.dims[a];
	assert_true(n <= MAX_ELEMS);
	return n;
}

// A weighted sum: element i counts 0.3 + 0.7 * frac(i * phi).
static tgc_tensor *weighted(tgc_tensor *y)
{
	int64_t n = tgc_tensor_elems(y);
	tgc_tensor *flat = tgc_reshape(y, TGC_SHAPE(n));
	double w[4096];

	assert_true(n <= TG_COUNT(w));
	for (int64_t i = 0; i < n; i++)
		w[i] = 0.3 + 0.7 * fmod((double)i * 0.6180339887, 1);
	return tgc_sum(tgc_mul(flat, tgc_from_data(tgc_tensor_context(y), TGC_F64, TGC_SHAPE(n), w)),
	               TGC_ALL_AXES, false);
}

static tgc_tensor *loss(struct problem *p)
{
	for (int k = 0; k < p->row->nin; k++)
		p->in[k] = tgc_from_data(p->ctx, TGC_F64, shape_at(p, k), p->x[k]);
	row_op = p->row->op;
	return weighted(p->row->f(p->in, p->variant));
}

// The sum of all gradients, each weighted by `direction`.
static tgc_tensor *slope(struct problem *p)
{
	tgc_tensor *l = loss(p), *g[MAX_IN], *total = NULL;

	if (tgc_grad(l, p->row->nin, p->in, g))
		fail_msg("%s: %s", p->row->name, tgc_error_message(p->ctx));
	for (int k = 0; k < p->row->nin; k++) {
		tgc_tensor *d = tgc_from_data(p->ctx, TGC_F64, shape_at(p, k), p->direction[k]);
		tgc_tensor *s = tgc_sum(tgc_mul(g[k], d), TGC_ALL_AXES, false);

		total = total ? tgc_add(total, s) : s;
	}
	return total;
}

static double evaluate(struct problem *p, tgc_tensor *(*value)(struct problem *p))
{
	double v;

	tgc_scope_begin(p->ctx);
	v = tgc_item(value(p));
	if (tgc_error_status(p->ctx))
		fail_msg("%s variant %d on %s: %s", p->row->name, p->variant, tgc_device_name(p->ctx),
		         tgc_error_message(p->ctx));
	tgc_scope_end(p->ctx);
	return v;
}

static void compare(struct problem *p, tgc_tensor *(*value)(struct problem *p), int order)
{
	double got[MAX_IN][MAX_ELEMS];
	tgc_tensor *g[MAX_IN];
	const double eps = 1e-6;

	tgc_scope_begin(p->ctx);
	if (tgc_grad(value(p), p->row->nin, p->in, g))
		fail_msg("%s order %d: %s", p->row->name, order, tgc_error_message(p->ctx));
	if (tgc_realize_n(p->row->nin, g))
		fail_msg("%s order %d: %s", p->row->name, order, tgc_error_message(p->ctx));
	for (int k = 0; k < p->row->nin; k++)
		check_read_f64(g[k], got[k], elems_at(p, k));
	tgc_scope_end(p->ctx);
	for (int k = 0; k < p->row->nin; k++) {
		for (int64_t i = 0; i < elems_at(p, k); i++) {
			double x = p->x[k][i], up, down, want;

			p->x[k][i] = x + eps;
			up = evaluate(p, value);
			p->x[k][i] = x - eps;
			down = evaluate(p, value);
			p->x[k][i] = x;
			want = (up - down) / (2 * eps);
			if (!(fabs(got[k][i] - want) <= 1e-5 + 1e-3 * fabs(want)))
				fail_msg("%s order %d variant %d on %s, operand %d element %d: %.9g, "
				         "difference %.9g",
				         p->row->name, order, p->variant, tgc_device_name(p->ctx), k, (int)i,
				         got[k][i], want);
		}
	}
}

static void check_row(tgc_context *ctx, const struct grad_row *row)
{
	for (int v = 0; v < VARIANTS; v++) {
		struct problem p = {.row = row, .ctx = ctx, .variant = v};
		uint64_t rng = 77 + (uint64_t)v;

		for (int k = 0; k < row->nin; k++) {
			for (int64_t i = 0; i < elems_at(&p, k); i++) {
				double u = (double)(sk_random(&rng) >> 11) * 0x1p-53;

				p.x[k][i] = row->lo + (row->hi - row->lo) * u;
				p.direction[k][i] = 0.2 + (double)(sk_random(&rng) >> 11) * 0x1p-53;
			}
		}
		compare(&p, loss, 1);
		compare(&p, slope, 2);
	}
}

static const tgc_shape one_shapes[VARIANTS] = {{0, {0}},       {1, {1}},       {1, {5}},  {2, {2, 3}},
                                               {3, {3, 1, 2}}, {3, {1, 1, 1}}, {1, {17}}, {4, {2, 1, 2, 2}}};
static const tgc_shape two_shapes[VARIANTS * 2] = {
    {0, {0}}, {0, {0}},    {1, {5}},       {1, {5}},    {2, {2, 3}}, {1, {3}},       {2, {3, 1}}, {2, {1, 2}},
    {0, {0}}, {2, {2, 2}}, {3, {2, 1, 2}}, {2, {3, 1}}, {1, {1}},    {3, {2, 2, 1}}, {1, {17}},   {1, {1}}};
static const tgc_shape three_shapes[VARIANTS * 3] = {
    {0, {0}},    {0, {0}}, {0, {0}},       {1, {5}},    {1, {5}},    {1, {5}},    {2, {2, 3}}, {1, {3}},
    {2, {2, 1}}, {1, {3}}, {0, {0}},       {1, {3}},    {2, {2, 2}}, {2, {2, 2}}, {0, {0}},    {1, {1}},
    {1, {4}},    {1, {1}}, {3, {2, 1, 2}}, {2, {3, 1}}, {1, {2}},    {1, {7}},    {1, {7}},    {0, {0}}};
static const tgc_shape matrix_shapes[VARIANTS] = {{2, {2, 3}}, {2, {1, 4}}, {2, {4, 1}}, {2, {3, 3}},
                                                  {2, {5, 2}}, {2, {2, 7}}, {2, {4, 4}}, {2, {1, 1}}};
static const tgc_shape cube_shapes[VARIANTS] = {{3, {2, 3, 2}}, {3, {1, 4, 3}}, {3, {4, 1, 2}}, {3, {3, 3, 1}},
                                                {3, {2, 2, 4}}, {3, {2, 7, 1}}, {3, {1, 1, 1}}, {3, {3, 2, 3}}};
static const tgc_shape matmul_shapes[VARIANTS * 2] = {
    {2, {2, 3}}, {2, {3, 2}},    {2, {1, 4}},       {2, {4, 1}},      {2, {1, 1}},    {2, {1, 1}},
    {2, {5, 2}}, {2, {2, 3}},    {3, {2, 2, 3}},    {3, {2, 3, 2}},   {3, {2, 2, 3}}, {2, {3, 2}},
    {2, {2, 3}}, {3, {2, 3, 2}}, {4, {2, 1, 2, 2}}, {4, {1, 2, 2, 3}}};
static const tgc_shape conv_shapes[VARIANTS * 2] = {
    {4, {1, 1, 3, 3}}, {4, {1, 1, 2, 2}}, {4, {2, 2, 4, 3}}, {4, {2, 2, 3, 3}},
    {4, {1, 2, 5, 4}}, {4, {2, 1, 2, 2}}, {4, {1, 1, 6, 5}}, {4, {2, 1, 3, 2}},
    {4, {1, 3, 3, 3}}, {4, {3, 1, 2, 2}}, {4, {1, 1, 7, 6}}, {4, {1, 1, 3, 3}},
    {4, {2, 1, 4, 4}}, {4, {1, 1, 1, 1}}, {4, {1, 2, 5, 5}}, {4, {2, 2, 3, 3}}};

static tgc_tensor *f_one(tgc_tensor **x, int v)
{
	(void)v;
	return sk_record1(row_op, x[0], TGC_F64);
}

static tgc_tensor *f_two(tgc_tensor **x, int v)
{
	(void)v;
	return sk_record2(row_op, tgc_arg_tensor(x[0]), tgc_arg_tensor(x[1]));
}

static tgc_tensor *f_fma(tgc_tensor **x, int v)
{
	tgc_shape s = tgc_tensor_shape(tgc_add(tgc_add(x[0], x[1]), x[2]));

	(void)v;
	return tgc_fma(tgc_expand(x[0], s), tgc_expand(x[1], s), tgc_expand(x[2], s));
}

static tgc_tensor *f_select(tgc_tensor **x, int v)
{
	return tgc_select(tgc_lt(x[0], 0.1 * v), tgc_mul(x[0], x[1]), tgc_sin(x[1]));
}

static tgc_tensor *f_casts(tgc_tensor **x, int v)
{
	(void)v;
	return tgc_mul(tgc_cast(tgc_cast(x[0], TGC_F64), TGC_F64), x[0]);
}

static tgc_tensor *f_square_self(tgc_tensor **x, int v)
{
	(void)v;
	return tgc_mul(tgc_mul(x[0], x[0]), tgc_add(x[0], x[0]));
}

// Movement is linear: its second order shows only through what follows.
static tgc_tensor *cube(tgc_tensor *y)
{
	return tgc_mul(tgc_mul(y, y), y);
}

static tgc_tensor *f_reshape(tgc_tensor **x, int v)
{
	int64_t n = tgc_tensor_elems(x[0]);

	return cube(v % 2 ? tgc_reshape(x[0], TGC_SHAPE(1, n, 1)) : tgc_reshape(x[0], TGC_SHAPE(n)));
}

static tgc_tensor *f_permute(tgc_tensor **x, int v)
{
	static const tgc_axes orders[] = {{3, {2, 0, 1}}, {3, {0, 2, 1}}, {3, {1, 0, 2}}, {3, {2, 1, 0}}};

	return cube(tgc_permute(x[0], orders[v % 4]));
}

static tgc_tensor *f_expand(tgc_tensor **x, int v)
{
	tgc_tensor *y = tgc_unsqueeze(x[0], v % 3);
	tgc_shape s = tgc_tensor_shape(y);

	s.dims[v % 3] = 1 + v % 4;
	return cube(tgc_expand(y, s));
}

static tgc_tensor *f_pad(tgc_tensor **x, int v)
{
	static const int64_t amounts[][4] = {{1, 0, 2, 1}, {0, 0, 0, 0}, {2, 1, -1, 0}, {0, -1, 1, 1}};
	tgc_shape s = tgc_tensor_shape(x[0]);
	const int64_t *a = amounts[s.dims[0] > 1 ? v % 4 : v % 2];

	return cube(tgc_pad(x[0], (int64_t[]){a[0], a[1]}, (int64_t[]){s.dims[1] > 1 ? a[2] : 1, a[3]}, 1.5));
}

static tgc_tensor *f_slice(tgc_tensor **x, int v)
{
	tgc_shape s = tgc_tensor_shape(x[0]);
	int64_t start[2] = {s.dims[0] > 1 ? v % 2 : 0, 0}, stop[2] = {s.dims[0], s.dims[1]},
	        step[2] = {1 + v % 2, 1 + v % 3};

	return cube(tgc_slice(x[0], start, stop, step));
}

static tgc_tensor *f_flip(tgc_tensor **x, int v)
{
	static const tgc_axes axes[] = {{1, {0}}, {1, {1}}, {2, {0, 1}}};

	return tgc_mul(cube(tgc_flip(x[0], axes[v % 3])), x[0]);
}

static tgc_tensor *f_concat(tgc_tensor **x, int v)
{
	tgc_tensor *xs[] = {x[0], tgc_sin(x[0]), x[0]};

	return cube(tgc_concat(2 + v % 2, xs, v % 2));
}

static tgc_tensor *f_window(tgc_tensor **x, int v)
{
	int axis = v % 3;
	int64_t n = tgc_tensor_shape(x[0]).dims[axis], size = 1 + (n > 1) + (n > 3);

	return cube(tgc_window(x[0], axis, size, 1 + v % 2, n >= 5 ? 2 : 1));
}

static tgc_tensor *f_fold(tgc_tensor **x, int v)
{
	tgc_shape s = tgc_tensor_shape(x[0]);
	int64_t stride = 1 + v % 3, dilation = 1 + v % 2;
	int64_t n = (s.dims[1] - 1) * stride + dilation * (s.dims[2] - 1) + 1 + (stride > 1);

	return cube(tgc_fold(x[0], 1, n, stride, dilation));
}

static tgc_axes some_axes(int v)
{
	static const tgc_axes axes[] = {{1, {0}}, {1, {1}}, {1, {2}}, {2, {0, 2}}, {3, {0, 1, 2}}, {2, {1, 2}}};

	return axes[v % 6];
}

static tgc_tensor *f_sum(tgc_tensor **x, int v)
{
	return cube(tgc_sum(x[0], some_axes(v), v % 2));
}
static tgc_tensor *f_mean(tgc_tensor **x, int v)
{
	return cube(tgc_mean(x[0], some_axes(v), v % 2));
}
static tgc_tensor *f_max(tgc_tensor **x, int v)
{
	return cube(tgc_max(x[0], some_axes(v), v % 2));
}
static tgc_tensor *f_min(tgc_tensor **x, int v)
{
	return cube(tgc_min(x[0], some_axes(v), v % 2));
}
static tgc_tensor *f_var(tgc_tensor **x, int v)
{
	return cube(tgc_var(x[0], some_axes(4), v % 2 && v != 6, false));
}

static tgc_tensor *f_back_over(tgc_tensor **x, int v)
{
	return tgc_mul(tgc_sub(x[0], tgc_mean(x[0], some_axes(v), true)),
	               tgc_max(x[0], some_axes(v + 1), true));
}

static tgc_tensor *f_matmul(tgc_tensor **x, int v)
{
	(void)v;
	return cube(tgc_matmul(x[0], x[1]));
}

static tgc_tensor *f_einsum(tgc_tensor **x, int v)
{
	static const char *const specs[] = {"ij,jk->ki", "ij,jk->ik", "ij,jk->k", "ij,jk->i"};

	return tgc_tensor_shape(x[0]).rank == 2 && tgc_tensor_shape(x[1]).rank == 2
	           ? cube(tgc_einsum(specs[v % 4], x[0], x[1]))
	           : cube(tgc_matmul(x[0], x[1]));
}

static tgc_tensor *f_gram(tgc_tensor **x, int v)
{
	(void)v;
	return tgc_matmul(x[0], tgc_transpose(x[0], 0, 1));
}

static tgc_tensor *f_conv(tgc_tensor **x, int v)
{
	static const tgc_conv_options o[VARIANTS] = {
	    {.padding = {0}},
	    {.padding = {1, 1, 1, 1}},
	    {.stride = {2, 1}, .groups = 2},
	    {.stride = {2, 2}, .padding = {1, 0, 0, 2}},
	    {.groups = 3, .padding = {0, 1, 1, 0}},
	    {.dilation = {2, 2}, .stride = {1, 2}},
	    {.stride = {3, 2}},
	    {.padding = {-1, 1, 1, -1}, .stride = {2, 1}},
	};

	tgc_conv_options own = o[v];

	own.struct_size = sizeof own;
	return cube(tgc_conv2d_with(x[0], x[1], own));
}

static tgc_tensor *f_gather(tgc_tensor **x, int v)
{
	tgc_shape s = tgc_tensor_shape(x[0]);
	int32_t at[6];

	for (int i = 0; i < 6; i++)
		at[i] = (int32_t)((i * 5 + v) % s.dims[v % 2]);
	return cube(
	    tgc_gather(x[0], tgc_from_data(tgc_tensor_context(x[0]), TGC_I32, TGC_SHAPE(2, 3), at), v % 2));
}

static tgc_tensor *f_scatter(tgc_tensor **x, int v)
{
	int64_t n = tgc_tensor_shape(x[0]).dims[0], at[8];

	for (int64_t i = 0; i < n; i++)
		at[i] = v < 4 ? (i + v) % n : i / 2; // set without duplicates, add with
	return cube(tgc_scatter(tgc_sin(x[0]),
	                        tgc_from_data(tgc_tensor_context(x[0]), TGC_I64, TGC_SHAPE(n), at),
	                        tgc_mul(x[0], x[0]), 0, v < 4 ? TGC_SCATTER_SET : TGC_SCATTER_ADD));
}

static tgc_tensor *f_check(tgc_tensor **x, int v)
{
	(void)v;
	return cube(tgc_check(x[0], tgc_lt(x[0], 100.0)));
}

static tgc_tensor *f_detach(tgc_tensor **x, int v)
{
	(void)v;
	return tgc_add(cube(x[0]), tgc_mul(tgc_sub(tgc_detach(x[0]), tgc_detach(x[0])), 3.0));
}

#define COMPOSED(name, expression)                                                                             \
	static tgc_tensor *name(tgc_tensor **x, int v)                                                         \
	{                                                                                                      \
		(void)v;                                                                                       \
		return expression;                                                                             \
	}
COMPOSED(f_relu, cube(tgc_relu(x[0])))
COMPOSED(f_sigmoid, tgc_sigmoid(x[0]))
COMPOSED(f_gelu, tgc_gelu(x[0]))
COMPOSED(f_gelu_tanh, tgc_gelu_tanh(x[0]))
COMPOSED(f_silu, tgc_silu(x[0]))
COMPOSED(f_square, tgc_square(x[0]))
COMPOSED(f_softmax, tgc_softmax(x[0], v % 3))
COMPOSED(f_log_softmax, tgc_mul(tgc_log_softmax(x[0], v % 3), x[0]))
COMPOSED(f_logsumexp, tgc_logsumexp(x[0], v % 3))
COMPOSED(f_layer_norm, tgc_layer_norm(x[0], x[1], x[2], 1e-2))
COMPOSED(f_attention, tgc_attention(x[0], x[1], x[2], v % 2))
COMPOSED(f_max_pool, cube(tgc_max_pool2d(x[0], 2, 1 + v % 2, v % 3 == 0)))
COMPOSED(f_avg_pool, cube(tgc_avg_pool2d(x[0], 2, 1 + v % 2)))

static tgc_tensor *f_cross_entropy(tgc_tensor **x, int v)
{
	tgc_shape s = tgc_tensor_shape(x[0]);
	int32_t labels[8];

	for (int64_t i = 0; i < s.dims[0]; i++)
		labels[i] = (int32_t)((i + v) % s.dims[1]);
	return tgc_cross_entropy(
	    x[0], tgc_from_data(tgc_tensor_context(x[0]), TGC_I32, TGC_SHAPE(s.dims[0]), labels));
}

static const tgc_shape norm_shapes[VARIANTS * 3] = {
    {2, {2, 3}}, {1, {3}},    {1, {3}},    {2, {1, 4}}, {1, {4}},       {1, {4}},    {2, {4, 2}}, {1, {2}},
    {1, {2}},    {2, {3, 3}}, {1, {3}},    {1, {3}},    {3, {2, 2, 4}}, {1, {4}},    {1, {4}},    {1, {7}},
    {1, {7}},    {1, {7}},    {2, {2, 5}}, {1, {5}},    {1, {5}},       {2, {1, 1}}, {1, {1}},    {1, {1}}};
static const tgc_shape attention_shapes[VARIANTS * 3] = {
    {2, {2, 3}},    {2, {2, 3}},    {2, {2, 2}},    {2, {3, 2}},    {2, {3, 2}},    {2, {3, 2}},
    {2, {1, 2}},    {2, {4, 2}},    {2, {4, 3}},    {2, {4, 1}},    {2, {4, 1}},    {2, {4, 1}},
    {3, {2, 2, 2}}, {3, {2, 2, 2}}, {3, {2, 2, 2}}, {3, {2, 3, 1}}, {3, {2, 3, 1}}, {3, {2, 3, 2}},
    {2, {2, 4}},    {2, {3, 4}},    {2, {3, 1}},    {2, {2, 2}},    {2, {2, 2}},    {2, {2, 2}}};
static const tgc_shape pool_shapes[VARIANTS] = {{4, {1, 1, 3, 3}}, {4, {1, 2, 2, 3}}, {4, {2, 1, 4, 3}},
                                                {4, {1, 1, 5, 4}}, {4, {2, 2, 2, 2}}, {4, {1, 3, 3, 2}},
                                                {4, {1, 1, 6, 5}}, {4, {1, 1, 2, 2}}};

static const struct grad_row rows[] = {
    {"fma", f_fma, 3, three_shapes, -2, 2, 0},
    {"select", f_select, 2, two_shapes, -2, 2, 0},
    {"cast", f_casts, 1, one_shapes, -2, 2, 0},
    {"x op x", f_square_self, 1, one_shapes, -2, 2, 0},
    {"reshape", f_reshape, 1, cube_shapes, -2, 2, 0},
    {"permute", f_permute, 1, cube_shapes, -2, 2, 0},
    {"expand", f_expand, 1, matrix_shapes, -2, 2, 0},
    {"pad", f_pad, 1, matrix_shapes, -2, 2, 0},
    {"slice", f_slice, 1, matrix_shapes, -2, 2, 0},
    {"flip", f_flip, 1, matrix_shapes, -2, 2, 0},
    {"concat", f_concat, 1, matrix_shapes, -2, 2, 0},
    {"window", f_window, 1, cube_shapes, -2, 2, 0},
    {"fold", f_fold, 1, cube_shapes, -2, 2, 0},
    {"sum", f_sum, 1, cube_shapes, -2, 2, 0},
    {"mean", f_mean, 1, cube_shapes, -2, 2, 0},
    {"max", f_max, 1, cube_shapes, -2, 2, 0},
    {"min", f_min, 1, cube_shapes, -2, 2, 0},
    {"var", f_var, 1, cube_shapes, -2, 2, 0},
    {"reduce and broadcast", f_back_over, 1, cube_shapes, -2, 2, 0},
    {"matmul", f_matmul, 2, matmul_shapes, -1, 1, 0},
    {"einsum", f_einsum, 2, matmul_shapes, -1, 1, 0},
    {"x x^T", f_gram, 1, matrix_shapes, -1, 1, 0},
    {"conv2d", f_conv, 2, conv_shapes, -1, 1, 0},
    {"gather", f_gather, 1, matrix_shapes, -2, 2, 0},
    {"scatter", f_scatter, 1, matrix_shapes, -2, 2, 0},
    {"check", f_check, 1, one_shapes, -2, 2, 0},
    {"detach", f_detach, 1, one_shapes, -2, 2, 0},
    {"relu", f_relu, 1, one_shapes, -2, 2, 0},
    {"sigmoid", f_sigmoid, 1, one_shapes, -4, 4, 0},
    {"gelu", f_gelu, 1, one_shapes, -3, 3, 0},
    {"gelu_tanh", f_gelu_tanh, 1, one_shapes, -3, 3, 0},
    {"silu", f_silu, 1, one_shapes, -3, 3, 0},
    {"square", f_square, 1, one_shapes, -3, 3, 0},
    {"softmax", f_softmax, 1, cube_shapes, -3, 3, 0},
    {"log_softmax", f_log_softmax, 1, cube_shapes, -3, 3, 0},
    {"logsumexp", f_logsumexp, 1, cube_shapes, -3, 3, 0},
    {"layer_norm", f_layer_norm, 3, norm_shapes, -2, 2, 0},
    {"attention", f_attention, 3, attention_shapes, -1, 1, 0},
    {"max_pool2d", f_max_pool, 1, pool_shapes, -2, 2, 0},
    {"avg_pool2d", f_avg_pool, 1, pool_shapes, -2, 2, 0},
    {"cross_entropy", f_cross_entropy, 1, matrix_shapes, -2, 2, 0},
};

static void table_rows(tgc_context *ctx)
{
	for (int op = 0; op < OP_COUNT; op++) {
		bool two = op_info[op].cls == CLASS_BINARY;
		struct grad_row row = {
		    op_info[op].name, two ? f_two : f_one, 1 + two, two ? two_shapes : one_shapes,
		    op_info[op].lo,   op_info[op].hi,      op};

		if ((two || op_info[op].cls == CLASS_UNARY) && op_info[op].differentiable && op != OP_CAST &&
		    op != OP_BITCAST && op != OP_DETACH)
			check_row(ctx, &row);
	}
}

static void other_rows(tgc_context *ctx)
{
	for (int i = 0; i < TG_COUNT(rows); i++)
		check_row(ctx, &rows[i]);
}

DEVICE_TEST(table, table_rows)
DEVICE_TEST(others, other_rows)

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(table), cmocka_unit_test(others)};

	return cmocka_run_group_tests_name("grad", tests, NULL, NULL);
}
