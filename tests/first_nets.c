// Networks of the benchmark, whole training steps: what they compute is of no interest here, only how much of
// it. In:  a context and a module to hold parameters. Out: a loss. Not here: optimizers (first_step.c).
#include "first_nets.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static tgc_tensor *param(struct net *n, tgc_shape s, double std, double mean)
{
	char name[16];
	int at = n->at++;
	if (at < tgc_params_count(n->params))
		return tgc_param(n->params, at);
	snprintf(name, sizeof name, "p%d", at);
	return tgc_module_param(n->params, name,
	                        std > 0 ? tgc_randn(n->c, TGC_F32, s, .std = std)
	                                : tgc_full(n->c, TGC_F32, s, mean));
}

static tgc_tensor *linear(struct net *n, tgc_tensor *x, int64_t in, int64_t out)
{
	tgc_tensor *w = param(n, TGC_SHAPE(in, out), 1 / sqrt((double)in), 0);
	return tgc_add(tgc_matmul(x, w), param(n, TGC_SHAPE(out), 0, 0));
}

static tgc_tensor *conv(struct net *n, tgc_tensor *x, int64_t in, int64_t out, int64_t size, int64_t stride)
{
	int64_t p = size / 2;
	tgc_tensor *w = param(n, TGC_SHAPE(out, in, size, size), sqrt(2.0 / (double)(in * size * size)), 0);
	return tgc_conv2d(x, w, .stride = {stride, stride}, .padding = {p, p, p, p});
}

static tgc_tensor *batch_norm(struct net *n, tgc_tensor *x, int64_t channels)
{
	tgc_axes over = TGC_AXES(0, 2, 3);
	tgc_tensor *mean = tgc_mean(x, over, true), *var = tgc_var(x, over, 0, true);
	tgc_tensor *y = tgc_div(tgc_sub(x, mean), tgc_sqrt(tgc_add(var, 1e-5)));
	y = tgc_mul(y, param(n, TGC_SHAPE(channels, 1, 1), 0, 1));
	return tgc_add(y, param(n, TGC_SHAPE(channels, 1, 1), 0, 0));
}

static tgc_tensor *labels(struct net *n, int64_t count, int classes)
{
	return tgc_mod(tgc_iota(n->c, TGC_I32, TGC_SHAPE(count), 0), classes);
}

static tgc_tensor *mlp(struct net *n)
{
	tgc_tensor *x = tgc_randn(n->c, TGC_F32, TGC_SHAPE(128, 784));
	x = tgc_relu(linear(n, x, 784, 512));
	x = tgc_relu(linear(n, x, 512, 512));
	return tgc_cross_entropy(linear(n, x, 512, 10), labels(n, 128, 10));
}

static tgc_tensor *cnn(struct net *n)
{
	tgc_tensor *x = tgc_randn(n->c, TGC_F32, TGC_SHAPE(128, 1, 28, 28));
	x = conv(n, tgc_relu(conv(n, x, 1, 32, 5, 1)), 32, 32, 5, 1);
	x = tgc_max_pool2d(tgc_relu(batch_norm(n, x, 32)), 2, 2, 0);
	x = conv(n, tgc_relu(conv(n, x, 32, 64, 3, 1)), 64, 64, 3, 1);
	x = tgc_max_pool2d(tgc_relu(batch_norm(n, x, 64)), 2, 2, 0);
	return tgc_cross_entropy(linear(n, tgc_flatten(x, 1), 64 * 7 * 7, 10), labels(n, 128, 10));
}

static tgc_tensor *block(struct net *n, tgc_tensor *x, int64_t in, int64_t out, int64_t stride)
{
	tgc_tensor *y = tgc_relu(batch_norm(n, conv(n, x, in, out, 3, stride), out));
	y = batch_norm(n, conv(n, y, out, out, 3, 1), out);
	if (stride != 1)
		x = batch_norm(n, conv(n, x, in, out, 1, stride), out);
	return tgc_relu(tgc_add(x, y));
}

static tgc_tensor *resnet20(struct net *n)
{
	tgc_tensor *x = tgc_randn(n->c, TGC_F32, TGC_SHAPE(128, 3, 32, 32));
	x = tgc_relu(batch_norm(n, conv(n, x, 3, 16, 3, 1), 16));
	for (int64_t stage = 0, in = 16; stage < 3; stage++)
		for (int64_t i = 0, out = 16 << stage; i < 3; i++, in = out)
			x = block(n, x, in, out, in == out ? 1 : 2);
	return tgc_cross_entropy(linear(n, tgc_mean(x, TGC_AXES(2, 3), false), 64, 10), labels(n, 128, 10));
}

static tgc_tensor *norm(struct net *n, tgc_tensor *x)
{
	tgc_tensor *gamma = param(n, TGC_SHAPE(128), 0, 1), *beta = param(n, TGC_SHAPE(128), 0, 0);
	return tgc_layer_norm(x, gamma, beta, 1e-5);
}

static tgc_tensor *heads(tgc_tensor *x, int64_t which)
{
	tgc_tensor *part = tgc_slice_axis(x, 2, 128 * which, 128 * (which + 1));
	return tgc_transpose(tgc_reshape(part, TGC_SHAPE(12, 64, 4, 32)), 1, 2);
}

static tgc_tensor *gpt_small(struct net *n)
{
	tgc_tensor *tokens = tgc_mod(tgc_iota(n->c, TGC_I32, TGC_SHAPE(768), 0), 65);
	tgc_tensor *places = tgc_mod(tgc_iota(n->c, TGC_I32, TGC_SHAPE(768), 0), 64);
	tgc_tensor *x = tgc_gather(param(n, TGC_SHAPE(65, 128), 0.02, 0), tokens, 0);
	x = tgc_add(x, tgc_gather(param(n, TGC_SHAPE(64, 128), 0.02, 0), places, 0));
	x = tgc_reshape(x, TGC_SHAPE(12, 64, 128));
	for (int layer = 0; layer < 4; layer++) {
		tgc_tensor *qkv = linear(n, norm(n, x), 128, 384);
		tgc_tensor *a = tgc_attention(heads(qkv, 0), heads(qkv, 1), heads(qkv, 2), true);
		a = tgc_reshape(tgc_transpose(a, 1, 2), TGC_SHAPE(12, 64, 128));
		x = tgc_add(x, linear(n, a, 128, 128));
		x = tgc_add(x, linear(n, tgc_gelu(linear(n, norm(n, x), 128, 512)), 512, 128));
	}
	tgc_tensor *logits = tgc_reshape(linear(n, norm(n, x), 128, 65), TGC_SHAPE(768, 65));
	return tgc_cross_entropy(logits, labels(n, 768, 65));
}

net_fn *net_find(const char *name)
{
	static const struct {
		const char *name;
		net_fn *fn;
	} nets[] = {{"mlp", mlp}, {"cnn", cnn}, {"resnet20", resnet20}, {"gpt_small", gpt_small}};
	for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
		if (strcmp(name, nets[i].name) == 0)
			return nets[i].fn;
	return NULL;
}
