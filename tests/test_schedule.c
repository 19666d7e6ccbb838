// Plans: how many kernels a network becomes, what is overwritten in place, whether the plan is sound, parses
// back and computes what the oracle computes. Networks are rows of a table, in a large size for the counts and
// a small one for the values. Not here: machine code (test_primitives.c, fuzz_graph.c).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "plan_eval.h"

static const struct target v4 = {.name = "x86-64-v4",
                                 .vector_bytes = 64,
                                 .vector_regs = 32,
                                 .fma_ports = 2,
                                 .l1_bytes = 32 << 10,
                                 .l2_bytes = 1 << 20,
                                 .l3_bytes = 32 << 20,
                                 .bandwidth = 20,
                                 .flops = 110,
                                 .launch_ns = 1000,
                                 TARGET_CHUNKS};

enum { MAX_OUTS = 64 };
struct net {
	tgc_context *c;
	bool small;
	uint64_t seed;
	struct node *outs[MAX_OUTS];
	struct variable *assign[MAX_OUTS];
	int nouts;
};

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
static int64_t pick(const struct net *n, int64_t large, int64_t small)
{
	return n->small ? small : large;
}

static tgc_tensor *data(struct net *n, tgc_shape shape)
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

static tgc_tensor *labels(struct net *n, int64_t count, int64_t below)
{
	int32_t *v = calloc((size_t)count, sizeof *v);
	tgc_tensor *t;

	for (int64_t i = 0; i < count; i++)
		v[i] = (int32_t)(sk_random(&n->seed) % (uint64_t)below);
	t = tgc_from_data(n->c, TGC_I32, TGC_SHAPE(count), v);
	free(v);
	return t;
}

static tgc_tensor *state(struct net *n, tgc_shape shape)
{
	return tgc_variable(data(n, shape));
}

static void out(struct net *n, tgc_tensor *t)
{
	assert_string_equal(tgc_error_message(n->c), "");
	n->outs[n->nouts++] = t->node;
}

static void store(struct net *n, tgc_tensor *var, tgc_tensor *t)
{
	n->assign[n->nouts] = var->var;
	out(n, t);
}

static void adam(struct net *n, int count, tgc_tensor *const *params, tgc_tensor *const *grads)
{
	tgc_tensor *lr = tgc_scalar(n->c, 0.01);

	for (int i = 0; i < count; i++) {
		tgc_shape shape = tgc_tensor_shape(params[i]);
		tgc_tensor *m = state(n, shape), *v = state(n, shape);
		tgc_tensor *m1 = tgc_add(tgc_mul(m, 0.9), tgc_mul(grads[i], 0.1));
		tgc_tensor *v1 = tgc_add(tgc_mul(tgc_square(v), 0.99), tgc_mul(tgc_square(grads[i]), 0.01));
		tgc_tensor *step = tgc_div(tgc_mul(lr, m1), tgc_add(tgc_sqrt(v1), 0.1));

		store(n, params[i], tgc_sub(params[i], step));
		store(n, m, m1);
		store(n, v, v1);
	}
}

static void descend(struct net *n, tgc_tensor *loss, int count, tgc_tensor *const *params)
{
	tgc_tensor *grads[16];

	assert_int_equal(tgc_grad(loss, count, params, grads), TGC_OK);
	out(n, loss);
	adam(n, count, params, grads);
}

// ---- networks ------------------------------------------------------------------------------------------------------
static void softmax(struct net *n)
{
	out(n, tgc_softmax(data(n, TGC_SHAPE(pick(n, 4096, 20), pick(n, 1024, 33))), 1));
}

static void log_softmax(struct net *n)
{
	out(n, tgc_log_softmax(data(n, TGC_SHAPE(pick(n, 64, 3), pick(n, 50257, 65))), 1));
}

static void layer_norm(struct net *n)
{
	int64_t c = pick(n, 768, 17);

	out(n, tgc_layer_norm(data(n, TGC_SHAPE(pick(n, 8192, 19), c)), data(n, TGC_SHAPE(c)),
	                      data(n, TGC_SHAPE(c)), 1e-5));
}

static void layer_norm_back(struct net *n)
{
	int64_t rows = pick(n, 8192, 19), c = pick(n, 768, 17);
	tgc_tensor *x = state(n, TGC_SHAPE(rows, c)), *g = state(n, TGC_SHAPE(c)), *b = state(n, TGC_SHAPE(c));
	tgc_tensor *y = tgc_layer_norm(x, g, b, 1e-5), *dy = data(n, TGC_SHAPE(rows, c));
	tgc_tensor *loss = tgc_sum(tgc_mul(y, dy), TGC_ALL_AXES, false), *grads[3];

	assert_int_equal(tgc_grad(loss, 3, (tgc_tensor *[]){x, g, b}, grads), TGC_OK);
	out(n, y);
	for (int i = 0; i < 3; i++)
		out(n, grads[i]);
}

static void linear_relu(struct net *n)
{
	int64_t k = pick(n, 512, 9), m = pick(n, 512, 7);
	tgc_tensor *x = data(n, TGC_SHAPE(pick(n, 512, 5), k)), *w = state(n, TGC_SHAPE(k, m));

	out(n, tgc_relu(tgc_add(tgc_matmul(x, w), state(n, TGC_SHAPE(m)))));
}

