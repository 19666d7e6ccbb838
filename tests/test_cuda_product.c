// Products that a library computes: which ones, how they are described to it, and that they are right, on the stand-ins for
// the driver, NVRTC and cuBLASLt. The stand-in refuses descriptors that do not fit and memory that is not aligned.
// In:  a row a product. Out: values beside plain loops; how many calls went to the library. Not here: a real cuBLASLt.
#include "check.h"

#include <math.h>
#include <stdlib.h>
#include <tgc/tgc.h>
#include <unistd.h>

#include <dlfcn.h>

#include "cuda.h"

static char folder[] = "/tmp/tgc-product-XXXXXX";
static int (*calls)(const char *name);
static int (*reset)(void), (*last_way)(void);

static tgc_context *open_precise(tgc_precision p)
{
	tgc_context_options o = {.struct_size = sizeof o, .device = "cuda", .threads = 2, .seed = 1, .matmul_precision = p};
	tgc_context *c = tgc_context_new(&o);
	assert_ok(c);
	return c;
}

static tgc_context *open_cuda(void) { return open_precise(TGC_PRECISION_DEFAULT); }

enum { PLAIN, LEFT_TURNED = 1, RIGHT_TURNED = 2, BIAS = 4, OTHER = 8, RELU = 16, OUT_TURNED = 32 };
struct row {
	int batch, m, n, k, how, library; // library: calls expected
	tgc_type type;
};
// A device for which nothing is too small, so that small products go to the library.
static const struct row rows[] = {
    {1, 128, 96, 200, PLAIN, 1, TGC_F32},
    {1, 128, 96, 200, LEFT_TURNED, 1, TGC_F32},
    {1, 128, 96, 200, RIGHT_TURNED, 1, TGC_F32},
    {1, 128, 96, 200, LEFT_TURNED | RIGHT_TURNED, 1, TGC_F32},
    {1, 65, 77, 93, PLAIN, 1, TGC_F32},
    {1, 65, 77, 93, LEFT_TURNED | RIGHT_TURNED, 1, TGC_F64},
    {1, 128, 96, 200, BIAS, 1, TGC_F32},
    {1, 128, 96, 200, BIAS | RIGHT_TURNED, 1, TGC_F32},
    {1, 128, 96, 200, PLAIN, 1, TGC_F16},
    {1, 128, 96, 200, RIGHT_TURNED, 1, TGC_BF16},
    {3, 64, 80, 70, PLAIN, 1, TGC_F32},
    {3, 64, 80, 70, LEFT_TURNED, 1, TGC_F32},
    {3, 64, 80, 70, RIGHT_TURNED, 1, TGC_BF16},
    {1, 128, 96, 200, RELU, 0, TGC_F32},   // what becomes of a NaN is not told
    {1, 128, 96, 200, OTHER, 0, TGC_F32},  // an operand that is computed on the way
    {3, 64, 80, 70, BIAS, 0, TGC_F32},     // of every batch
    {1, 128, 10, 200, PLAIN, 0, TGC_F32},  // narrow
    {1, 12, 96, 200, PLAIN, 0, TGC_F32},
    {9, 20, 20, 70, PLAIN, 0, TGC_F32},    // many small ones
};

static double value(int i, int seed) { return (i * 37 + seed * 11) % 17 - 8; }

static tgc_tensor *operand(tgc_context *c, const struct row *r, int rows_, int columns, int seed, bool turned)
{
	int n = r->batch * rows_ * columns;
	double *x = malloc(sizeof *x * (size_t)n);
	for (int i = 0; i < n; i++) {
		int b = i / (rows_ * columns), at = i % (rows_ * columns), row = at / columns, column = at % columns;
		x[turned ? (b * columns + column) * rows_ + row : i] = value(i, seed);
	}
	tgc_shape s = {3, {r->batch, turned ? columns : rows_, turned ? rows_ : columns}};
	if (r->batch == 1)
		s = (tgc_shape){2, {s.dims[1], s.dims[2]}};
	tgc_tensor *v = tgc_variable(tgc_cast(tgc_from_data(c, TGC_F64, s, x), r->type));
	assert_int_equal(tgc_realize(v), TGC_OK);
	free(x);
	return v;
}

