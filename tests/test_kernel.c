// The kernel IR: folding, hoisting, bounds, text and verifier.
// Rows are kernels as text, before and after; each is also run against kernel_eval.
#include "kernel_rows.h"

#include <stdlib.h>

static const struct kernel_row rows[] = {
    // Folding. Index values.
    {"quotient and rest rejoin", kpass_simplify,
     "phase 0\n"
     "  for par %0 = 0 .. 1024 {\n"
     "    %1 = idiv %0 32\n"
     "    %2 = imod %0 32\n"
     "    %3 = affine 0 32*%1 1*%2\n"
     "    store b2 [%3] %3\n"
     "  }\n",
     "phase 0\n"
     "  for par %0 = 0 .. 1024 {\n"
     "    store b2 [%0] %0\n"
     "  }\n"},
    {"reshape of three axes and back", kpass_simplify,
     "phase 0\n"
     "  for par %0 = 0 .. 4000 {\n"
     "    %1 = idiv %0 200\n"
     "    %2 = idiv %0 10\n"
     "    %3 = imod %2 20\n"
     "    %4 = imod %0 10\n"
     "    %5 = affine 0 200*%1 10*%3 1*%4\n"
     "    store b2 [%5] %5\n"
     "  }\n",
     "phase 0\n"
     "  for par %0 = 0 .. 4000 {\n"
     "    store b2 [%0] %0\n"
     "  }\n"},
    {"bounds decide quotients", kpass_simplify,
     "phase 0\n"
     "  for par %0 = 0 .. 16 {\n"
     "    for serial %1 = 0 .. 8 {\n"
     "      %2 = affine 0 8*%0 1*%1\n"
     "      %3 = idiv %2 8\n"
     "      %4 = imod %2 8\n"
     "      %5 = affine 0 8*%4 1*%3\n"
     "      store b2 [%2] %5\n"
     "    }\n"
     "  }\n",
     "phase 0\n"
     "  for par %0 = 0 .. 16 {\n"
     "    for serial %1 = 0 .. 8 {\n"
     "      %2 = affine 0 8*%0 1*%1\n"
     "      %3 = affine 0 1*%0 8*%1\n"
     "      store b2 [%2] %3\n"
     "    }\n"
     "  }\n"},
    {"common factors leave a division", kpass_simplify,
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    for serial %1 = 0 .. 16 {\n"
     "      %2 = affine 0 16*%0 1*%1\n"
     "      %3 = idiv %2 48\n"
     "      %4 = imod %2 48\n"
     "      store b2 [%3] %4\n"
     "    }\n"
     "  }\n",
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    %1 = idiv %0 3\n"
     "    %2 = imod %0 3\n"
     "    for serial %3 = 0 .. 16 {\n"
     "      %4 = affine 0 16*%2 1*%3\n"
     "      store b2 [%1] %4\n"
     "    }\n"
     "  }\n"},
    {"quotients of quotients", kpass_simplify,
     "phase 0\n"
     "  for par %0 = 0 .. 4096 {\n"
     "    %1 = idiv %0 5\n"
     "    %2 = idiv %1 7\n"
     "    %3 = imod %0 35\n"
     "    %4 = idiv %3 5\n"
     "    %5 = affine 0 7*%2 1*%4\n"
     "    store b2 [%2] %5\n"
     "  }\n",
     "phase 0\n"
     "  for par %0 = 0 .. 4096 {\n"
     "    %1 = idiv %0 5\n"
     "    %2 = idiv %0 35\n"
     "    store b2 [%2] %1\n"
     "  }\n"},
    {"guards that always hold or never", kpass_simplify,
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    %1 = affine 3 1*%0\n"
     "    %2 = lt bool %1, 67\n"
     "    %3 = le bool 3, %1\n"
     "    %4 = and bool %2, %3\n"
     "    %5 = load b0 [%1] if %4\n"
     "    %6 = eq bool %1, %0\n"
     "    %7 = load b0 [%0] if %6\n"
     "    %8 = add f32 %5, %7\n"
     "    store b1 [%0] %8 if %4\n"
     "    store b1 [%0] %8 if %6\n"
     "  }\n",
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    %1 = affine 3 1*%0\n"
     "    %2 = load b0 [%1]\n"
     "    %3 = add f32 %2, f32:0\n"
     "    store b1 [%0] %3\n"
     "  }\n"},
    {"tables", kpass_simplify,
     "phase 0\n"
     "  for par %0 = 0 .. 4 {\n"
     "    %1 = table t0 [2]\n"
     "    %2 = table t0 [%0]\n"
     "    %3 = lt bool %2, 13\n"
     "    store b2 [%2] %1 if %3\n"
     "  }\n",
     "phase 0\n"
     "  for par %0 = 0 .. 4 {\n"
     "    %1 = table t0 [%0]\n"
     "    store b2 [%1] 9\n"
     "  }\n"},
    // Data. Floats keep every bit: x + 0 and x * 0 stay.
    {"exact arithmetic only", kpass_simplify,
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    %1 = load b0 [%0]\n"
     "    %2 = add f32 %1, f32:-0\n"
     "    %3 = mul f32 %2, f32:1\n"
     "    %4 = add f32 %3, f32:0\n"
     "    %5 = mul f32 %4, f32:0\n"
     "    %6 = neg f32 %5\n"
     "    %7 = neg f32 %6\n"
     "    %8 = add f32 f32:2, f32:0.5\n"
     "    %9 = mul f32 %7, %8\n"
     "    store b1 [%0] %9\n"
     "  }\n",
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    %1 = load b0 [%0]\n"
     "    %2 = add f32 %1, f32:0\n"
     "    %3 = mul f32 %2, f32:0\n"
     "    %4 = mul f32 %3, f32:2.5\n"
     "    store b1 [%0] %4\n"
     "  }\n"},
    {"neutral elements", kpass_simplify,
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    %1 = load b0 [%0]\n"
     "    %2 = maximum f32 f32:-inf, %1\n"
     "    %3 = minimum f32 %2, f32:inf\n"
     "    %4 = fmax f32 f32:-inf, %3\n"
     "    %5 = fmax f32 %4, f32:-inf\n"
     "    %6 = fmin f32 f32:inf, %5\n"
     "    store b1 [%0] %6\n"
     "  }\n",
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    %1 = load b0 [%0]\n"
     "    %2 = fmax f32 %1, f32:-inf\n"
     "    store b1 [%0] %2\n"
     "  }\n"},
    {"selects and bools", kpass_simplify,
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    %1 = load b3 [%0]\n"
     "    %2 = not bool %1\n"
     "    %3 = select bool %2, bool:0, bool:1\n"
     "    %4 = and bool %3, bool:1\n"
     "    %5 = or bool %4, %1\n"
     "    %6 = select f32 %5, f32:1, f32:1\n"
     "    store b3 [%0] %5\n"
     "    store b1 [%0] %6\n"
     "  }\n",
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    %1 = load b3 [%0]\n"
     "    store b3 [%0] %1\n"
     "    store b1 [%0] f32:1\n"
     "  }\n"},
    // Placing.
    {"invariant code leaves loops, equal code is shared", kpass_simplify,
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    for serial %1 = 0 .. 64 {\n"
     "      %2 = scalar s0\n"
     "      %3 = exp f32 %2\n"
     "      %4 = load b0 [%0]\n"
     "      %5 = mul f32 %4, %3\n"
     "      %6 = affine 0 64*%0 1*%1\n"
     "      %7 = load b0 [%6]\n"
     "      %8 = load b0 [%6]\n"
     "      %9 = add f32 %7, %8\n"
     "      %10 = add f32 %9, %5\n"
     "      store b1 [%6] %10\n"
     "    }\n"
     "  }\n",
     "phase 0\n"
     "  %0 = scalar s0\n"
     "  %1 = exp f32 %0\n"
     "  for par %2 = 0 .. 64 {\n"
     "    %3 = load b0 [%2]\n"
     "    %4 = mul f32 %3, %1\n"
     "    for serial %5 = 0 .. 64 {\n"
     "      %6 = affine 0 64*%2 1*%5\n"
     "      %7 = load b0 [%6]\n"
     "      %8 = add f32 %7, %7\n"
     "      %9 = add f32 %8, %4\n"
     "      store b1 [%6] %9\n"
     "    }\n"
     "  }\n"},
    {"stores keep loads of their buffer in place", kpass_simplify,
     "phase 0\n"
     "  store b1 [0] f32:1\n"
     "  for serial %0 = 0 .. 4 {\n"
     "    %1 = load b1 [0]\n"
     "    %2 = add f32 %1, f32:1\n"
     "    store b1 [0] %2\n"
     "    %3 = load b1 [0]\n"
     "    store b1 [1] %3\n"
     "  }\n",
     "phase 0\n"
     "  store b1 [0] f32:1\n"
     "  for serial %0 = 0 .. 4 {\n"
     "    %1 = load b1 [0]\n"
     "    %2 = add f32 %1, f32:1\n"
     "    store b1 [0] %2\n"
     "    %3 = load b1 [0]\n"
     "    store b1 [1] %3\n"
     "  }\n"},
    {"a load stays in a loop that may be empty", kpass_simplify,
     "phase 0\n"
     "  for par %0 = 0 .. 4 {\n"
     "    %1 = load b2 [%0]\n"
     "    %2 = maximum i64 %1, 0\n"
     "    for serial %3 = 0 .. %1 {\n"
     "      %4 = load b0 [%2]\n"
     "      store b4 [0] %4\n"
     "    }\n"
     "    %5 = load b4 [0]\n"
     "    store b1 [%0] %5\n"
     "  }\n",
     "phase 0\n"
     "  for par %0 = 0 .. 4 {\n"
     "    %1 = load b2 [%0]\n"
     "    %2 = maximum i64 %1, 0\n"
     "    for serial %3 = 0 .. %1 {\n"
     "      %4 = load b0 [%2]\n"
     "      store b4 [0] %4\n"
     "    }\n"
     "    %5 = load b4 [0]\n"
     "    store b1 [%0] %5\n"
     "  }\n"},
    {"dead code, dead carries, idle carries, single iterations", kpass_simplify,
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    for serial %1 = 0 .. 8 carry %2 = f32:0 add, %3 = f32:1 maximum, %4 = f32:2 none {\n"
     "      %5 = load b0 [%1]\n"
     "      %6 = add f32 %2, %5\n"
     "      %7 = maximum f32 %3, %5\n"
     "    } yield %6, %7, %4 -> %8, %9, %10\n"
     "    for red %11 = 0 .. 1 carry %12 = %9 add {\n"
     "      %13 = load b0 [%11]\n"
     "      %14 = add f32 %12, %13\n"
     "    } yield %14 -> %15\n"
     "    for serial %16 = 0 .. 9 {\n"
     "      %17 = load b0 [%16]\n"
     "    }\n"
     "    %18 = add f32 %10, %15\n"
     "    store b1 [%0] %18\n"
     "  }\n",
     "phase 0\n"
     "  %0 = load b0 [0]\n"
     "  for par %1 = 0 .. 64 {\n"
     "    for serial %2 = 0 .. 8 carry %3 = f32:1 maximum {\n"
     "      %4 = load b0 [%2]\n"
     "      %5 = maximum f32 %3, %4\n"
     "    } yield %5 -> %6\n"
     "    %7 = add f32 %6, %0\n"
     "    %8 = add f32 f32:2, %7\n"
     "    store b1 [%1] %8\n"
     "  }\n"},
};

static void test_rows(void **state)
{
	(void)state;
	kernel_rows_check(rows, TG_COUNT(rows));
}

static void test_round_trip(void **state)
{
	(void)state;
	kernel_rows_round_trip(rows, TG_COUNT(rows));
	kernel_row_same_text("kernel segments 2 scratch 128\n"
	          "  b0 f32 100 global segmented\n"
	          "  b1 f64 8 global\n"
	          "  b2 bf16 8 shared at 64\n"
	          "  s0 f64\n"
	          "  s1 u32\n"
	          "  t0 100 -50\n"
	          "  t1\n"
	          "phase 2\n"
	          "  %0 = scalar s1\n"
	          "  for block %1 = 0 .. 2 {\n"
	          "    %2 = table t0 [%1]\n"
	          "    for unroll %3 = 0 .. 4 {\n"
	          "      for lane %4 = 0 .. 16 carry %5 = f32:nan:7ff8000000000000 add, %6 = u8:255 minimum {\n"
	          "        %7 = affine -3 4*%3 -1*%4\n"
	          "        %8 = lt bool %7, %2\n"
	          "        %9 = load b0 [%7] if %8 segment %1\n"
	          "        %10 = load b0 [%7] segment %1\n"
	          "        %11 = cast u8 %0\n"
	          "        store b0 [%7] %9 segment %1\n"
	          "        store b0 [%7] f32:0.100000001 if %8 segment %1\n"
	          "      } yield %10, %11 -> %12, %13\n"
	          "      store b1 [%3] f64:0.30000000000000004\n"
	          "    }\n"
	          "  }\n"
	          "phase 0\n"
	          "  store b1 [0] f64:inf\n");
}

// ---- mistakes in the text

static const struct {
	const char *body, *error;
} bad_texts[] = {
    {"phase 0\n  store b9 [0] f32:1\n", "line 11: 9 is not in 0..5"},
    {"phase 0\n  store b0 [%3] f32:1\n", "line 11: unknown value %3"},
    {"phase 0\n  for par %0 = 0 .. 4 {\n  }\n  store b2 [%0] 1\n", "line 13: %0 is out of scope"},
    {"phase 0\n  for par %0 = 0 .. 4 {\n", "line 12: a loop is still open"},
    {"phase 0\n  for par %0 = 0 .. 4 {\nphase 0\n", "line 12: a loop is still open"},
    {"phase 0\n  }\n", "line 11: no loop is open"},
    {"phase 0\n  for sideways %0 = 0 .. 4 {\n  }\n", "line 11: unknown axis 'sideways'"},
    {"phase 0\n  %0 = frobnicate f32 f32:1\n", "line 11: unknown operation 'frobnicate'"},
    {"phase 0\n  %0 = reshape f32 f32:1\n", "line 11: unknown operation 'reshape'"},
    {"phase 0\n  %0 = neg g32 f32:1\n", "line 11: unknown type 'g32'"},
    {"phase 0\n  %0 = neg f32 f32:1\n  %0 = neg f32 f32:1\n", "line 12: %0 is defined twice"},
    {"phase 0\n  %0 = idiv 5 0\n", "line 11: 0 is not in 1..9223372036854775807"},
    {"phase 0\n  %0 = neg f32 f32:1 f32:2\n", "line 11: unexpected 'f32:2'"},
    {"phase 0\n  %0 = select f32 1, 2, 3, 4\n", "line 11: more than three operands"},
    {"phase 0\n  %0 = affine 99999999999999999999 1*1\n", "line 11: expected a number"},
    {"store b0 [0] f32:1\n", "line 10: expected 'phase'"},
    {"phase 0\n  for red %0 = 0 .. 4 carry %1 = f32:0 add {\n  } yield %1\n", "line 12: expected '->'"},
    {"phase 0\n  for red %0 = 0 .. 4 carry %1 = f32:0 exp {\n", "line 11: cannot combine by 'exp'"},
    {"", NULL},
};

static void test_bad_texts(void **state)
{
	(void)state;
	for (int i = 0; i < TG_COUNT(bad_texts); i++) {
		struct text t = {0};
		char *error = NULL;
		text_add(&t, KERNEL_FRAME "%s", bad_texts[i].body);
		char *text = text_take(&t);
		struct kernel *k = kernel_parse(text, &error);
		if (bad_texts[i].error)
			assert_string_equal(error ? error : "accepted", bad_texts[i].error);
		else
			assert_non_null(k);
		kernel_free(k);
		free(error);
		free(text);
	}
}

// Every prefix and many one-byte changes of a kernel: an error or a kernel, never more.
static void test_damaged_texts(void **state)
{
	(void)state;
	uint32_t seed = 1;
	for (int i = 0; i < TG_COUNT(rows); i++) {
		struct text t = {0};
		text_add(&t, KERNEL_FRAME "%s", rows[i].before);
		char *text = text_take(&t);
		size_t n = strlen(text);
		for (int round = 0; round < 200; round++) {
			char *copy = strdup(text);
			seed = seed * 1664525u + 1013904223u;
			size_t at = (seed >> 8) % n;
			if (round % 4 == 0)
				copy[at] = 0;
			else
				copy[at] = "0123456789%*[]{}=,.:- \nabdflrsty"[(seed >> 3) % 32];
			char *error = NULL;
			struct kernel *k = kernel_parse(copy, &error);
			assert_true((k != NULL) == (error == NULL));
			if (k) {
				char *unsound = kernel_verify(k, LEVEL_FREE);
				if (!unsound)
					kernel_run_passes(k, kernel_row_target(), false);
				free(unsound);
			}
			kernel_free(k);
			free(error);
			free(copy);
		}
		free(text);
	}
}

// ---- mistakes the verifier finds

static const struct {
	enum kernel_level level;
	const char *body, *error;
} unsound[] = {
    {LEVEL_FREE, "phase 0\n  for par %0 = 0 .. 4 {\n    %1 = add f32 %0, f32:1\n  }\n",
     "phase 0: (add): operand is i64, not f32"},
    {LEVEL_FREE, "phase 0\n  %0 = add f32 f32:1\n", "phase 0: (add): 1 operands, not 2"},
    {LEVEL_FREE, "phase 0\n  %0 = sqrt i64 5\n", "phase 0: (sqrt): no sqrt of i64"},
    {LEVEL_FREE, "phase 0\n  %0 = lt f32 f32:1, f32:2\n", "phase 0: (lt): result is not bool"},
    {LEVEL_FREE, "phase 0\n  %0 = select f32 f32:1, f32:1, f32:2\n", "phase 0: (select): operand is f32, not bool"},
    {LEVEL_FREE, "phase 0\n  %0 = fma i64 1, 2, 3\n", "phase 0: (fma): of integers"},
    {LEVEL_FREE, "phase 0\n  %0 = bitcast i64 f32:1\n", "phase 0: (bitcast): of another width"},
    {LEVEL_FREE, "phase 0\n  store b0 [4096] f32:1\n",
     "phase 0: (store): unguarded index 4096..4096 leaves b0 of 4096 elements"},
    {LEVEL_FREE, "phase 0\n  for par %0 = -1 .. 4 {\n    %1 = load b0 [%0]\n  }\n",
     "phase 0: (load): unguarded index -1..3 leaves b0 of 4096 elements"},
    {LEVEL_FREE, "phase 0\n  %0 = load b2 [0]\n  %1 = load b0 [%0]\n",
     "phase 0: (load): unguarded index of b0 has no known bounds"},
    {LEVEL_FREE, "phase 0\n  store b0 [0] 1\n", "phase 0: (store): i64 in a buffer of f32"},
    {LEVEL_FREE, "phase 0\n  store b0 [f32:0] f32:1\n", "phase 0: (store): operand is f32, not i64"},
    {LEVEL_FREE, "phase 0\n  store b0 [0] f32:1 if 1\n", "phase 0: (store): operand is i64, not bool"},
    {LEVEL_FREE, "phase 0\n  store b0 [0] f32:1 segment 0\n", "phase 0: (store): b0 has no segments"},
    {LEVEL_FREE, "phase 0\n  for par %0 = 0 .. 5 {\n    %1 = table t0 [%0]\n  }\n",
     "phase 0: (table): index may leave the table"},
    {LEVEL_FREE, "phase 0\n  for par %0 = 0 .. 5 {\n    %1 = affine 0 1*%0\n  }\n",
     "phase 0: (affine): not canonical: it is its operand or a constant"},
    {LEVEL_FREE, "phase 0\n  for par %0 = 0 .. 5 {\n    %1 = affine 0 0*%0\n  }\n",
     "phase 0: (affine): not canonical: a coefficient is 0"},
    {LEVEL_FREE, "phase 0\n  for par %0 = 0 .. 5 {\n    %1 = affine 0 2*%0 3*7\n  }\n",
     "phase 0: (affine): not canonical: an operand is a constant"},
    {LEVEL_FREE, "phase 0\n  for par %0 = 0 .. 5 {\n    %1 = affine 1 2*%0\n    %2 = affine 1 2*%1\n  }\n",
     "phase 0: (affine): not canonical: an operand is a sum"},
    {LEVEL_FREE, "phase 0\n  for par %0 = 0 .. 5 {\n    %1 = affine 0 2*%0 2*%0\n  }\n",
     "phase 0: (affine): not canonical: operands are not sorted"},
    {LEVEL_FREE, "phase 0\n  for par %0 = 0 .. 5 carry %1 = f32:0 add {\n  } yield %1 -> %2\n",
     "phase 0: (for): par loop with carries"},
    {LEVEL_FREE, "phase 0\n  for red %0 = 0 .. 5 carry %1 = f32:0 none {\n  } yield %1 -> %2\n",
     "phase 0: (for): carry 0 has no combining operation"},
    {LEVEL_FREE,
     "phase 0\n  for red %0 = 0 .. 5 carry %1 = f32:0 add {\n    %2 = mul f32 %1, f32:2\n  } yield %2 -> %3\n"
     "  store b0 [0] %3\n",
     "phase 0: (for): carry 0 is not yielded as add(carry, term)"},
    {LEVEL_FREE,
     "phase 0\n  for red %0 = 0 .. 5 carry %1 = f32:0 add {\n    %2 = add f32 %1, %1\n  } yield %2 -> %3\n"
     "  store b0 [0] %3\n",
     "phase 0: (for): carry 0 has other uses than its combination"},
    {LEVEL_FREE,
     "phase 0\n  for red %0 = 0 .. 5 carry %1 = f32:0 add {\n    %2 = add f32 %1, f32:1\n"
     "    store b0 [0] %2\n  } yield %2 -> %3\n",
     "phase 0: (for): carry 0: a partial result of the reduction has other uses"},
    {LEVEL_FREE, "phase 0\n  for red %0 = 0 .. 5 carry %1 = f32:0 add {\n  } yield 5 -> %2\n",
     "phase 0: (for): carry 0 changes its type"},
    {LEVEL_MACHINE, "phase 0\n  for lane %0 = 0 .. 16 {\n    for lane %1 = 0 .. 4 {\n    }\n  }\n",
     "phase 0: (for): lane loop inside a lane loop"},
    {LEVEL_THREADS, "phase 0\n  for lane %0 = 0 .. 16 {\n    for lane %1 = 0 .. 6 {\n    }\n  }\n",
     "phase 0: (for): 6 lanes inside a lane loop do not divide a warp"},
    {LEVEL_THREADS, "phase 0\n  for lane %0 = 0 .. 64 {\n    for lane %1 = 0 .. 32 {\n    }\n  }\n",
     "phase 0: (for): 2048 threads a block"},
    {LEVEL_FREE, "phase 0\n  mma b0 += b1 [0] * b1 [0] 32 32 16 pitch 24 24 turned 0\n",
     "phase 0: (mma): sums are local f32, slices are 16-bit floats or f32 in shared memory"},
    {LEVEL_MACHINE, "phase 0\n  mma b0 += b1 [0] * b1 [0] 32 32 16 pitch 24 24 turned 0\n",
     "phase 0: (mma): not by all lanes of a block together"},
    {LEVEL_FREE, "phase 0\n  copy 1 b4 [0] b0 [0]\n",
     "phase 0: (copy): not 4, 8 or 16 bytes from global to shared memory"},
    {LEVEL_FREE, "phase 0\n  copy 1 b5 [2] b0 [4095]\n  commit\n  wait 0\n", "accepted"},
    {LEVEL_FREE, "phase 0\n  copy 4 b5 [4] b0 [2]\n", "phase 0: (copy): not aligned"},
    {LEVEL_FREE, "phase 0\n  copy 4 b5 [4] b0 [4096]\n", "phase 0: (copy): may leave b0"},
    {LEVEL_FREE, "phase 0\n  copy 4 b5 [64] b0 [0]\n", "phase 0: (copy): may leave b5"},
    {LEVEL_MACHINE, "phase 0\n  wait 1\n", "phase 0: (wait): not by all lanes of a block together"},
    {LEVEL_THREADS, "phase 0\n  for par %0 = 0 .. 4 {\n  }\n", "phase 0: (for): par loop at the machine level"},
    {LEVEL_FREE, "phase 0\n  for unroll %0 = 1 .. 16 {\n  }\n",
     "phase 0: (for): bounds of unroll are not 0 and a positive constant"},
    {LEVEL_FREE,
     "phase 0\n  for lane %0 = 0 .. 4 carry %1 = f32:0 add {\n    %2 = add f32 %1, f32:1\n  } yield %2 -> %3\n"
     "  store b0 [0] %3\n",
     "phase 0: (for): carry 0 is read inside a replicating loop"},
    {LEVEL_FREE, "phase 0\n  for serial %0 = 0 .. 4 {\n    for block %1 = 0 .. 4 {\n    }\n  }\n",
     "phase 0: (for): block loop inside another loop"},
    {LEVEL_MACHINE, "phase 4\n  for block %0 = 0 .. 4 {\n    for par %1 = 0 .. 4 {\n    }\n  }\n",
     "phase 0: (for): par loop at the machine level"},
    {LEVEL_MACHINE, "phase 0\n  for serial %0 = 0 .. 4 {\n  }\n", "phase 0: 0 block loops, not 1"},
    {LEVEL_MACHINE, "phase 5\n  for block %0 = 0 .. 4 {\n  }\n",
     "phase 0: (for): the block loop is not last, from 0 to the number of blocks"},
    {LEVEL_MACHINE, "phase 4\n  store b0 [0] f32:1\n  for block %0 = 0 .. 4 {\n  }\n",
     "phase 0: (store): global memory is written outside the block loop"},
};

static void test_unsound(void **state)
{
	(void)state;
	for (int i = 0; i < TG_COUNT(unsound); i++) {
		struct kernel *k = kernel_row_parse(unsound[i].body);
		k->scratch_bytes = 256;
		char *error = kernel_verify(k, unsound[i].level);
		assert_string_equal(error ? error : "accepted", unsound[i].error);
		free(error);
		kernel_free(k);
	}
}

// ---- index algebra against plain arithmetic

struct algebra {
	struct kbuild b;
	struct kernel *k;
	int raw[64], built[64], n;
	uint32_t seed;
};

static uint32_t draw(struct algebra *a, uint32_t n)
{
	a->seed = a->seed * 1664525u + 1013904223u;
	return (a->seed >> 10) % n;
}

// One more value, once as written and once through the builder.
static void grow(struct algebra *a)
{
	static const int64_t sizes[] = {2, 3, 4, 5, 6, 8, 10, 12, 15, 16, 20, 24, 30, 60};
	int x = (int)draw(a, (uint32_t)a->n), y = (int)draw(a, (uint32_t)a->n);
	int64_t c = sizes[draw(a, TG_COUNT(sizes))], coef[] = {(int64_t)draw(a, 25) - 12, c};
	int region = a->b.region, raw_xy[] = {a->raw[x], a->raw[y]}, built_xy[] = {a->built[x], a->built[y]};
	int64_t imm = (int64_t)draw(a, 41) - 20;
	switch (draw(a, 4)) {
	case 0:
		a->raw[a->n] = kernel_append(a->k, region, K_IDIV, TGC_I64, 0, c, 1, &a->raw[x], NULL);
		a->built[a->n] = kb_idiv(&a->b, a->built[x], c);
		break;
	case 1:
		a->raw[a->n] = kernel_append(a->k, region, K_IMOD, TGC_I64, 0, c, 1, &a->raw[x], NULL);
		a->built[a->n] = kb_imod(&a->b, a->built[x], c);
		break;
	case 2: // what a reshape makes of two indices
		a->raw[a->n] =
		    kernel_append(a->k, region, K_AFFINE, TGC_I64, 0, 0, 2, raw_xy, (int64_t[]){c, 1});
		a->built[a->n] = kb_affine(&a->b, 0, 2, (int64_t[]){c, 1}, built_xy);
		break;
	default:
		a->raw[a->n] = kernel_append(a->k, region, K_AFFINE, TGC_I64, 0, imm, 2, raw_xy, coef);
		a->built[a->n] = kb_affine(&a->b, imm, 2, coef, built_xy);
	}
	a->n++;
}

static void check_algebra(uint32_t seed, int *decided)
{
	struct algebra a = {.k = kernel_new(), .seed = seed};
	int64_t extents[] = {6, 5, 4}, cells = 6 * 5 * 4;
	int out[2] = {kernel_buf(a.k, TGC_I64, SPACE_GLOBAL, cells * 24),
	              kernel_buf(a.k, TGC_I64, SPACE_GLOBAL, cells * 24)};
	int bools = kernel_buf(a.k, TGC_BOOL, SPACE_GLOBAL, cells * 24), loops[3];
	kbuild_init(&a.b, a.k, kernel_phase(a.k));
	for (int i = 0; i < 3; i++) {
		loops[i] = kb_for(&a.b, AXIS_SERIAL, kb_int(&a.b, 0), kb_int(&a.b, extents[i]), 0, NULL, NULL);
		a.raw[i] = a.built[i] = kb_index(&a.b, loops[i]);
	}
	int cell = kb_affine(&a.b, 0, 3, (int64_t[]){20, 4, 1}, a.built);
	for (a.n = 3; a.n < 24;)
		grow(&a);
	for (int i = 3; i < a.n; i++) {
		int64_t lo, hi;
		int at = kb_affine(&a.b, i, 1, (int64_t[]){24}, &cell);
		int less = kb_op2(&a.b, OP_LT, TGC_BOOL, a.built[i], a.built[i - 1]);
		kb_store(&a.b, out[0], at, a.raw[i], K_NONE, K_NONE);
		kb_store(&a.b, out[1], at, a.built[i], K_NONE, K_NONE);
		kb_store(&a.b, bools, at, less, K_NONE, K_NONE);
		*decided += kernel_is_const(a.k, less, NULL);
		assert_true(kernel_interval(a.k, a.built[i], &lo, &hi));
	}
	for (int i = 2; i >= 0; i--)
		kb_end(&a.b, loops[i], NULL);
	kbuild_done(&a.b);
	assert_false(a.k->arena.failed);
	int64_t *values[2] = {calloc((size_t)cells * 24, 8), calloc((size_t)cells * 24, 8)};
	uint8_t *less = calloc((size_t)cells, 24);
	char *error = kernel_eval(a.k, (void *[]){values[0], values[1], less});
	if (error)
		fail_msg("%s", error);
	for (int64_t i = 0; i < cells * 24; i++) {
		int v = (int)(i % 24);
		int64_t lo, hi;
		if (v < 3)
			continue;
		kernel_interval(a.k, a.built[v], &lo, &hi);
		if (values[0][i] != values[1][i] || values[0][i] < lo || values[0][i] > hi)
			fail_msg("seed %u value %d: %lld, not %lld, in %lld..%lld", seed, v,
			         (long long)values[1][i], (long long)values[0][i], (long long)lo,
			         (long long)hi);
		if (v > 3 && less[i] != (values[0][i] < values[0][i - 1]))
			fail_msg("seed %u compare %d", seed, v);
	}
	free(values[0]);
	free(values[1]);
	free(less);
	kernel_free(a.k);
}

static void test_algebra(void **state)
{
	(void)state;
	int decided = 0;
	for (uint32_t seed = 1; seed <= 300; seed++)
		check_algebra(seed, &decided);
	assert_true(decided > 300);
}

// ---- questions about values

static void test_strides(void **state)
{
	(void)state;
	struct kernel *k = kernel_row_parse("phase 0\n"
	                                "  for par %0 = 0 .. 8 {\n"
	                                "    %1 = imod %0 3\n"
	                                "    for serial %2 = 0 .. 8 {\n"
	                                "      %3 = affine 5 7*%1 -2*%2\n"
	                                "      %4 = affine 5 64*%0 2*%2\n"
	                                "      %5 = idiv %2 2\n"
	                                "      store b2 [%5] %3\n"
	                                "      store b2 [%4] %0\n"
	                                "    }\n"
	                                "  }\n");
	const struct kregion *inner = &k->regions[k->loops[1].body];
	int v3 = inner->insts[1], v4 = inner->insts[2], v5 = inner->insts[3];
	int64_t s = 0, lo, hi;
	bool dep[64];
	assert_true(kernel_stride(k, v3, 1, &s) && s == -2);
	assert_false(kernel_stride(k, v3, 0, &s));
	assert_true(kernel_stride(k, v4, 0, &s) && s == 64);
	assert_false(kernel_stride(k, v5, 1, &s));
	assert_true(kernel_stride(k, v5, 0, &s) && s == 0);
	assert_true(kernel_interval(k, v3, &lo, &hi) && lo == 5 - 14 && hi == 5 + 14);
	assert_true(k->n <= 64);
	kernel_depends(k, 0, dep);
	assert_true(dep[v3] && dep[v4] && !dep[v5]);
	kernel_depends(k, 1, dep);
	assert_true(dep[v3] && dep[v4] && dep[v5] && !dep[k->loops[0].index]);
	kernel_free(k);
}

// A host allocator is not asked here; the builder must survive a failed arena all the same.
static void test_failed_arena(void **state)
{
	(void)state;
	struct kernel *k = kernel_row_parse(rows[0].before);
	struct kbuild b;
	kbuild_init(&b, k, kernel_phase(k));
	int loop = kb_for(&b, AXIS_SERIAL, kb_int(&b, 0), kb_int(&b, 9), 0, NULL, NULL);
	k->arena.failed = true;
	int inner = kb_for(&b, AXIS_RED, kb_int(&b, 0), kb_int(&b, 9), 1, &loop, (uint8_t[]){OP_ADD});
	int x = kb_op2(&b, OP_ADD, TGC_I64, kb_arg(&b, inner, 0), kb_idiv(&b, kb_index(&b, inner), 3));
	kb_end(&b, inner, &x);
	kb_store(&b, 2, kb_res(&b, inner, 0), x, K_NONE, K_NONE);
	kb_end(&b, loop, NULL);
	kbuild_done(&b);
	char *error = kernel_run_passes(k, kernel_row_target(), true);
	assert_non_null(error);
	free(error);
	kernel_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),          cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_bad_texts),     cmocka_unit_test(test_unsound),
	    cmocka_unit_test(test_damaged_texts), cmocka_unit_test(test_algebra),
	    cmocka_unit_test(test_strides),       cmocka_unit_test(test_failed_arena),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
