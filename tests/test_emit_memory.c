// What the LLVM emitter does about memory that is far away: lines fetched ahead, stores past the caches, whole lines.
// In:  kernels as text. Out: how many of each the module holds; values as the kernel evaluator has them.
// Not here: how fast that is (tgc bench).
#include "emit_run.h"
#include "runtime.h"

#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

// ---- what is asked for ahead of a loop ----

static int prefetches(const char *body)
{
	char *error = NULL, *llvm = NULL;
	void *object = NULL;
	size_t bytes;
	int n = 0;
	struct kernel *k = kernel_parse(body, &error);
	if (!k)
		fail_msg("%s", error);
	error = emit_llvm_object(k, &run_targets[2], "tile", &object, &bytes, &llvm, NULL);
	assert_null(error);
	for (const char *at = llvm; (at = strstr(at, "call void @llvm.prefetch")) != NULL; at++)
		n++;
	free(object);
	free(llvm);
	kernel_free(k);
	return n;
}

#define TILE_THEN(TERMS, REST)                                                                                 \
	RUN_FRAME(4) "  for block %0 = 0 .. 4 {\n"                                                                 \
		 "    for unroll %1 = 0 .. 6 {\n"                                                              \
		 "      for unroll %2 = 0 .. 2 {\n"                                                            \
		 "        for lane %3 = 0 .. 8 {\n"                                                            \
		 "          for serial %4 = 0 .. " TERMS " carry %5 = f32:0 add {\n"                           \
		 "            %6 = affine 0 24*%1 144*%0 1*%4\n"                                               \
		 "            %7 = affine 0 8*%2 1*%3 16*%4\n"                                                 \
		 "            %8 = load b0 [%6]\n"                                                             \
		 "            %9 = load b3 [%7]\n"                                                             \
		 "            %10 = fma f32 %8, %9, %5\n"                                                      \
		 "          } yield %10 -> %11\n" REST                                                         \
		 "        }\n"                                                                                 \
		 "      }\n"                                                                                   \
		 "    }\n"                                                                                     \
		 "  }\n"
#define ADD_TO(PLACE)                                                                                          \
	"          %12 = affine 0 192*%0 32*%1 8*%2 1*%3\n" PLACE                                              \
	"          %14 = add f32 %13, %11\n"                                                                   \
	"          store b1 [%12] %14\n"

// Six rows of two vectors, 64 bytes each and 128 apart, are six lines. Not what the loop decides the place of, not
// for a short loop's sake.
static void test_asked_ahead(void **state)
{
	(void)state;
	assert_int_equal(prefetches(TILE_THEN("24", ADD_TO("          %13 = load b1 [%12]\n"))), 6);
	assert_int_equal(prefetches(TILE_THEN("3", ADD_TO("          %13 = load b1 [%12]\n"))), 0);
	assert_int_equal(prefetches(TILE_THEN("24", "          %15 = cast i64 %11\n"
	                                            "          %16 = minimum i64 %15, 9\n"
	                                            "          %17 = maximum i64 %16, 0\n"
	                                            "          %18 = affine 0 1*%17 1*%3\n"
	                                            "          %13 = load b1 [%18]\n"
	                                            "          %12 = affine 0 192*%0 32*%1 8*%2 1*%3\n"
	                                            "          store b1 [%12] %13\n")),
	                 0);
}

// ---- more data than the caches hold ----

#define TWO_LOOPS(SECOND)                                                                                      \
	RUN_FRAME(16) "  for block %0 = 0 .. 16 {\n"                                                               \
	          "    for lane %1 = 0 .. 8 carry %2 = f32:0 add {\n"                                          \
	          "      for serial %3 = 0 .. 31 carry %4 = f32:0 add {\n"                                     \
	          "        %5 = affine 0 256*%0 1*%1 8*%3\n"                                                   \
	          "        %6 = load b0 [%5]\n"                                                                \
	          "        %7 = add f32 %4, %6\n"                                                              \
	          "      } yield %7 -> %8\n"                                                                   \
	          "    } yield %8 -> %9\n"                                                                     \
	          "    for serial %10 = 0 .. 31 {\n"                                                           \
	          "      for lane %11 = 0 .. 8 {\n"                                                            \
	          "        %12 = affine " SECOND " 256*%0 8*%10 1*%11\n"                                       \
	          "        %13 = load b0 [%12]\n"                                                              \
	          "        %14 = add f32 %9, %13\n"                                                            \
	          "        store b1 [%12] %14\n"                                                               \
	          "      }\n"                                                                                  \
	          "    }\n"                                                                                    \
	          "  }\n"

// Rows of 256, so far apart, whose numbers lie in memory.
#define GATHER(APART)                                                                                          \
	RUN_FRAME(4) "  for block %0 = 0 .. 4 {\n"                                                             \
	             "    %1 = load b2 [%0]\n"                                                                 \
	             "    %2 = minimum i64 %1, 14\n"                                                           \
	             "    %3 = maximum i64 %2, 0\n"                                                            \
	             "    for serial %4 = 0 .. 32 {\n"                                                         \
	             "      for lane %5 = 0 .. 8 {\n"                                                          \
	             "        %6 = affine 0 " APART "*%3 8*%4 1*%5\n"                                          \
	             "        %7 = load b0 [%6]\n"                                                             \
	             "        %8 = affine 0 256*%0 8*%4 1*%5\n"                                                \
	             "        store b1 [%8] %7\n"                                                              \
	             "      }\n"                                                                               \
	             "    }\n"                                                                                 \
	             "  }\n"