static double wanted(const struct row *r, int i)
{
	int b = i / (r->m * r->n), row = i % (r->m * r->n) / r->n, column = i % r->n;
	double sum = 0;
	for (int l = 0; l < r->k; l++) {
		double x = value((b * r->m + row) * r->k + l, 1);
		sum += (r->how & OTHER ? x * x + 1 : x) * value((b * r->k + l) * r->n + column, 2);
	}
	sum += r->how & BIAS ? value(column, 3) : 0;
	return r->how & RELU && sum < 0 ? 0 : sum;
}

static void product(tgc_context *c, const struct row *r)
{
	int n = r->batch * r->m * r->n;
	double *got = malloc(sizeof *got * (size_t)n), bias[256];
	tgc_scope_begin(c);
	tgc_tensor *x = operand(c, r, r->m, r->k, 1, r->how & LEFT_TURNED), *y = operand(c, r, r->k, r->n, 2, r->how & RIGHT_TURNED);
	for (int i = 0; i < r->n; i++)
		bias[i] = value(i, 3);
	tgc_tensor *z = tgc_variable(tgc_cast(tgc_from_data(c, TGC_F64, TGC_SHAPE(r->n), bias), r->type));
	assert_int_equal(tgc_realize(z), TGC_OK);
	reset();
	tgc_tensor *a = r->how & LEFT_TURNED ? tgc_transpose(x, -1, -2) : x;
	tgc_tensor *b = r->how & RIGHT_TURNED ? tgc_transpose(y, -1, -2) : y;
	tgc_tensor *o = tgc_matmul(r->how & OTHER ? tgc_add(tgc_mul(a, a), 1) : a, b);
	o = r->how & BIAS ? tgc_add(o, z) : o;
	o = r->how & RELU ? tgc_relu(o) : o;
	assert_int_equal(tgc_realize(o), TGC_OK);
	assert_true(r->library < 0 || calls("cublasLtMatmul") == r->library);
	check_read_f64(o, got, n);
	double most = r->type == TGC_F64 ? 0 : r->type == TGC_F32 ? 1e-2 : r->type == TGC_F16 ? 2 : 16;
	for (int i = 0; i < n; i++)
		if (!(fabs(got[i] - wanted(r, i)) <= most))
			fail_msg("%dx%dx%dx%d, %d: element %d is %g, want %g", r->batch, r->m, r->n, r->k, r->how, i, got[i],
			         wanted(r, i));
	tgc_release(x);
	tgc_release(y);
	tgc_release(z);
	tgc_scope_end(c);
	free(got);
}

// The H100's own rates leave products of this size to kernels: a slower device, which its plans are made for.
static void slow(tgc_context *c) { device_of(c)->record.flops = 100; }

static void products(void **state)
{
	tgc_context *c = open_cuda();
	(void)state;
	slow(c);
	for (int i = 0; i < TG_COUNT(rows); i++)
		product(c, &rows[i]);
	tgc_context_free(&c);
}

// f32 is rounded where the context permits it, and only f32; never without.
static void rounds(void **state)
{
	static const tgc_type types[] = {TGC_F32, TGC_F64, TGC_F32};
	static const double x = 1 + 0x1p-11, wants[] = {1 + 0x1p-10, 1 + 0x1p-11, 1 + 0x1p-11};
	(void)state;
	for (int i = 0; i < TG_COUNT(types); i++) {
		tgc_context *c = open_precise(i < 2 ? TGC_PRECISION_TF32 : TGC_PRECISION_HIGHEST);
		double got[64 * 64];
		slow(c);
		tgc_tensor *v = tgc_variable(tgc_full(c, types[i], TGC_SHAPE(64, 64), x)),
		           *e = tgc_variable(tgc_full(c, types[i], TGC_SHAPE(64, 64), 1.0 / 64));
		assert_int_equal(tgc_realize(v, e), TGC_OK);
		reset();
		check_read_f64(tgc_matmul(v, e), got, 64 * 64);
		assert_int_equal(calls("cublasLtMatmul"), 1);
		for (int k = 0; k < 64 * 64; k++)
			assert_true(got[k] == wants[i]);
		tgc_release(v);
		tgc_release(e);
		tgc_context_free(&c);
	}
}

