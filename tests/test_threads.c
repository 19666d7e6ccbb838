// Shapes large enough for several blocks and split reductions: right by the oracle's bound, and the same bits
// for any number of threads.
// Not here: small and awkward shapes (test_primitives.c, fuzz_graph.c).
#include "check.h"

#include <stdlib.h>

enum { MAX_OUT = 4 };

typedef int workload(tgc_context *ctx, tgc_tensor **out); // how many results

static tgc_tensor *noise(tgc_context *ctx, tgc_shape shape, uint64_t seed)
{
	struct snode n = {.op = OP_DATA, .type = TGC_F32, .rank = shape.rank, .lo = -1, .hi = 1, .seed = seed};
	tgc_tensor *t;
	void *data;

	memcpy(n.dims, shape.dims, sizeof n.dims);
	data = sk_data(&n);
	t = tgc_from_data(ctx, TGC_F32, shape, data);
	free(data);
	return t;
}

static int sums(tgc_context *ctx, tgc_tensor **out)
{
	tgc_tensor *x = noise(ctx, TGC_SHAPE(317, 611), 1);

	out[0] = tgc_sum(x, TGC_ALL_AXES, false);
	out[1] = tgc_sum(x, TGC_AXES(0), false);
	out[2] = tgc_sum(tgc_mul(x, x), TGC_AXES(1), false);
	out[3] = tgc_max(x, TGC_AXES(0), false);
	return 4;
}

static int rows(tgc_context *ctx, tgc_tensor **out)
{
	tgc_tensor *x = noise(ctx, TGC_SHAPE(129, 513), 2), *g;

	out[0] = tgc_softmax(x, 1);
	out[1] = tgc_layer_norm(x, noise(ctx, TGC_SHAPE(513), 3), noise(ctx, TGC_SHAPE(513), 4), 1e-5);
	(void)tgc_grad(tgc_sum(tgc_mul(out[1], tgc_sin(x)), TGC_ALL_AXES, false), 1, &x, &g);
	out[2] = g;
	out[3] = tgc_argmax(x, 1, false);
	return 4;
}

static int chains(tgc_context *ctx, tgc_tensor **out)
{
	tgc_tensor *x = noise(ctx, TGC_SHAPE(301, 401), 5), *y = noise(ctx, TGC_SHAPE(401, 301), 6);

	out[0] = tgc_add(tgc_gelu_tanh(tgc_add(x, noise(ctx, TGC_SHAPE(401), 7))), tgc_transpose(y, 0, 1));
	out[1] = tgc_flip(tgc_concat(2, (tgc_tensor *[]){x, out[0]}, 1), TGC_AXES(0));
	return 2;
}

static int products(tgc_context *ctx, tgc_tensor **out)
{
	tgc_tensor *a = noise(ctx, TGC_SHAPE(150, 260), 8), *b = noise(ctx, TGC_SHAPE(260, 131), 9);

	out[0] = tgc_relu(tgc_add(tgc_matmul(a, b), noise(ctx, TGC_SHAPE(131), 10)));
	out[1] = tgc_matmul(tgc_transpose(b, 0, 1), tgc_transpose(tgc_exp(a), 0, 1));
	out[2] = tgc_matmul(noise(ctx, TGC_SHAPE(3, 2000), 11), noise(ctx, TGC_SHAPE(2000, 5), 12));
	out[3] = tgc_einsum("bij,bkj->bik", noise(ctx, TGC_SHAPE(5, 33, 65), 13),
	                    noise(ctx, TGC_SHAPE(5, 47, 65), 14));
	return 4;
}

static int convolutions(tgc_context *ctx, tgc_tensor **out)
{
	tgc_tensor *x = noise(ctx, TGC_SHAPE(3, 16, 17, 17), 15), *w = noise(ctx, TGC_SHAPE(24, 16, 3, 3), 16);
	tgc_tensor *y = tgc_conv2d(x, w, .padding = {1, 1, 1, 1}), *wrt[] = {x, w};

	out[0] = tgc_relu(y);
	(void)tgc_grad(tgc_sum(tgc_mul(y, y), TGC_ALL_AXES, false), 2, wrt, out + 1);
	out[3] = tgc_conv2d(x, noise(ctx, TGC_SHAPE(16, 1, 3, 3), 17), .stride = {2, 2}, .groups = 16);
	return 4;
}

