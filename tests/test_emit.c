// The LLVM emitter: loop kinds, memory, every elementwise operation and cast as machine code against the kernel
// evaluator, bit for bit, on several targets.
// Not here: the accuracy of what `expand` makes (test_emit_accuracy.c); memory that is far away (test_emit_memory.c).
#include "emit_run.h"
#include "runtime.h"

#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

// ---- loop kinds and memory ----

static const struct row {
	const char *name, *text;
} rows[] = {
    {"vectors with a masked tail", RUN_FRAME(7) "  for block %0 = 0 .. 7 {\n"
                                            "    for lane %1 = 0 .. 16 {\n"
                                            "      %2 = affine 0 16*%0 1*%1\n"
                                            "      %3 = lt bool %2, 103\n"
                                            "      %4 = load b0 [%2] if %3\n"
                                            "      %5 = add f32 %4, %4\n"
                                            "      store b1 [%2] %5 if %3\n"
                                            "    }\n"
                                            "  }\n"},
    {"a register tile", RUN_FRAME(4) "  for block %0 = 0 .. 4 {\n"
                                 "    for unroll %1 = 0 .. 6 {\n"
                                 "      for unroll %2 = 0 .. 2 {\n"
                                 "        for lane %3 = 0 .. 16 {\n"
                                 "          for serial %4 = 0 .. 24 carry %5 = f32:0 add {\n"
                                 "            %6 = affine 0 24*%1 144*%0 1*%4\n"
                                 "            %7 = affine 0 16*%2 1*%3 32*%4\n"
                                 "            %8 = load b0 [%6]\n"
                                 "            %9 = load b3 [%7]\n"
                                 "            %10 = fma f32 %8, %9, %5\n"
                                 "          } yield %10 -> %11\n"
                                 "          %12 = affine 0 192*%0 32*%1 16*%2 1*%3\n"
                                 "          store b1 [%12] %11\n"
                                 "        }\n"
                                 "      }\n"
                                 "    }\n"
                                 "  }\n"},
    {"a reduction over lanes", RUN_FRAME(5) "  for block %0 = 0 .. 5 {\n"
                                        "    for lane %1 = 0 .. 16 carry %2 = f32:1 add {\n"
                                        "      %3 = affine 0 16*%0 1*%1\n"
                                        "      %4 = load b0 [%3]\n"
                                        "    } yield %4 -> %5\n"
                                        "    for lane %6 = 0 .. 11 carry %7 = f32:-inf maximum {\n"
                                        "      %8 = affine 7 3*%0 1*%6\n"
                                        "      %9 = load b0 [%8]\n"
                                        "    } yield %9 -> %10\n"
                                        "    store b1 [%0] %5\n"
                                        "    %11 = affine 100 1*%0\n"
                                        "    store b1 [%11] %10\n"
                                        "  }\n"},
    {"a reduction over copies of vectors", RUN_FRAME(3) "  for block %0 = 0 .. 3 {\n"
                                                    "    for lane %1 = 0 .. 8 {\n"
                                                    "      for unroll %2 = 0 .. 5 carry %3 = f32:0.5 mul {\n"
                                                    "        %4 = affine 0 40*%0 8*%2 1*%1\n"
                                                    "        %5 = load b0 [%4]\n"
                                                    "      } yield %5 -> %6\n"
                                                    "      %7 = affine 0 8*%0 1*%1\n"
                                                    "      store b1 [%7] %6\n"
                                                    "    }\n"
                                                    "  }\n"},
    {"gather, scatter, tables", RUN_FRAME(4) "  for block %0 = 0 .. 4 {\n"
                                         "    for lane %1 = 0 .. 11 {\n"
                                         "      %2 = table t0 [%1]\n"
                                         "      %3 = affine 0 37*%2 5*%0\n"
                                         "      %4 = load b0 [%3]\n"
                                         "      %5 = affine 3 7*%1 100*%0\n"
                                         "      %6 = load b0 [%5]\n"
                                         "      %7 = sub f32 %4, %6\n"
                                         "      store b1 [%3] %7\n"
                                         "      %8 = affine 900 13*%1 1*%0\n"
                                         "      store b1 [%8] %7\n"
                                         "    }\n"
                                         "  }\n"},
    {"backwards", RUN_FRAME(4) "  for block %0 = 0 .. 4 {\n"
                           "    for lane %1 = 0 .. 16 {\n"
                           "      %2 = affine 63 -16*%0 -1*%1\n"
                           "      %3 = lt bool %2, 61\n"
                           "      %4 = load b0 [%2] if %3\n"
                           "      %5 = affine 0 16*%0 1*%1\n"
                           "      %6 = load b0 [%5]\n"
                           "      %7 = sub f32 %4, %6\n"
                           "      %8 = affine 163 -16*%0 -1*%1\n"
                           "      store b1 [%8] %7 if %3\n"
                           "    }\n"
                           "  }\n"},
    {"blocks read in rows", RUN_FRAME(3) "  for block %0 = 0 .. 3 {\n"
                                     "    for unroll %1 = 0 .. 8 {\n"
                                     "      for lane %2 = 0 .. 16 {\n"
                                     "        %3 = affine 0 8*%0 1*%1 40*%2\n"
                                     "        %4 = affine 0 16*%0 1*%2\n"
                                     "        %5 = lt bool %4, 43\n"
                                     "        %6 = load b0 [%3]\n"
                                     "        %7 = load b3 [%3] if %5\n"
                                     "        %8 = load b2 [%3] if %5\n"
                                     "        %9 = load b4 [%3]\n"
                                     "        %10 = select f32 %9, %6, %7\n"
                                     "        %11 = affine 0 128*%0 16*%1 1*%2\n"
                                     "        store b1 [%11] %10\n"
                                     "        %12 = affine 2048 128*%0 16*%1 1*%2\n"
                                     "        store b2 [%12] %8 if %5\n"
                                     "      }\n"
                                     "    }\n"
                                     "  }\n"},
    {"blocks written in rows", RUN_FRAME(3) "  for block %0 = 0 .. 3 {\n"
                                        "    for unroll %1 = 0 .. 12 {\n"
                                        "      for lane %2 = 0 .. 16 {\n"
                                        "        %3 = affine 0 192*%0 16*%1 1*%2\n"
                                        "        %4 = affine 0 16*%0 1*%2\n"
                                        "        %5 = lt bool %4, 43\n"
                                        "        %6 = load b0 [%3]\n"
                                        "        %7 = affine 2048 192*%0 16*%1 1*%2\n"
                                        "        %8 = load b4 [%7]\n"
                                        "        %9 = affine 0 12*%0 1*%1 50*%2\n"
                                        "        %10 = affine 800 12*%0 1*%1 50*%2\n"
                                        "        store b1 [%9] %6 if %5\n"
                                        "        store b1 [%10] %6\n"
                                        "        store b4 [%10] %8\n"
                                        "      }\n"
                                        "    }\n"
                                        "  }\n"},
    {"guards that are the same for all lanes", RUN_FRAME(6) "  for block %0 = 0 .. 6 {\n"
                                                        "    %1 = lt bool %0, 4\n"
                                                        "    for unroll %2 = 0 .. 3 {\n"
                                                        "      %3 = affine 0 1*%0 1*%2\n"
                                                        "      %4 = lt bool %3, 5\n"
                                                        "      for lane %5 = 0 .. 16 {\n"
                                                        "        %6 = affine -200 50*%0 16*%2 1*%5\n"
                                                        "        %7 = affine 40 50*%0 16*%2 1*%5\n"
                                                        "        %8 = load b0 [%7] if %1\n"
                                                        "        %9 = affine 7 1*%0\n"
                                                        "        %10 = load b0 [%9] if %4\n"
                                                        "        %11 = add f32 %8, %10\n"
                                                        "        store b1 [%7] %11 if %4\n"
                                                        "      }\n"
                                                        "    }\n"
                                                        "  }\n"},
    {"loops whose bounds differ by copy and lane",
     RUN_FRAME(3) "  for block %0 = 0 .. 3 {\n"
              "    for unroll %1 = 0 .. 3 carry %2 = f32:0 add {\n"
              "      %3 = affine 0 2*%1 1*%0\n"
              "      for serial %4 = %1 .. %3 carry %5 = f32:0 add {\n"
              "        %6 = affine 0 8*%1 1*%4\n"
              "        %7 = load b0 [%6]\n"
              "        %8 = add f32 %5, %7\n"
              "      } yield %8 -> %9\n"
              "    } yield %9 -> %10\n"
              "    store b1 [%0] %10\n"
              "    for lane %11 = 0 .. 8 {\n"
              "      for serial %12 = 0 .. %11 carry %13 = f32:1 mul {\n"
              "        %14 = load b0 [%12]\n"
              "        %15 = mul f32 %13, %14\n"
              "      } yield %15 -> %16\n"
              "      %17 = affine 10 8*%0 1*%11\n"
              "      store b1 [%17] %16\n"
              "    }\n"
              "  }\n"},
    {"iota, quotients and compares in lanes", RUN_FRAME(9) "  for block %0 = 0 .. 9 {\n"
                                                       "    for lane %1 = 0 .. 16 {\n"
                                                       "      %2 = affine -50 16*%0 1*%1\n"
                                                       "      %3 = idiv %2 7\n"
                                                       "      %4 = imod %2 7\n"
                                                       "      %5 = affine 0 10*%3 1*%4\n"
                                                       "      %6 = affine 0 16*%0 1*%1\n"
                                                       "      store b2 [%6] %5\n"
                                                       "      %7 = mul i64 %4, %4\n"
                                                       "      %8 = lt bool %7, %3\n"
                                                       "      store b4 [%6] %8\n"
                                                       "      %9 = cast f32 %5\n"
                                                       "      store b1 [%6] %9\n"
                                                       "    }\n"
                                                       "  }\n"},
    {"scratch in the thread", RUN_FRAME(3) "  for block %0 = 0 .. 3 {\n"
                                       "    for serial %1 = 0 .. 4 {\n"
                                       "      for lane %2 = 0 .. 16 {\n"
                                       "        %3 = affine 0 64*%0 16*%1 1*%2\n"
                                       "        %4 = affine 0 16*%1 1*%2\n"
                                       "        %5 = load b0 [%3]\n"
                                       "        store b5 [%4] %5\n"
                                       "      }\n"
                                       "    }\n"
                                       "    for lane %6 = 0 .. 16 {\n"
                                       "      %7 = affine 48 -1*%6\n"
                                       "      %8 = load b5 [%7]\n"
                                       "      %9 = affine 0 16*%0 1*%6\n"
                                       "      store b1 [%9] %8\n"
                                       "    }\n"
                                       "  }\n"},
    {"carries of several loops, empty ones too",
     RUN_FRAME(4) "  for block %0 = 0 .. 4 {\n"
              "    for lane %1 = 0 .. 4 {\n"
              "      for serial %2 = 0 .. %0 carry %3 = f32:0 add, %4 = f32:7 none {\n"
              "        %5 = affine 0 4*%2 1*%1\n"
              "        %6 = load b0 [%5]\n"
              "        %7 = add f32 %3, %6\n"
              "        %8 = mul f32 %4, %3\n"
              "      } yield %7, %8 -> %9, %10\n"
              "      %11 = affine 0 8*%0 1*%1\n"
              "      store b1 [%11] %9\n"
              "      %12 = affine 4 8*%0 1*%1\n"
              "      store b1 [%12] %10\n"
              "    }\n"
              "  }\n"},
};

