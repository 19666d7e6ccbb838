// The LLVM emitter: loop kinds, memory, every elementwise operation and cast as machine code against the kernel
// evaluator, bit for bit, on several targets; the accuracy of what `expand` makes.
#include "emit_run.h"
#include "runtime.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

static void fail_with(const char *name, const struct target *t, const struct kernel *k, char *error)
{
	struct text text = {0};
	if (!error)
		return;
	kernel_print(k, &text);
	char *all = text_take(&text);
	fail_msg("%s on %s: %s\n%s", name, t->name, error, all);
}

// ---- loop kinds and memory ----

#define FRAME(BLOCKS)                                                                                          \
	"kernel segments 0 scratch 4096\n  b0 f32 4096 global\n  b1 f32 4096 global\n  b2 i64 4096 global\n"   \
	"  b3 f32 4096 global\n  b4 bool 4096 global\n  b5 f32 512 local\n  t0 5 3 1 4 1 5 9 2 6 0 7 8\n"      \
	"phase " #BLOCKS "\n"

static const struct row {
	const char *name, *text;
} rows[] = {
    {"vectors with a masked tail", FRAME(7) "  for block %0 = 0 .. 7 {\n"
                                            "    for lane %1 = 0 .. 16 {\n"
                                            "      %2 = affine 0 16*%0 1*%1\n"
                                            "      %3 = lt bool %2, 103\n"
                                            "      %4 = load b0 [%2] if %3\n"
                                            "      %5 = add f32 %4, %4\n"
                                            "      store b1 [%2] %5 if %3\n"
                                            "    }\n"
                                            "  }\n"},
    {"a register tile", FRAME(4) "  for block %0 = 0 .. 4 {\n"
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
    {"a reduction over lanes", FRAME(5) "  for block %0 = 0 .. 5 {\n"
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
    {"a reduction over copies of vectors", FRAME(3) "  for block %0 = 0 .. 3 {\n"
                                                    "    for lane %1 = 0 .. 8 {\n"
                                                    "      for unroll %2 = 0 .. 5 carry %3 = f32:0.5 mul {\n"
                                                    "        %4 = affine 0 40*%0 8*%2 1*%1\n"
                                                    "        %5 = load b0 [%4]\n"
                                                    "      } yield %5 -> %6\n"
                                                    "      %7 = affine 0 8*%0 1*%1\n"
                                                    "      store b1 [%7] %6\n"
                                                    "    }\n"
                                                    "  }\n"},
    {"gather, scatter, tables", FRAME(4) "  for block %0 = 0 .. 4 {\n"
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
    {"backwards", FRAME(4) "  for block %0 = 0 .. 4 {\n"
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
    {"blocks read in rows", FRAME(3) "  for block %0 = 0 .. 3 {\n"
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
    {"blocks written in rows", FRAME(3) "  for block %0 = 0 .. 3 {\n"
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
    {"guards that are the same for all lanes", FRAME(6) "  for block %0 = 0 .. 6 {\n"
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
     FRAME(3) "  for block %0 = 0 .. 3 {\n"
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
    {"iota, quotients and compares in lanes", FRAME(9) "  for block %0 = 0 .. 9 {\n"
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
    {"scratch in the thread", FRAME(3) "  for block %0 = 0 .. 3 {\n"
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
     FRAME(4) "  for block %0 = 0 .. 4 {\n"
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
			fail_with(rows[i].name, &run_targets[t], k,
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

static void prepare(struct kernel *k, const struct target *t)
{
	kpass_expand(k, t);
	kpass_simplify(k, t);
	kpass_bind(k, t);
	char *error = kernel_verify(k, LEVEL_MACHINE);
	assert_null(error);
}

static void run_jobs(int n, const struct job *jobs)
{
	char name[64];
	int outputs;

	for (int i = 0; i < run_targets_count; i++) {
		const struct target *t = &run_targets[i];
		for (int lanes = i ? 16 : 1; lanes <= 16; lanes += 15) {
			struct kernel *k = elementwise(n, jobs, lanes, &outputs);
			prepare(k, t);
			snprintf(name, sizeof name, "b%d is %s %s, b%d ...", outputs, op_info[jobs[0].op].name,
			         tgc_type_name(jobs[0].src[0]), outputs + 1);
			fail_with(name, t, k,
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

// ---- accuracy ----

// Distance in units of the last place of the type; special values must be hit.
static double ulps(double got, long double want, bool wide)
{
	int digits = wide ? 53 : 24, lowest = wide ? -1021 : -125, e = lowest;
	long double top = wide ? 0x1.fffffffffffff8p1023L : 0x1.ffffffp127L;

	if (isnan(want) || isnan(got))
		return isnan(want) && isnan(got) ? 0 : 1e30;
	if (fabsl(want) >= top || isinf(got))
		return isinf(got) && fabsl(want) >= top * 0.999999L && (got > 0) == (want > 0) ? 0 : 1e30;
	if (want != 0)
		frexpl(want, &e);
	return (double)(fabsl(got - want) / ldexpl(1, (e < lowest ? lowest : e) - digits));
}

static const struct accuracy {
	int op;
	double (*f)(double);
	long double (*exact)(long double);
	double f32, f64; // ULP allowed
} accuracies[] = {
    {OP_EXP, exp, expl, 2, 4}, {OP_LOG, log, logl, 2, 4}, {OP_SQRT, sqrt, sqrtl, 0.5, 0.5},
    {OP_SIN, sin, sinl, 4, 4}, {OP_COS, cos, cosl, 4, 4}, {OP_TANH, tanh, tanhl, 4, 4},
    {OP_ERF, erf, erfl, 4, 4},
};

enum { MANY = 1 << 16, MOST = 1 << 20 };

static struct kernel *over_many(int n, int op, tgc_type from, tgc_type to, const struct target *t)
{
	struct kernel *k = kernel_new();
	struct kbuild b;
	int in = kernel_buf(k, from, SPACE_GLOBAL, n), out = kernel_buf(k, to, SPACE_GLOBAL, n);

	kbuild_init(&b, k, kernel_phase(k));
	int outer = kb_for(&b, AXIS_PAR, kb_int(&b, 0), kb_int(&b, n / 16), 0, NULL, NULL);
	int inner = kb_for(&b, AXIS_LANE, kb_int(&b, 0), kb_int(&b, 16), 0, NULL, NULL);
	int at = kb_affine(&b, 0, 2, (int64_t[]){16, 1}, (int[]){kb_index(&b, outer), kb_index(&b, inner)});
	kb_store(&b, out, at, kb_op1(&b, op, to, kb_load(&b, in, at, K_NONE, K_NONE)), K_NONE, K_NONE);
	kb_end(&b, inner, NULL);
	kb_end(&b, outer, NULL);
	kbuild_done(&b);
	prepare(k, t);
	return k;
}

static void check_f32(const struct accuracy *a, const struct target *t)
{
	static float x[MOST], y[MOST];
	struct kernel *k = over_many(MOST, a->op, TGC_F32, TGC_F32, t);
	double worst = 0;
	float at = 0;

	for (uint64_t bits = 0; bits < UINT64_C(1) << 32;) {
		int n = 0;
		for (; n < MOST && bits < UINT64_C(1) << 32; bits += 977) {
			uint32_t low = (uint32_t)bits;
			memcpy(&x[n++], &low, 4);
		}
		fail_with(op_info[a->op].name, t, k, run_emitted(k, t, (void *[]){x, y}));
		for (int i = 0; i < n; i++) {
			double e = ulps(y[i], (long double)a->f((double)x[i]), false);
			at = e > worst ? x[i] : at;
			worst = e > worst ? e : worst;
		}
	}
	if (worst > a->f32)
		fail_msg("%s f32 on %s: %g ULP at %a", op_info[a->op].name, t->name, worst, (double)at);
	kernel_free(k);
}

static void fill_f64(double *x)
{
	uint64_t seed = 88172645463325252u;
	for (int i = 0; i < MANY; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		memcpy(&x[i], &seed, 8);
		double unit = (double)(seed >> 11) * 0x1p-53 - 0.5;
		const double scale[] = {2, 12, 1500, 1e6, 1e17};
		if (i % 2)
			x[i] = unit * scale[i / 2 % 5];
	}
	const double special[] = {0,   INFINITY, -INFINITY, NAN, 0x1.fffffffffffffp1023, 0x1p-1074, 709.78,
	                          745, 6,        1,         -1};
	memcpy(x, special, sizeof special);
}

static void check_f64(const struct accuracy *a, const struct target *t)
{
	static double x[MANY], y[MANY];
	struct kernel *k = over_many(MANY, a->op, TGC_F64, TGC_F64, t);

	fill_f64(x);
	fail_with(op_info[a->op].name, t, k, run_emitted(k, t, (void *[]){x, y}));
	for (int i = 0; i < MANY; i++) {
		double e = ulps(y[i], a->exact((long double)x[i]), true);
		if (e > a->f64)
			fail_msg("%s f64 on %s: %g ULP at %a", op_info[a->op].name, t->name, e, x[i]);
	}
	kernel_free(k);
}

static void test_accuracy(void **state)
{
	(void)state;
	for (int i = 0; i < TG_COUNT(accuracies); i++) {
		check_f32(&accuracies[i], &run_targets[0]);
		check_f64(&accuracies[i], &run_targets[0]);
		check_f64(&accuracies[i], &run_targets[run_targets_count - 1]);
	}
}

// Every 16-bit float is what it was after a trip to f32, and f32 to 16 bits rounds as the compiler's own does.
static void test_halves(void **state)
{
	(void)state;
	static _Float16 h[MANY], back[MANY];
	static float f[MANY];

	for (int i = 0; i < MANY; i++) {
		uint16_t bits = (uint16_t)i;
		memcpy(&h[i], &bits, 2);
	}
	for (int i = 0; i < run_targets_count; i++) {
		const struct target *t = &run_targets[i];
		struct kernel *up = over_many(MANY, OP_CAST, TGC_F16, TGC_F32, t);
		struct kernel *down = over_many(MANY, OP_CAST, TGC_F32, TGC_F16, t);
		fail_with("f16 to f32", t, up, run_emitted(up, t, (void *[]){h, f}));
		for (int e = 0; e < MANY; e++)
			assert_true(f[e] == (float)h[e] || h[e] != h[e]);
		for (int e = 0; e < MANY; e++)
			f[e] *= 1 + (float)(e % 5 - 2) * 0x1p-12f;
		fail_with("f32 to f16", t, down, run_emitted(down, t, (void *[]){f, back}));
		for (int e = 0; e < MANY; e++)
			assert_true(back[e] == (_Float16)f[e] || f[e] != f[e]);
		kernel_free(up);
		kernel_free(down);
	}
}

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
	FRAME(4) "  for block %0 = 0 .. 4 {\n"                                                                 \
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

// ---- more data than the caches hold ----

#define TWO_LOOPS(SECOND)                                                                                      \
	FRAME(16) "  for block %0 = 0 .. 16 {\n"                                                               \
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

static const struct far {
	const char *name, *text;
	bool passes;               // first
	int prefetches, streams;   // calls and stores in the text of the module
	const char *loops;         // after the passes; NULL: anything
} fars[] = {
    {"a row that two loops read is fetched ahead by the second", TWO_LOOPS("0"), false, 1, 1, NULL},
    {"where they begin at other places it is not", TWO_LOOPS("8"), false, 0, 1, NULL},
    {"rows whose numbers lie in memory are fetched an iteration ahead",
     FRAME(4) "  for block %0 = 0 .. 4 {\n"
              "    %1 = load b2 [%0]\n"
              "    %2 = minimum i64 %1, 14\n"
              "    %3 = maximum i64 %2, 0\n"
              "    for serial %4 = 0 .. 32 {\n"
              "      for lane %5 = 0 .. 8 {\n"
              "        %6 = affine 0 256*%3 8*%4 1*%5\n"
              "        %7 = load b0 [%6]\n"
              "        %8 = affine 0 256*%0 8*%4 1*%5\n"
              "        store b1 [%8] %7\n"
              "      }\n"
              "    }\n"
              "  }\n",
     false, 1, 1, NULL},
    {"short ones are not",
     FRAME(4) "  for block %0 = 0 .. 4 {\n"
              "    %1 = load b2 [%0]\n"
              "    %2 = minimum i64 %1, 14\n"
              "    %3 = maximum i64 %2, 0\n"
              "    for serial %4 = 0 .. 32 {\n"
              "      for lane %5 = 0 .. 8 {\n"
              "        %6 = affine 0 128*%3 8*%4 1*%5\n"
              "        %7 = load b0 [%6]\n"
              "        %8 = affine 0 256*%0 8*%4 1*%5\n"
              "        store b1 [%8] %7\n"
              "      }\n"
              "    }\n"
              "  }\n",
     false, 0, 1, NULL},
    {"what only reads, and far more than the caches hold, asks a page ahead",
     FRAME(16) "  for block %0 = 0 .. 16 {\n"
               "    for lane %1 = 0 .. 8 carry %2 = f32:0 add {\n"
               "      for serial %3 = 0 .. 31 carry %4 = f32:0 add {\n"
               "        %5 = affine 0 256*%0 1*%1 8*%3\n"
               "        %6 = load b0 [%5]\n"
               "        %7 = add f32 %4, %6\n"
               "      } yield %7 -> %8\n"
               "    } yield %8 -> %9\n"
               "    %10 = lt bool %9, f32:0\n"
               "    store b4 [%0] %10\n"
               "  }\n",
     false, 1, 0, NULL},
    {"what also writes as much does not",
     FRAME(16) "  for block %0 = 0 .. 16 {\n"
               "    for lane %1 = 0 .. 8 carry %2 = f32:0 add {\n"
               "      for serial %3 = 0 .. 31 carry %4 = f32:0 add {\n"
               "        %5 = affine 0 256*%0 1*%1 8*%3\n"
               "        %6 = load b0 [%5]\n"
               "        %7 = add f32 %4, %6\n"
               "      } yield %7 -> %8\n"
               "    } yield %8 -> %9\n"
               "    store b1 [%0] %9\n"
               "  }\n",
     false, 0, 0, NULL},
    {"a matrix is transposed along the rows that are read, by whole lines",
     FRAME(0) "  for par %0 = 0 .. 64 {\n"
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
    {"columns are summed by rows, eight at a time and then the rest",
     FRAME(0) "  for par %0 = 0 .. 8 {\n"
              "    for par %1 = 0 .. 256 {\n"
              "      for red %2 = 0 .. 9 carry %3 = f32:0 add {\n"
              "        %4 = affine 0 256*%0 1*%1 256*%2\n"
              "        %5 = load b0 [%4]\n"
              "        %6 = add f32 %3, %5\n"
              "      } yield %6 -> %7\n"
              "      %8 = affine 0 256*%0 1*%1\n"
              "      store b1 [%8] %7\n"
              "    }\n"
              "  }\n",
     true, 0, 4,
     "      for serial %6 = 0 .. 16 {\n"
     "        for unroll %7 = 0 .. 2 {\n"
     "          for lane %8 = 0 .. 8 {\n"
     "            %9 = affine 0 16*%6 8*%7 1*%8\n"
     "            %10 = load b6 [%9]\n"},
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

	fail_with(f->name, small_caches, k, run_both(k, small_caches, 1));
	kernel_print(k, &text);
	char *loops = text_take(&text);
	if (f->loops && !strstr(loops, f->loops))
		fail_msg("%s: the loops are\n%s", f->name, loops);
	error = emit_llvm_object(k, small_caches, "far", &object, &bytes, &llvm_text, NULL);
	fail_with(f->name, small_caches, k, error);
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
			fail_with(fars[i].name, &small_caches, k, kernel_run_passes(k, &small_caches, true));
		check_far(&fars[i], &small_caches, k);
		kernel_free(k);
	}
}

// ---- what the emitter refuses ----

static void test_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {
	    FRAME(4) "  for block %0 = 0 .. 4 {\n"
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
	    cmocka_unit_test(test_halves),
	    cmocka_unit_test(test_accuracy),
	    cmocka_unit_test(test_asked_ahead),
	    cmocka_unit_test(test_short_loops_are_aligned),
	    cmocka_unit_test(test_far),
	    cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
