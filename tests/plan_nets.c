// Networks as the tests of the schedule record them, and their plans.
// In:  a row of the table, large for what the plan is, small for what it computes. Out: a plan for a processor with
// vectors of 64 bytes. Not here: what is asked of it (test_schedule.c, test_plan.c).
#include "plan_nets.h"

#include <stdlib.h>

static struct buffer *upload(struct tgc_context *c, const void *data, size_t bytes)
{
	struct buffer *b = calloc(1, sizeof *b);

	(void)c;
	b->refs = 1;
	b->data = malloc(bytes + 1);
	b->bytes = (int64_t)bytes;
	memcpy(b->data, data, bytes);
	return b;
}

static void drop(struct buffer *b)
{
	free(b->data);
	free(b);
}

// ---- what networks are made of -------------------------------------------------------------------------------------
int64_t net_pick(const struct net *n, int64_t large, int64_t small)
{
	return n->small ? small : large;
}

tgc_tensor *net_data(struct net *n, tgc_shape shape)
{
	int64_t elems = 1;
	float *v;
	tgc_tensor *t;

	for (int i = 0; i < shape.rank; i++)
		elems *= shape.dims[i];
	v = calloc((size_t)elems + 1, sizeof *v);
	for (int64_t i = 0; n->small && i < elems; i++)
		v[i] = (float)((double)(sk_random(&n->seed) >> 11) / (double)(1ull << 53) * 2 - 1);
	t = tgc_from_data(n->c, TGC_F32, shape, v);
	free(v);
	return t;
}

tgc_tensor *net_labels(struct net *n, int64_t count, int64_t below)
{
	int32_t *v = calloc((size_t)count, sizeof *v);
	tgc_tensor *t;

	for (int64_t i = 0; i < count; i++)
		v[i] = (int32_t)(sk_random(&n->seed) % (uint64_t)below);
	t = tgc_from_data(n->c, TGC_I32, TGC_SHAPE(count), v);
	free(v);
	return t;
}

tgc_tensor *net_state(struct net *n, tgc_shape shape)
{
	return tgc_variable(net_data(n, shape));
}

void net_out(struct net *n, tgc_tensor *t)
{
	assert_string_equal(tgc_error_message(n->c), "");
	n->outs[n->nouts++] = t->node;
}

void net_store(struct net *n, tgc_tensor *var, tgc_tensor *t)
{
	n->assign[n->nouts] = var->var;
	net_out(n, t);
}

static void adam(struct net *n, int count, tgc_tensor *const *params, tgc_tensor *const *grads)
{
	tgc_tensor *lr = tgc_scalar(n->c, 0.01);

	for (int i = 0; i < count; i++) {
		tgc_shape shape = tgc_tensor_shape(params[i]);
		tgc_tensor *m = net_state(n, shape), *v = net_state(n, shape);
		tgc_tensor *m1 = tgc_add(tgc_mul(m, 0.9), tgc_mul(grads[i], 0.1));
		tgc_tensor *v1 = tgc_add(tgc_mul(tgc_square(v), 0.99), tgc_mul(tgc_square(grads[i]), 0.01));
		tgc_tensor *step = tgc_div(tgc_mul(lr, m1), tgc_add(tgc_sqrt(v1), 0.1));

		net_store(n, params[i], tgc_sub(params[i], step));
		net_store(n, m, m1);
		net_store(n, v, v1);
	}
}

static void descend(struct net *n, tgc_tensor *loss, int count, tgc_tensor *const *params)
{
	tgc_tensor *grads[16];

	assert_int_equal(tgc_grad(loss, count, params, grads), TGC_OK);
	net_out(n, loss);
	adam(n, count, params, grads);
}

// ---- networks ------------------------------------------------------------------------------------------------------
static void softmax(struct net *n)
{
	net_out(n, tgc_softmax(net_data(n, TGC_SHAPE(net_pick(n, 4096, 20), net_pick(n, 1024, 33))), 1));
}

static void log_softmax(struct net *n)
{
	net_out(n, tgc_log_softmax(net_data(n, TGC_SHAPE(net_pick(n, 64, 3), net_pick(n, 50257, 65))), 1));
}

static void layer_norm(struct net *n)
{
	int64_t c = net_pick(n, 768, 17);

	net_out(n, tgc_layer_norm(net_data(n, TGC_SHAPE(net_pick(n, 8192, 19), c)), net_data(n, TGC_SHAPE(c)),
	                      net_data(n, TGC_SHAPE(c)), 1e-5));
}

