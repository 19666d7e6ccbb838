// Training steps of small networks on the emulated GPU against the interpreter, and every kernel that they need
// through NVRTC.
// In:  networks, random data. Out: losses and parameters after some steps, compared. Not here: single
// operations (test_primitives.c with TGC_DEVICE=cuda-emu), speed.
#include "check.h"

#include <math.h>
#include <stdlib.h>
#include <tgc/tgc.h>

#include "check_nvrtc.h"
#include "device.h"

enum { STEPS = 3, MOST = 1 << 16, WIDE = 32, LENGTH = 16, HEADS = 2, BATCH = 4 };

static tgc_tensor *uniform(tgc_context *c, tgc_shape shape, double bound)
{
	return tgc_mul(tgc_sub(tgc_rand(c, TGC_F32, shape), 0.5), 2 * bound);
}

// ---- networks
// ------------------------------------------------------------------------------------------------------

static tgc_module *mlp(tgc_context *c)
{
	static const int64_t sizes[] = {40, 64, 33, 10};
	return tgc_mlp(c, TG_COUNT(sizes), sizes);
}

static tgc_tensor *cnn_forward(tgc_module *m, tgc_tensor *x, void *user)
{
	(void)user;
	x = tgc_max_pool2d(tgc_relu(tgc_forward(tgc_module_child(m, 0), x)), 2, 2, 0);
	x = tgc_relu(tgc_forward(tgc_module_child(m, 1), x));
	tgc_axes over = TGC_AXES(0, 2, 3);
	x = tgc_div(tgc_sub(x, tgc_mean(x, over, true)), tgc_sqrt(tgc_add(tgc_var(x, over, 0, true), 1e-5)));
	return tgc_forward(tgc_module_child(m, 2), tgc_flatten(tgc_max_pool2d(x, 2, 2, 0), 1));
}

static tgc_module *cnn(tgc_context *c)
{
	tgc_module *m = tgc_module_new(c, "cnn", cnn_forward, NULL);
	tgc_module_add(m, "conv1", tgc_conv2d_layer(c, 1, 8, 5, 1, 2));
	tgc_module_add(m, "conv2", tgc_conv2d_layer(c, 8, 12, 3, 1, 1));
	tgc_module_add(m, "out", tgc_linear(c, 12 * 3 * 3, 10));
	return m;
}

static tgc_tensor *heads(tgc_tensor *qkv, int64_t which)
{
	tgc_tensor *part = tgc_slice_axis(qkv, 2, WIDE * which, WIDE * (which + 1));
	return tgc_transpose(tgc_reshape(part, TGC_SHAPE(BATCH, LENGTH, HEADS, WIDE / HEADS)), 1, 2);
}

// Pre-norm, causal attention, GELU.
static tgc_tensor *block_forward(tgc_module *m, tgc_tensor *x, void *user)
{
	(void)user;
	tgc_tensor *gamma = tgc_param(m, 0), *beta = tgc_param(m, 1);
	tgc_tensor *qkv = tgc_forward(tgc_module_child(m, 0), tgc_layer_norm(x, gamma, beta, 1e-5));
	tgc_tensor *a = tgc_attention(heads(qkv, 0), heads(qkv, 1), heads(qkv, 2), true);
	a = tgc_reshape(tgc_transpose(a, 1, 2), TGC_SHAPE(BATCH, LENGTH, WIDE));
	x = tgc_add(x, tgc_forward(tgc_module_child(m, 1), a));
	tgc_tensor *y = tgc_gelu(tgc_forward(tgc_module_child(m, 2), tgc_layer_norm(x, gamma, beta, 1e-5)));
	x = tgc_add(x, tgc_forward(tgc_module_child(m, 3), y));
	return tgc_forward(tgc_module_child(m, 4), tgc_mean(x, TGC_AXES(1), false));
}

static tgc_module *block(tgc_context *c)
{
	tgc_module *m = tgc_module_new(c, "block", block_forward, NULL);
	tgc_module_param(m, "gamma", tgc_full(c, TGC_F32, TGC_SHAPE(WIDE), 1));
	tgc_module_param(m, "beta", tgc_full(c, TGC_F32, TGC_SHAPE(WIDE), 0));
	tgc_module_add(m, "qkv", tgc_linear(c, WIDE, 3 * WIDE));
	tgc_module_add(m, "proj", tgc_linear(c, WIDE, WIDE));
	tgc_module_add(m, "up", tgc_linear(c, WIDE, 4 * WIDE));
	tgc_module_add(m, "down", tgc_linear(c, 4 * WIDE, WIDE));
	tgc_module_add(m, "out", tgc_linear(c, WIDE, 10));
	return m;
}