// As the record says: what is large goes to the library.
static void by_cost(void **state)
{
	static const struct row small = {1, 64, 64, 64, PLAIN, 0, TGC_F32}, large = {1, 512, 256, 600, PLAIN, 1, TGC_F32};
	tgc_context *c = open_cuda();
	(void)state;
	product(c, &small);
	product(c, &large);
	tgc_context_free(&c);
}

static void in_the_plan(void **state)
{
	(void)state;
	tgc_context *c = open_cuda();
	slow(c);
	tgc_tensor *x = tgc_input(c, TGC_F32, TGC_SHAPE(64, 100)), *w = tgc_variable(tgc_randn(c, TGC_F32, TGC_SHAPE(100, 80)));
	tgc_tensor *y[] = {tgc_matmul(x, w), tgc_softmax(x, 1)};
	tgc_program *p = tgc_compile(c, 1, &x, 2, y);
	assert_non_null(p);
	char *text = tgc_program_text(p), *error = NULL, *again;
	assert_non_null(strstr(text, "  step library g"));
	assert_non_null(strstr(text, "a library computes it: "));
	*strstr(text, "\n# kernel") = 0;
	struct plan *plan = plan_parse(c, text, &error);
	if (!plan)
		fail_msg("%s", error);
	char *why = plan_verify(plan);
	if (why)
		fail_msg("%s", why);
	struct text t = {0};
	plan_print(plan, &t);
	again = text_take(&t);
	assert_string_equal(again, text);
	for (int i = 0; i < plan->nsteps; i++) // a softmax is no product
		plan->steps[i].library = true;
	why = plan_verify(plan);
	assert_non_null(why);
	assert_non_null(strstr(why, "no plain product"));
	free(why);
	plan_free(plan);
	free(again);
	free(text);
	tgc_program_free(&p);
	tgc_release(w);
	tgc_context_free(&c);
}

// Learning steps, where results are stored to variables and addresses stay: one graph for all of them.
static void trains(void **state)
{
	static float got[2][96 * 80];
	(void)state;
	for (int round = 0; round < 2; round++) {
		setenv("TGC_CUBLASLT", round ? "0" : "1", 1);
		tgc_context *c = open_cuda();
		slow(c);
		reset();
		tgc_tensor *x = tgc_variable(tgc_randn(c, TGC_F32, TGC_SHAPE(64, 96)));
		tgc_tensor *w = tgc_variable(tgc_mul(tgc_randn(c, TGC_F32, TGC_SHAPE(96, 80)), 0.1));
		tgc_tensor *d = tgc_variable(tgc_randn(c, TGC_F32, TGC_SHAPE(64, 80)));
		for (int i = 0; i < 4; i++) {
			tgc_tensor *g, *loss = tgc_sum(tgc_mul(tgc_matmul(x, w), d), TGC_ALL_AXES, false);
			tgc_grad(loss, 1, &w, &g);
			tgc_assign(w, g);
			tgc_assign(d, tgc_add(tgc_mul(d, 0.9), 0.1));
			assert_int_equal(tgc_flush(c), TGC_OK);
		}
		check_read_f32(w, got[round], 96 * 80);
		assert_true(round ? calls("cublasLtMatmul") == 0 : calls("cublasLtMatmul") > 0);
		assert_true(calls("cublasLtMatmul") <= 2); // captured, not called at every step
		tgc_release(x);
		tgc_release(w);
		tgc_release(d);
		tgc_context_free(&c);
	}
	unsetenv("TGC_CUBLASLT");
	for (int i = 0; i < 96 * 80; i++)
		assert_float_equal(got[0][i], got[1][i], 1e-5);
}