static void layer_norm_back(struct net *n)
{
	int64_t rows = net_pick(n, 8192, 19), c = net_pick(n, 768, 17);
	tgc_tensor *x = net_state(n, TGC_SHAPE(rows, c)), *g = net_state(n, TGC_SHAPE(c)), *b = net_state(n, TGC_SHAPE(c));
	tgc_tensor *y = tgc_layer_norm(x, g, b, 1e-5), *dy = net_data(n, TGC_SHAPE(rows, c));
	tgc_tensor *loss = tgc_sum(tgc_mul(y, dy), TGC_ALL_AXES, false), *grads[3];

	assert_int_equal(tgc_grad(loss, 3, (tgc_tensor *[]){x, g, b}, grads), TGC_OK);
	net_out(n, y);
	for (int i = 0; i < 3; i++)
		net_out(n, grads[i]);
}

static void linear_relu(struct net *n)
{
	int64_t k = net_pick(n, 512, 9), m = net_pick(n, 512, 7);
	tgc_tensor *x = net_data(n, TGC_SHAPE(net_pick(n, 512, 5), k)), *w = net_state(n, TGC_SHAPE(k, m));

	net_out(n, tgc_relu(tgc_add(tgc_matmul(x, w), net_state(n, TGC_SHAPE(m)))));
}

static void two_outputs(struct net *n)
{
	tgc_tensor *x = net_data(n, TGC_SHAPE(net_pick(n, 128, 3), 784));

	net_out(n, tgc_add(x, 1.0));
	net_out(n, tgc_mul(x, 2.0));
}

static void sum_and_max(struct net *n)
{
	tgc_tensor *x = net_data(n, TGC_SHAPE(net_pick(n, 4096, 33), net_pick(n, 4096, 20)));

	net_out(n, tgc_sum(x, TGC_AXES(1), false));
	net_out(n, tgc_max(x, TGC_AXES(1), true));
	net_out(n, tgc_mean(tgc_square(x), TGC_AXES(1), false));
}

static void sum_columns(struct net *n)
{
	tgc_tensor *x = net_data(n, TGC_SHAPE(net_pick(n, 8192, 33), net_pick(n, 768, 20)));
	tgc_tensor *y = net_data(n, TGC_SHAPE(net_pick(n, 8192, 33), net_pick(n, 768, 20)));

	net_out(n, tgc_sum(x, TGC_AXES(0), false));
	net_out(n, tgc_sum(tgc_mul(x, y), TGC_AXES(0), false));
}

static void sum_all(struct net *n)
{
	tgc_tensor *x = net_data(n, TGC_SHAPE(net_pick(n, 4096, 60), net_pick(n, 4096, 2000)));

	net_out(n, tgc_mul(tgc_sum(tgc_square(x), TGC_ALL_AXES, false), 0.5));
}

static void tall(struct net *n)
{
	tgc_tensor *x = net_data(n, TGC_SHAPE(4096, 8)), *y = net_data(n, TGC_SHAPE(4096, 130)),
	           *b = net_state(n, TGC_SHAPE(8, 130));

	net_store(n, b, tgc_sub(b, tgc_matmul(tgc_transpose(x, 0, 1), y)));
}

static void gelu_chain(struct net *n)
{
	tgc_tensor *x = net_data(n, TGC_SHAPE(net_pick(n, 16384, 5), 1024)),
	           *r = net_data(n, TGC_SHAPE(net_pick(n, 16384, 5), 1024));

	net_out(n, tgc_add(tgc_gelu_tanh(tgc_add(x, net_data(n, TGC_SHAPE(1024)))), r));
}

static void mlp(struct net *n)
{
	int64_t batch = net_pick(n, 128, 6), in = net_pick(n, 784, 11), hid = net_pick(n, 512, 9), classes = 10;
	tgc_tensor *x = net_data(n, TGC_SHAPE(batch, in)), *y = net_labels(n, batch, classes);
	tgc_tensor *p[] = {net_state(n, TGC_SHAPE(in, hid)), net_state(n, TGC_SHAPE(hid)),
	                   net_state(n, TGC_SHAPE(hid, classes)), net_state(n, TGC_SHAPE(classes))};
	tgc_tensor *h = tgc_relu(tgc_add(tgc_matmul(x, p[0]), p[1]));

	descend(n, tgc_cross_entropy(tgc_add(tgc_matmul(h, p[2]), p[3]), y), 4, p);
}