static const struct net {
	const char *name;
	tgc_module *(*make)(tgc_context *c);
	tgc_shape input;
	bool adam;
} nets[] = {
    {"mlp", mlp, {2, {BATCH * 5, 40}}, true},
    {"cnn", cnn, {4, {BATCH, 1, 12, 12}}, false},
    {"block", block, {3, {BATCH, LENGTH, WIDE}}, false},
};

// ---- training
// ------------------------------------------------------------------------------------------------------

struct outcome {
	double loss[STEPS];
	float *params; // all of them
	int64_t n;
};

static void train(const struct net *net, const char *device, struct outcome *o)
{
	tgc_context *c = check_context(device, 1);
	assert_non_null(c);
	tgc_module *m = net->make(c);
	tgc_optim *opt = net->adam ? tgc_adamw(m, .lr = 0.01)
	                           : tgc_sgd(m, .lr = 0.05, .momentum = 0.9, .weight_decay = 1e-3);
	for (int i = 0; i < STEPS; i++) {
		tgc_scope_begin(c);
		tgc_tensor *x = uniform(c, net->input, 1);
		tgc_tensor *y = tgc_mod(tgc_iota(c, TGC_I32, TGC_SHAPE(net->input.dims[0]), 0), 10);
		tgc_tensor *loss = tgc_cross_entropy(tgc_forward(m, x), y);
		if (tgc_step(opt, loss))
			fail_msg("%s on %s: %s", net->name, device, tgc_error_message(c));
		o->loss[i] = check_item(loss);
		tgc_scope_end(c);
	}
	o->params = calloc(MOST, sizeof *o->params);
	for (int i = 0; i < tgc_params_count(m); i++) {
		int64_t n = tgc_tensor_elems(tgc_param(m, i));
		assert_true(o->n + n <= MOST);
		check_read_f32(tgc_param(m, i), o->params + o->n, n);
		o->n += n;
	}
	tgc_optim_free(&opt);
	tgc_module_free(&m);
	tgc_context_free(&c);
}

static void test_steps(void **state)
{
	(void)state;
	for (int i = 0; i < TG_COUNT(nets); i++) {
		struct outcome want = {0}, got = {0};
		train(&nets[i], "interp", &want);
		train(&nets[i], "cuda-emu", &got);
		for (int s = 0; s < STEPS; s++)
			if (!(fabs(got.loss[s] - want.loss[s]) <= 1e-4 * (1 + fabs(want.loss[s]))))
				fail_msg("%s, step %d: loss %.7g, want %.7g", nets[i].name, s, got.loss[s],
				         want.loss[s]);
		assert_int_equal(got.n, want.n);
		for (int64_t k = 0; k < want.n; k++)
			if (!(fabsf(got.params[k] - want.params[k]) <= 2e-4f * (1 + fabsf(want.params[k]))))
				fail_msg("%s: parameter %lld is %.7g, want %.7g", nets[i].name, (long long)k,
				         (double)got.params[k], (double)want.params[k]);
		free(want.params);
		free(got.params);
	}
}

// ---- tiles of permutations
// -----------------------------------------------------------------------------------------

static void test_permutes(void **state)
{
	static const struct {
		tgc_shape shape;
		tgc_type type;
	} rows[] = {
	    {TGC_SHAPE(1, 64, 128), TGC_F32}, // whole tiles
	    {TGC_SHAPE(1, 70, 100), TGC_F32}, // what is left on both sides
	    {TGC_SHAPE(3, 33, 64), TGC_BF16},
	    {TGC_SHAPE(5, 40, 32), TGC_I8},
	};
	struct tally t = {0};
	tgc_context *c = check_context("cuda-emu", 1);
	(void)state;
	assert_non_null(c);
	for (int i = 0; i < TG_COUNT(rows); i++) {
		tgc_scope_begin(c);
		tgc_tensor *x = tgc_cast(tgc_mod(tgc_iota(c, TGC_I32, rows[i].shape, 1), 50), rows[i].type),
		           *y = tgc_cast(tgc_iota(c, TGC_I32, rows[i].shape, 2), rows[i].type);
		assert_int_equal(tgc_realize(x), TGC_OK);
		assert_int_equal(tgc_realize(y), TGC_OK);
		tgc_shape s = {3, {rows[i].shape.dims[0], rows[i].shape.dims[2], rows[i].shape.dims[1]}};
		tgc_tensor *outs[] = {tgc_add(tgc_transpose(x, 1, 2), tgc_mul(tgc_transpose(y, 1, 2), 2)),
		                      tgc_reshape(tgc_permute(x, TGC_AXES(2, 0, 1)), s)};
		check_tensors(c, 2, outs, &t);
		if (t.failed)
			fail_msg("row %d: %s", i, t.message);
		tgc_scope_end(c);
	}
	assert_true(t.compared > 0);
	tgc_context_free(&c);
}

