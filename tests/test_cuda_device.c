// The device "cuda" on a driver and an NVRTC that the tests build (fake_cuda.c): what the runtime asks of them,
// and what it says when they are missing, too old or failing. In:  folders with links to the fake library, its
// environment variables. Out: results beside the interpreter's, errors. Not here: single operations (cuda-emu
// has them), a real GPU (gpu.sh).
#include "check.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <tgc/tgc.h>
#include <unistd.h>

#include "cuda.h"

static char folder[] = "/tmp/tgc-cuda-XXXXXX", cache[64];
static int (*calls)(const char *name);
static int (*reset)(void);

static void environment(const char *name, const char *value)
{
	if (value)
		setenv(name, value, 1);
	else
		unsetenv(name);
}

static tgc_context *open_cuda(void)
{
	tgc_context_options o = {.struct_size = sizeof o, .device = "cuda", .threads = 2, .seed = 1};
	return tgc_context_new(&o);
}

static tgc_context *must_open(void)
{
	tgc_context *c = open_cuda();
	assert_ok(c);
	assert_string_equal(tgc_device_name(c), "cuda");
	return c;
}

// ---- what is there -------------------------------------------------------------------------------------------------

static void test_missing(void **state)
{
	static const struct {
		const char *variable, *value, *said;
	} rows[] = {
	    {"FAKE_CUDA_VERSION", "11080", "is of CUDA 11.8, 12.0 is wanted"},
	    {"FAKE_CUDA_MISSING", "cuGraphLaunch", "has no cuGraphLaunch"},
	    {"FAKE_CUDA_COUNT", "0", "cuInit: CUDA_ERROR_NO_DEVICE"},
	    {"TGC_CUDA_DEVICE", "3", "there are 1 GPUs, number 3 is wanted"},
	    {"FAKE_CUDA_SM", "30", "is sm_30, of which nothing is known"},
	    {"FAKE_CUDA_FAIL", "cuInit:1:999", "cuInit: CUDA_ERROR_OTHER (by the fake driver)"},
	    {"FAKE_CUDA_FAIL", "cuDevicePrimaryCtxRetain:1:2", "CUDA_ERROR_OUT_OF_MEMORY"},
	    {"FAKE_CUDA_FAIL", "cuStreamCreate:1:1", "cuStreamCreate"},
	};
	(void)state;
	for (int i = 0; i < TG_COUNT(rows); i++) {
		environment(rows[i].variable, rows[i].value);
		reset();
		tgc_context *c = open_cuda();
		if (tgc_error_status(c) != TGC_ERROR_NODEVICE || !strstr(tgc_error_message(c), rows[i].said))
			fail_msg("\"%s\" is not in: %s", rows[i].said, tgc_error_message(c));
		tgc_clear_error(c);
		tgc_tensor *x = tgc_add(tgc_iota(c, TGC_F32, TGC_SHAPE(4), 0), 1);
		assert_int_equal(tgc_realize(x), TGC_ERROR_NODEVICE); // no other device steps in
		tgc_context_free(&c);
		environment(rows[i].variable, NULL);
	}
	reset();
}

static void test_describe(void **state)
{
	tgc_context *c = must_open();
	(void)state;
	assert_non_null(strstr(tgc_device_reason(c), "fake GPU 0, sm_90, driver of CUDA 12.4, NVRTC 12.9"));
	tgc_context_free(&c);
}

// ---- runs ----------------------------------------------------------------------------------------------------------

struct outcome {
	double loss[6];
	float weight[40 * 10];
};

// Late scalars, variables in place, several kernels, a check of labels, random numbers, reads between.
static void train(tgc_context *c, struct outcome *o)
{
	tgc_tensor *w = tgc_variable(tgc_mul(tgc_randn(c, TGC_F32, TGC_SHAPE(40, 10)), 0.1));
	tgc_tensor *b = tgc_variable(tgc_full(c, TGC_F32, TGC_SHAPE(10), 0)), *rate = tgc_scalar(c, 0.5);
	tgc_keep(rate);
	for (int i = 0; i < 6; i++) {
		tgc_scope_begin(c);
		tgc_tensor *x = tgc_rand(c, TGC_F32, TGC_SHAPE(20, 40)), *params[] = {w, b}, *g[2];
		tgc_tensor *y = tgc_mod(tgc_iota(c, TGC_I32, TGC_SHAPE(20), 0), 10);
		tgc_tensor *loss = tgc_cross_entropy(tgc_add(tgc_matmul(x, w), b), y);
		tgc_grad(loss, 2, params, g);
		tgc_set(rate, 0.5 / (1 + i));
		tgc_assign(w, tgc_sub(w, tgc_mul(g[0], rate)));
		tgc_assign(b, tgc_sub(b, tgc_mul(g[1], rate)));
		o->loss[i] = check_item(loss);
		tgc_scope_end(c);
	}
	check_read_f32(w, o->weight, 400);
	tgc_release(w);
	tgc_release(b);
}