static int indexing(tgc_context *ctx, tgc_tensor **out)
{
	tgc_tensor *table = noise(ctx, TGC_SHAPE(211, 37), 18), *index;
	int32_t at[3000];
	uint64_t rng = 19;

	for (int i = 0; i < TG_COUNT(at); i++)
		at[i] = (int32_t)(sk_random(&rng) % 211);
	index = tgc_from_data(ctx, TGC_I32, TGC_SHAPE(TG_COUNT(at)), at);
	out[0] = tgc_gather(table, index, 0);
	out[1] = tgc_scatter(table, index, tgc_sin(out[0]), 0, TGC_SCATTER_ADD);
	out[2] = tgc_scatter(table, index, tgc_sin(out[0]), 0, TGC_SCATTER_SET);
	return 3;
}

// A whole training step: the weights after it.
static int training(tgc_context *ctx, tgc_tensor **out)
{
	tgc_tensor *w[] = {tgc_variable(noise(ctx, TGC_SHAPE(200, 96), 20)),
	                   tgc_variable(noise(ctx, TGC_SHAPE(96, 10), 21))};
	tgc_tensor *x = noise(ctx, TGC_SHAPE(64, 200), 22), *g[2], *loss;
	int32_t labels[64];

	for (int i = 0; i < 64; i++)
		labels[i] = i % 10;
	loss = tgc_cross_entropy(tgc_matmul(tgc_relu(tgc_matmul(x, w[0])), w[1]),
	                         tgc_from_data(ctx, TGC_I32, TGC_SHAPE(64), labels));
	(void)tgc_grad(loss, 2, w, g);
	for (int i = 0; i < 2; i++)
		out[i] = tgc_sub(w[i], tgc_mul(g[i], 0.1));
	out[2] = loss;
	return 3;
}

static void right(const char *name, workload *work)
{
	tgc_context *ctx = check_context("cpu", 2);
	tgc_tensor *out[MAX_OUT];
	struct tally t = {0};
	int n;

	if (!ctx)
		return;
	n = work(ctx, out);
	check_tensors(ctx, n, out, &t);
	if (t.failed)
		fail_msg("%s: %s", name, t.message);
	assert_true(t.unsure * 100 <= t.compared);
	tgc_context_free(&ctx);
}

static void *bits(workload *work, int threads, size_t *bytes)
{
	tgc_context *ctx = check_context("cpu", threads);
	tgc_tensor *out[MAX_OUT];
	uint8_t *all = calloc(1, 4 << 20);
	int n;

	*bytes = 0;
	if (!ctx)
		return all;
	n = work(ctx, out);
	assert_int_equal(tgc_realize_n(n, out), TGC_OK);
	for (int i = 0; i < n; i++) {
		size_t own = (size_t)tgc_tensor_elems(out[i]) * tgc_type_bytes(tgc_tensor_type(out[i]));

		assert_true(*bytes + own <= 4 << 20);
		assert_int_equal(tgc_read(out[i], all + *bytes, own), TGC_OK);
		*bytes += own;
	}
	tgc_context_free(&ctx);
	return all;
}

static void same_bits(const char *name, workload *work)
{
	const int threads[] = {2, 3, 8};
	size_t bytes, others;
	void *one = bits(work, 1, &bytes);

	for (int i = 0; i < TG_COUNT(threads); i++) {
		void *many = bits(work, threads[i], &others);

		assert_int_equal(bytes, others);
		if (memcmp(one, many, bytes) != 0)
			fail_msg("%s: %d threads give other bits", name, threads[i]);
		free(many);
	}
	free(one);
}

#define WORKLOAD(name)                                                                                         \
	static void test_##name(void **state)                                                                  \
	{                                                                                                      \
		(void)state;                                                                                   \
		right(#name, name);                                                                            \
		same_bits(#name, name);                                                                        \
	}
WORKLOAD(sums)
WORKLOAD(rows)
WORKLOAD(chains)
WORKLOAD(products)
WORKLOAD(convolutions)
WORKLOAD(indexing)
WORKLOAD(training)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sums),         cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_chains),       cmocka_unit_test(test_products),
	    cmocka_unit_test(test_convolutions), cmocka_unit_test(test_indexing),
	    cmocka_unit_test(test_training),
	};

	return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
