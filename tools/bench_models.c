// Networks of the benchmark: one forward pass on inputs 0 and 1 (data, labels). Parameters are made where they
// are first met. In:  a run. Out: a loss. Not here: shapes of the inputs and optimizers (bench_workloads.c).
#include "bench.h"

#include <math.h>

static tgc_tensor *linear(struct bench_run *r, tgc_tensor *x, int64_t in, int64_t out)
{
	tgc_tensor *w = bench_param(r, TGC_SHAPE(in, out), 1 / sqrt((double)in), 0);
	tgc_tensor *y = tgc_matmul(x, w);
	return tgc_add(y, tgc_cast(bench_param(r, TGC_SHAPE(out), 0, 0), tgc_tensor_type(y)));
}

static tgc_tensor *conv(struct bench_run *r, tgc_tensor *x, int64_t in, int64_t out, int64_t size,
                        int64_t stride, int64_t p)
{
	tgc_tensor *w =
	    bench_param(r, TGC_SHAPE(out, in, size, size), sqrt(2.0 / (double)(in * size * size)), 0);
	return tgc_conv2d(x, w, .stride = {stride, stride}, .padding = {p, p, p, p});
}

// state = 0.9 state + 0.1 now
static void follow(struct bench_run *r, int64_t channels, double first, tgc_tensor *now)
{
	tgc_tensor *v = bench_state(r, TGC_SHAPE(1, channels, 1, 1), first);
	if (!r->dry && !r->wide)
		tgc_assign(v, tgc_add(tgc_mul(v, 0.9), tgc_mul(now, 0.1)));
}

// In training, as torch.nn.BatchNorm2d: the running variance takes the unbiased one, and what comes out is of x's type.
static tgc_tensor *batch_norm(struct bench_run *r, tgc_tensor *x, int64_t channels)
{
	tgc_axes over = TGC_AXES(0, 2, 3);
	tgc_tensor *mean = tgc_mean(x, over, true), *var = tgc_var(x, over, 0, true);
	double n = (double)tgc_tensor_elems(x) / (double)channels;
	follow(r, channels, 0, mean);
	follow(r, channels, 1, tgc_mul(var, n / (n - 1)));
	tgc_tensor *y = tgc_div(tgc_sub(x, mean), tgc_sqrt(tgc_add(var, 1e-5)));
	y = tgc_mul(y, bench_param(r, TGC_SHAPE(channels, 1, 1), 0, 1));
	return tgc_cast(tgc_add(y, bench_param(r, TGC_SHAPE(channels, 1, 1), 0, 0)), tgc_tensor_type(x));
}

int bench_mlp(struct bench_run *r, tgc_tensor **out)
{
	tgc_tensor *x = bench_input(r, 0);
	x = tgc_relu(linear(r, x, 784, 512));
	x = tgc_relu(linear(r, x, 512, 512));
	out[0] = tgc_cross_entropy(linear(r, x, 512, 10), bench_input(r, 1));
	return 1;
}

int bench_cnn(struct bench_run *r, tgc_tensor **out)
{
	tgc_tensor *x = bench_input(r, 0);
	x = conv(r, tgc_relu(conv(r, x, 1, 32, 5, 1, 0)), 32, 32, 5, 1, 0);
	x = tgc_max_pool2d(tgc_relu(batch_norm(r, x, 32)), 2, 2, 0);
	x = conv(r, tgc_relu(conv(r, x, 32, 64, 3, 1, 0)), 64, 64, 3, 1, 0);
	x = tgc_max_pool2d(tgc_relu(batch_norm(r, x, 64)), 2, 2, 0);
	out[0] = tgc_cross_entropy(linear(r, tgc_flatten(x, 1), 64 * 3 * 3, 10), bench_input(r, 1));
	return 1;
}

static tgc_tensor *block(struct bench_run *r, tgc_tensor *x, int64_t in, int64_t wide, int64_t stride)
{
	tgc_tensor *y = tgc_relu(batch_norm(r, conv(r, x, in, wide, 3, stride, 1), wide));
	y = batch_norm(r, conv(r, y, wide, wide, 3, 1, 1), wide);
	if (stride != 1)
		x = batch_norm(r, conv(r, x, in, wide, 1, stride, 0), wide);
	return tgc_relu(tgc_add(x, y));
}

