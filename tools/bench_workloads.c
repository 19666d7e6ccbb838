// The benchmark's workloads: what is computed, on which shapes, and how much work that is.
// In:  a context. Out: recorded steps. Not here: whole networks (bench_models.c), data and running
// (bench_run.c), clocks (bench_time.c).
#include "bench.h"

#include <math.h>

static int matmul(struct bench_run *r, tgc_tensor **out)
{
	out[0] = tgc_matmul(bench_input(r, 0), bench_input(r, 1));
	return 1;
}

static int matmul_bias_relu(struct bench_run *r, tgc_tensor **out)
{
	out[0] = tgc_relu(tgc_add(tgc_matmul(bench_input(r, 0), bench_input(r, 1)), bench_input(r, 2)));
	return 1;
}

static int softmax(struct bench_run *r, tgc_tensor **out)
{
	out[0] = tgc_softmax(bench_input(r, 0), -1);
	return 1;
}

static int layernorm_fwd(struct bench_run *r, tgc_tensor **out)
{
	out[0] = tgc_layer_norm(bench_input(r, 0), bench_input(r, 1), bench_input(r, 2), 1e-5);
	return 1;
}

// Gradients of sum(y * dy) are what a layer above that hands down dy asks for.
static int backward(tgc_tensor *y, tgc_tensor *dy, int count, tgc_tensor *const *wrt, tgc_tensor **out)
{
	tgc_grad(tgc_sum(tgc_mul(y, dy), TGC_ALL_AXES, false), count, wrt, out);
	return count;
}

static int layernorm_fb(struct bench_run *r, tgc_tensor **out)
{
	int64_t width = r->w->in[0].shape.dims[1];
	tgc_tensor *x = bench_input(r, 0), *gamma = bench_param(r, TGC_SHAPE(width), 0, 1);
	tgc_tensor *beta = bench_param(r, TGC_SHAPE(width), 0, 0);
	out[0] = tgc_layer_norm(x, gamma, beta, 1e-5);
	return 1 + backward(out[0], bench_input(r, 1), 3, (tgc_tensor *[]){x, gamma, beta}, out + 1);
}

static int gelu_chain(struct bench_run *r, tgc_tensor **out)
{
	tgc_tensor *y = tgc_gelu_tanh(tgc_add(bench_input(r, 0), bench_input(r, 1)));
	out[0] = tgc_add(y, bench_input(r, 2));
	return 1;
}

// As tgc_adamw's update, but of gradients that are given: the bias corrections lie in two late scalars.
static void adam_update(struct bench_run *r, tgc_shape s)
{
	tgc_tensor *p = bench_param(r, s, 0.05, 0), *g = bench_param(r, s, 0.01, 0);
	tgc_tensor *m = bench_state(r, s, 0), *v = bench_state(r, s, 0);
	tgc_tensor *m2 = tgc_add(tgc_mul(m, 0.9), tgc_mul(g, 0.1));
	tgc_tensor *v2 = tgc_add(tgc_mul(v, 0.999), tgc_mul(tgc_mul(g, g), 0.001));
	tgc_tensor *step = tgc_div(m2, tgc_add(tgc_mul(tgc_sqrt(v2), r->rates[1]), 1e-8));
	if (r->dry)
		return;
	tgc_assign(p, tgc_sub(p, tgc_mul(step, r->rates[0])));
	tgc_assign(m, m2);
	tgc_assign(v, v2);
}

static void adam_rates(struct bench_run *r)
{
	for (int i = 0; i < BENCH_RATES; i++)
		if (!r->rates[i])
			r->rates[i] = tgc_keep(tgc_scalar(r->c, 0));
	double t = (double)(r->dry ? 1 : ++r->steps);
	tgc_set(r->rates[0], 1e-3 / (1 - pow(0.9, t)));
	tgc_set(r->rates[1], 1 / sqrt(1 - pow(0.999, t)));
}

static void adam_layer(struct bench_run *r, int64_t in, int64_t out, int64_t size)
{
	adam_update(r, TGC_SHAPE(out, in, size, size));
	adam_update(r, TGC_SHAPE(out));
	adam_update(r, TGC_SHAPE(out));
}