static void test_rows(void **state)
{
	(void)state;
	for (int i = 0; i < TG_COUNT(rows); i++) {
		char *error = NULL;
		struct kernel *k = kernel_parse(rows[i].text, &error);
		if (!k)
			fail_msg("%s: %s", rows[i].name, error);
		kernel_finish(k);
		for (int t = 0; t < run_targets_count; t++)
			run_fail(rows[i].name, &run_targets[t], k,
			          run_both(k, &run_targets[t], (uint32_t)(i + 1)));
		kernel_free(k);
	}
}

// ---- elementwise operations: all of a type in one kernel ----

enum { N = 208 }; // 13 vectors of 16

struct job { // operation of one output
	int op, nsrc;
	tgc_type src[3], result;
};

// Reads one buffer for each type and operand; writes buffer i + those for job i.
static struct kernel *elementwise(int n, const struct job *jobs, int lanes, int *outputs)
{
	struct kernel *k = kernel_new();
	struct kbuild b;
	int in[3][TGC_TYPE_COUNT], x[3];

	memset(in, 0xff, sizeof in);
	for (int i = 0; i < n; i++)
		for (int s = 0; s < jobs[i].nsrc; s++)
			if (in[s][jobs[i].src[s]] < 0)
				in[s][jobs[i].src[s]] = kernel_buf(k, jobs[i].src[s], SPACE_GLOBAL, N);
	*outputs = k->nbufs;
	for (int i = 0; i < n; i++)
		kernel_buf(k, jobs[i].result, SPACE_GLOBAL, N);
	kbuild_init(&b, k, kernel_phase(k));
	int outer = kb_for(&b, AXIS_PAR, kb_int(&b, 0), kb_int(&b, N / lanes), 0, NULL, NULL);
	int inner = kb_for(&b, AXIS_LANE, kb_int(&b, 0), kb_int(&b, lanes), 0, NULL, NULL);
	int at = kb_affine(&b, 0, 2, (int64_t[]){lanes, 1}, (int[]){kb_index(&b, outer), kb_index(&b, inner)});
	for (int i = 0; i < n; i++) {
		for (int s = 0; s < jobs[i].nsrc; s++)
			x[s] = kb_load(&b, in[s][jobs[i].src[s]], at, K_NONE, K_NONE);
		kb_store(&b, *outputs + i, at, kb_op(&b, jobs[i].op, jobs[i].result, jobs[i].nsrc, x), K_NONE,
		         K_NONE);
	}
	kb_end(&b, inner, NULL);
	kb_end(&b, outer, NULL);
	kbuild_done(&b);
	return k;
}