static void failing(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		tgc_context *c = open_cuda();
		slow(c);
		tgc_tensor *x = tgc_variable(tgc_randn(c, TGC_F32, TGC_SHAPE(64, 64)));
		assert_int_equal(tgc_realize(x), TGC_OK);
		reset();
		setenv(i ? "FAKE_CUBLASLT_NO_WAY" : "FAKE_CUDA_FAIL", i ? "1" : "cublasLtMatmul:1:14", 1);
		assert_int_equal(tgc_realize(tgc_matmul(x, x)), i ? TGC_ERROR_COMPILE : TGC_ERROR_INTERNAL);
		assert_non_null(strstr(tgc_error_message(c), i ? "knows no way" : "cublasLtMatmul: status 14"));
		unsetenv("FAKE_CUBLASLT_NO_WAY");
		unsetenv("FAKE_CUDA_FAIL");
		tgc_clear_error(c);
		assert_int_equal(tgc_realize(tgc_matmul(x, x)), TGC_OK);
		tgc_release(x);
		tgc_context_free(&c);
	}
}

// ---- timed algorithms ------------------------------------------------------------------------------------------------

enum { WAYS = 5, TIMED = 1 + 3 }; // of the stand-in; calls of each

// A product of two variables in a context of its own; returns the calls of the library, whose last one has the result.
static int one_product(int columns)
{
	static const struct row row = {.batch = 1, .m = 64, .k = 96, .type = TGC_F32, .library = -1};
	struct row r = row;
	r.n = columns;
	tgc_context *c = open_cuda();
	slow(c);
	product(c, &r);
	int n = calls("cublasLtMatmul");
	tgc_context_free(&c);
	return n;
}

static void tunes(void **state)
{
	char cache[160];
	(void)state;
	snprintf(cache, sizeof cache, "%s/cache", folder);
	setenv("TGC_CACHE", cache, 1);
	setenv("FAKE_CUBLASLT_MS", "9,9,1,9,9", 1);
	assert_int_equal(one_product(64), 1); // not asked for: the first one
	assert_int_equal(last_way(), 0);
	setenv("TGC_TUNE", "1", 1);
	assert_int_equal(one_product(64), WAYS * TIMED + 1);
	assert_int_equal(last_way(), 2);
	setenv("FAKE_CUBLASLT_MS", "1,9,9,9,9", 1); // it is kept, though another one would be faster now
	assert_int_equal(one_product(64), 1);
	assert_int_equal(last_way(), 2);
	assert_int_equal(one_product(80), WAYS * TIMED + 1); // another shape
	assert_int_equal(last_way(), 0);
	setenv("FAKE_CUBLASLT_MS", "9,-1,9,-1,1", 1); // some do not run
	assert_int_equal(one_product(96), 3 * TIMED + 1);
	assert_int_equal(last_way(), 4);
	setenv("TGC_CACHE", "0", 1); // nothing is kept
	assert_int_equal(one_product(64), 3 * TIMED + 1);
	assert_int_equal(last_way(), 4);
	unsetenv("TGC_TUNE");
}

// Equal products of one plan are timed once, also without a cache.
static void tunes_once(void **state)
{
	(void)state;
	setenv("TGC_CACHE", "0", 1);
	setenv("TGC_TUNE", "1", 1);
	setenv("FAKE_CUBLASLT_MS", "0", 1);
	tgc_context *c = open_cuda();
	slow(c);
	tgc_tensor *x = tgc_variable(tgc_randn(c, TGC_F32, TGC_SHAPE(64, 64)));
	assert_int_equal(tgc_realize(x), TGC_OK);
	reset();
	assert_int_equal(tgc_realize(tgc_matmul(tgc_matmul(x, x), x)), TGC_OK);
	assert_int_equal(calls("cublasLtMatmul"), WAYS * TIMED + 2);
	tgc_release(x);
	tgc_context_free(&c);
	unsetenv("TGC_TUNE");
}

