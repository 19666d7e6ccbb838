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

// A check that fails is seen before a variable is stored to; one that holds changes nothing.
static void test_nothing_stored(void **state)
{
	float got[4];
	tgc_context *c = must_open();
	(void)state;
	tgc_tensor *v = tgc_variable(tgc_full(c, TGC_F32, TGC_SHAPE(4), 5)), *w = tgc_variable(tgc_full(c, TGC_F32, TGC_SHAPE(4), 7));
	assert_int_equal(tgc_realize(v, w), TGC_OK);
	for (int bad = 1; bad >= 0; bad--) {
		int32_t where[] = {0, bad ? 9 : 3, 1};
		tgc_tensor *at = tgc_from_data(c, TGC_I32, TGC_SHAPE(3), where);
		tgc_tensor *picked = tgc_sum(tgc_gather(tgc_iota(c, TGC_F32, TGC_SHAPE(4), 0), at, 0), TGC_AXES(0), false);
		tgc_tensor *v0 = tgc_reshape(v, TGC_SHAPE(2, 2)), *w0 = tgc_reshape(w, TGC_SHAPE(2, 2));
		reset();
		tgc_assign(v, tgc_add(v, picked));
		tgc_assign(w, tgc_add(w, 1)); // hangs on no check, and is not stored either
		assert_int_equal(tgc_flush(c), bad ? TGC_ERROR_INDEX : TGC_OK);
		assert_int_equal(calls("cuGraphLaunch"), bad ? 1 : 2);
		assert_int_equal(calls("cuStreamSynchronize"), 1);
		tgc_clear_error(c);
		if (bad) { // else the same assignments wait
			tgc_assign(v, tgc_reshape(v0, TGC_SHAPE(4)));
			tgc_assign(w, tgc_reshape(w0, TGC_SHAPE(4)));
		}
		check_read_f32(v, got, 4);
		assert_true(got[0] == (bad ? 5 : 9) && got[3] == got[0]);
		check_read_f32(w, got, 4);
		assert_true(got[0] == (bad ? 7 : 8) && got[3] == got[0]);
	}
	tgc_release(v);
	tgc_release(w);
	tgc_context_free(&c);
}

// The gather's users want the first two rows, and its gradient looks at all indices once more: behind the first store, but
// by then they are known to be right, and nobody waits for that.
static void test_unread_index(void **state)
{
	float got[2];
	tgc_context *c = must_open();
	(void)state;
	tgc_tensor *table = tgc_variable(tgc_full(c, TGC_F32, TGC_SHAPE(4), 5)), *g;
	tgc_tensor *w = tgc_variable(tgc_full(c, TGC_F32, TGC_SHAPE(2), 7));
	assert_int_equal(tgc_realize(table, w), TGC_OK);
	for (int bad = 1; bad >= 0; bad--) {
		const int32_t where[] = {0, 1, bad ? 9 : 2};
		tgc_tensor *was = tgc_reshape(w, TGC_SHAPE(2)), *table_was = tgc_reshape(table, TGC_SHAPE(4));
		tgc_tensor *rows = tgc_gather(table, tgc_from_data(c, TGC_I32, TGC_SHAPE(3), where), 0);
		tgc_tensor *sum = tgc_sum(tgc_slice_axis(rows, 0, 0, 2), TGC_ALL_AXES, false), *loss = tgc_mul(sum, sum);
		assert_int_equal(tgc_grad(loss, 1, &table, &g), TGC_OK);
		tgc_assign(w, tgc_add(w, 1.0));
		tgc_assign(table, tgc_sub(table, g));
		reset();
		assert_int_equal(tgc_flush(c), bad ? TGC_ERROR_INDEX : TGC_OK);
		assert_int_equal(calls("cuStreamSynchronize"), 1);
		tgc_clear_error(c);
		if (bad) { // else the same assignments wait
			tgc_assign(w, was);
			tgc_assign(table, table_was);
		}
		check_read_f32(w, got, 2);
		assert_true(got[0] == (bad ? 7 : 8) && got[1] == got[0]);
		check_read_f32(tgc_slice_axis(table, 0, 0, 2), got, 2);
		assert_true(got[0] == (bad ? 5 : -15) && got[1] == got[0]);
	}
	tgc_release(table);
	tgc_release(w);
	tgc_context_free(&c);
}

