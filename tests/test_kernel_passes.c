// Passes that turn loops of a kernel into other loops: keep, merge, unroll, bind.
// Rows are kernels as text, before and after; each is also run against kernel_eval.
#include "kernel_rows.h"

// Rows of 64 elements are long to a first cache of 128 bytes.
static void keep_long(struct kernel *k, const struct target *t)
{
	struct target small = *t;
	small.l1_bytes = 128;
	kpass_keep(k, &small);
}

// Rows of 64: the sum of their exponentials, %7, each of which, %5, is kept by KEEP.
#define EXP_SUM(KEEP)                                                                                          \
	"phase 0\n"                                                                                            \
	"  for par %0 = 0 .. 16 {\n"                                                                           \
	"    for red %1 = 0 .. 64 carry %2 = f32:0 add {\n"                                                    \
	"      %3 = affine 0 64*%0 1*%1\n"                                                                     \
	"      %4 = load b0 [%3]\n"                                                                            \
	"      %5 = exp f32 %4\n" KEEP                                                                         \
	"      %6 = add f32 %2, %5\n"                                                                          \
	"    } yield %6 -> %7\n"
// Behind it: each exponential, computed again, over the sum.
#define QUOTIENTS(STORE)                                                                                       \
	"    for par %8 = 0 .. 64 {\n"                                                                         \
	"      %9 = affine 0 64*%0 1*%8\n"                                                                     \
	"      %10 = load b0 [%9]\n"                                                                           \
	"      %11 = exp f32 %10\n"                                                                            \
	"      %12 = div f32 %11, %7\n" STORE                                                                  \
	"    }\n"                                                                                              \
	"  }\n"