static void two_outputs(struct net *n)
{
	tgc_tensor *x = data(n, TGC_SHAPE(pick(n, 128, 3), 784));

	out(n, tgc_add(x, 1.0));
	out(n, tgc_mul(x, 2.0));
}

static void sum_and_max(struct net *n)
{
	tgc_tensor *x = data(n, TGC_SHAPE(pick(n, 4096, 33), pick(n, 4096, 20)));

	out(n, tgc_sum(x, TGC_AXES(1), false));
	out(n, tgc_max(x, TGC_AXES(1), true));
	out(n, tgc_mean(tgc_square(x), TGC_AXES(1), false));
}

static void sum_columns(struct net *n)
{
	tgc_tensor *x = data(n, TGC_SHAPE(pick(n, 8192, 33), pick(n, 768, 20)));
	tgc_tensor *y = data(n, TGC_SHAPE(pick(n, 8192, 33), pick(n, 768, 20)));

	out(n, tgc_sum(x, TGC_AXES(0), false));
	out(n, tgc_sum(tgc_mul(x, y), TGC_AXES(0), false));
}

static void sum_all(struct net *n)
{
	tgc_tensor *x = data(n, TGC_SHAPE(pick(n, 4096, 60), pick(n, 4096, 2000)));

	out(n, tgc_mul(tgc_sum(tgc_square(x), TGC_ALL_AXES, false), 0.5));
}

static void long_columns(struct net *n)
{
	out(n, tgc_sum(data(n, TGC_SHAPE(4096, 4096)), TGC_AXES(0), false));
}

static void tall(struct net *n)
{
	tgc_tensor *x = data(n, TGC_SHAPE(4096, 8)), *y = data(n, TGC_SHAPE(4096, 130)),
	           *b = state(n, TGC_SHAPE(8, 130));

	store(n, b, tgc_sub(b, tgc_matmul(tgc_transpose(x, 0, 1), y)));
}

static void gelu_chain(struct net *n)
{
	tgc_tensor *x = data(n, TGC_SHAPE(pick(n, 16384, 5), 1024)),
	           *r = data(n, TGC_SHAPE(pick(n, 16384, 5), 1024));

	out(n, tgc_add(tgc_gelu_tanh(tgc_add(x, data(n, TGC_SHAPE(1024)))), r));
}

static void mlp(struct net *n)
{
	int64_t batch = pick(n, 128, 6), in = pick(n, 784, 11), hid = pick(n, 512, 9), classes = 10;
	tgc_tensor *x = data(n, TGC_SHAPE(batch, in)), *y = labels(n, batch, classes);
	tgc_tensor *p[] = {state(n, TGC_SHAPE(in, hid)), state(n, TGC_SHAPE(hid)),
	                   state(n, TGC_SHAPE(hid, classes)), state(n, TGC_SHAPE(classes))};
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
	int64_t c = pick(n, 32, 4), s = pick(n, 16, 6);
	tgc_tensor *x = data(n, TGC_SHAPE(pick(n, 64, 2), c, s, s));
	tgc_tensor *w = state(n, TGC_SHAPE(c, c, 3, 3)), *v = state(n, TGC_SHAPE(c, c, 3, 3));
	tgc_tensor *h = tgc_relu(tgc_conv2d(x, w, .padding = {1, 1, 1, 1}));

	out(n, tgc_relu(tgc_conv2d(h, v, .padding = {1, 1, 1, 1})));
}

static void cnn(struct net *n)
{
	int64_t batch = pick(n, 128, 2), c = pick(n, 32, 3), s = pick(n, 28, 8), o = s / 2;
	tgc_tensor *x = data(n, TGC_SHAPE(batch, 1, s, s)), *y = labels(n, batch, 10);
	tgc_tensor *p[] = {state(n, TGC_SHAPE(c, 1, 3, 3)), state(n, TGC_SHAPE(c, c, 3, 3)),
	                   state(n, TGC_SHAPE(c)), state(n, TGC_SHAPE(c)), state(n, TGC_SHAPE(c * o * o, 10))};
	tgc_tensor *h = tgc_relu(tgc_conv2d(x, p[0], .padding = {1, 1, 1, 1}));

	h = tgc_relu(batch_norm(tgc_conv2d(h, p[1], .padding = {1, 1, 1, 1}), p[2], p[3]));
	h = tgc_flatten(tgc_max_pool2d(h, 2, 2, 0), 1);
	descend(n, tgc_cross_entropy(tgc_matmul(h, p[4]), y), 5, p);
}

static void attention(struct net *n)
{
	int64_t t = pick(n, 64, 6), d = pick(n, 32, 4);
	tgc_tensor *q = state(n, TGC_SHAPE(2, 4, t, d)), *k = state(n, TGC_SHAPE(2, 4, t, d));
	tgc_tensor *v = state(n, TGC_SHAPE(2, 4, t, d)), *grads[3];
	tgc_tensor *y = tgc_attention(q, k, v, true);

	out(n, y);
	assert_int_equal(
	    tgc_grad(tgc_sum(tgc_square(y), TGC_ALL_AXES, false), 3, (tgc_tensor *[]){q, k, v}, grads), TGC_OK);
	for (int i = 0; i < 3; i++)
		out(n, grads[i]);
}