static tgc_tensor *batch_norm(tgc_tensor *x, tgc_tensor *gamma, tgc_tensor *beta)
{
	int64_t c = tgc_tensor_shape(x).dims[1];
	tgc_tensor *mean = tgc_mean(x, TGC_AXES(0, 2, 3), true);
	tgc_tensor *d = tgc_sub(x, mean);
	tgc_tensor *var = tgc_mean(tgc_square(d), TGC_AXES(0, 2, 3), true);
	tgc_tensor *y = tgc_div(d, tgc_sqrt(tgc_add(var, 1e-5)));

	return tgc_add(tgc_mul(y, tgc_reshape(gamma, TGC_SHAPE(1, c, 1, 1))),
	               tgc_reshape(beta, TGC_SHAPE(1, c, 1, 1)));
}

static void two_convs(struct net *n)
{
	int64_t c = net_pick(n, 32, 4), s = net_pick(n, 16, 6);
	tgc_tensor *x = net_data(n, TGC_SHAPE(net_pick(n, 64, 2), c, s, s));
	tgc_tensor *w = net_state(n, TGC_SHAPE(c, c, 3, 3)), *v = net_state(n, TGC_SHAPE(c, c, 3, 3));
	tgc_tensor *h = tgc_relu(tgc_conv2d(x, w, .padding = {1, 1, 1, 1}));

	net_out(n, tgc_relu(tgc_conv2d(h, v, .padding = {1, 1, 1, 1})));
}

static void cnn(struct net *n)
{
	int64_t batch = net_pick(n, 128, 2), c = net_pick(n, 32, 3), s = net_pick(n, 28, 8), o = s / 2;
	tgc_tensor *x = net_data(n, TGC_SHAPE(batch, 1, s, s)), *y = net_labels(n, batch, 10);
	tgc_tensor *p[] = {net_state(n, TGC_SHAPE(c, 1, 3, 3)), net_state(n, TGC_SHAPE(c, c, 3, 3)),
	                   net_state(n, TGC_SHAPE(c)), net_state(n, TGC_SHAPE(c)), net_state(n, TGC_SHAPE(c * o * o, 10))};
	tgc_tensor *h = tgc_relu(tgc_conv2d(x, p[0], .padding = {1, 1, 1, 1}));

	h = tgc_relu(batch_norm(tgc_conv2d(h, p[1], .padding = {1, 1, 1, 1}), p[2], p[3]));
	h = tgc_flatten(tgc_max_pool2d(h, 2, 2, 0), 1);
	descend(n, tgc_cross_entropy(tgc_matmul(h, p[4]), y), 5, p);
}

static void attention(struct net *n)
{
	int64_t t = net_pick(n, 64, 6), d = net_pick(n, 32, 4);
	tgc_tensor *q = net_state(n, TGC_SHAPE(2, 4, t, d)), *k = net_state(n, TGC_SHAPE(2, 4, t, d));
	tgc_tensor *v = net_state(n, TGC_SHAPE(2, 4, t, d)), *grads[3];
	tgc_tensor *y = tgc_attention(q, k, v, true);

	net_out(n, y);
	assert_int_equal(
	    tgc_grad(tgc_sum(tgc_square(y), TGC_ALL_AXES, false), 3, (tgc_tensor *[]){q, k, v}, grads), TGC_OK);
	for (int i = 0; i < 3; i++)
		net_out(n, grads[i]);
}

static void attention_forward(struct net *n)
{
	int64_t t = net_pick(n, 1024, 17), d = net_pick(n, 64, 5);
	tgc_shape shape = TGC_SHAPE(net_pick(n, 8, 3), 4, t, d);

	net_out(n, tgc_attention(net_data(n, shape), net_data(n, shape), net_data(n, shape), true));
}

// Rows of a matrix that does not fit: it is stored, but read again by the next stages of its own block only.
static void attention_long(struct net *n)
{
	int64_t t = net_pick(n, 1024, 65), d = net_pick(n, 64, 3);
	tgc_shape shape = TGC_SHAPE(net_pick(n, 8, 1), net_pick(n, 12, 2), t, d);
	tgc_tensor *x[3] = {net_state(n, shape), net_state(n, shape), net_state(n, shape)}, *grads[3];
	tgc_tensor *y = tgc_attention(x[0], x[1], x[2], true);

	net_out(n, y);
	assert_int_equal(tgc_grad(tgc_sum(tgc_mul(y, net_data(n, shape)), TGC_ALL_AXES, false), 3, x, grads),
	                 TGC_OK);
	for (int i = 0; i < 3; i++)
		net_out(n, grads[i]);
}

static void norm_of_product(struct net *n)
{
	int64_t k = net_pick(n, 128, 9), m = net_pick(n, 256, 20);
	tgc_tensor *y = tgc_matmul(net_data(n, TGC_SHAPE(net_pick(n, 8192, 37), k)), net_data(n, TGC_SHAPE(k, m)));

	net_out(n, tgc_layer_norm(y, net_data(n, TGC_SHAPE(m)), net_data(n, TGC_SHAPE(m)), 1e-5));
}