static void run_jobs(int n, const struct job *jobs)
{
	char name[64];
	int outputs;

	for (int i = 0; i < run_targets_count; i++) {
		const struct target *t = &run_targets[i];
		for (int lanes = i ? 16 : 1; lanes <= 16; lanes += 15) {
			struct kernel *k = elementwise(n, jobs, lanes, &outputs);
			run_prepare(k, t);
			snprintf(name, sizeof name, "b%d is %s %s, b%d ...", outputs, op_info[jobs[0].op].name,
			         tgc_type_name(jobs[0].src[0]), outputs + 1);
			run_fail(name, t, k,
			          run_both(k, t, (uint32_t)(jobs[0].op * 31 + (int)jobs[0].src[0])));
			kernel_free(k);
		}
	}
}

// What `expand` approximates is measured in ULP below; float mod is only as good as its quotient.
static bool is_exact(int op, tgc_type t)
{
	switch (op) {
	case OP_EXP:
	case OP_LOG:
	case OP_SIN:
	case OP_COS:
	case OP_TANH:
	case OP_ERF:
	case OP_MOD:
		return !type_is_float(t);
	default:
		return op != OP_DETACH; // never reaches a kernel
	}
}

static void test_operations(void **state)
{
	(void)state;
	for (int t = 0; t < TGC_TYPE_COUNT; t++) {
		struct job jobs[OP_COUNT];
		int n = 0;
		for (int op = 0; op < OP_COUNT; op++) {
			enum op_class cls = op_info[op].cls;
			tgc_type type = (tgc_type)t;
			if (op == OP_CAST || op == OP_BITCAST || !op_allows(op, type) || !is_exact(op, type))
				continue;
			if (cls == CLASS_UNARY || cls == CLASS_BINARY || cls == CLASS_COMPARE)
				jobs[n++] = (struct job){op,
				                         cls == CLASS_UNARY ? 1 : 2,
				                         {type, type},
				                         cls == CLASS_COMPARE ? TGC_BOOL : type};
		}
		run_jobs(n, jobs);
	}
}

