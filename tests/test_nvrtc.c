// Libraries opened at run time: the order of places, what is said of missing and old ones; CUDA C through
// NVRTC. In:  folders made for the test, a library built for it; NVRTC, where there is one (else that part is
// skipped). Not here: what kernels look like (test_cuda_code.c).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cuda.h"

static const char *const fake_names[] = {"libtgfake.so.9", "libtgfake.so.8", NULL};
static const char *const variables[] = {"TGC_CUDA_LIBDIR", "CUDA_HOME",   "CUDA_PATH",
                                        "CONDA_PREFIX",    "VIRTUAL_ENV", "HOME"};
static char top[] = "/tmp/tgc-library-XXXXXX";

static void no_variables(void)
{
	for (int i = 0; i < TG_COUNT(variables); i++)
		unsetenv(variables[i]);
}

static void shell(const char *fmt, ...)
{
	char command[2048];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(command, sizeof command, fmt, ap);
	va_end(ap);
	assert_int_equal(system(command), 0);
}

// top/folder/name is the library built for this test.
static void put(const char *folder, const char *name)
{
	shell("mkdir -p '%s/%s' && ln -sf '%s' '%s/%s/%s'", top, folder, FAKE_LIBRARY, top, folder, name);
}

static void expect(const char *folder, const char *name)
{
	struct library l;
	char want[1024];
	snprintf(want, sizeof want, "%s/%s/%s", top, folder, name);
	bool found = library_open(&l, fake_names, top);
	if (!found)
		fail_msg("%s: %s", want, l.why);
	assert_string_equal(l.path, want);
	library_close(&l);
}

// Places from the last to the first: each new one wins over those before it.
static void test_order(void **state)
{
	static const struct {
		const char *variable, *value, *folder;
	} rows[] = {
	    {NULL, NULL, "usr/lib64"},
	    {NULL, NULL, "usr/lib/x86_64-linux-gnu"},
	    {NULL, NULL, "usr/local/cuda-12.4/lib64"},
	    {NULL, NULL, "usr/local/cuda-13.0/lib64"}, // the newest toolkit
	    {NULL, NULL, "usr/lib/python3/dist-packages/nvidia/cuda_nvrtc/lib"},
	    {"HOME", "home", "home/.local/lib/python3.11/site-packages/nvidia/cuda_nvrtc/lib"},
	    {"VIRTUAL_ENV", "venv", "venv/lib/python3.12/site-packages/nvidia/cu13/lib"},
	    {"CONDA_PREFIX", "conda", "conda/lib/python3.12/site-packages/nvidia/cuda_nvrtc/lib"},
	    {"CONDA_PREFIX", "conda", "conda/targets/x86_64-linux/lib"},
	    {"CONDA_PREFIX", "conda", "conda/lib"},
	    {"CUDA_PATH", "path", "path/lib64"},
	    {"CUDA_HOME", "home-cuda", "home-cuda/lib"},
	    {"CUDA_HOME", "home-cuda", "home-cuda/lib64"},
	    {"TGC_CUDA_LIBDIR", "mine", "mine"},
	};
	(void)state;
	no_variables();
	for (int i = 0; i < TG_COUNT(rows); i++) {
		char value[1024];
		snprintf(value, sizeof value, "%s/%s", top, rows[i].value ? rows[i].value : "");
		if (rows[i].variable)
			setenv(rows[i].variable, value, 1);
		put(rows[i].folder, "libtgfake.so.8");
		expect(rows[i].folder, "libtgfake.so.8");
		put(rows[i].folder, "libtgfake.so.9"); // the wanted name goes first
		expect(rows[i].folder, "libtgfake.so.9");
	}
	no_variables();
}

static void test_missing(void **state)
{
	struct library l;
	char nowhere[1024];
	(void)state;
	no_variables();
	snprintf(nowhere, sizeof nowhere, "%s/nowhere", top);
	setenv("TGC_CUDA_LIBDIR", nowhere, 1);
	assert_false(library_open(&l, fake_names, nowhere));
	assert_null(l.handle);
	const char *const parts[] = {"libtgfake.so.9, libtgfake.so.8", "TGC_CUDA_LIBDIR", nowhere,
	                             "the loader's path", "/usr/local/cuda*/lib64"};
	for (int i = 0; i < TG_COUNT(parts); i++)
		if (!strstr(l.why, parts[i]))
			fail_msg("\"%s\" is not in: %s", parts[i], l.why);
	library_close(&l);
	no_variables();
}

// A file that is no library is named, and the hunt goes on behind it.
static void test_broken(void **state)
{
	struct library l;
	char broken[1024], nowhere[1024];
	(void)state;
	no_variables();
	snprintf(broken, sizeof broken, "%s/broken", top);
	snprintf(nowhere, sizeof nowhere, "%s/nowhere", top);
	shell("mkdir -p %s && echo no library > %s/libtgfake.so.9", broken, broken);
	setenv("TGC_CUDA_LIBDIR", broken, 1);
	assert_false(library_open(&l, fake_names, nowhere));
	assert_non_null(strstr(l.why, "broken/libtgfake.so.9"));
	library_close(&l);
	put("broken/lib64", "libtgfake.so.8");
	setenv("CUDA_HOME", broken, 1);
	expect("broken/lib64", "libtgfake.so.8");
	no_variables();
}