#define ROW_SUMS(STORE)                                                                                        \
	RUN_FRAME(16) "  for block %0 = 0 .. 16 {\n"                                                           \
	              "    for lane %1 = 0 .. 8 carry %2 = f32:0 add {\n"                                      \
	              "      for serial %3 = 0 .. 31 carry %4 = f32:0 add {\n"                                 \
	              "        %5 = affine 0 256*%0 1*%1 8*%3\n"                                               \
	              "        %6 = load b0 [%5]\n"                                                            \
	              "        %7 = add f32 %4, %6\n"                                                          \
	              "      } yield %7 -> %8\n"                                                               \
	              "    } yield %8 -> %9\n" STORE                                                           \
	              "  }\n"
#define COLUMN_SUMS(ROWS, PLACE)                                                                               \
	RUN_FRAME(0) "  for par %0 = 0 .. 8 {\n"                                                               \
	             "    for par %1 = 0 .. 256 {\n"                                                           \
	             "      for red %2 = 0 .. " ROWS " carry %3 = f32:0 add {\n"                               \
	             "        %4 = affine 0 " PLACE "\n"                                                       \
	             "        %5 = load b0 [%4]\n"                                                             \
	             "        %6 = add f32 %3, %5\n"                                                           \
	             "      } yield %6 -> %7\n"                                                                \
	             "      %8 = affine 0 256*%0 1*%1\n"                                                       \
	             "      store b1 [%8] %7\n"                                                                \
	             "    }\n"                                                                                 \
	             "  }\n"

static const struct far {
	const char *name, *text;
	bool passes;               // first
	int prefetches, streams;   // calls and stores in the text of the module
	const char *loops;         // after the passes; NULL: anything
} fars[] = {
    {"a row that two loops read is fetched ahead by the second", TWO_LOOPS("0"), false, 1, 1, NULL},
    {"where they begin at other places it is not", TWO_LOOPS("8"), false, 0, 1, NULL},
    {"rows whose numbers lie in memory are fetched an iteration ahead",
     GATHER("256"), false, 1, 1, NULL},
    {"short ones are not",
     GATHER("128"), false, 0, 1, NULL},
    {"what only reads, and far more than the caches hold, asks a page ahead",
     ROW_SUMS("    %10 = lt bool %9, f32:0\n"
              "    store b4 [%0] %10\n"),
     false, 1, 0, NULL},
    {"what also writes as much does not",
     ROW_SUMS("    store b1 [%0] %9\n"), false, 0, 0, NULL},
    {"a matrix is transposed along the rows that are read, by whole lines",
     RUN_FRAME(0) "  for par %0 = 0 .. 64 {\n"
              "    for par %1 = 0 .. 64 {\n"
              "      %2 = affine 0 64*%1 1*%0\n"
              "      %3 = load b0 [%2]\n"
              "      %4 = affine 0 64*%0 1*%1\n"
              "      store b1 [%4] %3\n"
              "    }\n"
              "  }\n",
     true, 0, 16,
     "    for serial %1 = 0 .. 4 {\n"
     "      for serial %2 = 0 .. 8 {\n"
     "        for unroll %3 = 0 .. 8 {\n"
     "          for unroll %4 = 0 .. 2 {\n"
     "            for lane %5 = 0 .. 8 {\n"},
    {"columns are summed by rows, eight at a time and then the rest", COLUMN_SUMS("9", "256*%0 1*%1 256*%2"),
     true, 0, 4,
     "      for serial %6 = 0 .. 16 {\n"
     "        for unroll %7 = 0 .. 2 {\n"
     "          for lane %8 = 0 .. 8 {\n"
     "            %9 = affine 0 16*%6 8*%7 1*%8\n"
     "            %10 = load b6 [%9]\n"},
    {"and of more rows sixteen at a time", COLUMN_SUMS("16", "1*%1 256*%2"),
     true, 0, 4, "= affine 3840 "},
};

static int count(const char *text, const char *what)
{
	int n = 0;
	for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
		n++;
	return n;
}

static void check_far(const struct far *f, const struct target *small_caches, const struct kernel *k)
{
	struct text text = {0};
	char *llvm_text = NULL, *error;
	void *object = NULL;
	size_t bytes;

	run_fail(f->name, small_caches, k, run_both(k, small_caches, 1));
	kernel_print(k, &text);
	char *loops = text_take(&text);
	if (f->loops && !strstr(loops, f->loops))
		fail_msg("%s: the loops are\n%s", f->name, loops);
	error = emit_llvm_object(k, small_caches, "far", &object, &bytes, &llvm_text, NULL);
	run_fail(f->name, small_caches, k, error);
	if (count(llvm_text, "call void @llvm.prefetch") != f->prefetches ||
	    count(llvm_text, ", !nontemporal") != f->streams)
		fail_msg("%s: not %d prefetches and %d stores past the caches\n%s", f->name, f->prefetches,
		         f->streams, llvm_text);
	free(object);
	free(llvm_text);
	free(loops);
}

static void test_far(void **state)
{
	struct target small_caches = *target_find("x86-64-v3");

	(void)state;
	small_caches.l1_bytes = 1 << 10;
	small_caches.l2_bytes = 8 << 10;
	small_caches.l3_bytes = 32 << 10;
	for (int i = 0; i < TG_COUNT(fars); i++) {
		char *error = NULL;
		struct kernel *k = kernel_parse(fars[i].text, &error);
		if (!k)
			fail_msg("%s: %s", fars[i].name, error);
		kernel_finish(k);
		if (fars[i].passes)
			run_fail(fars[i].name, &small_caches, k, kernel_run_passes(k, &small_caches, true));
		check_far(&fars[i], &small_caches, k);
		kernel_free(k);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_asked_ahead),
	    cmocka_unit_test(test_far),
	};
	return cmocka_run_group_tests_name("emit_memory", tests, NULL, NULL);
}