static void attention_forward(struct net *n)
{
	int64_t t = pick(n, 1024, 17), d = pick(n, 64, 5);
	tgc_shape shape = TGC_SHAPE(pick(n, 8, 3), 4, t, d);

	out(n, tgc_attention(data(n, shape), data(n, shape), data(n, shape), true));
}

// Rows of a matrix that does not fit: it is stored, but read again by the next stages of its own block only.
static void attention_long(struct net *n)
{
	int64_t t = pick(n, 1024, 65), d = pick(n, 64, 3);
	tgc_shape shape = TGC_SHAPE(pick(n, 8, 1), pick(n, 12, 2), t, d);
	tgc_tensor *x[3] = {state(n, shape), state(n, shape), state(n, shape)}, *grads[3];
	tgc_tensor *y = tgc_attention(x[0], x[1], x[2], true);

	out(n, y);
	assert_int_equal(tgc_grad(tgc_sum(tgc_mul(y, data(n, shape)), TGC_ALL_AXES, false), 3, x, grads),
	                 TGC_OK);
	for (int i = 0; i < 3; i++)
		out(n, grads[i]);
}

static void norm_of_product(struct net *n)
{
	int64_t k = pick(n, 128, 9), m = pick(n, 256, 20);
	tgc_tensor *y = tgc_matmul(data(n, TGC_SHAPE(pick(n, 8192, 37), k)), data(n, TGC_SHAPE(k, m)));

	out(n, tgc_layer_norm(y, data(n, TGC_SHAPE(m)), data(n, TGC_SHAPE(m)), 1e-5));
}

static void dropout(struct net *n)
{
	int64_t k = pick(n, 512, 8);
	tgc_tensor *x = data(n, TGC_SHAPE(pick(n, 256, 6), k)), *w = state(n, TGC_SHAPE(k, k)), *g;
	tgc_tensor *h = tgc_dropout(tgc_relu(tgc_matmul(x, w)), 0.5);

	assert_int_equal(tgc_grad(tgc_sum(tgc_square(h), TGC_ALL_AXES, false), 1, &w, &g), TGC_OK);
	out(n, g);
}

static void optimizer(struct net *n)
{
	tgc_tensor *p[8], *g[8];

	for (int i = 0; i < 8; i++) {
		tgc_shape shape = TGC_SHAPE(pick(n, 512, 5) + i, pick(n, 64, 3));

		if (i & 1)
			shape = TGC_SHAPE(pick(n, 512, 7) + i);
		p[i] = state(n, shape);
		g[i] = data(n, shape);
	}
	adam(n, 8, p, g);
}

static void embedding(struct net *n)
{
	int64_t words = pick(n, 1000, 9), d = pick(n, 64, 5);
	tgc_tensor *table = state(n, TGC_SHAPE(words, d)), *ids = labels(n, pick(n, 256, 12), words), *g;
	tgc_tensor *h = tgc_tanh(tgc_gather(table, ids, 0));

	assert_int_equal(tgc_grad(tgc_sum(h, TGC_ALL_AXES, false), 1, &table, &g), TGC_OK);
	store(n, table, tgc_sub(table, tgc_mul(g, 0.1)));
	out(n, h);
}

static void checked(struct net *n)
{
	tgc_tensor *a = state(n, TGC_SHAPE(40)), *b = state(n, TGC_SHAPE(12)), *ids = labels(n, 12, 40);

	store(n, b, tgc_add(b, 1.0));
	out(n, tgc_sum(tgc_gather(tgc_mul(a, a), ids, 0), TGC_AXES(0), false));
}

// ---- variables -----------------------------------------------------------------------------------------------------
static void swap(struct net *n)
{
	tgc_tensor *a = state(n, TGC_SHAPE(6, 5)), *b = state(n, TGC_SHAPE(6, 5));

	store(n, a, b);
	store(n, b, a);
}

static void rotate(struct net *n) // a reader of each that needs the other's new value
{
	tgc_tensor *a = state(n, TGC_SHAPE(6, 6)), *b = state(n, TGC_SHAPE(6, 6));
	tgc_tensor *a1 = tgc_add(a, tgc_transpose(b, 0, 1)), *b1 = tgc_add(b, tgc_transpose(a, 0, 1));

	store(n, a, a1);
	store(n, b, b1);
	out(n, tgc_matmul(a1, b));
	out(n, tgc_matmul(b1, a));
}

static void cross(struct net *n) // alike, but each reads what the other overwrites
{
	tgc_tensor *a = state(n, TGC_SHAPE(30, 2)), *b = state(n, TGC_SHAPE(30, 2)),
	           *x = data(n, TGC_SHAPE(60));

	store(n, a, tgc_add(a, tgc_mul(b, 0.5)));
	store(n, b, tgc_add(b, tgc_mul(a, 0.5)));
	for (int i = 0; i < 2; i++)
		out(n, tgc_mul(tgc_add(x, (double)i), 0.5));
}