// The parameters of a ResNet-50: 25,557,032 in 161 tensors.
static int adam(struct bench_run *r, tgc_tensor **out)
{
	static const int64_t blocks[] = {3, 4, 6, 3};
	(void)out;
	adam_rates(r);
	adam_layer(r, 3, 64, 7);
	for (int64_t stage = 0, in = 64; stage < 4; stage++)
		for (int64_t i = 0, mid = 64 << stage; i < blocks[stage]; i++, in = 4 * mid) {
			adam_layer(r, in, mid, 1);
			adam_layer(r, mid, mid, 3);
			adam_layer(r, mid, 4 * mid, 1);
			if (i == 0)
				adam_layer(r, in, 4 * mid, 1);
		}
	adam_update(r, TGC_SHAPE(1000, 2048));
	adam_update(r, TGC_SHAPE(1000));
	return 0;
}

static int sum(struct bench_run *r, tgc_tensor **out)
{
	int64_t axis = r->w->n[0];
	out[0] = tgc_sum(bench_input(r, 0), axis < 0 ? TGC_ALL_AXES : TGC_AXES((int)axis), false);
	return 1;
}

static int argmax_axis1(struct bench_run *r, tgc_tensor **out)
{
	out[0] = tgc_argmax(bench_input(r, 0), 1, false);
	return 1;
}

static int transpose(struct bench_run *r, tgc_tensor **out)
{
	out[0] = tgc_transpose(bench_input(r, 0), 0, 1);
	return 1;
}

static int gather_32k(struct bench_run *r, tgc_tensor **out)
{
	out[0] = tgc_gather(bench_input(r, 0), bench_input(r, 1), 0);
	return 1;
}

static int head(struct bench_run *r, tgc_tensor **out)
{
	tgc_tensor *h = bench_input(r, 0), *w = bench_param(r, TGC_SHAPE(50257, 768), 0.02, 0);
	out[0] = tgc_cross_entropy(tgc_matmul(h, tgc_transpose(w, 0, 1)), bench_input(r, 1));
	tgc_grad(out[0], 2, (tgc_tensor *[]){h, w}, out + 1);
	return 3;
}

static int attention(struct bench_run *r, tgc_tensor **out)
{
	tgc_shape s = TGC_SHAPE(8, 12, 1024, 64);
	tgc_tensor *q = bench_param(r, s, 1, 0), *k = bench_param(r, s, 1, 0), *v = bench_param(r, s, 1, 0);
	tgc_autocast_begin(r->c, r->w->bf16 ? TGC_BF16 : TGC_F32);
	out[0] = tgc_cast(tgc_attention(q, k, v, true), r->wide ? TGC_F64 : TGC_F32);
	tgc_autocast_end(r->c);
	return 1 + backward(out[0], bench_input(r, 0), 3, (tgc_tensor *[]){q, k, v}, out + 1);
}

// n: stride, padding, groups, which: 0 forward, 1 data gradient, 2 weight gradient.
static int conv(struct bench_run *r, tgc_tensor **out)
{
	const int64_t *n = r->w->n;
	tgc_tensor *x = bench_input(r, 0), *w = bench_input(r, 1);
	out[0] = tgc_conv2d(x, w, .stride = {n[0], n[0]}, .padding = {n[1], n[1], n[1], n[1]}, .groups = n[2]);
	return n[3] ? backward(out[0], bench_input(r, 2), 1, n[3] == 1 ? &x : &w, out) : 1;
}

static tgc_optim *adamw(tgc_module *m) { return tgc_adamw(m, .lr = 1e-3); }
static tgc_optim *sgd(tgc_module *m) { return tgc_sgd(m, .lr = 0.1, .momentum = 0.9, .weight_decay = 1e-4); }

#define M(...) {TGC_SHAPE(__VA_ARGS__), 0}
#define INDEX(n, below) {TGC_SHAPE(n), below}
#define MATMUL(m, n, k)                                                                                      \
	{.name = "matmul_" #m "x" #n "x" #k, .record = matmul, .in = {M(m, k), M(k, n)}, .inputs = 2,        \
	 .flops = 2.0 * m * n * k}
#define GPU_MATMUL(n)                                                                                        \
	{.name = "matmul_" #n "x" #n "x" #n, .gpu = true, .record = matmul, .in = {M(n, n), M(n, n)},        \
	 .inputs = 2, .flops = 2.0 * n * n * n}