int bench_resnet20(struct bench_run *r, tgc_tensor **out)
{
	tgc_autocast_begin(r->c, r->w->bf16 ? TGC_BF16 : TGC_F32);
	tgc_tensor *x = tgc_relu(batch_norm(r, conv(r, bench_input(r, 0), 3, 16, 3, 1, 1), 16));
	for (int64_t stage = 0, in = 16; stage < 3; stage++)
		for (int64_t i = 0, wide = 16 << stage; i < 3; i++, in = wide)
			x = block(r, x, in, wide, in == wide ? 1 : 2);
	out[0] = tgc_cross_entropy(linear(r, tgc_mean(x, TGC_AXES(2, 3), false), 64, 10), bench_input(r, 1));
	tgc_autocast_end(r->c);
	return 1;
}

struct gpt {
	int64_t layers, width, heads, batch, length; // length: tokens of each
	tgc_tensor *(*gelu)(tgc_tensor *x);
};

static tgc_tensor *norm(struct bench_run *r, const struct gpt *g, tgc_tensor *x)
{
	tgc_tensor *gamma = bench_param(r, TGC_SHAPE(g->width), 0, 1), *beta = bench_param(r, TGC_SHAPE(g->width), 0, 0);
	return tgc_layer_norm(x, gamma, beta, 1e-5);
}

static tgc_tensor *heads(const struct gpt *g, tgc_tensor *x, int64_t which)
{
	tgc_tensor *part = tgc_slice_axis(x, 2, g->width * which, g->width * (which + 1));
	return tgc_transpose(tgc_reshape(part, TGC_SHAPE(g->batch, g->length, g->heads, g->width / g->heads)), 1, 2);
}

static tgc_tensor *layer(struct bench_run *r, const struct gpt *g, tgc_tensor *x)
{
	int64_t n = g->width;
	tgc_tensor *qkv = linear(r, norm(r, g, x), n, 3 * n);
	tgc_tensor *a = tgc_attention(heads(g, qkv, 0), heads(g, qkv, 1), heads(g, qkv, 2), true);
	a = tgc_reshape(tgc_transpose(a, 1, 2), TGC_SHAPE(g->batch, g->length, n));
	x = tgc_add(x, linear(r, a, n, n));
	return tgc_add(x, linear(r, g->gelu(linear(r, norm(r, g, x), n, 4 * n)), 4 * n, n));
}

// Tokens [batch * length] and the places of each; *table: the tokens' parameter.
static tgc_tensor *embedded(struct bench_run *r, const struct gpt *g, int64_t words, int64_t places, tgc_tensor **table)
{
	tgc_tensor *place = tgc_mod(tgc_iota(r->c, TGC_I32, TGC_SHAPE(g->batch * g->length), 0), g->length);
	*table = bench_param(r, TGC_SHAPE(words, g->width), 0.02, 0);
	tgc_tensor *x = tgc_gather(*table, bench_input(r, 0), 0);
	x = tgc_add(x, tgc_gather(bench_param(r, TGC_SHAPE(places, g->width), 0.02, 0), place, 0));
	return tgc_reshape(x, TGC_SHAPE(g->batch, g->length, g->width));
}

int bench_gpt_small(struct bench_run *r, tgc_tensor **out)
{
	static const struct gpt g = {4, 128, 4, 12, 64, tgc_gelu};
	tgc_tensor *table, *x = embedded(r, &g, 65, 64, &table);
	for (int64_t i = 0; i < g.layers; i++)
		x = layer(r, &g, x);
	tgc_tensor *logits = tgc_reshape(linear(r, norm(r, &g, x), 128, 65), TGC_SHAPE(768, 65));
	out[0] = tgc_cross_entropy(logits, bench_input(r, 1));
	return 1;
}

// 124M parameters: the head is the tokens' table turned. n: batch, length.
int bench_gpt2_124m(struct bench_run *r, tgc_tensor **out)
{
	const struct gpt g = {12, 768, 12, r->w->n[0], r->w->n[1], tgc_gelu_tanh};
	tgc_autocast_begin(r->c, r->w->bf16 ? TGC_BF16 : TGC_F32);
	tgc_tensor *table, *x = embedded(r, &g, 50257, 1024, &table);
	for (int64_t i = 0; i < g.layers; i++)
		x = layer(r, &g, x);
	x = tgc_reshape(norm(r, &g, x), TGC_SHAPE(g.batch * g.length, g.width));
	out[0] = tgc_cross_entropy(tgc_matmul(x, tgc_transpose(table, 0, 1)), bench_input(r, 1));
	tgc_autocast_end(r->c);
	return 1;
}