static const struct kernel_row rows[] = {
    // Keeping.
    {"the exponentials of a softmax", kpass_keep,
     EXP_SUM("")
     QUOTIENTS("      store b1 [%9] %12\n"),
     EXP_SUM("      store b6 [%1] %5\n")
     "    for par %8 = 0 .. 64 {\n"
     "      %9 = affine 0 64*%0 1*%8\n"
     "      %10 = load b6 [%8]\n"
     "      %11 = div f32 %10, %7\n"
     "      store b1 [%9] %11\n"
     "    }\n"
     "  }\n"},
    {"the same of rows that go one after another", kpass_keep,
     "phase 0\n"
     "  for par %0 = 0 .. 4 {\n"
     "    for serial %1 = 0 .. 4 {\n"
     "      for red %2 = 0 .. 64 carry %3 = f32:0 add {\n"
     "        %4 = affine 0 256*%0 64*%1 1*%2\n"
     "        %5 = load b0 [%4]\n"
     "        %6 = exp f32 %5\n"
     "        %7 = add f32 %3, %6\n"
     "      } yield %7 -> %8\n"
     "      for par %9 = 0 .. 64 {\n"
     "        %10 = affine 0 256*%0 64*%1 1*%9\n"
     "        %11 = load b0 [%10]\n"
     "        %12 = exp f32 %11\n"
     "        %13 = div f32 %12, %8\n"
     "        store b1 [%10] %13\n"
     "      }\n"
     "    }\n"
     "  }\n",
     "phase 0\n"
     "  for par %0 = 0 .. 4 {\n"
     "    for serial %1 = 0 .. 4 {\n"
     "      for red %2 = 0 .. 64 carry %3 = f32:0 add {\n"
     "        %4 = affine 0 256*%0 64*%1 1*%2\n"
     "        %5 = load b0 [%4]\n"
     "        %6 = exp f32 %5\n"
     "        store b6 [%2] %6\n"
     "        %7 = add f32 %3, %6\n"
     "      } yield %7 -> %8\n"
     "      for par %9 = 0 .. 64 {\n"
     "        %10 = affine 0 256*%0 64*%1 1*%9\n"
     "        %11 = load b6 [%9]\n"
     "        %12 = div f32 %11, %8\n"
     "        store b1 [%10] %12\n"
     "      }\n"
     "    }\n"
     "  }\n"},
    {"a long row where the result will be", keep_long,
     EXP_SUM("")
     QUOTIENTS("      store b1 [%9] %12\n"),
     EXP_SUM("      store b1 [%3] %5\n")
     "    for par %8 = 0 .. 64 {\n"
     "      %9 = affine 0 64*%0 1*%8\n"
     "      %10 = load b1 [%9]\n"
     "      %11 = div f32 %10, %7\n"
     "      store b1 [%9] %11\n"
     "    }\n"
     "  }\n"},
    {"a long row whose result goes elsewhere in it: in scratch", keep_long,
     EXP_SUM("")
     QUOTIENTS("      %13 = affine 63 64*%0 -1*%8\n"
               "      store b1 [%13] %12\n"),
     EXP_SUM("      store b6 [%1] %5\n")
     "    for par %8 = 0 .. 64 {\n"
     "      %9 = load b6 [%8]\n"
     "      %10 = div f32 %9, %7\n"
     "      %11 = affine 63 64*%0 -1*%8\n"
     "      store b1 [%11] %10\n"
     "    }\n"
     "  }\n"},
    {"a long row that two loops need, the first of which stores: in scratch", keep_long,
     EXP_SUM("")
     "    for red %8 = 0 .. 64 carry %9 = f32:0 add {\n"
     "      %10 = affine 0 64*%0 1*%8\n"
     "      %11 = load b0 [%10]\n"
     "      %12 = exp f32 %11\n"
     "      %13 = div f32 %12, %7\n"
     "      store b1 [%10] %13\n"
     "      %14 = add f32 %9, %13\n"
     "    } yield %14 -> %15\n"
     "    for red %16 = 0 .. 64 carry %17 = f32:0 add {\n"
     "      %18 = affine 0 64*%0 1*%16\n"
     "      %19 = load b0 [%18]\n"
     "      %20 = exp f32 %19\n"
     "      %21 = mul f32 %20, %15\n"
     "      %22 = add f32 %17, %21\n"
     "    } yield %22 -> %23\n"
     "    %24 = lt bool %23, f32:0\n"
     "    store b3 [%0] %24\n"
     "  }\n",
     EXP_SUM("      store b6 [%1] %5\n")
     "    for red %8 = 0 .. 64 carry %9 = f32:0 add {\n"
     "      %10 = affine 0 64*%0 1*%8\n"
     "      %11 = load b6 [%8]\n"
     "      %12 = div f32 %11, %7\n"
     "      store b1 [%10] %12\n"
     "      %13 = add f32 %9, %12\n"
     "    } yield %13 -> %14\n"
     "    for red %15 = 0 .. 64 carry %16 = f32:0 add {\n"
     "      %17 = load b6 [%15]\n"
     "      %18 = mul f32 %17, %14\n"
     "      %19 = add f32 %16, %18\n"
     "    } yield %19 -> %20\n"
     "    %21 = lt bool %20, f32:0\n"
     "    store b3 [%0] %21\n"
     "  }\n"},
    {"nothing is kept: cheap, another index, overwritten, a shorter row", kpass_keep,
     "phase 0\n"
     "  for par %0 = 0 .. 16 {\n"
     "    for red %1 = 0 .. 64 carry %2 = f32:0 add, %3 = f32:0 add, %4 = f32:0 add {\n"
     "      %5 = affine 0 64*%0 1*%1\n"
     "      %6 = load b0 [%5]\n"
     "      %7 = mul f32 %6, %6\n"
     "      %8 = exp f32 %7\n"
     "      %9 = load b1 [%5]\n"
     "      %10 = exp f32 %9\n"
     "      %11 = add f32 %2, %7\n"
     "      %12 = add f32 %3, %8\n"
     "      %13 = add f32 %4, %10\n"
     "    } yield %11, %12, %13 -> %14, %15, %16\n"
     "    %17 = add f32 %14, %15\n"
     "    %18 = add f32 %16, %17\n"
     "    for red %19 = 0 .. 32 carry %20 = f32:0 add {\n"
     "      %21 = affine 0 64*%0 1*%19\n"
     "      %22 = load b0 [%21]\n"
     "      %23 = mul f32 %22, %22\n"
     "      %24 = exp f32 %23\n"
     "      %25 = add f32 %20, %24\n"
     "    } yield %25 -> %26\n"
     "    %27 = add f32 %18, %26\n"
     "    for par %28 = 0 .. 64 {\n"
     "      %29 = affine 0 64*%0 1*%28\n"
     "      %30 = load b0 [%29]\n"
     "      %31 = mul f32 %30, %30\n"
     "      %32 = load b1 [%29]\n"
     "      %33 = exp f32 %32\n"
     "      %34 = affine 63 64*%0 -1*%28\n"
     "      %35 = load b0 [%34]\n"
     "      %36 = mul f32 %35, %35\n"
     "      %37 = exp f32 %36\n"
     "      %38 = add f32 %31, %33\n"
     "      %39 = add f32 %37, %38\n"
     "      %40 = add f32 %27, %39\n"
     "      store b1 [%29] %40\n"
     "    }\n"
     "  }\n",
     NULL},
    // Merging.
    {"sum and maximum of a row in one pass", kpass_merge,
     "phase 0\n"
     "  for par %0 = 0 .. 16 {\n"
     "    for red %1 = 0 .. 32 carry %2 = f32:0 add {\n"
     "      %3 = affine 0 32*%0 1*%1\n"
     "      %4 = load b0 [%3]\n"
     "      %5 = add f32 %2, %4\n"
     "    } yield %5 -> %6\n"
     "    %7 = mul f32 %6, f32:2\n"
     "    for red %8 = 0 .. 32 carry %9 = f32:-inf maximum {\n"
     "      %10 = affine 0 32*%0 1*%8\n"
     "      %11 = load b0 [%10]\n"
     "      %12 = maximum f32 %9, %11\n"
     "    } yield %12 -> %13\n"
     "    %14 = add f32 %7, %13\n"
     "    store b1 [%0] %14\n"
     "  }\n",
     "phase 0\n"
     "  for par %0 = 0 .. 16 {\n"
     "    for red %1 = 0 .. 32 carry %2 = f32:0 add, %3 = f32:-inf maximum {\n"
     "      %4 = affine 0 32*%0 1*%1\n"
     "      %5 = load b0 [%4]\n"
     "      %6 = add f32 %2, %5\n"
     "      %7 = maximum f32 %3, %5\n"
     "    } yield %6, %7 -> %8, %9\n"
     "    %10 = mul f32 %8, f32:2\n"
     "    %11 = add f32 %10, %9\n"
     "    store b1 [%0] %11\n"
     "  }\n"},
    {"a sum that hangs on the maximum stays apart", kpass_merge,
     "phase 0\n"
     "  for par %0 = 0 .. 16 {\n"
     "    for red %1 = 0 .. 32 carry %2 = f32:-inf maximum {\n"
     "      %3 = load b0 [%1]\n"
     "      %4 = maximum f32 %2, %3\n"
     "    } yield %4 -> %5\n"
     "    for red %6 = 0 .. 32 carry %7 = f32:0 add {\n"
     "      %8 = load b0 [%6]\n"
     "      %9 = sub f32 %8, %5\n"
     "      %10 = add f32 %7, %9\n"
     "    } yield %10 -> %11\n"
     "    store b1 [%0] %11\n"
     "  }\n",
     "phase 0\n"
     "  for par %0 = 0 .. 16 {\n"
     "    for red %1 = 0 .. 32 carry %2 = f32:-inf maximum {\n"
     "      %3 = load b0 [%1]\n"
     "      %4 = maximum f32 %2, %3\n"
     "    } yield %4 -> %5\n"
     "    for red %6 = 0 .. 32 carry %7 = f32:0 add {\n"
     "      %8 = load b0 [%6]\n"
     "      %9 = sub f32 %8, %5\n"
     "      %10 = add f32 %7, %9\n"
     "    } yield %10 -> %11\n"
     "    store b1 [%0] %11\n"
     "  }\n"},
    {"two axes merge outside in; values between come first", kpass_merge,
     "phase 0\n"
     "  for red %0 = 0 .. 8 carry %1 = f32:0 add {\n"
     "    for red %2 = 0 .. 16 carry %3 = %1 add {\n"
     "      %4 = affine 0 16*%0 1*%2\n"
     "      %5 = load b0 [%4]\n"
     "      %6 = add f32 %3, %5\n"
     "    } yield %6 -> %7\n"
     "  } yield %7 -> %8\n"
     "  %9 = scalar s0\n"
     "  for red %10 = 0 .. 8 carry %11 = f32:0 add {\n"
     "    for red %12 = 0 .. 16 carry %13 = %11 add {\n"
     "      %14 = affine 0 16*%10 1*%12\n"
     "      %15 = load b0 [%14]\n"
     "      %16 = fma f32 %15, %9, %13\n"
     "    } yield %16 -> %17\n"
     "  } yield %17 -> %18\n"
     "  store b1 [0] %8\n"
     "  store b1 [1] %18\n",
     "phase 0\n"
     "  %0 = scalar s0\n"
     "  for red %1 = 0 .. 8 carry %2 = f32:0 add, %3 = f32:0 add {\n"
     "    for red %4 = 0 .. 16 carry %5 = %2 add, %6 = %3 add {\n"
     "      %7 = affine 0 16*%1 1*%4\n"
     "      %8 = load b0 [%7]\n"
     "      %9 = add f32 %5, %8\n"
     "      %10 = fma f32 %8, %0, %6\n"
     "    } yield %9, %10 -> %11, %12\n"
     "  } yield %11, %12 -> %13, %14\n"
     "  store b1 [0] %13\n"
     "  store b1 [1] %14\n"},
    {"parallel loops with nothing in common", kpass_merge,
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    %1 = load b0 [%0]\n"
     "    store b1 [%0] %1\n"
     "  }\n"
     "  for par %2 = 0 .. 64 {\n"
     "    store b2 [%2] %2\n"
     "  }\n",
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    %1 = load b0 [%0]\n"
     "    store b1 [%0] %1\n"
     "    store b2 [%0] %0\n"
     "  }\n"},
    {"a reader of what the first stores stays behind it", kpass_merge,
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    %1 = load b0 [%0]\n"
     "    store b1 [%0] %1\n"
     "  }\n"
     "  for par %2 = 0 .. 64 {\n"
     "    %3 = affine 63 -1*%2\n"
     "    %4 = load b1 [%3]\n"
     "    store b0 [%2] %4\n"
     "  }\n",
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    %1 = load b0 [%0]\n"
     "    store b1 [%0] %1\n"
     "  }\n"
     "  for par %2 = 0 .. 64 {\n"
     "    %3 = affine 63 -1*%2\n"
     "    %4 = load b1 [%3]\n"
     "    store b0 [%2] %4\n"
     "  }\n"},
    // Unrolling.
    {"taps of a window", kpass_unroll,
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    for serial %1 = 0 .. 3 carry %2 = f32:0 add {\n"
     "      for serial %3 = 0 .. 2 carry %4 = %2 add {\n"
     "        %5 = affine 0 1*%0 10*%1 1*%3\n"
     "        %6 = load b0 [%5]\n"
     "        %7 = add f32 %4, %6\n"
     "      } yield %7 -> %8\n"
     "    } yield %8 -> %9\n"
     "    store b1 [%0] %9\n"
     "  }\n",
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    %1 = load b0 [%0]\n"
     "    %2 = add f32 f32:0, %1\n"
     "    %3 = affine 1 1*%0\n"
     "    %4 = load b0 [%3]\n"
     "    %5 = add f32 %2, %4\n"
     "    %6 = affine 10 1*%0\n"
     "    %7 = load b0 [%6]\n"
     "    %8 = add f32 %5, %7\n"
     "    %9 = affine 11 1*%0\n"
     "    %10 = load b0 [%9]\n"
     "    %11 = add f32 %8, %10\n"
     "    %12 = affine 20 1*%0\n"
     "    %13 = load b0 [%12]\n"
     "    %14 = add f32 %11, %13\n"
     "    %15 = affine 21 1*%0\n"
     "    %16 = load b0 [%15]\n"
     "    %17 = add f32 %14, %16\n"
     "    store b1 [%0] %17\n"
     "  }\n"},
    {"a short loop around a long one stays", kpass_unroll,
     "phase 0\n"
     "  for serial %0 = 0 .. 3 {\n"
     "    for serial %1 = 0 .. 100 {\n"
     "      %2 = affine 0 100*%0 1*%1\n"
     "      store b2 [%2] %1\n"
     "    }\n"
     "  }\n",
     "phase 0\n"
     "  for serial %0 = 0 .. 3 {\n"
     "    for serial %1 = 0 .. 100 {\n"
     "      %2 = affine 0 100*%0 1*%1\n"
     "      store b2 [%2] %1\n"
     "    }\n"
     "  }\n"},
    // Binding.
    {"the outermost parallel loop becomes blocks", kpass_bind,
     "phase 0\n"
     "  %0 = scalar s0\n"
     "  for par %1 = 0 .. 16 {\n"
     "    for red %2 = 0 .. 32 carry %3 = f32:0 add {\n"
     "      %4 = affine 0 32*%1 1*%2\n"
     "      %5 = load b0 [%4]\n"
     "      %6 = fma f32 %5, %0, %3\n"
     "    } yield %6 -> %7\n"
     "    for par %8 = 0 .. 32 {\n"
     "      %9 = affine 0 32*%1 1*%8\n"
     "      store b1 [%9] %7\n"
     "    }\n"
     "  }\n",
     "phase 16\n"
     "  %0 = scalar s0\n"
     "  for block %1 = 0 .. 16 {\n"
     "    for serial %2 = 0 .. 32 carry %3 = f32:0 add {\n"
     "      %4 = affine 0 32*%1 1*%2\n"
     "      %5 = load b0 [%4]\n"
     "      %6 = fma f32 %5, %0, %3\n"
     "    } yield %6 -> %7\n"
     "    for serial %8 = 0 .. 32 {\n"
     "      %9 = affine 0 32*%1 1*%8\n"
     "      store b1 [%9] %7\n"
     "    }\n"
     "  }\n"},
    {"no parallel loop: one block", kpass_bind,
     "phase 0\n"
     "  for red %0 = 0 .. 32 carry %1 = f32:0 add {\n"
     "    %2 = load b0 [%0]\n"
     "    %3 = add f32 %1, %2\n"
     "  } yield %3 -> %4\n"
     "  store b1 [0] %4\n",
     "phase 1\n"
     "  for block %0 = 0 .. 1 {\n"
     "    for serial %1 = 0 .. 32 carry %2 = f32:0 add {\n"
     "      %3 = load b0 [%1]\n"
     "      %4 = add f32 %2, %3\n"
     "    } yield %4 -> %5\n"
     "    store b1 [0] %5\n"
     "  }\n"},
    {"parallel loops in a row: a phase each", kpass_bind,
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    %1 = load b0 [%0]\n"
     "    store b1 [%0] %1\n"
     "  }\n"
     "  %2 = scalar s0\n"
     "  for par %3 = 0 .. 64 {\n"
     "    %4 = affine 63 -1*%3\n"
     "    %5 = load b1 [%4]\n"
     "    %6 = mul f32 %5, %2\n"
     "    store b0 [%3] %6\n"
     "  }\n",
     "phase 64\n"
     "  for block %0 = 0 .. 64 {\n"
     "    %1 = load b0 [%0]\n"
     "    store b1 [%0] %1\n"
     "  }\n"
     "phase 64\n"
     "  %2 = scalar s0\n"
     "  for block %3 = 0 .. 64 {\n"
     "    %4 = affine 63 -1*%3\n"
     "    %5 = load b1 [%4]\n"
     "    %6 = mul f32 %5, %2\n"
     "    store b0 [%3] %6\n"
     "  }\n"},
    {"an old value needed behind a store: one block", kpass_bind,
     "phase 0\n"
     "  %0 = load b0 [5]\n"
     "  for par %1 = 0 .. 64 {\n"
     "    store b0 [%1] f32:1\n"
     "  }\n"
     "  for par %2 = 0 .. 32 {\n"
     "    store b1 [%2] %0\n"
     "  }\n",
     "phase 1\n"
     "  %0 = load b0 [5]\n"
     "  for block %1 = 0 .. 1 {\n"
     "    for serial %2 = 0 .. 64 {\n"
     "      store b0 [%2] f32:1\n"
     "    }\n"
     "    for serial %3 = 0 .. 32 {\n"
     "      store b1 [%3] %0\n"
     "    }\n"
     "  }\n"},
    {"one nest: a loop and its rest share the blocks", kpass_bind,
     "phase 0\n"
     "  for par %0 = 0 .. 60 nest 1 {\n"
     "    %1 = load b0 [%0]\n"
     "    store b1 [%0] %1\n"
     "  }\n"
     "  for unroll %2 = 0 .. 4 nest 1 {\n"
     "    %3 = affine 60 1*%2\n"
     "    %4 = load b0 [%3]\n"
     "    store b1 [%3] %4\n"
     "  }\n",
     "phase 60\n"
     "  for block %0 = 0 .. 60 {\n"
     "    %1 = load b0 [%0]\n"
     "    store b1 [%0] %1\n"
     "    %2 = affine 59 1*%0\n"
     "    %3 = idiv %2 60\n"
     "    for serial %4 = %3 .. 1 {\n"
     "      for unroll %5 = 0 .. 4 {\n"
     "        %6 = affine 60 1*%5\n"
     "        %7 = load b0 [%6]\n"
     "        store b1 [%6] %7\n"
     "      }\n"
     "    }\n"
     "  }\n"},
    {"phases that share nothing that is written share the blocks", kpass_bind,
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    %1 = load b0 [%0]\n"
     "    store b1 [%0] %1\n"
     "  }\n"
     "phase 0\n"
     "  for par %2 = 0 .. 24 {\n"
     "    store b2 [%2] %2\n"
     "  }\n",
     "phase 64\n"
     "  for block %0 = 0 .. 64 {\n"
     "    %1 = load b0 [%0]\n"
     "    store b1 [%0] %1\n"
     "    %2 = affine 0 3*%0\n"
     "    %3 = idiv %2 8\n"
     "    %4 = affine 3 3*%0\n"
     "    %5 = idiv %4 8\n"
     "    for serial %6 = %3 .. %5 {\n"
     "      store b2 [%6] %6\n"
     "    }\n"
     "  }\n"},
    {"phases beside each other, into one buffer", kpass_bind,
     "phase 0\n"
     "  for par %0 = 0 .. 2 {\n"
     "    store b2 [%0] %0\n"
     "  }\n"
     "phase 0 beside\n"
     "  for par %1 = 2 .. 4 {\n"
     "    store b2 [%1] %1\n"
     "  }\n",
     "phase 2\n"
     "  for block %0 = 0 .. 2 {\n"
     "    store b2 [%0] %0\n"
     "    %1 = affine 2 1*%0\n"
     "    store b2 [%1] %1\n"
     "  }\n"},
    {"an old value needed by a later phase: a barrier", kpass_bind,
     "phase 0\n"
     "  for par %0 = 0 .. 64 {\n"
     "    store b1 [%0] f32:1\n"
     "  }\n"
     "phase 0\n"
     "  %1 = load b1 [5]\n"
     "  for par %2 = 0 .. 64 {\n"
     "    store b0 [%2] %1\n"
     "  }\n",
     "phase 64\n"
     "  for block %0 = 0 .. 64 {\n"
     "    store b1 [%0] f32:1\n"
     "  }\n"
     "phase 64\n"
     "  %1 = load b1 [5]\n"
     "  for block %2 = 0 .. 64 {\n"
     "    store b0 [%2] %1\n"
     "  }\n"},
    {"few outer iterations with much inside: collapsed", kpass_bind,
     "phase 0\n"
     "  for par %0 = 0 .. 2 {\n"
     "    for par %1 = 0 .. 8 {\n"
     "      for serial %2 = 0 .. 256 {\n"
     "        %3 = affine 0 2048*%0 256*%1 1*%2\n"
     "        %4 = load b0 [%3]\n"
     "        store b1 [%3] %4\n"
     "      }\n"
     "    }\n"
     "  }\n",
     "phase 16\n"
     "  for block %0 = 0 .. 16 {\n"
     "    for serial %1 = 0 .. 256 {\n"
     "      %2 = affine 0 256*%0 1*%1\n"
     "      %3 = load b0 [%2]\n"
     "      store b1 [%2] %3\n"
     "    }\n"
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
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_round_trip)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