#define GPU_MATMUL_BF16(n)                                                                                   \
	{.name = "matmul_" #n "x" #n "x" #n "_bf16", .gpu = true, .rough = 0.01, .record = matmul,           \
	 .in = {{TGC_SHAPE(n, n), 0, true}, {TGC_SHAPE(n, n), 0, true}}, .inputs = 2, .flops = 2.0 * n * n * n}
// Of a token: 6 a parameter that is multiplied, the head's table included, and both products of attention (all of it).
#define GPT2_FLOPS(batch, length)                                                                            \
	((double)batch * length * (6.0 * (12.0 * 12 * 768 * 768 + 50257.0 * 768) + 12.0 * 12 * 768 * length))
#define CONV1(batch, size, ci, co, s, st, g, suffix, which)                                                  \
	{.name = "conv" #size "_" #ci "-" #co "_" #s "_s" #st "_g" #g suffix, .record = conv,                \
	 .in = {M(batch, ci, s, s), M(co, ci / g, size, size), M(batch, co, s / st, s / st)},                \
	 .inputs = which ? 3 : 2, .flops = 2.0 * batch * (s / st) * (s / st) * co * (ci / g) * size * size,  \
	 .n = {st, size / 2, g, which}}
#define CONV(...) CONV1(__VA_ARGS__, "", 0), CONV1(__VA_ARGS__, "_dx", 1), CONV1(__VA_ARGS__, "_dw", 2)
#define SQUARE .in = {M(4096, 4096)}, .inputs = 1

