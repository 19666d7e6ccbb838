// Layers and networks built of them.
// In:  sizes. Out: modules over the public operations.
// Not here: the module tree (module.c).
#include "kit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tgc_tensor *uniform(tgc_context *c, tgc_shape s, int64_t fan_in)
{
	double bound = 1 / sqrt((double)(fan_in > 0 ? fan_in : 1));
	return tgc_rand(c, TGC_F32, s, .low = -bound, .high = bound);
}

// A parameter in the type that the product before it came out in (tgc_autocast_begin).
static tgc_tensor *like(tgc_tensor *y, tgc_tensor *p) { return tgc_cast(p, tgc_tensor_type(y)); }

static tgc_tensor *linear_forward(tgc_module *m, tgc_tensor *x, void *user)
{
	(void)user;
	tgc_tensor *y = tgc_matmul(x, tgc_transpose(tgc_param(m, 0), 0, 1));
	return tgc_add(y, like(y, tgc_param(m, 1)));
}

tgc_module *tgc_linear(tgc_context *c, int64_t in, int64_t out)
{
	tgc_module *m = tgc_module_new(c, "linear", linear_forward, NULL);
	tgc_tensor *w = m ? tgc_module_param(m, "weight", uniform(c, TGC_SHAPE(out, in), in)) : NULL;
	if (!w || tgc_is_error(w) || tgc_is_error(tgc_module_param(m, "bias", uniform(c, TGC_SHAPE(out), in))))
		tgc_module_free(&m);
	return m;
}

static tgc_tensor *relu_forward(tgc_module *m, tgc_tensor *x, void *user)
{
	(void)m, (void)user;
	return tgc_relu(x);
}

static tgc_tensor *gelu_forward(tgc_module *m, tgc_tensor *x, void *user)
{
	(void)m, (void)user;
	return tgc_gelu(x);
}

static tgc_tensor *flatten_forward(tgc_module *m, tgc_tensor *x, void *user)
{
	(void)m, (void)user;
	return tgc_flatten(x, 1);
}

tgc_module *tgc_relu_layer(tgc_context *c) { return tgc_module_new(c, "relu", relu_forward, NULL); }
tgc_module *tgc_gelu_layer(tgc_context *c) { return tgc_module_new(c, "gelu", gelu_forward, NULL); }
tgc_module *tgc_flatten_layer(tgc_context *c) { return tgc_module_new(c, "flatten", flatten_forward, NULL); }

// The settings of these layers are small enough to travel in the user pointer, so nobody has to own them.
static tgc_tensor *dropout_forward(tgc_module *m, tgc_tensor *x, void *user)
{
	float p;
	uint32_t bits = (uint32_t)(uintptr_t)user;
	memcpy(&p, &bits, sizeof p);
	return tgc_is_training(m) ? tgc_dropout(x, (double)p) : x;
}

tgc_module *tgc_dropout_layer(tgc_context *c, double p)
{
	if (!(p >= 0 && p < 1)) {
		report(c, TGC_ERROR_ARG, "dropout_layer", "p is %g, it must be in [0, 1)", p);
		return NULL;
	}
	float f = (float)p;
	uint32_t bits;
	memcpy(&bits, &f, sizeof bits);
	return tgc_module_new(c, "dropout", dropout_forward, (void *)(uintptr_t)bits);
}

static tgc_tensor *conv_forward(tgc_module *m, tgc_tensor *x, void *user)
{
	int64_t stride = (int64_t)((uintptr_t)user >> 16), pad = (int64_t)((uintptr_t)user & 0xffff);
	tgc_tensor *w = tgc_param(m, 0);
	tgc_tensor *y = tgc_conv2d(x, w, .stride = {stride, stride}, .padding = {pad, pad, pad, pad});
	int64_t out = tgc_tensor_shape(w).dims[0];
	return tgc_add(y, tgc_reshape(like(y, tgc_param(m, 1)), TGC_SHAPE(1, out, 1, 1)));
}

tgc_module *tgc_conv2d_layer(tgc_context *c, int64_t in, int64_t out, int64_t size, int64_t stride, int64_t padding)
{
	if (stride < 1 || stride > 0xffff || padding < 0 || padding > 0xffff) {
		report(c, TGC_ERROR_ARG, "conv2d_layer", "stride %lld, padding %lld", (long long)stride,
		       (long long)padding);
		return NULL;
	}
	uintptr_t packed = (uintptr_t)stride << 16 | (uintptr_t)padding;
	tgc_module *m = tgc_module_new(c, "conv2d", conv_forward, (void *)packed);
	int64_t fan_in = in * size * size;
	tgc_tensor *w = m ? tgc_module_param(m, "weight", uniform(c, TGC_SHAPE(out, in, size, size), fan_in)) : NULL;
	if (!w || tgc_is_error(w) || tgc_is_error(tgc_module_param(m, "bias", uniform(c, TGC_SHAPE(out), fan_in))))
		tgc_module_free(&m);
	return m;
}

static tgc_tensor *sequential_forward(tgc_module *m, tgc_tensor *x, void *user)
{
	(void)user;
	tgc_module *child;
	for (int i = 0; (child = tgc_module_child(m, i)); i++) {
		char name[16];
		snprintf(name, sizeof name, "%d", i);
		tgc_name_push(tgc_module_context(m), name);
		x = tgc_forward(child, x);
		tgc_name_pop(tgc_module_context(m));
	}
	return x;
}

tgc_module *tgc_sequential(tgc_context *c, int count, tgc_module *const *modules)
{
	tgc_module *m = tgc_module_new(c, "sequential", sequential_forward, NULL);
	bool ok = m != NULL;
	for (int i = 0; i < count; i++) {
		char name[16];
		snprintf(name, sizeof name, "%d", i);
		tgc_module *child = modules[i];
		if (ok)
			ok = tgc_module_add(m, name, child) != NULL;
		else
			tgc_module_free(&child);
	}
	if (!ok)
		tgc_module_free(&m);
	return m;
}

tgc_module *tgc_mlp(tgc_context *c, int count, const int64_t *sizes)
{
	if (count < 2 || !sizes) {
		report(c, TGC_ERROR_ARG, "mlp", "%d sizes; an MLP has at least 2", count);
		return NULL;
	}
	int n = 2 * count - 3;
	tgc_module **list = calloc((size_t)n, sizeof(tgc_module *));
	if (!list) {
		report(c, TGC_ERROR_MEMORY, "mlp", "no memory");
		return NULL;
	}
	for (int i = 0; i + 1 < count; i++) {
		list[2 * i] = tgc_linear(c, sizes[i], sizes[i + 1]);
		if (i + 2 < count)
			list[2 * i + 1] = tgc_relu_layer(c);
	}
	tgc_module *m = tgc_sequential(c, n, list);
	free(list);
	return m;
}