static void dropout(struct net *n)
{
	int64_t k = net_pick(n, 512, 8);
	tgc_tensor *x = net_data(n, TGC_SHAPE(net_pick(n, 256, 6), k)), *w = net_state(n, TGC_SHAPE(k, k)), *g;
	tgc_tensor *h = tgc_dropout(tgc_relu(tgc_matmul(x, w)), 0.5);

	assert_int_equal(tgc_grad(tgc_sum(tgc_square(h), TGC_ALL_AXES, false), 1, &w, &g), TGC_OK);
	net_out(n, g);
}

static void optimizer(struct net *n)
{
	tgc_tensor *p[8], *g[8];

	for (int i = 0; i < 8; i++) {
		tgc_shape shape = TGC_SHAPE(net_pick(n, 512, 5) + i, net_pick(n, 64, 3));

		if (i & 1)
			shape = TGC_SHAPE(net_pick(n, 512, 7) + i);
		p[i] = net_state(n, shape);
		g[i] = net_data(n, shape);
	}
	adam(n, 8, p, g);
}

static void embedding(struct net *n)
{
	int64_t words = net_pick(n, 1000, 9), d = net_pick(n, 64, 5);
	tgc_tensor *table = net_state(n, TGC_SHAPE(words, d)), *ids = net_labels(n, net_pick(n, 256, 12), words), *g;
	tgc_tensor *h = tgc_tanh(tgc_gather(table, ids, 0));

	assert_int_equal(tgc_grad(tgc_sum(h, TGC_ALL_AXES, false), 1, &table, &g), TGC_OK);
	net_store(n, table, tgc_sub(table, tgc_mul(g, 0.1)));
	net_out(n, h);
}

// ---- variables -----------------------------------------------------------------------------------------------------
static void swap(struct net *n)
{
	tgc_tensor *a = net_state(n, TGC_SHAPE(6, 5)), *b = net_state(n, TGC_SHAPE(6, 5));

	net_store(n, a, b);
	net_store(n, b, a);
}

static void rotate(struct net *n) // a reader of each that needs the other's new value
{
	tgc_tensor *a = net_state(n, TGC_SHAPE(6, 6)), *b = net_state(n, TGC_SHAPE(6, 6));
	tgc_tensor *a1 = tgc_add(a, tgc_transpose(b, 0, 1)), *b1 = tgc_add(b, tgc_transpose(a, 0, 1));

	net_store(n, a, a1);
	net_store(n, b, b1);
	net_out(n, tgc_matmul(a1, b));
	net_out(n, tgc_matmul(b1, a));
}

static void cross(struct net *n) // alike, but each reads what the other overwrites
{
	tgc_tensor *a = net_state(n, TGC_SHAPE(30, 2)), *b = net_state(n, TGC_SHAPE(30, 2)),
	           *x = net_data(n, TGC_SHAPE(60));

	net_store(n, a, tgc_add(a, tgc_mul(b, 0.5)));
	net_store(n, b, tgc_add(b, tgc_mul(a, 0.5)));
	for (int i = 0; i < 2; i++)
		net_out(n, tgc_mul(tgc_add(x, (double)i), 0.5));
}

static void square_in_place(struct net *n)
{
	tgc_tensor *a = net_state(n, TGC_SHAPE(6, 6));

	net_store(n, a, tgc_matmul(a, a));
}

static void counter(struct net *n)
{
	tgc_tensor *a = net_state(n, TGC_SHAPE(40)), *b = net_state(n, TGC_SHAPE(40));
	tgc_tensor *next = tgc_add(a, 1.0);

	net_store(n, a, next);
	net_store(n, b, next);
	net_out(n, next);
	net_out(n, a);
	net_out(n, tgc_reshape(tgc_mul(a, 2.0), TGC_SHAPE(8, 5)));
}

static void views(struct net *n)
{
	tgc_tensor *a = net_state(n, TGC_SHAPE(4, 6)), *x = net_data(n, TGC_SHAPE(4, 6));

	net_store(n, a, tgc_reshape(tgc_transpose(x, 0, 1), TGC_SHAPE(4, 6)));
	net_out(n, tgc_flip(a, TGC_AXES(1)));
	net_out(n, tgc_reshape(x, TGC_SHAPE(24)));
	net_out(n, tgc_softmax(tgc_add(a, x), 1));
}