// Flops of networks: forward, gradient of the weights, and of the data except at the first layer.
const struct bench_workload bench_workloads[] = {
    {.name = "mlp", .record = bench_mlp, .in = {M(128, 784), INDEX(128, 10)}, .inputs = 2, .params = true,
     .optim = adamw, .flops = 6.0 * 128 * (784 * 512 + 512 * 512 + 512 * 10) - 2.0 * 128 * 784 * 512},
    {.name = "resnet20", .record = bench_resnet20, .in = {M(128, 3, 32, 32), INDEX(128, 10)}, .inputs = 2,
     .params = true, .optim = sgd, .flops = 31e9},
    {.name = "resnet20_bf16", .gpu = true, .rough = 0.03, .bf16 = true, .record = bench_resnet20,
     .in = {M(128, 3, 32, 32), INDEX(128, 10)}, .inputs = 2, .params = true, .optim = sgd, .flops = 31e9},
    {.name = "cnn", .record = bench_cnn, .in = {M(128, 1, 28, 28), INDEX(128, 10)}, .inputs = 2, .params = true,
     .optim = adamw,
     .flops = 128.0 * (4 * 576 * 32 * 25 + 6 * 400 * 32 * 800 + 6 * 64 * 64 * 288 + 6 * 36 * 64 * 576 + 6 * 5760)},
    {.name = "gpt_small", .record = bench_gpt_small, .in = {INDEX(768, 65), INDEX(768, 65)}, .inputs = 2,
     .params = true, .optim = adamw, .flops = 3.7e9},
    {.name = "gpt2_124m", .record = bench_gpt2_124m, .in = {INDEX(256, 50257), INDEX(256, 50257)}, .inputs = 2,
     .params = true, .optim = adamw, .n = {1, 256}, .flops = GPT2_FLOPS(1, 256)},
    {.name = "gpt2_124m_bf16", .gpu = true, .rough = 0.01, .bf16 = true, .record = bench_gpt2_124m,
     .in = {INDEX(16384, 50257), INDEX(16384, 50257)}, .inputs = 2, .params = true, .optim = adamw, .n = {16, 1024},
     .flops = GPT2_FLOPS(16, 1024)},
    {.name = "attention", .record = attention, .in = {M(8, 12, 1024, 64)}, .inputs = 1, .params = true,
     .flops = 3.5 * 2 * 96 * 1024.0 * 1024 * 64},
    {.name = "attention_bf16", .gpu = true, .rough = 0.03, .bf16 = true, .record = attention,
     .in = {M(8, 12, 1024, 64)}, .inputs = 1, .params = true, .flops = 3.5 * 2 * 96 * 1024.0 * 1024 * 64},
    {.name = "layernorm_fwd", .record = layernorm_fwd, .in = {M(8192, 768), M(768), M(768)}, .inputs = 3,
     .bytes = 2.0 * 4 * 8192 * 768},
    {.name = "layernorm_fb", .record = layernorm_fb, .in = {M(8192, 768), M(8192, 768)}, .inputs = 2,
     .params = true, .bytes = 5.0 * 4 * 8192 * 768},
    {.name = "softmax_4096x1024", .record = softmax, .in = {M(4096, 1024)}, .inputs = 1,
     .bytes = 2.0 * 4 * 4096 * 1024},
    {.name = "softmax_64x50257", .record = softmax, .in = {M(64, 50257)}, .inputs = 1,
     .bytes = 2.0 * 4 * 64 * 50257},
    {.name = "gelu_chain", .record = gelu_chain, .in = {M(16384, 1024), M(1024), M(16384, 1024)}, .inputs = 3,
     .bytes = 3.0 * 4 * 16384 * 1024},
    {.name = "adam", .record = adam, .params = true, .assigns = true, .bytes = 7.0 * 4 * 25557032},
    MATMUL(512, 512, 512),
    MATMUL(1024, 1024, 1024),
    MATMUL(2048, 2048, 2048),
    MATMUL(32, 1024, 1024),
    MATMUL(65536, 16, 144),
    MATMUL(64, 10, 784),
    MATMUL(128, 512, 784),
    MATMUL(4096, 64, 576),
    {.name = "matmul_bias_relu", .record = matmul_bias_relu, .in = {M(512, 512), M(512, 512), M(512)}, .inputs = 3,
     .flops = 2.0 * 512 * 512 * 512},
    {.name = "head", .record = head, .in = {M(512, 768), INDEX(512, 50257)}, .inputs = 2, .params = true,
     .flops = 6.0 * 512 * 768 * 50257},
    CONV(64, 3, 16, 16, 32, 1, 1),
    CONV(64, 3, 32, 32, 16, 1, 1),
    CONV(64, 3, 64, 64, 8, 1, 1),
    CONV(64, 3, 16, 32, 32, 2, 1),
    CONV(8, 7, 3, 64, 224, 2, 1),
    CONV(64, 3, 64, 64, 32, 1, 64),
    {.name = "sum_axis0", .record = sum, SQUARE, .n = {0}, .bytes = 4.0 * 4096 * 4096},
    {.name = "sum_axis1", .record = sum, SQUARE, .n = {1}, .bytes = 4.0 * 4096 * 4096},
    {.name = "sum_all", .record = sum, SQUARE, .n = {-1}, .bytes = 4.0 * 4096 * 4096},
    {.name = "argmax_axis1", .record = argmax_axis1, SQUARE, .bytes = 4.0 * 4096 * 4096},
    {.name = "transpose", .record = transpose, SQUARE, .bytes = 2.0 * 4 * 4096 * 4096},
    {.name = "gather_32k", .record = gather_32k, .in = {M(50257, 768), INDEX(32768, 50257)}, .inputs = 2,
     .bytes = 2.0 * 4 * 32768 * 768},
    {.name = "softmax_8192x4096", .gpu = true, .record = softmax, .in = {M(8192, 4096)}, .inputs = 1,
     .bytes = 2.0 * 4 * 8192 * 4096},
    {.name = "layernorm_fwd_32768x4096", .gpu = true, .record = layernorm_fwd, .in = {M(32768, 4096), M(4096), M(4096)},
     .inputs = 3, .bytes = 2.0 * 4 * 32768 * 4096},
    {.name = "layernorm_fb_32768x4096", .gpu = true, .record = layernorm_fb, .in = {M(32768, 4096), M(32768, 4096)},
     .inputs = 2, .params = true, .bytes = 5.0 * 4 * 32768 * 4096},
    {.name = "head_8192", .gpu = true, .record = head, .in = {M(8192, 768), INDEX(8192, 50257)}, .inputs = 2,
     .params = true, .flops = 6.0 * 8192 * 768 * 50257},
    GPU_MATMUL(4096),
    GPU_MATMUL(8192),
    GPU_MATMUL_BF16(4096),
    GPU_MATMUL_BF16(8192),
};
const int bench_workloads_count = sizeof bench_workloads / sizeof *bench_workloads;
_Static_assert(sizeof bench_workloads / sizeof *bench_workloads <= BENCH_WORKLOADS, "more workloads than bench.c marks");
