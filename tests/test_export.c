// A program written as an object: compiled into another program by the C compiler alone, run, compared bit for
// bit with a portable difference allowed.
// In: a C compiler in CC or as cc. Not here: programs run by tgc (test_runtime.c).
#include "check.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

enum { BATCH = 5, IN = 20, HIDDEN = 33, OUT = 10 };

static const char main_text[] =
    "#include \"net.h\"\n"
    "#include <stdio.h>\n"
    "#include <stdlib.h>\n"
    "int main(int argc, char **argv)\n"
    "{\n"
    "	static float in[5 * 20], out[5 * 10];\n"
    "	static int32_t best[5];\n"
    "	void *workspace = aligned_alloc(64, NET_WORKSPACE_BYTES + 64);\n"
    "	FILE *f = fopen(argv[argc - 2], \"rb\");\n"
    "	if (!f || fread(in, sizeof in, 1, f) != 1)\n"
    "		return 2;\n"
    "	fclose(f);\n"
    "	int failed = net(in, out, best, workspace);\n"
    "	f = fopen(argv[argc - 1], \"wb\");\n"
    "	if (!f || fwrite(out, sizeof out, 1, f) != 1 || fwrite(best, sizeof best, 1, f) != 1)\n"
    "		return 3;\n"
    "	fclose(f);\n"
    "	free(workspace);\n"
    "	return failed;\n"
    "}\n";

static char folder[] = "/tmp/tgc_export_XXXXXX";

static char *path(const char *name)
{
	static char buffer[4][128];
	static int next;
	char *p = buffer[next++ % 4];

	snprintf(p, sizeof buffer[0], "%s/%s", folder, name);
	return p;
}

static void save(const char *name, const void *data, size_t bytes)
{
	FILE *f = fopen(path(name), "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, bytes, f), bytes);
	fclose(f);
}

static tgc_tensor *filled(tgc_context *c, int rows, int cols, int seed)
{
	float *v = calloc((size_t)(rows * cols), sizeof *v);

	for (int i = 0; i < rows * cols; i++)
		v[i] = (float)((i * 37 + seed) % 101) / 101 - 0.5f;
	tgc_tensor *t = tgc_variable(tgc_from_data(c, TGC_F32, TGC_SHAPE(rows, cols), v));
	free(v);
	return t;
}

// The forward pass of an MLP: its logits times a late scalar, and the class of each row.
static tgc_program *network(tgc_context *c)
{
	tgc_tensor *x = tgc_input(c, TGC_F32, TGC_SHAPE(BATCH, IN)), *scale = tgc_scalar(c, 0.5);
	tgc_tensor *h = tgc_relu(tgc_add(tgc_matmul(x, filled(c, IN, HIDDEN, 1)), filled(c, 1, HIDDEN, 2)));
	tgc_tensor *y = tgc_add(tgc_matmul(h, filled(c, HIDDEN, OUT, 3)), filled(c, 1, OUT, 4));
	tgc_tensor *outs[] = {tgc_mul(y, scale), tgc_cast(tgc_argmax(y, 1, false), TGC_I32)};

	return tgc_compile(c, 1, &x, 2, outs);
}

static void run_shell(const char *format, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(line, sizeof line, format, ap);
	va_end(ap);
	if (system(line) != 0)
		fail_msg("%s", line);
}

static void object_computes_the_same(void **state)
{
	tgc_context *c = check_context("cpu", 1);
	const char *cc = getenv("CC") ? getenv("CC") : "cc";
	float in[BATCH * IN], want[BATCH * OUT];
	struct {
		float y[BATCH * OUT];
		int32_t best[BATCH];
	} got;
	int32_t best[BATCH];

	(void)state;
	if (!c)
		skip();
	tgc_program *p = network(c);
	assert_non_null(p);
	for (int i = 0; i < BATCH * IN; i++)
		in[i] = (float)(i * 29 % 83) / 41 - 1;
	assert_int_equal(tgc_program_run(p, (const void *[]){in}, (void *[]){want, best}), TGC_OK);
	assert_non_null(mkdtemp(folder));
	assert_int_equal(tgc_program_export(p, path("net"), "net"), TGC_OK);
	save("main.c", main_text, strlen(main_text));
	save("in", in, sizeof in);
	run_shell("cd %s && %s -Wall -Wextra -Werror -o net main.c net.o", folder, cc);
	run_shell("cd %s && ! ldd net | grep -q -e LLVM -e tgc", folder);
	run_shell("cd %s && ./net in out", folder);
	FILE *f = fopen(path("out"), "rb");
	assert_non_null(f);
	assert_int_equal(fread(&got, 1, sizeof got, f), sizeof got);
	fclose(f);
	for (int i = 0; i < BATCH * OUT; i++)
		assert_float_equal(got.y[i], want[i], 1e-5);
	assert_memory_equal(got.best, best, sizeof best);
	run_shell("rm -r %s", folder);
	tgc_program_free(&p);
	tgc_context_free(&c);
}

static void what_cannot_be_written(void **state)
{
	tgc_context *c = check_context("cpu", 1);

	(void)state;
	if (!c)
		skip();
	tgc_tensor *v = tgc_variable(tgc_zeros(c, TGC_F32, TGC_SHAPE(3))),
	           *y = tgc_exp(tgc_reshape(v, TGC_SHAPE(3, 1)));
	tgc_program *plain = tgc_compile(c, 0, NULL, 1, &y);
	tgc_assign(v, tgc_add(v, 1.0));
	tgc_program *assigns = tgc_compile(c, 0, NULL, 1, &y);
	assert_int_equal(tgc_program_export(assigns, "/tmp/never", "f"), TGC_ERROR_ARG);
	tgc_clear_error(c);
	assert_int_equal(tgc_program_export(plain, "/tmp/never", "no-name"), TGC_ERROR_ARG);
	tgc_clear_error(c);
	assert_int_equal(tgc_program_export(plain, "/nowhere/at/all", "f"), TGC_ERROR_IO);
	tgc_clear_error(c);
	tgc_program_free(&plain);
	tgc_program_free(&assigns);
	tgc_context_free(&c);
	c = check_context("interp", 1);
	y = tgc_zeros(c, TGC_F32, TGC_SHAPE(3));
	plain = tgc_compile(c, 0, NULL, 1, &y);
	assert_int_equal(tgc_program_export(plain, "/tmp/never", "f"), TGC_ERROR_NODEVICE);
	tgc_program_free(&plain);
	tgc_context_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(object_computes_the_same),
	    cmocka_unit_test(what_cannot_be_written),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