static void test_kernel_operations(void **state)
{
	(void)state;
	struct job jobs[TGC_TYPE_COUNT + 16];
	int n = 0;

	for (int wide = 0; wide < 2; wide++) {
		tgc_type t = wide ? TGC_F64 : TGC_F32;
		jobs[n++] = (struct job){OP_COPYSIGN, 2, {t, t}, t};
		jobs[n++] = (struct job){OP_FMAX, 2, {t, t}, t};
		jobs[n++] = (struct job){OP_FMIN, 2, {t, t}, t};
		jobs[n++] = (struct job){OP_FMA, 3, {t, t, t}, t};
	}
	jobs[n++] = (struct job){OP_MULHI, 2, {TGC_U32, TGC_U32}, TGC_U32};
	for (int t = 0; t < TGC_TYPE_COUNT; t++)
		jobs[n++] = (struct job){OP_SELECT, 3, {TGC_BOOL, (tgc_type)t, (tgc_type)t}, (tgc_type)t};
	run_jobs(n, jobs);
}

static void test_casts(void **state)
{
	(void)state;
	for (int t = 0; t < TGC_TYPE_COUNT; t++) {
		struct job jobs[2 * TGC_TYPE_COUNT];
		tgc_type from = (tgc_type)t;
		int n = 0;
		for (int u = 0; u < TGC_TYPE_COUNT; u++) {
			tgc_type to = (tgc_type)u;
			if (from == to)
				continue;
			jobs[n++] = (struct job){OP_CAST, 1, {from}, to};
			if (from != TGC_BOOL && to != TGC_BOOL && tgc_type_bytes(from) == tgc_type_bytes(to))
				jobs[n++] = (struct job){OP_BITCAST, 1, {from}, to};
		}
		run_jobs(n, jobs);
	}
}