// The host goes on while data is on its way, and while a number comes back.
static void test_no_waiting(void **state)
{
	enum { N = 5 << 20 }; // more than the pinned pieces hold at once
	float *x = malloc(sizeof *x * N);
	tgc_later *later[40]; // more than land by themselves
	tgc_context *c = must_open();
	(void)state;
	assert_non_null(x);
	for (int i = 0; i < N; i++)
		x[i] = (float)(i % 1000);
	reset();
	tgc_tensor *t = tgc_from_data(c, TGC_F32, TGC_SHAPE(N), x);
	memset(x, 0, sizeof *x * N); // it is the library's now
	assert_int_equal(calls("cuStreamSynchronize"), 0);
	assert_int_equal(calls("cuMemcpyHtoDAsync"), 5);
	static float back[N];
	assert_int_equal(tgc_read(t, back, sizeof back), TGC_OK);
	for (int i = 0; i < N; i++)
		if (back[i] != (float)(i % 1000))
			fail_msg("element %d is %g", i, (double)back[i]);
	tgc_scope_begin(c);
	for (int i = 0; i < 40; i++)
		later[i] = tgc_item_later(tgc_mul(tgc_iota(c, TGC_F32, TGC_SHAPE(1), 0), i));
	for (int i = 0; i < 40; i++)
		later[i] = tgc_item_later(tgc_add(tgc_cast(tgc_iota(c, TGC_I64, TGC_SHAPE(1), 0), TGC_F64), i));
	reset();
	assert_int_equal(tgc_flush(c), TGC_OK);
	assert_int_equal(calls("cuStreamSynchronize"), 80 - 32);
	for (int i = 39; i >= 0; i--)
		assert_true(tgc_later_get(later[i]) == i && tgc_later_get(later[i]) == i);
	tgc_scope_end(c);
	tgc_scope_begin(c); // tickets of those that nobody read are free again
	later[0] = tgc_item_later(tgc_add(tgc_iota(c, TGC_F32, TGC_SHAPE(1), 0), 4));
	reset();
	assert_int_equal(tgc_flush(c), TGC_OK);
	assert_int_equal(calls("cuStreamSynchronize"), 0);
	assert_true(tgc_later_get(later[0]) == 4);
	tgc_scope_end(c);
	tgc_context_free(&c);
	free(x);
}

// A traced run is waited for once, not step by step.
static void test_trace(void **state)
{
	char traces[64], command[128];
	snprintf(traces, sizeof traces, "%s/traces", folder);
	(void)state;
	environment("TGC_TRACE", traces);
	tgc_context *c = must_open();
	tgc_tensor *x = tgc_randn(c, TGC_F32, TGC_SHAPE(40, 40)), *y = tgc_softmax(tgc_matmul(x, x), 0);
	tgc_tensor *z = tgc_sum(tgc_matmul(y, tgc_softmax(y, 1)), TGC_ALL_AXES, false);
	reset();
	assert_int_equal(tgc_realize(z), TGC_OK);
	environment("TGC_TRACE", NULL);
	assert_true(tgc_get_stats(c).launches >= 2);
	assert_int_equal(calls("cuStreamSynchronize"), 0);
	assert_int_equal(calls("cuEventElapsedTime"), (int)tgc_get_stats(c).launches + 1);
	assert_true(check_item(z) > 0);
	tgc_context_free(&c);
	snprintf(command, sizeof command, "cat %s/plan-*.json | grep -q '\"median_us\": [0-9.]*[1-9]'", traces);
	assert_int_equal(system(command), 0);
}

static void square_and_add(tgc_context *c, int times)
{
	float x[16], y[16], want;
	tgc_tensor *in = tgc_input(c, TGC_F32, TGC_SHAPE(16)), *out = in;
	for (int k = 0; k < times; k++)
		out = tgc_add(tgc_mul(out, out), in);
	tgc_program *p = tgc_compile(c, 1, &in, 1, &out);
	for (int k = 0; k < 16; k++)
		x[k] = (float)k / 16;
	assert_int_equal(tgc_program_run(p, (const void *[]){x}, (void *[]){y}), TGC_OK);
	want = x[9];
	for (int k = 0; k < times; k++)
		want = want * want + x[9];
	assert_float_equal(y[9], want, 1e-5);
	tgc_program_free(&p);
}

// Cubins that no plan uses go when there are too many; a kernel that comes back is found on the disk.
static void test_evict(void **state)
{
	tgc_context *stays = must_open(); // and with it the process' kernels
	(void)state;
	struct cuda_process *all = device_of(stays)->process->cuda;
	int64_t most = all->most_idle_bytes;
	all->most_idle_bytes = 0;
	reset();
	for (int round = 0; round < 2; round++) {
		tgc_context *c = must_open();
		for (int i = 1; i < 5; i++)
			square_and_add(c, i);
		assert_int_equal(calls("cuModuleUnload"), 3 * round);
		tgc_context_free(&c); // and its plans
		assert_int_equal(calls("cuModuleUnload"), 3 * round + 3); // the last one let go stays
		assert_int_equal(calls("cuModuleLoadData"), 3 * round + 4);
		assert_true(all->batches && !all->batches->next && all->batches->refs == 0);
		assert_int_equal(all->idle_bytes, (int64_t)all->batches->bytes);
	}
	all->most_idle_bytes = most;
	tgc_context *c = must_open();
	for (int i = 1; i < 5; i++)
		square_and_add(c, i);
	tgc_context_free(&c);
	assert_int_equal(calls("cuModuleUnload"), 6); // nothing is too much
	tgc_context_free(&stays);
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
	shell("ln -s '%s' %s/libcublasLt.so.13", FAKE_CUDA, folder);
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
	    cmocka_unit_test(test_nothing_stored), cmocka_unit_test(test_unread_index), cmocka_unit_test(test_no_waiting),
	    cmocka_unit_test(test_trace),         cmocka_unit_test(test_evict),
	};
	return cmocka_run_group_tests(tests, open_folder, close_folder);
}