static void test_old(void **state)
{
	struct nvrtc n;
	char mine[1024];
	(void)state;
	no_variables();
	put("old", "libtgfake.so.9");
	snprintf(mine, sizeof mine, "%s/old", top);
	setenv("TGC_CUDA_LIBDIR", mine, 1);
	assert_false(nvrtc_open(&n, fake_names, top));
	assert_non_null(strstr(n.library.why, "old/libtgfake.so.9 is too old: it has no nvrtcVersion"));
	nvrtc_close(&n);
	no_variables();
}

// ---- NVRTC ---------------------------------------------------------------------------------------------------------

static const char prelude[] =
    "#define TG_KERNEL(NAME, T) extern \"C\" __global__ void __launch_bounds__(T) NAME\n";
static const char reverse_text[] = "TG_KERNEL(rev_p0, 128)(float *b0, const float *b1)\n{\n"
                                   "\t__shared__ float s[128];\n\tint t = threadIdx.x;\n\ts[t] = b1[t];\n"
                                   "\t__syncthreads();\n\tb0[t] = s[127 - t];\n}\n"
                                   "TG_KERNEL(rev_p1, 128)(float *b0)\n{\n\tb0[threadIdx.x] *= 2;\n}\n";
static const char wide_text[] = "TG_KERNEL(wide_p0, 1024)(float *b0, const float *b1)\n{\n\tfloat x[200];\n"
                                "\tfor (int i = 0; i < 200; i++)\n\t\tx[i] = b1[i * threadIdx.x];\n"
                                "\tfor (int i = 0; i < 200; i++)\n\t\tb0[i] = x[i] * x[199 - i];\n}\n";
static const char wrong_text[] = "TG_KERNEL(wrong_p0, 32)(float *b0)\n{\n\tb0[0] = missing;\n}\n";

static struct nvrtc lib;

static void need_nvrtc(void)
{
	no_variables();
	if (!lib.library.handle && !nvrtc_open(&lib, NULL, "")) {
		print_message("skipped, no NVRTC: %s\n", lib.library.why);
		skip();
	}
}

static const struct nvrtc_function *function(const struct nvrtc_code *c, const char *name)
{
	for (int i = 0; i < c->nfunctions; i++)
		if (strcmp(c->functions[i].name, name) == 0)
			return &c->functions[i];
	fail_msg("the log says nothing of %s", name);
	return NULL;
}

static void test_compile(void **state)
{
	static const char *const archs[] = {"sm_75", "sm_80", "sm_90", "sm_100", "sm_120"};
	const struct nvrtc_source sources[] = {{"rev", reverse_text}, {"wide", wide_text}};
	struct nvrtc_code c;
	(void)state;
	need_nvrtc();
	for (int i = 0; i < TG_COUNT(archs); i++) {
		bool new = lib.version < 12080 && i >= 3; // came with 12.8
		char *error = nvrtc_compile(&lib, archs[i], prelude, TG_COUNT(sources), sources, true, &c);
		if (new) {
			free(error);
			continue;
		}
		if (error)
			fail_msg("%s: %s", archs[i], error);
		assert_true(c.bytes > 64 && memcmp(c.code, "\177ELF", 4) == 0);
		assert_non_null(strstr(c.ptx, ".entry rev_p1"));
		assert_int_equal(c.nfunctions, 3);
		assert_int_equal(function(&c, "rev_p0")->shared_bytes, 512);
		assert_int_equal(function(&c, "rev_p0")->spill_bytes, 0);
		assert_in_range(function(&c, "rev_p1")->registers, 4, 64);
		assert_true(function(&c, "wide_p0")->stack_bytes > 0); // 200 values in 64 registers
		assert_true(function(&c, "wide_p0")->spill_bytes > 0 || i >= 3);
		nvrtc_code_free(&c);
	}
}

static void test_log(void **state)
{
	const struct nvrtc_source sources[] = {{"rev", reverse_text}, {"wrong", wrong_text}};
	struct nvrtc_code c;
	(void)state;
	need_nvrtc();
	char *error = nvrtc_compile(&lib, "sm_90", prelude, TG_COUNT(sources), sources, false, &c);
	assert_non_null(error);
	if (!strstr(error, "wrong(3)") || !strstr(error, "missing"))
		fail_msg("neither kernel nor line: %s", error);
	assert_null(c.code);
	free(error);
	error = nvrtc_compile(&lib, "sm_1", prelude, 1, sources, false, &c);
	assert_non_null(error);
	assert_non_null(strstr(error, "gpu-architecture"));
	free(error);
}

static void *compile_some(void *user)
{
	char **error = user;
	for (int i = 0; i < 3 && !*error; i++) {
		const struct nvrtc_source s = {"rev", reverse_text};
		struct nvrtc_code c;
		*error = nvrtc_compile(&lib, "sm_90", prelude, 1, &s, false, &c);
		if (!*error && c.nfunctions != 2)
			*error = strdup("functions are missing");
		nvrtc_code_free(&c);
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t ids[2];
	char *errors[2] = {NULL, NULL};
	(void)state;
	need_nvrtc();
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&ids[i], NULL, compile_some, &errors[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(ids[i], NULL);
	for (int i = 0; i < 2; i++)
		if (errors[i])
			fail_msg("%s", errors[i]);
}

static int open_top(void **state)
{
	(void)state;
	return mkdtemp(top) ? 0 : -1;
}

static int close_top(void **state)
{
	(void)state;
	nvrtc_close(&lib);
	shell("rm -rf '%s'", top);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_order),   cmocka_unit_test(test_missing), cmocka_unit_test(test_broken),
	    cmocka_unit_test(test_old),     cmocka_unit_test(test_compile), cmocka_unit_test(test_log),
	    cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, open_top, close_top);
}