static void square_in_place(struct net *n)
{
	tgc_tensor *a = state(n, TGC_SHAPE(6, 6));

	store(n, a, tgc_matmul(a, a));
}

static void counter(struct net *n)
{
	tgc_tensor *a = state(n, TGC_SHAPE(40)), *b = state(n, TGC_SHAPE(40));
	tgc_tensor *next = tgc_add(a, 1.0);

	store(n, a, next);
	store(n, b, next);
	out(n, next);
	out(n, a);
	out(n, tgc_reshape(tgc_mul(a, 2.0), TGC_SHAPE(8, 5)));
}

static void views(struct net *n)
{
	tgc_tensor *a = state(n, TGC_SHAPE(4, 6)), *x = data(n, TGC_SHAPE(4, 6));

	store(n, a, tgc_reshape(tgc_transpose(x, 0, 1), TGC_SHAPE(4, 6)));
	out(n, tgc_flip(a, TGC_AXES(1)));
	out(n, tgc_reshape(x, TGC_SHAPE(24)));
	out(n, tgc_softmax(tgc_add(a, x), 1));
}

static void row_in_place(struct net *n)
{
	tgc_tensor *a = state(n, TGC_SHAPE(20, 12)), *b = state(n, TGC_SHAPE(20));

	store(n, a, tgc_softmax(a, 1));
	store(n, b, tgc_add(b, tgc_sum(a, TGC_AXES(1), false)));
}

// What running statistics follow, and a use of it: sums over many rows that the next step finishes.
static void norm_columns(struct net *n)
{
	tgc_tensor *x = data(n, TGC_SHAPE(pick(n, 4096, 1024), 16)), *seen = state(n, TGC_SHAPE(1, 16));
	tgc_tensor *mean = tgc_mean(x, TGC_AXES(0), true), *var = tgc_var(x, TGC_AXES(0), 0, true);

	out(n, tgc_div(tgc_sub(x, mean), tgc_sqrt(tgc_add(var, 1e-5))));
	store(n, seen, tgc_add(tgc_mul(seen, 0.9), mean));
}

// A mean of all elements is one number.
static void center(struct net *n)
{
	tgc_tensor *x = data(n, TGC_SHAPE(pick(n, 512, 40), 1000));

	out(n, tgc_exp(tgc_sub(x, tgc_mean(x, TGC_ALL_AXES, true))));
}