// ---- several sums at once
// -----------------------------------------------------------------------------------------

static void count_turned(void *user, const char *name, const char *text)
{
	int *turned = user;
	(void)name;
	*turned += strstr(text, "*const parts") != NULL;
}

// Of columns, so that a thread has several of each: more values than shuffles are for.
static void test_sums(void **state)
{
	static const struct {
		tgc_shape shape;
		tgc_type type;
		int nans;
	} rows[] = {
	    {TGC_SHAPE(64, 12, 12, 16), TGC_BF16, 0}, {TGC_SHAPE(64, 12, 12, 24), TGC_F32, 2},
	    {TGC_SHAPE(64, 12, 12, 16), TGC_F64, 1},  {TGC_SHAPE(64, 12, 12, 16), TGC_I32, 0},
	    {TGC_SHAPE(64, 12, 12, 32), TGC_BF16, 0},
	};
	struct tally t = {0};
	int before = 0, turned = 0;
	tgc_context *c = check_context("cuda-emu", 1);
	(void)state;
	assert_non_null(c);
	emu_each_source(count_turned, &before);
	for (int i = 0; i < TG_COUNT(rows); i++) {
		tgc_scope_begin(c);
		tgc_axes over = TGC_AXES(0, 1, 2);
		tgc_tensor *n = tgc_iota(c, TGC_I32, rows[i].shape, 0);
		n = tgc_add(tgc_mul(n, 7), tgc_mul(tgc_iota(c, TGC_I32, rows[i].shape, 2), 5));
		n = tgc_add(n, tgc_mul(tgc_iota(c, TGC_I32, rows[i].shape, 3), 3));
		tgc_tensor *x = tgc_cast(tgc_sub(tgc_mod(n, 61), 30), rows[i].type);
		if (rows[i].nans) // in some columns
			x = tgc_select(tgc_eq(n, rows[i].nans * 8), (double)NAN, x);
		assert_int_equal(tgc_realize(x), TGC_OK);
		tgc_tensor *wide = tgc_type_bytes(rows[i].type) == 2 ? tgc_cast(x, TGC_F32) : x;
		tgc_tensor *outs[] = {tgc_sum(wide, over, false), tgc_sum(tgc_mul(wide, wide), over, false),
		                      tgc_max(wide, over, false), tgc_min(tgc_mul(wide, 3), over, false)};
		check_tensors(c, TG_COUNT(outs), outs, &t);
		if (t.failed)
			fail_msg("row %d: %s", i, t.message);
		tgc_scope_end(c);
	}
	emu_each_source(count_turned, &turned);
	assert_true(t.compared > 0);
	if (turned - before < TG_COUNT(rows))
		fail_msg("%d of %d kernels turn their values", turned - before, TG_COUNT(rows));
	tgc_context_free(&c);
}

// ---- through NVRTC
// -------------------------------------------------------------------------------------------------

struct sources {
	const char *names[4096], *texts[4096];
	int n;
};

static void collect(void *user, const char *name, const char *text)
{
	struct sources *s = user;
	assert_true(s->n < TG_COUNT(s->names));
	s->names[s->n] = name;
	s->texts[s->n++] = text;
}

static void compile_all(const struct sources *s, const char *arch, int step)
{
	const char *names[EMU_NVRTC_MOST], *texts[EMU_NVRTC_MOST];
	struct emu_totals t = {0};
	int n = 0;
	bool old = strcmp(arch, "sm_75") == 0; // the texts are for sm_90
	for (int i = 0; i < s->n; i += step) {
		if (!old || (!strstr(s->texts[i], "tg_cp_async") && !strstr(s->texts[i], "tg_mma"))) {
			names[n] = s->names[i];
			texts[n++] = s->texts[i];
		}
		if (!n || (n < EMU_NVRTC_MOST && i + step < s->n))
			continue;
		char *error = emu_nvrtc(arch, n, names, texts, &t);
		if (error)
			fail_msg("%s: %s", arch, error);
		n = 0;
	}
	assert_true(t.kernels > 0);
	emu_totals_print(arch, &t);
}

static void test_nvrtc(void **state)
{
	static struct sources s;
	(void)state;
	if (emu_nvrtc_missing()) {
		print_message("skipped, no NVRTC: %s\n", emu_nvrtc_missing());
		skip();
	}
	emu_each_source(collect, &s);
	compile_all(&s, "sm_90", 1);
	compile_all(&s, "sm_75", 7);
	compile_all(&s, "sm_80", 7);
	compile_all(&s, "sm_100", 7);
	compile_all(&s, "sm_120", 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_steps), cmocka_unit_test(test_permutes), cmocka_unit_test(test_sums),
	    cmocka_unit_test(test_nvrtc), // of the kernels of the other
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