static void test_train(void **state)
{
	struct outcome want, got;
	tgc_context *interp = check_context("interp", 1);
	(void)state;
	reset();
	train(interp, &want);
	tgc_context_free(&interp);
	tgc_context *c = must_open();
	train(c, &got);
	tgc_stats s = tgc_get_stats(c);
	assert_true(s.kernels_compiled > 0 && s.launches > 0);
	tgc_context_free(&c);
	for (int i = 0; i < 6; i++)
		if (!(want.loss[i] - got.loss[i] < 1e-4 && got.loss[i] - want.loss[i] < 1e-4))
			fail_msg("step %d: loss %g, want %g", i, got.loss[i], want.loss[i]);
	for (int i = 0; i < 400; i++)
		if (!(want.weight[i] - got.weight[i] < 1e-4f && got.weight[i] - want.weight[i] < 1e-4f))
			fail_msg("weight %d: %g, want %g", i, (double)got.weight[i], (double)want.weight[i]);
	assert_true(calls("cuGraphLaunch") >= 6);
	// A step is one launch for the host; what was captured again is for new addresses only.
	assert_true(calls("cuGraphInstantiateWithFlags") + calls("cuGraphExecUpdate") < calls("cuGraphLaunch"));
}

// The second process finds its kernels on the disk: NVRTC is not asked. Here a context after the first one
// closed.
static void test_disk(void **state)
{
	struct outcome o;
	(void)state;
	tgc_context *c = must_open();
	train(c, &o);
	tgc_stats s = tgc_get_stats(c);
	tgc_context_free(&c);
	assert_int_equal(s.kernels_compiled, 0);
	assert_true(s.kernels_loaded > 0);
}

static void test_program(void **state)
{
	float x[64], y[64];
	const void *in[] = {x};
	void *out[] = {y};
	tgc_context *c = must_open();
	(void)state;
	tgc_tensor *input = tgc_input(c, TGC_F32, TGC_SHAPE(64)), *result = tgc_add(tgc_mul(input, input), 1);
	tgc_program *p = tgc_compile(c, 1, &input, 1, &result);
	assert_non_null(p);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 64; i++)
			x[i] = (float)(i + round);
		assert_int_equal(tgc_program_run(p, in, out), TGC_OK);
		for (int i = 0; i < 64; i++)
			assert_true(y[i] == x[i] * x[i] + 1);
	}
	assert_int_equal(tgc_program_export(p, "/tmp/nowhere/program", "program"), TGC_ERROR_NODEVICE);
	const char *why = tgc_error_message(c); // a build without LLVM writes none at all, and says that
	assert_true(strstr(why, "of the device cpu can be written, not of cuda") || strstr(why, "has no LLVM"));
	tgc_clear_error(c);
	tgc_program_free(&p);
	tgc_context_free(&c);
}

static void test_index(void **state)
{
	int32_t where[] = {0, 7, 1};
	float got[3];
	tgc_context *c = must_open();
	(void)state;
	tgc_tensor *t = tgc_iota(c, TGC_F32, TGC_SHAPE(4), 0);
	tgc_tensor *at = tgc_from_data(c, TGC_I32, TGC_SHAPE(3), where);
	assert_int_equal(tgc_read(tgc_gather(t, at, 0), got, sizeof got), TGC_ERROR_INDEX);
	tgc_clear_error(c);
	assert_true(check_item(tgc_sum(t, TGC_AXES(0), false)) == 6); // the device lives
	tgc_context_free(&c);
}

// ---- failing calls -------------------------------------------------------------------------------------------------

static void test_sticky(void **state)
{
	(void)state;
	reset();
	tgc_context *c = must_open();
	environment("FAKE_CUDA_FAIL", "cuGraphLaunch:1:700");
	tgc_tensor *x = tgc_add(tgc_iota(c, TGC_F32, TGC_SHAPE(4), 0), 1);
	assert_int_equal(tgc_realize(x), TGC_ERROR_NODEVICE);
	assert_non_null(strstr(tgc_error_message(c), "cuGraphLaunch: CUDA_ERROR_ILLEGAL_ADDRESS"));
	environment("FAKE_CUDA_FAIL", NULL);
	tgc_clear_error(c);
	assert_int_equal(tgc_realize(x), TGC_ERROR_NODEVICE);
	assert_non_null(strstr(tgc_error_message(c), "is dead since cuGraphLaunch"));
	tgc_context_free(&c);
	reset();
	c = must_open(); // another process' device, here
	assert_true(check_item(tgc_sum(tgc_iota(c, TGC_F32, TGC_SHAPE(4), 0), TGC_AXES(0), false)) == 6);
	tgc_context_free(&c);
}