// Files of the cache with other content, and one with an algorithm that the library does not take any more.
static void tunes_again(void **state)
{
	char command[512];
	(void)state;
	snprintf(command, sizeof command, "%s/cache", folder);
	setenv("TGC_CACHE", command, 1);
	setenv("TGC_TUNE", "1", 1);
	setenv("FAKE_CUBLASLT_MS", "9,1,9,9,9", 1);
	assert_int_equal(one_product(112), WAYS * TIMED + 1);
	assert_int_equal(last_way(), 1);
	snprintf(command, sizeof command,
	         "for f in $(grep -l 'tgc product' %s/cache/*); do printf x | dd of=$f bs=1 seek=$(($(stat -c %%s $f) - 9)) "
	         "conv=notrunc 2>/dev/null; done",
	         folder);
	assert_int_equal(system(command), 0);
	setenv("FAKE_CUBLASLT_MS", "9,9,9,1,9", 1);
	assert_int_equal(one_product(112), WAYS * TIMED + 1);
	assert_int_equal(last_way(), 3);
	setenv("FAKE_CUBLASLT_REFUSES", "1", 1);
	setenv("FAKE_CUBLASLT_MS", "1,9,9,9,9", 1);
	assert_int_equal(one_product(112), WAYS * TIMED + 1);
	assert_int_equal(last_way(), 0);
	unsetenv("FAKE_CUBLASLT_REFUSES");
	setenv("FAKE_CUBLASLT_MS", "-1,-1,-1,-1,-1", 1);
	tgc_context *c = open_cuda();
	slow(c);
	tgc_tensor *x = tgc_variable(tgc_randn(c, TGC_F32, TGC_SHAPE(64, 72)));
	assert_int_equal(tgc_realize(tgc_matmul(tgc_transpose(x, 0, 1), x)), TGC_ERROR_COMPILE);
	assert_non_null(strstr(tgc_error_message(c), "runs no way that it knows"));
	tgc_release(x);
	tgc_context_free(&c);
	unsetenv("TGC_TUNE");
	unsetenv("FAKE_CUBLASLT_MS");
	setenv("TGC_CACHE", "0", 1);
}

// Where the real one is installed its names are those that are asked for.
static void real_one(void **state)
{
	struct cuda_lt lt;
	(void)state;
	unsetenv("TGC_CUDA_LIBDIR");
	bool there = cuda_lt_open(&lt, NULL, "");
	setenv("TGC_CUDA_LIBDIR", folder, 1);
	if (!there && strstr(lt.library.why, "too old"))
		fail_msg("%s", lt.library.why);
	if (there)
		assert_true(lt.version() >= 11000);
	cuda_lt_close(&lt);
	if (!there)
		skip();
}

static int open_folder(void **state)
{
	static const char *const names[] = {"libcuda.so.1", "libnvrtc.so.13", "libcublasLt.so.13"};
	char path[128];
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	for (int i = 0; i < TG_COUNT(names); i++) {
		snprintf(path, sizeof path, "%s/%s", folder, names[i]);
		if (symlink(FAKE_CUDA, path))
			return -1;
	}
	setenv("TGC_CUDA_LIBDIR", folder, 1);
	void *fake = dlopen(FAKE_CUDA, RTLD_NOW);
	void *at[] = {fake ? dlsym(fake, "fake_cuda_calls") : NULL, fake ? dlsym(fake, "fake_cuda_reset") : NULL,
	              fake ? dlsym(fake, "fake_cublaslt_last") : NULL};
	memcpy(&calls, &at[0], sizeof calls);
	memcpy(&reset, &at[1], sizeof reset);
	memcpy(&last_way, &at[2], sizeof last_way);
	return calls && reset && last_way ? 0 : -1;
}

static int close_folder(void **state)
{
	char command[128];
	(void)state;
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(products),   cmocka_unit_test(rounds),      cmocka_unit_test(by_cost), cmocka_unit_test(in_the_plan),
	    cmocka_unit_test(trains),     cmocka_unit_test(failing),     cmocka_unit_test(tunes),
	    cmocka_unit_test(tunes_once), cmocka_unit_test(tunes_again), cmocka_unit_test(real_one),
	};
	return cmocka_run_group_tests(tests, open_folder, close_folder);
}