static void row_in_place(struct net *n)
{
	tgc_tensor *a = net_state(n, TGC_SHAPE(20, 12)), *b = net_state(n, TGC_SHAPE(20));

	net_store(n, a, tgc_softmax(a, 1));
	net_store(n, b, tgc_add(b, tgc_sum(a, TGC_AXES(1), false)));
}

// What running statistics follow, and a use of it: sums over many rows that the next step finishes.
static void norm_columns(struct net *n)
{
	tgc_tensor *x = net_data(n, TGC_SHAPE(net_pick(n, 4096, 1024), 16)), *seen = net_state(n, TGC_SHAPE(1, 16));
	tgc_tensor *mean = tgc_mean(x, TGC_AXES(0), true), *var = tgc_var(x, TGC_AXES(0), 0, true);

	net_out(n, tgc_div(tgc_sub(x, mean), tgc_sqrt(tgc_add(var, 1e-5))));
	net_store(n, seen, tgc_add(tgc_mul(seen, 0.9), mean));
}

// A mean of all elements is one number.
static void center(struct net *n)
{
	tgc_tensor *x = net_data(n, TGC_SHAPE(net_pick(n, 512, 40), 1000));

	net_out(n, tgc_exp(tgc_sub(x, tgc_mean(x, TGC_ALL_AXES, true))));
}

// ---- the table -----------------------------------------------------------------------------------------------------
const struct net_row net_rows[] = {
    {"softmax", softmax, 1, 0},
    {"log_softmax", log_softmax, 1, 0},
    {"layer_norm", layer_norm, 1, 0},
    {"layer_norm_back", layer_norm_back, 1, 0},
    {"linear_relu", linear_relu, 1, 0},
    {"two_outputs", two_outputs, 1, 0},
    {"sum_and_max", sum_and_max, 1, 0},
    {"sum_columns", sum_columns, 1, 0},
    {"sum_all", sum_all, 1, 0},
    {"tall", tall, 1, 0},
    {"gelu_chain", gelu_chain, 1, 0},
    {"mlp", mlp, 9, 0},
    {"two_convs", two_convs, 4, 0},
    {"cnn", cnn, 22, 0},
    {"attention", attention, 1, 0},
    {"attention_forward", attention_forward, 1, 0},
    {"attention_long", attention_long, 3, 0},
    {"norm_of_product", norm_of_product, 1, 0},
    {"dropout", dropout, 2, 0},
    {"optimizer", optimizer, 1, 0},
    {"embedding", embedding, 3, 0},
    {"swap", swap, 0, 4},
    {"rotate", rotate, 4, 1},
    {"cross", cross, 2, 0},
    {"square_in_place", square_in_place, 1, 1},
    {"counter", counter, 1, 3},
    {"views", views, 3, 1},
    {"row_in_place", row_in_place, 1, 1},
    {"norm_columns", norm_columns, 3, 0},
    {"center", center, 2, 0},
};
const int net_rows_count = TG_COUNT(net_rows);

// ---- their plans -----------------------------------------------------------------------------------------------------
const struct target *net_target(void)
{
	return target_find("x86-64-v4");
}

static const struct net_row *find(const char *name)
{
	for (int i = 0; i < net_rows_count; i++)
		if (!strcmp(net_rows[i].name, name))
			return &net_rows[i];
	fail_msg("no network %s", name);
	return NULL;
}

void net_plan_build(struct net_plan *b, const char *name, void (*record)(struct net *n), bool small)
{
	*b = (struct net_plan){.n = {.c = context_create(NULL), .small = small, .seed = 1}};
	assert_non_null(b->n.c);
	b->n.c->backend.upload = upload;
	b->n.c->backend.buffer_unref = drop;
	arena_init(&b->arena, NULL);
	record = record ? record : find(name)->record;
	record(&b->n);
	assert_true(linear_build(b->n.c, &b->l, &b->arena, b->n.nouts, b->n.outs, b->n.assign, 0, NULL));
	b->p = schedule_build(b->n.c, &b->l, net_target());
	assert_non_null(b->p);
}

void net_plan_free(struct net_plan *b)
{
	plan_free(b->p);
	arena_free(&b->arena);
	context_destroy(b->n.c);
}

char *net_plan_text(const struct plan *p)
{
	struct text t = {0};

	plan_print(p, &t);
	return text_take(&t);
}

void net_plan_check(const struct plan *p, const char *name)
{
	char *wrong = plan_verify(p), *text;

	if (!wrong)
		return;
	text = net_plan_text(p);
	print_error("%s: %s\n%s\n", name, wrong, text);
	free(text);
	free(wrong);
	fail();
}