// ---- where loops begin ----

static const char *row_text(const char *name)
{
	for (int i = 0; i < TG_COUNT(rows); i++)
		if (strcmp(rows[i].name, name) == 0)
			return rows[i].text;
	fail_msg("no row is called \"%s\"", name);
	return NULL;
}

// The multiplications of a tile stand in a loop that begins a cache line of code; the loop over blocks around it
// need not.
static void test_short_loops_are_aligned(void **state)
{
	(void)state;
	char *error = NULL, *text = NULL;
	void *object = NULL;
	size_t bytes;
	int aligned = 0;
	struct kernel *k = kernel_parse(row_text("a register tile"), &error);
	assert_non_null(k);
	error = emit_llvm_object(k, &run_targets[2], "tile", &object, &bytes, NULL, &text);
	assert_null(error);
	const char *first = NULL;
	for (const char *at = text; (at = strstr(at, ".p2align\t6")) != NULL; at++, aligned++)
		first = first ? first : at;
	assert_int_equal(aligned, 1);
	const char *label = strstr(strchr(first, '\n'), ":"), *fma = strstr(first, "vfmadd");
	assert_non_null(fma);
	assert_true(label && label < fma && !strstr(label + 1, ":\n") == false);
	assert_null(memmem(label + 1, (size_t)(fma - label - 1), ":\n", 2));
	free(object);
	free(text);
	kernel_free(k);
}

// ---- what the emitter refuses ----

static void test_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {
	    RUN_FRAME(4) "  for block %0 = 0 .. 4 {\n"
	             "    %1 = load b0 [%0]\n"
	             "    %2 = exp f32 %1\n"
	             "    store b1 [%0] %2\n"
	             "  }\n",
	};
	for (int i = 0; i < TG_COUNT(texts); i++) {
		char *error = NULL;
		struct run_data d;
		struct kernel *k = kernel_parse(texts[i], &error);
		assert_non_null(k);
		run_fill(&d, k, 1);
		error = run_emitted(k, &run_targets[0], d.args);
		assert_non_null(error);
		free(error);
		run_free(&d);
		kernel_free(k);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_operations),
	    cmocka_unit_test(test_kernel_operations),
	    cmocka_unit_test(test_casts),
	    cmocka_unit_test(test_short_loops_are_aligned),
	    cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