// TGC_DEBUG=z: what is handed out is full of NaN, what a plan leaves in the arena too.
static void test_poison(void **state)
{
	unsigned char got[48];
	(void)state;
	environment("TGC_DEBUG", "z");
	tgc_context *c = must_open();
	environment("TGC_DEBUG", NULL);
	struct buffer *b = device_alloc(c, "test", sizeof got);
	assert_non_null(b);
	assert_int_equal(device_read(c, "test", got, b->data, sizeof got), TGC_OK);
	for (size_t i = 0; i < sizeof got; i++)
		assert_int_equal(got[i], 0xff);
	buffer_unref(b);
	struct outcome o;
	train(c, &o);
	assert_true(o.loss[5] < o.loss[0]);
	tgc_context_free(&c);
}

static void test_memory(void **state)
{
	(void)state;
	reset();
	tgc_context *c = must_open();
	environment("FAKE_CUDA_FAIL", "cuMemAllocAsync:1:2"); // the first try of the first block
	tgc_tensor *x = tgc_add(tgc_iota(c, TGC_F32, TGC_SHAPE(4), 0), 1);
	assert_true(check_item(tgc_sum(x, TGC_AXES(0), false)) == 10);
	assert_int_equal(calls("cuMemPoolTrimTo"), 1);
	environment("FAKE_CUDA_FAIL", NULL);
	environment("FAKE_CUDA_MEMORY", "1048576");
	x = tgc_add(tgc_iota(c, TGC_F32, TGC_SHAPE(1024, 1024), 0), 1);
	assert_int_equal(tgc_realize(x), TGC_ERROR_MEMORY);
	environment("FAKE_CUDA_MEMORY", NULL);
	tgc_clear_error(c);
	assert_int_equal(tgc_realize(x), TGC_OK); // the context is usable, and the result right
	assert_true(check_item(tgc_max(x, TGC_AXES(0, 1), false)) == 1024);
	tgc_context_free(&c);
}

// The n-th call of every function that a run makes fails once: an error, nothing hangs, the next context works.
static void test_failing_calls(void **state)
{
	static const char *const names[] = {
	    "cuCtxSetCurrent",     "cuMemAllocHost",     "cuEventCreate",
	    "cuEventSynchronize",  "cuMemcpyHtoDAsync",  "cuStreamBeginCapture",
	    "cuLaunchKernel",      "cuStreamEndCapture", "cuGraphInstantiateWithFlags",
	    "cuGraphLaunch",       "cuEventRecord",      "cuMemcpyDtoHAsync",
	    "cuStreamSynchronize", "cuModuleLoadData",   "cuModuleGetFunction"};
	(void)state;
	for (int i = 0; i < TG_COUNT(names); i++) {
		char fail[64];
		snprintf(fail, sizeof fail, "%s:1:1", names[i]);
		reset();
		tgc_context *c = must_open();
		environment("FAKE_CUDA_FAIL", fail);
		reset();
		tgc_tensor *x = tgc_mul(tgc_sum(tgc_iota(c, TGC_F32, TGC_SHAPE(4), 0), TGC_AXES(0), false),
		                        tgc_scalar(c, 2));
		tgc_item(x);
		if (!strstr(tgc_error_message(c), names[i]))
			fail_msg("%s failed, the error is \"%s\"", names[i], tgc_error_message(c));
		environment("FAKE_CUDA_FAIL", NULL);
		tgc_context_free(&c);
	}
	reset();
}

static void shell(const char *fmt, const char *a, const char *b)
{
	char command[1024];
	snprintf(command, sizeof command, fmt, a, b);
	assert_int_equal(system(command), 0);
}

static int open_folder(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(cache, sizeof cache, "%s/cache", folder);
	shell("ln -s '%s' %s/libcuda.so.1", FAKE_CUDA, folder);
	shell("ln -s '%s' %s/libnvrtc.so.13", FAKE_CUDA, folder);
	mkdir(cache, 0700);
	setenv("TGC_CUDA_LIBDIR", folder, 1);
	setenv("XDG_CACHE_HOME", cache, 1);
	unsetenv("TGC_CACHE");
	void *fake = dlopen(FAKE_CUDA, RTLD_NOW); // the same as the links lead to
	void *at[] = {fake ? dlsym(fake, "fake_cuda_calls") : NULL,
	              fake ? dlsym(fake, "fake_cuda_reset") : NULL};
	memcpy(&calls, &at[0], sizeof calls);
	memcpy(&reset, &at[1], sizeof reset);
	return calls && reset ? 0 : -1;
}

static int close_folder(void **state)
{
	(void)state;
	shell("rm -rf '%s'%s", folder, "");
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_missing),       cmocka_unit_test(test_describe),
	    cmocka_unit_test(test_train),         cmocka_unit_test(test_disk),
	    cmocka_unit_test(test_program),       cmocka_unit_test(test_index),
	    cmocka_unit_test(test_sticky),        cmocka_unit_test(test_memory),
	    cmocka_unit_test(test_failing_calls), cmocka_unit_test(test_poison),
	};
	return cmocka_run_group_tests(tests, open_folder, close_folder);
}