// ---- the table -----------------------------------------------------------------------------------------------------
struct row {
	const char *name;
	void (*build)(struct net *n);
	int groups, copies; // of the large size
};
static const struct row rows[] = {
    {"softmax", softmax, 1, 0},
    {"log_softmax", log_softmax, 1, 0},
    {"layer_norm", layer_norm, 1, 0},
    {"layer_norm_back", layer_norm_back, 3, 0},
    {"linear_relu", linear_relu, 1, 0},
    {"two_outputs", two_outputs, 1, 0},
    {"sum_and_max", sum_and_max, 1, 0},
    {"sum_columns", sum_columns, 1, 0},
    {"sum_all", sum_all, 1, 0},
    {"tall", tall, 1, 0},
    {"gelu_chain", gelu_chain, 1, 0},
    {"mlp", mlp, 9, 0},
    {"two_convs", two_convs, 4, 0},
    {"cnn", cnn, 23, 0},
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

struct built {
	struct net n;
	struct arena arena;
	struct linear l;
	struct plan *p;
};

static void build(struct built *b, const struct row *r, bool small)
{
	*b = (struct built){.n = {.c = context_create(NULL), .small = small, .seed = 1}};
	assert_non_null(b->n.c);
	b->n.c->backend.upload = upload;
	b->n.c->backend.buffer_unref = drop;
	arena_init(&b->arena, NULL);
	r->build(&b->n);
	assert_true(linear_build(b->n.c, &b->l, &b->arena, b->n.nouts, b->n.outs, b->n.assign, 0, NULL));
	b->p = schedule_build(b->n.c, &b->l, &v4);
	assert_non_null(b->p);
}

static void leave(struct built *b)
{
	plan_free(b->p);
	arena_free(&b->arena);
	context_destroy(b->n.c);
}

static char *text_of(const struct plan *p)
{
	struct text t = {0};

	plan_print(p, &t);
	return text_take(&t);
}

static void sound(const struct plan *p, const char *name)
{
	char *wrong = plan_verify(p), *text;

	if (!wrong)
		return;
	text = text_of(p);
	print_error("%s: %s\n%s\n", name, wrong, text);
	free(text);
	free(wrong);
	fail();
}

static void test_counts(void **unused)
{
	int bad = 0;

	(void)unused;
	for (int i = 0; i < TG_COUNT(rows); i++) {
		struct built b;
		int copies = 0, groups = 0;

		build(&b, &rows[i], false);
		sound(b.p, rows[i].name);
		for (int k = 0; k < b.p->ngroups; k++) // both halves are one
			groups += b.p->groups[k].half != HALF_FINISH;
		for (int k = 0; k < b.p->nsteps; k++)
			copies += b.p->steps[k].kind == STEP_COPY;
		if (groups != rows[i].groups || copies != rows[i].copies) {
			char *text = text_of(b.p);

			fprintf(stderr, "%s: %d groups and %d copies, not %d and %d\n%s\n", rows[i].name,
			        groups, copies, rows[i].groups, rows[i].copies, text);
			free(text);
			bad++;
		}
		leave(&b);
	}
	assert_int_equal(bad, 0);
}

static void counted_loss(struct net *n)
{
	tgc_tensor *a = state(n, TGC_SHAPE(4)), *w = state(n, TGC_SHAPE(8, 10));
	tgc_tensor *h = tgc_matmul(data(n, TGC_SHAPE(6, 8)), w);

	store(n, a, tgc_add(a, 1.0));
	out(n, tgc_cross_entropy(h, labels(n, 6, 10)));
}

// A value in error leaves variables unchanged: what may raise an error runs before what stores.
static void test_errors_first(void **unused)
{
	struct built b;
	int raised = -1, stored = -1;

	(void)unused;
	build(&b, &(struct row){"counted_loss", counted_loss, 0, 0}, false);
	sound(b.p, "counted_loss");
	for (int i = 0; i < b.p->ngroups; i++) { // in the order of steps
		struct source *s;
		struct group_size size;
		const struct group *g = &b.p->groups[i];

		assert_true(group_walk(b.p, i, &s, &size) >= 0);
		free(s);
		raised = size.flags ? i : raised;
		if (b.p->bufs[g->root_bufs[0]].cls == BUF_LEAF)
			stored = i;
	}
	assert_true(raised >= 0);
	assert_true(stored > raised);
	leave(&b);
}

static void embedded(struct net *n)
{
	tgc_tensor *p[] = {state(n, TGC_SHAPE(100, 8)), state(n, TGC_SHAPE(8, 6))}, *g[2];
	tgc_tensor *h = tgc_tanh(tgc_matmul(tgc_gather(p[0], labels(n, 12, 100), 0), p[1]));

	assert_int_equal(tgc_grad(tgc_sum(h, TGC_ALL_AXES, false), 2, p, g), TGC_OK);
	for (int i = 0; i < 2; i++)
		store(n, p[i], tgc_sub(p[i], tgc_mul(g[i], 0.1)));
}

// A gather's gradient checks what the gather did: nothing waits for it. The gather itself is first all the same.
static void test_repeated_checks(void **unused)
{
	struct built b;
	int gather = -1, scatter = -1, stored = -1;

	(void)unused;
	build(&b, &(struct row){"embedded", embedded, 0, 0}, false);
	sound(b.p, "embedded");
	for (int i = 0; i < b.p->ngroups; i++) { // in the order of steps
		const struct group *g = &b.p->groups[i];
		struct source *s;
		struct group_size size;

		assert_true(group_walk(b.p, i, &s, &size) >= 0);
		free(s);
		if (g->kind == GROUP_SCATTER)
			scatter = i;
		else if (size.flags && gather < 0)
			gather = i;
		if (b.p->bufs[g->root_bufs[0]].cls == BUF_LEAF && stored < 0)
			stored = i;
	}
	assert_true(gather >= 0 && gather < stored);
	assert_true(stored < scatter);
	leave(&b);
}

static void test_split(void **unused)
{
	static const struct row split[] = {
	    {"sum_all", sum_all, 0, 0}, {"tall", tall, 0, 0}, {"long_columns", long_columns, 0, 0}};

	(void)unused;
	for (int i = 0; i < TG_COUNT(split); i++) {
		struct built b;

		build(&b, &split[i], false);
		assert_true(b.p->groups[0].split > 1);
		assert_true(b.p->groups[0].scratch_buf >= 0);
		leave(&b);
	}
}

static void two_short(struct net *n)
{
	out(n, tgc_sum(data(n, TGC_SHAPE(64, 64)), TGC_AXES(0), false));
	out(n, tgc_exp(data(n, TGC_SHAPE(100))));
}

static void two_long(struct net *n)
{
	for (int i = 0; i < 2; i++)
		out(n, tgc_matmul(data(n, TGC_SHAPE(512, 512)), data(n, TGC_SHAPE(512, 512))));
}

static void one_source(struct net *n)
{
	tgc_tensor *x = data(n, TGC_SHAPE(2048, 512));

	out(n, tgc_softmax(x, 1));
	out(n, tgc_sum(x, TGC_AXES(0), false));
}

static void overwritten(struct net *n)
{
	tgc_tensor *a = state(n, TGC_SHAPE(64, 64));

	out(n, tgc_sum(a, TGC_AXES(0), false));
	store(n, a, tgc_mul(a, 2.0));
}

// Two groups are one step where one is short or both read the same, and none writes what the other reads.
static void test_beside(void **unused)
{
	static const struct {
		struct row row;
		int steps;
	} cases[] = {{{"two_short", two_short, 0, 0}, 1},
	             {{"two_long", two_long, 0, 0}, 2},
	             {{"one_source", one_source, 0, 0}, 1},
	             {{"overwritten", overwritten, 0, 0}, 2}};

	(void)unused;
	for (int i = 0; i < TG_COUNT(cases); i++) {
		struct built b;

		build(&b, &cases[i].row, false);
		sound(b.p, cases[i].row.name);
		if (b.p->ngroups != 2 || b.p->nsteps != cases[i].steps)
			fail_msg("%s: %d groups in %d steps", cases[i].row.name, b.p->ngroups, b.p->nsteps);
		leave(&b);
	}
}

// The three parts of a projection, as attention takes them.
static void three_parts(struct net *n)
{
	tgc_tensor *w = state(n, TGC_SHAPE(32, 96)), *v = state(n, TGC_SHAPE(32, 32)), *p[] = {v, w}, *g[2], *part[3];
	tgc_tensor *h = tgc_matmul(tgc_matmul(data(n, TGC_SHAPE(64, 32)), v), w);

	for (int i = 0; i < 3; i++)
		part[i] = tgc_tanh(tgc_matmul(tgc_slice_axis(h, 1, 32 * i, 32 * (i + 1)), data(n, TGC_SHAPE(32, 32))));
	h = tgc_mul(tgc_mul(part[0], part[1]), part[2]);
	tgc_grad(tgc_sum(h, TGC_ALL_AXES, false), 2, p, g);
	for (int i = 0; i < 2; i++)
		store(n, p[i], tgc_sub(p[i], g[i]));
}

// Their gradients are put together once, not again for each element that a product reads.
static void test_parts(void **unused)
{
	struct built b;
	int contractions = 0;

	(void)unused;
	build(&b, &(struct row){"three_parts", three_parts, 0, 0}, false);
	sound(b.p, "three_parts");
	for (int i = 0; i < b.p->prog.n; i++) {
		const struct pnode *n = &b.p->prog.nodes[i];

		for (int k = 0; k < n->nsrc && n->op == OP_CONTRACT; k++) {
			int x = n->src[k];

			while (b.p->node_buf[x] < 0 && op_info[b.p->prog.nodes[x].op].cls == CLASS_MOVE)
				x = b.p->prog.nodes[x].src[0];
			assert_true(b.p->node_buf[x] >= 0);
		}
		contractions += n->op == OP_CONTRACT;
	}
	assert_int_equal(contractions, 11);
	leave(&b);
}

static void two_readers(struct net *n)
{
	tgc_tensor *x = data(n, TGC_SHAPE(4096, 16)), *y = data(n, TGC_SHAPE(64, 64));
	tgc_tensor *m = tgc_sum(x, TGC_AXES(0), true);

	out(n, tgc_softmax(tgc_add(tgc_matmul(y, y), tgc_sum(m, TGC_ALL_AXES, true)), 1));
	out(n, tgc_sub(x, m));
}

// The reader takes what is stored over what it comes from.
static void follows_itself(struct net *n)
{
	tgc_tensor *x = data(n, TGC_SHAPE(4096, 16)), *seen = state(n, TGC_SHAPE(1, 16));
	tgc_tensor *now = tgc_add(tgc_mul(seen, 0.9), tgc_sum(x, TGC_AXES(0), true));

	store(n, seen, now);
	out(n, tgc_sub(x, now));
}

// Partial results too many for every thread to add up.
static void too_many(struct net *n)
{
	tgc_tensor *x = data(n, TGC_SHAPE(16384, 8)), *y = data(n, TGC_SHAPE(16384, 130));

	out(n, tgc_matmul(data(n, TGC_SHAPE(64, 8)), tgc_matmul(tgc_transpose(x, 0, 1), y)));
}

// Sums in chunks are finished where the next step needs them, each thread for itself, unless that would be unsound or
// take longer than a barrier.
static void test_halve(void **unused)
{
	static const struct {
		struct row row;
		int steps, finishes, pre;
	} cases[] = {{{"norm_columns", norm_columns, 0, 0}, 3, 2, 2},
	             {{"center", center, 0, 0}, 2, 1, 1},
	             {{"sum_all", sum_all, 0, 0}, 1, 0, 0},
	             {{"two_readers", two_readers, 0, 0}, 3, 1, 2},
	             {{"follows_itself", follows_itself, 0, 0}, 2, 0, 0},
	             {{"too_many", too_many, 0, 0}, 2, 0, 0}};

	(void)unused;
	for (int i = 0; i < TG_COUNT(cases); i++) {
		int finishes = 0, pre = 0;
		struct built b;

		build(&b, &cases[i].row, false);
		sound(b.p, cases[i].row.name);
		for (int k = 0; k < b.p->ngroups; k++) {
			finishes += b.p->groups[k].half == HALF_FINISH;
			pre += b.p->groups[k].npre;
		}
		if (b.p->nsteps != cases[i].steps || finishes != cases[i].finishes || pre != cases[i].pre)
			fail_msg("%s: %d steps, %d finish what an earlier one left, %d for themselves", cases[i].row.name,
			         b.p->nsteps, finishes, pre);
		leave(&b);
	}
}

static void test_layout(void **unused)
{
	struct built b;
	int last = 0;

	(void)unused;
	build(&b, &(struct row){"two_convs", two_convs, 0, 0}, false);
	for (int i = 0; i < b.p->nbufs; i++) {
		const struct pbuf *p = &b.p->bufs[i];

		last += p->cls == BUF_ARENA && p->rank == 4 && p->dims[0].n == 64 && p->strides[1] == 1;
		if (p->cls != BUF_ARENA && p->rank == 4)
			assert_int_equal(p->strides[3], 1);
	}
	assert_int_equal(last, 1);
	leave(&b);
}

static void test_round_trip(void **unused)
{
	(void)unused;
	for (int i = 0; i < TG_COUNT(rows); i++) {
		struct built b;
		char *first, *second, *error;
		struct plan *again;

		build(&b, &rows[i], false);
		first = text_of(b.p);
		again = plan_parse(b.n.c, first, &error);
		if (!again)
			print_error("%s: %s\n", rows[i].name, error);
		assert_non_null(again);
		second = text_of(again);
		assert_string_equal(first, second);
		sound(again, rows[i].name);
		free(first);
		free(second);
		plan_free(again);
		leave(&b);
	}
}

// ---- values --------------------------------------------------------------------------------------------------------
static void *leaf_value(const struct built *b, int leaf)
{
	const struct pleaf *l = &b->l.prog.leaves[leaf];
	const struct node *n = b->l.leaf_nodes[leaf];
	size_t bytes = (size_t)l->elems * tgc_type_bytes((tgc_type)l->type);
	void *v = calloc(bytes + 8, 1);

	if (n->op == OP_VARIABLE)
		n = node_variable(n)->initial;
	if (l->cls != LEAF_SCALAR)
		memcpy(v, n->buf->data, bytes);
	else if (interp_is_float((tgc_type)l->type))
		interp_store_f((tgc_type)l->type, v, 0, b->l.leaf_values[leaf].f);
	else
		interp_store_i((tgc_type)l->type, v, 0, b->l.leaf_values[leaf].i);
	return v;
}

static void values(struct built *b, const char *name)
{
	const struct prog *p = &b->l.prog;
	struct interp_value *want = calloc((size_t)p->n, sizeof *want);
	void *leaves[128], *outs[MAX_OUTS];
	int32_t flags[64] = {0}, flag = -1;
	struct tally t = {0};
	char *error;

	for (int i = 0; i < p->nleaves; i++)
		leaves[i] = leaf_value(b, i);
	assert_int_equal(interp_run(b->n.c, p, (const void *const *)leaves, want, &flag), TGC_OK);
	for (int i = 0; i < p->nouts; i++)
		outs[i] = p->outs[i].assign >= 0 ? leaves[p->outs[i].assign]
		                                 : calloc((size_t)prog_elems(p, p->outs[i].node) + 1, 8);
	error = plan_eval(b->p, &v4, leaves, outs, flags);
	if (error)
		print_error("%s: %s\n", name, error);
	assert_null(error);
	for (int i = 0; i < p->nouts; i++) {
		tally_compare(&t, &want[p->outs[i].node], outs[i], false);
		if (t.failed)
			print_error("%s: output %d: %s\n", name, i, t.message);
		assert_false(t.failed);
	}
	for (int i = 0; i < p->nouts; i++)
		if (p->outs[i].assign < 0)
			free(outs[i]);
	for (int i = 0; i < p->nleaves; i++)
		free(leaves[i]);
	interp_values_free(p, want);
	free(want);
}

static void test_values(void **unused)
{
	(void)unused;
	for (int i = 0; i < TG_COUNT(rows); i++) {
		struct built b;

		build(&b, &rows[i], true);
		sound(b.p, rows[i].name);
		values(&b, rows[i].name);
		leave(&b);
	}
}

// ---- what the verifier must refuse ---------------------------------------------------------------------------------
static void overlap(struct plan *p)
{
	int64_t at = -1;

	for (int i = 0; i < p->nbufs; i++) {
		if (p->bufs[i].cls != BUF_ARENA)
			continue;
		if (at < 0)
			at = p->bufs[i].offset_bytes;
		else
			p->bufs[i].offset_bytes = at;
	}
}

static void reverse(struct plan *p)
{
	struct pstep s = p->steps[0];

	p->steps[0] = p->steps[p->nsteps - 1];
	p->steps[p->nsteps - 1] = s;
}

static void lose(struct plan *p)
{
	p->nsteps--;
}

static void mistype(struct plan *p)
{
	p->bufs[p->groups[0].root_bufs[0]].type = TGC_I64;
}

static void stray(struct plan *p)
{
	p->groups[0].roots[0] = p->groups[p->ngroups - 1].roots[0];
}

static void unsplit(struct plan *p)
{
	p->groups[0].split = 4;
}

static void shrunk(struct plan *p)
{
	p->bufs[p->groups[0].root_bufs[0]].bytes /= 2;
}

static void outside(struct plan *p)
{
	p->arena_bytes = 64;
}

// A reader that would wait for what stands beside it.
static void waiting(struct plan *p)
{
	for (int i = 0; i < p->ngroups; i++)
		p->groups[i].npre = 0;
}

static void never_finished(struct plan *p)
{
	for (int i = 0; i < p->ngroups; i++)
		p->groups[i].half = p->groups[i].half == HALF_FINISH ? HALF_NONE : p->groups[i].half;
}

// A variable is stored to before an index is looked at.
static void hasty(struct plan *p)
{
	struct pstep store = p->steps[0];
	int at = 0;

	while (p->bufs[p->groups[p->steps[at].group].root_bufs[0]].cls != BUF_LEAF)
		at++;
	for (store = p->steps[at]; at > 0; at--)
		p->steps[at] = p->steps[at - 1];
	p->steps[0] = store;
}

static void unfounded(struct plan *p)
{
	p->steps[1].group = p->steps[0].group;
}

static void test_refused(void **unused)
{
	static const struct {
		void (*mutate)(struct plan *p);
		struct row row;
	} cases[] = {{overlap, {"mlp", mlp, 0, 0}},
	             {reverse, {"mlp", mlp, 0, 0}},
	             {lose, {"mlp", mlp, 0, 0}},
	             {mistype, {"mlp", mlp, 0, 0}},
	             {stray, {"mlp", mlp, 0, 0}},
	             {unsplit, {"mlp", mlp, 0, 0}},
	             {shrunk, {"mlp", mlp, 0, 0}},
	             {outside, {"mlp", mlp, 0, 0}},
	             {waiting, {"norm_columns", norm_columns, 0, 0}},
	             {never_finished, {"norm_columns", norm_columns, 0, 0}},
	             {hasty, {"checked", checked, 0, 0}},
	             {unfounded, {"norm_columns", norm_columns, 0, 0}},
	             {reverse, {"norm_columns", norm_columns, 0, 0}}};

	(void)unused;
	for (int i = 0; i < TG_COUNT(cases); i++) {
		struct built b;
		char *wrong;

		build(&b, &cases[i].row, false);
		cases[i].mutate(b.p);
		wrong = plan_verify(b.p);
		if (!wrong)
			print_error("mutation %d passes\n", i);
		assert_non_null(wrong);
		free(wrong);
		leave(&b);
	}
}

static void test_bad_text(void **unused)
{
	static const char *const texts[] = {
	    "",
	    "plan {",
	    "plan { program { } arena 0 peak 0 bound 0 }}x",
	    "plan { program { } arena 0 peak 0 bound 0 buf b1 arena 0 f32[] {} at 0 bytes 4 live 0..0 }",
	    "plan { program { } arena 0 peak 0 bound 0 group g0 map split 1 segs 0 roots %0=b0 why \"\" }",
	    "plan { program { } arena 0 peak 0 bound 0 step kernel g0 }",
	    "plan { program { } arena 0 peak 0 bound 0 step copy b0 b1 }",
	    "plan { program { } arena 0 peak 0 bound 0 group g0 map split 1 segs 0 roots why \"",
	};
	tgc_context *c = context_create(NULL);

	(void)unused;
	for (int i = 0; i < TG_COUNT(texts); i++) {
		char *error;
		struct plan *p = plan_parse(c, texts[i], &error);

		if (i == 2) { // the smallest plan; what follows it is not its business
			assert_non_null(p);
			plan_free(p);
			continue;
		}
		assert_null(p);
		assert_non_null(error);
		free(error);
	}
	context_destroy(c);
}

// ---- long programs -------------------------------------------------------------------------------------------------
static struct plan *chain(struct tgc_context *c, int n, int op, struct arena *a)
{
	struct pleaf leaf = {.cls = LEAF_DATA, .type = TGC_F32, .elems = 1000};
	struct pout last = {.assign = -1};
	struct linear l = {.prog = {.arena = a, .leaves = &leaf, .nleaves = 1, .outs = &last, .nouts = 1}};
	struct dim d = {1000, 0};
	int32_t x = prog_add(&l.prog, OP_DATA, TGC_F32, 1, &d, 0, NULL, 0, NULL);

	l.prog.nodes[x].leaf = 0;
	for (int i = 0; i < n; i++) {
		int32_t src[2] = {x, x};

		x = prog_add(&l.prog, op, TGC_F32, 1, &d, op == OP_ADD ? 2 : 1, src, op == OP_FLIP,
		             &(int64_t){1});
	}
	last.node = x;
	return schedule_build(c, &l, &v4);
}

static void test_long(void **unused)
{
	static const int ops[] = {OP_ADD, OP_NEG, OP_FLIP};
	tgc_context *c = context_create(NULL);

	(void)unused;
	for (int i = 0; i < TG_COUNT(ops); i++) {
		struct arena a;
		struct plan *p;
		char *wrong;

		arena_init(&a, NULL);
		p = chain(c, 100000, ops[i], &a);
		assert_non_null(p);
		wrong = plan_verify(p);
		if (wrong)
			print_error("%s\n", wrong);
		assert_null(wrong);
		assert_in_range(p->ngroups, 1, 2000);
		plan_free(p);
		arena_free(&a);
	}
	context_destroy(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_errors_first), cmocka_unit_test(test_repeated_checks),
	    cmocka_unit_test(test_split),
	    cmocka_unit_test(test_beside),
	    cmocka_unit_test(test_parts),
	    cmocka_unit_test(test_layout),       cmocka_unit_test(test_counts),
	    cmocka_unit_test(test_halve), cmocka_unit_test(test_values),       cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_refused),      cmocka_unit_test(test_bad_text),
	    cmocka_unit_test(test_long),
	};

	return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
